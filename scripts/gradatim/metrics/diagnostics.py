"""What is shown of a model's answers beside its metrics, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class FlippedAnswer:
    """A prompt that candidate or baseline answers rightly, and the other not.

    Attributes:
        prompt: what was asked last.
        reference: the right answer, as the data have it.
        before: what the baseline said.
        after: what the candidate says.
        lost: whether it was right and is wrong now.
    """

    prompt: str
    reference: str
    before: str
    after: str
    lost: bool


@dataclass(frozen=True)
class Overlap:
    """On what a candidate is compared with a release that does not know the same labels.

    Attributes:
        rows: samples whose label both know.
        of: all samples.
        labels: how many labels the candidate knows.
        new: those that the release does not know.
        gone: those of the release that the candidate does not know.
        quality: each metric of the task on the shared samples: the candidate's value, the release's.
    """

    rows: int
    of: int
    labels: int
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    quality: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Covariate:
    """A number of every row that tells something of how it is answered, and its mean over all rows that there could be.

    Attributes:
        column: its name.
        mean: over the population: as the contract gives it, or of the unlabelled rows.
        error: standard error of that mean; 0 where the contract gives it.
        seen: its mean over the rows of the evaluation data.
        told: by metric, the share of what rows vary by that it tells.
    """

    column: str
    mean: float
    error: float = 0.0
    seen: float = 0.0
    told: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Adjusted:
    """A metric as it would be on rows whose covariate has the population's mean.

    Attributes:
        column: of the covariate.
        told: the share of what rows vary by that it tells (the square of their correlation).
        value: the estimate.
        alpha: the one-sided error of each of its bounds, ``low`` and ``high``.
    """

    column: str
    told: float
    value: float
    alpha: float
    low: float
    high: float
