"""git's object database: blobs, trees, commits and tags by their ids, and the files that lie in a commit.

Every command runs with an argument list in the C locale, so that paths with spaces and other
alphabets pass through and git's messages can be recognised.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.files import replacing
from gradatim.registry.git_process import call_git, last_words, surroundings
from gradatim.registry.lfs import POINTER_LIMIT, LfsPointer, read_pointer

_CHUNK = 1 << 20


class ObjectDatabase:
    """The objects of a repository, and git itself to ask about them.

    Attributes:
        root: the top of the working tree; the git folder itself in a bare repository.
        git_dir: the folder that holds the objects and references.
    """

    def __init__(self, root: Path, git_dir: Path) -> None:
        self.root = root
        self.git_dir = git_dir
        self._at = ["-C", str(root)]

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run one git command in the repository and return what it prints.

        Raises:
            EnvironmentLacks: git is missing or the command failed; the message carries git's own words.
        """
        result = self._result(arguments, stdin=stdin, environment=environment)
        if result.returncode != 0:
            said = last_words(result.stderr)
            raise EnvironmentLacks(f"`git {arguments[0]}` failed in {self.root}: {said}.")
        return result.stdout

    def _result(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        remote: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        return call_git([*self._at, *arguments], stdin=stdin, environment=environment, remote=remote)

    def text(self, *arguments: str) -> str:
        """Run one git command and return its output as text, without the final newline."""
        return os.fsdecode(self.run(*arguments)).rstrip("\n")

    def read_object(self, identity: str, kind: str = "blob") -> bytes:
        """The bytes of one object.

        Raises:
            InvalidInput: there is no such object, or it is of another kind.
        """
        result = self._result(["cat-file", kind, identity])
        if result.returncode != 0:
            raise InvalidInput(f"git has no {kind} `{identity}` in {self.root}: {last_words(result.stderr)}.")
        return result.stdout

    def read_objects(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of many small objects in one go, None for each that does not exist."""
        listing = "".join(f"{name}\n" for name in names)
        output = self.run("cat-file", "--batch", stdin=os.fsencode(listing))
        found: list[bytes | None] = []
        place = 0
        for _ in names:
            end = output.index(b"\n", place)
            header = output[place:end].split(b" ")
            if header[-1] == b"missing":
                found.append(None)
                place = end + 1
            else:
                size = int(header[-1])
                found.append(output[end + 1 : end + 1 + size])
                place = end + size + 2
        return found

    def has_object(self, identity: str) -> bool:
        """Whether an object is here."""
        return self._result(["cat-file", "-e", identity]).returncode == 0

    def write_blob(self, data: bytes) -> str:
        """Store bytes as an object and return its id."""
        return os.fsdecode(self.run("hash-object", "-w", "--stdin", stdin=data)).strip()

    def tree(self, revision: str) -> dict[str, str]:
        """Blob ids by path in a commit or tree; submodules and symbolic links are left out."""
        files = {}
        for entry in os.fsdecode(self.run("ls-tree", "-r", "-z", "--full-tree", revision)).split("\0"):
            if entry.startswith("100"):
                details, _, path = entry.partition("\t")
                files[path] = details.split(" ")[2]
        return files

    def has_file(self, commit: str, path: str) -> bool:
        """Whether a plain file lies at a path of a commit."""
        listing = os.fsdecode(self.run("ls-tree", "-z", "--full-tree", commit, "--", path))
        return listing.startswith("100")

    def lfs_pointer(self, commit: str, path: str) -> LfsPointer | None:
        """The Git LFS pointer at a path of a commit; None when the file itself is there.

        Raises:
            InvalidInput: there is no such file, or the pointer is broken.
        """
        size = int(self._size(commit, path))
        if size >= POINTER_LIMIT:
            return None
        return read_pointer(self.read_object(f"{commit}:{path}"), path)

    def show(self, commit: str, path: str) -> bytes:
        """The bytes of a file at a commit, a Git LFS pointer already resolved; for small files.

        Raises:
            InvalidInput: there is no such file at that commit.
            EnvironmentLacks: it lies in Git LFS and git-lfs is not installed or cannot reach it.
        """
        data = self.read_object(f"{commit}:{path}")
        if read_pointer(data, path) is None:
            return data
        return self._smudge(data, path)

    def export(self, commit: str, path: str, target: Path) -> None:
        """Write a file as it was at a commit, streamed, a Git LFS pointer resolved.

        Raises:
            InvalidInput: there is no such file at that commit.
            EnvironmentLacks: it lies in Git LFS and git-lfs is not there, or ``target`` cannot be written.
        """
        self._size(commit, path)
        pointer = self.lfs_pointer(commit, path)
        with replacing(target) as temporary, temporary.open("wb") as file:
            if pointer is not None:
                file.write(self._smudge(self.read_object(f"{commit}:{path}"), path))
                return
            command = ["git", *self._at, "cat-file", "blob", f"{commit}:{path}"]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                env=surroundings(),
                check=False,
            )
            if done.returncode != 0:
                raise InvalidInput(f"git cannot read {path} at {commit}: {last_words(done.stderr)}.")

    def sha256(self, commit: str, path: str) -> str:
        """Hex SHA-256 of a file at a commit, streamed; of the file itself where git holds a Git LFS pointer.

        Raises:
            InvalidInput: there is no such file at that commit.
        """
        pointer = self.lfs_pointer(commit, path)
        if pointer is not None:
            return pointer.sha256
        digest = hashlib.sha256()
        command = ["git", *self._at, "cat-file", "blob", f"{commit}:{path}"]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=surroundings()
        ) as process:
            assert process.stdout is not None  # noqa: S101 (it was asked for)
            while chunk := process.stdout.read(_CHUNK):
                digest.update(chunk)
        if process.returncode != 0:
            raise InvalidInput(f"git cannot read {path} at {commit}.")
        return digest.hexdigest()

    def verify_tag(self, tag: str) -> str | None:
        """Check a tag's signature: None when it holds, else what git says against it."""
        result = self._result(["verify-tag", tag])
        return None if result.returncode == 0 else last_words(result.stderr)

    def _size(self, commit: str, path: str) -> str:
        result = self._result(["cat-file", "-s", f"{commit}:{path}"])
        if result.returncode != 0:
            raise InvalidInput(f"There is no file {path} at commit {commit[:7]}.")
        return os.fsdecode(result.stdout).strip()

    def _smudge(self, pointer: bytes, path: str) -> bytes:
        result = self._result(["lfs", "smudge", "--", path], stdin=pointer, remote=True)
        if result.returncode != 0 and b"is not a git command" in result.stderr:
            raise EnvironmentLacks(
                f"{path} lies in Git LFS and git-lfs is not installed. Install it (`apt install git-lfs`, or "
                "https://git-lfs.com) and run the same command again."
            )
        if result.returncode != 0 or result.stdout == pointer:
            said = last_words(result.stderr)
            raise EnvironmentLacks(f"{path} lies in Git LFS, which did not give it: {said}.")
        return result.stdout
