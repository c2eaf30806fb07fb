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

from gradatim.contract.endpoint import is_loopback
from gradatim.contract.stores import STORES
from gradatim.errors import ANSWER_SECONDS, BrokenEvidence
from gradatim.evidence.assembly import ReleaseFiles, Source
from gradatim.evidence.manifest import FileEntry, strict_json
from gradatim.files import canonical_json, sha256_bytes
from gradatim.publishers.publisher import Found, Publication, Publisher, Wanted
from gradatim.publishers.transfer import checked_source, not_the_release, sending
from gradatim.publishers.web import Web

if TYPE_CHECKING:
    import requests

ARTIFACT_TYPE = "application/vnd.gradatim.release.v1+json"
"""The kind of artefact that a release is."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ANY_MANIFEST = f"{_MANIFEST}, application/vnd.oci.image.index.v1+json, */*"
"""Whatever a tag names is looked at, or an image that bears it would seem not to be there."""
_EMPTY = b"{}"
_TITLE = "org.opencontainers.image.title"
_USERNAME, _PASSWORD = STORES["oci"].variables
_HUB = {"docker.io": "registry-1.docker.io"}
_LOGINS = {"docker.io": "https://index.docker.io/v1/"}


class OciPublisher(Publisher):
    """Publishes to a repository of a registry.

    Args:
        address: ``HOST/PATH``; with ``oci://`` before and ``:TAG`` behind it is where one release is.
    """

    kind = "oci"
    remedy = "Remove that tag"

    def __init__(self, address: str) -> None:
        self._host, _, path = address.removeprefix("oci://").partition("/")
        self._repository = path.partition(":")[0]
        scheme = "http" if is_loopback(self._host) else "https"
        self._root = f"{scheme}://{_HUB.get(self._host, self._host)}/v2/{self._repository}/"
        self._authorization: str | None = None

    @property
    def location(self) -> str:
        return f"oci://{self._host}/{self._repository}"

    @property
    def access(self) -> str:
        return super().access.replace("HOST", self._host)

    def address(self, release: ReleaseFiles) -> str:
        return f"{self.location}:{_tag(release)}"

    # what publishing is made of

    def public(self, publication: Publication) -> Found | None:
        data = self._tagged(publication.location.rpartition(":")[2])
        return None if data is None else _layers(data, publication.location)

    def check(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.check``: what the manifest says besides must be the release's, too."""
        if not super().check(release):
            return False
        if self._tagged(_tag(release)) != _manifest(release):
            raise not_the_release(self.address(release), "its manifest was altered.")
        return True

    def begin(self, release: ReleaseFiles) -> str:
        return f"sha256:{sha256_bytes(_manifest(release))}"

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        """See ``Publisher.drafted``: blobs have no names, so what counts is which of the release's are there."""
        return {e.path: e.sha256 for e in release.entries if self._has(f"blobs/sha256:{e.sha256}")}

    def read(self, file: str) -> Iterator[bytes]:
        response = self._send("GET", f"blobs/sha256:{file}", stream=True)
        if response.status_code == 404:
            raise not_the_release(f"{self.location}@sha256:{file}", "the registry lost these bytes.")
        return self._web.stream(self._web.accepted(response, 200))

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        """See ``Publisher.put``: the manifest, which holds the blobs together, comes last."""
        empty = sha256_bytes(_EMPTY)
        if not self._has(f"blobs/sha256:{empty}"):
            self._upload(_EMPTY, empty)
        for entry in missing.values():
            self._upload(checked_source(release, entry), entry.sha256)
        self._put_manifest(place, _manifest(release))
        return {name: entry.sha256 for name, entry in missing.items()}

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        self._put_manifest(_tag(release), _manifest(release))

    def tidy(self, release: ReleaseFiles) -> None:
        if release.signature is not None:  # it was drafted without, and that draft has another digest
            unsigned = self.begin(release.with_signature(None))
            if self._tagged(unsigned) is not None:
                self._send("DELETE", f"manifests/{unsigned}")

    def clear(self, place: str, release: ReleaseFiles) -> None:
        if not self.holds(release):  # the tag names the same manifest
            # A registry may not allow it; nobody sees it either way.
            self._send("DELETE", f"manifests/{place}")

    def _tagged(self, tag: str) -> bytes | None:
        response = self._send("GET", f"manifests/{tag}", headers={"Accept": _ANY_MANIFEST})
        if response.status_code == 404:
            return None
        return self._web.accepted(response, 200).content

    def _has(self, what: str) -> bool:
        return self._send("HEAD", what).status_code == 200

    def _upload(self, source: Source, digest: str) -> None:
        begun = self._web.accepted(self._send("POST", "blobs/uploads/"), 202)
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
        self._web.accepted(response, 201)

    def _put_manifest(self, name: str, manifest: bytes) -> None:
        response = self._send("PUT", f"manifests/{name}", data=manifest, headers={"Content-Type": _MANIFEST})
        self._web.accepted(response, 201)

    # speaking with the registry

    @cached_property
    def _web(self) -> Web:
        return Web(self)

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
        said = self._web.accepted(response, 200).json()
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
            [program, "get"], input=name.encode(), capture_output=True, check=True, timeout=ANSWER_SECONDS
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
