"""Gates on labelled samples beside the baseline's: not worse by more than a margin, or a share of its value kept."""

from __future__ import annotations

import math

from gradatim.gates import wording
from gradatim.gates.case import Case
from gradatim.gates.compare import Comparison, compare
from gradatim.gates.exact import POWER_QUANTILE
from gradatim.gates.gate import Gate
from gradatim.gates.quality import (
    at_least_few,
    besides,
    carried,
    counted,
    few_positives,
    foreign,
    granted,
    realistic,
    samples_of,
    says_nothing,
    settled_by,
    unmeasured,
)
from gradatim.gates.rule import kept
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics import intervals
from gradatim.metrics.evaluation import CLASS, conditions
from gradatim.metrics.samples import MetricSamples


def judge(gate: Gate, case: Case) -> GateResult:
    """Not worse than the baseline, or a share of its value kept."""
    pair = pair_of(gate, case)
    if isinstance(pair, GateResult):
        return pair
    new, old = pair
    case = counted(case, new)
    ratio, margin = terms(gate, old.value or 0.0)
    found = compare(new, old, margin=margin, ratio=ratio, alpha=gate.alpha)
    numbers = {
        "value": found.value,
        "threshold": -margin,
        "n": found.n,
        "baseline": old.value,
        "candidate": new.value,
    }
    before, after = wording.number(old.value, gate.meaning), wording.number(new.value, gate.meaning)
    change = f"{gate.name}: {before} -> {after} (against {case.baseline_name}{_on_known(case)})."
    if found.low is None or found.high is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{change} {wording.untold(found.n, case.noun)} how much the difference varies{at_least_few(new)}; wanted {gate.wanted}.",
            **numbers,
        )
    if math.isnan(found.low) or math.isnan(found.high):
        return gate.result(Verdict.INVALID, f"{gate.name}: the difference is not a number.")
    if found.low > -margin:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if found.high < -margin else Verdict.INCONCLUSIVE
    detectable, needed = _plan(found, margin, gate.alpha)
    against = "" if ratio == 1 else f" than {100 * ratio:.4g} % of the baseline's value"
    text = f"{change} {likely(gate, (found.value, found.low, found.high), against)}{_flipped(found, case)}{besides(gate, new)}"
    numbers |= {"low": found.low, "high": found.high, "detectable": detectable}
    if gate.veto:
        return gate.result(verdict, text, **numbers)
    text += granted(gate, new) if verdict is Verdict.PASS else ""
    if verdict is Verdict.FAIL:
        text += " Even at best the loss is larger than allowed."
    if verdict is Verdict.INCONCLUSIVE and (heavy := carried(new, case)):
        if says_nothing((found.low, found.high), new.value, old.value):
            text = f"{change}{besides(gate, new)} Wanted {gate.wanted}."
            numbers |= {"low": None, "high": None, "detectable": None}
        return gate.result(verdict, text + heavy, **numbers)
    if verdict is Verdict.INCONCLUSIVE:
        needed = needed if needed is not None and needed > found.n else None
        text += settled_by(needed, found.n, case, met=found.value >= -margin)
    else:
        needed = None
    return gate.result(verdict, text, needed=needed, **numbers)


def veto_p(gate: Gate, case: Case) -> float | GateResult | None:
    """p-value of "no regression beyond the margin"; None where the samples do not tell, a verdict where there are none."""
    pair = pair_of(gate, case)
    if isinstance(pair, GateResult):
        return pair
    ratio, margin = terms(gate, pair[1].value or 0.0)
    return compare(*pair, margin=margin, ratio=ratio, alpha=gate.alpha, veto=True).p_worse


def likely(gate: Gate, numbers: tuple[float, float, float], against: str) -> str:
    """A difference (value, low, high) in words, with what was wanted."""
    value, low, high = (better(gate, number) for number in numbers)
    return f"That is {value}{against}; in truth most likely between {low} and {high}. Wanted {gate.wanted}."


def better(gate: Gate, number: float) -> str:
    """A difference in words: ``1.2 points worse``."""
    size = wording.points(abs(number), gate.meaning)
    if size in ("0", "0 points"):
        return "no better and no worse"
    return f"{size} {'better' if number > 0 else 'worse'}"


