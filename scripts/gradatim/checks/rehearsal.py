"""A rehearsal: one batch of the contract's own data through all that a run will do with it, before a run spends an hour."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.judging import judge_of, meet_judge
from gradatim.candidate.keeping import kept_metrics
from gradatim.checks.answers import asked
from gradatim.checks.robustness import study_of
from gradatim.checks.sampled import SampledRows, sample
from gradatim.data import Batch, Dataset
from gradatim.errors import GradatimError, InvalidInput
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import default_metrics
from gradatim.metrics.outputs import reduce_batch, reduce_labels
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor, encoded, observed_signature
from gradatim.perturb.catalogue import SEVERITIES
from gradatim.signature import Signature, TensorSpec

ROWS = 32
"""Rows of a rehearsal, fewer where the next differs in shape."""

Part = Literal["model", "evaluation", "task", "calibration", "robustness", "corrupted"]


LOOKED_AT = 128
"""Rows that a first look asks a model about: enough to tell a classifier of a thousand classes from chance."""

_SAMPLED_BYTES = 512 << 20
"""Larger data sets are looked at from their head, for a sample reads through them."""

_CALL = 8

_SECONDS = 20.0
"""After which a slow model is asked about no further corruption."""


@dataclass(frozen=True)
class Seen:
    """What a model says to some rows of its evaluation data.

    Attributes:
        signature: the model's, the gaps that its format leaves filled in.
        outputs: by name, [n, ...].
        labels: [n, ...] of the same rows, None where the data have none, or sequences of unequal length.
        seconds: that one row took.
        rowless: names of outputs whose first axis does not count the rows.
    """

    signature: Signature
    outputs: dict[str, NDArray[Any]]
    labels: NDArray[Any] | None
    seconds: float = 0.0
    rowless: tuple[str, ...] = ()


@dataclass(frozen=True)
class Obstacle:
    """What a run would stop at.

    Attributes:
        part: the part of the contract that it is about.
        error: what the run would say.
        corruption: which one cannot be applied, for the part ``robustness``; or leaves no answer, for ``corrupted``.
    """

    part: Part
    error: GradatimError
    corruption: str | None = None


def rehearse(candidate: Candidate) -> list[Obstacle]:
    """What a run would stop at, as far as one batch tells; nothing where the model is still to be built.

    The user's own code is run, as a run does: factory, preprocessing, metrics. Nothing is written.
    """
    model = candidate.contract.parts.model
    if model.path is not None and model.build is not None and not candidate.model.path.exists():
        return []
    try:
        candidate.forms.original  # noqa: B018 (its files are looked at)
        opened = candidate.model.open(candidate.model.path)
    except GradatimError as error:
        return [Obstacle("model", error)]
    with opened as predictor:
        found = list(_evaluation(candidate, predictor))
        found += _calibration(candidate, predictor)
        return found


def look(candidate: Candidate, *, seconds: float = 20.0) -> Seen:
    """Ask a model about some rows of the evaluation data, whatever its task; no new call begins after so many seconds.

    Rows that differ in shape from the first are passed over.

    Raises:
        GradatimError: the model or the data cannot be used.
    """
    parts: list[tuple[Mapping[str, NDArray[Any]], Batch]] = []
    with candidate.model.open(candidate.model.path) as predictor:
        batches = _some_rows(candidate.rows.dataset("evaluation", predictor.signature))
        first = next(batches)
        signature = _observed(predictor, first)
        began = time.monotonic()
        for batch in itertools.chain([first], batches):
            if _shapes(batch.inputs) == _shapes(first.inputs):
                parts.append((predictor(batch.inputs), batch))
            if time.monotonic() - began > seconds:
                break
        took = time.monotonic() - began
    outputs = {name: [part[name] for part, _ in parts] for name in parts[0][0]}
    joined = {
        n: np.concatenate(found) for n, found in outputs.items() if len({f.shape[1:] for f in found}) == 1
    }
    rowless = tuple(
        n for n in outputs if any(np.shape(said[n])[:1] != (len(batch),) for said, batch in parts)
    )
    labels = [each.labels for _, each in parts if each.labels is not None and each.labels.dtype != object]
    known = len(labels) == len(parts) and len({each.shape[1:] for each in labels}) == 1
    each = took / max(sum(len(batch) for _, batch in parts), 1)
    return Seen(signature, joined, np.concatenate(labels) if known else None, each, rowless)


def _some_rows(dataset: Dataset) -> Iterator[Batch]:
    """Rows from all over the data, which may be sorted by their labels; from the head where there is much of them."""
    first = dataset.head(1)
    size = len(dataset) * sum(values.nbytes for values in first.inputs.values())
    if size > _SAMPLED_BYTES:
        yield from itertools.islice(dataset.batches(_CALL), LOOKED_AT // _CALL)
        return
    for raw in SampledRows(dataset, sample(len(dataset), LOOKED_AT, seed=0), _CALL):
        yield from map(dataset.prepare, raw.runs_of_equal_shape())


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[int, ...]]:
    return {name: values.shape[1:] for name, values in arrays.items()}


def _observed(predictor: Predictor, batch: Batch) -> Signature:
    """The model's signature with its gaps filled in; of a function that does not say what it takes, what it was given."""
    two = {name: values[:2] for name, values in batch.inputs.items()}
    signature = observed_signature(predictor, two)
    given = tuple(
        TensorSpec(
            name, "str" if values.dtype.kind in "OU" else values.dtype.name, ("batch", *values.shape[1:])
        )
        for name, values in two.items()
    )
    return Signature(signature.inputs or given, signature.outputs)


