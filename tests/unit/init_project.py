"""Models, data and commands for the tests of `gradatim init`."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.projects.init import write
from gradatim.projects.proposal import Proposal
from gradatim.projects.text import render


def model_file(path: Path, inputs, outputs) -> Path:
    """An ONNX model with these inputs and outputs, (name, dtype, shape) each; its answers are ones, of the right shapes."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    dtypes = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}

    def values(specs):
        return [helper.make_tensor_value_info(name, dtypes[dtype], shape) for name, dtype, shape in specs]

    first = inputs[0][0]
    nodes = [
        helper.make_node("Shape", [first], ["shape of it"]),
        helper.make_node("Gather", ["shape of it", "zero"], ["rows"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.INT64, [1], [0])]
    for name, dtype, shape in outputs:
        parts = []
        for axis, size in enumerate(shape):
            if size in (None, "batch", "n"):
                parts.append("rows")
                continue
            parts.append(f"{name} {axis}")
            constants.append(
                helper.make_tensor(parts[-1], TensorProto.INT64, [1], [size if isinstance(size, int) else 3])
            )
        one = helper.make_tensor(f"{name} one", dtypes[dtype], [1], [1])
        nodes.append(helper.make_node("Concat", parts, [f"{name} shape"], axis=0))
        nodes.append(helper.make_node("ConstantOfShape", [f"{name} shape"], [name], value=one))
    graph = helper.make_graph(nodes, "made", values(inputs), values(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def graph_file(path: Path, inputs, outputs, nodes, weights) -> Path:
    """An ONNX model of these nodes, (kind, inputs, outputs) each, attributes by name behind them where there are any."""
    pytest.importorskip("onnx")
    from projects.graphs import node, write_graph

    path.parent.mkdir(parents=True, exist_ok=True)
    write_graph(path, inputs, outputs, [node(*each[:3], **dict(*each[3:])) for each in nodes], weights)
    return path


def linear_model(path: Path, images, labels, output: str = "logits") -> Path:
    """A linear classifier of images [n, 1, 8, 8], trained on these."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=300).fit(images.reshape(len(images), -1), labels)
    weights = {"w": fitted.coef_.T.astype(np.float32), "b": fitted.intercept_.astype(np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w", "b"], [output]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *images.shape[1:]])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", len(fitted.classes_)])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def table(path: Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def contract_of(proposal: Proposal):
    return read_contract(write(proposal))


def invoke(folder: Path, *arguments: str):
    """The command line, in a folder; what it refuses stands in ``exception``."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(cli, [*arguments], standalone_mode=False)
    finally:
        os.chdir(before)


def knowing(path: Path, name: str, dtype: str, width: int, output: str, classes: int, shift: int = 0) -> Path:
    """An ONNX model that reads its answer off the first number of a row: [b, width] to scores [b, classes]."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64}
    constants = {
        "first": np.array([0]), "depth": np.array(classes), "off and on": np.array([0, 1], np.float32),
        "shift": np.array([shift]), "classes": np.array([classes]), "minus one": np.array([-1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", [name, "first"], ["number"], axis=1),
        helper.make_node("Cast", ["number"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "shift"], ["shifted"]),
        helper.make_node("Mod", ["shifted", "classes"], ["class"]),
        helper.make_node("Reshape", ["class", "minus one"], ["flat"]),
        helper.make_node("OneHot", ["flat", "depth", "off and on"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "knowing",
        [helper.make_tensor_value_info(name, kinds[dtype], ["b", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["b", classes])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def questions(proposal: Proposal) -> list[str]:
    return [line for line in render(proposal).splitlines() if line.startswith("# ?")]
