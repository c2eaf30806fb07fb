"""What a recipe may learn from: the calibration batches, and what the model's tensors hold on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.compression.equalising import equalisable, equalised
from gradatim.compression.observing import Observed, observe
from gradatim.compression.ranges import narrowed

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Calibrated:
    """A prepared model, with the data to calibrate it by.

    Attributes:
        prepared: as ``graph.prepare`` read it; nobody changes it.
        batches: .npz files with its inputs.
        kept: file that keeps what was seen, for the next attempt.
        weight_bits: 7 on processors whose 16-bit sums overflow otherwise.
        ranges: kind of the ranges (``ranges.RANGES``); empty: all that was seen.
    """

    prepared: ModelProto
    batches: Sequence[Path]
    kept: Path
    weight_bits: int = 8
    ranges: str = ""

    @property
    def model(self) -> ModelProto:
        """The model to work on, channels equalised; nobody changes it."""
        return self._equalised[0] if equalisable(self.prepared) else self.prepared

    @property
    def seen(self) -> Mapping[str, Observed]:
        """What each float tensor of it that can be quantised holds."""
        return self._equalised[1]

    @cached_property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """The range by which each of them is quantised."""
        if not self.ranges:
            return {name: observed.bounds for name, observed in self.seen.items()}
        counts = self.kept.with_name(f"counts-{self.kept.name}")
        return narrowed(self.ranges, self.model, self.seen, self.batches, counts)

    @cached_property
    def _equalised(self) -> tuple[ModelProto, Mapping[str, Observed]]:
        return equalised(self.prepared, observe(self.prepared, self.batches, self.kept))
