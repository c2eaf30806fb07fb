"""Who signs releases here, and whose signatures the contract believes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.ci.identity import identity_token
from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.attestations import attestations
from gradatim.evidence.authenticity import Trust, public_fingerprint
from gradatim.evidence.finding import UNSIGNED
from gradatim.evidence.release_record import EVIDENCE_FILE
from gradatim.evidence.signature_bundle import subject_of
from gradatim.evidence.signatures import Signatures, check_signature
from gradatim.evidence.signing import (
    KEY_VARIABLE,
    PASSWORD_VARIABLE,
    IdentitySigner,
    KeySigner,
    Signer,
)
from gradatim.evidence.statement import Bundle

if TYPE_CHECKING:
    from gradatim.contract.reading import ReadContract


def signatures_of(contract: ReadContract) -> Signatures:
    """Whom the contract believes, and which of its stages demand a signature."""
    signing = contract.parts.signing
    last = contract.ladder[-1]
    demanding = {
        name: stage.tag if stage.tag is not None else "" if name == last else name
        for name, stage in contract.parts.stages.items()
        if stage.signed
    }
    if signing is None:
        trust = Trust()
    else:
        keys = tuple(contract.root / key for key in signing.key)
        trust = Trust(keys, signing.identity, signing.issuer)
    return Signatures(trust, demanding=frozenset(demanding), suffixes=frozenset(demanding.values()))


@dataclass(frozen=True)
class Signing:
    """What becomes of a release's signature in this run.

    Attributes:
        signer: who signs; None where nobody does and no stage demands it.
        trust: whom the contract believes.
    """

    signer: Signer | None
    trust: Trust

    @property
    def description(self) -> str:
        """In words: ``signed with the key in GRADATIM_SIGNING_KEY``, or ``unsigned``."""
        return f"signed {self.signer.description}" if self.signer else UNSIGNED

    def __call__(self, release: ReleaseFiles) -> ReleaseFiles:
        """The release with its signature: the one that it has, else a new one, held against the contract before it counts.

        Raises:
            EnvironmentLacks: it cannot be made, or not be checked.
            BrokenEvidence: the contract does not believe it.
        """
        subject = subject_of(release.record.name, release.record.version)
        if release.signature is None and self.signer is not None:
            release = self._signed(release, self.signer, subject)
        if release.signature is None:
            return release
        found = check_signature(release.signature, release.signable, subject, self.trust)
        if found.problems:
            raise BrokenEvidence(
                f"The signature of {subject} is none that the contract believes. {found.problems[0]} Nothing was tagged."
            )
        return release

    @staticmethod
    def _signed(release: ReleaseFiles, signer: Signer, subject: str) -> ReleaseFiles:
        """Attested first, so that the signature covers the attestations."""
        evidence = Bundle.from_bytes(release.kept.get(EVIDENCE_FILE, b""))
        stated = attestations(release.record, release.manifest, evidence)
        attested = {name: signer.attest(subject, statement) for name, statement in stated.items()}
        release = release.with_signature(None, attested)
        return release.with_signature(signer.sign(subject, release.signable), attested)


def signing_for(
    contract: ReadContract, stage: str | None, environment: Mapping[str, str] | None = None
) -> Signing:
    """Who signs a release for a stage, found out before anything is written.

    Args:
        contract: whom it believes, and whether the stage demands a signature.
        stage: the stage that the release is for.
        environment: the variables of this process.

    Raises:
        EnvironmentLacks: the stage demands a signature and nobody can sign here, or the key is of no use.
        UsageError: a public key of the contract cannot be used.
    """
    env = os.environ if environment is None else environment
    trust = signatures_of(contract).trust
    demanding = stage if stage is not None and contract.parts.stages[stage].signed else None
    if demanding is not None and not trust:
        raise EnvironmentLacks(
            f"{contract.where('stages', demanding, 'signed')}: {demanding} takes signed releases only, and the contract does "
            "not say whose signature counts. Add it, for example `signing: {key: keys/release.pub}`, and commit that key. "
            "Nothing was written."
        )
    given = env.get(KEY_VARIABLE, "").strip()
    if given and (trust.keys or not trust):
        return Signing(_key_signer(contract, trust, given, env.get(PASSWORD_VARIABLE) or None), trust)
    try:
        if trust.identities and identity_token() is not None:
            return Signing(IdentitySigner(identity_token), trust)
    except EnvironmentLacks:
        if demanding is not None:
            raise
    if demanding is not None:
        raise EnvironmentLacks(
            f"{contract.where('stages', demanding, 'signed')}: {demanding} takes signed releases only, and nobody can sign "
            f"here. {_what_to_do(trust)} Nothing was written."
        )
    return Signing(None, trust)


def _key_signer(contract: ReadContract, trust: Trust, given: str, password: str | None) -> Signer:
    signer = KeySigner.load(given, password)
    known = [public_fingerprint(key) for key in trust.keys]
    if known and signer.fingerprint not in known:
        keys = " or ".join(key.name for key in trust.keys)
        raise EnvironmentLacks(
            f"{contract.where('signing', 'key')}: the key in {KEY_VARIABLE} is not the private half of {keys}, so nobody "
            "would believe its signature. Set the right one, or add its public half to `signing.key`. Nothing was written."
        )
    return signer


def _what_to_do(trust: Trust) -> str:
    ways = []
    if trust.keys:
        keys = " or ".join(key.name for key in trust.keys)
        ways.append(f"set {KEY_VARIABLE} to the path of the private key that belongs to {keys}")
    if trust.identities:
        ways.append(
            "run this in the CI job whose identity the contract names, with the right to an identity token"
        )
    said = ", or ".join(ways)
    return f"{said[0].upper()}{said[1:]}."
