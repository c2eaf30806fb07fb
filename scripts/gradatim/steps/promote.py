"""promote: move a release one stage up, the same bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.assembly import ReleaseFiles, Source, assemble
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import EVIDENCE_FILE, MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.evidence.statement import Bundle
from gradatim.publishers.publishing import Published, publish
from gradatim.publishers.retrieval import retrieve
from gradatim.publishers.verification import verify_version
from gradatim.registry.history import Release as TaggedRelease
from gradatim.registry.ledger import open_ledger
from gradatim.registry.state import SECONDS_PER_DAY
from gradatim.registry.tagging import uses_names
from gradatim.registry.tags import SemVer, version_tag
from gradatim.registry.versions import Change, Level, next_version
from gradatim.release import Release


@dataclass(frozen=True)
class Promotion:
    """A promotion that may go ahead.

    Attributes:
        release: what is promoted.
        source: the stage that it comes from.
        stage: the stage that it goes to.
        version: the version that it gets there.
    """

    release: TaggedRelease
    source: str
    stage: str
    version: str


def plan(release: Release, stage: str, version: str | None = None) -> Promotion:
    """What a promotion would do, or why it may not.

    Args:
        release: the candidate's contract and registry.
        stage: the stage to promote to.
        version: what to promote; None takes what the stage below holds.

    Raises:
        UsageError: there is no such stage, nothing below it, or it has not soaked long enough.
        BrokenEvidence: the release's evidence is missing, foreign or not all PASS.
    """
    ladder = release.contract.ladder
    if stage not in ladder:
        raise UsageError(f"There is no stage `{stage}` in the contract. Known: {', '.join(ladder)}.")
    place = ladder.index(stage)
    if place == 0:
        raise UsageError(
            f"`{stage}` is the lowest stage: a merge to its branch fills it, nothing is promoted to it."
        )
    below = ladder[place - 1]
    model = release.registry.model(release.name)
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
    _refuse_unproven(release, chosen, stage)
    _refuse_unjudged(release, chosen, stage)
    _refuse_unsoaked(release, chosen, below, stage)
    same = [r for r in release.registry.with_manifest(str(chosen.manifest), release.name) if r.stage == stage]
    number = str(same[-1].version) if same else _number(release, chosen, stage)
    return Promotion(chosen, below, stage, number)


def run(release: Release, promotion: Promotion) -> Published:
    """Give the same bytes and the same evidence their version in the stage above, and publish them there."""
    files = _files(release, promotion)
    return publish(release.repository, files, release.publishers())


def _number(release: Release, chosen: TaggedRelease, stage: str) -> str:
    rung = release.contract.parts.stages[stage]
    last = stage == release.contract.ladder[-1]
    suffix = rung.tag if rung.tag is not None else None if last else stage
    model = release.registry.model(release.name)
    same = Change(Level.PATCH, ("the same bytes",))
    return str(next_version(model, same, suffix=suffix or None, wanted=str(chosen.version.core)).version)


def _refuse_unproven(release: Release, chosen: TaggedRelease, stage: str) -> None:
    signed = release.contract.parts.stages[stage].signed
    found = verify_version(release.repository, release.registry, chosen, sync=release.sync, signed=signed)
    if not found.holds:
        why = found.findings[0].text if found.findings else "Nothing of it could be compared."
        more = (
            f" ({len(found.findings) - 1} more: gradatim verify {chosen})" if len(found.findings) > 1 else ""
        )
        raise BrokenEvidence(f"{chosen} may not be promoted to {stage}. {why}{more}")


def _refuse_unjudged(release: Release, chosen: TaggedRelease, stage: str) -> None:
    """A stage with gates of its own wants them proven; evidence from another stage has not seen them."""
    gates = release.contract.parts.stages[stage].gates
    if not gates:
        return
    ledger = open_ledger(release.repository, str(chosen.manifest))
    bundle = Bundle.from_bytes(ledger.read(f"{chosen.version}/{EVIDENCE_FILE}"))
    if not any(statement.details.get("stage") == stage for statement in bundle.of("gate")):
        place = release.contract.where("stages", stage, "gates")
        raise BrokenEvidence(
            f"{place}: {stage} has gates of its own ({', '.join(gates)}), and the evidence of {chosen} was judged for "
            f"another stage. Judge these bytes for it: gradatim run --stage {stage}"
        )


def _refuse_unsoaked(release: Release, chosen: TaggedRelease, below: str, stage: str) -> None:
    wanted = release.contract.parts.stages[stage].soak
    if not wanted:
        return
    model = release.registry.model(release.name)
    since = [a.date for a in model.assignments if a.stage == below and a.release == chosen and a.assigned]
    days = (time.time() - since[-1]) / SECONDS_PER_DAY if since else 0.0
    if days < wanted:
        place = release.contract.where("stages", stage, "soak")
        raise UsageError(
            f"{place}: {chosen} has been in {below} for {max(days, 0):.1f} days and must stay {wanted:g} before {stage}. "
            f"Promote it in {wanted - days:.1f} days."
        )


def _files(release: Release, promotion: Promotion) -> ReleaseFiles:
    chosen = promotion.release
    ledger = open_ledger(release.repository, str(chosen.manifest))
    manifest = Manifest.from_bytes(ledger.read(MANIFEST_FILE))
    old = ReleaseRecord.from_bytes(ledger.read(f"{chosen.version}/{RECORD_FILE}"))
    evidence = Bundle.from_bytes(ledger.read(f"{chosen.version}/{EVIDENCE_FILE}"))
    beside: dict[str, Source] = {
        entry.path: ledger.read(f"{chosen.version}/{entry.path}")
        for entry in old.files
        if entry.path not in (MANIFEST_FILE, EVIDENCE_FILE)
    }
    folder = release.workspace.folder / "retrieved" / manifest.digest[:16]
    path = release.contract.parts.model.path
    found = retrieve(
        release.repository,
        chosen.commit,
        folder,
        manifest=manifest.digest,
        version=str(chosen.version),
        path=release.from_top(path) if path else None,
    )
    model = release.registry.model(release.name)
    named = release.contract.parts.registry.tags == "named" or uses_names(release.registry, release.name)
    return assemble(
        manifest,
        found.folder,
        evidence,
        tag=version_tag(release.name, SemVer.parse(promotion.version), several=named),
        version=promotion.version,
        stage=promotion.stage,
        variant=old.variant,
        commit=chosen.commit,
        previous=str(model.latest.version) if model.latest else None,
        committed=old.committed,
        others=beside,
    )
