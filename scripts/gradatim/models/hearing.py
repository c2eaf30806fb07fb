"""A Hugging Face model that is given recordings and writes what was said: Whisper and its like, or one tag a frame (CTC)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.answers import ANSWER, REQUEST, TextAnswer
from gradatim.models.predictor import Arrays, failed
from gradatim.models.token_by_token import Tokenised
from gradatim.models.tokenizer import load_tokenizer
from gradatim.models.torch_program import quiet
from gradatim.models.variables import offline, silent

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

HEARD = ("input_features", "input_values")
"""The main input of networks that are given recordings."""


def decodes_frames(module: Any) -> bool:
    """Whether a network says one letter, or none, for each moment of a recording (Graves et al. 2006)."""
    return type(module).__name__.endswith("ForCTC")


class Listener:
    """Answers requests that are recordings, one at a time: what is laid beside shorter ones to fill them up may be heard.

    Raises:
        InvalidInput: the folder does not say how it takes sound (``preprocessor_config.json``), or transformers cannot load that.
    """

    def __init__(self, torch: Any, transformers: Any, module: Any, source: ModelSource) -> None:
        self._torch, self._module, self._name = torch, module, source.name
        try:
            with offline(), silent():
                self._extractor = transformers.AutoFeatureExtractor.from_pretrained(
                    str(source.path), local_files_only=True, trust_remote_code=False
                )
        except Exception as error:
            raise failed(str(source.path), "does not say how it takes sound", error) from error
        self.tokens = Tokenised(load_tokenizer(source.path), source.name, None)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        requests = [json.loads(str(line)) for line in inputs[REQUEST].reshape(-1)]
        with self._torch.inference_mode(), quiet(), silent():
            answers = [self._heard(request) for request in requests]
        return {ANSWER: np.array([answer.to_text() for answer in answers], object)}

    def _heard(self, request: Mapping[str, Any]) -> TextAnswer:
        if "audio" not in request:
            raise InvalidInput(
                f"{self._name} hears recordings and reads no prompts: `task: speech_recognition`, and data with `audio`."
            )
        if request["wants"] != ["text"]:
            raise InvalidInput(
                f"{self._name} is asked what was said, and not how likely a text is, which `acc`, `bits_per_byte` and `kl` rest on."
            )
        told = request["audio"]
        sound, rate = np.frombuffer(base64.b64decode(told["samples"]), "<f4"), told["sampling_rate"]
        if rate != self._extractor.sampling_rate:
            raise InvalidInput(
                f"A recording has {rate} samples a second, and {self._name} takes {self._extractor.sampling_rate}. Resample the data."
            )
        longest = getattr(self._extractor, "n_samples", None)
        if longest is not None and sound.shape[0] > longest:
            return TextAnswer(
                error=f"{sound.shape[0] / rate:.1f} s of sound, and the model hears {longest / rate:.0f}"
            )
        given = self._extractor(sound, sampling_rate=rate, return_tensors="pt")
        given = {name: values.to(self._module.device) for name, values in given.items()}
        if decodes_frames(self._module):
            frames = self._module(**given).logits[0].argmax(dim=-1)
            return TextAnswer((str(self.tokens.tokenizer.decode(frames)).strip(),), (False,))
        return self._written(request, given)

    def _written(self, request: Mapping[str, Any], given: Mapping[str, Any]) -> TextAnswer:
        most, drawn = request["max_new_tokens"], {}
        if request["temperature"]:
            told = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).digest()
            self._torch.manual_seed(int.from_bytes(told[:7], "big"))
            drawn = {
                key: request[key] for key in ("temperature", "top_p", "top_k") if request.get(key) is not None
            }
        rows = self._module.generate(
            **given,
            max_new_tokens=most,
            do_sample=bool(drawn),
            num_return_sequences=request["samples"],
            **drawn,
        ).tolist()
        tokenizer, ends = self.tokens.tokenizer, self._module.generation_config.eos_token_id
        last = set(ends if isinstance(ends, list) else [ends])
        texts = tuple(str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows)
        return TextAnswer(texts, tuple(len(row) > most and not last & {*row[1:]} for row in rows))
