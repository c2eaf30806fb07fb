"""A server on loopback that behaves like GitHub's releases and takes only what GitHub's OpenAPI document allows."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from publishing.openapi import Judge, github_document

from gradatim.publishers.publisher import Publisher

TOKEN = "ghs_a-token-that-no-log-may-hold"  # noqa: S105 (not a secret: the server is ours)


class GitHub:
    """The state of one server: releases and assets by repository.

    Attributes:
        refused: every request or answer that the document does not allow; tests end with none.
        failing: statuses to answer the next requests with, instead of doing what they ask.
    """

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.judge = Judge(github_document(), f"{self.origin}/api/v3", f"{self.origin}/api/uploads")
        self.releases: dict[str, dict[int, dict[str, Any]]] = {}
        self.contents: dict[int, bytes] = {}
        self.tags: dict[str, Path] = {}
        self.requests: list[tuple[str, str]] = []
        self.refused: list[str] = []
        self.failing: list[int] = []
        self.lock = threading.Lock()
        self._next = 1

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and body of one request: JSON, bytes of an asset, or the address of a redirection."""
        parts = urlsplit(target)
        if parts.path.startswith("/storage/"):
            if "Authorization" in headers:
                self.refused.append("a token was sent to where assets are stored")
            return 200, self.contents[int(parts.path.removeprefix("/storage/"))]
        query = dict(parse_qsl(parts.query))
        why = self.judge.request(method, self.origin, parts.path, query, headers, body)
        if why is not None:
            self.refused.append(f"{method} {target}: {why}")
            return 400, {"message": why}
        self.requests.append((method, parts.path))
        if self.failing:
            return self.failing.pop(0), {"message": "Server Error"}
        signed_in = headers.get("Authorization") == f"Bearer {TOKEN}"
        found = re.fullmatch(r"/api/(?:v3|uploads)/repos/([^/]+/[^/]+)/(.*)", parts.path)
        assert found
        repository, path = found[1], unquote(found[2])
        if method != "GET" and not signed_in:
            return (401 if "Authorization" in headers else 404), {"message": "Requires authentication"}
        status, said = self._act(method, repository, path, query, headers, body, signed_in)
        if status != 302:
            why = self.judge.response(status, json.dumps(said).encode() if said is not None else b"")
            if why is not None:
                self.refused.append(f"our own answer to {method} {target}: {why}")
        return status, said

    def _act(
        self,
        method: str,
        repository: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
        signed_in: bool,
    ) -> tuple[int, Any]:
        releases = self.releases.setdefault(repository, {})
        shown = {number: r for number, r in releases.items() if signed_in or not r["draft"]}
        missing = 404, {"message": "Not Found"}
        if path.startswith("git/ref/tags/"):
            name = path.removeprefix("git/ref/")
            if name.removeprefix("tags/") not in self._tags_of(repository):
                return missing
            return 200, {**self.judge.example("git-ref"), "ref": f"refs/{name}"}
        if path == "releases" and method == "GET":
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            return 200, sorted(shown.values(), key=lambda r: -r["id"])[size * (page - 1) : size * page]
        if path == "releases":
            return self._create(repository, json.loads(body))
        if path.startswith("releases/tags/"):
            tag = path.removeprefix("releases/tags/")
            public = [r for r in releases.values() if r["tag_name"] == tag and not r["draft"]]
            return (200, public[0]) if public else missing
        if path.startswith("releases/assets/"):
            return self._asset(method, releases, int(path.rsplit("/", 1)[1]), headers) or missing
        number = int(path.split("/")[1])
        if number not in shown:
            return missing
        release = releases[number]
        if path.endswith("/assets") and method == "GET":
            size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            return 200, release["assets"][size * (page - 1) : size * page]
        if path.endswith("/assets"):
            return self.add_asset(release, query["name"], body)
        if method == "DELETE":
            del releases[number]
            return 204, None
        if method == "PATCH":
            return self._change(repository, release, json.loads(body))
        return 200, release

    def _create(self, repository: str, wanted: dict[str, Any]) -> tuple[int, Any]:
        taken = [r for r in self.releases[repository].values() if r["tag_name"] == wanted["tag_name"]]
        if not wanted.get("draft") and any(not r["draft"] for r in taken):
            return 422, {"message": "Validation Failed", "errors": ["already_exists"]}
        number = self._number()
        release = {
            **self.judge.example("release"),
            "id": number,
            "assets": [],
            "upload_url": f"{self.origin}/api/uploads/repos/{repository}/releases/{number}/assets{{?name,label}}",
            "published_at": None,
            **{key: wanted[key] for key in wanted if key != "make_latest"},
        }
        self.releases[repository][number] = release
        return 201, release

    def _change(self, repository: str, release: dict[str, Any], wanted: dict[str, Any]) -> tuple[int, Any]:
        others = [r for r in self.releases[repository].values() if r is not release and not r["draft"]]
        if wanted.get("draft") is False and any(r["tag_name"] == release["tag_name"] for r in others):
            return 404, {"message": "Validation Failed: already_exists"}
        release.update({key: value for key, value in wanted.items() if key != "make_latest"})
        release["published_at"] = None if release["draft"] else "2026-11-22T12:00:00Z"
        return 200, release

    def add_asset(
        self, release: dict[str, Any], name: str, data: bytes, state: str = "uploaded"
    ) -> tuple[int, Any]:
        if any(asset["name"] == name for asset in release["assets"]):
            return 422, {"message": "Validation Failed", "errors": []}
        if not data:
            return 422, {
                "message": "Validation Failed: size must be greater than or equal to 1",
                "errors": [],
            }
        number = self._number()
        shown = re.sub(r"[^A-Za-z0-9._-]+", ".", name).strip(".")  # GitHub renames what it does not like
        asset = {
            **self.judge.example("release-asset"),
            "id": number,
            "name": shown,
            "state": state,
            "size": len(data),
            "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        }
        release["assets"].append(asset)
        self.contents[number] = data
        return 201, asset

    def _asset(
        self, method: str, releases: dict[int, dict[str, Any]], number: int, headers: dict[str, str]
    ) -> tuple[int, Any] | None:
        for release in releases.values():
            for asset in release["assets"]:
                if asset["id"] == number and method == "DELETE":
                    release["assets"].remove(asset)
                    return 204, None
                if asset["id"] == number:
                    wants_bytes = headers.get("Accept") == "application/octet-stream"
                    elsewhere = self.origin.replace(
                        "127.0.0.1", "localhost"
                    )  # as GitHub does it: another host
                    return (302, f"{elsewhere}/storage/{number}") if wants_bytes else (200, asset)
        return None

    def _tags_of(self, repository: str) -> list[str]:
        remote = self.tags[repository]
        listed = subprocess.run(["git", "-C", str(remote), "tag"], capture_output=True, text=True, check=True)
        return listed.stdout.split()

    def _number(self) -> int:
        self._next += 1
        return self._next


class GitHubPlace:
    """A repository of that server."""

    kind = "github"

    def __init__(self, server: GitHub, repository: str, remote: Path) -> None:
        self.server = server
        self.repository = repository
        self.credentials = {"GITHUB_TOKEN": TOKEN}
        self.address = f"{server.origin}/{repository}"
        server.tags[repository] = remote

    def publisher(self) -> Publisher:
        from gradatim.publishers.github import GitHubPublisher

        return GitHubPublisher(self.address)

    @property
    def releases(self) -> list[dict[str, Any]]:
        return list(self.server.releases.get(self.repository, {}).values())

    def release(self, version: str) -> dict[str, Any] | None:
        found = [r for r in self.releases if r["tag_name"].endswith(version) and not r["draft"]]
        return found[0] if found else None

    def snapshot(self) -> Any:
        return json.dumps(self.releases, sort_keys=True)

    def public(self, version: str) -> bool:
        return self.release(version) is not None

    def drafts(self) -> int:
        return sum(bool(r["draft"]) for r in self.releases)

    def alter(self, version: str, path: str, data: bytes) -> None:
        self.lose(version, path)
        release = self.release(version)
        assert release
        self.server.add_asset(release, path, data)

    def lose(self, version: str, path: str) -> None:
        release = self.release(version)
        assert release
        release["assets"] = [asset for asset in release["assets"] if asset["name"] != path]

    def remove(self, version: str) -> None:
        release = self.release(version)
        assert release
        del self.server.releases[self.repository][release["id"]]

    def lose_from_draft(self, path: str, data: bytes) -> None:
        (draft,) = (r for r in self.releases if r["draft"])
        draft["assets"] = [asset for asset in draft["assets"] if asset["name"] != path]
        self.server.add_asset(draft, path, data[:1], state="open")  # what a broken upload leaves


Answer = Callable[[str, str, dict[str, str], bytes], tuple[int, Any]]


@contextmanager
def serving(
    port: int, answer: Answer, lock: threading.Lock, headers: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Serve what ``answer`` says on a port of loopback, one request at a time, with ``headers`` on each answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                status, said = answer(self.command, self.path, dict(self.headers), body)
            where = said if status == 302 else None
            said = None if status == 302 else said
            data = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
            kind = "application/octet-stream" if isinstance(said, bytes) else "application/json"
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if where:
                self.send_header("Location", where)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 (the names that it calls)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the name that it has there)
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client was killed, which is the point
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            running.shutdown()
            thread.join()
