"""A Subversion server, as the registry needs it: read without a checkout, written in one commit, all or nothing.

Credentials are those that ``svn`` itself keeps.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.files import replacing
from gradatim.subversion import svn

_CHUNK = 1 << 20
_NOT_THERE = {"160013", "200009"}
_RACED = {"160016", "160020", "160024", "160028", "155011", "170004", "175014"}
"""Out of date, already there, in conflict: somebody else's commit came first."""

_UNKNOWN_USER = {"170001", "215004"}


class OutOfDate(EnvironmentLacks):
    """Another commit came first; nothing of this one was taken."""


@dataclass(frozen=True)
class Location:
    """Where a working copy, or a folder of it, comes from.

    Attributes:
        root: URL of the repository's top.
        uuid: the repository's own id.
        path: path of the folder in the repository, no slash at either end, not escaped.
        changed: the last revision in which anything in the folder changed.
        date: when that was, seconds since 1970.
    """

    root: str
    uuid: str
    path: str
    changed: int
    date: int


@dataclass(frozen=True)
class Node:
    """One entry of a listing.

    Attributes:
        kind: ``file`` or ``dir``.
        revision: the last one in which it, or anything inside it, changed.
        date: when that was, seconds since 1970.
        size: bytes of a file.
    """

    kind: str
    revision: int
    date: int
    size: int = 0


@dataclass(frozen=True)
class PathChange:
    """What a revision did to a path.

    Attributes:
        action: ``A`` added, ``D`` deleted, ``R`` replaced, ``M`` modified.
        source: path and revision that it is a copy of; None for no copy.
    """

    action: str
    source: tuple[str, int] | None


class Server:
    """One Subversion repository, wherever it is.

    Attributes:
        root: URL of its top.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def url(self, path: str) -> str:
        """The URL of a path, escaped, as ``svnmucc`` takes it."""
        return f"{self.root}/{quote(path)}"

    def _at(self, path: str, revision: int) -> str:
        """A path in a revision, as ``svn`` takes it."""
        return f"{self.url(path)}@{revision}"

    def youngest(self) -> int:
        """The newest revision.

        Raises:
            EnvironmentLacks: the server cannot be reached.
        """
        (entry,) = self._xml("info", "--xml", "--revision", "HEAD", f"{self.root}@").iter("entry")
        return int(entry.attrib["revision"])

    def list(self, path: str, revision: int, *, deep: bool = False) -> dict[str, Node] | None:
        """What a folder holds, by path relative to it; None when there is no such folder."""
        depth = "infinity" if deep else "immediates"
        command = ["list", "--xml", "--depth", depth, self._at(path, revision)]
        result = svn.run(["svn", "--non-interactive", *command])
        if result.returncode != 0:
            if svn.codes(result.stderr) <= _NOT_THERE:
                return None
            raise self.failed(result.stderr)
        return {str(found.findtext("name")): _node(found) for found in svn.parse(result.stdout).iter("entry")}

    def node(self, path: str, revision: int) -> Node | None:
        """One file or folder; None when it is not there."""
        result = svn.run(["svn", "--non-interactive", "info", "--xml", self._at(path, revision)])
        if result.returncode != 0:
            if svn.codes(result.stderr) & {"160013", "200009", "170000"}:
                return None
            raise self.failed(result.stderr)
        (entry,) = svn.parse(result.stdout).iter("entry")
        return _node(entry)

    def properties(self, folder: str, revision: int, *, deep: bool = False) -> dict[str, dict[str, bytes]]:
        """All properties of what a folder holds that has any, by path and name."""
        depth = "infinity" if deep else "immediates"
        found = self._xml("proplist", "--xml", "--verbose", "--depth", depth, self._at(folder, revision))
        top = len(unquote(self.root)) + 1
        return {
            unquote(target.attrib["path"])[top:]: {
                p.attrib["name"]: _value(p) for p in target.iter("property")
            }
            for target in found.iter("target")
        }

    def changes(self, path: str, first: int, last: int) -> dict[int, dict[str, PathChange]]:
        """What each revision from ``first`` to ``last`` did below a folder that ``last`` has, by path."""
        span = f"{first}:{last}"
        log = self._xml("log", "--xml", "--verbose", "--revision", span, self._at(path, last))
        return {
            int(entry.attrib["revision"]): {str(p.text).lstrip("/"): _change(p) for p in entry.iter("path")}
            for entry in log.iter("logentry")
        }

    def read(self, path: str, revision: int) -> bytes:
        """A small file.

        Raises:
            InvalidInput: there is none.
        """
        return b"".join(self._chunks(path, revision))

    def sha256(self, path: str, revision: int) -> str:
        """Hex SHA-256 of a file, streamed.

        Raises:
            InvalidInput: there is none.
        """
        digest = hashlib.sha256()
        for chunk in self._chunks(path, revision):
            digest.update(chunk)
        return digest.hexdigest()

    def export(self, path: str, revision: int, target: Path) -> None:
        """Write a file as it was in a revision, streamed.

        Raises:
            InvalidInput: there is none.
            EnvironmentLacks: ``target`` cannot be written.
        """
        with replacing(target) as temporary, temporary.open("wb") as file:
            for chunk in self._chunks(path, revision):
                file.write(chunk)

    def commit(self, message: str, base: int, actions: Sequence[Sequence[str | bytes]]) -> None:
        """Make one commit of several actions, all or none, if nothing that they touch changed since ``base``.

        Args:
            message: for the log.
            base: the revision that the actions were made up for.
            actions: as ``svnmucc`` has them (``cp``, ``mkdir``, ``put``, ``propsetf``); bytes stand for a file
                that holds them.

        Raises:
            OutOfDate: something changed since, or is there already.
            EnvironmentLacks: the server cannot be reached or does not take the commit.
        """
        with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
            words = []
            for number, word in enumerate(word for action in actions for word in action):
                if isinstance(word, bytes):
                    file = Path(folder) / str(number)
                    file.write_bytes(word)
                    word = str(file)
                words.append(word)
            note, script = Path(folder) / "message", Path(folder) / "actions"
            note.write_text(message, encoding="utf-8")
            script.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
            result = svn.run(
                ["svnmucc", "--non-interactive", "-r", str(base), "-F", str(note), "-X", str(script)]
            )
        if result.returncode != 0:
            if svn.codes(result.stderr) & _RACED:
                raise OutOfDate(f"{self.root} changed meanwhile: {svn.last_words(result.stderr)}.")
            raise self.failed(result.stderr)

    def _chunks(self, path: str, revision: int) -> Iterator[bytes]:
        command = ["svn", "--non-interactive", "cat", self._at(path, revision)]
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=svn.environment(),
                )
            except FileNotFoundError as error:
                raise svn.not_installed("svn") from error
            with process:
                assert process.stdout is not None  # noqa: S101 (it was asked for)
                while chunk := process.stdout.read(_CHUNK):
                    yield chunk
            errors.seek(0)
            said = errors.read()
        if process.returncode != 0:
            if svn.codes(said) & {"160013", "200009", "195007"}:
                raise InvalidInput(f"There is no file ^/{path} in revision {revision} of {self.root}.")
            raise self.failed(said)

    def _xml(self, *arguments: str) -> ET.Element:
        result = svn.run(["svn", "--non-interactive", *arguments])
        if result.returncode != 0:
            raise self.failed(result.stderr)
        return svn.parse(result.stdout)

    def failed(self, stderr: bytes) -> EnvironmentLacks:
        """The error for a command that did not work: svn's own words, and what to do."""
        advice = "Check the address, the network and your right to commit, then run the same command again."
        if svn.codes(stderr) & _UNKNOWN_USER:
            advice = f"Let svn ask for your name and keep your password: svn info {self.root}"
        return EnvironmentLacks(
            f"Subversion ({self.root}) could not be used: {svn.last_words(stderr)}. {advice}"
        )


