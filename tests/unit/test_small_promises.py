"""Small promises of the registry: what is shown, what a moved copy proves, and what is left after a lost race."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registry_examples import (
    act_as_ada,
    clone,
    commit_file,
    git,
    new_repository,
    registry_of,
    release_files,
    tag,
)

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.release_record import ReleaseRecord
from gradatim.evidence.statement import Bundle
from gradatim.files import parse_json
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.registry.tagging import VersionTaken, assign
from gradatim.releasing.publishing import draft_and_tag, publish


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_ada(monkeypatch)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    place = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    (place / ".git" / "info" / "exclude").write_text("releases/\n")
    for version in ("v1.0.0", "v1.1.0"):
        release(place, version)
    return place


def release(place: Path, version: str, **more: object) -> None:
    files = release_files(place, version, version.encode(), **more)  # type: ignore[arg-type]
    publish(Repository.find(place), files, [FolderPublisher(Path("releases"), root=place)])


def gradatim(place: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments], cwd=place, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("read", [Manifest.from_bytes, ReleaseRecord.from_bytes, Bundle.from_bytes])
@pytest.mark.parametrize("value", [r'"\ud800"', "9" * 400, "1e400", "-" + "9" * 5000, r'{"\uDFFF": 1}'])
def test_half_a_character_and_numbers_beyond_all_bounds_are_broken_evidence(read: object, value: str) -> None:
    with pytest.raises(BrokenEvidence, match="is not valid JSON"):
        read(f'{{"schema": {value}}}\n'.encode())  # type: ignore[operator]


def test_a_repository_that_was_moved_with_its_releases_still_verifies(repo: Path, tmp_path: Path) -> None:
    moved = repo.rename(tmp_path / "moved")
    code, said = gradatim(moved, "verify", "v1.1.0")
    assert code == 0, said
    assert "digits.onnx in" in said
    shutil.rmtree(moved / "releases")
    assert gradatim(moved, "verify", "v1.1.0")[0] == 3


def test_whoever_loses_a_version_leaves_no_draft(repo: Path, tmp_path: Path) -> None:
    place = FolderPublisher(Path("releases"), root=repo)
    mine = release_files(repo, "v1.2.0", b"mine")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    release(other, "v1.2.0")
    with pytest.raises(VersionTaken):
        draft_and_tag(Repository.find(repo), mine, [place], None)
    assert sorted(path.name for path in (repo / "releases").iterdir()) == ["v1.0.0", "v1.1.0"]


def test_of_two_rollbacks_at_once_one_did_it_and_the_other_says_so(repo: Path, tmp_path: Path) -> None:
    """They write the very same tags in the same second: a push that changed nothing is no success of its own."""
    for number in range(4):
        places = [clone(tmp_path / "remote.git", tmp_path / f"{number}-{who}") for who in "ab"]
        target = registry_of(repo, "digits").find("v1.0.0")

        def back(place: Path) -> bool:
            return assign(Repository.find(place), target, "production", reason="slow", withdraw=True).created  # noqa: B023

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(back, places)) == [False, True]
        git(repo, "fetch", "-q", "--tags")
        assign(Repository.find(repo), registry_of(repo, "digits").find("v1.1.0"), "production")


def test_a_diff_of_tags_that_gto_made_names_the_files(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repo")
    tag(place, "digits@v1.0.0")
    commit_file(place, "model.onnx", b"weights")
    tag(place, "digits@v1.1.0")
    code, said = gradatim(place, "diff", "v1.0.0", "v1.1.0")
    assert code == 0, said
    assert "file  + model.onnx" in said
    assert "digits@v1.0.0, digits@v1.1.0: not made by gradatim" in said
    code, said = gradatim(place, "diff", "v1.0.0", "v1.1.0", "--json")
    assert [file["path"] for file in json.loads(said)["files"]] == ["model.onnx"]


def test_status_shows_the_newest_version_beside_the_stages_and_history_says_whose_it_is(repo: Path) -> None:
    release(repo, "v1.2.0", stage=None)
    said = gradatim(repo, "status")[1].splitlines()
    assert any("newest" in line and "v1.2.0" in line for line in said), said
    assert any("production" in line and "v1.1.0" in line for line in said), said
    assert "digits v1.1.0" in gradatim(repo, "history")[1]


@pytest.mark.parametrize("where", ["model", "data", "folder"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path, where: str) -> None:
    pipe = tmp_path / "in" / ("pipe.npz" if where == "data" else "pipe.onnx")
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    asked = {
        "model": "from gradatim.models import detect_format as look",
        "data": "from gradatim.data.source import refuse_broken_file as look",
        "folder": "from gradatim.files import list_files as look",
    }
    code = f"from pathlib import Path\n{asked[where]}\nlook(Path({str(pipe.parent if where == 'folder' else pipe)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert f"InvalidInput: {pipe} is no plain file, and reading it might never end" in done.stderr


@pytest.mark.parametrize("half", [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\\ud800", b"\\uDFFF"])
def test_half_a_character_in_what_is_read_is_refused_as_bytes_as_it_is_as_an_escape(half: bytes) -> None:
    record = ReleaseRecord("m", "v1.0.0", None, "original", "c" * 40, "a" * 64, None, ())
    data = record.to_bytes()
    assert ReleaseRecord.from_bytes(data) == record
    for place in (b"c" * 40, b"original", b"v1.0.0"):
        with pytest.raises(BrokenEvidence, match=r"release\.json"):
            ReleaseRecord.from_bytes(data.replace(place, place[:-1] + half))
    with pytest.raises(InvalidInput, match="x is not valid JSON"):
        parse_json(b'{"a": "' + half + b'"}', "x")
    assert (
        parse_json('{"a": "é😀"}'.encode(), "x")
        == parse_json('\ufeff{"a": "é😀"}'.encode(), "x")
        == {"a": "é😀"}
    )
