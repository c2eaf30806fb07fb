"""A stage that moved while a candidate was on its way: it is said so, and nothing is told of a release that nobody compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down
from registry_examples import git

from gradatim.gates.verdict import Verdict
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.markdown import render_markdown

pytest.importorskip("onnxruntime")

LABELS = np.arange(120) % 3


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    made = lay_down(tmp_path, LABELS, np.where(np.arange(120) < 9, 0, LABELS), LABELS)
    made.contract("accuracy: {not_worse_than: baseline, by: 5%}")
    return made


def move_the_stage(project: GateProject) -> None:
    """Somebody else releases v1.1.0 from another clone."""
    other = project.clone(project.root.parent / "other")
    other.another_candidate(0.5)
    other.judge()
    other.announce("v1.1.0")
    git(project.root, "fetch", "-q", "origin", "+refs/tags/*:refs/tags/*", "+refs/gradatim/*:refs/gradatim/*")


def test_a_stage_that_moved_between_evaluation_and_gate_is_said_so(project: GateProject) -> None:
    project.judge()
    move_the_stage(project)
    statement = run_step("gate", project.release()).statement
    assert statement.verdict is Verdict.INVALID
    (told,) = (result.text for result in statement.gates if result.gate == "evaluate")
    assert "production now holds v1.1.0: the evidence of `evaluate` was made against v1.0.0." in told
    assert "gradatim evaluate" in told


def test_a_report_names_the_release_that_its_gates_were_judged_against(project: GateProject) -> None:
    project.judge()
    run_step("gate", project.release())
    before = collect(project.release())
    assert before.baseline == "v1.0.0"
    move_the_stage(project)
    after = collect(project.release())
    assert after.baseline == "v1.0.0"
    assert "v1.1.0" not in (after.lineage.previous or "")
    assert any("production now holds v1.1.0: judged against v1.0.0" in line for line in after.warnings)
    assert "production now holds v1.1.0: judged against v1.0.0" in render_markdown(after)
