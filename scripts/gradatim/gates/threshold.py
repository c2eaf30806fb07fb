"""Gates on labelled samples alone: at least, or at most, a number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gradatim.gates import exact, wording
from gradatim.gates.case import Case
from gradatim.gates.compare import Told
from gradatim.gates.exact import POWER_QUANTILE, decide
from gradatim.gates.gate import Gate, null_verdict, settle
from gradatim.gates.pairwise import pairs_in_words
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
from gradatim.gates.runtime import contradicts, meets
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import intervals
from gradatim.metrics.diagnostics import Adjusted
from gradatim.metrics.evaluation import conditions
from gradatim.metrics.judged import WinSamples
from gradatim.metrics.samples import MetricSamples


@dataclass(frozen=True)
class _Seen:
    """A value with its bounds, the samples behind it and, for a share of them, its exact counts."""

    value: float
    low: float
    high: float
    n: int
    successes: int | None
    trials: int | None
    faultless: bool = False
    hidden: float = 0.0

    def numbers(self, gate: Gate) -> dict[str, Any]:
        """What a result says of it."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "threshold": gate.rule.amount,
            "n": self.n,
            "candidate": self.value,
        }

    def verdict(self, gate: Gate) -> Verdict:
        if gate.rule.bound == "at_least":
            return decide(self.low, self.high, gate.rule.amount)
        return decide(-self.high, -self.low, -gate.rule.amount)

    def headline(self, gate: Gate) -> str:
        shown = wording.number(self.value, gate.meaning)
        return (
            f"{gate.name} {shown}{wording.interval(self.low, self.high, gate.meaning)}, wanted {gate.wanted}."
        )


def adjusted(gate: Gate, case: Case, samples: MetricSamples) -> Adjusted | None:
    """The metric adjusted by the covariate of the rows; None where there is none, or the gate is on some of the rows."""
    if isinstance(samples, Told):
        sure = [one for one in samples.adjusted if one.alpha <= gate.alpha * (1 + 1e-9)]
        return max(sure, key=lambda one: one.alpha, default=None)
    if case.adjuster is None or gate.where is not None:
        return None
    return case.adjuster.adjust(samples, gate.alpha)


def _judged_adjusted(gate: Gate, case: Case, samples: MetricSamples, found: Adjusted) -> GateResult:
    seen = _Seen(found.value, found.low, found.high, samples.n, None, None)
    verdict = seen.verdict(gate)
    text = (
        f"{seen.headline(gate)} Adjusted by `{found.column}`, which tells {wording.percent(found.told, 0)} of what {case.noun} vary by; as it "
        f"was seen it is {wording.number(samples.value, gate.meaning)}.{besides(gate, samples)}"
    )
    text += granted(gate, samples) if verdict is Verdict.PASS else ""
    return _settled(gate, case, seen, verdict, text)


def judge(gate: Gate, case: Case) -> GateResult:
    """At least, or at most, a number."""
    if case.candidate is None:
        return _from_measurement(gate, case)
    samples = samples_of(gate, case.candidate)
    if isinstance(samples, GateResult):
        return samples
    if refused := foreign(gate, case, samples) or few_positives(gate, samples):
        return refused
    value = samples.value
    assert value is not None  # noqa: S101 (samples_of looked)
    case = counted(case, samples)
    if (by_covariate := adjusted(gate, case, samples)) is not None:
        return _judged_adjusted(gate, case, samples, by_covariate)
    n = samples.trials if samples.trials is not None else samples.n
    bounds = samples.bounds(gate.alpha)
    if bounds is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name} {wording.number(value, gate.meaning)}, wanted {gate.wanted}. "
            f"{wording.untold(n, case.noun)} how much it varies{at_least_few(samples)}.",
            value=value,
            threshold=gate.rule.amount,
            n=n,
            candidate=value,
        )
    seen = _Seen(
        value, *bounds, n, samples.successes, samples.trials, _faultless(samples, bounds, gate.alpha),
        samples.hidden,
    )  # fmt: skip
    verdict, text = seen.verdict(gate), seen.headline(gate) + besides(gate, samples)
    if gate.veto:
        return gate.result(verdict, text, **seen.numbers(gate))
    if isinstance(samples, WinSamples):
        told, doubted = pairs_in_words(samples, case, gate.alpha)
        if doubted and verdict is Verdict.INCONCLUSIVE:
            return gate.result(verdict, text + told, **seen.numbers(gate))
        text += told
    if samples.metric == "negative_flips":
        text, verdict = _flips(gate, case, samples, text, verdict)
    elif samples.successes is not None and samples.trials:
        text += _misses(gate, case, samples.trials - samples.successes, samples.trials, verdict)
    elif verdict is Verdict.INCONCLUSIVE and samples.upward is not None and not case.several:
        return _noisy(gate, case, seen, text, samples.upward)
    elif verdict is Verdict.INCONCLUSIVE and (heavy := carried(samples, case)):
        numbers = seen.numbers(gate)
        if says_nothing(bounds, value):
            text = f"{gate.name} {wording.number(value, gate.meaning)}, wanted {gate.wanted}.{besides(gate, samples)}"
            numbers |= {"low": None, "high": None}
        return gate.result(verdict, text + heavy, **numbers)
    elif verdict is Verdict.INCONCLUSIVE and not samples.hidden:
        text += f" The {wording.count(n, case.noun)} cannot decide on which side of the bound it truly is."
    elif verdict is Verdict.PASS:
        text += granted(gate, samples)
    elif verdict is Verdict.FAIL:
        text += " Even the better end of that interval misses the bound."
    detectable = None
    if samples.trials is not None and gate.rule.bound == "at_least":
        reached = exact.detectable(samples.trials, gate.rule.amount, gate.alpha)
        detectable = None if reached is None else reached - gate.rule.amount
    return _settled(gate, case, seen, verdict, text, detectable)


