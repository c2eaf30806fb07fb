"""A Hugging Face language model that is asked for text: it generates, and says how likely a text is."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import GradatimError, InvalidInput, needs
from gradatim.metrics.answers import ANSWER, LIKELY, REQUEST, Spread, TextAnswer
from gradatim.models.hearing import HEARD, Listener, decodes_frames
from gradatim.models.hugging_face import load_module
from gradatim.models.predictor import Arrays, RuntimeModel, failed
from gradatim.models.speech import ASKED
from gradatim.models.token_by_token import Tokenised
from gradatim.models.tokenizer import load_tokenizer
from gradatim.models.torch_program import import_torch, quiet
from gradatim.models.variables import offline, silent

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource


_BEGINNING = ("decoder_start_token_id", "bos_token_id", "forced_bos_token_id", "forced_eos_token_id")
"""What a model with an encoder says of how its texts begin and end."""


class LanguageModel(RuntimeModel):
    """A model that is asked for text, whose network lies open.

    Args:
        module: the network.
        tokens: makes tokens of its requests.
        others: ``RuntimeModel``'s.
    """

    def __init__(self, module: Any, tokens: Tokenised, *others: Any, **named: Any) -> None:
        super().__init__(*others, **named)
        self.module, self.tokens = module, tokens


def open_generator(source: ModelSource) -> LanguageModel:
    """Load a Hugging Face folder that generates text, with its tokenizer; offline, and no code that it brings is run.

    Raises:
        InvalidInput: the folder is broken, or its model does not generate.
        EnvironmentLacks: transformers, torch or the GPU is missing.
    """
    torch = import_torch(source)
    with needs("transformers", "transformers", f"Running {source.name}"), offline():
        import transformers
    try:
        with offline(), quiet(), silent():
            module = load_module(transformers, source).to(source.device).eval()
    except GradatimError:
        raise
    except Exception as error:
        raise failed(str(source.path), "cannot be loaded by transformers", error) from error
    if not (hasattr(module, "generate") and module.can_generate()) and not decodes_frames(module):
        raise InvalidInput(
            f"{source.path} is a {type(module).__name__}, which generates no text. For `task: generation` save a model with a "
            "language-modelling head (`AutoModelForCausalLM`)."
        )
    if module.main_input_name in HEARD:
        listener = Listener(torch, transformers, module, source)
        return LanguageModel(
            module,
            listener.tokens,
            source.name,
            ASKED,
            listener,
            device=source.device,
            threads=source.threads,
        )
    asked = _Asker(torch, transformers, module, load_tokenizer(source.path), source.name)
    return LanguageModel(
        module, asked.tokens, source.name, ASKED, asked, device=source.device, threads=source.threads
    )


class _Asker:
    """Answers requests: what a RuntimeModel runs."""

    def __init__(self, torch: Any, transformers: Any, module: Any, tokenizer: Any, name: str) -> None:
        self._torch, self._transformers = torch, transformers
        self._module, self._tokenizer = module, tokenizer
        self._reads = bool(getattr(module.config, "is_encoder_decoder", False))
        tokenizer.padding_side = "right" if self._reads else "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        self.tokens = Tokenised(tokenizer, name, getattr(module.config, "max_position_embeddings", None))

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        began = time.perf_counter()
        requests = [json.loads(str(line)) for line in inputs[REQUEST].reshape(-1)]
        prompts = [self.tokens.rendered(request) for request in requests]
        answers: list[dict[str, Any]] = [{} for _ in requests]
        with self._torch.inference_mode(), quiet(), silent():
            if requests and "text" in requests[0]["wants"]:
                for answer, made in zip(answers, self._texts(requests, prompts), strict=True):
                    answer.update(made)
            for answer, request, prompt in zip(answers, requests, prompts, strict=True):
                if "times" in request["wants"]:
                    answer.update(self._timed(request, prompt, began))
                if "choices" in request["wants"]:
                    answer["choices"] = tuple(
                        self._likelihood(prompt, text) for text in request.get("choices", ())
                    )
                if "target" in request["wants"] and "target" in request:
                    size = len(request["target"].encode())
                    answer["target"] = (self._likelihood(prompt, request["target"]), size)
                if "spread" in request["wants"] and "target" in request:
                    answer["spread"] = self._spread(prompt, request["target"])
        return {ANSWER: np.array([TextAnswer(**answer).to_text() for answer in answers], object)}

    def _texts(
        self, requests: Sequence[Mapping[str, Any]], prompts: Sequence[tuple[str, bool]]
    ) -> list[dict[str, Any]]:
        """Generated text: greedy all at once, drawn one by one, so that a row's seed is its own."""
        if not requests[0]["temperature"]:
            return self._generated(requests, prompts)
        found = []
        for request, prompt in zip(requests, prompts, strict=True):
            told = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest()
            self._torch.manual_seed(int.from_bytes(told[:7], "big"))
            found += self._generated([request], [prompt])
        return found

    def _timed(self, request: Mapping[str, Any], prompt: tuple[str, bool], began: float) -> dict[str, Any]:
        """When each token of an answer of just so many tokens was made."""
        made = self._generated([request], [prompt], clock=(clock := _Clock()))
        times = tuple(at - began for at in clock.times[1:])  # the first is of the prompt
        return {"times": times, "tokens": len(times)} if "error" not in made[0] else made[0]

    def _generated(
        self,
        requests: Sequence[Mapping[str, Any]],
        prompts: Sequence[tuple[str, bool]],
        clock: _Clock | None = None,
    ) -> list[dict[str, Any]]:
        said, samples = requests[0], requests[0]["samples"]
        batch = self._encoded([text for text, _ in prompts], special=prompts[0][1])
        length, most = batch["input_ids"].shape[1], said["max_new_tokens"]
        begins = 1 if self._reads else length
        places = (max(length, most), 0) if self._reads else (length, most)
        if refused := self.tokens.refused(*places):
            if len(requests) == 1:
                return [refused]
            return [self._generated([one], [its])[0] for one, its in zip(requests, prompts, strict=True)]
        own = self._module.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else self._tokenizer.eos_token_id
        config = self._transformers.GenerationConfig(
            max_new_tokens=most,
            min_new_tokens=most if clock else None,
            do_sample=bool(said["temperature"]),
            num_return_sequences=samples,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=ends,
            **{key: getattr(own, key, None) for key in (_BEGINNING if self._reads else ())},
            **({"temperature": said["temperature"], "top_p": said.get("top_p"), "top_k": said.get("top_k", 0)} if said["temperature"] else {}),
        )  # fmt: skip
        stops = said.get("stop") or ()
        ended = [self._stopper(begins, stops)] if stops else []
        rows = self._module.generate(
            **batch,
            generation_config=config,
            stopping_criteria=self._transformers.StoppingCriteriaList(ended),
            streamer=clock,
        )[:, begins:].tolist()
        last = set(ends if isinstance(ends, list) else [ends])
        made = [self.tokens.ended(row, last, stops) for row in rows]
        pairs = [made[start : start + samples] for start in range(0, len(made), samples)]
        return [{"texts": tuple(t for t, _ in pair), "cut": tuple(c for _, c in pair)} for pair in pairs]

    def _stopper(self, length: int, stops: Sequence[str]) -> Callable[..., Any]:
        """Which rows have a stop behind the prompt. That of transformers finds none in some tokenizers' tables."""

        def stopped(tokens: Any, scores: Any, **_: Any) -> Any:
            texts = self._tokenizer.batch_decode(tokens[:, length:], skip_special_tokens=True)
            found = [any(stop in text for stop in stops) for text in texts]
            return self._torch.tensor(found, device=tokens.device)

        return stopped

    def _encoded(self, texts: Sequence[str], *, special: bool) -> Any:
        batch = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            padding=len(texts) > 1,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        return {name: values.to(self._module.device) for name, values in batch.items()}

    def _likelihood(self, prompt: tuple[str, bool], text: str) -> float:
        """Log-likelihood of a text after a prompt, nat."""
        tokens, scores = self._scored(prompt, text)
        return float(scores.gather(1, tokens[:, None]).double().sum())

    def _spread(self, prompt: tuple[str, bool], text: str) -> tuple[Spread, ...]:
        """What else was likely in place of each token of a text."""
        tokens, scores = self._scored(prompt, text)
        values, likely = scores.topk(min(LIKELY, scores.shape[1]))
        own = scores.gather(1, tokens[:, None])[:, 0].tolist()
        rows = zip(tokens.tolist(), own, likely.tolist(), values.tolist(), strict=True)
        return tuple(((token, value), *zip(*others, strict=True)) for token, value, *others in rows)

    def _scored(self, prompt: tuple[str, bool], text: str) -> tuple[Any, Any]:
        """A text's tokens [t] behind those of a prompt, and log-likelihoods [t, vocabulary]."""
        if self._reads:
            return self._translated(prompt, text)
        whole, first = self.tokens.together(prompt, text)
        tokens = self._torch.tensor([whole], device=self._module.device)
        scores = self._module(input_ids=tokens).logits[0, :-1].float().log_softmax(dim=-1)
        return tokens[0, first:], scores[first - 1 :]

    def _translated(self, prompt: tuple[str, bool], text: str) -> tuple[Any, Any]:
        """The same of a model that reads the prompt with one part and writes with another."""
        config = self._module.generation_config
        begin = (
            config.decoder_start_token_id
            if config.decoder_start_token_id is not None
            else config.bos_token_id
        )
        made = self._tokenizer(text_target=text, add_special_tokens=False)["input_ids"]
        tokens = self._torch.tensor([[begin, *made]], device=self._module.device)
        read = self._encoded([prompt[0]], special=prompt[1])
        scores = self._module(**read, decoder_input_ids=tokens[:, :-1]).logits[0].float().log_softmax(dim=-1)
        return tokens[0, 1:], scores


class _Clock:
    """What transformers tells of each step, a "streamer": kept is when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None: ...
