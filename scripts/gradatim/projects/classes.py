"""One label an item: classes or numbers, whichever the outputs can give; the answers to some rows decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.projects.outputs import EMBEDDINGS, SCORES, UNKNOWN, OutputFacts
from gradatim.projects.reading import Label, Reading, TaskGuess, spelled

EMBEDDING_WIDTH = 16
"""Narrower vectors are not taken for embeddings."""

_MOST_CLASSES = 100_000
_SURE = 4.0
"""Standard deviations by which right answers must exceed those of chance."""

Weighed = tuple[float, Reading]
"""How much speaks for a reading beside those of the other outputs."""


def readings_of_one_label(
    labels: NDArray[Any],
    seen: NDArray[Any] | None,
    outputs: Sequence[OutputFacts],
    names: Sequence[tuple[str, ...]],
) -> list[Reading]:
    """The readings of each output, the likeliest first.

    Args:
        labels: [n], of all rows.
        seen: [k], of the rows that the outputs were asked about.
        names: lists of label names that lie beside the model.
    """
    found: list[Weighed] = []
    for output in outputs or [UNKNOWN]:
        if output.axes is not None and output.axes > 2:
            continue
        scored = _scores(labels, seen, output, names)
        if scored is not None:
            found.append(scored)
        # of an output that nobody knows either may be
        if (scored is None or output is UNKNOWN) and (single := _single(labels, seen, output, names)):
            found.append(single)
    return [reading for _, reading in sorted(found, key=lambda each: -each[0])]


def _scores(
    labels: NDArray[Any], seen: NDArray[Any] | None, output: OutputFacts, names: Sequence[tuple[str, ...]]
) -> Weighed | None:
    """A score for each class, [b, C]."""
    width = output.width
    if not output.floats or (width is not None and width < 2) or not _may_be_classes(labels):
        return None
    if width is None:
        return _unknown_scores(labels, output, names)
    order = order_of(labels, seen, output.said, width, names)
    if order is None:
        return None
    distinct, told = len(np.unique(labels)), order.told
    as_many = distinct == width or any(len(each) == width for each in names) or width < EMBEDDING_WIDTH
    sure = told or output.called(SCORES) or output.sums_to_one or as_many
    if not sure and (output.called(EMBEDDINGS) or (output.said is not None and 2 * distinct <= width)):
        return None  # a few labels beside many numbers that have nothing to do with them
    why = f"there are {width} scores and the labels lie among them"
    if told:
        why = "the highest score is the label far more often than by chance"
    by_name = next((place for place, word in enumerate(SCORES) if word == output.name.lower()), len(SCORES))
    task = TaskGuess("classification", spelled(order.classes), output.stated)
    reading = Reading(task, why, sure, width, order.right, order.known)
    return (100 if told else 10 if sure else 1) - by_name / 100, reading


@dataclass(frozen=True)
class Order:
    """Labels in the order of the scores.

    Attributes:
        classes: every label.
        told: whether the highest score is the label far more often than by chance.
        known: whether the order is told so, or by a list beside the model, or by the labels, which are places.
        right: the share of right answers on the rows looked at; None where none were.
    """

    classes: tuple[Label, ...]
    told: bool
    known: bool
    right: float | None


def order_of(
    labels: NDArray[Any],
    seen: NDArray[Any] | None,
    said: NDArray[Any] | None,
    width: int,
    names: Sequence[tuple[str, ...]],
) -> Order | None:
    """The order of the labels in which the model is right most often; None where they are not its classes.

    Args:
        labels: [n], of all items.
        seen: [k], of the items that the model was asked about.
        said: [k, C], their scores.
        width: C.
        names: lists of label names that lie beside the model.
    """
    tried = [(_agreement(said, seen, classes), classes) for classes in _orders(labels, width, names)]
    if said is not None and seen is not None and (learned := _learned(labels, seen[::2], said[::2], width)):
        tried.append(
            (_agreement(said[1::2], seen[1::2], learned), learned)
        )  # on rows it was not learned from
    if not tried:
        return None
    (beyond, right), classes = max(tried, key=lambda each: each[0][0])
    told = beyond >= _SURE
    return Order(classes, told, told or classes in names or labels.dtype.kind not in "US", right)


def _unknown_scores(
    labels: NDArray[Any], output: OutputFacts, names: Sequence[tuple[str, ...]]
) -> Weighed | None:
    """An output whose width nobody knows: scores, where the labels are few, or places in a list of names beside the model."""
    classes = np.unique(labels).tolist()
    numbers = labels.dtype.kind not in "US"
    weight = 5.0 if output is UNKNOWN else 0.5
    listed = next((each for each in names if numbers and classes[0] >= 0 and classes[-1] < len(each)), None)
    if listed is not None:
        task = TaskGuess("classification", spelled(listed), output.stated)
        return weight, Reading(task, "the labels are places in a list of names")
    if len(classes) <= max(2, len(labels) // 5):
        task = TaskGuess("classification", spelled(classes), output.stated)
        return weight, Reading(task, "the labels are few")
    if labels.dtype.kind not in "iu" or output is not UNKNOWN:
        return None
    task = TaskGuess("classification", (), output.stated)
    return weight, Reading(task, "the labels are whole numbers, and no model was asked", sure=False)


def _orders(
    labels: NDArray[Any], width: int, names: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Label, ...]]:
    """Lists of labels, in the order that the scores may have."""
    distinct = np.unique(labels)
    if labels.dtype.kind in "US":
        present = set(distinct.tolist())
        yield from (each for each in names if len(each) == width and present <= set(each))
        if len(distinct) == width:
            yield tuple(distinct.tolist())
            _, first = np.unique(labels, return_index=True)
            yield tuple(str(labels[place]) for place in np.sort(first))
        return
    places = {int(label) for label in distinct.tolist()}
    if min(places) >= 0 and max(places) < width:
        yield from (each for each in names if len(each) == width)
        yield tuple(range(width))
    elif len(places) == width:
        yield tuple(sorted(places))


def _learned(
    labels: NDArray[Any], seen: NDArray[Any], said: NDArray[Any], width: int
) -> tuple[Label, ...] | None:
    """Names in the order that answers tell: the commonest label where a score is highest; None where one lacks its own."""
    if labels.dtype.kind not in "US" or said.ndim != 2 or len(np.unique(labels)) != width:
        return None
    answered = np.argmax(said, axis=1)
    found = []
    for place in range(width):
        there, often = np.unique(seen[answered == place], return_counts=True)
        found += [str(there[often.argmax()])] if len(there) else []
    return tuple(found) if len(set(found)) == width else None


def _agreement(
    said: NDArray[Any] | None, truth: NDArray[Any] | None, classes: Sequence[Label]
) -> tuple[float, float | None]:
    """By how many standard deviations right answers exceed those of a model whose answers have nothing to do with the
    labels, and their share; 0 and None where no rows were looked at.

    The share that chance gives is that of Cohen's kappa (Cohen 1960).
    """
    if said is None or truth is None or said.ndim != 2 or not len(said):
        return 0.0, None
    place = {str(label): at for at, label in enumerate(classes)}
    texts = [str(int(each)) if truth.dtype.kind in "iufb" else str(each) for each in truth]
    by_place = truth.dtype.kind in "iufb" and not all(text in place for text in texts)
    right = np.array([int(text) if by_place else place.get(text, -1) for text in texts])
    return _beyond_chance(np.argmax(said, axis=1), right, len(classes))


def _beyond_chance(answered: NDArray[Any], right: NDArray[Any], classes: int) -> tuple[float, float]:
    n = len(answered)
    expected = float(sum((answered == each).mean() * (right == each).mean() for each in np.unique(right)))
    expected = min(max(expected, 0.1 / max(n, classes)), 0.999)
    share = float((answered == right).mean())
    return (share - expected) / math.sqrt(expected * (1 - expected) / n), share


def _single(
    labels: NDArray[Any], seen: NDArray[Any] | None, output: OutputFacts, names: Sequence[tuple[str, ...]]
) -> Weighed | None:
    """One answer an item, [b] or [b, 1]: a class by name, one score of two classes, or a number."""
    if output.width not in (1, None):
        return None
    if output.dtype == "str" or (output.dtype.startswith(("int", "uint")) and output.said is not None):
        return _by_name(labels, seen, output)
    if not output.floats:
        return None
    distinct = np.unique(labels).tolist()
    text = labels.dtype.kind in "US"
    if len(distinct) == 2 and (text or {float(label) for label in distinct} == {0.0, 1.0}):
        pairs = (each for each in names if len(each) == 2 and (not text or set(each) == set(distinct)))
        pair = next(pairs, tuple(distinct) if text else (0, 1))
        return 5.0, Reading(
            TaskGuess("classification", pair, output.stated), "one score tells two labels apart", classes=2
        )
    if text:
        return None
    near = output.called(("prediction", "variable", "value", "output"))
    return 4.0 + 0.1 * near, _number(output)


def _by_name(labels: NDArray[Any], seen: NDArray[Any] | None, output: OutputFacts) -> Weighed | None:
    """An output that says the label itself, as text or as a whole number."""
    distinct = np.unique(labels).tolist()
    if labels.dtype.kind == "f" or len(distinct) > _MOST_CLASSES:
        return None
    agreed, beyond = 0.0, 0.0
    if output.said is not None and seen is not None:
        said = output.said.reshape(len(output.said)).astype(np.str_)
        beyond, agreed = _beyond_chance(said, seen.astype(np.str_), len(distinct))
    many = labels.dtype.kind in "iu" and len(distinct) > max(2, len(labels) // 5)
    if many and agreed <= 1.5 / len(distinct):
        return 3.0, _number(output)
    task = TaskGuess("classification", spelled(tuple(distinct)), output.stated)
    weight = 2.0 if many or beyond < _SURE else 5.0  # before a number beside it, after scores of every class
    return weight + agreed, Reading(task, "an output says the label itself", classes=len(distinct))


def _number(output: OutputFacts) -> Reading:
    why = "the labels are numbers" if output is UNKNOWN else "the labels are numbers, and so is the answer"
    return Reading(TaskGuess("regression", output=output.stated), why)


def _may_be_classes(labels: NDArray[Any]) -> bool:
    distinct = np.unique(labels)
    if len(distinct) > _MOST_CLASSES:
        return False
    if labels.dtype.kind == "f":
        return bool((distinct == np.rint(distinct)).all())
    return labels.dtype.kind in "USiub"
