"""rollback: put a stage back to its last good release."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.candidate.candidate import Candidate
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.registry.history import Assignment, ModelHistory
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.tagging import Announcement, assign, rollback_target
from gradatim.registry.tags import SemVer
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
        done: the tags of the same rollback, where it was done before and nothing changed since.
    """

    stage: str
    now: str
    target: TaggedRelease
    notes: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


def plan(
    candidate: Candidate, stage: str, to: str | None = None, *, out: str | None = None, reason: str = ""
) -> Rollback:
    """What a rollback would do, or why it may not; nothing is evaluated again, and the newer release is not needed.

    Args:
        candidate: the candidate's contract and registry.
        stage: the stage to put back.
        to: the release to return to; None for the last good one.
        out: the release to take out; None for what the stage holds.
        reason: why. The same rollback with the same reason, run again, was done already.

    Raises:
        UsageError: there is no such stage, nothing to return to, or the stage holds another release than ``out``.
        BrokenEvidence: the release to return to is not what it was.
    """
    ladder = candidate.contract.ladder
    if stage not in ladder:
        raise UsageError(f"There is no stage `{stage}` in the contract. Known: {', '.join(ladder)}.")
    model = candidate.registry.model(candidate.name)
    done = _done_before(model, stage, to, out, reason)
    if done is not None:
        return done
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


def _done_before(
    model: ModelHistory, stage: str, to: str | None, out: str | None, reason: str
) -> Rollback | None:
    """The rollback that is asked for, where it is the last thing that was done to the stage: it was killed, or run twice.

    Raises:
        UsageError: the stage holds another release than the one to take out, or it is not said which one that is.
    """
    holder = model.holder(stage)
    before = model.rolled_back(stage)
    if holder is not None and out is not None and _means(out, holder):
        return None
    if before is not None and before[1].release is not None:
        taken, given = before
        same = out is None or _means(out, taken)
        if same and (to is None or _means(to, given)):
            if out is not None or to is not None or given.trailers.get("reason") == " ".join(reason.split()):
                return Rollback(stage, taken.label, before[1].release, done=(taken.tag, given.tag))
            raise UsageError(
                f"{stage} was put back from {taken.label} to {given.label} already ({given.trailers.get('reason')}), and nothing "
                f"has changed since. To take out {given.label} too, say so: gradatim rollback {stage} --from {given.label}"
            )
    if out is not None:
        raise UsageError(
            f"{stage} holds {holder.label if holder else 'nothing'}, not {out}. See: gradatim history"
        )
    return None


def _means(version: str, assignment: Assignment) -> bool:
    return assignment.release is not None and assignment.release.version == SemVer.parse(version)


def run(candidate: Candidate, rollback: Rollback, reason: str) -> Announcement:
    """Give the stage back to the earlier release, and record why; one that was done before is only reported."""
    if rollback.done:
        return Announcement(rollback.done, created=False, remote=candidate.sync.remote)
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
