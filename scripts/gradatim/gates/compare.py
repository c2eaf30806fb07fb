"""Two models' samples of one metric on the same data, as a difference with bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.gates.exact import least_alpha
from gradatim.gates.grounds import Beside, Bounds
from gradatim.gates.paired import not_worse, regression_p
from gradatim.metrics import intervals, tails
from gradatim.metrics.diagnostics import Adjusted
from gradatim.metrics.population import RecipeSamples
from gradatim.metrics.samples import MetricSamples, resampled

Floats = NDArray[np.float64]

_ALIKE = 0.37
"""How much of its range a unit that was never seen may take where two models answer alike, to the last bit, on all that were:
6 nat of a log loss, which is an answer that is 99.75 % sure and wrong."""


@dataclass(frozen=True)
class Comparison:
    """Candidate against ``ratio`` times the baseline; positive is better, whatever the metric's direction.

    Attributes:
        value: the difference.
        low, high: its bounds at one-sided alpha each; None where the data give none.
        p_worse: p-value of "not worse by more than the margin": small where a regression is proven.
        n: independent units.
        gains, losses: samples that only one of the two got right, for a metric made of right and wrong.
        spread: standard deviation of one unit's difference, to plan with.
    """

    value: float
    low: float | None
    high: float | None
    p_worse: float | None
    n: int
    gains: int | None = None
    losses: int | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Told(MetricSamples):
    """Samples that are elsewhere: their counts, and what was found out about the rest.

    Attributes:
        intervals: its bounds; one that is surer than was asked for does.
        pairs: how it compares with the baseline.
        p_values: how likely the value is where a bound holds, by the bound.
        adjusted: by a covariate of the rows.
    """

    intervals: tuple[Bounds, ...] = ()
    pairs: tuple[Beside, ...] = ()
    p_values: Mapping[float, float] = field(default_factory=dict)
    adjusted: tuple[Adjusted, ...] = ()

    def _bounds(self, alpha: float) -> tuple[float, float] | None:
        if self.successes is not None and self.trials is not None:
            return super()._bounds(alpha)
        found = _surest(self.intervals, alpha)
        return None if found is None else (found.low, found.high)

    def strictly(self) -> Told:
        """What was found out by rules that are strict."""
        return replace(
            self,
            intervals=tuple(bounds for bounds in self.intervals if bounds.strict),
            pairs=tuple(pair for pair in self.pairs if pair.bounds is not None and pair.bounds.strict),
        )

    def against(self, margin: float, ratio: float, alpha: float) -> Comparison:
        """How it compares, as far as that was found out.

        Raises:
            InvalidInput: nobody compared it with that share of the baseline's value.
        """
        of_ratio = [pair for pair in self.pairs if math.isclose(pair.ratio, ratio, rel_tol=1e-9)]
        if not of_ratio or of_ratio[0].difference is None:
            share = "" if ratio == 1 else f" with {100 * ratio:.4g} % of it"
            raise InvalidInput(f"The evidence does not compare {self.metric} with the baseline's{share}.")
        seen = of_ratio[0]
        bounds = _surest([pair.bounds for pair in of_ratio if pair.bounds is not None], alpha)
        low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
        p = next((pair.p for pair in of_ratio if pair.by == margin), None)
        return Comparison(seen.difference or 0.0, low, high, p, seen.n, spread=seen.spread)


def _surest(intervals: Iterable[Bounds], alpha: float) -> Bounds | None:
    """The narrowest interval that is as sure as was asked for; None where none is."""
    sure = [bounds for bounds in intervals if bounds.alpha <= alpha * (1 + 1e-9)]
    return max(sure, key=lambda bounds: (bounds.alpha, not bounds.strict), default=None)


def compare(
    new: MetricSamples,
    old: MetricSamples,
    *,
    margin: float = 0.0,
    ratio: float = 1.0,
    alpha: float = 0.05,
    veto: bool = False,
) -> Comparison:
    """Compare two models on the same samples.

    Tango's score test where every sample is right or wrong for both; the influence function where the metric
    has one (F1, precision, AUC, means); the paired bootstrap for the rest (means over classes, RMSE,
    perplexity, own metrics). With a ``ratio`` other than 1 the difference is new - ratio x old.

    Args:
        new, old: samples of the same metric.
        margin: how much worse is tolerated; only ``p_worse`` depends on it.
        veto: whether ``p_worse`` is wanted where it takes the exact tail.

    Raises:
        InvalidInput: the samples are of different items or of different metrics, or one has no value.
    """
    if isinstance(new, Told) and new.outcomes is None:
        return new.against(margin, ratio, alpha)
    if isinstance(new, RecipeSamples):
        return _of_recipe(new, old, margin, ratio, alpha, veto)
    if new.metric != old.metric or new.where != old.where or new.pairing != old.pairing:
        raise InvalidInput(
            f"{new.metric} of the candidate and of the baseline were measured on different items or labels, so they "
            "cannot be compared. Run `gradatim evaluate --force` to measure both on the same data."
        )
    if new.value is None or old.value is None:
        raise InvalidInput(f"{new.metric} has no value to compare: {new.reason or old.reason}.")
    sign = 1 if new.higher_is_better else -1
    value = sign * (new.value - ratio * old.value)
    if new.outcomes is not None and old.outcomes is not None and ratio == 1:
        return _right_and_wrong(new.outcomes == (sign > 0), old.outcomes == (sign > 0), margin, alpha, veto)
    of_row = max(new.effect or 0.0, old.effect or 0.0) * max(1.0, ratio)
    effect = new.worth(of_row, old, ratio) or 0.0
    mine, theirs = new.linearised(), old.linearised()
    x = np.zeros(0)
    if mine is not None and theirs is not None and mine.shape == theirs.shape:
        x = sign * (mine - ratio * theirs)
        if new.tailed:
            one = new.worth(new.reach, old, ratio)
            reach = None if one is None else one * max(1.0, ratio) + abs(value)
            alike = max(float(np.ptp(mine)) if mine.shape[0] else 0.0, _ALIKE * (one or 0.0))
            harm = _harm(new, new, old, ratio, alpha), ratio * _harm(old, new, old, ratio, alpha)
            return _by_tails(value, x, alike, reach, margin, alpha, harm, ended=new.ended)
        if new.open_ended:  # t alone passed 50 series with lognormal losses wrongly in 13 %
            alike, times = 0.0 if x.any() else effect, tails.of_series(x)
            return _by_tails(value, x, alike, None, margin, alpha, (0.0, 0.0), times, ended=True)
    if not new.counted and x.any():  # what differs is told by its spread
        effect, x = 0.0, x if new.units is None else new.units.apart(x)
    changes = _changes(x, effect) if new.units is None else (0.0, 0.0)  # groups make no single changes
    if new.terms is None and new.resample is None and x.shape[0]:
        spread = float(x.std(ddof=1)) if x.shape[0] > 1 else 0.0
        few = new.units is not None and new.units.kinds and not new.counted
        # the means of few labels lean to one side (8 % for 5 % without), which Student's t of one or two degrees makes up for
        sure = alpha / (5 if x.shape[0] > 3 else 3) if few else alpha
        found = _bounded(value, spread, x.shape[0], effect, changes, margin, sure)
        return found if found.low is None else _opened(found, np.zeros(0), new, old, ratio, alpha)
    draws = _paired_draws(new, old, ratio)
    if draws is None:
        return Comparison(value, None, None, None, new.n)
    draws = sign * draws
    if not np.isfinite(draws).all():
        return Comparison(value, None, None, None, new.n)
    with np.errstate(over="ignore"):  # r2 of a resample that does not vary
        spread = float(draws.std(ddof=1)) * math.sqrt(new.n)
    found = _bounded(value, spread, new.n, effect, changes, margin, alpha)
    return found if found.low is None else _opened(found, draws, new, old, ratio, alpha)


def _opened(
    found: Comparison, draws: Floats, new: MetricSamples, old: MetricSamples, ratio: float, alpha: float
) -> Comparison:
    """Bounds no narrower than the draws' percentiles, and open to what classes without a row, of which nothing is known, may add."""
    low, high = found.low or 0.0, found.high or 0.0
    if found.spread and alpha * draws.shape[0] >= 10:
        percentiles = np.quantile(draws, [alpha, 1 - alpha])
        low, high = min(low, float(percentiles[0])), max(high, float(percentiles[1]))
    found = replace(found, low=low - ratio * old.hidden, high=high + new.hidden)
    return _without_noise(found, new, old, ratio) if found.spread else found


