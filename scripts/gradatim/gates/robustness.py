"""Robustness gates: the same items at every severity of a corruption."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradatim.gates import exact, wording
from gradatim.gates.case import Case, CorruptionScores, Scores
from gradatim.gates.exact import decide
from gradatim.gates.gate import Gate, null_verdict, settle
from gradatim.gates.noninferiority import likely
from gradatim.gates.paired import maurer_pontil
from gradatim.gates.quality import realistic
from gradatim.gates.runtime import meets
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics import intervals, tails
from gradatim.metrics.intervals import clopper_pearson, unseen

_POWER = 0.8416
"""Normal quantile of 80 % power."""


def severity_bounds(scores: Scores, alpha: float = 0.05) -> list[tuple[float, float] | None]:
    """Bounds of the mean quality at every severity: exact for 0/1 scores, t otherwise."""
    found: list[tuple[float, float] | None] = []
    for column in np.asarray(scores, np.float64).T:
        n = column.shape[0]
        if ((column == 0) | (column == 1)).all():
            found.append(clopper_pearson(int(column.sum()), n, alpha))
        else:
            bounds = tails.bounds(column, alpha)
            value = float(column.mean())
            if bounds is None and 0 <= value <= 1 and n > 1:
                rest = unseen(n, alpha)
                bounds = value - rest * value, value + rest * (1 - value)
            found.append(bounds)
    return found


def losses(candidate: Scores, baseline: Scores, alpha: float = 0.05) -> list[int]:
    """The severities, from 1, at which a model is proven worse than another on the same items.

    One-sided bounds of the paired differences, at ``alpha`` divided by the number of severities.

    Args:
        candidate, baseline: float [n, severities], more is better; NaN where an item cannot be scored.
    """
    differences = np.asarray(candidate, np.float64) - np.asarray(baseline, np.float64)
    differences = differences[~np.isnan(differences).any(axis=1)]
    n, asked = differences.shape
    found = []
    for severity, column in enumerate(differences.T, 1):
        value = float(column.mean()) if n > 1 else 0.0
        bounds = tails.bounds(column, alpha / asked) if value < 0 else None
        high = (
            bounds[1]
            if bounds
            else value + 2 * unseen(n, alpha / asked) * float(np.abs(column).max(initial=0))
        )
        if value < 0 and high < 0:
            found.append(severity)
    return found


def tolerance(lows: Sequence[float | None], severities: Sequence[int], threshold: float) -> int | None:
    """The last severity passed, tested in fixed order until the first failure; None when the first one fails.

    The order is fixed before the data are seen, so that every test may use the whole alpha [1]_.

    Args:
        lows: lower bound at each severity.
        severities: in rising order.

    .. [1] Maurer, Hothorn, Lehmacher (1995), fixed-sequence testing.
    """
    passed = None
    for low, severity in zip(lows, severities, strict=True):
        if low is None or not low >= threshold:
            break
        passed = severity
    return passed


def robustness(gate: Gate, case: Case) -> GateResult:
    """One corruption: against the baseline, up to a severity, or on the mean over severities."""
    scores = case.robustness.get(gate.where or "")
    if scores is None:
        known = ", ".join(case.robustness) or "none"
        return gate.result(
            null_verdict(gate.rule),
            case.lacks(gate.name, "test", f"{gate.name} was not measured (measured: {known})"),
        )
    if case.candidate is not None and scores.pairing and scores.pairing != case.candidate.pairing:
        return gate.result(
            Verdict.INVALID, f"{gate.name} was measured on other items than the evaluation. Test again."
        )
    if gate.rule.bound in ("not_worse", "keep"):
        return _against_baseline(gate, scores, case)
    if gate.rule.severity is not None:
        return _up_to_severity(gate, scores, case)
    return _on_average(gate, scores, case)


def _bounds(
    gate: Gate, values: np.ndarray[tuple[int], np.dtype[np.float64]], counted: bool
) -> tuple[float, float] | None:
    """Bounds of a mean over items; where nothing varies, of what no item showed."""
    n, centre = values.shape[0], float(values.mean())
    if n < 2:
        return None
    if gate.rule.strict and counted:
        return maurer_pontil(values, gate.alpha, 2.0 if gate.compares else 1.0)
    found = tails.bounds(values, gate.alpha)
    if found is not None and counted:
        error = float(values.std(ddof=1)) / n**0.5
        ups, downs = 0.0, 0.0
        if gate.compares:
            ups, downs = (intervals.sure_rate(part, n, 1.0) for part in (values, -values))
        found = (
            centre - intervals.half_width(error, n, 1.0, gate.alpha, 2 * ups),
            centre + intervals.half_width(error, n, 1.0, gate.alpha, 2 * downs),
        )
    if found is None:
        reach = 1.0 if counted else float(np.abs(values).max())
        rest = intervals.unseen(n, gate.alpha) * reach
        found = (centre - rest, centre + rest) if counted or not values.any() else None
    return found


def _against_baseline(gate: Gate, scores: CorruptionScores, case: Case) -> GateResult:
    if scores.baseline is None:
        return gate.result(
            Verdict.INVALID,
            f"{gate.name}: {case.baseline_name} was not measured under {scores.corruption}. Test again.",
        )
    ratio, margin = 1.0, gate.rule.amount
    known = ~np.isnan(scores.baseline).any(axis=1)  # the baseline may not know the labels of every item
    new, old = (
        scores.candidate[known].astype(np.float64).mean(axis=1),
        scores.baseline[known].astype(np.float64).mean(axis=1),
    )
    if gate.rule.relative or gate.rule.bound == "keep":
        share = margin if gate.rule.bound == "keep" else 1 - margin
        ratio, margin = share if old.mean() >= 0 else 2 - share, 0.0
    x = new - ratio * old
    n, value = x.shape[0], float(x.mean())
    found = _bounds(gate, x, _in_unit_range(scores))
    numbers = {
        "value": value,
        "threshold": -margin,
        "n": n,
        "baseline": float(old.mean()),
        "candidate": float(new.mean()),
    }
    if found is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name}: {wording.untold(n, case.noun)} how much it varies.",
            **numbers,
        )
    low, high = found
    verdict = decide(low, high, -margin)
    if verdict is Verdict.PASS and gate.rule.bound == "keep" and not low > -margin:
        verdict = Verdict.INCONCLUSIVE
    spread = float(x.std(ddof=1))
    text = (
        f"{gate.name}: {wording.number(float(old.mean()), gate.meaning)} -> {wording.number(float(new.mean()), gate.meaning)} "
        f"on average over severities {scores.severities[0]} to {scores.severities[-1]} ({wording.count(n, case.noun)}, against {case.baseline_name}). "
        f"{likely(gate, (value, low, high), '' if ratio == 1 else f' than {100 * ratio:.4g} % of that')}"
    )
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        needed = _needed(gate, n, spread, value - low, value + margin)
        text += settle(needed, n, case, met=value >= -margin)
    if verdict is Verdict.FAIL:
        text += " Even at best the loss is larger than allowed."
    detectable = (intervals.normal(gate.alpha) + _POWER) * spread / n**0.5 if spread > 0 else None
    return gate.result(verdict, text, low=low, high=high, detectable=detectable, needed=needed, **numbers)


def _up_to_severity(gate: Gate, scores: CorruptionScores, case: Case) -> GateResult:
    rule = gate.rule
    asked = [place for place, severity in enumerate(scores.severities) if severity <= (rule.severity or 0)]
    if not asked or scores.severities[asked[-1]] != rule.severity:
        return gate.result(
            Verdict.INVALID,
            f"{gate.name}: severity {rule.severity} was not measured; measured were {', '.join(map(str, scores.severities))}.",
        )
    bounds = severity_bounds(scores.candidate[:, asked], gate.alpha)
    severities = [scores.severities[place] for place in asked]
    lows = [None if bound is None else bound[0] for bound in bounds]
    passed = tolerance(lows, severities, rule.amount)
    n = int(scores.candidate.shape[0])
    judged = next((k for k, low in enumerate(lows) if low is None or not low >= rule.amount), len(asked) - 1)
    surely = severity_bounds(scores.candidate[:, asked], gate.alpha / len(asked))  # any of them would refuse
    broken = [k for k, both in enumerate(surely) if both is not None and both[1] < rule.amount]
    judged = broken[0] if passed != rule.severity and broken else judged
    bound, value = bounds[judged], float(scores.candidate[:, asked[judged]].mean(dtype=np.float64))
    low, high = bound if bound is not None else (None, None)
    verdict = Verdict.PASS if passed == rule.severity else Verdict.INCONCLUSIVE
    if verdict is not Verdict.PASS and broken:
        verdict = Verdict.FAIL
    reached = "not even the first severity is proven" if passed is None else f"proven up to severity {passed}"
    text = (
        f"{gate.name}: wanted {gate.wanted}; {reached}. At severity {severities[judged]} it is {wording.number(value, gate.meaning)}{wording.interval(low, high, gate.meaning)} "
        f"on {wording.count(n, case.noun)}."
    )
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        found = exact.samples_for_power(rule.amount, value, gate.alpha) if rule.amount < value <= 1 else None
        needed = None if found is None else wording.about(max(found, n + 1))
        text += settle(needed, n, case, met=value >= rule.amount)
    return gate.result(
        verdict,
        text,
        value=value,
        low=low,
        high=high,
        threshold=rule.amount,
        n=n,
        needed=needed,
        candidate=value,
    )


def _on_average(gate: Gate, scores: CorruptionScores, case: Case) -> GateResult:
    rule = gate.rule
    means = scores.candidate.astype(np.float64).mean(axis=1)
    n, value = means.shape[0], float(means.mean())
    found = _bounds(gate, means, _in_unit_range(scores))
    if found is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name}: {wording.untold(n, case.noun)} how much it varies.",
            value=value,
            threshold=rule.amount,
            n=n,
        )
    low, high = found
    if _in_unit_range(scores):
        low, high = max(low, 0.0), min(high, 1.0)
    verdict = (
        decide(low, high, rule.amount) if rule.bound == "at_least" else decide(-high, -low, -rule.amount)
    )
    text = (
        f"{gate.name} {wording.number(value, gate.meaning)}{wording.interval(low, high, gate.meaning)} on average over "
        f"severities {scores.severities[0]} to {scores.severities[-1]}, wanted {gate.wanted}."
    )
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        rest = max(value - low, high - value)
        needed = _needed(gate, n, float(means.std(ddof=1)), rest, abs(value - rule.amount))
        text += settle(needed, n, case, met=meets(gate, value))
    return gate.result(
        verdict,
        text,
        value=value,
        low=low,
        high=high,
        threshold=rule.amount,
        n=n,
        needed=needed,
        candidate=value,
    )


def _needed(gate: Gate, n: int, spread: float, rest: float, room: float) -> int | None:
    """Items that would settle it if what was seen is the truth; None where no reasonable number would.

    Args:
        spread: standard deviation of an item; where nothing varies, what was never seen falls with n and not with its root.
        rest: what the n items leave open.
        room: how far what was seen is from the bound.
    """
    factor = intervals.normal(gate.alpha) + _POWER
    if spread > 0:
        about = (factor * spread / room) ** 2 if abs(room) > 1e-9 else math.inf
    else:
        about = exact.samples_without_fault(n, rest, room, gate.alpha) if room > 0 else math.inf
    found = realistic(about, n)
    return found if found is not None and found > n else None


def _in_unit_range(scores: CorruptionScores) -> bool:
    both = [scores.candidate] if scores.baseline is None else [scores.candidate, scores.baseline]
    return all(float(np.nanmin(part)) >= 0 and float(np.nanmax(part)) <= 1 for part in both)
