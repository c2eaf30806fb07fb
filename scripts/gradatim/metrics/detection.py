"""Detection: boxes found in pictures, as COCO counts them; the picture is what is drawn, never the box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.boxes import areas, as_corners, overlaps
from gradatim.metrics.columns import Column
from gradatim.metrics.interpret import answer, labelled
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import SHARE, Floats, MetricSamples, absent
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

Ints = NDArray[np.int64]

_OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_SIZES = {
    "": (0.0, np.inf),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""Areas in square pixels [1]_.

.. [1] Lin et al. (2014), Microsoft COCO, arXiv:1405.0312; the protocol is that of pycocotools.
"""
_MOST = 100
"""Boxes of one class in one picture that count, the surest ones."""

_HALVES = 20
"""How often the pictures are halved to see how much fewer of them flatter."""

_LEFT_OUT = 256
"""Up to so many units are left out one at a time, more in so many blocks: cost stays flat."""


class DetectionScorer:
    """The average precisions of one model's boxes.

    Raises:
        InvalidInput: labels that are not [boxes, 5], a class outside the list.
    """

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, said = answer(task, predictions)
        truth = labelled(predictions)
        n = len(predictions)
        self._n, self._said_rows, self._true_rows = n, said, truth
        self._image, found = _kept(_rows_of(said, 6, f"`{name}`"), n)
        self._of, true = _kept(_rows_of(truth, 5, "the labels"), n)
        corners = as_corners(true[:, :4], task.boxes.label_form)
        self.labels: tuple[Label, ...] = task.labels or tuple(
            range(1 + int(max(found[:, 5].max(initial=-1), true[:, 4].max(initial=-1))))
        )
        _refuse_strange(found[:, 5], self._image, self.labels, f"`{name}`")
        _refuse_strange(true[:, 4], self._of, self.labels, "the labels")
        order = np.lexsort((-found[:, 4], found[:, 5], self._image))
        self._image, found = self._image[order], found[order]
        self._class, self._truth = found[:, 5].astype(np.int64), true[:, 4].astype(np.int64)
        self._inside = np.stack([_within(areas(corners), *each) for each in _SIZES.values()])
        self._status, kept = self._matched(found[:, :4], corners)
        self._image, self._class, self._status = self._image[kept], self._class[kept], self._status[kept]
        self._surest = np.argsort(-found[kept, 4], kind="stable")
        self._curves: dict[tuple[int, int], _Curve] = {}

    def _matched(self, boxes: Floats, truth: Floats) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Of each box, by size and overlap: 1 found something, 0 nothing, -1 does not count, int8 [n, 4, 10]; and whether it is
        among the surest."""
        width = len(self.labels)
        mine, theirs = self._image * width + self._class, self._of * width + self._truth
        outside = ~np.stack([_within(areas(boxes), *each) for each in _SIZES.values()])
        status = np.where(outside.T[:, :, None], -1, 0).astype(np.int8).repeat(len(_OVERLAPS), axis=2)
        order = np.argsort(theirs, kind="stable")
        keys, starts = np.unique(mine, return_index=True)
        stops = np.append(starts[1:], mine.shape[0])
        kept = np.arange(mine.shape[0]) - np.repeat(starts, stops - starts) < _MOST
        firsts, lasts = np.searchsorted(theirs[order], keys), np.searchsorted(theirs[order], keys, "right")
        ends = np.minimum(stops, starts + _MOST)
        for start, stop, first, last in np.stack([starts, ends, firsts, lasts], axis=1).tolist():
            if first < last:
                there = order[first:last]
                shares = overlaps(boxes[start:stop], truth[there])
                _match(shares, ~self._inside[:, there], status[start:stop])
        return status, kept

    def item_scores(self) -> NDArray[np.float32]:
        """Average precision at an overlap of one half within each picture, all classes together, [n]; 1 where nothing is to be
        found and nothing was."""
        found = np.ones(self._n, np.float32)
        wanted = np.bincount(self._of, minlength=self._n)
        by_image = self._surest[np.argsort(self._image[self._surest], kind="stable")]
        ends = np.searchsorted(self._image[by_image], np.arange(self._n + 1))
        for row in range(self._n):
            status = self._status[by_image[ends[row] : ends[row + 1]], 0, :1]
            if wanted[row]:
                found[row] = _precision(status, wanted[row])[0]
            elif status.shape[0]:
                found[row] = 0.0
        return found

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and boxes as an own metric gets them: object arrays [n] of [k, 5] and [k, 6], the latter by their corners."""
        whole = np.empty((2, self._n), object)
        for place, column in enumerate((self._true_rows, self._said_rows)):
            whole[place][:] = [column.item(row) for row in range(self._n)]
        return whole[0], whole[1]

    def samples(self, metric: str, rows: Ints, place: int | None, units: Units) -> MetricSamples:
        """``map``, at one overlap (``map_50``) or of one size (``map_small``), on some pictures, of one class or of all."""
        _, _, detail = metric.partition("_")
        size = list(_SIZES).index(detail if detail in _SIZES else "")
        at = [round((int(detail) / 100 - 0.5) / 0.05)] if detail.isdigit() else list(range(len(_OVERLAPS)))
        curves = [
            self._curve(each, size, rows, units)
            for each in (range(len(self.labels)) if place is None else [place])
        ]
        known = [each for each in curves if each.precision is not None]
        if not known:
            whose = "box" if place is None else f"box of {self.labels[place]}"
            return absent(
                metric, True, f"the data hold no {detail if size else ''} {whose}".replace("  ", " ")
            )
        value = float(np.mean([each.precision[at].mean() for each in known if each.precision is not None]))
        change = np.mean([each.change[:, at].mean(axis=1) for each in known], axis=0)
        blocks, n = change.shape[0], units.count
        influence = np.zeros(n)
        influence[:blocks] = change * np.sqrt(
            (blocks - 1) / blocks * n * (n - 1)
        )  # the first unit of each speaks for it
        return MetricSamples(
            metric,
            value,
            True,
            n,
            influence=influence - influence.mean(),
            jackknifed=True,
            flattery=max(0.0, float(np.mean([each.flattery[at].mean() for each in known]))),
            effect=1.0,
            **SHARE,
        )

    def _curve(self, place: int, size: int, rows: Ints, units: Units) -> _Curve:
        """A class's precision on some pictures, and what it changes when a unit is left out."""
        whole = rows.shape[0] == self._n
        if whole and (place, size) in self._curves:
            return self._curves[place, size]
        block = np.full(self._n, -1)
        block[rows] = (np.arange(rows.shape[0]) if units.codes is None else units.codes) % _LEFT_OUT
        of_class = self._surest[self._class[self._surest] == place]
        of_class = of_class[block[self._image[of_class]] >= 0]
        wanted = self._of[(self._truth == place) & self._inside[size]]
        found = _Curve.of(
            self._status[of_class, size],
            block[self._image[of_class]],
            block[wanted],
            min(units.count, _LEFT_OUT),
        )
        if whole:
            self._curves[place, size] = found
        return found


