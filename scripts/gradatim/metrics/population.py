"""Several models of one recipe, trained with other seeds, measured as one: what varies is the rows and the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.metrics import intervals
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.samples import Floats, MetricSamples

CANDIDATES = "candidates"
"""The name under which is filed what all candidates of a recipe show together."""


@dataclass(frozen=True)
class RecipeSamples(MetricSamples):
    """A metric's mean over candidates of one recipe, whose bounds are of what the recipe gives.

    What the rows leave open and what the training leaves open, Student's t of the values of the candidates, are sides of a right
    angle: so the error is at most alpha whatever the two variances are (Banerjee [1]_). Values differ by the rows as well, so
    that a part of these counts twice.

    Attributes:
        values: of each candidate; the first is the one to be released.

    .. [1] Banerjee (1960), Sankhya 22(3/4): the mean of normal variables with unknown and unequal variances.
    """

    values: tuple[float, ...] = ()

    def _bounds(self, alpha: float) -> tuple[float, float] | None:
        found = super()._bounds(alpha)
        return found if found is None or self.value is None else self.widened(self.value, found, alpha)

    def widened(self, value: float, of_rows: tuple[float, float], alpha: float) -> tuple[float, float]:
        """Bounds of the rows alone, around ``value``, with what the training leaves open."""
        half = self.of_training(alpha)
        low, high = max(0.0, value - of_rows[0]), max(0.0, of_rows[1] - value)
        if self.upward is not None:  # a part of these is no chance, and chance offsets none of it
            return value - low - half, value + high + half
        return value - math.hypot(low, half), value + math.hypot(high, half)

    def of_training(self, alpha: float) -> float:
        """Half of the interval that the candidates' values alone leave, one-sided ``alpha`` at each end."""
        k = len(self.values)
        return intervals.student(k - 1, alpha) * float(np.std(self.values, ddof=1)) / math.sqrt(k)

    @property
    def on_rows(self) -> MetricSamples:
        """The mean of these very candidates, as if no other were ever trained."""
        return MetricSamples(**_told(self))


class Population(Evaluation):
    """Candidates of one recipe on the same rows; but for its metrics, all that is told is of the first.

    Args:
        members: two or more, the one to be released first.
    """

    def __init__(self, members: Sequence[Evaluation]) -> None:
        self.__dict__ |= members[0].__dict__
        self._members = tuple(members)
        shared = [member.common for member in members]
        self.common = self if shared[0] is members[0] else Population(shared)

    def samples(self, metric: str, where: str | None = None) -> MetricSamples:
        """The mean of a metric over the candidates; without a value where one of them has none."""
        return _mean_of([member.samples(metric, where) for member in self._members])


def _told(samples: MetricSamples) -> dict[str, Any]:
    return {field.name: getattr(samples, field.name) for field in fields(MetricSamples)}


def _mean_of(members: Sequence[MetricSamples]) -> MetricSamples:
    """The mean metric: its influence is the mean of theirs, its resamples take the same rows of each."""
    for member in members:
        if member.value is None:
            return member
    values = tuple(float(member.value or 0.0) for member in members)
    changes: dict[str, Any] = {
        "value": float(np.mean(values)),
        "n": min(member.n for member in members),
        **dict.fromkeys(("successes", "trials", "outcomes", "influence", "terms", "statistic", "resample")),
        "effect": _largest([member.effect for member in members]),
        "reach": _largest([member.reach for member in members]),
        "counted": any(member.counted for member in members),
        "flattery": float(np.mean([member.flattery for member in members])),
        "by_row": _mean([member.by_row for member in members]),
    }
    if positives := [member.positives for member in members if member.positives is not None]:
        changes["positives"] = min(positives)
    for name in ("spoiled", "exchanged", "farthest"):
        of_share = [getattr(member, name) for member in members]
        if of_share[0] is not None:
            changes[name] = lambda share, each=of_share: float(np.mean([one(share) for one in each]))
    upward = [member.upward for member in members]
    if upward[0] is not None:
        errors = np.concatenate([one.errors for one in upward if one])
        changes["upward"] = intervals.Upward(errors / len(members))
    return RecipeSamples(**{**_told(members[0]), **changes, **_variation(members)}, values=values)


def _variation(members: Sequence[MetricSamples]) -> dict[str, Any]:
    """How the mean varies with the rows, as far as that of each is known in one way."""
    terms, resamples = ([getattr(one, name) for one in members] for name in ("terms", "resample"))
    statistics = [member.statistic for member in members]
    if all(table is not None for table in terms):
        ends = np.cumsum([table.shape[1] for table in terms])[:-1]

        def statistic(sums: Floats) -> Floats:
            parts = zip(statistics, np.split(sums, ends, axis=1), strict=True)
            return np.asarray(np.mean([one(part) for one, part in parts if one], axis=0))

        return {"terms": np.concatenate(terms, axis=1), "statistic": statistic}
    if all(resamples):
        return {"resample": lambda rows: float(np.mean([one(rows) for one in resamples]))}
    return {"influence": _mean([member.linearised() for member in members])}


def _mean(arrays: Sequence[NDArray[Any] | None]) -> Floats | None:
    known = [np.asarray(array, np.float64) for array in arrays if array is not None]
    alike = len(known) == len(arrays) and len({array.shape for array in known}) == 1
    return np.asarray(np.mean(known, axis=0)) if alike else None


def _largest(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return max(known) if len(known) == len(numbers) else None
