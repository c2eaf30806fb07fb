"""Two models that do not know the same labels, beside one another: on the rows and labels that both know."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column
from gradatim.metrics.diagnostics import Overlap
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.interpret import answer, places_of
from gradatim.metrics.multilabel import indicator
from gradatim.metrics.outputs import IGNORED, SEEN
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Label, Task

_SPELLED = 12
"""Up to so many labels a message spells out."""


def label_list(task: Task, predictions: Predictions) -> tuple[Label, ...] | None:
    """Every label that a model can answer with, in the order of its scores and as the candidate calls it; None where
    nothing pins it."""
    labels = task.labels
    if not labels and task.type == "classification":
        _, column = answer(task, predictions)
        values = column.values
        if column.offsets is not None or values.dtype.kind != "f" or values.ndim > 2:
            return None
        labels = tuple(range(values.shape[1] if values.ndim == 2 and values.shape[1] > 1 else 2))
    return labels and tuple(task.called.get(str(label), label) for label in labels)


def in_words_of_candidate(task: Task, labels: tuple[Label, ...] | None) -> Task:
    """A release's task with its labels as the candidate calls them, which ``label_list`` found."""
    if labels is None or not task.called:
        return task
    positive = None if task.positive is None else task.called.get(str(task.positive), task.positive)
    return replace(task, labels=labels, positive=positive, called={})


def overlap(candidate: Evaluation, metrics: Iterable[str]) -> Overlap | None:
    """What ``evaluate_beside`` compares the two on; None where both know the same labels, in whatever order."""
    common, base = candidate.common, candidate.common.reference
    if common is candidate or base is None or common.task.labels is None or base.task.labels is None:
        return None
    mine, theirs = ([str(label) for label in each.task.labels or ()] for each in (common, base))
    new = tuple(label for label in mine if label not in set(theirs))
    gone = tuple(label for label in theirs if label not in set(mine))
    if not new and not gone:
        return None
    pairs = {name: (common.samples(name).value, base.samples(name).value) for name in metrics}
    quality = {name: (a, b) for name, (a, b) in pairs.items() if a is not None and b is not None}
    return Overlap(len(common), len(candidate), len(mine), new, gone, quality)


def evaluate_beside(
    task: Task, predictions: Predictions, base_task: Task, base_predictions: Predictions
) -> tuple[Evaluation, Evaluation]:
    """A candidate and the release that it would replace, each under its own task, on the same data.

    Where both know the same labels they are compared on every row. Where labels were added, taken away or renamed, the
    baseline is evaluated on the rows whose label it knows, and the candidate is compared with it there: an answer that
    the baseline cannot give is wrong there, and means over classes go over the labels that both know.

    Returns:
        The candidate, whose ``common`` is what is compared, and the baseline.

    Raises:
        InvalidInput: the two do different things, or there is no row that both know.
    """
    if task.type != base_task.type:
        raise InvalidInput(
            f"The baseline was released for {base_task.type.replace('_', ' ')}, and the candidate is for "
            f"{task.type.replace('_', ' ')}: nothing can be compared. Give the new task a model of its own name."
        )
    mine, theirs = label_list(task, predictions), label_list(base_task, base_predictions)
    base_task = in_words_of_candidate(base_task, theirs)
    if mine is None or theirs is None or predictions.labels is None or mine == theirs:
        baseline = Evaluation(base_task, base_predictions)
        return Evaluation(task, predictions, baseline), baseline
    if task.type == "detection":
        return _beside_on_shared_classes(task, predictions, base_task, base_predictions, mine, theirs)
    names, others = [str(label) for label in mine], [str(label) for label in theirs]
    truth = _by_name(task, predictions.labels, mine)
    rows = np.flatnonzero(_known(truth, np.isin(names, others)))
    if not rows.shape[0]:
        raise InvalidInput(
            "No row of the evaluation data has a label that the baseline knows, so nothing can be compared. Keep rows of "
            f"its labels ({', '.join(others[:_SPELLED])}) among the data{_or_say_what_they_were(names, others)}."
        )
    over = tuple(label for label in mine if str(label) in others)
    if task.type == "multilabel_classification":
        return _beside_on_shared_labels(task, predictions, base_task, base_predictions, over)
    same = len(over) == len(mine) == len(theirs)
    positive = task.positive if task.positive is not None else mine[-1]
    settings = {"positive": positive, "over": None} if same else {"over": over}
    base_over = (
        {"positive": _of(theirs, positive), "over": None}
        if same
        else {"over": tuple(_of(theirs, label) for label in over)}
    )
    baseline = Evaluation(
        replace(base_task, labels=theirs, **base_over), replace(base_predictions, labels=truth).take(rows)
    )
    shared = Evaluation(
        replace(task, labels=mine, **settings), replace(predictions, labels=truth).take(rows), baseline
    )
    return Evaluation(task, predictions, common=shared), baseline


