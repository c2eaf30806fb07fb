"""Making tags: a version, a promotion, a rollback; all at once or not at all, never over another's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.found import Promoted
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import (
    ATTESTATION_FILES,
    EVIDENCE_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    ReleaseRecord,
)
from gradatim.evidence.statement import Bundle
from gradatim.files import sha256_bytes
from gradatim.registry import tags
from gradatim.registry.git import PushRejected, RefsHidden, RefUpdate, Repository, pause
from gradatim.registry.history import ModelHistory, Registry, Release, date_of_next_assignment
from gradatim.registry.ledger import open_ledger
from gradatim.registry.reading import read
from gradatim.registry.sync import Sync, sync
from gradatim.registry.tag_object import tag_object
from gradatim.registry.tags import SemVer

_ATTEMPTS = 5


class VersionTaken(UsageError):
    """Somebody else released or promoted first; nothing of ours was left behind."""


@dataclass(frozen=True)
class Announcement:
    """What a release or a promotion left in git.

    Attributes:
        tags: short names of the tags that stand for it.
        created: False when all of it was there already and nothing was written.
        remote: the remote that has it; None in a repository without any.
    """

    tags: tuple[str, ...]
    created: bool
    remote: str | None


def uses_names(registry: Registry, model: str) -> bool:
    """Whether a model's tags carry its name: as they did so far, else when there are other models."""
    releases = registry.model(model).releases
    if releases:
        return "@" in releases[-1].tag
    return any(name != model for name in registry.models)


def announce(
    repository: Repository,
    record: ReleaseRecord,
    manifest: Manifest,
    kept: Mapping[str, bytes],
    *,
    named: bool | None = None,
    told: Mapping[str, str] | None = None,
) -> Announcement:
    """Create a version's tag, its stage's assignment and its evidence, here and on the remote, in one push.

    Run again after a crash at any moment it finds what is there and does only the rest.

    Args:
        repository: where, together with its remote if it has one.
        record: what the version is made of.
        manifest: the model's files.
        kept: further files for git to keep, bytes by their path in the release: the evidence, the signature.
        named: whether the tag carries the model's name; None leaves it to ``uses_names``.
        told: who did it and who approved it, for the message of the stage's assignment; the evidence of a promotion
            says it by itself.

    Raises:
        VersionTaken: the version exists with other bytes.
        BrokenEvidence: the manifest is not the record's, or somebody moved the tag.
        EnvironmentLacks: the remote cannot be reached or does not allow the push.
    """
    if manifest.digest != record.manifest:
        raise BrokenEvidence(
            f"The manifest of {record.name} {record.version} is not the one that its record names."
        )
    files = {MANIFEST_FILE: manifest.to_bytes(), f"{record.version}/{RECORD_FILE}": record.to_bytes()}
    files.update({f"{record.version}/{path}": data for path, data in kept.items()})
    date = repository.commit_date(record.commit)
    for attempt in range(1, _ATTEMPTS + 1):
        state = sync(repository, required=repository.remote is not None)
        registry = read(repository, record.name, named=bool(named))
        model = registry.model(record.name)
        existing = _existing(model, record, state)
        if existing is not None:
            return _complete(repository, model, existing, state, files)
        tag = tags.version_tag(
            record.name,
            SemVer.parse(record.version),
            several=uses_names(registry, record.name) if named is None else named,
        )
        signature = sha256_bytes(kept[SIGNATURE_FILE]) if SIGNATURE_FILE in kept else None
        identity = tag_object(repository, tag, record.commit, record.tag_message(signature), date)
        updates = [RefUpdate(f"refs/tags/{tag}", identity)]
        if record.stage is not None:
            lines = {"version": record.version, "manifest": f"sha256:{record.manifest}"}
            lines |= told or approved_in(kept.get(EVIDENCE_FILE), record.stage)
            updates.append(_assignment(repository, model, record.stage, record.commit, lines))
        ledger = open_ledger(repository, record.manifest, fetch=False).adding(files, date)
        try:
            made = _write(repository, state, [*updates, *([ledger] if ledger else [])])
        except PushRejected:
            if attempt == _ATTEMPTS:
                raise
            pause(attempt)
            continue
        return Announcement(_short(updates), created=made, remote=state.remote)
    raise AssertionError("the loop ends by return or raise")


