"""Who made a signature: a key, or an identity that sigstore vouched for. Nothing here asks a network."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError, needs
from gradatim.evidence.release_record import SIGNATURE_FILE
from gradatim.evidence.signature_bundle import SignedContent
from gradatim.files import write_bytes

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_WHO_STARTED = "1.3.6.1.4.1.57264.1.18"
"""The certificate's extension that names the workflow file that was started (Fulcio: Build Config URI)."""


@dataclass(frozen=True)
class Trust:
    """Who may sign releases; nobody in particular when empty.

    Attributes:
        keys: public keys, PEM files with a curve P-256, P-384 or P-521.
        identities: whom a certificate of sigstore may be made out to: a workflow file at a ref, an e-mail address.
        issuer: who vouched for them: ``https://token.actions.githubusercontent.com``.
    """

    keys: tuple[Path, ...] = ()
    identities: tuple[str, ...] = ()
    issuer: str | None = None

    def __bool__(self) -> bool:
        return bool(self.keys or self.identities)


def signer_of(data: bytes, content: SignedContent, trust: Trust) -> str:
    """Who of those that are trusted made a signature, in words.

    Args:
        data: the file ``release.sig``.
        content: what it says.
        trust: who may sign.

    Raises:
        BrokenEvidence: none of them did, or it does not hold.
        EnvironmentLacks: the packages that check it are not installed.
        UsageError: a public key cannot be used.
    """
    return _by_key(data, content, trust) if content.fingerprint else _by_identity(data, content, trust)


def public_fingerprint(path: Path) -> str:
    """Hex SHA-256 of a public key in PEM form, which is what a signature calls it by.

    Raises:
        UsageError: the file is missing, or no public key of a curve that Model Signing knows.
        EnvironmentLacks: the packages are not installed.
    """
    _require("Checking a signature")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return fingerprint(load_pem_public_key(path.read_bytes()))
    except OSError as error:
        raise UsageError(
            f"The public key {path} cannot be read: {(error.strerror or str(error)).lower()}. "
            "Commit it, or correct `signing.key` in the contract."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{path} is no public key that a release can be checked with: a PEM file of a curve P-256, P-384 or "
            f"P-521 is wanted. Make it from the private one: openssl ec -in release.key -pubout -out {path.name}"
        ) from error


def fingerprint(public: Any) -> str:
    """Hex SHA-256 of a public key's PEM form.

    Raises:
        ValueError: it is of another kind than the curves that Model Signing knows.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in _CURVES:
        raise ValueError("not a curve P-256, P-384 or P-521")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.PEM, form)).hexdigest()


def known_files(subject: str, files: Mapping[str, str]) -> Any:
    """What stands in for hashing a folder in ``model_signing``: files whose digests are known already.

    Args:
        subject: the name that the statement gets.
        files: hex SHA-256 by path.
    """
    from model_signing import hashing, manifest
    from model_signing._hashing.hashing import Digest

    items = [
        manifest.FileManifestItem(path=Path(path), digest=Digest("sha256", bytes.fromhex(digest)))
        for path, digest in files.items()
    ]
    # Peers hash what lies in the folder: the signature itself is not part of what was signed.
    way = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": [SIGNATURE_FILE],
    }

    class KnownFiles(hashing.Config):  # type: ignore[misc]
        def hash(self, *_: Any, **__: Any) -> Any:
            return manifest.Manifest(subject, items, manifest.SerializationType.from_args(way))

    return KnownFiles()


def _require(purpose: str) -> None:
    with needs("model-signing", "sign", purpose):
        import model_signing  # noqa: F401


def _by_key(data: bytes, content: SignedContent, trust: Trust) -> str:
    named = {public_fingerprint(key): key for key in trust.keys}
    key = named.get(str(content.fingerprint))
    if key is None:
        whom = ", ".join([str(key.name) for key in trust.keys] or trust.identities)
        raise BrokenEvidence(
            f"{SIGNATURE_FILE} was made with another key ({str(content.fingerprint)[:12]}) than that of {whom}."
        )
    from model_signing import verifying

    with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
        path = Path(folder) / SIGNATURE_FILE
        write_bytes(path, data)
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
        try:
            config.set_hashing_config(known_files(content.subject, content.files)).verify(folder, path)
        except Exception as error:  # whatever a forged bundle makes the library stumble over
            raise BrokenEvidence(
                f"{SIGNATURE_FILE} does not hold: what it covers was altered after it was signed with {key.name}."
            ) from error
    return key.name


def _by_identity(data: bytes, content: SignedContent, trust: Trust) -> str:
    if not trust.identities:
        whom = ", ".join(key.name for key in trust.keys)
        raise BrokenEvidence(f"{SIGNATURE_FILE} was made by an identity, and only {whom} may sign.")
    _require("Checking a signature")
    logging.getLogger("sigstore").setLevel(
        logging.ERROR
    )  # else it warns that it asks no network, as it should not
    from sigstore.models import Bundle, ClientTrustConfig
    from sigstore.verify import Verifier

    try:
        root = ClientTrustConfig.production(offline=True).trusted_root
    except OSError as error:  # it keeps a copy below the home folder
        raise EnvironmentLacks(
            f"sigstore's root of trust cannot be opened: {(error.strerror or str(error)).lower()}. "
            "Set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    try:
        _, payload = Verifier(trusted_root=root).verify_dsse(Bundle.from_json(data), identity_policy(trust))
    except Exception as error:  # whatever a forged bundle makes the library stumble over
        said = (str(error).splitlines() or [""])[0].rstrip(".")
        raise BrokenEvidence(
            f"{SIGNATURE_FILE} does not hold as one of {' or '.join(trust.identities)} ({said}). Where it is newer than the "
            "installed package `sigstore`, update that: it holds the keys of the logs."
        ) from error
    if payload != content.payload:
        raise BrokenEvidence(f"{SIGNATURE_FILE} is broken: it holds two statements.")
    return " or ".join(trust.identities)


def identity_policy(trust: Trust) -> Any:
    """Which certificates are believed: those made out to one of the identities, as its issuer says.

    A certificate names both the workflow that ran and the one that was started. They differ where a workflow calls
    one of another repository, as those of gradatim are called: then every caller's certificate is made out to the same
    workflow, and only the one that was started tells whose release it is. So where that is named, it decides.
    """
    from cryptography.x509 import ObjectIdentifier
    from sigstore.verify import policy

    started = [policy.OIDCBuildConfigURI(identity) for identity in trust.identities]
    made_out = [policy.Identity(identity=identity) for identity in trust.identities]

    class WhoStartedIt:
        def verify(self, cert: Any) -> None:
            names = {extension.oid for extension in cert.extensions}
            chosen = started if ObjectIdentifier(_WHO_STARTED) in names else made_out
            policy.AnyOf(list(chosen)).verify(cert)

    return policy.AllOf([policy.OIDCIssuer(trust.issuer or ""), WhoStartedIt()])
