"""Weights in fewer bits for models that do not fit one message: tensor by tensor, from file to file.

The graph alone is read. No more is in memory than the largest tensor and a few stretches of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.forms.blocks import ACCURACY, block_of
from gradatim.compression.forms.stored import per_channel
from gradatim.errors import InvalidInput

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

BITS = {"int8-weights": 8, "int4-weights": 4}
"""Methods that a model of any size can take, and the bits of its matrices; tables of embeddings take eight."""

_STRETCH = 1 << 22  # numbers worked on at a time
_TINY = np.finfo(np.float32).tiny  # by which noughts can be divided
_PAGE = 4096
_SMALLEST = 1024


def stream(path: Path, out: Path, bits: int) -> None:
    """Write an ONNX model with its matrices in blocks and its embedding tables by the row; all else stays as it is.

    Raises:
        InvalidInput: it keeps its weights in the graph's own file, or has none that could be stored so.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graph.name_nodes(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{out}.data").open("wb") as file:
        store = _Store(path.parent, file, f"{out.name}.data")
        changed = [each for node in model.graph.node for each in _smaller(model, node, bits, store)]
        if not store.made:
            raise InvalidInput(
                "it keeps no matrix of 32-bit floats outside of its graph, to be stored in fewer bits"
            )
        graph.replace_nodes(model.graph, changed)
        used = graph.users(model)
        kept = [store.copied(tensor) for tensor in model.graph.initializer if used[tensor.name]]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *store.made.values()])
    if all(entry.domain != "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    out.write_bytes(model.SerializeToString(deterministic=True))


@dataclass
class _Store:
    """The weights' file: what was written to it, by name."""

    folder: Path
    file: IO[bytes]
    location: str

    def __post_init__(self) -> None:
        self.made: dict[str, TensorProto] = {}

    def read(self, tensor: TensorProto) -> NDArray[np.float32]:
        """A tensor of floats that lies outside of the graph."""
        told = {entry.key: entry.value for entry in tensor.external_data}
        shape = tuple(tensor.dims)
        return np.fromfile(
            self.folder / told["location"], "<f4", int(np.prod(shape)), offset=int(told.get("offset", 0))
        ).reshape(shape)

    def write(self, name: str, kind: int, shape: tuple[int, ...], pieces: Iterator[NDArray[Any]]) -> None:
        """Add a tensor, piece by piece."""
        begins = self._begin()
        for piece in pieces:
            self.file.write(np.ascontiguousarray(piece).data)
        self.made[name] = self._placed(name, kind, shape, begins)

    def copied(self, tensor: TensorProto) -> TensorProto:
        """A tensor as it is, its bytes in this file where they lay in another."""
        told = {entry.key: entry.value for entry in tensor.external_data}
        if "location" not in told:
            return tensor
        begins = self._begin()
        source = self.folder / told["location"]
        left = int(told.get("length") or source.stat().st_size)
        with source.open("rb") as data:
            data.seek(int(told.get("offset", 0)))
            while piece := data.read(min(left, _STRETCH)):
                self.file.write(piece)
                left -= len(piece)
        return self._placed(tensor.name, tensor.data_type, tuple(tensor.dims), begins)

    def _begin(self) -> int:
        self.file.write(bytes(-self.file.tell() % _PAGE))  # so that the runtime can map it
        return self.file.tell()

    def _placed(self, name: str, kind: int, shape: tuple[int, ...], begins: int) -> TensorProto:
        from onnx import StringStringEntryProto, TensorProto

        places = {"location": self.location, "offset": str(begins), "length": str(self.file.tell() - begins)}
        return TensorProto(
            name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL,
            external_data=[StringStringEntryProto(key=key, value=value) for key, value in places.items()],
        )  # fmt: skip


def _smaller(model: ModelProto, node: NodeProto, bits: int, store: _Store) -> Iterator[NodeProto]:
    """The nodes in the place of one."""
    constants = graph.weights(model.graph)
    weight = constants.get(node.input[0 if node.op_type == "Gather" else 1]) if len(node.input) > 1 else None
    if (
        weight is None
        or not weight.external_data
        or len(weight.dims) != 2
        or np.prod(weight.dims) < _SMALLEST
    ):
        yield node
    elif node.op_type == "Gather" and node.name in graph.tables(model):
        yield from _looked_up(node, weight, store)
    elif node.op_type == "MatMul" or (node.op_type == "Gemm" and graph.is_product(node)):
        yield from _multiplied(node, weight, bits, store)
    else:
        yield node


def _multiplied(node: NodeProto, weight: TensorProto, bits: int, store: _Store) -> Iterator[NodeProto]:
    from onnx import TensorProto, helper

    turned = any(a.name == "transB" and a.i for a in node.attribute)
    width, depth = weight.dims if turned else (weight.dims[1], weight.dims[0])
    block = block_of(depth, bits)
    blocks = -(-depth // block)
    name = f"{weight.name}.{'turned' if turned else 'packed'}{bits}"
    if name not in store.made:
        whole = store.read(weight)
        rows = whole if turned else whole.T
        scales = np.empty((width, blocks), np.float32)
        shape = (width, blocks, block * bits // 8)
        store.write(name, TensorProto.UINT8, shape, _packed(rows, bits, scales))
        store.write(f"{name}.scale", TensorProto.FLOAT, (width * blocks,), iter([scales]))
    biased = len(node.input) > 2 and bool(node.input[2])
    product = f"{node.name}.product" if biased else node.output[0]
    yield helper.make_node(
        "MatMulNBits", [node.input[0], name, f"{name}.scale"], [product], name=node.name, domain="com.microsoft",
        K=depth, N=width, bits=bits, block_size=block, accuracy_level=ACCURACY,
    )  # fmt: skip
    if biased:
        yield helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}.bias")


def _packed(rows: NDArray[np.float32], bits: int, scales: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """Rows [n, k] in blocks along k, as the runtime takes them; the blocks' scales are filled in."""
    most, middle = (1 << bits - 1) - 1, 1 << bits - 1
    step, block = max(1, _STRETCH // rows.shape[1]), block_of(rows.shape[1], bits)
    for start in range(0, len(rows), step):
        stretch = np.ascontiguousarray(rows[start : start + step])
        padded = np.pad(stretch, ((0, 0), (0, -stretch.shape[1] % block))).reshape(len(stretch), -1, block)
        scale = np.abs(padded).max(axis=2) / most
        scales[start : start + step] = scale
        numbers = np.rint(padded / np.maximum(scale, _TINY)[..., None]).astype(np.int16) + middle
        codes: NDArray[np.uint8] = numbers.astype(np.uint8)
        yield codes if bits == 8 else (codes[..., ::2] | codes[..., 1::2] << np.uint8(4)).astype(np.uint8)


def _looked_up(node: NodeProto, table: TensorProto, store: _Store) -> Iterator[NodeProto]:
    """A table by the row in int8, as ``forms.rows`` has it."""
    from onnx import TensorProto, helper

    name, out = f"{table.name}.packed8", node.output[0]
    if name not in store.made:
        whole = store.read(table)
        scales = np.empty((len(whole), 1), np.float32)
        step = max(1, _STRETCH // whole.shape[1])

        def pieces() -> Iterator[NDArray[np.int8]]:
            for start in range(0, len(whole), step):
                numbers, scales[start : start + step] = per_channel(whole[start : start + step], 0)
                yield numbers

        store.write(name, TensorProto.INT8, tuple(table.dims), pieces())
        store.write(f"{name}.scale", TensorProto.FLOAT, scales.shape, iter([scales]))
    rows, plain = node.input[1], f"{out}.float"
    yield helper.make_node("Gather", [name, rows], [f"{out}.packed"], name=f"{node.name}.rows", axis=0)
    yield helper.make_node("Cast", [f"{out}.packed"], [plain], name=f"{node.name}.cast", to=TensorProto.FLOAT)
    yield helper.make_node(
        "Gather", [f"{name}.scale", rows], [f"{out}.scale"], name=f"{node.name}.scales", axis=0
    )
    yield helper.make_node("Mul", [plain, f"{out}.scale"], [out], name=f"{node.name}.unpack")
