"""What is shown of a model's answers beside its metrics, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CalibrationBin:
    """Samples of like confidence: how confident the model was on average, and how often right.

    Attributes:
        low, high: what the confidence lies between.
        n: how many samples.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class WeakSlice:
    """A slice that is worse than the rest: a hint for a person, never a gate.

    Attributes:
        where: the slice in words: ``region=north,class=8``.
        n: its items.
        value: mean item quality in it (share of right answers).
        rest: the same outside it.
        p: one-sided p-value of the difference, times the number of slices looked at.
    """

    where: str
    n: int
    value: float
    rest: float
    p: float
