"""A network of fewer layers: of a small one a call takes most of its time to begin each, however little that then computes.

Two layers one behind the other become one, and a pooling behind a convolution becomes its stride, as in Springenberg et al. (2015),
"Striving for Simplicity: The All Convolutional Net". What is left learns to answer as the original does, like any pruned network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.models.torch_program import TorchModel, quiet

if TYPE_CHECKING:
    from gradatim.compression.batches import Batch


def shorten(model: TorchModel, count: int, batch: Batch, seed: int) -> None:
    """Take layers out, in place, one after another, those first that take the fewest weights with them.

    Args:
        model: as ``layers.trainable`` gives it, pruned or not.
        count: of layers to take out.
        batch: inputs to follow the network with.
        seed: of the weights that new layers begin with.

    Raises:
        InvalidInput: it has fewer layers that another can stand for, or is no plain sequence of calls.
    """
    import torch

    torch.manual_seed(seed)
    try:
        with quiet(), torch.no_grad():
            program, given = _followed(model, batch)
            enough = all(_take_one(program, given) for _ in range(count))
    except Exception as error:  # whatever the network's code does that cannot be followed
        raise InvalidInput(
            "no layer of it can be taken out: its code cannot be followed from call to call"
        ) from error
    if not enough:
        raise InvalidInput(f"fewer than {count} of its layers are such that another one could stand for them")


Step = tuple[int, Callable[[], None]]
"""How many weights go, and what takes them out."""


def _followed(model: TorchModel, batch: Batch) -> tuple[Any, list[Any]]:
    """The network as a graph of calls, and what it is given for a batch."""
    import torch

    network = model.module
    given: list[Any] = []
    seen = network.register_forward_pre_hook(
        lambda _, args, kwargs: given.extend((*args, *kwargs.values())), with_kwargs=True
    )
    model.forward({name: torch.as_tensor(np.asarray(array)) for name, array in batch.items()})
    seen.remove()
    return network if isinstance(network, torch.fx.GraphModule) else _traced(network), given


def _see_shapes(program: Any, given: list[Any]) -> None:
    """Note at each call the shape of what it gives."""
    import torch

    class Shapes(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            found = super().run_node(node)
            node.meta["shape"] = tuple(found.shape) if isinstance(found, torch.Tensor) else None
            return found

    Shapes(program).run(*given)


def _traced(network: Any) -> Any:
    """A network's calls as a graph by which it computes from now on; both hold the same layers."""
    import torch

    program = torch.fx.symbolic_trace(network)
    network._modules, network._parameters, network._buffers = (
        program._modules,
        program._parameters,
        program._buffers,
    )
    network.forward = lambda *args, **kwargs: program(*args, **kwargs)
    return program


def _take_one(program: Any, given: list[Any]) -> bool:
    """Take out what costs the fewest weights; False where nothing can be."""
    _see_shapes(program, given)
    steps = sorted(_steps(program), key=lambda step: step[0])
    if steps:
        steps[0][1]()
    return bool(steps)


def _steps(program: Any) -> Iterator[Step]:
    """Every layer that can be taken out."""
    layers = _layers(program)
    for first, layer in layers.items():
        between: list[Any] = []
        for node in _behind(first):
            if node in layers:
                yield from _joined(program, [first, *between, node], layer, layers[node])
                break
            if node.meta["shape"] != first.meta["shape"]:
                yield from _strided(program, first, node, layer)
                break
            between.append(node)


def _layers(program: Any) -> dict[Any, Any]:
    """Calls of dense layers and of convolutions, each of which is called once."""
    import torch

    kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)
    calls: dict[str, list[Any]] = {}
    for node in program.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    found = {nodes[0]: program.get_submodule(name) for name, nodes in calls.items() if len(nodes) == 1}
    return {node: layer for node, layer in found.items() if isinstance(layer, kinds)}


def _behind(node: Any) -> Iterator[Any]:
    """The calls behind one, as long as each has one user, which takes nothing else that is computed."""
    while len(node.users) == 1:
        (user,) = node.users
        if user.op == "output" or {each for each in user.all_input_nodes if each.op != "get_attr"} != {node}:
            return
        yield user
        node = user


def _joined(program: Any, nodes: Sequence[Any], first: Any, last: Any) -> Iterator[Step]:
    """Let one layer stand for two and all between."""
    layer = _one_for(first, last)
    (given,) = nodes[0].all_input_nodes
    if layer is None or _shape(layer, given) != nodes[-1].meta["shape"]:
        return
    gone = _numbers(first) + _numbers(last) - _numbers(layer)

    def take() -> None:
        program.set_submodule(nodes[-1].target, layer.eval())
        nodes[-1].args, nodes[-1].kwargs = (given,), {}
        _tidy(program)

    if gone > 0:
        yield gone, take


def _strided(program: Any, first: Any, pooling: Any, layer: Any) -> Iterator[Step]:
    """Let a convolution step over what a pooling behind it leaves out, which must not be more than it sees at once."""
    before, after = first.meta["shape"], pooling.meta["shape"]
    if after is None or len(before) != len(after) or before[:2] != after[:2]:
        return
    steps = [round(a / b) for a, b in zip(before[2:], after[2:], strict=True)]
    stride = getattr(layer, "stride", ())
    if len(steps) != len(stride) or not steps:
        return
    wider = tuple(s * step for s, step in zip(stride, steps, strict=True))
    if any(step > size for step, size in zip(wider, layer.kernel_size, strict=True)):
        return
    layer.stride = wider
    (given,) = first.all_input_nodes
    fits = _shape(layer, given) == after
    layer.stride = stride

    def take() -> None:
        layer.stride = wider
        pooling.replace_all_uses_with(_carrying(pooling))
        _tidy(program)

    if fits:
        yield 0, take


def _carrying(node: Any) -> Any:
    """What a call works on."""
    return next(each for each in node.all_input_nodes if each.op != "get_attr")


def _one_for(first: Any, last: Any) -> Any:
    """A layer that sees what the first sees and gives what the last gives; None where there is none of the kind."""
    import torch

    biased = first.bias is not None or last.bias is not None
    if isinstance(first, torch.nn.Linear) and isinstance(last, torch.nn.Linear):
        return torch.nn.Linear(first.in_features, last.out_features, biased)
    pair = (first, last)
    if type(first) is not type(last) or any(
        each.groups != 1 or each.transposed or isinstance(each.padding, str) or max(each.dilation) > 1
        for each in pair
    ):
        return None
    sizes = [
        a + (b - 1) * s for a, b, s in zip(first.kernel_size, last.kernel_size, first.stride, strict=True)
    ]
    stride = [a * b for a, b in zip(first.stride, last.stride, strict=True)]
    around = [a + b * s for a, b, s in zip(first.padding, last.padding, first.stride, strict=True)]
    return type(first)(
        first.in_channels, last.out_channels, tuple(sizes), tuple(stride), tuple(around), bias=biased
    )


def _shape(layer: Any, given: Any) -> Any:
    """What a layer gives for what a call gives."""
    import torch

    try:
        with torch.no_grad():
            return tuple(layer(torch.zeros(given.meta["shape"])).shape)
    except (RuntimeError, TypeError):  # it cannot be applied there
        return None


def _numbers(layer: Any) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _tidy(program: Any) -> None:
    program.graph.eliminate_dead_code()
    program.delete_all_unused_submodules()
    program.recompile()
