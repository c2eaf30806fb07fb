"""Verifying a version: its tag, its manifest, its evidence, and every byte wherever it is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gradatim.errors import BrokenEvidence, GradatimError, InvalidInput
from gradatim.evidence.assembly import signable
from gradatim.evidence.finding import UNSIGNED, Finding, Verification
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import (
    EVIDENCE_FILE,
    MANIFEST_FILE,
    RECORD_FILE,
    SIGNATURE_FILE,
    ReleaseRecord,
)
from gradatim.evidence.signature_bundle import read_signature
from gradatim.evidence.signatures import Signatures
from gradatim.evidence.statement import Bundle
from gradatim.evidence.verify import check_files, check_kept
from gradatim.files import sha256_bytes, sha256_file
from gradatim.publishers.places import open_publisher, publications_of
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER, Registry, Release
from gradatim.registry.ledger import Ledger, open_ledger
from gradatim.registry.sync import Sync
from gradatim.releasing.publishing import attested_of


def verify_version(
    repository: Repository,
    registry: Registry,
    release: Release,
    *,
    sync: Sync | None = None,
    folders: Sequence[Path] = (),
    signatures: Signatures | None = None,
) -> Verification:
    """Verify a version against everything that is known about it.

    Args:
        repository: where it was tagged.
        registry: read from it.
        release: the version.
        sync: what the remote said, so that a moved tag is noticed; None to stay offline.
        folders: further places that should hold exactly this release: a download.
        signatures: who may sign it, and whether somebody must have.

    Returns:
        what was compared, and every reason not to believe it.
    """
    checked: list[str] = []
    notes: list[str] = []
    findings = _check_remote_tag(release, sync, checked)
    findings += _check_stages(registry, release, sync)
    if sync is not None and sync.remote is not None and not sync.reached:
        notes.append(f"The remote was not asked what it holds. {sync.reason}")
    _check_git_signature(repository, release, checked, notes)
    if release.manifest is None or release.record is None:
        text = f"The tag {release.tag} names no manifest, so nothing proves which bytes it means."
        findings.append(Finding("unproven tag", release.tag, text))
        return Verification(
            release.model, str(release), None, tuple(checked), findings=tuple(findings), notes=tuple(notes)
        )
    ledger = open_ledger(repository, release.manifest, fetch=sync is not None)
    record, manifest = _check_ledger(ledger, release, findings)
    signature = _kept_signature(ledger, release, findings)
    is_signed, said = False, UNSIGNED
    if record is not None:
        findings += _check_tag(repository, release, record, signature)
    if record is not None and manifest is not None:
        checked.append(f"evidence in {LEDGER}{release.manifest[:12]}")
        attested = attested_of(ledger, str(release))
        is_signed, said, problems = (signatures or Signatures()).judge(signature, record, manifest, attested)
        findings += problems
        if is_signed:
            checked.append(f"signature of every file, {said.removeprefix('signed ')}")
        compared = []
        if sync is None and repository.central:
            notes.append("The files of the commit lie on the server, which was not asked.")
        else:
            compared = _check_commit(repository, release, record, manifest, findings)
        checked += compared
        known = _Known(registry, release, record, manifest, signature, attested)
        public, unreachable = _check_publications(repository, ledger, known, findings)
        downloads = [line for folder in folders for line in known.check(folder, findings)]
        checked += [*public, *downloads]
        if unreachable and not (compared or public or downloads):
            findings += unreachable
        else:
            notes += [str(finding) for finding in unreachable]
        if not (unreachable or compared or public or downloads or findings):
            text = f"{release.tag} is neither in its commit nor published anywhere that git knows of."
            findings.append(Finding("unreachable", release.tag, text))
    return Verification(
        release.model,
        str(release),
        release.manifest,
        tuple(checked),
        is_signed,
        said,
        tuple(findings),
        tuple(notes),
        f"the tag {release.tag}",
        0 if record is None or findings else _judged(ledger, record),
    )


def _judged(ledger: Ledger, record: ReleaseRecord) -> int:
    """How many gates judged a release whose evidence holds."""
    evidence = Bundle.from_bytes(ledger.read(f"{record.version}/{EVIDENCE_FILE}"))
    return evidence.gates(record.variant)


def held_by_tag(
    found: Verification, folder: Path, repository: Repository, registry: Registry
) -> Verification | None:
    """Hold a folder that was compared with itself against the tag of its version; no remote and no place is asked.

    Returns:
        what was found with what the tag says to it; None where no tag of that name and version names a manifest.
    """
    releases = registry.model(found.name).releases if found.name else ()
    release = next((r for r in releases if str(r) == found.version and r.manifest and r.record), None)
    if release is None:
        return None
    whose = f"the tag {release.tag} of {repository.root}"
    vouched = {MANIFEST_FILE: release.manifest, RECORD_FILE: release.record}
    findings = [
        Finding(
            "altered file", name, f"{folder / name} is not the one that the tag {release.tag} vouches for."
        )
        for name, digest in vouched.items()
        if sha256_file(folder / name) != digest
    ]
    if not findings:
        signature = read_signature(folder / SIGNATURE_FILE)
        if (sha256_bytes(signature) if signature is not None else None) != release.signature:
            text = f"{folder / SIGNATURE_FILE} is not the one that the tag {release.tag} vouches for, or is missing."
            findings.append(Finding("bad signature", SIGNATURE_FILE, text))
        record = ReleaseRecord.from_bytes((folder / RECORD_FILE).read_bytes())
        findings += _check_tag(repository, release, record, signature)
    return replace(found, vouched=found.vouched or whose, findings=(*found.findings, *findings))


def releases_with_file(
    repository: Repository, registry: Registry, file: Path
) -> list[tuple[Release, FileEntry]]:
    """Which releases hold a file of exactly these bytes, lowest version first.

    Raises:
        InvalidInput: the file cannot be read.
    """
    try:
        digest = sha256_file(file)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    releases = [r for model in registry.models.values() for r in model.releases if r.manifest is not None]
    manifests = repository.read_objects(
        [f"{LEDGER}{release.manifest}:{MANIFEST_FILE}" for release in releases]
    )
    found = []
    for release, data in zip(releases, manifests, strict=True):
        if data is not None:
            files = Manifest.from_bytes(data, f"the manifest of {release.tag}").files
            found += [(release, entry) for entry in files if entry.sha256 == digest]
    return found


class _Known:
    """A release whose manifest and record are proven, to hold places against."""

    def __init__(
        self,
        registry: Registry,
        release: Release,
        record: ReleaseRecord,
        manifest: Manifest,
        signature: bytes | None,
        attested: Mapping[str, bytes],
    ) -> None:
        self.registry = registry
        self.release = release
        self.record = record
        self.entries = list(signable(manifest, record, attested))
        if signature is not None:
            self.entries.append(FileEntry(SIGNATURE_FILE, len(signature), sha256_bytes(signature)))

    def check(self, folder: Path, findings: list[Finding], place: str | None = None) -> list[str]:
        """Compare a folder, which is a download of ``place`` if that is given; returns what held, in words."""
        good, problems = self._compare(folder)
        where = place or str(folder)
        findings += [
            replace(
                found,
                where=found.where.replace(str(folder), where),
                text=found.text.replace(str(folder), where),
            )
            for found in problems
        ]
        return [f"{path} in {where}" for path in good]

    def _compare(self, folder: Path) -> tuple[list[str], list[Finding]]:
        findings = []
        manifest = folder / MANIFEST_FILE
        if manifest.is_file() and not manifest.is_symlink():
            digest = sha256_file(manifest)
            if digest != self.release.manifest:
                others = self.registry.with_manifest(digest, self.release.model)
                whose = f"that of {others[0]}" if others else "that of no release known here"
                text = (
                    f"{manifest} is {whose}, not that of {self.release}: another release stands in its place."
                )
                findings.append(Finding("other release", str(manifest), text))
        try:
            good, problems = check_files(folder, self.entries)
        except GradatimError as error:
            return [], [*findings, Finding("extra file", str(folder), str(error))]
        return good, [*findings, *problems]


def _check_remote_tag(release: Release, sync: Sync | None, checked: list[str]) -> list[Finding]:
    if sync is None or not sync.reached:
        return []
    there = sync.refs.get(f"refs/tags/{release.tag}")
    if there == release.tag_id:
        checked.append(f"tag {release.tag} on {sync.remote}")
        return []
    if there is None:
        return [
            Finding(
                "moved tag",
                release.tag,
                f"{sync.remote} has no tag {release.tag}: it was deleted or never pushed.",
            )
        ]
    text = f"The tag {release.tag} on {sync.remote} is not the one that is here: somebody moved it."
    return [Finding("moved tag", release.tag, text)]


def _check_stages(registry: Registry, release: Release, sync: Sync | None) -> list[Finding]:
    """A stage's tag that was moved to this release, or away from it."""
    moved = sync.moved if sync is not None else ()
    mine = [a for a in registry.model(release.model or "").assignments if a.release == release]
    text = "The tag {} on the remote is not the one that is here: somebody moved it."
    return [
        Finding("moved tag", a.tag, a.contradiction or text.format(a.tag))
        for a in mine
        if a.contradiction or a.tag in moved
    ]