def pair_of(gate: Gate, case: Case) -> tuple[MetricSamples, MetricSamples] | GateResult:
    """The candidate's samples and the baseline's, of the same rows; a verdict where there are none."""
    if case.candidate is None:
        return unmeasured(gate, case)
    if case.baseline is None:
        return gate.result(
            Verdict.INVALID,
            f"{gate.name} is to be compared with {case.baseline_name}, and its predictions are not there: "
            "run `gradatim evaluate`.",
        )
    whole, shared = samples_of(gate, case.candidate), case.candidate.common
    if isinstance(whole, GateResult):
        return whole
    if (strange := foreign(gate, case, whole)) is not None:
        return strange
    if new_label := _unknown_to_baseline(gate, case):
        return gate.result(
            Verdict.PASS,
            f"{gate.name}: {case.baseline_name} does not know {new_label}, so there is nothing to compare with. "
            f"`{gate.rule.metric}: {{at_least: ...}}` asks something of it on its own.",
        )
    new, old = samples_of(gate, shared), samples_of(gate, shared.reference or case.baseline)
    if isinstance(new, GateResult):
        return new
    if isinstance(old, GateResult):
        return old
    return few_positives(gate, new) or (new, old)


def _unknown_to_baseline(gate: Gate, case: Case) -> str | None:
    """The label that a gate on one class is about, where the baseline cannot answer with it."""
    if case.candidate is None or case.candidate.common is case.candidate:
        return None
    known = {str(label) for label in case.candidate.common.labels_compared}
    asked = [value for column, value in conditions(gate.where) if column == CLASS]
    return next((label for label in asked if label not in known), None)


def _on_known(case: Case) -> str:
    """Which rows are compared, where the baseline does not know the labels of all."""
    if case.candidate is None or case.candidate.common is case.candidate:
        return ""
    return f", on the {len(case.candidate.common)} of {len(case.candidate)} {case.noun} whose label it knows"


def terms(gate: Gate, old: float) -> tuple[float, float]:
    """(ratio, margin) of a comparison; a share of a value below zero is room for the worse all the same."""
    rule, higher = gate.rule, gate.meaning.higher_is_better
    if rule.bound != "keep" and not gate.relative:
        return 1.0, rule.amount
    share = 1 - rule.amount if higher else 1 + rule.amount
    ratio = kept(rule.amount, higher_is_better=higher) if rule.bound == "keep" else share
    return (2 - ratio if old < 0 else ratio), 0.0


def _flipped(found: Comparison, case: Case) -> str:
    if found.gains is None or found.losses is None:
        return ""
    return f" Of {wording.count(found.n, case.noun)} {found.gains} got better and {found.losses} worse."


def _plan(found: Comparison, margin: float, alpha: float) -> tuple[float | None, int | None]:
    """(smallest margin that n samples could prove for an equal model, samples that would settle this one)."""
    factor = intervals.normal(alpha) + POWER_QUANTILE
    room = abs(found.value + margin)
    if found.spread is None:
        return None, _by_half(found, margin, room, factor / intervals.normal(alpha))
    # nothing seen to differ is not proof that nothing does: about one sample in n might
    spread = max(found.spread, 1 / math.sqrt(found.n)) if found.gains is not None else found.spread
    detectable = factor * spread / math.sqrt(found.n)
    if not spread and found.low is not None:  # what was never seen falls with n, not with its root
        unseen = found.value - found.low
        return unseen, realistic(found.n * unseen / room, found.n) if room > 1e-9 else None
    if not room > 1e-9 or not spread:
        return detectable, None
    needed = (factor * spread / room) ** 2
    if needed <= found.n:  # rare changes make it wider than its spread
        return detectable, _by_half(found, margin, room, factor / intervals.normal(alpha))
    return detectable, realistic(needed, found.n)


def _by_half(found: Comparison, margin: float, room: float, inflation: float) -> int | None:
    """Samples that would settle it, by how wide the interval is."""
    if found.low is None or found.high is None or not room > 1e-9:
        return None
    half = found.value - found.low if found.value >= -margin else found.high - found.value
    return realistic(found.n * (half * inflation / room) ** 2, found.n)
