"""GitLab releases as the place that releases are published to, their files in the generic package registry.

The files are uploaded into a hidden package of their own, named by the digest of the release, and downloaded
again. One request then creates the release together with a link to each file; before it nothing is seen.
Tokens go into a header, and never along when a download is redirected to where GitLab stores its files.

Source: GitLab's REST API v4: releases, packages, generic packages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gradatim.errors import BrokenEvidence
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.publishers.forge import ForgePublisher, description, paged
from gradatim.publishers.publisher import Found, Publication, Wanted
from gradatim.publishers.transfer import checked_source, not_the_release, sending
from gradatim.publishers.web import Web

if TYPE_CHECKING:
    import requests

_TOKENS = {"GITLAB_TOKEN": "PRIVATE-TOKEN", "CI_JOB_TOKEN": "JOB-TOKEN"}


class GitLabPublisher(ForgePublisher):
    """Publishes to the releases of a GitLab project."""

    kind = "gitlab"
    server = ("CI_SERVER_URL", "https://gitlab.com")
    below = "/-/releases/"

    @property
    def may_write(self) -> bool:
        return bool(self._token)

    # releases

    def public(self, publication: Publication) -> Found | None:
        """See ``Publisher.public``: the addresses of its links."""
        tag = quote(self.tag(publication), safe="")
        response = self._send("GET", f"{self._root}/releases/{tag}")
        if response.status_code == 404:
            return None
        links = self._web.accepted(response, 200).json()["assets"]["links"]
        return {link["name"]: link["url"] for link in links}

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        links = [
            {
                "name": name,
                "url": f"{place}/{name}",
                "direct_asset_path": f"/{name}",
                "link_type": "package",
            }
            for name in self.names(release)
        ]
        wanted = {
            "tag_name": release.tag,
            "name": release.tag,
            "description": description(release),
            "assets": {"links": links},
        }
        response = self._send("POST", f"{self._root}/releases", json=wanted)
        self._web.accepted(response, 201, 409)  # at 409 somebody was faster; what it is, is compared

    def clear(self, place: str, release: ReleaseFiles) -> None:
        """See ``Publisher.clear``. A token that may not delete leaves the hidden package to its owner."""
        package = self._package_id(release)
        if package is not None:
            self._send("DELETE", f"{self._root}/packages/{package}")

    # packages

    def begin(self, release: ReleaseFiles) -> str:
        return f"{self._root}/packages/generic/{release.record.name}/{_version(release)}"

    def _package_id(self, release: ReleaseFiles) -> int | None:
        wanted = {
            "package_type": "generic",
            "package_name": release.record.name,
            "package_version": _version(release),
            "status": "hidden",
        }
        found = self._web.accepted(self._send("GET", f"{self._root}/packages", params=wanted), 200).json()
        same = [p for p in found if (p["name"], p["version"]) == (release.record.name, _version(release))]
        return int(same[0]["id"]) if same else None

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        package = self._package_id(release)
        if package is None:
            return {}
        url = f"{self._root}/packages/{package}/package_files"
        files = paged(lambda page: self._web.accepted(self._send("GET", url, params=page), 200).json())
        return {name: f"{place}/{name}" for name in (file["file_name"] for file in files)}

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        """See ``Publisher.put``: of several files of one name in a package GitLab gives the newest."""
        for name, entry in missing.items():
            with sending(checked_source(release, entry), name) as body:
                response = self._send("PUT", f"{place}/{name}", params={"status": "hidden"}, data=body)
            self._web.accepted(response, 200, 201)
        return {name: f"{place}/{name}" for name in missing}

    def read(self, file: str) -> Iterator[bytes]:
        if not file.startswith(f"{self._root}/packages/generic/"):
            raise BrokenEvidence(
                f"{file} is linked to by a release of {self.location}, and lies somewhere else."
            )
        response = self._send("GET", file, stream=True)
        if response.is_redirect:
            response = self._web.send("GET", response.headers["Location"], stream=True)
        if response.status_code == 404:
            raise not_the_release(file, "it is linked to, and is gone.")
        return self._web.stream(self._web.accepted(response, 200))

    # speaking with GitLab

    @property
    def _root(self) -> str:
        return f"{self.project.server}/api/v4/projects/{quote(self.project.path, safe='')}"

    @cached_property
    def _web(self) -> Web:
        return Web(self)

    @property
    def _token(self) -> dict[str, str]:
        found = {header: os.environ[name] for name, header in _TOKENS.items() if os.environ.get(name)}
        return dict(list(found.items())[:1])

    def _send(self, method: str, url: str, **how: Any) -> requests.Response:
        return self._web.send(method, url, headers=self._token, allow_redirects=False, **how)


def _version(release: ReleaseFiles) -> str:
    """The package's version: two candidates for one version never meet in one package."""
    version = release.record.version.replace("+", "-")
    return f"{version}+{release.record.digest[:16]}"
