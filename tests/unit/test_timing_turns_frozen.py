"""A benchmark from its first round to its last on clocks that go as they are told: each figure, each order and each word stays.

``python tests/unit/test_timing_turns_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from test_timing_result import MACHINE

from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError
from gradatim.gates.rule import FLOOR
from gradatim.metrics.answers import ANSWER
from gradatim.models import UnreleasedFile
from gradatim.models.streaming import Streamed
from gradatim.signature import Signature, TensorSpec
from gradatim.timing import (
    blocks,
    child,
    crew,
    held,
    load,
    locust,
    machine,
    model_worker,
    paired,
    profile,
    sizes,
    worker,
)
from gradatim.timing import contestant as contestant_module
from gradatim.timing.blocks import BlockPlan
from gradatim.timing.chances import Trials
from gradatim.timing.contestant import Contestant, Opened, Worker, _means, described
from gradatim.timing.decision import look, resolvable
from gradatim.timing.energy import Energy
from gradatim.timing.load import LoadBudget, LoadQuestion, highest_rate, load_of, stressed
from gradatim.timing.loadgen import MULTI, OFFLINE, SERVER, SINGLE, LoadPlan, LoadRun
from gradatim.timing.locust import LocustPlan, LocustRun
from gradatim.timing.nvml import GpuFacts
from gradatim.timing.paired import Question, compare
from gradatim.timing.queries import LoadQuery, queries_of
from gradatim.timing.result import Answer, PairedComparison, PairedResult
from gradatim.timing.rounds import Log, Turn, differences
from gradatim.timing.streams import Streaming

GOLDEN = Path(__file__).parent / "golden" / "timing_turns"
WAVES = [math.sin(place) for place in range(97)]


class Clocks(SimpleNamespace):
    """A time of its own, of the wall and of the processor: nothing passes but what a call takes."""

    now, worked = 100.0, 50.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter

    def process_time(self) -> float:
        return self.worked

    def perf_counter_ns(self) -> int:
        return round(self.now * 1e9)

    def process_time_ns(self) -> int:
        return round(self.worked * 1e9)

    def call(self, seconds: float, works: float = 0.25, first: float = 1.0) -> Callable[[], object]:
        """One that takes so long, a share of it at work, its first time so many times as long."""
        asked: list[float] = []

        def work() -> None:
            took = seconds * (1 if asked else first) * (1 + 0.01 * WAVES[len(asked) % 97])
            asked.append(took)
            self.now, self.worked = self.now + took, self.worked + works * took

        work.asked = asked  # type: ignore[attr-defined]
        return work


@contextlib.contextmanager
def clocks(*modules: Any) -> Iterator[Clocks]:
    with pytest.MonkeyPatch.context() as patch:
        ticking = Clocks()
        for module in modules:
            patch.setattr(module, "time", ticking)
        yield ticking


def calls_in_turn() -> Iterator[str]:
    """Blocks of calls, warm-up and rounds in so many seconds."""
    for seconds, works in ((1e-5, 0.5), (4e-4, 0.5), (6e-4, 0.5), (1e-3, 0.25), (0.03, 0.25), (0.06, 0.25)):
        for one_thread in (False, True):
            with clocks(blocks) as ticking:
                fast, slow = ticking.call(seconds, works), ticking.call(1.5 * seconds, works)
                found = blocks.interleaved({"a": fast, "b": slow}, 3, one_thread=one_thread)
                yield told(
                    (
                        {name: (len(minima), minima[0], minima[-1]) for name, minima in found.items()},
                        len(fast.asked),  # type: ignore[attr-defined]
                        len(slow.asked),  # type: ignore[attr-defined]
                        ticking.now,
                    )
                )
        with clocks(blocks) as ticking:
            yield told(
                (blocks.warm_up(ticking.call(seconds, first=100)), ticking.now, blocks.round_seconds(ticking.call(seconds, first=9)))
            )  # fmt: skip
    with clocks(blocks) as ticking:
        work = ticking.call(0.02)
        yield told((blocks.warm_up(work, 0.06, 1), work.asked, blocks.warm_up(work, 0.0, 5), len(work.asked)))  # type: ignore[attr-defined]
        exact = iter([0.25, 0.25, 0.25])

        def quarter() -> None:
            ticking.now += next(exact)

        yield told(blocks.warm_up(quarter, 0.5, 1))
        yield told((blocks.wall_clock(work, 3), blocks.processor_clock(work, 3)))
    seen: list[bool] = []
    for collects in (True, False):
        (gc.enable if collects else gc.disable)()
        blocks.run_block(lambda: seen.append(gc.isenabled()), BlockPlan(1, 1))
        seen.append(gc.isenabled())
        gc.enable()
    yield told(seen)
    yield from (line(blocks.plan_blocks(seconds)) for seconds in (0.0035, 0.004, 0.0041, 0.008, 0.01, 0.016, 0.02, 0.051, 0.149, 0.151, 1.0))  # fmt: skip


class Seats:
    """The processes of a benchmark, whose calls take what they are told, in waves."""

    def __init__(self, paces: Mapping[str, float], asked: list[str]) -> None:
        self.paces, self.asked, self.begun = paces, asked, 0

    def __call__(self, batch: Path, _scratch: Path, timeout: float) -> Seats:
        self.asked.append(f"crew {batch.name} {timeout:g}")
        return self

    def __enter__(self) -> Seats:
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append("leave")

    def renew(self) -> None:
        self.asked.append("renew")

    @contextlib.contextmanager
    def worker(self, contestant: Contestant) -> Iterator[Seat]:
        self.begun += 1
        yield Seat(contestant, self.paces[contestant.name], self.begun, self.asked)


class Seat:
    """One process of one round."""

    def __init__(self, contestant: Contestant, pace: float, begun: int, asked: list[str]) -> None:
        self.contestant, self.pace, self.begun, self.asked, self.calls, self.size = contestant, pace, begun, asked, 0, 1.0  # fmt: skip

    def opened(self) -> Opened:
        return Opened(0.5 + 0.01 * WAVES[self.begun % 97], 4, "perf_counter", 1000 + self.begun, 0.1)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        if do != "block" or self.calls < 3:
            shown = Path(more["inputs"]).name if do == "take" else sorted(more) if do == "ask" else more
            self.asked.append(f"{self.contestant.name} {do} {shown}")
        self.calls += 1
        seconds = self.pace * self.size * (1 + 0.004 * WAVES[(7 * self.begun + self.calls) % 97])
        if do == "warm":
            return {"first": 3 * seconds, "seconds": seconds}
        if do == "take":
            self.size = 2.0
            return {"items": 9}
        if do == "repeat":
            return {"calls": 10}
        if do == "ask":
            return vars(Streamed((seconds, 1.5 * seconds, 2 * seconds), 3, 2.1 * seconds))
        return {"seconds": [seconds * (1 + 0.002 * WAVES[call]) for call in range(more["timed"])]}

    def stop(self) -> dict[str, int]:
        return {"memory": 1000 + self.begun}


class Joules:
    """A counter of energy that can be read every other time."""

    window = 0.3

    def __init__(self) -> None:
        self.stands = 0

    def read(self) -> tuple[int]:
        self.stands += 1
        return (self.stands,)

    def joules(self, before: tuple[int], after: tuple[int]) -> float:
        return float(after[0] - before[0]) * (1 if after[0] % 3 else 2)


class Held(Joules):
    """NVIDIA's library, which says that the GPU was held back in some rounds."""

    spoiled: frozenset[int] = frozenset()

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.looked = device, 0

    def facts(self, own: frozenset[int]) -> GpuFacts:
        self.looked += 1
        heat = ("hardware slowdown", "power") if self.looked in self.spoiled else ()
        return GpuFacts(self.device, throttles=heat, others=len(own))


