"""What a paired benchmark found: each contestant's figures, the answers, and how the machine was."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.codec import decode
from gradatim.gates.latency import STREAMED, difference_bounds, level_bounds, shared_alpha
from gradatim.gates.rule import FLOOR, parted, sized
from gradatim.measurement import Measurement
from gradatim.timing.blocks import BlockPlan
from gradatim.timing.decision import Decision, Look
from gradatim.timing.load import Load
from gradatim.timing.machine import Machine
from gradatim.timing.nvml import GpuFacts

TIMED = ("latency_floor", "latency_mean", "latency_p50", "latency_p90", "latency_p95", "latency_p99")
"""The statistics of a call, each gated as what it is called."""

OUTPUT_TOKENS, GOODPUT = "output_token_throughput", "goodput"
"""Rates of answers that come token by token, a second."""

SERVER_RATE = "server_rate"
"""The highest rate of queries that was borne, a second."""

FIRST_RESULT = "first_result"
"""Seconds to open a model and have its first call answered, once a round."""

_ELSEWHERE = "a server or a program of your own holds the model, and its memory is not seen from here"
_PIECEMEAL = "its answers come token by token: `ttft` is the time to the first one"
NO_GOODPUT = "in some round no answer kept to the bounds of `benchmark.streaming.goodput`"


@dataclass(frozen=True)
class LatencyLevel:
    """What a call takes, with the 95 % interval of its value between rounds; no interval for too few rounds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ContestantTiming:
    """What was measured of one contestant.

    Attributes:
        device, threads, clock: how it ran.
        calls: timed calls, all rounds together.
        items: items of the batch.
        by_round: each of ``TIMED`` in each round, seconds; ``energy`` in those that could be counted, joules. Where a round has
            too few calls for a tail, several count as one.
        memory: bytes by which the peak resident memory grew at most from before the model was opened, its runtime
            apart; None where it is not this process that holds the model.
        opening: seconds to open the model, median over rounds.
        samples: seconds of timed calls, evenly thinned to at most 2000, in the order taken.
        energy_reason: why nothing counted its energy, None where something did.
        failed: how many of its answers failed, and why; then no time of it is told.
        tokens: of an answer, on average, where answers come token by token.
        sizes: items of the batch by the size of call, where several are timed; ``by_round`` then tells each of ``TIMED`` of
            each, too: ``latency_p50[batch=8]``.

    Raises:
        InvalidInput: a statistic is missing, or a value is no time.
    """

    name: str
    device: str
    threads: int
    clock: str
    calls: int
    items: int
    by_round: Mapping[str, tuple[float, ...]]
    memory: int | None
    opening: float
    samples: tuple[float, ...]
    energy_reason: str | None
    failed: str | None = None
    tokens: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for metric in TIMED:
            if metric not in self.by_round:
                raise InvalidInput(f"of {self.name} there is no {metric}")
        for metric, values in self.by_round.items():
            if not all(value > 0 for value in values):
                raise InvalidInput(f"a round's {metric} of {self.name} is {min(values)}, which cannot be")

    @property
    def work(self) -> str:
        """What a call was, in words."""
        if self.tokens is None:
            return f"batch of {self.items}"
        rate = self.level(OUTPUT_TOKENS)
        return f"answers of {self.tokens:.4g} tokens" + (
            f", {rate.value:.4g} tokens a second" if rate else ""
        )

    @property
    def rounds(self) -> int:
        """Rounds it took part in."""
        return len(self.by_round[FLOOR])

    def level(self, metric: str) -> LatencyLevel | None:
        """A metric over all rounds, ``throughput`` (items a second, one call at a time) included; None without any round."""
        name, size = parted(metric)
        if name == "throughput":
            return self._throughput(size)
        rounds = self.by_round.get(metric, ())
        if bounds := level_bounds(metric, rounds, 0.025):
            value, *ends = bounds
            low, high = (end if math.isfinite(end) else None for end in ends)
            return LatencyLevel(value, low, high)
        return LatencyLevel(statistics.geometric_mean(rounds)) if rounds else None

    def _throughput(self, size: str) -> LatencyLevel | None:
        mean = self.level(sized("latency_mean", size))
        if mean is None:
            return None
        items = self.sizes.get(size, self.items)
        low, high = (items / end if end else None for end in (mean.high, mean.low))
        return LatencyLevel(items / mean.value, low, high)

    def throughputs(self) -> dict[str, tuple[float, ...]]:
        """``throughput`` in each round, of each size of call, items a second."""
        return {
            sized("throughput", size): tuple(
                items / mean for mean in self.by_round[sized("latency_mean", size)]
            )
            for size, items in {"": self.items, **self.sizes}.items()
        }


