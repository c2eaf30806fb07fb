"""The ledger: what git itself keeps about a release, beside its tags.

For each manifest digest one reference ``refs/gradatim/releases/<digest>`` names a chain of commits, each
adding files and none taking any away::

    manifest.json
    v1.4.0/release.json
    v1.4.0/evidence.intoto.jsonl
    v1.4.0/publications/folder-3f2a9c01.json

A release is found by its bytes, so a merge from one branch to another leaves its evidence where it is. The
commits hold no clock and no person: the same additions in the same order have the same ids everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput
from gradatim.registry.git import PushRejected, RefUpdate, Repository, pause
from gradatim.registry.history import LEDGER, Release
from gradatim.registry.sync import sync
from gradatim.registry.tag_object import IDENTITY

if TYPE_CHECKING:
    from gradatim.evidence.trend import Version

_ATTEMPTS = 5


@dataclass(frozen=True)
class Ledger:
    """What git keeps about one manifest digest.

    Attributes:
        digest: hex manifest digest.
        head: id of the newest commit; None when git keeps nothing yet.
        blobs: blob ids by path.
    """

    repository: Repository
    digest: str
    head: str | None
    blobs: Mapping[str, str]

    @property
    def ref(self) -> str:
        """The full name of its reference."""
        return f"{LEDGER}{self.digest}"

    def paths(self, folder: str = "") -> list[str]:
        """Every file below a folder, sorted."""
        return sorted(path for path in self.blobs if path.startswith(folder))

    def read(self, path: str) -> bytes:
        """One file.

        Raises:
            BrokenEvidence: it is not there.
        """
        return self.read_all([path])[0]

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Several files in one go, in their order.

        Raises:
            BrokenEvidence: one is not there.
        """
        for path in paths:
            if path not in self.blobs:
                raise BrokenEvidence(f"git keeps no {path} for the release {self.digest[:12]}.")
        found = self.repository.read_objects([self.blobs[path] for path in paths])
        for path, data in zip(paths, found, strict=True):
            if data is None:
                raise InvalidInput(f"git has no blob of {path} in {self.repository.root}.")
        return [data for data in found if data is not None]

    def adding(self, files: Mapping[str, bytes], date: str) -> RefUpdate | None:
        """Store more files, without changing the reference yet.

        Args:
            files: bytes by path.
            date: of the tagged commit, in git's raw form: it makes the commit's id the same on every run.

        Returns:
            the update that makes them part of the ledger; None when they all are already.

        Raises:
            BrokenEvidence: a file is there with other bytes; nothing in a ledger ever changes.
        """
        added = {path: self.repository.write_blob(data) for path, data in sorted(files.items())}
        for path, blob in added.items():
            if self.blobs.get(path, blob) != blob:
                raise BrokenEvidence(
                    f"git already keeps another {path} for the release {self.digest[:12]}, and evidence "
                    "never changes. A new version is needed for new evidence."
                )
        if added.keys() <= self.blobs.keys():
            return None
        tree = _write_tree(self.repository, {**self.blobs, **added})
        parents = ["-p", self.head] if self.head else []
        name, email = IDENTITY
        environment = {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_AUTHOR_DATE": f"@{date}",
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            "GIT_COMMITTER_DATE": f"@{date}",
        }
        new = sorted(path for path in added if path not in self.blobs)
        message = f"Keep {', '.join(new)}\n".encode()
        made = self.repository.run("commit-tree", *parents, tree, stdin=message, environment=environment)
        return RefUpdate(self.ref, os.fsdecode(made).strip(), self.head)


def open_ledger(repository: Repository, digest: str, *, fetch: bool = True) -> Ledger:
    """What git keeps about a manifest digest, fetched from the remote if it is not here.

    Args:
        repository: where to look.
        digest: hex manifest digest.
        fetch: whether to ask the remote when nothing is here.
    """
    ref = f"{LEDGER}{digest}"
    found = repository.local_refs(ref).get(ref)
    if found is None and fetch and repository.remote is not None:
        try:
            repository.fetch(repository.remote, [f"{ref}:{ref}"])
        except EnvironmentLacks:
            return Ledger(repository, digest, None, {})
        found = repository.local_refs(ref).get(ref)
    return Ledger(repository, digest, found, repository.tree(found) if found else {})


def versions_kept(repository: Repository, releases: Sequence[Release]) -> Iterator[Version]:
    """The evidence of releases as git has it here, in their order; a release without any is left out. No remote is asked.

    Raises:
        BrokenEvidence: what is there cannot be read.
    """
    from gradatim.evidence.release_record import EVIDENCE_FILE
    from gradatim.evidence.statement import Bundle

    for release in releases:
        if release.manifest is not None and release.active:
            ledger = open_ledger(repository, release.manifest, fetch=False)
            path = f"{release}/{EVIDENCE_FILE}"
            if path in ledger.blobs:
                yield str(release), release.manifest, Bundle.from_bytes(ledger.read(path)).statements


def keep(repository: Repository, digest: str, files: Mapping[str, bytes], commit: str) -> bool:
    """Add files to the ledger of a release, here and on the remote, unless they are there already.

    Args:
        repository: where, together with its remote if it has one.
        digest: hex manifest digest.
        files: bytes by path.
        commit: the tagged commit, whose date the ledger's own commit takes.

    Returns:
        whether anything was written.

    Raises:
        BrokenEvidence: a file is there with other bytes.
        EnvironmentLacks: the remote cannot be reached or does not allow the push.
    """
    date = repository.commit_date(commit)
    for attempt in range(1, _ATTEMPTS + 1):
        state = sync(repository, required=repository.remote is not None)
        ledger = open_ledger(repository, digest)
        update = ledger.adding(files, date)
        if update is None and (state.remote is None or state.refs.get(ledger.ref) == ledger.head):
            return False
        try:
            if state.remote is not None:
                new = update.new if update else ledger.head
                assert new is not None  # noqa: S101 (nothing to add means that something is there)
                repository.push(state.remote, [RefUpdate(ledger.ref, new, state.refs.get(ledger.ref))])
            if update is not None:
                repository.update_refs([update])
        except PushRejected:
            if attempt == _ATTEMPTS:
                raise
            pause(attempt)
            continue
        return True
    raise AssertionError("the loop ends by return or raise")


def _write_tree(repository: Repository, blobs: Mapping[str, str]) -> str:
    folders: dict[str, dict[str, str]] = {}
    entries: list[bytes] = []
    for path, blob in blobs.items():
        folder, _, rest = path.partition("/")
        if rest:
            folders.setdefault(folder, {})[rest] = blob
        else:
            entries.append(b"100644 blob %s\t%s\0" % (blob.encode(), os.fsencode(path)))
    for folder, inside in folders.items():
        tree = _write_tree(repository, inside)
        entries.append(b"040000 tree %s\t%s\0" % (tree.encode(), os.fsencode(folder)))
    return os.fsdecode(repository.run("mktree", "-z", stdin=b"".join(entries))).strip()
