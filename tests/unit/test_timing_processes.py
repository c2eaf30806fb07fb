"""The processes that hold a model say what is wrong in words, are used again, and count what they were asked; each rule by its numbers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from gate_project import write_model

from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError
from gradatim.models import UnreleasedFile
from gradatim.timing import blocks, child, contestant, held, load, model_worker, paired, worker
from gradatim.timing.contestant import Contestant, Worker, save_inputs
from gradatim.timing.held import CallLimits, HeldModel
from gradatim.timing.load import Load, LoadQuestion, bears, stressed_by_users
from gradatim.timing.loadgen import OFFLINE, SINGLE, LoadPlan, LoadRun
from gradatim.timing.locust import LocustPlan, LocustRun
from gradatim.timing.nvml import GpuFacts
from gradatim.timing.paired import compare
from gradatim.timing.queries import LoadQuery
from gradatim.timing.result import Discarded
from gradatim.timing.rounds import Turn

pytest.importorskip("onnxruntime")
ROWS = {"x": np.ones((5, 6), np.float32)}


def heard(say: Callable[[int], object]) -> tuple[Any, dict[str, Any]]:
    """What a function gives that is to write one JSON line to a descriptor, and the line."""
    ours, theirs = os.pipe()
    given = say(theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        (line,) = said.read().splitlines()
    return given, json.loads(line)


FAULTS: dict[str, tuple[BaseException, int, str, str]] = {
    "a package": (EnvironmentLacks("no torch"), 4, "EnvironmentLacks", "no torch"),
    "a word": (UsageError("no such device"), 2, "UsageError", "no such device"),
    "a file": (InvalidInput("it is cut off"), 3, "InvalidInput", "it is cut off"),
    "memory": (MemoryError(), 4, "EnvironmentLacks", "It needs more memory than this machine has left."),
    "its own": (ValueError("bad\nmore"), 3, "InvalidInput", "It raised ValueError: bad"),
    "long": (KeyError("y" * 400), 3, "InvalidInput", f"It raised KeyError: '{'y' * 299}"),
    "silent": (RuntimeError(" \n"), 3, "InvalidInput", "It raised RuntimeError: no message"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_round_that_fails_is_told_by_its_kind_in_a_sentence_and_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    error, code, kind, text = FAULTS[name]

    def serve(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "_serve", serve)
    assert heard(lambda answers: worker._round({}, answers)) == (code, {"error": kind, "text": text})


@pytest.mark.parametrize("module", ["gradatim.timing.worker", "gradatim.timing.model_worker"])
def test_a_process_that_somebody_starts_by_hand_says_that_it_is_no_command(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], input="hello\n", capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("This process is started by gradatim's ")


def test_a_process_ends_with_whoever_started_it_and_as_its_fork_did() -> None:
    def ends(code: str) -> int:
        return subprocess.run([sys.executable, "-c", f"import os; from gradatim.timing.worker import *; {code}"], check=False).returncode  # fmt: skip

    assert ends("die_with(os.getppid()); os._exit(7)") == 7
    assert ends("die_with(os.getppid() + 1); os._exit(7)") == 1
    assert ends("from gradatim.timing.worker import _end_like; os._exit(_end_like(5))") == 5
    for number in (6, 9, 15):
        assert ends(f"from gradatim.timing.worker import _end_like; _end_like(-{number})") == -number


def test_what_libraries_hold_is_in_memory_before_the_model_is_counted() -> None:
    """And what is no file's is left alone: 64 MB that nobody touched stay untouched."""
    code = """
import mmap
from gradatim.timing.worker import _touch_libraries, _highest_use, _peak_memory, _resident_memory
nothing = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
before = _resident_memory()
_touch_libraries()
whole = seen = 0
name = None
for line in open('/proc/self/smaps'):
    first = line.split()[0]
    if '-' in first:
        name = line.split()[5] if len(line.split()) > 5 and line.split()[1].startswith('r') else None
    elif name and name.endswith('.so.1') or name and '/libc.so' in name:
        whole += int(line.split()[1]) if first == 'Size:' else 0
        seen += int(line.split()[1]) if first == 'Rss:' else 0
assert whole and seen > 0.95 * whole, (seen, whole)
assert _resident_memory() - before < 40 << 20
assert 0.8 < _highest_use() / _peak_memory() < 100  # it may be that of whoever started this
assert _peak_memory() >= 0.95 * _resident_memory() > 1 << 20
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_gpu_is_timed_by_its_own_events_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("mark")

        def elapsed_time(self, _: Event) -> float:
            return 2.5  # milliseconds, as CUDA has it

    there = {"is": True}
    cuda = SimpleNamespace(Event=Event, synchronize=done.append, is_available=lambda: there["is"])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    clock, name = worker._clock("cuda:1")
    assert name == "cuda_events"
    assert clock(lambda: done.append("call"), 3) == [0.0025] * 3
    assert done == ["cuda:1", "mark", "call", "mark", "cuda:1"] * 3
    assert worker._clock("cpu") == (blocks.wall_clock, "perf_counter")
    there["is"] = False
    assert worker._clock("cuda:1") == (blocks.wall_clock, "perf_counter")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    write_model(path, "old")
    return path


def test_a_worker_does_what_it_is_asked_and_nothing_else(model: Path, tmp_path: Path) -> None:
    batch = save_inputs(tmp_path / "inputs.npz", ROWS)
    with Worker(Contestant("m", model, model.parent), batch, tmp_path) as process:
        opened = process.opened()
        assert (opened.items, opened.clock, opened.pid) == (5, "perf_counter", process.pid)
        warmed = process.ask("warm", seconds=0.01)
        assert 0 < warmed["seconds"] < 1
        assert 0 < warmed["first"] < 60
        assert process.ask("repeat", seconds=0)["calls"] == 1
        assert process.ask("repeat", seconds=0.1)["calls"] > 1
        assert len(process.ask("block", untimed=3, timed=4, blocks=1)["seconds"]) == 4
        with pytest.raises(UsageError, match="A worker was asked to 'dance', which it cannot"):
            process.ask("dance")


def test_calls_back_to_back_fill_their_time_and_are_counted() -> None:
    made: list[float] = []

    def call() -> None:
        made.append(time.perf_counter())
        time.sleep(0.01)

    assert worker._repeat(call, 0.05) == len(made)
    assert 2 <= len(made) <= 6
    assert worker._repeat(call, 0.0) == 1


def served(process: Any, **wanted: Any) -> dict[str, Any]:
    def say(answers: int) -> None:
        process._answers = answers
        process.serve(wanted)

    return heard(say)[1]


class Open:
    """A model that is open, and fails as it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.closed = 0

    def __call__(self, inputs: Any) -> Any:
        if self.error:
            raise self.error
        return {}

    def close(self) -> None:
        self.closed += 1


