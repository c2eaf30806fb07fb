"""A server on loopback that behaves like the Hugging Face Hub, and takes only what the Hub's API documents.

The paths, query parameters and fields below are those of https://huggingface.co/.well-known/openapi.json (read in
November 2026), of Git LFS's batch API, and of the two requests that the Hub's own client sends and that document does
not name: ``/api/validate-yaml`` and the key ``deletedFile`` of a commit, which it calls ``deletedEntry``. Anything else
is refused, and fails the test. The real Hub stores large files by Xet where the client can, which is switched off here:
they go by Git LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from gradatim.publishers.publisher import Publisher

TOKEN = "hf_a-token-that-no-storage-may-see"  # noqa: S105 (not a secret: the server is ours)
LFS_JSON = "application/vnd.git-lfs+json"
_BRANCH = re.compile(r"[A-Za-z0-9][\w.@+-]*(/[\w.@+-]+)*")
_SHA = re.compile(r"[0-9a-f]{40}")
_LARGE = 50_000
"""Bytes from which a file goes to LFS; ``.onnx`` always does."""

Tree = dict[str, tuple[bytes, bool]]
"""Bytes by path, and whether they are kept by LFS."""


class Refused(Exception):
    """The API does not know this."""


class Repo:
    """One model repository."""

    def __init__(self) -> None:
        first = {".gitattributes": (b"*.onnx filter=lfs diff=lfs merge=lfs -text\n", False)}
        self.commits: dict[str, Tree] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.titles: list[tuple[str, str]] = []
        self.add("main", first, "initial commit")

    def add(self, branch: str, tree: Tree, title: str) -> str:
        """A commit on top of a branch."""
        said = repr([self.branches.get(branch), title, len(self.commits), sorted(tree.items())])
        oid = hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = tree
        self.branches[branch] = oid
        self.titles.append((branch, title))
        return oid

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag or an id names."""
        found = self.branches.get(revision) or self.tags.get(revision)
        return found or (revision if revision in self.commits else None)


