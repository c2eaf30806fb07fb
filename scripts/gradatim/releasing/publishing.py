"""Publishing, in the one order that survives a crash at any moment.

Draft everywhere, compare, create the tag, make it public everywhere, look again, record. Every step asks
first what is there: to recover, run it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.release_record import ATTESTATION_FILES, SIGNATURE_FILE
from gradatim.publishers.publisher import Draft, Publication, Publisher, StagePointers
from gradatim.registry.git import Repository
from gradatim.registry.ledger import Ledger, keep, open_ledger
from gradatim.registry.reading import read
from gradatim.registry.sync import sync
from gradatim.registry.tagging import Announcement, announce

Sign = Callable[[ReleaseFiles], ReleaseFiles]
"""Gives a release's signature, the one that it has already or a new one; None where there is nobody to sign."""


@dataclass(frozen=True)
class PublishingRun:
    """What a run of publishing did.

    Attributes:
        announcement: the tags.
        publications: where the release is public now.
        written: whether this run changed anything anywhere.
    """

    announcement: Announcement
    publications: tuple[Publication, ...]
    written: bool


def publish(
    repository: Repository,
    release: ReleaseFiles,
    publishers: Sequence[Publisher],
    *,
    sign: Sign | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> PublishingRun:
    """Release: drafts, tag with evidence, publication, record.

    Args:
        repository: where tag and evidence go, together with its remote if it has one.
        release: every file.
        publishers: where it is published.
        sign: makes the release's signature; None for an unsigned release.
        progress: told what is being done, in a few words.

    Raises:
        VersionTaken: somebody else released this version first; the drafts are taken back.
        BrokenEvidence: the version is public somewhere with other bytes.
        EnvironmentLacks: a place or the remote cannot be reached; run it again when it can.
    """
    announcement, tagged, drafts = draft_and_tag(repository, release, publishers, sign, progress=progress)
    if any(drafted.release.signature != tagged.signature for _, drafted in drafts):
        drafts = [(publisher, publisher.draft(tagged)) for publisher, _ in drafts]
    publications = []
    for publisher, drafted in drafts:
        progress(f"publish to {publisher.location}")
        publications.append(publisher.publish(drafted))
    recorded = record_publications(repository, tagged, publications)
    pointed = point_stage(repository, tagged, publishers, publications)
    new = any(drafted.public is None for _, drafted in drafts)
    written = announcement.created or new or recorded or pointed
    return PublishingRun(announcement, tuple(publications), written)


def draft_and_tag(
    repository: Repository,
    release: ReleaseFiles,
    publishers: Sequence[Publisher],
    sign: Sign | None,
    told: Mapping[str, str] | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Announcement, ReleaseFiles, list[tuple[Publisher, Draft]]]:
    """Upload a release everywhere, unseen, and create its tag; whoever loses the version takes the uploads back.

    Raises:
        VersionTaken: somebody else released this version first.
        BrokenEvidence: the version is public somewhere with other bytes, or the new signature does not hold.
        EnvironmentLacks: a place or the remote cannot be reached; what was uploaded is resumed by the next run.
    """
    release = as_kept(repository, release)
    drafts: list[tuple[Publisher, Draft]] = []
    try:
        for publisher in publishers:
            progress(f"upload to {publisher.location}")
            drafts.append((publisher, draft(repository, release, publisher)))
        progress(f"tag {release.tag}")
        announcement, tagged = sign_and_tag(repository, release, sign, told)
    except GradatimError as error:
        if error.exit_code != 4:  # what the environment lacks comes back, and the draft is resumed then
            for publisher, drafted in drafts:
                with contextlib.suppress(EnvironmentLacks):  # what went wrong first is what matters
                    publisher.discard(drafted)
        raise
    return announcement, tagged, drafts


def point_stage(
    repository: Repository,
    release: ReleaseFiles,
    publishers: Sequence[Publisher],
    publications: Sequence[Publication],
) -> bool:
    """Let places that point to what a stage holds point to a release, if git says that the stage holds it.

    So a run that comes late, or is run again after a rollback, moves no pointer back.

    Returns:
        whether one had to be moved.
    """
    stage = release.record.stage
    pairs = zip(publishers, publications, strict=True)
    places = [(place, public) for place, public in pairs if isinstance(place, StagePointers)]
    if stage is None or not places:
        return False
    holder = read(repository, release.record.name).model(release.record.name).holder(stage)
    if holder is None or holder.release is None or str(holder.release) != release.record.version:
        return False
    moved = [place.point(public, stage) for place, public in places]
    return any(moved)


def draft(repository: Repository, release: ReleaseFiles, publisher: Publisher) -> Draft:
    """Upload a release unseen, without a signature while git keeps none.

    Signatures are random, and a run that crashed may have left a draft: what is drafted before the tag is the same on
    every run, and the signature joins it once the tag says which one it is.

    Raises:
        BrokenEvidence: the version is public with other bytes.
        EnvironmentLacks: the place cannot be written or reached.
    """
    try:
        return publisher.draft(release)
    except BrokenEvidence:
        if release.signature is not None:
            raise
        sync(repository)
        signed = as_kept(repository, release)
        if signed.signature is None:
            raise
        return publisher.draft(signed)  # somebody else released the same a moment ago


def sign_and_tag(
    repository: Repository,
    release: ReleaseFiles,
    sign: Sign | None,
    told: Mapping[str, str] | None = None,
) -> tuple[Announcement, ReleaseFiles]:
    """Create the tag, with a signature where somebody can sign, and give back the release as git keeps it now.

    A signature that git keeps already is the release's: a run after a crash makes no second one. ``told`` says who did
    it and who approved it, where no evidence does.

    Raises:
        VersionTaken: somebody else released this version first.
        BrokenEvidence: the new signature does not hold.
        EnvironmentLacks: the remote cannot be reached, or the signature cannot be made.
    """
    if sign is not None:
        release = sign(release)
    named = "@" in release.tag
    announcement = announce(
        repository, release.record, release.manifest, release.kept, named=named, told=told
    )
    return announcement, as_kept(repository, release)


def as_kept(repository: Repository, release: ReleaseFiles) -> ReleaseFiles:
    """The release with the signature that git keeps of it, without one where git keeps none."""
    ledger = open_ledger(repository, release.record.manifest)
    path = f"{release.record.version}/{SIGNATURE_FILE}"
    if path not in ledger.blobs:
        return release.with_signature(None)
    return release.with_signature(ledger.read(path), attested_of(ledger, release.record.version))


def attested_of(ledger: Ledger, version: str) -> dict[str, bytes]:
    """The attestations that git keeps of a version, by name."""
    paths = {name: f"{version}/{name}" for name in ATTESTATION_FILES}
    return {name: ledger.read(path) for name, path in paths.items() if path in ledger.blobs}


def record_publications(
    repository: Repository, release: ReleaseFiles, publications: Sequence[Publication]
) -> bool:
    """Let git keep where a release is public, so that any clone finds it; returns whether that was new."""
    files = {publication.path: publication.to_bytes() for publication in publications}
    return bool(files) and keep(repository, release.record.manifest, files, release.record.commit)
