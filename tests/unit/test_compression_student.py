"""A network of the user's own learns to answer as the model does, by our distillation or by the team's own training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from registry_examples import new_repository
from test_compression_pytorch import compressed
from test_compression_strangers import written

from gradatim.compression.distilling import distil
from gradatim.compression.schooling import student_of, train_by
from gradatim.compression.search import compress
from gradatim.contract.compress import Compress
from gradatim.errors import InvalidInput
from gradatim.evidence.trial import Trial
from gradatim.models import open_model
from gradatim.timing.contestant import load_inputs, save_inputs

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

OWN = """
import numpy as np
import torch


class Small(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.last = torch.nn.Linear(64, width)

    def forward(self, x):
        return self.last(x)


def wide():
    return Small(9)


def no_network():
    return "a network"


def fitted(network, original, batches):
    rows = np.concatenate([batch["x"] for batch in batches])
    weights = np.linalg.lstsq(rows, original({"x": rows})["y"], rcond=None)[0]
    with torch.no_grad():
        network.last.weight.copy_(torch.as_tensor(weights.T))
        network.last.bias.zero_()


def broken(network, original, batches):
    raise ValueError("no rows of ours")
"""


def two_products(folder: Path) -> Path:
    """A model of two matrices, of which one would do; and the code of a team."""
    from onnx import helper

    draw = np.random.default_rng(0)
    (folder / "own.py").write_text(OWN)
    sizes = {"wide": (64, 256), "narrow": (256, 8)}
    constants = {name: (draw.normal(size=size) / 16).astype(np.float32) for name, size in sizes.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "wide"], ["h"]),
        helper.make_node("MatMul", ["h", "narrow"], ["y"]),
    ]
    return written(folder / "m.onnx", nodes, ("x", ["n", 64]), ("y", ["n", 8]), constants)


def searched(folder: Path, **own: str) -> Mapping[str, Trial]:
    rows = np.random.default_rng(1).normal(size=(5, 32, 64)).astype(np.float32)
    found = compress(
        two_products(folder), folder / "out", calibration=lambda: iter([{"x": each} for each in rows[:4]]),
        judging=lambda: iter([{"x": rows[4]}]), methods=["int8-weights"], root=folder, slowest=5, **own,
    )  # fmt: skip
    return {trial.name: trial for trial in found.trials}


def test_a_student_learns_from_a_model_in_onnx(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    learned = [save_inputs(tmp_path / "rows.npz", {"x": rows})]
    with open_model(two_products(tmp_path), root=tmp_path) as original:
        student = student_of("own:Small", tmp_path, original, {"x": rows[:4]}, seed=0)
        distil(original, student, learned, seed=0, seconds=5)
        wanted, given = original({"x": rows})["y"], student({"x": rows})["y"]
    assert ((given - wanted) ** 2).mean() < 0.02 * wanted.var()


@pytest.mark.slow
def test_the_methods_go_on_from_what_a_student_learnt(tmp_path: Path) -> None:
    trials = searched(tmp_path, student="own:Small")
    assert trials["student"].accepted, trials["student"].reason
    assert trials["student"].quality["fidelity"] > 0.95
    assert (trials["student"].size_ratio or 1) < 0.1
    assert "student-int8-weights" in trials


def test_the_team_s_own_training_takes_the_place_of_ours(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    two_products(root)
    np.savez(root / "rows.npz", x=np.random.default_rng(1).normal(size=(160, 64)).astype(np.float32))
    asked = {"methods": ["int8-weights"], "student": "own:Small", "train": "own:fitted"}
    contract = {
        "model": {"name": "m", "path": "m.onnx"},
        "data": {"calibration": "rows.npz"},
        "compress": asked,
    }
    (root / "gradatim.yml").write_text(yaml.safe_dump(contract))
    _, _, trials = compressed(root / "gradatim.yml")
    assert trials["student"].quality["fidelity"] > 0.99999
    assert trials["student"].recipe["train"] == "own:fitted"
    assert "student-int8-weights" in trials


def test_what_fails_in_the_team_s_code_is_a_reason_with_its_line(tmp_path: Path) -> None:
    learned = [save_inputs(tmp_path / "rows.npz", {"x": np.zeros((4, 64), np.float32)})]
    with open_model(two_products(tmp_path), root=tmp_path) as original:
        student = student_of("own:Small", tmp_path, original, load_inputs(learned[0]), seed=0)
        with pytest.raises(
            InvalidInput, match=r"(?s)own\.py:32.*no rows of ours|no rows of ours.*own\.py:32"
        ):
            train_by("own:broken", tmp_path, student, original, learned)


@pytest.mark.parametrize(
    ("student", "why"),
    [
        ("no_network", "must give a torch.nn.Module; it gave str"),
        ("wide", r"\(4, 9\); the model's is \(4, 8\)"),
    ],
)
def test_a_student_that_cannot_take_the_model_s_place_is_refused(
    tmp_path: Path, student: str, why: str
) -> None:
    rows: dict[str, Any] = {"x": np.zeros((4, 64), np.float32)}
    with (
        open_model(two_products(tmp_path), root=tmp_path) as original,
        pytest.raises(InvalidInput, match=why),
    ):
        student_of(f"own:{student}", tmp_path, original, rows, seed=0)


def test_a_training_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValidationError, match="neither is asked for"):
        Compress(train="own:fitted")
