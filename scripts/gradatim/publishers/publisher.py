"""How a release gets to a place, whatever the place is, over the few things that each kind of place can do."""

from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from gradatim.contract.stores import STORES
from gradatim.errors import BrokenEvidence, EnvironmentLacks, missing_package
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry, strict_json
from gradatim.evidence.release_record import ATTESTATION_FILES, RECORD_FILE, SIGNATURE_FILE
from gradatim.files import canonical_json, sha256_bytes
from gradatim.publishers.transfer import checked_source, is_entry, not_the_release, save
from gradatim.registry.git import Repository, pause

_FIELDS = ("publisher", "location", "name", "version", "manifest")
_ATTEMPTS = 6
_Done = TypeVar("_Done")

Wanted = Mapping[str, FileEntry]
"""What files must be, by the names that they go by at a place."""

Found = Mapping[str, Any]
"""Files at a place by their names, each in the form that the place's ``read`` takes."""


@dataclass(frozen=True)
class Publication:
    """Where a release is public.

    Attributes:
        publisher: the publisher's kind: ``folder``, ``s3``.
        location: where exactly, absolute: a path or an address that another machine could use too.
        name: the model.
        version: ``v1.4.0``.
        manifest: hex manifest digest.
    """

    publisher: str
    location: str
    name: str
    version: str
    manifest: str

    @property
    def path(self) -> str:
        """Where git keeps this record in the release's ledger."""
        return f"{self.version}/publications/{self.publisher}-{sha256_bytes(self.location.encode())[:8]}.json"

    def to_bytes(self) -> bytes:
        """Canonical JSON, the same on every run."""
        return canonical_json({key: getattr(self, key) for key in _FIELDS})

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Publication:
        """Read a record strictly; ``name`` says where it came from.

        Raises:
            BrokenEvidence: it is not such a record.
        """
        record: Any = strict_json(data, name)
        if not isinstance(record, dict) or record.keys() != set(_FIELDS):
            raise BrokenEvidence(f"{name} is broken: it does not have exactly the fields of a publication.")
        if not all(isinstance(value, str) for value in record.values()):
            raise BrokenEvidence(f"{name} is broken: every field must be text.")
        return cls(**record)


@dataclass(frozen=True)
class Draft:
    """A release that was uploaded and compared, and that nobody sees yet.

    Attributes:
        release: what it is.
        place: where it waits, in the place's own terms; empty when it is public.
        public: where it is public already; None while it is not.
    """

    release: ReleaseFiles
    place: str
    public: Publication | None = None


class Changed(Exception):
    """Something that was listed is gone, or something new is in the way: somebody else does the same."""


