"""Ranking and recommendation: the items of a list in the order of their scores; the list (query, user) is what is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column
from gradatim.metrics.interpret import answer, labelled
from gradatim.metrics.outputs import finite, first_row
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

Ints = NDArray[np.int64]

_DEPTH = 10
"""How far down a list robustness and weak slices look."""


class RankingScorer:
    """The metrics of one model's scores, in either of two layouts.

    An item a row: one score each, its relevance as the label, and the list that it belongs to as the group. A list a
    row: scores [n, items] beside relevances [n, items], or beside the places of the relevant items.

    Raises:
        InvalidInput: neither layout, no groups for items that stand alone, relevance below zero, NaN.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        name, scores = answer(task, predictions)
        truth = labelled(predictions)
        if scores.names is not None or truth.names is not None:
            raise InvalidInput(
                f"Ranking needs numbers, and {f'`{name}` gives' if scores.names else 'the labels are'} text. Labels are "
                "relevances (0 for none), or the places of the relevant items."
            )
        finite(scores.values, name)
        finite(truth.values, "label")
        self._given, self._wanted, self._n = scores, truth, len(predictions)
        self._alone = scores.offsets is None and scores.values.size == self._n
        if not self._alone and scores.values.ndim != (1 if scores.offsets is not None else 2):
            raise InvalidInput(
                f"Ranking needs one score an item, or [lists, items]; `{name}` is {list(scores.values.shape)}. Name another "
                "output under `task: output:`."
            )
        if self._alone:
            self._items = self._of_rows(name, predictions.groups)
        else:
            self._items = self._of_lists(name)
        if (self._items.relevance < 0).any():
            raise InvalidInput(
                f"Row {int(self._items.row[np.argmin(self._items.relevance)])} of the labels holds a relevance below zero; 0 is none."
            )

    def _of_rows(self, name: str, groups: Column | None) -> _Items:
        if self._wanted.offsets is not None or self._wanted.values.size != self._n:
            raise InvalidInput(
                f"`{name}` gives one score a row, so each row is an item and needs one label, its relevance; the labels are "
                f"{list(self._wanted.values.shape)}."
            )
        if groups is None:
            raise InvalidInput(
                "Each row is an item, and nothing says which rows are one list. Name the column of the query or user under "
                "`data: group:`, or give each row all items of a list."
            )
        rows = np.arange(self._n)
        relevance = np.asarray(self._wanted.values.reshape(-1), np.float64)
        lists = np.unique(groups.values, return_inverse=True)[1].astype(np.int64)
        return _Items(rows, lists, self._given.values.reshape(-1), relevance)

    def _of_lists(self, name: str) -> _Items:
        sizes, values = _sizes(self._given), self._given.values.reshape(-1)
        rows = np.repeat(np.arange(self._n), sizes)
        told = _sizes(self._wanted)
        wanted = self._wanted.values.reshape(-1)
        if np.array_equal(sizes, told):
            return _Items(rows, rows, values, np.asarray(wanted, np.float64))
        who = np.repeat(np.arange(self._n), told)
        wrong = (wanted != np.round(wanted)) | (wanted < 0) | (wanted >= sizes[who])
        if wrong.any():
            row = int(who[first_row(wrong)])
            raise InvalidInput(
                f"`{name}` scores {sizes[row]} items in row {row}, whose labels are {told[row]}. Labels are a relevance for each "
                f"item, or places from 0 to {sizes[row] - 1} of the relevant ones."
            )
        relevance = np.zeros(values.shape[0])
        relevance[(np.cumsum(sizes) - sizes)[who] + wanted.astype(np.int64)] = 1.0
        return _Items(rows, rows, values, relevance)

    def item_scores(self) -> NDArray[np.float32]:
        """nDCG of the first ten of the list that each row is or belongs to, [n]; 1 where nothing is relevant."""
        lists = self._ordered
        found = np.ones(int(self._items.list.max()) + 1, np.float32)
        found[lists.names] = lists.ndcg(_DEPTH)
        return found[self._items.list] if self._alone else found

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and scores as an own metric gets them: as they are; an object array [n] where lists differ in length."""
        return _plain(self._wanted), _plain(self._given)

    @cached_property
    def _ordered(self) -> _Lists:
        return _Lists.of(self._items)

    def samples(self, metric: str, rows: Ints, place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows: lists of items are what these rows hold of them."""
        lists = self._ordered if rows.shape[0] == self._n else _Lists.of(self._items.among(rows, self._n))
        if not lists.names.shape[0]:
            return absent(metric, True, "no list has a relevant item")
        local = Units(None, lists.names.shape[0])
        if not self._alone and units.codes is not None:
            local = Units.of(units.codes[np.searchsorted(rows, lists.names)], local.count)
        kind, _, depth = metric.partition("_at_")
        if kind == "hit_rate":
            found = proportion_samples(metric, lists.first <= int(depth), local, True, "there is no list")
        else:
            values = (
                lists.ndcg(int(depth)) if kind == "ndcg" else 1 / lists.first if kind == "mrr" else lists.ap
            )
            found = mean_samples(
                metric, np.asarray(values, np.float64), local, True, jackknifed=True, **SHARE
            )
        return replace(found, units=local)