@dataclass(frozen=True)
class Answer:
    """What was asked of a metric; ratios are candidate / baseline of the time (1.05 = 5 % slower).

    Attributes:
        looks: the state at each look; the last one holds the answer.
        detectable: the slowdown, as a fraction, that this many rounds would have proven half of the time.
    """

    metric: str
    margin: float
    alarm: float
    looks: tuple[Look, ...]
    detectable: float | None

    @property
    def decision(self) -> Decision:
        return self.looks[-1].decision if self.looks else Decision.UNDECIDED


@dataclass(frozen=True)
class PairedComparison:
    """A candidate beside the baseline; ratios are candidate / baseline (1.05 = 5 % slower).

    Attributes:
        answers: to what was asked, in that order.
        differences: d_r of each round by metric, natural logarithms, as far as the answer rests on them; of ``throughput``
            positive is more.
        reason: why it is undecided, where that has another cause than the spread.
    """

    candidate: str
    baseline: str
    answers: tuple[Answer, ...]
    differences: Mapping[str, tuple[float, ...]]
    reason: str | None = None

    @property
    def decision(self) -> Decision:
        """The answer to all that was asked: slower if anything is, undecided if anything is, else as the first."""
        found = [answer.decision for answer in self.answers]
        return next((worst for worst in (Decision.SLOWER, Decision.UNDECIDED) if worst in found), found[0])

    @property
    def shown(self) -> Answer:
        """The answer that the decision rests on: the first that is like it."""
        return next(answer for answer in self.answers if answer.decision is self.decision)

    def slowdown(self, metric: str) -> Look | None:
        """What a metric came to beside the baseline, asked about or not; None with under three rounds."""
        asked = next((answer for answer in self.answers if answer.metric == metric and answer.looks), None)
        rounds = self.differences.get(metric, ())
        if asked is not None or len(rounds) < 3:
            return asked.looks[-1] if asked else None
        alpha = shared_alpha(answer.metric for answer in self.answers)
        mean, low, high = map(math.exp, difference_bounds(rounds, alpha))
        return Look(len(rounds), mean, low, high, Decision.UNDECIDED)

    @property
    def ratio(self) -> float | None:
        return self.shown.looks[-1].ratio if self.shown.looks else None

    @property
    def low(self) -> float | None:
        return self.shown.looks[-1].low if self.shown.looks else None

    @property
    def high(self) -> float | None:
        return self.shown.looks[-1].high if self.shown.looks else None


@dataclass(frozen=True)
class Discarded:
    """A round that does not count, and why."""

    round: int
    reason: str