def test_a_held_model_tells_each_fault_by_its_kind_and_goes_on() -> None:
    process = model_worker._Server(io.BytesIO(), 0)  # type: ignore[arg-type]
    early = {"error": "UsageError", "text": "A model was called before it was opened.", "file": None}
    for do in ("call", "tokens", "close"):
        assert served(process, do=do) == early
    process._model = opened = Open()  # type: ignore[assignment]
    for error, kind, file in (
        (InvalidInput("bad rows"), "InvalidInput", None), (EnvironmentLacks("no disk"), "EnvironmentLacks", None),
        (UsageError("no such name"), "UsageError", None), (UnreleasedFile("opens a file", "a/b.txt"), "InvalidInput", "a/b.txt"),
    ):  # fmt: skip
        opened.error = error
        assert served(process, do="call") == {"error": kind, "text": str(error), "file": file}
    opened.error = MemoryError()
    text = "The model needs more memory than this machine has left."
    assert served(process, do="call") == {"error": "EnvironmentLacks", "text": text}
    opened.error = None
    assert served(process, do="call") == {"arrays": []}
    assert opened.closed == 0
    assert served(process, do="close") == {}
    assert opened.closed == 1


def test_a_tokenizer_is_read_once_for_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Tokens:
        def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
            self.folder, self.settings = folder, settings
            made.append((folder, settings))

        def __call__(self, text: Any, wanted: Any) -> dict[str, Any]:
            return {"ids": np.array([[len(made)]], np.int64)}

    monkeypatch.setattr(model_worker, "TextTokens", Tokens)
    monkeypatch.setattr(model_worker, "unpacked", lambda *_, **__: {"text": np.array(["a"])})
    process = model_worker._Server(io.BytesIO(), 0)  # type: ignore[arg-type]
    process._model = Open()  # type: ignore[assignment]
    asked = [
        ("a", {}),
        ("a", {}),
        ("a", {"max_length": 3}),
        ("a", {"max_length": 3}),
        ("b", {"max_length": 3}),
    ]
    for folder, settings in asked:
        ours, theirs = os.pipe()
        process._answers = theirs
        process.serve({"do": "tokens", "folder": folder, "settings": settings, "wanted": ["ids"]})
        os.close(theirs)
        os.close(ours)
    assert made == [(Path("a"), {}), (Path("a"), {"max_length": 3}), (Path("b"), {"max_length": 3})]


def held_model(path: Path) -> HeldModel:
    means = dict.fromkeys(
        ("project", "files", "format", "adapter", "factory", "command", "endpoint", "signature"), None
    )
    given = {
        **means,
        "files": (),
        "command": (),
        "endpoint": {},
        "device": "cpu",
        "threads": 1,
        "allow_pickle": False,
    }
    return HeldModel(CallLimits(60, 600), path=path, root=path.parent, **given)


