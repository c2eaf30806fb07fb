"""A Hugging Face folder whose matrices have fewer bits, which transformers and vLLM open as they open any other.

The layout is `pack-quantized` of compressed-tensors [1]_: rounded to integers about nought, packed into words of 32 bits, lowest bits
first, with a scale a row (8 bits) or for 32 numbers of a row (4 bits). Weights are read and written a stretch at a time.

.. [1] https://github.com/vllm-project/compressed-tensors
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import read_json, write_json
from gradatim.models.layouts import Tensors, safetensors_header

Floats = NDArray[np.float32]

_ITEM = {"F32": 4, "F16": 2, "BF16": 2}
_GROUP = {4: 32, 8: None}
"""How many numbers of a row share a scale, by bits; None: all of them."""
_NARROWED = (1.0, 0.94, 0.88, 0.82)
"""Parts of the largest number at which the range may end, for 4 bits: cutting one off may cost less than rounding all coarsely."""
_STRETCH = 1 << 22
_INDEX = "model.safetensors.index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".onnx", ".gguf", ".h5", ".msgpack")


def pack(folder: Path, out: Path, bits: int) -> None:
    """Write a folder of a language model with its linear layers in 4 or 8 bits; embeddings and the head stay as they are.

    Raises:
        InvalidInput: its weights have fewer bits already, or it has none that could be stored so.
    """
    config = read_json(folder / "config.json")
    if already := config.get("quantization_config"):
        raise InvalidInput(
            f"its weights are stored in fewer bits already ({already.get('quant_method', 'quantization_config')})"
        )
    layers, head = _linear_layers(folder)
    index = read_json(folder / _INDEX)["weight_map"] if (folder / _INDEX).is_file() else {}
    tables = {
        name: safetensors_header(folder / name)[0]
        for name in sorted({*index.values()} or {"model.safetensors"})
    }
    chosen = {
        layer
        for table in tables.values()
        for name, (dtype, shape, *_) in table.items()
        if (layer := name.removesuffix(".weight")) in layers - head and _fits(dtype, shape, bits)
    }
    if not chosen:
        raise InvalidInput(
            "it has no linear layer of `torch.nn.Linear` besides its head, whose weights could be stored in fewer bits (those of GPT-2 "
            "are another class, Conv1D)"
        )
    copy_beside(folder, out)
    placed: dict[str, str] = {}
    for name, table in tables.items():
        placed |= dict.fromkeys(_write(folder / name, out / name, table, chosen, bits), name)
    write_json(out / "config.json", {**config, "quantization_config": _said(bits, layers - chosen)})
    if index:
        size = sum((out / name).stat().st_size for name in tables)
        write_json(out / _INDEX, {"metadata": {"total_size": size}, "weight_map": placed})


def copy_beside(folder: Path, out: Path) -> None:
    """Copy what lies beside the weights: config, tokenizer, template, licence."""
    out.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if file.is_file() and file.suffix not in _WEIGHTS and file.name != _INDEX:
            shutil.copyfile(file, out / file.name)


def _linear_layers(folder: Path) -> tuple[set[str], set[str]]:
    """The names of the network's linear layers, and of those that are its head; it is built without weights."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    with torch.device("meta"):
        own = getattr(transformers, next(iter(config.architectures or ()), ""), None)
        network = (
            own(config)
            if own
            else transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        )
    head = network.get_output_embeddings()
    found = {name: layer for name, layer in network.named_modules() if type(layer) is torch.nn.Linear}
    return {*found}, {name for name, layer in found.items() if layer is head}


def _fits(dtype: str, shape: tuple[int, ...], bits: int) -> bool:
    return dtype in _ITEM and len(shape) == 2 and shape[1] % (_GROUP[bits] or 1) == 0


