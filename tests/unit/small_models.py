"""Small real models for the tests of compression and timing: trained on scikit-learn's digits, written as ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def digits() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any], NDArray[Any]]:
    """Training and test images [n, 1, 8, 8] in 0..1, and their labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    images = (found.images / 16).astype(np.float32)[:, None]
    return tuple(train_test_split(images, found.target, test_size=500, random_state=0))


def batches(
    images: NDArray[np.float32], size: int = 32, most: int = 4
) -> Iterator[dict[str, NDArray[np.float32]]]:
    for start in range(0, min(len(images), size * most), size):
        yield {"image": images[start : start + size]}


def write_cnn(path: Path, *, outlier: float = 0.0) -> Path:
    """Two convolutions (fixed filters) and two dense layers trained on what they see.

    With an ``outlier`` one of the 32 channels is that constant, and the next layer passes over it: the function
    of the other 31, with activations that one range for the whole tensor cannot hold.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession
    from sklearn.linear_model import RidgeClassifier

    images, _, labels, _ = digits()
    draw = np.random.default_rng(0)
    weights = {
        "k1": draw.normal(size=(32, 1, 3, 3)) / 3,
        "k2": draw.normal(size=(64, 32, 3, 3)) / 17,
    }
    weights["bias"] = np.zeros(32)
    if outlier:
        weights["k1"][0] = weights["k2"][:, 0] = 0
        weights["bias"][0] = outlier
    body = [
        helper.make_node("Conv", ["image", "k1", "bias"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], name="c2", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Flatten", ["r2"], ["flat"]),
    ]

    def model(nodes: list[Any], output: str) -> Any:
        constants = [
            numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()
        ]
        given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])
        found = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", None])
        graph = helper.make_graph(nodes, "digits", [given], [found], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    session = InferenceSession(model(body, "flat").SerializeToString(), providers=["CPUExecutionProvider"])
    seen = session.run(None, {"image": images})[0]
    weights["mix"] = draw.normal(size=(seen.shape[1], 64)) / np.sqrt(seen.shape[1])
    dense = RidgeClassifier(alpha=1.0).fit(np.maximum(seen @ weights["mix"].astype(np.float32), 0), labels)
    weights |= {"w": dense.coef_.T, "b": dense.intercept_}
    head = [
        helper.make_node("MatMul", ["flat", "mix"], ["m"], name="mix"),
        helper.make_node("Relu", ["m"], ["r3"]),
        helper.make_node("Gemm", ["r3", "w", "b"], ["scores"], name="head"),
    ]
    onnx.save(model(body + head, "scores"), str(path))
    return path


def write_mlp(path: Path, width: int, layers: int = 4) -> Path:
    """Dense layers of a given width on 64 inputs: a load whose seconds the width sets."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    nodes, constants, size, last = [], [], 64, "x"
    for index in range(layers):
        weight = (draw.normal(size=(size, width)) / np.sqrt(size)).astype(np.float32)
        constants.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [f"m{index}"], name=f"m{index}"))
        nodes.append(helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"r{index}"))
        size, last = width, f"r{index}"
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    found = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(nodes, "mlp", [given], [found], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def write_linear(path: Path, weights: NDArray[np.float64]) -> Path:
    """Scores of so many classes from so many numbers, by these weights alone."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node("MatMul", ["x", "w"], ["scores"])
    rows, classes = weights.shape
    graph = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", rows])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