def _check_git_signature(
    repository: Repository, release: Release, checked: list[str], notes: list[str]
) -> None:
    """A tag that git itself signed is worth a line; what a stage demands is the signature of the release."""
    if not release.git_signed:
        return
    against = repository.verify_tag(release.tag)
    if against is None:
        checked.append(f"git's own signature of the tag {release.tag}")
    else:
        notes.append(
            f"git signed the tag {release.tag}, and the key is not known here or it does not hold: {against}."
        )


def _kept_signature(ledger: Ledger, release: Release, findings: list[Finding]) -> bytes | None:
    path = f"{release}/{SIGNATURE_FILE}"
    if path not in ledger.blobs:
        if release.signature is not None:
            text = f"The tag {release.tag} vouches for a signature that git does not keep: it was removed."
            findings.append(Finding("missing signature", SIGNATURE_FILE, text))
        return None
    signature = ledger.read(path)
    if release.signature is not None and sha256_bytes(signature) != release.signature:
        text = (
            f"{SIGNATURE_FILE} is not the one that the tag vouches for: it or the tag's message was altered."
        )
        findings.append(Finding("bad signature", SIGNATURE_FILE, text))
    return signature


def _check_ledger(
    ledger: Ledger, release: Release, findings: list[Finding]
) -> tuple[ReleaseRecord | None, Manifest | None]:
    record_path, evidence_path = f"{release}/{RECORD_FILE}", f"{release}/{EVIDENCE_FILE}"
    lacking = [path for path in (MANIFEST_FILE, record_path) if path not in ledger.blobs]
    if lacking:
        text = (
            f"The tag {release.tag} vouches for the manifest {ledger.digest[:12]}, and git keeps no "
            f"{' and no '.join(lacking)} for it: the tag's message was altered, or the evidence is gone."
        )
        findings.append(Finding("missing evidence", release.tag, text))
        return None, None
    evidence = ledger.read(evidence_path) if evidence_path in ledger.blobs else None
    record, manifest, problems = check_kept(
        ledger.read(record_path),
        ledger.read(MANIFEST_FILE),
        evidence,
        digest=ledger.digest,
        record_digest=release.record,
    )
    findings.extend(problems)
    return record, manifest


