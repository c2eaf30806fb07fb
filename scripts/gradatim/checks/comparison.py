"""Are two answers of a model the same, but for what floating point may do to them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Column
from gradatim.metrics.common import in_words_of_candidate, label_list
from gradatim.metrics.interpret import answer, classify, places_of
from gradatim.metrics.outputs import reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Array = NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Allowance:
    """How far two numbers may be apart: ``absolute + relative * |expected| + share * max |expected|``.

    Attributes:
        share: part of the largest value of the output. Compressed models are allowed it: quantisation errs by
            a part of the range, not of the value, and a range measured at run time depends on the batch.
    """

    absolute: float = 1e-4
    relative: float = 1e-3
    share: float = 0.0

    def sharing(self, share: float) -> Allowance:
        """The same with another share."""
        return replace(self, share=share)


@dataclass(frozen=True)
class Likeness:
    """How far two answers are apart.

    Attributes:
        worst: the largest difference between two numbers; infinite where they cannot be compared.
        problem: what is beyond the allowance, in words; None when nothing is.
    """

    worst: float
    problem: str | None


def compare(expected: Arrays, got: Arrays, allowance: Allowance) -> Likeness:
    """Hold one answer against another, output by output; those that ``expected`` lacks are not looked at.

    Integers and text must be equal; NaN equals NaN.
    """
    worst, problem = 0.0, None
    for name, wanted in expected.items():
        if name not in got:
            return Likeness(np.inf, f"the output `{name}` is missing; there are {', '.join(got) or 'none'}")
        found = _compare(name, np.asarray(wanted), np.asarray(got[name]), allowance)
        worst, problem = max(worst, found.worst), problem or found.problem
    return Likeness(worst, problem)


def rows_apart(expected: Array, got: Array, allowance: Allowance) -> NDArray[np.bool_]:
    """Whether each row of one output is beyond the allowance, [n]."""
    if expected.shape != got.shape:
        return np.ones(len(expected), np.bool_)
    if expected.dtype.kind not in "fc" or got.dtype.kind not in "fc":
        return _by_row(expected.astype(got.dtype) != got)
    return _by_row(_gap(expected, got) > _limit(expected, allowance))


def answers(task: Task | None, outputs: Arrays, inputs: Arrays) -> NDArray[np.int32] | None:
    """The class of every item, as a place in the list of labels; None where the task has no classes."""
    if task is None or task.type != "classification":
        return None
    kept = reduce_batch(task, outputs, inputs)
    try:
        return classify(task, Predictions.of(kept)).predicted
    except InvalidInput:
        return None  # scores that are not finite, or name no label: another check says so


def named_answers(task: Task | None, outputs: Arrays, inputs: Arrays) -> list[tuple[str, ...]] | None:
    """The class of every item by its name, or the tags of its tokens; None where the task has neither.

    Names are the candidate's own, so that answers of releases with fewer labels, or with others, can be compared.
    """
    if task is None or task.type not in ("classification", "token_classification"):
        return None
    try:
        predictions = Predictions.of(reduce_batch(task, outputs, inputs))
        task = in_words_of_candidate(task, label_list(task, predictions))
        if task.type == "classification":
            found = classify(task, predictions)
            return [(str(found.labels[place]),) for place in found.predicted]
        if not task.labels:
            return None
        name, column = answer(task, predictions)
        tags = Column(places_of(column, task.labels, f"the output `{name}`"), column.offsets)
    except InvalidInput:
        return None  # another check says what is wrong with them
    return [tuple(str(task.labels[tag]) for tag in tags.item(row)) for row in range(len(tags))]


def flips(task: Task | None, outputs: Arrays, others: Arrays, inputs: Arrays) -> NDArray[np.bool_] | None:
    """Whether two answers to the same items name different classes, [n]; None where the task has no classes."""
    first, second = answers(task, outputs, inputs), answers(task, others, inputs)
    return None if first is None or second is None else np.asarray(first != second)


def _compare(name: str, wanted: Array, got: Array, allowance: Allowance) -> Likeness:
    if wanted.shape != got.shape:
        text = f"`{name}` has the shape {list(got.shape)}, not {list(wanted.shape)}"
        return Likeness(np.inf, text)
    if wanted.dtype.kind not in "fc" or got.dtype.kind not in "fc":
        different = np.asarray(wanted.astype(object) != got.astype(object))
        if not different.any():
            return Likeness(0.0, None)
        where = _place(different)
        text = f"`{name}` differs in {int(different.sum())} of {different.size} values"
        return Likeness(
            np.inf, f"{text}, first at {_spell(where)}: {wanted[where]!s} expected, {got[where]!s} got"
        )
    gap = _gap(wanted, got)
    beyond = gap > _limit(wanted, allowance)
    worst = float(gap.max()) if gap.size else 0.0
    if not beyond.any():
        return Likeness(worst, None)
    where = _place(beyond & (gap == gap[beyond].max()))
    text = f"`{name}` differs by up to {gap[where]:.3g}"
    return Likeness(worst, f"{text} ({wanted[where]:.6g} expected, {got[where]:.6g} got at {_spell(where)})")


def _gap(wanted: Array, got: Array) -> NDArray[np.float64]:
    """Absolute differences; 0 where both are the same infinity or both are NaN, infinite where one is neither."""
    a, b = np.asarray(wanted, np.float64), np.asarray(got, np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))


def _limit(wanted: Array, allowance: Allowance) -> NDArray[np.float64]:
    size = np.abs(np.asarray(wanted, np.float64))
    size = np.where(np.isfinite(size), size, 0.0)
    largest = float(size.max()) if size.size else 0.0
    return allowance.absolute + allowance.relative * size + allowance.share * largest


def _by_row(apart: Array) -> NDArray[np.bool_]:
    return np.asarray(apart.reshape(len(apart), -1).any(axis=1))


def _place(marks: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(marks)), marks.shape))


def _spell(where: tuple[int, ...]) -> str:
    return "row " + ", ".join(map(str, where)) if where else "the only value"
