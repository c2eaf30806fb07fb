"""When is a difference in latency proven? Looks at growing numbers of rounds, calibrated together."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.errors import UsageError
from gradatim.gates.verdict import Verdict

LOOKS = (6, 10, 16, 24, 36)
"""Rounds after which the question may be answered."""

P = 0.0027
"""One-sided error of each look's interval; together the looks err in at most 1 % of runs per side."""

MARGIN = 0.03
ALARM = 0.01


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
        low, high: ends of the interval, each side missed with probability 0.0027.
    """

    rounds: int
    ratio: float
    low: float
    high: float
    decision: Decision


def look(differences: Sequence[float], margin: float = MARGIN, alarm: float | None = None) -> Look:
    """Judge the rounds so far.

    SLOWER when the whole interval lies above ``1 + alarm``; NOT_SLOWER (FASTER, when it lies below 1) when it
    lies under ``1 + margin``; else UNDECIDED. A proven alarm goes first.

    Args:
        differences: d_r = ln(Q25 of the candidate's block minima / Q25 of the baseline's), one a round.
        margin: slowdown that is tolerated, as a fraction.
        alarm: slowdown from which a proof is a refusal; a third of the margin when not given.

    Raises:
        UsageError: fewer than two rounds, or bounds that are not 0 <= alarm <= margin.
    """
    from scipy.special import stdtrit

    alarm = default_alarm(margin) if alarm is None else alarm
    if len(differences) < 2:
        raise UsageError(f"{len(differences)} round says nothing about the spread: at least 2 are needed.")
    if not 0 <= alarm <= margin or not math.isfinite(margin):
        raise UsageError(
            f"The alarm ({alarm:g}) and the margin ({margin:g}) of a comparison must be 0 <= alarm <= margin."
        )
    rounds = len(differences)
    mean = statistics.fmean(differences)
    half = float(stdtrit(rounds - 1, 1 - P)) * statistics.stdev(differences) / math.sqrt(rounds)
    decision = Decision.UNDECIDED
    if mean - half > math.log1p(alarm):
        decision = Decision.SLOWER
    elif mean + half < 0:
        decision = Decision.FASTER
    elif mean + half < math.log1p(margin):
        decision = Decision.NOT_SLOWER
    return Look(rounds, math.exp(mean), math.exp(mean - half), math.exp(mean + half), decision)


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
