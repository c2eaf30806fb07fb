"""Embeddings: fidelity to the baseline and retrieval among the items themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import chunks
from gradatim.metrics.interpret import answer
from gradatim.metrics.outputs import finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import (
    SHARE,
    Floats,
    MetricSamples,
    absent,
    mean_samples,
    proportion_samples,
)
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

QUERIES = 2000
"""Retrieval asks for the neighbours of at most this many items, evenly spread; among all items."""

FEW_LABELS = 20
"""With fewer labels these are kinds: how they differ tells the spread, and what was never seen comes row by row."""


class EmbeddingScorer:
    """The metrics of one model's vectors.

    Raises:
        InvalidInput: not one vector an item, NaN, a vector of length zero.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, column = answer(task, predictions)
        if column.offsets is not None or column.values.ndim != 2 or column.values.dtype.kind != "f":
            raise InvalidInput(
                f"Embeddings need one vector of floats an item; `{name}` is {list(column.values.shape)} of {column.values.dtype}. Name another output under `task: output:`."
            )
        finite(column.values, name)
        self.vectors = column.values
        self.lengths = np.empty(len(predictions))
        for rows in chunks(len(predictions), 8 * self.vectors.shape[1]):
            self.lengths[rows] = np.linalg.norm(np.asarray(self.vectors[rows], np.float64), axis=1)
        if not self.lengths.all():
            raise InvalidInput(
                f"Row {int(np.argmin(self.lengths))} of `{name}` is all zeros, which points nowhere."
            )
        truth = predictions.labels
        self.truth: NDArray[Any] | None = None
        if truth is not None:
            if truth.offsets is not None or truth.values.ndim != 1:
                raise InvalidInput(
                    "Retrieval needs one label an item: items with the same label belong together."
                )
            self.truth = np.asarray(truth.values)

    def item_scores(self) -> NDArray[np.float32]:
        """1 where the nearest other item has the same label, else 0, [n]."""
        if self.truth is None:
            raise InvalidInput(
                "The robustness of an embedding is measured by its neighbours: the data need labels."
            )
        scores = np.empty(self.vectors.shape[0], np.float32)
        everything = np.arange(self.vectors.shape[0])
        for rows in chunks(everything.shape[0], 4 * everything.shape[0]):
            near = self._nearest(everything[rows], everything, 1)[:, 0]
            scores[rows] = self.truth[near] == self.truth[rows]
        return scores

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels [n] (empty when there are none) and vectors [n, d], as an own metric gets them."""
        return (np.zeros(self.vectors.shape[0]) if self.truth is None else self.truth), self.vectors

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """``recall_at_k`` (a same-label item is among the k nearest) and ``ndcg_at_k`` on some rows."""
        kind, _, depth = metric.partition("_at_")
        if kind not in ("recall", "ndcg") or not depth.isdigit():
            return absent(metric, True, f"{metric} is not known for embeddings")
        if self.truth is None:
            return absent(metric, True, "the data have no labels that say which items belong together")
        asked = _some(rows)
        labels = self.truth[rows]
        asked = asked[np.isin(self.truth[asked], _twice(labels))]
        if not asked.shape[0]:
            return absent(metric, True, "no item has another with the same label")
        k = min(int(depth), rows.shape[0] - 1)
        hits = np.concatenate(
            [
                np.asarray(
                    self.truth[self._nearest(asked[part], rows, k)] == self.truth[asked[part]][:, None]
                )
                for part in chunks(asked.shape[0], 4 * rows.shape[0])
            ]
        )
        local = self._units_of(asked, rows, units)
        if kind == "recall":
            found = proportion_samples(
                metric, np.asarray(hits.any(axis=1)), local, True, "there is no sample"
            )
            return replace(found, units=local.shared)
        discounts = 1 / np.log2(np.arange(2, k + 2))
        counts = dict(zip(*np.unique(labels, return_counts=True), strict=True))
        relevant = np.array([min(k, int(counts[self.truth[row]]) - 1) for row in asked])
        best = np.cumsum(discounts)[relevant - 1]
        gains: Floats = (hits * discounts).sum(axis=1) / best
        return replace(mean_samples(metric, gains, local, True, **SHARE), units=local.shared)

    def cosine(self, reference: EmbeddingScorer, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        """Cosine between each item's vector and the reference's."""
        if reference.vectors.shape != self.vectors.shape:
            return absent(
                "cosine", True, f"the baseline's vectors have {reference.vectors.shape[1]} dimensions"
            )
        cosines = self.cosines(reference, rows)
        return mean_samples(
            "cosine", cosines, units, True, low_limit=-1.0, high_limit=1.0, effect=None, reach=None
        )

    def cosines(self, reference: EmbeddingScorer, rows: NDArray[np.int64]) -> Floats:
        """Cosine of each of these items' vectors to the reference's, float64 [rows]."""
        values = np.empty(rows.shape[0])
        for part in chunks(rows.shape[0], 16 * self.vectors.shape[1]):
            chosen = rows[part]
            mine, theirs = (np.asarray(each.vectors[chosen], np.float64) for each in (self, reference))
            lengths = self.lengths[chosen] * reference.lengths[chosen]
            values[part] = np.einsum("ij,ij->i", mine, theirs) / lengths
        return np.minimum(values, 1.0)

    def agreement(self, reference: EmbeddingScorer, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        """Whether an item's nearest other item is the same as under the reference."""
        if rows.shape[0] < 2:
            return absent("agreement", True, "an item needs another to be near to")
        asked = _some(rows)
        same = np.concatenate(
            [
                self._nearest(asked[part], rows, 1)[:, 0] == reference._nearest(asked[part], rows, 1)[:, 0]
                for part in chunks(asked.shape[0], 4 * rows.shape[0])
            ]
        )
        local = self._units_of(asked, rows, units)
        found = proportion_samples("agreement", same, local, True, "there is no sample")
        return replace(found, units=local.shared)

    def _units_of(self, asked: NDArray[np.int64], rows: NDArray[np.int64], units: Units) -> Units:
        """The units of some of the rows: as the data group them, else by label, for queries with the same label look for
        the same items."""
        if units.codes is not None:
            return Units.of(units.codes[np.searchsorted(rows, asked)], asked.shape[0])
        if self.truth is None:
            return Units(None, asked.shape[0])
        found = Units.of(self.truth[asked], asked.shape[0])
        return replace(found, kinds=found.count < FEW_LABELS)

    @cached_property
    def _unit_vectors(self) -> NDArray[np.float32]:
        return np.asarray(self.vectors / self.lengths[:, None], np.float32)

    def _nearest(self, asked: NDArray[np.int64], among: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Rows of the k nearest others by cosine, nearest first, [asked, k]; ties go to the earlier row."""
        closeness = self._unit_vectors[asked] @ self._unit_vectors[among].T
        closeness[asked[:, None] == among[None, :]] = -np.inf
        if k == 1:
            return np.asarray(among[closeness.argmax(axis=1)][:, None])
        return np.asarray(among[np.argsort(-closeness, axis=1, kind="stable")[:, :k]])


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most ``QUERIES`` of them, evenly spread."""
    return rows[np.linspace(0, rows.shape[0] - 1, min(rows.shape[0], QUERIES)).astype(np.int64)]


def _twice(labels: NDArray[Any]) -> NDArray[Any]:
    distinct, counts = np.unique(labels, return_counts=True)
    return distinct[counts > 1]