def _said(bits: int, left: Collection[str]) -> dict[str, Any]:
    group = _GROUP[bits]
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    weights = {"num_bits": bits, "type": "int", "symmetric": True, **strategy}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": sorted(left),
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def _write(path: Path, out: Path, table: Tensors, chosen: Collection[str], bits: int) -> list[str]:
    """Write one file's tensors; gives their names."""
    placed, place = dict[str, _Place](), 0
    for name, (dtype, shape, first, end) in table.items():
        layer = name.removesuffix(".weight")
        made = (
            _packed_shapes(layer, dtype, shape, bits)
            if layer in chosen
            else {name: (dtype, shape, end - first)}
        )
        for each, (kind, axes, size) in made.items():
            placed[each] = _Place(kind, axes, place, place + size)
            place += size
    entries = {name: one.entry for name, one in placed.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    with out.open("wb") as file, path.open("rb") as given:
        file.write(struct.pack("<Q", len(header)) + header)
        begin = file.tell()
        for name, (dtype, shape, first, end) in table.items():
            layer = name.removesuffix(".weight")
            if layer in chosen:
                into = [begin + placed[f"{name}_{part}"].first for part in ("packed", "scale", "shape")]
                _pack_matrix(given, file, (dtype, shape, first), into, bits)
                continue
            given.seek(first)
            file.seek(begin + placed[name].first)
            for left in range(end - first, 0, -_STRETCH):
                file.write(given.read(min(_STRETCH, left)))
    return [*placed]


@dataclass(frozen=True)
class _Place:
    dtype: str
    shape: tuple[int, ...]
    first: int
    end: int

    @property
    def entry(self) -> dict[str, Any]:
        """As it stands in the header."""
        return {"dtype": self.dtype, "shape": self.shape, "data_offsets": [self.first, self.end]}


def _packed_shapes(
    layer: str, dtype: str, shape: tuple[int, ...], bits: int
) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Name -> dtype, shape and bytes of what stands for a layer's matrix."""
    rows, columns = shape
    words, scales = -(-columns * bits // 32), columns // (_GROUP[bits] or columns)
    return {
        f"{layer}.weight_packed": ("I32", (rows, words), rows * words * 4),
        f"{layer}.weight_scale": (dtype, (rows, scales), rows * scales * _ITEM[dtype]),
        f"{layer}.weight_shape": ("I64", (2,), 16),
    }


def _pack_matrix(
    given: IO[bytes], file: IO[bytes], tensor: tuple[str, tuple[int, ...], int], into: list[int], bits: int
) -> None:
    dtype, (rows, columns), first = tensor
    every = max(1, _STRETCH // columns)
    given.seek(first)
    for row in range(0, rows, every):
        count = min(every, rows - row)
        values = as_floats(given.read(count * columns * _ITEM[dtype]), dtype).reshape(count, columns)
        packed, scales = rounded(values, dtype, bits)
        for place, data in zip(into, (packed, scales), strict=False):
            file.seek(place + row * (len(data) // count))
            file.write(data)
    file.seek(into[2])
    file.write(np.array([rows, columns], "<i8").tobytes())


def rounded(values: Floats, dtype: str, bits: int) -> tuple[bytes, bytes]:
    """A matrix [r, c] as its words [r, c * bits / 32] and its scales [r, c / group], in the dtype that these are stored in."""
    rows, columns = values.shape
    most = 1 << (bits - 1)
    groups = values.reshape(rows, -1, _GROUP[bits] or columns)
    largest = np.abs(groups).max(-1, keepdims=True)
    best, error = np.zeros_like(groups), np.full_like(largest, np.inf)
    scale = np.ones_like(largest)
    for part in _NARROWED if bits == 4 else (1.0,):
        raw = as_bytes(np.where(largest > 0, largest * (part / (most - 0.5)), 1), dtype)
        tried = as_floats(raw, dtype).reshape(largest.shape)
        tried = np.where(tried > 0, tried, 1)  # too small a number for the dtype
        whole = np.clip(np.rint(groups / tried), -most, most - 1)
        lost = ((whole * tried - groups) ** 2).sum(-1, keepdims=True)
        better = lost < error
        best, error = np.where(better, whole, best), np.where(better, lost, error)
        scale = np.where(better, tried, scale)
    return _words(best.reshape(rows, columns), bits), as_bytes(scale, dtype)


def _words(whole: Floats, bits: int) -> bytes:
    """Integers [r, c], moved to begin at nought, as words; the last of a row is filled up."""
    each = 32 // bits
    moved = (whole + (1 << (bits - 1))).astype(np.uint32)
    moved = np.pad(moved, ((0, 0), (0, -moved.shape[1] % each))).reshape(len(moved), -1, each)
    words = moved[..., 0].copy()
    for place in range(1, each):
        words |= moved[..., place] << np.uint32(place * bits)
    return words.astype("<u4").tobytes()


def as_floats(data: bytes, dtype: str) -> Floats:
    """Numbers as safetensors stores them."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.frombuffer(data, "<f2" if dtype == "F16" else "<f4").astype(np.float32)


def as_bytes(values: Floats, dtype: str) -> bytes:
    """The nearest that safetensors can store."""
    if dtype == "BF16":
        bits = values.astype("<f4").view(np.uint32)
        return (
            ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))
            .astype("<u2")
            .tobytes()
        )
    return values.astype("<f2" if dtype == "F16" else "<f4").tobytes()
