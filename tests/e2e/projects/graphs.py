"""Small ONNX models, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

Shape = Sequence[int | str]
Value = tuple[str, str, Shape]
"""Name, dtype, shape."""

_DTYPES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "str": TensorProto.STRING,
}


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


def write_graph(
    path: Path,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    nodes: Sequence[Any],
    weights: Mapping[str, NDArray[Any]],
) -> None:
    """Save a graph; float64 weights become float32."""
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32) if value.dtype == np.float64 else value, name)
        for name, value in weights.items()
    ]
    given = [
        helper.make_tensor_value_info(name, _DTYPES[dtype], list(shape)) for name, dtype, shape in inputs
    ]
    found = [
        helper.make_tensor_value_info(name, _DTYPES[dtype], list(shape)) for name, dtype, shape in outputs
    ]
    graph = helper.make_graph(list(nodes), "model", given, found, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
