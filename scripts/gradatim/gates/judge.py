"""From rules and what was measured to verdicts, each with a text that says why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gradatim.errors import InvalidInput
from gradatim.gates import noninferiority, threshold
from gradatim.gates.case import Case
from gradatim.gates.gate import Gate, chance, expand
from gradatim.gates.quality import samples_of, unmeasured
from gradatim.gates.robustness import robustness
from gradatim.gates.rule import Rule, with_guards
from gradatim.gates.runtime import limit, timing
from gradatim.gates.slices import holm
from gradatim.gates.verdict import GateResult, Verdict


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
    for rule in with_guards(rules):
        for gate in expand(rule, case):
            if isinstance(gate, GateResult):
                results.append(gate)
            elif rule.family == "veto" and gate.where and gate.meaning.kind in ("quality", "own"):
                verdict = _guarded(gate, case, vetoes)
                if verdict is not None:
                    results.append(verdict)
            else:
                results.append(_judge_one(gate, case))
    results += _vetoes(vetoes, case)
    if on_inconclusive == "warn":
        results = [replace(r, blocking=r.verdict is not Verdict.INCONCLUSIVE) for r in results]
    return results


def _judge_one(gate: Gate, case: Case) -> GateResult:
    try:
        if gate.compares and case.first_release and case.baseline is None:
            return _first(gate, case)
        if gate.on_samples and case.reuse is not None and case.reuse.refusal:
            return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: {case.reuse.refusal}")
        kind = gate.meaning.kind
        if kind == "limit":
            return limit(gate, case)
        if kind == "timing":
            return timing(gate, case)
        if kind == "robustness":
            return robustness(gate, case)
        if gate.rule.bound in ("not_worse", "keep"):
            return noninferiority.judge(gate, case)
        return threshold.judge(gate, case)
    except InvalidInput as error:
        return gate.result(Verdict.INVALID, str(error))


def _first(gate: Gate, case: Case) -> GateResult:
    """A comparison where nothing was released before: likeness is held against the original, where that is another."""
    likeness = gate.meaning.kind == "comparison" and gate.rule.bound in ("at_least", "at_most")
    if not likeness or case.candidate is None or case.candidate.reference is None:
        return gate.result(Verdict.PASS, "Nothing was released before; there is nothing to compare with.")
    if case.reuse is not None and case.reuse.refusal:
        return gate.result(Verdict.INCONCLUSIVE, f"{gate.name}: {case.reuse.refusal}")
    found = threshold.judge(gate, replace(case, baseline_name="the original"))
    told = f"{found.text} Nothing was released before, so this is against the original, as it was before compression."
    return replace(found, text=told)


def _guarded(gate: Gate, case: Case, vetoes: list[tuple[Gate, float]]) -> GateResult | None:
    """Put a veto among the family's p-values, or give the verdict of one that has none."""
    nothing_to_compare = case.first_release and case.baseline is None and gate.compares
    if nothing_to_compare or (case.reuse is not None and case.reuse.refusal):
        return _judge_one(gate, case)
    try:
        p = _regression_p(gate, case)
    except InvalidInput as error:
        return gate.result(Verdict.INVALID, str(error))
    if isinstance(p, GateResult):
        return p
    vetoes.append((gate, p))
    return None


def _regression_p(gate: Gate, case: Case) -> float | GateResult:
    """p-value of "no regression" for a veto; a verdict where there is none to be had."""
    p: float | GateResult | None
    if gate.rule.bound in ("not_worse", "keep"):
        p = noninferiority.veto_p(gate, case)
    elif case.candidate is None:
        p = unmeasured(gate)
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
