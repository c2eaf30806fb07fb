"""From raw rows to what the metrics read, and how long one call may take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.check import Finding, checked
from gradatim.data import Dataset
from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import reduce_batch, reduce_labels
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor, encoded

ROWS = 8
"""Rows that take the whole way."""

_CALLS = 3


def integration_check(dataset: Dataset, predictor: Predictor, task: Task) -> Check:
    """Raw rows, preprocessing, the model, and what the task reads of its answers: does one fit the next?"""
    return checked("integration", "raw rows to answers", lambda: _whole_way(dataset, predictor, task))


def performance_check(predictor: Predictor, inputs: Mapping[str, NDArray[Any]], slowest: float) -> Check:
    """Whether a call on these rows takes at most ``slowest`` seconds: the median of three, after one to warm up."""
    return checked("performance", "one call", lambda: _call_in_time(predictor, inputs, slowest))


def _whole_way(dataset: Dataset, predictor: Predictor, task: Task) -> Finding:
    raw = next(dataset.raw_batches(ROWS))
    batch = dataset.prepare(raw)
    fed = encoded(predictor, batch.inputs)
    kept = reduce_batch(task, predictor(fed), fed, batch.labels)
    labels = reduce_labels(task, batch.labels)
    predictions = Predictions.of(kept, labels, batch.slices, batch.groups, batch.items)
    Evaluation(task, predictions)
    tokenizer = "" if fed is batch.inputs else "its tokenizer"
    answers = f"{task.type} of {', '.join(kept)}"
    steps = [", ".join(raw.inputs), dataset.preprocess or "", tokenizer, "model", answers]
    return Verdict.PASS, f"{len(batch)} rows: {' -> '.join(step for step in steps if step)}"


def _call_in_time(predictor: Predictor, inputs: Mapping[str, NDArray[Any]], slowest: float) -> Finding:
    predictor(inputs)
    taken = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        predictor(inputs)
        taken.append(time.perf_counter() - began)
    seconds = float(np.median(taken))
    rows = len(next(iter(inputs.values())))
    told = f"{rows} rows took {seconds * 1e3:.3g} ms; at most {slowest * 1e3:.3g} ms are allowed"
    return (Verdict.PASS if seconds <= slowest else Verdict.FAIL), told
