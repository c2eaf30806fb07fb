"""What is right for each row: classes, numbers, or a sequence of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.columns import Array, Kind, Where, is_ragged, typed
from gradatim.errors import InvalidInput

IGNORED = -100
"""The label of positions that do not count in a sequence, as PyTorch and Transformers have it."""


def label_indices(values: Array, labels: Sequence[str | int]) -> NDArray[np.int64]:
    """The position of each label in the label list.

    Integers against a list of names are positions already. In sequences, -100 (a position that does not
    count) stays.

    Args:
        values: [b] or [b, ...], integers or strings.
        labels: the label list, in the order of the model's outputs.

    Raises:
        InvalidInput: a label is not in the list; names the row (counted from 1 in ``values``).
    """
    return _indices(values, labels, Where("the data", "label"))


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
    result = typed(values, kind, where)
    if result.dtype == object and not is_ragged(result):
        result = np.array(result.tolist(), dtype=np.str_)
    if result.dtype.kind == "b":
        result = result.astype(np.int64)
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        offset = np.argwhere(~np.isfinite(result))[0][0]
        where.refuse(offset, f"is {result[offset]}. Every row needs its label.")
    if labels is not None:
        for offset, row in enumerate(result) if is_ragged(result) else [(0, result)]:
            _indices(row, labels, Where(where.place, where.column, where.start + offset))
    return result


def _indices(values: Array, labels: Sequence[str | int], where: Where) -> NDArray[np.int64]:
    named = any(isinstance(label, str) for label in labels)
    positions_themselves = named or list(labels) == list(range(len(labels)))
    ignored = (values == IGNORED) & (values.ndim > 1) if values.dtype.kind in "iu" else np.False_
    if values.dtype.kind in "iu" and positions_themselves:
        result = values.astype(np.int64)
        outside = ((result < 0) | (result >= len(labels))) & ~ignored
    else:
        known: NDArray[Any] = np.array([str(label) for label in labels] if named else list(labels))
        if values.dtype.kind in "US" and not named:
            known = known.astype(np.str_)
        order = np.argsort(known, kind="stable")
        if values.dtype.kind != known.dtype.kind and {values.dtype.kind, known.dtype.kind} & set("US"):
            positions, outside = np.zeros(values.shape, np.int64), np.ones(values.shape, np.bool_)
        else:
            positions = np.minimum(np.searchsorted(known, values, sorter=order), len(known) - 1)
            outside = (known[order[positions]] != values) & ~ignored
        result = np.where(ignored, IGNORED, order[positions]).astype(np.int64)
    if outside.any():
        first = np.argwhere(outside)[0]
        shown = ", ".join(str(label) for label in labels[:12]) + (", ..." if len(labels) > 12 else "")
        where.refuse(
            first[0] if values.ndim == 1 or len(first) > 1 else 0,
            f"is {values[tuple(first)].item()!r}, which is not in the label list ({shown}). "
            "Add it to the list, or repair the row.",
        )
    return result


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