def evaluate_known(
    task: Task, predictions: Predictions, declared: tuple[Label, ...] | None
) -> tuple[Evaluation, NDArray[np.int64] | None]:
    """A model on the rows whose label it knows, and which these are, int64 [k]; None where it knows every one.

    Args:
        task: the model's own.
        declared: the labels of the data, as the candidate's contract lists them.
    """
    labels = label_list(task, predictions)
    task = in_words_of_candidate(task, labels)
    if labels is None or declared is None or predictions.labels is None or labels == declared:
        return Evaluation(task, predictions), None
    truth = _by_name(task, predictions.labels, declared)
    known = _known(truth, np.isin([str(label) for label in declared], [str(label) for label in labels]))
    rows = np.flatnonzero(known)
    return Evaluation(task, replace(predictions, labels=truth).take(rows)), rows


def _beside_on_shared_labels(
    task: Task,
    predictions: Predictions,
    base_task: Task,
    base_predictions: Predictions,
    over: tuple[Label, ...],
) -> tuple[Evaluation, Evaluation]:
    """Two models that decide on labels one by one: on every row, over the labels that both know."""
    assert predictions.labels is not None  # noqa: S101 (evaluate_beside() looked)
    sets = _sets_of_names(predictions.labels, task.labels or over, {str(label) for label in over})
    theirs = tuple(_of(base_task.labels or over, label) for label in over)
    baseline = Evaluation(replace(base_task, over=theirs), replace(base_predictions, labels=sets))
    shared = Evaluation(replace(task, over=over), replace(predictions, labels=sets), baseline)
    return Evaluation(task, predictions, common=shared), baseline


def _beside_on_shared_classes(
    task: Task,
    predictions: Predictions,
    base_task: Task,
    base_predictions: Predictions,
    mine: tuple[Label, ...],
    theirs: tuple[Label, ...],
) -> tuple[Evaluation, Evaluation]:
    """Two models that find boxes: in every picture, of the classes that both know."""
    assert predictions.labels is not None  # noqa: S101 (evaluate_beside() looked)
    names, others = [str(label) for label in mine], [str(label) for label in theirs]
    own = np.array([place if name in others else -1 for place, name in enumerate(names)])
    known = np.array([names.index(name) if name in names else -1 for name in others])
    if (own < 0).all():
        raise InvalidInput(
            "The baseline and the candidate know no class in common, so nothing can be compared."
        )
    truth = _of_other_classes(predictions.labels, own)
    found = _boxes_of_other_classes(predictions, own)
    found_before = _boxes_of_other_classes(base_predictions, known)
    baseline = Evaluation(
        replace(base_task, labels=mine), replace(base_predictions, outputs=found_before, labels=truth)
    )
    shared = Evaluation(task, replace(predictions, outputs=found, labels=truth), baseline)
    return Evaluation(task, predictions, common=shared), baseline


def _boxes_of_other_classes(predictions: Predictions, places: NDArray[np.int64]) -> dict[str, Column]:
    """The outputs, what own metrics see as it is."""
    return {
        name: column if name.startswith(SEEN) else _of_other_classes(column, places)
        for name, column in predictions.outputs.items()
    }


def _of_other_classes(boxes: Column, places: NDArray[np.int64]) -> Column:
    """Boxes whose classes, their last number, stand elsewhere in another list; -1 where it has them not."""
    values = np.array(boxes.values)
    there = (values[..., -1] >= 0) & (values[..., -1] < places.shape[0])
    values[..., -1] = np.where(there, places[np.where(there, values[..., -1], 0).astype(np.int64)], -1)
    return replace(boxes, values=values)


def _sets_of_names(truth: Column, labels: tuple[Label, ...], kept: Container[str]) -> Column:
    """The names of the labels that each item has, as far as they are among some, ragged."""
    marks = indicator(truth, labels)
    chosen = np.array([str(label) in kept for label in labels])
    rows, places = np.nonzero(marks & chosen)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(truth)))]).astype(np.int64)
    return Column(places, offsets, tuple(str(label) for label in labels))


def _or_say_what_they_were(names: list[str], others: list[str]) -> str:
    """How to say that labels only bear other names now."""
    if len(names) != len(others):
        return ""
    pairs = ", ".join(f"{new}: {old}" for new, old in zip(names, others, strict=True))
    shown = pairs if len(names) <= _SPELLED else f"{names[0]}: {others[0]}, ..."
    return f"; or, if they only bear other names now, say so: `task: {{renamed: {{{shown}}}}}`"


def _by_name(task: Task, truth: Column, labels: tuple[Label, ...]) -> Column:
    if task.type == "multilabel_classification":
        return _sets_of_names(truth, labels, {str(label) for label in labels})
    shape = (
        truth.values.reshape(-1) if truth.offsets is None and truth.values.shape[1:] == (1,) else truth.values
    )
    places = places_of(Column(shape, truth.offsets, truth.names), labels, "the labels").astype(np.int64)
    return Column(places, truth.offsets, tuple(str(label) for label in labels))


def _known(truth: Column, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether every label of an item is known, [n]."""
    good = known[np.maximum(truth.values, 0)] | (truth.values == IGNORED)
    if truth.offsets is None:
        return np.asarray(good.reshape(good.shape[0], -1).all(axis=1))
    return np.array([bool(good[a:b].all()) for a, b in zip(truth.offsets, truth.offsets[1:], strict=False)])


def _of(labels: tuple[Label, ...], wanted: Label) -> Label:
    """The label of this name, as another list spells it."""
    return next(label for label in labels if str(label) == str(wanted))
