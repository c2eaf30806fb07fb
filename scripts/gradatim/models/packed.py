"""How many numbers a safetensors file holds where several are packed into a stored word.

The layouts are those of GPTQ and AWQ (``qweight``), of compressed-tensors (``weight_packed``), of bitsandbytes (``weight.quant_state``),
and of blocks that share an exponent (MXFP4, NVFP4). Scales, zero points and orders only say how to unpack: they are none of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from math import prod

from gradatim.errors import InvalidInput

_WORD = 32
_BESIDE = {
    ".qweight": (".qzeros", ".scales", ".g_idx", ".bias_zeros"),
    "_packed": ("_scale", "_shape", "_zero_point", "_g_idx", "_global_scale"),
    "_blocks": ("_scales",),
    "": ("_scale", "_scale_2", "_scale_inv"),
}
"""How the name of a packed tensor ends -> how those beside it do."""

Stored = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> dtype, as safetensors spells it, and shape."""


def numbers_in(stored: Stored, read: Callable[[str], tuple[int, ...]]) -> int:
    """How many numbers the tensors of a model hold.

    Args:
        stored: all of its tensors.
        read: gives the integers that one holds.

    Raises:
        InvalidInput: a tensor that tells a matrix's shape tells none.
    """
    states = {name.partition(".quant_state.")[0] for name in stored if ".quant_state." in name}
    packed = {name: count for name in stored if (count := _packed(name, stored, states, read)) is not None}
    aside = {beside for name in packed for beside in _beside(name)}
    return sum(
        packed.get(name, prod(shape))
        for name, (_, shape) in stored.items()
        if name not in aside and not any(owner in states for owner in _owners(name))
    )


def _owners(name: str) -> Iterator[str]:
    """The tensors of which one could be a part, by its name."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _packed(
    name: str, stored: Stored, states: Set[str], read: Callable[[str], tuple[int, ...]]
) -> int | None:
    """The numbers in a tensor of words; None for one that holds what it seems to."""
    dtype, shape = stored[name]
    stem = name.removesuffix("_packed").removesuffix("_blocks")
    if name.endswith(".qweight") and len(shape) == 2:
        return _by_scales(name.removesuffix(".qweight"), shape, stored)
    if name.endswith("_packed") and f"{stem}_shape" in stored:
        sizes = read(f"{stem}_shape")
        if not sizes or min(sizes) < 1:
            raise InvalidInput(f"{stem}_shape is to tell the shape of a matrix, and tells {sizes}.")
        return prod(sizes)
    scaled = name != stem and (f"{stem}_scale" in stored or f"{stem}_scales" in stored)
    floats = stored.get(f"{name}_scale", ("",))[0].startswith("F8")
    if dtype == "U8" and (scaled or floats or name in states):
        return 2 * prod(shape)
    return None


def _by_scales(layer: str, shape: tuple[int, ...], stored: Stored) -> int | None:
    """GPTQ packs the inputs of a layer, one scale an output; AWQ packs the outputs."""
    scales, points, order = (
        stored.get(f"{layer}.{part}", ("", ()))[1] for part in ("scales", "qzeros", "g_idx")
    )
    if not scales:
        return None
    outputs = scales[-1]
    if shape[1] != outputs:
        return shape[0] * outputs
    if order:
        return order[0] * outputs
    bits = points[-1] * _WORD / outputs if points else 4
    return round(shape[0] * _WORD / bits) * outputs


def _beside(name: str) -> set[str]:
    ending = next(end for end in _BESIDE if name.endswith(end))
    stem = name.removesuffix(ending)
    return {f"{stem}{each}" for each in _BESIDE[ending]}
