"""Is this the release that it says it is? Every answer that is not yes is a finding with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.finding import Finding, Problem, Verification
from gradatim.evidence.manifest import FileEntry, Manifest, hash_files
from gradatim.evidence.release_record import (
    ATTESTATION_FILES,
    EVIDENCE_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    ReleaseRecord,
)
from gradatim.evidence.signature_bundle import read_attested, read_signature
from gradatim.evidence.signatures import Signatures
from gradatim.evidence.statement import Bundle
from gradatim.files import list_files, sha256_bytes
from gradatim.gates.verdict import Verdict

T = TypeVar("T")


def verify_folder(folder: Path, *, signatures: Signatures | None = None) -> Verification:
    """Verify a published release by its own files, offline.

    That a folder agrees with itself does not prove that it is the release: its tag in git does that, or a trusted
    signature. Without one the answer is ``self-consistent``.

    Args:
        folder: holds ``release.json``, ``manifest.json``, the evidence and the model's files; where its name is a version,
            it should be that one.
        signatures: who may sign it, and whether somebody must have.

    Raises:
        InvalidInput: there is no such folder, or it holds a symbolic link.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder. Give a version, or the folder of a published release.")
    findings: list[Finding] = []
    record = _read(folder, RECORD_FILE, ReleaseRecord.from_bytes, "broken record", findings)
    manifest = _read(folder, MANIFEST_FILE, Manifest.from_bytes, "broken manifest", findings)
    evidence = _read(folder, EVIDENCE_FILE, Bundle.from_bytes, "broken evidence", findings)
    if record is None or manifest is None:
        return Verification(None, None, None, findings=tuple(findings))
    if record.manifest != manifest.digest or record.name != manifest.name:
        text = f"{folder / MANIFEST_FILE} is the manifest of another release."
        findings.append(Finding("other release", MANIFEST_FILE, text))
    named = folder.name.rpartition("@")[2]
    if named.startswith("v") and named != record.version:
        text = f"{folder} holds {record.name} {record.version}, not {named}: another release is in its place."
        findings.append(Finding("other release", str(folder), text))
    checked, problems = check_files(
        folder, [*manifest.files, *record.files], also=(RECORD_FILE, SIGNATURE_FILE, *ATTESTATION_FILES)
    )
    findings += problems
    if evidence is not None:
        findings += check_evidence(evidence, record.manifest, record.variant)
    signature = read_signature(folder / SIGNATURE_FILE)
    attested = read_attested(folder)
    signed, said, problems = (signatures or Signatures()).judge(signature, record, manifest, attested)
    if signed:
        checked += [SIGNATURE_FILE, *attested]
    return Verification(
        record.name,
        record.version,
        manifest.digest,
        tuple(checked),
        signed,
        said,
        findings=(*findings, *problems),
        vouched=said.removeprefix("signed by ") if signed else None,
        gates=evidence.gates(record.variant) if evidence is not None else 0,
    )


def check_files(
    folder: Path, entries: Iterable[FileEntry], *, also: Sequence[str] = ()
) -> tuple[list[str], list[Finding]]:
    """Compare every file of a folder with what it should be.

    Args:
        folder: where the files are.
        entries: what should be there.
        also: names that may be there besides.

    Returns:
        the paths that hold, and every altered, missing or extra file.

    Raises:
        InvalidInput: the folder holds a symbolic link.
    """
    wanted = {entry.path: entry for entry in entries}
    present = set(list_files(folder))
    there = [path for path in sorted(wanted) if path in present]
    # A different size settles it without reading the file.
    sizes = {path: (folder / path).stat().st_size for path in there}
    same_size = [folder / path for path in there if sizes[path] == wanted[path].size]
    digests = hash_files(same_size)
    good, findings = [], []
    for path in sorted(wanted):
        if path not in present:
            findings.append(Finding("missing file", path, f"{folder / path} is missing."))
        elif sizes[path] != wanted[path].size:
            text = f"{folder / path} has {sizes[path]} bytes where the release has {wanted[path].size}."
            findings.append(Finding("altered file", path, text))
        elif digests[folder / path][1] != wanted[path].sha256:
            text = f"{folder / path} was altered: its SHA-256 is not that of the release."
            findings.append(Finding("altered file", path, text))
        else:
            good.append(path)
    for path in sorted(present - wanted.keys() - set(also)):
        findings.append(Finding("extra file", path, f"{folder / path} is not part of the release."))
    return good, findings