@dataclass(frozen=True)
class PairedResult:
    """Everything a benchmark found.

    Attributes:
        contestants, comparisons: in the order asked for.
        gpu: facts after each round, on a GPU.
        discarded: rounds that the GPU's slowdowns spoiled.
        load: load average over one minute when the run ended.
        seconds: how long the benchmark took.
        loads: what load the forms bear, where that was tried.
    """

    contestants: tuple[ContestantTiming, ...]
    comparisons: tuple[PairedComparison, ...]
    plan: BlockPlan
    machine: Machine
    seed: int
    load: float | None
    seconds: float
    gpu: tuple[GpuFacts, ...] = ()
    discarded: tuple[Discarded, ...] = ()
    loads: tuple[Load, ...] = ()

    def contestant(self, name: str) -> ContestantTiming | None:
        """What was measured of ``name``; None when it took no part."""
        return next((contestant for contestant in self.contestants if contestant.name == name), None)

    def comparison(self, candidate: str) -> PairedComparison | None:
        """The comparison in which ``candidate`` is the candidate."""
        return next((found for found in self.comparisons if found.candidate == candidate), None)

    def measurements(self) -> list[Measurement]:
        """What was measured of each contestant, and ``latency_ratio`` to the baseline."""
        found = [measurement for one in self.contestants for measurement in _measurements(one)]
        found += [ratio for pair in self.comparisons for ratio in _ratios(pair)]
        return [*found, *(rate for load in self.loads for rate in _server_rates(load))]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, samples included."""
        record = asdict(self)
        record["machine"] = self.machine.to_json()
        for entry, pair in zip(record["comparisons"], self.comparisons, strict=True):
            entry["decision"] = pair.decision.value
            for one in (look for answer in entry["answers"] for look in answer["looks"]):
                one["decision"] = one["decision"].value
        return record

    @classmethod
    def from_json(cls, record: Any, name: str) -> PairedResult:
        """Read back what ``to_json`` wrote; ``name`` says where it came from.

        Raises:
            BrokenEvidence: a key is missing or holds another type; or an answer is about nobody who was timed.
        """
        try:
            found = decode(cls, record, "it", newer=True)
        except BrokenEvidence as error:
            raise BrokenEvidence(
                f"{name} is not what the benchmark left: {error} Run: gradatim benchmark --force"
            ) from error
        timed = {contestant.name for contestant in found.contestants}
        for answer in found.comparisons:
            if strange := {answer.candidate, answer.baseline} - timed:
                raise BrokenEvidence(
                    f"{name} is not what the benchmark left: it compares {min(strange)}, which was not timed. "
                    "Run: gradatim benchmark --force"
                )
            if not answer.answers:
                raise BrokenEvidence(
                    f"{name} is not what the benchmark left: it answers nothing about {answer.candidate}. "
                    "Run: gradatim benchmark --force"
                )
        return found


def _ratios(pair: PairedComparison) -> Iterator[Measurement]:
    """``latency_ratio[METRIC]`` for each metric that was asked about."""
    for answer in pair.answers:
        where = answer.metric.replace("[", ",").removesuffix("]")
        if not answer.looks:
            why = pair.reason or "no round counted"
            yield Measurement("latency_ratio", pair.candidate, None, "s/s", where=where, reason=why)
            continue
        last = answer.looks[-1]
        yield Measurement(
            "latency_ratio",
            pair.candidate,
            last.ratio,
            "s/s",
            last.rounds,
            last.low,
            last.high,
            where,
        )


def _server_rates(load: Load) -> Iterator[Measurement]:
    """``server_rate``: the highest rate that was borne, between it and the lowest that was too much."""
    if load.bore and load.too_much:
        [*_, run] = (run for run in load.runs if run.valid and run.rate == load.bore)
        yield Measurement(SERVER_RATE, load.name, load.bore, "1/s", run.queries, load.bore, load.too_much)
    elif load.reason is not None:
        yield unloaded(load.name, load.reason)


_UNITS = {**dict.fromkeys(TIMED, "s"), "throughput": "1/s", FIRST_RESULT: "s", "energy": "J"}
_STREAMED_UNITS = {**dict.fromkeys(STREAMED, "s"), OUTPUT_TOKENS: "1/s", GOODPUT: "1/s"}


_SIZED = {**dict.fromkeys(TIMED, "s"), "throughput": "1/s"}


def unmeasured(name: str, reason: str, sizes: Iterable[str] = ()) -> tuple[Measurement, ...]:
    """All that a benchmark measures of a contestant, where it measured nothing."""
    units = {**_UNITS, "memory": "B"}
    whole = [Measurement(metric, name, None, unit, reason=reason) for metric, unit in units.items()]
    parts = [
        Measurement(metric, name, None, unit, where=size, reason=reason)
        for size in sizes
        for metric, unit in _SIZED.items()
    ]
    return (*whole, *parts)


def unstreamed(name: str, reason: str) -> tuple[Measurement, ...]:
    """All that is measured of answers that come token by token, where none did."""
    return tuple(
        Measurement(metric, name, None, unit, reason=reason) for metric, unit in _STREAMED_UNITS.items()
    )


def unloaded(name: str, reason: str) -> Measurement:
    """The highest rate of queries, where it is not known."""
    return Measurement(SERVER_RATE, name, None, "1/s", reason=reason)


def _few(one: ContestantTiming) -> str:
    return f"{one.calls} calls in {one.rounds} rounds are too few for it"


def _measurements(one: ContestantTiming) -> Iterator[Measurement]:
    """Every statistic of a call, ``throughput``, ``memory``, ``energy``."""
    for metric, unit in {**_UNITS, **_STREAMED_UNITS}.items():
        if metric in _STREAMED_UNITS and metric not in one.by_round:
            continue
        rounds = len(one.by_round.get("latency_mean" if metric == "throughput" else metric, ()))
        level = one.level(metric)
        if level is not None:
            yield Measurement(metric, one.name, level.value, unit, rounds, level.low, level.high)
        else:
            why = one.failed or _few(one)
            if metric == FIRST_RESULT and not one.failed:
                why = _PIECEMEAL if one.tokens is not None else "its first call was not timed"
            why = NO_GOODPUT if metric == GOODPUT and not one.failed else why
            yield Measurement(
                metric, one.name, None, unit, reason=one.energy_reason if metric == "energy" else why
            )
    for size in one.sizes:
        for metric, unit in _SIZED.items():
            rounds = len(one.by_round[sized("latency_mean" if metric == "throughput" else metric, size)])
            level = one.level(sized(metric, size))
            if level is not None:
                yield Measurement(metric, one.name, level.value, unit, rounds, level.low, level.high, size)
            else:
                yield Measurement(metric, one.name, None, unit, where=size, reason=_few(one))
    if one.memory is None:
        yield Measurement("memory", one.name, None, "B", reason=_ELSEWHERE)
    else:
        yield Measurement("memory", one.name, float(one.memory), "B", one.rounds)
