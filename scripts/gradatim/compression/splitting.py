"""A model cut into stages that run one after another: each fits where the whole does not, and together they answer alike."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gradatim.compression import graph
from gradatim.compression.batches import Batch
from gradatim.errors import InvalidInput
from gradatim.files import write_json
from gradatim.models.stages import LIST
from gradatim.timing.contestant import Contestant, Worker, save_inputs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_NEAR = 0.1
"""By how much a stage may grow for fewer tensors to be passed on, as a part of an even share of the cost."""


def split(path: Path, folder: Path, parts: int, by: Literal["size", "time"], batch: Batch) -> list[Path]:
    """Write the stages of an ONNX model, and the list by which ``models.stages`` runs them.

    Args:
        by: what the stages share evenly: the bytes of their weights, or the time that their nodes take on the batch.

    Raises:
        InvalidInput: it has fewer nodes than stages are asked for, or gives out what no node makes.
    """
    import onnx

    model = onnx.load(str(path))
    graph.name_nodes(model)
    nodes, made = list(model.graph.node), [*(set(node.output) for node in model.graph.node)]
    if len(nodes) < parts:
        raise InvalidInput(f"it has {len(nodes)} nodes, too few for {parts} stages of even {by}")
    outputs = [output.name for output in model.graph.output]
    if missing := set(outputs) - set().union(*made):
        raise InvalidInput(f"its output {min(missing)} is made by no node")
    costs = _bytes(model) if by == "size" else _seconds(model, batch)
    cuts = _cuts(costs, _crossing(model), parts)
    stages = [nodes[start:end] for start, end in itertools.pairwise([0, *cuts, len(nodes)])]
    passed = [name for cut in cuts for name in _passed(nodes, cut)]
    typed = _typed(model, list(dict.fromkeys(passed)), batch)
    paths = [folder / f"stage-{number}.onnx" for number in range(1, parts + 1)]
    for number, place in enumerate(paths):
        later = {name for stage in stages[number + 1 :] for node in stage for name in _used(node)}
        graph.save(_stage(model, stages[number], later | set(outputs), typed), place)
    write_json(folder / LIST, {"stages": [place.name for place in paths], "outputs": outputs})
    return paths


def memory_of(paths: Sequence[Path], batch: Batch, threads: int) -> list[int]:
    """The peak bytes that each stage takes in a process of its own, for the batch."""
    from gradatim.models import open_model

    found, values = [], dict(batch)
    with tempfile.TemporaryDirectory(prefix="gradatim-stages-") as scratch:
        for path in paths:
            with open_model(path, root=path.parent, format="onnx", threads=threads) as stage:
                given = {
                    spec.name: values[spec.name] for spec in stage.signature.inputs if spec.name in values
                }
                values |= stage(given)
            inputs = save_inputs(Path(scratch) / "inputs.npz", given)
            contestant = Contestant(path.stem, path, path.parent, format="onnx", threads=threads)
            with Worker(contestant, inputs, Path(scratch)) as worker:
                worker.opened()
                worker.ask("repeat", seconds=0.0)
                found.append(int(worker.stop()["memory"]))
    return found


def _bytes(model: ModelProto) -> list[float]:
    """Of each node, those of the constants that it uses first; each node costs something."""
    sizes = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    return [1 + sum(sizes.pop(name, 0) for name in _used(node)) for node in model.graph.node]


def _seconds(model: ModelProto, batch: Batch) -> list[float]:
    """Of each node the least of a few runs, as the runtime's profile has it, in microseconds: a busy machine adds to some."""
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="gradatim-profile-") as folder:
        session = graph.session(
            model,
            graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
            enable_profiling=True,
            profile_file_prefix=str(Path(folder) / "profile"),
        )
        for _ in range(5):
            session.run(None, dict(batch))
        events = json.loads(Path(session.end_profiling()).read_text())
    taken: dict[str, float] = {}
    for event in events:
        name = str(event["name"]).removesuffix("_kernel_time")
        if name != event["name"]:
            taken[name] = min(taken.get(name, np.inf), float(event["dur"]))
    return [1e-3 + taken.get(node.name, 0.0) for node in model.graph.node]


