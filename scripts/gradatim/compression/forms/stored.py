"""Weights stored in fewer bits and unpacked when the model is opened: a small file, as fast as before.

They are unpacked by Cast and Mul, which the runtime folds into a constant. (DequantizeLinear is not folded, and was
20-40 % slower.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def in_8_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In int8, with a scale a channel."""
    correct_biases(model, nodes, calibration)
    return _stored(model, nodes, whole_numbers=True)


def in_16_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In half precision."""
    return _stored(model, nodes, whole_numbers=False)


def eight(weight: NDArray[np.float32], axis: int, bits: int = 8) -> NDArray[np.float32]:
    packed, scale = per_channel(weight, axis, bits)
    return packed * scale


def sixteen(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return weight.astype(np.float16).astype(np.float32)


def per_channel(
    weight: NDArray[np.float32], axis: int, bits: int = 8
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one float32 scale for each index of ``axis``, shaped to multiply back."""
    most = 127 if bits == 8 else 64
    others = tuple(index for index in range(weight.ndim) if index != axis % weight.ndim)
    highest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(highest > 0, highest / most, 1).astype(np.float32)
    return np.clip(np.rint(weight / scale), -most, most).astype(np.int8), scale


def correct_biases(model: ModelProto, nodes: set[str], calibration: Calibrated) -> None:
    """Take from the biases of convolutions what rounding their weights adds to them on average [1]_.

    .. [1] Nagel et al. (2019), Data-free quantization through weight equalization and bias correction, section 4.2; here
       with the inputs' means as calibration data have them.
    """
    from onnx import numpy_helper

    constants = graph.weights(model.graph)
    for node in model.graph.node:
        if node.name not in nodes or node.op_type != "Conv" or not graph.held(node, constants):
            continue
        seen = calibration.seen.get(node.input[0])
        weight = numpy_helper.to_array(constants[node.input[1]])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if seen is None or seen.means.size != weight.shape[1] * groups:
            continue
        error = eight(weight, 0, calibration.weight_bits) - weight
        summed = error.reshape(groups, len(weight) // groups, weight.shape[1], -1).sum(axis=3)
        added = np.einsum("gmc,gc->gm", summed, seen.means.reshape(groups, -1)).reshape(-1)
        bias = (
            numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.zeros(len(weight))
        )
        _set_bias(model, node, (bias - added).astype(np.float32))


def _set_bias(model: ModelProto, node: NodeProto, bias: NDArray[np.float32]) -> None:
    from onnx import numpy_helper

    name = f"{node.name}.corrected"
    model.graph.initializer.append(numpy_helper.from_array(bias, name))
    if len(node.input) > 2:
        node.input[2] = name
    else:
        node.input.append(name)


def _stored(model: ModelProto, nodes: set[str], *, whole_numbers: bool) -> ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    inner, constants = model.graph, graph.weights(model.graph)
    unpacking: list[Any] = []
    stored: set[str] = set()
    for node in graph.all_nodes(model):
        places = graph.held(node, constants) if node.name in nodes else {}
        for position, axis in places.items():
            weight = constants[node.input[position]]
            if weight.name in stored:
                continue
            name, whole = weight.name, numpy_helper.to_array(weight)
            numbers, scale = per_channel(whole, axis) if whole_numbers else (whole.astype(np.float16), None)
            inner.initializer.append(numpy_helper.from_array(numbers, f"{name}.packed"))
            inner.initializer.remove(weight)
            plain = name if scale is None else f"{name}.float"
            unpacking.append(
                helper.make_node(
                    "Cast", [f"{name}.packed"], [plain], name=f"{name}.cast", to=TensorProto.FLOAT
                )
            )
            if scale is not None:
                inner.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
                unpacking.append(
                    helper.make_node("Mul", [plain, f"{name}.scale"], [name], name=f"{name}.unpack")
                )
            stored.add(name)
    graph.replace_nodes(inner, [*unpacking, *inner.node])
    return model
