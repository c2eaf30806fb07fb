"""Subversion in the place of a git remote, so that there is one registry and not two.

=================================  =====================================================================
``PROJECT/tags/v1.4.0``            a tag: a copy of what it marks. Its property ``gradatim:tag`` is the tag
                                   itself, ``gradatim:commit`` the commit that stands for the revision
``PROJECT/gradatim/releases/...``  every other reference: a git pack of all that it names, whose property
                                   ``gradatim:head`` is the newest commit
=================================  =====================================================================

One push is one commit of Subversion: all of it arrives, or nothing. A tag's folder counts only as long as nobody
has touched it since that commit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput, UsageError
from gradatim.files import parse_json, write_json
from gradatim.registry import tags
from gradatim.registry.git import PushRejected, RefUpdate, RemoteRef, Repository
from gradatim.registry.revision import Revision
from gradatim.registry.tag_object import IDENTITY
from gradatim.subversion.server import Node, OutOfDate, PathChange, Server

NAME = "Subversion"
"""What the remote is called where git would say ``origin``."""

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree of a commit that only stands for a revision."""

_TAG, _COMMIT, _HEAD = "gradatim:tag", "gradatim:commit", "gradatim:head"
_LINE = re.compile(r"(?:(?P<project>.*?)/)?(?P<line>trunk|branches/[^/]+|tags/[^/]+)(?:/.*)?")
_PACK = re.compile(r"[a-z]+/[0-9a-f]+\.pack")
_KEPT = "refs/gradatim/"
_CACHE = "gradatim-subversion.json"


@dataclass(frozen=True)
class _Listing:
    """What a revision of the project holds: references, and the folders for them."""

    revision: int
    refs: dict[str, RemoteRef]
    folders: frozenset[str]


def split_path(path: str) -> tuple[str, str] | None:
    """The project and the ``trunk``, ``branches/NAME`` or ``tags/NAME`` in it that a path lies in."""
    found = _LINE.fullmatch(path)
    return (found["project"] or "", found["line"]) if found else None


def commit_for(repository: Repository, path: str, revision: int, date: int, uuid: str) -> str:
    """A commit that stands for a revision of a folder: the same id in every checkout."""
    name, email = IDENTITY
    person = f"{name} <{email}> {date} +0000"
    text = (
        f"tree {repository.text('mktree')}\nauthor {person}\ncommitter {person}\n\n"
        f"Revision {revision} of ^/{path}\n\n{Revision(f'^/{quote(path)}', revision, uuid).line}\n"
    )
    return _write(repository, "commit", text.encode())


