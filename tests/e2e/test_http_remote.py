"""Releases over git's smart HTTP: real clones, a real ``git http-backend`` on loopback, and what it may refuse."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from publishing.git_http import git_over_http
from registry_examples import clone, commit_file, git, new_repository, registry_of, release_files

from gradatim.errors import EnvironmentLacks, GradatimError
from gradatim.registry.baseline import baseline
from gradatim.registry.git import Repository
from gradatim.registry.sync import sync
from gradatim.registry.tagging import announce
from gradatim.releasing.verification import verify_version


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with one commit that pushes over HTTP are allowed to."""
    place = new_repository(tmp_path / "seed", remote=tmp_path / "served/models.git")
    commit_file(place, "model/digits.onnx", b"weights")
    git(tmp_path / "served/models.git", "config", "http.receivepack", "true")
    return tmp_path / "served/models.git"


@pytest.fixture
def url(remote: Path) -> Iterator[str]:
    with git_over_http(remote.parent) as served:
        yield f"{served}/models.git"


def clone_of(url: str, place: Path, *options: str) -> Path:
    git(place.parent, "clone", "-q", *options, url, str(place))
    return place


def released(place: Path, version: str, data: bytes = b"weights") -> None:
    files = release_files(place, version, data)
    announce(Repository.find(place), files.record, files.manifest, files.kept)


def refs(remote: Path) -> set[str]:
    """What the remote has beyond its branch."""
    return {ref for ref in Repository.find(remote).local_refs() if not ref.startswith("refs/heads/")}


def test_a_release_over_http_verifies_in_another_clone(url: str, remote: Path, tmp_path: Path) -> None:
    released(clone_of(url, tmp_path / "one"), "v1.0.0")
    other = clone_of(url, tmp_path / "two", "--depth", "1")
    repository = Repository.find(other)
    state = sync(repository, required=True)
    registry = registry_of(other, "digits")
    found = verify_version(repository, registry, registry.find("production", "digits"), sync=state)
    assert found.holds, found.findings
    assert "tag v1.0.0 on origin" in found.checked
    assert registry.complete, "the shallow clone was deepened"
    held = baseline(registry, "production", ["production"], model="digits", sync=state)
    assert held is not None
    assert held.label == "v1.0.0"


def test_of_racing_publishers_one_wins_and_the_other_leaves_nothing(
    url: str, remote: Path, tmp_path: Path
) -> None:
    places = [clone_of(url, tmp_path / name) for name in ("one", "two")]

    def publish(place: Path, version: str) -> str:
        try:
            released(place, version, f"{place.name} {version}".encode())
        except GradatimError as error:
            return str(error)
        return "won"

    for number in range(2):
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(lambda place, n=number: publish(place, f"v1.{n}.0"), places))  # type: ignore[misc]
        assert sorted(outcome == "won" for outcome in outcomes) == [False, True], outcomes
        assert any("was released already" in outcome for outcome in outcomes), outcomes
    assert sum(ref.startswith("refs/gradatim/") for ref in refs(remote)) == 2
    for place in places:
        sync(Repository.find(place))
        assert set(Repository.find(place).local_refs("refs/tags", "refs/gradatim")) == refs(remote)


def test_a_push_that_a_hook_declines_leaves_nothing_and_carries_its_words(
    url: str, remote: Path, tmp_path: Path
) -> None:
    hook = remote / "hooks/update"
    hook.write_text('#!/bin/sh\ncase $1 in refs/tags/v*) echo "Releases are frozen." >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    place = clone_of(url, tmp_path / "one")
    with pytest.raises(EnvironmentLacks, match="Releases are frozen"):
        released(place, "v1.0.0")
    assert refs(remote) == set()
    assert Repository.find(place).local_refs("refs/tags", "refs/gradatim") == {}


@pytest.mark.parametrize(
    ("key", "said"), [("receive.advertiseAtomic", "does not support --atomic"), ("http.receivepack", "403")]
)
def test_a_remote_that_cannot_take_a_release_whole_takes_none(
    url: str, remote: Path, tmp_path: Path, key: str, said: str
) -> None:
    git(remote, "config", key, "false")
    place = clone_of(url, tmp_path / "one")
    with pytest.raises(EnvironmentLacks, match=said):
        released(place, "v1.0.0")
    assert refs(remote) == set()
    assert Repository.find(place).local_refs("refs/tags", "refs/gradatim") == {}


def test_a_server_that_wants_a_password_is_told_plainly_and_never_waited_for(
    remote: Path, tmp_path: Path
) -> None:
    place = clone(remote, tmp_path / "one")
    with git_over_http(remote.parent, password="s3cret/word") as served:  # noqa: S106 (of this test)
        address = served.removeprefix("http://")
        git(place, "remote", "set-url", "origin", f"{served}/models.git")
        began = time.monotonic()
        with pytest.raises(EnvironmentLacks, match="no name and password for it") as refusal:
            sync(Repository.find(place), required=True)
        assert time.monotonic() - began < 30
        assert address in str(refusal.value)
        git(place, "remote", "set-url", "origin", f"http://ada:mistyped@{address}/models.git")
        with pytest.raises(EnvironmentLacks, match="no name and password for it") as refusal:
            released(place, "v1.0.0")
        assert "mistyped" not in str(refusal.value)
        git(place, "remote", "set-url", "origin", f"http://ada:s3cret%2Fword@{address}/models.git")
        assert Repository.find(place).remote_url() == f"{served}/models.git"
        released(place, "v1.0.0")
    assert "refs/tags/v1.0.0" in refs(remote)


def test_a_server_that_is_down_is_an_error_not_an_empty_registry(remote: Path, tmp_path: Path) -> None:
    with git_over_http(remote.parent) as served:
        place = clone_of(f"{served}/models.git", tmp_path / "one")
    state = sync(Repository.find(place))
    assert not state.reached
    with pytest.raises(EnvironmentLacks, match="did not answer"):
        baseline(registry_of(place, "digits"), "production", ["production"], sync=state)
    git(place, "remote", "set-url", "origin", f"{served}/models.git".replace("://", "://ada:s3cret@"))
    with pytest.raises(EnvironmentLacks, match=f"{served}/models.git") as refusal:
        released(place, "v1.0.0")
    assert "s3cret" not in str(refusal.value)


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_HTTP_LOW_SPEED_TIME", "1")
    place = clone(remote, tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        git(place, "remote", "set-url", "origin", f"http://127.0.0.1:{silent.getsockname()[1]}/models.git")
        with pytest.raises(EnvironmentLacks, match="could not be used"):
            sync(Repository.find(place), required=True)
