"""To add a place to publish to is one file in ``publishers/`` and one row in the table of stores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from newcomer import Package
from registry_examples import act_as_ada, clone, commit_file, new_repository, release_files
from small_models import write_mlp

from gradatim.registry.git import Repository
from gradatim.registry.tagging import announce

PUBLISHER = '''
"""A shelf: a folder a release, behind a door that wants a key."""

import os
import shutil
from pathlib import Path

from gradatim.publishers.publisher import Publisher
from gradatim.publishers.transfer import checked_source, pieces, save


def files(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


class ShelfPublisher(Publisher):
    kind = "shelf"

    def __init__(self, address):
        self.shelf = Path(address.removeprefix("shelf:"))

    @property
    def location(self):
        return f"shelf:{self.shelf}"

    @property
    def may_write(self):
        return os.environ.get("SHELF_KEY") == "brass"

    def address(self, release):
        return f"{self.location}/{release.tag}"

    def public(self, publication):
        folder = Path(publication.location.removeprefix("shelf:"))
        return files(folder) if folder.is_dir() else None

    def begin(self, release):
        place = self.shelf / f".{release.record.digest}"
        place.mkdir(parents=True, exist_ok=True)
        return str(place)

    def drafted(self, place, release):
        return files(Path(place))

    def read(self, file):
        return pieces(file)

    def put(self, place, release, missing, stale):
        for file in stale.values():
            file.unlink()
        for name, entry in missing.items():
            source = checked_source(release, entry)
            save([source] if isinstance(source, bytes) else pieces(source), Path(place), name)
        return {name: Path(place) / name for name in missing}

    def reveal(self, place, release):
        Path(place).rename(self.shelf / release.tag)

    def clear(self, place, release):
        shutil.rmtree(place)
'''

ROW = """\
    Store(
        kind="shelf",
        publisher="ShelfPublisher",
        meaning="A shelf.",
        example="shelf:/srv/models",
        release="`SHELF/v1.4.0/`",
        address=r"shelf:/.+",
        access="Set SHELF_KEY to the one that the librarian has.",
        credentials=(Credential("SHELF_KEY", "shelf-key", "For a shelf that the contract publishes to."),),
    ),"""

CONTRACT = """\
model: {{name: digits, path: model/digits.onnx}}
stages: {{production: {{branch: main}}}}
publish:
  - shelf: {shelf}
"""


@pytest.fixture
def package(tmp_path: Path) -> Package:
    found = Package.copied_to(tmp_path / "kit")
    found.file("publishers/shelf.py", PUBLISHER)
    found.row("contract/stores.py", "_ROWS = (", ROW)
    return found


def test_a_release_goes_to_a_place_that_is_one_file_and_one_row(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_ada(monkeypatch)
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    model = write_mlp(tmp_path / "digits.onnx", width=4, layers=1).read_bytes()
    commit_file(repo, "model/digits.onnx", model)
    shelf = f"shelf:{tmp_path / 'models'}"
    commit_file(repo, "gradatim.yml", CONTRACT.format(shelf=shelf).encode())
    release = release_files(repo, "v1.0.0", model)
    announce(Repository.find(repo), release.record, release.manifest, release.kept)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/tags/v1.0.0", "GITHUB_REF_TYPE": "tag",
           "GITHUB_REF_NAME": "v1.0.0", "GITHUB_EVENT_NAME": "push"}  # fmt: skip
    refused = package.run(repo, "publish", **job)
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert (
        "needs credentials to be written to. Set SHELF_KEY to the one that the librarian has."
        in refused.stderr
    )
    done = package.run(repo, "publish", SHELF_KEY="brass", **job)
    assert done.returncode == 0, done.stdout + done.stderr
    again = package.json(repo, "publish", "--dry-run", SHELF_KEY="brass", **job)
    assert again[f"{shelf}/v1.0.0"] == "is there already"
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    assert f"digits.onnx in {shelf}/v1.0.0" in package.json(other, "verify", "v1.0.0")["checked"]


def test_the_schema_and_the_reference_know_the_place_by_its_row(package: Package, tmp_path: Path) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT.format(shelf="models"))
    refused = package.run(tmp_path, "inspect")
    assert refused.returncode == 2
    assert "gradatim.yml:4:" in refused.stderr
    assert "an address such as `shelf:/srv/models` is wanted, got `models`" in refused.stderr
    assert "| `shelf` | text |  | A shelf. " in package.run(tmp_path, "schema", "--markdown").stdout


def test_the_workflow_takes_the_secret_and_hands_it_to_the_jobs_that_publish(package: Package) -> None:
    rendering = [sys.executable, "-m", "gradatim.rendering.workflows"]
    environment = {**os.environ, "PYTHONPATH": str(package.top / "scripts")}
    subprocess.run(rendering, check=True, capture_output=True, cwd=package.top, env=environment)
    workflow = yaml.safe_load((package.top / ".github/workflows/release.yml").read_text())
    asked = workflow[True]["workflow_call"]["secrets"]["shelf-key"]  # YAML 1.1 reads the key `on` as true
    assert asked["description"] == "For a shelf that the contract publishes to."
    handed = [
        (name, step["uses"])
        for name, job in workflow["jobs"].items()
        for step in job.get("steps", ())
        if step.get("env", {}).get("SHELF_KEY") == "${{ secrets.shelf-key }}"
    ]
    names = ["baseline", "promote", "publish", "rollback", "tag"]
    assert sorted(handed) == [(name, f"$/actions/{name}") for name in names], "one step of each"
    assert yaml.safe_dump(workflow["jobs"], width=10**6).count("secrets.shelf-key") == 1, "nowhere else"
    for name in (
        names
    ):  # the steps of an action inherit the variables of the step that uses it, unless they set their own
        action = yaml.safe_load((package.top / f"actions/{name}/action.yml").read_text())
        assert all("SHELF_KEY" not in step.get("env", {}) for step in action["runs"]["steps"]), name
        assert any("gradatim " in step.get("run", "") for step in action["runs"]["steps"]), name
