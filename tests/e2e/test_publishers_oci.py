"""OCI: what `oras pull` gets, and every way in which a registry asks who we are."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from publishing.github import serving
from publishing.places import OciPlace
from publishing.processes import free_port
from publishing.servers import Servers
from registry_examples import IDENTITY, new_repository, release_files

from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.verify import verify_folder
from gradatim.publishers.oci import ARTIFACT_TYPE, OciPublisher
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish

LOGIN = base64.b64encode(b"ada:secret").decode()


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    return new_repository(tmp_path / "repo")


@pytest.fixture
def place(servers: Servers, tmp_path: Path) -> OciPlace:
    found = servers.place("oci", tmp_path)
    assert isinstance(found, OciPlace)
    return found


def test_oras_pulls_the_release_as_a_folder(
    place: OciPlace, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pytest.importorskip("oras.client")
    for key, value in place.credentials.items():
        monkeypatch.setenv(key, value)
    release = release_files(repo, "v1.0.0", {"digits.onnx": b"weights", "head/labels.txt": b"0 1 2"})
    publish(Repository.find(repo), release, [place.publisher()])
    oras = client.OrasClient(insecure=True, auth_backend="basic")
    oras.auth.set_basic_auth("ada", "secret")
    oras.pull(target=f"{place.address}:v1.0.0", outdir=str(tmp_path / "v1.0.0"))
    assert verify_folder(tmp_path / "v1.0.0").holds
    manifest = place.ask("GET", "manifests/v1.0.0").json()
    assert manifest["artifactType"] == ARTIFACT_TYPE
    assert manifest["annotations"]["vnd.gradatim.manifest"] == f"sha256:{release.manifest.digest}"
    assert manifest["annotations"]["org.opencontainers.image.version"] == "v1.0.0"


def test_an_image_that_bears_the_tag_already_is_not_written_over(
    place: OciPlace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in place.credentials.items():
        monkeypatch.setenv(key, value)
    publish(Repository.find(repo), release_files(repo, "v0.9.0"), [place.publisher()])
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": []}
    put = place.ask("PUT", "manifests/v1.0.0", json=index, kind=kind)
    assert put.status_code == 201, put.text
    with pytest.raises(BrokenEvidence, match="is no release"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert place.ask("GET", "manifests/v1.0.0", kind=kind).json() == index


@pytest.mark.parametrize("helper", [False, True], ids=["stored", "helper"])
def test_a_docker_login_is_enough(
    place: OciPlace, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: bool
) -> None:
    host = place.address.partition("/")[0]
    config: dict[str, Any] = {"auths": {host: {"auth": LOGIN}}}
    if helper:
        program = tmp_path / "docker-credential-test"
        program.write_text('#!/bin/sh\necho \'{"Username": "ada", "Secret": "secret"}\'\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        config = {"auths": {host: {}}, "credHelpers": {host: "test"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert place.public("v1.0.0")


def test_a_wrong_password_is_explained_without_being_shown(
    place: OciPlace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADATIM_OCI_USERNAME", "ada")
    monkeypatch.setenv("GRADATIM_OCI_PASSWORD", "wrong-and-private")
    with pytest.raises(EnvironmentLacks, match="GRADATIM_OCI_PASSWORD, or log in with: docker login") as said:
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert "wrong-and-private" not in str(said.value)


def test_a_registry_that_wants_a_token_gets_one_from_where_it_says(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Docker Hub and ghcr.io do it; for pulling without a login too."""
    pytest.importorskip("requests")
    port, asked = free_port(), []

    def answer(method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        asked.append((target, headers.get("Authorization")))
        if target.startswith("/token"):
            return 200, {"token": "short-lived"}
        if headers.get("Authorization") == "Bearer short-lived":
            return 404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]}
        return 401, {"errors": [{"code": "UNAUTHORIZED"}]}

    scope = "repository:team/digits:pull"
    challenge = f'Bearer realm="http://127.0.0.1:{port}/token",service="models",scope="{scope}"'
    monkeypatch.setenv("GRADATIM_OCI_USERNAME", "ada")
    monkeypatch.setenv("GRADATIM_OCI_PASSWORD", "secret")
    with serving(port, answer, threading.Lock(), {"WWW-Authenticate": challenge}):
        assert not OciPublisher(f"127.0.0.1:{port}/team/digits").holds(release_files(repo, "v1.0.0"))
    manifest = "/v2/team/digits/manifests/v1.0.0"
    where = "/token?service=models&scope=repository%3Ateam%2Fdigits%3Apull"
    assert asked == [(manifest, None), (where, f"Basic {LOGIN}"), (manifest, "Bearer short-lived")]