def contestant(name: str, **more: Any) -> Contestant:
    return Contestant(name, Path(f"{name}.onnx"), Path(), **more)


def whole_runs() -> Iterator[str]:
    """Comparisons as they are run, in processes that take what they are told."""

    def run(paces: Mapping[str, float], *, spoiled: Iterable[int] = (), **more: Any) -> Iterator[str]:
        asked: list[str] = []
        said: list[tuple[int, int, str]] = []
        people = [
            contestant(name, device="cuda" if spoiled else "cpu", endpoint={"loopback": name != "away", "url": "http://h"} if name == "away" else {})
            for name in paces
        ]  # fmt: skip
        with pytest.MonkeyPatch.context() as patch, clocks(paired):
            patch.setattr(paired, "Crew", Seats(paces, asked))
            patch.setattr(paired, "Rapl", Joules)
            patch.setattr(paired, "Nvml", Held)
            patch.setattr(Held, "spoiled", frozenset(spoiled))
            patch.setattr(paired, "this_machine", lambda: MACHINE)
            try:
                found = compare(
                    people, Path("x.npz"), progress=lambda *one: said.append(one), **{"seed": 5, **more}
                )
            except InvalidInput as error:
                yield str(error)
                return
        yield told((asked[:14], len(asked), said[:1] + said[-1:], len(said)))
        yield told((found.plan, found.seed, found.load, found.seconds, len(found.gpu), found.discarded))
        for one in found.contestants:
            yield told((one.name, one.calls, one.items, one.memory, one.opening, one.energy_reason, one.sizes, one.rounds, one.tokens))  # fmt: skip
            yield told({metric: (len(values), values[:2]) for metric, values in one.by_round.items()})
        for pair in found.comparisons:
            yield told((line(replace(pair, differences={})), pair.decision.value, pair.ratio))
            yield told({metric: (len(values), values[:1]) for metric, values in pair.differences.items()})

    yield from run({"baseline": 1e-3, "int8": 0.9e-3, "slow": 1.2e-3})
    yield from run({"baseline": 1e-3, "same": 1.001e-3}, rounds=7, seed=2, timeout=9)
    yield from run({"alone": 0.06})
    yield from run({"baseline": 1e-3, "away": 1e-3, "third": 1e-3}, questions=[Question("away", "baseline")], rounds=8)  # fmt: skip
    yield from run({"baseline": 1e-3, "other": 1e-3, "third": 1e-3}, questions=[], rounds=3)
    yield from run({"baseline": 1e-3, "other": 1e-3}, spoiled=(2, 3))
    yield from run({"baseline": 1e-3, "other": 1.02e-3}, spoiled=(1, 7, 8, 9, 10, 11))
    yield from run({"baseline": 1e-3, "other": 1e-3}, spoiled=range(40))
    batches = {"batch=1": {"x": np.zeros((1, 2))}, "batch=8": {"x": np.zeros((8, 2))}, "batch=32": {"x": np.zeros((32, 2))}}  # fmt: skip
    asked = [Question("int8", "baseline", metric=metric) for metric in (FLOOR, "latency_p50[batch=8]", "throughput[batch=32]")]  # fmt: skip
    yield from run({"baseline": 1e-3, "int8": 0.99e-3}, questions=asked, sizes=batches)
    yield from run({"baseline": 1e-3, "int8": 1e-3}, questions=asked[:2], sizes=batches, rounds=12)
    lines = tuple(json.dumps({"prompt": f"line {number}"}) for number in range(5))
    streaming = Streaming(lines, 3, 6, {"ttft": 0.012, "latency": 0.03})
    answers = [Question("int8", "baseline", metric=metric) for metric in ("ttft_p50", "goodput", "output_token_throughput")]  # fmt: skip
    yield from run({"baseline": 1e-2, "int8": 1.1e-2}, questions=answers, streaming=streaming, rounds=10)


