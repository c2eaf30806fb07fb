"""Regression: errors in the unit of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.interpret import answer, labelled
from gradatim.metrics.outputs import finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import Floats, MetricSamples, Units, absent, mean_samples
from gradatim.metrics.task import Label, Task


class RegressionScorer:
    """The metrics of one model's numbers; several targets an item count alike.

    Raises:
        InvalidInput: outputs and labels of different shapes, NaN, text.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        truth = labelled(predictions)
        values, wanted = _table(column.values), _table(truth.values)
        if column.offsets is not None or truth.offsets is not None or column.names or truth.names:
            raise InvalidInput(
                f"Regression needs the same count of numbers for every item, in `{name}` and in the labels."
            )
        if values.shape != wanted.shape:
            raise InvalidInput(
                f"`{name}` gives {values.shape[1]} numbers an item, the labels {wanted.shape[1]}. They "
                "must be the same targets."
            )
        finite(values, name)
        finite(wanted, "label")
        self.values, self.truth = np.asarray(values, np.float64), np.asarray(wanted, np.float64)
        self.errors: Floats = self.values - self.truth

    def item_scores(self) -> NDArray[np.float32]:
        """Minus the mean absolute error of each item, [n], so that more is better."""
        return np.asarray(-np.abs(self.errors).mean(axis=1), np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and predictions as an own metric gets them: [n], or [n, d] for several targets."""
        if self.truth.shape[1] == 1:
            return self.truth[:, 0], self.values[:, 0]
        return self.truth, self.values

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows."""
        if not rows.shape[0]:
            return absent(metric, metric == "r2", "there is no sample")
        errors = self.errors[rows]
        if metric == "mae":
            return mean_samples(metric, np.abs(errors).mean(axis=1), units, False, low_limit=0.0)
        squares = (errors**2).mean(axis=1)
        if metric == "rmse":
            terms = units.sums([np.ones(rows.shape[0]), squares])
            return MetricSamples(
                metric,
                float(np.sqrt(squares.mean())),
                False,
                units.count,
                terms=terms,
                statistic=_root,
                effect=float(np.sqrt(squares.max())),
                low_limit=0.0,
            )
        if metric == "r2":
            return self._r2(rows, units)
        return absent(metric, True, f"{metric} is not known for regression")

    def _r2(self, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        centred = self.truth[rows] - self.truth[rows].mean(axis=0)
        if rows.shape[0] < 2 or not (centred**2).sum(axis=0).all():
            return absent("r2", True, "the target does not vary, so there is no variance to explain")
        width = centred.shape[1]
        columns = [np.ones(rows.shape[0])]
        for target in range(width):
            columns += [centred[:, target], centred[:, target] ** 2, self.errors[rows, target] ** 2]
        terms = units.sums(columns)

        def statistic(sums: Floats) -> Floats:
            parts = sums[:, 1:].reshape(sums.shape[0], width, 3)
            spread = np.maximum(parts[:, :, 1] - parts[:, :, 0] ** 2 / sums[:, :1], 1e-300)
            return np.asarray((1 - parts[:, :, 2] / spread).mean(axis=1))

        return MetricSamples(
            "r2",
            float(statistic(terms.sum(axis=0)[None])[0]),
            True,
            units.count,
            terms=terms,
            statistic=statistic,
            effect=float(((self.errors[rows] ** 2).max(axis=0) / (centred**2).mean(axis=0)).mean()),
            high_limit=1.0,
        )


def _root(sums: Floats) -> Floats:
    return np.asarray(np.sqrt(sums[:, 1] / np.maximum(sums[:, 0], 1)))


def _table(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(values.shape[0], -1) if values.ndim != 2 else values
