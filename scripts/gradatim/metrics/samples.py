"""One metric of one model, kept sample by sample so that two models can be compared on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics import intervals, tails
from gradatim.metrics.units import Units

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MetricSamples:
    """A metric's value and whatever is known about how it varies from sample to sample.

    Of ``outcomes``, ``influence``, ``terms`` and ``resample`` those are set that the metric has; the first
    one set is used for a comparison. All arrays are over the same independent units for two models on the
    same data.

    Attributes:
        metric: its name.
        where: what it was restricted to, None for all of the data.
        value: the estimate; None on an empty denominator, ``reason`` says which.
        higher_is_better: the direction.
        n: independent units.
        pairing: digest of the items and the restriction; only equal ones may be compared.
        successes, trials: for a proportion, its exact counts.
        outcomes: bool [n], for a proportion whose denominator is the same for every model.
        influence: float64 [n], mean zero: by how much unit i moves the value, times n.
        terms: float64 [n, k], sums of which the value is a function.
        statistic: that function, [draws, k] -> [draws].
        resample: value on given rows, for a metric that is only a function.
        effect: the most that one row can take from the value, times the rows; bounds what was never seen.
        reach: how far one row can lie from the value, where its range has ends; None where the tail must tell.
        spoiled: the value if a share of the rows were answered as badly as can be; where the range has no end.
        exchanged: the value if a share of the rows were given another row's answer, for comparisons.
        farthest: the same if they were as far off as the farthest target is from the mean one, for who wants it ``strict``.
        rooted: whether it is the root of a mean, which is bounded from below as that mean is.
        counted: whether units contribute decisions, right or wrong, so that few of them may carry all the
            spread.
        jackknifed: whether the influence is what leaving a unit out changes, of shares or of positive numbers:
            its spread tells.
        flattery: by how much few samples let the value look better than many would.
        by_row: what each row adds, in any unit, where rows share a unit: tells how far they go together.
        units: which rows share one.
        positives: for F1 and ROC-AUC, on how many positives it rests; for the latter on as many others, where these are fewer.
        upward: for a sum of absolute deviations, what noise alone adds to it.
        hidden: by how much it may be higher for classes that it counts as 0 because no unit shows them.
        low_limit, high_limit: the ends of the metric's range.
    """

    metric: str
    value: float | None
    higher_is_better: bool
    n: int
    where: str | None = None
    pairing: str = ""
    reason: str | None = None
    unit: str = "1"
    successes: int | None = None
    trials: int | None = None
    outcomes: NDArray[np.bool_] | None = None
    influence: Floats | None = None
    terms: Floats | None = None
    statistic: Callable[[Floats], Floats] | None = None
    resample: Callable[[NDArray[np.int64]], float] | None = None
    effect: float | None = None
    reach: float | None = None
    spoiled: Callable[[float], float] | None = None
    exchanged: Callable[[float], float] | None = None
    farthest: Callable[[float], float] | None = None
    rooted: bool = False
    counted: bool = False
    jackknifed: bool = False
    flattery: float = 0.0
    by_row: Floats | None = None
    units: Units | None = None
    positives: int | None = None
    upward: intervals.Upward | None = None
    hidden: float = 0.0
    low_limit: float = -math.inf
    high_limit: float = math.inf

    def bounds(self, alpha: float) -> tuple[float, float] | None:
        """Lower and upper bound, each at one-sided ``alpha``; None when the data cannot give any."""
        if self.value is None:
            return None
        found = self._bounds(alpha)
        if found is None:
            return None
        low, high = (min(max(bound, self.low_limit), self.high_limit) for bound in found)
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None

    def _bounds(self, alpha: float) -> tuple[float, float] | None:
        value = self.value
        assert value is not None  # noqa: S101 (bounds() looked)
        if self.successes is not None and self.trials is not None:
            return intervals.clopper_pearson(self.successes, self.trials, alpha)
        kinds = self.units is not None and self.units.kinds
        effect = (self.worth(self.effect) or 0.0) if self.counted or kinds else 0.0
        if self.jackknifed and self.influence is not None:
            ends = self.high_limit, self.flattery
            found = intervals.jackknife_bounds(value, self.influence, alpha, *ends)
            if found is not None and self.open_ended:  # few that were not seen may carry it
                found = found[0], max(found[1], value + tails.above(self.influence, alpha))
            found = found or self._bounds_without_spread(alpha)
            return found and (found[0], found[1] + self.hidden)
        by_unit = self.linearised() if self.tailed else self.influence
        if by_unit is not None and self.units is not None:
            apart = self.units.apart(by_unit)
            if apart.shape[0] < 2 and by_unit.any():
                return None
            by_unit = apart
        if by_unit is not None:
            found = (
                tails.bounds(by_unit, alpha, self.worth(self.reach), ended=self.ended)
                if self.tailed
                else intervals.mean_bounds(by_unit, alpha, effect)
            )
            if found is None:
                return self._bounds_without_spread(alpha)
            low = math.sqrt(max(0.0, value**2 + 2 * value * found[0])) if self.rooted else value + found[0]
            return self._spoilt((low, value + found[1]), alpha)
        draws = self.draws()
        if draws is None:
            return None
        if self.upward is not None:
            error = max(float(draws.std(ddof=1)), float(np.linalg.norm(self.upward.errors)))
            return self.upward.bounds(value, error, self.n, self.worth(self.effect) or 0.0, alpha)
        found = intervals.bootstrap_bounds(value, draws, self.n, effect, alpha)
        found = found or self._bounds_without_spread(alpha)
        return found and (found[0], found[1] + self.hidden)

    @property
    def tailed(self) -> bool:
        """Whether it is judged as a mean whose largest values may not have been seen."""
        if self.units is not None and self.units.kinds:  # each unit is a mean of many rows
            return False
        return not (self.counted or self.jackknifed) and self.upward is None and self.resample is None

    def carriers(self) -> tuple[int, float] | None:
        """How many of the largest errors make up which share of a mean without an upper end, where these are a heavy tail."""
        by_unit = self.linearised() if (self.tailed or self.open_ended) and self.reach is None else None
        if by_unit is None or self.value is None or self.higher_is_better or self.low_limit != 0:
            return None
        mean = self.value**2 if self.rooted else self.value
        return tails.carriers(np.maximum(by_unit * (2 * self.value if self.rooted else 1) + mean, 0.0))

    @property
    def ended(self) -> bool:
        """Whether its range has two ends."""
        return math.isfinite(self.low_limit) and math.isfinite(self.high_limit)

    @property
    def open_ended(self) -> bool:
        """Whether it is a mean over series, whose errors have no upper end."""
        return self.jackknifed and math.isinf(self.high_limit)

    def _spoilt(self, found: tuple[float, float], alpha: float) -> tuple[float, float]:
        """Bounds that leave room for rows that are far off and so rare that none was seen, however alike those are that were."""
        if self.spoiled is None:
            return found
        worst = self.spoiled(min(1.0, self.worth(intervals.unseen(self.n, alpha)) or 0.0))
        return min(found[0], worst), max(found[1], worst)

    def _bounds_without_spread(self, alpha: float) -> tuple[float, float] | None:
        """Every unit says the same: what unseen units could change, where a change has a known range."""
        if self.value is None or self.n < 2:
            return None
        if self.spoiled is not None and math.isclose(self.value, self._best):
            return self._spoilt((self.value, self.value), alpha)
        if self.effect is None:  # a copy that is like in all: nothing better can be seen
            return (self.value, self.value) if math.isclose(self.value, self.high_limit) else None
        if not self.counted and not self.ended:
            return None
        rest = intervals.unseen(self.n, alpha) * (self.worth(self.effect) or 0.0)
        return self.value - rest, self.value + rest

    @property
    def _best(self) -> float:
        return self.high_limit if self.higher_is_better else self.low_limit

    def worth(
        self, of_row: float | None, other: MetricSamples | None = None, ratio: float = 1.0
    ) -> float | None:
        """What a unit can do where a row can do ``of_row``, by itself or in the difference to another model's."""
        if of_row is None or self.units is None or self.units.shared is None:
            return of_row
        if other is None:
            by_row = self.by_row
            return of_row * (self.units.heaviest if by_row is None else self.units.together(by_row))
        alone = max(self.worth(1.0) or 0.0, other.worth(1.0) or 0.0)
        if self.by_row is not None and other.by_row is not None and self.by_row.shape == other.by_row.shape:
            change = self.by_row - ratio * other.by_row
            alone = max(alone, self.units.together(change)) if change.any() else alone
        return of_row * alone

    def linearised(self) -> Floats | None:
        """Influence by unit, mean zero: known, of right and wrong, or by the statistic's slope at the data's sums."""
        if self.influence is not None:
            return self.influence
        if self.outcomes is not None and self.value is not None:
            return np.asarray(self.outcomes - self.value, np.float64)
        if self.terms is None or self.statistic is None:
            return None
        sums = self.terms.sum(axis=0)
        steps = np.maximum(np.linalg.norm(self.terms, axis=0), 1e-300) * 1e-5
        up, down = self.statistic(sums + np.diag(steps)), self.statistic(sums - np.diag(steps))
        slope = (up - down) / (2 * steps)
        by_unit = self.terms @ slope * self.terms.shape[0]
        return np.asarray(by_unit - by_unit.mean())

    def draws(self) -> Floats | None:
        """Bootstrap draws of the value, the same resamples for every metric over the same number of units."""
        if self.terms is not None and self.statistic is not None:
            return self.statistic(intervals.bootstrap_weights(self.terms.shape[0]) @ self.terms)
        if self.resample is not None and self.n > 1:
            return resampled(self.metric, self.n, self.resample)
        return None


