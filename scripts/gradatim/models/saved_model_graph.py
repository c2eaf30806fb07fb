"""``saved_model.pb``, read by protobuf: signatures, operators, and which of them only save and restore.

Field numbers: ``saved_model.proto``, ``meta_graph.proto``, ``graph.proto``, ``function.proto``, ``node_def.proto``,
``attr_value.proto``, ``saver.proto``, ``saved_object_graph.proto`` of TensorFlow; what is not listed here is passed over.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gradatim.errors import InvalidInput, needs
from gradatim.files import reading

_SCHEMA = """
SavedModel: metas=2*Meta
Meta: info=1 Info, graph=2 Graph, saver=3 Saver, signatures=5*NamedSignature, objects=7 Objects
Info: version=5 string
Graph: nodes=1*Node, library=2 Library
Library: functions=1*Function
Function: about=1 About, nodes=3*Node
About: name=1 string
Node: name=1 string, operator=2 string, inputs=3*string, attributes=5*Attribute
Attribute: value=2 Value
Value: list=1 List, function=10 Called
List: functions=9*Called
Called: name=1 string, attributes=2*Attribute
Saver: name=1 string, save=2 string, restore=3 string
Objects: functions=2*NamedFunction
NamedFunction: name=1 string
NamedSignature: name=1 string, signature=2 Signature
Signature: inputs=1*NamedTensor, outputs=2*NamedTensor
NamedTensor: name=1 string, tensor=2 Tensor
Tensor: name=1 string, dtype=2 int32, shape=3 Shape
Shape: sizes=2*Size, unknown=3 bool
Size: size=1 int64
"""
SAVING = frozenset(
    (
        "SaveV2",
        "RestoreV2",
        "MergeV2Checkpoints",
        "ShardedFilename",
        "SaveSlices",
        "Save",
        "Restore",
        "RestoreSlice",
    )
)
"""What writes or reads a checkpoint; TensorFlow puts it beside each graph, and a signature never runs it."""


class SavedGraph:
    """What a SavedModel says of itself.

    Args:
        path: its ``saved_model.pb``.

    Attributes:
        signatures: name -> (inputs, outputs), each name -> ``Tensor`` (``dtype`` by TensorFlow's number, ``shape``).
        version: of the TensorFlow that wrote it.
        operators: operator -> how often it occurs, but for what saves and restores alone.

    Raises:
        InvalidInput: it is broken, or holds more than one graph.
        EnvironmentLacks: protobuf is missing.
    """

    def __init__(self, path: Path) -> None:
        broken = f"{path} is truncated or is not a SavedModel. Save the model again."
        with reading(path):
            data = path.read_bytes()
        try:
            read = messages()["SavedModel"].FromString(data)
        except Exception as error:  # protobuf's DecodeError shares no class with anything
            raise InvalidInput(broken) from error
        if len(read.metas) != 1:
            raise InvalidInput(
                f"{path} holds {len(read.metas)} graphs, of which one can be released. Save the model again, with one."
                if read.metas
                else broken
            )
        (meta,) = read.metas
        self.version = meta.info.version
        self.signatures: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
            each.name: ({t.name: t.tensor for t in each.signature.inputs}, {t.name: t.tensor for t in each.signature.outputs})
            for each in meta.signatures
        }  # fmt: skip
        self.operators = Counter(_operators(meta))


def _operators(meta: Any) -> Iterable[str]:
    """Every operator but those that only save and restore: of the nodes above the saver's, and of the functions they call."""
    nodes, functions = (
        list(meta.graph.nodes),
        {each.about.name: each for each in meta.graph.library.functions},
    )
    above = _above(nodes, [meta.saver.name, meta.saver.save, meta.saver.restore])
    answers = [
        tensor.tensor.name
        for each in meta.signatures
        for tensor in (*each.signature.inputs, *each.signature.outputs)
    ]
    used = _above(nodes, [*answers, *(node.name for node in nodes if node.name not in above)])
    saving = [node for node in nodes if node.name in above - used]
    ordinary = [node for node in nodes if node.name in used or node.name not in above]
    called = _called(ordinary, functions) | _closure(
        [each.name for each in meta.objects.functions], functions
    )
    called |= _closure(set(functions) - _called(saving, functions), functions)
    excused = [
        *saving,
        *(node for name, each in functions.items() if name not in called for node in each.nodes),
    ]
    counted = [*ordinary, *(node for name in called if name in functions for node in functions[name].nodes)]
    yield from (node.operator for node in counted)
    yield from (node.operator for node in excused if node.operator not in SAVING)


def _above(nodes: Iterable[Any], names: Iterable[str]) -> set[str]:
    """The nodes that those named rest on, themselves among them."""
    inputs: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        inputs[node.name] += node.inputs
    waiting, found = [_bare(name) for name in names], set[str]()
    while waiting:
        name = waiting.pop()
        if name in inputs and name not in found:
            found.add(name)
            waiting += map(_bare, inputs[name])
    return found


def _bare(tensor: str) -> str:
    """The node of ``^name`` or ``name:1``."""
    return tensor.removeprefix("^").partition(":")[0]


def _called(nodes: Iterable[Any], functions: Mapping[str, Any]) -> set[str]:
    return _closure({name for node in nodes for name in _named_in(node)}, functions)


def _closure(names: Iterable[str], functions: Mapping[str, Any]) -> set[str]:
    """Functions with all that they call."""
    waiting, found = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [
            each for node in (functions[name].nodes if name in functions else ()) for each in _named_in(node)
        ]
    return found


def _named_in(node: Any) -> Iterable[str]:
    """The functions that a node may call: its attributes', at any depth, and the one of its operator's name."""
    yield node.operator
    waiting = list(node.attributes)
    while waiting:
        value = waiting.pop().value
        for called in (value.function, *value.list.functions):
            if called.name:
                yield called.name
                waiting += called.attributes


@cache
def messages() -> dict[str, Any]:
    """The classes of the messages in the schema."""
    with needs("protobuf", "tensorflow", "Reading a SavedModel"):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    plain = {"string": 9, "int32": 5, "int64": 3, "bool": 8}
    file = descriptor_pb2.FileDescriptorProto(
        name="gradatim/saved_model.proto", package="gradatim", syntax="proto3"
    )
    names = []
    for line in _SCHEMA.strip().splitlines():
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        names.append(name)
        for field in fields.split(", "):
            key, _, rest = field.partition("=")
            number, kind = rest.replace("*", " ").split()
            told = {"type": plain[kind]} if kind in plain else {"type": 11, "type_name": f".gradatim.{kind}"}
            message.field.add(name=key, number=int(number), label=3 if "*" in rest else 1, **told)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"gradatim.{name}"))
        for name in names
    }
