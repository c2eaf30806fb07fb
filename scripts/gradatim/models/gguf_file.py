"""The header of a GGUF file: what it says of itself and its tensors. No weight is read.

Source: the GGUF specification, version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md); versions 2 and 3 are laid out
alike.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gradatim.errors import InvalidInput

MAGIC = b"GGUF"
_MOST = 64 << 20
"""Bytes of a header: the largest vocabularies take a quarter of that, and weights are none of its settings."""
_MOST_LISTED = 4 << 20
"""Items of all lists together: three times what the largest vocabularies take; each takes up to eight times its bytes here."""
_TEXT, _LIST = 8, 9
_FORMS = {**dict(enumerate("BbHhIif?")), **dict(enumerate("Qqd", 10))}
"""struct's letter of each kind of number."""
_BLOCKS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1),
    25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""ggml's types by number: name, numbers in a block, bytes of a block."""


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: sizes from the outermost axis on, ggml's name of how it is stored, and where its bytes lie."""

    shape: tuple[int, ...]
    stored: str
    begin: int
    size: int | None


@dataclass(frozen=True)
class GgufHeader:
    """What a file says of itself: settings by name, tensors by name, and the place at which those begin to be listed."""

    settings: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]
    listed: int


def gguf_header(path: Path) -> GgufHeader:
    """Read a header.

    Raises:
        InvalidInput: the file is truncated, of another version, or says what cannot be.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path, path.stat().st_size)
        if reader.take(4) != MAGIC or reader.number("I") not in (2, 3):
            raise InvalidInput(f"{path} is no GGUF file of version 2 or 3. Convert the model again.")
        tensors, count = reader.count(24), reader.count(12)
        settings = {reader.text(): reader.value(reader.number("I")) for _ in range(count)}
        begin = file.tell()
        listed = [reader.tensor() for _ in range(tensors)]
        if (len(settings), len({name for name, *_ in listed})) != (count, tensors):
            raise reader.broken("a name twice, and another reader may take the other")
        every = settings.get("general.alignment", 32)
        if not isinstance(every, int) or every < 1:
            raise reader.broken("an alignment that is none")
        start = math.ceil(file.tell() / every) * every
    found = {}
    for name, shape, kind, offset in listed:
        stored, items, width = _BLOCKS.get(kind, (f"type {kind}", 1, 0))
        size = math.prod(shape) // items * width if width else None
        if start + offset + (size or 0) > reader.size:
            raise InvalidInput(
                f"{path} is truncated: `{name}` ends behind the end of the file. Fetch it again."
            )
        found[name] = GgufTensor(shape, stored, start + offset, size)
    return GgufHeader(settings, found, begin)


class _Reader:
    """Takes values from a file that may end too early or announce more than it has."""

    def __init__(self, file: IO[bytes], path: Path, size: int) -> None:
        self._file, self._path, self.size = file, path, size
        self._left, self._listed = min(size, _MOST), 0

    def take(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise self.broken("an end in the middle of its header, or too long a one")
        return self._file.read(count)

    def broken(self, what: str) -> InvalidInput:
        return InvalidInput(f"{self._path} is truncated or damaged: it has {what}. Fetch it again.")

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(form)))[0]

    def count(self, least: int) -> int:
        """A number of things of so many bytes at least."""
        found = int(self.number("Q"))
        if found * least > self.size:
            raise self.broken(f"{found} things announced, more than it can hold")
        return found

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self.text()
        if kind == _LIST:
            inner, count = self.number("I"), self.count(1)
            self._listed += count
            if self._listed > _MOST_LISTED:
                raise self.broken(f"lists of {self._listed} things, more than any model")
            if inner in _FORMS:
                return list(
                    struct.unpack(
                        f"<{count}{_FORMS[inner]}", self.take(count * struct.calcsize(_FORMS[inner]))
                    )
                )
            if inner == _TEXT:
                return [self.text() for _ in range(count)]
        if kind in _FORMS:
            return self.number(_FORMS[kind])
        raise self.broken("a value of a kind that does not exist")

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, axes = self.text(), self.number("I")
        if axes > 8:
            raise self.broken(f"a tensor of {axes} axes")
        sizes = tuple(reversed([int(self.number("Q")) for _ in range(axes)]))
        if math.prod(sizes) >> 63:
            raise self.broken("a tensor of more numbers than can be counted")
        return name, sizes, int(self.number("I")), int(self.number("Q"))
