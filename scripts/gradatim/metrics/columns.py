"""One array over the items of a data set, even or ragged, of numbers or of strings; and how to walk over a large one."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput

Array = NDArray[Any]

PIECE_BYTES = 1 << 18
"""What is worked on at once where memory must stay flat; intermediate results take a few times as much."""


@dataclass(frozen=True)
class Column:
    """One array over the items: an output, the labels, a slice column or the groups.

    Attributes:
        values: [n, ...]; for a ragged column [sum of lengths, ...], item i being
            ``values[offsets[i]:offsets[i+1]]``.
        offsets: int64 [n + 1] for a ragged column, else None.
        names: for a column of strings, the string of each code; ``values`` are then int64 codes.
    """

    values: Array
    offsets: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0] if self.offsets is None else self.offsets.shape[0] - 1)

    def item(self, index: int) -> Array:
        """The value of one item."""
        if self.offsets is None:
            return np.asarray(self.values[index])
        return np.asarray(self.values[int(self.offsets[index]) : int(self.offsets[index + 1])])

    def take(self, rows: NDArray[np.int64]) -> Column:
        """The column of some items, in memory."""
        if self.offsets is None:
            return Column(np.asarray(self.values[rows]), None, self.names)
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parts = [self.item(int(row)) for row in rows]
        return Column(np.concatenate(parts) if parts else self.values[:0], offsets, self.names)

    def plain(self, rows: slice) -> Array | list[Array]:
        """Some rows as they came: [b, ...], for a ragged column a list of b arrays; strings where there are codes."""
        if self.offsets is not None:
            return [self._spelled(self.item(index)) for index in range(*rows.indices(len(self)))]
        return self._spelled(np.asarray(self.values[rows]))

    def _spelled(self, values: Array) -> Array:
        return values if self.names is None else np.array(self.names, dtype=np.str_)[values]


def parts_of(values: Array | Sequence[Any]) -> list[Array] | None:
    """The items of a ragged column, None when the column is even."""
    if isinstance(values, np.ndarray) and (values.dtype != object or values.ndim != 1):
        return None
    if all(isinstance(value, (str, bytes, int, float, bool, np.generic)) for value in values):
        return None
    return [np.asarray(value) for value in values]


def encoded(values: Array, codes: dict[str, int], name: str) -> NDArray[np.int64]:
    flat = values.reshape(-1)
    if values.dtype.kind == "O" and not all(isinstance(value, str) for value in flat):
        raise InvalidInput(f"`{name}` mixes strings with other things. Make them all strings or all numbers.")
    distinct, first, inverse = np.unique(flat.astype(str), return_index=True, return_inverse=True)
    for text in distinct[
        np.argsort(first)
    ]:  # by first appearance: the codes do not depend on how rows are batched
        codes.setdefault(str(text), len(codes))
    mapped = np.array([codes[str(text)] for text in distinct], np.int64)
    return mapped[inverse].reshape(values.shape) if distinct.size else np.zeros(values.shape, np.int64)


def in_memory(values: Any, *, as_names: bool = False) -> Column:
    codes: dict[str, int] = {}
    parts = parts_of(values)
    if parts is not None:
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        if joined.dtype.kind in "USO":
            return Column(encoded(joined, codes, "a column"), offsets, tuple(codes))
        return Column(joined, offsets)
    plain = np.asarray(values)
    if as_names or plain.dtype.kind in "USO":
        numbers = encoded(plain.astype(str) if as_names else plain, codes, "a column")
        return Column(numbers, None, tuple(codes))
    return Column(plain)


def chunks(n: int, row_bytes: int, most: int = 4 << 20) -> Iterator[slice]:
    """Slices of rows that hold about ``most`` bytes each."""
    step = max(1, most // max(1, row_bytes))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def pieces(values: Array) -> Iterator[tuple[slice, Array]]:
    """Consecutive rows of about ``PIECE_BYTES``; of a memory map no more than that stays in memory."""
    for rows in chunks(values.shape[0], values.nbytes // max(1, values.shape[0]), PIECE_BYTES):
        yield rows, values[rows]
        forget(values)


def forget(values: Array) -> None:
    """Give the pages of a memory map back to the system, which reads them again when they are asked for."""
    owner: Any = values
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
