"""Bytes on their way to a place and back, checked against what they must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.manifest import FileEntry, Manifest, safe_path
from gradatim.evidence.release_record import MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.files import replacing, sha256_bytes, sha256_file


def checked_source(release: ReleaseFiles, entry: FileEntry) -> Source:
    """Where a file's bytes come from, after seeing that they are what the release says.

    Raises:
        InvalidInput: the file is gone or was changed since the release was put together.
    """
    source = release.sources[entry.path]
    try:
        found = sha256_bytes(source) if isinstance(source, bytes) else sha256_file(source)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename} is gone, although the release needs it. Run it again."
        ) from error
    if found != entry.sha256:
        raise InvalidInput(
            f"The source of {entry.path} changed while it was being published. Run the release again."
        )
    return source


def is_entry(chunks: Iterable[bytes], entry: FileEntry) -> bool:
    """Whether a stream of bytes is exactly one file of a release; it is read in the pieces that it comes in."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if size > entry.size:
            return False
    return size == entry.size and digest.hexdigest() == entry.sha256


def save(chunks: Iterable[bytes], folder: Path, path: str) -> None:
    """Write a stream of bytes to a file of a release below a folder.

    Raises:
        BrokenEvidence: the path would lead out of the folder.
        EnvironmentLacks: the folder cannot be written.
    """
    target = folder / safe_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary, temporary.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def other_version(place: str, release: ReleaseFiles) -> BrokenEvidence:
    """The refusal to publish a version where it is public with other bytes."""
    return BrokenEvidence(
        f"{place} holds another {release.record.name} {release.record.version} already, "
        "with other bytes. A version is never published twice: release under the next number."
    )


def not_the_release(place: str, why: str) -> BrokenEvidence:
    """The refusal to take for published what does not hold up to the release."""
    return BrokenEvidence(
        f"{place} is not the release that it should be: {why} "
        "A published version is never changed: restore it, or release under the next number."
    )


def compare_names(place: str, present: Iterable[str], release: ReleaseFiles) -> None:
    """Refuse a place with a file too few or too many.

    Raises:
        BrokenEvidence: names the first of them.
    """
    wanted = {entry.path for entry in release.entries}
    there = set(present)
    for path in sorted(wanted - there):
        raise not_the_release(place, f"{path} is missing.")
    for path in sorted(there - wanted):
        raise not_the_release(place, f"{path} is not part of it.")


def listed_paths(record: bytes, manifest: bytes) -> list[str]:
    """Every path that a published release says it has, for places that cannot keep paths as names.

    Raises:
        BrokenEvidence: the record or the manifest is broken.
    """
    others = [entry.path for entry in ReleaseRecord.from_bytes(record).files]
    model = [entry.path for entry in Manifest.from_bytes(manifest).files]
    return sorted({RECORD_FILE, MANIFEST_FILE, *others, *model})
