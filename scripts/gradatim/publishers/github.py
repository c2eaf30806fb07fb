"""GitHub releases as the place that releases are published to.

The files become assets of a draft release, which only maintainers see; they are downloaded again and compared,
then the draft is published by one request. The token comes from the environment and goes nowhere but into the
``Authorization`` header.

Source: GitHub's REST API, version 2022-11-28, releases and release assets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from gradatim.errors import EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import RECORD_FILE, SIGNATURE_FILE
from gradatim.publishers.forge import Project, by_plain_name, description, find_project
from gradatim.publishers.publisher import Draft, Publication
from gradatim.publishers.transfer import (
    checked_source,
    compare,
    gone,
    is_entry,
    is_held,
    not_the_release,
    own_record,
    save_named,
    sending,
)
from gradatim.publishers.web import Changed, Web, explained, patiently
from gradatim.registry.git import Repository

if TYPE_CHECKING:
    import requests

_TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
_VERSION = "2022-11-28"
_TAG = "/releases/tag/"
_PAGE = 100
_LATEST = "legacy"
"""By version and date, so that a fix of an older line does not become the latest release."""


class GitHubPublisher:
    """Publishes to the releases of a GitHub repository.

    Args:
        address: ``OWNER/NAME``, or an address of the repository or of one release on its server; None takes the
            repository that the git remote is of.
        repository: whose remote counts then.
    """

    kind = "github"

    def __init__(self, address: str | None, repository: Repository | None = None) -> None:
        server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
        where = (address or "").partition(_TAG)[0]
        self._project: Project = find_project(where or None, self.kind, server, repository)
        self._root = f"{_api(self._project.server)}/repos/{self._project.path}"

    @property
    def location(self) -> str:
        return self._project.url

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = f"{self.location}{_TAG}{quote(release.tag, safe='')}"
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""
        if self._authorization is None:
            raise EnvironmentLacks(
                f"{self.location} needs a token to be written to. Set {_TOKENS[0]} "
                "(in a workflow: `permissions: contents: write`)."
            )

        def try_once() -> Draft:
            if self._is_public(release):
                self._compare(release)
                return Draft(release, "", self.publication(release))
            number = self._own_draft(release)
            self._fill(number, release)
            return Draft(release, str(number))

        return patiently(self.location, try_once)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release

        def try_once() -> None:
            if self._is_public(release):
                return
            if self._get(f"/git/ref/tags/{quote(release.tag, safe='')}") is None:
                raise EnvironmentLacks(
                    f"{self.location} has no tag {release.tag}, and to publish would make one of its own. "
                    "Publish to the repository that the git remote is of."
                )
            response = self._send(
                "PATCH", f"/releases/{draft.place}", json={"draft": False, "make_latest": _LATEST}
            )
            if response.status_code in (
                404,
                422,
            ):  # somebody else published it meanwhile, or took the draft away
                raise Changed
            self._accepted(response, 200)

        patiently(self.location, try_once)
        patiently(self.location, lambda: self._compare(release))
        for left in self._drafts(release.tag):
            self._delete(f"/releases/{left['id']}")
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        return patiently(self.location, lambda: is_held(release, self._is_public, self._compare))

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``."""
        if draft.public is None:
            self._delete(f"/releases/{draft.place}")

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""

        tag = unquote(publication.location.partition(_TAG)[2])

        def try_once() -> Path:
            public = self._public(tag)
            assets = {} if public is None else self._assets(public["id"])
            if not assets:
                raise gone(publication)
            return save_named(assets, self._download, into)

        return patiently(self.location, try_once)

    # releases

    def _public(self, tag: str) -> Any:
        return self._get(f"/releases/tags/{quote(tag, safe='')}")

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the version is public with these bytes; with others it is refused."""
        public = self._public(release.tag)
        if public is None:
            return False
        place = self.publication(release).location
        marker = self._assets(public["id"]).get(RECORD_FILE)
        found = None if marker is None else b"".join(self._download(marker))
        own_record(place, release, found, "Delete that release, keep its tag")
        return True

    def _compare(self, release: ReleaseFiles) -> None:
        """Download everything: what is public must be the release, no more and no less."""
        place = self.publication(release).location
        public = self._public(release.tag)
        if public is None:
            raise not_the_release(place, "it is not public.")
        assets = self._assets(public["id"])
        wanted = by_plain_name(release.entries)
        compare(place, wanted, assets, lambda name, entry: self._same(assets[name], entry))

    def _drafts(self, tag: str) -> list[Any]:
        """Drafts that gradatim made for a tag, oldest first."""
        found = [r for r in self._pages("/releases") if r["draft"] and r["tag_name"] == tag]
        return sorted((r for r in found if _MARK in (r["body"] or "")), key=lambda r: int(r["id"]))

    def _own_draft(self, release: ReleaseFiles) -> int:
        """The draft of exactly this release; of several made at once all take the oldest."""
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
            self._accepted(self._send("POST", "/releases", json=wanted), 201)
            mine = [r for r in self._drafts(release.tag) if mark in r["body"]]
            for other in mine[1:]:
                self._delete(f"/releases/{other['id']}")
        if not mine:
            raise Changed
        return int(mine[0]["id"])

    def _fill(self, number: int, release: ReleaseFiles) -> None:
        """Complete a draft: what an interrupted run left whole is kept, anything else goes."""
        wanted = by_plain_name(release.entries)
        whole = set()
        for name, asset in self._assets(number).items():
            if name in wanted and self._same(asset, wanted[name]):
                whole.add(name)
            elif (
                name != SIGNATURE_FILE or name in wanted
            ):  # it joins last; another run may just have put it there
                self._delete(f"/releases/assets/{asset['id']}")
        for name, entry in wanted.items():
            if name not in whole:
                asset = self._upload(number, name, release, entry)
                if asset["name"] != name or not self._same(asset, entry):
                    raise not_the_release(
                        f"{self.location}/releases/assets/{asset['id']}",
                        "what was uploaded does not come back.",
                    )

    # assets

    def _assets(self, number: int) -> dict[str, Any]:
        return {asset["name"]: asset for asset in self._pages(f"/releases/{number}/assets")}

    def _upload(self, number: int, name: str, release: ReleaseFiles, entry: FileEntry) -> Any:
        source = checked_source(release, entry)
        draft = self._get(f"/releases/{number}")
        if draft is None:
            raise Changed
        url = draft["upload_url"].partition("{")[0]
        headers = {"Content-Type": "application/octet-stream"}
        with sending(source, name) as body:
            response = self._web.send(
                "POST",
                url,
                authorization=self._authorization,
                params={"name": name},
                data=body,
                headers=headers,
            )
        if response.status_code in (404, 422):  # it is there already, from a request that seemed to fail
            raise Changed
        return self._accepted(response, 201).json()

    def _same(self, asset: Any, entry: FileEntry) -> bool:
        whole = asset["state"] == "uploaded" and asset["size"] == entry.size
        return whole and is_entry(self._download(asset), entry)

    def _download(self, asset: Any) -> Iterator[bytes]:
        headers = {"Accept": "application/octet-stream"}
        response = self._send("GET", f"/releases/assets/{asset['id']}", headers=headers, stream=True)
        if response.status_code == 404:
            raise Changed
        return self._web.stream(self._accepted(response, 200))

    # speaking with GitHub

    @cached_property
    def _web(self) -> Web:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _VERSION}
        return Web(self.location, self.kind, headers)

    @property
    def _authorization(self) -> str | None:
        token = next((os.environ[name] for name in _TOKENS if os.environ.get(name)), None)
        return f"Bearer {token}" if token else None

    def _send(self, method: str, path: str, **how: Any) -> requests.Response:
        return self._web.send(method, self._root + path, authorization=self._authorization, **how)

    def _get(self, path: str) -> Any:
        """What is there; None when nothing is."""
        response = self._send("GET", path)
        return None if response.status_code == 404 else self._accepted(response, 200).json()

    def _pages(self, path: str) -> Iterator[Any]:
        page = 1
        while True:
            response = self._send("GET", path, params={"per_page": _PAGE, "page": page})
            if response.status_code == 404 and path != "/releases":
                raise Changed
            found = self._accepted(response, 200).json()
            yield from found
            if len(found) < _PAGE:
                return
            page += 1

    def _delete(self, path: str) -> None:
        response = self._send("DELETE", path)
        if response.status_code != 404:
            self._accepted(response, 204)

    def _accepted(self, response: requests.Response, status: int) -> requests.Response:
        if response.status_code == status:
            return response
        if response.status_code in (401, 403, 404):
            raise EnvironmentLacks(
                f"{self.location} does not let this token do that ({explained(response)}). Look at {_TOKENS[0]}: it "
                "needs to write the contents of that repository (in a workflow: `permissions: contents: write`)."
            )
        raise EnvironmentLacks(f"{self.location} refuses: {explained(response)}.")


_MARK = "gradatim-release: sha256:"


def _api(server: str) -> str:
    host = urlsplit(server).netloc
    if host == "github.com" or host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"{server}/api/v3"
