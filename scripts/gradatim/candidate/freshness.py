"""Does evidence still answer what the contract asks now? Promotion trusts it without running anything again."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradatim.candidate.candidate import Candidate
from gradatim.code import is_reference
from gradatim.contract.reading import ReadContract, contract_of
from gradatim.errors import BrokenEvidence, ContractError, InvalidInput
from gradatim.evidence.found import Judged
from gradatim.evidence.release_record import CONTRACT_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.files import digest_of
from gradatim.gates.verdict import Verdict
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.ledger import Ledger
from gradatim.registry.state import SECONDS_PER_DAY

_TOLERATED = 300
"""Seconds that clocks of two machines may disagree."""


@dataclass(frozen=True)
class Freshness:
    """Whether evidence answers what a stage asks now.

    Attributes:
        stale: one reason a sentence, why not.
        notes: what could not be compared.
    """

    stale: tuple[str, ...]
    notes: tuple[str, ...] = ()


def freshness(
    candidate: Candidate,
    evidence: Bundle,
    ledger: Ledger,
    version: str,
    stage: str,
    *,
    replaces: str | None,
    dated: Sequence[str],
) -> Freshness:
    """Hold the evidence of a release against what the contract asks in a stage now.

    Gates that were added or tightened since, another task, other evaluation data, another release to be replaced, or
    simply age make evidence stale. Clocks decide about age alone; evidence from the future has no age.

    Args:
        candidate: the contract as it is now.
        evidence: the release's own.
        ledger: what git keeps of the release: the contract that it was judged by.
        version: its version.
        stage: where it is to go.
        dated: the steps whose evidence may grow too old.
        replaces: hex digest of what the stage holds now, as evidence names a baseline; None when it holds nothing.
    """
    gates = evidence.of("gate")
    try:
        judged_by = contract_of(
            ledger.read(f"{version}/{CONTRACT_FILE}").decode(), Path(f"{CONTRACT_FILE} of {version}")
        )
    except (BrokenEvidence, UnicodeDecodeError):
        return Freshness(("It does not carry the contract that it was judged by.",))
    except ContractError as error:
        return Freshness((f"This gradatim cannot read the contract that it was judged by: {error}.",))
    if not gates:
        return Freshness(("It was never judged by a gate.",))
    stale = [
        *_rules(candidate.contract, judged_by, gates, stage),
        *_undecided(candidate.contract, gates, stage),
        *_task(candidate.contract, judged_by),
        *_baseline(candidate.contract, evidence, stage, replaces),
        *_age(candidate.contract, [s for step in dated for s in evidence.of(step)], stage),
    ]
    data, notes = _data(candidate, judged_by, evidence, stage)
    return Freshness((*stale, *data), notes)


def _rules(now: ReadContract, then: ReadContract, gates: Sequence[Statement], stage: str) -> Iterator[str]:
    """Gates of today that nothing that was judged implies."""
    found = [Judged.if_any(gate) for gate in gates]
    stages = [one.stage if one and one.stage in then.ladder else None for one in found]
    judged = [rule for known in stages for rule in then.rules_for(known)]
    for rule in now.rules_for(stage):
        if not any(old.implies(rule) for old in judged):
            place = f"{now.path.name}:{rule.line}"
            alike = any((old.metric, old.where) == (rule.metric, rule.where) for old in judged)
            yield f"{place}: the gate `{rule.key}` {'asks for more than' if alike else 'was not there'} when it was judged."


def _undecided(now: ReadContract, gates: Sequence[Statement], stage: str) -> Iterator[str]:
    """Gates that only a laxer stage let pass undecided."""
    if now.parts.stages[stage].on_inconclusive == "warn":
        return
    for gate in gates:
        judged = Judged.if_any(gate)
        chosen = judged.chosen if judged else None
        for result in gate.gates:
            if result.verdict is Verdict.INCONCLUSIVE and result.variant == chosen:
                yield f"The gate {result.gate} was undecided, and {stage} takes only what is proven."


def _task(now: ReadContract, then: ReadContract) -> Iterator[str]:
    if now.parts.task != then.parts.task:
        yield f"{now.where('task')}: the task was another when it was judged."


def _baseline(now: ReadContract, evidence: Bundle, stage: str, replaces: str | None) -> Iterator[str]:
    if replaces is None or not any(rule.compares for rule in now.rules_for(stage)):
        return
    compared = [s for step in ("evaluate", "benchmark") for s in evidence.of(step) if "baseline" in s.inputs]
    if any(statement.inputs["baseline"] != replaces for statement in compared):
        yield f"It was compared with another release than the one that {stage} holds now."


def _data(
    candidate: Candidate, then: ReadContract, evidence: Bundle, stage: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whether the evaluation data are those that it was judged on; data that are not here cannot be compared."""
    now = candidate.contract
    looked_at = {s.inputs["evaluation"] for s in evidence.of("evaluate") if "evaluation" in s.inputs}
    if not now.rules_for(stage) or not looked_at:
        return (), ()
    place = now.where("data", "evaluation")
    other = f"{place}: it was judged on other evaluation data, or they were read in another way."
    if now.data_set("evaluation") != then.data_set("evaluation"):
        return (other,), ()
    chosen = now.data_set("evaluation")
    where = chosen.path if chosen else ""
    if is_reference(where):  # whoever promotes may hold credentials, and so runs no code of the repository
        return (), (
            f"{where} was not run: whether it still gives the data of the evidence was not compared.",
        )
    try:
        mine = candidate.digests.data("evaluation")
    except InvalidInput:
        return (), (f"{where} is not here: whether it holds the data of the evidence was not compared.",)
    return (() if looked_at == {mine} else (other,)), ()


def _age(now: ReadContract, statements: Sequence[Statement], stage: str) -> Iterator[str]:
    """Clocks disagree and can be set: they are asked only where the contract names an age, and only to refuse."""
    wanted = now.parts.stages[stage].fresh
    clock = time.time()
    for statement in statements:
        made = _made(statement)
        if made is not None and made > clock + _TOLERATED:
            yield (
                f"The evidence of {statement.step} was made in the future, {statement.made}: a clock is "
                "wrong, there or here."
            )
        elif wanted is not None and made is None:
            yield f"The evidence of {statement.step} does not say when it was made."
        elif wanted is not None and made is not None and (clock - made) / SECONDS_PER_DAY > wanted:
            yield (
                f"{now.where('stages', stage, 'fresh')}: the evidence of {statement.step} is "
                f"{(clock - made) / SECONDS_PER_DAY:.1f} days old, and {wanted:g} are allowed."
            )


def _made(statement: Statement) -> float | None:
    try:
        return calendar.timegm(time.strptime(statement.made or "", "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None


def held_as_baseline(held: TaggedRelease | None, commit: str | None) -> str | None:
    """How evidence names what a stage holds, as the baseline that it was compared with."""
    if held is not None and held.manifest is not None:
        return held.manifest
    return digest_of(commit) if commit else None
