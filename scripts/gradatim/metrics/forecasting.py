"""Forecasting: errors over the steps ahead, each series by its own measure; the series is what is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Array, Column, chunks, forget
from gradatim.metrics.interpret import answer, labelled
from gradatim.metrics.outputs import SCALE, finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.regression import (
    counts_of,
    flat,
    numbers_of,
    plain,
    refuse_other_sizes,
    root_mean_square,
)
from gradatim.metrics.samples import Floats, MetricSamples, absent, mean_samples
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units


class ForecastingScorer:
    """The metrics of one model's forecasts: points [n, steps], or quantiles [n, steps, levels] (or [n, levels, steps]).

    The steps of an item count alike, and so do the items. A forecast of quantiles says its median where a point is wanted.

    Raises:
        InvalidInput: forecasts and labels of different shapes, NaN, text.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        truth = labelled(predictions)
        if column.names or truth.names:
            raise InvalidInput(
                f"Forecasting needs numbers, and {f'`{name}` gives' if column.names else 'the labels are'} text."
            )
        finite(column.values, name)
        finite(truth.values, "label")
        self._wanted, self._levels = flat(truth), task.quantiles
        self._said = self._quantiles(name, column) if task.quantiles else flat(column)
        self._median = next((place for place, level in enumerate(task.quantiles) if level == 0.5), None)
        if not task.quantiles:
            refuse_other_sizes(name, self._said, self._wanted)
        kept = predictions.outputs.get(SCALE)
        self._scale = None if kept is None else np.asarray(kept.values, np.float64)
        self._history = task.history
        # by item: mean absolute error, mean squared error, mean symmetric relative error, mean pinball loss
        self._items = self._by_item()

    def _quantiles(self, name: str, column: Column) -> Column:
        """The forecast as [n, steps, levels]."""
        levels, values = len(self._levels), column.values
        if column.offsets is None and self._wanted.offsets is None:
            n, steps = self._wanted.values.shape
            if values.shape == (n, steps, levels) or (steps == 1 and values.shape == (n, levels)):
                return Column(values.reshape(n, steps, levels))
            if values.shape == (n, levels, steps):
                return Column(values.transpose(0, 2, 1))
        raise InvalidInput(
            f"{levels} quantiles are wanted (`task: quantiles:`) of each of the labels {list(self._wanted.values.shape)}; `{name}` "
            f"is {list(values.shape)}. It must be [items, steps, {levels}] or [items, {levels}, steps]."
        )

    def _by_item(self) -> Floats:
        """[n, 4]: see ``_items``; read piece by piece."""
        counts = counts_of(self._wanted)
        found = np.full((counts.shape[0], 4), np.nan)
        for rows in chunks(counts.shape[0], 8 * int(counts.mean()) * max(1, len(self._levels))):
            starts = np.concatenate([[0], np.cumsum(counts[rows])[:-1]])
            truth = numbers_of(self._wanted, rows)
            points = self._points(rows)
            if points is not None:
                error = np.abs(points - truth)
                size = np.abs(points) + np.abs(truth)
                relative = np.where(size > 0, 2 * error / np.maximum(size, np.finfo(float).tiny), 0.0)
                for place, values in enumerate((error, error**2, relative)):
                    found[rows, place] = np.add.reduceat(values, starts)
            if self._levels:
                found[rows, 3] = np.add.reduceat(self._pinball(rows, truth), starts)
            forget(self._said.values)
            forget(self._wanted.values)
        return found / counts[:, None]

    def _points(self, rows: slice) -> Floats | None:
        if not self._levels:
            return numbers_of(self._said, rows)
        if self._median is None:
            return None
        return np.asarray(self._said.values[rows, :, self._median], np.float64).reshape(-1)

    def _pinball(self, rows: slice, truth: Floats) -> Floats:
        """Mean over the levels of the loss of each step [1]_.

        .. [1] Koenker, Bassett (1978), Econometrica 46(1).
        """
        above = truth[:, None] - np.asarray(self._said.values[rows], np.float64).reshape(
            -1, len(self._levels)
        )
        levels = np.array(self._levels)
        return np.asarray(np.maximum(levels * above, (levels - 1) * above).mean(axis=1))

    def item_scores(self) -> NDArray[np.float32]:
        """Minus the symmetric relative error of each item (the pinball loss where no point is told), [n]."""
        place = 3 if self._levels and self._median is None else 2
        return np.asarray(-self._items[:, place], np.float32)

    def answer_arrays(self) -> tuple[Array, Array]:
        """Labels and forecasts as an own metric gets them: [n, steps]; quantiles [n, steps, levels]; where the number of
        steps differs, object arrays [n] of arrays [steps]."""
        return plain(self._wanted), self._said.values if self._levels else plain(self._said)

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows."""
        if not rows.shape[0]:
            return absent(metric, False, "there is no sample")
        lacks = self._lacks(metric)
        if lacks is not None:
            return absent(metric, False, lacks)
        errors, squares, relative, pinball = self._items[rows].T
        if metric == "mase":
            return self._mase(errors, rows, units)
        if metric == "rmse":
            return root_mean_square(squares, units)
        if metric == "smape":
            return _mean(metric, relative, units, high_limit=2.0)
        if metric == "pinball":
            return _mean(metric, pinball, units)
        return mean_samples(metric, errors, units, False, low_limit=0.0)

    def _lacks(self, metric: str) -> str | None:
        """What a metric is missing, in words that follow "has no value: "."""
        if metric == "pinball":
            return None if self._levels else "the contract lists no `task.quantiles`"
        if self._levels and self._median is None:
            return "the quantiles do not hold the median, 0.5"
        if metric == "mase" and self._scale is None:
            return "`task.history` names no input with the values before the forecast"
        return None

    def _mase(self, errors: Floats, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        """Items whose history never changes have no measure and are left out."""
        assert self._scale is not None  # noqa: S101 (_lacks() looked)
        scale = self._scale[rows]
        kept = scale > 0
        if not kept.any():
            return absent("mase", False, f"no history in `{self._history}` changes from season to season")
        codes = None if units.codes is None else units.codes[kept]
        local = Units.of(codes, int(kept.sum()))
        return replace(_mean("mase", errors[kept] / scale[kept], local), units=local)


def _mean(metric: str, values: Floats, units: Units, **more: float) -> MetricSamples:
    """A mean over series of errors of many steps, of which the leaning interval and the tail of ``tails.above`` tell."""
    ends = {"low_limit": 0.0, "effect": None, "reach": None, **more}
    found = mean_samples(metric, values, units, False, jackknifed=True, **ends)
    assert found.influence is not None  # noqa: S101 (there are values)
    return replace(found, by_row=None, effect=float(np.abs(found.influence).max()))
