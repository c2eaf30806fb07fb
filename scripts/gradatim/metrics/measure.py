"""From predictions to measurements: every metric of the task, with its interval, by class and by slice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.classification import ClassificationScorer
from gradatim.metrics.columns import PIECE_BYTES, chunks
from gradatim.metrics.diagnostics import WeakSlice
from gradatim.metrics.evaluation import CLASS, Evaluation
from gradatim.metrics.judged import PREFERRED
from gradatim.metrics.population import Population
from gradatim.metrics.samples import MetricSamples

ALPHA = 0.025
"""Each end of a measurement's interval: together a two-sided 95 % interval."""


_OF_A_CLASS = ("precision", "recall", "f1", "miou", "dice", "map")
"""What is measured of each class, where the task has it."""

_MOST = 5
"""Weak slices that are told."""

_SMALLEST = 20
"""Slices with fewer items are passed over."""


def measurements(
    evaluation: Evaluation,
    variant: str,
    *,
    slices: Sequence[str] | None = None,
    metrics: Iterable[str] | None = None,
) -> list[Measurement]:
    """``measure`` for predictions that are already being evaluated."""
    names = list(dict.fromkeys([*default_metrics(evaluation), *(metrics or ())]))
    found = [measured(evaluation.samples(name), variant) for name in names]
    found += _by_class(evaluation, variant)
    columns = tuple(evaluation.predictions.slices) if slices is None else tuple(slices)
    for column in columns:
        if column == CLASS and evaluation.labels:
            continue
        for where in evaluation.wheres(column):
            found += [measured(evaluation.samples(name, where), variant) for name in names]
    return found


def default_metrics(evaluation: Evaluation) -> list[str]:
    """The metrics measured for a task: its own, the user's, and the comparisons when there is a baseline."""
    task = evaluation.task
    names = [name for name in catalogue.quality(task.type) if name not in catalogue.comparisons(task.type)]
    if task.type == "embedding":
        names = [f"{kind}_at_{k}" for k in task.neighbours for kind in ("recall", "ndcg")]
        if evaluation.reference is not None:
            names = ["cosine", *names]
        if evaluation.predictions.labels is None:
            names = [name for name in names if name == "cosine"]
    names += [scoring.name for scoring in task.scorers]
    names += task.own
    if evaluation.reference is not None:
        names += [
            name
            for name in catalogue.comparisons(task.type)
            if name != "kl"  # asked for by a gate alone
            and (name not in catalogue.JUDGED or PREFERRED in evaluation.predictions.outputs)
        ]
    return names


def measured(samples: MetricSamples, variant: str) -> Measurement:
    """A metric's samples as one measurement with its two-sided 95 % interval."""
    try:
        bounds = samples.bounds(ALPHA)
    except InvalidInput:  # an own metric without a value on many resamples: its gate says why
        bounds = None
    return Measurement(
        samples.metric,
        variant,
        samples.value,
        unit=samples.unit,
        n=samples.n if samples.trials is None else samples.trials,
        low=None if bounds is None else bounds[0],
        high=None if bounds is None else bounds[1],
        where=samples.where,
        successes=samples.successes,
        reason=samples.reason,
    )


def _by_class(evaluation: Evaluation, variant: str) -> list[Measurement]:
    scorer, several = evaluation.scorer, isinstance(evaluation, Population)
    if isinstance(scorer, ClassificationScorer) and not several and _alike(evaluation):
        return scorer.by_class(variant, ALPHA)
    names = [name for name in _OF_A_CLASS if name in catalogue.quality(evaluation.task.type)]
    wheres = evaluation.wheres(CLASS) if evaluation.labels else []
    return [measured(evaluation.samples(name, where), variant) for name in names for where in wheres]


def _alike(evaluation: Evaluation) -> bool:
    """Whether every row is a unit of its own and counts as much as any other."""
    return evaluation.predictions.groups is None and evaluation.weights is None


