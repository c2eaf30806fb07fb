"""A plain working copy of Subversion.

It has a small git repository of its own below ``.gradatim``. That holds no files of the project, only the tags and the
evidence, which Subversion keeps as well; deleting it loses nothing. A commit in it stands for a revision, and what lies
in that commit is read from Subversion.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.files import cannot_write
from gradatim.registry.checkup import Surprise
from gradatim.subversion import svn
from gradatim.subversion.remote import NAME, SubversionRemote, commit_for, split_path
from gradatim.subversion.repository import SubversionRepository
from gradatim.subversion.server import Location, Server, location_of

_FOLDER = ".gradatim"


class WorkingCopy(SubversionRepository):
    """A working copy of a project's trunk or branch, seen from any folder inside it."""

    central = True

    def __init__(self, root: Path, location: Location, project: str, line: str) -> None:
        name = hashlib.sha256(f"{location.uuid}/{project}".encode()).hexdigest()[:12]
        super().__init__(root, root / _FOLDER / "subversion" / f"{name}.git", shallow=False)
        self._at = ["--git-dir", str(self.git_dir)]
        self._location, self._project, self._line = location, project, line

    @classmethod
    def around(cls, folder: Path) -> WorkingCopy:
        """The working copy that holds a folder, its own small repository made if there is none yet.

        Raises:
            EnvironmentLacks: svn or git is not installed, or the folder lies outside trunk, branches and tags.
        """
        here = folder.resolve()
        top = next(place for place in (here, *here.parents) if (place / ".svn").is_dir())
        location = location_of(top)
        inside = here.relative_to(top).as_posix()
        inner = split_path("/".join(part for part in (location.path, inside) if part not in ("", ".")))
        if inner is None:
            raise EnvironmentLacks(
                f"{folder} is ^/{location.path} of Subversion. gradatim needs the usual folders: what is released lies in "
                "`trunk` or `branches/NAME`, and `tags` is beside them. Change into the working copy of the trunk."
            )
        project, line = inner
        whole = f"{project}/{line}" if project else line
        if whole != location.path and not whole.startswith(f"{location.path}/" if location.path else ""):
            raise EnvironmentLacks(
                f"{top} is only ^/{location.path}, and a tag is a copy of all of ^/{whole}. Check that out: "
                f"svn checkout {location.root}/{whole}"
            )
        root = top / Path(whole).relative_to(location.path or ".")
        found = location if root == top else location_of(root)
        repository = cls(root, found, project, line)
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
        return SubversionRemote(Server(self._location.root), self._project, self._location.uuid, self)

    @cached_property
    def remote(self) -> str | None:
        """Subversion itself."""
        return NAME

    def branch(self) -> str | None:
        """``trunk``, or the branch's own name; None in a copy of a tag."""
        return None if self._line.startswith("tags/") else self._line.removeprefix("branches/")

    def branches(self) -> list[str]:
        """``trunk`` and the names of the branches that the project has.

        Raises:
            EnvironmentLacks: the server cannot be reached.
        """
        server = self._subversion.server
        top = f"{self._project}/" if self._project else ""
        revision = server.youngest()
        listed = server.list(f"{top}branches", revision) or {}
        trunk = {"trunk"} if server.node(f"{top}trunk", revision) else set()
        return sorted(trunk | {name for name, node in listed.items() if node.kind == "dir"})

    def head(self) -> str:
        """The commit that stands for the last revision in which the checked-out folder changed."""
        here = location_of(self.root)
        return commit_for(self, here.path, here.changed, here.date, here.uuid)

    def short(self, commit: str) -> str:
        """``r42``."""
        found = self._standing_for(commit)
        return f"r{found[1]}" if found else commit[:7]

    def changed_files(self, *, untracked: bool = True) -> list[str]:
        """Files that differ from the revision or, if wanted, are not in Subversion."""
        found = _changed_files(self.root, untracked=untracked)
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
        return _is_tracked(path)

    def require_git(self, purpose: str) -> None:
        """Refuse what only makes sense for a git repository.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"{purpose} needs a git repository, and {self.root} is a working copy of Subversion. Call `gradatim run` in "
            "a job of your own CI system instead: docs/how-to/subversion.md."
        )

    def check_taggable(self) -> None:
        """Refuse a working copy that as a whole is no one revision.

        Raises:
            UsageError: it is mixed, switched or sparse.
        """
        said = _summary(self.root)
        if "S" in said:
            what, remedy = "has parts that were switched to another branch", "Switch them back"
        elif "P" in said:
            what, remedy = "is only a part of its folder", "Run: svn update --set-depth infinity"
        elif ":" in said:
            what, remedy = f"holds files of several revisions ({said.rstrip('MSP')})", "Run: svn update"
        else:
            return
        raise UsageError(f"{self.root} {what}, so no revision is what was checked. {remedy}, then run again.")

    def checkup(self, branches: Mapping[str, str]) -> Iterator[Surprise]:
        """The tools, the working copy itself, and the branches of the stages."""
        if shutil.which("svnmucc") is None:
            text = "It makes tag and evidence one commit, and is not installed: apt install subversion"
            yield Surprise("no svnmucc", "this machine", text)
        try:
            self.check_taggable()
        except UsageError as error:
            yield Surprise("not one revision", "working copy", str(error), serious=False)
        try:
            there = self.branches()
        except EnvironmentLacks as error:
            yield Surprise("no server", "Subversion", str(error))
            return
        for stage, branch in branches.items():
            if branch not in there:
                where = "trunk" if branch == "trunk" else f"branches/{branch}"
                yield Surprise(
                    "no branch",
                    where,
                    f"The stage {stage} has no folder {where} beside `tags` yet. Make it with svn copy.",
                )


def _changed_files(folder: Path, *, untracked: bool = True) -> list[str]:
    """Files below a folder of a working copy that differ from what was checked out, relative to it."""
    result = svn.run(["svn", "--non-interactive", "status", "--xml", f"{folder}@"])
    if result.returncode != 0:
        raise svn.unusable(folder, result.stderr)
    found = []
    for entry in svn.parse(result.stdout).iter("entry"):
        state = entry.find("wc-status")
        if state is None or state.attrib["item"] in ("external", "ignored"):
            continue
        alike = state.attrib["item"] in ("normal", "none") and state.attrib["props"] in ("normal", "none")
        if not alike and (untracked or state.attrib["item"] != "unversioned"):
            found.append(Path(entry.attrib["path"]).relative_to(folder).as_posix())
    return sorted(found)


def _summary(folder: Path) -> str:
    """What ``svnversion`` says of a folder: ``42``, or ``40:42MSP`` for one that is mixed, modified, ..."""
    result = svn.run(["svnversion", "--no-newline", str(folder)])
    if result.returncode != 0:
        raise svn.unusable(folder, result.stderr)
    return os.fsdecode(result.stdout)


def _is_tracked(path: Path) -> bool:
    """Whether a file of a working copy, or any file in a folder, was committed or added."""
    result = svn.run(["svn", "--non-interactive", "info", "--xml", "--depth", "infinity", f"{path}@"])
    return result.returncode == 0 and b'kind="file"' in result.stdout
