"""Projects in Subversion: a plain working copy, and a git repository that git-svn made from one.

A working copy has a small git repository of its own below ``.gradatim``. It holds no files of the project, only the
tags and the evidence, which Subversion keeps as well; deleting it loses nothing. A commit in it stands for a revision,
and what lies in that commit is read from Subversion.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.files import cannot_write
from gradatim.registry import subversion, tags
from gradatim.registry.git import LfsPointer, PushRejected, RefUpdate, RemoteRef, Repository, without_user
from gradatim.registry.subversion import Server
from gradatim.registry.subversion_remote import (
    EMPTY_TREE,
    NAME,
    Revision,
    SubversionRemote,
    commit_for,
    split_path,
)

_FOLDER = ".gradatim"


class _WithSubversion(Repository):
    """What both have in common: some commits stand for a revision, and the remote may be Subversion."""

    @cached_property
    def _subversion(self) -> SubversionRemote:
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

    def push(self, remote: str, updates: Sequence[RefUpdate]) -> None:
        """Push references all together or not at all."""
        if remote != NAME:
            super().push(remote, updates)
        else:
            self._subversion.push(updates)

    def revision(self, commit: str) -> dict[str, str | int]:
        """The ``url``, ``revision`` and ``uuid`` in Subversion that a commit came from."""
        return revision_of(self, commit, self._root_url())

    def _root_url(self) -> str:
        raise NotImplementedError


class WorkingCopy(_WithSubversion):
    """A working copy of a project's trunk or branch, seen from any folder inside it."""

    central = True

    def __init__(self, root: Path, place: subversion.Place, project: str, line: str) -> None:
        name = hashlib.sha256(f"{place.uuid}/{project}".encode()).hexdigest()[:12]
        super().__init__(root, root / _FOLDER / "subversion" / f"{name}.git", shallow=False)
        self._at = ["--git-dir", str(self.git_dir)]
        self._place, self._project, self._line = place, project, line

    @classmethod
    def around(cls, folder: Path) -> WorkingCopy:
        """The working copy that holds a folder, its own small repository made if there is none yet.

        Raises:
            EnvironmentLacks: svn or git is not installed, or the folder lies outside trunk, branches and tags.
        """
        here = folder.resolve()
        top = next(place for place in (here, *here.parents) if (place / ".svn").is_dir())
        place = subversion.place_of(top)
        inside = here.relative_to(top).as_posix()
        found = split_path("/".join(part for part in (place.path, inside) if part not in ("", ".")))
        if found is None:
            raise EnvironmentLacks(
                f"{folder} is ^/{place.path} of Subversion. gradatim needs the usual folders: what is released lies in "
                "`trunk` or `branches/NAME`, and `tags` is beside them. Change into the working copy of the trunk."
            )
        project, line = found
        whole = f"{project}/{line}" if project else line
        if whole != place.path and not whole.startswith(f"{place.path}/" if place.path else ""):
            raise EnvironmentLacks(
                f"{top} is only ^/{place.path}, and a tag is a copy of all of ^/{whole}. Check that out: "
                f"svn checkout {place.root}/{whole}"
            )
        root = top / Path(whole).relative_to(place.path or ".")
        found_place = place if root == top else subversion.place_of(root)
        repository = cls(root, found_place, project, line)
        repository._prepare()
        return repository

    def _prepare(self) -> None:
        if self.git_dir.is_dir():
            return
        folder = self.git_dir.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".gitignore").write_text("*\n")
            temporary = Path(tempfile.mkdtemp(dir=folder, suffix=".part"))
        except OSError as error:
            raise cannot_write(folder, error) from error
        try:
            self._at = ["-C", str(folder)]
            self.run("init", "--quiet", "--bare", "--template=", str(temporary))
            temporary.rename(self.git_dir)
        except OSError as error:
            if not self.git_dir.is_dir():  # else another process was faster
                raise cannot_write(self.git_dir, error) from error
        finally:
            self._at = ["--git-dir", str(self.git_dir)]
            shutil.rmtree(temporary, ignore_errors=True)

    @cached_property
    def _subversion(self) -> SubversionRemote:
        return SubversionRemote(Server(self._place.root), self._project, self._place.uuid, self)

    @cached_property
    def remote(self) -> str | None:
        """Subversion itself."""
        return NAME

    def branch(self) -> str | None:
        """``trunk``, or the branch's own name; None in a copy of a tag."""
        return None if self._line.startswith("tags/") else self._line.removeprefix("branches/")

    def branches(self) -> set[str]:
        """``trunk`` and the names of the branches that the project has.

        Raises:
            EnvironmentLacks: the server cannot be reached.
        """
        server = self._subversion.server
        top = f"{self._project}/" if self._project else ""
        revision = server.youngest()
        listed = server.list(f"{top}branches", revision) or {}
        trunk = {"trunk"} if server.node(f"{top}trunk", revision) else set()
        return trunk | {name for name, node in listed.items() if node.kind == "dir"}

    def head(self) -> str:
        """The commit that stands for the last revision in which the checked-out folder changed."""
        place = subversion.place_of(self.root)
        return commit_for(self, place.path, place.changed, place.date, place.uuid)

    def short(self, commit: str) -> str:
        """``r42``."""
        found = self._standing_for(commit)
        return f"r{found[1]}" if found else commit[:7]

    def changed_files(self, *, untracked: bool = True) -> list[str]:
        """Files that differ from the revision or, if wanted, are not in Subversion."""
        found = subversion.changed_files(self.root, untracked=untracked)
        return [name for name in found if _FOLDER not in name.split("/")]

    def files_named(self, name: str) -> list[str]:
        """Every file of a name that Subversion has or could be given, relative to the root and sorted."""
        left_out = {".svn", _FOLDER}
        found = []
        for folder, inside, files in os.walk(self.root):
            inside[:] = [sub for sub in inside if sub not in left_out]
            if name in files:
                found.append((Path(folder) / name).relative_to(self.root).as_posix())
        return sorted(found)

    def tracks(self, path: Path) -> bool:
        """Whether a file or folder is in Subversion or about to be."""
        return subversion.is_tracked(path)

    def require_git(self, purpose: str) -> None:
        """Refuse what only makes sense for a git repository.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"{purpose} needs a git repository, and {self.root} is a working copy of Subversion. Call `gradatim run` in "
            "a job of your own CI system instead: docs/registry.md, Subversion."
        )

    def check_taggable(self) -> None:
        """Refuse a working copy that as a whole is no one revision.

        Raises:
            UsageError: it is mixed, switched or sparse.
        """
        said = subversion.summary(self.root)
        if "S" in said:
            what, remedy = "has parts that were switched to another branch", "Switch them back"
        elif "P" in said:
            what, remedy = "is only a part of its folder", "Run: svn update --set-depth infinity"
        elif ":" in said:
            what, remedy = f"holds files of several revisions ({said.rstrip('MSP')})", "Run: svn update"
        else:
            return
        raise UsageError(f"{self.root} {what}, so no revision is what was checked. {remedy}, then run again.")

    def _root_url(self) -> str:
        return self._place.root


class GitSvn(_WithSubversion):
    """A git repository made by git-svn. Versions are copied to ``tags`` in Subversion as well.

    Without any git remote Subversion takes its place, for the tags, the stages and the evidence.
    """

    @cached_property
    def remote(self) -> str | None:
        """A git remote where there is one, else Subversion."""
        return self._git_remote() or NAME

    def push(self, remote: str, updates: Sequence[RefUpdate]) -> None:
        """Push references; versions are copied in Subversion first, whose word decides a race.

        Raises:
            PushRejected: somebody else was first; nothing is left, here or there.
            UsageError: Subversion has another tag of that name, or the commit is not in Subversion yet.
        """
        if remote == NAME:
            super().push(remote, updates)
            return
        versions = [update for update in updates if _is_version(update.ref)]
        made = self._subversion.copy(versions) if versions else False
        try:
            super().push(remote, updates)
        except PushRejected:
            if made:
                self._subversion.take_back(versions)
            raise

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
    def _url(self) -> str:
        listed = self.text("config", "--get-regexp", r"^svn-remote\..*\.url$").split("\n")
        return listed[0].partition(" ")[2].rstrip("/")

    @cached_property
    def _subversion(self) -> SubversionRemote:
        found = re.search(r"^\s*git-svn-id: (\S+)@\d+ (\S+)$", self._newest_known(), re.MULTILINE)
        if found is None:
            raise EnvironmentLacks(f"No commit of {self.root} came from Subversion. Run: git svn fetch")
        place = subversion.place_at(found[1])
        where = split_path(place.path)
        if where is None:
            raise EnvironmentLacks(
                f"{found[1]} is neither a trunk nor one of the branches beside it, so there is no folder for tags."
            )
        return SubversionRemote(Server(place.root), where[0], place.uuid, self)

    def _newest_known(self) -> str:
        """The message of the newest commit that came from Subversion."""
        return self.text("log", "-1", "--grep=^git-svn-id: ", "--format=%B", "HEAD")

    def _root_url(self) -> str:
        return self._url


def revision_of(repository: Repository, commit: str, root: str = "^") -> dict[str, str | int]:
    """The ``url``, ``revision`` and ``uuid`` in Subversion that a commit came from; empty for any other.

    Args:
        root: URL of the repository's top, for commits that count from there.
    """
    marked = Revision.of(repository.text("cat-file", "commit", commit))
    if marked is None:
        return {}
    url = f"{root}{marked.url[1:]}" if marked.url.startswith("^") else marked.url
    return {"url": without_user(url), "revision": marked.number, "uuid": marked.uuid}


def _is_version(ref: str) -> bool:
    name = tags.parse(ref.removeprefix("refs/tags/")) if ref.startswith("refs/tags/") else None
    return name is not None and name.action == "register"
