"""rollback: put a stage back to its last good release."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.candidate.candidate import Candidate
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.tagging import Announcement, assign, rollback_target
from gradatim.releasing.pointers import follow_rollback
from gradatim.releasing.signing import signatures_of
from gradatim.releasing.verification import verify_version


@dataclass(frozen=True)
class Rollback:
    """A rollback that may go ahead.

    Attributes:
        stage: the stage that is put back.
        now: what it holds now.
        target: what it will hold.
        notes: what could not be compared.
    """

    stage: str
    now: str
    target: TaggedRelease
    notes: tuple[str, ...]


def plan(candidate: Candidate, stage: str, to: str | None = None) -> Rollback:
    """What a rollback would do, or why it may not; nothing is evaluated again, and the newer release is not needed.

    Raises:
        UsageError: there is no such stage, or nothing to return to.
        BrokenEvidence: the release to return to is not what it was.
    """
    ladder = candidate.contract.ladder
    if stage not in ladder:
        raise UsageError(f"There is no stage `{stage}` in the contract. Known: {', '.join(ladder)}.")
    model = candidate.registry.model(candidate.name)
    target = rollback_target(model, stage, to)
    signatures = signatures_of(candidate.contract)
    found = verify_version(
        candidate.repository, candidate.registry, target, sync=candidate.sync, signatures=signatures
    )
    if found.findings:
        raise BrokenEvidence(
            f"{stage} cannot go back to {target}: {found.findings[0].text} Name another with --to."
        )
    holder = model.holder(stage)
    return Rollback(stage, holder.label if holder else "nothing", target, found.notes)


def run(candidate: Candidate, rollback: Rollback, reason: str) -> Announcement:
    """Give the stage back to the earlier release, and record why."""
    return assign(
        candidate.repository,
        rollback.target,
        rollback.stage,
        reason=reason,
        told=candidate.approval(rollback.stage).told,
        withdraw=True,
    )


def follow(candidate: Candidate, rollback: Rollback) -> tuple[str, ...]:
    """Let the places that point to what a stage holds follow; returns which did not, and why."""
    return follow_rollback(candidate.repository, rollback.target, rollback.stage)
