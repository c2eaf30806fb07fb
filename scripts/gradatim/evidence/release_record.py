"""``release.json``: what a version is made of, and the tag's message that vouches for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradatim.errors import BrokenEvidence
from gradatim.evidence.manifest import FileEntry, refuse_collisions, safe_path, strict_json
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

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_FIELDS = frozenset(
    ("schema", "name", "version", "stage", "variant", "commit", "manifest", "previous", "committed", "files")
)


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
        return canonical_json(
            {
                "schema": SCHEMA,
                "name": self.name,
                "version": self.version,
                "stage": self.stage,
                "variant": self.variant,
                "commit": self.commit,
                "manifest": f"sha256:{self.manifest}",
                "previous": self.previous,
                "committed": dict(self.committed),
                "files": [entry.to_json() for entry in self.files],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, name: str = RECORD_FILE) -> ReleaseRecord:
        """Read ``release.json`` strictly; ``name`` says where it came from.

        Raises:
            BrokenEvidence: an unknown or missing field, a wrong kind of value, not the canonical form.
        """
        record = strict_json(data, name)
        if not isinstance(record, dict) or record.keys() != _FIELDS or record["schema"] != SCHEMA:
            raise BrokenEvidence(f"{name} is broken: it does not have exactly the fields of a release.")
        texts = ("name", "version", "variant", "commit", "manifest")
        if not all(isinstance(record[key], str) and record[key] for key in texts):
            raise BrokenEvidence(
                f"{name} is broken: name, version, variant, commit and manifest must be text."
            )
        if not all(record[key] is None or isinstance(record[key], str) for key in ("stage", "previous")):
            raise BrokenEvidence(f"{name} is broken: stage and previous must be text or null.")
        manifest = record["manifest"].removeprefix("sha256:")
        if not _SHA256.fullmatch(manifest) or not _COMMIT.fullmatch(record["commit"]):
            raise BrokenEvidence(f"{name} is broken: its commit or its manifest is no digest.")
        found = cls(
            record["name"],
            record["version"],
            record["stage"],
            record["variant"],
            record["commit"],
            manifest,
            record["previous"],
            _files(record["files"], name),
            _committed(record["committed"], name),
        )
        if found.to_bytes() != data:
            raise BrokenEvidence(
                f"{name} is broken: it is not written in the canonical form that its digest is of."
            )
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


def _files(record: Any, name: str) -> tuple[FileEntry, ...]:
    if not isinstance(record, list):
        raise BrokenEvidence(f"{name} is broken: files is not a list.")
    return tuple(FileEntry.from_json(entry, name) for entry in record)


def _committed(record: Any, name: str) -> dict[str, str]:
    if not isinstance(record, dict) or not all(isinstance(path, str) for path in record.values()):
        raise BrokenEvidence(f"{name} is broken: committed must map paths to paths.")
    for path in record:
        safe_path(path)
    return record
