"""What is right for each row: classes, numbers, or a sequence of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.columns import Array, Kind, Where, converted, is_ragged, object_array, typed
from gradatim.errors import InvalidInput

IGNORED = -100
"""The label of positions that do not count in a sequence, as PyTorch and Transformers have it."""

VOID = 255
"""The label of pixels that do not count in a map, as Pascal VOC and Cityscapes have it."""


def read_labels(values: Array, kind: Kind | None, labels: Sequence[str | int] | None, where: Where) -> Array:
    """A label column as int64, float64 or str [b], or [b, ...] for sequences (an object array when unequal).

    Raises:
        InvalidInput: a label is missing, NaN, or outside the label list; names row and label.
    """
    if values.dtype == object:
        for offset, value in enumerate(values):
            if value is None or (isinstance(value, str) and not value.strip()):
                where.refuse(offset, "is empty. Every row needs its label.")
    if kind == "other":
        where.refuse(
            0, f"is {str(values[0])[:40]!r}; a label is an integer, a number, a text or a list of them."
        )
    result = typed(values, kind, where) if kind != "array" else _lists(values, where)
    if result.dtype == object and not is_ragged(result):
        result = np.array(result.tolist(), dtype=np.str_)
    if result.dtype.kind == "b":
        result = result.astype(np.int64)
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        offset = np.argwhere(~np.isfinite(result))[0][0]
        where.refuse(offset, f"is {result[offset]}. Every row needs its label.")
    if labels is not None:
        for offset, row in enumerate(result) if is_ragged(result) else [(0, result)]:
            _refuse_outside(row, labels, Where(where.place, where.column, where.start + offset))
    return result


def read_weights(values: Array, where: Where) -> NDArray[np.float64]:
    """A column of row weights, float64 [b].

    Raises:
        InvalidInput: one is missing, infinite or below zero; names the row.
    """
    found = converted(values, "float64", where)
    if found.ndim != 1 or is_ragged(found):
        where.refuse(0, "is a list. A weight is one number.")
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        offset = int(wrong.argmax())
        where.refuse(offset, f"is {found[offset]:g}. A weight is a number, zero or more.")
    return found.astype(np.float64)


def _lists(values: Array, where: Where) -> Array:
    """Labels that are lists: a picture may hold nothing, and an item bear no label."""
    empty = np.array([np.size(value) == 0 for value in values], np.bool_)
    if not empty.any() or empty.all():
        return typed(values, "array", where)
    known = typed(values[~empty], "array", where)
    nothing = np.zeros((0, *known[0].shape[1:]), known[0].dtype)
    rest = iter(known)
    return object_array(nothing if lacks else next(rest) for lacks in empty)


def _refuse_outside(values: Array, labels: Sequence[str | int], where: Where) -> None:
    """Refuse a label that is not in the list; integers against a list of names are positions in it already."""
    named = any(isinstance(label, str) for label in labels)
    whole = values.dtype.kind in "iu"
    ignored = np.isin(values, (IGNORED, VOID)) & (values.ndim > 1) if whole else np.False_
    known: NDArray[Any] = np.array([str(label) for label in labels] if named else list(labels))
    if values.dtype.kind in "US" and not named:
        known = known.astype(np.str_)
    if whole and (named or list(labels) == list(range(len(labels)))):
        outside = ((values < 0) | (values >= len(labels))) & ~ignored
    elif values.dtype.kind != known.dtype.kind and {values.dtype.kind, known.dtype.kind} & set("US"):
        outside = np.ones(values.shape, np.bool_)
    else:
        outside = ~np.isin(values, known) & ~ignored
    if outside.any():
        first = np.argwhere(outside)[0]
        shown = ", ".join(str(label) for label in labels[:12]) + (", ..." if len(labels) > 12 else "")
        where.refuse(
            first[0] if values.ndim == 1 or len(first) > 1 else 0,
            f"is {values[tuple(first)].item()!r}, which is not in the label list ({shown}). "
            "Add it to the list, or repair the row.",
        )


def classes_of(values: Sequence[Array]) -> list[Any]:
    """The distinct labels, sorted; positions that do not count are left out.

    Raises:
        InvalidInput: there are no labels.
    """
    if not values:
        raise InvalidInput("The data set has no labels.")
    distinct = {label for part in values for label in np.unique(part).tolist()}
    sequences = any(part.ndim > 1 for part in values)
    return sorted(label for label in distinct if not (sequences and label == IGNORED))
