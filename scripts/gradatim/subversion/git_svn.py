"""A git repository that git-svn made from Subversion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.registry import tags
from gradatim.registry.git import PushRejected, RefUpdate
from gradatim.registry.revision import Revision
from gradatim.subversion.remote import NAME, SubversionRemote, split_path
from gradatim.subversion.repository import SubversionRepository
from gradatim.subversion.server import Server, location_at


class GitSvn(SubversionRepository):
    """A git repository made by git-svn. Versions are copied to ``tags`` in Subversion as well.

    Without any git remote Subversion takes its place, for the tags, the stages and the evidence.
    """

    @cached_property
    def remote(self) -> str | None:
        """A git remote where there is one, else Subversion."""
        return self._git_remote() or NAME

    def push(self, remote: str, updates: Sequence[RefUpdate]) -> bool:
        """Push references; versions are copied in Subversion first, whose word decides a race.

        Raises:
            PushRejected: somebody else was first; nothing is left, here or there.
            UsageError: Subversion has another tag of that name, or the commit is not in Subversion yet.
        """
        if remote == NAME:
            return super().push(remote, updates)
        versions = [update for update in updates if _is_version(update.ref)]
        made = self._subversion.copy(versions) if versions else False
        try:
            return super().push(remote, updates)
        except (PushRejected, EnvironmentLacks):
            if made and self._is_without(remote, versions):
                self._subversion.take_back(versions)
            raise

    def _is_without(self, remote: str, updates: Sequence[RefUpdate]) -> bool:
        """Whether it is sure that a git remote took none of the updates; a broken connection leaves it open."""
        try:
            there = super().remote_refs(remote, *(update.ref for update in updates))
        except EnvironmentLacks:
            return False
        return all(update.ref not in there or there[update.ref].id != update.new for update in updates)

    def check_taggable(self) -> None:
        """Refuse a commit that Subversion does not have.

        Raises:
            UsageError: it was not committed to Subversion, or was changed since.
            EnvironmentLacks: git-svn is not installed.
        """
        head = self.head()
        marked = Revision.of(self.text("cat-file", "commit", head))
        result = self._result(["svn", "find-rev", f"r{marked.number}"]) if marked else None
        if result is not None and b"is not a git command" in result.stderr:
            raise EnvironmentLacks(
                "git-svn is not installed. Install it (`apt install git-svn`) and run again."
            )
        if result is None or os.fsdecode(result.stdout).strip() != head:
            raise UsageError(
                f"The commit {head[:7]} is not in Subversion, so no tag there could be a copy of it. "
                "Run: git svn dcommit, then run again."
            )

    @cached_property
    def _subversion(self) -> SubversionRemote:
        newest = self.text("log", "-1", "--grep=^git-svn-id: ", "--format=%B", "HEAD")
        found = Revision.of(newest)
        if found is None:
            raise EnvironmentLacks(f"No commit of {self.root} came from Subversion. Run: git svn fetch")
        location = location_at(found.url)
        where = split_path(location.path)
        if where is None:
            raise EnvironmentLacks(
                f"{found.url} is neither a trunk nor one of the branches beside it, so there is no folder for tags."
            )
        return SubversionRemote(Server(location.root), where[0], location.uuid, self)


def _is_version(ref: str) -> bool:
    name = tags.parse(ref.removeprefix("refs/tags/")) if ref.startswith("refs/tags/") else None
    return name is not None and name.action == "register"
