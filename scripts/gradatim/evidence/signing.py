"""Making the signature of a release: with a private key, or without one in the name of a CI job."""

from __future__ import annotations

import base64
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gradatim.errors import EnvironmentLacks, needs
from gradatim.evidence.authenticity import fingerprint, known_files
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import SIGNATURE_FILE
from gradatim.evidence.signature_bundle import BUNDLE, PAYLOAD
from gradatim.files import canonical_json

KEY_VARIABLE = "GRADATIM_SIGNING_KEY"
PASSWORD_VARIABLE = "GRADATIM_SIGNING_PASSWORD"  # noqa: S105 (a variable's name)

_PEM = "-----BEGIN "


class Signer(Protocol):
    """Whoever can sign here."""

    @property
    def description(self) -> str:
        """In words: ``with the key in GRADATIM_SIGNING_KEY``."""

    def sign(self, subject: str, entries: Iterable[FileEntry]) -> bytes:
        """The file ``release.sig``.

        Raises:
            EnvironmentLacks: the key, a package or the network fails.
        """

    def attest(self, subject: str, statement: bytes) -> bytes:
        """A sigstore bundle with a statement of in-toto in its envelope.

        Raises:
            EnvironmentLacks: the key, a package or the network fails.
        """


@dataclass(frozen=True)
class KeySigner:
    """Signs with a private key.

    Attributes:
        pem: the key.
        password: what it is encrypted with, if it is.
        fingerprint: hex SHA-256 of its public half.
    """

    pem: bytes = field(repr=False)
    password: str | None = field(repr=False)
    fingerprint: str

    @classmethod
    def load(cls, given: str, password: str | None = None) -> KeySigner:
        """A signer from what the environment gives: the path of a PEM file, or the PEM text itself.

        Raises:
            EnvironmentLacks: the key cannot be read or used, or the packages are not installed.
        """
        _require()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        inline = given.lstrip().startswith(_PEM)
        try:
            pem = f"{given.strip()}\n".encode() if inline else Path(given).expanduser().read_bytes()
            private = load_pem_private_key(pem, password.encode() if password else None)
            return cls(pem, password, fingerprint(private.public_key()))
        except OSError as error:
            raise EnvironmentLacks(
                f"The signing key that {KEY_VARIABLE} names cannot be read: {(error.strerror or 'no such file').lower()}. "
                "Set it to the path of a PEM file."
            ) from error
        except TypeError as error:
            text = f"The signing key is encrypted. Set {PASSWORD_VARIABLE} to its password."
            if password:
                text = f"The signing key is not encrypted, and {PASSWORD_VARIABLE} is set. Unset it."
            raise EnvironmentLacks(text) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise EnvironmentLacks(
                f"{KEY_VARIABLE} gives no key that signs releases, or {PASSWORD_VARIABLE} is not its password: a private key of a curve P-256, P-384 or P-521 is wanted, as a PEM file. "
                "Make one: openssl ecparam -genkey -name prime256v1 -noout -out release.key"
            ) from error

    @property
    def description(self) -> str:
        return f"with the key in {KEY_VARIABLE}"

    def sign(self, subject: str, entries: Iterable[FileEntry]) -> bytes:
        """See ``Signer.sign``."""
        from model_signing import signing

        with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:  # only this user can look into it
            key = Path(folder) / "key.pem"
            key.touch(mode=0o600)
            key.write_bytes(self.pem)
            config = signing.Config().use_elliptic_key_signer(
                private_key=key, password=self.password.encode() if self.password else None
            )
            return _signed(config, subject, entries, Path(folder))

    def attest(self, subject: str, statement: bytes) -> bytes:
        """See ``Signer.attest``."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        private = load_pem_private_key(self.pem, self.password.encode() if self.password else None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)  # noqa: S101 (loading it looked)
        way = {256: hashes.SHA256(), 384: hashes.SHA384()}.get(private.curve.key_size, hashes.SHA512())
        said = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(statement), statement)
        signature = {"sig": _text(private.sign(said, ec.ECDSA(way))), "keyid": ""}
        return canonical_json({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": self.fingerprint}, "tlogEntries": []},
            "dsseEnvelope": {"payload": _text(statement), "payloadType": PAYLOAD, "signatures": [signature]},
        })  # fmt: skip


@dataclass(frozen=True)
class IdentitySigner:
    """Signs without a key: sigstore makes out a certificate to a CI job, and logs the signature publicly.

    Attributes:
        token: asks the CI system for a token of the job.
    """

    token: Callable[[], str | None]

    @property
    def description(self) -> str:
        return "in the name of this CI job, in sigstore's public log"

    def sign(self, subject: str, entries: Iterable[FileEntry]) -> bytes:
        """See ``Signer.sign``."""
        with self._identified(subject) as token, tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
            from model_signing import signing

            config = signing.Config().use_sigstore_signer(identity_token=token)
            return _signed(config, subject, entries, Path(folder))

    def attest(self, subject: str, statement: bytes) -> bytes:
        """See ``Signer.attest``."""
        with self._identified(subject) as token:
            from sigstore.dsse import Statement
            from sigstore.models import ClientTrustConfig
            from sigstore.oidc import IdentityToken
            from sigstore.sign import SigningContext

            context = SigningContext.from_trust_config(ClientTrustConfig.production())
            with context.signer(IdentityToken(token)) as signer:
                return str(signer.sign_dsse(Statement(statement)).to_json()).encode()

    @contextlib.contextmanager
    def _identified(self, subject: str) -> Iterator[str]:
        """A token of the job to sign with, and what goes wrong with it in words."""
        _require()
        token = self.token()
        if token is None:
            raise EnvironmentLacks("The CI system gives this job no identity any more. Run it again.")
        try:
            yield token
        except Exception as error:  # whatever a network, an authority or a log answers
            said = (str(error).splitlines() or [""])[0].rstrip(".")
            raise EnvironmentLacks(
                f"sigstore did not sign {subject} ({type(error).__name__}{': ' if said else ''}{said}). "
                "It needs tuf-repo-cdn.sigstore.dev, fulcio.sigstore.dev and rekor.sigstore.dev. "
                "Nothing was tagged: run it again."
            ) from error


def _signed(config: object, subject: str, entries: Iterable[FileEntry], folder: Path) -> bytes:
    target = folder / SIGNATURE_FILE
    files = {entry.path: entry.sha256 for entry in entries}
    config.set_hashing_config(known_files(subject, files)).sign(folder, target)  # type: ignore[attr-defined]
    return target.read_bytes()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _require() -> None:
    with needs("model-signing", "sign", "Signing a release"):
        import model_signing.signing  # noqa: F401
