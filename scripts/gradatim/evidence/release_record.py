"""``release.json``: what a version is made of, and the tag's message that vouches for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradatim.errors import BrokenEvidence
from gradatim.evidence.codec import encode
from gradatim.evidence.manifest import FileEntry, read_listing, refuse_collisions, safe_path, strict_json
from gradatim.files import canonical_json, sha256_bytes

SCHEMA = "urn:gradatim:release:v1"
RECORD_FILE = "release.json"
MANIFEST_FILE = "manifest.json"
EVIDENCE_FILE = "evidence.intoto.jsonl"
CONTRACT_FILE = "gradatim.yml"
"""The contract that a release was judged by, whatever it was called."""
REPORT_FILE = "report.html"
GOLDEN_FILE = "golden.npz"
CARD_FILE = "model-card.md"
BOM_FILE = "ml-bom.cdx.json"
SCORE_FILE = ".eval_results/gradatim.yaml"
SIGNATURE_FILE = "release.sig"
"""Over every other file, so no record can list it; the tag's message names its digest."""
PROVENANCE_FILE = "provenance.sigstore.json"
TEST_RESULT_FILE = "test-result.sigstore.json"
ATTESTATION_FILES = (PROVENANCE_FILE, TEST_RESULT_FILE)
"""Signed one by one, so no record can list them; the signature covers them."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True)
class ReleaseRecord:
    """What a version is made of. It holds no clock: the same release has the same bytes.

    Attributes:
        name: the model's name.
        version: ``v1.4.0-beta.2``.
        stage: the stage that it was released to; None where there are no stages.
        variant: which variant was chosen: ``int8-static``.
        commit: id of the tagged commit.
        manifest: hex manifest digest of the model's files.
        previous: the version that it replaces; None for the first.
        files: every other file of the release: evidence, report, model card.
        committed: where model files lie in the tagged commit, by their path in the release.
    """

    name: str
    version: str
    stage: str | None
    variant: str
    commit: str
    manifest: str
    previous: str | None
    files: tuple[FileEntry, ...]
    committed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(sorted(self.files, key=lambda entry: entry.path)))
        refuse_collisions([RECORD_FILE, SIGNATURE_FILE, *(entry.path for entry in self.files)])

    @property
    def digest(self) -> str:
        """Hex SHA-256 of ``release.json``."""
        return sha256_bytes(self.to_bytes())

    @property
    def evidence(self) -> FileEntry | None:
        """The entry of the evidence; None when the release carries none."""
        return next((entry for entry in self.files if entry.path == EVIDENCE_FILE), None)

    def to_bytes(self) -> bytes:
        """The file ``release.json``, canonical JSON."""
        wire = {"schema": SCHEMA, "committed": {}, **encode(self), "manifest": f"sha256:{self.manifest}"}
        return canonical_json(wire)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = RECORD_FILE) -> ReleaseRecord:
        """Read ``release.json`` strictly; ``name`` says where it came from.

        Raises:
            BrokenEvidence: an unknown or missing field, a wrong kind of value, not the canonical form.
        """
        record = strict_json(data, name)
        if not isinstance(record, dict) or record.pop("schema", None) != SCHEMA:
            raise BrokenEvidence(f"{name} is broken: it is no record of a release.")
        wire = {**record, "manifest": str(record.get("manifest")).removeprefix("sha256:")}
        found = read_listing(cls, wire, data, name)
        if not all((found.name, found.version, found.variant)):
            raise BrokenEvidence(f"{name} is broken: name, version and variant must be text.")
        if not _SHA256.fullmatch(found.manifest) or not _COMMIT.fullmatch(found.commit):
            raise BrokenEvidence(f"{name} is broken: its commit or its manifest is no digest.")
        for path in found.committed:
            safe_path(path)
        return found

    def tag_message(self, signature: str | None = None) -> str:
        """The message of the version's tag: a line for people, then what it vouches for.

        Args:
            signature: hex SHA-256 of the release's signature; None for an unsigned release.
        """
        stage = f" for {self.stage}" if self.stage else ""
        lines = [f"{self.name} {self.version}{stage}", "", f"model: {self.name}", f"version: {self.version}"]
        if self.stage:
            lines.append(f"stage: {self.stage}")
        if self.previous:
            lines.append(f"previous: {self.previous}")
        lines += [f"manifest: sha256:{self.manifest}", f"release: sha256:{self.digest}"]
        if signature:
            lines.append(f"signature: sha256:{signature}")
        return "\n".join(lines) + "\n"
