"""Bytes on their way to a place and back, checked against what they must be."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.manifest import FileEntry, Manifest, safe_path
from gradatim.evidence.release_record import MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.files import moved, replacing, sha256_bytes, sha256_file
from gradatim.progress import large
from gradatim.publishers.forge import plain_name
from gradatim.publishers.publisher import Publication

_Asset = TypeVar("_Asset")


def checked_source(release: ReleaseFiles, entry: FileEntry) -> Source:
    """Where a file's bytes come from, after seeing that they are what the release says.

    Raises:
        InvalidInput: the file is gone or was changed since the release was put together.
    """
    source = release.sources[entry.path]
    try:
        with large(f"check {entry.path}", entry.size):
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


class _Counted(io.BufferedReader):
    """A file whose reading is seen by ``counting``."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        moved(len(data))
        return data


@contextlib.contextmanager
def sending(source: Source, name: str) -> Iterator[io.BufferedIOBase]:
    """A source opened to be sent, however large: it is read in the pieces that are asked for."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with large(f"upload {name}", source.stat().st_size), _Counted(io.FileIO(source)) as body:
        yield body


def is_entry(chunks: Iterable[bytes], entry: FileEntry) -> bool:
    """Whether a stream of bytes is exactly one file of a release; it is read in the pieces that it comes in."""
    digest, size = hashlib.sha256(), 0
    with large(f"compare {entry.path}", entry.size):
        for chunk in chunks:
            digest.update(chunk)
            moved(len(chunk))
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
            moved(len(chunk))


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


def gone(publication: Publication) -> EnvironmentLacks:
    """What to say of a place that was published to and has nothing there now."""
    return EnvironmentLacks(
        f"{publication.name} {publication.version} was published to {publication.location}, "
        "which holds no such release any more, or none that can be seen without credentials."
    )


def own_record(place: str, release: ReleaseFiles, found: bytes | None, remedy: str) -> None:
    """Refuse what is public under a release's version and is not that release.

    Args:
        place: where it is.
        release: what should be there.
        found: the ``release.json`` that is there; None when there is none.
        remedy: what to do about something that gradatim did not make.

    Raises:
        BrokenEvidence: it is another release, or none of gradatim's.
    """
    if found is None:
        raise BrokenEvidence(f"{place} is in the way: gradatim did not make it. {remedy}, then run again.")
    if found != release.record.to_bytes():
        raise other_version(place, release)


def compare(
    place: str,
    wanted: Mapping[str, FileEntry],
    there: Collection[str],
    same: Callable[[str, FileEntry], bool],
) -> None:
    """Refuse a place with a file too few, too many, or other bytes.

    Args:
        place: where.
        wanted: every file of the release, by the name that it has there.
        there: the names of what is there.
        same: reads one and says whether it is that file.

    Raises:
        BrokenEvidence: names the first of them.
    """
    compare_names(place, wanted, there)
    for name, entry in wanted.items():
        if not same(name, entry):
            raise not_the_release(place, f"{name} was altered.")


def compare_names(place: str, wanted: Collection[str], there: Collection[str]) -> None:
    """Refuse a place with a file too few or too many.

    Raises:
        BrokenEvidence: names the first of them.
    """
    for name in sorted(set(wanted) ^ set(there)):
        raise not_the_release(place, f"{name} is {'missing' if name in wanted else 'not part of it'}.")


def is_held(
    release: ReleaseFiles, is_public: Callable[[ReleaseFiles], bool], check: Callable[[ReleaseFiles], None]
) -> bool:
    """Whether a release is public and passes a check that raises ``BrokenEvidence`` when it does not."""
    try:
        if not is_public(release):
            return False
        check(release)
    except BrokenEvidence:
        return False
    return True


def save_named(
    assets: Mapping[str, _Asset],
    read: Callable[[_Asset], Iterable[bytes]],
    folder: Path,
    named: Callable[[str], str] = plain_name,
) -> Path:
    """Write a release to a folder from a place where its files go by plain names.

    Which file is which is known from ``release.json`` and ``manifest.json``; what neither of them names keeps its
    name, and whoever compares the folder will see that it is too many.

    Args:
        assets: what there is, by name.
        read: opens one.
        folder: where to.
        named: the name that a file of a release goes by, from its path.

    Raises:
        BrokenEvidence: the record or the manifest is broken.
    """
    for name in (RECORD_FILE, MANIFEST_FILE):
        if name in assets:
            save(read(assets[name]), folder, name)
    entries: list[FileEntry] = []
    if (folder / RECORD_FILE).exists():
        entries += ReleaseRecord.from_bytes((folder / RECORD_FILE).read_bytes()).files
    if (folder / MANIFEST_FILE).exists():
        entries += Manifest.from_bytes((folder / MANIFEST_FILE).read_bytes()).files
    paths = {named(entry.path): entry.path for entry in entries}
    for name, asset in assets.items():
        if name not in (RECORD_FILE, MANIFEST_FILE):
            save(read(asset), folder, paths.get(name, name))
    for entry in entries:
        if entry.size == 0:  # such a place takes no empty file
            save([], folder, entry.path)
    return folder
