"""What every publisher can do, whatever it publishes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gradatim.errors import BrokenEvidence
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import strict_json
from gradatim.files import canonical_json, sha256_bytes

_FIELDS = ("publisher", "location", "name", "version", "manifest")


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
        place: where it waits, in the publisher's own terms.
        public: where it is public already; None while it is not.
    """

    release: ReleaseFiles
    place: str
    public: Publication | None = None


@runtime_checkable
class Publisher(Protocol):
    """A place that releases are published to.

    Each call asks the place first what is there, so that calling again after a crash does only the rest.

    Attributes:
        kind: ``folder``, ``s3``, ...: the key in the contract's ``publish:``.
        location: the place as a whole, absolute.
    """

    kind: str

    @property
    def location(self) -> str: ...

    def publication(self, release: ReleaseFiles) -> Publication:
        """Where a release is public once it was published here; nothing is asked."""

    def draft(self, release: ReleaseFiles) -> Draft:
        """Upload a release unseen, read it back and compare; resume what an earlier run left.

        A release that is public already, byte for byte, comes back with ``public`` set; nothing is written.

        Raises:
            BrokenEvidence: the version is public with other bytes.
            EnvironmentLacks: the place cannot be written or reached.
        """

    def publish(self, draft: Draft) -> Publication:
        """Make a draft public in one step, look at it as anybody could, and compare.

        Raises:
            BrokenEvidence: somebody else published other bytes under this version first.
        """

    def holds(self, release: ReleaseFiles) -> bool:
        """Whether exactly this release is public here."""

    def discard(self, draft: Draft) -> None:
        """Take back a draft that will not be published."""

    def open(self, publication: Publication, into: Path) -> Path:
        """A local folder with the files of a publication: the place itself when it is local, else ``into``.

        Raises:
            EnvironmentLacks: the place cannot be reached or holds no such release.
        """


@runtime_checkable
class StagePointers(Protocol):
    """A place that keeps a pointer for each stage, beside its releases."""

    def point(self, publication: Publication, stage: str) -> bool:
        """Let a stage's pointer name a release; returns whether it had to be moved.

        Raises:
            EnvironmentLacks: the place cannot be reached, holds no such release, or knows no such pointer.
        """
