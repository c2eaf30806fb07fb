"""What the tensors of a model hold on calibration data: one pass over the batches, whatever their shapes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_AXES_AS_INPUT = 18  # the opset since which these take their axes as an input
_BY_CHANNEL = {"means": "ReduceMean", "peaks": "ReduceMax"}


@dataclass(frozen=True)
class Observed:
    """The numbers of one tensor.

    Attributes:
        lowest, highest: their bounds.
        size: how many there are in the first batch.
        means, peaks: mean and highest of each index along axis 1, for the inputs of convolutions; for those of products with
            weights, peaks are the largest amounts of each index along the last axis; else empty.
    """

    lowest: float
    highest: float
    size: int
    means: NDArray[np.float32]
    peaks: NDArray[np.float32]

    @property
    def bounds(self) -> tuple[float, float]:
        """The range to quantise by: all that was seen, and zero."""
        return min(self.lowest, 0.0), max(self.highest, 0.0)


def observe(model: ModelProto, batches: Sequence[Path], kept: Path) -> Mapping[str, Observed]:
    """Run a prepared model and look at every float tensor that can be quantised.

    Args:
        model: is left as it is.
        batches: calibration batches as .npz, read one at a time.
        kept: file that keeps what was seen, so that it is looked at once for many recipes.

    Raises:
        InvalidInput: there is nothing to look at.
    """
    if not kept.exists():
        _keep(_look(model, batches), kept)
    with np.load(kept) as found:
        if not found["names"].size:
            return {}
        means, peaks = (np.split(found[part], np.cumsum(found[f"{part}_of"])[:-1]) for part in _BY_CHANNEL)
        rows = zip(found["names"], found["bounds"], found["sizes"], means, peaks, strict=True)
        return {
            str(name): Observed(float(low), float(high), int(size), mean, peak)
            for name, (low, high), size, mean, peak in rows
        }


def _keep(seen: Mapping[str, Observed], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            names=np.array(list(seen)),
            bounds=np.array([(one.lowest, one.highest) for one in seen.values()]),
            sizes=np.array([one.size for one in seen.values()]),
            means=np.concatenate([np.empty(0, np.float32), *(one.means for one in seen.values())]),
            peaks=np.concatenate([np.empty(0, np.float32), *(one.peaks for one in seen.values())]),
            means_of=np.array([one.means.size for one in seen.values()]),
            peaks_of=np.array([one.peaks.size for one in seen.values()]),
        )


def _look(model: ModelProto, batches: Sequence[Path]) -> Mapping[str, Observed]:
    watched, wanted = _watched(model)
    if not wanted:  # a runtime that is asked for no outputs gives all
        return {}
    session = graph.session(watched)
    outputs = [output for parts in wanted.values() for output in parts.values()]
    seen: dict[str, list[NDArray[Any]]] = {name: [] for name in outputs}
    for path in batches:
        for name, value in zip(outputs, session.run(outputs, load_inputs(path)), strict=True):
            seen[name].append(value)
    return {
        name: _summed(name, {part: seen[o] for part, o in parts.items()}) for name, parts in wanted.items()
    }


def _summed(name: str, parts: Mapping[str, list[NDArray[Any]]]) -> Observed:
    """One tensor over all batches."""
    means = np.mean(parts["means"], axis=0) if "means" in parts else np.empty(0)
    peaks = np.max(parts["peaks"], axis=0) if "peaks" in parts else np.empty(0)
    return Observed(
        float(min(value.min() for value in parts["lowest"])),
        float(max(value.max() for value in parts["highest"])),
        int(parts["size"][0]),
        means.astype(np.float32),
        peaks.astype(np.float32),
    )


def _watched(model: ModelProto) -> tuple[ModelProto, dict[str, dict[str, str]]]:
    """The model with more outputs, and by tensor which: bounds, size, channels' means and peaks."""
    from onnx import TensorProto, helper

    watched = copy.deepcopy(model)
    inner, rows = watched.graph, graph.weights(model.graph)
    convolved = {
        n.input[0]: len(rows[n.input[1]].dims)
        for n in model.graph.node
        if n.op_type == "Conv" and n.input[1] in rows
    }
    multiplied = {
        n.input[0]: rows[n.input[1]].dims[1 if any(a.name == "transB" and a.i for a in n.attribute) else 0]
        for n in model.graph.node
        if n.op_type in ("MatMul", "Gemm") and n.input[1] in rows and len(rows[n.input[1]].dims) == 2
    }
    wanted: dict[str, dict[str, str]] = {}
    for name in _floats(model):
        parts = {part: f"{name}/{part}" for part in ("lowest", "highest", "size")}
        nodes = [
            helper.make_node("ReduceMin", [name], [parts["lowest"]]),
            helper.make_node("ReduceMax", [name], [parts["highest"]]),
            helper.make_node("Size", [name], [parts["size"]]),
        ]
        if name in convolved:
            parts |= {part: f"{name}/{part}" for part in _BY_CHANNEL}
            nodes += [_by_channel(watched, name, part, convolved[name]) for part in _BY_CHANNEL]
        elif name in multiplied:
            parts["peaks"] = f"{name}/peaks"
            nodes += _amounts(watched, name, multiplied[name], parts["peaks"])
        inner.node.extend(nodes)
        for part, output in parts.items():
            kind = TensorProto.INT64 if part == "size" else TensorProto.FLOAT
            inner.output.append(helper.make_tensor_value_info(output, kind, None))
        wanted[name] = parts
    return watched, wanted


def _by_channel(model: ModelProto, name: str, part: str, rank: int) -> NodeProto:
    from onnx import helper, numpy_helper

    kind, output = _BY_CHANNEL[part], f"{name}/{part}"
    axes = [axis for axis in range(rank) if axis != 1]
    if graph.opset(model) < _AXES_AS_INPUT:
        return helper.make_node(kind, [name], [output], axes=axes, keepdims=0)
    model.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), f"{output}/axes"))
    return helper.make_node(kind, [name, f"{output}/axes"], [output], keepdims=0)


def _amounts(model: ModelProto, name: str, columns: int, output: str) -> list[NodeProto]:
    """The largest amount in each column of what is multiplied."""
    from onnx import helper, numpy_helper

    shape = numpy_helper.from_array(np.array([-1, columns], np.int64), f"{output}/shape")
    model.graph.initializer.append(shape)
    top = [f"{output}/amounts", *([f"{output}/axes"] if graph.opset(model) >= _AXES_AS_INPUT else [])]
    if top[1:]:
        model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), top[1]))
    return [
        helper.make_node("Reshape", [name, shape.name], [f"{output}/rows"]),
        helper.make_node("Abs", [f"{output}/rows"], [top[0]]),
        helper.make_node("ReduceMax", top, [output], keepdims=0, **({} if top[1:] else {"axes": [0]})),
    ]


def _floats(model: ModelProto) -> list[str]:
    """The float tensors that go into or come out of what static int8 works on."""
    from onnx import TensorProto

    constants = {tensor.name for tensor in model.graph.initializer}
    typed = graph.typed(model)
    touched = [
        name
        for node in model.graph.node
        if node.op_type in graph.INTEGERS
        for name in (*node.input, *node.output)
        if name not in constants and typed.get(name) == TensorProto.FLOAT
    ]
    return list(dict.fromkeys(touched))
