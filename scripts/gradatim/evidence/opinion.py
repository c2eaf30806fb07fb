"""A second opinion on a release: its verdicts made again from its evidence, and the verdicts of other gates on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gradatim.errors import InvalidInput
from gradatim.evidence.finding import Finding, Verification
from gradatim.evidence.found import Judged
from gradatim.evidence.statement import Bundle, Statement
from gradatim.gates.grounds import Grounds, Sampled
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement

_NUMBERS = ("value", "low", "high", "threshold")


def replayed(evidence: Bundle, variant: str) -> tuple[str, list[Finding]]:
    """Make the verdicts on a release again, from the counts, rounds and intervals in its evidence.

    Args:
        evidence: every statement of the release.
        variant: the form that was released.

    Returns:
        what was made again, in words, and every verdict that is another than the evidence says.
    """
    from gradatim.gates.judge import judge
    from gradatim.gates.retold import retold

    known = _grounds(evidence)
    if known is None:
        return "", [_untold("gate", "its evidence does not say what its verdicts rest on")]
    statement, grounds = known
    try:
        case = retold(grounds, variant, _measurements(evidence))
    except InvalidInput as error:
        return "", [Finding("altered verdict", "gate", str(error))]
    judged = judge(_each(grounds), case, on_inconclusive=grounds.on_inconclusive)
    looked, tested = ([gate for s in evidence.of(step) for gate in s.gates] for step in ("inspect", "test"))
    again = [*judged, *looked, *(gate for gate in tested if gate.variant == variant)]
    judged_forms = {variant, *(gate.variant for gate in looked)}
    said = {_key(gate): gate for gate in statement.gates if gate.variant in judged_forms}
    kept = {
        _key(gate) for gate in statement.gates if gate.rule == "gates"
    }  # what a pull request's own branch asks
    findings = []
    for gate in again:
        findings += _compared(said.get(_key(gate)), gate, grounds)
    made = {_key(gate) for gate in again}
    findings += [
        Finding(
            "altered verdict", gate.gate, f"The gate {gate.gate} ({gate.wanted}) is none that was asked for."
        )
        for key, gate in said.items()
        if key not in made and key not in kept
    ]
    findings += _step(statement)
    told = sorted({one.metric for one in grounds.samples if _row_by_row(one)})
    rows = f", those on {' and '.join(told)} from one bit a row" if told else ""
    return f"{len(again)} verdicts, made again from the evidence{rows}", findings


def _row_by_row(one: Sampled) -> bool:
    return one.outcomes is not None or (one.beside is not None and one.beside.outcomes is not None)


def judged_by(
    rules: Sequence[Rule], evidence: Bundle, variant: str, source: str
) -> tuple[str, list[Finding]]:
    """Judge a release by the gates of whoever receives it, from its evidence alone.

    Args:
        rules: their gates.
        evidence: every statement of the release.
        variant: the form that was released.
        source: the name of the file that states the gates.

    Returns:
        what was judged, in words, and every gate that refuses.
    """
    from gradatim.gates.judge import judge
    from gradatim.gates.retold import retold

    grounds = asked_of(evidence)
    if grounds is None:
        return "", [_untold(source, "its evidence does not hold what other gates could judge")]
    try:
        case = retold(grounds, variant, _measurements(evidence))
    except InvalidInput as error:
        return "", [Finding("altered verdict", "gate", str(error))]
    found = judge(rules, case)
    findings = [
        Finding(
            "refused gate", f"{source}:{gate.line}", f"{source}:{gate.line}: {gate.gate} {gate.verdict.value}: {gate.text}"
        )
        for gate in found
        if gate.refuses
    ]  # fmt: skip
    return f"{len(found) - len(findings)} of {len(found)} gates of {source}, by the evidence", findings


def with_opinion(found: Verification, opinions: Iterable[tuple[str, list[Finding]]]) -> Verification:
    """A verification with what others say to it."""
    for told, findings in opinions:
        checked = (*found.checked, told) if told and not findings else found.checked
        found = replace(found, checked=checked, findings=(*found.findings, *findings))
    return found


def asked_of(evidence: Bundle) -> Grounds | None:
    """What a release's verdicts rest on; None where its evidence does not say."""
    known = _grounds(evidence)
    return None if known is None else known[1]


