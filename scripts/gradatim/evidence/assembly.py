"""A release before it is published: every file, where it lies now and what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from gradatim.evidence.manifest import FileEntry, Manifest, hash_files, refuse_collisions, safe_path
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

Source = Path | bytes
"""Where a file's bytes come from."""


@dataclass(frozen=True)
class ReleaseFiles:
    """Every file of a release.

    Attributes:
        tag: short name of the version's tag, which is also the release's name wherever it is published.
        record: what ``release.json`` says.
        manifest: the model's files.
        sources: where each file's bytes come from, by its path in the release.
        signature: the file ``release.sig``; None for an unsigned release.
        attested: the attestations that were signed with it, by the name of the file.
    """

    tag: str
    record: ReleaseRecord
    manifest: Manifest
    sources: Mapping[str, Source]
    signature: bytes | None = None
    attested: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def signable(self) -> tuple[FileEntry, ...]:
        """What a signature covers: every file but itself, ``release.json`` included, sorted by path."""
        return signable(self.manifest, self.record, self.attested)

    @cached_property
    def entries(self) -> tuple[FileEntry, ...]:
        """What every file must be, ``release.json`` and the signature included, sorted by path."""
        if self.signature is None:
            return self.signable
        own = FileEntry(SIGNATURE_FILE, len(self.signature), sha256_bytes(self.signature))
        return tuple(sorted([*self.signable, own], key=lambda entry: entry.path))

    @property
    def kept(self) -> dict[str, bytes]:
        """What git keeps besides record and manifest: evidence, signature and the rest, by path; never the model."""
        kept = {
            entry.path: self._read(entry.path) for entry in self.record.files if entry.path != MANIFEST_FILE
        }
        kept |= self.attested
        return kept if self.signature is None else {**kept, SIGNATURE_FILE: self.signature}

    def with_signature(
        self, signature: bytes | None, attested: Mapping[str, bytes] | None = None
    ) -> ReleaseFiles:
        """The same release, signed, with what was attested of it; with None, unsigned."""
        given = dict(attested or {})
        signed = given if signature is None else {**given, SIGNATURE_FILE: signature}
        others = (SIGNATURE_FILE, *ATTESTATION_FILES)
        sources = {path: source for path, source in self.sources.items() if path not in others}
        return replace(self, sources={**sources, **signed}, signature=signature, attested=given)

    def _read(self, path: str) -> bytes:
        source = self.sources[path]
        return source if isinstance(source, bytes) else source.read_bytes()


def signable(
    manifest: Manifest, record: ReleaseRecord, attested: Mapping[str, bytes]
) -> tuple[FileEntry, ...]:
    """Every file of a release but its signature, ``release.json`` included, sorted by path."""
    data = record.to_bytes()
    own = FileEntry(RECORD_FILE, len(data), record.digest)
    others = [FileEntry(path, len(data), sha256_bytes(data)) for path, data in attested.items()]
    return tuple(sorted([*manifest.files, *record.files, own, *others], key=lambda entry: entry.path))


def assemble(
    manifest: Manifest,
    root: Path,
    evidence: Bundle,
    *,
    tag: str,
    version: str,
    stage: str | None,
    variant: str,
    commit: str,
    previous: str | None,
    committed: Mapping[str, str] | None = None,
    others: Mapping[str, Source] | None = None,
) -> ReleaseFiles:
    """Put a release together: the model's files, the manifest, the evidence, and what else belongs to it.

    Args:
        manifest: the released variant's files.
        root: the folder that they lie in.
        evidence: every statement of the release.
        tag: short name of the version's tag.
        version, stage, variant, commit, previous, committed: as in ``ReleaseRecord``.
        others: report, model card, ML-BOM: by their path in the release.

    Raises:
        BrokenEvidence: a path is unsafe, or two files want the same place.
        InvalidInput: a file cannot be read.
    """
    additional: dict[str, Source] = {MANIFEST_FILE: manifest.to_bytes(), EVIDENCE_FILE: evidence.to_bytes()}
    additional.update({safe_path(path): source for path, source in (others or {}).items()})
    digests = hash_files([source for source in additional.values() if isinstance(source, Path)])
    entries = []
    for path, source in additional.items():
        size, digest = (len(source), sha256_bytes(source)) if isinstance(source, bytes) else digests[source]
        entries.append(FileEntry(path, size, digest))
    record = ReleaseRecord(
        manifest.name,
        version,
        stage,
        variant,
        commit,
        manifest.digest,
        previous,
        tuple(entries),
        committed or {},
    )
    # Not through a dictionary: it would lose a model's file that is called like one of ours.
    refuse_collisions(
        [
            RECORD_FILE,
            SIGNATURE_FILE,
            *ATTESTATION_FILES,
            *additional,
            *(entry.path for entry in manifest.files),
        ]
    )
    sources: dict[str, Source] = {entry.path: root / entry.path for entry in manifest.files}
    return ReleaseFiles(tag, record, manifest, {**sources, **additional, RECORD_FILE: record.to_bytes()})
