"""Answers that flipped, side by side, where the contract shows some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate

if TYPE_CHECKING:
    from gradatim.metrics.diagnostics import FlippedAnswer
    from gradatim.metrics.evaluation import Evaluation


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
