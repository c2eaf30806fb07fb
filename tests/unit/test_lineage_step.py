"""Lineage in the steps: read by inspect, or by the build that trained; a leak refuses; diff tells what changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import GateProject, lay_down

from gradatim.errors import InvalidInput
from gradatim.evidence.difference import difference
from gradatim.evidence.found import Built, Inspected
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import sha256_file
from gradatim.gates.verdict import Verdict
from gradatim.lineage.record import DataUsed, Lineage, LoggedMetric
from gradatim.pipeline.step import StepRun, run_step
from gradatim.signature import Inspection

pytest.importorskip("onnxruntime")

ANSWERS = np.arange(60) % 3


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    made = lay_down(tmp_path, ANSWERS, ANSWERS, ANSWERS)
    made.contract("accuracy: {at_least: 50%}")
    return made


def trained(root: Path, record: Any) -> None:
    (root / "lineage.json").write_text(json.dumps(record), encoding="utf-8")


def add(project: GateProject, lines: str) -> None:
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text(encoding="utf-8") + lines + "\n", encoding="utf-8")


def inspect(project: GateProject) -> StepRun:
    run_step("build", project.release())
    return run_step("inspect", project.release())


def test_a_lineage_beside_the_model_is_found_kept_and_read_again_when_it_changes(project):
    assert Inspected.of(inspect(project).statement).lineage is None
    trained(project.root, {"seed": 3, "parameters": {"lr": 0.1}})
    first = inspect(project)
    found = Inspected.of(first.statement).lineage
    assert found == Lineage("lineage.json", {"lr": 0.1}, seed=3)
    assert "trained as in lineage.json" in first.summary
    assert inspect(project).skipped
    trained(project.root, {"seed": 4})
    again = inspect(project)
    assert not again.skipped
    assert Inspected.of(again.statement).lineage.seed == 4


def test_null_leaves_a_file_of_another_tool_alone_and_a_named_one_must_be_there(project):
    trained(project.root, {"nodes": []})
    with pytest.raises(InvalidInput, match="lineage: null"):
        inspect(project)
    add(project, "lineage: null")
    assert Inspected.of(inspect(project).statement).lineage is None
    project.contract("accuracy: {at_least: 50%}")
    add(project, "lineage: runs/lineage.json")
    with pytest.raises(InvalidInput, match=r"There is no runs/lineage\.json"):
        inspect(project)


def test_a_model_trained_on_the_evaluation_data_is_invalid_before_anything_is_measured(project):
    digest = sha256_file(project.root / "test.npz")
    trained(project.root, {"data": {"train": digest}})
    refused = inspect(project)
    assert refused.code == 3
    (gate,) = refused.statement.gates
    assert (gate.gate, gate.verdict) == ("no_leak", Verdict.INVALID)
    assert "`train` is test.npz" in gate.text
    assert gate.line == 2
    trained(project.root, {"data": {"holdout": digest}})
    assert inspect(project).code == 0


def test_evaluation_data_that_becomes_the_training_data_is_seen_without_a_new_lineage(project):
    other = project.root / "train.npz"
    np.savez(other, x=np.ones((3, 6), np.float32), label=np.arange(3))
    trained(project.root, {"data": {"train": sha256_file(other)}})
    assert inspect(project).code == 0
    shutil.copyfile(other, project.root / "test.npz")
    assert inspect(project).code == 3


def test_what_a_build_trained_travels_in_its_evidence_whatever_the_next_checkout_holds(project):
    shutil.move(project.root / "model.onnx", project.root / "kept.onnx")
    (project.root / "train.py").write_text(
        "import json, shutil\n"
        "shutil.copyfile('kept.onnx', 'new.onnx')\n"
        "json.dump({'seed': 11}, open('lineage.json', 'w'))\n"
    )
    trained(project.root, {"seed": 1})
    text = (project.root / "gradatim.yml").read_text()
    (project.root / "gradatim.yml").write_text(
        text.replace("path: model.onnx", "path: new.onnx, build: python train.py")
    )
    build = run_step("build", project.release())
    assert Built.of(build.statement).lineage.seed == 11
    trained(project.root, {"seed": 1})  # what the next job checks out
    assert Inspected.of(run_step("inspect", project.release()).statement).lineage.seed == 11


def test_a_build_that_leaves_the_record_alone_leaves_it_to_inspect(project):
    shutil.move(project.root / "model.onnx", project.root / "kept.onnx")
    (project.root / "export.py").write_text("import shutil\nshutil.copyfile('kept.onnx', 'new.onnx')\n")
    trained(project.root, {"seed": 1})
    text = (project.root / "gradatim.yml").read_text()
    (project.root / "gradatim.yml").write_text(
        text.replace("path: model.onnx", "path: new.onnx, build: python export.py")
    )
    assert Built.of(run_step("build", project.release()).statement).lineage is None
    assert Inspected.of(inspect(project).statement).lineage.seed == 1


def test_a_touched_lineage_in_the_evidence_is_no_lineage(project):
    trained(project.root, {"seed": 3})
    inspect(project)
    path = project.release().workspace.evidence_path("inspect")
    path.write_bytes(path.read_bytes().replace(b'"seed":3', b'"seed":"3"'))
    with pytest.raises(InvalidInput, match="seed"):
        Inspected.of(project.release().workspace.statement("inspect"))


def test_the_difference_of_two_releases_tells_data_parameters_and_seed(project):
    old = Lineage(
        "a",
        {"lr": 0.1, "depth": 3},
        {"train": DataUsed("training", "0" * 64)},
        {"loss": LoggedMetric(0.5)},
        1,
    )
    new = Lineage(
        "b",
        {"lr": 0.2, "depth": 3},
        {"train": DataUsed("training", "1" * 64)},
        {"loss": LoggedMetric(0.5)},
        2,
    )
    found = difference(release(old), release(new))
    assert found.training == (
        ("training data train", "0" * 64, "1" * 64),
        ("seed", "1", "2"),
        ("parameter lr", "0.1", "0.2"),
    )
    assert difference(release(old), release(None)).training == ()


def release(lineage: Lineage | None) -> tuple[Manifest, Bundle]:
    manifest = Manifest("small", (FileEntry("model.onnx", 1, "2" * 64),))
    found = Inspected(Inspection("onnx", {}, 1), lineage=lineage)
    statement = Statement(
        "inspect", {"original": manifest.digest}, Verdict.PASS, "1.0", details=found.to_json()
    )
    return manifest, Bundle((statement,))
