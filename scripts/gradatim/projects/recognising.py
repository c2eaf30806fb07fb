"""What a model is for: told from its signature, the data beside it, and what it says to some rows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.rehearsal import Seen
from gradatim.projects.classes import EMBEDDING_WIDTH, order_of, readings_of_one_label
from gradatim.projects.facts import QUERIES, DataFacts, names_one
from gradatim.projects.outputs import EMBEDDINGS, UNKNOWN, OutputFacts, outputs_of
from gradatim.projects.reading import ASKED_FOR_TEXT, Reading, TaskGuess, is_asked_for_text, spelled
from gradatim.signature import Signature

VOID = 255
"""Marks a pixel that does not count."""

_SETS = "multilabel_classification"

_HISTORY = ("history", "past", "context", "lookback")
"""Words in the name of an input that holds the values before a forecast."""

_ITEMS = ("item", "product", "movie", "doc", "document", "passage", "article", "song", "book", "video")
"""Words in the name of a column of what is ranked or recommended."""


def recognise(
    signature: Signature | None,
    facts: DataFacts | None,
    seen: Seen | None,
    names: Sequence[tuple[str, ...]] = (),
) -> list[Reading]:
    """The readings that there are, one a type of task, the likeliest first; empty when nothing points to one.

    The first alone counts when it is sure; else the second is what else it may be.

    Args:
        signature: the model's, None when it is unknown.
        facts: about the evaluation data, None when there are none.
        seen: what the model says to some rows, None when it could not be asked.
        names: lists of label names that lie beside the model, the nearest first.
    """
    if is_asked_for_text(signature):
        return [Reading(ASKED_FOR_TEXT, "it is asked for text")]
    outputs = outputs_of(signature, seen)
    labels = None if facts is None or facts.labels is None else _squeezed(facts.labels)
    asked = None if seen is None or seen.labels is None else _squeezed(seen.labels)
    readings: list[Reading] = []
    if labels is not None:
        readings += _boxes(labels, outputs, names)
    outputs = [output for output in outputs if seen is None or output.name not in seen.rowless]
    known = seen.signature if seen is not None else signature
    if labels is not None and facts is not None and known is not None:
        readings += _forecasts(facts, labels, outputs, known)
    if labels is not None and (labels.dtype == object or labels.ndim > 1):
        readings += _of_many_labels(labels, asked, outputs, names)
    elif labels is not None and facts is not None:
        lists = list(_lists(facts, labels, outputs))
        alone = readings_of_one_label(labels, asked, outputs, names)
        sure = any(reading.sure for reading in lists)
        readings += (
            lists + alone if sure else [replace(each, sure=each.sure and not lists) for each in alone] + lists
        )
    readings += _without_labels(facts, outputs, seen)
    kinds: dict[str, Reading] = {}
    for reading in readings:
        kinds.setdefault(reading.task.type, reading)
    return list(kinds.values())


def _squeezed(labels: NDArray[Any]) -> NDArray[Any]:
    """[n] for labels that stand in a column of their own, [n, 1]."""
    alone = labels.dtype != object and labels.ndim == 2 and labels.shape[1] == 1
    return labels[:, 0] if alone else labels


def _lists(facts: DataFacts, labels: NDArray[Any], outputs: Sequence[OutputFacts]) -> Iterator[Reading]:
    """One score for each item of a list, which a query names; or a user, where a column names items, too."""
    if facts.group is None or labels.dtype.kind not in "iufb" or (labels < 0).any():
        return
    asked = names_one(facts.group, QUERIES)
    items = any(names_one(name, _ITEMS) for name in facts.columns if name != facts.group)
    for output in outputs or [UNKNOWN]:
        if output.floats and output.width in (1, None) and (asked or items):
            why = f"the rows of one `{facts.group}` have a score each"
            yield Reading(TaskGuess("ranking", output=output.stated), why, asked)


def _forecasts(
    facts: DataFacts, labels: NDArray[Any], outputs: Sequence[OutputFacts], signature: Signature
) -> Iterator[Reading]:
    """The steps that follow a history, [n, steps], each with its number."""
    history = next((spec.name for spec in signature.inputs if names_one(spec.name, _HISTORY)), None)
    series = facts.group is not None and names_one(facts.group, ("series",))
    if history is None and not series:
        return
    for output in outputs or [UNKNOWN]:
        if output.floats and labels.dtype.kind == "f" and output.width in (labels[0].size, None):
            why = f"`{history}` holds what came before" if history else "the rows belong to series"
            yield Reading(TaskGuess("forecasting", output=output.stated, history=history), why)


def _boxes(
    labels: NDArray[Any], outputs: Sequence[OutputFacts], names: Sequence[tuple[str, ...]]
) -> Iterator[Reading]:
    """Five numbers for each box of a picture, beside an output whose last axis holds four or six."""
    rows = [np.asarray(each) for each in labels if np.size(each)]
    if not rows or any(each.ndim != 2 or each.shape[1] != 5 or each.dtype.kind not in "iuf" for each in rows):
        return
    classes = np.unique(np.concatenate([each[:, 4] for each in rows]))
    of_four = [each for each in outputs if each.shape and each.shape[-1] in (4, 6)]
    if (classes != np.rint(classes)).any() or not of_four:
        return
    boxes = next((each for each in of_four if each.called(("box", "det"))), of_four[0])
    listed = next((each for each in names if len(each) > classes.max()), tuple(range(int(classes.max()) + 1)))
    yield Reading(
        TaskGuess("detection", tuple(listed), boxes.stated), "each picture has boxes, and their classes"
    )


def _of_many_labels(
    labels: NDArray[Any],
    asked: NDArray[Any] | None,
    outputs: Sequence[OutputFacts],
    names: Sequence[tuple[str, ...]],
) -> Iterator[Reading]:
    """A class for each pixel, any number of labels an item, a tag for each token, or a number for each pixel or moment."""
    first = np.asarray(labels[0])
    axes = first.ndim + 1
    numbers = first.dtype.kind in "iufb"
    wanted = [size for size in first.shape if size != 1]
    for output in outputs or [UNKNOWN]:
        if not output.floats:
            continue
        told = [size for size in (output.shape or ())[1:] if size not in (None, 1)]
        yield from _sets(labels, output, names)
        if axes >= 3 and numbers:
            yield from _maps(labels, wanted, output, names)
        if numbers and (output.axes == axes or (output.axes is not None and told == wanted)):
            yield Reading(TaskGuess("regression", output=output.stated), "answers and labels have one shape")
        elif output.axes in (axes + 1, None) and axes == 2 and first.dtype.kind != "f":
            yield from _tags(labels, asked, output, names)
    for output in outputs:  # decisions where there are no scores
        if output.said is not None and output.said.dtype.kind in "iub" and np.isin(output.said, (0, 1)).all():
            yield from _sets(labels, output, names)


def _sets(labels: NDArray[Any], output: OutputFacts, names: Sequence[tuple[str, ...]]) -> Iterator[Reading]:
    """A score or a decision for each label, [b, k], beside 0 or 1 for each, or beside the names of those that an item has."""
    width = output.width
    if not width or width < 2 or output.sums_to_one:
        return
    lists = [each for each in names if len(each) == width]
    why = f"each label is there or not, and has its {'score' if output.floats else 'answer'}"
    distinct = np.unique(np.concatenate([np.asarray(each).reshape(-1) for each in labels]))
    if distinct.dtype.kind in "US":
        lists = [each for each in lists if set(distinct.tolist()) <= set(each)]
        if lists or len(distinct) == width:
            classes = spelled(lists[0] if lists else tuple(distinct.tolist()))
            yield Reading(TaskGuess(_SETS, classes, output.stated), why, ordered=bool(lists))
    elif labels.dtype != object and labels.shape[1:] == (width,) and set(distinct.tolist()) <= {0, 1}:
        classes = spelled(lists[0] if lists else tuple(range(width)))
        yield Reading(TaskGuess(_SETS, classes, output.stated), why)


def _maps(
    labels: NDArray[Any], size: Sequence[int], output: OutputFacts, names: Sequence[tuple[str, ...]]
) -> Iterator[Reading]:
    """A score for each class of each pixel, [b, C, h, w] or [b, h, w, C], beside the classes of the pixels."""
    parts = [np.unique(np.asarray(each)) for each in labels]
    distinct = np.unique(np.concatenate(parts))
    classes = distinct[(distinct >= 0) & (distinct != VOID)]
    if not len(classes) or (classes != np.rint(classes)).any() or output.shape is None or output.axes is None:
        return
    shape = [None if axis == 0 else each for axis, each in enumerate(output.shape)]
    width: int | None = 2 if classes.max() <= 1 else None  # one score tells two classes apart
    if output.axes == 4:
        places = [axis for axis in (1, 3) if shape[axis] is not None and shape[axis] != 1]
        fitting = [
            a for a in places if [s for s in shape[1:a] + shape[a + 1 :] if s is not None] in (list(size), [])
        ]
        width = next((shape[a] for a in fitting), width if 1 in (shape[1], shape[3]) else None)
    elif [each for each in shape[1:] if each not in (None, 1)] != list(size):
        return
    if width is not None and classes.max() < width:
        listed = next((each for each in names if len(each) == width), tuple(range(width)))
        why = "each pixel has its class, and a score for every class"
        yield Reading(TaskGuess("segmentation", spelled(listed), output.stated), why)


def _tags(
    labels: NDArray[Any], asked: NDArray[Any] | None, output: OutputFacts, names: Sequence[tuple[str, ...]]
) -> Iterator[Reading]:
    """Scores [b, t, C] for labels [n, t]; those below zero do not count."""
    width = output.shape[-1] if output.shape else None
    if width is None:
        return
    flat = np.concatenate([np.asarray(each) for each in labels])
    seen, said = None, None
    if asked is not None and output.said is not None and output.said.shape[:2] == asked.shape:
        seen, said = asked.reshape(-1), output.said.reshape(-1, width)
        counted = seen >= 0 if seen.dtype.kind == "i" else np.ones(len(seen), bool)
        seen, said = seen[counted], said[counted]
    order = order_of(flat[flat >= 0] if flat.dtype.kind == "i" else flat, seen, said, width, names)
    if order is not None:
        task = TaskGuess("token_classification", order.classes, output.stated)
        yield Reading(task, "each token has its tag", ordered=order.known)


def _without_labels(
    facts: DataFacts | None, outputs: Sequence[OutputFacts], seen: Seen | None
) -> Iterator[Reading]:
    """A language model by its vocabulary; else answers that are vectors, held against those of the last release."""
    largest = _largest_id(facts, seen)
    for output in outputs:
        vocabulary = output.shape[-1] if output.shape and output.axes == 3 else None
        if (
            largest is not None
            and vocabulary is not None
            and vocabulary > largest
            and not output.called(EMBEDDINGS)
        ):
            why = "each token of a vocabulary has its score"
            yield Reading(TaskGuess("language_modelling", output=output.stated), why)
    vectors = [o for o in outputs if o.floats and o.axes in (2, 3) and (o.shape or (0,))[-1] not in (None, 1)]
    wide = [o for o in vectors if o.axes == 2 and (o.width or 0) >= 2 * EMBEDDING_WIDTH]
    called = [o for o in vectors if o.called(EMBEDDINGS) and o.axes == 2]
    for output in (*called, *wide, *vectors):
        sure = facts is None or facts.label is None or output in called or output in wide
        why = "its vectors can be held against the last release's"
        yield Reading(TaskGuess("embedding", output=output.stated), why, sure)


def _largest_id(facts: DataFacts | None, seen: Seen | None) -> int | None:
    """The largest token id in the data, where the model takes such."""
    if facts is None or facts.example is None or seen is None or seen.signature.input("input_ids") is None:
        return None
    return int(facts.example.max()) if facts.example.dtype.kind in "iu" else None
