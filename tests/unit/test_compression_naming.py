"""Names inside a small graph become short; what a caller names, and what the graph computes, stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import digits, write_cnn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gradatim.compression import graph  # noqa: E402 (they need both packages)
from gradatim.compression.naming import _spelled, shorten_names  # noqa: E402
from gradatim.models import open_model  # noqa: E402


def long_names(path: Path) -> Path:
    """The CNN as TensorFlow would name its parts, its first input and its output called as one of the short names is."""
    model = onnx.load(str(path))
    ends = {model.graph.input[0].name: "a", model.graph.output[0].name: "b"}
    tensors = {name for node in model.graph.node for name in (*node.input, *node.output)}
    names = {
        name: f"StatefulPartitionedCall/model_1/block/{name};{name}" * 20 for name in tensors if name
    } | ends
    for named in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        named.name = names[named.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names.get(name, "") for name in node.output]
    onnx.save(model, str(path))
    return path


def test_a_graph_with_long_names_is_smaller_and_answers_as_before(tmp_path: Path) -> None:
    path = long_names(write_cnn(tmp_path / "m.onnx"))
    rows = digits()[1][:9]
    with open_model(path, root=tmp_path) as model:
        (before,) = model({"a": rows}).values()
    model = onnx.load(str(path))
    long = model.ByteSize()
    shorten_names(model)
    graph.save(model, tmp_path / "s.onnx")
    assert model.ByteSize() < long - 20_000
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["a", "b"]
    with open_model(tmp_path / "s.onnx", root=tmp_path) as shorter:
        (after,) = shorter({"a": rows}).values()
    assert np.array_equal(before, after)


def test_branches_share_the_names_of_what_lies_outside_of_them(tmp_path: Path) -> None:
    helper, kinds = onnx.helper, onnx.TensorProto

    def value(name: str, kind: int = kinds.FLOAT) -> object:
        return helper.make_tensor_value_info(name, kind, ["n"] if kind == kinds.FLOAT else [])

    branches = {
        f"{which}_branch": helper.make_graph(
            [helper.make_node(kind, ["the/outer/tensor" * 9, "the/weight" * 9], [f"inner/{which}" * 9])], which, [], [value(f"inner/{which}" * 9)]
        )
        for which, kind in (("then", "Add"), ("else", "Mul"))
    }  # fmt: skip
    nodes = [
        helper.make_node("Neg", ["x"], ["the/outer/tensor" * 9]),
        helper.make_node("If", ["choose"], ["y"], **branches),
    ]
    weight = onnx.numpy_helper.from_array(np.float32([3]), "the/weight" * 9)
    made = helper.make_graph(nodes, "g", [value("x"), value("choose", kinds.BOOL)], [value("y")], [weight])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    shorten_names(model)
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert model.ByteSize() < 400
    with open_model(tmp_path / "m.onnx", root=tmp_path) as opened:
        for choose, wanted in ((True, 1), (False, -6)):
            (found,) = opened({"x": np.float32([2]), "choose": np.array(choose)}).values()
            assert found.tolist() == [wanted]


def test_a_model_whose_names_are_little_of_it_keeps_them(tmp_path: Path) -> None:
    model = onnx.load(str(write_cnn(tmp_path / "m.onnx")))
    before = model.SerializeToString()
    shorten_names(model)
    assert model.SerializeToString() == before


def test_no_two_short_names_are_alike() -> None:
    names = [_spelled(number) for number in range(40_000)]
    assert len(set(names)) == len(names)
    assert all(name[0].isalpha() and len(name) <= 4 for name in names)