def _of_recipe(
    new: RecipeSamples, old: MetricSamples, margin: float, ratio: float, alpha: float, veto: bool
) -> Comparison:
    """Candidates of one recipe against one baseline: what the rows leave open, and what the training does."""

    def compared(alpha: float) -> tuple[Comparison, tuple[float, float] | None]:
        found = compare(new.on_rows, old, margin=margin, ratio=ratio, alpha=alpha)
        known = found.low is not None and found.high is not None
        return found, new.widened(
            found.value, (found.low or 0.0, found.high or 0.0), alpha
        ) if known else None

    found, bounds = compared(alpha)
    if bounds is None:
        return replace(found, p_worse=None, spread=None)

    def worse(alpha: float) -> bool | None:
        _, believed = compared(alpha)
        return None if believed is None else believed[1] < -margin

    return Comparison(found.value, *bounds, least_alpha(worse) if veto else None, found.n)


def _without_noise(found: Comparison, new: MetricSamples, old: MetricSamples, ratio: float) -> Comparison:
    """Sums of absolute deviations: noise may have added more to the one than to the other."""
    if new.upward is None or old.upward is None or found.low is None or found.high is None:
        return found
    mine, theirs = new.upward, old.upward
    good = max(0.0, ratio * theirs.most - mine.least(new.value or 0.0))
    bad = max(0.0, mine.most - ratio * theirs.least(old.value or 0.0))
    return replace(found, low=found.low - good, high=found.high + bad)


