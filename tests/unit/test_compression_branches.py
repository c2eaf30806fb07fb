"""What lies in the branches of a graph is made smaller, too, as far as it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_compression_strangers import written

from gradatim.compression import graph
from gradatim.compression.batches import write_batches
from gradatim.compression.calibration import Calibrated
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.quantise import quantise
from gradatim.compression.recipe import Recipe
from gradatim.compression.sensitivity import sensitivities
from gradatim.errors import InvalidInput
from gradatim.models import open_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

DRAW = np.random.default_rng(0)


def floats(*shape: int, scale: float = 0.1) -> Any:
    return (DRAW.normal(size=shape) * scale).astype(np.float32)


def recurrent_in_branches(path: Path) -> Path:
    """One recurrent layer, which either branch of an If makes for itself from the same weights, as in silero-vad."""
    from onnx import TensorProto, helper

    def branch(name: str, last: str) -> Any:
        nodes = [
            helper.make_node("Unsqueeze", ["w", "zero"], [f"{name}.w"]),
            helper.make_node("Unsqueeze", ["r", "zero"], [f"{name}.r"]),
            helper.make_node("LSTM", ["x", f"{name}.w", f"{name}.r"], [f"{name}.y"], hidden_size=64),
            helper.make_node(last, [f"{name}.y"], [f"{name}.out"]),
        ]
        found = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [None, 1, None, 64])
        return helper.make_graph(nodes, name, [], [found])

    constants = {"w": floats(256, 32), "r": floats(256, 64), "zero": np.array([0]), "many": np.array(1000)}
    then, other = branch("then", "Neg"), branch("else", "Abs")
    nodes = [
        helper.make_node("Size", ["x"], ["size"]),
        helper.make_node("Less", ["size", "many"], ["few"]),
        helper.make_node("If", ["few"], ["y"], then_branch=then, else_branch=other),
    ]
    return written(path, nodes, ("x", ["s", "n", 32]), ("y", ["s", 1, "n", 64]), constants)


def test_what_branches_share_is_stored_once_and_in_eight_bits(tmp_path: Path) -> None:
    """The runtime's optimiser copies what it folds into each branch, and nothing inside one had a form."""
    model = recurrent_in_branches(tmp_path / "m.onnx")
    either = [{"x": floats(steps, 2, 32, scale=1)} for steps in (4, 40)]
    paths, _ = write_batches(iter(either), tmp_path)
    calibrated = Calibrated(graph.prepare(model), paths, tmp_path / "seen.npz")
    graph.save(quantise(Recipe("int8-weights"), calibrated), tmp_path / "w.onnx")
    assert (tmp_path / "w.onnx").stat().st_size < 0.3 * model.stat().st_size
    with (
        open_model(model, root=tmp_path) as before,
        open_model(tmp_path / "w.onnx", root=tmp_path) as after,
    ):
        for batch in either:
            found = Fidelity()
            found.add(before(batch), after(batch))
            assert 0.999 < found.result()["fidelity"] < 1
    found = sensitivities(calibrated, 60, ["stored16"])
    assert {*found["operators"].values()} == {"LSTM"}
    assert {next(iter(losses)) for losses in found["measured"].values()} == {"stored16"}
    with pytest.raises(InvalidInput, match="no Conv, MatMul or Gemm with constant weights"):
        quantise(Recipe("int8-static"), calibrated)


def test_a_form_of_which_nothing_is_left_says_that_the_changes_took_it_all(tmp_path: Path) -> None:
    from onnx import helper

    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    model = written(tmp_path / "m.onnx", [node], ("x", ["n", 64]), ("y", ["n", 64]), {"w": floats(64, 64)})
    paths, _ = write_batches(iter([{"x": floats(8, 64)}]), tmp_path)
    calibrated = Calibrated(graph.prepare(model), paths, tmp_path / "seen.npz")
    with pytest.raises(InvalidInput, match="with so many changes none"):
        quantise(Recipe("int8-static", fallback=(("only", "blocks8"),)), calibrated)


def used_in_branches(path: Path) -> Path:
    """A convolution and what cuts its numbers off, which only the branches of an If use, as in silero-vad."""
    from onnx import TensorProto, helper

    def branch(name: str, kind: str) -> Any:
        found = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [None, 8, None])
        return helper.make_graph([helper.make_node(kind, ["cut"], [f"{name}.out"])], name, [], [found])

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["whole"], pads=[1, 1]),
        helper.make_node("Relu", ["whole"], ["cut"]),
        helper.make_node("Size", ["x"], ["size"]),
        helper.make_node("Less", ["size", "many"], ["few"]),
        helper.make_node(
            "If", ["few"], ["y"], then_branch=branch("then", "Neg"), else_branch=branch("else", "Identity")
        ),
    ]
    constants = {"w": floats(8, 4, 3), "many": np.array(1000)}
    return written(path, nodes, ("x", ["n", 4, "s"]), ("y", ["n", 8, "s"]), constants)


def test_branches_get_what_was_rounded_and_cut_off_before_them(tmp_path: Path) -> None:
    """The quantiser takes the Relu away, whose work its integers do, and looks for users at the graph's top alone."""
    model = used_in_branches(tmp_path / "m.onnx")
    either = [{"x": floats(2, 4, steps, scale=1)} for steps in (16, 400)]
    paths, _ = write_batches(iter(either), tmp_path)
    calibrated = Calibrated(graph.prepare(model), paths, tmp_path / "seen.npz")
    graph.save(quantise(Recipe("int8-static"), calibrated), tmp_path / "s.onnx")
    with (
        open_model(model, root=tmp_path) as before,
        open_model(tmp_path / "s.onnx", root=tmp_path) as after,
    ):
        for batch in either:
            found = Fidelity()
            found.add(before(batch), after(batch))
            assert 0.995 < found.result()["fidelity"] < 1
