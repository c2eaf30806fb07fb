"""What a data set hands out: some rows, their labels, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Rows of one data set.

    Attributes:
        items: int64 [b], the rows' positions in the data set, from 0. Seeds and pairing go by these.
        inputs: arrays [b, ...] by name: the model's inputs, or the raw columns before preprocessing
            (text and rows of unequal shape are object arrays [b] then).
        labels: [b] or [b, ...], integers, floats or strings; None when the data set has none.
        slices: str [b] by column.
        groups: [b], the independent unit that a row belongs to (user, document); None when rows are
            independent.
    """

    items: NDArray[np.int64]
    inputs: dict[str, Array]
    labels: Array | None = None
    slices: dict[str, Array] = field(default_factory=dict)
    groups: Array | None = None

    @property
    def start(self) -> int:
        """The position of the first row."""
        return int(self.items[0])

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, chosen: slice | NDArray[Any]) -> Batch:
        """Some of the rows; a slice gives views, not copies."""
        return Batch(
            self.items[chosen],
            {name: values[chosen] for name, values in self.inputs.items()},
            None if self.labels is None else self.labels[chosen],
            {name: values[chosen] for name, values in self.slices.items()},
            None if self.groups is None else self.groups[chosen],
        )

    def with_inputs(self, inputs: Mapping[str, Array]) -> Batch:
        """The same rows with some inputs replaced, as a corruption does."""
        return replace(self, inputs={**self.inputs, **inputs})
