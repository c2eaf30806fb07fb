"""Gates on what has no labelled samples: time, size, parameters, memory."""

from __future__ import annotations

import math

from gradatim.gates import wording
from gradatim.gates.case import BASELINE, Case
from gradatim.gates.exact import decide, samples_for_quantile
from gradatim.gates.gate import Gate, null_verdict
from gradatim.gates.latency import level_bounds, not_slower
from gradatim.gates.rule import share, tolerated
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.catalogue import TWINS

_STEPS = {"limit": "inspect", "timing": "benchmark"}


def limit(gate: Gate, case: Case) -> GateResult:
    """A plain number against a plain number: size, parameters, memory."""
    mine = case.measurement(gate.name)
    if mine is None or mine.value is None:
        return _missing(gate, case, mine)
    rule, meaning = gate.rule, gate.meaning
    threshold, old = rule.amount, None
    if gate.compares:
        theirs = case.measurement(gate.name, BASELINE)
        if theirs is None or theirs.value is None:
            return _missing(gate, case, theirs, f"{case.baseline_name} has no measured {gate.noun}")
        old = theirs.value
        threshold = old * share(rule, meaning)
    at_most = rule.bound == "at_most" or (rule.bound != "at_least" and not meaning.higher_is_better)
    good = mine.value <= threshold if at_most else mine.value >= threshold
    verdict = Verdict.PASS if good else Verdict.FAIL
    against = "" if old is None else f", {case.baseline_name} has {wording.number(old, meaning)}"
    return gate.result(
        verdict,
        f"{gate.name} is {wording.number(mine.value, meaning)}{against}; wanted {gate.wanted}.",
        value=mine.value,
        threshold=threshold,
        baseline=old,
        candidate=mine.value,
        n=mine.n,
    )


def timing(gate: Gate, case: Case) -> GateResult:
    """A latency, a throughput or an energy: paired with the baseline's, or absolute."""
    return _paired(gate, case) if gate.compares else _absolute(gate, case)


def _paired(gate: Gate, case: Case) -> GateResult:
    paired = case.timings.get(gate.name)
    if paired is None:
        unmeasured = (case.measurement(gate.name, whose) for whose in (case.variant, BASELINE))
        lacking = next((found for found in unmeasured if found is not None and found.reason), None)
        if lacking is not None:
            return _missing(gate, case, lacking)
        return gate.result(
            null_verdict(gate.rule),
            f"There is no paired timing of {gate.name}. Run `gradatim benchmark`, which times candidate and baseline side by side.",
        )
    guards = gate.rule.family == "veto"
    bounds = paired.bounds(gate.alpha)
    if bounds is None:
        return gate.result(
            Verdict.PASS if guards else Verdict.INCONCLUSIVE,
            f"{gate.name} was timed in {wording.count(paired.rounds, 'rounds')}, too few or too equal to know their spread.",
            n=paired.rounds,
        )
    mean, low, high = bounds
    slower = -1 if gate.meaning.higher_is_better else 1
    by = tolerated(gate.rule, gate.meaning)
    worse = sorted((slower * low, slower * high))
    if guards:
        verdict = Verdict.FAIL if worse[0] > math.log1p(by) else Verdict.PASS
    else:
        verdict = not_slower(worse[0], worse[1], by) if by > 0 else _no_margin(worse, by)
    change, ends = math.expm1(mean), [math.expm1(low), math.expm1(high)]
    word, less = ("slower", "faster") if gate.meaning.unit == "s" else ("more", "less")
    text = (
        f"{gate.name}: {wording.number(paired.baseline, gate.meaning)} -> {wording.number(paired.candidate, gate.meaning)}, "
        f"{100 * abs(change):.1f} % {word if change >= 0 else less} ({100 * ends[0]:+.1f} .. {100 * ends[1]:+.1f}) in {wording.count(paired.rounds, 'paired rounds')}; "
        f"wanted {gate.wanted}."
    )
    needed = None
    if guards:
        text += f" It stands beside {gate.rule.key} and refuses only what is proven slower."
    if verdict is Verdict.INCONCLUSIVE:
        room = math.log1p(by) - slower * mean
        if room > 0:
            needed = wording.about(paired.rounds * ((high - low) / 2 / room) ** 2)
            text += f" The rounds vary too much to decide: about {needed} would, at this difference."
        else:
            text += " The measured difference lies at the margin: more rounds may not settle it."
    if verdict is Verdict.FAIL and worse[0] <= math.log1p(by):
        text += f" It is proven to be worse by more than {100 * by / 3:.2g} %, a third of what is tolerated, and not proven to stay within it: the tolerance is for noise, not for spending."
    threshold = math.expm1(slower * math.log1p(by))
    return gate.result(
        verdict,
        text,
        value=change,
        low=ends[0],
        high=ends[1],
        threshold=threshold,
        unit="1",
        n=paired.rounds,
        baseline=paired.baseline,
        candidate=paired.candidate,
        detectable=math.expm1(high - low),
        needed=needed,
    )


def _no_margin(worse: list[float], by: float) -> Verdict:
    """ "Faster by": the bound lies below no change."""
    return decide(-worse[1], -worse[0], -math.log1p(by))


