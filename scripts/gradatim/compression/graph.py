"""Reading, preparing and saving the ONNX graph that the methods work on."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_PER_CHANNEL_OPSET = 13
EXTERNAL_ABOVE = 1_800_000_000  # a protobuf message ends at 2 GiB
_LARGE = 1024

INTEGERS = (
    "Conv",
    "MatMul",
    "Gemm",
    "Relu",
    "Clip",
    "Add",
    "Concat",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
)
"""Operators that can be between eight-bit integers."""

CHANNELS: dict[str, dict[int, int]] = {
    "Conv": {1: 0},
    "ConvTranspose": {1: 1},
    "MatMul": {1: -1},
    "Gemm": {1: 1},
    "LSTM": {1: 1, 2: 1},
    "GRU": {1: 1, 2: 1},
    "RNN": {1: 1, 2: 1},
    "Gather": {0: 0},
}
"""Operator -> {input that holds weights: axis of its channels}."""


def prepare(path: Path) -> ModelProto:
    """Load a model as quantisers need it.

    Stale shapes go (models exported by torch's dynamo carry shapes on which onnx's inference stops), every
    node gets a name, the opset is raised to 13 where it can be, and the runtime's own basic optimisation
    folds constants and batch normalisations, so that each is quantised as it will run.

    Raises:
        InvalidInput: the file is not a readable ONNX model, or larger than one message may be.
    """
    import onnx

    if is_large(path):
        raise InvalidInput(
            "it is larger than 1.8 GB: of such a model only int8-weights and int4-weights can be made, tensor by tensor"
        )
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise kinds of their own
        raise InvalidInput(f"{path} is not a readable ONNX model: {_first_line(error)}") from error
    del model.graph.value_info[:]
    if opset(model) < _PER_CHANNEL_OPSET:
        with contextlib.suppress(Exception):  # some operators cannot be converted: the old opset must do then
            model = onnx.version_converter.convert_version(model, _PER_CHANNEL_OPSET)
    model = _optimised(model)
    del model.graph.value_info[:]
    _share_constants(model)
    name_nodes(model)
    _own_biases(model)
    _drop_unused(model)
    return model


def is_large(path: Path) -> bool:
    """Whether a model with its weights is more than one message can hold."""
    from gradatim.models import model_files

    return sum(file.stat().st_size for file in model_files(path)) > EXTERNAL_ABOVE


def save(model: ModelProto, path: Path) -> None:
    """Write a model with the same bytes each time; weights beside it when it is too large for one message."""
    import onnx

    _drop_unused(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    if model.ByteSize() > EXTERNAL_ABOVE:
        onnx.save_model(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{path.name}.data",
        )
        return
    path.write_bytes(model.SerializeToString(deterministic=True))


def tables(model: ModelProto) -> set[str]:
    """Names of the Gather nodes that look rows up in a large constant table of floats which nothing else uses."""
    constants, used = weights(model.graph), users(model)
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    looked_up = Counter(node.input[0] for node in gathers)
    return {
        node.name
        for node in gathers
        if (table := constants.get(node.input[0])) is not None
        and len(table.dims) == 2
        and all(attribute.name != "axis" or attribute.i == 0 for attribute in node.attribute)
        and used[node.input[0]] == looked_up[node.input[0]]
    }


def gemm_to_matmul(model: ModelProto, only: set[str] | None = None) -> None:
    """Write each Gemm with a constant weight as MatMul (which keeps the name) and Add.

    Only where it is the plain product: no transposed input, alpha and beta of one.
    """
    from onnx import helper, numpy_helper

    graph, constants = model.graph, weights(model.graph)
    nodes = []
    for node in graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        chosen = node.op_type == "Gemm" and (only is None or node.name in only)
        if not (chosen and node.input[1] in constants and is_product(node)):
            nodes.append(node)
            continue
        weight = node.input[1]
        if settings.get("transB", 0):
            turned = np.ascontiguousarray(numpy_helper.to_array(constants[weight]).T)
            weight = f"{node.name}.weight"
            graph.initializer.append(numpy_helper.from_array(turned, weight))
        biased = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.name}.product" if biased else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        if biased:
            nodes.append(
                helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}.bias")
            )
    replace_nodes(graph, nodes)


def is_product(node: NodeProto) -> bool:
    """Whether a Gemm is the plain product: no transposed input, alpha and beta of one."""
    settings = {attribute.name: attribute for attribute in node.attribute}
    turned = "transA" in settings and settings["transA"].i
    return not turned and all(settings[name].f == 1.0 for name in ("alpha", "beta") if name in settings)


def _own_biases(model: ModelProto) -> None:
    """Give each Conv and Gemm a bias of its own, of one dimension.

    onnxruntime's quantiser wants no other shape, and calls the copies of a bias that nodes share by its name and a digit,
    which other tensors may be called. A Gemm whose constant bias is no row becomes MatMul and Add.
    """
    from onnx import numpy_helper

    graph, constants = model.graph, weights(model.graph)
    taken = users(model)
    others = set()
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[2] not in constants:
            continue
        bias = numpy_helper.to_array(constants[node.input[2]])
        weight = constants.get(node.input[1])
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        columns = weight.dims[0 if node.op_type == "Conv" or turned else 1] if weight else bias.shape[-1]
        if bias.size != 1 and (bias.size != columns or bias.shape[-1] != columns):
            others.add(node.name)
            continue
        name = f"{node.name}.bias"
        while taken[name]:
            name += "_"
        row = np.broadcast_to(bias.ravel(), (columns,))
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(row), name))
        node.input[2] = name
    gemm_to_matmul(model, only=others)


def held(node: NodeProto, constants: Mapping[str, Any]) -> dict[int, int]:
    """Which inputs of a node are constant weights, and the axis of their channels."""
    turned = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    found = CHANNELS.get(node.op_type, {})
    return {
        position: 0 if turned else axis
        for position, axis in found.items()
        if position < len(node.input) and node.input[position] in constants
    }


def opset(model: ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def typed(model: ModelProto) -> dict[str, int]:
    """Types of the elements of the tensors at the graph's top, as far as onnx can tell them."""
    import onnx

    with contextlib.suppress(
        Exception
    ):  # it raises what it likes on models it cannot follow: less is known then
        model = onnx.shape_inference.infer_shapes(model)
    values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def weights(graph: GraphProto) -> dict[str, Any]:
    """Constant float32 tensors by name; one that is an input as well is no constant."""
    from onnx import TensorProto

    given = {value.name for value in graph.input}
    return {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and t.name not in given}


