"""What contestants did, round by round, and the one figure of each statistic that a round comes to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gradatim.gates.latency import QUANTILES, STREAMED, TAILS
from gradatim.gates.rule import parted, sized
from gradatim.models.streaming import Streamed
from gradatim.timing.blocks import lower_quartile
from gradatim.timing.contestant import Contestant
from gradatim.timing.energy import Energy
from gradatim.timing.result import FIRST_RESULT, GOODPUT, OUTPUT_TOKENS, TIMED, ContestantTiming

_QUANTILES = {name: share for name, share in {**QUANTILES, **STREAMED}.items() if share is not None}
_KEPT_SAMPLES = 2000


@dataclass
class Turn:
    """One contestant in one round.

    Attributes:
        minima: seconds of the fastest call of each block.
        seconds: of each timed call.
        opening: seconds to open the model.
        first: seconds to open it and have the first call answered; None where answers come token by token.
        memory: bytes by which its peak grew.
        sizes: what it did at each of several sizes of call, this one among them.
    """

    items: int
    clock: str
    opening: float
    minima: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    energy: Energy = field(default_factory=lambda: Energy(None))
    streams: list[Streamed] = field(default_factory=list)
    first: float | None = None
    sizes: dict[str, Turn] = field(default_factory=dict)

    def answered(self, one: Streamed) -> None:
        """Keep an answer that came token by token, or failed."""
        self.streams.append(one)
        if not one.failed:
            self.minima.append(one.seconds)
            self.seconds.append(one.seconds)


class Log:
    """What one contestant did in all its rounds.

    Args:
        bounds: seconds that ``ttft``, ``tpot`` and ``latency`` of an answer must keep to for ``goodput``; empty without it.
    """

    def __init__(self, contestant: Contestant, bounds: Mapping[str, float] | None = None) -> None:
        self.contestant = contestant
        self.turns: list[Turn] = []
        self._bounds = dict(bounds or {})
        self._figures: dict[tuple[str, int], float] = {}

    @property
    def metrics(self) -> tuple[str, ...]:
        """What its rounds tell: the statistics of a call, and of answers that come token by token those of their parts."""
        if not any(turn.streams for turn in self.turns):
            first = (FIRST_RESULT,) if any(turn.first for turn in self.turns) else ()
            return (*TIMED, *first, *(sized(metric, size) for size in self.sizes for metric in TIMED))
        return (*TIMED, *STREAMED, OUTPUT_TOKENS, *((GOODPUT,) if self._bounds else ()))

    @property
    def sizes(self) -> dict[str, int]:
        """Items of a call by the sizes of call, where there are several."""
        return {size: turn.items for size, turn in self.turns[0].sizes.items()} if self.turns else {}

    def at(self, size: str) -> Log:
        """What it did at a size of call, in the rounds that took it up."""
        log = Log(self.contestant)
        log.turns = [turn.sizes[size] for turn in self.turns if size in turn.sizes]
        return log

    @property
    def failed(self) -> str | None:
        """How many of its answers failed, and why the last one did; None where none did.

        Then nothing of it is told: a time of those that did not fail is not the time of a request.
        """
        streams = [one for turn in self.turns for one in turn.streams]
        reasons = [one.failed for one in streams if one.failed]
        return f"{len(reasons)} of {len(streams)} requests failed: {reasons[-1]}" if reasons else None

    def by_round(self, metric: str) -> list[float]:
        """The metric's value in each round: seconds.

        A tail needs calls beyond it: where a round makes too few, so many rounds as make enough count as one, and what
        is left over at the end for none.
        """
        if self.failed or not self.turns:
            return []
        metric, place = parted(metric)
        if place:
            return self.at(place).by_round(metric)
        if metric == FIRST_RESULT:
            return [turn.first for turn in self.turns if turn.first]
        if metric in (OUTPUT_TOKENS, GOODPUT):
            rates = [self._rate(metric, turn) for turn in self.turns]
            return rates if all(rates) else []
        calls = len(_values(metric, self.turns[0]))
        size = math.ceil(1 / ((1 - _QUANTILES[metric]) * calls) - 1e-9) if metric in TAILS else 1
        whole = range(0, len(self.turns) - size + 1, size)
        for start in whole:  # asked for after each round, and turns that were taken do not change
            if (metric, start) not in self._figures:
                self._figures[metric, start] = _figure(metric, self.turns[start : start + size])
        return [self._figures[metric, start] for start in whole]

    def _rate(self, metric: str, turn: Turn) -> float:
        """Tokens, or answers that keep to all bounds, a second of the time that was waited for answers."""
        if metric == OUTPUT_TOKENS:
            return sum(one.tokens for one in turn.streams) / sum(turn.seconds)
        good = [
            all(within(what, one)[0] <= most for what, most in self._bounds.items()) for one in turn.streams
        ]
        return sum(good) / sum(turn.seconds)

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
                **{metric: tuple(self.by_round(metric)) for metric in self.metrics},
                **({"energy": joules} if joules else {}),
            },
            memory=None if self.contestant.elsewhere else max(turn.memory for turn in turns),
            opening=statistics.median(turn.opening for turn in turns),
            samples=tuple(round(calls[place], 9) for place in kept),
            energy_reason=None if joules else turns[-1].energy.reason,
            failed=self.failed,
            tokens=statistics.fmean(tokens)
            if (tokens := [one.tokens for t in turns for one in t.streams])
            else None,
            sizes=self.sizes,
        )


def slowdowns(metric: str, candidate: Log, baseline: Log) -> list[float]:
    """ln(candidate / baseline) of a latency in each round that both took part in, of a rate the reverse; positive is slower.

    ``throughput`` is that of the mean, for it is items over it.
    """
    name, size = parted(metric)
    metric = sized("latency_mean", size) if name == "throughput" else metric
    pairs = zip(candidate.by_round(metric), baseline.by_round(metric), strict=False)
    sign = -1 if metric in (OUTPUT_TOKENS, GOODPUT) else 1
    return [sign * math.log(mine / theirs) for mine, theirs in pairs]


def differences(candidate: Log, baseline: Log) -> Mapping[str, tuple[float, ...]]:
    """ln(candidate / baseline) of every metric, round by round; for ``throughput`` and its like positive is more."""
    found = {metric: tuple(slowdowns(metric, candidate, baseline)) for metric in candidate.metrics}
    rates = {sized("throughput", size): found[sized("latency_mean", size)] for size in ("", *candidate.sizes)}
    found |= rates
    for metric in {*rates, OUTPUT_TOKENS, GOODPUT} & found.keys():
        found[metric] = tuple(-value for value in found[metric])
    both = zip(candidate.turns, baseline.turns, strict=False)
    joules = [(mine.energy.joules, theirs.energy.joules) for mine, theirs in both]
    found["energy"] = tuple(math.log(mine / theirs) for mine, theirs in joules if mine and theirs)
    return found


def _figure(metric: str, turns: Sequence[Turn]) -> float:
    if metric == "latency_floor":
        return statistics.median(lower_quartile(turn.minima) for turn in turns)
    seconds = [second for turn in turns for second in _values(metric, turn)]
    share = _QUANTILES.get(metric)
    return statistics.fmean(seconds) if share is None else float(np.quantile(seconds, share))


def _values(metric: str, turn: Turn) -> list[float]:
    """Every time that a statistic is of, seconds."""
    if metric not in STREAMED:
        return turn.seconds
    return [seconds for one in turn.streams for seconds in within(metric.partition("_")[0], one)]


def within(what: str, one: Streamed) -> tuple[float, ...]:
    """Times within an answer, seconds: ``ttft``, ``tpot``, ``latency`` one each; ``itl`` one for each two pieces."""
    if what == "latency":
        return (one.seconds,)
    if what == "ttft":
        return (one.times[0],)
    if what == "tpot":
        return ((one.times[-1] - one.times[0]) / (one.tokens - 1),)
    return tuple(after - before for before, after in pairwise(one.times))
