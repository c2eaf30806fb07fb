"""Is the candidate slower? Fresh processes each round, blocks in turn, looks until it is proven.

Timings of separate runs cannot answer: on a shared machine they raise false alarms and miss true slowdowns
at once. Here the contestants of a round are alive together and take turns, so that a disturbance meets all of
them; the round is the sampling unit, since a part of the spread lies between processes and no longer run
removes it.
"""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gradatim.errors import InvalidInput, UsageError
from gradatim.gates.latency import SEQUENTIAL_ALPHA, STREAMED, shared_alpha
from gradatim.gates.rule import FLOOR, parted, sized
from gradatim.timing.blocks import BlockPlan, plan_blocks, shared_pace
from gradatim.timing.contestant import Contestant, Worker, save_inputs
from gradatim.timing.crew import Crew
from gradatim.timing.decision import (
    LOOKS,
    MARGIN,
    Decision,
    Look,
    default_alarm,
    look,
    looks_until,
    resolvable,
)
from gradatim.timing.energy import Counter, Energy, Rapl, per_call
from gradatim.timing.machine import this_machine
from gradatim.timing.nvml import GpuFacts, Nvml
from gradatim.timing.result import (
    FIRST_RESULT,
    GOODPUT,
    NO_GOODPUT,
    OUTPUT_TOKENS,
    TIMED,
    Answer,
    Discarded,
    PairedComparison,
    PairedResult,
)
from gradatim.timing.rounds import Log, Turn, differences, slowdowns
from gradatim.timing.streams import Streaming

_MOST_DISCARDED = 6


@dataclass(frozen=True)
class Question:
    """Is ``candidate`` not slower than ``baseline`` by more than ``margin`` (a fraction)?

    A proven slowdown above ``alarm`` is a refusal; a third of the margin when not given. ``metric`` is one of ``TIMED`` or
    ``throughput``.
    """

    candidate: str
    baseline: str
    margin: float = MARGIN
    alarm: float | None = None
    metric: str = FLOOR


Progress = Callable[[int, int, str], None]
"""Called after each round with the rounds done, the most there can be, and what is known so far."""


