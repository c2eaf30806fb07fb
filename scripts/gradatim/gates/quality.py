"""Gates on labelled samples: absolute thresholds, and comparisons with the baseline."""

from __future__ import annotations

import math

from gradatim.gates import exact, wording
from gradatim.gates.case import Case
from gradatim.gates.compare import Comparison, compare
from gradatim.gates.exact import decide
from gradatim.gates.gate import Gate, null_verdict, settle
from gradatim.gates.paired import FEW_POSITIVES
from gradatim.gates.runtime import contradicts, kept, meets
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import intervals
from gradatim.metrics.catalogue import Metric
from gradatim.metrics.evaluation import Evaluation, conditions
from gradatim.metrics.samples import MetricSamples

_POWER = 0.8416212335729143
"""Normal quantile of 80 % power."""


def absolute(gate: Gate, case: Case) -> GateResult:
    """At least, or at most, a number."""
    if case.candidate is None:
        return _from_measurement(gate, case)
    samples = _samples(gate, case.candidate)
    if isinstance(samples, GateResult):
        return samples
    if foreign := _foreign(gate, case, samples):
        return foreign
    if few := _few_positives(gate, samples):
        return few
    value = samples.value
    assert value is not None  # noqa: S101 (_samples looked)
    n = samples.trials if samples.trials is not None else samples.n
    bounds = samples.bounds(gate.alpha)
    if bounds is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name} {wording.number(value, gate.meaning)}, wanted {gate.wanted}. "
            f"{wording.count(n, case.noun)} do not tell how much it varies.",
            value=value,
            threshold=gate.rule.amount,
            n=n,
            candidate=value,
        )
    verdict = _decide(gate, bounds)
    text = _headline(gate, value, bounds)
    if gate.veto:
        return gate.result(
            verdict,
            text,
            value=value,
            low=bounds[0],
            high=bounds[1],
            threshold=gate.rule.amount,
            n=n,
            candidate=value,
        )
    if samples.metric == "negative_flips":
        text, verdict = _flips(gate, case, samples, text, verdict)
    elif samples.successes is not None and samples.trials:
        text += _misses(gate, case, samples.trials - samples.successes, samples.trials, verdict)
    elif verdict is Verdict.INCONCLUSIVE:
        text += f" The {wording.count(n, case.noun)} cannot decide on which side of the bound it truly is."
    elif verdict is Verdict.FAIL:
        text += " Even the better end of that interval misses the bound."
    needed = _needed_absolute(gate, samples.successes, samples.trials, value, bounds, n, verdict)
    if verdict is Verdict.INCONCLUSIVE:
        text += settle(needed, n, case, met=meets(gate, value))
    detectable = None
    if samples.trials is not None and gate.rule.bound == "at_least":
        reached = exact.detectable(samples.trials, gate.rule.amount, gate.alpha)
        detectable = None if reached is None else reached - gate.rule.amount
    return gate.result(
        verdict,
        text,
        value=value,
        low=bounds[0],
        high=bounds[1],
        threshold=gate.rule.amount,
        n=n,
        candidate=value,
        detectable=detectable,
        needed=needed,
    )


def comparison(gate: Gate, case: Case) -> GateResult:
    """Not worse than the baseline, or a share of its value kept."""
    pair = _pair(gate, case)
    if isinstance(pair, GateResult):
        return pair
    new, old = pair
    ratio, margin = _terms(gate)
    found = compare(new, old, margin=margin, ratio=ratio, alpha=gate.alpha)
    numbers = {
        "value": found.value,
        "threshold": -margin,
        "n": found.n,
        "baseline": old.value,
        "candidate": new.value,
    }
    if found.low is None or found.high is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{_change(gate, case, new, old)} {wording.count(found.n, case.noun)} do not tell how much the "
            "difference "
            f"varies; wanted {gate.wanted}.",
            **numbers,
        )
    if math.isnan(found.low) or math.isnan(found.high):
        return gate.result(Verdict.INVALID, f"{gate.name}: the difference is not a number.")
    if found.low > -margin:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if found.high < -margin else Verdict.INCONCLUSIVE
    detectable, needed = _plan(found, margin, gate.alpha)
    bounds = _bounds_in_words(gate, found, ratio)
    text = f"{_change(gate, case, new, old)} {bounds}{_flipped(found, case)}"
    if gate.veto:
        return gate.result(verdict, text, low=found.low, high=found.high, detectable=detectable, **numbers)
    if verdict is Verdict.FAIL:
        text += " Even at best the loss is larger than allowed."
    if verdict is Verdict.INCONCLUSIVE:
        needed = needed if needed is not None and needed > found.n else None
        text += settle(needed, found.n, case, met=found.value >= -margin)
    else:
        needed = None
    return gate.result(
        verdict, text, low=found.low, high=found.high, detectable=detectable, needed=needed, **numbers
    )


