"""The tokenizer that a Hugging Face folder brings: text in, the model's own inputs out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, missing_package
from gradatim.files import read_json
from gradatim.models.predictor import Arrays, Predictor, describe_array, failed
from gradatim.models.variables import offline, silent, variables
from gradatim.signature import Signature, TensorSpec

TEXT = TensorSpec("text", "str", ("batch",))
"""The input that takes the place of the tokens: one text an item [batch], or a pair [batch, 2]."""

_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model"),
    *("sentencepiece.bpe.model", "tokenizer.model"),
)
"""Any of these in a folder is a tokenizer."""

_ENDLESS = 1_000_000
"""transformers says 1e30 where a tokenizer knows no longest text."""


def brings_tokenizer(folder: Path) -> bool:
    """Whether a folder of a Hugging Face model holds the files of a tokenizer, too."""
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _FILES)


def tokenizer_of(path: Path) -> Path | None:
    """The folder in which a model's tokenizer lies: its own or, for ONNX, the one around it; None where there is none."""
    folder = path.parent if path.suffix == ".onnx" and not path.is_dir() else path
    return folder if brings_tokenizer(folder) else None


def tokenizer_files(path: Path) -> list[Path]:
    """The files of a model's tokenizer, its config and chat template among them; none where there is no tokenizer."""
    folder = tokenizer_of(path)
    names = (
        *_FILES,
        *("config.json", "generation_config.json", "chat_template.jinja", "special_tokens_map.json"),
        *("added_tokens.json", "merges.txt"),
    )
    return [folder / name for name in names if (folder / name).is_file()] if folder else []


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """``max_length 8, padding left``: what a contract says of a tokenizer."""
    return ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)


class TextTokens:
    """Texts as the tokens of a folder's tokenizer, which the first text loads.

    Args: as ``TextModel``'s.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = {key: value for key, value in settings.items() if value is not None}

    def __call__(self, text: NDArray[Any], wanted: Collection[str]) -> Arrays:
        """Those of the tokenizer's outputs that are wanted, int64 [b, longest]; raises as ``TextModel.encoded``."""
        first, second = _columns(np.asarray(text))
        try:
            with silent(), _one_thread():
                made = self._tokenizer(
                    first,
                    second,
                    padding=True,
                    truncation=self._longest is not None,
                    max_length=self._longest,
                    return_attention_mask="attention_mask" in wanted,
                    return_token_type_ids="token_type_ids" in wanted,
                    return_tensors="np",
                )
        except GradatimError:
            raise
        except Exception as error:
            raise failed(self.folder.name, "has a tokenizer that failed on the texts", error) from error
        return {name: np.asarray(values, np.int64) for name, values in made.items() if name in wanted}

    @cached_property
    def _tokenizer(self) -> Any:
        found = load_tokenizer(self.folder)
        for key in ("truncation", "padding"):
            if key in self.settings:
                setattr(found, f"{key}_side", self.settings[key])
        if found.pad_token is None:
            last = found.eos_token or found.sep_token or found.unk_token
            if last is None:
                raise InvalidInput(
                    f"The tokenizer of {self.folder} has no token to fill shorter texts up with. Give it a `pad_token` in "
                    "tokenizer_config.json."
                )
            found.pad_token = last
        return found

    @cached_property
    def _longest(self) -> int | None:
        """Tokens that a text may have; None where nobody says."""
        if "max_length" in self.settings:
            return int(self.settings["max_length"])
        own = self._tokenizer.model_max_length
        if own is not None and own < _ENDLESS:
            return int(own)
        positions = (read_json(self.folder / "config.json") or {}).get("max_position_embeddings")
        return positions if isinstance(positions, int) and positions > 0 else None


