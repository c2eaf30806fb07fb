"""Publishing: one complete release or none, whatever is killed, raced or run again."""

from __future__ import annotations

import dataclasses
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import metadata
from pathlib import Path

import pytest
from children import in_a_child
from registry_examples import (
    act_as_ada,
    baseline,
    clone,
    commit_file,
    evidence_for,
    git,
    new_repository,
    registry_of,
    release_files,
    tag,
)

from gradatim.contract.stores import STORES, Store
from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError, InvalidInput
from gradatim.evidence.verify import verify_folder
from gradatim.files import counting, sha256_file
from gradatim.publishers import mlflow, oci
from gradatim.publishers.folder import FolderPublisher
from gradatim.publishers.publisher import Publisher
from gradatim.publishers.retrieval import retrieve
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER
from gradatim.registry.reading import read
from gradatim.registry.sync import sync
from gradatim.registry.tagging import VersionTaken, announce
from gradatim.releasing.pointers import follow_rollback
from gradatim.releasing.publishing import publish, record_publications
from gradatim.releasing.verification import verify_version


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_ada(monkeypatch)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def folder_of(place: Path) -> FolderPublisher:
    return FolderPublisher(Path("../releases"), root=place)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything(*places: Path) -> dict[str, tuple[int, int]]:
    """Every file with its inode and time of change: what a run without writes leaves as it was."""
    found = {}
    for place in places:
        for path in place.rglob("*"):
            if path.is_file() and path.name not in ("FETCH_HEAD", "index"):
                found[str(path)] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def findings(place: Path, version: str) -> list[str]:
    repository = Repository.find(place)
    state = sync(repository)
    registry = read(repository, "digits")
    found = verify_version(repository, registry, registry.find(version, "digits"), sync=state)
    return [finding.problem for finding in found.findings] if not found.holds else []


def test_a_release_is_published_tagged_recorded_and_verified_from_another_clone(
    repo: Path, tmp_path: Path
) -> None:
    assert isinstance(folder_of(repo), Publisher)
    done = publish(Repository.find(repo), release_files(repo, "v1.0.0"), [folder_of(repo)])
    assert done.written
    assert done.announcement.tags == ("v1.0.0", "digits#production#1")
    assert sorted(path.name for path in (tmp_path / "releases").iterdir()) == ["v1.0.0"]
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    assert findings(other, "v1.0.0") == []
    offline = verify_folder(tmp_path / "releases" / "v1.0.0")
    assert offline.holds, offline.findings


