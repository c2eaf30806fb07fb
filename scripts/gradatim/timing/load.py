"""What load a model bears: LoadGen's scenarios, the highest rate within a bound, and what happens beyond it."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import InvalidInput
from gradatim.timing.loadgen import AT_ONCE, LEAST, MULTI, OFFLINE, SERVER, SINGLE, LoadPlan, LoadRun
from gradatim.timing.locust import LocustPlan, LocustRun, run_locust

if TYPE_CHECKING:  # who reads what was found starts nothing
    from gradatim.timing.contestant import Contestant
    from gradatim.timing.queries import LoadQuery

PATTERNS = {"single-stream": SINGLE, "multi-stream": MULTI, "offline": OFFLINE}
"""LoadGen's scenarios of one run each, as a contract names them."""

NARROW = 1.02
"""A bracket is not narrowed further when its ends are so near."""

_LONGER = 4
_LOWEST = 2**3
_FIRST = 0.5
_PATIENCE = 300.0
_STEP = 1.25
_MOST_STEPS = 24
_MOST_USERS = 2**13

Run = Callable[[LoadPlan], LoadRun]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Stress:
    """What happens when ever more queries come, or ever more of locust's users.

    Attributes:
        breaks_at: the lowest rate at which it falls behind or fails, queries a second, or number of users; None where none did in time.
        bore: the highest below it whose run kept the bound.
        recovered: seconds from the last query of that run until a run of the first kind kept the bound; None where none did.
    """

    breaks_at: float | None
    bore: float | None
    recovered: float | None


@dataclass(frozen=True)
class Load:
    """What load one model bears.

    Attributes:
        name: of the form.
        where: ``in its process``, or the address of the server that answers for it.
        bound: seconds that 99 % of queries stay below.
        parallel: queries under way at a time.
        runs: LoadGen's runs, in their order.
        bore: the highest rate of a valid run of ``Server``.
        too_much: the lowest rate above it whose run was not valid.
        reason: why one of the two is not known, where they were asked for.
        late: scenarios that there was no time for.
        stress: what was found beyond; None where that was not asked.
        users: locust's runs, in their order, where ``stress`` is in its users.
    """

    name: str
    where: str
    bound: float | None
    parallel: int
    runs: tuple[LoadRun, ...]
    bore: float | None = None
    too_much: float | None = None
    reason: str | None = None
    late: tuple[str, ...] = ()
    stress: Stress | None = None
    users: tuple[LocustRun, ...] = ()


class OutOfTime(Exception):
    """A run would not end within the budget."""


class LoadBudget:
    """Runs LoadGen, as long as the next run can be expected to end in time, and keeps what it says.

    Each run has arrivals of its own: a lucky draw of them would else bear out one rate after another.

    Args:
        run: does one run.
        seconds: for all of them.
        tell: is told of each before it begins.
    """

    def __init__(self, run: Run, seconds: float, tell: Told = lambda _: None) -> None:
        self.runs: list[LoadRun] = []
        self._run, self._tell = run, tell
        self._end = time.monotonic() + seconds

    def __call__(self, plan: LoadPlan) -> LoadRun:
        """One run; raises OutOfTime."""
        samples = AT_ONCE if plan.scenario == MULTI else 1
        lasts = max(plan.seconds, max(plan.queries, LEAST[plan.scenario]) * samples / plan.rate)
        left = self._end - time.monotonic()
        if lasts > left:
            raise OutOfTime
        at = f" {plan.rate:.4g}/s" if plan.scenario == SERVER else ""
        self._tell(f"{plan.scenario}{at}, about {lasts:.0f} s")
        self.runs.append(self._run(replace(plan, longest=left, seed=len(self.runs) + 1)))
        return self.runs[-1]


@dataclass(frozen=True)
class LoadQuestion:
    """What is asked of every form.

    Attributes:
        scenarios: LoadGen's, as a contract names them; none where only the address of a server is asked for.
        bound: seconds that 99 % of queries of ``server`` and ``stress`` stay below; 0 where neither is asked for.
        seconds: that a run lasts at least.
        budget: seconds for all runs of one form.
        parallel: queries under way at a time.
        asked: what a query is.
    """

    scenarios: tuple[str, ...]
    bound: float
    seconds: float
    budget: float
    parallel: int
    asked: LoadQuery