def compare(
    contestants: Sequence[Contestant],
    inputs: Path | Mapping[str, NDArray[Any]],
    *,
    questions: Sequence[Question] | None = None,
    rounds: int = LOOKS[-1],
    seed: int = 0,
    progress: Progress | None = None,
    timeout: float = 300,
    streaming: Streaming | None = None,
    sizes: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
) -> PairedResult:
    """Time the contestants against one another until every question is answered.

    Each round starts every contestant whose question is open in a fresh process, in random order, warms it up for 0.1 s, and has
    them take turns at blocks of calls, in a random order drawn anew for each tuple of blocks. Where a counter of energy can be
    read, each then has it to itself for a while. After 6, 10, 16, 24 and 36 rounds the questions are looked at; a contestant
    with no open question drops out, and a question that no round will answer is given up.

    Args:
        contestants: the baseline first, unless ``questions`` says otherwise.
        inputs: one real batch, or the .npz that holds it.
        questions: by default: is each of the others not slower than the first by 3 %? With none to ask, 6 rounds are taken.
        rounds: the most rounds to take; what is open then stays undecided.
        seed: seed of the orders.
        timeout: seconds to wait for any answer of a contestant.
        streaming: what they are asked where answers come token by token; then no blocks of calls are made.
        sizes: a batch of each size of call by its name, of which the first is ``inputs``, where there are several: they share
            the rounds, and the error of a look.

    Raises:
        InvalidInput: a model or the batch is broken, a model's process died or hung; names the contestant.
        EnvironmentLacks: a contestant needs a package or a device that is missing.
        UsageError: no contestant, two of one name, a question about one that is not there, one round.
    """
    asked = _check(contestants, questions, streaming, sizes or {})
    steps = looks_until(min(rounds, LOOKS[-1]) if asked else min(rounds, LOOKS[0]))
    started, machine, order = time.monotonic(), this_machine(), random.Random(seed)  # noqa: S311
    logs = {c.name: Log(c, streaming.bounds if streaming else None) for c in contestants}
    answers = {question: _Answer(shared_alpha(q.metric for q in asked)) for question in asked}
    counter: Counter = next((Nvml(c.device) for c in contestants if c.device.startswith("cuda")), Rapl())
    facts: list[GpuFacts] = []
    discarded: list[Discarded] = []
    plans: dict[str, BlockPlan] = {}
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gradatim-timing-")))
        batch = inputs if isinstance(inputs, Path) else save_inputs(scratch / "inputs.npz", inputs)
        crew = stack.enter_context(Crew(batch, scratch, timeout))
        batches = {size: save_inputs(scratch / f"{size}.npz", rows) for size, rows in (sizes or {}).items()}
        done = 0
        while done < steps[-1] and len(discarded) < _MOST_DISCARDED:
            playing, taken = _playing(contestants, answers, done), _taken(batches, answers, done)
            found = _round(playing, crew, streaming, plans, order, counter, taken)
            if found.facts:
                facts.append(found.facts)
                if found.facts.throttles:
                    discarded.append(Discarded(done + 1, " and ".join(found.facts.throttles)))
                    continue
            done += 1
            if done in steps:
                crew.renew()
            for name, one in found.turns.items():
                logs[name].turns.append(one)
            _ask(answers, logs, steps[-1], look_now=done in steps)
            if progress:
                progress(done, steps[-1], _so_far(answers))
            if asked and not any(answer.open for answer in answers.values()):
                break
    reason, plan = _spoiled(discarded, plans.get("") if done else None)
    return PairedResult(
        contestants=tuple(logs[contestant.name].timing() for contestant in contestants),
        comparisons=_comparisons(answers, logs, reason),
        plan=plan,
        machine=machine,
        seed=seed,
        load=(load := this_machine().load) and load[0],
        seconds=time.monotonic() - started,
        gpu=tuple(facts),
        discarded=tuple(discarded),
    )


def _playing(
    contestants: Sequence[Contestant], answers: Mapping[Question, _Answer], done: int
) -> list[Contestant]:
    """Who takes part in a round: whoever an open question is about, and in the first rounds those of no question."""
    still = {name for q, answer in answers.items() if answer.open for name in (q.candidate, q.baseline)}
    compared = {name for question in answers for name in (question.candidate, question.baseline)}
    return [c for c in contestants if c.name in still or (c.name not in compared and done < LOOKS[0])]


def _taken(batches: Mapping[str, Path], answers: Mapping[Question, _Answer], done: int) -> dict[str, Path]:
    """The sizes of call of a round: the first, in the first rounds all, then whatever an open question is about."""
    still = {parted(question.metric)[1] for question, answer in answers.items() if answer.open}
    first = next(iter(batches), None)
    return {size: path for size, path in batches.items() if done < LOOKS[0] or size in {first, *still}}


def _spoiled(discarded: Sequence[Discarded], plan: BlockPlan | None) -> tuple[str | None, BlockPlan]:
    """Why rounds were left out, None where none was; and the plan of those that were kept.

    Raises:
        InvalidInput: all were.
    """
    if plan is None:
        raise InvalidInput(
            f"No round could be kept: {discarded[-1].reason} held the GPU back in each of {len(discarded)}. "
            "Let it cool down, or time on another machine, then run the benchmark again."
        )
    told = f"{len(discarded)} rounds were spoiled by {discarded[-1].reason} of the GPU" if discarded else None
    return told, plan


@dataclass(frozen=True)
class _Round:
    turns: dict[str, Turn]
    facts: GpuFacts | None


