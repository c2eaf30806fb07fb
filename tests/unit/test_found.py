"""What a step found travels to the next as evidence: read back whole, or refused by the step and the key that are wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada, git

from gradatim.cli import cli
from gradatim.errors import BrokenEvidence
from gradatim.pipeline.step import run_step

pytest.importorskip("onnxruntime")

LABELS = np.arange(120) % 3
CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, calibration: test.npz}
task: {type: classification, labels: [0, 1, 2]}
compress: {keep: {log_loss: 50%}, methods: [int8-weights]}
test: {abnormal: skip}
gates: {accuracy: {at_least: 60%}}
stages:
  production: {branch: main}
"""
GONE = object()


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate with the evidence of every step up to its gates; nothing was timed."""
    folder = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        act_as_ada(patch)
        answers = np.where(np.arange(120) < 6, (LABELS + 1) % 3, LABELS)
        project = lay_down(folder, LABELS, answers, answers)
        (project.root / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
        for step in ("build", "inspect", "compress", "test", "evaluate", "gate"):
            run_step(step, project.release())
    return folder


@pytest.fixture
def project(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    shutil.copytree(judged, tmp_path / "project")
    root, remote = tmp_path / "project" / "repo", tmp_path / "project" / "remote.git"
    git(root, "remote", "set-url", "origin", str(remote))
    return GateProject(root, remote)


def alter(project: GateProject, step: str, keys: tuple[str | int, ...], value: object) -> None:
    """Write another value into the details of a step's evidence, or leave a key out of them."""
    path = project.root / f".gradatim/evidence/{step}.json"
    record = json.loads(path.read_bytes())
    place: Any = record["predicate"]["details"]
    for key in keys[:-1]:
        place = place[key]
    if value is GONE:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.parametrize(
    ("step", "keys", "value", "command", "told"),
    [
        ("compress", ("variants",), GONE, "evaluate", "`variants`"),
        ("compress", ("variants", 0, "name"), 3, "evaluate", "variants[0].name"),
        ("compress", ("trials", 0, "accepted"), "yes", "report", "trials[0].accepted"),
        ("inspect", ("inspection", "parameters"), "many", "report", "inspection.parameters"),
        ("inspect", ("inspection",), GONE, "report", "`inspection`"),
        ("test", ("checks", 0, "verdict"), "MAYBE", "report", "checks[0].verdict"),
        ("test", ("seconds",), "long", "report", "seconds"),
        ("evaluate", ("rows",), "many", "report", "rows"),
        ("evaluate", ("variants", "original", "signature"), GONE, "report", "`signature`"),
        ("evaluate", ("variants", "original", "confusion", 0, 0), 0.5, "report", "original.confusion[0][0]"),
        ("evaluate", ("weak_slices",), {}, "gate", "weak_slices"),
        ("gate", ("chosen",), 3, "report", "chosen"),
        ("gate", ("refused_variants",), {"original": "all of it"}, "report", "refused_variants.original"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_evidence_that_is_not_what_its_step_writes_is_refused_by_step_and_key(
    project: GateProject, step: str, keys: tuple[str | int, ...], value: object, command: str, told: str
) -> None:
    alter(project, step, keys, value)
    done = CliRunner().invoke(cli, [command, "--contract", str(project.root / "gradatim.yml")])
    assert isinstance(done.exception, BrokenEvidence), done.output
    assert f"evidence of `{step}`" in str(done.exception)
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)


def test_evidence_that_does_not_say_which_files_it_left_is_made_again(project: GateProject) -> None:
    assert run_step("evaluate", project.release()).skipped
    alter(project, "evaluate", ("outputs",), ["predictions/original/predictions.json"])
    assert not run_step("evaluate", project.release()).skipped


@pytest.mark.parametrize("command", ["evaluate", "gate", "report"])
def test_what_a_newer_kit_adds_to_evidence_is_passed_over(project: GateProject, command: str) -> None:
    for step in ("compress", "test", "evaluate", "gate"):
        alter(project, step, ("added",), {"by": "a newer kit"})
    alter(project, "test", ("checks", 0, "retries"), 3)
    done = CliRunner().invoke(cli, [command, "--contract", str(project.root / "gradatim.yml")])
    assert not isinstance(done.exception, BrokenEvidence), done.exception


def test_reading_evidence_loads_nothing_heavy() -> None:
    code = "import sys, gradatim.evidence.found; print(*sorted({'numpy', 'pydantic', 'onnxruntime'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