def bears(
    contestant: Contestant, inputs: Path, question: LoadQuestion, logs: Path, tell: Told = lambda _: None
) -> Load:
    """What load a model bears, in a process of its own that asks it, or asks the server that answers for it.

    Args:
        inputs: the .npz of the rows that queries are made of.
        logs: a folder for LoadGen's own logs, one folder a run.
        tell: is told of each run before it begins.

    Raises:
        InvalidInput: the model is broken, or a server answers otherwise than it; a query fails without any load.
        EnvironmentLacks: LoadGen or another package is missing, or the server cannot be reached.
    """
    from gradatim.timing.contestant import Worker

    with tempfile.TemporaryDirectory(prefix="gradatim-load-") as name:
        scratch = Path(name)
        with Worker(contestant, inputs, scratch, question.budget + _PATIENCE) as worker:
            worker.opened()
            where = question.asked.url or contestant.endpoint.get("url") or "in its process"
            if not question.scenarios:
                worker.ask("load", plan=None, asked=asdict(question.asked))
                return Load(contestant.name, where, question.bound, question.parallel, ())

            def run(plan: LoadPlan) -> LoadRun:
                folder = scratch / plan.scenario
                told = worker.ask("load", plan=asdict(plan), asked=asdict(question.asked), folder=str(folder))
                found = LoadRun(**told)
                kept = logs / f"{len(list(logs.glob('*'))) + 1:02}-{plan.scenario}-{found.rate:.4g}"
                kept.mkdir(parents=True)
                for log in ("mlperf_log_summary.txt", "mlperf_log_detail.txt"):
                    shutil.copy(folder / log, kept)
                return found

            return load_of(contestant.name, where, run, question, tell)


def load_of(name: str, where: str, run: Run, question: LoadQuestion, tell: Told = lambda _: None) -> Load:
    """All scenarios that are asked for, of one model.

    Args:
        where: ``in its process``, or the address of a server.
        run: does one run of LoadGen.

    Raises:
        InvalidInput: a query fails without any load.
    """
    plan = LoadPlan(SINGLE, 0, question.bound, min(question.seconds, _FIRST), parallel=question.parallel)
    first = run(plan)
    if first.failed:
        raise InvalidInput(f"The model `{name}` cannot be loaded: {first.why}")
    within = LoadBudget(run, question.budget, tell)
    plan = replace(plan, rate=first.completed, seconds=question.seconds)
    late = [
        one for one in PATTERNS if one in question.scenarios and not _patterned(within, plan, PATTERNS[one])
    ]
    plan = replace(plan, scenario=SERVER, rate=plan.rate / 2)
    bore = too_much = reason = stress = None
    if "server" in question.scenarios:
        bore, too_much = highest_rate(within, plan)
        reason = None if bore and too_much else _lacking(within.runs, bore, too_much, question)
    if "stress" in question.scenarios:
        stress = stressed(within, replace(plan, rate=bore / 2 if bore else plan.rate))
    runs, bound = tuple(within.runs), question.bound or None
    return Load(name, where, bound, question.parallel, runs, bore, too_much, reason, tuple(late), stress)


def _patterned(run: Run, plan: LoadPlan, scenario: str) -> bool:
    """Whether there was time for a scenario of one run."""
    try:
        found = run(replace(plan, scenario=scenario))
        if scenario == OFFLINE and not (found.valid or found.failed):  # it was faster than one after another
            run(replace(plan, scenario=scenario, rate=1.1 * found.completed))
    except OutOfTime:
        return False
    return True


def _lacking(
    runs: Sequence[LoadRun], bore: float | None, too_much: float | None, question: LoadQuestion
) -> str:
    """Why the highest rate is not known."""
    longer = f"the {question.budget:g} s of `benchmark.load.budget` were over"
    if bore:
        return f"{bore:.4g}/s was borne, and {longer} before a rate was too much"
    if too_much:
        [*_, last] = (run for run in runs if run.scenario == SERVER)
        below = [one.rate for one in runs if one.scenario == SERVER and one.valid and one.rate < too_much]
        if below:
            return f"{max(below):.4g}/s was borne by a short run, {too_much:.4g}/s was too much, and {longer} before a long one bore any"
        took = f"99 % of queries took up to {last.p99 * 1e3:.4g} ms, not {question.bound * 1e3:.4g} ms"
        return (
            f"at {last.rate:.4g}/s, the lowest rate that was tried, {took}" if not last.failed else last.why
        )
    return f"{longer} before one run of {LEAST[SERVER]} queries could end"


def highest_rate(run: Run, plan: LoadPlan) -> tuple[float | None, float | None]:
    """The highest rate of a valid run, and the lowest above it of one that is not.

    Doubled or halved until both are known, then halved between, by runs four times as long. LoadGen's early stopping takes
    queries as independent, which those that wait together are not, and near the bound it needs many: what a short run says
    there is luck. So the rate that is told is one that a long run bore.

    Args:
        plan: the first run, of ``Server``.

    Returns:
        The two, None for one that was not found in time.
    """
    bore, too_much, rate, proven = None, None, plan.rate, None
    try:
        while not (bore and too_much):
            if rate <= plan.rate / _LOWEST:
                return None, too_much
            found = run(replace(plan, rate=rate))
            # One that keeps up and is not valid may have been disturbed.
            held = not found.valid and found.keeps_up and run(_longer(plan, rate)).valid
            if found.valid or held:
                bore, proven, rate = rate, rate if held else None, 2 * rate
            else:
                too_much, rate = rate, rate / 2
        return _narrowed(run, plan, bore, too_much, proven)
    except OutOfTime:
        return bore if too_much is None else None, too_much