@dataclass(frozen=True)
class _Items:
    """Items of lists, [items] each: the row that holds it, its list, its score and its relevance."""

    row: Ints
    list: Ints
    score: NDArray[Any]
    relevance: Floats

    def among(self, rows: Ints, n: int) -> _Items:
        """Those that some of n rows hold."""
        asked = np.zeros(n, np.bool_)
        asked[rows] = True
        kept = asked[self.row]
        return _Items(self.row[kept], self.list[kept], self.score[kept], self.relevance[kept])


@dataclass(frozen=True)
class _Lists:
    """Lists that hold a relevant item, their items by falling score.

    An item among others of the same score stands at the last of their places, so that a model that scores all alike earns
    nothing by the order of the rows; nDCG takes the mean over their places, as scikit-learn's ``ndcg_score`` does.

    Attributes:
        names: the list, [lists].
        starts: its first item, [lists + 1].
        best: relevances of a list's items, highest first, [items].
        gain: the mean relevance of the items of a score, for each item, [items].
        first: place from 1 of the first relevant item, [lists].
        ap: average precision: the mean over the relevant items of the share of such up to each [1]_, [lists].

    .. [1] Manning, Raghavan, Schuetze (2008), Introduction to Information Retrieval, 8.4.
    """

    names: Ints
    starts: Ints
    best: Floats
    gain: Floats
    first: Ints
    ap: Floats

    @classmethod
    def of(cls, items: _Items) -> _Lists:
        relevant = np.zeros(int(items.list.max(initial=-1)) + 1, np.bool_)
        relevant[items.list[items.relevance > 0]] = True
        kept = relevant[items.list]
        lists, score, relevance = items.list[kept], items.score[kept], items.relevance[kept]
        order = np.lexsort((-np.asarray(score, np.float64), lists))
        lists, score, relevance = lists[order], score[order], relevance[order]
        new = np.ones(lists.shape[0], np.bool_)
        new[1:] = lists[1:] != lists[:-1]
        starts = np.flatnonzero(new)
        counts = np.diff(np.append(starts, lists.shape[0]))
        place = np.arange(1, lists.shape[0] + 1) - np.repeat(starts, counts)
        tie = new.copy()
        tie[1:] |= score[1:] != score[:-1]
        ties = np.flatnonzero(tie)
        alike = np.diff(np.append(ties, lists.shape[0]))
        last = np.repeat(place[ties] + alike - 1, alike)
        hit = relevance > 0
        so_far = np.cumsum(hit)
        before: Ints = np.repeat(so_far[starts] - hit[starts], counts)
        found = np.repeat(so_far[ties + alike - 1], alike) - before
        precision = np.where(hit, found / last, 0.0)
        if not starts.shape[0]:
            return cls(lists, np.zeros(1, np.int64), relevance, relevance, place, relevance)
        return cls(
            lists[starts],
            np.append(starts, lists.shape[0]),
            relevance[np.lexsort((-relevance, lists))],
            np.repeat(np.add.reduceat(relevance, ties) / alike, alike),
            np.minimum.reduceat(np.where(hit, last, lists.shape[0] + 1), starts),
            np.add.reduceat(precision, starts) / np.add.reduceat(hit.astype(np.int64), starts),
        )

    def ndcg(self, k: int) -> Floats:
        """Gains over the logarithms of their places, among the first k, as a share of the best order's [1]_, [lists].

        .. [1] Jarvelin, Kekalainen (2002), ACM Transactions on Information Systems 20(4).
        """
        place = np.arange(self.gain.shape[0]) - np.repeat(self.starts[:-1], np.diff(self.starts))
        discount = np.where(place < k, 1 / np.log2(place + 2), 0.0)
        gains, ideal = (
            np.add.reduceat(values * discount, self.starts[:-1]) for values in (self.gain, self.best)
        )
        return np.asarray(np.minimum(gains / ideal, 1.0))


def _sizes(column: Column) -> Ints:
    """How many numbers each row has, [n]."""
    if column.offsets is not None:
        return np.diff(column.offsets)
    n = column.values.shape[0]
    return np.full(n, column.values.size // max(1, n), np.int64)


def _plain(column: Column) -> NDArray[Any]:
    if column.offsets is None:
        return column.values
    rows = np.empty(len(column), object)
    rows[:] = [column.item(row) for row in range(len(column))]
    return rows
