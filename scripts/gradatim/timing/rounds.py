"""What contestants did, round by round, and the one figure of each statistic that a round comes to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradatim.gates.latency import QUANTILES, TAILS
from gradatim.timing.blocks import lower_quartile
from gradatim.timing.contestant import Contestant
from gradatim.timing.energy import Energy
from gradatim.timing.result import TIMED, ContestantTiming

_KEPT_SAMPLES = 2000


@dataclass
class Turn:
    """One contestant in one round.

    Attributes:
        minima: seconds of the fastest call of each block.
        seconds: of each timed call.
        opening: seconds to open the model.
        memory: bytes by which its peak grew.
    """

    items: int
    clock: str
    opening: float
    minima: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    energy: Energy = field(default_factory=lambda: Energy(None))


class Log:
    """What one contestant did in all its rounds."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.turns: list[Turn] = []

    def by_round(self, metric: str) -> list[float]:
        """The metric's value in each round: seconds.

        A tail needs calls beyond it: where a round makes too few, so many rounds as make enough count as one, and what
        is left over at the end for none.
        """
        calls = len(self.turns[0].seconds) if self.turns else 1
        size = math.ceil(1 / ((1 - QUANTILES[metric]) * calls) - 1e-9) if metric in TAILS else 1
        whole = range(0, len(self.turns) - size + 1, size)
        return [_figure(metric, self.turns[start : start + size]) for start in whole]

    def timing(self) -> ContestantTiming:
        """All that is told of it.

        Its memory is the highest of all rounds, whose heaps are scattered each in another way: see ``worker``.
        """
        turns = self.turns
        calls = [seconds for turn in turns for seconds in turn.seconds]
        kept = np.linspace(0, len(calls) - 1, min(len(calls), _KEPT_SAMPLES)).astype(int)
        joules = tuple(turn.energy.joules for turn in turns if turn.energy.joules is not None)
        return ContestantTiming(
            name=self.contestant.name,
            device=self.contestant.device,
            threads=self.contestant.threads,
            clock=turns[0].clock,
            calls=len(calls),
            items=turns[0].items,
            by_round={
                **{metric: tuple(self.by_round(metric)) for metric in TIMED},
                **({"energy": joules} if joules else {}),
            },
            memory=max(turn.memory for turn in turns),
            opening=statistics.median(turn.opening for turn in turns),
            samples=tuple(round(calls[place], 9) for place in kept),
            energy_reason=None if joules else turns[-1].energy.reason,
        )


def slowdowns(metric: str, candidate: Log, baseline: Log) -> list[float]:
    """ln(candidate / baseline) of a latency in each round that both took part in; positive is slower.

    ``throughput`` is that of the mean, for it is items over it.
    """
    metric = "latency_mean" if metric == "throughput" else metric
    pairs = zip(candidate.by_round(metric), baseline.by_round(metric), strict=False)
    return [math.log(mine / theirs) for mine, theirs in pairs]


def differences(candidate: Log, baseline: Log) -> Mapping[str, tuple[float, ...]]:
    """ln(candidate / baseline) of every metric, round by round; for ``throughput`` positive is more."""
    found = {metric: tuple(slowdowns(metric, candidate, baseline)) for metric in TIMED}
    found["throughput"] = tuple(-value for value in found["latency_mean"])
    both = zip(candidate.turns, baseline.turns, strict=False)
    joules = [(mine.energy.joules, theirs.energy.joules) for mine, theirs in both]
    found["energy"] = tuple(math.log(mine / theirs) for mine, theirs in joules if mine and theirs)
    return found


def _figure(metric: str, turns: Sequence[Turn]) -> float:
    if metric == "latency_floor":
        return statistics.median(lower_quartile(turn.minima) for turn in turns)
    seconds = [second for turn in turns for second in turn.seconds]
    if metric in QUANTILES:
        return float(np.quantile(seconds, QUANTILES[metric]))
    return statistics.fmean(seconds)