@dataclass(frozen=True)
class _Curve:
    """Attributes:
    precision: average precision at each overlap, [10]; None where nothing is to be found.
    change: by how much it exceeds that without each block, [blocks, 10].
    flattery: by how much it exceeds that of many pictures, [10]: the envelope of a precision that few pictures let waver lies
        too high, by a share that falls with the root of their number, as halves of them tell (tests/bench/task_coverage.py).
    """

    precision: Floats | None
    change: Floats
    flattery: Floats

    @classmethod
    def of(cls, status: NDArray[np.int8], block: Ints, wanted: Ints, blocks: int) -> _Curve:
        """Boxes, the surest first, [n, 10], with the block of each; and the block of each of what is to be found."""
        counts = np.bincount(wanted[wanted >= 0], minlength=blocks)
        total = int(counts.sum())
        change = np.zeros((blocks, len(_OVERLAPS)))
        if not total:
            return cls(None, change, change[0])
        precision = _precision(status, total)
        for each in np.union1d(block, np.flatnonzero(counts)):
            left = total - int(counts[each])
            # without the only unit of a class nothing is known of it: all that it may be
            change[each] = (
                precision - _precision(status[block != each], left)
                if left
                else np.maximum(precision, 1 - precision)
            )
        halves = [np.zeros(len(_OVERLAPS))]
        draw, side = np.random.default_rng(blocks), np.arange(blocks) < blocks // 2
        for _ in range(_HALVES):
            draw.shuffle(side)
            here = int(counts[side].sum())
            if 0 < here < total:
                parts = _precision(status[side[block]], here), _precision(status[~side[block]], total - here)
                halves.append(np.mean(parts, axis=0) - precision)
        more = np.mean(halves[1:] or halves, axis=0)
        return cls(precision, change, np.asarray(more / (np.sqrt(2) - 1)))


