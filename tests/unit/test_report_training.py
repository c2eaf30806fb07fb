"""Training, seen: what it logged step by step, the candidate's beside the baseline's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_project import lay_down
from registry_examples import IDENTITY
from report_examples import refused

from gradatim.lineage.record import Lineage, LoggedMetric
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.gallery import draw_all
from gradatim.report.html import render_html
from gradatim.report.model import Report


def course(*values: float, nonfinite: int = 0) -> LoggedMetric:
    return LoggedMetric(values[-1], tuple(enumerate(values, 1)), len(values) + nonfinite, nonfinite)


def trained(before: Lineage | None = None, **metrics: LoggedMetric) -> Report:
    report = refused()
    assert report.lineage is not None
    told = replace(report.lineage, training=Lineage("lineage.json", metrics=metrics), training_before=before)
    return replace(report, lineage=told)


def test_what_was_logged_more_than_once_is_drawn_the_loss_first_and_the_baseline_dashed_beside_it() -> None:
    before = Lineage("lineage.json", metrics={"loss": course(3.0, 2.0, 1.5, 1.4), "other": course(1.0, 2.0)})
    report = trained(
        before, accuracy=course(0.5, 0.9), loss=course(2.5, 0.25, nonfinite=2), final=course(0.9)
    )
    drawn = {name: svg for name, svg in draw_all(report).items() if name.startswith("training")}
    assert list(drawn) == ["training-1", "training-2"]
    assert "loss in training" in drawn["training-1"]
    assert "candidate: 2.5 to 0.25 in 4 values, 2 of 4 values no number; baseline: 3" in drawn["training-1"]
    assert drawn["training-1"].count("baseline curve dashed") == 1
    assert "baseline" not in drawn["training-2"]  # which the baseline did not log
    assert drawn["training-1"] in render_html(report)


def test_a_training_that_logged_nothing_twice_has_no_picture() -> None:
    assert not [name for name in draw_all(trained(loss=course(0.2))) if name.startswith("training")]
    assert not [name for name in draw_all(refused()) if name.startswith("training")]


def test_the_baselines_training_comes_from_the_evidence_of_its_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    answers = np.arange(60) % 3
    project = lay_down(tmp_path, answers, answers, answers)
    project.contract("accuracy: {at_least: 20%}")
    for version, losses in (("v1.1.0", [3.0, 1.0]), ("", [2.0, 0.5])):
        (project.root / "lineage.json").write_text(json.dumps({"metrics": {"loss": losses}}))
        project.another_candidate(losses[0])
        for step in ("inspect", "evaluate"):
            run_step(step, project.release())
        if version:
            project.announce(version, "inspect")
    found = collect(project.release()).lineage
    assert found is not None
    assert found.training is not None
    assert found.training_before is not None
    logged = [one.metrics["loss"].log for one in (found.training, found.training_before)]
    assert [[value for _, value in log] for log in logged] == [[2.0, 0.5], [3.0, 1.0]]
