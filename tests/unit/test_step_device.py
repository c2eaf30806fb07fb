"""Where a model runs: on its device where it is timed, on the processor where it is judged, unless a runner is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, Runner, lay_down

from gradatim.candidate.candidate import Candidate
from gradatim.contract.reading import read_contract
from gradatim.errors import EnvironmentLacks
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.step import run_step

LABELS = np.arange(60) % 3


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    """A model for a GPU, on a machine that has none."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has a GPU")
    made = lay_down(tmp_path, LABELS, LABELS, LABELS)
    made.contract("accuracy: {at_least: 50%}")
    path = made.root / "gradatim.yml"
    path.write_text(path.read_text().replace("path: model.onnx", "path: model.onnx, device: cuda"))
    return made


def test_a_model_for_a_gpu_is_inspected_tested_and_evaluated_without_one(project: GateProject) -> None:
    for step in ("build", "inspect", "compress", "test", "evaluate"):
        assert run_step(step, project.release()).code == 0, step
    with pytest.raises(EnvironmentLacks, match="GPU"):
        run_step("benchmark", project.release())


def pull_request(project: GateProject) -> Candidate:
    return Candidate(
        read_contract(project.root / "gradatim.yml"), Runner(fork=False, pull=True), "production"
    )


def test_a_pull_request_of_a_model_for_a_gpu_passes_with_its_timings_waiting_and_a_release_does_not(
    project: GateProject,
) -> None:
    project.contract(
        "accuracy: {at_least: 50%}\nlatency_p50: {at_most: 20 ms}\nlatency_floor: {not_slower_than: baseline, by: 3%}"
    )
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text().replace("path: model.onnx", "path: model.onnx, device: cuda"))
    path.write_text(path.read_text() + "evaluate: {runner: gpu}\nrunners: {gpu: [self-hosted, gpu]}\n")
    path.write_text(path.read_text().replace("test: {", "test: {pytest: test_mine.py, runner: gpu, "))
    (project.root / "test_mine.py").write_text("def test_mine(model):\n    assert model.device == 'cpu'\n")
    for step in ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate"):
        done = run_step(step, pull_request(project))
        assert done.code == 0, done.summary
    waiting = {gate.gate: gate for gate in done.statement.gates if gate.verdict is Verdict.INCONCLUSIVE}
    assert waiting.keys() == {"latency_p50", "latency_floor", "latency_mean", "latency_p95"}
    assert "waits for a GPU" in waiting["latency_p50"].text
    assert "it waits for a GPU" in (project.root / ".gradatim/summary.md").read_text(), (
        "whoever reviews sees it"
    )
    judged = run_step("gate", project.release())
    assert judged.code != 0, "what waits is no evidence for a release"
    with pytest.raises(EnvironmentLacks, match="GPU"):
        run_step("benchmark", project.release())


def test_a_step_with_a_runner_of_its_own_asks_for_the_device(project: GateProject) -> None:
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "evaluate: {runner: gpu}\nrunners: {gpu: [self-hosted, gpu]}\n")
    for step in ("build", "inspect", "compress", "test"):
        assert run_step(step, project.release()).code == 0, step
    with pytest.raises(EnvironmentLacks, match="GPU"):
        run_step("evaluate", project.release())
