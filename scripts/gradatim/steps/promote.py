"""promote: move a release one stage up, the same bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.freshness import freshness, held_as_baseline
from gradatim.candidate.outcome import KIT
from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.evidence.assembly import ReleaseFiles, Source, assemble
from gradatim.evidence.found import Promoted
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.evidence.statement import Bundle, Statement
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.graph import DATED
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.ledger import open_ledger
from gradatim.registry.state import SECONDS_PER_DAY, unit_of_days
from gradatim.registry.tagging import VersionTaken, uses_names
from gradatim.registry.tags import SemVer, version_tag
from gradatim.registry.versions import Change, Level, next_version
from gradatim.releasing.publishing import PublishingRun, publish
from gradatim.releasing.signing import Signing, signatures_of, signing_for
from gradatim.releasing.verification import verify_version

if TYPE_CHECKING:
    from gradatim.ci.approval import Approval


@dataclass(frozen=True)
class Promotion:
    """A promotion that may go ahead.

    Attributes:
        release: what is promoted.
        source: the stage that it comes from.
        stage: the stage that it goes to.
        version: the version that it gets there.
        approval: who lets it; None when it was let through before, and this run only finishes the work.
        notes: what could not be compared.
        signing: who signs it; None where it was signed, or not, before.
    """

    release: TaggedRelease
    source: str
    stage: str
    version: str
    approval: Approval | None = None
    notes: tuple[str, ...] = ()
    signing: Signing | None = None


def plan(candidate: Candidate, stage: str, version: str | None = None) -> Promotion:
    """What a promotion would do, or why it may not.

    Args:
        candidate: the candidate's contract and registry.
        stage: the stage to promote to.
        version: what to promote; None takes what the stage below holds.

    Raises:
        UsageError: there is no such stage, nothing below it, it has not soaked long enough, or nobody approved.
        BrokenEvidence: the release's evidence is missing, foreign, stale or not all PASS.
        EnvironmentLacks: the stage wants an approval and the platform does not say whether there is one.
    """
    ladder = candidate.contract.ladder
    if stage not in ladder:
        raise UsageError(f"There is no stage `{stage}` in the contract. Known: {', '.join(ladder)}.")
    place = ladder.index(stage)
    if place == 0:
        raise UsageError(
            f"`{stage}` is the lowest stage: a merge to its branch fills it, nothing is promoted to it."
        )
    below = ladder[place - 1]
    chosen = _chosen(candidate, below, stage, version)
    _refuse_unproven(candidate, chosen, stage)
    before = _promoted_before(candidate, chosen, stage)
    if before is not None:
        return Promotion(chosen, below, stage, str(before.version))
    notes = _refuse_stale(candidate, chosen, stage)
    _refuse_unsoaked(candidate, chosen, below, stage)
    approval = _refuse_unapproved(candidate, stage)
    signing = signing_for(candidate.contract, stage)
    return Promotion(chosen, below, stage, _number(candidate, chosen, stage), approval, notes, signing)


def run(candidate: Candidate, promotion: Promotion) -> PublishingRun:
    """Give the same bytes and the same evidence their version in the stage above, and publish them there."""
    files = _files(candidate, promotion)
    done = publish(candidate.repository, files, candidate.publishers(), sign=promotion.signing)
    holder = candidate.anew(same_registry=False).registry.model(candidate.name).holder(promotion.stage)
    if holder is not None and holder.label != promotion.version:
        raise VersionTaken(
            f"{promotion.version} is released, and {promotion.stage} holds {holder.label}: somebody else "
            f"({holder.author or 'nobody'}) changed the stage at the same moment. Look at `gradatim status`, then decide again."
        )
    return done


def _chosen(candidate: Candidate, below: str, stage: str, version: str | None) -> TaggedRelease:
    model = candidate.registry.model(candidate.name)
    holder = model.holder(below)
    chosen = model.release(version) if version else holder.release if holder else None
    if chosen is None:
        raise UsageError(
            f"The stage {below} holds no release that could be promoted to {stage}. See: gradatim status"
        )
    held = {
        assignment.release.version
        for assignment in model.assignments
        if assignment.stage == below and assignment.release
    }
    if chosen.version not in held:
        raise UsageError(
            f"{chosen} was never in {below}, and {stage} is reached from there only. See: gradatim history"
        )
    return chosen


def _promoted_before(candidate: Candidate, chosen: TaggedRelease, stage: str) -> TaggedRelease | None:
    """The release of the same bytes that the stage holds already: to promote again only finishes what was begun.

    Raises:
        UsageError: the stage held it and was given to another since; only a rollback returns to it.
    """
    same = [
        r for r in candidate.registry.with_manifest(str(chosen.manifest), candidate.name) if r.stage == stage
    ]
    if not same:
        return None
    holder = candidate.registry.model(candidate.name).holder(stage)
    if holder is not None and holder.release is not None and holder.release.version == same[-1].version:
        return same[-1]
    raise UsageError(
        f"{chosen} was in {stage} as {same[-1]} before, and {stage} holds {holder.label if holder else 'nothing'} now. "
        f'To return to it: gradatim rollback {stage} --to {same[-1]} --reason "..."'
    )


def _number(candidate: Candidate, chosen: TaggedRelease, stage: str) -> str:
    rung = candidate.contract.parts.stages[stage]
    last = stage == candidate.contract.ladder[-1]
    suffix = rung.tag if rung.tag is not None else None if last else stage
    model = candidate.registry.model(candidate.name)
    same = Change(Level.PATCH, ("the same bytes",))
    return str(next_version(model, same, suffix=suffix or None, wanted=str(chosen.version.core)).version)


def _refuse_unproven(candidate: Candidate, chosen: TaggedRelease, stage: str) -> None:
    signatures = signatures_of(candidate.contract)
    found = verify_version(
        candidate.repository, candidate.registry, chosen, sync=candidate.sync, signatures=signatures
    )
    if not found.holds:
        why = found.findings[0].text if found.findings else "Nothing of it could be compared."
        more = (
            f" ({len(found.findings) - 1} more: gradatim verify {chosen})" if len(found.findings) > 1 else ""
        )
        raise BrokenEvidence(f"{chosen} may not be promoted to {stage}. {why}{more}")


def _refuse_stale(candidate: Candidate, chosen: TaggedRelease, stage: str) -> tuple[str, ...]:
    """Evidence must answer what the contract asks in this stage now; returns what could not be compared."""
    ledger = open_ledger(candidate.repository, str(chosen.manifest))
    evidence = Bundle.from_bytes(ledger.read(f"{chosen.version}/{EVIDENCE_FILE}"))
    holder = candidate.registry.model(candidate.name).holder(stage)
    replaces = held_as_baseline(holder.release, holder.commit) if holder else None
    found = freshness(candidate, evidence, ledger, str(chosen.version), stage, replaces=replaces, dated=DATED)
    if found.stale:
        raise BrokenEvidence(
            f"The evidence of {chosen} is too old for {stage}. {' '.join(found.stale)} Judge these bytes again, from a "
            f"commit that has them: gradatim run --stage {stage}"
        )
    return found.notes


def _refuse_unsoaked(candidate: Candidate, chosen: TaggedRelease, below: str, stage: str) -> None:
    wanted = candidate.contract.parts.stages[stage].soak
    if not wanted:
        return
    model = candidate.registry.model(candidate.name)
    since = [a.date for a in model.assignments if a.stage == below and a.release == chosen and a.assigned]
    days = (time.time() - since[-1]) / SECONDS_PER_DAY if since else 0.0
    if days < wanted:
        place, (a_day, unit) = candidate.contract.where("stages", stage, "soak"), unit_of_days(wanted)
        raise UsageError(
            f"{place}: {chosen} has been in {below} for {max(days, 0) * a_day:.1f} {unit} and must stay {wanted * a_day:g} "
            f"before {stage}. Promote it in {(wanted - days) * a_day:.1f} {unit}."
        )


def _refuse_unapproved(candidate: Candidate, stage: str) -> Approval:
    """Who may promote is the platform's to say: it is asked, what it says is kept, and a plain no is one here too."""
    rung = candidate.contract.parts.stages[stage]
    approval = candidate.approval(stage)
    if rung.approval != "required" or approval.approvers:
        return approval
    place = candidate.contract.where("stages", stage, "approval")
    if approval.run is None:
        raise UsageError(
            f"{place}: {stage} wants an approval, and {approval.unknown}. Promote it in CI, in the environment "
            f"{approval.environment}."
        )
    if approval.approvers is not None:
        raise UsageError(
            f"{place}: {stage} wants an approval, and nobody approved this run for the environment {approval.environment}. "
            "Name its reviewers: gradatim protect --apply --reviewer LOGIN"
        )
    if approval.tells:
        raise EnvironmentLacks(
            f"{place}: {stage} wants an approval, and whether there is one cannot be told: {approval.unknown}"
        )
    return approval


