"""The places that releases are published to: how each is opened, and where a release is public."""

from __future__ import annotations

import importlib
from pathlib import Path

from gradatim.contract.stores import STORES
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
    row = STORES.get(kind)
    if row is None or (address is None and not row.of_the_remote):
        raise UsageError(f"This gradatim knows no publisher `{kind}`. A newer one may: update it.")
    module = importlib.import_module(f"gradatim.publishers.{kind}")
    publisher: type[Publisher] = getattr(module, row.publisher)
    return publisher.at(address, root, repository)
