"""A model larger than one message is stored in fewer bits tensor by tensor, and answers as the small ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradatim.compression import graph
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.search import compress
from gradatim.compression.streaming import stream
from gradatim.errors import InvalidInput
from gradatim.models import open_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

ROWS = np.random.default_rng(1).integers(0, 500, (64, 6))


def kept_outside(path: Path, *, outside: bool = True) -> Path:
    """A table, a product of a depth that is no multiple of 32, a Gemm with turned weights and a bias; weights beside the graph."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    shapes = {"table": (500, 75), "w": (75, 200), "turned": (40, 1200), "b": (40,)}
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["found"]),
        helper.make_node("MatMul", ["found", "w"], ["wide"]),
        helper.make_node("Tanh", ["wide"], ["bent"]),
        helper.make_node("Flatten", ["bent"], ["flat"]),
        helper.make_node("Gemm", ["flat", "turned", "b"], ["scores"], transB=1),
    ]
    constants = [
        numpy_helper.from_array((draw.normal(size=shape) / shape[0] ** 0.3).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    whole = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("words", TensorProto.INT64, ["n", 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 40])], constants,
    )  # fmt: skip
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(
        model, str(path), save_as_external_data=outside, location=f"{path.name}.weights", size_threshold=0
    )
    return path


@pytest.mark.parametrize("unit", [1e-140, 1e-9, 1.0, 1e9])
def test_the_fidelity_of_an_output_does_not_hang_on_its_unit(unit: float) -> None:
    exact = np.random.default_rng(0).normal(size=(50, 3))
    near = exact + np.random.default_rng(1).normal(size=(50, 3)) / 10
    plain, scaled = Fidelity(), Fidelity()
    plain.add({"y": exact}, {"y": near})
    scaled.add({"y": exact * unit}, {"y": near * unit})
    assert 0.98 < plain.result()["fidelity"] < 0.995
    assert scaled.result()["fidelity"] == pytest.approx(plain.result()["fidelity"])


@pytest.mark.parametrize(("bits", "least", "most"), [(8, 0.999, 0.34), (4, 0.98, 0.26)])
def test_a_model_with_its_weights_outside_is_stored_in_fewer_bits(
    tmp_path: Path, bits: int, least: float, most: float
) -> None:
    model = kept_outside(tmp_path / "m.onnx")
    stream(model, tmp_path / "out" / "m.onnx", bits)
    found = Fidelity()
    with (
        open_model(model, root=tmp_path) as before,
        open_model(tmp_path / "out" / "m.onnx", root=tmp_path) as after,
    ):
        found.add(before({"words": ROWS}), after({"words": ROWS}))
    assert found.result()["fidelity"] > least
    sizes = [
        sum(path.stat().st_size for path in folder.glob("m.onnx*")) for folder in (tmp_path, tmp_path / "out")
    ]
    assert sizes[1] < most * sizes[0]


def test_weights_inside_the_graph_are_no_work_for_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="outside of its graph"):
        stream(kept_outside(tmp_path / "m.onnx", outside=False), tmp_path / "out.onnx", 8)


def test_the_search_takes_that_way_where_a_model_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = kept_outside(tmp_path / "m.onnx")
    assert not graph.is_large(model)
    monkeypatch.setattr(graph, "EXTERNAL_ABOVE", 1000)
    assert graph.is_large(model)
    with pytest.raises(InvalidInput, match="tensor by tensor"):
        graph.prepare(model)


def test_the_weights_beside_a_graph_are_part_of_a_form(tmp_path: Path) -> None:
    model = kept_outside(tmp_path / "m.onnx")
    found = compress(
        model, tmp_path / "out", calibration=lambda: iter([{"words": ROWS}]), keep={"fidelity": 0.99},
        methods=["int8-weights"], slowest=9,
    )  # fmt: skip
    assert found.chosen, found.reason
    assert found.best.size_ratio is not None
    assert found.best.size_ratio < 0.35