def rounds_of_kinds() -> Iterator[str]:
    """Logs whose rounds are not all of one kind, and figures at the number of calls that just makes one."""
    for calls in (1, 5, 10, 20, 50, 100):
        log = Log(contestant("m"))
        for place in range(24):
            seconds = [1e-3 * (1 + 0.1 * WAVES[(5 * place + call) % 97]) for call in range(calls)]
            log.turns.append(Turn(1, "c", 0.1, seconds[:1], seconds))
        tails = ("latency_p90", "latency_p95", "latency_p99")
        yield told([len(log.by_round(metric)) for metric in tails] + log.by_round("latency_p90")[:1])
    log = Log(contestant("m"))
    yield told((log.metrics, log.sizes, log.failed, log.by_round("latency_p99"), log.by_round(FLOOR)))
    for place in range(4):
        turn = Turn(2, "c", 0.1 * place, [1e-3], [1e-3, 2e-3], place, Energy(None, f"reason {place}"))
        turn.first = 0.5 if place % 2 else None
        turn.sizes = {"batch=1": turn}
        if place != 2:
            turn.sizes["batch=8"] = replace(turn, items=8, minima=[4e-3 + 1e-4 * place], seconds=[5e-3, 6e-3 + 1e-4 * place])  # fmt: skip
        log.turns.append(turn)
    yield told((log.metrics, log.sizes, [log.by_round(metric) for metric in log.metrics]))
    timing = log.timing()
    yield told((timing.energy_reason, timing.memory, timing.opening, timing.throughputs()))
    yield from map(line, PairedResult((timing,), (), BlockPlan(1, 1), MACHINE, 0, None, 1.0).measurements())
    yield told(differences(log, log))
    for bound in (0.3, 0.29):
        log = Log(contestant("m"), {"ttft": 0.1, "latency": bound})
        for place in range(3):
            turn = Turn(1, "c", 0.1, energy=Energy(2.0 if place else None, "not now"))
            for first in (0.1, 0.2) if place == 1 else (0.1, 0.1):
                turn.answered(Streamed((first, first + 0.1), 2, 0.3 if place else 0.2))
            log.turns.append(turn)
        yield told((log.metrics, log.by_round("goodput"), log.by_round("output_token_throughput"), log.timing().work))  # fmt: skip
        yield told((log.timing().energy_reason, log.timing().by_round["energy"]))
    yield told([resolvable([0.01] * rounds, 0.03, 36) for rounds in (9, 10, 36)])
    for far in (0.5, 0.2, 0.0):
        for margin in (0.001, 0.01, 0.03):
            found = [0.004 * WAVES[place] + (far if place in (3, 8) else 0.0) for place in range(14)]
            yield told((resolvable(found, margin, 36), resolvable(found, margin, 14), look(found, margin)))
            yield told(resolvable([value + 0.02 for value in found], margin, 20, 0.0))
    uneven = {FLOOR: [0.01 * wave for wave in WAVES[:10]], "latency_p50": [0.01], "latency_p95": [0.02 * wave for wave in WAVES[:3]], "latency_mean": [0.3] * 10}  # fmt: skip
    for most in (2, 6, 7, 12):
        yield from (
            line(Trials(uneven, metric, most, trials=12, seed=1).chance(0.05, 0.01)) for metric in uneven
        )


def answered(*decisions: Any, reason: str | None = None, rounds: int = 4) -> PairedComparison:
    answers = tuple(
        Answer(metric, 0.03, 0.01, (look([0.01 * shift, 0.01 * shift + 0.001], 0.03),) if shift is not None else (), None)
        for metric, shift in decisions
    )  # fmt: skip
    series = tuple(0.01 * wave for wave in WAVES[:rounds])
    return PairedComparison("c", "b", answers, {FLOOR: series, "memory": (0.0, 0.1)}, reason)


def answers_and_results() -> Iterator[str]:
    """What several answers come to, and what a result is refused for."""
    for found in (
        answered((FLOOR, -5.0), ("latency_p50", 30.0), ("latency_p95", None)),
        answered((FLOOR, -30.0), ("latency_p50[batch=8]", 0.0)),
        answered((FLOOR, None)),
        answered((FLOOR, None), reason="heat"),
        answered(("latency_p50", -30.0), rounds=2),
        answered(("latency_p50", -30.0), rounds=3),
    ):
        yield told((found.decision.value, found.shown.metric, found.ratio, found.low, found.high))
        yield told([found.slowdown(metric) for metric in (FLOOR, "memory", "latency_p50", "latency_p95")])
        result = PairedResult((), (found,), BlockPlan(1, 1), MACHINE, 0, None, 1.0)
        yield from map(line, result.measurements())
        yield told((result.comparison("c") is found, result.comparison("b"), result.contestant("c")))
        yield attempted(lambda result=result: PairedResult.from_json(json.loads(json.dumps(result.to_json())), "it"))  # type: ignore[misc]  # fmt: skip
    yield attempted(lambda: PairedResult.from_json({}, "it"))


def run_of(rate: float, scenario: str = SERVER, **more: Any) -> LoadRun:
    known = LoadRun(scenario, rate, True, True, "", "", 700, 0, rate, rate, 1e-3, 1e-3, 2e-3, 3e-3, None, 1.0)  # fmt: skip
    return replace(known, **more)


def loads_in_time() -> Iterator[str]:
    """What load is tried while time passes, when it is given up, and when a server is well again."""
    question = LoadQuestion(("single-stream", "multi-stream", "offline", "server", "stress"), 0.04, 5, 1e4, 3, LoadQuery(1))  # fmt: skip
    for budget in (30.0, 200.0, 1e3):
        for bears, scarred in ((430.0, 0), (90.0, 3), (3.0, 0)):
            with clocks(load) as ticking:
                asked: list[str] = []
                ill = [0]

                def run(plan: LoadPlan, bears: float = bears, scarred: int = scarred, ticking: Clocks = ticking, asked: list[str] = asked, ill: list[int] = ill) -> LoadRun:  # fmt: skip
                    rate = plan.rate or 120.0
                    ticking.now += max(plan.seconds, plan.queries / rate)
                    asked.append(f"{plan.scenario} {rate:.5g} {plan.seconds:g} {plan.queries} {plan.longest:.5g} {plan.seed} {plan.patient}")  # fmt: skip
                    good = rate <= bears and not ill[0]
                    ill[0] = scarred if rate > 4 * bears else max(0, ill[0] - 1)
                    return run_of(rate, plan.scenario, valid=good, within=good, completed=rate * (1 if rate < 2 * bears else 0.5), queries=int(rate * plan.seconds))  # fmt: skip

                said: list[str] = []
                found = load_of("small", "here", run, replace(question, budget=budget), said.append)
                yield told((asked[:24], said[:5], ticking.now))
                yield told(
                    (found.bore, found.too_much, found.reason, found.late, found.stress, len(found.runs))
                )
    for scenario, seconds, queries, rate, left in (
        (SERVER, 10.0, 0, 66.2, 10.0), (SERVER, 10.0, 0, 66.1, 10.0), (MULTI, 1.0, 0, 662 * 8, 1.0), (SINGLE, 1.0, 0, 6.4, 10.0), (SINGLE, 1.0, 65, 6.4, 10.0), (OFFLINE, 0.0, 7, 1.0, 6.9),
    ):  # fmt: skip
        with clocks(load):
            budget_of = LoadBudget(lambda plan: run_of(plan.rate, plan.scenario), left)
            try:
                yield line(budget_of(LoadPlan(scenario, rate, 0.1, seconds, queries)))
            except load.OutOfTime:
                yield "no time"
    for fails in (dict[int, bool](), {2: True}, {2: True, 3: True}, {1: True, 2: True, 3: True, 4: True}):
        tried: list[float] = []

        def disturbed(plan: LoadPlan, fails: Mapping[int, bool] = fails, tried: list[float] = tried) -> LoadRun:  # fmt: skip
            tried.append(plan.rate)
            good = plan.rate <= 100 and len(tried) not in fails
            return run_of(plan.rate, valid=good, within=good, failed=0 if plan.rate < 300 else 1)

        yield told((highest_rate(disturbed, LoadPlan(SERVER, 30.0, 0.04, 5)), tried))
        with clocks(load):
            yield told(stressed(disturbed, LoadPlan(SERVER, 10.0, 0.04, 5)))
    few = replace(question, budget=7)
    for runs, bore, too_much in (
        ([run_of(9.0)], 9.0, None), ([run_of(20.0, valid=False), run_of(9.0), run_of(8.0)], None, 20.0), ([run_of(20.0, valid=False), run_of(20.0)], None, 20.0),
        ([run_of(20.0, valid=False, p99=0.25)], None, 20.0), ([run_of(20.0, valid=False, failed=2, why="broken")], None, 20.0), ([], None, None),
    ):  # fmt: skip
        yield load._lacking(runs, bore, too_much, few)
    yield from users_in_time()


