"""PyTorch models are written as ONNX, shown to answer as before, and then made smaller like any other."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from registry_examples import new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.compression.halving import halve
from gradatim.compression.parity import check_parity
from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Compressed
from gradatim.evidence.trial import Trial
from gradatim.models import export_model, open_model
from gradatim.pipeline.step import run_step

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

NETWORK = '''
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.Linear(1024, 10)

    def forward(self, image):
        return {"scores": self.last(torch.relu(self.first(image)).flatten(1))}


class OnlyScores(Network):
    def forward(self, image):
        return super().forward(image)["scores"]


class FourRows(Network):
    """What it computes depends on how many rows there were when it was traced."""

    def forward(self, image):
        return {"scores": self.last(torch.relu(self.first(image)).flatten(1)) * float(len(image))}


def make():
    torch.manual_seed(0)
    return Network()


def four():
    return FourRows()
'''


def network(name: str = "Network") -> Any:
    found: dict[str, Any] = {}
    exec(NETWORK, found)  # noqa: S102 (it is written above)
    torch.manual_seed(0)
    return found[name]().eval()


def as_script(path: Path) -> dict[str, str]:
    torch.jit.trace(network(), torch.zeros(2, 1, 8, 8), strict=False).save(str(path / "m.pt"))
    return {"path": "m.pt"}


def as_program(path: Path) -> dict[str, str]:
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network("OnlyScores"), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=free)
    torch.export.save(program, path / "m.pt2")
    return {"path": "m.pt2"}


def as_weights(path: Path) -> dict[str, str]:
    from safetensors.torch import save_model

    save_model(network(), path / "m.safetensors")
    return {"path": "m.safetensors", "factory": "net:make"}


def lay_down(root: Path, model: dict[str, str]) -> Path:
    """A project of 40 calibration rows that asks for int8."""
    (root / "net.py").write_text(NETWORK)
    rows = np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)
    np.savez(root / "rows.npz", image=rows)
    contract = {
        "model": {"name": "m", **model},
        "data": {"calibration": "rows.npz"},
        "compress": {"keep": {"fidelity": "95%"}, "methods": ["int8-static"]},
    }
    (root / "gradatim.yml").write_text(yaml.safe_dump(contract))
    return root / "gradatim.yml"


def compressed(contract: Path) -> tuple[Candidate, Compressed, dict[str, Trial]]:
    candidate = Candidate(read_contract(contract), Laptop())
    found = Compressed.of(run_step("compress", candidate).statement)
    return candidate, found, {trial.name: trial for trial in found.trials or ()}


def test_weights_and_their_network_become_a_smaller_onnx_that_answers_alike(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    candidate, found, trials = compressed(lay_down(root, as_weights(root)))
    assert trials["onnx"].quality["parity"] < 1e-5
    assert found.variants[0].name == "int8-static"
    assert trials["int8-static"].size_ratio is not None
    assert trials["int8-static"].size_ratio < 0.4
    form, original = candidate.anew(same_registry=True).forms.all
    assert form.path.suffix == ".onnx"
    rows = np.random.default_rng(1).normal(size=(9, 1, 8, 8)).astype(np.float32)
    with candidate.model.open(original.path) as before, candidate.model.open(form.path) as after:
        wanted, given = before({"image": rows}), after({"image": rows})
    assert list(given) == list(wanted) == ["scores"]
    assert np.abs(wanted["scores"] - given["scores"]).max() < 0.2


ENCODER = """
import torch


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.body = torch.nn.TransformerEncoder(layer, 1)

    def forward(self, tokens):
        return {"vector": self.body(tokens).mean(1)}