def _grounds(evidence: Bundle) -> tuple[Statement, Grounds] | None:
    for statement in evidence.of("gate"):
        judged = Judged.if_any(statement)
        if judged is not None and judged.grounds is not None:
            return statement, judged.grounds
    return None


def _untold(where: str, reason: str) -> Finding:
    text = f"No second opinion can be had: {reason}. It was released by an older gradatim; a release made by this one has it."
    return Finding("untold verdict", where, text)


def _measurements(evidence: Bundle) -> list[Measurement]:
    return [found for statement in evidence.statements for found in statement.measurements]


def _key(gate: GateResult) -> tuple[str, str, str]:
    return gate.gate, gate.rule, gate.wanted


def _compared(said: GateResult | None, again: GateResult, grounds: Grounds) -> list[Finding]:
    """Whether the evidence says what it gives."""
    if said is None:
        text = f"The gate {again.gate} ({again.wanted}) was asked for, and the evidence has no verdict of it: it says {again.verdict.value}."
        return [Finding("altered verdict", again.gate, text)]
    if "robustness" in again.rule and not _whole(again, grounds):
        return _by_interval(said)
    if said.verdict is not again.verdict:
        text = f"The gate {said.gate} says {said.verdict.value}, and its evidence gives {again.verdict.value}: {again.text}"
        return [Finding("altered verdict", said.gate, text)]
    if said.blocking is not again.blocking:
        marked, given = ("only warns", "blocks") if again.blocking else ("blocks", "only warns")
        text = (
            f"The gate {said.gate} is marked as one that {marked}, and its evidence gives one that {given}."
        )
        return [Finding("altered verdict", said.gate, text)]
    other = [name for name in _NUMBERS if not _alike(getattr(said, name), getattr(again, name))]
    if other:
        told = ", ".join(
            f"{name} {getattr(said, name)} where {getattr(again, name)} is right" for name in other
        )
        return [
            Finding(
                "altered verdict",
                said.gate,
                f"The gate {said.gate} has other numbers than its evidence: {told}.",
            )
        ]
    return []


def _each(grounds: Grounds) -> Iterator[Rule]:
    """The rules that were asked for; one on every corruption as one on each, for the case holds only those whose rows are kept."""
    for rule in grounds.rules:
        every = grounds.scores if rule.metric == "robustness" and rule.where is None else ()
        yield from (replace(rule, where=corruption) for corruption in every)
        if not every:
            yield rule


def _whole(gate: GateResult, grounds: Grounds) -> bool:
    """Whether the evidence holds every row that a gate on robustness saw."""
    corruption = gate.gate.partition("[")[2].rstrip("]")
    return corruption not in grounds.scores or bool(grounds.scores[corruption].rows)


def _by_interval(said: GateResult) -> list[Finding]:
    """A verdict on scores that are not kept, for they would tell of single items: its interval must say it."""
    if said.verdict is not Verdict.PASS or said.threshold is None or said.low is None or said.high is None:
        return []
    held = said.high <= said.threshold if said.wanted.startswith("at most") else said.low >= said.threshold
    if held:
        return []
    text = f"The gate {said.gate} says PASS, and its interval ({said.low:.6g} to {said.high:.6g}) does not: {said.wanted}."
    return [Finding("altered verdict", said.gate, text)]


def _step(statement: Statement) -> list[Finding]:
    worst = Verdict.worst(gate.verdict for gate in statement.gates if gate.blocking)
    if worst is statement.verdict:
        return []
    text = f"The evidence of gate says {statement.verdict.value}, and its gates say {worst.value}."
    return [Finding("altered verdict", "gate", text)]


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
