"""The manifest: which files a release consists of, byte for byte. Its digest is the release's identity."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.files import canonical_json, parse_json, reading, sha256_bytes, sha256_file
from gradatim.progress import large

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\u2028-\u202e\u2066-\u2069\ud800-\udfff]|^[A-Za-z]:")
"""Control characters, half characters, and those that break a line or turn it around."""


@dataclass(frozen=True)
class FileEntry:
    """One file: its path in the release (POSIX, Unicode NFC), its size in bytes, its hex SHA-256."""

    path: str
    size: int
    sha256: str

    def refuse_unsafe(self, name: str) -> None:
        """Refuse an entry that was read; ``name`` says whose it is.

        Raises:
            BrokenEvidence: its digest or its size cannot be one, or its path is unsafe.
        """
        if not _SHA256.fullmatch(self.sha256):
            raise BrokenEvidence(f"{name} is broken: the file {self.path!r} has no proper SHA-256.")
        if self.size < 0:
            raise BrokenEvidence(f"{name} is broken: the file {self.path!r} has the size {self.size!r}.")
        if safe_path(self.path) != self.path:
            raise BrokenEvidence(f"{name} is broken: the path {self.path!r} is not in Unicode NFC.")


@dataclass(frozen=True)
class Manifest:
    """Every file of a model under the model's name, sorted by path.

    Raises:
        BrokenEvidence: there is no file, or two paths are the same where case or Unicode form is ignored.
    """

    name: str
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda entry: entry.path)))
        if not self.name or not self.files:
            raise BrokenEvidence(f"The manifest of {self.name or 'a model without a name'} lists no file.")
        refuse_collisions(entry.path for entry in self.files)

    @classmethod
    def of(cls, name: str, root: Path, paths: Iterable[Path]) -> Manifest:
        """Hash a model's files, several at a time; each is read once, in small pieces.

        Args:
            name: the model's name.
            root: the folder that the paths in the release are relative to.
            paths: the files.

        Raises:
            InvalidInput: a file is missing, is a symbolic link or lies outside ``root``.
            BrokenEvidence: two paths collide, or one is unsafe.
        """
        chosen = [(release_path(root, path), path) for path in paths]
        digests = hash_files([path for _, path in chosen])
        entries = (FileEntry(name, *digests[path]) for name, path in chosen)
        return cls(name, tuple(entries))

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON: the identity of a release."""
        return sha256_bytes(self.to_bytes())

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def to_bytes(self) -> bytes:
        """The canonical JSON, as ``manifest.json`` holds it: the file's own SHA-256 is the identity."""
        return canonical_json(encode(self))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "manifest.json") -> Manifest:
        """Read a manifest strictly; ``name`` says where it came from.

        Raises:
            BrokenEvidence: it is not the canonical JSON of a manifest.
        """
        return read_listing(cls, strict_json(data, name), data, name)


class Listing(Protocol):
    """A file that lists files and has one canonical form."""

    @property
    def files(self) -> tuple[FileEntry, ...]: ...

    def to_bytes(self) -> bytes: ...


L = TypeVar("L", bound=Listing)


def read_listing(kind: type[L], record: Any, data: bytes, name: str) -> L:
    """Read the record of a listing strictly; ``data`` is the file, ``name`` says where it came from.

    Raises:
        BrokenEvidence: an unknown or missing field, a wrong kind of value, an unsafe entry, not the canonical form.
    """
    found = decode(kind, record, name)
    for entry in found.files:
        entry.refuse_unsafe(name)
    if found.to_bytes() != data:
        raise BrokenEvidence(
            f"{name} is broken: it is not written in the canonical form that its digest is of."
        )
    return found


def release_path(root: Path, path: Path) -> str:
    """A file's path in the release: relative to ``root``, POSIX, Unicode NFC.

    Raises:
        InvalidInput: the file is missing, is or lies behind a symbolic link, or lies outside ``root``.
    """
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 (resolve would follow links)
    try:
        relative = absolute.relative_to(base)
    except ValueError:
        raise InvalidInput(
            f"{path} lies outside {root}. A release holds files below one folder only."
        ) from None
    for part in (relative, *relative.parents):
        if (base / part).is_symlink() and str(part) != ".":
            raise InvalidInput(
                f"{base / part} is a symbolic link, which could point anywhere. "
                "Releases hold plain files only: copy the file there."
            )
    if not absolute.is_file():
        raise InvalidInput(f"{path} is not a file.")
    return safe_path(relative.as_posix())


def safe_path(path: str) -> str:
    """The path in Unicode NFC.

    Raises:
        BrokenEvidence: it is absolute, climbs (``..``), or holds a backslash, a control character or half a one.
    """
    normal = unicodedata.normalize("NFC", path)
    parts = PurePosixPath(normal).parts
    if (
        not parts
        or normal != "/".join(parts)
        or ".." in parts
        or normal.startswith("/")
        or _UNSAFE.search(normal)
    ):
        raise BrokenEvidence(
            f"The path {path!r} is not safe in a release: it must be plain, relative and below one folder."
        )
    return normal


def refuse_collisions(paths: Iterable[str]) -> None:
    """Refuse paths that some file system would take for one another.

    Raises:
        BrokenEvidence: two paths are equal but for case or Unicode form, or a file is also a folder.
    """
    seen: dict[str, str] = {}
    for path in sorted(paths):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        if folded in seen:
            raise BrokenEvidence(
                f"The paths {seen[folded]!r} and {path!r} are one and the same on some file systems. "
                "Rename one."
            )
        seen[folded] = path
    for folded, path in seen.items():
        for parent in PurePosixPath(folded).parents:
            if str(parent) in seen:
                raise BrokenEvidence(
                    f"The path {path!r} needs a folder where {seen[str(parent)]!r} is a file. Rename one."
                )


def hash_files(paths: Sequence[Path]) -> Mapping[Path, tuple[int, str]]:
    """Size in bytes and hex SHA-256 of each file, as many at a time as there are processors, the largest first.

    Raises:
        InvalidInput: a file cannot be read.
    """
    sizes = {path: _size(path) for path in paths}
    ordered = sorted(sizes, key=lambda path: -sizes[path])
    with large("hash", sum(sizes.values())):
        if len(ordered) < 2:
            return {path: (sizes[path], _hash(path)) for path in ordered}
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashlib lets go of the interpreter lock
            found = dict(zip(ordered, pool.map(_hash, ordered), strict=True))
    return {path: (sizes[path], found[path]) for path in paths}


def strict_json(data: bytes, name: str) -> Any:
    """Strict JSON that is evidence: what ``parse_json`` refuses is broken evidence here.

    Raises:
        BrokenEvidence: a duplicate key, NaN, or no JSON at all.
    """
    try:
        return parse_json(data, name)
    except InvalidInput as error:
        raise BrokenEvidence(str(error)) from error


def _size(path: Path) -> int:
    with reading(path):
        return path.stat().st_size


def _hash(path: Path) -> str:
    with reading(path):
        return sha256_file(path)