def _narrowed(
    run: Run, plan: LoadPlan, likely: float, too_much: float, bore: float | None
) -> tuple[float | None, float | None]:
    """The two, by long runs between what short ones said; where none of them was valid, by long ones from there downwards.

    Args:
        bore: ``likely``, where a long run bore it already.
    """
    try:
        while too_much / (bore or likely) > NARROW:
            rate = math.sqrt((bore or likely) * too_much)
            if _borne(run, _longer(plan, rate)):
                bore = rate
            else:
                too_much = rate
        rate = likely
        while not bore and rate > likely / 2:
            if _borne(run, _longer(plan, rate)):
                bore = rate
            else:
                too_much, rate = rate, rate / NARROW
    except OutOfTime:
        pass
    return bore, too_much


def _borne(run: Run, plan: LoadPlan) -> bool:
    """Whether a run is valid, or its repetition where it kept up: one stall of the machine, of a tenth of a second, spoils a minute."""
    found = run(plan)
    return found.valid or (found.keeps_up and run(plan).valid)


def _longer(plan: LoadPlan, rate: float) -> LoadPlan:
    return replace(plan, rate=rate, seconds=_LONGER * plan.seconds, queries=_LONGER * LEAST[SERVER])


def stressed(run: Run, plan: LoadPlan) -> Stress:
    """Let ever more queries come, a quarter more in each run, until it falls behind; then see whether the first rate is borne again.

    Args:
        plan: the first run, of ``Server``.
    """
    bore, rate = None, plan.rate
    try:
        for _ in range(_MOST_STEPS):
            began = time.monotonic()
            found = run(replace(plan, rate=rate, patient=True))
            if not found.keeps_up:
                return Stress(rate, bore, _recovery(run, plan, began + found.queries / rate))
            bore = rate if found.within else bore
            rate *= _STEP
    except OutOfTime:
        pass
    return Stress(None, bore, None)


def _recovery(run: Run, plan: LoadPlan, since: float) -> float | None:
    """Seconds until a run at the first rate keeps the bound."""
    try:
        while True:
            began = time.monotonic()
            found = run(plan)
            if found.within and found.keeps_up:
                return max(began - since, 0.0)
    except OutOfTime:
        return None


def stressed_by_users(
    load: Load, plan: LocustPlan, budget: float, logs: Path, tell: Told = lambda _: None
) -> Load:
    """The same load, with what ever more of locust's users find.

    Args:
        budget: seconds for all runs.
        logs: a folder that keeps what locust wrote, one folder a run.
        tell: is told of each run before it begins.

    Raises:
        InvalidInput: the file is broken, its users ask nothing, or one alone gets no right answer.
    """
    runs: list[LocustRun] = []
    end = time.monotonic() + budget

    def run(users: int) -> LocustRun:
        if time.monotonic() + plan.seconds > end:
            raise OutOfTime
        tell(f"locust, {users} user{'s' if users > 1 else ''}, about {plan.seconds} s")
        kept = logs / f"locust-{len(runs) + 1:02}-{users}"
        with tempfile.TemporaryDirectory(prefix="gradatim-locust-") as name:
            try:
                runs.append(run_locust(plan, users, Path(name)))
            finally:
                shutil.copytree(name, kept)
        return runs[-1]

    return replace(load, stress=ramp(run), users=tuple(runs))


def ramp(run: Callable[[int], LocustRun]) -> Stress:
    """Twice as many users in each run until one breaks, then as many as lie between, down to a quarter more than were borne.

    It breaks where two runs did, for one stall of the machine spoils one. Then one user alone asks until it is well again: a
    server that still works off what came before would break at fewer.

    Args:
        run: does one run, or raises OutOfTime.
    """
    bore = breaks = recovered = None
    users = 1
    try:
        while users <= _MOST_USERS:
            if not (run(users).why and run(users).why):
                bore = users
            elif bore is None:
                return Stress(users, None, None)
            else:
                breaks, recovered = users, None
                recovered = _well_again(run)
            if breaks is None or bore is None:
                users *= 2
            elif breaks > max(_STEP * bore, bore + 1):
                users = math.ceil(math.sqrt(bore * breaks))
            else:
                break
    except OutOfTime:
        pass
    return Stress(breaks, bore, recovered)


def _well_again(run: Callable[[int], LocustRun]) -> float:
    """Seconds from now until a run of one user begins that is answered in time."""
    since = time.monotonic()
    while True:
        began = time.monotonic()
        if not run(1).why:
            return began - since
