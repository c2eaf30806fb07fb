"""A model over a data set: its predictions on disk, batch by batch, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gradatim.data import Batch, Dataset
from gradatim.metrics.interpret import reduce_batch
from gradatim.metrics.predictions import Predictions, PredictionsWriter
from gradatim.metrics.task import Task
from gradatim.models import Predictor
from gradatim.progress import Advance


def predict(
    predictor: Predictor,
    dataset: Dataset,
    task: Task,
    folder: Path,
    *,
    batch: int,
    most: int | None = None,
    advance: Advance = lambda amount=1, note="": None,
) -> Predictions:
    """Run a model over a data set and keep of its outputs what the task needs.

    Args:
        folder: where the predictions are written; it appears only when all of them are there.
        batch: rows per call.
        most: stop after so many rows.
        advance: told of the rows done.

    Raises:
        InvalidInput: the data or the model's answers cannot be used; names the row or the output.
    """
    with PredictionsWriter(folder) as writer:
        for part in _rows(dataset.batches(batch), most):
            outputs = predictor(part.inputs)
            writer.append(
                reduce_batch(task, outputs, part.inputs, part.labels),
                part.labels,
                part.slices,
                part.groups,
                part.items,
            )
            advance(len(part))
    return Predictions.load(folder)


def _rows(batches: Iterator[Batch], most: int | None) -> Iterator[Batch]:
    left = most
    for part in batches:
        if left is None:
            yield part
            continue
        yield part if len(part) <= left else part.rows(slice(0, left))
        left -= len(part)
        if left <= 0:
            return
