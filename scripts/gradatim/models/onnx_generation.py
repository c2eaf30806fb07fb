"""A decoder in ONNX that is asked for text, with the tokenizer that lies beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import read_json
from gradatim.metrics.answers import ANSWER, LIKELY, REQUEST, Spread, TextAnswer
from gradatim.models.onnx_runtime import open_onnx
from gradatim.models.predictor import Arrays, Predictor, RuntimeModel
from gradatim.models.speech import ASKED
from gradatim.models.token_by_token import Tokenised
from gradatim.models.tokenizer import brings_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

Floats = NDArray[np.float64]
_PAST = "past_key_values."
_CACHED = ("input_ids", "attention_mask", "position_ids")


def open_onnx_generator(source: ModelSource) -> RuntimeModel:
    """Load a decoder that gives ``logits`` for ``input_ids``, as optimum and ``torch.onnx`` export it; config.json and the
    tokenizer's files lie in its folder. It keeps nothing of the tokens before, so that each one costs a run over all.

    Raises:
        InvalidInput: the file is broken or no decoder; there is no tokenizer beside it.
        EnvironmentLacks: onnxruntime or transformers is missing.
    """
    folder = source.path.parent
    if not brings_tokenizer(folder):
        raise InvalidInput(
            f"{source.path} is asked for text, and its tokenizer does not lie beside it: put config.json, tokenizer.json and "
            f"tokenizer_config.json into {folder}, as `save_pretrained` writes them."
        )
    model = open_onnx(replace(source, signature=None))
    config = _settings(folder / "config.json")
    ends = _settings(folder / "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    most = config.get("max_position_embeddings", config.get("n_positions"))
    asked = _Asker(model, load_tokenizer(folder), source.name, most, ends)
    return RuntimeModel(
        source.name, ASKED, asked, device=source.device, threads=source.threads, release=model.close
    )


def _settings(path: Path) -> dict[str, Any]:
    """What a file of settings says; nothing where there is none."""
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} is no JSON object. Save the model and its tokenizer again.")
    return found


class _Asker:
    """Answers requests: what a RuntimeModel runs."""

    def __init__(self, model: Predictor, tokenizer: Any, name: str, most: int | None, ends: Any) -> None:
        self._model, self._name = model, name
        self._text = Tokenised(tokenizer, name, most)
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = set(ends if isinstance(ends, list) else [ends])
        names = {spec.name for spec in model.signature.outputs}
        strange = [
            spec.name for spec in model.signature.inputs if not spec.name.startswith((*_CACHED, _PAST))
        ]
        if "logits" not in names or strange or model.signature.input("input_ids") is None:
            why = f"takes `{strange[0]}`" if strange else "has no `input_ids` and `logits`"
            raise InvalidInput(
                f"{name} {why}: a decoder takes {', '.join(_CACHED)} or some of them, and gives `logits`."
            )

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        requests = [json.loads(str(line)) for line in inputs[REQUEST].reshape(-1)]
        return {ANSWER: np.array([TextAnswer(**self._answer(one)).to_text() for one in requests], object)}

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        prompt, wants, said = self._text.rendered(request), request["wants"], dict[str, Any]()
        if "text" in wants:
            tokens = self._text.tokens(prompt[0], special=prompt[1])
            if refused := self._text.refused(len(tokens), request["max_new_tokens"]):
                said |= refused
            else:
                made = [self._written(request, tokens, sample) for sample in range(request["samples"])]
                said |= {"texts": tuple(text for text, _ in made), "cut": tuple(cut for _, cut in made)}
        if "choices" in wants:
            said["choices"] = tuple(self._likelihood(prompt, text) for text in request.get("choices", ()))
        if "target" in request and "target" in wants:
            size = len(request["target"].encode())
            said["target"] = (self._likelihood(prompt, request["target"]), size)
        if "target" in request and "spread" in wants:
            said["spread"] = self._spread(prompt, request["target"])
        return said

    def _written(self, request: Mapping[str, Any], prompt: Sequence[int], sample: int) -> tuple[str, bool]:
        """One answer, token by token, and whether it was cut off."""
        told = hashlib.sha256(f"{sample} {json.dumps(request, sort_keys=True)}".encode()).digest()
        dice, stops = np.random.default_rng(int.from_bytes(told[:8], "big")), request.get("stop") or ()
        row: list[int] = []
        while len(row) < request["max_new_tokens"] and not self._ends & {*row[-1:]}:
            row.append(_drawn(self._chances([*prompt, *row])[-1], request, dice))
            if stops and not self._text.ended(row, self._ends, stops)[1]:
                break
        return self._text.ended(row, self._ends, stops)

    def _likelihood(self, prompt: tuple[str, bool], text: str) -> float:
        """Log-likelihood of a text after a prompt, nat."""
        tokens, first = self._text.together(prompt, text)
        chances = self._chances(tokens)[first - 1 : -1]
        return float(chances[np.arange(len(chances)), tokens[first:]].sum())

    def _spread(self, prompt: tuple[str, bool], text: str) -> tuple[Spread, ...]:
        """What else was likely in place of each token of a text."""
        tokens, first = self._text.together(prompt, text)
        found = []
        for token, chances in zip(tokens[first:], self._chances(tokens)[first - 1 : -1], strict=True):
            likeliest = np.argsort(-chances, kind="stable")[:LIKELY].tolist()
            found.append(tuple((one, float(chances[one])) for one in (token, *likeliest)))
        return tuple(found)

    def _chances(self, tokens: Sequence[int]) -> Floats:
        """Log-likelihoods of the next token at each place, nat, [t, vocabulary]."""
        length = len(tokens)
        fed: dict[str, Any] = {
            "input_ids": np.array([tokens]),
            "attention_mask": np.ones((1, length)),
            "position_ids": np.arange(length)[None],
        }
        feeds = {}
        for spec in self._model.signature.inputs:
            if spec.name.startswith(_PAST):  # nothing came before: [batch, heads, 0, size]
                axes = [size if isinstance(size, int) else 0 for size in spec.shape or ()]
                fed[spec.name] = np.zeros([1, *axes[1:]])
            feeds[spec.name] = fed[spec.name].astype(spec.dtype)
        logits = np.asarray(self._model(feeds)["logits"][0], np.float64)
        highest = logits.max(axis=-1, keepdims=True)
        return np.asarray(logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True)))


def _drawn(chances: Floats, request: Mapping[str, Any], dice: np.random.Generator) -> int:
    """The likeliest token, or one that is drawn among the ``top_k`` likeliest that have ``top_p`` of the chance."""
    if not request["temperature"]:
        return int(np.argmax(chances))
    order = np.argsort(-chances, kind="stable")[: request.get("top_k") or None]
    weights = np.exp((chances[order] - chances[order[0]]) / request["temperature"])
    weights /= weights.sum()
    kept = np.cumsum(weights) - weights < (request.get("top_p") or 1.0)
    weights = np.where(kept, weights, 0.0)
    return int(order[dice.choice(len(order), p=weights / weights.sum())])
