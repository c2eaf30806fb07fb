"""Does a release's signature hold, for exactly its files, by somebody whose signature counts?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.assembly import signable
from gradatim.evidence.authenticity import Trust, signer_of
from gradatim.evidence.finding import UNSIGNED, Finding
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import SIGNATURE_FILE, ReleaseRecord
from gradatim.evidence.signature_bundle import SignedContent, read_content, subject_of


@dataclass(frozen=True)
class Checked:
    """What came out of checking a signature.

    Attributes:
        signer: who signed, in words; None where that is not known for certain.
        problems: every reason not to believe it, a sentence each.
    """

    signer: str | None
    problems: tuple[str, ...] = ()


def check_signature(data: bytes, entries: Iterable[FileEntry], subject: str, trust: Trust) -> Checked:
    """Does a signature hold, by somebody who is trusted, for exactly these files?

    Args:
        data: the file ``release.sig``.
        entries: every file of the release but the signature.
        subject: the version that it should be of.
        trust: who may sign; when empty, only what the signature covers is compared.

    Raises:
        EnvironmentLacks: the packages that check it are not installed.
        UsageError: a public key cannot be used.
    """
    try:
        content = read_content(data)
    except BrokenEvidence as error:
        return Checked(None, (str(error),))
    problems = _covers(content, entries, subject)
    if not trust:
        return Checked(None, problems)
    try:
        signer = signer_of(data, content, trust)
    except BrokenEvidence as error:
        return Checked(None, (*problems, str(error)))
    return Checked(signer, problems)


@dataclass(frozen=True)
class Signatures:
    """What a verifier knows and wants of signatures.

    Attributes:
        trust: who may sign.
        demanded: whether an unsigned release is refused.
        demanding: stages whose releases are refused unsigned.
        suffixes: the suffixes of their versions, empty for full releases: a record that names another stage than its
            version's escapes nothing.
    """

    trust: Trust = field(default_factory=Trust)
    demanded: bool = False
    demanding: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()

    def wanted(self, record: ReleaseRecord) -> bool:
        """Whether a release must be signed."""
        suffix = record.version.partition("+")[0].partition("-")[2].partition(".")[0]
        return self.demanded or record.stage in self.demanding or suffix in self.suffixes

    def judge(
        self,
        signature: bytes | None,
        record: ReleaseRecord,
        manifest: Manifest,
        attested: Mapping[str, bytes],
    ) -> tuple[bool, str, list[Finding]]:
        """Hold a signature, or the lack of one, against a release and the attestations beside it.

        Returns:
            whether it holds, what to say about it, and every reason not to believe the release.

        Raises:
            EnvironmentLacks: it must hold, and the packages that check it are not installed.
            UsageError: a public key cannot be used.
        """
        wanted = self.wanted(record)
        if signature is None:
            text = f"{record.name} {record.version} is unsigned, and a signature is demanded."
            if wanted:
                return False, UNSIGNED, [Finding("unsigned", SIGNATURE_FILE, text)]
            beside = f"is not part of {record.name} {record.version}, which is unsigned."
            return False, UNSIGNED, [Finding("extra file", path, f"{path} {beside}") for path in attested]
        subject = subject_of(record.name, record.version)
        try:
            found = check_signature(signature, signable(manifest, record, attested), subject, self.trust)
        except EnvironmentLacks as error:
            if wanted:
                raise
            return False, f"signed, not checked here: {error}", []
        findings = [Finding("bad signature", SIGNATURE_FILE, text) for text in found.problems]
        if findings:
            return False, "signed, and the signature does not hold", findings
        if found.signer is not None:
            return True, f"signed by {found.signer}", []
        said = "signed, not checked here: no key and no identity is known to check it with"
        text = f"Nobody is known whose signature {record.name} {record.version} should bear: name a key or an identity."
        return False, said, [Finding("unsigned", SIGNATURE_FILE, text)] if wanted else []


def _covers(content: SignedContent, entries: Iterable[FileEntry], subject: str) -> tuple[str, ...]:
    """What the signature was made over, held against what there is."""
    if content.subject != subject:
        return (f"{SIGNATURE_FILE} is the signature of {content.subject}, not of {subject}.",)
    wanted = {entry.path: entry.sha256 for entry in entries}
    altered = sorted(
        path for path in wanted.keys() & content.files.keys() if wanted[path] != content.files[path]
    )
    groups = {
        "covers other bytes of": altered,
        "does not cover": sorted(wanted.keys() - content.files.keys()),
        "covers files that are not part of the release:": sorted(content.files.keys() - wanted.keys()),
    }
    return tuple(f"{SIGNATURE_FILE} {what} {', '.join(paths)}." for what, paths in groups.items() if paths)
