"""Segmentation: a class for each pixel, counted image by image; the image is what is drawn, never the pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column, pieces
from gradatim.metrics.interpret import answer, labelled, places_of
from gradatim.metrics.outputs import IGNORED, VOID
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import MetricSamples, absent, mean_of_ratios
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units


class SegmentationScorer:
    """The metrics of one model's maps of classes, laid flat.

    A mean over classes goes over those of which the labels hold a pixel: of the others nobody can say how much of them
    was found.

    Raises:
        InvalidInput: no list of classes, an unknown class, answers and labels of other sizes.
    """

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, said = answer(task, predictions)
        truth = labelled(predictions)
        self.labels: tuple[Label, ...] = task.labels or _classes(said, truth)
        self._name, self._said, self._truth = name, said, truth
        width = len(self.labels)
        self.hits = np.zeros((len(predictions), width))
        self.claimed, self.actual = np.zeros_like(self.hits), np.zeros_like(self.hits)
        void = 0
        for row in range(len(predictions)):
            found, right = self._found(row), self._right(row)
            if found.shape != right.shape:
                raise InvalidInput(
                    f"Row {row} of `{name}` has {found.shape[0]} pixels, and its labels have {right.shape[0]}. Bring the answers "
                    "to the size of the labels in the model, or the labels to theirs in `data.preprocess`."
                )
            counted = right != IGNORED
            void += int(right.shape[0] - counted.sum())
            found, right = found[counted], right[counted]
            self.claimed[row] = np.bincount(found, minlength=width)
            self.actual[row] = np.bincount(right, minlength=width)
            self.hits[row] = np.bincount(right[found == right], minlength=width)
        over = [self.labels.index(label) for label in (task.over or self.labels)]
        self.present = [place for place in over if self.actual[:, place].any()]
        if width == 2 and self.present == [0] and void:
            raise InvalidInput(
                f"The labels hold the class {self.labels[0]} alone; {VOID} and {IGNORED} mark pixels that do not count. Where {VOID} "
                "is the second class, write 1 in its place."
            )

    def _found(self, row: int) -> NDArray[Any]:
        """An image's answers as places in the list of classes, [pixels]."""
        return _places(self._said, row, self.labels, f"the output `{self._name}`")

    def _right(self, row: int) -> NDArray[Any]:
        """An image's labels likewise; ``IGNORED`` where none counts."""
        return _places(self._truth, row, self.labels, "the labels")

    def item_scores(self) -> NDArray[np.float32]:
        """Mean IoU of each image over the classes that it holds or is said to hold, [n]; 1 where no pixel counts."""
        union = self.actual + self.claimed - self.hits
        shares = (self.hits / np.maximum(union, 1)).sum(axis=1)
        classes = (union > 0).sum(axis=1)
        return np.asarray(np.where(classes > 0, shares / np.maximum(classes, 1), 1.0), np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and predictions as an own metric gets them: places in the list of classes, [n, pixels]; where images
        differ in size, an object array [n] of arrays [pixels]."""
        rows = range(self.hits.shape[0])
        return _together([self._right(row) for row in rows]), _together([self._found(row) for row in rows])

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some images, of one class (a place in ``labels``) or of all."""
        hits, claimed, actual = (table[rows] for table in (self.hits, self.claimed, self.actual))
        if metric == "accuracy":
            parts = hits.sum(axis=1, keepdims=True), actual.sum(axis=1, keepdims=True)
            return mean_of_ratios(metric, *parts, units, "no pixel has a label")
        chosen = self.present if place is None else [place]
        hits, both = hits[:, chosen], (claimed + actual)[:, chosen]
        whose = "" if place is None else f" of {self.labels[place]}"
        if metric == "miou":
            return mean_of_ratios(metric, hits, both - hits, units, f"the data hold no pixel{whose}")
        if metric == "dice":
            return mean_of_ratios(metric, 2 * hits, both, units, f"the data hold no pixel{whose}")
        return absent(metric, True, f"{metric} is not known for segmentation")


def _classes(said: Column, truth: Column) -> tuple[Label, ...]:
    """Classes that nothing lists: places up to the highest that is said or wanted."""
    if truth.names is not None or said.names is not None:
        raise InvalidInput(
            "Segmentation needs its classes in the order of the scores. List them under `task: labels:`."
        )
    highest = 0
    for column in (said, truth):
        for _, part in pieces(column.values):
            highest = max(highest, int(part[part != VOID].max(initial=0)))
    return tuple(range(1 + highest))


def _places(column: Column, row: int, labels: tuple[Label, ...], whose: str) -> NDArray[Any]:
    """One image's classes as places in the list, [pixels]; ``IGNORED`` for pixels that do not count."""
    values = column.item(row).reshape(-1)
    if column.names is None and str(VOID) not in map(str, labels):
        values = np.where(values == VOID, IGNORED, values.astype(np.int64))
    if column.names is None and labels == tuple(range(len(labels))):
        known = values[values != IGNORED]
        if not known.size or (known.min() >= 0 and known.max() < len(labels)):
            return values
    return places_of(Column(values, None, column.names), labels, f"row {row} of {whose}")


def _together(rows: list[NDArray[Any]]) -> NDArray[Any]:
    """[n, pixels]; where images differ in size, an object array [n] of arrays [pixels]."""
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    found = np.empty(len(rows), object)
    found[:] = rows
    return found
