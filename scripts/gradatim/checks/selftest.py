"""How well can this machine time? The benchmark of a model beside itself, and what a gate on it would be worth here."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.candidate.candidate import Candidate
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.codec import decode
from gradatim.files import read_json, write_json
from gradatim.gates.rule import FLOOR, USUAL_MARGIN, paired_margins
from gradatim.metrics import catalogue
from gradatim.progress import Progress, about
from gradatim.timing.chances import Chance, Trials
from gradatim.timing.contestant import Contestant, save_inputs
from gradatim.timing.decision import LOOKS, Decision, look
from gradatim.timing.machine import this_machine
from gradatim.timing.paired import Question, compare
from gradatim.timing.result import TIMED
from gradatim.timing.sizes import so_long, so_many

SLOWDOWNS = (0.0, 0.01, 0.03, 0.05, 0.1)
_MARGINS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5)
_MOST_REFUSED, _MOST_UNDECIDED = 0.01, 0.05
_LEAST_JOBS = 3
LEAST_ROUNDS = _LEAST_JOBS * LOOKS[0]

_STAND_IN = """
import numpy as np


def model():
    weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)

    def call(inputs):
        found = inputs["x"]
        for _ in range(8):
            found = np.tanh(found @ weights)
        return {"y": found}

    return call
