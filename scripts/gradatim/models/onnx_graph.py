"""What an ONNX file holds, read from its protobuf alone: nothing is run, external data stays outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.errors import InvalidInput, needs
from gradatim.models.weights import ITEM_BITS, PIECE, has_nonfinite, pieces_of
from gradatim.signature import Inspection, Signature, Size, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_DTYPES = {
    "FLOAT": "float32", "DOUBLE": "float64", "STRING": "str", "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz", "FLOAT8E5M2": "float8_e5m2", "FLOAT8E5M2FNUZ": "float8_e5m2fnuz",
    "FLOAT4E2M1": "float4_e2m1",
}  # fmt: skip
_NO_PARAMETERS = {"int64", "bool", "str"}  # shapes, indices and words
_CHOOSING = {"Where", "Clip", "Max", "Min", "Pad", "Expand"}
"""Operators that take a single number as a bound or a filling."""
_BLOCKS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Operators on bytes into which numbers are packed -> which input these are; scales and zero points are the third and fourth."""


class OnnxGraph:
    """An ONNX file, parsed.

    Args:
        path: the ``.onnx`` file.

    Raises:
        InvalidInput: it does not parse, or names external data outside of its folder.
        EnvironmentLacks: the package onnx is missing.
    """

    def __init__(self, path: Path) -> None:
        with needs("onnx", "onnx", f"Inspecting {path.name}"):
            import onnx
        self._onnx = onnx
        self.path = path
        broken = f"{path} is truncated or is not an ONNX model. Make it again, or fetch it again."
        try:
            self.proto = onnx.load(str(path), format="protobuf", load_external_data=False)
        except Exception as error:  # protobuf's DecodeError shares no class with anything
            raise InvalidInput(broken) from error
        if not self.proto.opset_import or not self.proto.graph.output:
            raise InvalidInput(broken)

    @property
    def opset(self) -> dict[str, int]:
        """Operator set versions by domain; ONNX's own domain is ``ai.onnx``."""
        return {each.domain or "ai.onnx": int(each.version) for each in self.proto.opset_import}

    @property
    def producer(self) -> str:
        return f"{self.proto.producer_name} {self.proto.producer_version}".strip()

    def signature(self) -> Signature:
        """Inputs (without those that have an initializer) and outputs as the graph declares them."""
        graph = self.proto.graph
        stored = {tensor.name for tensor in graph.initializer}
        return Signature(
            tuple(self._spec(value) for value in graph.input if value.name not in stored),
            tuple(self._spec(value) for value in graph.output),
        )

    def operators(self) -> dict[str, int]:
        """How often each operator stands in the graph, its subgraphs and its functions."""
        counts: dict[str, int] = {}
        for node in self._nodes():
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        return dict(sorted(counts.items()))

    def external_files(self) -> list[Path]:
        """The files that hold this model's external data, each once, sorted.

        Raises:
            InvalidInput: a location is absolute, leads out of the model's folder, or does not exist.
        """
        locations = {
            entry.value
            for _, tensor in self._tensors()
            if tensor.data_location == self._onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        }
        return sorted(self._inside(location) for location in locations)

    def weights(self) -> tuple[int, list[str]]:
        """The number of parameters, and the names of tensors that hold NaN or infinity.

        Parameters are stored numbers other than 64-bit integers and booleans, which are shapes and indices; of a matrix in
        blocks, those packed into its bytes, without what says how to unpack them.
        External data is read in pieces.
        """
        parameters = 0
        names = []
        bounds, packed = self._bounds(), self._packed()
        for name, tensor in self._tensors():
            dtype = self._dtype(tensor.data_type)
            elements = math.prod(tensor.dims)
            if dtype not in _NO_PARAMETERS:
                parameters += packed.get(name, elements)
            if dtype.startswith(("float", "bfloat", "complex")):
                bound = not tensor.dims or (elements == 1 and name in bounds)
                if has_nonfinite(dtype, self._pieces(name, tensor, dtype, elements), bound=bound):
                    names.append(name)
            elif tensor.data_location == self._onnx.TensorProto.EXTERNAL or tensor.raw_data:
                self._stretch(name, tensor, dtype, elements)
        for name, values, thresholds in self._numbers():
            parameters += len(values)
            array = np.asarray(values, np.float32)
            # trees put infinities where a split takes all
            if bool(np.isnan(array).any()) or (
                bool(np.isinf(array).any()) and not thresholds and array.size > 1
            ):
                names.append(name)
        return parameters, names

    def _spec(self, value: Any) -> TensorSpec:
        kind = value.type.WhichOneof("value")
        if kind == "sequence_type" and value.type.sequence_type.elem_type.WhichOneof("value") == "map_type":
            element = value.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type
            return TensorSpec(value.name, self._dtype(element), (None, None))
        optional = kind == "optional_type" and value.type.optional_type.elem_type.HasField("tensor_type")
        if kind != "tensor_type" and not optional:
            return TensorSpec(value.name, "unknown", None)
        tensor = value.type.optional_type.elem_type.tensor_type if optional else value.type.tensor_type
        shape = tuple(_size(axis) for axis in tensor.shape.dim) if tensor.HasField("shape") else None
        return TensorSpec(value.name, self._dtype(tensor.elem_type), shape, "default" if optional else None)

    def _dtype(self, number: int) -> str:
        try:
            name = self._onnx.TensorProto.DataType.Name(number)
        except ValueError as error:
            raise InvalidInput(f"{self.path} holds a tensor of the unknown type {number}.") from error
        return _DTYPES.get(name, str(name).lower())

    def _nodes(self) -> Iterator[Any]:
        for nodes in (self.proto.graph.node, *(function.node for function in self.proto.functions)):
            yield from _with_subgraphs(nodes)

    def _graphs(self) -> Iterator[Any]:
        yield self.proto.graph
        for node in self._nodes():
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield attribute.g
                yield from attribute.graphs

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        for graph in self._graphs():
            for tensor in graph.initializer:
                yield tensor.name, tensor
            for sparse in graph.sparse_initializer:
                yield sparse.values.name, sparse.values
        for node in self._nodes():
            owner = node.name or (node.output[0] if node.output else node.op_type)
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    constant = node.op_type == "Constant" and node.output
                    yield (node.output[0] if constant else f"{owner}.{attribute.name}"), attribute.t
                if attribute.HasField("sparse_tensor"):
                    yield f"{owner}.{attribute.name}", attribute.sparse_tensor.values
                for tensor in attribute.tensors:
                    yield f"{owner}.{attribute.name}", tensor

    def _bounds(self) -> set[str]:
        """Names of tensors that only ever choose or fill: read by nothing else, or what ConstantOfShape spreads."""
        chosen: set[str] = set()
        used: set[str] = set()
        spread: set[str] = set()
        for node in self._nodes():
            (chosen if node.op_type in _CHOOSING else used).update(node.input)
            if node.op_type == "ConstantOfShape":
                spread.add(f"{node.name or node.output[0]}.value")
        return (chosen - used) | spread

    def _packed(self) -> dict[str, int]:
        """Name of a tensor of bytes into which numbers are packed -> how many; nought for its scales and zero points."""
        found: dict[str, int] = {}
        held = dict(self._tensors())
        for node in self._nodes():
            if node.op_type not in _BLOCKS or node.domain != "com.microsoft" or len(node.input) < 3:
                continue
            said = {each.name: each.i for each in node.attribute}
            found |= dict.fromkeys(node.input[2:4], 0)
            name = node.input[_BLOCKS[node.op_type]]
            if node.op_type == "MatMulNBits":
                found[name] = max(said.get("K", 0), 0) * max(said.get("N", 0), 0)
            elif name in held and held[name].data_type == self._onnx.TensorProto.UINT8:
                found[name] = math.prod(held[name].dims) * 8 // max(said.get("bits", 4), 1)
        return found

    def _numbers(self) -> Iterator[tuple[str, Any, bool]]:
        """Lists of floats in attributes, where ``ai.onnx.ml`` keeps weights; True for a tree's thresholds."""
        for node in self._nodes():
            for attribute in node.attribute:
                if len(attribute.floats):
                    owner = node.name or (node.output[0] if node.output else node.op_type)
                    yield f"{owner}.{attribute.name}", attribute.floats, "TreeEnsemble" in node.op_type

    def _pieces(self, name: str, tensor: Any, dtype: str, elements: int) -> Iterator[bytes | memoryview]:
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL or tensor.raw_data:
            yield from self._stretch(name, tensor, dtype, elements)
        elif tensor.float_data:
            yield np.asarray(tensor.float_data, "<f4").tobytes()
        elif tensor.double_data:
            yield np.asarray(tensor.double_data, "<f8").tobytes()
        elif tensor.int32_data:  # 16-bit and 8-bit floats, one a number
            yield np.asarray(tensor.int32_data).astype("<u2" if ITEM_BITS[dtype] == 16 else "u1").tobytes()
        elif elements:
            raise self._short(name)

    def _stretch(self, name: str, tensor: Any, dtype: str, elements: int) -> Iterator[bytes | memoryview]:
        """A tensor's bytes, inline or outside; checked to be all there before the first is given."""
        wanted = (elements * ITEM_BITS.get(dtype, 8) + 7) // 8
        if tensor.data_location != self._onnx.TensorProto.EXTERNAL:
            data = memoryview(tensor.raw_data)
            if len(data) < wanted:
                raise self._short(name)
            return (data[start : start + PIECE] for start in range(0, len(data), PIECE))
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = self._inside(entries.get("location", ""))
        size = path.stat().st_size
        try:
            first = int(entries.get("offset", 0))
            length = int(entries.get("length", wanted))
        except ValueError as error:
            raise InvalidInput(
                f"{self.path} says nonsense about where `{name}` lies in {path.name}."
            ) from error
        if first < 0 or length < wanted or first + length > size:
            raise InvalidInput(
                f"{path} is truncated: `{name}` of {self.path.name} lies at bytes {first} to {first + wanted}, "
                f"the file has {size}. Fetch both files again."
            )
        return pieces_of(path, first, wanted)

    def _short(self, name: str) -> InvalidInput:
        return InvalidInput(
            f"{self.path} is broken: its tensor `{name}` has fewer numbers than its shape says."
        )

    def _inside(self, location: str) -> Path:
        folder = self.path.parent.resolve()
        pure = PurePosixPath(location)
        path = folder / pure
        if (
            not location
            or pure.is_absolute()
            or "\\" in location
            or ".." in pure.parts
            or not path.resolve().is_relative_to(folder)
        ):
            raise InvalidInput(
                f"{self.path} keeps weights at {location!r}, outside of its own folder. A release holds only what lies beside the model: save it again with its external data there."
            )
        if not path.is_file():
            raise InvalidInput(
                f"{self.path} keeps weights in {location}, which is not there. Put that file beside it."
            )
        if path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
            raise InvalidInput(
                f"{path} is a Git LFS pointer, not the weights. Fetch them with `git lfs pull`."
            )
        return self.path.parent / pure


