"""A folder as the place that releases are published to: a disk, a network drive, a mounted bucket.

A release lies in a folder of its version's name. It is put together in a hidden folder beside it, named by
its digest, and appears in one rename: nobody ever sees half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import MANIFEST_FILE, SIGNATURE_FILE
from gradatim.evidence.verify import check_files
from gradatim.files import cannot_write, list_files, replacing, sha256_bytes, sha256_file
from gradatim.progress import large
from gradatim.publishers.publisher import Draft, Publication


class FolderPublisher:
    """Publishes to a folder.

    Args:
        folder: where releases go.
        root: what a relative path is relative to: the top of the repository.
    """

    kind = "folder"

    def __init__(self, folder: Path, *, root: Path) -> None:
        self.folder = Path(os.path.abspath(root / folder))  # noqa: PTH100 (a link in the path stays as it was written)

    @property
    def location(self) -> str:
        return str(self.folder)

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = str(self.folder / release.tag)
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``. Whoever makes the same draft at the same time waits for the other."""
        final = self.folder / release.tag
        place = final.with_name(f".{final.name}.{release.record.digest[:16]}.draft")
        try:
            while not final.exists():
                place.mkdir(parents=True, exist_ok=True)
                with _locked(place) as held:
                    if held:
                        self._fill(place, release)
                        return Draft(release, str(place))
        except OSError as error:
            raise cannot_write(place, error) from error
        self._compare(final, release)
        return Draft(release, str(place), self.publication(release))

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release
        final = self.folder / release.tag
        if draft.public is None:
            place = Path(draft.place)
            try:
                with _locked(place):
                    place.rename(final)
                    _sync(final.parent)
            except OSError as error:
                if not final.exists():  # else somebody with the same bytes was faster, or it is not the same
                    raise cannot_write(final, error) from error
        self._compare(final, release)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        final = self.folder / release.tag
        if not final.is_dir():
            return False
        try:
            self._compare(final, release)
        except BrokenEvidence:
            return False
        return True

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``."""
        if draft.public is None:
            shutil.rmtree(draft.place, ignore_errors=True)

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``: a folder is read where it is."""
        folder = Path(publication.location)
        if not folder.is_dir():
            raise EnvironmentLacks(
                f"{publication.name} {publication.version} was published to {folder}, which is not there. "
                "Mount it, or verify on the machine that has it."
            )
        return folder

    def _compare(self, folder: Path, release: ReleaseFiles, *, also: Sequence[str] = ()) -> None:
        """Read everything back: what lies there must be the release, no more and no less."""
        if not folder.is_dir():
            raise BrokenEvidence(f"{folder} is in the way: it is not a folder. Move it away.")
        manifest = folder / MANIFEST_FILE
        if manifest.is_file() and sha256_file(manifest) != release.manifest.digest:
            raise BrokenEvidence(
                f"{folder} holds another {release.record.name} {release.record.version} already, "
                "with other bytes. A version is never published twice: release under the next number."
            )
        _, findings = check_files(folder, release.entries, also=also)
        if findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise BrokenEvidence(
                f"{folder} is not the release that it should be: {findings[0]}{more} "
                "A published version is never changed: restore the folder, or release under the next number."
            )

    def _fill(self, place: Path, release: ReleaseFiles) -> None:
        """Complete a draft: what an interrupted run left whole is kept, what it left half-written goes."""
        # A signature joins a draft last; whoever drafts the same release again leaves it for whoever put it there.
        signature = () if release.signature is not None else (SIGNATURE_FILE,)
        for name in set(list_files(place)) - {entry.path for entry in release.entries} - {*signature}:
            (place / name).unlink()
        for entry in release.entries:
            _copy(release.sources[entry.path], place / entry.path, entry)
        self._compare(place, release, also=signature)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder for this process alone; a process that dies lets go of it.

    Gives False when the folder went away while we waited for it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        with contextlib.suppress(OSError):  # a network drive without locks: two at once may have to run again
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder.exists() and folder.stat().st_ino == os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _copy(source: Source, target: Path, entry: FileEntry) -> None:
    if target.is_file() and target.stat().st_size == entry.size:
        with large(f"compare {entry.path}", entry.size):
            if sha256_file(target) == entry.sha256:
                return
    with large(f"copy {entry.path}", entry.size), replacing(target) as temporary:
        if isinstance(source, bytes):
            temporary.write_bytes(source)
        else:
            try:
                shutil.copyfile(source, temporary)
            except FileNotFoundError as error:
                raise InvalidInput(
                    f"{source} is gone, although the release needs it. Run it again."
                ) from error
        written = sha256_bytes(source) if isinstance(source, bytes) else sha256_file(temporary)
        if written != entry.sha256:
            raise InvalidInput(
                f"The source of {target.name} changed while it was being published. Run the release again."
            )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