class SubversionRemote:
    """The tags and the kept references of one project in Subversion.

    Attributes:
        server: the repository that the project lies in.
        project: path of the folder that has ``trunk`` and ``tags``; empty for the repository's top.
    """

    def __init__(self, server: Server, project: str, uuid: str, repository: Repository) -> None:
        self.server = server
        self.project = project
        self.uuid = uuid
        self.repository = repository
        self._top = f"{project}/" if project else ""
        self._cache = repository.git_dir / _CACHE
        self._latest: _Listing | None = None
        self._commits: dict[bytes, str] = {}

    def refs(self) -> dict[str, RemoteRef]:
        """What is there now, by full reference name; every object that they name is then here.

        Raises:
            EnvironmentLacks: the server cannot be reached.
            BrokenEvidence: a kept reference was damaged.
        """
        return self._list().refs

    def fetch(self, refspecs: Iterable[str]) -> None:
        """Set local references: ``ref:ref`` sets one, a lone ``ref`` only brings what it names.

        Raises:
            EnvironmentLacks: the server cannot be reached or lacks one of them.
        """
        there = (self._latest or self._list()).refs
        for refspec in refspecs:
            source, _, target = refspec.partition(":")
            if source not in there:
                there = self._list().refs
            if source not in there:
                raise EnvironmentLacks(f"{NAME} ({self.server.root}) has no {source}.")
            if target and self.repository.local_refs(target).get(target) != there[source].id:
                try:
                    self.repository.update_refs([RefUpdate(target, there[source].id)])
                except PushRejected as error:
                    raise EnvironmentLacks(str(error)) from error

    def push(self, updates: Sequence[RefUpdate]) -> None:
        """Make one commit of all updates, each only if it still is what ``old`` says.

        It rests on what was listed last: Subversion refuses it if any of that changed since.

        Raises:
            PushRejected: somebody else's commit came first.
            EnvironmentLacks: the server cannot be reached or does not take the commit.
        """
        listed = self._latest or self._list()
        self._latest = None
        for update in updates:
            found = listed.refs.get(update.ref)
            if (found.id if found else None) != update.old:
                raise PushRejected(f"{NAME} changed while this push was under way: {update.ref}.")
        folders: dict[str, None] = {}
        actions: list[tuple[str | bytes, ...]] = []
        for update in updates:
            path, does = self._copy(update) if _is_tag(update) else self._pack(update)
            parent = path.rpartition("/")[0]
            while parent != self.project:
                folders[parent] = None
                parent = parent.rpartition("/")[0]
            actions += does
        missing = [path for path in sorted(folders) if path not in listed.folders]
        made: list[tuple[str | bytes, ...]] = [("mkdir", self.server.url(path)) for path in missing]
        names = ", ".join(_told(update.ref) for update in updates)
        try:
            self.server.commit(f"gradatim: {names}", listed.revision, [*made, *actions])
        except OutOfDate as error:
            raise PushRejected(str(error)) from error

    def copy(self, updates: Sequence[RefUpdate]) -> bool:
        """Copy what tags mark, for a registry that is kept elsewhere; False when all of it is there already.

        Raises:
            UsageError: a folder of that name is something else.
            PushRejected: somebody else's commit came first.
        """
        there = self.refs()
        lacking = [update for update in updates if update.ref not in there]
        for update in updates:
            if update.ref in there and there[update.ref].id != update.new:
                name = update.ref.removeprefix("refs/tags/")
                raise UsageError(
                    f"Subversion already has ^/{self._top}tags/{name}, and it is something else. Nothing of this "
                    "release was written. Take the next number: gradatim run --version VERSION"
                )
        if lacking:
            self.push(lacking)
        return bool(lacking)

    def take_back(self, updates: Sequence[RefUpdate]) -> None:
        """Delete the tags that were copied a moment ago, because another place refused the release."""
        revision = self.server.youngest()
        paths = [f"{self._top}tags/{update.ref.removeprefix('refs/tags/')}" for update in updates]
        names = ", ".join(path.rpartition("/")[2] for path in paths)
        gone = [("rm", self.server.url(path)) for path in paths]
        self.server.commit(f"gradatim: take back {names}, which git did not take", revision, gone)

    def _copy(self, update: RefUpdate) -> tuple[str, list[tuple[str | bytes, ...]]]:
        name = update.ref.removeprefix("refs/tags/")
        if "/" in name:
            raise UsageError(
                f"The tag {name} cannot be a folder in Subversion. Leave the `/` out of the model's name and its stages."
            )
        tag = self.repository.read_object(update.new, "tag")
        commit = self.repository.read_object(
            tag.partition(b"\n")[0].decode().removeprefix("object "), "commit"
        )
        marked = Revision.of(commit.decode(errors="replace"))
        source = marked.path(self.server.root) if marked else None
        if marked is None or source is None:
            raise UsageError(
                f"The commit that {name} marks is not in Subversion ({self.server.root}). With git-svn: git svn dcommit"
            )
        path = f"{self._top}tags/{name}"
        url = self.server.url(path)
        return path, [
            ("cp", str(marked.number), self.server.url(source), url),
            ("propsetf", _TAG, tag, url),
            ("propsetf", _COMMIT, commit, url),
        ]

    def _pack(self, update: RefUpdate) -> tuple[str, list[tuple[str | bytes, ...]]]:
        path = f"{self._top}gradatim/{update.ref.removeprefix(_KEPT)}.pack"
        url = self.server.url(path)
        wanted = f"{update.new}\n".encode()
        pack = self.repository.run("pack-objects", "--revs", "--stdout", "-q", stdin=wanted)
        return path, [
            ("put", pack, url),
            ("propsetf", _HEAD, update.new.encode(), url),
            ("propsetf", "svn:mime-type", b"application/octet-stream", url),
        ]

    def _list(self) -> _Listing:
        revision = self.server.youngest()
        if self._latest is not None and self._latest.revision == revision:
            return self._latest
        folder, kept = f"{self._top}tags", f"{self._top}gradatim"
        tagged = self.server.list(folder, revision)
        marks = {
            f"{folder}/{name}": node
            for name, node in (tagged or {}).items()
            if node.kind == "dir" and tags.parse(name) and ".." not in name and not name.endswith(".lock")
        }
        stored = self.server.list(kept, revision, deep=True)
        packs = {f"{kept}/{name}": node for name, node in (stored or {}).items() if _PACK.fullmatch(name)}
        folders = {self.project} | {
            path for path, there in ((folder, tagged), (kept, stored)) if there is not None
        }
        folders |= {f"{kept}/{name}" for name, node in (stored or {}).items() if node.kind == "dir"}
        known = self._remembered()
        new = {p: n for p, n in marks.items() if _key(p, n) not in known}
        new_packs = {p: n for p, n in packs.items() if _key(p, n) not in known}
        if new or new_packs:
            known.update(self._read_tags(new, revision) if new else {})
            known.update(self._read_packs(new_packs, revision) if new_packs else {})
            write_json(self._cache, known)
        found = {}
        for path, node in {**marks, **packs}.items():
            identity, commit = known[_key(path, node)]
            ref = (
                f"refs/tags/{path[len(folder) + 1 :]}"
                if path in marks
                else f"{_KEPT}{path[len(kept) + 1 :].removesuffix('.pack')}"
            )
            found[ref] = RemoteRef(identity, commit)
        self._latest = _Listing(revision, found, frozenset(folders))
        return self._latest

    def _remembered(self) -> dict[str, list[str]]:
        """Ids by path and revision, of which the objects are still here."""
        try:
            known: dict[str, list[str]] = parse_json(self._cache.read_bytes(), str(self._cache))
        except (OSError, InvalidInput):
            return {}
        names = [identity for pair in known.values() for identity in pair]
        asked = "".join(f"{name}\n" for name in names).encode()
        said = os.fsdecode(self.repository.run("cat-file", "--batch-check", stdin=asked)).splitlines()
        gone = {line.split(" ")[0] for line in said if line.endswith(" missing")}
        return {key: pair for key, pair in known.items() if not gone.intersection(pair)}

    def _read_tags(self, marks: Mapping[str, Node], revision: int) -> dict[str, list[str]]:
        properties = self.server.properties(f"{self._top}tags", revision)
        numbers = [node.revision for node in marks.values()]
        history = self.server.changes(f"{self._top}tags", min(numbers), max(numbers))
        found = {}
        for path, node in marks.items():
            pair = self._as_made(path, history.get(node.revision, {}), properties.get(path, {}))
            if pair is None:  # made by hand, or touched since: it stands for nothing but its own content
                commit = commit_for(self.repository, path, node.revision, node.date, self.uuid)
                pair = [commit, commit]
            found[_key(path, node)] = pair
        return found

    def _as_made(
        self, path: str, changes: Mapping[str, PathChange], properties: Mapping[str, bytes]
    ) -> list[str] | None:
        """The tag's id and its commit's, if its folder is exactly what one commit of gradatim made it."""
        touched = {name: change for name, change in changes.items() if f"{name}/".startswith(f"{path}/")}
        made = touched.get(path)
        if len(touched) != 1 or made is None or made.action != "A" or made.source is None:
            return None
        tag, commit = properties.get(_TAG), properties.get(_COMMIT)
        if tag is None or commit is None:
            return None
        marked = Revision.of(commit.decode(errors="replace"))
        source, number = made.source
        if marked is None or marked.number != number or not f"/{unquote(marked.url)}".endswith(f"/{source}"):
            return None
        identity = self._commits.get(commit) or self._commit(path, commit)
        self._commits[commit] = identity
        name = path.rpartition("/")[2].encode()
        if not tag.startswith(b"object %s\ntype commit\ntag %s\n" % (identity.encode(), name)):
            return None
        return [_write(self.repository, "tag", tag), identity]

    def _commit(self, path: str, text: bytes) -> str:
        if not self.repository.central and not text.startswith(f"tree {EMPTY_TREE}\n".encode()):
            identity = _write(self.repository, "commit", text, store=False)
            if not self.repository.has_object(identity):
                raise EnvironmentLacks(
                    f"^/{path} marks the commit {identity[:7]}, which this clone does not have. Run: git svn fetch"
                )
            return identity
        self.repository.run("mktree")
        return _write(self.repository, "commit", text)

    def _read_packs(self, packs: Mapping[str, Node], revision: int) -> dict[str, list[str]]:
        properties = self.server.properties(f"{self._top}gradatim", revision, deep=True)
        found = {}
        for path, node in packs.items():
            head = properties.get(path, {}).get(_HEAD, b"").decode(errors="replace")
            if not re.fullmatch(r"[0-9a-f]{40}", head):
                raise _damaged(path, node)
            if not self.repository.has_object(head):
                pack = self.server.read(path, revision)
                try:
                    self.repository.run("index-pack", "--stdin", "--strict", stdin=pack)
                except EnvironmentLacks as error:
                    raise _damaged(path, node) from error
                if not self.repository.has_object(head):
                    raise _damaged(path, node)
            found[_key(path, node)] = [head, head]
        return found


def _is_tag(update: RefUpdate) -> bool:
    return update.ref.startswith("refs/tags/")


def _told(ref: str) -> str:
    """A reference in the log: a tag's name, or what is kept of which digest."""
    if ref.startswith("refs/tags/"):
        return ref.removeprefix("refs/tags/")
    kind, _, digest = ref.removeprefix(_KEPT).partition("/")
    return f"{kind} {digest[:12]}"


def _key(path: str, node: Node) -> str:
    return f"{path}@{node.revision}"


def _write(repository: Repository, kind: str, data: bytes, *, store: bool = True) -> str:
    options = ["-w"] if store else []
    return os.fsdecode(repository.run("hash-object", "-t", kind, *options, "--stdin", stdin=data)).strip()


def _damaged(path: str, node: Node) -> BrokenEvidence:
    return BrokenEvidence(
        f"^/{path} in Subversion is not what gradatim wrote: revision {node.revision} changed it. "
        f"See who did: svn log -v -r {node.revision}. Put it back as it was before, then run the same command again."
    )