def _check_tag(
    repository: Repository, release: Release, record: ReleaseRecord, signature: bytes | None
) -> list[Finding]:
    """The tag's message and commit must be the record's, letter for letter."""
    findings = []
    _, _, message = repository.read_object(release.tag_id, "tag").partition(b"\n\n")
    said = message.split(b"-----BEGIN ", 1)[0].decode(errors="replace")
    # A signature that is missing or another one is a finding of its own already.
    vouched = release.signature or (sha256_bytes(signature) if signature is not None else None)
    if said != record.tag_message(vouched):
        text = f"The message of the tag {release.tag} was altered: it is not the one of this release."
        findings.append(Finding("altered tag", release.tag, text))
    if release.commit != record.commit:
        text = (
            f"The tag {release.tag} marks {release.commit[:7]}, not {record.commit[:7]}, which was released."
        )
        findings.append(Finding("moved tag", release.tag, text))
    if (record.name, record.version) != (release.model, str(release)):
        text = f"The record of {release.tag} is that of {record.name} {record.version}."
        findings.append(Finding("other release", release.tag, text))
    return findings


def _check_commit(
    repository: Repository,
    release: Release,
    record: ReleaseRecord,
    manifest: Manifest,
    findings: list[Finding],
) -> list[str]:
    wanted = {entry.path: entry.sha256 for entry in manifest.files}
    good = []
    for path, place in sorted(record.committed.items()):
        where = f"{place} at commit {repository.short(release.commit)}"
        try:
            digest = repository.sha256(release.commit, place)
        except InvalidInput as error:
            findings.append(Finding("missing file", place, str(error)))
            continue
        if digest == wanted.get(path):
            good.append(where)
        else:
            findings.append(Finding("altered file", place, f"{where} is not the file of the release."))
    return good


def _check_publications(
    repository: Repository, ledger: Ledger, known: _Known, findings: list[Finding]
) -> tuple[list[str], list[Finding]]:
    """Compare every place where the version is public; returns what held, and the places that cannot be reached."""
    try:
        publications = publications_of(ledger, str(known.release))
    except BrokenEvidence as error:
        findings.append(Finding("broken record", "publications", str(error)))
        return [], []
    checked, unreachable = [], []
    for publication in publications:
        with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
            try:
                publisher = open_publisher(publication.publisher, publication.location, root=repository.root)
                folder = publisher.open(publication, Path(temporary))
            except BrokenEvidence as error:
                findings.append(Finding("broken record", publication.location, str(error)))
            except GradatimError as error:
                unreachable.append(Finding("unreachable", publication.location, str(error)))
            else:
                checked += known.check(folder, findings, publication.location)
    return checked, unreachable
