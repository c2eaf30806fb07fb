"""GitHub: broken uploads, servers that stumble, releases in the way, and a token that nobody sees."""

from __future__ import annotations

import io
import logging
import subprocess
from pathlib import Path

import pytest
from publishing.github import TOKEN, GitHubPlace
from publishing.servers import Servers
from registry_examples import act_as_ada, git, new_repository, release_files

from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.publishers.github import GitHubPublisher
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish


@pytest.fixture
def place(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GitHubPlace:
    found = servers.place("github", tmp_path / "remote.git")
    assert isinstance(found, GitHubPlace)
    act_as_ada(monkeypatch, found.credentials)
    found.server.requests.clear()
    return found


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests be tried again at once."""
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_stumbles_is_asked_again(place: GitHubPlace, repo: Path) -> None:
    release = release_files(repo, "v1.0.0")
    place.server.failing[:] = [502, 503, 503]
    publish(Repository.find(repo), release, [place.publisher()])
    assert place.publisher().holds(release)
    assert place.server.refused == []


def test_a_draft_created_by_a_request_that_seemed_to_fail_is_used(place: GitHubPlace, repo: Path) -> None:
    """The answer to a POST was lost, so it was sent twice: of two drafts one is left, and published."""
    release = release_files(repo, "v1.0.0")
    first = place.publisher().draft(release)
    twin = {**place.releases[0], "id": 10**6, "assets": []}
    place.server.releases[place.repository][10**6] = twin
    assert place.publisher().draft(release).place == first.place
    publish(Repository.find(repo), release, [place.publisher()])
    assert place.drafts() == 0
    assert len(place.releases) == 1


def test_a_candidate_is_a_prerelease_and_never_the_latest(place: GitHubPlace, repo: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0-beta.1"), [place.publisher()])
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert {r["tag_name"]: r["prerelease"] for r in place.releases} == {
        "v1.0.0-beta.1": True,
        "v1.0.0": False,
    }


def test_a_release_made_by_hand_is_not_touched(place: GitHubPlace, repo: Path) -> None:
    place.server.releases[place.repository] = {}
    place.server._create(place.repository, {"tag_name": "v1.0.0", "draft": False, "name": "by hand"})
    before = place.snapshot()
    with pytest.raises(BrokenEvidence, match="gradatim did not make it"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert place.snapshot() == before


def test_no_tag_is_made_behind_gits_back(place: GitHubPlace, repo: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publisher = place.publisher()
    with pytest.raises(EnvironmentLacks, match="has no tag"):
        publisher.publish(publisher.draft(release))
    assert not place.public("v1.0.0")


@pytest.mark.usefixtures("no_pauses")
def test_the_token_is_in_no_log_no_error_and_no_command_line(
    place: GitHubPlace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger().addHandler(handler)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    started: list[object] = []
    real = subprocess.Popen.__init__
    monkeypatch.setattr(
        subprocess.Popen,
        "__init__",
        lambda self, *a, **k: (started.append((a, k.get("args"))), real(self, *a, **k))[1],
    )
    try:
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
        place.server.failing[:] = [503] * 7
        with pytest.raises(EnvironmentLacks, match="answers 503 again and again") as said:
            place.publisher().holds(release_files(repo, "v1.0.0"))
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(level)
        place.server.failing.clear()
    assert "releases" in heard.getvalue(), "the log was listened to"
    assert started
    for text in (heard.getvalue(), str(said.value), repr(started)):
        assert TOKEN not in text


def test_a_token_that_may_not_write_is_explained(
    place: GitHubPlace, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "expired")
    with pytest.raises(EnvironmentLacks, match="contents: write"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert git(repo, "ls-remote", "--tags", "origin") == ""


@pytest.mark.parametrize(
    ("address", "remote", "location"),
    [
        ("ada/digits", "", "https://github.com/ada/digits"),
        (None, "git@github.com:ada/digits.git", "https://github.com/ada/digits"),
        (None, "ssh://git@example.ghe.com:22/ada/digits", "https://example.ghe.com/ada/digits"),
        (
            None,
            "https://ada:secret@github.example.org/ada/digits.git",
            "https://github.example.org/ada/digits",
        ),
        ("https://github.example.org/ada/digits", "", "https://github.example.org/ada/digits"),
    ],
)
def test_the_repository_is_found_by_name_by_address_or_by_the_git_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None, remote: str, location: str
) -> None:
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    place = new_repository(tmp_path / "repo")
    if remote:
        git(place, "remote", "add", "origin", remote)
    assert GitHubPublisher(address, Repository.find(place)).location == location


def test_without_a_remote_the_repository_must_be_named(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repo")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        GitHubPublisher(None, Repository.find(place))
