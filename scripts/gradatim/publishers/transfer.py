"""Bytes on their way to a place and back, checked against what they must be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.manifest import FileEntry, safe_path
from gradatim.files import moved, replacing, sha256_bytes, sha256_file
from gradatim.progress import large

_CHUNK = 1 << 20
_AT_ONCE = 64 << 20
"""Bytes that the kernel copies between two signs of life."""


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
        raise _gone(error) from error
    if found != entry.sha256:
        raise InvalidInput(
            f"The source of {entry.path} changed while it was being published. Run the release again."
        )
    return source


def _gone(error: OSError) -> InvalidInput:
    return InvalidInput(f"{error.filename} is gone, although the release needs it. Run it again.")


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


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, 1 MiB at a time."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


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


def copy(source: Path, folder: Path, path: str) -> None:
    """Copy a file to a file of a release below a folder, by the kernel where it can; nobody looks at the bytes.

    Raises:
        BrokenEvidence: the path would lead out of the folder.
        InvalidInput: the file is gone.
        EnvironmentLacks: the folder cannot be written.
    """
    target = folder / safe_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = source.open("rb", buffering=0)
    except OSError as error:
        raise _gone(error) from error
    with file, replacing(target) as temporary, temporary.open("wb") as copied:
        # Not every system can, nor between any two disks; what is left then goes through our hands.
        with contextlib.suppress(AttributeError, OSError):
            while amount := os.copy_file_range(file.fileno(), copied.fileno(), _AT_ONCE):
                moved(amount)
        while chunk := file.read(_CHUNK):
            copied.write(chunk)
            moved(len(chunk))


def not_the_release(place: str, why: str) -> BrokenEvidence:
    """The refusal to take for published what does not hold up to the release."""
    return BrokenEvidence(
        f"{place} is not the release that it should be: {why} "
        "A published version is never changed: restore it, or release under the next number."
    )


def refused(place: str, status: int, said: str, access: str) -> EnvironmentLacks:
    """What to say of a place that does not do what it was asked.

    Args:
        place: what it is called.
        status: of HTTP.
        said: what it said; nothing, perhaps.
        access: who may do that.
    """
    text = " ".join(said.split())[:300]
    said = f"{status}: {text}" if text else f"{status}"
    if status in (401, 403, 404):
        return EnvironmentLacks(f"{place} does not let us do that ({said}). {access}")
    if status == 429 or status >= 500:
        return unreachable(place, said)
    return EnvironmentLacks(f"{place} refuses: {said}.")


def unreachable(place: str, why: str) -> EnvironmentLacks:
    """What to say of a place that cannot be reached just now."""
    return EnvironmentLacks(
        f"{place} cannot be reached or fails: {why}. Run the same command again when it can: it resumes."
    )
