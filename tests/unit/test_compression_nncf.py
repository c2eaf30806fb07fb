"""NNCF as one recipe of the search; needs nncf, which CI does not install."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from test_compression_strangers import depthwise

from gradatim.compression.search import compress
from gradatim.errors import EnvironmentLacks
from gradatim.evidence.trial import Trial

pytest.importorskip("onnxruntime")

HERE = find_spec("nncf") is not None


def tried(folder: Path, least: float) -> Trial:
    rows = np.random.default_rng(7).normal(size=(8, 8, 3, 32, 32)).astype(np.float32)
    found = compress(
        folder / "m.onnx", folder / f"out-{least}", calibration=lambda: iter([{"x": each} for each in rows]), methods=["nncf"],
        keep={"fidelity": least}, slowest=99,
    )  # fmt: skip
    return found.trials[0]


@pytest.mark.skipif(not HERE, reason="needs nncf")
def test_what_nncf_makes_is_judged_like_ours_and_its_accuracy_control_comes_in_where_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_compression_strangers.DRAW", np.random.default_rng(7))
    depthwise(tmp_path / "m.onnx")
    plain = tried(tmp_path, 0.9)
    assert plain.accepted, plain.reason
    controlled = tried(tmp_path, 0.985)
    assert controlled.accepted, controlled.reason
    assert plain.quality["fidelity"] < 0.985 <= controlled.quality["fidelity"]
    assert (plain.size or 0) < (controlled.size or 0)


@pytest.mark.skipif(HERE, reason="nncf is installed")
def test_a_missing_nncf_is_named_with_its_extra(tmp_path: Path) -> None:
    depthwise(tmp_path / "m.onnx")
    with pytest.raises(EnvironmentLacks, match=r"\[nncf\]"):
        tried(tmp_path, 0.9)
