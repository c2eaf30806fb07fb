"""An OCI registry as the place that releases are published to, as an annotated artefact.

Each file is a layer that bears its path as title, so ``oras pull`` writes the release as a folder. Blobs and
the manifest are pushed by their digests first, which nobody sees; the tag comes last.

Sources: OCI Distribution Specification 1.1, OCI Image Manifest Specification 1.1 (artefacts), Docker's token
authentication (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry, strict_json
from gradatim.evidence.release_record import RECORD_FILE
from gradatim.files import canonical_json, sha256_bytes
from gradatim.publishers.publisher import Draft, Publication
from gradatim.publishers.transfer import (
    checked_source,
    gone,
    is_entry,
    is_held,
    not_the_release,
    other_version,
    save,
    sending,
)
from gradatim.publishers.web import Web, explained, is_loopback

if TYPE_CHECKING:
    import requests

ARTIFACT_TYPE = "application/vnd.gradatim.release.v1+json"
"""The kind of artefact that a release is."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ANY_MANIFEST = f"{_MANIFEST}, application/vnd.oci.image.index.v1+json, */*"
"""Whatever a tag names is looked at, or an image that bears it would seem not to be there."""
_EMPTY = b"{}"
_TITLE = "org.opencontainers.image.title"
_USERNAME, _PASSWORD = "GRADATIM_OCI_USERNAME", "GRADATIM_OCI_PASSWORD"
_HUB = {"docker.io": "registry-1.docker.io"}
_LOGINS = {"docker.io": "https://index.docker.io/v1/"}


class OciPublisher:
    """Publishes to a repository of a registry.

    Args:
        address: ``HOST/PATH``; with ``oci://`` before and ``:TAG`` behind it is where one release is.
    """

    kind = "oci"

    def __init__(self, address: str) -> None:
        self._host, _, path = address.removeprefix("oci://").partition("/")
        self._repository = path.partition(":")[0]
        scheme = "http" if is_loopback(self._host) else "https"
        self._root = f"{scheme}://{_HUB.get(self._host, self._host)}/v2/{self._repository}/"
        self._authorization: str | None = None

    @property
    def location(self) -> str:
        return f"oci://{self._host}/{self._repository}"

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``."""
        record = release.record
        place = f"{self.location}:{_tag(release)}"
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""
        manifest = _manifest(release)
        digest = f"sha256:{sha256_bytes(manifest)}"
        if self._is_public(release):
            self._compare(release)
            return Draft(release, digest, self.publication(release))
        self._upload(_EMPTY, sha256_bytes(_EMPTY))
        for entry in release.entries:
            if self._has(f"blobs/sha256:{entry.sha256}") and is_entry(self._blob(entry.sha256), entry):
                continue
            source = checked_source(release, entry)
            self._upload(source, entry.sha256)
            if not is_entry(self._blob(entry.sha256), entry):
                raise not_the_release(
                    f"{self.location}@sha256:{entry.sha256}", "what was uploaded does not come back."
                )
        self._put_manifest(digest, manifest)
        return Draft(release, digest)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release
        if not self._is_public(release):
            self._put_manifest(_tag(release), _manifest(release))
        self._compare(release)
        if release.signature is not None:  # it was drafted without, and that draft has another digest
            unsigned = f"sha256:{sha256_bytes(_manifest(release.with_signature(None)))}"
            if self._tagged(unsigned) is not None:
                self._send("DELETE", f"manifests/{unsigned}")
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        return is_held(release, self._is_public, self._compare)

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``. Blobs that nothing names are the registry's to collect."""
        if draft.public is None and not self.holds(draft.release):
            self._send(
                "DELETE", f"manifests/{draft.place}"
            )  # a registry may not allow it; nobody sees it either way

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""
        data = self._tagged(publication.location.rpartition(":")[2])
        if data is None:
            raise gone(publication)
        for path, digest in _layers(data, publication.location).items():
            save(self._blob(digest), into, path)
        return into

    # what publishing is made of

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the tag names these bytes; when it names another release it is refused."""
        there = self._tagged(_tag(release))
        if there is None:
            return False
        place = f"{self.location}:{_tag(release)}"
        if there != _manifest(release):
            if _layers(there, place).get(RECORD_FILE) != release.record.digest:
                raise other_version(place, release)
            raise not_the_release(place, "its manifest was altered.")
        return True

    def _compare(self, release: ReleaseFiles) -> None:
        """Read everything back: what the tag names must be the release."""
        place = f"{self.location}:{_tag(release)}"
        if not self._is_public(release):
            raise not_the_release(place, "the tag is missing.")
        for entry in release.entries:
            if not is_entry(self._blob(entry.sha256), entry):
                raise not_the_release(place, f"{entry.path} was altered.")

    def _tagged(self, tag: str) -> bytes | None:
        response = self._send("GET", f"manifests/{tag}", headers={"Accept": _ANY_MANIFEST})
        if response.status_code == 404:
            return None
        return self._accepted(response, 200).content

    def _has(self, what: str) -> bool:
        return self._send("HEAD", what).status_code == 200

    def _blob(self, digest: str) -> Iterator[bytes]:
        response = self._send("GET", f"blobs/sha256:{digest}", stream=True)
        if response.status_code == 404:
            raise not_the_release(f"{self.location}@sha256:{digest}", "the registry lost these bytes.")
        return self._web.stream(self._accepted(response, 200))

    def _upload(self, source: bytes | Path, digest: str) -> None:
        if isinstance(source, bytes) and self._has(f"blobs/sha256:{digest}"):
            return
        begun = self._accepted(self._send("POST", "blobs/uploads/"), 202)
        where = urljoin(begun.url, begun.headers["Location"])
        with sending(source, digest[:12]) as body:
            size = body.seek(0, os.SEEK_END)
            body.seek(0)
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            response = self._send(
                "PUT",
                where,
                data=body if size else b"",
                headers=headers,
                params={"digest": f"sha256:{digest}"},
            )
        self._accepted(response, 201)

    def _put_manifest(self, name: str, manifest: bytes) -> None:
        response = self._send("PUT", f"manifests/{name}", data=manifest, headers={"Content-Type": _MANIFEST})
        self._accepted(response, 201)

    def _accepted(self, response: requests.Response, status: int) -> requests.Response:
        if response.status_code == status:
            return response
        if response.status_code in (401, 403):
            raise EnvironmentLacks(
                f"{self.location} does not let this user do that ({explained(response)}). Set {_USERNAME} and "
                f"{_PASSWORD}, or log in with: docker login {self._host}"
            )
        raise EnvironmentLacks(f"{self.location} refuses: {explained(response)}.")

    # speaking with the registry

    @cached_property
    def _web(self) -> Web:
        return Web(self.location, self.kind)

    def _send(self, method: str, path: str, **how: Any) -> requests.Response:
        """Send a request; when the registry asks who we are, answer and send it again."""
        url = urljoin(self._root, path)
        response = self._web.send(method, url, authorization=self._authorization, **how)
        if response.status_code != 401:
            return response
        self._authorization = self._authorize(response.headers.get("WWW-Authenticate", ""))
        if isinstance(how.get("data"), io.IOBase):
            how["data"].seek(0)
        return self._web.send(method, url, authorization=self._authorization, **how)

    def _authorize(self, challenge: str) -> str | None:
        scheme, _, rest = challenge.partition(" ")
        login = self._login()
        if scheme.lower() == "basic":
            return login
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if scheme.lower() != "bearer" or "realm" not in asked:
            return None
        wanted = {key: asked[key] for key in ("service", "scope") if key in asked}
        response = self._web.send("GET", asked["realm"], authorization=login, params=wanted)
        said = self._accepted(response, 200).json()
        return f"Bearer {said.get('token') or said.get('access_token')}"

    def _login(self) -> str | None:
        """Who we are, as a header: from the environment, else as ``docker login`` left it."""
        username, password = os.environ.get(_USERNAME), os.environ.get(_PASSWORD)
        if username and password:
            return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        try:
            config = json.loads((folder / "config.json").read_bytes())
        except (OSError, ValueError):
            return None
        name = _LOGINS.get(self._host, self._host)
        helper = config.get("credHelpers", {}).get(name) or config.get("credsStore")
        stored = config.get("auths", {}).get(name, {}).get("auth")
        if helper and not stored:
            stored = _from_helper(f"docker-credential-{helper}", name)
        return f"Basic {stored}" if stored else None


def _from_helper(program: str, name: str) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError, subprocess.SubprocessError):
        asked = subprocess.run(
            [program, "get"], input=name.encode(), capture_output=True, check=True, timeout=30
        )
        said = json.loads(asked.stdout)
        return base64.b64encode(f"{said['Username']}:{said['Secret']}".encode()).decode()
    return None


def _tag(release: ReleaseFiles) -> str:
    """A registry's tag has neither ``@`` nor ``+``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", release.tag)


def _manifest(release: ReleaseFiles) -> bytes:
    """The artefact's manifest. It holds no clock: the same release has the same digest."""
    record = release.record
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": f"sha256:{sha256_bytes(_EMPTY)}",
                "size": len(_EMPTY),
            },
            "layers": [_layer(entry) for entry in release.entries],
            "annotations": {
                "org.opencontainers.image.version": record.version,
                "org.opencontainers.image.revision": record.commit,
                "vnd.gradatim.name": record.name,
                "vnd.gradatim.stage": record.stage or "",
                "vnd.gradatim.manifest": f"sha256:{record.manifest}",
                "vnd.gradatim.release": f"sha256:{record.digest}",
            },
        }
    )


def _layer(entry: FileEntry) -> dict[str, Any]:
    return {
        "mediaType": "application/json" if entry.path.endswith(".json") else "application/octet-stream",
        "digest": f"sha256:{entry.sha256}",
        "size": entry.size,
        "annotations": {_TITLE: entry.path},
    }


def _layers(manifest: bytes, place: str) -> dict[str, str]:
    """Digests by path.

    Raises:
        BrokenEvidence: it is not the manifest of a release.
    """
    said = strict_json(manifest, f"the manifest of {place}")
    try:
        return {
            layer["annotations"][_TITLE]: layer["digest"].removeprefix("sha256:") for layer in said["layers"]
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise BrokenEvidence(f"{place} is no release: its manifest does not name its files.") from error
