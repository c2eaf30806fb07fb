"""GitHub releases as the place that releases are published to.

The files become assets of a draft release, which only maintainers see; they are downloaded again and compared,
then the draft is published by one request. The token comes from the environment and goes nowhere but into the
``Authorization`` header.

Source: GitHub's REST API, version 2022-11-28, releases and release assets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from gradatim.errors import EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.publishers.forge import ForgePublisher, description, paged
from gradatim.publishers.publisher import Changed, Found, Publication, Wanted
from gradatim.publishers.transfer import checked_source, not_the_release, sending
from gradatim.publishers.web import Web

if TYPE_CHECKING:
    import requests

_TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
_VERSION = "2022-11-28"
_MARK = "gradatim-release: sha256:"
_LATEST = "legacy"
"""By version and date, so that a fix of an older line does not become the latest release."""


class GitHubPublisher(ForgePublisher):
    """Publishes to the releases of a GitHub repository."""

    kind = "github"
    server = ("GITHUB_SERVER_URL", "https://github.com")
    below = "/releases/tag/"

    @property
    def may_write(self) -> bool:
        return self._authorization is not None

    # releases

    def public(self, publication: Publication) -> Found | None:
        found = self._get(f"/releases/tags/{quote(self.tag(publication), safe='')}")
        return None if found is None else self._assets(found["id"])

    def begin(self, release: ReleaseFiles) -> str:
        """See ``Publisher.begin``: of several drafts made at once all take the oldest."""
        mark = f"{_MARK}{release.record.digest}"
        mine = [r for r in self._drafts(release.tag) if mark in r["body"]]
        if not mine:
            wanted = {
                "tag_name": release.tag,
                "name": release.tag,
                "body": f"{description(release)}\n<!-- {mark} -->\n",
                "draft": True,
                "prerelease": "-" in release.record.version,
                "make_latest": _LATEST,
            }
            self._web.accepted(self._send("POST", "/releases", json=wanted), 201)
            mine = [r for r in self._drafts(release.tag) if mark in r["body"]]
            for other in mine[1:]:
                self._delete(f"/releases/{other['id']}")
        if not mine:
            raise Changed
        return str(mine[0]["id"])

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        if self._get(f"/git/ref/tags/{quote(release.tag, safe='')}") is None:
            raise EnvironmentLacks(
                f"{self.location} has no tag {release.tag}, and to publish would make one of its own. "
                "Publish to the repository that the git remote is of."
            )
        wanted = {"draft": False, "make_latest": _LATEST}
        response = self._send("PATCH", f"/releases/{place}", json=wanted)
        if response.status_code in (404, 422):  # somebody else published it, or took the draft away
            raise Changed
        self._web.accepted(response, 200)

    def tidy(self, release: ReleaseFiles) -> None:
        for left in self._drafts(release.tag):
            self._delete(f"/releases/{left['id']}")

    def clear(self, place: str, release: ReleaseFiles) -> None:
        self._delete(f"/releases/{place}")

    def _drafts(self, tag: str) -> list[Any]:
        """Drafts that gradatim made for a tag, oldest first."""
        found = [r for r in self._pages("/releases") if r["draft"] and r["tag_name"] == tag]
        return sorted((r for r in found if _MARK in (r["body"] or "")), key=lambda r: int(r["id"]))

    # assets

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        return self._assets(int(place))

    def _assets(self, number: int) -> dict[str, Any]:
        return {asset["name"]: asset for asset in self._pages(f"/releases/{number}/assets")}

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        for asset in stale.values():
            self._delete(f"/releases/assets/{asset['id']}")
        return {name: self._upload(place, name, checked_source(release, e)) for name, e in missing.items()}

    def _upload(self, place: str, name: str, source: Source) -> Any:
        draft = self._get(f"/releases/{place}")
        if draft is None:
            raise Changed
        with sending(source, name) as body:
            response = self._web.send(
                "POST",
                draft["upload_url"].partition("{")[0],
                authorization=self._authorization,
                params={"name": name},
                data=body,
                headers={"Content-Type": "application/octet-stream"},
            )
        if response.status_code in (404, 422):  # it is there already, from a request that seemed to fail
            raise Changed
        asset = self._web.accepted(response, 201).json()
        if asset["name"] != name:
            raise not_the_release(
                f"{self.location}/releases/assets/{asset['id']}", f"{name} is another name."
            )
        return asset

    def read(self, file: Any) -> Iterator[bytes]:
        """See ``Publisher.read``: a broken upload holds nothing."""
        if file["state"] != "uploaded":
            return iter(())
        headers = {"Accept": "application/octet-stream"}
        response = self._send("GET", f"/releases/assets/{file['id']}", headers=headers, stream=True)
        if response.status_code == 404:
            raise Changed
        return self._web.stream(self._web.accepted(response, 200))

    # speaking with GitHub

    @cached_property
    def _web(self) -> Web:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _VERSION}
        return Web(self, headers)

    @property
    def _authorization(self) -> str | None:
        token = next((os.environ[name] for name in _TOKENS if os.environ.get(name)), None)
        return f"Bearer {token}" if token else None

    def _send(self, method: str, path: str, **how: Any) -> requests.Response:
        root = f"{_api(self.project.server)}/repos/{self.project.path}"
        return self._web.send(method, root + path, authorization=self._authorization, **how)

    def _get(self, path: str) -> Any:
        """What is there; None when nothing is."""
        response = self._send("GET", path)
        return None if response.status_code == 404 else self._web.accepted(response, 200).json()

    def _pages(self, path: str) -> Iterator[Any]:
        def ask(page: Mapping[str, int]) -> Any:
            response = self._send("GET", path, params=page)
            if response.status_code == 404 and path != "/releases":
                raise Changed
            return self._web.accepted(response, 200).json()

        return paged(ask)

    def _delete(self, path: str) -> None:
        response = self._send("DELETE", path)
        if response.status_code != 404:
            self._web.accepted(response, 204)


def _api(server: str) -> str:
    host = urlsplit(server).netloc
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"{server}/api/v3"