class Hub:
    """The state of one server, by repository.

    Attributes:
        refused: every request that the API does not allow; tests end with none.
        uploads: how many files were uploaded to LFS.
    """

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.storage = f"http://localhost:{port}/storage"
        self.lock = threading.Lock()
        self.refused: list[str] = []
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.uploads = 0

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and body: JSON, bytes of a file, or the address of a redirection."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        headers = {name.lower(): value for name, value in headers.items()}
        signed = headers.get("authorization")
        try:
            if parts.path.startswith("/storage/"):
                if signed:
                    raise Refused("a token was sent to where files are stored")
                return self._store(method, parts.path.removeprefix("/storage/"), body)
            if signed not in (None, f"Bearer {TOKEN}"):
                return 401, {"error": "Invalid credentials in Authorization header"}
            if method != "GET" and signed is None:
                return 401, {"error": "Unauthorized"}
            return self._act(method, parts.path, query, headers, body)
        except Refused as why:
            self.refused.append(f"{method} {target}: {why}")
            return 400, {"error": str(why)}

    def _act(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        if (method, path) == ("POST", "/api/validate-yaml"):
            said = self._json(headers, body, {"content", "repoType"})
            if not said["content"].startswith("---\n"):
                return 200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]}
            return 200, {"errors": [], "warnings": []}
        raw = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        if raw and method == "GET":
            return self._resolve(raw[1], unquote(raw[2]), unquote(raw[3]))
        lfs = re.fullmatch(r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path)
        if lfs and method == "POST":
            return self._batch(
                self._json(headers, body, {"operation", "transfers", "objects", "hash_algo", "ref"})
            )
        found = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(\w+)(?:/([^/]+))?", path)
        if not found:
            raise Refused("no such path")
        if found[1] not in self.repos:
            return 404, {"error": "Repository not found"}
        repo, revision = self.repos[found[1]], unquote(found[3] or "")
        match method, found[2], bool(revision):
            case "GET", "refs", False:
                self._only(query, {"include_prs"})
                return 200, {
                    "branches": _refs("heads", repo.branches),
                    "converts": [],
                    "tags": _refs("tags", repo.tags),
                }
            case "GET", "tree", True:
                self._only(query, {"expand", "recursive", "limit", "cursor"})
                return self._tree(repo, revision)
            case "POST", "preupload", True:
                return self._preupload(repo, revision, self._json(headers, body, {"files"}))
            case "POST", "commit", True:
                if headers.get("content-type") != "application/x-ndjson":
                    raise Refused("JSON lines are wanted")
                return self._commit(
                    found[1], repo, revision, [json.loads(line) for line in body.splitlines()]
                )
            case "POST", "branch", True:
                said = self._json(headers, body, {"startingPoint", "emptyBranch", "overwrite"})
                start = repo.find(said.get("startingPoint", "main"))
                if not _BRANCH.fullmatch(revision) or start is None:
                    raise Refused(f"branch {revision} from {said}")
                if revision in repo.branches:
                    return 409, {"error": "Reference already exists"}
                repo.branches[revision] = start
                return 201, None
            case "DELETE", "branch", True:
                if revision == "main":
                    return 403, {"error": "The default branch is protected"}
                return (
                    (200, None)
                    if repo.branches.pop(revision, None)
                    else (404, {"error": "Reference not found"})
                )
            case "POST", "tag", True:
                tag = self._json(headers, body, {"tag", "message"})["tag"]
                commit = repo.find(revision)
                if not _BRANCH.fullmatch(tag) or commit is None:
                    raise Refused(f"tag {tag} at {revision}")
                if tag in repo.tags:
                    return 409, {"error": "Tag reference exists already"}
                repo.tags[tag] = commit
                return 200, None
        raise Refused("no such operation")

    def _tree(self, repo: Repo, revision: str) -> tuple[int, Any]:
        commit = repo.find(revision)
        if commit is None:
            return 404, {"error": f"Invalid rev id: {revision}"}
        entries: list[dict[str, Any]] = []
        for path, (data, large) in sorted(repo.commits[commit].items()):
            digest = hashlib.sha256(data).hexdigest()
            blob = (
                f"version https://git-lfs\noid sha256:{digest}\nsize {len(data)}\n".encode()
                if large
                else data
            )
            entry = {"type": "file", "oid": _blob(blob), "size": len(data), "path": path}
            entries.append(
                {**entry, "lfs": {"oid": digest, "size": len(data), "pointerSize": 1}} if large else entry
            )
        folders = {path.rpartition("/")[0] for path in repo.commits[commit]} - {""}
        entries += [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)
        ]
        return 200, entries

    def _preupload(self, repo: Repo, revision: str, said: dict[str, Any]) -> tuple[int, Any]:
        commit = repo.find(revision)
        if commit is None:
            return 404, {"error": f"Invalid rev id: {revision}"}
        told = []
        for file in said["files"]:
            if set(file) != {"path", "size", "sample"} or base64.b64decode(file["sample"]) is None:
                raise Refused(f"file {file}")
            large = file["path"].endswith(".onnx") or file["size"] >= _LARGE
            told.append(
                {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            )
            if file["path"] in repo.commits[commit] and not large:
                told[-1]["oid"] = _blob(repo.commits[commit][file["path"]][0])
        return 200, {"files": told}

    def _batch(self, said: dict[str, Any]) -> tuple[int, Any]:
        if said["operation"] != "upload" or said["hash_algo"] != "sha256":
            raise Refused(f"batch {said}")
        objects = []
        for wanted in said["objects"]:
            if set(wanted) != {"oid", "size"}:
                raise Refused(f"object {wanted}")
            action = {"upload": {"href": f"{self.storage}/{wanted['oid']}"}}
            there = wanted["oid"] in self.large
            objects.append({**wanted, **({} if there else {"actions": action})})
        return 200, {"transfer": "basic", "objects": objects}

    def _store(self, method: str, oid: str, body: bytes) -> tuple[int, Any]:
        if method == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                return 400, {"error": "not these bytes"}
            self.large[oid] = body
            self.uploads += 1
            return 200, None
        return 200, self.large[oid]

    def _commit(self, name: str, repo: Repo, branch: str, lines: list[Any]) -> tuple[int, Any]:
        header = lines[0].get("value", {})
        if lines[0].get("key") != "header" or not header.get("summary"):
            raise Refused("a commit begins with its header")
        self._only(header, {"summary", "description", "parentCommit"})
        if branch not in repo.branches:
            return 404, {"error": f"Invalid rev id: {branch}"}
        if not _SHA.fullmatch(header.get("parentCommit", "0" * 40)):
            raise Refused(f"parent {header['parentCommit']}")
        if header.get("parentCommit", repo.branches[branch]) != repo.branches[branch]:
            return 412, {"error": "A commit has happened since. Please refresh and try again."}
        tree = dict(repo.commits[repo.branches[branch]])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                self._only(value, {"path"})
                if tree.pop(value["path"], None) is None:
                    return 404, {"error": "A file with this name doesn't exist"}
            elif line["key"] == "file":
                self._only(value, {"path", "content", "encoding"})
                tree[value["path"]] = base64.b64decode(value["content"], validate=True), False
            elif line["key"] == "lfsFile":
                self._only(value, {"path", "algo", "oid", "size"})
                if value["oid"] not in self.large or value["algo"] != "sha256":
                    raise Refused(f"{value['path']} was not uploaded")
                tree[value["path"]] = self.large[value["oid"]], True
            else:
                raise Refused(f"key {line['key']}")
        oid = repo.add(branch, tree, header["summary"])
        return 200, {"success": True, "commitOid": oid, "commitUrl": f"{self.origin}/{name}/commit/{oid}"}

    def _resolve(self, name: str, revision: str, path: str) -> tuple[int, Any]:
        repo = self.repos.get(name)
        commit = repo.find(revision) if repo else None
        if repo is None or commit is None or path not in repo.commits[commit]:
            return 404, {"error": "Entry not found"}
        data, large = repo.commits[commit][path]
        if not large:
            return 200, data
        self.large.setdefault(digest := hashlib.sha256(data).hexdigest(), data)
        return 302, f"{self.storage}/{quote(digest)}"

    def _json(self, headers: dict[str, str], body: bytes, known: set[str]) -> dict[str, Any]:
        if headers.get("content-type") not in ("application/json", LFS_JSON):
            raise Refused("JSON is wanted")
        said: dict[str, Any] = json.loads(body)
        self._only(said, known)
        return said

    def _only(self, said: dict[str, Any], known: set[str]) -> None:
        if set(said) - known:
            raise Refused(f"not documented: {', '.join(sorted(set(said) - known))}")


def _refs(kind: str, refs: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in refs.items()]


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class HuggingFacePlace:
    """A repository of that server."""

    kind = "huggingface"

    def __init__(self, server: Hub, name: str) -> None:
        self.server = server
        self.credentials = {"HF_TOKEN": TOKEN}
        self.address = f"{server.origin}/{name}"
        self.repo = server.repos[name] = Repo()

    def publisher(self) -> Publisher:
        from gradatim.publishers.huggingface import HuggingFacePublisher

        return HuggingFacePublisher(self.address)

    def snapshot(self) -> Any:
        return dict(self.repo.branches), dict(self.repo.tags), len(self.repo.commits), self.server.uploads

    def tag(self, version: str) -> str | None:
        return next((tag for tag in self.repo.tags if tag.endswith(version)), None)

    def public(self, version: str) -> bool:
        return self.tag(version) is not None

    def drafts(self) -> int:
        return len(self.repo.branches) - 1

    def change(self, version: str, tree: Tree) -> None:
        """Move a tag to a commit with other files, as an owner could who deletes it first."""
        tag = self.tag(version)
        assert tag
        self.repo.tags[tag] = self.repo.add("elsewhere", tree, "tampered")
        del self.repo.branches["elsewhere"]

    def files(self, version: str) -> Tree:
        tag = self.tag(version)
        assert tag
        return dict(self.repo.commits[self.repo.tags[tag]])

    def alter(self, version: str, path: str, data: bytes) -> None:
        self.change(version, {**self.files(version), path: (data, False)})

    def lose(self, version: str, path: str) -> None:
        self.change(version, {name: what for name, what in self.files(version).items() if name != path})

    def remove(self, version: str) -> None:
        del self.repo.tags[str(self.tag(version))]

    def lose_from_draft(self, path: str, data: bytes) -> None:
        (branch,) = set(self.repo.branches) - {"main"}
        tree = self.repo.commits[self.repo.branches[branch]]
        self.repo.add(branch, {name: what for name, what in tree.items() if name != path}, "lost")
