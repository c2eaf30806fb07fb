"""Short names inside a graph: of a small model they are a large part of the file, and nothing but the file's inputs and outputs is called by name."""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from gradatim.compression import graph

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_WORTH = 0.02
_DIGITS = string.digits + string.ascii_lowercase


def shorten_names(model: ModelProto) -> None:
    """Give what is inside a graph names of a letter or two, in place, where names are more than a fiftieth of the file.

    A model with functions, sparse or annotated tensors keeps its names.
    """
    graphs = [model.graph, *graph.inner_graphs(model.graph)]
    if model.functions or any(each.sparse_initializer or each.quantization_annotation for each in graphs):
        return
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    names = dict.fromkeys(name for each in graphs for name in _names(each) if name not in kept)
    length = sum(len(name) for each in graphs for name in _names(each)) + sum(
        len(node.name) for node in graph.all_nodes(model)
    )
    if length < _WORTH * model.ByteSize():
        return
    fresh = (name for name in map(_spelled, count()) if name not in kept)
    short = dict(zip(names, fresh, strict=False)) | {name: name for name in kept}
    for each in graphs:
        del each.value_info[:]
        for named in (*each.input, *each.output, *each.initializer):
            named.name = short[named.name]
        for node in each.node:
            node.name, node.doc_string = "", ""
            node.input[:] = [short[name] for name in node.input]
            node.output[:] = [short[name] for name in node.output]


def _names(inside: GraphProto) -> Iterator[str]:
    """Every place that names a tensor."""
    for named in (*inside.input, *inside.output, *inside.initializer):
        yield named.name
    for node in inside.node:
        yield from (*node.input, *node.output)


def _spelled(number: int) -> str:
    """A letter, and behind the last of these digits, too: a, b, ..., z, a0, b0, ..."""
    rest, letter = divmod(number, len(string.ascii_lowercase))
    spelled = string.ascii_lowercase[letter]
    while rest:
        rest, digit = divmod(rest - 1, len(_DIGITS))
        spelled += _DIGITS[digit]
    return spelled
