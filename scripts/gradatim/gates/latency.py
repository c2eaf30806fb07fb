"""Latency gates on paired timings: the round is the sampling unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.gates.exact import quantile_bounds
from gradatim.gates.rule import parted
from gradatim.gates.signed_rank import signed_rank_bounds
from gradatim.gates.verdict import Verdict
from gradatim.metrics.intervals import student

_SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

QUANTILES = {f"latency_{name}": share for name, share in _SHARES.items()}
"""Which quantile of the calls a metric is."""

STREAMED = {
    f"{what}_{name}": share
    for what in ("ttft", "tpot", "itl")
    for name, share in {"mean": None, **_SHARES}.items()
}
"""The same for what is timed within an answer that comes token by token; None for a mean."""

TAILS = tuple(name for name in {**QUANTILES, **STREAMED} if name.endswith(("_p90", "_p95", "_p99")))
"""Quantiles that vary much between processes: bounded by order statistics of the rounds."""

SEQUENTIAL_ALPHA = 0.001
"""One-sided error at each of up to five looks (6, 10, 16, 24, 36 rounds). Together they err on either side in 0.3 % of runs
with independent rounds, and in 1.0 % where neighbours correlate by 0.2 (by simulation: tests/unit/test_timing_decision.py)."""

_RANKS = 10
"""Signed ranks get such a part of the error: with it the looks together err no oftener than without, to a hundredth of a per cent."""

_FAR, _SURPLUS = 5.0, 2
"""So many spreads of the others off a round stands apart; so many more of them on one side than on the other are chance."""


def shared_alpha(metrics: Iterable[str]) -> float:
    """``SEQUENTIAL_ALPHA``, shared among the sizes of call that are asked about: a slowdown of any of them is refused."""
    return SEQUENTIAL_ALPHA / max(1, len({parted(metric)[1] for metric in metrics}))


def mean_bounds(values: Sequence[float], alpha: float) -> tuple[float, float, float]:
    """Mean of a series and its bounds (mean, low, high): Student's, wider where a value goes with the one before it.

    A machine's mood may outlast a round, so that rounds say less than as many independent ones. The variance of the mean
    takes in the covariance of neighbours where that is positive [1]_; its bias of -variance/n is made good.

    Args:
        values: at least two.
        alpha: one-sided error probability.

    .. [1] Newey, West (1987), Econometrica 55(3), with one lag.
    """
    series = np.asarray(values, np.float64)
    n, mean = series.shape[0], float(series.mean())
    apart = series - mean
    variance = float(apart @ apart) / (n - 1)
    together = float(apart[1:] @ apart[:-1]) / (n - 1) + variance / n
    half = student(n - 1, alpha) * math.sqrt((variance + max(0.0, 2 * together)) / n)
    return mean, mean - half, mean + half


def difference_bounds(values: Sequence[float], alpha: float) -> tuple[float, float, float]:
    """The difference between two contestants over rounds and its bounds (value, low, high), also where a few rounds were spoiled.

    ``mean_bounds``; where some rounds stand far apart and these are narrower, bounds by signed ranks at a tenth of ``alpha``. The
    contestants of a round take turns in an order drawn by lot, so that a disturbance meets either alike and spoiled rounds lie on
    both sides of the middle: then signed ranks hold whatever the spoiled rounds are. An end stays the mean's own where more than
    two far rounds too many lie beyond it, for then they are no disturbance but the model's own way.

    Args: as ``mean_bounds``'s.
    """
    mean, low, high = mean_bounds(values, alpha)
    if not spoiled(values):
        return mean, low, high
    series = np.asarray(values, np.float64)
    middle, least, most = signed_rank_bounds(series, alpha / _RANKS)
    if most - least >= high - low:
        return mean, low, high
    apart = (series - float(np.median(series))) / body_spread(values)
    above, below = int((apart > _FAR).sum()), int((apart < -_FAR).sum())
    low = max(low, least) if below <= above + _SURPLUS else low
    high = min(high, most) if above <= below + _SURPLUS else high
    return min(max(middle, low), high), min(low, high), max(low, high)


def body_spread(values: Sequence[float]) -> float:
    """The standard deviation of all but the rounds that stand apart, by the median of the distances from the median."""
    series = np.asarray(values, np.float64)
    return 1.4826 * float(np.median(np.abs(series - np.median(series))))


def spoiled(values: Sequence[float]) -> bool:
    """Whether a few rounds stand so far apart that they make most of the spread."""
    return float(np.std(np.asarray(values), ddof=1)) > 2 * body_spread(values) > 0


def narrowing(rounds: int, most: int, alpha: float) -> float:
    """How wide the interval of a mean will be after ``most`` rounds, as a share of that after ``rounds``."""
    return math.sqrt(rounds / most) * student(most - 1, alpha) / student(rounds - 1, alpha)


def level_bounds(metric: str, rounds: Sequence[float], alpha: float) -> tuple[float, float, float] | None:
    """What a metric was over rounds, with bounds (value, low, high): the round is the unit, not the call.

    For a tail the median round with bounds by order statistics, infinite where the rounds are too few; for all else the
    geometric mean with Student's, None with under three rounds.
    """
    if parted(metric)[0] in TAILS:
        if not rounds:
            return None
        values = np.asarray(rounds, np.float64)
        return float(np.median(values)), *quantile_bounds(values, 0.5, alpha)
    if len(rounds) < 3:
        return None
    mean, low, high = (math.exp(end) for end in mean_bounds([math.log(value) for value in rounds], alpha))
    return mean, low, high


@dataclass(frozen=True)
class PairedTiming:
    """Baseline and candidate timed side by side, round by round.

    Attributes:
        log_ratios: ln(candidate / baseline) of every round: positive is slower (or, for throughput, more).
        baseline: the baseline's typical value over all rounds, seconds (samples a second for throughput).
        candidate: the candidate's.
        looks: after how many rounds the benchmark looked whether to stop; one look needs no correction.
        shared: one-sided error of each look, where there are several.

    Raises:
        InvalidInput: a ratio that is NaN or infinite, or no look.
    """

    log_ratios: Sequence[float]
    baseline: float
    candidate: float
    looks: int = 1
    shared: float = SEQUENTIAL_ALPHA

    def __post_init__(self) -> None:
        if not all(math.isfinite(ratio) for ratio in self.log_ratios):
            raise InvalidInput(
                "A round of the paired benchmark has no finite ratio. Run `gradatim benchmark --force`."
            )
        for value in (self.baseline, self.candidate):
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(
                    f"The paired benchmark gave {value}, which is not a time. Run `gradatim benchmark --force`."
                )
        if self.looks < 1:
            raise InvalidInput("A benchmark looks at its rounds at least once.")

    @property
    def rounds(self) -> int:
        return len(self.log_ratios)

    def bounds(self, alpha: float = 0.05) -> tuple[float, float, float] | None:
        """Mean log-ratio and its bounds (mean, low, high); None with under three rounds or equal ones."""
        ratios = np.asarray(self.log_ratios, np.float64)
        if ratios.shape[0] < 3 or not ratios.std(ddof=1) > 0:
            return None
        if self.looks == 1:
            return mean_bounds(self.log_ratios, alpha)
        return difference_bounds(self.log_ratios, min(alpha, self.shared))


def paired_timing(
    log_ratios: Sequence[float], candidate: float, shared: float = SEQUENTIAL_ALPHA
) -> PairedTiming:
    """Rounds of the benchmark, which looked at them up to five times; the baseline as the ratios have it."""
    baseline = candidate / math.exp(math.fsum(log_ratios) / len(log_ratios))
    return PairedTiming(log_ratios, baseline, candidate, looks=5, shared=shared)


def paired_timings(
    ratios: Mapping[str, Sequence[float]], levels: Mapping[str, float]
) -> dict[str, PairedTiming]:
    """``paired_timing`` of each metric whose level is known; sizes of call share the error."""
    alpha = shared_alpha(ratios)
    return {
        metric: paired_timing(rounds, levels[metric], alpha)
        for metric, rounds in ratios.items()
        if metric in levels
    }


def not_slower(low: float, high: float, by: float) -> Verdict:
    """PASS when the slowdown is proven below ``by``; FAIL when one of more than a third of ``by`` is proven.

    The tolerated slowdown is for noise, not for spending: what is proven slower and not proven within the
    margin is refused at once in place of after many more rounds (+1 % against a margin of 3 % in the
    calibration).

    Args:
        low, high: bounds of the mean log-ratio, positive is slower.
        by: tolerated relative slowdown.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return Verdict.INVALID
    if high < math.log1p(by):
        return Verdict.PASS
    return Verdict.FAIL if low > math.log1p(by / 3) else Verdict.INCONCLUSIVE
