"""A model that was loaded, with everything around it that the data do not feed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.models.filling import TOKENS, completed
from gradatim.models.predictor import Predictor
from gradatim.models.stateful import bind
from gradatim.models.tokenizer import TextModel, settings_in_words, tokenizer_of


def ready(
    predictor: Predictor,
    path: Path,
    *,
    constants: Mapping[str, Any],
    carries: Mapping[str, str],
    tokenizer: Mapping[str, Any] | None,
) -> Predictor:
    """Fill in constants, states and masks, and put the tokenizer of a Hugging Face folder, or of one around ONNX, in front.

    Args:
        predictor: as ``open_model`` gives it; closed with what comes back.
        path: the model's file or folder.
        constants, carries: as for ``bind``.
        tokenizer: what the contract says of the tokenizer (``max_length``, ``truncation``, ``padding``); None when it
            says nothing.

    Raises:
        InvalidInput: as ``bind``; or the contract speaks of a tokenizer and there is none.
    """
    bound = bind(predictor, constants=constants, carries=carries) if constants or carries else predictor
    whole = completed(bound)
    folder = tokenizer_of(path)
    if folder is not None and whole.signature.input(TOKENS) is not None:
        return TextModel(whole, folder, tokenizer or {})
    if tokenizer is not None:
        why = (
            "there is no tokenizer in it"
            if path.is_dir()
            else "a file brings none, and there is none beside it"
        )
        raise InvalidInput(
            f"`model.tokenizer` ({settings_in_words(tokenizer) or 'empty'}) is for a Hugging Face folder that brings its "
            f"tokenizer, or for ONNX in one, and {path} is none: {why}. Save the tokenizer beside the model (`save_pretrained`), or take "
            "`tokenizer` out of the contract and make the tokens in `preprocess`."
        )
    return whole
