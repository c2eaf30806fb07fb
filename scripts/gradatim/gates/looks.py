"""Gates whose bounds hold at every look, on whatever rows there are: evaluation may stop when they are decided."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.gates import betting, noninferiority, wording
from gradatim.gates.betting import Scores
from gradatim.gates.case import Case
from gradatim.gates.compare import Told
from gradatim.gates.gate import Gate, settle
from gradatim.gates.quality import foreign, realistic, samples_of, unmeasured
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics.samples import MetricSamples

Floats = NDArray[np.float64]


def judge(gate: Gate, case: Case) -> GateResult:
    """At least, at most, not worse or a share kept, by a bet against the bound that was looked at any number of times."""
    if case.candidate is None:
        return unmeasured(gate, case)
    if gate.rule.bound in ("not_worse", "keep"):
        pair = noninferiority.pair_of(gate, case)
        return pair if isinstance(pair, GateResult) else _beside(gate, case, *pair)
    samples = samples_of(gate, case.candidate)
    if isinstance(samples, GateResult):
        return samples
    if (refused := foreign(gate, case, samples)) is not None:
        return refused
    sign = 1 if gate.rule.bound == "at_least" else -1
    told = f"{gate.name} {wording.number(samples.value, gate.meaning)}"
    if isinstance(samples, Told) and samples.trials is None:
        bounds = samples.bounds(gate.alpha)
        return _of_bounds(gate, case, samples, bounds, gate.rule.amount, sign, told)
    scores = _scores(samples)
    if scores is None:
        return _no_scores(gate)
    return _decided(gate, case, scores, gate.rule.amount, sign, samples, told)


def _beside(gate: Gate, case: Case, new: MetricSamples, old: MetricSamples) -> GateResult:
    ratio, margin = noninferiority.terms(gate, old.value or 0.0)
    before, after = (wording.number(each.value, gate.meaning) for each in (old, new))
    told = f"{gate.name}: {before} -> {after} (against {case.baseline_name})"
    if isinstance(new, Told) and new.outcomes is None:
        found = new.against(margin, ratio, gate.alpha)
        bounds = None if found.low is None or found.high is None else (found.low, found.high)
        return _of_bounds(gate, case, new, bounds, -margin, 1, told)
    mine, theirs = _rows(new), _rows(old)
    if mine is None or theirs is None or mine.shape != theirs.shape:
        return _no_scores(gate)
    sign = 1 if new.higher_is_better else -1
    ends = [sign * (a - ratio * b) for a in _ends(new) for b in _ends(old)]
    scores = Scores.of(sign * (mine - ratio * theirs), min(ends), max(ends))
    return _decided(gate, case, scores, -margin, 1, new, told, (new.value, old.value))


def _rows(samples: MetricSamples) -> Floats | None:
    """What every row adds to a mean of scores between two ends, float64 [n]; None for what is no such mean."""
    if samples.units is not None or samples.value is None:
        return None
    if samples.outcomes is not None:
        return np.asarray(samples.outcomes, np.float64)
    low, high = _ends(samples)
    if (
        samples.influence is None
        or samples.jackknifed
        or samples.reach is None
        or samples.reach != high - low
    ):
        return None
    return samples.influence + samples.value


def _scores(samples: MetricSamples) -> Scores | None:
    if samples.successes is not None and samples.trials and samples.units is None:
        times = np.array([samples.trials - samples.successes, samples.successes], np.float64)
        return Scores(np.array([0.0, 1.0]), times, 0.0, 1.0)
    rows = _rows(samples)
    return None if rows is None else Scores.of(rows, *_ends(samples))


def _ends(samples: MetricSamples) -> tuple[float, float]:
    return samples.low_limit, samples.high_limit


def _no_scores(gate: Gate) -> GateResult:
    return gate.result(
        Verdict.INCONCLUSIVE,
        f"{gate.name} is no mean over rows that stand alone and have a score between two ends, so no bound of it holds at every "
        "look. Leave out `sequential`.",
    )


def _decided(
    gate: Gate,
    case: Case,
    scores: Scores,
    bound: float,
    sign: int,
    samples: MetricSamples,
    told: str,
    values: tuple[float | None, float | None] | None = None,
) -> GateResult:
    """The verdict by what the two bets have come to: that the mean is on the good side of the bound, and that it is not."""
    upward, wanted = (scores if sign > 0 else scores.mirrored), -math.log(gate.alpha)
    good, bad = upward.stake(sign * bound), upward.mirrored.stake(-sign * bound)
    low, high = betting.bounds(scores, gate.alpha)
    n = int(scores.times.sum())
    value = float(scores.values @ scores.times) / n
    if (
        good >= wanted or sign * bound <= upward.low
    ):  # to the last digit of the bisection; or whatever the scores are
        low, high = (max(low, bound), high) if sign > 0 else (low, min(high, bound))
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if bad >= wanted else Verdict.INCONCLUSIVE
    met = sign * (value - bound) > 0
    seen = Scores(upward.values, upward.times / n, upward.low, upward.high)
    rows = betting.rows_until_proven(
        *((seen, sign * bound) if met else (seen.mirrored, -sign * bound)), gate.alpha
    )
    needed = realistic(max(n + 1, rows), n)
    found: dict[str, Any] = {"value": value, "low": low, "high": high, "threshold": bound, "n": n}
    found |= (
        {"candidate": samples.value}
        if values is None
        else dict(zip(("candidate", "baseline"), values, strict=True))
    )
    text = f"{told}{_interval(gate, (value, low, high), compared=values is not None)}{_where(case)}"
    if verdict is Verdict.INCONCLUSIVE:
        return gate.result(verdict, text + settle(needed, n, case, met=met), **found, needed=needed)
    return gate.result(verdict, text, **found)


def _of_bounds(
    gate: Gate,
    case: Case,
    samples: MetricSamples,
    bounds: tuple[float, float] | None,
    bound: float,
    sign: int,
    told: str,
) -> GateResult:
    """The verdict where the evidence holds the bounds alone."""
    if bounds is None:
        return _no_scores(gate)
    low, high = bounds
    proven, refuted = (low >= bound, high < bound) if sign > 0 else (high <= bound, low > bound)
    verdict = Verdict.PASS if proven else Verdict.FAIL if refuted else Verdict.INCONCLUSIVE
    text = f"{told}, wanted {gate.wanted}.{_where(case)}"
    return gate.result(verdict, text, value=samples.value, low=low, high=high, threshold=bound, n=samples.n)


def _interval(gate: Gate, numbers: tuple[float, float, float], *, compared: bool) -> str:
    if compared:
        return f". {noninferiority.likely(gate, numbers, '')}"
    return f"{wording.interval(numbers[1], numbers[2], gate.meaning)}, wanted {gate.wanted}."


def _where(case: Case) -> str:
    if not case.stopped or case.candidate is None or case.offered is None:
        return ""
    return f" Evaluation stopped at {len(case.candidate)} of {wording.count(case.offered, case.noun)}, for every gate was decided there."