def external_files(path: Path) -> list[Path]:
    """The files that an ONNX model keeps its data in, sorted; none, and nothing is parsed, where none can be named.

    Raises: as ``OnnxGraph`` and its ``external_files``.
    """
    return OnnxGraph(path).external_files() if _mentions_external_data(path) else []


def _mentions_external_data(path: Path) -> bool:
    """Whether the word that external data cannot do without occurs; spares most models being parsed for it."""
    word, tail = b"location", b""
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            if word in tail + chunk:
                return True
            tail = chunk[-len(word) :]
    return False


def _with_subgraphs(nodes: Any) -> Iterator[Any]:
    """Nodes and, below them, those of their subgraphs; a stack, so that depth cannot overflow."""
    waiting = [iter(nodes)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
            continue
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                waiting.append(iter(attribute.g.node))
            waiting.extend(iter(graph.node) for graph in attribute.graphs)


def _size(axis: Any) -> Size:
    """Some exporters write a dynamic axis as 0 or -1."""
    if axis.HasField("dim_value"):
        return int(axis.dim_value) if axis.dim_value > 0 else None
    return str(axis.dim_param) or None


def look_at_onnx(known: Inspection, source: ModelSource, _: Callable[[], Signature]) -> Inspection:
    """What the protobuf tells; the model is not run."""
    from gradatim.models.predictor import refine

    graph = OnnxGraph(source.path)
    parameters, nonfinite = graph.weights()
    folder = source.path.parent
    return replace(
        known,
        external_data=tuple(_relative(file, folder) for file in graph.external_files()),
        opset=graph.opset,
        ir_version=int(graph.proto.ir_version),
        producer=graph.producer,
        signature=refine(source.name, graph.signature(), source.signature),
        parameters=parameters,
        nonfinite=tuple(nonfinite),
        operators=graph.operators(),
    )


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
