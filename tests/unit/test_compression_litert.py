"""A PyTorch model becomes a .tflite that LiteRT's own runtime judges; needs litert-torch, which CI does not install."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from registry_examples import new_repository
from test_compression_pytorch import NETWORK, as_script, as_weights, compressed, lay_down

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import EnvironmentLacks
from gradatim.files import template_folder
from gradatim.models import open_model
from gradatim.models.litert_export import export_litert

HERE = find_spec("litert_torch") is not None
installed = pytest.mark.skipif(not HERE, reason="needs litert-torch")


def asked(root: Path, model: dict[str, str]) -> Path:
    contract = lay_down(root, model)
    contract.write_text(contract.read_text().replace("- int8-static", "- litert\n  - litert-int8"))
    return contract


@installed
def test_a_network_becomes_a_tflite_in_floats_and_in_int8(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    candidate, found, trials = compressed(asked(root, as_weights(root)))
    assert trials["litert"].quality["parity"] < 1e-5
    assert trials["litert-int8"].quality["fidelity"] > 0.99
    assert (trials["litert-int8"].size_ratio or 1) < 0.4
    assert found.variants[0].name.startswith("litert")
    form = candidate.anew(same_registry=True).forms.all[0]
    assert form.path.suffix == ".tflite"
    rows = np.random.default_rng(1).normal(size=(3, 1, 8, 8)).astype(np.float32)
    with candidate.model.open(form.path) as after:
        assert after({"image": rows})["scores"].shape == (3, 10)


@installed
def test_torchscript_cannot_be_converted_and_says_what_can(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    _, found, trials = compressed(asked(root, as_script(root)))
    assert ".pt2" in trials["litert"].reason
    assert [form.name for form in found.variants] == ["original"]


DIGITS = """
from torch import nn


class Digits(nn.Sequential):
    def __init__(self):
        filters = [nn.Conv2d(before, after, 3, padding=1) for before, after in ((1, 32), (32, 64), (64, 64))]
        super().__init__(
            filters[0], nn.ReLU(), filters[1], nn.ReLU(), nn.MaxPool2d(2), filters[2], nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, 10),
        )

    def forward(self, image):
        return {"logits": super().forward(image)}
"""
JUDGED = """\
model: {name: digits, path: digits.safetensors, factory: "net:Digits"}
data: {evaluation: data/test.npz, calibration: data/calibration.npz}
task: {type: classification, labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
compress: {keep: {accuracy: 99%}, methods: [METHOD]}
gates: {accuracy: {at_least: 94%}, size: {at_most: 300 kB}}
stages: {production: {branch: main}}
"""


@installed
@pytest.mark.slow
@pytest.mark.parametrize(("method", "share"), [("litert", 1.05), ("litert-int8", 0.3)])
def test_the_digits_become_a_tflite_whose_gates_its_own_runtime_judges(
    tmp_path: Path, method: str, share: float
) -> None:
    import torch
    from safetensors.torch import save_file

    root, demo = new_repository(tmp_path / "m"), template_folder("projects") / "digits"
    shutil.copytree(demo / "data", root / "data")
    with np.load(demo / "weights" / "digits.npz") as kept:
        weights = {name: torch.tensor(kept[name]).float() for name in kept.files if name != "layers"}
    save_file(weights, root / "digits.safetensors")
    (root / "net.py").write_text(DIGITS)
    (root / "gradatim.yml").write_text(JUDGED.replace("METHOD", method))
    command = [sys.executable, "-m", "gradatim", "run", "--until", "gate", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["gates"] == ["PASS", "PASS"], done.stderr
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    form, original = candidate.forms.all
    assert (form.name, form.path.name) == (method, "digits.tflite")
    assert form.manifest.size < share * original.manifest.size
    judged = candidate.workspace.statement("gate")
    assert judged is not None
    assert {gate.variant for gate in judged.gates} == {method}


@pytest.mark.skipif(HERE, reason="litert-torch is installed")
def test_a_missing_converter_is_named(tmp_path: Path) -> None:
    as_weights(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    rows = np.zeros((2, 1, 8, 8), np.float32)
    with (
        open_model(tmp_path / "m.safetensors", root=tmp_path, factory="net:make") as model,
        pytest.raises(EnvironmentLacks, match="litert-convert"),
    ):
        export_litert(model, [{"image": rows}], tmp_path / "m.tflite", "float")