def inner_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The branches and bodies of loops in a graph's nodes, and those inside them."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield inner
                yield from inner_graphs(inner)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes at the graph's top, then those of branches and bodies of loops."""
    for each in (model.graph, *inner_graphs(model.graph)):
        yield from each.node


def users(model: ModelProto) -> Counter[str]:
    """How often each tensor is used, subgraphs and outputs included."""
    found: Counter[str] = Counter()
    for each in (model.graph, *inner_graphs(model.graph)):
        found.update(value.name for value in each.output)
        for node in each.node:
            found.update(node.input)
    return found


def _share_constants(model: ModelProto) -> None:
    """Hold the large constants of branches and loops at the graph's top, equal ones once.

    The runtime's optimiser copies what it folds into every branch that uses it. At the top a form can be given to it, too.
    """
    graphs = [model.graph, *inner_graphs(model.graph)]
    taken = {t.name for each in graphs for t in each.initializer} | {*users(model)}
    shared: dict[bytes, str] = {}
    for inner in graphs[1:]:
        ends, renamed = {value.name for value in inner.output}, {}
        kept = [t for t in inner.initializer if np.prod(t.dims) < _LARGE or t.name in ends]
        moved = [t for t in inner.initializer if np.prod(t.dims) >= _LARGE and t.name not in ends]
        for tensor in moved:
            old, tensor.name = tensor.name, ""
            content = tensor.SerializeToString(deterministic=True)
            if content not in shared:
                tensor.name = f"{old}.shared"
                while tensor.name in taken:
                    tensor.name += "_"
                taken.add(tensor.name)
                shared[content] = tensor.name
                model.graph.initializer.append(tensor)
            renamed[old] = shared[content]
        del inner.initializer[:]
        inner.initializer.extend(kept)
        for node in (node for each in (inner, *inner_graphs(inner)) for node in each.node):
            for place, name in enumerate(node.input):
                node.input[place] = renamed.get(name, name)


def session(model: ModelProto, **settings: Any) -> Any:
    """A model that onnxruntime runs in one thread and without a word; settings are further ones of its ``SessionOptions``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _optimised(model: ModelProto) -> ModelProto:
    """The model after the runtime's basic, hardware-independent optimisation; unchanged where that fails."""
    import onnx
    import onnxruntime

    if model.ByteSize() > EXTERNAL_ABOVE:
        return model
    with tempfile.TemporaryDirectory(prefix="gradatim-graph-") as folder:
        written = str(Path(folder) / "optimised.onnx")
        basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            session(model, graph_optimization_level=basic, optimized_model_filepath=written)
            optimised = onnx.load(written)
        except Exception:  # the runtime's own errors have no common kind; the plain graph serves as well
            return model
    # The signature is a promise to callers: an optimiser that renamed anything is not to be trusted.
    same = [v.name for v in optimised.graph.output] == [v.name for v in model.graph.output]
    if not same or [v.name for v in optimised.graph.input] != [v.name for v in model.graph.input]:
        return model
    return optimised


def name_nodes(model: ModelProto) -> None:
    """Give each node a name of its own."""
    taken: set[str] = set()
    for index, node in enumerate(all_nodes(model)):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _drop_unused(model: ModelProto) -> None:
    """Remove constants nothing uses and the operator sets no node is from."""
    used = users(model)
    kept = [tensor for tensor in model.graph.initializer if used[tensor.name]]
    if len(kept) != len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    domains = {node.domain for node in all_nodes(model)} | {"", "ai.onnx"}
    domains |= {function.domain for function in model.functions}
    for function in model.functions:
        domains |= {node.domain for node in function.node}
    entries = {entry.domain: entry for entry in model.opset_import if entry.domain in domains}
    del model.opset_import[:]
    model.opset_import.extend(entries[domain] for domain in sorted(entries))


def replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
