"""Rows that stand in two data sets, letter by letter or nearly, told by sketches of them: no row is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gradatim.data.batch import Batch
from gradatim.data.columns import Array
from gradatim.errors import InvalidInput

_MOST_NEAR = 50_000
"""Rows of each that near twins are looked for among: their sketches take 256 bytes a row, the others' 8."""

_PERMUTATIONS = 64
_ALIKE = 0.7
"""Share of three-word (or three-token) runs in common from which texts are near twins."""

_NUMBERS = 16
"""Of rows of fewer numbers some are near by nature: such twins are looked for among longer rows alone."""

_DIMENSIONS = 32
_LEARNT = 256
"""Rows, of the first, that tell how much each number varies."""

_ROUNDING = 1e-6
"""A number that varies by no more than this, beside the largest amount, does not vary."""

_APART = 0.01
"""Squared distance of near twins, as a share of their squared size, each number in standard deviations from its mean."""


@dataclass(frozen=True)
class Twins:
    """How many rows of a data set have a twin in others.

    Attributes:
        rows: rows that were looked at.
        exact: those whose inputs are another row's, to the last bit.
        near: those that are nearly another row, the exact ones included; None where rows do not lend themselves to it.
    """

    rows: int
    exact: int
    near: int | None


def twins(mine: Iterable[Batch], others: Iterable[Batch], *, near: bool = True) -> Twins:
    """Rows of one data set that are in others, too.

    Args:
        mine: batches of it, with the model's inputs.
        others: batches of the others.
        near: whether near twins are looked for, among the first 50 000 rows of each.

    Raises:
        InvalidInput: the two are not fed alike, so that no row could ever be another.
    """
    seen = _Sketches.of(others, None, near=near)
    asked = _Sketches.of(mine, seen.along, near=near)
    if asked.fed and seen.fed and asked.fed != seen.fed:
        mine_said, others_said = (", ".join(each) for each in (asked.fed, seen.fed))
        raise InvalidInput(
            f"The rows of training or calibration are fed as {others_said}, those of evaluation as {mine_said}: none could be "
            "another. Lay them out alike."
        )
    exact = np.isin(asked.digests, seen.digests)
    alike = None
    if asked.near is not None and seen.near is not None and asked.near.shape[1:] == seen.near.shape[1:]:
        found = _by_runs(asked.near, seen.near) if asked.text else _by_distance(asked.near, seen.near)
        alike = int((found | exact[: found.shape[0]]).sum() + exact[found.shape[0] :].sum())
    return Twins(asked.digests.shape[0], int(exact.sum()), alike)


@dataclass(frozen=True)
class _Sketches:
    """Digests of all rows, uint64 [n], and of the first ones what tells near twins: of text uint32 [k, 64], of numbers
    float32 [k, 32]; None where there is no telling. And how the inputs are fed, and along what numbers are told."""

    digests: NDArray[np.uint64]
    near: Array | None
    text: bool
    fed: tuple[str, ...]
    along: _Directions | None

    @classmethod
    def of(cls, batches: Iterable[Batch], along: _Directions | None, *, near: bool) -> _Sketches:
        digests: list[NDArray[np.uint64]] = []
        kept: list[Array] = []
        waiting: list[Array] = []  # rows of numbers, as long as too few are there to tell how they vary
        count, text = 0, False
        width = along.mean.shape if along is not None else ()
        fed: tuple[str, ...] = ()
        for batch in batches:
            fed = fed or _fed(batch)
            digests.append(np.fromiter(_digests(batch), np.uint64, len(batch)))
            if near and count < _MOST_NEAR:
                text = _is_text(batch)
                rows = _runs(batch) if text else _numbers(batch)
                waiting += [] if rows is None else [rows]
                width = width or (rows.shape[1:] if rows is not None else ())
                near = rows is not None and rows.shape[1:] == width
                if not text and along is None and count + len(batch) >= _LEARNT and near:
                    along = _Directions.of(np.concatenate(waiting))
                if near and (text or along is not None):
                    kept += waiting if text or along is None else map(along.told, waiting)
                    waiting = []
            count += len(batch)
        if near and waiting and (along := _Directions.of(np.concatenate(waiting))) is not None:
            kept += map(along.told, waiting)
        joined = np.concatenate(kept)[:_MOST_NEAR] if near and kept else None
        return cls(np.concatenate(digests) if digests else np.zeros(0, np.uint64), joined, text, fed, along)


def _fed(batch: Batch) -> tuple[str, ...]:
    """Each input with the number of its axes, in words."""
    axes = {name: np.ndim(values[0]) for name, values in sorted(batch.inputs.items())}
    return tuple(f"`{name}` of {count} axes" for name, count in axes.items())