def _round(
    playing: Sequence[Contestant],
    crew: Crew,
    streaming: Streaming | None,
    plans: dict[str, BlockPlan],
    order: random.Random,
    counter: Counter,
    sizes: Mapping[str, Path],
) -> _Round:
    with contextlib.ExitStack() as stack:
        workers = {
            contestant.name: stack.enter_context(crew.worker(contestant))
            for contestant in order.sample(list(playing), len(playing))
        }
        turns, own = {}, set()
        for name, worker in workers.items():
            opened = worker.opened()
            own.add(opened.pid)
            turns[name] = Turn(opened.items, opened.clock, opened.seconds)
        names = [contestant.name for contestant in playing]
        if streaming is not None:
            streaming.play(workers, turns, order)
            plans[""] = streaming.plan
        else:
            first = _blocks(workers, turns, names, plans, order)
            for name, seconds in first.items():
                turns[name].first = turns[name].opening + seconds
        for name, worker in workers.items():
            turns[name].energy = _energy(worker, counter)
        for place, (size, batch) in enumerate(sizes.items()):
            for name, worker in workers.items():
                turn = turns[name]
                items = worker.ask("take", inputs=str(batch))["items"] if place else turn.items
                turn.sizes[size] = Turn(items, turn.clock, turn.opening) if place else turn
            if place:
                _blocks(
                    workers,
                    {name: turn.sizes[size] for name, turn in turns.items()},
                    names,
                    plans,
                    order,
                    size,
                )
        facts = counter.facts(frozenset(own)) if isinstance(counter, Nvml) else None
        for name, worker in workers.items():
            turns[name].memory = worker.stop()["memory"]
    return _Round(turns, facts)


def _blocks(
    workers: Mapping[str, Worker],
    turns: Mapping[str, Turn],
    names: Sequence[str],
    plans: dict[str, BlockPlan],
    order: random.Random,
    size: str = "",
) -> dict[str, float]:
    """Warm all up and have them take turns at blocks of calls; gives the seconds of each one's first call.

    The first round sets the plan for all: rounds with other minima would not be comparable.
    """
    warmed = {name: worker.ask("warm", seconds=0.1) for name, worker in workers.items()}
    if size not in plans:
        plans[size] = plan_blocks(shared_pace([warmed[name]["seconds"] for name in names]))
    plan = plans[size]
    for _ in range(plan.blocks):
        for name in order.sample(list(workers), len(workers)):
            seconds = workers[name].ask("block", **asdict(plan))["seconds"]
            turns[name].minima.append(min(seconds))
            turns[name].seconds += seconds
    return {name: told["first"] for name, told in warmed.items()}


def _energy(worker: Worker, counter: Counter) -> Energy:
    if not worker.contestant.endpoint.get("loopback", True):
        return Energy(None, "a server elsewhere answers, and no counter of energy is seen from here")
    return per_call(counter, partial(_repeat, worker, counter.window))


def _repeat(worker: Worker, seconds: float) -> int:
    return int(worker.ask("repeat", seconds=seconds)["calls"])


class _Answer:
    """A question on its way to a decision."""

    def __init__(self, alpha: float = SEQUENTIAL_ALPHA) -> None:
        self._alpha = alpha
        self.slowdowns: list[float] = []
        self.looks: list[Look] = []
        self.given_up: str | None = None

    @property
    def open(self) -> bool:
        undecided = not self.looks or self.looks[-1].decision is Decision.UNDECIDED
        return undecided and self.given_up is None

    def add(self, question: Question, logs: Mapping[str, Log], most: int, *, look_now: bool) -> None:
        self.slowdowns = slowdowns(question.metric, logs[question.candidate], logs[question.baseline])
        if look_now and question.metric == GOODPUT and not self.slowdowns:
            self.given_up = NO_GOODPUT
        elif look_now and len(self.slowdowns) >= 2:
            held = (self.slowdowns, question.margin)
            self.looks.append(look(*held, question.alarm, self._alpha))
            told = resolvable(*held, most, question.alarm, self._alpha) if self.open else None
            if told is not None:
                self.given_up = (
                    f"{question.metric} varies by {100 * statistics.stdev(self.slowdowns):.2g} % between rounds, so not even "
                    f"{most} would tell {100 * question.margin:.3g} %; they could tell {100 * told:.2g} %. Use a machine with less "
                    "else to do or a wider margin: gradatim selftest benchmark says what holds here"
                )

    def given(self, question: Question) -> Answer:
        alarm = default_alarm(question.margin) if question.alarm is None else question.alarm
        # A slowdown is proven half of the time when it exceeds the alarm by just the interval's half width.
        last = self.looks[-1] if self.looks else None
        detectable = (1 + alarm) * last.ratio / last.low - 1 if last else None
        return Answer(question.metric, question.margin, alarm, tuple(self.looks), detectable)