def _noisy(gate: Gate, case: Case, seen: _Seen, text: str, upward: intervals.Upward) -> GateResult:
    """An undecided sum of absolute deviations, of which noise alone makes a part that falls with the root of n."""
    chance, amount = upward.most, gate.rule.amount
    room = max(amount - max(0.0, seen.value - chance), seen.value - amount)  # to where it would be decided
    text += f" On {wording.count(seen.n, case.noun)} a perfectly calibrated model would show about {wording.number(chance, gate.meaning)}."
    width = seen.high - max(0.0, seen.value - chance)
    needed = realistic(seen.n * (width / room) ** 2, seen.n) if room > 1e-9 else None
    needed = None if needed is None or needed <= seen.n else needed
    text += settle(needed, seen.n, case, met=seen.value - chance <= room)
    return gate.result(Verdict.INCONCLUSIVE, text, **seen.numbers(gate), needed=needed)


def veto_p(gate: Gate, samples: MetricSamples) -> float | None:
    """p-value of "the bound holds": small where it is proven to be broken; None where the samples do not tell."""
    from scipy.special import bdtr

    sign = 1 if gate.rule.bound == "at_least" else -1
    if samples.successes is not None and samples.trials is not None:
        share = min(max(gate.rule.amount, 0.0), 1.0)
        if sign > 0:
            return float(bdtr(samples.successes, samples.trials, share))
        return float(bdtr(samples.trials - samples.successes, samples.trials, 1 - share))
    if isinstance(samples, Told):
        return samples.p_values.get(gate.rule.amount)

    def broken(alpha: float) -> bool | None:
        bounds = samples.bounds(alpha)
        return None if bounds is None else sign * bounds[1 if sign > 0 else 0] < sign * gate.rule.amount

    return exact.least_alpha(broken)


def _from_measurement(gate: Gate, case: Case) -> GateResult:
    """Judge by a filed measurement when its predictions are elsewhere."""
    filed = case.on_rows(gate.name)
    if filed is None:
        return unmeasured(gate, case)
    if filed.value is None:
        return gate.result(null_verdict(gate.rule), f"{gate.name} could not be measured: {filed.reason}.")
    bounds = _measured_bounds(filed, gate.alpha)
    if bounds is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name} {wording.number(filed.value, gate.meaning)} was measured without an interval, "
            "which proves nothing.",
            value=filed.value,
            threshold=gate.rule.amount,
            n=filed.n,
        )
    seen = _Seen(filed.value, *bounds, filed.n, filed.successes, filed.n)
    verdict, text = seen.verdict(gate), seen.headline(gate)
    if contradicts(gate, filed.value, verdict):
        return gate.result(
            Verdict.INVALID, f"{gate.name}: its interval contradicts its value. Measure it again."
        )
    if filed.successes is not None and filed.n:
        text += _misses(gate, case, filed.n - filed.successes, filed.n, verdict)
    return _settled(gate, case, seen, verdict, text)


def _measured_bounds(filed: Measurement, alpha: float) -> tuple[float, float] | None:
    if filed.successes is not None and filed.n > 0:
        if not 0 <= filed.successes <= filed.n:
            return None
        return intervals.clopper_pearson(filed.successes, filed.n, alpha)
    # a two-sided 95 % interval serves every alpha from 2.5 % on
    if filed.low is None or filed.high is None or alpha < 0.025:
        return None
    return filed.low, filed.high


def _settled(
    gate: Gate, case: Case, seen: _Seen, verdict: Verdict, text: str, detectable: float | None = None
) -> GateResult:
    """The result; where it is undecided, with how many samples would settle it."""
    needed = None
    if verdict is Verdict.INCONCLUSIVE and seen.hidden:
        text += " Rows of every class settle it."
    elif verdict is Verdict.INCONCLUSIVE:
        needed = None if case.several else _needed(gate, seen)
        text += settled_by(needed, seen.n, case, met=meets(gate, seen.value))
    return gate.result(verdict, text, **seen.numbers(gate), detectable=detectable, needed=needed)


