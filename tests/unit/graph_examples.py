"""ONNX graphs written by hand, and each of them told node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from frozen import told


def node(kind: str, given: Sequence[str], found: Sequence[str], name: str = "", **settings: Any) -> Any:
    from onnx import helper

    return helper.make_node(kind, given, found, name=name or None, **settings)


def inner(
    name: str, nodes: list[Any], found: str, constants: Mapping[str, Any], given: Sequence[str] = ()
) -> Any:
    """A branch, or the body of a loop."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = [helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in (*given, found)]
    held = [numpy_helper.from_array(np.asarray(value), each) for each, value in constants.items()]
    return helper.make_graph(nodes, name, kinds[:-1], kinds[-1:], held)


def model(
    nodes: list[Any], constants: Mapping[str, Any], given: Sequence[str] = ("x",), found: Sequence[str] = ("y",), opset: int = 15, shape: Any = ("n", None),
    **domains: int,
) -> Any:  # fmt: skip
    """A model whose inputs and outputs are floats of an unknown shape."""
    from onnx import TensorProto, helper, numpy_helper

    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names] for names in (given, found))  # fmt: skip
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    opsets = [helper.make_opsetid(domain.replace("_", "."), version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *opsets], ir_version=8)


def described_whole(whole: Any, graph: Any = None, margin: str = "") -> Iterator[str]:
    """Every node with its settings and every constant with its numbers, branches inside."""
    from onnx import helper, numpy_helper

    graph = whole.graph if graph is None else graph
    for each in graph.node:
        settings = {
            a.name: told(helper.get_attribute_value(a)) for a in each.attribute if a.type not in (5, 10)
        }
        yield f"{margin}{each.domain}{each.op_type} {each.name!r} {list(each.input)} -> {list(each.output)} {settings}"
        for attribute in each.attribute:
            if attribute.type == 5:
                yield f"{margin}  {attribute.name}:"
                yield from described_whole(whole, attribute.g, f"{margin}    ")
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        yield f"{margin}{tensor.name} {value.dtype} {value.shape} {told(value.reshape(-1)[:6])} {told(np.abs(value.astype(float)).sum())}"