def regression_p(gate: Gate, case: Case) -> float | GateResult:
    """p-value of "no regression beyond the margin" for a veto; a verdict where there is none to be had."""
    if gate.rule.bound in ("not_worse", "keep"):
        pair = _pair(gate, case)
        if isinstance(pair, GateResult):
            return pair
        ratio, margin = _terms(gate)
        found = compare(pair[0], pair[1], margin=margin, ratio=ratio, alpha=gate.alpha, veto=True)
        p = found.p_worse
    else:
        if case.candidate is None:
            return gate.result(
                null_verdict(gate.rule), f"{gate.name} was not measured: run `gradatim evaluate`."
            )
        samples = _samples(gate, case.candidate)
        if isinstance(samples, GateResult):
            return samples
        p = _absolute_p(gate, samples)
    if p is None or math.isnan(p):
        return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: the samples do not tell how much it varies.")
    return min(1.0, max(0.0, p))


def _absolute_p(gate: Gate, samples: MetricSamples) -> float | None:
    from scipy.special import bdtr

    sign = 1 if gate.rule.bound == "at_least" else -1
    if samples.successes is not None and samples.trials is not None:
        share = min(max(gate.rule.amount, 0.0), 1.0)
        if sign > 0:
            return float(bdtr(samples.successes, samples.trials, share))
        return float(bdtr(samples.trials - samples.successes, samples.trials, 1 - share))
    # the smallest alpha whose bound still clears the threshold, by bisection on its logarithm
    low, high = -30.0, math.log(0.5)
    for _ in range(40):
        middle = (low + high) / 2
        bounds = samples.bounds(math.exp(middle))
        if bounds is None:
            return None
        proven = sign * bounds[1 if sign > 0 else 0] < sign * gate.rule.amount
        low, high = (low, middle) if proven else (middle, high)
    return math.exp(high) if high < math.log(0.5) - 1e-6 else 1.0


def _samples(gate: Gate, evaluation: Evaluation) -> MetricSamples | GateResult:
    samples = evaluation.samples(gate.rule.metric, gate.where)
    if samples.value is not None and not math.isfinite(samples.value):
        return gate.result(Verdict.INVALID, f"{gate.name} is {samples.value}, not a number.")
    if samples.value is not None:
        return samples
    if gate.compares and evaluation.reference is None:
        return gate.result(
            Verdict.INVALID, f"{gate.name} needs the baseline's predictions, and they are not there."
        )
    return gate.result(
        Verdict.INCONCLUSIVE,
        f"{gate.name} could not be measured: {samples.reason}. Wanted {gate.wanted}.",
        needed=1,
    )


def _pair(gate: Gate, case: Case) -> tuple[MetricSamples, MetricSamples] | GateResult:
    if case.candidate is None:
        return gate.result(null_verdict(gate.rule), f"{gate.name} was not measured: run `gradatim evaluate`.")
    if case.baseline is None:
        return gate.result(
            Verdict.INVALID,
            f"{gate.name} is to be compared with {case.baseline_name}, and its predictions are not there: "
            "run "
            "`gradatim evaluate`.",
        )
    new, old = _samples(gate, case.candidate), _samples(gate, case.baseline)
    if isinstance(new, GateResult):
        return new
    if isinstance(old, GateResult):
        return old
    return _foreign(gate, case, new) or _few_positives(gate, new) or (new, old)


def _foreign(gate: Gate, case: Case, samples: MetricSamples) -> GateResult | None:
    """A measurement on file that disagrees with the predictions is somebody else's."""
    filed = case.measurement(gate.name)
    if filed is None or samples.value is None:
        return None
    if filed.value is None or not math.isclose(filed.value, samples.value, rel_tol=1e-6, abs_tol=1e-9):
        said = "nothing" if filed.value is None else f"{filed.value:.6g}"
        return gate.result(
            Verdict.INVALID,
            f"{gate.name} was filed as {said}, but the predictions give {samples.value:.6g}: they are not "
            "of the same "
            "run. Run `gradatim evaluate --force`.",
        )
    return None