def check_evidence(evidence: Bundle, manifest: str, variant: str) -> list[Finding]:
    """Does the evidence speak of exactly these bytes, and does all of it say PASS?

    Args:
        evidence: every statement of the release.
        manifest: hex manifest digest.
        variant: the variant that was released, whose gates count.
    """
    findings = []
    _, foreign = evidence.linked(manifest)
    for statement in foreign:
        text = f"The evidence of {statement.step} speaks of another model, not of {manifest[:12]}."
        findings.append(Finding("foreign evidence", statement.step, text))
    if not any(statement.variant(manifest) for statement in evidence.of("gate")):
        text = f"There is no evidence of gate about {manifest[:12]}."
        findings.append(Finding("missing evidence", "gate", text))
    for statement in evidence.statements:
        if statement in foreign:
            continue
        refused = [gate for gate in statement.gates if gate.variant == variant and gate.refuses]
        for gate in refused:
            text = f"The gate {gate.gate} said {gate.verdict.value}: {gate.text}"
            findings.append(Finding("refused gate", gate.gate, text))
        if not refused and statement.verdict is not Verdict.PASS:
            text = f"The step {statement.step} said {statement.verdict.value}, and only PASS releases."
            findings.append(Finding("refused gate", statement.step, text))
    return findings


def check_kept(
    record: bytes, manifest: bytes, evidence: bytes | None, *, digest: str, record_digest: str | None
) -> tuple[ReleaseRecord | None, Manifest | None, list[Finding]]:
    """Check what git keeps about a version against what its tag vouches for.

    Args:
        record: bytes of ``release.json``.
        manifest: bytes of ``manifest.json``.
        evidence: bytes of the evidence; None when there is none.
        digest: hex manifest digest in the tag's message.
        record_digest: hex SHA-256 of ``release.json`` in the tag's message.
    """
    findings: list[Finding] = []
    parsed_record = _parsed(record, RECORD_FILE, ReleaseRecord.from_bytes, "broken record", findings)
    if record_digest is None or sha256_bytes(record) != record_digest:
        text = f"{RECORD_FILE} is not the one that the tag vouches for: it or the tag's message was altered."
        findings.append(Finding("broken record", RECORD_FILE, text))
    parsed_manifest = _parsed(manifest, MANIFEST_FILE, Manifest.from_bytes, "broken manifest", findings)
    if sha256_bytes(manifest) != digest:
        text = (
            f"{MANIFEST_FILE} is not the one that the tag vouches for: it or the tag's message was altered."
        )
        findings.append(Finding("broken manifest", MANIFEST_FILE, text))
    if parsed_record is not None:
        if parsed_record.manifest != digest:
            text = f"{RECORD_FILE} names another manifest than the tag: it belongs to another release."
            findings.append(Finding("other release", RECORD_FILE, text))
        findings += _kept_evidence(parsed_record, evidence, digest)
    return parsed_record, parsed_manifest, findings


def _kept_evidence(record: ReleaseRecord, evidence: bytes | None, digest: str) -> list[Finding]:
    entry = record.evidence
    if entry is None or evidence is None:
        return [
            Finding("missing evidence", EVIDENCE_FILE, f"{record.name} {record.version} has no evidence.")
        ]
    if sha256_bytes(evidence) != entry.sha256:
        text = f"{EVIDENCE_FILE} was altered: its SHA-256 is not that of the release."
        return [Finding("broken evidence", EVIDENCE_FILE, text)]
    findings: list[Finding] = []
    parsed = _parsed(evidence, EVIDENCE_FILE, Bundle.from_bytes, "broken evidence", findings)
    return findings if parsed is None else check_evidence(parsed, digest, record.variant)


def _read(
    folder: Path, name: str, read: Callable[[bytes, str], T], problem: Problem, findings: list[Finding]
) -> T | None:
    """One file of a release; None, with a finding, where it is missing or broken."""
    try:
        data = (folder / name).read_bytes()
    except OSError:
        missing: Problem = "missing evidence" if name == EVIDENCE_FILE else "missing file"
        findings.append(Finding(missing, name, f"{folder / name} is missing: this is no complete release."))
        return None
    return _parsed(data, name, lambda data, name: read(data, str(folder / name)), problem, findings)


def _parsed(
    data: bytes, name: str, read: Callable[[bytes, str], T], problem: Problem, findings: list[Finding]
) -> T | None:
    try:
        return read(data, name)
    except BrokenEvidence as error:
        findings.append(Finding(problem, name, str(error)))
        return None
