"""Take the mean error at the outputs back by the last biases: rounding on the way pushes all answers to one side.

An error of the mean at earlier nodes need not be corrected where it arises: what of it reaches the last node is in the mean
there, and on depthwise nets correcting each node in turn gave nothing more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_FEWEST = 8  # rows: the mean of fewer says more about them than about the model


def centre(model: ModelProto, original: ModelProto, batches: Sequence[Path]) -> None:
    """Shift the integer biases of the last convolutions and Gemms, so that their means are the original's.

    Args:
        model: the quantised one; its nodes are called as the original's are.
        batches: calibration batches as .npz, read one at a time.
    """
    from onnx import numpy_helper

    makers = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    wanted = {node.name: node.output[0] for node in _last(original)}
    places: dict[str, tuple[Any, NDArray[Any]]] = {}
    for node in model.graph.node:
        bias = makers.get(node.input[2]) if node.name in wanted and len(node.input) > 2 else None
        if bias is not None and bias.op_type == "DequantizeLinear" and bias.input[0] in constants:
            places[node.name] = constants[bias.input[0]], numpy_helper.to_array(constants[bias.input[1]])
    now = {node.name: node.output[0] for node in model.graph.node if node.name in places}
    if not places:
        return
    rows, before = _means(original, [wanted[name] for name in now], batches)
    if rows < _FEWEST:
        return
    _, after = _means(model, list(now.values()), batches)
    for name, high, low in zip(now, before, after, strict=True):
        bias, scale = places[name]
        shifted = numpy_helper.to_array(bias) + np.rint((high - low) / scale)
        bias.CopyFrom(numpy_helper.from_array(shifted.astype(np.int32), bias.name))


def _last(model: ModelProto) -> Iterator[NodeProto]:
    """Convolutions and Gemms behind which no other node has weights."""
    constants = graph.weights(model.graph)
    passed: set[str] = set()
    for node in reversed(model.graph.node):
        weighs = bool(graph.held(node, constants))
        if weighs and node.op_type in ("Conv", "Gemm") and not passed & set(node.output):
            yield node
        if weighs or passed & set(node.output):
            passed |= set(node.input)


def _means(
    model: ModelProto, names: Sequence[str], batches: Sequence[Path]
) -> tuple[int, list[NDArray[np.float64]]]:
    """How many rows there are, and the mean of each tensor over them for each index of axis 1."""
    from onnx import TensorProto, helper

    watched = copy.deepcopy(model)
    given = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in given
    )
    session = graph.session(watched)
    sums: list[Any] = [0.0] * len(names)
    rows = 0
    for path in batches:
        found = session.run(list(names), load_inputs(path))
        count = len(found[0])
        rows += count
        for place, value in enumerate(found):
            others = tuple(axis for axis in range(value.ndim) if axis != 1)
            sums[place] = sums[place] + value.mean(axis=others, dtype=np.float64) * count
    return rows, [each / rows for each in sums]
