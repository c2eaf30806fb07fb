"""Multi-label classification: any number of labels an item, each a decision of its own; the item is what is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.classification import of_class
from gradatim.metrics.columns import Column, pieces
from gradatim.metrics.interpret import answer, labelled, listed, places_of
from gradatim.metrics.outputs import finite, first_row
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import MetricSamples, mean_of_ratios, proportion_samples
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

Marks = NDArray[np.bool_]


class MultilabelScorer:
    """The metrics of one model's sets of labels.

    Raises:
        InvalidInput: scores that are not one for each label, labels that are neither 0 or 1 for each nor names.
    """

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        values = column.values
        if column.offsets is not None or column.names is not None or values.ndim != 2:
            raise InvalidInput(
                f"Multi-label classification needs a score for each label [items, labels]; `{name}` is "
                f"{list(values.shape)}. Name another output under `task: output:`."
            )
        every: tuple[Label, ...] = task.labels or tuple(range(values.shape[1]))
        if len(every) != values.shape[1]:
            raise InvalidInput(
                f"`{name}` gives {values.shape[1]} scores an item, but {len(every)} labels are declared. "
                "List every label under `task: labels:`, in the order of the scores."
            )
        finite(values, name)
        self.labels = task.over or every
        asked = [every.index(label) for label in self.labels]
        self.said = _decided(task, values)[:, asked]
        self.truth = indicator(labelled(predictions), self.labels)

    def item_scores(self) -> NDArray[np.float32]:
        """F1 of each item's set of labels, [n]; 1 where it is exactly right."""
        both = self.said.sum(axis=1) + self.truth.sum(axis=1)
        hits = (self.said & self.truth).sum(axis=1)
        return np.asarray(np.where(both > 0, 2 * hits / np.maximum(both, 1), 1.0), np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and predictions as an own metric gets them: 0 or 1 for each label, [n, k] each."""
        return self.truth.astype(np.int64), self.said.astype(np.int64)

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows, of one label (a place in ``labels``) or of all."""
        truth, said = self.truth[rows], self.said[rows]
        if metric == "subset_accuracy":
            return proportion_samples(metric, (truth == said).all(axis=1), units, True, "there is no sample")
        if place is not None:
            return of_class(metric, truth[:, place], said[:, place], self.labels[place], units)
        tables = (truth & said).astype(np.float64), truth.astype(np.float64), said.astype(np.float64)
        hits, actual, claimed = tables
        reason = "no sample has a label" if metric != "precision" else "no label was given"
        if metric == "f1_micro":
            both = (actual + claimed).sum(axis=1, keepdims=True)
            return mean_of_ratios(metric, 2 * hits.sum(axis=1, keepdims=True), both, units, reason)
        parts = {"precision": (hits, claimed), "recall": (hits, actual)}
        of = parts.get(metric, (2 * hits, actual + claimed))
        found = mean_of_ratios(metric, *of, units, reason, over=len(self.labels))
        counts = (claimed if metric == "precision" else actual).sum(axis=0)
        names = [str(label) for label, count in zip(self.labels, counts, strict=True) if not count]
        if found.value is None or not names:
            return found
        kind = "answer" if metric == "precision" else "sample"
        lacks = f"no {kind} of {listed(names, 5)}, which {'counts' if len(names) == 1 else 'count'} as 0 in this mean"
        return replace(found, reason=lacks, hidden=len(names) / len(self.labels))


def indicator(truth: Column, labels: tuple[Label, ...]) -> Marks:
    """Which labels each item has, bool [n, k]: from 0 or 1 for each label, or from the names of those that it has.

    Raises:
        InvalidInput: anything else; names the row.
    """
    if truth.names is not None or truth.offsets is not None:
        places = places_of(truth, labels, "the labels")
        found = np.zeros((len(truth), len(labels)), np.bool_)
        for row in range(len(truth)):
            found[row, Column(places, truth.offsets).item(row)] = True
        return found
    values = truth.values
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise InvalidInput(
            f"Multi-label classification needs 0 or 1 for each of {len(labels)} labels, or a list of the names that an item "
            f"has; the labels are {list(values.shape)}."
        )
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = first_row(wrong)
        raise InvalidInput(
            f"Row {row} of the labels holds {values[row][wrong[row]][0]}, which is neither 0 nor 1."
        )
    return np.asarray(values == 1)


def _decided(task: Task, values: NDArray[Any]) -> Marks:
    """Scores at or above the middle: 0.5 where all of them are probabilities, 0 where they are logits."""
    if values.dtype.kind != "f":
        return np.asarray(values > 0)
    within = all(bool(((part >= 0) & (part <= 1)).all()) for _, part in pieces(values))
    meaning = task.scores or ("probabilities" if within else "logits")
    if meaning == "probabilities" and not within:
        raise InvalidInput(
            "The scores are no probabilities: some lie outside of 0 .. 1. If these are logits, say `task: scores: logits`."
        )
    found = np.empty(values.shape, np.bool_)
    for rows, part in pieces(values):
        found[rows] = part >= (0.5 if meaning == "probabilities" else 0.0)
    return found