def _right_and_wrong(
    new: NDArray[np.bool_], old: NDArray[np.bool_], margin: float, alpha: float, veto: bool
) -> Comparison:
    if new.shape != old.shape:
        raise InvalidInput(f"The candidate has {new.shape[0]} samples and the baseline {old.shape[0]}.")
    n, gains, losses = int(new.shape[0]), int((new & ~old).sum()), int((old & ~new).sum())
    found = not_worse(gains, losses, n, margin, alpha)
    low, high = found.low, found.high
    # Tango's statistic is too sure where all changes go one way (6.0 % for 5 % at n = 300, margin 2 %)
    if not gains:
        low = min(low, -intervals.clopper_pearson(losses, n, alpha)[1])
    if not losses:
        high = max(high, intervals.clopper_pearson(gains, n, alpha)[1])
    spread = math.sqrt(max(0.0, (gains + losses) / n - found.value**2))
    p_worse = regression_p(gains, losses, n, margin) if veto or high < -margin else None
    if p_worse is not None and p_worse > alpha:  # its tail is too thin for few changes on this side too
        high = max(high, -margin)
    return Comparison(found.value, low, high, p_worse, n, gains, losses, spread)


def _bounded(
    value: float,
    spread: float,
    n: int,
    effect: float,
    changes: tuple[float, float],
    margin: float,
    alpha: float,
) -> Comparison:
    """Bounds from the spread of one unit's difference; from what was never seen when nothing differs."""
    from scipy.special import stdtr

    if n < 2 or not math.isfinite(spread):
        return Comparison(value, None, None, None, n)
    if not spread > 1e-9 * max(1.0, abs(value)):
        if not effect > 0:
            return Comparison(value, None, None, None, n, spread=0.0)
        rest = intervals.unseen(n, alpha) * effect
        return Comparison(value, value - rest, value + rest, 1.0 if value >= -margin else None, n, spread=0.0)
    error = spread / math.sqrt(n)
    ups, downs = changes
    low = value - intervals.half_width(error, n, effect, alpha, 2 * ups)
    high = value + intervals.half_width(error, n, effect, alpha, 2 * downs)
    # the p-value of a proven regression: the alpha at which the upper bound would touch the margin
    gap = -margin - value
    more = 1.2 * effect / n * max(0.0, gap - 2 * downs)
    p_worse = float(stdtr(n - 1, -gap / math.sqrt(error**2 + more)))
    return Comparison(value, low, high, p_worse, n, spread=spread)


def _harm(one: MetricSamples, new: MetricSamples, old: MetricSamples, ratio: float, alpha: float) -> float:
    """What rows that are given another row's answer take from one of two models, so rare that none of them was seen."""
    if one.exchanged is None or one.value is None:
        return 0.0
    share = new.worth(intervals.unseen(new.n, alpha), old, ratio) or 0.0
    return abs(one.exchanged(min(1.0, share)) - one.value)


def _by_tails(
    value: float,
    x: Floats,
    alike: float,
    reach: float | None,
    margin: float,
    alpha: float,
    harm: tuple[float, float],
    times: float = tails.TIMES,
    ended: bool = False,
) -> Comparison:
    """Bounds of a mean difference whose largest may not have been seen: at least what a unit is worth that is as far off as any, and
    what may ``harm`` the candidate, or the baseline."""
    n = x.shape[0]
    found = tails.bounds(x, alpha, reach, times, ended) if np.isfinite(x).all() else None
    rest = intervals.unseen(n, alpha) * alike
    worse, better = (max(rest, one) for one in harm)
    if found is not None:
        p_worse = tails.p_below(x + value, -margin, reach, times, ended)
        spread = float(x.std(ddof=1))
        if reach is not None:  # rows that differ much, so rare that none was seen, are reckoned with
            worse, better = 0.0, 0.0
        low, high = min(found[0], -worse), max(found[1], better)
        return Comparison(value, value + low, value + high, p_worse, n, spread=spread)
    if n < 2 or not 0 < alike < math.inf or x.any():
        return Comparison(value, None, None, None, n, spread=0.0)
    return Comparison(value, value - worse, value + better, 1.0 if value >= -margin else None, n, spread=0.0)


def _changes(x: Floats, effect: float) -> tuple[float, float]:
    """Mean of the changes for the better and for the worse that units show; small drifts are no changes."""
    large = x[np.abs(x) > effect / 10]
    if not large.shape[0] or not effect > 0:
        return 0.0, 0.0
    return intervals.sure_rate(large, x.shape[0], effect), intervals.sure_rate(-large, x.shape[0], effect)


def _paired_draws(new: MetricSamples, old: MetricSamples, ratio: float) -> Floats | None:
    """Draws of new - ratio x old, both on the same resample each time."""
    if (
        new.terms is not None
        and old.terms is not None
        and new.statistic is not None
        and old.statistic is not None
    ):
        if new.terms.shape[0] != old.terms.shape[0]:
            return None
        weights = intervals.bootstrap_weights(new.terms.shape[0])
        return np.asarray(new.statistic(weights @ new.terms) - ratio * old.statistic(weights @ old.terms))
    if new.resample is not None and old.resample is not None and new.n == old.n and new.n > 1:
        mine, theirs = new.resample, old.resample
        return resampled(new.metric, new.n, lambda rows: mine(rows) - ratio * theirs(rows))
    return None
