"""From a case that was judged to the grounds of its verdicts: counts, rounds and intervals, and no row of the data."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.gate import Gate, expand
from gradatim.gates.grounds import Beside, Bounds, EvaluatedData, Grounds, RowByRow, Sampled, Scored, Timed
from gradatim.gates.judge import regression_p
from gradatim.gates.noninferiority import terms
from gradatim.gates.rule import Rule, with_guards
from gradatim.gates.threshold import adjusted
from gradatim.gates.verdict import GateResult
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.samples import MetricSamples

_COUNTED = ("accuracy", "recall", "agreement", "negative_flips")
"""What is right or wrong sample by sample, and so kept as counts whether a gate asks for it or not."""

_MOST_SLICES = 200
_MOST_ROWS = 4096


def grounds_of(
    rules: Sequence[Rule],
    case: Case,
    results: Sequence[GateResult],
    *,
    on_inconclusive: str,
    outcomes: bool = False,
) -> Grounds:
    """What the verdicts rest on.

    Args:
        rules: by which the case was judged.
        case: what was judged.
        results: the verdicts.
        on_inconclusive: as it was judged.
        outcomes: whether to tell of each row, for the gated metrics that are right or wrong on it.
    """
    gated = list(_gated(rules, case, results))
    asked = {(one.metric, one.where) for one in gated} if outcomes else ()
    told = dict.fromkeys([*gated, *_counted(case)])
    return Grounds(
        tuple(rules),
        on_inconclusive,
        case.forms,
        case.noun,
        case.first_release,
        None if case.first_release else case.baseline_name,
        case.first_release and case.candidate is not None and case.candidate.reference is not None,
        case.reuse,
        None if case.candidate is None else replace(_asked(case.candidate), offered=case.offered),
        tuple(_row_by_row(one, case) if (one.metric, one.where) in asked else one for one in told),
        {name: _scored(scores) for name, scores in case.robustness.items()},
        Timed(
            {metric: tuple(rounds) for metric, rounds in case.rounds.items() if rounds},
            {metric: tuple(paired.log_ratios) for metric, paired in case.timings.items()},
            {metric: paired.candidate for metric, paired in case.timings.items()},
        ),
        case.drift,
    )


def _asked(evaluation: Evaluation) -> EvaluatedData:
    task, common = evaluation.task, evaluation.common
    apart = common is not evaluation
    return EvaluatedData(
        task.type,
        {name: name not in task.lower_is_better for name in task.own},
        {column: evaluation.values_of(column) for column in evaluation.columns()},
        len(evaluation),
        len(common) if apart else None,
        tuple(map(str, common.labels_compared)) if apart else (),
        scorers={
            one.name: (one.kind.name if one.kind else "", one.metric.higher_is_better) for one in task.scorers
        },
    )


def _gated(rules: Sequence[Rule], case: Case, results: Sequence[GateResult]) -> Iterator[Sampled]:
    """What the gates on labelled samples saw."""
    by_gate = {(result.gate, result.rule, result.wanted): result for result in results}
    for rule in with_guards(rules) if case.candidate is not None else ():
        for gate in expand(rule, case):
            if isinstance(gate, Gate) and gate.meaning.kind in ("quality", "own", "comparison"):
                result = by_gate.get((gate.name, rule.key, gate.wanted))
                if result is not None:
                    yield from _seen(gate, case, result)


def _seen(gate: Gate, case: Case, result: GateResult) -> Iterator[Sampled]:
    assert case.candidate is not None  # noqa: S101 (_gated looked)
    try:
        samples = case.candidate.samples(gate.rule.metric, gate.where)
        beside = _beside(gate, case, result) if gate.rule.bound in ("not_worse", "keep") else None
        p = _p(gate, case) if gate.rule.family == "veto" and beside is None else None
    except InvalidInput:
        return  # its verdict is INVALID, and says why
    moved = adjusted(gate, case, samples) if beside is None else None
    bounds = None if beside or moved or samples.successes is not None else _bounds(gate, result)
    told = _sampled(samples, bounds, beside, amount=None if p is None else gate.rule.amount, p=p)
    yield told if moved is None else replace(told, adjusted=moved)


def _sampled(
    samples: MetricSamples,
    bounds: Bounds | None,
    beside: Beside | None,
    amount: float | None = None,
    p: float | None = None,
) -> Sampled:
    return Sampled(
        samples.metric, samples.where, samples.value, samples.reason, samples.n, samples.successes, samples.trials,
        samples.positives, bounds, amount, p, beside,
    )  # fmt: skip


def _bounds(gate: Gate, result: GateResult) -> Bounds | None:
    if result.low is None or result.high is None:
        return None
    return Bounds(gate.alpha, result.low, result.high, gate.rule.strict)


def _p(gate: Gate, case: Case) -> float | None:
    found = regression_p(gate, case)
    return None if isinstance(found, GateResult) else found


def _beside(gate: Gate, case: Case, result: GateResult) -> Beside | None:
    """The pair that a comparison is about; None where there is none."""
    pair = _pair(case, gate.rule.metric, gate.where)
    if pair is None or pair[0].value is None or pair[1].value is None:
        return None
    counts = _of_counts(*pair)
    if counts is not None:
        return counts
    new, old = pair
    ratio, margin = terms(gate, old.value or 0.0)
    p = _p(gate, case) if gate.rule.family == "veto" else None
    return Beside(
        new.value, old.value, result.n, new.positives, difference=result.value, ratio=ratio, bounds=_bounds(gate, result),
        by=None if p is None else margin, p=p,
    )  # fmt: skip


def _pair(case: Case, metric: str, where: str | None) -> tuple[MetricSamples, MetricSamples] | None:
    if case.candidate is None or case.baseline is None:
        return None
    shared = case.candidate.common
    return shared.samples(metric, where), (shared.reference or case.baseline).samples(metric, where)


def _of_counts(new: MetricSamples, old: MetricSamples) -> Beside | None:
    """How many samples only one of the two got right; None of a metric that is not right or wrong."""
    if new.outcomes is None or old.outcomes is None or new.outcomes.shape != old.outcomes.shape:
        return None
    mine, theirs = (np.equal(each, new.higher_is_better) for each in (new.outcomes, old.outcomes))
    gains, losses = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return Beside(
        new.value, old.value, new.n, new.positives, gains=gains, losses=losses, right=int(mine.sum())
    )


def _row_by_row(told: Sampled, case: Case) -> Sampled:
    """The same with one bit a row, where a row is right or wrong."""
    assert case.candidate is not None  # noqa: S101 (it was sampled)
    beside = told.beside
    pair = _pair(case, told.metric, told.where) if beside is not None and beside.gains is not None else None
    if beside is not None and pair is not None:
        told = replace(told, beside=replace(beside, outcomes=RowByRow(*map(_bits, pair))))
        if beside.n == told.trials:
            return told
    samples = case.candidate.samples(told.metric, told.where)
    return told if samples.outcomes is None else replace(told, outcomes=RowByRow(_bits(samples)))


def _bits(samples: MetricSamples) -> str:
    assert samples.outcomes is not None  # noqa: S101 (counts come from outcomes)
    right = np.equal(samples.outcomes, samples.higher_is_better)
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def _counted(case: Case) -> Iterator[Sampled]:
    """What is right or wrong, on all of the data and on every slice, so that others may ask for other bounds."""
    evaluation = case.candidate
    if evaluation is None:
        return
    wheres = [where for column in evaluation.columns() for where in evaluation.wheres(column)]
    for metric in _COUNTED:
        known = evaluation.task.metric(metric)
        compares = known is not None and known.kind == "comparison"
        if known is None or (compares and evaluation.reference is None):
            continue
        for where in (None, *(() if compares else wheres[:_MOST_SLICES])):
            try:
                samples = evaluation.samples(metric, where)
                pair = None if compares else _pair(case, metric, where)
            except InvalidInput:
                continue
            if samples.successes is not None:
                yield _sampled(samples, None, _of_counts(*pair) if pair is not None else None)


def _scored(scores: CorruptionScores) -> Scored:
    """How often each row of right and wrong is there; nothing of other scores, which would tell of single items."""
    both = [scores.candidate] if scores.baseline is None else [scores.candidate, scores.baseline]
    rows, times = np.unique(np.concatenate(both, axis=1), axis=0, return_counts=True)
    right_or_wrong = bool(((rows == 0) | (rows == 1) | np.isnan(rows)).all())
    if not right_or_wrong or rows.shape[0] > _MOST_ROWS:
        return Scored(scores.severities)
    told = [
        (int(count), *(None if np.isnan(value) else float(value) for value in row))
        for count, row in zip(times, rows, strict=True)
    ]
    return Scored(scores.severities, tuple(told))
