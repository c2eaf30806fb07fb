"""From predictions to measurements: every metric of the task, with its interval, by class and by slice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.classification import ClassificationScorer
from gradatim.metrics.evaluation import CLASS, Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import MetricSamples
from gradatim.metrics.task import Task
from gradatim.metrics.tokens import TokenScorer

ALPHA = 0.025
"""Each end of a measurement's interval: together a two-sided 95 % interval."""


def measure(
    task: Task,
    predictions: Predictions,
    *,
    variant: str,
    reference: Predictions | None = None,
    slices: Sequence[str] | None = None,
    metrics: Iterable[str] | None = None,
) -> list[Measurement]:
    """Measure one variant.

    Args:
        task: how to read and score.
        predictions: what the variant said.
        variant: its name.
        reference: what the baseline said on the same items, for the metrics that compare.
        slices: columns to repeat every metric by; None takes all that the predictions carry.
        metrics: names beyond the task's default ones (``recall_at_5``) that must be measured too.

    Raises:
        InvalidInput: outputs or labels that cannot be read (see ``Evaluation``).
    """
    evaluation = Evaluation(task, predictions, None if reference is None else Evaluation(task, reference))
    return measurements(evaluation, variant, slices=slices, metrics=metrics)


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
    names += task.own
    if evaluation.reference is not None:
        names += catalogue.comparisons(task.type)
    return names


def measured(samples: MetricSamples, variant: str) -> Measurement:
    """A metric's samples as one measurement with its two-sided 95 % interval."""
    bounds = samples.bounds(ALPHA)
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
    scorer = evaluation.scorer
    if not isinstance(scorer, (ClassificationScorer, TokenScorer)):
        return []
    if isinstance(scorer, TokenScorer) or evaluation.predictions.groups is not None:
        wheres = evaluation.wheres(CLASS)
        return [
            measured(evaluation.samples(name, w), variant)
            for name in ("precision", "recall", "f1")
            for w in wheres
        ]
    return [
        Measurement(
            row.metric,
            variant,
            row.value,
            n=row.n,
            low=row.low,
            high=row.high,
            where=f"{CLASS}={row.label}",
            successes=row.successes,
            reason=row.reason,
        )
        for row in scorer.by_class(ALPHA)
    ]


@dataclass(frozen=True)
class WeakSlice:
    """A slice that is worse than the rest: a hint for a person, never a gate.

    Attributes:
        where: the slice in words: ``region=north,class=8``.
        n: its items.
        value: mean item quality in it (share of right answers).
        rest: the same outside it.
        p: one-sided p-value of the difference, times the number of slices looked at.
    """

    where: str
    n: int
    value: float
    rest: float
    p: float


def weak_slices(evaluation: Evaluation, *, most: int = 5, smallest: int = 20) -> list[WeakSlice]:
    """Slices of one or two columns in which the model does worse than elsewhere, the clearest first.

    Welch's t on item quality, Bonferroni over all slices looked at, 5 %. Only a hint: the slices were chosen
    after the data were seen.

    Args:
        evaluation: of the candidate.
        most: how many to give back.
        smallest: slices with fewer items are passed over.
    """
    from scipy.special import stdtr

    try:
        scores = evaluation.scorer.item_scores().astype(np.float64)
    except InvalidInput:
        return []
    masks = _masks(evaluation, smallest)
    found = []
    for where, mask in masks:
        inside, outside = scores[mask], scores[~mask]
        if outside.shape[0] < smallest:
            continue
        a, b = inside.var(ddof=1) / inside.shape[0], outside.var(ddof=1) / outside.shape[0]
        if not a + b > 0 or not inside.mean() < outside.mean():
            continue
        df = (a + b) ** 2 / (a**2 / (inside.shape[0] - 1) + b**2 / (outside.shape[0] - 1))
        p = float(stdtr(df, (inside.mean() - outside.mean()) / math.sqrt(a + b))) * len(masks)
        if p < 0.05:
            found.append(WeakSlice(where, inside.shape[0], float(inside.mean()), float(outside.mean()), p))
    return sorted(found, key=lambda weak: weak.p)[:most]


def _masks(
    evaluation: Evaluation, smallest: int
) -> list[tuple[str, np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    single = []
    for column in evaluation.columns():
        values = evaluation.values_of(column)
        if len(values) > 200 or (column == CLASS and not isinstance(evaluation.scorer, ClassificationScorer)):
            continue
        for value in values:
            mask = np.zeros(len(evaluation), np.bool_)
            mask[evaluation.rows(f"{column}={value}")] = True
            if mask.sum() >= smallest:
                single.append((column, f"{column}={value}", mask))
    pairs = [
        (f"{a},{b}", both)
        for place, (one, a, first) in enumerate(single[:100])
        for other, b, second in single[place + 1 : 100]
        if one != other and (both := first & second).sum() >= smallest
    ]
    return [(where, mask) for _, where, mask in single] + pairs
