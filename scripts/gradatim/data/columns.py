"""From what a file holds to arrays of a wanted dtype, without ever changing a value unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput

Array = NDArray[Any]
Kind = Literal["numeric", "int", "float", "text", "array", "other"]
"""What a column holds: ``numeric`` arrays know their dtype, the others are Python values."""

_WORDS = {"true": 1, "false": 0, "1": 1, "0": 0}


@dataclass(frozen=True)
class Where:
    """A column of a data set, and the position (from 0) of the first row at hand."""

    place: str
    column: str
    start: int = 0

    def refuse(self, offset: int, problem: str) -> NoReturn:
        raise InvalidInput(f"Row {self.start + int(offset) + 1} of {self.place}: `{self.column}` {problem}")


def object_array(values: Iterable[Any]) -> Array:
    """An object array [b] of Python values; NumPy does not look inside them."""
    return np.fromiter(values, dtype=object)


def kind_of(values: Array, textual: bool) -> Kind | None:
    """The narrowest kind that holds every value; None when all are missing (None, or empty text)."""
    if values.dtype != object:
        return "text" if values.dtype.kind in "US" else "numeric"
    present = (
        [value for value in values if value is not None and value != ""] if _plain(values) else list(values)
    )
    if not present:
        return None
    if isinstance(present[0], (np.ndarray, list, tuple)):
        return "array"
    if isinstance(present[0], str):
        return _kind_of_text(present) if textual else "text"
    if isinstance(present[0], (bool, int, float)):
        return "float" if any(isinstance(value, float) for value in present) else "int"
    return "other"


def wider(first: Kind | None, second: Kind | None) -> Kind | None:
    """The kind that holds both."""
    if first is None or second is None or first == second:
        return first or second
    return "float" if {first, second} == {"int", "float"} else "text"


def typed(values: Array, kind: Kind | None, where: Where) -> Array:
    """A raw column in its own kind: int64, float64 (missing: NaN), object array of text or of arrays.

    Raises:
        InvalidInput: a value of another kind, or an integer beyond 64 bits.
    """
    if values.dtype != object:
        return values.astype(object) if values.dtype.kind in "US" else values
    if kind == "array":
        return stacked(_arrays(values, None, where, exact=True), where)
    if kind == "text" or kind is None:
        return object_array(
            "" if value is None else _text(value, offset, where) for offset, value in enumerate(values)
        )
    if kind == "other":
        return values
    if kind == "float":
        return np.array([_number(value, offset, where) for offset, value in enumerate(values)], np.float64)
    return _integers(values, where)


def converted(values: Array, dtype: str, where: Where, exact: bool = False) -> Array:
    """A column in the dtype that the model declares, if that changes no value.

    Decimal fractions are rounded to the nearest number of the dtype, as every reader does; integers must be
    represented exactly, and nothing may overflow. Arrays that carry their own dtype (``exact``, and array
    values in rows) are left as they are.

    Args:
        values: [b, ...] numbers, or an object array [b] of text, numbers, lists or arrays.
        dtype: as numpy spells it, or ``str``.

    Returns:
        [b, ...], or an object array [b] of arrays when rows differ in shape, or of text.

    Raises:
        InvalidInput: a value is missing or cannot be represented; names row and column.
    """
    if values.dtype != object:
        if values.dtype.kind in "US":
            values = values.astype(object)
        else:
            return values if exact else _cast(values, dtype, where)
    if len(values) == 0:
        return values
    first = values[0]
    if isinstance(first, (np.ndarray, list, tuple)):
        return stacked(_arrays(values, dtype, where, exact), where)
    if dtype == "str":
        return object_array(_text(value, offset, where) for offset, value in enumerate(values))
    if any(isinstance(value, str) for value in values):
        return _parsed(values, dtype, where)
    for offset, value in enumerate(values):
        if not isinstance(value, (bool, int, float, np.number)):
            where.refuse(offset, f"is {_shown(value)}, the model wants {dtype}.")
    try:
        numbers = np.array(values.tolist())
    except OverflowError:
        numbers = np.array(values.tolist(), dtype=object)
    if numbers.dtype == object:
        offset = next(i for i, value in enumerate(values) if isinstance(value, int) and abs(value) >= 1 << 63)
        where.refuse(offset, f"is {_shown(values[offset])}, which no {dtype} represents.")
    return _cast(numbers, dtype, where)


def stacked(rows: list[Array], where: Where) -> Array:
    """Rows of equal shape as one array [b, ...], else an object array [b] of arrays.

    Raises:
        InvalidInput: a row of length zero; rows that differ in their number of axes or dtype.
    """
    for offset, row in enumerate(rows):
        if row.size == 0:
            where.refuse(offset, "has length zero. Remove the row, or give it content.")
        if row.ndim != rows[0].ndim or row.dtype.kind != rows[0].dtype.kind:
            where.refuse(
                offset,
                f"is {row.dtype} with {row.ndim} axes, the rows before it {rows[0].dtype} with {rows[0].ndim}.",
            )
    if all(row.shape == rows[0].shape for row in rows):
        return np.stack(rows)
    return object_array(rows)


def is_ragged(values: Array) -> bool:
    """Whether a column holds arrays of unequal shape."""
    return (
        values.dtype == object and values.ndim == 1 and len(values) > 0 and isinstance(values[0], np.ndarray)
    )


def refuse_nonfinite(values: Array, where: Where) -> None:
    """Refuse NaN, infinity and rows of length zero in a model's input.

    Raises:
        InvalidInput: names the first such row.
    """
    if is_ragged(values):
        for offset, row in enumerate(values):
            refuse_nonfinite(row[None], Where(where.place, where.column, where.start + offset))
        return
    if values.ndim > 1 and len(values) and values[0].size == 0:
        where.refuse(0, f"has length zero (shape {values.shape[1:]}). Remove the row, or give it content.")
    if values.dtype.kind not in "fc" or values.size == 0:
        return
    with np.errstate(all="ignore"):
        if np.isfinite(
            values.sum()
        ):  # one pass without a temporary array; a sum is finite only if all terms are
            return
    wrong = ~np.isfinite(values.reshape(len(values), -1))
    if wrong.any():
        offset, position = np.argwhere(wrong)[0]
        number = values.reshape(len(values), -1)[offset, position]
        where.refuse(
            offset, f"holds {number}. Repair or remove the row; data with NaN or infinity proves nothing."
        )


def _plain(values: Array) -> bool:
    return not any(isinstance(value, np.ndarray) for value in values[:1])


def _kind_of_text(values: list[str]) -> Kind:
    """Numbers only when writing them back gives the same text: ``007`` is a name, not the number 7."""
    texts = np.array(values, dtype=np.str_)
    try:
        integers = texts.astype(np.int64)
        return "int" if (integers.astype(np.str_) == np.char.strip(texts)).all() else "text"
    except (ValueError, OverflowError):
        pass
    try:
        texts.astype(np.float64)
    except ValueError:
        return "text"
    return "float"


def _text(value: Any, offset: int, where: Where) -> str:
    if not isinstance(value, str):
        where.refuse(offset, f"is {_shown(value)}, not text.")
    return value


def _number(value: Any, offset: int, where: Where) -> float:
    if value is None or value == "":
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        where.refuse(offset, f"is {_shown(value)}, not a number.")


def _integers(values: Array, where: Where) -> Array:
    if any(value is None or value == "" for value in values):
        return np.array([_number(value, offset, where) for offset, value in enumerate(values)], np.float64)
    try:
        return values.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        for offset, value in enumerate(values):
            try:
                np.int64(int(value))
            except (ValueError, TypeError, OverflowError):
                where.refuse(offset, f"is {_shown(value)}, not an integer of 64 bits.")
        raise


def _parsed(values: Array, dtype: str, where: Where) -> Array:
    for offset, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            where.refuse(offset, f"is {_shown(value) if value else 'empty'}, the model wants {dtype}.")
    if dtype == "bool":
        words = [_WORDS.get(value.strip().lower()) for value in values]
        if None in words:
            offset = words.index(None)
            where.refuse(offset, f"is {_shown(values[offset])}, not true or false.")
        return np.array(words, np.bool_)
    unsigned = dtype.startswith("uint")
    try:
        exact: Array = values.astype(np.uint64 if unsigned else np.int64)
        return _cast(exact, dtype, where)
    except (ValueError, OverflowError):
        pass
    try:
        return _cast(values.astype(np.float64), dtype, where)
    except ValueError:
        offset = next(i for i, value in enumerate(values) if not _is_number(value))
        where.refuse(offset, f"is {_shown(values[offset])}, not a number; the model wants {dtype}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _arrays(values: Array, dtype: str | None, where: Where, exact: bool) -> list[Array]:
    """Each row's list as an array of the dtype; an array that is exact keeps its own."""
    return list(_each(values, dtype, where, exact))