def _ask(answers: Mapping[Question, _Answer], logs: Mapping[str, Log], most: int, *, look_now: bool) -> None:
    """Hold the rounds so far against every question that is open."""
    for question, answer in answers.items():
        answer.given_up = answer.given_up or _failed(question, logs)
        if answer.open:
            answer.add(question, logs, most, look_now=look_now)


def _failed(question: Question, logs: Mapping[str, Log]) -> str | None:
    """Whose requests failed, and why, where that leaves a question without an answer."""
    pair = (question.baseline, question.candidate)
    return next((f"{name}: {reason}" for name in pair if (reason := logs[name].failed)), None)


def _comparisons(
    answers: Mapping[Question, _Answer], logs: Mapping[str, Log], reason: str | None
) -> tuple[PairedComparison, ...]:
    """What was found of each pair that was asked about; a metric counts only the rounds that its answer rests on."""
    found = []
    for candidate, baseline in dict.fromkeys((q.candidate, q.baseline) for q in answers):
        mine = {q: a for q, a in answers.items() if (q.candidate, q.baseline) == (candidate, baseline)}
        known = dict(differences(logs[candidate], logs[baseline]))
        for question, answer in mine.items():
            known[question.metric] = known.get(question.metric, ())[: len(answer.slowdowns)]
        given = tuple(answer.given(question) for question, answer in mine.items())
        still = any(answer.open for answer in mine.values())
        given_up = next((answer.given_up for answer in mine.values() if answer.given_up), None)
        found.append(PairedComparison(candidate, baseline, given, known, reason if still else given_up))
    return tuple(found)


def _check(
    contestants: Sequence[Contestant],
    questions: Sequence[Question] | None,
    streaming: Streaming | None,
    sizes: Iterable[str] = (),
) -> list[Question]:
    calls = (*TIMED, "throughput")
    known = (*calls, *((*STREAMED, OUTPUT_TOKENS, GOODPUT) if streaming else (FIRST_RESULT,)))
    known += tuple(sized(metric, size) for size in sizes for metric in calls)
    names = [contestant.name for contestant in contestants]
    if not names:
        raise UsageError("There is no model to time.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"Two models to time have the name {', '.join(sorted(twice))}: give each its own.")
    if questions is None:
        return [Question(name, names[0]) for name in names[1:]]
    for question in questions:
        for name in (question.candidate, question.baseline):
            if name not in names:
                raise UsageError(
                    f"A comparison names the model {name}, which is not timed. Known: {', '.join(names)}."
                )
        if question.metric not in known:
            raise UsageError(
                f"A comparison asks about {question.metric}, which is not timed. Known: {', '.join(known)}."
            )
        if question.candidate == question.baseline:
            raise UsageError(f"The model {question.candidate} cannot be compared with itself under one name.")
        look([0.0, 0.0], question.margin, question.alarm)  # refuses bounds that cannot be
    return list(dict.fromkeys(questions))


def _so_far(answers: Mapping[Question, _Answer]) -> str:
    parts = []
    for question, answer in answers.items():
        if not answer.slowdowns:
            continue
        percent = math.expm1(statistics.fmean(answer.slowdowns)) * 100
        word = answer.looks[-1].decision.value if answer.looks else "measuring"
        parts.append(f"{question.candidate} {question.metric} {percent:+.1f} % ({word})")
    return ", ".join(parts)
