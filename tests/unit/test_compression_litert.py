"""A PyTorch model becomes a .tflite that LiteRT's own runtime judges; needs litert-torch, which CI does not install."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from registry_examples import new_repository
from test_compression_pytorch import NETWORK, as_script, as_weights, compressed, lay_down

from gradatim.errors import EnvironmentLacks
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
