"""The places that releases are published to: how each is opened, and where a release is public."""

from __future__ import annotations

from pathlib import Path

from gradatim.errors import UsageError
from gradatim.publishers.publisher import Publication, Publisher
from gradatim.registry.git import Repository
from gradatim.registry.ledger import Ledger


def publications_of(ledger: Ledger, version: str | None = None) -> list[Publication]:
    """Where a release is public, as git keeps it: of one version, or of every version of these bytes.

    Raises:
        BrokenEvidence: a record is broken.
    """
    found = []
    for path in ledger.paths(f"{version}/publications/" if version else ""):
        if "/publications/" in path:
            found.append(Publication.from_bytes(ledger.read(path), path))
    return found


def open_publisher(
    kind: str, address: str | None, *, root: Path, repository: Repository | None = None
) -> Publisher:
    """A publisher, from an entry of the contract or from the record of what was published.

    Args:
        kind: ``folder``, ``s3``, ...
        address: where it publishes to, or where something was published.
        root: what relative paths are relative to.
        repository: whose remote gives the address where the contract names none.

    Raises:
        EnvironmentLacks: the package that it needs is not installed.
        UsageError: there is no such publisher.
    """
    if kind == "folder" and address:
        from gradatim.publishers.folder import FolderPublisher

        return FolderPublisher(Path(address), root=root)
    if kind == "s3" and address:
        from gradatim.publishers.s3 import S3Publisher

        return S3Publisher(address)
    if kind == "oci" and address:
        from gradatim.publishers.oci import OciPublisher

        return OciPublisher(address)
    if kind == "github":
        from gradatim.publishers.github import GitHubPublisher

        return GitHubPublisher(address, repository)
    if kind == "gitlab":
        from gradatim.publishers.gitlab import GitLabPublisher

        return GitLabPublisher(address, repository)
    if kind == "huggingface" and address:
        from gradatim.publishers.huggingface import HuggingFacePublisher

        return HuggingFacePublisher(address)
    if kind == "mlflow" and address:
        from gradatim.publishers.mlflow import MlflowPublisher

        return MlflowPublisher(address)
    raise UsageError(f"This gradatim knows no publisher `{kind}`. A newer one may: update it.")
