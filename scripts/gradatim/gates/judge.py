"""From rules and what was measured to verdicts, each with a text that says why."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from gradatim.errors import InvalidInput
from gradatim.gates import looks, noninferiority, threshold
from gradatim.gates.case import Case
from gradatim.gates.gate import Gate, chance, expand, settle
from gradatim.gates.quality import samples_of, unmeasured
from gradatim.gates.robustness import robustness
from gradatim.gates.rule import Rule, with_guards
from gradatim.gates.runtime import drift, limit, timing
from gradatim.gates.slices import holm
from gradatim.gates.verdict import GateResult, Verdict

Form = TypeVar("Form", bound=Hashable)


def judge(rules: Iterable[Rule], case: Case, *, on_inconclusive: str = "fail") -> list[GateResult]:
    """Judge one variant by every rule.

    Never raises for what was measured: a broken, missing or foreign measurement is a verdict that refuses.

    Args:
        rules: the contract's and the stage's gates.
        case: what is known about the variant and its baseline.
        on_inconclusive: ``fail`` or ``warn``: whether an INCONCLUSIVE verdict stops this stage.
    """
    results: list[GateResult] = []
    vetoes: list[tuple[Gate, float]] = []
    proving: dict[int, Gate] = {}
    for rule in with_guards(rules):
        for gate in expand(rule, case):
            if isinstance(gate, GateResult):
                results.append(gate)
            elif (
                rule.family == "veto" and gate.where and gate.meaning.kind in ("quality", "own", "comparison")
            ):
                verdict = _guarded(gate, case, vetoes)
                if verdict is not None:
                    results.append(verdict)
            else:
                if gate.meaning.kind != "limit":
                    proving[len(results)] = gate
                results.append(_how_sure(gate, _judge_one(gate, case)))
    _prove_failures(results, proving, case)
    results += _vetoes(vetoes, case)
    if on_inconclusive == "warn":
        results = [replace(r, blocking=False) if r.verdict is Verdict.INCONCLUSIVE else r for r in results]
    return results


def first_proven(
    forms: Sequence[Form], judged: Callable[[Form, int], list[GateResult]]
) -> tuple[Form | None, dict[Form, list[GateResult]]]:
    """The first of a candidate's forms that everything is proven for; None where there is none. And what was found.

    Holm over the forms: each is judged at its share of the error among those that are not proven yet, so that some
    form that breaks a gate is released no more often than a single one would be.

    Args:
        forms: the preferred one first.
        judged: a form's results when so many forms share the error.
    """
    found: dict[Form, list[GateResult]] = {}
    proven: set[Form] = set()
    while True:
        before, share = len(proven), len(forms) - len(proven)
        for form in forms:
            if form not in proven:
                found[form] = judged(form, share)
                if not any(result.refuses for result in found[form]):
                    proven.add(form)
            if form in proven and form == forms[0]:
                return form, found
        if len(proven) in (before, len(forms)):
            return next((form for form in forms if form in proven), None), found


def _prove_failures(results: list[GateResult], proving: Mapping[int, Gate], case: Case) -> None:
    """What chance alone would show on one of so many gates is no proof that one of them FAILs.

    Holm over the gates that are not proven to hold: those that PASS are discarded, and the error is less by the share of
    gates on their bound that do [1]_.

    .. [1] Zhao, Small, Su (2019), Multiple testing when many p-values are uniformly conservative, JASA 114(527).
    """

    if len(proving) < 2:
        return
    failed = {place for place in proving if results[place].verdict is Verdict.FAIL}
    unproven = sum(results[place].verdict is not Verdict.PASS for place in proving)
    proven: set[int] = set()
    while failed - proven:
        sure = set()
        for place in failed - proven:
            alpha = proving[place].alpha
            stricter = replace(proving[place], alpha=alpha * (1 - alpha) / (unproven - len(proven)))
            sure |= {place} if _judge_one(stricter, case).verdict is Verdict.FAIL else set()
        if not sure:
            break
        proven |= sure
    for place in failed - proven:
        shown = results[place]
        told = f"Among {unproven} gates that are not proven chance alone may show that on one.{settle(None, shown.n, case, met=False)}"
        results[place] = replace(shown, verdict=Verdict.INCONCLUSIVE, text=f"{shown.text} {told}")


def _judge_one(gate: Gate, case: Case) -> GateResult:
    try:
        if gate.compares and case.first_release and case.baseline is None:
            return _first(gate, case)
        if gate.on_samples and case.reuse is not None and case.reuse.refusal:
            return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: {case.reuse.refusal}")
        kind = gate.meaning.kind
        if kind == "limit":
            return limit(gate, case)
        if kind == "drift":
            return drift(gate, case)
        if kind == "timing":
            return timing(gate, case)
        if kind == "robustness":
            return robustness(gate, case)
        if gate.rule.sequential or case.stopped:
            return looks.judge(gate, case)
        if gate.rule.bound in ("not_worse", "keep"):
            return noninferiority.judge(gate, case)
        return threshold.judge(gate, case)
    except InvalidInput as error:
        return gate.result(Verdict.INVALID, str(error))


def _how_sure(gate: Gate, found: GateResult) -> GateResult:
    """The result that says how seldom its verdict errs, where chance has a part in it; a guard's PASS proves nothing."""
    guards = gate.rule.family == "veto"
    if found.low is None or found.high is None or (guards and found.verdict is not Verdict.FAIL):
        return found
    timed = gate.meaning.kind == "timing" and gate.compares and not guards
    within = "a third of the bound" if timed else "the bound"
    cure = (
        ": the data changed, whatever the model is; find out why before you trust either"
        if gate.meaning.kind == "drift"
        else ": it takes a better candidate, or a gate that asks for less"
    )
    seldom = f"by chance in at most {100 * gate.alpha:.2g} % of such tests"
    told = {
        Verdict.PASS: f"One beyond the bound passes {seldom}.",
        Verdict.FAIL: f"One within {within} fails {seldom}{cure}.",
        Verdict.INCONCLUSIVE: f"Neither a PASS nor a FAIL would be {100 - 100 * gate.alpha:.5g} % sure.",
    }
    return replace(found, text=f"{found.text} {told[found.verdict]}") if found.verdict in told else found


