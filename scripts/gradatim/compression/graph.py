"""Reading, preparing and saving the ONNX graph that the methods work on."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_PER_CHANNEL_OPSET = 13
_EXTERNAL_ABOVE = 1_800_000_000  # a protobuf message ends at 2 GiB
_SMALLEST = 1024


def prepare(path: Path) -> ModelProto:
    """Load a model as quantisers need it.

    Stale shapes go (models exported by torch's dynamo carry shapes on which onnx's inference stops), every
    node gets a name, the opset is raised to 13 where it can be, and the runtime's own basic optimisation
    folds constants and batch normalisations, so that each is quantised as it will run.

    Raises:
        InvalidInput: the file is not a readable ONNX model.
    """
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise kinds of their own
        raise InvalidInput(f"{path} is not a readable ONNX model: {_first_line(error)}") from error
    del model.graph.value_info[:]
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _PER_CHANNEL_OPSET:
        with contextlib.suppress(Exception):  # some operators cannot be converted: the old opset must do then
            model = onnx.version_converter.convert_version(model, _PER_CHANNEL_OPSET)
    model = _optimised(model)
    del model.graph.value_info[:]
    _name_nodes(model.graph)
    return model


def save(model: ModelProto, path: Path) -> None:
    """Write a model with the same bytes each time; weights beside it when it is too large for one message."""
    import onnx

    _drop_unused(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    if model.ByteSize() > _EXTERNAL_ABOVE:
        onnx.save_model(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}.data",
        )
        return
    path.write_bytes(model.SerializeToString(deterministic=True))


def quantisable(model: ModelProto, method: str) -> list[str]:
    """Names of the nodes that a method works on, in the graph's order."""
    weights = _weights(model.graph)
    names = []
    for node in model.graph.node:
        constant = len(node.input) > 1 and node.input[1] in weights
        if method == "int8-static":
            fits = node.op_type == "MatMul" or (node.op_type in ("Conv", "Gemm") and constant)
        elif method == "int8-dynamic":
            fits = node.op_type in ("MatMul", "Gemm") and constant
        else:
            fits = constant and node.op_type in ("MatMul", "Gemm", *_STORED)
        if fits:
            names.append(node.name)
    return names


def embeddings(model: ModelProto) -> list[NodeProto]:
    """Gather nodes that look rows up in a large constant table of floats which nothing else uses."""
    weights, users = _weights(model.graph), _users(model)
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    looked_up = Counter(node.input[0] for node in gathers)
    return [
        node
        for node in gathers
        if (table := weights.get(node.input[0])) is not None
        and len(table.dims) == 2
        and np.prod(table.dims) >= _SMALLEST
        and all(attribute.name != "axis" or attribute.i == 0 for attribute in node.attribute)
        and users[node.input[0]] == looked_up[node.input[0]]
    ]


def gemm_to_matmul(model: ModelProto, only: set[str] | None = None) -> None:
    """Write each Gemm with a constant weight as MatMul (which keeps the name) and Add.

    Only where it is the plain product: no transposed input, alpha and beta of one.
    """
    from onnx import helper, numpy_helper

    graph, weights = model.graph, _weights(model.graph)
    nodes = []
    for node in graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = (
            node.op_type == "Gemm"
            and (only is None or node.name in only)
            and node.input[1] in weights
            and not settings.get("transA", 0)
            and settings.get("alpha", 1.0) == 1.0
            and settings.get("beta", 1.0) == 1.0
        )
        if not plain:
            nodes.append(node)
            continue
        weight = node.input[1]
        if settings.get("transB", 0):
            turned = np.ascontiguousarray(numpy_helper.to_array(weights[weight]).T)
            weight = f"{node.name}.weight"
            graph.initializer.append(numpy_helper.from_array(turned, weight))
        biased = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.name}.product" if biased else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        if biased:
            nodes.append(
                helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}.bias")
            )
    _replace_nodes(graph, nodes)


def own_biases(model: ModelProto) -> None:
    """Give each Conv and Gemm a bias of its own, of one dimension.

    onnxruntime's quantiser wants no other shape, and calls the copies of a bias that nodes share by its name and a digit,
    which other tensors may be called. A Gemm whose constant bias is no row becomes MatMul and Add.
    """
    from onnx import numpy_helper

    graph, weights = model.graph, _weights(model.graph)
    taken = _users(model)
    others = set()
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in weights:
            continue
        bias = numpy_helper.to_array(weights[node.input[2]])
        weight = weights.get(node.input[1])
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        columns = weight.dims[0 if node.op_type == "Conv" or turned else 1] if weight else bias.shape[-1]
        if bias.size != 1 and (bias.size != columns or bias.shape[-1] != columns):
            others.add(node.name)
            continue
        name = f"{node.name}.bias"
        while taken[name]:
            name += "_"
        taken[name] += 1
        row = np.broadcast_to(bias.reshape(-1), (columns,))
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(row), name))
        node.input[2] = name
    gemm_to_matmul(model, only=others)