def location_of(folder: Path) -> Location:
    """Where a folder of a working copy comes from; no server is asked.

    Raises:
        EnvironmentLacks: svn is not installed, or cannot read the working copy.
    """
    result = svn.run(["svn", "--non-interactive", "info", "--xml", f"{folder}@"])
    if result.returncode != 0:
        raise svn.unusable(folder, result.stderr)
    return _location(result.stdout, str(folder))


def location_at(url: str) -> Location:
    """Where a URL points to.

    Raises:
        EnvironmentLacks: the server cannot be reached or has nothing there.
    """
    server = Server(url)
    result = svn.run(["svn", "--non-interactive", "info", "--xml", f"{server.root}@"])
    if result.returncode != 0:
        raise server.failed(result.stderr)
    return _location(result.stdout, url)


def _location(output: bytes, name: str) -> Location:
    (entry,) = svn.parse(output).iter("entry")
    commit = entry.find("commit")
    if commit is None:
        raise EnvironmentLacks(f"{name} is not in Subversion yet. Add and commit it first.")
    return Location(
        str(entry.findtext("repository/root")),
        str(entry.findtext("repository/uuid")),
        unquote(str(entry.findtext("relative-url"))).removeprefix("^/"),
        int(commit.attrib["revision"]),
        svn.seconds(commit.findtext("date")),
    )


def _node(entry: ET.Element) -> Node:
    commit = entry.find("commit")
    revision = 0 if commit is None else int(commit.attrib["revision"])
    date = None if commit is None else commit.findtext("date")
    return Node(entry.attrib["kind"], revision, svn.seconds(date), int(entry.findtext("size") or 0))


def _change(path: ET.Element) -> PathChange:
    said: Mapping[str, str] = path.attrib
    source = said.get("copyfrom-path")
    copied = (source.lstrip("/"), int(said["copyfrom-rev"])) if source else None
    return PathChange(said["action"], copied)


def _value(found: ET.Element) -> bytes:
    text = found.text or ""
    return base64.b64decode(text) if found.get("encoding") == "base64" else text.encode()
