"""Run again: nothing changed does nothing; one changed byte runs what depends on it, and no more; a crash costs one step."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from projects.small import CALIBRATION, DATA, MODEL, Copy, Measured, columns, write_model

CHECKS = ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate")
EVERY_STEP = (*CHECKS, "tag", "publish")


def ran(run: Measured) -> set[str]:
    """The steps that a run ran."""
    return {step["step"] for step in run.record["steps"] if step["status"] not in ("skipped", "not run")}


def test_a_second_run_does_nothing_and_costs_less_than_a_second(proven: Copy) -> None:
    first = proven.call("run", "--json")
    assert first.code == 0, first.said
    assert ran(first) == {"tag", "publish"}
    before = proven.git("ls-remote", "origin")
    again = [proven.call("run", "--json") for _ in range(3)]
    assert [run.code for run in again] == [0, 0, 0]
    assert [ran(run) for run in again] == [set(), set(), set()]
    assert min(run.cpu for run in again) < 1.0
    assert again[0].record["tag"] == "v1.0.0"
    assert proven.git("ls-remote", "origin") == before


def retrained(project: Copy) -> None:
    write_model(project.path(MODEL), bias=1e-3)


def one_more_row(name: str, rows: int, seed: int) -> Callable[[Copy], None]:
    def change(project: Copy) -> None:
        np.savez(project.path(name), **columns(rows + 1, seed))

    return change


def in_the_contract(old: str, new: str) -> Callable[[Copy], None]:
    return lambda project: project.change_contract(old, new)


def one_more_line(name: str) -> Callable[[Copy], None]:
    def change(project: Copy) -> None:
        with project.path(name).open("a", encoding="utf-8") as file:
            file.write("\n")

    return change


def spoiled(name: str) -> Callable[[Copy], None]:
    def change(project: Copy) -> None:
        path = next((project.folder / ".gradatim").glob(name))
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(bytes(data))

    return change


CHANGES: dict[str, tuple[Callable[[Copy], None], set[str]]] = {
    "the model": (retrained, set(CHECKS)),
    "the evaluation data": (one_more_row(DATA, 200, 1), {"test", "evaluate", "benchmark", "gate"}),
    "the calibration data": (one_more_row(CALIBRATION, 60, 2), {"compress", "test", "evaluate", "gate"}),
    "the preprocessing": (
        one_more_line("prepare.py"),
        {"compress", "test", "evaluate", "benchmark", "gate"},
    ),
    "the user's tests": (one_more_line("tests/model/test_model.py"), {"test", "gate"}),
    "a gate": (in_the_contract("at_least: 80%", "at_least: 81%"), {"gate"}),
    "the number of rounds": (in_the_contract("rounds: 3", "rounds: 4"), {"benchmark", "gate"}),
    "a comment in the contract": (in_the_contract("folder: releases", "folder: releases  # here"), set()),
    "a file that nothing reads": (lambda project: project.write("README.md", "A model.\n"), set()),
    "predictions": (spoiled("predictions/original/outputs*.npy"), {"evaluate", "gate"}),
    "timings": (spoiled("benchmark.json"), {"benchmark", "gate"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_runs_what_depends_on_it_and_no_more(what: str, proven: Copy) -> None:
    change, expected = CHANGES[what]
    change(proven)
    run = proven.call("run", "--until", "gate", "--json")
    assert run.code == 0, run.said
    assert ran(run) == expected
    assert ran(proven.call("run", "--until", "gate", "--json")) == set()


def working_on(project: Copy) -> list[str]:
    """Command lines of the processes that work in the project's folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str((process / "cwd").readlink()).startswith(str(project.folder)):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def stop_during(project: Copy, step: str, number: signal.Signals) -> tuple[int, str]:
    """Run, and send a signal to the run while the process of a step is at work."""
    process = project.start("run")
    deadline = time.monotonic() + 120
    while not any(f"main() {step} --json" in command for command in working_on(project)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("step", EVERY_STEP)
def test_ctrl_c_in_a_step_leaves_nothing_behind_and_the_next_run_ends_in_the_release(
    step: str, proven: Copy
) -> None:
    if step in CHECKS:
        (proven.folder / f".gradatim/evidence/{step}.json").unlink()
    code, said = stop_during(proven, step, signal.SIGINT)
    assert code == 130
    assert said.splitlines()[-1] == ("Interrupted. What was finished is kept; run the same command to go on.")
    assert "Traceback" not in said
    assert working_on(proven) == []
    assert proven.half_written() == []
    run = proven.call("run", "--json")
    assert run.code == 0, run.said
    assert run.record["tag"] == "v1.0.0"
    assert set(proven.remote_tags()) == {"v1.0.0", "small#production#1"}
    assert proven.call("verify", "v1.0.0").code == 0
    assert proven.half_written() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_job_ends_like_ctrl_c(number: signal.Signals, proven: Copy) -> None:
    (proven.folder / ".gradatim/evidence/benchmark.json").unlink()
    code, said = stop_during(proven, "benchmark", number)
    assert code == 130
    assert "Traceback" not in said
    assert working_on(proven) == []
    assert proven.half_written() == []


@pytest.mark.parametrize("step", ["evaluate", "publish"])
def test_a_killed_run_is_taken_up_where_it_was(step: str, proven: Copy) -> None:
    if step in CHECKS:
        (proven.folder / f".gradatim/evidence/{step}.json").unlink()
    code, _ = stop_during(proven, step, signal.SIGKILL)
    assert code == -signal.SIGKILL
    run = proven.call("run", "--json")
    assert run.code == 0, run.said
    assert run.record["tag"] == "v1.0.0"
    deadline = time.monotonic() + 60
    while working_on(proven) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert proven.call("verify", "v1.0.0").code == 0
    assert proven.half_written() == []


def test_of_two_runs_at_once_one_says_that_the_other_is_at_work(proven: Copy) -> None:
    (proven.folder / ".gradatim/evidence/benchmark.json").unlink()
    first = proven.start("run", "--until", "gate", "--json")
    while not any("main() benchmark --json" in command for command in working_on(proven)):
        assert first.poll() is None
        time.sleep(0.02)
    second = proven.call("run", "--until", "gate", "--json")
    assert second.code == 4, second.said
    assert "Another gradatim is at work" in second.record["error"]
    out, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert json.loads(out)["verdict"] == "PASS"


def test_two_clones_that_release_at_once_make_one_release(proven: Copy, tmp_path: Path) -> None:
    other = Copy(proven.folder.parent, tmp_path / "other")
    other.git("remote", "set-url", "origin", str(proven.remote))
    both = [project.start("run", "--json") for project in (proven, other)]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert set(proven.remote_tags()) == {"v1.0.0", "small#production#1"}
    for project in (proven, other):
        assert project.call("verify", "v1.0.0").code == 0


EVIDENCE: dict[str, Callable[[bytes], bytes]] = {
    "no json": lambda data: b"{",
    "empty": lambda data: b"",
    "a key twice": lambda data: data.replace(b'"predicateType"', b'"_type": "x", "predicateType"', 1),
    "NaN": lambda data: data.replace(b'"seconds":', b'"nothing": NaN, "seconds":', 1),
    "not a statement": lambda data: b"[]",
    "not text": lambda data: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("how", EVIDENCE)
def test_broken_evidence_is_no_evidence(how: str, proven: Copy) -> None:
    path = proven.folder / ".gradatim/evidence/evaluate.json"
    data = path.read_bytes()
    path.write_bytes(EVIDENCE[how](data))
    assert path.read_bytes() != data
    refused = proven.call("tag")
    assert refused.code == 3, refused.said
    assert "Traceback" not in refused.said
    assert "evaluate" in refused.err
    assert proven.remote_tags() == []
    assert ran(proven.call("run", "--until", "evaluate", "--json")) == {"evaluate"}


def test_evidence_of_another_model_proves_nothing(proven: Copy) -> None:
    write_model(proven.path(MODEL), bias=1e-3)
    proven.git("commit", "--quiet", "--all", "--message", "Another model")
    for step in ("gate", "tag"):
        refused = proven.call(step)
        assert refused.code == 3, refused.said
        assert "Traceback" not in refused.said
    assert proven.remote_tags() == []


def test_a_run_needs_no_home(proven: Copy) -> None:
    run = proven.call("run", "--json", without=("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "USER"))
    assert run.code == 0, run.said


def test_a_run_that_finds_no_room_leaves_nothing_half_written(proven: Copy) -> None:
    (proven.folder / ".gradatim/evidence/evaluate.json").unlink()
    full = proven.call("run", limit=400)
    assert full.code == 4, full.said
    assert "Traceback" not in full.said
    assert "cannot be written" in full.err
    assert proven.half_written() == []
    assert proven.remote_tags() == []
    assert proven.call("run", "--json").record["tag"] == "v1.0.0"
