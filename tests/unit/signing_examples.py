"""Keys, and releases that are signed with them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from registry_examples import commit_file, new_repository, release_files

from gradatim.evidence.authenticity import Trust
from gradatim.evidence.signatures import Signatures
from gradatim.evidence.signing import KeySigner
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import Sign, publish
from gradatim.releasing.signing import Signing


def write_key(
    folder: Path, name: str = "release", *, password: str | None = None, curve: ec.EllipticCurve | None = None
) -> Path:
    """A new private key, and its public half beside it: ``release.key``, ``release.pub``."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        lock = serialization.BestAvailableEncryption(password.encode())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    (folder / f"{name}.key").write_bytes(private)
    return folder / f"{name}.key"


def signing_with(key: Path) -> Sign:
    """Signs as the steps do, and believes the public half alone."""
    return Signing(KeySigner.load(str(key)), Trust((key.with_suffix(".pub"),)))


def demanding(key: Path) -> Signatures:
    """Believes the public half of a key, and takes nothing unsigned."""
    return Signatures(Trust((key.with_suffix(".pub"),)), demanded=True)


def signed_repository(place: Path, key: Path | None) -> Path:
    """Two releases, the second committed in git too, published to ``releases`` beside it; unsigned without a key."""
    repo = new_repository(place / "repo", remote=place / "remote.git")
    publisher = FolderPublisher(place / "releases", root=repo)
    sign = signing_with(key) if key else None
    publish(Repository.find(repo), release_files(repo, "v1.0.0", b"old weights"), [publisher], sign=sign)
    commit_file(repo, "model/digits.onnx", b"new weights")
    second = release_files(repo, "v1.1.0", b"new weights", previous="v1.0.0")
    publish(Repository.find(repo), second, [publisher], sign=sign)
    return repo