def _precision(status: NDArray[np.int8], wanted: int) -> Floats:
    """Mean over 101 recalls of the highest precision at each or beyond, by overlap, [t] of [n, t]."""
    hits = np.cumsum(status == 1, axis=0)
    said = hits + np.cumsum(status == 0, axis=0)
    precision = np.maximum.accumulate((hits / np.maximum(said, 1))[::-1])[::-1]
    found = np.zeros(status.shape[1])
    for place in range(status.shape[1] if status.shape[0] else 0):
        reached = np.searchsorted(hits[:, place] / wanted, _RECALLS)
        reached = reached[reached < status.shape[0]]
        found[place] = precision[reached, place].sum() / _RECALLS.shape[0]
    return found


def _match(shares: Floats, ignored: NDArray[np.bool_], status: NDArray[np.int8]) -> None:
    """Give each box, the surest first, the nearest that is still free, one that counts before one that does not.

    Args:
        shares: of overlap, [boxes, wanted].
        ignored: which of the wanted do not count, by size, [4, wanted].
        status: of the boxes, int8 [boxes, 4, 10]; written.
    """
    least = np.minimum(_OVERLAPS, 1 - 1e-10)[:, None]
    free = np.ones((ignored.shape[0], least.shape[0], ignored.shape[1]), np.bool_)
    counts = 2.0 * ~ignored[:, None, :]
    for row, share in enumerate(shares):
        if share.max() < least[0]:
            continue
        worth = np.where(free & (share >= least), share + counts, -1.0)
        best = worth.shape[2] - 1 - worth[:, :, ::-1].argmax(axis=2)
        sizes, steps = np.nonzero(worth.max(axis=2) >= 0)
        chosen = best[sizes, steps]
        free[sizes, steps, chosen] = False
        status[row, sizes, steps] = np.where(ignored[sizes, chosen], -1, 1)


def _rows_of(column: Column, width: int, whose: str) -> Column:
    """Boxes of every picture, one after the other, [boxes, width], with offsets."""
    values, offsets = column.values, column.offsets
    if offsets is None and values.ndim == 3:
        offsets = np.arange(values.shape[0] + 1) * values.shape[1]
        values = values.reshape(-1, values.shape[2])
    if offsets is None or column.names is not None or (values.shape[0] and values.shape[1:] != (width,)):
        raise InvalidInput(
            f"Detection needs [boxes, {width}] numbers for each picture, a box, {'its score ' if width == 6 else ''}and its class; "
            f"{whose} are {list(values.shape)}."
        )
    return Column(values.reshape(-1, width), offsets)


def _kept(rows: Column, n: int) -> tuple[Ints, Floats]:
    """The picture of each box, and the boxes; those of a class below zero fill up a row."""
    assert rows.offsets is not None  # noqa: S101 (_rows_of() made it)
    values = np.asarray(rows.values, np.float64)
    image = np.repeat(np.arange(n), np.diff(rows.offsets))
    there = values[:, -1] >= 0
    return image[there], values[there]


def _refuse_strange(classes: Floats, image: Ints, labels: tuple[Label, ...], whose: str) -> None:
    wrong = (classes != np.round(classes)) | (classes >= len(labels))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidInput(
            f"Row {image[first]} of {whose} has a box of class {classes[first]:g}; the classes are places from 0 to {len(labels) - 1} in "
            "the list of labels."
        )


def _within(sizes: Floats, low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((sizes >= low) & (sizes <= high))