class Publisher(ABC):
    """A place that releases are published to, and the one order in which a release gets there.

    A release is drafted where nobody sees it, read back and compared; one step reveals it, and what is public is read
    back again. Each call asks the place first what is there, so that calling again after a crash does only the rest.

    A kind of place is a class of its own, which says how files are listed, read and written there, and which step
    reveals them. It raises ``Changed`` where somebody else was faster: everything is then looked at again.

    Attributes:
        kind: ``folder``, ``s3``, ...: the key in the contract's ``publish:``.
        remedy: what to do about something public that gradatim did not make.
    """

    kind: ClassVar[str]
    remedy: ClassVar[str] = "Move it away"

    @abstractmethod
    def __init__(self, address: str) -> None: ...

    @classmethod
    def at(cls, address: str | None, root: Path, repository: Repository | None) -> Publisher:
        """The publisher of an address as the contract or a publication has it.

        Args:
            address: None for the repository that the git remote is of.
            root: what relative paths are relative to.
            repository: whose remote that is.
        """
        return cls(str(address))

    # what publishing asks for

    def publication(self, release: ReleaseFiles) -> Publication:
        """Where a release is public once it was published here; nothing is asked."""
        record = release.record
        return Publication(self.kind, self.address(release), record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """Upload a release unseen, read it back and compare; resume what an earlier run left.

        A release that is public already, byte for byte, comes back with ``public`` set; nothing is written.

        Raises:
            BrokenEvidence: the version is public with other bytes.
            EnvironmentLacks: the place cannot be written or reached.
        """

        def once() -> Draft:
            self.require_access()
            if self.check(release):
                return Draft(release, "", self.publication(release))
            place = self.begin(release)
            with self.alone(place):
                self._fill(place, release)
            return Draft(release, place)

        return self.patiently(once)

    def publish(self, draft: Draft) -> Publication:
        """Make a draft public in one step, look at it as anybody could, and compare.

        Raises:
            BrokenEvidence: somebody else published other bytes under this version first.
            EnvironmentLacks: the place cannot be written or reached.
        """
        release = draft.release

        def once() -> None:
            if not self.check(release):
                self.reveal(draft.place, release)
                if not self.check(release):
                    raise not_the_release(self.address(release), "it is not public.")
            self.tidy(release)

        self.patiently(once)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """Whether exactly this release is public here."""
        try:
            return self.patiently(lambda: self.check(release))
        except BrokenEvidence:
            return False

    def discard(self, draft: Draft) -> None:
        """Take back a draft that will not be published."""
        if draft.public is None:
            self.patiently(lambda: self.clear(draft.place, draft.release))

    def open(self, publication: Publication, into: Path) -> Path:
        """A local folder with the files of a publication: the place itself when it is local, else ``into``.

        Raises:
            EnvironmentLacks: the place cannot be reached or holds no such release.
        """

        def once() -> Path:
            files = self.public(publication)
            if not files:
                raise gone(publication)
            self.save(files, into)
            return into

        return self.patiently(once)

    # what it is made of

    def check(self, release: ReleaseFiles) -> bool:
        """Whether a release is public, every byte of it read back; what is public in its stead is refused.

        Raises:
            BrokenEvidence: the version is public with other bytes, with a file too few or with one too many.
        """
        there, place = self.public(self.publication(release)), self.address(release)
        if there is None:
            return False
        if RECORD_FILE not in there:
            raise BrokenEvidence(
                f"{place} is in the way: gradatim did not make it. {self.remedy}, then run again."
            )
        if b"".join(self.read(there[RECORD_FILE])) != release.record.to_bytes():
            raise BrokenEvidence(
                f"{place} holds another {release.record.name} {release.record.version} already, "
                "with other bytes. A version is never published twice: release under the next number."
            )
        wanted = self.names(release)
        for name in sorted(wanted.keys() ^ there.keys()):
            raise not_the_release(place, f"{name} is {'missing' if name in wanted else 'not part of it'}.")
        for name in self.lacking(there, wanted):
            raise not_the_release(place, f"{name} was altered.")
        return True

    def _fill(self, place: str, release: ReleaseFiles) -> None:
        """Complete a draft: what an interrupted run left whole is kept, anything else goes."""
        wanted, there = self.names(release), self.drafted(place, release)
        missing = {name: wanted[name] for name in self.lacking(there, wanted)}
        # A signature joins a draft last: another run may just have put it there.
        whole = {*wanted, SIGNATURE_FILE, *ATTESTATION_FILES} - missing.keys()
        stale = {name: file for name, file in there.items() if name not in whole}
        uploaded = self.put(place, release, missing, stale)
        for name in self.lacking(uploaded, missing):
            checked_source(release, missing[name])
            raise not_the_release(f"{name} in {self.location}", "what was uploaded does not come back.")

    def lacking(self, there: Found, wanted: Wanted) -> Iterator[str]:
        """The names of those files that are missing, or are read and are not what they should be."""
        for name, entry in wanted.items():
            if name not in there or not is_entry(self.read(there[name]), entry):
                yield name

    def patiently(self, work: Callable[[], _Done]) -> _Done:
        """Do something again when what it saw changed meanwhile, a few times."""
        for attempt in range(1, _ATTEMPTS + 1):
            with contextlib.suppress(Changed), self.understood():
                return work()
            pause(attempt)
        raise EnvironmentLacks(
            f"{self.location} changes while it is being written to. Run the same command again."
        )

    # what a kind of place says of itself

    @property
    @abstractmethod
    def location(self) -> str:
        """The place as a whole, absolute."""

    @abstractmethod
    def address(self, release: ReleaseFiles) -> str:
        """Where a release is public, absolute: a path or an address that another machine could use too."""

    @property
    def access(self) -> str:
        """Who may write there, for errors."""
        return STORES[self.kind].access

    def package(self, name: str, distribution: str | None = None) -> Any:
        """A package that this kind of place needs, imported.

        Args:
            name: as it is imported.
            distribution: as it is installed, where that is another name.

        Raises:
            EnvironmentLacks: it is not installed.
        """
        try:
            return importlib.import_module(name)
        except ImportError as error:
            extra = str(STORES[self.kind].extra)
            raise missing_package(distribution or name, extra, f"Publishing to {self.location}") from error

    def require_access(self) -> None:
        """Refuse where nothing can be written without credentials, and there are none; the place is not asked.

        Raises:
            EnvironmentLacks: with what to set.
        """
        if not self.may_write:
            raise EnvironmentLacks(f"{self.location} needs credentials to be written to. {self.access}")

    @property
    def may_write(self) -> bool:
        """Whether there are credentials, where nothing can be written without."""
        return True

    def names(self, release: ReleaseFiles) -> dict[str, FileEntry]:
        """What must be there, by the names that files go by."""
        return {entry.path: entry for entry in release.entries}

    def save(self, files: Found, into: Path) -> None:
        """Write the files of a public release to a folder, each to its path in the release."""
        for name, file in files.items():
            save(self.read(file), into, name)

    @abstractmethod
    def public(self, publication: Publication) -> Found | None:
        """The files that anybody sees of a version; None where it is not public."""

    @abstractmethod
    def begin(self, release: ReleaseFiles) -> str:
        """Where the draft of exactly this release lies, in the place's own terms; it is made where there is none."""

    @abstractmethod
    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        """The files of a draft."""

    @abstractmethod
    def read(self, file: Any) -> Iterator[bytes]:
        """A file's bytes, in the pieces that they come in."""

    @abstractmethod
    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        """Complete a draft.

        Args:
            place: of the draft.
            release: whose draft it is.
            missing: what is to be uploaded.
            stale: files of the draft that do not belong there, or that have other bytes.

        Returns:
            what was uploaded.
        """

    @abstractmethod
    def reveal(self, place: str, release: ReleaseFiles) -> None:
        """Make a draft public in one step, over nothing that is public already."""

    def tidy(self, release: ReleaseFiles) -> None:  # noqa: B027 (most kinds leave nothing)
        """Take away what is left of drafts of a release that is public."""

    @abstractmethod
    def clear(self, place: str, release: ReleaseFiles) -> None:
        """Take a draft away, wholly."""

    @contextlib.contextmanager
    def alone(self, place: str) -> Iterator[None]:
        """Hold a draft for this process alone, where that can be."""
        yield

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Say what the place refuses in words for a person."""
        yield


def gone(publication: Publication) -> EnvironmentLacks:
    """What to say of a place that was published to and has nothing there now."""
    return EnvironmentLacks(
        f"{publication.name} {publication.version} was published to {publication.location}, "
        "which holds no such release any more, or none that can be seen without credentials."
    )


@runtime_checkable
class StagePointers(Protocol):
    """A place that keeps a pointer for each stage, beside its releases."""

    def point(self, publication: Publication, stage: str) -> bool:
        """Let a stage's pointer name a release; returns whether it had to be moved.

        Raises:
            EnvironmentLacks: the place cannot be reached, holds no such release, or knows no such pointer.
        """