def approved_in(evidence: bytes | None, stage: str) -> dict[str, str]:
    """Who let a release into a stage, from the evidence of its promotion, for the message of the stage's assignment.

    Raises:
        BrokenEvidence: the evidence is broken.
    """
    statements = [] if evidence is None else Bundle.from_bytes(evidence).of("promote")
    mine = next((found for found in map(Promoted.of, statements) if found.stage == stage), None)
    return {"by": mine.by, "run": mine.run or "", "approval": mine.approval or ""} if mine else {}


def assign(
    repository: Repository,
    release: Release,
    stage: str,
    *,
    reason: str | None = None,
    told: Mapping[str, str] | None = None,
    withdraw: bool = False,
) -> Announcement:
    """Give a stage to a release that exists: a promotion, or with ``withdraw`` a rollback.

    A race for a counter is tried again. A race for the stage itself is not: whoever lost should look first.

    Args:
        repository: where, together with its remote if it has one.
        release: what the stage shall hold.
        stage: ``production``.
        reason: why, for the history.
        told: who did it and who approved it, as the platform says.
        withdraw: also take the stage from what it holds now, so that nothing returns to it by itself.

    Raises:
        VersionTaken: somebody else changed the stage meanwhile.
        EnvironmentLacks: the remote cannot be reached or does not allow the push.
    """
    name = release.model or ""
    seen: Release | str | None = None
    for attempt in range(1, _ATTEMPTS + 1):
        state = sync(repository, required=repository.remote is not None)
        model = read(repository, release.model).model(name)
        holder = model.holder(stage)
        if holder is not None and holder.release is not None and holder.release.version == release.version:
            return Announcement((holder.tag,), created=False, remote=state.remote)
        holds = holder.commit if holder else None
        if attempt > 1 and holds != seen:
            raise VersionTaken(
                f"Somebody else changed {stage} meanwhile: it holds {holder.label if holder else 'nothing'} "
                f"now ({holder.author if holder else 'nobody'}). Nothing of {release} was written. Look at "
                "`gradatim status`, then decide again."
            )
        seen = holds
        lines = {
            "version": str(release),
            "manifest": f"sha256:{release.manifest}" if release.manifest else "",
        }
        lines |= {"previous": holder.label if holder else "", "reason": reason or ""}
        lines |= told or {}
        updates: list[RefUpdate] = []
        if withdraw and holder is not None:
            taken = {"version": str(holder.release or ""), "reason": reason or ""}
            updates.append(_assignment(repository, model, stage, holder.commit, taken, cancel=True))
        updates.append(_assignment(repository, model, stage, release.commit, lines, after=len(updates)))
        try:
            made = _write(repository, state, updates)
        except PushRejected:
            if attempt == _ATTEMPTS:
                raise
            pause(attempt)
            continue
        _refuse_overtaken(repository, release, stage, _short(updates)[-1])
        return Announcement(_short(updates), created=made, remote=state.remote)
    raise AssertionError("the loop ends by return or raise")


def _refuse_overtaken(repository: Repository, release: Release, stage: str, tag: str) -> None:
    """Two assignments of one stage with different counters do not collide in git: look who holds it in the end."""
    if repository.remote is None:
        return
    sync(repository, required=True)
    holder = read(repository, release.model).model(release.model or "").holder(stage)
    if holder is not None and holder.tag != tag:
        raise VersionTaken(
            f"Somebody else changed {stage} at the same moment: it holds {holder.label} now ({holder.author or 'nobody'}), "
            f"and {tag}, which gave it to {release}, stands before that in the history. Look at `gradatim status`, then "
            "decide again."
        )


def rollback_target(model: ModelHistory, stage: str, to: str | None = None) -> Release:
    """Which release a rollback of a stage goes to: the last good one, or the one that was named.

    Raises:
        UsageError: the stage holds nothing, held nothing before, never held the version, or holds it now.
    """
    holder = model.holder(stage)
    if holder is None:
        raise UsageError(f"The stage {stage} holds nothing, so there is nothing to roll back.")
    if to is None:
        before = model.before(stage)
        if before is None:
            raise UsageError(
                f"Before {holder.label} the stage {stage} held no release that could be returned to."
            )
        return before
    target = model.release(to)
    if holder.release is not None and holder.release.version == target.version:
        raise UsageError(f"The stage {stage} holds {target} already.")
    held = {a.release.version for a in model.assignments if a.stage == stage and a.release is not None}
    if target.version not in held or not target.active:
        good = ", ".join(str(version) for version in sorted(held)) or "none"
        raise UsageError(f"The stage {stage} never held {target}, or it was withdrawn. It held: {good}.")
    return target


