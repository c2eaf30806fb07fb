"""The forms that a node of a graph can take, and a model that takes them.

A form is a row here and a function in a file beside this one: a model, the names of its nodes, and the calibration data
in; the model out. The rows stand in the order in which they are carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SMALLEST = 1024


@dataclass(frozen=True)
class Form:
    """One way for a node to hold its weights and to compute.

    Attributes:
        name: as recipes spell it.
        does: ``module:function`` beside this file, of model, nodes and calibration.
        rounds: ``module:function`` beside this file: the weights as this form holds them, of array and channels' axis.
        operators: those that can take it.
        bits: of one weight, with its share of the scales.
        speed: about what time it takes, as a part of what floats take; only to order what is tried by.
        inputs, outputs: whether what goes in and what comes out is rounded to eight bits.
        products: whether it also fits a product of two tensors without weights.
        smallest: weights of fewer numbers stay as they are, where only their size is to gain.
        block: rows must be made of whole blocks of so many.
        anywhere: whether nodes of branches and loops can take it, too: it changes weights alone, which lie at the graph's top.
    """

    name: str
    does: str
    rounds: str
    operators: tuple[str, ...]
    bits: float
    speed: float = 1.0
    inputs: bool = False
    outputs: bool = False
    products: bool = False
    smallest: int = 0
    block: int = 1
    anywhere: bool = False

    def fits(self, node: NodeProto, constants: Mapping[str, Any]) -> bool:
        """Whether a node can take this form."""
        if node.op_type not in self.operators:
            return False
        shapes = [constants[node.input[i]].dims for i in graph.held(node, constants)]
        sizes = [int(np.prod(shape)) for shape in shapes if not shape or shape[-1] % self.block == 0]
        return any(size >= self.smallest for size in sizes) or (self.products and node.op_type == "MatMul")

    def carry_out(self, model: ModelProto, nodes: set[str], calibration: Calibrated) -> ModelProto:
        changed: ModelProto = _load(self.does)(model, nodes, calibration)
        return changed

    def rounded(self, weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """The weights as they are in this form."""
        found: NDArray[np.float32] = _load(self.rounds)(weight, axis)
        return found


_DENSE = ("MatMul", "Gemm")
_STORED = ("Conv", "ConvTranspose", "LSTM", "GRU", "RNN", *_DENSE)
_ROWS = (
    Form(
        "static",
        "static:quantise",
        "stored:eight",
        ("Conv", *_DENSE),
        8,
        0.35,
        inputs=True,
        outputs=True,
        products=True,
    ),
    Form("dynamic", "dynamic:quantise", "stored:eight", _DENSE, 8, 0.45, inputs=True),
    Form("rows8", "rows:in_8_bits", "stored:eight", ("Gather",), 8, smallest=_SMALLEST),
    Form("rows4", "rows:in_4_bits", "blocks:four", ("Gather",), 5, smallest=_SMALLEST, block=32),
    Form("rows16", "rows:in_16_bits", "stored:sixteen", ("Gather",), 16, smallest=_SMALLEST),
    Form("stored8", "stored:in_8_bits", "stored:eight", _STORED, 8, smallest=_SMALLEST, anywhere=True),
    Form("stored16", "stored:in_16_bits", "stored:sixteen", _STORED, 16, smallest=_SMALLEST, anywhere=True),
    Form("blocks8", "blocks:in_8_bits", "blocks:eight", _DENSE, 9, 0.8),
    Form("blocks4", "blocks:in_4_bits", "blocks:four", _DENSE, 4.5, 0.8),
)
FORMS: Mapping[str, Form] = {row.name: row for row in _ROWS}
"""Form -> its row. A node without any computes in floats, as it did."""


def fitting(model: ModelProto) -> dict[str, list[str]]:
    """Node -> the forms that it can take, for those that can take any."""
    constants, tables = graph.weights(model.graph), graph.tables(model)
    top = {node.name for node in model.graph.node}
    found = {
        node.name: [
            form.name
            for form in _ROWS
            if form.fits(node, constants)
            and (node.op_type != "Gather" or node.name in tables)
            and (form.anywhere or node.name in top)
        ]
        for node in graph.all_nodes(model)
    }
    return {name: forms for name, forms in found.items() if forms}


def take(model: ModelProto, forms: Mapping[str, str], calibration: Calibrated) -> ModelProto:
    """Let each node named take its form."""
    for form in _ROWS:
        nodes = {node for node, name in forms.items() if name == form.name}
        if nodes:
            model = form.carry_out(model, nodes, calibration)
    return model


def _load(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), function)