def _evaluation(candidate: Candidate, predictor: Predictor) -> Iterator[Obstacle]:
    if candidate.contract.parts.data.evaluation is None:
        return
    try:
        task = candidate.rows.task()
        dataset = candidate.rows.dataset("evaluation", predictor.signature)
        batch = dataset.head(ROWS)
        if task.type == "classification" and len(dataset.classes()) == 1:
            raise InvalidInput(f"Every row of {dataset.name} has the same label.")
    except GradatimError as error:
        yield Obstacle("evaluation", error)
        return
    try:
        batch = replace(batch, inputs=dict(encoded(predictor, batch.inputs)))
        outputs = predictor(batch.inputs)
    except GradatimError as error:
        yield Obstacle("model", error)
        return
    try:
        _judge(candidate, task, batch, outputs)
        compared = bool(
            candidate.contract.parts.compress or (judge_of(candidate) and candidate.replaced.release)
        )
        meet_judge(candidate, asked=compared)
    except GradatimError as error:
        yield Obstacle("task", error)
        return
    yield from _robustness(candidate, predictor)


def _judge(candidate: Candidate, task: Task, batch: Batch, outputs: Mapping[str, Any]) -> None:
    """Read and score the answers as ``evaluate`` and ``gate`` will, beside a baseline that answers the same."""
    kept = reduce_batch(task, outputs, batch.inputs, batch.labels)
    labels = reduce_labels(task, batch.labels)
    predictions = Predictions.of(kept, labels, batch.slices, batch.groups, batch.items)
    evaluation = Evaluation(task, predictions, Evaluation(task, predictions))
    gated = [rule.metric for rule in candidate.contract.all_rules()]
    of_answers = [
        name for name in gated if (m := task.metric(name)) and m.kind in ("quality", "comparison", "own")
    ]
    for name in dict.fromkeys((*default_metrics(evaluation), *of_answers)):
        evaluation.samples(name)


def _robustness(candidate: Candidate, predictor: Predictor) -> Iterator[Obstacle]:
    corruptions = candidate.contract.parts.test.robustness
    if not corruptions:
        return
    study = replace(study_of(candidate), corruptions=(), most=ROWS)
    (group,) = asked({ORIGINAL: predictor}, study)
    raw, ends = next(iter(group.rows)), time.monotonic() + _SECONDS
    for corruption in corruptions:
        try:
            group.corruptor.check(corruption)
            group.corruptor.apply(corruption, 1, raw)
        except GradatimError as error:
            yield Obstacle("robustness", error, corruption)
            continue
        try:
            for severity in SEVERITIES if time.monotonic() < ends else ():
                predictor(encoded(predictor, group.corruptor.apply(corruption, severity, raw).inputs))
        except GradatimError as error:
            yield Obstacle("corrupted", error, corruption)


def _calibration(candidate: Candidate, predictor: Predictor) -> Iterator[Obstacle]:
    if candidate.contract.parts.compress is None:
        return
    try:
        kept_metrics(candidate)
        predictor(candidate.rows.dataset("calibration", predictor.signature).head(ROWS).inputs)
    except GradatimError as error:
        yield Obstacle("calibration", error)
