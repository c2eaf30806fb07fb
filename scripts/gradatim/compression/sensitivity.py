"""How much of the outputs is lost when one node alone takes a form.

The model is opened once, with its weights and the rounding of its activations as inputs: each node and form is one run
over a few batches, without building a model for it.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.calibration import Calibrated
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.forms import FORMS, fitting
from gradatim.compression.forms.dynamic import gains
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Feeds = dict[str, NDArray[Any]]

_BATCHES = 4
_MOST_PRODUCTS = 10**12  # multiplications for all runs: some minutes; fewer batches where they would be more
_LEVELS = 255
_TINY = 1e-30
_FINE = np.float32(2.0**-40)  # a step that changes no number
_FAR = np.finfo(np.float32).max
_SHAPES = ("step", "low", "high")


def sensitivities(calibration: Calibrated, seconds: float, first: Collection[str] = ()) -> dict[str, Any]:
    """Measure every node in every form that it can take, form by form, the outermost nodes first.

    Args:
        seconds: after which what is not measured yet is taken to lose what its kind does.
        first: forms that are measured before the others, so that those which nodes have now are known when time runs out.

    Returns:
        ``able``: node -> the forms that it can take; ``operators``: node -> its operator;
        ``losses``: node -> form -> the share of the outputs' variance that is lost; ``measured``: those that were
        measured; ``weights``: node -> how many it has; ``products``: node -> about how many multiplications it makes for the
        first batch.
    """
    end = time.monotonic() + seconds
    able = fitting(calibration.model)
    costs = _costs(calibration, able)
    runs = sum(len(forms) for forms in able.values())
    batches = _MOST_PRODUCTS // max(1, runs * sum(costs["products"].values()))
    simulated = _Simulated(calibration, able, min(max(batches, 1), _BATCHES))
    losses: dict[str, dict[str, float]] = {}
    # those that compute in integers first: they differ most
    forms = sorted(FORMS, key=lambda form: form not in first)
    for form, name in itertools.product(forms, _outermost_first(list(able))):
        if form in able[name] and time.monotonic() < end:
            losses.setdefault(name, {})[form] = simulated.loss(name, form)
    operators = {node.name: node.op_type for node in graph.all_nodes(calibration.model) if node.name in able}
    return {
        "able": able, "operators": operators, "losses": as_their_kind(losses, able, operators), "measured": losses, **costs,
    }  # fmt: skip


def as_their_kind(
    losses: Mapping[str, Mapping[str, float]],
    able: Mapping[str, Sequence[str]],
    operators: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    """The losses of all nodes in their order; one that was not measured is the mean of those of its operator, where there are any."""
    found: dict[str, dict[str, float]] = {}
    for name, forms in able.items():
        alike = [lost for other, lost in losses.items() if operators[other] == operators[name]]
        own = losses.get(name, {})
        theirs = {form: [lost[form] for lost in alike if form in lost] for form in forms}
        found[name] = {
            form: own[form] if form in own else float(np.mean(values))
            for form, values in theirs.items()
            if values
        }
    return {name: lost for name, lost in found.items() if lost}


class _Simulated:
    def __init__(self, calibration: Calibrated, able: Mapping[str, Sequence[str]], batches: int) -> None:
        from onnx import numpy_helper

        model = copy.deepcopy(calibration.model)
        self._constants = {
            name: numpy_helper.to_array(tensor) for name, tensor in graph.weights(model.graph).items()
        }
        self._nodes = {node.name: node for node in graph.all_nodes(calibration.model) if node.name in able}
        self._bounds, self._seen = calibration.bounds, calibration.seen
        held = graph.weights(model.graph)
        self._idle: Feeds = {
            node.input[place]: self._constants[node.input[place]]
            for node in self._nodes.values()
            for place in graph.held(node, held)
        }
        self._idle |= _open(model, self._nodes, self._idle, self._rounded_inputs)
        self._session = graph.session(model)
        self._outputs = [output.name for output in model.graph.output]
        self._given = [load_inputs(path) for path in calibration.batches[:batches]]
        self._wanted = [self._run(batch, {}) for batch in self._given]

    def loss(self, name: str, form: str) -> float:
        changes = self._changes(self._nodes[name], form)
        fidelity = Fidelity()
        try:
            for batch, wanted in zip(self._given, self._wanted, strict=True):
                fidelity.add(wanted, self._run(batch, changes))
        except Exception:  # what makes numbers that are not finite is the last to be chosen
            return 1e9
        return max(0.0, 1 - fidelity.result().get("fidelity", 1.0))

    def _run(self, batch: Mapping[str, Any], changes: Feeds) -> dict[str, NDArray[Any]]:
        found = self._session.run(self._outputs, {**self._idle, **changes, **batch})
        return dict(zip(self._outputs, found, strict=True))

    def _changes(self, node: NodeProto, name: str) -> Feeds:
        form = FORMS[name]
        changes: Feeds = {
            node.input[place]: form.rounded(self._constants[node.input[place]], axis)
            for place, axis in graph.held(node, self._constants).items()
        }
        if name == "dynamic" and (gain := self._gains(node)) is not None:
            weight, axis = node.input[1], graph.held(node, self._constants)[1]
            across = gain[:, None] if axis % 2 else gain
            changes[weight] = form.rounded(self._constants[weight] * across, axis) / across
            low, high = self._bounds[node.input[0]]
            peaks = self._seen[node.input[0]].peaks
            less = float((peaks / gain).max() / max(peaks.max(), _TINY))
            return changes | _rounding(f"{node.name}/0", low * less, high * less, gain)
        places = [*self._rounded_inputs(node)] if form.inputs else []
        for place in [*places, *(["out"] if form.outputs else [])]:
            tensor = node.output[0] if place == "out" else node.input[int(place)]
            if tensor in self._bounds:
                changes |= _rounding(f"{node.name}/{place}", *self._bounds[tensor])
        return changes

    def _gains(self, node: NodeProto) -> NDArray[np.float32] | None:
        """By how much the columns of what goes into a node are divided when it is quantised call by call; None where it cannot be."""
        place = graph.held(node, self._constants).get(1)
        if place is None or node.input[0] not in self._bounds:
            return None
        weight = self._constants[node.input[1]]
        found = gains(weight if place % 2 else weight.T, self._seen[node.input[0]].peaks)
        return found if weight.ndim == 2 else None

    def _rounded_inputs(self, node: NodeProto) -> Iterator[str]:
        """The places of the inputs that are no weights, as text."""
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            yield from (str(place) for place in (0, 1) if node.input[place] in self._bounds)


def _rounding(place: str, low: float, high: float, gain: NDArray[np.float32] | float = 1.0) -> Feeds:
    step = (high - low) / _LEVELS or 1.0
    first = round(low / step)
    values = zip(_SHAPES, (step * gain, first, first + _LEVELS), strict=True)
    return {f"{place}/{shape}": np.array(value, np.float32) for shape, value in values}


def _open(
    model: ModelProto,
    nodes: Mapping[str, NodeProto],
    weights: Feeds,
    places: Callable[[NodeProto], Iterator[str]],
) -> Feeds:
    """Make weights inputs of the model, and rounding what goes in and out of its nodes; gives what rounds nothing."""
    from onnx import TensorProto, helper

    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    idle: Feeds = {}
    changed: list[Any] = []

    def rounded(place: str, given: str, out: str) -> None:
        step, low, high = (f"{place}/{shape}" for shape in _SHAPES)
        idle.update({step: np.array(_FINE), low: np.array(-_FAR), high: np.array(_FAR)})
        changed.append(helper.make_node("Div", [given, step], [f"{place}/divided"]))
        changed.append(helper.make_node("Round", [f"{place}/divided"], [f"{place}/rounded"]))
        changed.append(helper.make_node("Clip", [f"{place}/rounded", low, high], [f"{place}/cut"]))
        changed.append(helper.make_node("Mul", [f"{place}/cut", step], [out]))

    for node in model.graph.node:
        inside = list(places(nodes[node.name])) if node.name in nodes else []
        for place in inside:
            name = f"{node.name}/{place}"
            rounded(name, node.input[int(place)], f"{name}/in")
            node.input[int(place)] = f"{name}/in"
        changed.append(node)
        if inside:
            out, node.output[0] = node.output[0], f"{node.name}/out/whole"
            rounded(f"{node.name}/out", node.output[0], out)
    graph.replace_nodes(model.graph, changed)
    for name, value in {**weights, **idle}.items():
        shape = None if name.endswith("/step") else value.shape  # one for all, or one a column
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return idle


def _costs(calibration: Calibrated, able: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    constants = graph.weights(calibration.model.graph)
    weights: dict[str, int] = {}
    products: dict[str, int] = {}
    for node in graph.all_nodes(calibration.model):
        if node.name not in able:
            continue
        places = graph.held(node, constants)
        shapes = {place: list(constants[node.input[place]].dims) for place in places}
        weights[node.name] = sum(int(np.prod(shape)) for shape in shapes.values())
        seen = calibration.seen.get(node.output[0])
        columns = shapes[1][places[1]] if 1 in shapes else 1
        each = 0 if node.op_type == "Gather" else max(1, weights[node.name] // max(columns, 1))
        products[node.name] = (seen.size if seen else 0) * each
    return {"weights": weights, "products": products}


def _outermost_first(names: Sequence[str]) -> list[str]:
    """From both ends inwards: first and last layers suffer most, should time run out."""
    order = []
    for near, far in zip(names, reversed(names), strict=True):
        order += [near, far]
    return list(dict.fromkeys(order))
