"""Regression: errors in the unit of the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column, chunks, forget
from gradatim.metrics.interpret import answer, labelled
from gradatim.metrics.outputs import finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import Floats, MetricSamples, absent, mean_samples
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

_MOST_TARGETS = 64
"""An item with more numbers, or with as many as its size asks for, is a map (pixels, moments): no number is a target
of its own."""


_EXCHANGED = -1.0
"""The ``r2`` of rows that are given another row's answer."""


class RegressionScorer:
    """The metrics of one model's numbers. The numbers of an item count alike, and so do the items.

    ``r2`` is the mean over the targets; over a map's numbers taken together, for they are no targets.

    Raises:
        InvalidInput: outputs and labels of different shapes, NaN, text.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        truth = labelled(predictions)
        if column.names or truth.names:
            whose = f"`{name}` gives" if column.names else "the labels are"
            raise InvalidInput(f"Regression needs numbers, and {whose} text.")
        self._said, self._wanted = flat(column), flat(truth)
        refuse_other_sizes(name, self._said, self._wanted)
        finite(self._said.values, name)
        finite(self._wanted.values, "label")
        self._is_map = self._said.offsets is not None or self._said.values.shape[1] > _MOST_TARGETS
        # by item: how many numbers, mean absolute error, mean squared error, sum and sum of squares of the target
        self._items = _by_item(self._said, self._wanted)

    def item_scores(self) -> NDArray[np.float32]:
        """Minus the mean absolute error of each item, [n], so that more is better."""
        return np.asarray(-self._items[:, 1], np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and predictions as an own metric gets them: [n]; [n, d] for several numbers an item; where their
        count differs, an object array [n] of arrays [d]."""
        return plain(self._wanted), plain(self._said)

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows."""
        if not rows.shape[0]:
            return absent(metric, metric == "r2", "there is no sample")
        absolute, squares = self._items[rows, 1:3].T
        other, farthest = self._blind(rows)
        if metric == "mae":
            value = float(units.weighed(absolute).mean())
            blind = {"exchanged": math.sqrt(other), "spoiled": math.sqrt(farthest)}
            told = {name: partial(_spoiled, value, worst) for name, worst in blind.items()}
            return mean_samples(
                metric, absolute, units, False, low_limit=0.0, farthest=told["spoiled"], **told
            )
        if metric == "rmse":
            return root_mean_square(squares, units, other, farthest)
        if metric == "r2":
            found = self._r2_of_map(rows, units) if self._is_map else self._r2(rows, units)
            if found.value is None:
                return found
            return replace(found, farthest=partial(_spoiled, found.value, 1 - 2 * farthest / other))
        return absent(metric, True, f"{metric} is not known for regression")

    def _blind(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """The mean squared error of a row that is given another row's answer; and that of the farthest row by the mean target, if that is
        more. Where most rows err by the same, to the last bit, so that nothing tells how errors vary, the second counts for both."""
        count, errors, _, total, squares = self._items[rows].T
        mean = total.sum() / count.sum()
        off = np.maximum(squares / count - 2 * mean * total / count + mean**2, 0)
        other = 2 * float(off.mean())
        farthest = max(float(off.max()), other)
        alike = 2 * np.count_nonzero(errors == np.median(errors)) > errors.shape[0]
        return farthest if alike else other, farthest

    def _r2(self, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        truth = np.asarray(self._wanted.values[rows], np.float64)
        errors = np.asarray(self._said.values[rows], np.float64) - truth
        centred = truth - truth.mean(axis=0)
        if rows.shape[0] < 2 or not (centred**2).sum(axis=0).all():
            return absent("r2", True, "the target does not vary, so there is no variance to explain")
        width = centred.shape[1]
        columns = [np.ones(rows.shape[0])]
        for target in range(width):
            columns += [centred[:, target], centred[:, target] ** 2, errors[:, target] ** 2]
        terms = units.sums(columns)

        def statistic(sums: Floats) -> Floats:
            parts = sums[:, 1:].reshape(sums.shape[0], width, 3)
            spread = np.maximum(parts[:, :, 1] - parts[:, :, 0] ** 2 / sums[:, :1], 1e-300)
            return np.asarray((1 - parts[:, :, 2] / spread).mean(axis=1))

        value = float(statistic(terms.sum(axis=0)[None])[0])
        rare = partial(_spoiled, value, _EXCHANGED)
        return MetricSamples(
            "r2",
            value,
            True,
            units.count,
            terms=terms,
            statistic=statistic,
            spoiled=rare,
            exchanged=rare,
            high_limit=1.0,
        )

    def _r2_of_map(self, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        count, _, squares, total, total_squares = self._items[rows].T
        mean = total.sum() / count.sum()
        sums = total - count * mean
        spread = total_squares - 2 * mean * total + count * mean**2
        if not spread.sum() > 0:
            return absent("r2", True, "the target does not vary, so there is no variance to explain")
        terms = units.sums([count, sums, spread, squares * count])
        value = float(_share_explained(terms.sum(axis=0)[None])[0])
        rare = partial(_spoiled, value, _EXCHANGED)
        return MetricSamples(
            "r2",
            value,
            True,
            units.count,
            terms=terms,
            statistic=_share_explained,
            spoiled=rare,
            exchanged=rare,
            effect=float((squares * count).max() / spread.mean()),
            high_limit=1.0,
        )


def root_mean_square(
    squares: Floats, units: Units, blind: float | None = None, farthest: float | None = None
) -> MetricSamples:
    """``rmse`` out of the mean squared error of each row, float64 [rows]; ``blind``: that of a row given another's answer;
    ``farthest``: that of the farthest row by the mean target."""
    terms = units.sums([units.weighed(np.ones(squares.shape[0])), units.weighed(squares)])
    value = float(np.sqrt(units.weighed(squares).mean()))

    def spoiled(worst: float | None) -> Callable[[float], float] | None:
        return None if worst is None else lambda share: math.sqrt(_spoiled(value**2, worst, share))

    return MetricSamples(
        "rmse", value, False, units.count, terms=terms, statistic=_root, low_limit=0.0, rooted=True,
        spoiled=spoiled(blind), exchanged=spoiled(blind), farthest=spoiled(farthest), units=units.weighted,
    )  # fmt: skip


def _spoiled(value: float, worst: float, share: float) -> float:
    return (1 - share) * value + share * worst


def _root(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(np.maximum(sums[:, 1], 0) / np.maximum(sums[:, 0], 1)))


def _share_explained(sums: Floats) -> Floats:
    """1 - SSE / SST out of sums of: numbers, centred target, its squares, squared errors."""
    spread = np.maximum(sums[:, 2] - sums[:, 1] ** 2 / np.maximum(sums[:, 0], 1), 1e-300)
    return np.asarray(1 - sums[:, 3] / spread)


def flat(column: Column) -> Column:
    """The numbers of every item side by side: [n, d], or [sum of counts] with offsets."""
    values = column.values
    if column.offsets is None:
        return Column(values.reshape(values.shape[0], -1) if values.ndim != 2 else values)
    if values.ndim == 1:
        return column
    return Column(values.reshape(-1), column.offsets * int(np.prod(values.shape[1:])))


def refuse_other_sizes(name: str, said: Column, wanted: Column) -> None:
    """Answers and labels need as many numbers in each item, and one at least.

    Raises:
        InvalidInput: they have not; names the row.
    """
    counts, other = counts_of(said), counts_of(wanted)
    if np.array_equal(counts, other):
        if not counts.all():
            raise InvalidInput(f"Row {int(np.argmin(counts))} of `{name}` has no number to judge.")
        return
    row = int(np.argmax(counts != other))
    where = "" if said.offsets is None and wanted.offsets is None else f" in row {row}"
    raise InvalidInput(
        f"`{name}` gives {counts[row]} numbers an item, the labels {other[row]}{where}. They must be the same targets."
    )


def counts_of(column: Column) -> NDArray[np.int64]:
    """How many numbers each item of a flat column has, [n]."""
    if column.offsets is not None:
        return np.diff(column.offsets)
    return np.full(column.values.shape[0], column.values.shape[1], np.int64)


def _by_item(said: Column, wanted: Column) -> Floats:
    """[n, 5]: see ``RegressionScorer._items``; read piece by piece."""
    counts = counts_of(said)
    found = np.empty((counts.shape[0], 5))
    found[:, 0] = counts
    row_bytes = 8 * int(counts.mean()) if counts.shape[0] else 1
    for rows in chunks(counts.shape[0], row_bytes):
        starts = np.concatenate([[0], np.cumsum(counts[rows])[:-1]])
        truth = numbers_of(wanted, rows)
        errors = numbers_of(said, rows) - truth
        parts = (np.abs(errors), errors**2, truth, truth**2)
        for place, numbers in enumerate(parts, 1):
            found[rows, place] = np.add.reduceat(numbers, starts)
        forget(said.values)
        forget(wanted.values)
    found[:, 1:3] /= found[:, :1]
    return found


def numbers_of(column: Column, rows: slice) -> Floats:
    """The numbers of some items, one after the other."""
    if column.offsets is not None:
        first, last = int(column.offsets[rows.start]), int(column.offsets[rows.stop])
        return np.asarray(column.values[first:last], np.float64)
    return np.asarray(column.values[rows], np.float64).reshape(-1)


def plain(column: Column) -> NDArray[Any]:
    """A flat column as an own metric gets it: [n], [n, d], or an object array [n] of arrays [d]."""
    if column.offsets is not None:
        rows = np.empty(len(column), object)
        rows[:] = [column.item(row) for row in range(len(column))]
        return rows
    values = column.values
    if values.shape[1] > _MOST_TARGETS:
        return values
    numbers = np.asarray(values, np.float64)
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers
