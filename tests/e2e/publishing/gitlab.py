"""A server on loopback that behaves like GitLab's releases and packages, and takes only what GitLab's own OpenAPI
document allows; so are its answers.

In three things GitLab's document is not what GitLab does, and its REST pages are followed: a file is uploaded as the
bare body of the request, with the fields of the document's form as query; the links and sources of a release are
lists; a download may be redirected to another address. What no document says is ours, from the same pages: which links,
asset paths, file names and versions are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from publishing.openapi import Judge, gitlab_document

from gradatim.publishers.publisher import Publisher

TOKEN = "glpat-a-token-that-no-storage-may-see"  # noqa: S105 (not a secret: the server is ours)
_FILE = re.compile(r"[A-Za-z0-9._+-][A-Za-z0-9._+~@-]*")
_VERSION = re.compile(r"(\.?[\w+-]+\.?)+")


class Refused(Exception):
    """GitLab does not know this."""


class GitLab:
    """The state of one server, by project."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self.judge = Judge(gitlab_document(), self.origin)
        self.lock = threading.Lock()
        self.refused: list[str] = []
        self.releases: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, dict[int, dict[str, Any]]] = {}
        self.storage: dict[str, bytes] = {}
        self.tags: dict[str, Path] = {}
        self._next = 0

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and body: JSON, bytes of a file, or the address of a redirection."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        tokens = {name: value for name, value in headers.items() if "token" in name.lower()}
        try:
            if parts.path.startswith("/storage/"):
                if tokens or "Authorization" in headers:
                    raise Refused("a token was sent to where files are stored")
                return 200, self.storage[parts.path.removeprefix("/storage/")]
            found = re.fullmatch(r"/api/v4/projects/([^/]+)/(.*)", parts.path)
            if not found:
                raise Refused("no such path")
            why = self._judge(method, parts.path, query, headers, body)
            if why is not None:
                raise Refused(why)
            if tokens != {"PRIVATE-TOKEN": TOKEN} and (tokens or method != "GET"):
                return 401, {"message": "401 Unauthorized"}  # which the document forgets for some
            status, said = self._act(method, unquote(found[1]), found[2], query, body)
            if status != 302:
                given = b"" if said is None or isinstance(said, bytes) else json.dumps(said).encode()
                why = self.judge.response(status, given)
                if why is not None:
                    self.refused.append(f"our own answer to {method} {target}: {why}")
            return status, said
        except Refused as why:
            self.refused.append(f"{method} {target}: {why}")
            return 400, {"message": str(why)}

    def _judge(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> str | None:
        """Why the document does not allow a request; an upload is held against the form that the document has for it."""
        if method != "PUT":
            return self.judge.request(method, self.origin, path, query, headers, body)
        if "Content-Type" in headers:
            return f"a bare file is wanted, not {headers['Content-Type']}"
        from urllib3 import encode_multipart_formdata

        form, kind = encode_multipart_formdata({**query, "file": ("file", body)})
        why = self.judge.request(method, self.origin, path, {}, {"Content-Type": kind}, form)
        strange = set() if why else set(query) - self.judge.fields(method, path, "multipart/form-data")
        return f"not in the document: {', '.join(sorted(strange))}" if strange else why

    def _act(
        self, method: str, project: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        releases = self.releases.setdefault(project, {})
        packages = self.packages.setdefault(project, {})
        parts = [unquote(part) for part in path.split("/")]
        if path == "releases":
            return self._release(project, json.loads(body))
        if parts[0] == "releases":
            return (200, releases[parts[1]]) if parts[1] in releases else (404, {"message": "404 Not Found"})
        if path == "packages":
            wanted = query.get("status", "default")
            return 200, [
                {key: package[key] for key in ("id", "name", "version", "package_type", "status")}
                for package in packages.values()
                if package["status"] == wanted
                and package["name"].startswith(query.get("package_name", ""))
                and query.get("package_version") in (None, package["version"])
            ]
        if parts[1] == "generic":
            return self._file(method, packages, parts[2:], query, body)
        if method == "GET":
            size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
            return 200, packages[int(parts[1])]["files"][size * (page - 1) : size * page]
        del packages[int(parts[1])]
        return 204, None

    def _release(self, project: str, wanted: dict[str, Any]) -> tuple[int, Any]:
        links = wanted.get("assets", {}).get("links", [])
        for link in links:
            if not link["name"] or not link["url"]:
                raise Refused(f"a link needs a name and an address: {link}")
            if not re.fullmatch(r"/(?:[\w.-]+/?)*[\da-zA-Z]+", link.get("direct_asset_path", "/x")):
                raise Refused(f"direct_asset_path {link['direct_asset_path']}")
        if len({link["name"] for link in links}) != len(links) or len({x["url"] for x in links}) != len(
            links
        ):
            raise Refused("two links are the same")
        if wanted["tag_name"] in self.releases[project]:
            return 409, {"message": "Release already exists"}
        if wanted["tag_name"] not in self._tags_of(project) and "ref" not in wanted:
            return 400, {"message": "Ref is not specified"}
        shown = [
            {
                "id": self._number(),
                "link_type": "other",
                **{k: v for k, v in link.items() if k != "direct_asset_path"},
            }
            for link in links
        ]
        made = {**wanted, "assets": {"count": len(links), "links": shown, "sources": []}}
        self.releases[project][wanted["tag_name"]] = made
        return 201, made

    def _file(
        self,
        method: str,
        packages: dict[int, dict[str, Any]],
        parts: list[str],
        query: dict[str, str],
        body: bytes,
    ) -> tuple[int, Any]:
        name, version, file = parts
        package = next((p for p in packages.values() if (p["name"], p["version"]) == (name, version)), None)
        if method == "GET":
            same = [f for f in package["files"] if f["file_name"] == file] if package else []
            return (302, f"{self.origin}/storage/{same[-1]['id']}") if same else (404, {"message": "404"})
        if not _FILE.fullmatch(file) or not _VERSION.fullmatch(version) or not body:
            raise Refused(f"{name} {version} {file} of {len(body)} bytes")
        self.add_file(packages, name, version, file, body, query.get("status", "default"))
        return 201, {"message": "201 Created"}

    def add_file(
        self,
        packages: dict[int, dict[str, Any]],
        name: str,
        version: str,
        file: str,
        data: bytes,
        status: str,
    ) -> None:
        package = next((p for p in packages.values() if (p["name"], p["version"]) == (name, version)), None)
        if package is None:
            number = self._number()
            package = {"id": number, "name": name, "version": version, "package_type": "generic", "files": []}
            packages[number] = package
        package["status"] = status
        number = self._number()
        self.storage[str(number)] = data
        digest = hashlib.sha256(data).hexdigest()
        package["files"].append({"id": number, "file_name": file, "size": len(data), "file_sha256": digest})

    def _tags_of(self, project: str) -> list[str]:
        listed = subprocess.run(
            ["git", "-C", str(self.tags[project]), "tag"], capture_output=True, text=True, check=True
        )
        return listed.stdout.split()

    def _number(self) -> int:
        self._next += 1
        return self._next


class GitLabPlace:
    """A project of that server."""

    kind = "gitlab"

    def __init__(self, server: GitLab, project: str, remote: Path) -> None:
        self.server = server
        self.project = project
        self.credentials = {"GITLAB_TOKEN": TOKEN}
        self.address = f"{server.origin}/{project}"
        server.tags[project] = remote

    def publisher(self) -> Publisher:
        from gradatim.publishers.gitlab import GitLabPublisher

        return GitLabPublisher(self.address)

    @property
    def releases(self) -> dict[str, Any]:
        return self.server.releases.setdefault(self.project, {})

    @property
    def packages(self) -> dict[int, dict[str, Any]]:
        return self.server.packages.setdefault(self.project, {})

    def release(self, version: str) -> Any:
        return next((r for tag, r in self.releases.items() if tag.endswith(version)), None)

    def package(self, version: str) -> dict[str, Any]:
        (found,) = (p for p in self.packages.values() if p["version"].startswith(f"{version}+"))
        return found

    def snapshot(self) -> Any:
        return json.dumps([self.releases, self.packages], sort_keys=True)

    def public(self, version: str) -> bool:
        return self.release(version) is not None

    def drafts(self) -> int:
        """Packages that no release links to."""
        linked = json.dumps(self.releases)
        return sum(f"/{p['version']}/" not in linked for p in self.packages.values())

    def alter(self, version: str, path: str, data: bytes) -> None:
        self.lose(version, path)
        package = self.package(version)
        self.server.add_file(self.packages, package["name"], package["version"], path, data, "hidden")
        url = self.publisher()._root + f"/packages/generic/{package['name']}/{package['version']}/{path}"  # type: ignore[attr-defined]
        self.release(version)["assets"]["links"].append({"name": path, "url": url})

    def lose(self, version: str, path: str) -> None:
        assets = self.release(version)["assets"]
        assets["links"] = [link for link in assets["links"] if link["name"] != path]

    def remove(self, version: str) -> None:
        del self.releases[version]

    def lose_from_draft(self, path: str, data: bytes) -> None:
        (package,) = self.packages.values()
        package["files"] = [file for file in package["files"] if file["file_name"] != path]
