"""The range by which a tensor is quantised where all that was seen is too much: outliers are cut off, so that the rest has finer steps.

What the tensors hold is counted once, batch by batch, in bins that are finer towards nought; each kind of range is a row here and a
function of these counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.compression import graph
from gradatim.compression.observing import Observed
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Ends = tuple[float, float]

_BINS = 1024  # on each side of nought
_MOST = 1 << 18  # numbers of a tensor that are counted in one batch, evenly picked
_TOGETHER = 1 << 25  # numbers that are held at once: 128 MB
_LEVELS = 255
_TAIL = 5e-5  # on each side: 99.99 % lie between
_DRAWN_IN = 0.5 ** (np.arange(40) / 4)  # down to a thousandth
_SWEEPS = 2
_TINY = 1e-9


def narrowed(
    kind: str, model: ModelProto, seen: Mapping[str, Observed], batches: Sequence[Path], kept: Path
) -> dict[str, Ends]:
    """Tensor -> its range of a kind, which holds nought and lies within all that was seen.

    Args:
        kind: of RANGES.
        model: is left as it is.
        seen: what ``observe`` found of the tensors.
        batches: calibration batches as .npz, read one at a time.
        kept: file that keeps the counts, so that one count serves for every kind.
    """
    if not kept.exists():
        names, rows = [*seen], _counted(model, seen, batches)
        with kept.open("wb") as file:
            np.savez(file, names=np.array(names), counts=np.array([rows[name] for name in names]))
    with np.load(kept) as found:
        counted = dict(zip(map(str, found["names"]), found["counts"], strict=True))
    ranges = {}
    for name, one in seen.items():
        values, counts = _values() * _largest(one), counted[name]
        some = counts > 0
        ranges[name] = RANGES[kind](counts[some], values[some], *one.bounds) if some.any() else one.bounds
    return ranges


def percentile(counts: Counts, values: Values, low: float, high: float) -> Ends:
    """What 99.99 % lie in."""
    share = np.cumsum(counts) / counts.sum()
    first, last = (values[np.searchsorted(share, part)] for part in (_TAIL, 1 - _TAIL))
    return max(low, min(first, 0.0)), min(high, max(last, 0.0))


def mse(counts: Counts, values: Values, low: float, high: float) -> Ends:
    """By which the mean squared error is least: of rounding inside, of cutting off outside."""

    def lost(low: float, high: float) -> float:
        cut = np.clip(values, low, high) - values
        step = (high - low) / _LEVELS
        return float((counts * np.where(cut == 0, step**2 / 12, cut**2)).sum())

    return _least(lost, low, high)


def entropy(counts: Counts, values: Values, low: float, high: float) -> Ends:
    """By which the rounded distribution tells most of the whole one, by Kullback and Leibler's divergence [1]_.

    .. [1] Migacz (2017), 8-bit inference with TensorRT.
    """
    widths = np.sqrt(np.abs(values)) + _TINY  # of the bins, as parts of one another

    def lost(low: float, high: float) -> float:
        inside = (values >= low) & (values <= high)
        if not inside.any():
            return np.inf
        whole, width = counts[inside].astype(np.float64), widths[inside]
        level = np.rint((values[inside] - low) / ((high - low) / _LEVELS)).astype(np.int64)
        rounded = np.bincount(level, whole)[level] * width / np.bincount(level, width)[level]
        whole[0] += counts[values < low].sum()
        whole[-1] += counts[values > high].sum()
        return float((whole * np.log(whole / whole.sum() * rounded.sum() / rounded)).sum())

    return _least(lost, low, high)


RANGES: Mapping[str, Callable[[Counts, Values, float, float], Ends]] = {
    "mse": mse,
    "percentile": percentile,
    "entropy": entropy,
}
"""Kind of range -> the function of counts [b], of the numbers that they stand for [b], rising, and of all that was seen."""


def _least(lost: Callable[[float, float], float], low: float, high: float) -> Ends:
    """The ends drawn in, one and then the other, to where the least is lost."""
    ends = low, high
    for _ in range(_SWEEPS):
        ends = min(((ends[0], high * part) for part in _DRAWN_IN), key=lambda each: lost(*each))
        ends = min(((low * part, ends[1]) for part in _DRAWN_IN), key=lambda each: lost(*each))
    return float(ends[0]), float(ends[1])


def _counted(model: ModelProto, seen: Mapping[str, Observed], batches: Sequence[Path]) -> dict[str, Counts]:
    from onnx import TensorProto, helper, numpy_helper

    watched = copy.deepcopy(model)
    constants = {"all/flat": [-1], "all/first": [0], "all/last": [np.iinfo(np.int64).max]}
    for name, one in seen.items():
        constants[f"{name}/step"] = [-(-one.size // _MOST) or 1]
        places = ["all/first", "all/last", "all/first", f"{name}/step"]
        watched.graph.node.append(helper.make_node("Reshape", [name, "all/flat"], [f"{name}/row"]))
        watched.graph.node.append(helper.make_node("Slice", [f"{name}/row", *places], [f"{name}/some"]))
        watched.graph.output.append(helper.make_tensor_value_info(f"{name}/some", TensorProto.FLOAT, None))
    watched.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()
    )
    session = graph.session(watched)
    counts = {name: np.zeros(2 * _BINS, np.int64) for name in seen}
    for path in batches:
        inputs = load_inputs(path)
        for names in _groups(seen):
            for name, value in zip(names, session.run([f"{n}/some" for n in names], inputs), strict=True):
                counts[name] += _histogram(value, _largest(seen[name]))
    return counts


def _groups(seen: Mapping[str, Observed]) -> Iterator[list[str]]:
    """As many tensors as may be held at once; the model runs once for each group."""
    group: list[str] = []
    held = 0
    for name, one in seen.items():
        size = min(one.size, _MOST)
        if group and held + size > _TOGETHER:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group


def _histogram(value: NDArray[Any], largest: float) -> Counts:
    """Noughts do not count: every range holds them as they are."""
    flat = value.ravel()
    flat = flat[:: -(-flat.size // _MOST) or 1].astype(np.float64) / (largest or 1.0)
    flat = flat[flat != 0]
    bins = np.histogram(np.sign(flat) * np.sqrt(np.abs(flat)), 2 * _BINS, (-1, 1))[0]
    return bins.astype(np.int64)


def _values() -> Values:
    """The middle of each bin, as a part of the largest number."""
    middle = (np.arange(2 * _BINS) + 0.5) / _BINS - 1
    return np.sign(middle) * middle**2


def _largest(one: Observed) -> float:
    return max(map(abs, one.bounds))
