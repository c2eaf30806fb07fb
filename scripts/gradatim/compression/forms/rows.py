"""Embedding tables stored in fewer bits; only the rows that are looked up are unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated
from gradatim.compression.forms.stored import per_channel

if TYPE_CHECKING:
    from onnx import ModelProto


def in_8_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In int8, with one scale a row."""
    return _stored(model, nodes, 8)


def in_16_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In half precision."""
    return _stored(model, nodes, 16)


def _stored(model: ModelProto, nodes: set[str], bits: int) -> ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    constants, packed, changed = graph.weights(model.graph), set(), []
    for node in model.graph.node:
        if node.name not in nodes:
            changed.append(node)
            continue
        (table, rows), out, name = node.input, node.output[0], node.name
        if table not in packed:
            packed.add(table)
            whole = numpy_helper.to_array(constants[table])
            numbers, scale = per_channel(whole, 0) if bits == 8 else (whole.astype(np.float16), None)
            model.graph.initializer.append(numpy_helper.from_array(numbers, f"{table}.packed{bits}"))
            if scale is not None:
                model.graph.initializer.append(numpy_helper.from_array(scale, f"{table}.scale"))
        plain = f"{out}.float" if bits == 8 else out
        changed += [
            helper.make_node(
                "Gather", [f"{table}.packed{bits}", rows], [f"{out}.packed"], name=f"{name}.rows", axis=0
            ),
            helper.make_node("Cast", [f"{out}.packed"], [plain], name=f"{name}.cast", to=TensorProto.FLOAT),
        ]
        if bits == 8:
            changed += [
                helper.make_node(
                    "Gather", [f"{table}.scale", rows], [f"{out}.scale"], name=f"{name}.scales", axis=0
                ),
                helper.make_node("Mul", [plain, f"{out}.scale"], [out], name=f"{name}.unpack"),
            ]
    graph.replace_nodes(model.graph, changed)
    return model
