"""Answers that flipped: side by side, where the contract shows some; and how many flip when the baseline is run again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.replaced import BASELINE

if TYPE_CHECKING:
    from gradatim.metrics.diagnostics import FlippedAnswer
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.samples import MetricSamples

AGAIN = "baseline again"
"""Where the baseline's second run lies until it was compared with the first."""


def self_flips(candidate: Candidate) -> MetricSamples:
    """On which rows the baseline flips when it is run a second time: no candidate can be asked for less."""
    from gradatim.metrics.common import evaluate_known
    from gradatim.metrics.evaluation import Evaluation

    task, declared = candidate.task_of(BASELINE), candidate.rows.task().labels
    first, _ = evaluate_known(task, candidate.workspace.predictions(BASELINE), declared)
    again, _ = evaluate_known(task, candidate.workspace.predictions(AGAIN), declared)
    flips = Evaluation(again.task, again.predictions, first).samples("negative_flips")
    shutil.rmtree(candidate.workspace.predictions_folder(AGAIN))
    return flips


def wants_self_flips(candidate: Candidate) -> bool:
    return any(rule.metric == "negative_flips" for rule in candidate.contract.all_rules())


def flipped(candidate: Candidate, evaluation: Evaluation) -> tuple[FlippedAnswer, ...]:
    """Prompts that candidate and baseline do not both answer rightly, those first that were lost."""
    from gradatim.metrics.answers import REQUEST, last_asked
    from gradatim.metrics.generation import GenerationScorer

    most, base = candidate.contract.parts.evaluate.show, evaluation.reference
    if not most or base is None or not isinstance(evaluation.scorer, GenerationScorer):
        return ()
    assert isinstance(base.scorer, GenerationScorer)  # noqa: S101 (both are of one task)
    places = evaluation.scorer.flips(base.scorer)[:most]
    items = evaluation.predictions.items  # rows may have been looked at in another order than they lie in
    asked: dict[int, str] = {}
    if candidate.contract.parts.evaluate.imported is None:
        dataset, start = candidate.rows.dataset("evaluation", candidate.model.signature), 0
        for block in dataset.blocks(candidate.contract.parts.data.batch):
            here = [int(row) for row in items[places] if start <= row < start + len(block)]
            asked |= {row: last_asked(str(block.inputs[REQUEST][row - start])) for row in here}
            start += len(block)
    return tuple(
        evaluation.scorer.flipped(base.scorer, place, asked.get(int(items[place]), "")) for place in places
    )


def shown(candidate: Candidate) -> tuple[int | str, ...]:
    """How many flipped answers the contract shows and explains; nothing where it does none."""
    said = candidate.contract.parts.evaluate
    return tuple(some for some in (said.show, said.explain and f"explain {said.explain}") if some)