def _each(values: Array, dtype: str | None, where: Where, exact: bool) -> Iterator[Array]:
    for offset, value in enumerate(values):
        if isinstance(value, np.ndarray) and exact:
            yield value
            continue
        if not isinstance(value, (np.ndarray, list, tuple)):
            where.refuse(offset, f"is {_shown(value)}, the rows before it are lists.")
        try:
            array = np.array(value)
        except (ValueError, OverflowError):
            array = np.array(None)
        here = Where(where.place, where.column, where.start + offset)
        if array.size == 0:
            here.refuse(0, "has length zero. Remove the row, or give it content.")
        if array.dtype.kind == "U" and dtype in (None, "str"):
            yield array
        elif array.dtype.kind in "OUS":
            here.refuse(0, f"is a list of unequal parts or not of numbers: {_shown(value)}.")
        else:
            yield array if dtype is None else _cast(array[None], dtype, here)[0]


def _cast(values: Array, dtype: str, where: Where) -> Array:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        return values
    if values.dtype == wanted:
        return values
    if wanted.kind in "USO":
        where.refuse(0, f"is the number {_shown(values.flat[0])}, the model wants text.")
    with np.errstate(all="ignore"):
        result = values.astype(wanted)
        if wanted.kind == "f" and values.dtype.kind == "f":
            lost = np.isfinite(values) & ~np.isfinite(result)
        elif wanted.kind == "b":
            lost = (values != 0) & (values != 1)
        else:
            lost = (result.astype(values.dtype) != values) | ((result < 0) != (values < 0))
    if lost.any():
        offset = np.argwhere(lost)[0][0]
        number = values[lost].flat[0]
        where.refuse(offset, f"is {number}, which {dtype}, the dtype the model wants, cannot represent.")
    return result


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