def store_embeddings(model: ModelProto) -> int:
    """Store embedding tables in int8 with one scale a row; only rows in use are unpacked. Gives how many."""
    from onnx import TensorProto, helper, numpy_helper

    graph, weights = model.graph, _weights(model.graph)
    chosen = {node.name: node for node in embeddings(model)}
    nodes, stored = [], set()
    for node in graph.node:
        if node.name not in chosen:
            nodes.append(node)
            continue
        table, rows, out = node.input[0], node.input[1], node.output[0]
        if table not in stored:
            packed, scale = _per_channel(numpy_helper.to_array(weights[table]), axis=0)
            graph.initializer.append(numpy_helper.from_array(packed, f"{table}.int8"))
            graph.initializer.append(numpy_helper.from_array(scale, f"{table}.scale"))
            stored.add(table)
        name = node.name
        nodes += [
            helper.make_node("Gather", [f"{table}.int8", rows], [f"{out}.int8"], name=f"{name}.rows", axis=0),
            helper.make_node(
                "Gather", [f"{table}.scale", rows], [f"{out}.scale"], name=f"{name}.scales", axis=0
            ),
            helper.make_node(
                "Cast", [f"{out}.int8"], [f"{out}.float"], name=f"{name}.cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{out}.float", f"{out}.scale"], [out], name=f"{name}.unpack"),
        ]
    _replace_nodes(graph, nodes)
    return len(chosen)


def store_weights(model: ModelProto, only: set[str] | None = None, *, products: bool = False) -> int:
    """Store the weights of convolutions and recurrent layers in int8, per channel. Gives how many.

    With ``products``, those of matrix products too.

    They are unpacked by Cast and Mul, which the runtime folds into a constant when it opens the model: the
        file is
    small, the speed is that of floats. (DequantizeLinear is not folded, and was 20-40 % slower.)
    """
    from onnx import TensorProto, helper, numpy_helper

    graph, weights = model.graph, _weights(model.graph)
    nodes, stored = [], set()
    for node in graph.node:
        inputs = _STORED.get(node.op_type, {})
        if products and node.op_type == "MatMul":
            inputs = {1: -1}
        if only is not None and node.name not in only:
            inputs = {}
        for position, axis in inputs.items():
            weight = weights.get(node.input[position])
            if weight is None or weight.name in stored or np.prod(weight.dims) < _SMALLEST:
                continue
            packed, scale = _per_channel(numpy_helper.to_array(weight), axis)
            name = weight.name
            graph.initializer.append(numpy_helper.from_array(packed, f"{name}.int8"))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            graph.initializer.remove(weight)
            nodes += [
                helper.make_node(
                    "Cast", [f"{name}.int8"], [f"{name}.float"], name=f"{name}.cast", to=TensorProto.FLOAT
                ),
                helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name], name=f"{name}.unpack"),
            ]
            stored.add(name)
        nodes.append(node)
    _replace_nodes(graph, nodes)
    return len(stored)


_STORED: dict[str, dict[int, int]] = {
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "LSTM": {1: 1, 2: 1},
    "GRU": {1: 1, 2: 1},
    "RNN": {1: 1, 2: 1},
}
"""Operator -> {input that holds weights: axis of its channels}."""


def _per_channel(weight: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one float32 scale for each index of ``axis``, shaped to multiply back."""
    others = tuple(index for index in range(weight.ndim) if index != axis % weight.ndim)
    highest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(highest > 0, highest / 127, 1).astype(np.float32)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def _weights(graph: GraphProto) -> dict[str, Any]:
    """Constant float32 tensors by name; one that is an input as well is no constant."""
    from onnx import TensorProto

    given = {value.name for value in graph.input}
    return {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and t.name not in given}


def _users(model: ModelProto) -> Counter[str]:
    """How often each tensor is used, subgraphs and outputs included."""
    users: Counter[str] = Counter(value.name for value in model.graph.output)

    def count(graph: GraphProto) -> None:
        for node in graph.node:
            users.update(node.input)
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    if inner.node:
                        users.update(value.name for value in inner.output)
                        count(inner)

    count(model.graph)
    return users


def _optimised(model: ModelProto) -> ModelProto:
    """The model after the runtime's basic, hardware-independent optimisation; unchanged where that fails."""
    import onnx
    import onnxruntime

    if model.ByteSize() > _EXTERNAL_ABOVE:
        return model
    with tempfile.TemporaryDirectory(prefix="gradatim-graph-") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            optimised = onnx.load(options.optimized_model_filepath)
        except Exception:  # the runtime's own errors have no common kind; the plain graph serves as well
            return model
    # The signature is a promise to callers: an optimiser that renamed anything is not to be trusted.
    same = [v.name for v in optimised.graph.output] == [v.name for v in model.graph.output]
    if not same or [v.name for v in optimised.graph.input] != [v.name for v in model.graph.input]:
        return model
    optimised.metadata_props.extend(
        entry
        for entry in model.metadata_props
        if entry.key not in {known.key for known in optimised.metadata_props}
    )
    return optimised


def _name_nodes(graph: GraphProto) -> None:
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _drop_unused(model: ModelProto) -> None:
    """Remove constants nothing uses and the operator sets no node is from."""
    users = _users(model)
    kept = [tensor for tensor in model.graph.initializer if users[tensor.name]]
    if len(kept) != len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    domains = _domains(model.graph) | {function.domain for function in model.functions} | {"", "ai.onnx"}
    for function in model.functions:
        domains |= {node.domain for node in function.node}
    entries = {entry.domain: entry for entry in model.opset_import if entry.domain in domains}
    del model.opset_import[:]
    model.opset_import.extend(entries[domain] for domain in sorted(entries))


def _domains(graph: GraphProto) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(node.domain)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _domains(inner)
    return found


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