def _few_positives(gate: Gate, samples: MetricSamples) -> GateResult | None:
    if samples.positives is None or samples.positives >= FEW_POSITIVES:
        return None
    return gate.result(
        Verdict.INCONCLUSIVE,
        f"{gate.name} {wording.number(samples.value, gate.meaning)} rests on {samples.positives} positives. "
        f"F1 is judged from {FEW_POSITIVES} on.",
        value=samples.value,
        threshold=gate.rule.amount if not gate.compares else None,
        n=samples.n,
        needed=FEW_POSITIVES,
    )


def _from_measurement(gate: Gate, case: Case) -> GateResult:
    """Judge by a filed measurement when its predictions are elsewhere."""
    filed = case.measurement(gate.name)
    if filed is None:
        return gate.result(null_verdict(gate.rule), f"{gate.name} was not measured: run `gradatim evaluate`.")
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
    verdict = _decide(gate, bounds)
    if contradicts(gate, filed.value, verdict):
        return gate.result(
            Verdict.INVALID, f"{gate.name}: its interval contradicts its value. Measure it again."
        )
    text = _headline(gate, filed.value, bounds)
    if filed.successes is not None and filed.n:
        text += _misses(gate, case, filed.n - filed.successes, filed.n, verdict)
    needed = _needed_absolute(gate, filed.successes, filed.n, filed.value, bounds, filed.n, verdict)
    if verdict is Verdict.INCONCLUSIVE:
        text += settle(needed, filed.n, case, met=meets(gate, filed.value))
    return gate.result(
        verdict,
        text,
        value=filed.value,
        low=bounds[0],
        high=bounds[1],
        threshold=gate.rule.amount,
        n=filed.n,
        candidate=filed.value,
        needed=needed,
    )


def _measured_bounds(filed: Measurement, alpha: float) -> tuple[float, float] | None:
    if filed.successes is not None and filed.n > 0:
        if not 0 <= filed.successes <= filed.n:
            return None
        return intervals.clopper_pearson(filed.successes, filed.n, alpha)
    # a two-sided 95 % interval serves every alpha from 2.5 % on
    if filed.low is None or filed.high is None or alpha < 0.025:
        return None
    return filed.low, filed.high


def _decide(gate: Gate, bounds: tuple[float, float]) -> Verdict:
    if gate.rule.bound == "at_least":
        return decide(bounds[0], bounds[1], gate.rule.amount)
    return decide(-bounds[1], -bounds[0], -gate.rule.amount)


def _terms(gate: Gate) -> tuple[float, float]:
    """(ratio, margin) of a comparison."""
    rule, higher = gate.rule, gate.meaning.higher_is_better
    if rule.bound == "keep":
        return kept(rule.amount, higher_is_better=higher), 0.0
    if gate.relative:
        return (1 - rule.amount if higher else 1 + rule.amount), 0.0
    return 1.0, rule.amount


def _headline(gate: Gate, value: float, bounds: tuple[float, float]) -> str:
    shown = wording.number(value, gate.meaning)
    return f"{gate.name} {shown}{wording.interval(*bounds, gate.meaning)}, wanted {gate.wanted}."


def _misses(gate: Gate, case: Case, misses: int, n: int, verdict: Verdict) -> str:
    """What went wrong in whole samples, and what n samples could have proven."""
    if verdict is Verdict.PASS or gate.rule.bound != "at_least":
        return ""
    label = dict(conditions(gate.where)).get("class") if gate.where and "=" in gate.where else None
    if gate.rule.metric == "precision":
        text = f" {misses} of {n} answers" + (f" {label}" if label else "") + " were wrong"
    elif label is not None:
        text = f" {misses} of {wording.count(n, case.noun)} of class {label} were missed"
    else:
        text = f" {misses} of {wording.count(n, case.noun)} were wrong"
    confused = None
    if label is not None and case.candidate is not None and gate.rule.metric in ("recall", "accuracy"):
        only = list(conditions(gate.where)) == [("class", label)]
        confused = case.candidate.most_confused(label) if only else None
    text += f", {confused[1]} of them taken for {confused[0]}." if confused else "."
    return text + _could_prove(gate, n)