def resampled(metric: str, n: int, value: Callable[[NDArray[np.int64]], float]) -> Floats:
    """A value on ``OWN_DRAWS`` resamples; rows on which it has none are drawn anew, a tenth of the draws at the most.

    Raises:
        InvalidInput: it has none on more.
    """
    found: list[float] = []
    lacking: list[str] = []
    for number, rows in enumerate(intervals.bootstrap_indices(n, OWN_DRAWS + OWN_DRAWS // 10), start=1):
        try:
            found.append(value(rows))
        except InvalidInput as error:
            lacking.append(f"first on number {number}: {error}")
        if len(found) == OWN_DRAWS:
            return np.array(found, np.float64)
    raise InvalidInput(
        f"`{metric}` has no value on {len(lacking)} of {number} resamples of the rows, {lacking[0]} So nobody can say how sure "
        "it is. Let it give a number on any rows, or gate it on more."
    )


OWN_DRAWS = 200
"""Bootstrap draws of an own metric, which is called once for each."""

SHARE: Mapping[str, Any] = {"low_limit": 0.0, "high_limit": 1.0}
"""The range of a share."""

DECISIONS: Mapping[str, Any] = {**SHARE, "counted": True}
"""What is so of every metric that is made of right and wrong."""


def absent(metric: str, higher_is_better: bool, reason: str) -> MetricSamples:
    """A metric that has no value here."""
    return MetricSamples(metric, None, higher_is_better, 0, reason=reason)


def mean_samples(
    metric: str, values: Floats, units: Units, higher_is_better: bool, **more: Any
) -> MetricSamples:
    """A mean over rows, with its influence by unit."""
    if not values.shape[0] or not units.weighed(np.ones(values.shape[0])).any():
        return absent(metric, higher_is_better, "there is no sample")
    value = float(units.weighed(values).mean())
    limits = more.get("low_limit", -math.inf), more.get("high_limit", math.inf)
    effect = limits[1] - limits[0] if all(map(math.isfinite, limits)) else None
    return MetricSamples(
        metric,
        value,
        higher_is_better,
        units.count,
        influence=units.influence(units.weighed(values - value)),
        by_row=values,
        units=units.weighted,
        **{"effect": effect, "reach": effect, **more},
    )


def proportion_samples(
    metric: str, outcomes: NDArray[np.bool_], units: Units, higher_is_better: bool, reason: str
) -> MetricSamples:
    """A share of rows; exact counts when every row is independent, cluster influence otherwise."""
    n = int(outcomes.shape[0])
    if not n:
        return absent(metric, higher_is_better, reason)
    if units.shared is not None:
        return mean_samples(metric, outcomes.astype(np.float64), units, higher_is_better, **DECISIONS)
    successes = int(outcomes.sum())
    return MetricSamples(
        metric,
        successes / n,
        higher_is_better,
        n,
        successes=successes,
        trials=n,
        outcomes=outcomes,
        effect=1.0,
        **DECISIONS,
    )


def ratio_samples(
    metric: str,
    numerators: Floats,
    denominators: Floats,
    units: Units,
    higher_is_better: bool,
    reason: str,
    **more: Any,
) -> MetricSamples:
    """A ratio of two sums over rows with the influence (num_i - R den_i) / mean(den)."""
    numerators, denominators = units.weighed(numerators), units.weighed(denominators)
    total = float(denominators.sum())
    if not total > 0:
        return absent(metric, higher_is_better, reason)
    value = float(numerators.sum()) / total
    mean = total / denominators.shape[0]
    by_row = (numerators - value * denominators) / mean
    influence = units.influence(by_row)
    return MetricSamples(
        metric, value, higher_is_better, units.count, influence=influence, by_row=by_row,
        units=units.weighted, **more,
    )  # fmt: skip


def mean_of_ratios(
    metric: str,
    numerators: Floats,
    denominators: Floats,
    units: Units,
    reason: str,
    *,
    over: int | None = None,
) -> MetricSamples:
    """The mean over columns of shares that are ratios of sums, with what leaving a unit out changes [1]_: so a column that
    few units say anything of weighs as much in the interval as in the value.

    Args:
        numerators, denominators: float64 [rows, k].
        over: of how many columns it is the mean, those without any denominator counting zero; None leaves these out.

    .. [1] Efron, Stein (1981), The jackknife estimate of variance, Annals of Statistics 9(3).
    """
    ups, downs = units.totals(numerators), units.totals(denominators)
    known = downs.sum(axis=0) > 0
    if not known.any():
        return absent(metric, True, reason)
    ups, downs = ups[:, known], downs[:, known]
    total, of = ups.sum(axis=0), downs.sum(axis=0)
    share, left = total / of, of - downs
    # without the only unit of a column nothing is known of it: all that it may be
    change = np.where(
        left > 0, share - (total - ups) / np.maximum(left, 1e-300), np.maximum(share, 1 - share)
    )
    columns = over or share.shape[0]
    influence = (units.count - 1) * change.sum(axis=1) / columns
    return MetricSamples(
        metric,
        float(share.sum() / columns),
        True,
        units.count,
        influence=np.asarray(influence - influence.mean()),
        jackknifed=True,
        effect=1.0,
        **SHARE,
    )
