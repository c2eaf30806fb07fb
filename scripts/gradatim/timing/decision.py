"""When is a difference in latency proven? Looks at growing numbers of rounds, calibrated together."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from gradatim.errors import UsageError
from gradatim.gates.latency import (
    SEQUENTIAL_ALPHA,
    body_spread,
    difference_bounds,
    mean_bounds,
    narrowing,
    spoiled,
)
from gradatim.gates.rule import USUAL_MARGIN
from gradatim.gates.verdict import Verdict

LOOKS = (6, 10, 16, 24, 36)
"""Rounds after which the question may be answered."""

MARGIN = USUAL_MARGIN

_WORTH_GOING_ON = 0.1


class Decision(enum.Enum):
    """What a comparison found."""

    FASTER = "faster"
    NOT_SLOWER = "not slower"
    SLOWER = "slower"
    UNDECIDED = "undecided"

    @property
    def verdict(self) -> Verdict:
        """What a gate that wants "not slower" makes of it."""
        if self is Decision.SLOWER:
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE if self is Decision.UNDECIDED else Verdict.PASS


@dataclass(frozen=True)
class Look:
    """A comparison after ``rounds`` rounds; times as a ratio candidate / baseline (1.05 = 5 % slower).

    Attributes:
        low, high: ends of the interval, each side missed with probability ``SEQUENTIAL_ALPHA`` or, of several sizes of call, its share.
    """

    rounds: int
    ratio: float
    low: float
    high: float
    decision: Decision


def look(
    differences: Sequence[float],
    margin: float = MARGIN,
    alarm: float | None = None,
    alpha: float = SEQUENTIAL_ALPHA,
) -> Look:
    """Judge the rounds so far.

    SLOWER when the whole interval lies above ``1 + alarm``; NOT_SLOWER (FASTER, when it lies below 1) when it
    lies under ``1 + margin``; else UNDECIDED. A proven alarm goes first.

    Args:
        differences: ln(candidate / baseline) of what is asked about, one a round; positive is slower.
        margin: slowdown that is tolerated, as a fraction.
        alarm: slowdown from which a proof is a refusal; a third of the margin when not given.
        alpha: one-sided error of this look.

    Raises:
        UsageError: fewer than two rounds, or bounds that are not 0 <= alarm <= margin.
    """
    alarm = default_alarm(margin) if alarm is None else alarm
    if len(differences) < 2:
        raise UsageError(f"{len(differences)} round says nothing about the spread: at least 2 are needed.")
    if not 0 <= alarm <= margin or not math.isfinite(margin):
        raise UsageError(
            f"The alarm ({alarm:g}) and the margin ({margin:g}) of a comparison must be 0 <= alarm <= margin."
        )
    mean, low, high = difference_bounds(differences, alpha)
    decision = decide(low, high, margin, alarm)
    return Look(len(differences), math.exp(mean), math.exp(low), math.exp(high), decision)


def decide(low: float, high: float, margin: float, alarm: float) -> Decision:
    """What an interval of ln(candidate / baseline) says, by ``look``'s rule."""
    if low > math.log1p(alarm):
        return Decision.SLOWER
    if high < 0:
        return Decision.FASTER
    return Decision.NOT_SLOWER if high < math.log1p(margin) else Decision.UNDECIDED


def resolvable(
    differences: Sequence[float],
    margin: float,
    most: int,
    alarm: float | None = None,
    alpha: float = SEQUENTIAL_ALPHA,
) -> float | None:
    """The margin that ``most`` rounds could tell, where those so far show that they will not tell this one; None elsewhere.

    The last look is foreseen from these rounds: its mean lies about theirs, as far off as the rounds to come allow, and its
    interval is as much narrower. It is given up where it would answer in less than one of ten cases.

    Args: as ``look``'s.
    """
    n = len(differences)
    spread, body = statistics.stdev(differences), body_spread(differences)
    if not LOOKS[1] <= n < most or not spread:
        return None
    mean, low, high = mean_bounds(differences, alpha)
    half = (high - low) / 2 * narrowing(n, most, alpha)
    if spoiled(differences):  # signed ranks will pass over those that are
        half, spread, mean = half * body / spread, body, statistics.median(differences)
    ahead = NormalDist(mean, spread * math.sqrt(1 / n - 1 / most))
    slower = 1 - ahead.cdf(math.log1p(default_alarm(margin) if alarm is None else alarm) + half)
    if slower + ahead.cdf(math.log1p(margin) - half) >= _WORTH_GOING_ON:
        return None
    return math.expm1(abs(mean) + half)


def default_alarm(margin: float) -> float:
    """1 % for the usual margin of 3 %, and in that proportion for others."""
    return margin / 3


def looks_until(most: int) -> tuple[int, ...]:
    """The looks of a run of at most ``most`` rounds; the last round is always looked at.

    Raises:
        UsageError: ``most`` is below 2.
    """
    if most < 2:
        raise UsageError(
            f"A benchmark needs at least 2 rounds, not {most}: one round says nothing about the spread."
        )
    return (*(n for n in LOOKS if n < most), most)
