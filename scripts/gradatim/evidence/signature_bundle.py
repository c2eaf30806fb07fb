"""What a release's signature says: one sigstore bundle over every file, in the format of OpenSSF Model Signing.

The statement inside names the version and the SHA-256 of every file of the release but itself, so the peer's own tool
verifies a published folder too::

    model_signing verify key releases/v1.0.0 --signature releases/v1.0.0/release.sig --public_key release.pub

Format: https://github.com/ossf/model-signing-spec.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradatim.errors import BrokenEvidence
from gradatim.evidence.manifest import strict_json
from gradatim.evidence.release_record import ATTESTATION_FILES, SIGNATURE_FILE

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
PAYLOAD = "application/vnd.in-toto+json"
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class SignedContent:
    """What a signature says, before anybody checked that it holds.

    Attributes:
        subject: ``digits@v1.1.0``.
        files: hex SHA-256 by path.
        payload: the bytes that were signed.
        fingerprint: hex SHA-256 of the public key's PEM form; None where a certificate stands for an identity.
    """

    subject: str
    files: Mapping[str, str]
    payload: bytes
    fingerprint: str | None


def subject_of(name: str, version: str) -> str:
    """What the signature of a version calls it."""
    return f"{name}@{version}"


def read_signature(path: Path) -> bytes | None:
    """A signed file, as ``release.sig``; None where there is none. No more of it is read than a signature may have."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(_MOST_BYTES + 1)


def read_attested(folder: Path) -> dict[str, bytes]:
    """The attestations that lie in a folder, by name."""
    found = {name: read_signature(folder / name) for name in ATTESTATION_FILES}
    return {name: data for name, data in found.items() if data is not None}


def read_content(data: bytes) -> SignedContent:
    """Read a signature strictly, without checking that it holds.

    Raises:
        BrokenEvidence: it is not a bundle of Model Signing 1.0 over whole files.
    """
    name = SIGNATURE_FILE
    if len(data) > _MOST_BYTES:
        raise BrokenEvidence(f"{name} is broken: a signature has no {_MOST_BYTES} bytes and more.")
    bundle = strict_json(data, name)
    try:
        envelope = bundle["dsseEnvelope"]
        known = bundle.keys() == {"mediaType", "verificationMaterial", "dsseEnvelope"}
        known &= envelope.keys() == {"payload", "payloadType", "signatures"}
        known &= (bundle["mediaType"], envelope["payloadType"]) == (BUNDLE, PAYLOAD)
        payload = base64.b64decode(envelope["payload"], validate=True)
        statement = strict_json(payload, f"the statement in {name}")
        predicate = statement["predicate"]
        known &= (statement["_type"], statement["predicateType"]) == (_STATEMENT, _PREDICATE)
        known &= predicate["serialization"]["method"] == "files" and len(statement["subject"]) == 1
        known &= all(resource["algorithm"] == "sha256" for resource in predicate["resources"])
        files = {str(resource["name"]): str(resource["digest"]) for resource in predicate["resources"]}
        known &= len(files) == len(predicate["resources"])
        subject = str(statement["subject"][0]["name"])
        public = bundle["verificationMaterial"].get("publicKey")
        fingerprint = str(public["hint"]) if public else None
        known &= bool(public) != ("certificate" in bundle["verificationMaterial"])
    except (KeyError, TypeError, AttributeError, IndexError, binascii.Error, ValueError) as error:
        raise BrokenEvidence(f"{name} is broken: it is no bundle of OpenSSF Model Signing 1.0.") from error
    if not known:
        raise BrokenEvidence(f"{name} is broken: it is no bundle of OpenSSF Model Signing 1.0.")
    return SignedContent(subject, files, payload, fingerprint)
