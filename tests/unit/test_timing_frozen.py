"""What a benchmark makes of the times that it took, to the digit and to the word: no figure of it changes unseen.

``python tests/unit/test_timing_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import io
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from test_timing_result import MACHINE

from gradatim.errors import InvalidInput
from gradatim.gates.rule import FLOOR
from gradatim.models.streaming import Streamed
from gradatim.signature import Signature, TensorSpec
from gradatim.timing import held, load, loadgen, locust, queries, worker
from gradatim.timing.arrays import packed, unpacked
from gradatim.timing.blocks import (
    BlockPlan,
    interleaved,
    lower_quartile,
    plan_blocks,
    round_seconds,
    run_block,
    shared_pace,
    warm_up,
)
from gradatim.timing.chances import Trials
from gradatim.timing.child import ended_with, environment, last_line
from gradatim.timing.contestant import KINDS, Contestant, load_inputs, save_inputs
from gradatim.timing.decision import Decision, decide, look, looks_until, resolvable
from gradatim.timing.energy import Energy
from gradatim.timing.load import Load, LoadBudget, LoadQuestion, Stress
from gradatim.timing.loadgen import MULTI, OFFLINE, SERVER, SINGLE, LoadPlan, LoadRun
from gradatim.timing.locust import LocustPlan, LocustRun
from gradatim.timing.paired import Question, _Answer, _ask, _check, _comparisons, _playing, _so_far, _spoiled
from gradatim.timing.queries import LoadQuery, queries_of
from gradatim.timing.result import (
    Discarded,
    PairedResult,
    unloaded,
    unmeasured,
    unstreamed,
)
from gradatim.timing.rounds import Log, Turn, differences, slowdowns, within
from gradatim.timing.streams import Streaming

GOLDEN = Path(__file__).parent / "golden" / "timing"
WAVES = [math.sin(place) for place in range(80)]


def contestant(name: str, **more: Any) -> Contestant:
    return Contestant(name, Path(f"{name}.onnx"), Path(), **more)


def timed(
    name: str, rounds: int, level: float, by: float = 0.01, calls: int = 48, joules: float | None = 0.5
) -> Log:
    """Rounds whose calls go up and down by a known wave."""
    log = Log(contestant(name))
    for place in range(rounds):
        seconds = [level * math.exp(by * WAVES[(7 * place + call) % 80]) for call in range(calls)]
        energy = Energy(None, "no counter") if joules is None else Energy(joules * (1 + by * WAVES[place]))
        minima = [min(seconds[start : start + 6]) for start in range(0, calls, 6)]
        log.turns.append(
            Turn(8, "perf_counter", 0.1 + 0.01 * place, minima, seconds, 1000 + place * 3 % 7, energy)
        )
    return log


def streamed(name: str, slower: float, failed: str = "") -> Log:
    """Rounds of answers that come token by token."""
    log = Log(contestant(name), {"ttft": 0.12, "tpot": 0.05, "latency": 0.5})
    for place in range(6):
        turn = Turn(1, "perf_counter", 0.1, energy=Energy(None, "no counter"))
        for one in range(12):
            first = slower * (0.1 + 0.03 * WAVES[place + one])
            times = (first, first + 0.04, first + 0.09, first + 0.11 + 0.01 * WAVES[one])
            turn.answered(Streamed(times, 5, times[-1] + 0.01, failed if (place, one) == (2, 3) else ""))
        log.turns.append(turn)
    return log


def decisions() -> Iterator[str]:
    """Looks at rounds, blocks of calls, and what trials of a machine come to."""
    for shift, by, rounds in ((0.0, 0.003, 6), (0.0, 0.02, 10), (0.02, 0.003, 10), (-0.05, 0.01, 16), (0.05, 0.02, 36), (0.0, 0.2, 10), (0.008, 0.006, 24), (0.012, 0.01, 24)):  # fmt: skip
        found = [shift + by * wave for wave in WAVES[:rounds]]
        for margin, alarm in ((0.03, None), (0.1, 0.0), (0.005, 0.005)):
            yield line(look(found, margin, alarm))
            yield told([resolvable(found, margin, most, alarm) for most in (10, 16, 36)])
    yield told([decide(low, high, 0.03, 0.01).value for low, high in ((0.02, 0.04), (-0.02, 0.0), (-0.02, -1e-9), (0.0, 0.02), (0.0, math.log1p(0.03)), (math.log1p(0.01), 0.02))])  # fmt: skip
    yield told([looks_until(most) for most in (2, 5, 6, 7, 10, 36, 40)])
    yield told([one.verdict.value for one in Decision])
    for seconds in (
        0.0,
        1e-9,
        1e-6,
        1e-5,
        1e-3,
        1.3e-3,
        1.5e-3,
        2e-3,
        3.9e-3,
        4e-3,
        0.0499,
        0.05,
        0.1,
        0.13,
        0.2,
        60,
    ):
        yield line(plan_blocks(seconds))
    yield told(
        [
            shared_pace([1.0, 2.0]),
            shared_pace([1.0, 8.0]),
            shared_pace([4.0]),
            lower_quartile([4, 1, 3, 2, 9]),
        ]
    )
    for metric in (FLOOR, "latency_p95"):
        series = {
            FLOOR: [0.01 * wave for wave in WAVES[:36]],
            "latency_mean": [0.02 * wave for wave in WAVES[9:45]],
            "latency_p95": [0.1 * wave for wave in WAVES[:12]],
        }
        trials = Trials(series, metric, 36, trials=40, seed=3)
        for margin, slowdown in ((0.03, 0.0), (0.03, 0.03), (0.03, 0.1), (0.01, 0.005), (0.1, 0.02)):
            yield line(trials.chance(margin, slowdown))
    yield line(
        Trials({FLOOR: [0.01, 0.02], "latency_p95": []}, "latency_p95", 10, trials=5).chance(0.03, 0.0)
    )


def figures() -> Iterator[str]:
    """From calls to figures of rounds, and to what is measured."""
    base, slow = timed("baseline", 12, 1e-3), timed("int8", 10, 1.05e-3, 0.02, joules=None)
    few = timed("few", 3, 2e-3, calls=12)
    first, second = streamed("baseline", 1.0), streamed("other", 1.1)
    broken = streamed("broken", 1.0, "HTTP 500")
    for log in (base, slow, few, first, second, broken):
        timing = log.timing()
        for metric in log.metrics:
            yield f"{metric} {told(log.by_round(metric))}"
        yield told((timing.calls, timing.items, timing.memory, timing.opening, timing.energy_reason, timing.failed, timing.tokens, len(timing.samples), timing.samples[:3], timing.work, timing.rounds))  # fmt: skip
        found = PairedResult((timing,), (), BlockPlan(2, 6), MACHINE, 0, None, 1.0)
        yield from map(line, found.measurements())
    for candidate, other in ((slow, base), (second, first), (few, base)):
        yield from (f"{metric} {told(values)}" for metric, values in differences(candidate, other).items())
        yield told([slowdowns(metric, candidate, other) for metric in ("throughput", "latency_p50")])
    elsewhere = replace(contestant("far"), endpoint={"url": "http://x"})
    log = Log(elsewhere)
    log.turns = base.turns[:1]
    yield told(log.timing().memory)
    one = Streamed((0.1, 0.2, 0.5), 6, 0.7)
    yield told([within(what, one) for what in ("latency", "ttft", "tpot", "itl")])
    long = timed("long", 60, 1e-3)
    yield told((len(long.timing().samples), long.timing().samples[-1], long.timing().calls))
    yield from map(line, (*unmeasured("x", "why"), *unstreamed("x", "why"), unloaded("x", "why")))


def comparisons() -> Iterator[str]:
    """Questions from the first round to the last."""
    logs = {
        "baseline": timed("baseline", 0, 1e-3),
        "a": timed("a", 0, 1e-3),
        "b": timed("b", 0, 1e-3),
        "c": timed("c", 0, 1e-3),
    }
    full = {
        "baseline": timed("baseline", 36, 1e-3),
        "a": timed("a", 36, 1.001e-3, 0.012),
        "b": timed("b", 36, 1.2e-3),
        "c": timed("c", 36, 1e-3),
    }
    for place, turn in enumerate(full["c"].turns):  # a machine of moods
        turn.seconds = [seconds * math.exp(0.4 * WAVES[2 * place]) for seconds in turn.seconds]
    asked = [
        Question("a", "baseline"),
        Question("b", "baseline", 0.05, 0.05, "throughput"),
        Question("c", "baseline", metric="latency_mean"),
        Question("a", "baseline", 0.02, metric="latency_p50"),
    ]
    answers = {question: _Answer() for question in asked}
    people = [contestant(name) for name in (*logs, "alone")]
    for done in range(1, 37):
        for name, log in logs.items():
            log.turns = full[name].turns[:done]
        _ask(answers, logs, 36, look_now=done in (6, 10, 16, 24, 36))
        if done in (1, 5, 6, 10, 16, 24, 36):
            yield _so_far(answers)
            yield told([one.name for one in _playing(people, answers, done)])
            yield told([answer.given_up for answer in answers.values()])
    found = _comparisons(answers, logs, "rounds were spoiled")
    for one in found:
        yield told((line(one), one.decision.value, one.ratio, one.low, one.high))
    yield from map(line, PairedResult((), found, BlockPlan(1, 1), MACHINE, 0, None, 1.0).measurements())
    spoiled = [Discarded(2, "heat"), Discarded(3, "power")]
    yield told((_spoiled(spoiled, BlockPlan(1, 1)), _spoiled([], BlockPlan(1, 1))))
    yield attempted(lambda: _spoiled(spoiled, None))
    yield told(_check(people[:3], None, None))
    for names, questions in (
        ([], None),
        ("aa", None),
        ("ab", [Question("c", "a")]),
        ("ab", [Question("b", "b")]),
        ("ab", [Question("b", "a", metric="ttft_p50")]),
    ):
        yield attempted(
            lambda names=names, questions=questions: _check(
                [contestant(name) for name in names], questions, None
            )
        )  # type: ignore[misc]
    for margin, alarm, differ in (
        (0.03, 0.04, [0.0, 0.0]),
        (math.inf, 0.0, [0.0, 0.0]),
        (0.03, -0.1, [0.0, 0.0]),
        (0.03, None, [0.0]),
    ):
        yield attempted(lambda margin=margin, alarm=alarm, differ=differ: look(differ, margin, alarm))  # type: ignore[misc]
    yield attempted(lambda: looks_until(1))
    failing = {"baseline": streamed("baseline", 1.0), "a": streamed("a", 1.0, "HTTP 500")}
    late = {Question("a", "baseline", metric="goodput"): _Answer()}
    _ask(late, failing, 36, look_now=True)
    yield told([answer.given_up for answer in late.values()])
    never = {"baseline": streamed("baseline", 1.0), "a": streamed("a", 9.0)}
    late = {Question("a", "baseline", metric="goodput"): _Answer()}
    _ask(late, never, 36, look_now=True)
    yield told([answer.given_up for answer in late.values()])


def bearing(
    most: float, stalls: tuple[int, ...] = (), breaks: float = math.inf
) -> tuple[Callable[[LoadPlan], LoadRun], list[str]]:
    """LoadGen before a server that bears so many a second, and what it was asked; some runs are disturbed."""
    asked: list[str] = []

    def run(plan: LoadPlan) -> LoadRun:
        rate = plan.rate or 400.0
        asked.append(line(replace(plan, rate=rate, longest=float(plan.longest > 0))))
        good = rate <= most and len(asked) not in stalls and rate <= breaks
        kept = 0.9 if rate > breaks else 1.0
        return LoadRun(
            plan.scenario,
            rate,
            good,
            good,
            "",
            "",
            700,
            0,
            rate,
            rate * kept,
            1e-3,
            1e-3,
            2e-3,
            3e-3,
            None,
            1.0,
        )

    return run, asked


def loads() -> Iterator[str]:
    """The search for the highest rate, stress, and what is said of them."""
    question = LoadQuestion(
        ("single-stream", "multi-stream", "offline", "server", "stress"), 0.04, 5, 1e6, 3, LoadQuery(1)
    )
    for most, stalls, breaks in (
        (430.0, (), math.inf),
        (430.0, (5, 9), 700.0),
        (1700.0, (), 2000.0),
        (30.0, (), math.inf),
        (1.0, (), math.inf),
    ):
        run, asked = bearing(most, stalls, breaks)
        found = load.load_of("small", "here", run, question)
        yield from asked
        recovered = found.stress is not None and found.stress.recovered is not None
        yield told((found.name, found.where, found.bound, found.parallel, found.bore, found.too_much, found.reason, found.late, found.stress and found.stress.breaks_at, found.stress and found.stress.bore, recovered))  # fmt: skip
    run, asked = bearing(430.0)
    for budget in (1.0, 30.0, 90.0, 200.0):
        short = load.load_of(
            "small", "here", run, replace(question, budget=budget, scenarios=("multi-stream", "server"))
        )
        yield told((short.bore, short.too_much, short.reason, short.late, len(short.runs)))
    said: list[str] = []
    within_time = LoadBudget(run, 50.0, said.append)
    for plan in (
        LoadPlan(SINGLE, 100),
        LoadPlan(MULTI, 200),
        LoadPlan(SERVER, 200, seconds=20),
        LoadPlan(OFFLINE, 10, queries=100),
    ):
        within_time(plan)
    with pytest.raises(load.OutOfTime):
        within_time(LoadPlan(SERVER, 10))
    yield told(said)
    run, _ = bearing(430.0)
    failing = replace(run(LoadPlan(SINGLE)), failed=1, why="1 of 700 queries failed: no")
    yield attempted(lambda: load.load_of("small", "here", lambda _: failing, question))
    slow = [
        replace(failing, scenario=SERVER, rate=8.0, p99=0.25),
        replace(failing, scenario=SERVER, failed=0, rate=8.0, p99=0.25),
    ]
    yield told([load._lacking([one], None, 8.0, question) for one in slow])
    runs = tuple(
        replace(failing, scenario=SERVER, rate=rate, valid=rate < 400, failed=0, why="")
        for rate in (200.0, 300.0, 500.0, 250.0)
    )
    borne = Load("small", "here", 0.04, 1, runs, 300.0, 500.0, stress=Stress(None, None, None))
    yield from map(
        line,
        PairedResult(
            (),
            (),
            BlockPlan(1, 1),
            MACHINE,
            0,
            None,
            1.0,
            loads=(borne, replace(borne, bore=None, reason="late")),
        ).measurements(),
    )
    yield told(
        [
            replace(failing, failed=0, came=came, completed=95.0).keeps_up
            for came in (None, 99.0, 100.0, 101.0)
        ]
    )
    calls = queries_of(
        lambda inputs: {"y": inputs["x"]}, {"x": np.arange(200), "z": np.arange(200)}, LoadQuery(3)
    )  # type: ignore[arg-type, return-value]
    yield told((len(calls), [call()["y"] for call in calls[:2]], [call()["y"] for call in calls[-1:]]))  # type: ignore[index]
    odd = queries_of(lambda inputs: {"y": inputs["z"]}, {"x": np.arange(4), "z": np.arange(5)}, LoadQuery(1))  # type: ignore[arg-type, return-value]
    yield told([call()["y"] for call in odd])  # type: ignore[index]


class FakeLoadGen(SimpleNamespace):
    """LoadGen's Python module as far as it is used: it asks each query once and writes the log that it is given."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__(**dict.fromkeys(("TestSettings",), SimpleNamespace))
        self.said, self.told, self.responses = said, SimpleNamespace(), []
        self.TestScenario = SimpleNamespace(**{name: name for name in (SINGLE, MULTI, SERVER, OFFLINE)})
        self.TestMode = SimpleNamespace(PerformanceOnly="performance")
        self.LogSettings = lambda: SimpleNamespace(log_output=SimpleNamespace(outdir=""), enable_trace=True)
        self.QuerySampleResponse = lambda *told: told
        self.left: list[str] = []

    def ConstructSUT(self, take: Any, flush: Any) -> Any:  # noqa: N802 (LoadGen's own names)
        return take

    def ConstructQSL(self, total: int, kept: int, *_: Any) -> int:  # noqa: N802
        return total + kept

    def QuerySamplesComplete(self, answers: Any) -> None:  # noqa: N802
        self.responses += answers

    def StartTestWithLogSettings(self, take: Any, library: int, told: Any, log: Any, _: str) -> None:  # noqa: N802
        self.told, self.library, self.traced = told, library, log.enable_trace
        take([SimpleNamespace(id=10 + place, index=place) for place in range(library // 2)])
        lines = [f":::MLLOG {json.dumps({'key': key, 'value': value})}" for key, value in self.said.items()]
        Path(log.log_output.outdir, "mlperf_log_detail.txt").write_text("\n".join(["no record", *lines]))

    def DestroyQSL(self, _: Any) -> None:  # noqa: N802
        self.left.append("library")

    def DestroySUT(self, _: Any) -> None:  # noqa: N802
        self.left.append("model")


def driven() -> Iterator[str]:
    """What LoadGen is told, and what is read of its log, for each of its scenarios."""
    said: dict[str, Any] = {
        "result_mean_latency_ns": 2e6, "result_mean_query_latency_ns": 3e6, "result_query_count": 70, "generated_samples_per_query": 5,
        **{f"result_{share}.00_percentile{each}_latency_ns": share * size for share in (50, 90, 99) for each, size in (("", 1e5), ("_per_query", 2e5))},
        "result_completed_samples_per_sec": 99.0, "result_samples_per_second": 88.0, "result_qps_with_loadgen_overhead": 77.0,
        "early_stopping_latency_ss": 9e6, "early_stopping_latency_ms": 0, "early_stopping_result": " * Processed\n  at least * 64 ",
        "result_validity": "VALID", "result_perf_constraints_met": True, "result_scheduled_samples_per_sec": 101.0,
    }  # fmt: skip
    plans = [LoadPlan(scenario, 200.0, 0.04, 5, 3, 60, 2, 7) for scenario in (SINGLE, MULTI, SERVER, OFFLINE)]
    plans += [
        replace(plans[2], patient=True),
        replace(plans[2], rate=5000.0),
        replace(plans[0], queries=100),
        replace(plans[0], rate=0.0),
    ]
    bad = {**said, "result_validity": "INVALID", "result_invalid_reason": " too few "}
    late = {
        key: value
        for key, value in bad.items()
        if key not in ("result_invalid_reason", "result_perf_constraints_met")
    }
    fine: list[Callable[[], object]] = [lambda: None, lambda: None]
    runs = [*((plan, said, fine) for plan in plans), (plans[2], bad, fine), (plans[2], late, fine)]
    for plan, log, asked in (*runs, (plans[0], said, [lambda: None, _fails]), (plans[3], said, [_refuses])):
        fake = FakeLoadGen(log)
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "mlperf_loadgen", fake)
            found = loadgen.drive(asked, plan, Path(folder, "log"))
        guessed = plan.rate == 0
        settings = {} if guessed else vars(fake.told)
        yield told((settings, fake.library, fake.traced, sorted(fake.responses), fake.left))
        seconds = 0.0 if plan.scenario != MULTI else found.completed * found.seconds
        yield line(
            replace(
                found,
                seconds=seconds,
                rate=0.0 if guessed else found.rate,
                completed=0.0 if plan.scenario == MULTI else found.completed,
            )
        )


def _fails() -> None:
    raise RuntimeError("broken")


def _refuses() -> None:
    raise InvalidInput("no answer")


def blocks_and_processes() -> Iterator[str]:
    """Calls as they are counted, and words about processes."""
    calls: list[int] = []

    def call() -> None:
        calls.append(1)

    def clock(work: Callable[[], object], times: int) -> list[float]:
        for _ in range(times):
            work()
        return [0.5] * times

    yield told((run_block(call, BlockPlan(2, 5), clock), len(calls)))
    calls.clear()
    yield told((warm_up(call, 0.0, 4) >= 0, len(calls)))
    minima = interleaved({"a": call, "b": lambda: None}, 3, 0.0)
    yield told([(name, len(found)) for name, found in minima.items()])
    yield told((round_seconds(_refuses), 0.1 < round_seconds(call) < 1.0))
    yield told([ended_with(code) for code in (0, 3, -9, -11, -255)])
    yield told([last_line(log) for log in (b"", b"\n \n", b"one\ntwo \n\n", b"x" * 5000, b"\xff\n" * 3)])
    yield told(sorted((key, value) for key, value in environment(3).items() if key.endswith("_THREADS")))


class Spoken:
    """A model that answers token by token as it is told, in the place of a worker and of a predictor."""

    def __init__(self, seconds: float) -> None:
        self.asked, self.seconds = list[dict[str, Any]](), seconds

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.asked.append({"do": do, **more})
        return asdict(Streamed((0.1, 0.2), 3, self.seconds, "" if len(self.asked) != 4 else "HTTP 500"))


def passed_on() -> Iterator[str]:
    """What goes from one process to another, and what a worker takes, counts and tells of itself."""
    given = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "text": np.array([["x"], ["y"]], object),
        "empty": np.zeros((0, 2)),
        "one": np.array(2.5),
        "flags": np.array([True, False]),
        "words": np.array(["u", "v"]),
    }
    for trusted in (False, True):
        described_, pieces = packed(
            {**given, **({"odd": np.array([{"a": 1}, None], object)} if trusted else {})}, trusted=trusted
        )
        yield told([{key: value for key, value in one.items() if key != "pickled"} for one in described_])
        stream = io.BytesIO(b"".join(pieces))

        def fill(view: memoryview, stream: io.BytesIO = stream) -> None:
            assert stream.readinto(view) == len(view)

        found = unpacked(json.loads(json.dumps(described_)), fill, trusted=trusted)
        yield told([(name, value.dtype.str, value.shape, value.tolist()) for name, value in found.items()])
    yield attempted(lambda: packed({"y": np.array([1, {"a": 1}], object)}, trusted=False))
    yield told(
        [
            held._called(means)
            for means in (
                {"factory": "m:f", "path": "x"},
                {"factory": None, "endpoint": {"url": "http://h"}, "path": "x"},
                {"factory": None, "path": "a/b.onnx"},
                {"factory": None, "endpoint": {}, "path": "a/b.onnx"},
            )
        ]
    )
    for kind in KINDS:
        yield repr(held._refusal({"error": kind, "text": "no"}))
    yield told(
        (
            held._refusal({"error": "InvalidInput", "text": "no", "file": "w.bin"}).__class__.__name__,
            held._refusal({"error": "InvalidInput", "text": "no", "file": ""}).__class__.__name__,
        )
    )
    one = contestant(
        "m",
        constants={"k": np.array([1.5])},
        carries={"h": "h2"},
        tokenizer={"max": 3},
        signature=Signature((TensorSpec("x", "float32", ("n", 2)),), ()),
        project=Path("p"),
        adapter=Path("a"),
    )
    yield told(
        (
            one.elsewhere,
            contestant("m", command=("run",)).elsewhere,
            contestant("m", endpoint={"url": "u"}).elsewhere,
        )
    )
    for each in (one, contestant("plain", inputs=Path("/b.npz"))):
        yield json.dumps(each.spec(Path("/a.npz")), default=str).replace(str(Path.cwd()), "HERE")
    with tempfile.TemporaryDirectory() as name:
        path = save_inputs(Path(name, "x.npz"), {"a": np.arange(3), "t": np.array(["x", "yy"], object)})
        yield told([(key, value.dtype.kind, value.tolist()) for key, value in load_inputs(path).items()])
        for batch in ({}, {"a": np.array([1, "x"], object)}):
            yield attempted(lambda batch=batch: save_inputs(path, batch))  # type: ignore[misc]
        path.write_bytes(b"PK no")
        yield attempted(lambda: load_inputs(path)).partition(name)[0]
        yield attempted(lambda: load_inputs(Path(name, "none.npz"))).partition(name)[0]
    inputs = Signature((TensorSpec("x", "float32", None), TensorSpec("m", "float32", None, "default")), ())
    texts = Signature((TensorSpec("ids", "int64", None),), (), TensorSpec("text", "str", None))
    for signature, batch in (
        (inputs, "xm"),
        (inputs, "x"),
        (inputs, "xmz"),
        (inputs, "m"),
        (inputs, "z"),
        (texts, ("text", "ids")),
        (texts, ("ids", "z")),
        (Signature((), ()), "z"),
    ):
        yield told(sorted(worker._taken(SimpleNamespace(signature=signature), dict.fromkeys(batch, 1))))  # type: ignore[arg-type]
    yield told(
        (
            worker._repeat(lambda: None, 0.0),
            worker._repeat(lambda: None, 0.01) > 10,
            worker._clock("cpu")[1],
            worker._status("Nothing"),
            worker._status("VmHWM") == worker._peak_memory(),
        )
    )
    yield told(
        (
            worker._highest_use() > 0.5 * worker._peak_memory(),
            0 < worker._resident_memory() <= 1.1 * worker._peak_memory(),
        )
    )
    lines = tuple(json.dumps({"prompt": f"line {number}"}) for number in range(5))
    asked = Streaming(lines, 3, 4, {"ttft": 0.1})
    workers, turns = (
        {"a": Spoken(0.5), "b": Spoken(0.6)},
        {name: Turn(1, "perf_counter", 0.1) for name in "ab"},
    )
    asked.play(workers, turns, random.Random(5))  # type: ignore[arg-type]
    yield told(
        (
            asked.plan,
            [(len(turn.streams), turn.seconds, turn.minima) for turn in turns.values()],
            [(one["do"], one["line"]) for one in workers["a"].asked],
        )
    )
    for mine, theirs in (
        ({"y": [1.0, 2.0]}, {"y": [1.005, 2.0]}), ({"y": [1.0, 2.0]}, {"y": [1.05, 2.0]}), ({"y": [0.0]}, {"y": [0.0005]}), ({"y": [0.0]}, {"y": [0.005]}), ({"y": [1.0]}, {"y": [1.0, 1.0]}), ({"y": ["a"]}, {"y": ["a"]}), ({"y": ["a"]}, {"y": ["b"]}), ({"y": [1]}, {"z": [1]}), ({"y": [1]}, {}), ({"y": [1], "z": [2]}, {"y": [1]}),
    ):  # fmt: skip
        yield attempted(
            lambda mine=mine, theirs=theirs: queries._same(
                "http://h",
                *({name: np.array(value) for name, value in each.items()} for each in (mine, theirs)),
            )
        )  # type: ignore[misc]


def locusts() -> Iterator[str]:
    """What locust is told, what its record says, and how many users are tried next."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name)
        plan = LocustPlan(root / "users.py", root, "http://h", 0.05, 10)
        ended: list[tuple[int | None, str]] = []
        commands: list[list[str]] = []

        def end(command: list[str], *_: Any) -> tuple[int | None, str]:
            commands.append(command[1:])
            return ended[-1]

        patch.setattr(locust, "_ended", end)

        def asked(
            times: dict[str, int],
            failures: int = 0,
            raised: str = "",
            users: int = 2,
            code: int | None = 0,
            log: str = "",
            **more: Any,
        ) -> str:
            record = {
                "num_requests": sum(times.values()),
                "num_failures": failures,
                "response_times": times,
                "start_time": 100.0,
                "last_request_timestamp": 108.0,
                "more": 1,
                **more,
            }
            (root / "requests.json").write_text(
                json.dumps(
                    [
                        record,
                        {
                            **record,
                            "num_requests": 1,
                            "num_failures": 0,
                            "response_times": {"7": 1},
                            "start_time": 99.0,
                        },
                    ]
                )
            )
            (root / "locust_failures.csv").write_text(
                "Method,Error,Occurrences\nGET,HTTP 500,3\nGET,HTTP 404,1\n"
                if failures
                else "Error,Occurrences\n"
            )
            (root / "locust_exceptions.csv").write_text(f"Count,Message\n{raised}")
            ended.append((code, log))
            return attempted(lambda: locust.run_locust(plan, users, root)).replace(name, "TMP")

        yield asked({"10": 90, "20": 9, "50": 1})
        yield commands[0][1:].__str__().replace(name, "TMP")
        yield asked({"10": 98, "51": 1})
        yield asked({"10": 96, "51": 4})
        yield asked({"10": 199}, 2)
        yield asked({"10": 199}, 3)
        yield asked({"10": 199}, 1, "5,ValueError: x\n")
        yield asked({}, last_request_timestamp=None)
        yield asked({"10": 50}, log="x/INFO/y\nNot all users finished\n")
        yield asked({"10": 50}, log="Shape test starting\n")
        yield asked({"10": 50}, code=None)
        yield asked({"10": 50}, code=1, log="a\nBroken: it\nx/INFO/z\n")
        yield asked({"10": 3}, 4, users=1)
        yield asked({"10": 3}, 3, users=1)
        yield asked({"10": 3}, num_requests="x")
        (root / "locust_exceptions.csv").write_text("Count\n3\n")
        ended.append((0, ""))
        yield attempted(lambda: locust.run_locust(plan, 2, root)).replace(name, "TMP")
        (root / "requests.json").unlink()
        yield attempted(lambda: locust.run_locust(plan, 2, root)).replace(name, "TMP")
        yield commands[-1][1:].__str__().replace(name, "TMP")
    yield told(
        [locust._quantile({0.1: 5, 0.2: 4, 0.3: 1}, share) for share in (0.0, 0.5, 0.51, 0.9, 0.91, 1.0)]
        + [locust._quantile({}, 0.5)]
    )
    for most, stalls, late in (
        (0, (), 99),
        (1, (), 99),
        (5, (), 99),
        (40, (4,), 99),
        (40, (4, 5), 99),
        (10**6, (), 99),
        (40, (), 9),
    ):
        tried: list[int] = []

        def users_of(
            users: int,
            most: int = most,
            stalls: tuple[int, ...] = stalls,
            late: int = late,
            tried: list[int] = tried,
        ) -> LocustRun:
            tried.append(users)
            if len(tried) > late:
                raise load.OutOfTime
            why = "late" if users > most or len(tried) in stalls else ""
            return LocustRun(users, 1, 0, 1.0, 0.1, 0.1, 0.1, why, strained=False)

        found = load.ramp(users_of)
        yield told((tried, found.breaks_at, found.bore, found.recovered is not None))


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (decisions, figures, comparisons, loads, driven, blocks_and_processes, passed_on, locusts)
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_figure_and_no_word_of_a_benchmark_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
