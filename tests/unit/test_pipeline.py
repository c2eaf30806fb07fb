"""The graph and the walk over it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradatim.errors import UsageError
from gradatim.pipeline.graph import GRAPH, STEPS, Step, groups, walk_order
from gradatim.pipeline.walk import StepResult, walk
from gradatim.progress import Event


class Watcher:
    def __init__(self) -> None:
        self.ended: list[str] = []
        self.events: list[Event] = []

    def started(self, step: Step) -> None:
        pass

    def progressed(self, step: Step, event: Event) -> None:
        self.events.append(event)

    def finished(self, result: StepResult) -> None:
        self.ended.append(result.step)


def saying(record: dict[str, object], code: int = 0) -> list[str]:
    return [sys.executable, "-c", f"print('''{json.dumps(record)}'''); raise SystemExit({code})"]


def test_every_step_comes_after_all_that_it_needs() -> None:
    seen: set[str] = set()
    for step in GRAPH:
        assert set(step.needs) <= seen
        seen.add(step.name)


def test_the_benchmark_runs_alone_and_the_rest_side_by_side() -> None:
    together = [[step.name for step in group] for group in groups(walk_order(until="gate"))]
    assert together == [["build"], ["inspect"], ["compress"], ["test", "evaluate"], ["benchmark"], ["gate"]]


def test_until_takes_what_is_needed_and_only_takes_no_more() -> None:
    assert [step.name for step in walk_order(until="test")] == ["build", "inspect", "compress", "test"]
    assert [step.name for step in walk_order(only=("evaluate",))] == ["evaluate"]
    for wrong in ("gates", "rollback"):
        with pytest.raises(UsageError, match="build, inspect"):
            walk_order(until=wrong)


def test_a_refusal_is_collected_and_nothing_is_tagged_after_it() -> None:
    ran: list[str] = []

    def command(step: Step) -> list[str]:
        ran.append(step.name)
        refused = step.name == "evaluate"
        return saying({"summary": step.name, "verdict": "FAIL" if refused else "PASS"}, 1 if refused else 0)

    results = {result.step: result for result in walk(walk_order(), command, Watcher())}
    assert results["evaluate"].status == "refused"
    assert {"test", "benchmark", "gate"} <= set(ran)
    assert {"tag", "publish"}.isdisjoint(ran)
    assert results["publish"].summary == "not run: evaluate did not pass"


def test_an_unsafe_model_stops_everything_after_it() -> None:
    def command(step: Step) -> list[str]:
        return (
            saying({"summary": "a pickle", "verdict": "FAIL"}, 1)
            if step.name == "inspect"
            else saying({"summary": ""})
        )

    results = walk(walk_order(), command, Watcher())
    assert [result.step for result in results if result.status == "done"] == ["build"]
    assert {result.status for result in results[2:]} == {"not run"}


def test_a_native_crash_is_one_refused_step_with_a_reason() -> None:
    def command(step: Step) -> list[str]:
        if step.name == "test":
            return [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
        return saying({"summary": "fine", "verdict": "PASS"})

    results = {result.step: result for result in walk(walk_order(until="gate"), command, Watcher())}
    assert (results["test"].status, results["test"].code) == ("error", 3)
    assert "SIGSEGV" in results["test"].summary
    assert results["evaluate"].status == "done"


def test_progress_travels_from_the_step_to_the_watcher() -> None:
    script = (
        "from gradatim.progress import Events\n"
        "with Events().task('evaluate', 3) as advance:\n    advance(2, 'half')\n"
        "import sys; sys.stderr.write('a warning of some runtime\\n'); print('{\"summary\": \"ok\"}')"
    )
    watcher = Watcher()
    walk((STEPS["evaluate"],), lambda step: [sys.executable, "-c", script], watcher)
    assert Event("evaluate", 2, 3, "half") in watcher.events


def test_ctrl_c_ends_every_child_and_leaves_none_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = (
        f"import os, time, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    script = (
        "import sys\n"
        "from gradatim.pipeline.graph import STEPS\nfrom gradatim.pipeline.walk import walk\n"
        "class Nobody:\n"
        "    def started(self, step): pass\n    def progressed(self, step, event): pass\n    def finished(self, result): pass\n"
        f"walk((STEPS['evaluate'],), lambda step: [sys.executable, '-c', {child!r}], Nobody())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + 20
        while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(15) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
