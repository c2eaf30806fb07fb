"""What a paired benchmark found: each contestant's figures, the answers, and how the machine was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gradatim.errors import BrokenEvidence
from gradatim.evidence.codec import decode
from gradatim.measurement import Measurement
from gradatim.timing.blocks import BlockPlan
from gradatim.timing.decision import Decision, Look
from gradatim.timing.machine import Machine
from gradatim.timing.nvml import GpuFacts


@dataclass(frozen=True)
class LatencyLevel:
    """What a call takes, with the 95 % interval of its value between rounds; no interval for under three rounds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ContestantTiming:
    """What was measured of one contestant.

    Attributes:
        device, threads, clock: how it ran.
        rounds: rounds it took part in.
        calls: timed calls, all rounds together.
        items: items of the batch.
        p50, p90, p99: seconds of a call. p99 varies by half between processes: report it, do not gate it.
        mean: seconds of a call, on average.
        throughput: items a second, one call at a time.
        block: Q25 of the block minima, median over rounds: the steadiest figure, in seconds.
        memory: bytes by which the peak resident memory grew from before the model was opened, its runtime
            apart.
        opening: seconds to open the model, median over rounds.
        samples: seconds of timed calls, evenly thinned to at most 2000, in the order taken.
        energy: joules of a call, on average; None where nothing counts them, ``energy_reason`` says why.
        energies: joules of a call in each round that could be counted.
    """

    name: str
    device: str
    threads: int
    clock: str
    rounds: int
    calls: int
    items: int
    p50: LatencyLevel
    p90: LatencyLevel
    p99: LatencyLevel
    mean: LatencyLevel
    throughput: float
    block: float
    memory: int
    opening: float
    samples: tuple[float, ...]
    energy: LatencyLevel | None
    energies: tuple[float, ...]
    energy_reason: str | None


@dataclass(frozen=True)
class PairedComparison:
    """The answer to a question; ratios are candidate / baseline (1.05 = 5 % slower).

    Attributes:
        differences: d_r of each round, natural logarithms.
        looks: the state at each look; the last one holds the answer.
        detectable: the slowdown, as a fraction, that this many rounds would have proven half of the time.
        reason: why it is undecided, where that has another cause than the spread.
        energy: the same logarithms for the joules of a call, of each round in which both were counted.
    """

    candidate: str
    baseline: str
    margin: float
    alarm: float
    differences: tuple[float, ...]
    looks: tuple[Look, ...]
    detectable: float | None
    reason: str | None = None
    energy: tuple[float, ...] = ()

    @property
    def decision(self) -> Decision:
        return self.looks[-1].decision if self.looks else Decision.UNDECIDED

    @property
    def ratio(self) -> float | None:
        return self.looks[-1].ratio if self.looks else None

    @property
    def low(self) -> float | None:
        return self.looks[-1].low if self.looks else None

    @property
    def high(self) -> float | None:
        return self.looks[-1].high if self.looks else None


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

    def contestant(self, name: str) -> ContestantTiming | None:
        """What was measured of ``name``; None when it took no part."""
        return next((contestant for contestant in self.contestants if contestant.name == name), None)

    def comparison(self, candidate: str) -> PairedComparison | None:
        """The comparison in which ``candidate`` is the candidate."""
        return next((found for found in self.comparisons if found.candidate == candidate), None)

    def measurements(self) -> list[Measurement]:
        """What was measured of each contestant, and ``latency_ratio`` to the baseline."""
        found = [measurement for one in self.contestants for measurement in _measurements(one)]
        for answer in self.comparisons:
            if answer.ratio is None:
                reason = answer.reason or "no round counted"
                found.append(Measurement("latency_ratio", answer.candidate, None, "s/s", reason=reason))
            else:
                ratio = LatencyLevel(answer.ratio, answer.low, answer.high)
                found.append(
                    _measured("latency_ratio", answer.candidate, ratio, "s/s", len(answer.differences))
                )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, samples included."""
        record = asdict(self)
        record["machine"] = self.machine.to_json()
        for entry, answer in zip(record["comparisons"], self.comparisons, strict=True):
            entry["decision"] = answer.decision.value
            for one in entry["looks"]:
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
        return found


def together(runs: Sequence[PairedResult]) -> PairedResult:
    """All runs of one benchmark as one; of a contestant in several, the longest."""
    contestants: dict[str, ContestantTiming] = {}
    for one in (one for run in runs for one in run.contestants):
        if one.name not in contestants or one.calls > contestants[one.name].calls:
            contestants[one.name] = one
    return replace(
        runs[-1],
        contestants=tuple(contestants.values()),
        comparisons=tuple(answer for run in runs for answer in run.comparisons),
        seconds=sum(run.seconds for run in runs),
    )


def _measurements(one: ContestantTiming) -> Iterator[Measurement]:
    """``latency_p50`` and its kin, ``throughput``, ``memory``, ``energy``."""
    for name in ("p50", "p90", "p99", "mean"):
        yield _measured(f"latency_{name}", one.name, getattr(one, name), "s", one.rounds)
    low, high = (one.items / end if end else None for end in (one.mean.high, one.mean.low))
    yield _measured("throughput", one.name, LatencyLevel(one.throughput, low, high), "1/s", one.rounds)
    yield Measurement("memory", one.name, float(one.memory), "B", one.rounds)
    if one.energy is None:
        yield Measurement("energy", one.name, None, "J", reason=one.energy_reason)
    else:
        yield _measured("energy", one.name, one.energy, "J", len(one.energies))


def _measured(name: str, variant: str, level: LatencyLevel, unit: str, rounds: int) -> Measurement:
    return Measurement(name, variant, level.value, unit, rounds, level.low, level.high)
