"""Embedding tables stored in fewer bits; only the rows that are looked up are unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated
from gradatim.compression.forms.stored import per_channel

if TYPE_CHECKING:
    from collections import Counter

    from onnx import ModelProto

_BLOCK = 32
"""How many numbers of a row share a scale, in int4."""
_TINY = np.finfo(np.float32).tiny  # by which noughts can be divided
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


def in_8_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In int8, with one scale a row; where the rows are rounded to eight bits anyway, as these, so that they need no unpacking."""
    return _stored(_rounded(model, nodes), nodes, 8)


def in_4_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In int4, with a scale for each block of a row, by the runtime's own operator."""
    from onnx import helper, numpy_helper

    constants, packed, changed = graph.weights(model.graph), set(), []
    for node in model.graph.node:
        if node.name not in nodes or node.input[0] not in constants:
            changed.append(node)
            continue
        table, rows = node.input
        names = [f"{table}.packed4", f"{table}.scale4"]
        if table not in packed:
            packed.add(table)
            for name, array in zip(
                names, _packed(numpy_helper.to_array(constants[table]), _BLOCK), strict=True
            ):
                model.graph.initializer.append(numpy_helper.from_array(array, name))
        changed.append(
            helper.make_node(
                "GatherBlockQuantized", [names[0], rows, names[1]], node.output, name=f"{node.name}.rows", domain="com.microsoft",
                gather_axis=0, quantize_axis=1, block_size=_BLOCK, bits=4,
            )
        )  # fmt: skip
    graph.replace_nodes(model.graph, changed)
    if all(entry.domain != "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def in_16_bits(model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
    """In half precision."""
    return _stored(model, nodes, 16)


def _packed(table: NDArray[np.float32], block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Rows [r, c] as pairs of numbers about eight [r, c / 2], the first one low, and their scales [r, c / block]."""
    blocks = table.reshape(len(table), -1, block)
    scale: NDArray[np.float32] = np.abs(blocks).max(axis=2, keepdims=True) / 7
    whole = np.rint(blocks / np.maximum(scale, _TINY)).astype(np.int8) + 8
    low, high = whole.reshape(len(table), -1, 2).astype(np.uint8).transpose(2, 0, 1)
    return (low | high << 4).astype(np.uint8), scale[..., 0].astype(np.float32)


def _stored(model: ModelProto, nodes: set[str], bits: int) -> ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    constants, packed, changed = graph.weights(model.graph), set(), []
    for node in model.graph.node:
        if node.name not in nodes or node.input[0] not in constants:
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


def _rounded(model: ModelProto, nodes: set[str]) -> ModelProto:
    """Hold tables as what is behind them rounds their rows: the runtime then hands integers on."""
    from onnx import helper, numpy_helper

    used, held, changed = graph.users(model), {t.name: t for t in model.graph.initializer}, []
    for node in model.graph.node:
        changed.append(node)
        if node.name not in nodes or used[table := node.input[0]] != 1:
            continue
        found = _rounding(model, node.output[0], used)
        if found is None or not all(name in held for name in found):
            continue
        scale, zero = (numpy_helper.to_array(held[name]) for name in found)
        if scale.size != 1:
            continue
        ends = np.iinfo(zero.dtype)
        whole = np.rint(numpy_helper.to_array(held[table]) / scale) + zero
        packed = whole.clip(ends.min, ends.max).astype(zero.dtype)
        model.graph.initializer.append(numpy_helper.from_array(packed, f"{table}.rounded"))
        node.input[0], out = f"{table}.rounded", node.output[0]
        node.output[0] = f"{out}.rounded"
        changed.append(
            helper.make_node(
                "DequantizeLinear", [f"{out}.rounded", *found], [out], name=f"{node.name}.unpack"
            )
        )
    graph.replace_nodes(model.graph, changed)
    return model


def _rounding(model: ModelProto, rows: str, used: Counter[str]) -> list[str] | None:
    """The one scale and zero point by which all that uses these rows rounds them first; they may be moved about before."""
    users = [node for node in model.graph.node if rows in node.input]
    found = set()
    for node in users:
        moved = node.op_type in _MOVES and node.input[0] == rows
        behind = _rounding(model, node.output[0], used) if moved else None
        found.add(tuple(behind or (node.input[1:] if node.op_type == "QuantizeLinear" else ())))
    one = found.pop() if len(found) == 1 and used[rows] == len(users) else ()
    return list(one) if len(one) == 2 else None
