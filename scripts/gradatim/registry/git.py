"""git, as the registry needs it: read-mostly, never interactive, its references changed all together or not at all."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.registry.checkup import Surprise
from gradatim.registry.git_process import call_git, last_words, pushing, refuse_embedded, without_user
from gradatim.registry.object_database import ObjectDatabase
from gradatim.registry.revision import Revision

_RACED = (
    "stale info",
    "fetch first",
    "already exists",
    "cannot lock ref",
    "failed to update ref",
    "reference already exists",
    "atomic transaction failed",
)
_LOCKED = ".lock': File exists"
_HOOKED = "aborted by hook"
_UNKNOWN_USER = ("could not read Username", "could not read Password", "Authentication failed")


class PushRejected(UsageError):
    """Somebody else changed one of the references first; nothing of this push was taken."""


class RefsHidden(EnvironmentLacks):
    """The remote took a push and does not show all of it."""


@dataclass(frozen=True)
class RefUpdate:
    """One reference of a push.

    Attributes:
        ref: full name: ``refs/tags/v1.0.0``.
        new: id of the object that it shall name.
        old: id that it must name now; None when it must not exist yet.
    """

    ref: str
    new: str
    old: str | None = None


@dataclass(frozen=True)
class RemoteRef:
    """A reference as a remote reports it; ``peeled`` is the commit behind an annotated tag."""

    id: str
    peeled: str


class Repository(ObjectDatabase):
    """A git repository with a working tree (or a bare one), seen from any folder inside it.

    Attributes:
        root: the top of the working tree; the git folder itself in a bare repository.
        git_dir: the folder that holds the objects and references.
        shallow: whether the history was cut off by ``--depth``.
        choose_remote: picks the remote to speak to by name out of all; None leaves that to git's configuration.
        central: whether only the remote knows the tags, so that reading them always asks it; in git every clone does.
    """

    central = False

    def __init__(self, root: Path, git_dir: Path, *, shallow: bool) -> None:
        super().__init__(root, git_dir)
        self.shallow = shallow
        self.choose_remote: Callable[[Sequence[str]], str] | None = None

    @classmethod
    def find(cls, path: Path) -> Repository:
        """The git repository that holds a path.

        Raises:
            EnvironmentLacks: git is not installed, the path lies in no repository or in one among the files of
                another, or git does not trust its owner.
        """
        place = path if path.is_dir() else path.parent
        questions = ("--git-common-dir", "--is-bare-repository", "--is-shallow-repository", "--show-toplevel")
        result = call_git(["-C", str(place), "rev-parse", *questions])
        said = os.fsdecode(result.stdout).split("\n")
        bare = len(said) > 1 and said[1] == "true"
        if result.returncode != 0 and not bare:
            raise _no_repository(place, os.fsdecode(result.stderr))
        git_dir = (place / said[0]).resolve()
        if bare or not Path(said[3], ".git").exists():
            refuse_embedded(git_dir)
        return cls(git_dir if bare else Path(said[3]), git_dir, shallow=said[2] == "true")

    def setting(self, key: str) -> str | None:
        """A value of git's configuration, None when it is not set."""
        result = self._result(["config", "--get", key])
        return os.fsdecode(result.stdout).rstrip("\n") if result.returncode == 0 else None

    # where the working tree stands

    def resolve(self, revision: str) -> str:
        """The full commit id that a revision names.

        Raises:
            UsageError: there is no such commit here.
        """
        result = self._result(
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
        )
        if result.returncode != 0:
            raise UsageError(
                f"There is no commit `{revision}` in {self.root}. Fetch it, or check the spelling."
            )
        return os.fsdecode(result.stdout).strip()

    def head(self) -> str:
        """The id of the commit that is checked out.

        Raises:
            UsageError: nothing was committed yet.
        """
        result = self._result(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
        if result.returncode != 0:
            raise UsageError(f"{self.root} has no commit yet. Commit the model and its contract first.")
        return os.fsdecode(result.stdout).strip()

    def branch(self) -> str | None:
        """The branch that is checked out; None on a detached HEAD, as CI checks out."""
        result = self._result(
            ["symbolic-ref", "--quiet", "HEAD"]
        )  # `--short` says heads/main beside a tag `main`
        name = os.fsdecode(result.stdout).strip()
        return name.removeprefix("refs/heads/") if result.returncode == 0 else None

    def branches(self) -> list[str]:
        """The branches here and those that a remote had when it was last heard, each where it was found."""
        names = []
        for ref in self.local_refs("refs/heads", "refs/remotes"):
            _, kind, rest = ref.split("/", 2)
            names.append(rest if kind == "heads" else rest.partition("/")[2])
        return names

    def changed_files(self, *, untracked: bool = True) -> list[str]:
        """Files that differ from the commit or, if wanted, are not tracked, as paths relative to the root."""
        wanted = f"--untracked-files={'all' if untracked else 'no'}"
        entries = os.fsdecode(self.run("status", "--porcelain", "-z", wanted)).split("\0")
        names, skip = [], False
        for entry in entries:
            if skip or not entry:  # a rename is followed by the name it had
                skip = False
                continue
            names.append(entry[3:])
            skip = entry[0] in "RC"
        return sorted(names)

    def files_named(self, name: str) -> list[str]:
        """Every file of a name, committed or not, that is not ignored, relative to the root and sorted."""
        options = ("--full-name", "--cached", "--others", "--exclude-standard")
        listed = self.run("ls-files", "-z", *options, "--", f":(top,glob)**/{name}")
        return sorted({os.fsdecode(path) for path in listed.split(b"\0") if path})

    def tracks(self, path: Path) -> bool:
        """Whether a file, or anything in a folder, is committed or about to be."""
        return bool(self.run("ls-files", "-z", "--", str(path)))

    def require_git(self, purpose: str) -> None:
        """Refuse what only makes sense for a git repository; another version control's checkout is none.

        Raises:
            UsageError: with what to do instead.
        """

    def check_taggable(self) -> None:
        """Refuse where the checkout as a whole is no commit that a tag could mark; in git it always is one.

        Raises:
            UsageError: with what to do.
        """

    def checkup(self, branches: Mapping[str, str]) -> Iterator[Surprise]:
        """What would surprise somebody who releases from here, whatever the CI system; in git nothing.

        Args:
            branches: those that the contract names, by stage.
        """
        return iter(())

    def revision(self, commit: str) -> Mapping[str, Mapping[str, str | int]]:
        """Where a commit came from, by the name of the other version control; empty for one of git's own."""
        found = Revision.of(self.text("cat-file", "commit", commit))
        return found.told if found else {}

    def short(self, commit: str) -> str:
        """What people call a commit: ``9f2c41d``."""
        return commit[:7]

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether one commit is part of another's history.

        Raises:
            EnvironmentLacks: the history is cut off, so a "no" would prove nothing.
        """
        result = self._result(["merge-base", "--is-ancestor", commit, of])
        if result.returncode == 0:
            return True
        if self.shallow:
            raise _too_shallow(self.root)
        if result.returncode == 1:
            return False
        raise EnvironmentLacks(f"git cannot compare {commit} with {of}: {last_words(result.stderr)}.")

    def commit_date(self, commit: str) -> str:
        """A commit's date in git's raw form: ``1700000000 +0100``."""
        return self.text("show", "-s", "--format=%cd", "--date=raw", commit)

    # remotes

    @cached_property
    def remote(self) -> str | None:
        """The remote to speak to: the chosen one, else the branch's own, ``origin``, or the only one; None without any.

        Raises:
            UsageError: the one that is wanted is not there.
        """
        return self._git_remote()

    def remotes(self) -> list[str]:
        """The names of all remotes."""
        return [name for name in self.text("remote").split("\n") if name]

    def _git_remote(self) -> str | None:
        names = self.remotes()
        if self.choose_remote is not None:
            return self.choose_remote(names)
        branch = self.branch()
        own = self.setting(f"branch.{branch}.remote") if branch else None
        for name in (own, "origin"):
            if name in names:
                return name
        return names[0] if len(names) == 1 else None

    def remote_url(self, remote: str | None = None) -> str | None:
        """Where a remote lies, without any password in it; None when there is no remote."""
        name = remote or self.remote
        if name is None:
            return None
        url = self.setting(f"remote.{name}.url")
        return url and without_user(url)

    def remote_refs(self, remote: str, *patterns: str) -> dict[str, RemoteRef]:
        """What a remote holds now, by full reference name.

        Raises:
            EnvironmentLacks: the remote cannot be reached.
        """
        result = self._result(["ls-remote", "--quiet", remote, *patterns], remote=True)
        if result.returncode != 0:
            raise self._unreachable(remote, result.stderr)
        found: dict[str, RemoteRef] = {}
        for line in os.fsdecode(result.stdout).splitlines():
            identity, _, ref = line.partition("\t")
            if ref.endswith("^{}"):
                found[ref[:-3]] = RemoteRef(found[ref[:-3]].id, identity)
            else:
                found[ref] = RemoteRef(identity, identity)
        return found

    def fetch(self, remote: str, refspecs: Iterable[str]) -> None:
        """Fetch references by explicit refspecs.

        Raises:
            EnvironmentLacks: the remote cannot be reached or lacks one of them.
        """
        wanted = "".join(f"{refspec}\n" for refspec in refspecs)
        if not wanted:
            return
        command = ["fetch", "--no-tags", "--no-write-fetch-head", "--progress", "--stdin", remote]
        result = self._result(command, stdin=os.fsencode(wanted), remote=True)
        if result.returncode != 0:
            raise self._unreachable(remote, result.stderr)

    def push(self, remote: str, updates: Sequence[RefUpdate]) -> bool:
        """Push references all together or not at all, each only if it still is what ``old`` says.

        Objects are pushed by id: no local reference is made before the remote has taken it, so a lost
        race leaves nothing behind.

        Returns:
            whether anything changed there; somebody else may have pushed the very same a moment ago.

        Raises:
            PushRejected: a reference changed meanwhile.
            RefsHidden: the remote took the push and does not show all of it.
            EnvironmentLacks: the remote cannot be reached or does not allow the push.
        """
        leases = [f"--force-with-lease={update.ref}:{update.old or ''}" for update in updates]
        specs = [f"{update.new}:{update.ref}" for update in updates]
        result = self._push(remote, ["--atomic", "--porcelain", "--progress", *leases], specs)
        if result.returncode == 0:
            self._read_back(remote, updates)
            return any(line[:1] in b" +*" for line in result.stdout.splitlines() if b"\t" in line)
        said = os.fsdecode(result.stdout + result.stderr)
        rejected = [
            line for line in said.splitlines() if line.startswith("!") and "atomic push failed" not in line
        ]
        declined = any(
            "declined" in line for line in rejected
        )  # a protected tag or branch: no race, and no retry
        if not declined and any(word in line for line in rejected for word in _RACED):
            raise PushRejected(f"{remote} changed while this push was under way: {'; '.join(rejected)}.")
        why = dict.fromkeys(re.findall(r"\(([^()]+)\)$", "\n".join(rejected), re.MULTILINE))
        refused = f"error: {'; '.join(why)}\n".encode() if why else b""
        raise self._unreachable(remote, refused + (result.stderr or result.stdout), there=bool(why))

    def _read_back(self, remote: str, updates: Sequence[RefUpdate]) -> None:
        refs = [update.ref for update in updates]
        there = self.remote_refs(remote, *refs)
        hidden = [ref for ref in refs if ref not in there]
        if hidden:
            raise RefsHidden(
                f"{remote} took the push and does not show {', '.join(hidden)}: it hides or drops such references, and without "
                "them no other clone can prove the release. Let it keep refs/tags/* and refs/gradatim/* (receive.hideRefs, "
                "transfer.hideRefs, a hook), then run the same command again: it pushes what is missing."
            )

    def try_push(self, remote: str) -> None:
        """Ask whether the remote can be pushed to, and change nothing there.

        Raises:
            EnvironmentLacks: it cannot be reached, or does not let this user write.
        """
        result = self._push(remote, ["--dry-run", "--quiet", "--no-verify"], ["HEAD:refs/gradatim/preflight"])
        if result.returncode != 0:
            raise self._unreachable(remote, result.stderr)

    def _push(
        self, remote: str, options: Sequence[str], specs: Sequence[str]
    ) -> subprocess.CompletedProcess[bytes]:
        url = self.setting(f"remote.{remote}.url") or ""
        return self._result(["push", *options, remote, *specs], environment=pushing(remote, url), remote=True)

    def update_refs(self, updates: Sequence[RefUpdate]) -> None:
        """Set local references in one transaction, each only if it still is what ``old`` says.

        Raises:
            PushRejected: a reference changed meanwhile.
        """
        lines = b"".join(
            b"update %s\0%s\0%s\0"
            % (os.fsencode(update.ref), update.new.encode(), (update.old or "0" * 40).encode())
            for update in updates
        )
        result = self._result(["update-ref", "-z", "--stdin"], stdin=lines)
        if result.returncode != 0:
            said = last_words(result.stderr)
            if (here := self._in_the_way(said)) is not None and _HOOKED in said:
                raise here
            raise PushRejected(str(here) if here else f"{self.root} changed meanwhile: {said}.")

    def local_refs(self, *prefixes: str) -> dict[str, str]:
        """Object ids by full reference name below one of the prefixes."""
        listing = self.text("for-each-ref", "--format=%(objectname) %(refname)", *prefixes)
        pairs = (line.partition(" ") for line in listing.split("\n") if line)
        return {ref: identity for identity, _, ref in pairs}

    def deepen(self) -> None:
        """Fetch the whole history and every tag into a shallow clone; nothing to do in a full one.

        Raises:
            EnvironmentLacks: the history is cut off and there is no remote that could give the rest.
        """
        if not self.shallow:
            return
        remote = self.remote
        if remote is None:
            raise _too_shallow(self.root)
        result = self._result(["fetch", "--unshallow", "--tags", "--progress", remote], remote=True)
        if result.returncode != 0:
            raise _too_shallow(self.root)
        self.shallow = False

    @staticmethod
    def raced(said: str) -> bool:
        """Whether what git said against a fetch or an update may be the work of another git at the same moment."""
        return any(word in said for word in (*_RACED, _LOCKED))

    def _in_the_way(self, said: str) -> EnvironmentLacks | None:
        """What stops git in this clone and is nobody else's fault: a lock that was left, a hook that refuses."""
        if _HOOKED in said:
            return EnvironmentLacks(
                f"A hook of {self.root} (reference-transaction) refused to write references: {said}. See {self.git_dir / 'hooks'}."
            )
        lock = re.search(r"'([^']+\.lock)': File exists", said)
        if lock is None:
            return None
        return EnvironmentLacks(
            f"{lock[1]} is in the way: another git is at work in {self.root}, or one was killed and left it. If none is "
            "running, delete that file; then run the same command again."
        )

    def _unreachable(self, remote: str, stderr: bytes, *, there: bool = False) -> EnvironmentLacks:
        where = self.remote_url(remote) or remote
        said = last_words(stderr)
        if (here := self._in_the_way(said)) is not None:
            return here
        advice = "Check the address, the network and your right to push, then run the same command again."
        if any(word in said for word in _UNKNOWN_USER):
            advice = (
                "git has no name and password for it that the server takes. Give git some (a credential helper, or a "
                "token in CI; see `git help credentials`), then run the same command again."
            )
        there = there or b"! " in stderr or b"sideband" in stderr  # refused there, or cut off on the way
        if "failed to push some refs" in said and not there:
            return EnvironmentLacks(f"A hook of {self.root} (pre-push) stopped the push to {remote}: {said}.")
        return EnvironmentLacks(f"The remote {remote} ({where}) could not be used: {said}. {advice}")


def pause(attempt: int) -> None:
    """Wait a moment before a lost race is run again, longer each time and never as long as the other side."""
    time.sleep(random.uniform(0.02, 0.1) * attempt)  # noqa: S311 (no secret)


def _no_repository(place: Path, said: str) -> EnvironmentLacks:
    if "dubious ownership" in said:
        return EnvironmentLacks(
            f"git does not trust {place}, which belongs to another user. If you do: "
            f"git config --global --add safe.directory {place}"
        )
    return EnvironmentLacks(
        f"{place} is not in a git repository, and gradatim keeps its versions in git. "
        "Change into the repository, or make one with `git init`."
    )


def _too_shallow(root: Path) -> EnvironmentLacks:
    return EnvironmentLacks(
        f"{root} is a shallow clone: its history is cut off, so nobody can say what was released before. "
        "Fetch the rest with `git fetch --unshallow --tags`; on GitHub set `fetch-depth: 0` for checkout, "
        "on GitLab `GIT_DEPTH: 0`."
    )