def _files(candidate: Candidate, promotion: Promotion) -> ReleaseFiles:
    chosen = promotion.release
    ledger = open_ledger(candidate.repository, str(chosen.manifest))
    manifest = Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    kept = promotion.version if promotion.approval is None else str(chosen.version)
    old = ReleaseRecord.from_bytes(ledger.read(f"{kept}/{RECORD_FILE}"))
    evidence = Bundle.from_bytes(ledger.read(f"{kept}/{EVIDENCE_FILE}"))
    latest = candidate.registry.model(candidate.name).latest
    previous = str(latest.version) if latest else None
    if promotion.approval is None:
        previous = old.previous
    else:
        evidence = Bundle((*evidence.statements, _statement(candidate, promotion, promotion.approval, old)))
    beside: dict[str, Source] = {
        entry.path: ledger.read(f"{kept}/{entry.path}")
        for entry in old.files
        if entry.path not in (MANIFEST_FILE, EVIDENCE_FILE)
    }
    folder = candidate.workspace.retrieved(manifest.digest)
    path = candidate.contract.parts.model.path
    found = retrieve(
        candidate.repository,
        chosen.commit,
        folder,
        manifest=manifest.digest,
        version=str(chosen.version),
        path=candidate.from_top(path) if path else None,
    )
    named = candidate.contract.parts.registry.tags == "named" or uses_names(
        candidate.registry, candidate.name
    )
    return assemble(
        manifest,
        found.folder,
        evidence,
        tag=version_tag(candidate.name, SemVer.parse(promotion.version), several=named),
        version=promotion.version,
        stage=promotion.stage,
        variant=old.variant,
        commit=chosen.commit,
        previous=previous,
        committed=old.committed,
        others=beside,
    )


def _statement(
    candidate: Candidate, promotion: Promotion, approval: Approval, old: ReleaseRecord
) -> Statement:
    """The evidence of the promotion itself: no clock and no machine, so that the same CI run makes the same bytes."""
    told = {"ci": candidate.platform.name, "run": approval.run}
    found = Promoted(
        promotion.source, promotion.stage, old.version, promotion.notes, approval.by, approval.run,
        approval.environment, approval.approvers, approval.text,
    )  # fmt: skip
    return Statement(
        "promote",
        {old.variant: old.manifest},
        Verdict.PASS,
        KIT,
        {"release": old.digest},
        environment={key: value for key, value in told.items() if value},
        details=found.to_json(),
    )
