"""A GGUF file of a few tensors, written by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
SETTINGS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "small",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.embedding_scale": 1,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["<s>", "</s>", "a", "b"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.chat_template": CHAT,
}
_Q4_1, _F32 = 3, 0


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(said: Any) -> bytes:
    if isinstance(said, bool):
        return struct.pack("<I?", 7, said)
    if isinstance(said, int):
        return (
            struct.pack("<IQ", 10, said)
            if said >> 32 > 0
            else struct.pack("<Ii", 5, said)
            if said < 0
            else struct.pack("<II", 4, said)
        )
    if isinstance(said, list):
        return struct.pack("<IIQ", 9, 8, len(said)) + b"".join(map(text, said))
    return struct.pack("<I", 8) + text(said)


def write_gguf(path: Path, layers: int = 1, **changed: Any) -> Path:
    """A file with an embedding in Q4_1 and a norm for each layer; a setting of None is left out, `.` written `__`."""
    settings: Mapping[str, Any] = {
        **SETTINGS,
        **{key.replace("__", "."): said for key, said in changed.items()},
    }
    said = {key: one for key, one in settings.items() if one is not None}
    tensors = [("token_embd.weight", (4, 32), _Q4_1, 4 * 20)]
    tensors += [(f"blk.{layer}.attn_norm.weight", (32,), _F32, 128) for layer in range(layers)]
    head, offset = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(said)), 0
    head += b"".join(text(key) + value(one) for key, one in said.items())
    for name, shape, kind, size in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", kind, offset)
        offset += -(-size // 32) * 32
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(offset))
    return path
