"""What PyTorch's own forms of a model say about their inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradatim.signature import Signature, Size, TensorSpec

SCALARS = {"int": "int64", "float": "float64", "bool": "bool"}
"""TorchScript's types of plain numbers, as numpy calls them."""


def script_signature(script: Any, declared: Signature | None) -> Signature:
    """What TorchScript's schema says: names, and dtypes of plain numbers; of tensors no dtype or shape."""
    wanted = {spec.name for spec in declared.inputs} if declared else set()
    schema = script.forward.schema
    inputs = []
    for argument in schema.arguments[1:]:
        if argument.has_default_value() and argument.name not in wanted:
            continue
        scalar = SCALARS.get(str(argument.type))
        inputs.append(TensorSpec(argument.name, scalar or "unknown", () if scalar else None))
    if declared and declared.outputs:
        return Signature(tuple(inputs), ())
    kinds = [str(result.type) for result in schema.returns]
    count = None
    if kinds == ["Tensor"]:
        count = 1
    elif len(kinds) == 1 and re.fullmatch(r"Tuple\[Tensor(, Tensor)*\]|\(Tensor(, Tensor)*\)", kinds[0]):
        count = kinds[0].count("Tensor")
    outputs = tuple(TensorSpec(f"output_{index}", "unknown", None) for index in range(count or 0))
    return Signature(tuple(inputs), outputs)


def program_signature(torch: Any, program: Any) -> tuple[Signature, Callable[[dict[str, Any]], Any]]:
    """The signature of an exported program, and how to arrange named tensors as its arguments.

    Its own symbols (``s17``) change from export to export: the first input's free first axis is called
    ``batch`` here, the others ``dim_1``, ``dim_2`` in order of appearance. Outputs are named by their keys,
    or by position.
    """
    from torch.utils import _pytree as pytree

    graph = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    symbols = _Symbols()
    slots = list(graph.user_inputs)
    inputs = tuple(_tensor_spec(slot, values.get(slot), symbols) for slot in slots if isinstance(slot, str))
    outputs = tuple(
        _tensor_spec(name, values.get(slot) if isinstance(slot, str) else slot, symbols)
        for name, slot in zip(_leaf_names(program.call_spec.out_spec), graph.user_outputs, strict=True)
        if slot is not None
    )
    in_spec = program.call_spec.in_spec

    def arrange(tensors: dict[str, Any]) -> Any:
        leaves = [tensors[slot] if isinstance(slot, str) else slot for slot in slots]
        return pytree.tree_unflatten(leaves, in_spec)

    return Signature(inputs, outputs), arrange


class _Symbols:
    """Stable names for an exported program's symbolic sizes."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def size(self, axis: int, size: Any) -> Size:
        if isinstance(size, int):
            return size
        text = str(size)
        for symbol in re.findall(r"[a-z]+\d+", text):
            if symbol not in self._names:
                first = axis == 0 and "batch" not in self._names.values()
                self._names[symbol] = "batch" if first else f"dim_{len(self._names) or 1}"
        return re.sub(r"[a-z]+\d+", lambda match: self._names[match[0]], text)


def _tensor_spec(name: str, value: Any, symbols: _Symbols) -> TensorSpec:
    if value is None or not hasattr(value, "dtype"):
        return TensorSpec(name, "unknown", () if isinstance(value, int | float | bool) else None)
    return TensorSpec(
        name,
        _dtype_name(value.dtype),
        tuple(symbols.size(axis, size) for axis, size in enumerate(value.shape)),
    )


def _dtype_name(dtype: Any) -> str:
    """numpy's name; bfloat16 comes out as float32, since numpy has none."""
    name = str(dtype).removeprefix("torch.")
    return "float32" if name == "bfloat16" else name


def _leaf_names(spec: Any) -> list[str]:
    """Names of a pytree's leaves: its keys where it is a dict, positions else."""
    return [name for name, _ in named_leaves(_placeholders(spec), "")]


def _placeholders(spec: Any) -> Any:
    from torch.utils import _pytree as pytree

    return pytree.tree_unflatten([_Leaf()] * spec.num_leaves, spec)


class _Leaf:
    """Stands for an output in a pytree."""


def named_leaves(value: Any, prefix: str) -> list[tuple[str, Any]]:
    """Flatten what a module gave: a tensor, a tuple, a dict, nested; None is left out."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [
            leaf
            for key, each in value.items()
            for leaf in named_leaves(each, f"{prefix}_{key}" if prefix else str(key))
        ]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [
            leaf
            for index, each in enumerate(value)
            for leaf in named_leaves(each, f"{prefix or 'output'}_{index}")
        ]
    return [(prefix or "output_0", value)]
