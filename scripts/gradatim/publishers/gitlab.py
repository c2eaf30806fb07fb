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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.release_record import RECORD_FILE
from gradatim.publishers.forge import by_plain_name, description, find_project
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
from gradatim.publishers.web import Web, explained
from gradatim.registry.git import Repository

if TYPE_CHECKING:
    import requests

_TOKENS = {"GITLAB_TOKEN": "PRIVATE-TOKEN", "CI_JOB_TOKEN": "JOB-TOKEN"}
_RELEASE = "/-/releases/"
_PAGE = 100


class GitLabPublisher:
    """Publishes to the releases of a GitLab project.

    Args:
        address: ``GROUP/NAME``, or an address of the project or of one release on its server; None takes the
            project that the git remote is of.
        repository: whose remote counts then.
    """

    kind = "gitlab"

    def __init__(self, address: str | None, repository: Repository | None = None) -> None:
        server = os.environ.get("CI_SERVER_URL") or "https://gitlab.com"
        where = (address or "").partition(_RELEASE)[0]
        self._project = find_project(where or None, self.kind, server, repository)
        self._root = f"{self._project.server}/api/v4/projects/{quote(self._project.path, safe='')}"

    @property
    def location(self) -> str:
        return self._project.url

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = f"{self.location}{_RELEASE}{quote(release.tag, safe='')}"
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""
        if not self._token:
            raise EnvironmentLacks(
                f"{self.location} needs a token to be written to. Set {next(iter(_TOKENS))} (in a job, GitLab itself "
                "sets CI_JOB_TOKEN)."
            )
        place = self._package(release)
        if self._is_public(release):
            self._compare(release)
            return Draft(release, place, self.publication(release))
        present = self._uploaded(release)
        for name, entry in by_plain_name(release.entries).items():
            url = f"{place}/{name}"
            if name in present and is_entry(self._download(url), entry):
                continue
            source = checked_source(release, entry)
            with sending(source, entry.path) as body:
                # Of several files of one name in a package GitLab gives the newest.
                self._accepted(self._send("PUT", url, params={"status": "hidden"}, data=body), 200, 201)
            if not is_entry(self._download(url), entry):
                raise not_the_release(url, "what was uploaded does not come back.")
        return Draft(release, place)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release
        if not self._is_public(release):
            links = [
                {
                    "name": name,
                    "url": f"{draft.place}/{name}",
                    "direct_asset_path": f"/{name}",
                    "link_type": "package",
                }
                for name in by_plain_name(release.entries)
            ]
            wanted = {
                "tag_name": release.tag,
                "name": release.tag,
                "description": description(release),
                "assets": {"links": links},
            }
            response = self._send("POST", f"{self._root}/releases", json=wanted)
            if response.status_code != 409:  # else somebody was faster; what it is, is compared
                self._accepted(response, 201)
        self._compare(release)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        return is_held(release, self._is_public, self._compare)

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``. A token that may not delete leaves the hidden package to its owner."""
        package = None if draft.public else self._package_id(draft.release)
        if package is not None:
            self._send("DELETE", f"{self._root}/packages/{package}")

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""
        found = self._release(unquote(publication.location.partition(_RELEASE)[2]))
        if found is None:
            raise gone(publication)
        return save_named(self._links(found), self._download, into)

    # releases

    def _release(self, tag: str) -> Any:
        response = self._send("GET", f"{self._root}/releases/{quote(tag, safe='')}")
        return None if response.status_code == 404 else self._accepted(response, 200).json()

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the version is public with these bytes; with others it is refused."""
        found = self._release(release.tag)
        if found is None:
            return False
        place = self.publication(release).location
        marker = self._links(found).get(RECORD_FILE)
        data = None if marker is None else b"".join(self._download(marker))
        own_record(place, release, data, "Delete that release, keep its tag")
        return True

    def _compare(self, release: ReleaseFiles) -> None:
        """Download everything: what is public must be the release, no more and no less."""
        place = self.publication(release).location
        found = self._release(release.tag)
        if found is None:
            raise not_the_release(place, "it is not public.")
        links = self._links(found)
        wanted = by_plain_name(release.entries)
        compare(place, wanted, links, lambda name, entry: is_entry(self._download(links[name]), entry))

    @staticmethod
    def _links(found: Any) -> dict[str, str]:
        """Addresses by name."""
        return {link["name"]: link["url"] for link in found["assets"]["links"]}

    # packages

    def _package(self, release: ReleaseFiles) -> str:
        """The package of exactly this release."""
        return f"{self._root}/packages/generic/{release.record.name}/{_version(release)}"

    def _package_id(self, release: ReleaseFiles) -> int | None:
        wanted = {
            "package_type": "generic",
            "package_name": release.record.name,
            "package_version": _version(release),
            "status": "hidden",
        }
        found = self._accepted(self._send("GET", f"{self._root}/packages", params=wanted), 200).json()
        same = [p for p in found if (p["name"], p["version"]) == (release.record.name, _version(release))]
        return int(same[0]["id"]) if same else None

    def _uploaded(self, release: ReleaseFiles) -> set[str]:
        package = self._package_id(release)
        names: set[str] = set()
        page = 1
        while package is not None:
            url = f"{self._root}/packages/{package}/package_files"
            files = self._accepted(
                self._send("GET", url, params={"per_page": _PAGE, "page": page}), 200
            ).json()
            names |= {file["file_name"] for file in files}
            if len(files) < _PAGE:
                break
            page += 1
        return names

    def _download(self, url: str) -> Iterator[bytes]:
        if not url.startswith(f"{self._root}/packages/generic/"):
            raise BrokenEvidence(
                f"{url} is linked to by a release of {self.location}, and lies somewhere else."
            )
        response = self._send("GET", url, stream=True)
        if response.is_redirect:
            response = self._web.send("GET", response.headers["Location"], stream=True)
        if response.status_code == 404:
            raise not_the_release(url, "it is linked to, and is gone.")
        return self._web.stream(self._accepted(response, 200))

    # speaking with GitLab

    @cached_property
    def _web(self) -> Web:
        return Web(self.location, self.kind)

    @property
    def _token(self) -> dict[str, str]:
        found = {header: os.environ[name] for name, header in _TOKENS.items() if os.environ.get(name)}
        return dict(list(found.items())[:1])

    def _send(self, method: str, url: str, **how: Any) -> requests.Response:
        return self._web.send(method, url, headers=self._token, allow_redirects=False, **how)

    def _accepted(self, response: requests.Response, *statuses: int) -> requests.Response:
        if response.status_code in statuses:
            return response
        if response.status_code in (401, 403, 404):
            raise EnvironmentLacks(
                f"{self.location} does not let this token do that ({explained(response)}). Look at "
                f"{' or '.join(_TOKENS)}: it needs the scope `api`, or a job of that project."
            )
        raise EnvironmentLacks(f"{self.location} refuses: {explained(response)}.")


def _version(release: ReleaseFiles) -> str:
    """The package's version: two candidates for one version never meet in one package."""
    version = release.record.version.replace("+", "-")
    return f"{version}+{release.record.digest[:16]}"
