"""A folder as the place that releases are published to: a disk, a network drive, a mounted bucket.

A release lies in a folder of its version's name. It is put together in a hidden folder beside it, named by
its digest, and appears in one rename: nobody ever sees half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import hash_files
from gradatim.files import cannot_write, list_files
from gradatim.progress import large
from gradatim.publishers.publisher import Changed, Found, Publication, Publisher, Wanted
from gradatim.publishers.transfer import copy, pieces, save
from gradatim.registry.git import Repository


class FolderPublisher(Publisher):
    """Publishes to a folder.

    Args:
        folder: where releases go.
        root: what a relative path is relative to: the top of the repository.
    """

    kind = "folder"
    remedy = "Move that folder away"

    def __init__(self, folder: Path, *, root: Path) -> None:
        self.root = root
        self.folder = Path(os.path.abspath(root / folder))  # noqa: PTH100 (a link in the path stays as it was written)

    @classmethod
    def at(cls, address: str | None, root: Path, repository: Repository | None) -> Publisher:
        """See ``Publisher.at``."""
        return cls(Path(str(address)), root=root)

    @property
    def location(self) -> str:
        return str(self.folder)

    def address(self, release: ReleaseFiles) -> str:
        return str(self.folder / release.tag)

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``: a folder is read where it is."""
        folder = self._where(publication)
        if not folder.is_dir():
            raise EnvironmentLacks(
                f"{publication.name} {publication.version} was published to {folder}, which is not there. "
                "Mount it, or verify on the machine that has it."
            )
        return folder

    def _where(self, publication: Publication) -> Path:
        """The folder that was recorded or, in a repository that was moved or copied, its like below the root."""
        folder = Path(publication.location)
        if folder.is_dir():
            return folder
        tails = (self.root.joinpath(*folder.parts[start:]) for start in range(1, len(folder.parts)))
        return next((found for found in tails if found.is_dir()), folder)

    def public(self, publication: Publication) -> Found | None:
        final = Path(publication.location)
        if not final.exists():
            return None
        if not final.is_dir():
            raise BrokenEvidence(f"{final} is in the way: it is not a folder. Move it away.")
        return _files(final)

    def lacking(self, there: Found, wanted: Wanted) -> Iterator[str]:
        """See ``Publisher.lacking``: as many are read at a time as there are processors."""
        found = hash_files([there[name] for name in wanted if name in there])
        return (n for n, e in wanted.items() if n not in there or found[there[n]] != (e.size, e.sha256))

    def begin(self, release: ReleaseFiles) -> str:
        final = self.folder / release.tag
        place = final.with_name(f".{final.name}.{release.record.digest[:16]}.draft")
        place.mkdir(parents=True, exist_ok=True)
        return str(place)

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        return _files(Path(place))

    def read(self, file: Path) -> Iterator[bytes]:
        return pieces(file)

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        for file in stale.values():
            file.unlink()
        for name, entry in missing.items():
            source = release.sources[entry.path]  # unread: the copy is read back
            with large(f"copy {name}", entry.size):
                if isinstance(source, bytes):
                    save([source], Path(place), name)
                else:
                    copy(source, Path(place), name)
        return {name: Path(place) / name for name in missing}

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        final = Path(self.address(release))
        with self.alone(place):
            try:
                Path(place).rename(final)
                _sync(final.parent)
            except OSError:
                if not final.exists():  # else somebody was faster; what it is, is compared
                    raise

    def clear(self, place: str, release: ReleaseFiles) -> None:
        shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self, place: str) -> Iterator[None]:
        """See ``Publisher.alone``. Whoever makes the same draft waits; a process that dies lets go of it."""
        folder = Path(place)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            raise Changed from None
        try:
            # A network drive may know no locks: then two at once may have to run again.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not folder.exists() or folder.stat().st_ino != os.fstat(descriptor).st_ino:
                raise Changed  # it went away while we waited for it
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self.folder, error) from error


def _files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in list_files(folder)}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