def users_in_time() -> Iterator[str]:
    """Users of a service, as many as time allows."""
    borne = load.Load("small", "here", 0.04, 1, ())
    plan = LocustPlan(Path("users.py"), Path(), "http://h", 0.05, 10)
    for budget, most in ((5.0, 4), (10.0, 4), (95.0, 4), (1000.0, 4), (1000.0, 0), (1000.0, 11)):
        with clocks(load) as ticking, pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:  # fmt: skip
            tired = [0.0]

            def run(plan: LocustPlan, users: int, folder: Path, most: int = most, ticking: Clocks = ticking, tired: list[float] = tired) -> LocustRun:  # fmt: skip
                (folder / "log").write_text("x")
                ticking.now += plan.seconds
                late = users > most or ticking.now < tired[0]
                tired[0] = ticking.now + 25 if users > most else tired[0]
                return LocustRun(users, 1, 0, 1.0, 0.1, 0.1, 0.1, "late" if late else "", strained=False)

            patch.setattr(load, "run_locust", run)
            said: list[str] = []
            found = load.stressed_by_users(borne, plan, budget, Path(name), said.append)
            yield told((found.stress, said, [one.users for one in found.users]))
            yield told(sorted(path.name for path in Path(name).iterdir()))


class Axes(SimpleNamespace):
    """A model that takes so much of what it is given."""

    def __init__(self, *inputs: TensorSpec, text: TensorSpec | None = None) -> None:
        super().__init__(signature=Signature(inputs, (), text))


