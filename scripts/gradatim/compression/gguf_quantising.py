"""A GGUF file whose matrices have fewer bits, in ggml's own types, which llama.cpp runs as it runs any other.

Rounded by the package ``gguf``, a stretch of rows at a time. It reads every type of ggml, and of those that round to integers it writes
five; the K types are written by llama.cpp alone. Which tensors stay as they are is llama.cpp's rule [1]_.

.. [1] ``tensor_allows_quantization`` and ``llama_tensor_get_type``, https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradatim.errors import InvalidInput, needs
from gradatim.models.gguf_file import GgufHeader, GgufTensor, gguf_header

_STAYS = (
    "_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight", "attn_rel_b.weight", "ssm_conv1d.weight",
    "shortconv.conv.weight", "per_layer_model_proj.weight", "altup", "laurel", "time_mix_",
)  # fmt: skip
"""Parts of the names of tensors that are small, and dear to round."""
_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"
_FILE_TYPE = struct.pack("<Q17sI", 17, b"general.file_type", 4)
"""How the setting begins that names the type of most tensors; its number follows."""
_STRETCH = 1 << 22
"""Numbers that are rounded at a time."""


def requantise(source: Path, out: Path, method: str) -> None:
    """Write a GGUF file with its matrices in a type of ggml (``q8_0``); the head, or the embedding that stands for it, in 8 bits.

    A tensor that takes fewer bits already stays as it is, and so does one whose rows are no whole number of blocks.

    Raises:
        InvalidInput: the file is broken or one part of several, or no tensor of it would become smaller.
        EnvironmentLacks: ``gguf`` is not installed.
    """
    with needs("gguf", "gguf", "Storing a GGUF file in fewer bits"):
        from gguf import LlamaFileType
    header = gguf_header(source)
    if header.settings.get("split.count", 1) != 1:
        raise InvalidInput(
            f"{source.name} is one part of a model in several files, which `llama-gguf-split --merge` makes one"
        )
    kinds = _kinds(header, method)
    if all(kinds[name].name == tensor.stored for name, tensor in header.tensors.items()):
        raise InvalidInput(f"its weights have as few bits as {method} already")
    every = header.settings.get("general.alignment", 32)
    out.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as given, out.open("wb") as file:
        said, place = given.read(header.listed), 0
        before, told, after = said.partition(_FILE_TYPE)
        number = struct.pack("<I", LlamaFileType[f"MOSTLY_{method.upper()}"]) if told else b""
        file.write(before + told + number + after[len(number) :])
        for name, tensor in header.tensors.items():
            sizes = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *reversed(tensor.shape))
            named = struct.pack("<Q", len(name.encode())) + name.encode()
            file.write(named + sizes + struct.pack("<IQ", kinds[name], place))
            place += -(-_bytes_of(kinds[name], prod(tensor.shape)) // every) * every
        for name, tensor in header.tensors.items():
            file.write(bytes(-file.tell() % every))
            _write(source, file, tensor, kinds[name])
        file.write(bytes(-file.tell() % every))


def _kinds(header: GgufHeader, method: str) -> Mapping[str, Any]:
    """Tensor -> the type of ggml that it shall have."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    head, found = _HEAD if _HEAD in header.tensors else _EMBEDDING, {}
    for name, tensor in header.tensors.items():
        if tensor.size is None:
            raise InvalidInput(f"its tensor `{name}` is of a type that is not known here ({tensor.stored})")
        kind = GGMLQuantizationType["Q8_0" if name == head else method.upper()]
        fits = len(tensor.shape) > 1 and tensor.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0
        changes = fits and name.endswith(".weight") and not any(part in name for part in _STAYS)
        smaller = changes and _bytes_of(kind, prod(tensor.shape)) < tensor.size
        found[name] = kind if smaller else GGMLQuantizationType[tensor.stored]
    return found


def _bytes_of(kind: Any, numbers: int) -> int:
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return int(numbers // block * size)


def _write(source: Path, file: IO[bytes], tensor: GgufTensor, kind: Any) -> None:
    """Write a tensor's bytes as they are, or rounded to another type."""
    from gguf import GGMLQuantizationType, quants

    if not tensor.size:
        return
    rows = prod(tensor.shape[:-1])
    data = np.memmap(source, np.uint8, "r", tensor.begin, (rows, tensor.size // rows))
    if kind.name == tensor.stored:
        file.write(data.data)
        return
    step = max(1, _STRETCH // tensor.shape[-1])
    for row in range(0, rows, step):
        weights = quants.dequantize(data[row : row + step], GGMLQuantizationType[tensor.stored])
        file.write(quants.quantize(weights, kind).tobytes())