def _absolute(gate: Gate, case: Case) -> GateResult:
    rule, meaning = gate.rule, gate.meaning
    mine = case.measurement(gate.name)
    rounds = case.rounds.get(gate.name)
    low: float | None
    high: float | None
    needed, extra = None, ""
    if rounds is not None:
        if not all(0 < value < math.inf for value in rounds):
            return gate.result(
                Verdict.INVALID,
                f"{gate.name}: a round has no finite duration. Run `gradatim benchmark --force`.",
            )
        bounds, n = level_bounds(rule.metric, rounds, gate.alpha), len(rounds)
        if bounds is None:
            return gate.result(
                Verdict.INCONCLUSIVE,
                f"{gate.name} was timed in {wording.count(n, 'rounds')} with calls enough for it, too few to know their spread.",
                n=n,
            )
        value, low, high = bounds
        if math.isinf(high):
            needed = samples_for_quantile(0.5, gate.alpha)
            extra = f" {wording.count(n, 'rounds')} with calls enough for it cannot bound it from above: {needed} are the least."
    elif mine is not None and mine.value is not None:
        value, n, low, high = mine.value, mine.n, mine.low, mine.high
    else:
        return _missing(gate, case, mine)
    if low is None or high is None:
        return gate.result(
            Verdict.INCONCLUSIVE,
            f"{gate.name} was {wording.number(value, meaning)}, measured without an interval, which proves nothing.",
            value=value,
            threshold=rule.amount,
            n=n,
        )
    sign = 1 if rule.bound == "at_least" else -1
    ends = sorted((sign * low, sign * high))
    verdict = decide(ends[0], ends[1], sign * rule.amount)
    if contradicts(gate, value, verdict):
        return gate.result(
            Verdict.INVALID, f"{gate.name}: its interval contradicts its value. Measure it again."
        )
    if verdict is Verdict.INCONCLUSIVE and not extra:
        extra = " Its interval holds the bound, so the timings cannot decide; more rounds would narrow it."
    shown_low, shown_high = (bound if math.isfinite(bound) else None for bound in (low, high))
    return gate.result(
        verdict,
        f"{gate.name} {wording.number(value, meaning)}{wording.interval(shown_low, shown_high, meaning)}, "
        f"wanted {gate.wanted}.{extra}",
        value=value,
        low=shown_low,
        high=shown_high,
        threshold=rule.amount,
        n=n,
        needed=needed,
        candidate=value,
    )


def drift(gate: Gate, case: Case) -> GateResult:
    """The column of the evaluation data that changed most: none may be shown to have changed by more, all to have by less.

    Each column is proven to stay below the bound at alpha, for all must (intersection-union); that one breaks it, at alpha over
    the number of columns.
    """
    from gradatim.gates.drift import FEWEST, bounds

    found = case.drift
    if found is None:
        return _missing(gate, case, None)
    why = f" Not compared: {found.reason}." if found.reason else ""
    if not found.columns or any(one.verdict is Verdict.INCONCLUSIVE for one in found.columns):
        told = why or f" {FEWEST} rows or groups of both are the least."
        return gate.result(
            Verdict.INCONCLUSIVE, f"drift cannot be told.{told} Wanted {gate.wanted}.", n=found.units
        )
    worst, k = found.columns[0], len(found.columns)
    low = max(bounds(one, gate.alpha / k)[0] for one in found.columns)
    high = max(bounds(one, gate.alpha)[1] for one in found.columns)
    verdict = decide(-high, -low, -gate.rule.amount)
    if verdict is Verdict.PASS and found.reason:
        verdict = Verdict.INCONCLUSIVE
    more = ""
    if verdict is Verdict.INCONCLUSIVE and not found.reason:
        more = f" There are {wording.count(found.units, case.noun)}: too few to tell whether that is chance; more would."
    return gate.result(
        verdict,
        f"drift is {worst.psi:.3g}{wording.interval(low, high, gate.meaning)} since {case.baseline_name}, the most of "
        f"{wording.count(k, 'columns')}, in {worst.column}; wanted {gate.wanted}.{why}{more}",
        value=worst.psi, low=low, high=high, threshold=gate.rule.amount, n=found.units, candidate=worst.psi,
    )  # fmt: skip


def contradicts(gate: Gate, value: float, verdict: Verdict) -> bool:
    """Whether an interval proves a bound that its own value breaks: no step measures such a thing."""
    return verdict is Verdict.PASS and not meets(gate, value)


def meets(gate: Gate, value: float) -> bool:
    """Whether a value as it was seen is on the good side of an absolute bound."""
    return value >= gate.rule.amount if gate.rule.bound == "at_least" else value <= gate.rule.amount


def _missing(gate: Gate, case: Case, found: Measurement | None, what: str | None = None) -> GateResult:
    if case.waits is not None and found is not None and found.reason == case.waits:
        text = f"{gate.name}: {case.waits}."
        return gate.result(Verdict.INCONCLUSIVE, text, blocking=False)
    step = _STEPS.get(gate.meaning.kind, "evaluate")
    step = {"memory": "benchmark", **dict.fromkeys(TWINS, "evaluate")}.get(gate.rule.metric, step)
    if found is not None and found.reason:
        text = f"{gate.name} could not be measured: {found.reason}."
    else:
        text = case.lacks(gate.name, step, what or "")
    return gate.result(null_verdict(gate.rule), text)
