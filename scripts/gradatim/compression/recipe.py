"""What can be done to a model to make it smaller or faster, spelled out so that it can be repeated."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from gradatim.errors import UsageError
from gradatim.files import digest_of

Method = Literal["int8-dynamic", "int8-static", "int8-weights", "fp16"]

METHODS: tuple[Method, ...] = get_args(Method)
"""Every method there is.

``int8-dynamic``: MatMul and Gemm with int8 weights per channel, activations quantised call by call.
Convolutions are left alone: quantised this way they run several times slower. ``int8-static``: Conv, MatMul
and Gemm with activations in uint8 by ranges seen on calibration data, weights in int8 per channel.
``int8-weights``: weights are stored in int8 (MatMul and Gemm in blocks of 32 that the runtime computes with;
convolutions and recurrent layers are unpacked when the model is opened). ``fp16``: half precision, of use on
GPUs. The int8 methods store embedding tables in int8, row by row.
"""

DEFAULT_METHODS: tuple[Method, ...] = ("int8-dynamic", "int8-static", "int8-weights")

_REVISION = 2


@dataclass(frozen=True)
class Recipe:
    """A method with its settings.

    Attributes:
        fallback: nodes that are left out of the method, since the quality cannot bear it there. Their weights
            are stored in int8 all the same, so that little size is lost.
        reduce_range: 7-bit weights, for x86 processors without VNNI, whose 16-bit sums overflow otherwise.
        unpacked: for ``int8-weights``: all weights are unpacked when the model is opened. The file is small,
            the model as fast as before; for large batches and small products, on which blocks are slow.
    """

    method: Method
    fallback: tuple[str, ...] = ()
    reduce_range: bool = False
    unpacked: bool = False

    @property
    def name(self) -> str:
        """``int8-static``; with nodes left out, ``int8-static-mixed-4`` says how many."""
        if self.unpacked:
            return f"{self.method}-unpacked"
        return f"{self.method}-mixed-{len(self.fallback)}" if self.fallback else self.method

    @property
    def digest(self) -> str:
        """Digest of the settings and of the revision of the code that carries them out."""
        return digest_of({**asdict(self), "revision": _REVISION})


def recipes_for(methods: tuple[str, ...], flags: tuple[str, ...]) -> list[Recipe]:
    """The plain recipes of the methods named, for a processor with these instruction sets.

    Raises:
        UsageError: a method is unknown.
    """
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError(f"Unknown compression method {unknown[0]!r}. Known: {', '.join(METHODS)}.")
    saturates = platform.machine() in ("x86_64", "AMD64") and not {"avx512_vnni", "avx_vnni"} & set(flags)
    return [
        Recipe(method, reduce_range=saturates and method in ("int8-dynamic", "int8-static"))
        for method in METHODS
        if method in methods
    ]