def _digests(batch: Batch) -> Iterator[int]:
    names = sorted(batch.inputs)
    for row in range(len(batch)):
        digest = hashlib.blake2b(digest_size=8)
        for name in names:
            value = batch.inputs[name][row]
            if isinstance(value, str):
                digest.update(f"{name}:{value}\0".encode())
            else:
                array = np.asarray(value)
                if array.dtype.kind in "biuf":  # the same numbers, in whatever precision a file keeps them
                    array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
                digest.update(f"{name}:{array.shape}".encode())
                digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        yield int.from_bytes(digest.digest(), "little")


def _sequences(batch: Batch) -> Array | None:
    """The input that is read one word or token after the other."""
    for values in batch.inputs.values():
        if values.dtype == object and isinstance(values[0], str):
            return values
    return next(
        (v for n, v in batch.inputs.items() if v.dtype.kind in "iu" and v.ndim == 2 and "ids" in n), None
    )


def _is_text(batch: Batch) -> bool:
    return _sequences(batch) is not None


def _runs(batch: Batch) -> Array:
    """The lowest of 64 hashes of each row's runs of three words, uint32 [b, 64]: as many agree as runs are common [1]_.

    .. [1] Broder (1997), On the resemblance and containment of documents.
    """
    values = _sequences(batch)
    assert values is not None  # noqa: S101 (_is_text() looked)
    draw = np.random.default_rng(0)
    factors = draw.integers(1 << 62, 1 << 63, _PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    found = np.empty((len(batch), _PERMUTATIONS), np.uint32)
    for row, value in enumerate(values):
        words = (
            re.findall(r"\w+", value.lower()) if isinstance(value, str) else list(map(str, value.tolist()))
        )
        ends = range(max(1, len(words) - 2))
        runs = np.array([crc32(" ".join(words[at : at + 3]).encode()) for at in ends], np.uint64)
        found[row] = ((factors[:, None] * (runs + np.uint64(1))) >> np.uint64(32)).min(axis=1)
    return found


def _by_runs(mine: Array, others: Array) -> NDArray[np.bool_]:
    """Whether a row has most of its runs in common with one of the others, [k]; those that agree in none of 16 bands of four
    are not looked at."""
    found = np.zeros(mine.shape[0], np.bool_)
    for start in range(0, _PERMUTATIONS, 4):
        band = np.ascontiguousarray(others[:, start : start + 4]).view([("", others.dtype)] * 4).reshape(-1)
        asked = np.ascontiguousarray(mine[:, start : start + 4]).view([("", mine.dtype)] * 4).reshape(-1)
        distinct, first = np.unique(band, return_index=True)
        place = np.searchsorted(distinct, asked)
        place[place == distinct.shape[0]] = 0
        same = (distinct[place] == asked) & ~found
        rows = np.flatnonzero(same)
        found[rows] = (mine[rows] == others[first[place[rows]]]).mean(axis=1) >= _ALIKE
    return found


def _numbers(batch: Batch) -> Array | None:
    """Each row's numbers, float32 [b, k], 0 for a missing one; None for few, or where something else than numbers is fed."""
    tables = [v.reshape(len(batch), -1) for v in batch.inputs.values() if v.dtype.kind in "biuf"]
    if len(tables) != len(batch.inputs):
        return None
    with np.errstate(over="ignore"):
        table = np.concatenate(tables, axis=1).astype(np.float32)
    table[~np.isfinite(table)] = 0
    return table if table.shape[1] >= _NUMBERS else None


@dataclass(frozen=True)
class _Directions:
    """Random directions along which rows are told, in standard deviations from their mean.

    Attributes:
        mean: float32 [k].
        directions: float32 [k, 32].
    """

    mean: Array
    directions: Array

    @classmethod
    def of(cls, rows: Array) -> _Directions | None:
        """From rows that tell how much they vary, float32 [n, k]; None of such that do not."""
        deviation = rows.std(axis=0, dtype=np.float64)
        varies = deviation > _ROUNDING * np.maximum(rows.max(axis=0), -rows.min(axis=0))
        if not varies.any():
            return None
        drawn = np.random.default_rng(0).standard_normal((rows.shape[1], _DIMENSIONS))
        directions = drawn / np.where(varies, deviation, np.inf)[:, None]
        return cls(rows.mean(axis=0, dtype=np.float64).astype(np.float32), directions.astype(np.float32))

    def told(self, rows: Array) -> Array:
        """float32 [b, 32]."""
        return np.asarray((rows - self.mean) @ self.directions, np.float32)


def _by_distance(mine: Array, others: Array) -> NDArray[np.bool_]:
    """Whether a row lies beside one of the others, [k], as far as the directions tell (Johnson, Lindenstrauss 1984)."""
    from scipy.spatial import cKDTree

    sizes = np.linalg.norm(mine, axis=1)
    reach = np.sqrt(_APART) * sizes
    distances, _ = cKDTree(others).query(mine, distance_upper_bound=float(reach.max(initial=0)) + 1e-12)
    return np.asarray(distances <= reach)
