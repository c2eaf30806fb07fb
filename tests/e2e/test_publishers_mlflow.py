"""MLflow, on a real server: a stage's alias is where git says that the stage is, after a rollback too."""

from __future__ import annotations

from pathlib import Path

import pytest
from publishing.crashes import problems
from publishing.mlflow import MlflowPlace
from publishing.servers import Servers
from registry_examples import act_as_ada, new_repository, registry_of, release_files

from gradatim.errors import BrokenEvidence
from gradatim.registry.git import Repository
from gradatim.registry.tagging import assign
from gradatim.releasing.pointers import follow_rollback
from gradatim.releasing.publishing import publish

pytestmark = pytest.mark.slow  # `nox -s servers` installs MLflow


@pytest.fixture
def place(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MlflowPlace:
    found = servers.place("mlflow", tmp_path / "remote.git")
    assert isinstance(found, MlflowPlace)
    act_as_ada(monkeypatch, found.credentials)
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")


def put(place: MlflowPlace, repo: Path, version: str, stage: str | None = "production") -> bool:
    release = release_files(repo, version, version.encode(), stage=stage)
    return publish(Repository.find(repo), release, [place.publisher()]).written


def test_an_alias_names_what_the_stage_holds(place: MlflowPlace, repo: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    put(place, repo, "v1.0.0-beta.1", "beta")
    put(place, repo, "v1.0.0")
    put(place, repo, "v1.1.0")
    assert (place.alias("beta"), place.alias("production")) == ("v1.0.0-beta.1", "v1.1.0")
    assert not put(place, repo, "v1.0.0"), "a pipeline that runs late moves nothing back"
    assert place.alias("production") == "v1.1.0"

    registry = registry_of(repo, "digits")
    old = registry.find("v1.0.0")
    assign(Repository.find(repo), old, "production", reason="worse in Oslo", withdraw=True)
    assert follow_rollback(Repository.find(repo), old, "production") == ()
    assert place.alias("production") == "v1.0.0"
    assert not put(place, repo, "v1.1.0"), "nor does running the newer one again undo a rollback"
    assert place.alias("production") == "v1.0.0"

    client = MlflowClient(place.address, place.address)
    run = client.get_model_version_by_alias("digits", "production").run_id
    local = client.download_artifacts(run, "release/digits.onnx", str(tmp_path))
    assert Path(local).read_bytes() == b"v1.0.0"


def test_an_alias_that_was_not_moved_is_moved_by_the_next_run(place: MlflowPlace, repo: Path) -> None:
    put(place, repo, "v1.0.0")
    place.client.delete_registered_model_alias("digits", "production")
    assert put(place, repo, "v1.0.0")
    assert place.alias("production") == "v1.0.0"


def test_a_stage_whose_name_mlflow_keeps_for_itself_gets_no_alias(place: MlflowPlace, repo: Path) -> None:
    assert put(place, repo, "v1.0.0", "latest")
    assert not put(place, repo, "v1.0.0", "latest")
    assert place.alias("latest") is None


def test_a_version_whose_files_lie_elsewhere_is_found(place: MlflowPlace, repo: Path) -> None:
    """Somebody registers another folder of the same run under the same tags."""
    put(place, repo, "v1.0.0")
    true = place.version("v1.0.0")
    place.client.delete_model_version("digits", true.version)
    place.client.create_model_version("digits", f"{true.source}-too", run_id=true.run_id, tags=true.tags)
    release = release_files(repo, "v1.0.0", b"v1.0.0")
    assert not place.publisher().holds(release)
    with pytest.raises(BrokenEvidence, match="not those of the run"):
        publish(Repository.find(repo), release, [place.publisher()])


def test_folders_and_names_that_the_client_would_spoil_come_back_whole(
    place: MlflowPlace, repo: Path
) -> None:
    files = {"100% #1.bin": b"1", "head/labels.txt": b"0 1 2", "head/leer": b""}
    publish(Repository.find(repo), release_files(repo, "v1.0.0", files), [place.publisher()])
    assert place.file(place.version("v1.0.0").run_id, "head/labels.txt").read_bytes() == b"0 1 2"
    assert problems(repo, "v1.0.0") == []


def test_two_registrations_of_one_release_become_one(place: MlflowPlace, repo: Path) -> None:
    """A run that was killed after it registered a release that another had registered a moment before."""
    put(place, repo, "v1.0.0")
    true = place.version("v1.0.0")
    place.client.create_model_version("digits", true.source, run_id=true.run_id, tags=true.tags)
    put(place, repo, "v1.0.0")
    assert [version.version for version in place.versions()] == [true.version]