def _could_prove(gate: Gate, n: int) -> str:
    threshold, alpha = gate.rule.amount, gate.alpha
    forgiven = exact.forgiven(n, threshold, alpha)
    bound = wording.bound(threshold, gate.meaning)
    least = exact.samples_all_right(threshold, alpha)
    if least is None:
        return f" No number of samples can prove {bound}."
    larger = _roomier(n, threshold, alpha)
    more = (
        f": {larger} samples would forgive {exact.forgiven(larger, threshold, alpha)} misses"
        if larger
        else ""
    )
    if forgiven is None:
        return f" Even {n} of {n} right would not prove {bound}; at least {least} are needed for that{more}."
    if forgiven == 0:
        return f" With {n} samples only {n} right would prove {bound}{more}."
    return f" With {n} samples at most {forgiven} misses would prove {bound}."


def _roomier(n: int, threshold: float, alpha: float) -> int | None:
    """A round number of samples that forgives half of the tolerated share of misses."""
    wanted = exact.samples_for_power(threshold, (1 + threshold) / 2, alpha, 0.5)
    if wanted is None:
        return None
    step = 50 if wanted <= 500 else 10 ** (len(str(wanted)) - 2) * 5
    larger = math.ceil(wanted / step) * step
    return larger if larger > n else None


def _needed_absolute(
    gate: Gate,
    successes: int | None,
    trials: int | None,
    value: float,
    bounds: tuple[float, float],
    n: int,
    verdict: Verdict,
) -> int | None:
    """Samples that would settle it if the value seen is the true one."""
    if verdict is not Verdict.INCONCLUSIVE:
        return None
    threshold = gate.rule.amount
    if successes is not None and trials:
        share, target = (value, threshold) if gate.rule.bound == "at_least" else (1 - value, 1 - threshold)
        if share > target:
            needed = exact.samples_for_power(target, share, gate.alpha)
            return None if needed is None else _realistic(max(needed, trials + 1), n)
    gap = abs(value - threshold)
    width = (bounds[1] - bounds[0]) / 2
    if not gap > width / 100:
        return None
    inflation = (intervals.normal(gate.alpha) + _POWER) / intervals.normal(gate.alpha)
    return _realistic(max(n + 1, n * (width * inflation / gap) ** 2), n)


def _realistic(needed: float, n: int) -> int | None:
    """A number of samples somebody could collect; None when the value lies too close to the bound for any."""
    return wording.about(needed) if needed <= 1000 * max(n, 100) else None


def _flips(
    gate: Gate, case: Case, samples: MetricSamples, text: str, verdict: Verdict
) -> tuple[str, Verdict]:
    flips, n = samples.successes, samples.trials
    if flips is not None and n:
        text += (
            f" Of {wording.count(n, case.noun)} {flips} that {case.baseline_name} got right "
            f"{'is' if flips == 1 else 'are'} wrong now."
        )
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


def _change(gate: Gate, case: Case, new: MetricSamples, old: MetricSamples) -> str:
    before, after = wording.number(old.value, gate.meaning), wording.number(new.value, gate.meaning)
    return f"{gate.name}: {before} -> {after} (against {case.baseline_name})."


def _bounds_in_words(gate: Gate, found: Comparison, ratio: float) -> str:
    assert found.low is not None and found.high is not None  # noqa: S101, PT018 (comparison() looked)
    value, low, high = (better(number, gate.meaning) for number in (found.value, found.low, found.high))
    against = "" if ratio == 1 else f" than {100 * ratio:.4g} % of the baseline's value"
    return f"That is {value}{against}; in truth most likely between {low} and {high}. Wanted {gate.wanted}."


def better(number: float, meaning: Metric) -> str:
    """A difference in words: ``1.2 points worse``."""
    size = wording.points(abs(number), meaning)
    if size in ("0", "0 points"):
        return "no better and no worse"
    return f"{size} {'better' if number > 0 else 'worse'}"


def _flipped(found: Comparison, case: Case) -> str:
    if found.gains is None or found.losses is None:
        return ""
    return f" Of {wording.count(found.n, case.noun)} {found.gains} got better and {found.losses} worse."


def _plan(found: Comparison, margin: float, alpha: float) -> tuple[float | None, int | None]:
    """(smallest margin that n samples could prove for an equal model, samples that would settle this one)."""
    if found.spread is None:
        return None, None
    # nothing seen to differ is not proof that nothing does: about one sample in n might
    spread = max(found.spread, 1 / math.sqrt(found.n)) if found.gains is not None else found.spread
    factor = intervals.normal(alpha) + _POWER
    detectable = factor * spread / math.sqrt(found.n)
    room = abs(found.value + margin)
    if not room > 1e-9 or not spread:
        return detectable, None
    return detectable, _realistic((factor * spread / room) ** 2, found.n)