def test_one_process_is_kept_for_the_next_model_and_one_alone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "_idle", [])
    first, second = held_model(model), held_model(model)
    pids = [one._process._child.pid for one in (first, second)]
    assert pids[0] != pids[1]
    assert first(ROWS)["scores"].shape == (5, 3)
    first.close()
    second.close()
    assert [process._child.pid for process in held._idle] == [pids[0]]
    third = held_model(model)
    assert third._process._child.pid == pids[0]
    assert held._idle == []
    assert third(ROWS)["scores"].shape == (5, 3)
    third._means["allow_pickle"] = True  # as if code of somebody's had run in it
    third.close()
    assert held._idle == []


def test_a_round_is_reckoned_by_the_second_of_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(
        blocks, "wall_clock", lambda call, times: [float(call() or 0.25) for _ in range(times)]
    )
    for seconds in (1e-3, 0.02, 0.25, 3.0):
        made.clear()

        def call(seconds: float = seconds) -> float:
            made.append(1)
            return seconds

        plan = blocks.plan_blocks(seconds)
        expected = max(0.1, 4 * seconds) + plan.blocks * (plan.untimed + plan.timed) * seconds
        assert blocks.round_seconds(call) == pytest.approx(expected)
        assert len(made) == 2
    assert blocks.round_seconds(lambda: (_ for _ in ()).throw(InvalidInput("no"))) == 0.0


def rounds(throttles: Sequence[tuple[str, ...]]) -> Callable[..., Any]:
    """Rounds of a GPU that was held back in some."""
    left = iter(throttles)

    def one(playing: Sequence[Contestant], *given: Any) -> Any:
        plans = given[2]
        plans.setdefault("", blocks.BlockPlan(2, 6))  # by the first round, also one that is left out
        turns = {
            each.name: Turn(1, "cuda_events", 0.1, [1e-3] * 3, [1e-3] * 3, first=0.2) for each in playing
        }
        return paired._Round(turns, GpuFacts("A GPU", throttles=next(left)))

    return one


def timed(monkeypatch: pytest.MonkeyPatch, model: Path, throttles: Sequence[tuple[str, ...]]) -> Any:
    monkeypatch.setattr(paired, "_round", rounds(throttles))
    return compare([Contestant("m", model, model.parent)], ROWS)


HOT, SLOW = ("hardware slowdown",), ("hardware slowdown", "hardware power brake")


def test_rounds_in_which_the_gpu_was_held_back_do_not_count_and_are_told_by_their_number(
    monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    found = timed(monkeypatch, model, [(), HOT, (), (), SLOW, HOT, (), (), ()])
    both = "hardware slowdown and hardware power brake"
    told = [Discarded(2, HOT[0]), Discarded(4, both), Discarded(4, HOT[0])]
    assert list(found.discarded) == told
    assert len(found.gpu) == 9
    assert found.contestants[0].rounds == 6
    assert found.plan == blocks.BlockPlan(2, 6)
    assert timed(monkeypatch, model, [()] * 6).discarded == ()


def test_a_gpu_that_is_always_held_back_is_given_up(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    with pytest.raises(
        InvalidInput, match="No round could be kept: hardware slowdown held the GPU back in each of 6"
    ):
        timed(monkeypatch, model, [HOT] * 20)
    found = timed(monkeypatch, model, [(), (), *[HOT] * 20])
    assert (len(found.discarded), found.contestants[0].rounds) == (6, 2)


def run_of(scenario: str, rate: float) -> LoadRun:
    return LoadRun(scenario, rate, True, True, "", "", 9, 0, rate, rate, 0, 0.01, 0.01, 0.01, None, 1.0)


class Asked:
    """A worker that keeps what it is asked for."""

    told: ClassVar[list[tuple[str, dict[str, Any]]]]
    made: ClassVar[tuple[Any, ...]]

    def __init__(self, *made: Any) -> None:
        type(self).made = made

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def opened(self) -> None:
        self.told.append(("opened", {}))

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        self.told.append((do, more))
        if more["plan"] is None:
            return {}
        folder = Path(more["folder"])
        folder.mkdir(exist_ok=True)
        for name in ("summary", "detail"):
            (folder / f"mlperf_log_{name}.txt").write_text(f"{name} {len(self.told)}")
        plan = LoadPlan(**more["plan"])
        return vars(run_of(plan.scenario, plan.rate or 123.456789))


def question(*scenarios: str, **asked: Any) -> LoadQuestion:
    return LoadQuestion(scenarios, 0.04, 1.0, 50.0, 3, LoadQuery(1, **asked))


def test_each_run_of_loadgen_leaves_its_logs_by_number_scenario_and_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contestant, "Worker", Asked)
    Asked.told = []
    one = Contestant("m", tmp_path / "m.onnx", tmp_path)
    found = bears(one, tmp_path / "rows.npz", question("single-stream", "offline"), tmp_path / "logs")
    assert Asked.made[:2] == (one, tmp_path / "rows.npz")
    assert Asked.made[3] == 50.0 + load._PATIENCE
    assert (found.name, found.where, found.bound, found.parallel) == ("m", "in its process", 0.04, 3)
    assert [run.scenario for run in found.runs] == [SINGLE, OFFLINE]
    kept = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert kept == ["01-SingleStream-123.5", "02-SingleStream-123.5", "03-Offline-123.5"]
    assert sorted(file.name for file in (tmp_path / "logs" / kept[2]).iterdir()) == [
        "mlperf_log_detail.txt", "mlperf_log_summary.txt",
    ]  # fmt: skip
    assert [do for do, _ in Asked.told] == ["opened", "load", "load", "load"]


def test_a_server_alone_is_asked_once_whether_it_answers_as_the_model_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contestant, "Worker", Asked)
    Asked.told = []
    wanted = question(url="http://there")
    found = bears(Contestant("m", tmp_path / "m.onnx", tmp_path), tmp_path / "rows.npz", wanted, tmp_path)
    assert found == Load("m", "http://there", 0.04, 3, ())
    assert [(do, more.get("plan", "")) for do, more in Asked.told] == [("opened", ""), ("load", None)]
    endpoint = Contestant("m", tmp_path / "m", tmp_path, endpoint={"url": "http://own"})
    assert bears(endpoint, tmp_path / "rows.npz", question(), tmp_path).where == "http://own"