def _cuts(costs: Sequence[float], crossing: Sequence[int], parts: int) -> list[int]:
    """Where the stages but the first begin: the least sum of squared costs, then where little is passed on nearby."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    least, choices = total**2, []
    for _ in range(parts - 1):
        sums = ((least[1:end] + (total[end] - total[1:end]) ** 2) for end in range(2, len(total)))
        found = [(1 + int(each.argmin()), each.min()) for each in sums]
        choices.append([0, 0, *(place for place, _ in found)])
        least = np.array([np.inf, np.inf, *(value for _, value in found)])
    cuts = [len(costs)]
    for choice in reversed(choices):
        cuts.insert(0, choice[cuts[0]])
    room = _NEAR * total[-1] / parts
    for number, cut in enumerate(cuts[:-1]):
        first = cuts[number - 1] + 1 if number else 1
        near = [place for place in range(first, cuts[number + 1]) if abs(total[place] - total[cut]) <= room]
        cuts[number] = min(near, key=lambda place: (crossing[place], abs(place - cut)))
    return cuts[:-1]


def _passed(nodes: Sequence[NodeProto], cut: int) -> list[str]:
    """Tensors made before a cut and used behind it."""
    made = {name for node in nodes[:cut] for name in node.output}
    return [name for name in dict.fromkeys(n for node in nodes[cut:] for n in _used(node)) if name in made]


def _crossing(model: ModelProto) -> list[int]:
    """How many tensors a cut before each node would pass on."""
    nodes = model.graph.node
    made = {name: place for place, node in enumerate(nodes) for name in node.output}
    last = {name: place for place, node in enumerate(nodes) for name in _used(node) if name in made}
    steps = [0] * (len(nodes) + 1)
    for name, place in last.items():
        steps[made[name] + 1] += 1
        steps[place + 1] -= 1
    return [*itertools.accumulate(steps)]


def _used(node: NodeProto) -> Iterator[str]:
    """What a node takes, its subgraphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            own = {name for each in inner.node for name in each.output} | {
                value.name for value in inner.input
            }
            own |= {tensor.name for tensor in inner.initializer}
            yield from (name for each in inner.node for name in _used(each) if name not in own)


def _typed(model: ModelProto, names: Sequence[str], batch: Batch) -> dict[str, Any]:
    """What is passed on, with type and rank as they are for the batch."""
    from onnx import ModelProto, ValueInfoProto, helper

    watched = ModelProto()
    watched.CopyFrom(model)
    given = {output.name for output in watched.graph.output}
    watched.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in given)
    session = graph.session(watched)
    found = {}
    for name, value in zip(names, session.run(list(names), dict(batch)) if names else [], strict=True):
        array = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        axes = [f"{name}_{axis}" for axis in range(array.ndim)]
        found[name] = helper.make_tensor_value_info(name, kind, axes)
    return found


def _stage(
    model: ModelProto, nodes: Sequence[NodeProto], wanted: set[str], typed: dict[str, Any]
) -> ModelProto:
    from onnx import helper

    whole: GraphProto = model.graph
    used = [*dict.fromkeys(name for node in nodes for name in _used(node))]
    made = {name for node in nodes for name in node.output}
    constants = [tensor for tensor in whole.initializer if tensor.name in used]
    held = {tensor.name for tensor in constants}
    given = {value.name: value for value in whole.input}
    values = {**typed, **given, **{value.name: value for value in whole.output}}
    inputs = [values[name] for name in used if name not in made and name not in held]
    outputs = [values[name] for node in nodes for name in node.output if name in wanted]
    inner = helper.make_graph(nodes, "stage", inputs, outputs, constants)
    return helper.make_model(
        inner, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )
