"""A model over a data set: its predictions on disk, batch by batch, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.answers import RowRefused
from gradatim.metrics.outputs import WEIGHT, reduce_batch, reduce_labels
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.task import Task
from gradatim.models import Predictor, encoded
from gradatim.models.predictor import Arrays, ModelEnded
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.data import Batch, Dataset
    from gradatim.progress import Advance

_GATHERED_BYTES = 1 << 18
"""Answers of so many bytes are kept and written together. What is done for each batch between two calls of a small
model runs with cold caches, several times as slowly as here in a row."""


_ANSWERED_BYTES = 1 << 27
"""Answers to one call that are known beforehand to take more are asked for in several."""


def predict(
    predictor: Predictor,
    dataset: Dataset,
    task: Task,
    folder: Path,
    *,
    batch: int,
    most: int | None = None,
    only: range | None = None,
    picked: NDArray[np.int64] | None = None,
    advance: Advance = lambda amount=1, note="": None,
) -> Predictions:
    """Run a model over a data set and keep of its outputs what the task needs.

    Args:
        folder: where the predictions are written; it appears only when all of them are there.
        batch: rows per call.
        most: stop after so many rows.
        only: just these rows, whole batches of the walk over all of them; each is called with the rows that it has there.
        picked: just the rows at these places, int64 [k], rising.
        advance: told of the rows done.

    Raises:
        InvalidInput: the data or the model's answers cannot be used; names the row or the output.
    """
    with PredictionsWriter(folder) as writer:
        blocks = dataset.blocks(batch, only) if picked is None else dataset.picked(picked, batch)
        for block in _rows(blocks, most):
            for answers in _answers(predictor, block, batch, dataset.name, advance):
                for rows, kept in _gathered(task, block, answers, dataset.name):
                    part = block.rows(rows)
                    labels = reduce_labels(task, part.labels)
                    kept |= {} if part.weights is None else {WEIGHT: part.weights}
                    writer.append(kept, labels, part.slices, part.groups, part.items)
    return Predictions.load(folder)


_Answer = tuple[slice, Mapping[str, Any], Mapping[str, Any]]
"""Rows of a block, the inputs made of them and the model's outputs."""


def _answers(
    predictor: Predictor, block: Batch, batch: int, source: str, advance: Advance
) -> Iterator[list[_Answer]]:
    """The model's answers to a block, batch by batch, several at a time."""
    answers: list[_Answer] = []
    size, n = 0, len(block)
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        inputs = {name: values[rows] for name, values in block.inputs.items()}
        whole = encoded(predictor, inputs)  # a token task reads the tokens' mask
        step = _rows_a_call(predictor.signature, whole, rows.stop - start)
        for first in range(0, rows.stop - start, step):
            part = slice(start + first, min(start + first + step, rows.stop))
            fed = {name: values[first : first + step] for name, values in whole.items()}
            try:
                outputs = predictor(fed)
            except ModelEnded as ended:
                raise ended.among(block.items[part], source) from None
            answers.append((part, fed, outputs))
            advance(part.stop - part.start)
            size += sum(values.nbytes for values in outputs.values())
            if size >= _GATHERED_BYTES:
                yield answers
                answers, size = [], 0
    if answers:
        yield answers


def _rows_a_call(signature: Signature, inputs: Arrays, rows: int) -> int:
    """How many of a batch's rows a call is given: all, unless a number for each word of a vocabulary at each token takes too much."""
    longest = max((values.shape[1] for values in inputs.values() if values.ndim > 1), default=1)
    shapes = (spec.shape for spec in signature.outputs if spec.shape and len(spec.shape) == 3)
    row = sum(4 * longest * shape[2] for shape in shapes if isinstance(shape[2], int))
    return max(1, min(rows, _ANSWERED_BYTES // max(row, 1)))


def _gathered(
    task: Task, block: Batch, answers: list[_Answer], source: str
) -> Iterator[tuple[slice, dict[str, Any]]]:
    """What is kept of the answers, joined as far as they are alike; the others as they are."""
    waiting: list[dict[str, Any]] = []
    start = stop = 0
    for rows, inputs, outputs in answers:
        labels = None if block.labels is None else block.labels[rows]
        try:
            kept = reduce_batch(task, outputs, inputs, labels)
        except RowRefused as refused:
            row = int(block.items[rows][refused.row]) + 1
            raise InvalidInput(f"Row {row} of {source}: {refused}") from None
        table = _is_table(kept, rows.stop - rows.start)
        if waiting and not (table and _alike(waiting[0], kept)):
            yield slice(start, stop), _joined(waiting)
            waiting = []
        if not table:
            yield rows, kept  # with whatever is wrong about it, for the writer to judge
            continue
        if not waiting:
            start = rows.start
        waiting.append(kept)
        stop = rows.stop
    if waiting:
        yield slice(start, stop), _joined(waiting)


def _is_table(kept: Mapping[str, Any], rows: int) -> bool:
    """Whether every output is one array with one row, of numbers, for each row of the batch."""
    for values in kept.values():
        if (
            not isinstance(values, np.ndarray)
            or values.dtype.kind not in "biuf"
            or values.shape[:1] != (rows,)
        ):
            return False
    return bool(kept)


def _alike(first: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Whether one table can stand below another without a change to either."""
    if first.keys() != kept.keys():
        return False
    for name, values in kept.items():
        other = first[name]
        if values.dtype != other.dtype or values.shape[1:] != other.shape[1:]:
            return False
    return True


def _joined(waiting: list[dict[str, Any]]) -> dict[str, Any]:
    if len(waiting) == 1:
        return waiting[0]
    return {name: np.concatenate([kept[name] for kept in waiting]) for name in waiting[0]}


def _rows(blocks: Iterator[Batch], most: int | None) -> Iterator[Batch]:
    left = most
    for block in blocks:
        if left is None:
            yield block
            continue
        yield block if len(block) <= left else block.rows(slice(0, left))
        left -= len(block)
        if left <= 0:
            return
