"""Latency gates on paired timings: the round is the sampling unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.gates.verdict import Verdict
from gradatim.metrics.intervals import student

QUANTILES = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}
"""Which quantile of the calls a metric is."""

TAILS = ("latency_p90", "latency_p99")
"""Quantiles that vary too much between processes to be compared."""

SEQUENTIAL_ALPHA = 0.0027
"""One-sided error at each of up to five looks (6, 10, 16, 24, 36 rounds), calibrated by resampling: at most
1 % of equal models ever cross on either side."""


@dataclass(frozen=True)
class PairedTiming:
    """Baseline and candidate timed side by side, round by round.

    Attributes:
        log_ratios: ln(candidate / baseline) of every round: positive is slower (or, for throughput, more).
        baseline: the baseline's typical value over all rounds, seconds (samples a second for throughput).
        candidate: the candidate's.
        looks: after how many rounds the benchmark looked whether to stop; one look needs no correction.

    Raises:
        InvalidInput: a ratio that is NaN or infinite, or no look.
    """

    log_ratios: Sequence[float]
    baseline: float
    candidate: float
    looks: int = 1

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
        p = alpha if self.looks == 1 else min(alpha, SEQUENTIAL_ALPHA)
        mean = float(ratios.mean())
        half = student(ratios.shape[0] - 1, p) * float(ratios.std(ddof=1)) / math.sqrt(ratios.shape[0])
        return mean, mean - half, mean + half


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
