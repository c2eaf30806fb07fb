"""What a model is for: told from its signature, the data beside it, and what it says to some rows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.rehearsal import Seen
from gradatim.projects.classes import EMBEDDING_WIDTH, order_of, readings_of_one_label
from gradatim.projects.facts import DataFacts
from gradatim.projects.outputs import EMBEDDINGS, UNKNOWN, OutputFacts, outputs_of
from gradatim.projects.reading import Reading, TaskGuess
from gradatim.signature import Signature


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
    outputs = outputs_of(signature, seen)
    labels = None if facts is None or facts.labels is None else _squeezed(facts.labels)
    asked = None if seen is None or seen.labels is None else _squeezed(seen.labels)
    readings: list[Reading] = []
    if labels is not None and (labels.dtype == object or labels.ndim > 1):
        readings += _of_many_labels(labels, asked, outputs, names)
    elif labels is not None:
        readings += readings_of_one_label(labels, asked, outputs, names)
    readings += _without_labels(facts, outputs, seen)
    kinds: dict[str, Reading] = {}
    for reading in readings:
        kinds.setdefault(reading.task.type, reading)
    return list(kinds.values())


def _squeezed(labels: NDArray[Any]) -> NDArray[Any]:
    """[n] for labels that stand in a column of their own, [n, 1]."""
    alone = labels.dtype != object and labels.ndim == 2 and labels.shape[1] == 1
    return labels[:, 0] if alone else labels


def _of_many_labels(
    labels: NDArray[Any],
    asked: NDArray[Any] | None,
    outputs: Sequence[OutputFacts],
    names: Sequence[tuple[str, ...]],
) -> Iterator[Reading]:
    """A tag for each token, or a number for each pixel or moment."""
    first = np.asarray(labels[0])
    axes = first.ndim + 1
    numbers = first.dtype.kind in "iufb"
    wanted = [size for size in first.shape if size != 1]
    for output in outputs or [UNKNOWN]:
        if not output.floats:
            continue
        told = [size for size in (output.shape or ())[1:] if size not in (None, 1)]
        if numbers and (output.axes == axes or (output.axes is not None and told == wanted)):
            yield Reading(TaskGuess("regression", output=output.stated), "answers and labels have one shape")
        elif output.axes in (axes + 1, None) and axes == 2 and first.dtype.kind != "f":
            yield from _tags(labels, asked, output, names)


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
