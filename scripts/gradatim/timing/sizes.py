"""Batches of a declared size: so many rows, of so many tokens or of such a length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.models import Predictor
from gradatim.models.tokenizer import encoded

_LONGEST_TOKEN = 64
"""Letters."""

Inputs = Mapping[str, NDArray[Any]]


def so_many(inputs: Inputs, rows: int) -> dict[str, NDArray[Any]]:
    """So many rows; where the data has fewer, from its first one again."""
    return {name: _cyclic(values, rows, 0) if len(values) else values for name, values in inputs.items()}


def so_long(inputs: Inputs, length: int, predictor: Predictor) -> dict[str, NDArray[Any]]:
    """Rows of such a length: what is longer is cut, what is shorter goes on from its start.

    Args:
        inputs: rows as the model takes them.
        length: of a text so many tokens of the model's own tokenizer, or the most below that letters can make; else the size of
            an input's one free axis, the rows' own apart.
        predictor: the model.

    Raises:
        InvalidInput: no input has a free axis, or one has several, or the model takes no text that long.
    """
    text = predictor.signature.text
    if text is not None and text.name in inputs:
        rows = np.asarray(inputs[text.name])
        return {text.name: np.concatenate([_text(row, length, text.name, predictor) for row in rows])}
    found, free = dict(inputs), 0
    for spec in predictor.signature.inputs:
        axes = [axis for axis, size in enumerate(spec.shape or ()) if axis and not isinstance(size, int)]
        if spec.name not in inputs or not axes or spec.dtype == "str":
            continue
        if len(axes) > 1 or not inputs[spec.name].shape[axes[0]]:
            raise InvalidInput(
                f"`lengths` is for an input with one free axis besides the rows, and {spec} has {len(axes)}."
            )
        found[spec.name], free = _cyclic(inputs[spec.name], length, axes[0]), free + 1
    if not free:
        told = "; ".join(map(str, predictor.signature.inputs)) or "of which nothing is said"
        raise InvalidInput(
            f"`lengths` asks for rows of {length}, and no input of the model has a free length: {told}."
        )
    return found


def _cyclic(values: NDArray[Any], size: int, axis: int) -> NDArray[Any]:
    taken: NDArray[Any] = np.take(values, np.arange(size) % values.shape[axis], axis)
    return taken


def _text(row: Any, length: int, name: str, predictor: Predictor) -> NDArray[Any]:
    """A text, or a pair of them whose last one gives way, of as many tokens as letters can make."""
    fixed, own = ([row[0]], str(row[1])) if np.ndim(row) else ([], str(row))
    own = own.strip() or "a"

    def cut(letters: int) -> NDArray[Any]:
        text = (f"{own} " * (letters // (len(own) + 1) + 1))[:letters]
        return np.array([[*fixed, text]] if fixed else [text])

    def tokens(letters: int) -> int:
        made = encoded(predictor, {name: cut(letters)})
        return int(next(iter(made.values())).shape[1])

    most = 1
    while (made := tokens(most)) < length:
        if most > _LONGEST_TOKEN * length:
            raise InvalidInput(
                f"`lengths` asks for texts of {length} tokens, and the model's tokenizer cuts them at {made}."
            )
        most *= 2
    least = most // 2
    while made > length and most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if tokens(middle) <= length else (least, middle)
    if made > length and not least:
        raise InvalidInput(f"`lengths` asks for texts of {length} tokens, and a single letter makes {made}.")
    return cut(least if made > length else most)
