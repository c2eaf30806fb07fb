"""Stored numbers, looked at in pieces: are there NaN or infinities among them?

Every dtype is judged by its bits, so that those which numpy lacks (bfloat16, float8) are seen too.

Sources: IEEE 754; Micikevicius et al. (2022), "FP8 formats for deep learning" (E4M3FN has no infinity and one
NaN a sign, E5M2 is IEEE-like, the FNUZ forms have the one NaN 0x80).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import reading
from gradatim.metrics.answers import REQUEST
from gradatim.models.layouts import safetensors_header
from gradatim.models.packed import numbers_in
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_SAFETENSORS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64",
}  # fmt: skip

PIECE = 1 << 22
"""Bytes read at a time; a multiple of every item's size."""

_EXPONENTS = {
    "float64": ("<u8", 0x7FF0 << 48, 0x7FFF_FFFF_FFFF_FFFF),
    "float32": ("<u4", 0x7F80 << 16, 0x7FFF_FFFF),
    "float16": ("<u2", 0x7C00, 0x7FFF),
    "bfloat16": ("<u2", 0x7F80, 0x7FFF),
    "float8_e5m2": ("u1", 0x7C, 0x7F),
}
_NAN_BYTES = {"float8_e4m3fn": (0x7F, 0xFF), "float8_e4m3fnuz": (0x80,), "float8_e5m2fnuz": (0x80,)}

ITEM_BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "complex64": 64, "complex128": 128,
    "float8_e5m2": 8, "float8_e4m3fn": 8, "float8_e4m3fnuz": 8, "float8_e5m2fnuz": 8, "float4_e2m1": 4,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4, "uint2": 2, "bool": 8,
}  # fmt: skip
"""Bits that one stored number takes."""


def has_nonfinite(dtype: str, pieces: Iterable[bytes | memoryview], *, bound: bool = False) -> bool:
    """Does a tensor, given as little-endian bytes in pieces, hold NaN, or an infinity that is no mask's?

    An infinity on purpose is let pass: a bound (of a Clip, the filling of a masked softmax), or a mask of
    nothing but zeros and infinities. NaN is never on purpose.

    Args:
        dtype: numpy's name, ``bfloat16``, or a float8 as ml_dtypes spells it; integers never hold either.
        pieces: each a whole number of items.
        bound: whether the tensor is a single number that bounds or fills, and so may be infinite.
    """
    if dtype.startswith("complex"):
        dtype = {"complex64": "float32", "complex128": "float64"}[dtype]
    if dtype in _NAN_BYTES:
        return any(bool(np.isin(np.frombuffer(piece, np.uint8), _NAN_BYTES[dtype]).any()) for piece in pieces)
    if dtype not in _EXPONENTS:
        return False
    unsigned, exponent, without_sign = _EXPONENTS[dtype]
    infinite = ordinary = zero = False
    for piece in pieces:
        bits = np.frombuffer(piece, unsigned)
        special = (bits & exponent) == exponent
        if special.any():
            if ((bits[special] & without_sign) != exponent).any():
                return True
            infinite = True
        if not ordinary:
            finite = bits[~special] & without_sign
            ordinary = bool(finite.any())
            zero = zero or bool((finite == 0).any())
    return infinite and not bound and (ordinary or not zero)


def is_zero(dtype: str, pieces: Iterable[bytes]) -> bool:
    """Is a tensor, given as little-endian bytes in pieces of whole items, nothing but zeros?

    Args:
        dtype: as safetensors spells it.
    """
    unsigned, _, without_sign = _EXPONENTS.get(_SAFETENSORS.get(dtype, ""), ("u1", 0, 0xFF))
    return not any((np.frombuffer(piece, unsigned) & without_sign).any() for piece in pieces)


def is_mask(array: NDArray[Any]) -> bool:
    """Is it a single number, or nothing but zeros and infinities, both of them?"""
    return array.ndim == 0 or bool((np.isinf(array) | (array == 0)).all() and (array == 0).any())


def pieces_of(path: Path, first: int, length: int) -> Iterator[bytes]:
    """A stretch of a file, ``PIECE`` bytes at a time.

    Raises:
        InvalidInput: the file ends before the stretch does.
    """
    with reading(path), path.open("rb") as file:
        file.seek(first)
        while length > 0:
            piece = file.read(min(PIECE, length))
            if not piece:
                raise InvalidInput(f"{path} is truncated: the model's weights go on behind its end.")
            length -= len(piece)
            yield piece


def _asked(source: ModelSource) -> Signature | None:
    """That of a model that is asked for text, which is the same for all of them."""
    declared = source.signature
    return declared if source.path.is_dir() and declared and declared.input(REQUEST) else None


def look_at_safetensors(
    known: Inspection, source: ModelSource, signature: Callable[[], Signature]
) -> Inspection:
    """What the headers and the bytes tell; a folder of no known encoder, or weights with a network, is loaded for its signature."""
    from gradatim.models.encoders import signature_of

    folder = source.path.is_dir()
    files = (
        [source.folder / name for name in known.files if name.endswith(".safetensors")]
        if folder
        else [source.path]
    )
    nonfinite = []
    producer = ""
    places = {}
    for file in files:
        tensors, metadata = safetensors_header(file)
        producer = producer or metadata.get("format", "")
        for name, (dtype, shape, first, end) in tensors.items():
            places[name] = (file, dtype, shape, first, end)
            kind = _SAFETENSORS.get(dtype)
            if kind and has_nonfinite(kind, pieces_of(file, first, end - first), bound=not shape):
                nonfinite.append(name)

    def integers(name: str) -> tuple[int, ...]:
        file, dtype, _, first, end = places[name]
        data = b"".join(pieces_of(file, first, min(end - first, PIECE)))
        return tuple(np.frombuffer(data, "<i8" if dtype == "I64" else "<i4").tolist())

    parameters = numbers_in(
        {name: (dtype, shape) for name, (_, dtype, shape, *_) in places.items()}, integers
    )
    return replace(
        known,
        parameters=parameters or None,
        nonfinite=tuple(nonfinite),
        producer=producer,
        signature=(_asked(source) or signature_of(source) or signature())
        if folder or source.factory is not None
        else source.signature,
    )
