"""A rehearsal: one batch of the contract's own data through all that a run will do with it, before a run spends an hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.keeping import kept_metrics
from gradatim.checks.answers import asked
from gradatim.checks.robustness import study_of
from gradatim.data import Batch
from gradatim.errors import GradatimError, InvalidInput
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import reduce_batch, reduce_labels
from gradatim.metrics.measure import default_metrics
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import Predictor

ROWS = 32
"""Rows of a rehearsal, fewer where the next differs in shape."""

Part = Literal["model", "evaluation", "task", "calibration", "robustness"]


@dataclass(frozen=True)
class Obstacle:
    """What a run would stop at.

    Attributes:
        part: the part of the contract that it is about.
        error: what the run would say.
        corruption: which one cannot be applied, for the part ``robustness``.
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
        outputs = predictor(batch.inputs)
    except GradatimError as error:
        yield Obstacle("model", error)
        return
    try:
        _judge(candidate, task, batch, outputs)
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
    for corruption in corruptions:
        try:
            group.corruptor.check(corruption)
            group.corruptor.apply(corruption, 1, next(iter(group.rows)))
        except GradatimError as error:
            yield Obstacle("robustness", error, corruption)


def _calibration(candidate: Candidate, predictor: Predictor) -> Iterator[Obstacle]:
    if candidate.contract.parts.compress is None:
        return
    try:
        kept_metrics(candidate)
        predictor(candidate.rows.dataset("calibration", predictor.signature).head(ROWS).inputs)
    except GradatimError as error:
        yield Obstacle("calibration", error)
