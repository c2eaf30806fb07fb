"""Rows shared out among the processors of one machine: the same evidence, whatever the number, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gate_project import GateProject, compressed

from gradatim.checks import suite
from gradatim.checks.robustness_scores import load_scores
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.pipeline import cores, step
from gradatim.pipeline.step import run_step
from gradatim.progress import is_long
from gradatim.shard import Shard


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    return compressed(tmp_path)


def found(project: GateProject, step: str) -> Any:
    """What a step says of the model, and the predictions that it leaves; times and places apart."""
    candidate = project.release()
    statement = run_step(step, candidate, force=True).statement
    folder = candidate.workspace.folder
    left = {path.relative_to(folder): path.read_bytes() for path in folder.glob("predictions/**/*.npy")}
    assert not candidate.workspace.shards_folder(step).exists()
    assert not list(folder.glob("shards/*.here"))
    return statement.measurements, statement.gates, statement.verdict, left


@pytest.mark.parametrize("step", ["evaluate", "test"])
def test_more_processes_leave_the_very_same_result(
    project: GateProject, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    alone = found(project, step)
    monkeypatch.setattr(cores, "_ANSWERS", 1)
    monkeypatch.setattr(cores, "_SECONDS", 1e-6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    ran = []
    monkeypatch.setattr(cores, "_run", lambda *given, run=cores._run: ran.append(run(*given)) or ran[-1])
    assert found(project, step) == alone
    assert ran == [True]


def test_a_budget_bounds_the_corruptions_and_names_what_was_left_out(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.contract(
        "accuracy: {at_least: 50%}",
        test="robustness: [feature_noise, missing_values], items: 40, budget: 0.000001 s",
    )
    rule = Rule("robustness[feature_noise]", "robustness", "at_least", 0.1, where="feature_noise")
    monkeypatch.setattr(cores, "_ANSWERS", 1)
    monkeypatch.setattr(cores, "_SECONDS", 1e-6)
    for processes in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processes: set(range(n)))
        candidate = project.release()
        done = run_step("test", candidate, force=True)
        assert done.code == 0
        assert done.summary.endswith("left out, for `test.budget` was spent: feature_noise, missing_values")
        scores = load_scores(candidate.workspace, "original", None)
        case = Case("original", robustness={score.corruption: score for score in scores})
        assert judge([rule], case)[0].verdict is Verdict.FAIL


def test_what_a_run_that_was_killed_left_is_dropped_and_parts_of_ci_jobs_are_not(
    project: GateProject,
) -> None:
    candidate = project.release()
    folder = candidate.workspace.shard_folder("evaluate", Shard(1, 2))
    folder.mkdir(parents=True)
    cores.share_out(candidate, "evaluate")
    assert folder.exists()
    (folder.parent.parent / "evaluate.here").touch()
    assert run_step("evaluate", project.release(), force=True).code == 0
    assert not folder.exists()


def test_a_long_step_says_before_it_starts_how_long_it_will_take(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    class Told:
        def task(self, name: str, total: int | None) -> Any:
            @contextlib.contextmanager
            def shown() -> Any:
                yield lambda amount=1, note="": told.append((name, note))

            return shown()

    monkeypatch.setattr(cores, "_ANSWERS", 1)
    candidate = project.release()
    candidate.progress = Told()
    run_step("evaluate", candidate, force=True)
    assert told[0] == ("evaluate", "about 1 s")


def test_a_test_of_a_slow_model_says_after_its_first_answer_how_long_it_takes(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    class Told:
        @contextlib.contextmanager
        def task(self, name: str, total: int | None) -> Any:
            yield lambda amount=1, note="": told.append(note)

    monkeypatch.setattr(suite, "_CALLS", 10**7)
    candidate = project.release()
    candidate.progress = Told()
    run_step("test", candidate, force=True)
    (said,) = {place for place, note in enumerate(told) if is_long(note)}
    assert said == 1, "right after the first answer of the form"
    assert len(told) > 2


def test_a_benchmark_is_not_expected_to_take_as_long_as_one_without_a_release_beside_it(
    project: GateProject,
) -> None:
    candidate = project.release()
    measured = run_step("evaluate", candidate, force=True).statement
    candidate.workspace.save(replace(measured, step="benchmark"))
    assert step._earlier("evaluate", candidate).endswith("as last time")
    assert step._earlier("benchmark", candidate) == "", (
        "36 rounds are not 6: it says itself how long they take"
    )
