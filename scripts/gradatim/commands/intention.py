"""What an outward step would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate


def show_intention(name: str, candidate: Candidate, *, json_wanted: bool) -> int:
    """Say what ``tag`` or ``publish`` would change outside.

    Raises:
        UsageError: nothing would be done, and why.
        BrokenEvidence: the evidence that it needs is missing.
    """
    said = _tag(candidate) if name == "tag" else _publish(candidate)
    if not said:
        text = "refused by the gates: nothing would be tagged. See: gradatim gate"
        options.answer(json_wanted, {"step": name, "dry_run": True, "refused": text}, text)
        return 1
    told = f"would {name} " + ", ".join(f"{key} {value}" for key, value in said.items() if value)
    options.answer(json_wanted, {"step": name, "dry_run": True, **said}, told)
    return 0


def _tag(candidate: Candidate) -> dict[str, str]:
    from gradatim.gates.verdict import Verdict
    from gradatim.pipeline.step import refuse_unproven
    from gradatim.releasing.preflight import refuse_uncommitted
    from gradatim.releasing.signing import signing_for
    from gradatim.steps import tag

    stage = tag.stage_of(candidate)
    refuse_unproven("tag", candidate)
    gate = candidate.workspace.evidence("gate")
    variant = tag.chosen_variant(candidate, gate)
    if gate.verdict is not Verdict.PASS:
        return {}
    already = tag.released_already(candidate, variant, stage)
    if already is not None:
        return {"nothing new": f"{already.tag} holds these bytes already"}
    refuse_uncommitted(candidate)
    signing = signing_for(candidate.contract, stage)
    coming = tag.upcoming(candidate, variant, stage)
    return {
        "version": str(coming.version),
        "stage": stage,
        "signature": signing.description,
        "because": "; ".join(coming.reasons),
    }


def _publish(candidate: Candidate) -> dict[str, str]:
    from gradatim.steps import publish

    return publish.intention(candidate)