def _existing(model: ModelHistory, record: ReleaseRecord, state: Sync) -> Release | None:
    version = SemVer.parse(record.version)
    existing = next((release for release in model.releases if release.version == version), None)
    if existing is None:
        return None
    if existing.tag in state.moved:
        raise BrokenEvidence(
            f"The tag {existing.tag} on {state.remote} is not the one that is here: somebody moved it. "
            "Tags are never moved. Find out who did, then delete the wrong one."
        )
    if existing.record != record.digest or existing.commit != record.commit:
        by = f" by {existing.author}" if existing.author else ""
        raise VersionTaken(
            f"{record.version} was released already{by}, from commit {existing.commit[:7]} and other bytes "
            "or other evidence. A version is never made twice and nothing of this one was written: run the "
            "release again, it will take the next number."
        )
    return existing


def _complete(
    repository: Repository, model: ModelHistory, existing: Release, state: Sync, files: Mapping[str, bytes]
) -> Announcement:
    """Push what an earlier run could not push, or what the remote did not keep; usually nothing."""
    mine = [f"refs/tags/{existing.tag}"]
    mine += [
        f"refs/tags/{a.tag}"
        for a in model.assignments
        if a.release is not None
        and a.release.version == existing.version
        and a.trailers.get("version") == str(existing)
    ]
    names = tuple(ref.removeprefix("refs/tags/") for ref in mine)
    if state.remote is None:
        return Announcement(names, created=False, remote=None)
    ours = repository.local_refs("refs/tags")
    updates = [RefUpdate(ref, ours[ref]) for ref in mine if ref not in state.refs]
    ledger = open_ledger(repository, existing.manifest or "", fetch=False)
    signed = {f"{existing}/{name}" for name in (SIGNATURE_FILE, *ATTESTATION_FILES)}  # made once
    signature = files.get(f"{existing}/{SIGNATURE_FILE}", b"")
    theirs = signed if sha256_bytes(signature) != existing.signature else ()
    mine_to_add = {path: data for path, data in files.items() if path not in theirs}
    added = ledger.adding(mine_to_add, repository.commit_date(existing.commit))
    head = added.new if added else ledger.head
    if head is not None and state.refs.get(ledger.ref) != head:
        updates.append(RefUpdate(ledger.ref, head, state.refs.get(ledger.ref)))
    if updates:
        repository.push(state.remote, updates)
    if added is not None:
        repository.update_refs([added])
    return Announcement(names, created=bool(updates), remote=state.remote)


def _assignment(
    repository: Repository,
    model: ModelHistory,
    stage: str,
    commit: str,
    lines: Mapping[str, str],
    *,
    cancel: bool = False,
    after: int = 0,
) -> RefUpdate:
    name = model.name or ""
    tag = tags.stage_tag(name, stage, model.next_counter + after, cancel=cancel)
    version = lines.get("version") or f"commit {commit[:7]}"
    verb = "out of" if cancel else "into"
    known = {"model": name, "stage": stage, **lines}
    text = "\n".join(f"{key}: {' '.join(value.split())}" for key, value in known.items() if value)
    date = date_of_next_assignment(model, int(time.time())) + after
    message = f"{name} {version} {verb} {stage}\n\n{text}\n"
    return RefUpdate(f"refs/tags/{tag}", tag_object(repository, tag, commit, message, f"{date} +0000"))


def _write(repository: Repository, state: Sync, updates: Sequence[RefUpdate]) -> bool:
    """Push first, then follow here: whoever loses the race keeps nothing. Returns whether it was this push that made it."""
    if state.remote is None:
        repository.update_refs(updates)
        return True
    theirs = [
        update if update.old is None else RefUpdate(update.ref, update.new, state.refs.get(update.ref))
        for update in updates
    ]
    try:
        made = repository.push(state.remote, theirs)
    except RefsHidden:  # kept here, so that a run of this clone can push it again
        repository.update_refs(updates)
        raise
    repository.update_refs(updates)
    return made


def _short(updates: Sequence[RefUpdate]) -> tuple[str, ...]:
    refs = (update.ref for update in updates)
    return tuple(ref.removeprefix("refs/tags/") for ref in refs if ref.startswith("refs/tags/"))
