"""Text generation: a score for every row by every scorer, and what gates make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.answers import ANSWER, divergence, read_answer, references_of
from gradatim.metrics.columns import Column
from gradatim.metrics.diagnostics import FlippedAnswer
from gradatim.metrics.judged import PREFERRED, Judgements, consistency, win_rate
from gradatim.metrics.outputs import finite
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import (
    DECISIONS,
    SHARE,
    Floats,
    MetricSamples,
    absent,
    mean_samples,
    proportion_samples,
    ratio_samples,
)
from gradatim.metrics.scored import SCORE
from gradatim.metrics.scorers.table import Scoring, function_of
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units


class GenerationScorer:
    """The scores by row that ``score_batch`` kept, float64 [n] or [n, k], beside what was answered.

    Raises:
        InvalidInput: a scorer's column is missing, or a score is NaN.
    """

    labels: tuple[Label, ...] = ()

    def __init__(self, task: Task, predictions: Predictions) -> None:
        self._scorings = {scoring.name: scoring for scoring in task.scorers}
        self._samples = task.samples
        self._preferred = predictions.outputs.get(PREFERRED)
        nothing = Column(np.zeros(len(predictions), np.int64))
        self._answers = predictions.outputs.get(ANSWER) or nothing
        self._references = predictions.labels or nothing
        self._scores: dict[str, Floats] = {}
        for name in self._scorings:
            if SCORE + name not in predictions.outputs:
                raise InvalidInput(
                    f"The predictions hold no scores of `{name}`. Run `gradatim evaluate --force`."
                )
            values = predictions.outputs[SCORE + name].values
            finite(values, name)
            self._scores[name] = np.asarray(values, np.float64).reshape(len(predictions), -1)

    def item_scores(self) -> NDArray[np.float32]:
        """Each row's score by the first scorer, [n], so that more is better; 1 of a row that is right."""
        name, scoring = next(iter(self._scorings.items()))
        scores, shape = self._scores[name], shape_of(scoring)
        if shape == "sums":
            value = _statistic(scoring)(scores)
        elif shape == "ratio":
            value = scores[:, 0] / np.maximum(scores[:, 1], 1)
        else:
            value = scores.mean(axis=1)
        less = not scoring.metric.higher_is_better
        return np.asarray(float(scoring.metric.fraction) - value if less else value, np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """References as JSON and what was answered, as text [n]."""
        return np.asarray(self._references.plain(slice(None))), np.asarray(self._answers.plain(slice(None)))

    def said(self) -> NDArray[Any]:
        """What was answered and chosen, without likelihoods, which two runtimes never share to the last digit, [n]."""
        lines = [json.loads(str(line)) for line in self.answer_arrays()[1]]
        chosen = [int(np.argmax(one["choices"])) if one.get("choices") else None for one in lines]
        return np.array(
            [json.dumps([one.get("texts"), best]) for one, best in zip(lines, chosen, strict=True)]
        )

    def divergence(self, baseline: GenerationScorer, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        """``kl`` on some rows: how far the chances of the references' tokens are from the baseline's."""
        mine, theirs = (np.asarray(each.answer_arrays()[1])[rows] for each in (self, baseline))
        pairs = [(read_answer(str(a), 0), read_answer(str(b), 0)) for a, b in zip(mine, theirs, strict=True)]
        if any(one.error for pair in pairs for one in pair):
            return absent("kl", False, "a request failed, and so its tokens have no chances to compare")
        if any(not one.spread for pair in pairs for one in pair):
            return absent("kl", False, "not every row has a reference whose tokens were asked for")
        values = [divergence(theirs.spread, mine.spread) for mine, theirs in pairs]
        if None in values:
            return absent(
                "kl", False, "the two make other tokens of the references: `bits_per_byte` compares those"
            )
        return mean_samples("kl", np.array(values, np.float64), units, False)

    def judged(self, metric: str, rows: NDArray[np.int64], units: Units) -> MetricSamples:
        """``win_rate`` or ``judge_consistency`` on some rows, each a pair with the baseline's answer."""
        if self._preferred is None:
            return absent(metric, True, "no judge compared the answers: `task.judge` names one")
        said = Judgements.of(self._preferred.values).take(rows)
        return (win_rate if metric == "win_rate" else consistency)(said, units)

    def flips(self, baseline: GenerationScorer) -> list[int]:
        """Rows that one of the two answers rightly and the other does not: those first that the baseline does."""
        mine, theirs = self.item_scores() >= 1, baseline.item_scores() >= 1
        return [int(row) for some in (theirs & ~mine, mine & ~theirs) for row in np.flatnonzero(some)]

    def flipped(self, baseline: GenerationScorer, row: int, prompt: str) -> FlippedAnswer:
        """One of those rows, with both answers."""
        before, after = (_read_aloud(each.answer_arrays()[1][row]) for each in (baseline, self))
        lost = bool(baseline.item_scores()[row] >= 1)
        return FlippedAnswer(
            prompt, ", ".join(references_of(str(self.answer_arrays()[0][row]))), before, after, lost
        )

    def failed(self) -> list[str]:
        """Why requests failed, one for each that did."""
        found = [
            json.loads(str(line)).get("error") for line in self.answer_arrays()[1] if '"error"' in str(line)
        ]
        return [str(reason) for reason in found if reason]

    def samples(self, metric: str, rows: NDArray[np.int64], place: int | None, units: Units) -> MetricSamples:
        """One scorer's metric on some rows."""
        if metric not in self._scorings:
            return absent(metric, True, f"`task.scorers` has no `{metric}`")
        scoring = self._scorings[metric]
        scores, higher = self._scores[metric][rows], scoring.metric.higher_is_better
        if not scores.shape[0]:
            return absent(metric, higher, "there is no sample")
        shape = shape_of(scoring)
        if shape == "ratio":
            said, reason = (scores[:, 0], scores[:, 1]), "every reference is empty"
            return ratio_samples(metric, *said, units, higher, reason, low_limit=0.0)
        if shape == "sums":
            statistic = _statistic(scoring)
            terms = units.sums(list(scores.T))
            value = float(statistic(scores.sum(axis=0, keepdims=True))[0])
            return MetricSamples(
                metric, value, higher, units.count, terms=terms, statistic=statistic, **SHARE
            )
        values = scores[:, 0]
        if shape == "decision" and self._samples == 1:
            return proportion_samples(metric, values == 1, units, higher, "there is no sample")
        known = {"decision": DECISIONS, "share": SHARE}.get(shape, {})
        return mean_samples(metric, values, units, higher, **known)


def _statistic(scoring: Scoring) -> Callable[[Floats], Floats]:
    """Of ``sums``: what makes the metric of them, [draws, k] -> [draws]."""
    found: Callable[[Floats], Floats] = function_of(str(scoring.kind and scoring.kind.statistic))
    return found


def _read_aloud(line: Any) -> str:
    """An answer for a person."""
    answer = read_answer(str(line), 0)
    if answer.error:
        return f"[failed: {answer.error}]"
    if answer.texts:
        return answer.texts[0]
    return f"[choice {int(np.argmax(answer.choices))}]" if answer.choices else ""


def shape_of(scoring: Scoring) -> str:
    """What a scorer gives for a row: the table's ``Shape``, or ``number`` of an own one."""
    if scoring.k is not None:
        return "decision"
    return scoring.kind.shape if scoring.kind else "number"
