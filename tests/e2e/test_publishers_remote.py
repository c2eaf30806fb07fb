"""What every publisher promises, shown on real servers: one complete release or none, and each byte checked."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing.crashes import problems, survive
from publishing.github import GitHubPlace
from publishing.gitlab import GitLabPlace
from publishing.huggingface import HuggingFacePlace
from publishing.places import Place
from publishing.processes import free_port
from publishing.servers import Servers
from registry_examples import (
    act_as_ada,
    baseline,
    clone,
    git,
    new_repository,
    registry_of,
    release_files,
)
from signing_examples import demanding, signing_with, write_key

from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError
from gradatim.publishers.places import open_publisher
from gradatim.publishers.publisher import Publication, Publisher
from gradatim.registry.git import Repository
from gradatim.registry.tagging import VersionTaken, announce
from gradatim.releasing.publishing import publish
from gradatim.releasing.verification import verify_version

HEAVY = pytest.param("mlflow", marks=pytest.mark.slow)  # `nox -s servers` installs it


@pytest.fixture(params=["s3", "oci", "github", "gitlab", "huggingface", HEAVY])
def place(
    request: pytest.FixtureRequest, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Place]:
    found = servers.place(request.param, tmp_path / "remote.git")
    act_as_ada(monkeypatch, found.credentials)
    yield found
    if isinstance(found, GitHubPlace | GitLabPlace | HuggingFacePlace):
        refused, found.server.refused = found.server.refused, []
        assert refused == [], "the place's own documentation does not allow this"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def test_a_release_is_published_and_verified_from_another_clone(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    publisher = place.publisher()
    assert isinstance(publisher, Publisher)
    release = release_files(repo, "v1.0.0", {"digits.onnx": b"weights", "head/labels.txt": b"0 1 2"})
    done = publish(Repository.find(repo), release, [publisher])
    assert done.written
    assert place.public("v1.0.0")
    assert place.drafts() == 0
    assert [publication.publisher for publication in done.publications] == [place.kind]
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    said = subprocess.run(
        [sys.executable, "-m", "gradatim", "verify", "v1.0.0"], cwd=other, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"digits.onnx in {done.publications[0].location}" in said.stdout
    assert "complete, proven and untouched" in said.stdout


def test_a_finished_release_run_again_writes_nothing(place: Place, repo: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    before = place.snapshot()
    again = publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert not again.written
    assert place.snapshot() == before


def test_a_signed_release_is_public_with_its_one_signature_whoever_runs_it_again(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    key = write_key(tmp_path)
    signed = signing_with(key)
    assert publish(
        Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()], sign=signed
    ).written
    assert place.drafts() == 0
    before = place.snapshot()
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    assert not publish(
        Repository.find(other), release_files(other, "v1.0.0"), [place.publisher()], sign=signed
    ).written
    assert place.snapshot() == before
    repository, registry = Repository.find(other), registry_of(other, "digits")
    release = registry.find("v1.0.0", "digits")
    found = verify_version(repository, registry, release, signatures=demanding(key))
    assert found.holds, found.findings
    assert any(line.startswith("release.sig in ") for line in found.checked)


def test_other_bytes_under_the_same_version_are_a_hard_error(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0", b"one"), [place.publisher()])
    before = place.snapshot()
    with pytest.raises(BrokenEvidence, match="with other bytes"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0", b"two"), [place.publisher()])
    assert place.snapshot() == before
    stranger = new_repository(tmp_path / "stranger", remote=tmp_path / "elsewhere.git")
    with pytest.raises(BrokenEvidence, match="with other bytes"):
        publish(Repository.find(stranger), release_files(stranger, "v1.0.0", b"two"), [place.publisher()])
    assert place.snapshot() == before
    assert git(stranger, "tag") == ""


def test_a_draft_is_seen_by_nobody_and_resumed_by_its_digest(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    release = release_files(repo, "v1.0.0", {"a.onnx": b"one", "b.onnx": b"two"})
    publisher = place.publisher()
    draft = publisher.draft(release)
    assert draft.public is None
    assert not place.public("v1.0.0")
    assert not publisher.holds(release)
    with pytest.raises(EnvironmentLacks):
        publisher.open(publisher.publication(release), tmp_path)
    place.lose_from_draft("b.onnx", b"two")
    assert place.publisher().draft(release).place == draft.place
    announce(Repository.find(repo), release.record, release.manifest, release.kept)
    assert not place.public("v1.0.0"), "a tag never means that it is done"
    assert publish(Repository.find(repo), release, [place.publisher()]).written
    assert place.publisher().holds(release)
    assert problems(repo, "v1.0.0") == []
    assert place.drafts() == 0


def test_a_draft_that_lost_is_taken_back(place: Place, repo: Path) -> None:
    winner = release_files(repo, "v1.0.0", b"one")
    announce(Repository.find(repo), winner.record, winner.manifest, winner.kept)
    with pytest.raises(VersionTaken):
        publish(Repository.find(repo), release_files(repo, "v1.0.0", b"two"), [place.publisher()])
    assert place.drafts() == 0
    assert not place.public("v1.0.0")


def test_verify_names_what_was_altered_added_or_lost(place: Place, repo: Path) -> None:
    files = {"a.onnx": b"one", "b.onnx": b"two"}
    done = publish(Repository.find(repo), release_files(repo, "v1.0.0", files), [place.publisher()])
    where = done.publications[0].location
    place.alter("v1.0.0", "a.onnx", b"One")
    place.lose("v1.0.0", "b.onnx")
    place.alter("v1.0.0", "stowaway.bin", b"more")
    assert problems(repo, "v1.0.0") == [
        "altered file: a.onnx",
        "missing file: b.onnx",
        "extra file: stowaway.bin",
    ]
    assert not place.publisher().holds(release_files(repo, "v1.0.0", files))
    with pytest.raises(BrokenEvidence, match="is not the release that it should be"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0", files), [place.publisher()])
    said = [
        f.text
        for f in verify_version(
            Repository.find(repo), registry_of(repo, "digits"), registry_of(repo, "digits").find("v1.0.0")
        ).findings
    ]
    assert all(where in text for text in said), said


def test_a_lost_release_is_unreachable_not_fine(place: Place, repo: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publish(Repository.find(repo), release, [place.publisher()])
    place.remove("v1.0.0")
    assert [problem.split(":")[0] for problem in problems(repo, "v1.0.0")] == ["unreachable"]


def test_a_baseline_comes_back_from_where_it_is_public(place: Place, repo: Path, tmp_path: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    found = baseline(other, "v1.0.0", tmp_path / "base")
    assert (found.folder / "digits.onnx").read_bytes() == b"weights"


def test_unicode_spaces_empty_and_equal_files(place: Place, repo: Path) -> None:
    files = {"poids à 8 bits.onnx": b"w", "sub ordner/données": b"w", "leer": b"", "leer.txt": b""}
    publish(Repository.find(repo), release_files(repo, "v1.0.0", files), [place.publisher()])
    assert problems(repo, "v1.0.0") == []


def test_candidates_builds_and_several_models_are_kept_apart(place: Place, repo: Path) -> None:
    versions = ("v1.0.0-beta.1", "v1.0.0")
    for version in versions:
        release = release_files(repo, version, stage=None, named=True)
        publish(Repository.find(repo), release, [place.publisher()])
    assert [problems(repo, version) for version in versions] == [[], []]


def test_a_place_that_cannot_be_reached_is_explained_and_nothing_is_tagged(
    place: Place, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.address = place.address.replace(str(port_of(place.address)), str(free_port()))
    with pytest.raises(EnvironmentLacks, match="cannot be reached"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert git(repo, "ls-remote", "--tags", "origin") == ""


def test_missing_credentials_are_named(
    place: Place, repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in place.credentials:
        monkeypatch.delenv(key)
    wanted = next(iter(place.credentials))
    with pytest.raises(EnvironmentLacks, match=wanted):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    assert place.snapshot() == place.snapshot()
    assert not place.public("v1.0.0")


def test_killed_at_any_moment_and_run_again_it_is_one_complete_release(place: Place, repo: Path) -> None:
    rounds = 6 if place.kind in ("s3", "oci") else 3
    assert sum(survive(place, repo, rounds).values()) == rounds


def test_two_publishers_race_and_exactly_one_wins(place: Place, repo: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    context = multiprocessing.get_context("fork")
    for number in range(1):
        version = f"v1.{number}.0"
        queue = context.SimpleQueue()
        children = []
        for where in (repo, other):
            release = release_files(where, version, f"{where.name} {number}".encode())

            def work(where=where, release=release, queue=queue) -> None:  # type: ignore[no-untyped-def]
                try:
                    publish(Repository.find(where), release, [place.publisher()])
                    queue.put("won")
                except GradatimError as error:
                    queue.put(f"{type(error).__name__}: {error}")

            children.append(context.Process(target=work))
        for child in children:
            child.start()
        outcomes = sorted(queue.get() for _ in children)
        for child in children:
            child.join()
        assert outcomes.count("won") == 1, outcomes
        assert any("released already" in o or "with other bytes" in o for o in outcomes), outcomes
        assert [problems(where, version) for where in (repo, other)] == [[], []]
    assert place.drafts() == 0


def test_the_same_release_by_two_publishers_at_once_is_one_release(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    context = multiprocessing.get_context("fork")
    releases = {where: release_files(where, "v1.0.0", b"same") for where in (repo, other)}

    def work(where: Path) -> None:
        publish(Repository.find(where), releases[where], [place.publisher()])

    children = [context.Process(target=work, args=(where,)) for where in releases]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert problems(repo, "v1.0.0") == []
    assert place.drafts() == 0


def test_a_recorded_publication_is_opened_by_its_record_alone(
    place: Place, repo: Path, tmp_path: Path
) -> None:
    done = publish(Repository.find(repo), release_files(repo, "v1.0.0"), [place.publisher()])
    record = Publication.from_bytes(done.publications[0].to_bytes(), "record")
    opened = open_publisher(record.publisher, record.location, root=tmp_path).open(record, tmp_path / "into")
    assert (opened / "digits.onnx").read_bytes() == b"weights"


def port_of(address: str) -> int:
    import re

    found = re.search(r"127\.0\.0\.1:(\d+)", address)
    assert found
    return int(found[1])
