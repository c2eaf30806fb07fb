"""A project on a forge: where it lies, and how files of a release are named where names are plain."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gradatim.errors import BrokenEvidence, UsageError
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.files import sha256_bytes
from gradatim.registry.git import Repository

_SSH = re.compile(r"ssh://(?:[^@/]+@)?(?P<host>[^:/]+)(?::\d+)?/(?P<path>.+)")
_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>[^/].*)")
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


def plain_name(path: str) -> str:
    """The name that a file goes by where only letters, digits, ``.``, ``_`` and ``-`` keep their form.

    A path that is such a name already stays as it is; any other gets a digest of itself, so that no two meet.
    """
    if _PLAIN.fullmatch(path) and ".." not in path:
        return path
    readable = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-") or "file"
    return f"{readable[-80:].strip('-')}.{sha256_bytes(path.encode())[:12]}"


def by_plain_name(entries: tuple[FileEntry, ...]) -> dict[str, FileEntry]:
    """The files of a release by the names that they go by; empty ones are left out, for forges refuse them.

    Raises:
        BrokenEvidence: two files would go by one name.
    """
    filled = [entry for entry in entries if entry.size]
    named = {plain_name(entry.path): entry for entry in filled}
    if len(named) != len(filled):
        raise BrokenEvidence(
            "Two files of the release would go by one name where it is published. Rename one."
        )
    return named


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
