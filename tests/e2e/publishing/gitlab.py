"""A server on loopback that behaves like GitLab's releases and packages.

It takes only what GitLab's REST documentation names: each path, query parameter and JSON field below is from the
pages "Releases API", "Packages API" and "Generic packages"; anything else is refused, and fails the test. (GitLab
ships its OpenAPI document in no package, and that document does not describe the paths of generic packages.)
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

from gradatim.publishers.publisher import Publisher

TOKEN = "glpat-a-token-that-no-storage-may-see"  # noqa: S105 (not a secret: the server is ours)
_PAGES = {"page", "per_page"}
_RELEASE_FIELDS = {
    "name", "tag_name", "tag_message", "description", "ref", "milestones", "milestone_ids", "assets", "released_at",
    "legacy_catalog_publish",
}  # fmt: skip
_LINK_FIELDS = {"name", "url", "direct_asset_path", "link_type"}
_LINK_TYPES = {"other", "runbook", "image", "package"}
_FILE = re.compile(r"[A-Za-z0-9._+-][A-Za-z0-9._+~@-]*")
_VERSION = re.compile(r"(\.?[\w+-]+\.?)+")


class Refused(Exception):
    """The documentation does not know this."""


class GitLab:
    """The state of one server, by project."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
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
            if tokens and tokens != {"PRIVATE-TOKEN": TOKEN}:
                return 401, {"message": "401 Unauthorized"}
            if method != "GET" and not tokens:
                return 401, {"message": "401 Unauthorized"}
            return self._act(method, unquote(found[1]), found[2], query, headers, body)
        except Refused as why:
            self.refused.append(f"{method} {target}: {why}")
            return 400, {"message": str(why)}

    def _act(
        self,
        method: str,
        project: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> tuple[int, Any]:
        releases = self.releases.setdefault(project, {})
        packages = self.packages.setdefault(project, {})
        parts = [unquote(part) for part in path.split("/")]
        if (method, path) == ("POST", "releases"):
            return self._release(project, self._json(headers, body))
        if method == "GET" and parts[0] == "releases" and len(parts) == 2:
            self._only(query, {"include_html_description"})
            return (200, releases[parts[1]]) if parts[1] in releases else (404, {"message": "404 Not Found"})
        if (method, path) == ("GET", "packages"):
            names = {"package_type", "package_name", "package_version", "status", "order_by", "sort"}
            self._only(query, names | {"include_versionless"} | _PAGES)
            wanted = query.get("status", "default")
            return 200, [
                {key: package[key] for key in ("id", "name", "version", "package_type", "status")}
                for package in packages.values()
                if package["status"] == wanted
                and package["name"].startswith(query.get("package_name", ""))
                and query.get("package_version") in (None, package["version"])
            ]
        if parts[:2] == ["packages", "generic"] and len(parts) == 5:
            return self._file(method, packages, parts[2:], query, body)
        if parts[0] == "packages" and parts[2:] == ["package_files"] and method == "GET":
            self._only(query, {"order_by", "sort"} | _PAGES)
            size, page = int(query.get("per_page", 20)), int(query.get("page", 1))
            return 200, packages[int(parts[1])]["files"][size * (page - 1) : size * page]
        if parts[0] == "packages" and len(parts) == 2 and method == "DELETE":
            del packages[int(parts[1])]
            return 204, None
        raise Refused("no such operation")

    def _release(self, project: str, wanted: dict[str, Any]) -> tuple[int, Any]:
        self._only(wanted, _RELEASE_FIELDS)
        self._only(wanted.get("assets", {}), {"links"})
        links = wanted.get("assets", {}).get("links", [])
        for link in links:
            self._only(link, _LINK_FIELDS)
            path = link.get("direct_asset_path", "/x")
            if (
                not link.get("name")
                or not link.get("url")
                or link.get("link_type", "other") not in _LINK_TYPES
            ):
                raise Refused(f"a link needs a name, an address and a known type: {link}")
            if not re.fullmatch(r"/(?:[\w.-]+/?)*[\da-zA-Z]+", path):
                raise Refused(f"direct_asset_path {path}")
        if len({link["name"] for link in links}) != len(links) or len({x["url"] for x in links}) != len(
            links
        ):
            raise Refused("two links are the same")
        if wanted["tag_name"] in self.releases[project]:
            return 409, {"message": "Release already exists"}
        if wanted["tag_name"] not in self._tags_of(project) and "ref" not in wanted:
            return 400, {"message": "Ref is not specified"}
        made = {**wanted, "assets": {"count": len(links), "links": links, "sources": []}}
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
            self._only(query, set())
            same = [f for f in package["files"] if f["file_name"] == file] if package else []
            return (302, f"{self.origin}/storage/{same[-1]['id']}") if same else (404, {"message": "404"})
        if method != "PUT":
            raise Refused("no such operation")
        self._only(query, {"status", "select"})
        if query.get("status", "default") not in ("default", "hidden"):
            raise Refused(f"status {query['status']}")
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

    def _json(self, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        if headers.get("Content-Type") != "application/json":
            raise Refused("JSON is wanted")
        said: dict[str, Any] = json.loads(body)
        return said

    def _only(self, said: dict[str, Any], known: set[str]) -> None:
        if set(said) - known:
            raise Refused(f"not documented: {', '.join(sorted(set(said) - known))}")

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