def weak_slices(evaluation: Evaluation) -> list[WeakSlice]:
    """Slices of one or two columns in which the model does worse than elsewhere, the clearest first.

    Welch's t on item quality, Bonferroni over all slices looked at, 5 %. Only a hint: the slices were chosen
    after the data were seen.
    """
    from scipy.special import stdtr

    try:
        scores = evaluation.scorer.item_scores()
    except InvalidInput:
        return []
    middle = float(scores.mean(dtype=np.float64))
    whole = _Moments.of([], (), scores, middle)
    slices = list(_slices(evaluation, scores, middle))
    found = []
    for where, cell, moments in slices:
        n, total, spread = (float(table[cell]) for table in (moments.n, moments.total, moments.squares))
        rest_n = float(whole.n) - n
        if rest_n < _SMALLEST:
            continue
        value, rest = total / n, (float(whole.total) - total) / rest_n
        a = max(0.0, spread - n * value**2) / (n - 1) / n
        b = max(0.0, float(whole.squares) - spread - rest_n * rest**2) / (rest_n - 1) / rest_n
        if not a + b > 0 or not value < rest:
            continue
        df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (rest_n - 1))
        p = float(stdtr(df, (value - rest) / math.sqrt(a + b))) * len(slices)
        if p < 0.05:
            found.append(WeakSlice(where, int(n), middle + value, middle + rest, p))
    return sorted(found, key=lambda weak: weak.p)[:_MOST]


@dataclass(frozen=True)
class _Moments:
    """Items in every cell of a cross table, and their quality above the middle: its sum, and that of its squares."""

    n: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(
        cls, codes: list[NDArray[Any]], shape: tuple[int, ...], scores: NDArray[np.float32], middle: float
    ) -> _Moments:
        cells = math.prod(shape)
        tables = np.zeros((3, cells))
        for rows in chunks(scores.shape[0], 32, PIECE_BYTES):
            above = scores[rows].astype(np.float64) - middle
            place = np.zeros(above.shape[0], np.int64)
            for size, one in zip(shape, codes, strict=True):
                place = place * size + one[rows]
            for table, weights in zip(tables, (None, above, above * above), strict=True):
                table += np.bincount(place, weights, cells)
        return cls(*tables.reshape(3, *shape))


def _slices(
    evaluation: Evaluation, scores: NDArray[np.float32], middle: float
) -> Iterator[tuple[str, tuple[int, ...], _Moments]]:
    """Slices by one column and by two that are large enough: in words, their cell in a cross table, the table."""
    single: list[tuple[int, int, str]] = []
    columns: list[tuple[NDArray[Any], int]] = []
    for column in evaluation.columns():
        names, codes = _marks(evaluation, column)
        if not 0 < len(names) <= 200:
            continue
        moments = _Moments.of([codes], (len(names),), scores, middle)
        for place in np.flatnonzero(moments.n >= _SMALLEST).tolist():
            where = f"{column}={names[place]}"
            single.append((len(columns), place, where))
            yield where, (place,), moments
        columns.append((codes, len(names)))
    single = single[:100]
    for one, two in combinations(range(len(columns)), 2):
        (codes, size), (others, width) = columns[one], columns[two]
        pairs = [(a, b) for a in single if a[0] == one for b in single if b[0] == two]
        if not pairs:
            continue
        moments = _Moments.of([codes, others], (size, width), scores, middle)
        for (_, place, where), (_, other, and_where) in pairs:
            if moments.n[place, other] >= _SMALLEST:
                yield f"{where},{and_where}", (place, other), moments


def _marks(evaluation: Evaluation, column: str) -> tuple[tuple[str, ...], NDArray[Any]]:
    """A column's values, and the place among them of every item's; no values where items have none of their own."""
    if column != CLASS or not evaluation.labels:
        marks = evaluation.predictions.slices[column]
        return marks.names or (), np.asarray(marks.values)
    if isinstance(evaluation.scorer, ClassificationScorer):
        return tuple(str(label) for label in evaluation.labels), evaluation.scorer.truth
    return (), np.zeros(0, np.int64)