def _faultless(samples: MetricSamples, bounds: tuple[float, float], alpha: float) -> bool:
    """Whether nothing varies, so that the interval is of what was never seen."""
    rest = intervals.unseen(samples.n, alpha) * (samples.worth(samples.effect) or 0.0)
    return (
        samples.resample is not None
        and rest > 0
        and math.isclose(bounds[1] - bounds[0], 2 * rest, rel_tol=1e-6)
    )


def _needed(gate: Gate, seen: _Seen) -> int | None:
    """Samples that would settle it if the value seen is the true one."""
    amount, value = gate.rule.amount, seen.value
    if seen.successes is not None and seen.trials:
        share, target = (value, amount) if gate.rule.bound == "at_least" else (1 - value, 1 - amount)
        if share > target:
            needed = exact.samples_for_power(target, share, gate.alpha)
            return None if needed is None else realistic(max(needed, seen.trials + 1), seen.n)
    gap = abs(value - amount)
    if seen.faultless or (
        gate.meaning.fraction and value in (0.0, 1.0)
    ):  # nothing varies: what was never seen falls with n, not with its root
        rest = max(value - seen.low, seen.high - value)
        return realistic(max(seen.n + 1, exact.samples_without_fault(seen.n, rest, gap, gate.alpha)), seen.n)
    narrow, wide = sorted((value - seen.low, seen.high - value))
    width = (narrow + wide) / 2 if gate.meaning.fraction else narrow
    if not gap > (narrow + wide) / 200:
        return None
    inflation = (intervals.normal(gate.alpha) + POWER_QUANTILE) / intervals.normal(gate.alpha)
    spread = seen.n * (width * inflation / gap) ** 2
    rare = (
        0.0 if gate.meaning.fraction else seen.n * wide / gap
    )  # where a value has no end, the wider side is for what was not seen
    return realistic(max(seen.n + 1, spread, rare), seen.n)


def _misses(gate: Gate, case: Case, misses: int, n: int, verdict: Verdict) -> str:
    """What went wrong in whole samples, and what n samples could have proven."""
    if verdict is Verdict.PASS or gate.rule.bound != "at_least":
        return ""
    label = dict(conditions(gate.where)).get("class") if gate.where and "=" in gate.where else None
    were = "was" if n == 1 else "were"
    if gate.rule.metric == "precision":
        text = f" {misses} of {n} answers" + (f" {label}" if label else "") + f" {were} wrong"
    elif label is not None:
        text = f" {misses} of {wording.count(n, case.noun)} of class {label} {were} missed"
    else:
        text = f" {misses} of {wording.count(n, case.noun)} {were} wrong"
    confused = None
    if label is not None and case.candidate is not None and gate.rule.metric in ("recall", "accuracy"):
        only = list(conditions(gate.where)) == [("class", label)]
        confused = case.candidate.most_confused(label) if only else None
    text += f", {confused[1]} of them taken for {confused[0]}." if confused else "."
    return text + _could_prove(gate, n)


def _could_prove(gate: Gate, n: int) -> str:
    amount, alpha = gate.rule.amount, gate.alpha
    forgiven = exact.forgiven(n, amount, alpha)
    bound = wording.bound(amount, gate.meaning)
    least = exact.samples_all_right(amount, alpha)
    if least is None:
        return f" No number of samples can prove {bound}."
    larger = _roomier(n, amount, alpha)
    more = (
        f": {larger} samples would forgive {exact.forgiven(larger, amount, alpha)} misses" if larger else ""
    )
    if forgiven is None:
        return f" Even {n} of {n} right would not prove {bound}; at least {least} are needed for that{more}."
    if forgiven == 0:
        return f" With {n} samples only {n} right would prove {bound}{more}."
    return (
        f" With {n} samples at most {forgiven} {'miss' if forgiven == 1 else 'misses'} would prove {bound}."
    )


def _roomier(n: int, amount: float, alpha: float) -> int | None:
    """A round number of samples that forgives half of the tolerated share of misses."""
    wanted = exact.samples_for_power(amount, (1 + amount) / 2, alpha, 0.5)
    if wanted is None:
        return None
    step = 50 if wanted <= 500 else 10 ** (len(str(wanted)) - 2) * 5
    larger = math.ceil(wanted / step) * step
    return larger if larger > n else None


def _flips(
    gate: Gate, case: Case, samples: MetricSamples, text: str, verdict: Verdict
) -> tuple[str, Verdict]:
    flips, n = samples.successes, samples.trials
    if flips is not None and n:
        text += f" Of {wording.count(n, case.noun)} {flips} that {case.baseline_name} got right {'is' if flips == 1 else 'are'} wrong now."
    floor = case.self_flips
    if floor is not None and floor.n:
        rate = floor.flips / floor.n
        if floor.flips:
            text += f" Run twice, {case.baseline_name} itself flips on {wording.percent(rate)}."
        if verdict is not Verdict.PASS and floor.exceeds(gate.rule.amount, gate.alpha):
            text += (
                " No model keeps a budget that the baseline breaks by itself: raise it, or find the noise."
            )
            verdict = Verdict.INCONCLUSIVE
    return text, verdict
