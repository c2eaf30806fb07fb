"""Where a model runs: on its device where it is timed, on the processor where it is judged, unless a runner is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down

from gradatim.errors import EnvironmentLacks
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


def test_a_step_with_a_runner_of_its_own_asks_for_the_device(project: GateProject) -> None:
    path = project.root / "gradatim.yml"
    path.write_text(path.read_text() + "evaluate: {runner: gpu}\nrunners: {gpu: [self-hosted, gpu]}\n")
    for step in ("build", "inspect", "compress", "test"):
        assert run_step(step, project.release()).code == 0, step
    with pytest.raises(EnvironmentLacks, match="GPU"):
        run_step("evaluate", project.release())