def settled(rules: Iterable[Rule], case: Case) -> bool:
    """Whether each gate on rows is decided for good: it passes, or is refuted also among so many gates (``_prove_failures``)."""
    gates = [gate for rule in rules for gate in expand(rule, case)]
    for gate in gates:
        if isinstance(gate, GateResult):  # what no row has shown so far: a class, a slice
            return False
        verdict = _judge_one(gate, case).verdict
        if verdict is Verdict.FAIL:
            verdict = _judge_one(
                replace(gate, alpha=gate.alpha * (1 - gate.alpha) / len(gates)), case
            ).verdict
        if verdict not in (Verdict.PASS, Verdict.FAIL):
            return False
    return True


def _first(gate: Gate, case: Case) -> GateResult:
    """A comparison where nothing was released before: likeness is held against the original, where that is another."""
    likeness = gate.meaning.kind == "comparison" and gate.rule.bound in ("at_least", "at_most")
    if not likeness or case.candidate is None or case.candidate.reference is None:
        if case.candidate is not None and gate.meaning.kind in ("quality", "own"):
            found = samples_of(gate, case.candidate)
            if isinstance(found, GateResult):  # no later release could be held against it
                return found
        return gate.result(Verdict.PASS, "Nothing was released before; there is nothing to compare with.")
    if case.reuse is not None and case.reuse.refusal:
        return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: {case.reuse.refusal}")
    judged = looks.judge if gate.rule.sequential or case.stopped else threshold.judge
    found = judged(gate, replace(case, baseline_name="the original"))
    told = f"{found.text} Nothing was released before, so this is against the original, as it was before compression."
    return replace(found, text=told)


def _guarded(gate: Gate, case: Case, vetoes: list[tuple[Gate, float]]) -> GateResult | None:
    """Put a veto among the family's p-values, or give the verdict of one that has none."""
    nothing_to_compare = case.first_release and case.baseline is None and gate.compares
    if nothing_to_compare or (case.reuse is not None and case.reuse.refusal):
        return _judge_one(gate, case)
    try:
        p = regression_p(gate, case)
    except InvalidInput as error:
        return gate.result(Verdict.INVALID, str(error))
    if isinstance(p, GateResult):
        return p
    vetoes.append((gate, p))
    return None


def regression_p(gate: Gate, case: Case) -> float | GateResult:
    """p-value of "no regression" for a veto; a verdict where there is none to be had."""
    p: float | GateResult | None
    if gate.rule.bound in ("not_worse", "keep"):
        p = noninferiority.veto_p(gate, case)
    elif case.candidate is None:
        p = unmeasured(gate, case)
    else:
        samples = samples_of(gate, case.candidate)
        p = samples if isinstance(samples, GateResult) else threshold.veto_p(gate, samples)
    if isinstance(p, GateResult):
        return p
    if p is None or math.isnan(p):
        return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: the samples do not tell how much it varies.")
    return min(1.0, max(0.0, p))


def _vetoes(vetoes: Sequence[tuple[Gate, float]], case: Case) -> list[GateResult]:
    """Holm over every veto of the run: slices and metrics alike."""
    adjusted = holm([p for _, p in vetoes])
    results = []
    for (gate, _), p in zip(vetoes, adjusted, strict=True):
        shown = _judge_one(replace(gate, veto=True), case)
        if shown.verdict is Verdict.INVALID:
            results.append(shown)
            continue
        refused = p <= gate.alpha
        counted = "" if len(adjusted) == 1 else f", all {len(adjusted)} comparisons counted in"
        words = (
            f"A regression is proven: without one, chance shows this in at most {chance(p)} of runs{counted}."
            if refused
            else f"No regression is proven: chance alone shows this in up to {chance(p)} of runs{counted}; proof begins at {chance(gate.alpha)}."
        )
        verdict = Verdict.FAIL if refused else Verdict.PASS
        results.append(replace(shown, verdict=verdict, text=f"{shown.text} {words}"))
    return results
