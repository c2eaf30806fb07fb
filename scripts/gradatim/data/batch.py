"""What a data set hands out: some rows, their labels, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gradatim.data.columns import Array, is_ragged


@dataclass(frozen=True)
class Batch:
    """Rows of one data set.

    Attributes:
        items: int64 [b], the rows' positions in the data set, from 0. Seeds and pairing go by these.
        inputs: arrays [b, ...] by name: the model's inputs, or the raw columns before preprocessing
            (text and rows of unequal shape are object arrays [b] then).
        labels: [b] or [b, ...], integers, floats or strings; None when the data set has none.
        slices: str [b] by column.
        weights: float64 [b], zero or more; None when all rows count alike.
        groups: [b], the independent unit that a row belongs to (user, document); None when rows are
            independent.
    """

    items: NDArray[np.int64]
    inputs: dict[str, Array]
    labels: Array | None = None
    slices: dict[str, Array] = field(default_factory=dict)
    groups: Array | None = None
    weights: Array | None = None

    @property
    def start(self) -> int:
        """The position of the first row."""
        return int(self.items[0])

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, chosen: slice | Array) -> Batch:
        """Some of the rows; a slice gives views, not copies."""
        return Batch(
            self.items[chosen],
            {name: values[chosen] for name, values in self.inputs.items()},
            None if self.labels is None else self.labels[chosen],
            {name: values[chosen] for name, values in self.slices.items()},
            None if self.groups is None else self.groups[chosen],
            None if self.weights is None else self.weights[chosen],
        )

    def with_inputs(self, inputs: Mapping[str, Array]) -> Batch:
        """The same rows with some inputs replaced, as a corruption does."""
        return replace(self, inputs={**self.inputs, **inputs})

    def within(self, only: range) -> Iterator[Batch]:
        """Those of the rows that stand in a range; nothing where none does."""
        start, stop = (min(max(end - self.start, 0), len(self)) for end in (only.start, only.stop))
        if start < stop:
            yield self.rows(slice(start, stop))

    def ragged(self) -> list[Array]:
        """The inputs whose rows differ in shape; labels may, for what is called together need not be answered alike."""
        return [values for values in self.inputs.values() if is_ragged(values)]

    def runs_of_equal_shape(self) -> Iterator[Batch]:
        """Consecutive rows that agree in shape, each run stacked."""
        columns = self.ragged()
        if not columns:
            yield self
            return
        start = 0
        for stop in range(1, len(self) + 1):
            if stop == len(self) or any(values[stop].shape != values[start].shape for values in columns):
                run = self.rows(slice(start, stop))
                inputs = {name: _stacked(values) for name, values in run.inputs.items()}
                labels = None if run.labels is None else _stacked(run.labels)
                yield replace(run, inputs=inputs, labels=labels)
                start = stop


def _stacked(values: Array) -> Array:
    """Rows of one shape as one array; labels may differ in it."""
    alike = is_ragged(values) and len({value.shape for value in values}) == 1
    return np.stack(list(values)) if alike else values
