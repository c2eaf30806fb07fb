"""The rows of a data set that are corrupted: sampled once, in batches that are the same for every job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data import Batch, Dataset
from gradatim.data.columns import is_ragged
from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from gradatim.shard import Shard

_HELD_BYTES = 256 << 20
"""Sampled rows are kept in memory up to this; more are read again for every severity."""

_BLOCK_BYTES = 32 << 20
_EXAMPLE = 256
"""Rows that tell what the items are and on which scale."""


def sample(total: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many places of a data set, drawn without replacement, rising: int64 [n]."""
    if most >= total:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False)).astype(np.int64)


class SampledRows:
    """The sampled raw rows, in batches; held in memory while they fit, else read again in each pass.

    Args:
        dataset: hands them out.
        items: int64 [n], their places in the data set, rising.
        batch: rows of a batch; fewer at the end of what is read at once.
        shard: just the batches that begin in this part of the items.
    """

    def __init__(
        self, dataset: Dataset, items: NDArray[np.int64], batch: int, shard: Shard | None = None
    ) -> None:
        self.items = items
        self.whole = len(items) == len(dataset)
        self._mine = shard.rows(len(items), batch) if shard else range(len(items))
        self._dataset = dataset
        self._batch = batch
        self._block = self._rows_to_read(batch)
        self._held: list[Batch] | None = self._hold()

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._held) if self._held is not None else self._read()

    def mine(self) -> NDArray[np.int64]:
        """The places in the data set of the rows that are handed out."""
        found = [batch.items for batch in self]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def example(self) -> Batch:
        """The first rows, as long as their shapes agree: the same ones whatever the batch size."""
        block = self._rows_to_read(_EXAMPLE)
        parts: list[Batch] = []
        for part in rows_of(self._dataset, self.items[:_EXAMPLE], block):
            if parts and any(part.inputs[n].shape[1:] != v.shape[1:] for n, v in parts[0].inputs.items()):
                break
            parts.append(part)
        inputs = {name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs}
        labels = None if parts[0].labels is None else joined([part.labels for part in parts])
        return Batch(np.concatenate([part.items for part in parts]), inputs, labels)

    def _rows_to_read(self, wanted: int) -> int:
        """Rows to read at once for so many of the sampled ones."""
        spread = wanted * len(self._dataset) // max(len(self.items), 1)
        one = sum(_bytes(a) for a in next(self._dataset.raw_batches(1)).inputs.values())
        return max(wanted, min(spread, _BLOCK_BYTES // max(one, 1)))

    def _read(self) -> Iterator[Batch]:
        place = 0
        for block in rows_of(self._dataset, self.items, self._block):
            for start in range(0, len(block), self._batch):
                if place + start in self._mine:
                    yield block.rows(slice(start, start + self._batch))
            place += len(block)

    def _hold(self) -> list[Batch] | None:
        held, size = [], 0
        for batch in self._read():
            size += sum(_bytes(array) for array in batch.inputs.values())
            if size > _HELD_BYTES:
                return None
            held.append(batch)
        return held


def rows_of(dataset: Dataset, items: NDArray[np.int64], block: int) -> Iterator[Batch]:
    """The raw rows at some places, in batches of at most ``block``.

    Raises:
        InvalidInput: the data set ends before the last place.
    """
    found = 0
    for raw in dataset.raw_batches(block):
        here = np.flatnonzero(np.isin(raw.items, items, assume_unique=True))
        if len(here):
            found += len(here)
            yield raw if len(here) == len(raw) else raw.rows(here)
        if found == len(items):
            return
    raise InvalidInput(
        f"The data set {dataset.name} gave {found} of {len(items)} rows: it changed while it was read."
    )


def _bytes(array: NDArray[Any]) -> int:
    if array.dtype != object:
        return array.nbytes
    return sum(value.nbytes if isinstance(value, np.ndarray) else len(str(value)) for value in array)


def joined(parts: Sequence[Any]) -> Any:
    """One column out of its parts: an array, or a list of arrays where rows differ in length."""
    even = all(isinstance(part, np.ndarray) and part.dtype != object for part in parts)
    if even and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    if all(isinstance(part, np.ndarray) and part.ndim == 1 and not is_ragged(part) for part in parts):
        return np.concatenate(parts)
    return [np.asarray(row) for part in parts for row in part]