"""


def test_pytorch_s_own_transformer_is_written_as_onnx(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    (tmp_path / "encoder.py").write_text(ENCODER)
    made: dict[str, Any] = {}
    exec(ENCODER, made)  # noqa: S102 (it is written above)
    save_model(made["Encoder"](), tmp_path / "m.safetensors")
    rows = np.random.default_rng(1).normal(size=(4, 6, 16)).astype(np.float32)
    with open_model(tmp_path / "m.safetensors", root=tmp_path, factory="encoder:Encoder") as before:
        export_model(before, tmp_path / "m.safetensors", {"tokens": rows}, tmp_path / "m.onnx")
        with open_model(tmp_path / "m.onnx", root=tmp_path) as after:
            for few in (rows, rows[:1]):
                given = {"tokens": few}
                np.testing.assert_allclose(after(given)["vector"], before(given)["vector"], atol=1e-4)


def _members(archive: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(archive) as opened:
        yield from (opened.read(name) for name in opened.namelist())


@pytest.mark.parametrize("made", [as_program, as_weights])
def test_a_program_in_bf16_takes_and_gives_what_the_model_does(
    tmp_path: Path, made: Callable[[Path], dict[str, str]]
) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    said = made(tmp_path)
    given: dict[str, Any] = {"root": tmp_path, "factory": said.get("factory")}
    rows = np.random.default_rng(1).normal(size=(9, 1, 8, 8)).astype(np.float32)
    with open_model(tmp_path / said["path"], **given) as before:
        wanted = before({"image": rows})
        halve(before, {"image": rows[:4]}, tmp_path / "half.pt2")
    assert rows[:4].tobytes() not in b"".join(_members(tmp_path / "half.pt2"))
    with open_model(tmp_path / "half.pt2", root=tmp_path) as after:
        assert {weight.dtype for weight in after.module.state_dict().values()} == {torch.bfloat16}
        for count in (9, 1):
            for name, array in after({"image": rows[:count]}).items():
                assert array.dtype == wanted[name].dtype
                np.testing.assert_allclose(array, wanted[name][:count], atol=0.02)


def test_bf16_is_a_form_that_is_measured_beside_the_model_as_it_was_given(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    contract = lay_down(root, as_weights(root))
    contract.write_text(contract.read_text().replace("int8-static", "bf16"))
    _, _, trials = compressed(contract)
    assert [*trials] == ["bf16"]
    assert trials["bf16"].quality["fidelity"] > 0.999
    assert trials["bf16"].latency_ratio is not None


@pytest.mark.parametrize("made", [as_script, as_program])
def test_a_saved_program_is_exported_with_its_names_and_its_free_sizes(
    tmp_path: Path, made: Callable[[Path], dict[str, str]]
) -> None:
    path = tmp_path / made(tmp_path)["path"]
    rows = np.random.default_rng(1).normal(size=(5, 1, 8, 8)).astype(np.float32)
    with open_model(path, root=tmp_path) as before:
        export_model(before, path, {"image": rows}, tmp_path / "m.onnx")
        with open_model(tmp_path / "m.onnx", root=tmp_path) as after:
            assert check_parity(before, after, [{"image": rows}, {"image": rows[:3]}]) < 1e-5
            assert after.signature.inputs[0].shape is not None
            assert after.signature.inputs[0].shape[0] == "batch"


def test_an_export_that_fixed_what_was_free_is_refused(tmp_path: Path) -> None:
    root, rows = tmp_path, np.random.default_rng(1).normal(size=(4, 1, 8, 8)).astype(np.float32)
    (tmp_path / "net.py").write_text(NETWORK)
    as_weights(tmp_path)
    with open_model(tmp_path / "m.safetensors", root=root, factory="net:four") as before:
        export_model(before, tmp_path / "m.safetensors", {"image": rows}, tmp_path / "m.onnx")
        with (
            open_model(tmp_path / "m.onnx", root=root) as after,
            pytest.raises(InvalidInput, match="answers otherwise"),
        ):
            check_parity(before, after, [{"image": rows}])


def test_what_is_not_finite_must_be_so_in_the_same_way() -> None:
    def giving(*values: float) -> Any:
        return lambda inputs: {"scores": np.array([values], np.float32)}

    inputs = [{"x": np.zeros((1, 1))}]
    whole = giving(-np.inf, np.nan, 1.0)
    assert check_parity(whole, giving(-np.inf, np.nan, 1.0), inputs) == 0
    for other in (
        (np.nan, np.nan, 1.0),
        (np.inf, np.nan, 1.0),
        (-np.inf, np.nan, np.nan),
        (-np.inf, 0.0, 1.0),
    ):
        with pytest.raises(InvalidInput, match="finite"):
            check_parity(whole, giving(*other), inputs)
