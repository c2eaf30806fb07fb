"""What a machine's own rounds say of a latency gate on it."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import GateProject, lay_down

from gradatim.checks import selftest
from gradatim.checks.selftest import Selftest, keep
from gradatim.cli import cli
from gradatim.commands import options
from gradatim.commands.selftest import show
from gradatim.gates.rule import FLOOR
from gradatim.progress import Advance
from gradatim.timing.chances import Trials
from gradatim.timing.machine import this_machine


def rounds(spread: float, tail: float = 0.2, n: int = 240) -> dict[str, list[float]]:
    """A model beside itself, whose floor varies by so much between rounds."""
    draw = np.random.default_rng(3)
    of = {"latency_floor": spread, "latency_mean": 3 * spread, "latency_p95": tail}
    return {metric: list(draw.normal(0, sd, n)) for metric, sd in of.items()}


def told(spread: float, margin: float = 0.03) -> Selftest:
    found = selftest._gated(rounds(spread), FLOOR, margin, 36)
    return Selftest(this_machine().kind, "a machine", 1.0, "a net", 2.0, 240, 40, 0, 36, (found,))


def test_a_quiet_machine_neither_cries_wolf_nor_sleeps() -> None:
    trials = Trials(rounds(0.008), FLOOR, 36)
    equal, three, five = (trials.chance(0.03, slowdown) for slowdown in (0.0, 0.03, 0.05))
    assert equal.refused <= 0.01
    assert equal.undecided <= 0.05
    assert three.refused >= 0.98
    assert five.refused >= 0.995
    assert 6 <= five.rounds < 12


def test_a_slowdown_that_only_the_mean_shows_is_caught_by_the_guard() -> None:
    found = rounds(0.002)
    found["latency_mean"] = [value + math.log(1.9) for value in found["latency_mean"]]
    assert Trials(found, FLOOR, 36).chance(0.03, 0.0).refused == 1


def test_a_tail_that_is_of_several_rounds_counts_as_often_as_it_is_there() -> None:
    found = rounds(0.008)
    found["latency_p95"] = [math.log(2) + 0.01 * value for value in found["latency_p95"][:120]]
    assert Trials(found, FLOOR, 36).chance(0.03, 0.0).refused > 0.9


def test_the_advice_follows_from_the_noise() -> None:
    assert "holds here" in told(0.008).advice()[0]
    (noisy,) = told(0.04).advice()
    assert "asks more than this machine can tell" in noisy
    assert "Say `by: " in noisy
    assert "runner" in told(2.0).advice()[0]


@pytest.mark.parametrize("columns", [60, 80])
def test_what_was_found_stays_within_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show(told(0.008))
    show(told(0.04))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line.split() == ["undecided", *["0.0", "%"] * 5] for line in lines)


def test_a_plan_tells_what_was_found_on_this_machine_and_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(tmp_path, monkeypatch)
    place = project.release().workspace.selftest
    place.parent.mkdir(exist_ok=True)
    found = told(0.008)
    keep(found, place)
    assert "On this machine an equal model is refused in 0 %" in _plan()["latency_floor"]
    keep(selftest.replace(found, kind="another"), place)
    assert "On this machine" not in _plan()["latency_floor"]
    place.write_text("{}")
    assert "On this machine" not in _plan()["latency_floor"]


def test_a_machine_is_measured_with_the_candidates_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _project(tmp_path, monkeypatch)
    monkeypatch.setattr(selftest, "_LEAST_JOBS", 1)
    done = CliRunner().invoke(
        cli, ["selftest", "benchmark", "--seconds", "1", "--json"], standalone_mode=False
    )
    assert done.exception is None, done.exception
    record = json.loads(done.stdout)
    assert (record["model"], record["rounds"], record["most"]) == ("model.onnx", 6, 36)
    assert [chance["slowdown"] for chance in record["gates"][0]["chances"]] == [0, 0.01, 0.03, 0.05, 0.1]
    assert record["advice"]
    assert Selftest.read(project.release().workspace.selftest) is not None


def _project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    labels = np.arange(60) % 3
    project = lay_down(folder, labels, labels, labels)
    project.contract("latency_floor: {not_slower_than: baseline, by: 3%}")
    monkeypatch.chdir(project.root)
    return project


def _plan() -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["gate", "--plan", "--json"], standalone_mode=False)
    assert done.exception is None, done.exception
    return {row["gate"]: row["text"] for row in json.loads(done.stdout)["gates"]}


def test_a_gate_on_a_tail_that_takes_several_rounds_sees_no_more_than_they_tell() -> None:
    found = rounds(0.008)
    found["latency_p99"] = found["latency_floor"][:40]  # each of six rounds
    chance = Trials(found, "latency_p99", 36).chance(0.03, 0.0)
    assert chance.rounds > 20
    assert chance.undecided > 0.05


def test_a_tail_that_no_job_has_calls_enough_for_is_told_in_words() -> None:
    for told_of in ([], [0.01]):
        gated = selftest._gated({**rounds(0.008), "latency_p99": told_of}, "latency_p99", 0.03, 36)
        assert {chance.undecided for chance in gated.chances} == {1.0}
        found = Selftest(this_machine().kind, "a machine", 1.0, "a net", 2.0, 18, 3, 0, 36, (gated,))
        (advice,) = found.advice()
        assert "latency_p99" in advice
        assert "calls" in advice


def test_a_slow_model_is_told_how_long_it_takes_from_its_first_round_and_kept_to_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seconds, notes = itertools.count(), []  # each look at the clock finds it a second later

    class Listening:
        @contextlib.contextmanager
        def task(self, name: str, total: int | None) -> Iterator[Advance]:
            yield lambda amount=1, note="": notes.append(note)

    monkeypatch.setattr(options, "progress", Listening)
    monkeypatch.setattr(selftest, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    asked = ["selftest", "benchmark", "--seconds", "1", "--json"]
    refused = CliRunner().invoke(cli, [*asked, "--budget", "11"], standalone_mode=False)
    assert "A round takes 2 s here, and 6 are the least" in str(refused.exception)
    assert "--budget 15" in str(refused.exception)
    assert notes == [], "after one round"
    seconds = itertools.count()
    done = CliRunner().invoke(cli, [*asked, "--budget", "15"], standalone_mode=False)
    assert done.exception is None, done.exception
    record = json.loads(done.stdout)
    assert notes[0] == "about 12 s", "a second job does not fit in"
    assert (record["rounds"], record["jobs"], record["asked"]) == (6, 1, 18)
    assert record["advice"][-1].startswith("The budget was over after 6 of 18 rounds")