def sizes_of_call() -> Iterator[str]:
    """Rows, lengths and texts of a declared size."""
    grid = np.arange(12).reshape(3, 4)
    yield told([sizes.so_many({"x": grid, "none": grid[:0]}, rows) for rows in (1, 3, 5)])
    two = TensorSpec("x", "float32", ("n", "t"))
    for specs, length in (
        ((two,), 2), ((two,), 9), ((two, TensorSpec("fixed", "float32", ("n", 4))), 6), ((two, TensorSpec("z", "float32", ("n", 4, "t"))), 3), ((TensorSpec("x", "float32", ("n", "t", "u")),), 3),
        ((TensorSpec("x", "float32", ("n", 4)),), 3), ((TensorSpec("x", "float32", None),), 3), ((TensorSpec("x", "str", ("n", "t")),), 3), ((TensorSpec("other", "float32", ("n", "t")),), 3), ((TensorSpec("void", "float32", ("n", "t")),), 3), ((), 2),
    ):  # fmt: skip
        given = {"x": grid, "fixed": grid, "z": np.arange(24).reshape(3, 4, 2), "void": grid[:, :0]}
        yield attempted(
            lambda specs=specs, length=length, given=given: sizes.so_long(given, length, Axes(*specs))  # type: ignore[arg-type]
        )  # type: ignore[misc]
    text = TensorSpec("text", "str", None)
    for letters, most in ((1, 99), (3, 99), (3, 4), (7, 99)):
        with pytest.MonkeyPatch.context() as patch:
            tried: list[int] = []

            def tokens(_: Any, inputs: Any, letters: int = letters, most: int = most, tried: list[int] = tried) -> Any:  # fmt: skip
                words = sum(len(part) for part in np.ravel(inputs["text"]))
                tried.append(words)
                return {"ids": np.zeros((1, min(most, 1 + words // letters)))}

            patch.setattr(sizes, "encoded", tokens)
            for rows in (["the match was good", "x"], ["  "], [["first", "second one"]]):
                for length in (1, 2, 4, 9, 127) if most == 4 else (1, 2, 4, 9):
                    tried.clear()
                    asked = {"text": np.array(rows), "x": grid}
                    yield attempted(
                        lambda asked=asked, length=length: sizes.so_long(asked, length, Axes(two, text=text))  # type: ignore[arg-type]
                    )  # type: ignore[misc]
                    yield told(tried)


def a_worker_at_work() -> Iterator[str]:
    """What a process answers to each thing that it is asked, and how it ends."""
    held = {"x": np.zeros((3, 2)), "y": np.zeros(4), "z": np.array(1.0)}
    yield told([worker._items(batch) for batch in ({"x": held["x"]}, held, {"z": held["z"]}, {"x": held["x"], "z": held["z"]}, {})])  # fmt: skip
    with clocks(worker, blocks) as ticking, pytest.MonkeyPatch.context() as patch:
        model: Any = ticking.call(0.05, first=4)
        model.inputs = []

        def predictor(inputs: Any) -> Any:
            model()
            return inputs

        closed: list[str] = []
        opened = SimpleNamespace(signature=Signature((TensorSpec("x", "float32", None),), ()), close=lambda: closed.append("closed"))  # fmt: skip

        class Opened(SimpleNamespace):
            def __call__(self, inputs: Any) -> Any:
                return predictor(inputs)

        def ready(spec: Any) -> Any:
            ticking.now += 0.75
            return Opened(**vars(opened))

        frozen: list[int] = []
        patch.setattr(worker, "_prepare", lambda spec: 10_000)
        patch.setattr(worker, "open_contestant", ready)
        patch.setattr(worker, "load_inputs", lambda path: {"x": np.zeros((len(str(path)), 2))})
        patch.setattr(worker, "gc", SimpleNamespace(freeze=lambda: frozen.append(1)))
        patch.setattr(worker, "_peak_memory", lambda: 30_000)
        drawn: list[Any] = []
        patch.setattr(
            "gradatim.timing.queries.queries_of", lambda *given: drawn.append(line(given[2])) or [len]
        )
        patch.setattr("gradatim.timing.loadgen.drive", lambda queries, plan, folder: drawn.append((queries == [len], line(plan), str(folder))) or run_of(plan.rate))  # fmt: skip
        patch.setattr(worker.os, "getpid", lambda: 7)
        asked = [{"do": "warm", "seconds": 0.1}, {"do": "block", "untimed": 1, "timed": 3, "blocks": 2}, {"do": "repeat", "seconds": 0.12}, {"do": "take", "inputs": "ten"}, {"do": "load", "plan": None, "asked": {"rows": 1}}, {"do": "load", "plan": {"scenario": "Server", "rate": 5.0}, "asked": {"rows": 1}, "folder": "/f"}, {"do": "stop"}, {"do": "repeat", "seconds": 1}]  # fmt: skip
        for commands in (asked, [{"do": "stop"}], [{"do": "dance"}]):
            patch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(one) + "\n" for one in commands)))
            answers: list[dict[str, Any]] = []
            spec = {"traced": "", "inputs": "three", "device": "cpu"}
            yield attempted(lambda spec=spec, answers=answers: worker._serve(spec, answers.append))  # type: ignore[misc]
            yield told((answers, frozen, closed, len(model.asked), drawn))
        patch.setattr(worker, "_peak_memory", lambda: 9_000)
        patch.setattr(sys, "stdin", io.StringIO('{"do": "stop"}\n'))
        worker._serve(spec, answers.append)
        yield told(answers[-1])
        repeated = [worker._repeat(model, seconds) for seconds in (0.0, 0.01, 0.3)]
        ticking.now = 64.0

        def quarter() -> None:
            ticking.now += 0.25

        repeated += [worker._repeat(quarter, seconds) for seconds in (0.25, 0.5, 0.51)]
        yield told((repeated, len(model.asked)))
    yield from rounds_that_end()
    yield from what_is_free()
    yield from ends_with_its_parent()


def rounds_that_end() -> Iterator[str]:
    """A round's answers through a pipe, and what is said of what broke it."""
    for raised in (
        InvalidInput("no"), EnvironmentLacks("lacks"), UsageError("used"), MemoryError(), ValueError("one\ntwo"), ValueError("  "), ValueError("x" * 400), KeyError("k"), None,
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:

            def serve(_: Any, say: Callable[[Any], None], raised: Exception | None = raised) -> None:
                say({"long": "y" * 20})
                if raised is not None:
                    raise raised

            written: list[bytes] = []

            def put(descriptor: int, data: memoryview, written: list[bytes] = written) -> int:
                written.append(bytes(data[:7]))
                return len(written[-1])

            patch.setattr(worker, "_serve", serve)
            patch.setattr(worker.os, "write", put)
            code = worker._round({}, 5)
        yield told((code, b"".join(written).decode()))
    for code in (0, 3, -int(signal.SIGTERM), -int(signal.SIGKILL)):
        with pytest.MonkeyPatch.context() as patch:
            sent: list[Any] = []
            patch.setattr(
                worker.os, "kill", lambda pid, number, sent=sent: sent.append((pid == os.getpid(), number))
            )
            patch.setattr(worker.signal, "signal", lambda *given, sent=sent: sent.append(given))
            yield f"{worker._end_like(code)} {[[str(part) for part in one] for one in sent]}"


def ends_with_its_parent() -> Iterator[str]:
    """Whose end a process shares, and what it reads of a line."""
    for parent, platform in product((None, os.getppid(), 1), ("linux", "darwin")):
        with pytest.MonkeyPatch.context() as patch:
            ended: list[Any] = []
            library = SimpleNamespace(
                prctl=lambda *given, ended=ended: ended.append([int(one) for one in given])
            )
            patch.setattr(worker.ctypes, "CDLL", lambda _, library=library: library)
            patch.setattr(worker.os, "_exit", ended.append)
            patch.setattr(worker.sys, "platform", platform)
            patch.setattr(worker.os, "getppid", lambda parent=parent: parent if parent != 1 else 2)
            worker.die_with(parent)
        yield told((parent is None, parent == 1, platform, ended))
    with pytest.MonkeyPatch.context() as patch:
        letters = iter([b"{", b"}", b"\n", b"x", b""])
        patch.setattr(worker.os, "read", lambda *_: next(letters))
        patch.setattr(worker.os, "_exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
        yield told(worker._line().decode())
        with pytest.raises(SystemExit) as gone:
            worker._line()
        yield told(gone.value.code)


def streamed_queries() -> Iterator[str]:
    """Lines of the data as requests, and parts of a batch as calls."""
    asked: list[str] = []

    def answer(inputs: Any) -> Any:
        asked.append(str(next(iter(inputs.values()))[0]))
        times = [0.1, 0.2, 0.3] if len(asked) < 3 else []
        return {ANSWER: np.array([json.dumps({"texts": ["a"], "times": times, "tokens": 3})], object)}

    lines = np.array([json.dumps({"prompt": f"line {number}"}) for number in range(70)], object).reshape(
        -1, 1
    )
    calls = queries_of(answer, {"text": lines}, LoadQuery(1, tokens=3))  # type: ignore[arg-type]
    yield told((len(calls), [attempted(call) for call in (calls[0], calls[-1], calls[1])]))
    yield told(
        [(json.loads(one)["prompt"].partition("\n")[2], json.loads(one)["max_new_tokens"]) for one in asked]
    )
    for arrays in ({"x": np.arange(7)}, {"x": np.arange(7), "y": np.arange(6)}, {"x": np.array(1.0)}, {"x": np.arange(300)}):  # fmt: skip
        for rows in (1, 2, 7, 8):
            found = queries_of(lambda inputs: {"y": next(iter(inputs.values()))}, arrays, LoadQuery(rows))  # type: ignore[arg-type, return-value]  # fmt: skip
            yield told((len(found), found[0]()["y"], found[-1]()["y"]))  # type: ignore[index]


def what_is_free() -> Iterator[str]:
    """Memory as the system tells of it."""
    for text in ("MemTotal: 9 kB\nMemAvailable:    10000 kB\n", "MemFree: 3 kB\n", "MemAvailable:\n", ""):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child.os, "sysconf", lambda _: 4096)
            patch.setattr(child, "Path", lambda _, text=text: SimpleNamespace(read_text=lambda: text))
            yield told((child.free_memory(), child.resident(1)))
        with pytest.MonkeyPatch.context() as patch:
            status = "VmHWM:\t  20 kB\nVmRSS:\t 10 kB\nVmBad:\t x kB\n" if text else ""
            patch.setattr(worker, "Path", lambda _, status=status: SimpleNamespace(read_text=lambda: status))
            patch.setattr(worker, "_highest_use", lambda: 77)
            yield told([worker._resident_memory(), worker._peak_memory(), *map(worker._status, ("VmHWM", "VmBad", "None"))])  # fmt: skip


class Pipe:
    """A process as it is spoken to: it answers from a list, and ends when that is empty."""

    def __init__(self, *given: Any, **more: Any) -> None:
        self.given, self.told, self.ended = (given, more), list[Any](), list[float]()
        self.pid = 7

    answers: tuple[Any, ...] = ()
    code: int | None = 0
    words = ""

    def tell(self, message: Any, pieces: Any = ()) -> None:
        if self.answers == ("gone",):
            raise BrokenPipeError
        self.told.append(message)

    def line(self, seconds: float) -> bytes | None:
        self.answers, said = self.answers[1:], self.answers[0] if self.answers else "end"
        if said == "end":
            raise EOFError
        return None if said == "late" else str(said).encode()

    def exit_code(self) -> int | None:
        return self.code

    def last_words(self) -> str:
        return self.words

    def end(self, grace: float = 0) -> None:
        self.ended.append(grace)


def workers_in_words() -> Iterator[str]:
    """What a contestant's process is told, what it answers, and how its end is told."""
    opened = json.dumps({"seconds": 0.5, "items": 3, "clock": "c", "pid": 9, "start": 0.25})
    for answers, code, words, more in (
        ((opened, '{"calls": 3}', '{"memory": 5}'), 0, "", {}), (("Profiling...", opened, "{}", "{}"), 0, "", {"under": ("nsys",)}), ((opened, "{}", "{}"), 0, "", {"stays": True, "traced": "t"}), (("late",), 0, "", {}),
        (("end",), 3, "", {}), (("end",), -9, "no room", {}), (("end",), None, "", {}), (("end",), -11, "boom", {}), (('{"error": "EnvironmentLacks", "text": "It lacks."}',), 0, "", {}), ((opened, '{"error": "UsageError", "text": "x"}'), 0, "", {}), (("gone",), 1, "", {}),
    ):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                child, "Child", type("Said", (Pipe,), {"answers": answers, "code": code, "words": words})
            )
            held_by: list[Any] = []

            def work(more: Any = more, held_by: list[Any] = held_by) -> str:
                with Worker(contestant("m", threads=3), Path("/x.npz"), Path("/s"), 9, **more) as one:
                    held_by.append(one)
                    about = one.opened()
                    return told((line(about), one.start, one.pid, one.ask("repeat", seconds=2), one.stop(), one.stays))  # fmt: skip

            yield attempted(work)
            for one in held_by:
                pipe: Any = one._child
                spec = {key: value for key, value in pipe.told[0].items() if key in ("name", "inputs", "stays", "traced", "threads")} if pipe.told else {}  # fmt: skip
                yield told((pipe.given, spec, pipe.told and pipe.told[0]["parent"] == os.getpid(), pipe.told[1:], pipe.ended))  # fmt: skip
    for graphs in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            seen: list[Any] = []
            patch.setattr(contestant_module, "open_described", lambda spec: spec["path"])
            patch.setattr("gradatim.models.ready", lambda *given, **around: (given, around))
            patch.setattr("gradatim.models.cuda_graphs.replay_calls", seen.append)
            spec = {
                "path": "m",
                "constants": {"k": 1},
                "carries": {},
                "tokenizer": None,
                "cuda_graphs": graphs,
            }
            yield told((contestant_module.open_contestant(spec), seen))
    for given in (
        {},
        {"project": Path("/p"), "adapter": Path("/a"), "files": (Path("/f"),), "autocast": "bf16"},
    ):
        record = described(**{"path": Path("m"), "root": Path("/r"), "project": None, "signature": None, "format": None, "factory": None, "command": (), "endpoint": {}, "device": "cpu", "threads": 1, "allow_pickle": False, **given})  # fmt: skip
        yield told((record, _means(record)))


class Fragile:
    """A process that holds a model which falls over some rows, or takes long over them."""

    ills: Mapping[float, str] = {}
    takes = 0.5
    started: list[str]
    ticking: Clocks

    def __init__(self, threads: int) -> None:
        self.started.append(f"start {threads}")

    def ask(self, message: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        self.started.append(f"{message['do']} {seconds:g}")
        self.ticking.now += self.takes
        ill = self.ills.get(-1.0, "")
        if ill == "wrong":
            raise InvalidInput("no such model")
        if ill:
            raise held._Stopped(late=ill == "late", how="SIGSEGV", words=" Its last words: oh.")
        return {"signature": {"inputs": [], "outputs": []}, "threads": 2}

    def call(self, inputs: Mapping[str, Any], seconds: float, asked: Any = None) -> dict[str, Any]:
        rows = np.ravel(next(iter(inputs.values()))).tolist()
        self.started.append(f"call {rows} {seconds:g} {'' if asked is None else asked['do']}")
        self.ticking.now += self.takes
        for row in rows:
            if ill := self.ills.get(row, ""):
                raise held._Stopped(late=ill == "late", how="SIGSEGV", words=" Its last words: oh.")
        return {"y": next(iter(inputs.values()))}

    def leave(self, *, reusable: bool) -> None:
        self.started.append(f"leave {reusable}")

    def end(self) -> None:
        self.started.append("end")


def models_held() -> Iterator[str]:
    """Which row a model falls over, in how much time it may, and what is done with its process."""
    means = {"path": Path("a/m.onnx"), "root": Path("/r"), "project": None, "signature": None, "format": None, "factory": None, "command": (), "endpoint": {}, "device": "cpu", "threads": 2, "allow_pickle": False}  # fmt: skip
    batch = {"x": np.arange(4.0), "const": np.array(1.0)}
    for ills, limits, more, takes in (
        ({}, (10, 100), {}, 0.5), ({2.0: "dead"}, (10, 100), {}, 0.5), ({3.0: "late"}, (10, 100), {}, 0.5), ({0.0: "late"}, (10, 1.2), {}, 0.5), ({3.0: "dead"}, (1, 100), {}, 2.0), ({-1.0: "late"}, (10, 5), {}, 0.5), ({-1.0: "dead"}, (10, 100), {}, 0.5),
        ({-1.0: "wrong"}, (10, 100), {}, 0.5), ({}, (10, 100), {"factory": "f:g"}, 0.5), ({}, (10, 100), {"allow_pickle": True}, 0.5), ({1.0: "dead"}, (4, 100), {}, 0.5),
    ):  # fmt: skip
        with clocks(held) as ticking, pytest.MonkeyPatch.context() as patch:
            started: list[str] = []
            kind = type(
                "Told", (Fragile,), {"ills": ills, "takes": takes, "started": started, "ticking": ticking}
            )
            patch.setattr(held, "_Process", kind)
            patch.setattr(held, "_idle", [])

            def work(more: Any = more, limits: Any = limits) -> str:
                with held.HeldModel(held.CallLimits(*limits), **{**means, **more}) as model:
                    found = [attempted(lambda given=given: model({"x": given})) for given in (batch["x"][:1], batch["x"])]  # type: ignore[misc]  # fmt: skip
                    found += [attempted(lambda: model(batch)), attempted(lambda: model.tokens(np.array(["t"]), ["ids"], Path("/f"), {"max": 2}))]  # fmt: skip
                    ended = model._ended
                    return told((found, ended and (ended.row, ended.rows), model._spent, model.threads, model.device))  # fmt: skip

            yield attempted(work)
            yield told((started, ticking.now))


class Member:
    """A process of a round whose start takes what it is told."""

    starts: list[float]
    said: list[str]

    def __init__(
        self, contestant: Contestant, batch: Path, scratch: Path, timeout: float, **more: Any
    ) -> None:
        self.stays, self.start, self.name = more.get("stays", False), self.starts.pop(0), contestant.name
        self.said.append(f"start {self.name} {timeout:g} {more}")

    def begin(self) -> None:
        self.said.append(f"begin {self.name}")

    def end(self) -> None:
        self.said.append(f"end {self.name}")


def crews() -> Iterator[str]:
    """Whose starts are shared, and when processes are let go."""
    for platform, starts in (("linux", [0.9, 1.0, 2.0, 2.0, 0.5, 0.5, 0.5]), ("darwin", [5.0] * 7)):
        with pytest.MonkeyPatch.context() as patch:
            said: list[str] = []
            patch.setattr(crew, "Worker", type("Told", (Member,), {"starts": list(starts), "said": said}))
            patch.setattr(crew.sys, "platform", platform)
            with crew.Crew(Path("b"), Path("s"), 9) as taken:
                for place, name in enumerate(["a", "b", "a", "b", "b", "b", "a"]):
                    with contextlib.suppress(KeyError), taken.worker(contestant(name)) as one:
                        said.append(f"works {one.name}")  # type: ignore[attr-defined]
                        if place == 4:
                            raise KeyError
                    if place == 2:
                        taken.renew()
                        said.append("renewed")
            yield told(said)


def profiles() -> Iterator[str]:
    """The dearest operators, by whose profiler, and what a profiler leaves."""
    spent = {f"op{k}": (20 * k, 0.5 * (k % 7)) for k in range(1, 14)}
    yield told(profile._dearest(spent, "PyTorch"))
    for nothing in ({}, {"a": (1, 0.0)}):
        yield attempted(lambda nothing=nothing: profile._dearest(nothing, "PyTorch"))  # type: ignore[misc]
    calls: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prefix = str(root / "m.session")
        for traced in ("", prefix):
            yield told(
                profile.profile_sessions(lambda: calls.append("call"), lambda: None, traced, root / "t.json")
            )
        events = [{"name": "model_run", "cat": "Session", "ts": 10 * k} for k in range(4)]
        events += [{"name": f"n{k}", "cat": "Node", "ts": 5 * k, "dur": 1000 * (k + 1), "args": {"op_name": "Add"} if k % 2 else {}} for k in range(8)]  # fmt: skip
        (root / "m.session_1.json").write_text(json.dumps(events))
        (root / "m.session_2.json").write_text(json.dumps([{"name": "x", "cat": "Node", "ts": 1, "dur": 9, "args": {}}]))  # fmt: skip
        yield told(profile.profile_sessions(lambda: calls.append("call"), lambda: calls.append("close"), prefix, root / "t.json"))  # fmt: skip
        yield told((len(calls), calls[-1], len(json.loads((root / "t.json").read_text()))))
        (root / "m.session_3.json").write_text("[")
        yield attempted(lambda: profile.profile_sessions(lambda: None, lambda: None, prefix, root / "t.json")).partition(":")[0]  # fmt: skip
        for there in ((), ("nsys",), ("ncu",), ("nsys", "ncu")):
            with pytest.MonkeyPatch.context() as patch:
                said: list[Any] = []

                class Watched:
                    def __init__(self, *given: Any, said: list[Any] = said, **more: Any) -> None:
                        self.said, self.traced = said, more.get("traced", "")
                        said.append((str(given[1]), given[3], more))

                    def __enter__(self) -> Watched:
                        return self

                    def __exit__(self, *_: object) -> None:
                        self.said.append("exit")

                    def opened(self) -> None:
                        self.said.append("opened")

                    def ask(self, do: str, **more: Any) -> dict[str, Any]:
                        self.said.append(f"{do} {sorted(more)}")
                        one = {"name": "Add", "calls": 2.0, "seconds": 0.5, "share": 1.0}
                        return {"operators": [one], "sessions": self.traced.endswith("b.session")}

                    def stop(self, grace: float) -> None:
                        self.said.append(f"stop {grace:g}")

                patch.setattr("gradatim.timing.contestant.Worker", Watched)
                patch.setattr(profile.shutil, "which", lambda tool, there=there: f"/bin/{tool}" if tool in there else None)  # fmt: skip
                for model in "ab":
                    (root / f"{model}.ncu.rep").write_text("x") if model == "b" else None
                    yield attempted(lambda model=model: profile.watched_by(contestant(model), Path("/i"), root)).replace(name, "TMP")  # type: ignore[misc]  # fmt: skip
                yield attempted(lambda: profile.operators_of(contestant("a"), Path("/i"), root)).replace(
                    name, "TMP"
                )
                yield attempted(lambda: profile.operators_of(contestant("b"), Path("/i"), root)[2])
                yield told(said).replace(name, "TMP")


def machines_and_servers() -> Iterator[str]:
    """What is told of a machine, and what a process that holds a model answers."""
    arm, x86 = (
        "processor\t: 0\nFeatures\t: fp asimddp\n",
        "model name\t: One\nflags\t: a avx2 b\n\nmodel name\t: Two\n",
    )
    for info, governor, processor in (
        (arm, "", ""),
        (x86, "performance\n", "x"),
        ("", " ", "cpu"),
        ("model name :\n", "", ""),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(machine, "_text", lambda path, info=info, governor=governor: info if "cpuinfo" in path else governor)  # fmt: skip
            patch.setattr(machine.platform, "processor", lambda processor=processor: processor)
            patch.setattr(machine.platform, "machine", lambda: "m64")
            patch.setattr(machine.os, "getloadavg", lambda: (1.0, 2.0, 3.0))
            found = machine.this_machine()
            yield told(
                (found.cpu, found.architecture, found.load, found.governor, found.flags, found.cores > 0)
            )
    yield told([replace(MACHINE, cores=cores).kind == MACHINE.kind for cores in (2, 3)])
    yield told(machine._text("/nothing/there"))
    for spec in (None, object()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(locust.importlib.util, "find_spec", lambda _, spec=spec: spec)
            yield attempted(locust.its_program).partition(" Install")[0]
    model = SimpleNamespace(signature=Signature((), ()), threads=3, close=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        sent: list[Any] = []
        read: list[Any] = []

        def reader(folder: Path, settings: Any) -> Any:
            read.append((str(folder), settings))

            class Reads:
                def __init__(self) -> None:
                    self.folder, self.settings = folder, settings

                def __call__(self, text: Any, wanted: Any) -> Any:
                    return {"ids": np.arange(len(text))}

            return Reads()

        class Answers(SimpleNamespace):
            def __call__(self, given: Any) -> Any:
                if not given:
                    raise MemoryError
                return {"y": next(iter(given.values())) * 2}

        patch.setattr(model_worker, "open_described", lambda record: _opened(record, Answers(**vars(model))))
        patch.setattr(model_worker, "inspect_described", lambda record: MACHINE)
        patch.setattr(model_worker, "TextTokens", reader)
        server = model_worker._Server(io.BytesIO(b"\x01\x02\x03" + b"a" * 9), 1)  # type: ignore[arg-type]
        patch.setattr(
            server, "_say", lambda message, pieces=(): sent.append((message, [len(one) for one in pieces]))
        )
        array = [{"name": "x", "shape": [3], "dtype": "|u1"}]
        text = [{"name": "text", "shape": [2], "dtype": "|O", "text": ["a", "b"]}]
        for wanted in (
            {"do": "call"}, {"do": "open", "model": "lacks"}, {"do": "open", "model": "used"}, {"do": "open", "model": "file"}, {"do": "open", "model": "fine"}, {"do": "call", "arrays": array}, {"do": "call"}, {"do": "inspect", "model": "x"},
            *({"do": "tokens", "arrays": text, "folder": folder, "settings": {"max": most}, "wanted": ["ids"]} for folder, most in (("f", 1), ("f", 1), ("f", 2), ("g", 2))), {"do": "close"},
        ):  # fmt: skip
            server.serve(wanted)
        yield from (told(one) for one in sent)
        yield told(read)
    for answers in (('{"a": 1}',), ('{"error": "UsageError", "text": "no"}',), ("no json",), ('{"error": "Odd", "text": "no"}',), ("late",), ("end",)):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            kind = type(
                "Said",
                (Pipe,),
                {"answers": answers, "code": -9 if answers == ("end",) else 0, "words": "oh."},
            )
            patch.setattr(held, "Child", kind)
            process = held._Process(3)
            try:
                yield attempted(lambda process=process: process.ask({"do": "x"}, 2.0))  # type: ignore[misc]
            except held._Stopped as stopped:
                yield told((stopped.late, stopped.how, stopped.words))
            pipe: Any = process._child
            yield told((pipe.given[0][0], pipe.given[0][2], pipe.told[1:], pipe.ended))
            process.end()
    batches = {"batch=1": Path("a"), "batch=8": Path("b"), "batch=32": Path("c")}
    asks = {Question("c", "b", metric=metric): paired._Answer() for metric in (FLOOR, "latency_p50[batch=8]")}
    yield told([sorted(paired._taken(batches, asks, done)) for done in (0, 5, 6, 7)] + [sorted(paired._taken({}, asks, 9))])  # fmt: skip
    timing = rounds_log().timing()
    pair = PairedComparison("m", "m", (Answer(FLOOR, 0.03, 0.01, (), None),), {})
    whole = json.loads(
        json.dumps(PairedResult((timing,), (pair,), BlockPlan(1, 1), MACHINE, 0, None, 1.0).to_json())
    )
    nothing = {**whole, "comparisons": [{**whole["comparisons"][0], "answers": []}]}
    for record in (whole, nothing, {**whole, "later": 1}):
        yield attempted(lambda record=record: len(PairedResult.from_json(record, "it").comparisons))  # type: ignore[misc]


def _opened(record: str, model: Any) -> Any:
    raised = {
        "lacks": EnvironmentLacks("none"),
        "used": UsageError("so"),
        "file": UnreleasedFile("no", "w.bin"),
    }
    if record in raised:
        raise raised[record]
    return model


def rounds_log() -> Log:
    log = Log(contestant("m"))
    log.turns = [Turn(2, "c", 0.1, [1e-3], [1e-3, 2e-3], 5, Energy(None, "none")) for _ in range(3)]
    return log


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (
        calls_in_turn,
        whole_runs,
        rounds_of_kinds,
        answers_and_results,
        loads_in_time,
        sizes_of_call,
        a_worker_at_work,
        workers_in_words,
        models_held,
        streamed_queries,
        crews,
        profiles,
        machines_and_servers,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_round_and_no_word_of_it_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