"""


@dataclass(frozen=True)
class Gated:
    """What a gate on one metric would be worth.

    Attributes:
        spread: standard deviation of the metric's logarithm between rounds; None where they had too few calls to tell it.
        chances: of the contract's margin at each of ``SLOWDOWNS``.
        holds: the smallest margin at which an equal model is refused in at most 1 % and left undecided in at most 5 %; None where
            there is none.
    """

    metric: str
    spread: float | None
    chances: tuple[Chance, ...]
    holds: Chance | None


@dataclass(frozen=True)
class Selftest:
    """What a machine's own rounds say of it.

    Attributes:
        kind: digest of the kind of machine.
        machine: in words.
        load: load average over one minute at the beginning.
        model: which was timed beside itself.
        seconds: that a round takes by the clock.
        rounds: that were measured, in so many ``jobs`` of their own.
        asked: the least that tells much; fewer were measured where the budget was over.
        alarms: jobs in which the gate would have refused the model for being slower than itself.
        most: the most rounds that a benchmark may take.
        gates: by metric.
    """

    kind: str
    machine: str
    load: float | None
    model: str
    seconds: float
    rounds: int
    jobs: int
    alarms: int
    most: int
    gates: tuple[Gated, ...]
    asked: int = LEAST_ROUNDS

    def advice(self) -> list[str]:
        """What to do with it, most important first; a sentence or two each."""
        few = f"The budget was over after {self.rounds} of {self.asked} rounds, so what is drawn from them is rough. Give it more: --budget"
        return [*(self._advised(gated) for gated in self.gates), *([few] if self.rounds < self.asked else [])]

    def of(self, metric: str) -> str | None:
        """What to expect of a gate on a metric here, in words; None where it was not measured."""
        gated = next((one for one in self.gates if one.metric == metric), None)
        if gated is None:
            return None
        equal, five = gated.chances[0], next(c for c in gated.chances if c.slowdown == 0.05)
        return (
            f"On this machine an equal model is refused in {_share(equal.refused)} and undecided in {_share(equal.undecided)} of "
            f"runs, one that is 5 % slower refused in {_share(five.refused)}, in about {self.seconds * equal.rounds:.0f} s "
            "(gradatim selftest benchmark)."
        )

    def _advised(self, gated: Gated) -> str:
        margin, holds = gated.chances[0].margin, gated.holds
        if gated.spread is None:
            return (
                f"{gated.metric}: {self.rounds} rounds of this model made too few calls to tell it. Put the gate on latency_floor or "
                "latency_mean."
            )
        if holds is None:
            load = "" if self.load is None else f" Its load was {self.load:.1f} while it was measured."
            return (
                f"{gated.metric}: no margin up to {_percent(_MARGINS[-1])} holds here, for rounds vary by {_percent(gated.spread)}.{load} "
                "Give the benchmark a runner with nothing else to do: `benchmark: {runner: NAME}`."
            )
        told = f"an equal model is undecided in {_share(holds.undecided)} of runs, after {self.seconds * holds.rounds:.0f} s on average"
        if holds.margin <= margin:
            more = (
                ""
                if holds.margin == margin
                else f" `by: {_percent(holds.margin, tight=True)}` would hold, too."
            )
            return f"{gated.metric}: `by: {_percent(margin, tight=True)}` holds here.{more}"
        undecided = gated.chances[0].undecided
        return (
            f"{gated.metric}: `by: {_percent(margin, tight=True)}` asks more than this machine can tell in {self.most} rounds: an equal "
            f"model would be undecided in {_share(undecided)} of runs. Say `by: {_percent(holds.margin, tight=True)}` ({told}), or give the "
            "benchmark a runner with less else to do: `benchmark: {runner: NAME}`."
        )

    @classmethod
    def read(cls, path: Path) -> Selftest | None:
        """What was found earlier on a machine of this kind; None where nothing was, or on another."""
        if not path.exists():
            return None
        try:
            found = decode(cls, read_json(path), "it")
        except BrokenEvidence:
            return None  # advice of another version of the kit
        return found if found.kind == this_machine().kind else None


def selftest(
    candidate: Candidate | None, seconds: float, progress: Progress, budget: float = math.inf
) -> Selftest:
    """Time a model beside itself for about so long, and work out what that says.

    Args:
        candidate: whose model, data, device and gates count; None takes a small net and the usual gate.
        seconds: to measure for; at least three jobs of six rounds are taken, if they need longer.
        progress: is told after the first round how long it will take.
        budget: seconds that it may take at most; jobs that do not fit in are left out.

    Raises:
        UsageError: the contract names no evaluation data to time with, or not even one job fits into the budget.
        InvalidInput: the model or the data is broken.
    """
    margins = {FLOOR: USUAL_MARGIN}
    most = LOOKS[-1]
    if candidate is not None:
        rules = candidate.contract.rules_for(candidate.stage)
        asked = paired_margins(r for r in rules if not (catalogue.is_streamed(r.metric) or r.where))
        margins = {metric: round(margin, 6) for metric, margin in asked.items()}
        most = candidate.contract.parts.benchmark.rounds
    before = this_machine()
    with tempfile.TemporaryDirectory(prefix="gradatim-selftest-") as name:
        one, inputs = _stand_in(Path(name)) if candidate is None else _own(candidate)
        batch = save_inputs(Path(name) / "inputs.npz", inputs)
        differences, jobs, each = _measured(one, batch, seconds, progress, budget)
    rounds = len(differences[FLOOR])
    return Selftest(
        kind=before.kind,
        machine=f"{before.cpu}, {before.cores} cores",
        load=before.load and before.load[0],
        model=str(one.factory or one.path.name) if candidate is not None else "a small net",
        seconds=each,
        rounds=rounds,
        jobs=len(jobs),
        alarms=sum(
            look(found, margins.get(FLOOR, USUAL_MARGIN)).decision is Decision.SLOWER for found in jobs
        ),
        most=most,
        gates=tuple(_gated(differences, metric, margin, most) for metric, margin in margins.items()),
    )


def _gated(differences: Mapping[str, list[float]], metric: str, margin: float, most: int) -> Gated:
    series = "latency_mean" if metric == "throughput" else metric
    trials = Trials(differences, series, most)
    equal = (trials.chance(other, 0.0) for other in sorted({*_MARGINS, margin}))
    holds = (c for c in equal if c.refused <= _MOST_REFUSED and c.undecided <= _MOST_UNDECIDED)
    spread = statistics.stdev(differences[series]) if len(differences[series]) > 1 else None
    return Gated(metric, spread, tuple(trials.chance(margin, s) for s in SLOWDOWNS), next(holds, None))


def _measured(
    one: Contestant, batch: Path, seconds: float, progress: Progress, budget: float
) -> tuple[dict[str, list[float]], list[list[float]], float]:
    """Differences by metric, those of the floor by job, and what a round takes by the clock."""
    pair = [replace(one, name=name) for name in ("baseline", "candidate")]
    differences: dict[str, list[float]] = {metric: [] for metric in TIMED}
    jobs: list[list[float]] = []
    began, last = time.monotonic(), 0.0
    with progress.task("selftest", math.ceil(seconds)) as advance:
        told = 0

        def tell(done: int, most: int, known: str) -> None:
            nonlocal told
            spent = time.monotonic() - began
            each = spent / (LOOKS[0] * len(jobs) + done)
            job = LOOKS[0] * each
            if not jobs and job > budget:
                raise UsageError(
                    f"A round takes {each:.2g} s here, and {LOOKS[0]} are the least that tell anything: {about(job)}. "
                    f"Allow so long, --budget {math.ceil(1.2 * job)}, or time a smaller batch (`benchmark.batch`)."
                )
            whole = min(max(1, budget // job) * job, max(seconds, _LEAST_JOBS * job))
            advance(int(spent) - told, about(whole))
            told = int(spent)

        while len(jobs) < _LEAST_JOBS or time.monotonic() - began + last <= seconds:
            start = time.monotonic()
            if jobs and start - began + last > budget:
                break
            asked = [Question("candidate", "baseline", 0.0)]  # which chance alone answers
            done = compare(pair, batch, questions=asked, rounds=LOOKS[0], seed=len(jobs), progress=tell)
            found = done.comparisons[0]
            for metric in TIMED:
                differences[metric] += found.differences[metric]
            jobs.append(list(found.differences[FLOOR]))
            last = time.monotonic() - start
        rounds = sum(map(len, jobs))
    return differences, jobs, (time.monotonic() - began) / rounds


def _own(candidate: Candidate) -> tuple[Contestant, dict[str, NDArray[Any]]]:
    """The candidate's model as the benchmark takes it."""
    if candidate.contract.data_set("evaluation") is None:
        raise UsageError(
            "The contract names no evaluation data (`data.evaluation`), so there is nothing to call the model with. Name some, "
            "or run this in a folder without a contract: then a small net is timed."
        )
    settings = candidate.contract.parts.benchmark
    path = candidate.forms.original.path
    with candidate.model.open(path) as predictor:
        size = settings.sizes[0]
        rows = so_many(
            candidate.rows.dataset("evaluation", predictor.signature).head(size.batch).inputs, size.batch
        )
        if size.length is not None:
            rows = so_long(rows, size.length, predictor)
    return candidate.model.contestant("baseline", path, settings.threads), rows


def _stand_in(folder: Path) -> tuple[Contestant, dict[str, NDArray[Any]]]:
    """A small net of numpy's, about a millisecond a call."""
    (folder / "stand_in.py").write_text(_STAND_IN, encoding="utf-8")
    name = "stand_in:model"
    rows = np.random.default_rng(1).normal(size=(16, 256)).astype(np.float32)
    return Contestant("baseline", Path(name), folder, format="python", factory=name), {"x": rows}


def keep(found: Selftest, path: Path) -> None:
    """Write it where ``read`` finds it."""
    write_json(path, asdict(found))


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _percent(value: float, *, tight: bool = False) -> str:
    return f"{100 * value:.3g}{'' if tight else ' '}%"
