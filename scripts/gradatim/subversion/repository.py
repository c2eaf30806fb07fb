"""What repositories share whose project lies in Subversion: commits that stand for a revision, and its server as remote."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from gradatim.registry.git import RefUpdate, RemoteRef, Repository
from gradatim.registry.lfs import LfsPointer
from gradatim.registry.revision import Revision
from gradatim.subversion.remote import EMPTY_TREE, NAME, SubversionRemote


class SubversionRepository(Repository):
    """What both have in common: some commits stand for a revision, and the remote may be Subversion."""

    @cached_property
    def _subversion(self) -> SubversionRemote:
        """The server, which each kind of checkout finds in its own way."""
        raise NotImplementedError

    def _standing_for(self, commit: str) -> tuple[str, int] | None:
        """Path and revision in Subversion that a commit stands for; None when git has its files."""
        found = self._stands.get(commit, ())
        if found == ():
            text = os.fsdecode(self._result(["cat-file", "commit", commit]).stdout)
            marked = Revision.of(text) if self.central or text.startswith(f"tree {EMPTY_TREE}\n") else None
            path = marked.path(self._subversion.server.root) if marked else None
            found = (path, marked.number) if marked and path is not None else None
            self._stands[commit] = found
        return found or None

    @cached_property
    def _stands(self) -> dict[str, tuple[str, int] | None]:
        return {}

    # what lies in a commit

    def tree(self, revision: str) -> dict[str, str]:
        """Paths of the files in a commit, with something that names each one's content."""
        source = self._standing_for(revision)
        if source is None:
            return super().tree(revision)
        path, number = source
        nodes = self._subversion.server.list(path, number, deep=True) or {}
        return {name: f"{node.revision}" for name, node in nodes.items() if node.kind == "file"}

    def has_file(self, commit: str, path: str) -> bool:
        """Whether a plain file lies at a path of a commit."""
        source = self._standing_for(commit)
        if source is None:
            return super().has_file(commit, path)
        node = self._subversion.server.node(f"{source[0]}/{path}", source[1])
        return node is not None and node.kind == "file"

    def lfs_pointer(self, commit: str, path: str) -> LfsPointer | None:
        """The Git LFS pointer at a path of a commit; None when the file itself is there."""
        return None if self._standing_for(commit) else super().lfs_pointer(commit, path)

    def show(self, commit: str, path: str) -> bytes:
        """The bytes of a small file at a commit."""
        source = self._standing_for(commit)
        if source is None:
            return super().show(commit, path)
        return self._subversion.server.read(f"{source[0]}/{path}", source[1])

    def export(self, commit: str, path: str, target: Path) -> None:
        """Write a file as it was at a commit, streamed."""
        source = self._standing_for(commit)
        if source is None:
            super().export(commit, path, target)
        else:
            self._subversion.server.export(f"{source[0]}/{path}", source[1], target)

    def sha256(self, commit: str, path: str) -> str:
        """Hex SHA-256 of a file at a commit, streamed."""
        source = self._standing_for(commit)
        if source is None:
            return super().sha256(commit, path)
        return self._subversion.server.sha256(f"{source[0]}/{path}", source[1])

    # Subversion as the remote

    def remote_url(self, remote: str | None = None) -> str | None:
        """Where a git remote lies, without any password in it; None when there is none."""
        return None if (remote or self.remote) == NAME else super().remote_url(remote)

    def remote_refs(self, remote: str, *patterns: str) -> dict[str, RemoteRef]:
        """What the remote holds now, by full reference name."""
        if remote != NAME:
            return super().remote_refs(remote, *patterns)
        found = self._subversion.refs()
        return {
            ref: there
            for ref, there in found.items()
            if not patterns or any(fnmatch.fnmatchcase(ref, pattern) for pattern in patterns)
        }

    def fetch(self, remote: str, refspecs: Iterable[str]) -> None:
        """Fetch references by explicit refspecs."""
        if remote != NAME:
            super().fetch(remote, refspecs)
            return
        wanted = list(refspecs)
        if wanted:
            self._subversion.fetch(wanted)

    def try_push(self, remote: str) -> None:
        """Ask whether the remote can be pushed to; Subversion tells that to a commit alone."""
        if remote != NAME:
            super().try_push(remote)

    def push(self, remote: str, updates: Sequence[RefUpdate]) -> bool:
        """Push references all together or not at all."""
        if remote != NAME:
            return super().push(remote, updates)
        self._subversion.push(updates)
        return True

    def revision(self, commit: str) -> Mapping[str, Mapping[str, str | int]]:
        """Where a commit came from: the ``url``, ``revision`` and ``uuid`` in Subversion."""
        found = Revision.of(self.text("cat-file", "commit", commit))
        if found is None:
            return {}
        if found.url.startswith("^"):
            found = replace(found, url=f"{self._subversion.server.root}{found.url[1:]}")
        return found.told