def users_of(breaks: int) -> Callable[..., LocustRun]:
    def run(_: LocustPlan, users: int, folder: Path) -> LocustRun:
        (folder / "stats.csv").write_text(str(users))
        why = "too late" if users >= breaks else ""
        return LocustRun(users, 9, 0, 9.0, 0.01, 0.01, 0.01, why, strained=False)

    return run


def test_runs_of_users_are_told_and_leave_their_folders_and_end_with_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(load, "run_locust", users_of(4))
    plan, told = LocustPlan(tmp_path / "l.py", tmp_path, "", 0.1, 2), list[str]()
    before = Load("m", "there", 0.1, 1, ())
    found = stressed_by_users(before, plan, 100.0, tmp_path / "logs", told.append)
    assert found.stress is not None
    assert (found.stress.breaks_at, found.stress.bore) == (4, 3)
    assert [run.users for run in found.users] == [1, 2, 4, 4, 1, 3]
    assert told[:3] == [
        "locust, 1 user, about 2 s",
        "locust, 2 users, about 2 s",
        "locust, 4 users, about 2 s",
    ]
    kept = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert kept == ["locust-01-1", "locust-02-2", "locust-03-4", "locust-04-4", "locust-05-1", "locust-06-3"]
    assert (tmp_path / "logs/locust-03-4/stats.csv").read_text() == "4"
    none = stressed_by_users(before, plan, 1.9, tmp_path / "none")
    assert none.stress is not None
    assert (none.users, none.stress.breaks_at, none.stress.bore) == ((), None, None)


def test_a_run_that_fails_leaves_its_folder_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(_: LocustPlan, users: int, folder: Path) -> LocustRun:
        (folder / "log").write_text("broken")
        raise InvalidInput("no answer")

    monkeypatch.setattr(load, "run_locust", fails)
    plan = LocustPlan(tmp_path / "l.py", tmp_path, "", 0.1, 2)
    with pytest.raises(InvalidInput, match="no answer"):
        stressed_by_users(Load("m", "there", 0.1, 1, ()), plan, 100.0, tmp_path / "logs")
    assert (tmp_path / "logs/locust-01-1/log").read_text() == "broken"


def test_of_the_memory_that_is_free_four_fifths_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    free = next(int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line)  # fmt: skip
    assert 0.6 < child.free_memory() / free < 0.95
    own = next(int(line.split()[1]) << 10 for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)  # fmt: skip
    assert 0.7 < child.resident(os.getpid()) / own < 1.4
    assert child.resident(2**22 + 1) == 0
    for text, found in (
        ("MemAvailable: 1000 kB\n", 819200),
        ("MemFree: 9 kB\n", 4 << 30),
        ("MemAvailable: x", 4 << 30),
    ):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        assert child.free_memory() == found


def test_a_process_that_hears_no_more_ends_by_itself_before_it_is_ended(tmp_path: Path) -> None:
    with child.Child("gradatim.timing.worker", tmp_path, 1) as waits:
        waits.end(grace=60)
        assert waits.exit_code() == 0
