"""Activations in uint8 by the ranges seen on calibration data, weights in int8 with a scale a channel."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated
from gradatim.compression.forms.stored import correct_biases

if TYPE_CHECKING:
    from onnx import ModelProto

_CUTS = ("Relu", "Clip")
_JOINS = ("Add", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool")


def quantise(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """Quantise nodes, and what only cuts or joins what they give.

    A Relu or Clip behind a node becomes the end of its range: without that, most of the eight bits go to numbers that it
    cuts off. Between convolutions sums and poolings stay in integers.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    correct_biases(model, nodes, calibration)
    chosen = nodes | _followers(model, nodes)
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in calibration.bounds.items()
    }
    quantiser = QDQQuantizer(
        save_and_reload_model_with_shape_infer(model),
        True,  # per channel
        calibration.weight_bits < 8,
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, ranges),
        sorted(chosen),
        [],
        list(graph.INTEGERS),
        {},
    )
    quantiser.quantize_model()
    with tempfile.TemporaryDirectory(prefix="gradatim-static-") as folder:
        out = Path(folder) / "out.onnx"
        quantiser.model.save_model_to_file(str(out), model.ByteSize() > graph.EXTERNAL_ABOVE)
        found = onnx.load(str(out))
    _lead_into_branches(found)
    return found


def _lead_into_branches(model: ModelProto) -> None:
    """Give branches and loops what was rounded at the top, too: the quantiser sees users there alone, and takes a Relu away."""
    rounded = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    back = {
        rounded[node.input[0]]: node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for inner in graph.inner_graphs(model.graph):
        own = {value.name for value in (*inner.input, *inner.initializer)}
        own |= {name for node in inner.node for name in node.output}
        for node in inner.node:
            node.input[:] = [back.get(name, name) if name not in own else name for name in node.input]


def _followers(model: ModelProto, nodes: set[str]) -> set[str]:
    """Relu and Clip behind a chosen node; and behind convolutions what joins only what is in integers already."""
    used, constants = graph.users(model), {tensor.name for tensor in model.graph.initializer}
    found: set[str] = set()
    ends: set[str] = set()  # outputs of chosen nodes that nothing else uses
    whole: set[str] = set()  # tensors that are in integers between convolutions
    for node in model.graph.node:
        given = [name for name in node.input if name and name not in constants]
        if node.name in nodes:
            ends |= {name for name in node.output if used[name] == 1}
            whole |= set(node.output) if node.op_type == "Conv" else set()
            continue
        cut = node.op_type in _CUTS and node.input[0] in ends
        joined = node.op_type in _JOINS and len(given) == len(node.input) and set(given) <= whole
        if cut or joined:
            found.add(node.name)
            whole |= set(node.output) if joined or given[0] in whole else set()
        if joined:
            ends |= {name for name in node.output if used[name] == 1}
    return found