class TextModel:
    """A Predictor that takes text in place of its tokens, or the tokens themselves, as before.

    Its call includes the tokenizer. A longer text than the contract, else the tokenizer, else the model's positions
    allow is cut; shorter ones of a batch are filled up and masked. The tokenizer is loaded by the first text, in the process
    that holds the model where that is another: its runtime is imported there already.

    Args:
        inner: takes the tokens: ``input_ids`` and whatever else of the tokenizer's output its signature names.
        folder: where the tokenizer lies; nothing outside of it is read, and no code that it brings is run.
        settings: ``max_length`` in tokens, ``truncation`` and ``padding``, each the side ``left`` or ``right``; what is
            left out is the tokenizer's own.
    """

    def __init__(self, inner: Predictor, folder: Path, settings: Mapping[str, Any]) -> None:
        self.inner = inner
        self.device, self.threads = inner.device, inner.threads
        own = inner.signature
        self.signature = Signature(own.inputs, own.outputs, TEXT)
        self._tokens = TextTokens(folder, settings)

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        return self.inner(self.encoded(inputs))

    def encoded(self, inputs: Arrays) -> Arrays:
        """Text as tokens, int64 [b, longest]; anything else as it is.

        Raises:
            InvalidInput: no text, or text and tokens at once; the tokenizer is broken.
            EnvironmentLacks: a package that the tokenizer needs is missing.
        """
        if TEXT.name not in inputs:
            return inputs
        if others := [name for name in inputs if name != TEXT.name]:
            raise InvalidInput(
                f"`{TEXT.name}` was given together with `{others[0]}`: a model takes text or tokens."
            )
        wanted = [spec.name for spec in self.inner.signature.inputs]
        holder: Any = self.inner
        while holder is not None and not hasattr(holder, "tokens"):
            holder = getattr(holder, "inner", None)
        if holder is None:
            return self._tokens(inputs[TEXT.name], wanted)
        _columns(np.asarray(inputs[TEXT.name]))  # what is no text is refused here, with its shape
        return dict(holder.tokens(inputs[TEXT.name], wanted, self._tokens.folder, self._tokens.settings))

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> TextModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encoded(predictor: Predictor, inputs: Arrays) -> Arrays:
    """What the model itself is given: text as its tokens, anything else as it is; raises as ``TextModel.encoded``."""
    inner: Any = predictor
    while inner is not None and not isinstance(inner, TextModel):
        inner = getattr(inner, "inner", None)
    return inputs if inner is None else inner.encoded(inputs)


def _columns(text: NDArray[Any]) -> tuple[list[str], list[str] | None]:
    textual = text.dtype.kind == "U" or (
        text.dtype.kind == "O" and all(isinstance(t, str) for t in text.flat)
    )
    if not textual or not (text.ndim == 1 or (text.ndim == 2 and text.shape[1] == 2)):
        raise InvalidInput(
            f"`{TEXT.name}` must be one text an item, str[batch], or a pair of texts, str[batch, 2]; got "
            f"{describe_array(text)}."
        )
    if not len(text):
        raise InvalidInput("A batch of no texts cannot be predicted.")
    if text.ndim == 1:
        return [str(t) for t in text], None
    return [str(t) for t in text[:, 0]], [str(t) for t in text[:, 1]]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, by transformers.

    ``tokenizer_config.json`` may name its files by paths of the machine that it was saved on: those of the folder count.
    """
    config = folder / "tokenizer_config.json"
    told = read_json(config) if config.is_file() else {}
    files: dict[str, str | None] = {}
    for key, value in told.items() if isinstance(told, Mapping) else ():
        if key.endswith("_file") and key != "special_tokens_map_file":
            inside = folder / Path(str(value)).name
            files[key] = str(inside) if value and inside.is_file() else None
    try:
        with offline(), silent():
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **files
            )
    except ImportError as error:
        raise _lacking(error, folder) from error
    except Exception as error:
        raise failed(str(folder), "has a tokenizer that transformers cannot load", error) from error


def _lacking(error: ImportError, folder: Path) -> EnvironmentLacks:
    purpose = f"The tokenizer of {folder.name}"
    package = (error.name or "transformers").partition(".")[0]
    if package in ("transformers", "tokenizers"):
        return missing_package(package, "transformers", purpose)
    return EnvironmentLacks(
        f"{purpose} needs the package `{package}`, which is not installed. Install it with: python -m pip install {package}"
    )


def _one_thread() -> AbstractContextManager[None]:
    """Tokenizers run on every processor unless told otherwise, and a model's threads are counted."""
    return variables(TOKENIZERS_PARALLELISM="false")