def test_a_finished_release_run_again_writes_nothing(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publish(Repository.find(repo), release, [folder_of(repo)])
    before = everything(tmp_path / "releases", tmp_path / "remote.git" / "refs", repo / ".git" / "refs")
    again = publish(Repository.find(repo), release_files(repo, "v1.0.0"), [folder_of(repo)])
    assert not again.written
    assert (
        everything(tmp_path / "releases", tmp_path / "remote.git" / "refs", repo / ".git" / "refs") == before
    )


def test_the_same_release_made_twice_is_the_same_tag_object(repo: Path, tmp_path: Path) -> None:
    twin = new_repository(tmp_path / "twin")
    for place in (repo, twin):
        release = release_files(place, "v1.0.0")
        announce(Repository.find(place), release.record, release.manifest, release.kept)
    ledger = f"{LEDGER}{release.manifest.digest}"
    assert git(repo, "rev-parse", "v1.0.0", ledger) == git(twin, "rev-parse", "v1.0.0", ledger)


def test_other_bytes_under_the_same_version_are_a_hard_error(repo: Path, tmp_path: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0", b"one"), [folder_of(repo)])
    before = everything(tmp_path / "releases")
    with pytest.raises(BrokenEvidence, match="with other bytes"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0", b"two"), [folder_of(repo)])
    assert everything(tmp_path / "releases") == before
    with pytest.raises(VersionTaken, match="released already by Ada"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0", b"two"), [])


def test_a_draft_is_resumed_by_its_digest(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0", {"a.onnx": b"one", "b.onnx": b"two"})
    publisher = folder_of(repo)
    draft = publisher.draft(release)
    assert names(tmp_path / "releases") == [Path(draft.place).name]
    assert Path(draft.place).name.startswith(".")
    (Path(draft.place) / "b.onnx").unlink()
    (Path(draft.place) / ".a.onnx.0000.part").write_bytes(b"half")
    kept = (Path(draft.place) / "a.onnx").stat().st_ino
    publisher.publish(publisher.draft(release))
    assert (tmp_path / "releases" / "v1.0.0" / "a.onnx").stat().st_ino == kept
    assert verify_folder(tmp_path / "releases" / "v1.0.0").holds


def test_a_source_that_changes_under_the_copy_is_refused(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0", b"weights")
    source = release.sources["digits.onnx"]
    assert isinstance(source, Path)
    source.write_bytes(b"Weights")
    with pytest.raises(InvalidInput, match="changed while it was being published"):
        publish(Repository.find(repo), release, [folder_of(repo)])
    assert not (tmp_path / "releases" / "v1.0.0").exists()
    assert git(repo, "tag") == ""


def test_a_source_that_goes_away_under_the_copy_is_named(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0", b"weights")
    source = release.sources["digits.onnx"]
    assert isinstance(source, Path)
    source.unlink()
    with pytest.raises(InvalidInput, match=f"{source} is gone"):
        publish(Repository.find(repo), release, [folder_of(repo)])
    assert git(repo, "tag") == ""


def test_a_file_is_copied_to_a_folder_without_being_read_before_and_is_read_back_once(repo: Path) -> None:
    size, moved = 5_000_000, []
    release = release_files(repo, "v1.0.0", os.urandom(size))
    with counting(moved.append):
        draft = folder_of(repo).draft(release)
    assert 2 * size <= sum(moved) < 2.1 * size
    copied = Path(draft.place) / "digits.onnx"
    assert sha256_file(copied) == next(e.sha256 for e in release.entries if e.path == "digits.onnx")


@pytest.mark.parametrize("after", [0, 1, None])
def test_where_the_kernel_copies_nothing_or_gives_up_halfway_the_copy_is_as_whole(
    repo: Path, monkeypatch: pytest.MonkeyPatch, after: int | None
) -> None:
    data, calls, real = os.urandom(3_000_000), [], getattr(os, "copy_file_range", None)

    def fails(source: int, target: int, _count: int) -> int:
        calls.append(source)
        if real is None or after is None or len(calls) > after:
            raise OSError(18, "Invalid cross-device link")
        return int(real(source, target, 1_000_000))

    if after is None:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    else:
        monkeypatch.setattr(os, "copy_file_range", fails, raising=False)
    draft = folder_of(repo).draft(release_files(repo, "v1.0.0", data))
    assert (Path(draft.place) / "digits.onnx").read_bytes() == data


def test_a_folder_that_cannot_be_written_is_explained_and_nothing_is_tagged(
    repo: Path, tmp_path: Path
) -> None:
    (tmp_path / "releases").write_bytes(b"a file where a folder should be")
    with pytest.raises(EnvironmentLacks, match="cannot be written"):
        publish(Repository.find(repo), release_files(repo, "v1.0.0"), [folder_of(repo)])
    assert git(repo, "ls-remote", "--tags", "origin") == ""


def test_a_full_disk_leaves_no_half_release(repo: Path, tmp_path: Path) -> None:
    def fill() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(EnvironmentLacks, match="cannot be written"):
            publish(Repository.find(repo), release, [folder_of(repo)])

    release = release_files(repo, "v1.0.0", b"w" * 100_000)
    assert in_a_child(fill) == 0
    assert not (tmp_path / "releases" / "v1.0.0").exists()
    publish(Repository.find(repo), release, [folder_of(repo)])
    assert findings(repo, "v1.0.0") == []


def test_killed_at_any_moment_and_run_again_it_is_one_complete_release(repo: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    publish(Repository.find(repo), release_files(repo, "v1.0.0", b"w" * 300_000), [folder_of(repo)])
    whole = time.monotonic() - started
    moments = random.Random(7)
    for number in range(1, 21):
        version = f"v1.{number}.0"
        release = release_files(repo, version, os.urandom(300_000))
        final = tmp_path / "releases" / version

        def work(release=release) -> None:  # type: ignore[no-untyped-def]
            publish(Repository.find(repo), release, [folder_of(repo)])

        in_a_child(work, kill_after=moments.uniform(0, whole))
        if final.exists():
            assert verify_folder(final).holds, "half a release was public"
        work()
        assert findings(repo, version) == []
    assert len(names(tmp_path / "releases")) == 21, "a draft was left behind"
    tags = git(repo, "ls-remote", "--tags", "--refs", "origin").splitlines()
    assert sum("#production#" not in line for line in tags) == 21


def test_two_publishers_race_and_exactly_one_wins(repo: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    for number in range(6):
        version = f"v1.{number}.0"
        outcomes = {}
        children = []
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        for place in (repo, other):
            release = release_files(place, version, f"{place.name} {number}".encode())

            def work(place=place, release=release, queue=queue) -> None:  # type: ignore[no-untyped-def]
                try:
                    publish(Repository.find(place), release, [folder_of(place)])
                    queue.put((place.name, "won"))
                except GradatimError as error:
                    queue.put((place.name, f"{type(error).__name__}: {error}"))

            children.append(context.Process(target=work))
        for child in children:
            child.start()
        for _ in children:
            name, outcome = queue.get()
            outcomes[name] = outcome
        for child in children:
            child.join()
        assert sorted(outcome == "won" for outcome in outcomes.values()) == [False, True], outcomes
        lost = next(outcome for outcome in outcomes.values() if outcome != "won")
        assert "released already" in lost or "with other bytes" in lost
        there = Repository.find(repo).remote_refs("origin", "refs/tags/*", f"{LEDGER}*")
        for place in (repo, other):
            tags, ledgers = (Repository.find(place).local_refs(prefix) for prefix in ("refs/tags", LEDGER))
            assert all(there[ref].id == mine for ref, mine in tags.items()), "a stale tag"
            assert ledgers.keys() <= there.keys(), "evidence of the loser"
            assert findings(place, version) == []
    assert names(tmp_path / "releases") == [f"v1.{number}.0" for number in range(6)], "a draft was left"


def test_the_same_release_by_two_publishers_at_once_is_one_release(repo: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    context = multiprocessing.get_context("fork")
    for number in range(3):
        releases = {place: release_files(place, f"v1.{number}.0", b"same") for place in (repo, other)}

        def work(place: Path, releases=releases) -> None:  # type: ignore[no-untyped-def]
            publish(Repository.find(place), releases[place], [folder_of(place)])

        children = [context.Process(target=work, args=(place,)) for place in releases]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0]
        assert findings(repo, f"v1.{number}.0") == []


def test_a_crash_between_tag_and_publish_is_resumed(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0")
    folder_of(repo).draft(release)
    announce(Repository.find(repo), release.record, release.manifest, release.kept)
    assert not (tmp_path / "releases" / "v1.0.0").exists(), "a tag never means that it is done"
    done = publish(Repository.find(repo), release, [folder_of(repo)])
    assert done.written
    assert not done.announcement.created
    assert findings(repo, "v1.0.0") == []


def test_a_crash_between_publish_and_record_uploads_nothing_again(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publisher = folder_of(repo)
    draft = publisher.draft(release)
    announce(Repository.find(repo), release.record, release.manifest, release.kept)
    publisher.publish(draft)
    before = everything(tmp_path / "releases")
    assert publish(Repository.find(repo), release, [publisher]).written
    assert everything(tmp_path / "releases") == before
    assert findings(repo, "v1.0.0") == []


def test_what_was_tagged_without_a_remote_is_pushed_when_there_is_one(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repo")
    release = release_files(place, "v1.0.0")
    assert publish(Repository.find(place), release, [folder_of(place)]).announcement.remote is None
    git(place, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    git(place, "remote", "add", "origin", str(tmp_path / "remote.git"))
    done = publish(Repository.find(place), release, [folder_of(place)])
    assert done.announcement.created
    assert findings(clone(tmp_path / "remote.git", tmp_path / "other"), "v1.0.0") == []


def test_a_detached_head_releases_its_commit(repo: Path, tmp_path: Path) -> None:
    commit = commit_file(repo, "a", b"a")
    git(repo, "checkout", "-q", "--detach")
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [])
    assert git(tmp_path / "remote.git", "rev-parse", "v1.0.0^{commit}") == commit


def test_a_shallow_clone_releases_only_after_it_learnt_the_rest(repo: Path, tmp_path: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0", b"one"), [])
    commit_file(repo, "a", b"a")
    shallow = clone(tmp_path / "remote.git", tmp_path / "shallow", "--depth", "1")
    with pytest.raises(VersionTaken):
        publish(Repository.find(shallow), release_files(shallow, "v1.0.0", b"two"), [])


def test_a_moved_tag_stops_a_release(repo: Path, tmp_path: Path) -> None:
    release = release_files(repo, "v1.0.0")
    publish(Repository.find(repo), release, [])
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    commit_file(other, "b", b"b")
    git(other, "tag", "-f", "-a", "-m", "moved", "v1.0.0", "HEAD")
    git(other, "push", "-q", "--force", "origin", "v1.0.0")
    with pytest.raises(BrokenEvidence, match="somebody moved it"):
        publish(Repository.find(repo), release, [])


def test_unicode_and_spaces_in_every_path(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "mein Projekt, été", remote=tmp_path / "entfernt è.git")
    release = release_files(place, "v1.0.0", {"poids à 8 bits.onnx": b"w", "sub ordner/données": b"d"})
    publisher = FolderPublisher(Path("ausgabe ü/releases"), root=place)
    publish(Repository.find(place), release, [publisher])
    assert findings(place, "v1.0.0") == []


@pytest.mark.parametrize("committed", [True, False])
def test_a_baseline_comes_back_from_its_commit_or_from_where_it_is_public(
    repo: Path, tmp_path: Path, committed: bool
) -> None:
    if committed:
        commit_file(repo, "model/digits.onnx", b"weights")
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [] if committed else [folder_of(repo)])
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    found = baseline(other, "v1.0.0", tmp_path / "base")
    assert (found.folder / "digits.onnx").read_bytes() == b"weights"
    assert found.files == ("digits.onnx",)
    assert found.source.startswith("commit" if committed else str(tmp_path / "releases"))
    assert baseline(other, "v1.0.0", tmp_path / "base").source == "fetched before"


def test_a_rollback_goes_through_where_a_place_cannot_follow_and_says_which(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = release_files(repo, "v1.0.0")
    done = publish(Repository.find(repo), release, [folder_of(repo)])
    where = "http://127.0.0.1:9/#/models/digits?version=v1.0.0"
    elsewhere = dataclasses.replace(done.publications[0], publisher="mlflow", location=where)
    record_publications(Repository.find(repo), release, [elsewhere])
    monkeypatch.setitem(sys.modules, "mlflow", None)
    target = registry_of(repo, "digits").find("v1.0.0")
    (note,) = follow_rollback(Repository.find(repo), target, "production")
    assert note.startswith(f"{where} may still show another release as production: ")
    assert note.endswith('[mlflow]"')


def test_a_baseline_that_was_altered_is_not_used(repo: Path, tmp_path: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [folder_of(repo)])
    (tmp_path / "releases" / "v1.0.0" / "digits.onnx").write_bytes(b"Weights")
    release = registry_of(repo, "digits").find("v1.0.0")
    with pytest.raises(EnvironmentLacks, match="was altered"):
        retrieve(Repository.find(repo), release.commit, tmp_path / "base", manifest=release.manifest)
    assert not (tmp_path / "base" / "digits.onnx").exists()


def test_a_baseline_of_a_tag_made_by_hand_comes_from_its_commit(repo: Path, tmp_path: Path) -> None:
    commit_file(repo, "model/digits.onnx", b"by hand")
    tag(repo, "v0.9.0")
    release = registry_of(repo).find("v0.9.0")
    found = retrieve(Repository.find(repo), release.commit, tmp_path / "base", path="model/digits.onnx")
    assert (found.folder / "digits.onnx").read_bytes() == b"by hand"
    assert found.manifest is None
    with pytest.raises(EnvironmentLacks, match="no other"):
        retrieve(Repository.find(repo), release.commit, tmp_path / "base", path="other.onnx")


def test_promoted_bytes_are_the_same_release_at_another_commit(repo: Path, tmp_path: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0-beta.1", stage="beta"), [folder_of(repo)])
    commit_file(repo, "notes", b"merged to main")
    publish(Repository.find(repo), release_files(repo, "v1.0.0", previous="v1.0.0-beta.1"), [folder_of(repo)])
    beta, final = registry_of(repo, "digits").model("digits").releases
    assert beta.manifest == final.manifest
    assert beta.commit != final.commit
    for version in ("v1.0.0-beta.1", "v1.0.0"):
        assert findings(repo, version) == []
    assert sha256_file(tmp_path / "releases" / "v1.0.0" / "digits.onnx") == sha256_file(
        tmp_path / "releases" / "v1.0.0-beta.1" / "digits.onnx"
    )


def test_other_programs_know_a_release_by_names_that_stay_whatever_our_modules_are_called(repo: Path) -> None:
    release = release_files(repo, "v1.0.0")
    manifest = json.loads(oci._manifest(release))
    assert manifest["artifactType"] == "application/vnd.gradatim.release.v1+json"
    assert manifest["annotations"]["vnd.gradatim.release"] == f"sha256:{release.record.digest}"
    assert (mlflow._RELEASE, mlflow._VERSION) == ("gradatim.release", "gradatim.version")


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_the_row_of_a_place_names_its_publisher_its_extra_and_what_a_person_must_set(store: Store) -> None:
    publisher = getattr(importlib.import_module(f"gradatim.publishers.{store.kind}"), store.publisher)
    assert issubclass(publisher, Publisher)
    assert publisher.kind == store.kind
    assert re.fullmatch(store.address, store.example)
    extras = {name.partition(";")[0] for name in metadata("gradatim").get_all("Provides-Extra", [])}
    assert store.extra is None or store.extra in extras
    assert [variable for variable in store.variables if variable not in store.access] == []


def test_the_table_of_places_is_read_without_anything_heavy() -> None:
    heavy = "{'pydantic', 'numpy', 'boto3', 'requests', 'huggingface_hub', 'mlflow'}"
    code = f"import sys, gradatim.contract.stores; print(sorted({heavy} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_new_evidence_never_replaces_old_evidence_of_a_version(repo: Path) -> None:
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [])
    release = release_files(repo, "v1.0.0")
    better = release_files(repo, "v1.0.0", evidence=evidence_for(release.manifest.digest, accuracy=1.0))
    with pytest.raises(VersionTaken):
        publish(Repository.find(repo), better, [])


def test_a_lost_place_is_not_a_broken_release_when_the_commit_has_the_bytes(
    repo: Path, tmp_path: Path
) -> None:
    commit_file(repo, "model/digits.onnx", b"weights")
    publish(Repository.find(repo), release_files(repo, "v1.0.0"), [folder_of(repo)])
    shutil.rmtree(tmp_path / "releases")
    assert findings(repo, "v1.0.0") == []
