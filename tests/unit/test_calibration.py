"""Calibration data: what compression learns from needs no labels, no slices and no groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, InvalidInput
from gradatim.evidence.found import Compressed
from gradatim.evidence.statement import Statement
from gradatim.pipeline.step import run_step
from gradatim.steps.compress import _calibration, _rows

pytest.importorskip("onnxruntime")

LABELS = np.arange(60) % 3


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    """Evaluation data with labels, a slice and a group; calibration data with the model's input alone."""
    site = np.array(["north", "south"])[LABELS // 2]
    made = lay_down(tmp_path, LABELS, LABELS, LABELS, {"site": site, "user": np.arange(60) // 2})
    with np.load(made.root / "test.npz") as found:
        np.savez(made.root / "calibration.npz", x=found["x"][:20])
    return made


def compress(project: GateProject, keep: str, data: str = "calibration: calibration.npz") -> Statement:
    project.contract("size: {at_most: 1 MB}", data=f"slices: site, group: user, {data}")
    path = project.root / "gradatim.yml"
    keeping = f"compress: {{methods: [int8-dynamic], keep: {keep}}}\n"
    path.write_text(path.read_text(encoding="utf-8") + keeping, encoding="utf-8")
    return run_step("compress", project.release()).statement


@pytest.mark.parametrize(
    "keep", ["{fidelity: 90%}", "{cosine: 90%}", "{agreement: 90%}", "{}", "{fidelity: 90%, cosine: 90%}"]
)
def test_likeness_to_the_original_is_kept_without_a_label(project: GateProject, keep: str) -> None:
    (trial,) = Compressed.of(compress(project, keep)).trials or ()
    assert {"fidelity", "cosine", "agreement"} <= set(trial.quality)


def test_what_a_model_is_calibrated_on_holds_the_constants_of_the_contract(project: GateProject) -> None:
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(project.root / "model.onnx")
    model.graph.input.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, [1]))
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "scale"], ["scaled"]))
    model.graph.node[1].input[0] = "scaled"
    onnx.save(model, project.root / "model.onnx")
    project.contract("size: {at_most: 1 MB}", data="slices: site, group: user, calibration: calibration.npz")
    path = project.root / "gradatim.yml"
    said = path.read_text(encoding="utf-8").replace(
        "path: model.onnx", "path: model.onnx, inputs: {scale: {value: 2.0}}"
    )
    path.write_text(f"{said}compress: {{methods: [int8-dynamic]}}\n", encoding="utf-8")
    candidate = project.release()
    settings = candidate.contract.parts.compress
    assert settings is not None
    seen = list(_calibration(candidate, _rows(settings, judging=False)))
    assert sum(len(batch["x"]) for batch in seen) == 20
    assert all(batch["scale"].tolist() == [2.0] for batch in seen)


def test_a_quality_that_needs_labels_says_that_the_calibration_data_have_none(project: GateProject) -> None:
    with pytest.raises(InvalidInput) as refused:
        compress(project, "{accuracy: 90%}")
    told = str(refused.value)
    assert "calibration.npz" in told
    assert "gradatim.yml:" in told
    assert "keep: {fidelity: 95%}" in told
    assert "evaluation" not in told


def test_a_label_that_the_calibration_data_are_said_to_have_must_be_there(project: GateProject) -> None:
    with pytest.raises(InvalidInput, match="no column `truth`"):
        compress(project, "{fidelity: 90%}", "calibration: {path: calibration.npz, label: truth}")


@pytest.mark.parametrize("task", ["task: classification", "task: regression", "task: embedding", ""])
@pytest.mark.parametrize("likeness", ["fidelity", "cosine", "agreement"])
def test_likeness_may_be_kept_whatever_the_task(tmp_path: Path, task: str, likeness: str) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(
        f"model: {{name: m, path: m.onnx}}\ndata: {{calibration: c.npz}}\n{task}\n"
        f"compress: {{keep: {{{likeness}: 95%}}}}\n"
    )
    assert read_contract(path).parts.compress.keep == pytest.approx({likeness: 0.95})


def test_what_no_trial_measures_cannot_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(
        "model: {name: m, path: m.onnx}\ndata: {calibration: c.npz}\ntask: regression\n"
        "compress: {keep: {latency_p50: 95%}}\n"
    )
    with pytest.raises(ContractError, match=r"Known: mae, rmse, r2, fidelity, cosine, agreement\."):
        read_contract(path)
