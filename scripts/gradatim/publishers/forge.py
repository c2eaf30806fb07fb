"""Projects on a server, each with releases that are found by their tags; and files where names are plain."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry, Manifest
from gradatim.evidence.release_record import MANIFEST_FILE, RECORD_FILE, ReleaseRecord
from gradatim.files import sha256_bytes
from gradatim.publishers.publisher import Found, Publication, Publisher
from gradatim.publishers.transfer import save
from gradatim.registry.git import Repository

_SSH = re.compile(r"ssh://(?:[^@/]+@)?(?P<host>[^:/]+)(?::\d+)?/(?P<path>.+)")
_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>[^/].*)")
_PAGE = 100
_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Project:
    """A project of a forge.

    Attributes:
        server: ``https://github.com``.
        path: ``ada/digits``.
    """

    server: str
    path: str

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"{self.server}/{self.path}"


class ProjectPublisher(Publisher):
    """Publishes to a project on a server, where the tag of a release leads to it.

    Args:
        address: ``OWNER/NAME``, or an address of the project or of one release on its server; None takes the project
            that the git remote is of.
        repository: whose remote counts then.

    Attributes:
        server: the environment variable that names the server of an address without one, and which it is by default.
        below: what stands between the address of a project and the tag of a release.
    """

    server: ClassVar[tuple[str, str]]
    below: ClassVar[str]

    def __init__(self, address: str | None, repository: Repository | None = None) -> None:
        variable, usual = self.server
        where = (address or "").partition(self.below)[0]
        server = os.environ.get(variable) or usual
        self.project = find_project(where or None, self.kind, server, repository)

    @classmethod
    def at(cls, address: str | None, root: Path, repository: Repository | None) -> Publisher:
        """See ``Publisher.at``."""
        return cls(address, repository)

    @property
    def location(self) -> str:
        return self.project.url

    def address(self, release: ReleaseFiles) -> str:
        return f"{self.location}{self.below}{quote(release.tag, safe='')}"

    def tag(self, publication: Publication) -> str:
        """The tag that an address leads to."""
        return unquote(publication.location.partition(self.below)[2])


class ForgePublisher(ProjectPublisher):
    """Publishes to a forge, where files of a release go by plain names and none is empty."""

    remedy = "Delete that release, keep its tag"

    def names(self, release: ReleaseFiles) -> dict[str, FileEntry]:
        """See ``Publisher.names``.

        Raises:
            BrokenEvidence: two files would go by one name.
        """
        filled = [entry for entry in release.entries if entry.size]
        named = {plain_name(entry.path): entry for entry in filled}
        if len(named) != len(filled):
            raise BrokenEvidence(
                "Two files of the release would go by one name where it is published. Rename one."
            )
        return named

    def save(self, files: Found, into: Path) -> None:
        save_named(files, self.read, into)


def find_project(address: str | None, kind: str, server: str, repository: Repository | None) -> Project:
    """A project from ``OWNER/NAME``, from an address, or from the git remote when neither is given.

    Args:
        address: as the contract has it.
        kind: the publisher, for the message.
        server: of an address without one: ``https://github.com``.
        repository: whose remote counts when there is no address.

    Raises:
        UsageError: there is no remote, or it is no project of a forge.
    """
    written = address or (repository.remote_url() if repository else None) or ""
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+", written) and address:
        return Project(server.rstrip("/"), written)
    ssh = _SSH.fullmatch(written) or _SCP.fullmatch(written)
    if ssh and not written.startswith("http"):
        return Project(f"https://{ssh['host']}", ssh["path"].strip("/").removesuffix(".git"))
    web = re.fullmatch(r"(https?://[^/@]+)/(.+)", written)
    if web:
        return Project(web[1], web[2].strip("/").removesuffix(".git"))
    raise UsageError(
        f"The contract publishes to {kind}, and the git remote ({written or 'there is none'}) does not say to which "
        f"project. Name it: `- {kind}: OWNER/NAME`"
    )


def paged(ask: Callable[[Mapping[str, int]], list[Any]]) -> Iterator[Any]:
    """A listing that a forge gives page by page; ``ask`` gives the page of these parameters."""
    for number in itertools.count(1):
        found = ask({"per_page": _PAGE, "page": number})
        yield from found
        if len(found) < _PAGE:
            return


def plain_name(path: str) -> str:
    """The name that a file goes by where only letters, digits, ``.``, ``_`` and ``-`` keep their form.

    A path that is such a name already stays as it is; any other gets a digest of itself, so that no two meet.
    """
    if _PLAIN.fullmatch(path) and ".." not in path:
        return path
    readable = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-") or "file"
    return f"{readable[-80:].strip('-')}.{sha256_bytes(path.encode())[:12]}"


def description(release: ReleaseFiles) -> str:
    """What a forge says about a release, in Markdown."""
    record = release.record
    replaced = f", replaces {record.previous}" if record.previous else ""
    return (
        f"**{record.name} {record.version}**{replaced}\n\n"
        f"- stage: {record.stage or 'none'}\n- variant: {record.variant}\n- commit: {record.commit}\n"
        f"- manifest: `sha256:{record.manifest}`\n\n"
        f"Verify it in a clone of its repository: `gradatim verify {record.version}`\n"
    )


def save_named(
    assets: Mapping[str, Any],
    read: Callable[[Any], Iterable[bytes]],
    folder: Path,
    named: Callable[[str], str] = plain_name,
) -> None:
    """Write a release to a folder from a place where its files go by plain names.

    Which file is which is known from ``release.json`` and ``manifest.json``; what neither of them names keeps its
    name, and whoever compares the folder will see that it is too many.

    Args:
        assets: what there is, by name.
        read: opens one.
        folder: where to.
        named: the name that a file of a release goes by, from its path.

    Raises:
        BrokenEvidence: the record or the manifest is broken.
    """
    for name in (RECORD_FILE, MANIFEST_FILE):
        if name in assets:
            save(read(assets[name]), folder, name)
    entries: list[FileEntry] = []
    if (folder / RECORD_FILE).exists():
        entries += ReleaseRecord.from_bytes((folder / RECORD_FILE).read_bytes()).files
    if (folder / MANIFEST_FILE).exists():
        entries += Manifest.from_bytes((folder / MANIFEST_FILE).read_bytes()).files
    paths = {named(entry.path): entry.path for entry in entries}
    for name, asset in assets.items():
        if name not in (RECORD_FILE, MANIFEST_FILE):
            save(read(asset), folder, paths.get(name, name))
    for entry in entries:
        if entry.size == 0:  # such a place takes no empty file
            save([], folder, entry.path)
