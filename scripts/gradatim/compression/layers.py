"""A saved program's products and normalisations as layers of PyTorch's own, which can be pruned and trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any

from gradatim.errors import InvalidInput
from gradatim.models.torch_program import TorchModel

if TYPE_CHECKING:
    from gradatim.models import Predictor


def trainable(model: Predictor) -> TorchModel:
    """An opened model, whose network has layers: what is done to them the model does.

    Raises:
        InvalidInput: it is no PyTorch model, or TorchScript, whose layers nothing can take apart.
    """
    import torch

    if not isinstance(model, TorchModel):
        raise InvalidInput("only a model of PyTorch's formats can be pruned and trained")
    if isinstance(model.module, torch.jit.ScriptModule):
        raise InvalidInput("TorchScript cannot be pruned; save the model with torch.export, as .pt2")
    if isinstance(model.module, torch.fx.GraphModule):
        _take_apart(model.module)
    return model


def _take_apart(program: Any) -> None:
    """Let a layer stand for each call with weights of its own, which a ``torch.export`` program has as plain functions."""
    import torch

    users: dict[str, int] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            users[node.target] = users.get(node.target, 0) + len(node.users)
    for node in list(program.graph.nodes):
        make = _LAYERS.get(str(node.target)) if node.op == "call_function" else None
        if make is None:
            continue
        given, *rest = node.args
        held = [arg for arg in rest if isinstance(arg, torch.fx.Node)]
        if not held or any(arg.op != "get_attr" or users[arg.target] > 1 for arg in held):
            continue
        layer = make(torch.nn, *(_value(program, arg) for arg in rest), **node.kwargs)
        if layer is None:
            continue
        program.add_submodule(f"layer_{node.name}", layer.eval())
        with program.graph.inserting_before(node):
            node.replace_all_uses_with(program.graph.call_module(f"layer_{node.name}", (given,)))
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.delete_all_unused_submodules()
    program.recompile()
    for name in ("train", "eval"):  # which a saved program refuses
        setattr(program, name, MethodType(getattr(torch.nn.Module, name), program))


def _value(program: Any, arg: Any) -> Any:
    import torch

    if not isinstance(arg, torch.fx.Node):
        return arg
    found = program
    for name in arg.target.split("."):
        found = getattr(found, name)
    return found


def _holding(layer: Any, **tensors: Any) -> Any:
    import torch

    for name, tensor in tensors.items():
        if tensor is not None and name in layer._buffers:
            setattr(layer, name, tensor.detach().clone())
        elif tensor is not None:
            setattr(layer, name, torch.nn.Parameter(tensor.detach().clone()))
    return layer


def _convolution(
    nn: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    sizes = tuple(weight.shape[2:])
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(sizes) - 1]

    def each(values: Any) -> Any:
        return (
            tuple(values) * (len(sizes) if len(values) == 1 else 1)
            if isinstance(values, list | tuple)
            else values
        )

    layer = kind(
        weight.shape[1] * groups, weight.shape[0], sizes, each(stride), each(padding), each(dilation), groups, bias is not None
    )  # fmt: skip
    return _holding(layer, weight=weight, bias=bias)


def _linear(nn: Any, weight: Any, bias: Any = None) -> Any:
    return _holding(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias)


def _batch_norm(
    nn: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, cudnn: bool = False
) -> Any:  # fmt: skip
    if mean is None or var is None or training:
        return None

    class AnyRank(nn.modules.batchnorm._BatchNorm):  # type: ignore[misc]
        def _check_input_dim(self, given: Any) -> None:
            pass

    layer = AnyRank(len(mean), eps, momentum, affine=weight is not None)
    return _holding(layer, weight=weight, bias=bias, running_mean=mean, running_var=var)


def _layer_norm(
    nn: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn: bool = False
) -> Any:
    if weight is None:
        return None
    return _holding(nn.LayerNorm(list(shape), eps, bias=bias is not None), weight=weight, bias=bias)


_LAYERS: Mapping[str, Callable[..., Any]] = {
    "aten.conv1d.default": _convolution,
    "aten.conv2d.default": _convolution,
    "aten.conv3d.default": _convolution,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.layer_norm.default": _layer_norm,
}
