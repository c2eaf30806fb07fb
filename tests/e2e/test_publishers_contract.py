"""From the contract to the places: what `gradatim publish` says it would write, and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from publishing.servers import Servers
from registry_examples import IDENTITY, clone, commit_file, new_repository, release_files

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError
from gradatim.registry.git import Repository
from gradatim.registry.tagging import announce

CONTRACT = """\
model: {{name: digits, path: model/digits.onnx}}
stages: {{production: {{branch: main}}}}
publish:
  - folder: ../releases
  - s3: {s3}
"""


def gradatim(where: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradatim", *arguments]
    return subprocess.run(
        command, cwd=where, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_a_tag_is_published_to_every_place_and_the_dry_run_says_so_before(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = servers.place("s3", tmp_path)
    for key, value in {**IDENTITY, **place.credentials}.items():
        monkeypatch.setenv(key, value)
    repo = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    pytest.importorskip("onnx")
    from small_models import write_mlp

    model = write_mlp(tmp_path / "digits.onnx", width=4, layers=1).read_bytes()
    commit_file(repo, "model/digits.onnx", model)
    commit_file(repo, "gradatim.yml", CONTRACT.format(s3=place.address).encode())
    release = release_files(repo, "v1.0.0", model)
    announce(Repository.find(repo), release.record, release.manifest, release.kept)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_REF": "refs/tags/v1.0.0", "GITHUB_REF_TYPE": "tag",
           "GITHUB_REF_NAME": "v1.0.0", "GITHUB_EVENT_NAME": "push"}  # fmt: skip

    said = gradatim(repo, "publish", "--dry-run", **job)
    assert said.returncode == 0, said.stderr
    s3 = place.publisher().publication(release).location
    assert f"{s3} {len(release.entries)} files" in said.stdout
    assert str(tmp_path / "releases" / "v1.0.0") in said.stdout
    assert not place.public("v1.0.0")
    assert not (tmp_path / "releases").exists()

    lacking = dict.fromkeys(place.credentials, "")
    refused = gradatim(repo, "publish", **{**job, **lacking, "HOME": str(tmp_path)})
    assert refused.returncode == 4
    assert "AWS_ACCESS_KEY_ID" in refused.stderr
    assert "Traceback" not in refused.stderr

    done = gradatim(repo, "publish", **job)
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.public("v1.0.0")
    again = gradatim(repo, "publish", "--dry-run", "--json", **job)
    assert json.loads(again.stdout)[s3] == "is there already"
    verified = gradatim(clone(tmp_path / "remote.git", tmp_path / "other"), "verify", "v1.0.0", "--json")
    assert verified.returncode == 0, verified.stdout
    checked = json.loads(verified.stdout)["checked"]
    assert f"digits.onnx in {s3}" in checked
    assert f"digits.onnx in {tmp_path / 'releases' / 'v1.0.0'}" in checked


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("- folder", "`folder` needs to know where: `- folder: releases/`"),
        ("- s3", "`s3` needs to know where: `- s3: s3://models/releases`"),
        ("- s3: models/releases", "an address such as `s3://models/releases` is wanted"),
        ("- s3: s3://models?endpoint=minio", "an address such as `s3://models/releases` is wanted"),
        ("- oci: digits", "an address such as `ghcr.io/team/digits` is wanted"),
        ("- oci: https://ghcr.io/team/digits", "an address such as `ghcr.io/team/digits` is wanted"),
        ("- github: ada", "an address such as `ada/digits` is wanted"),
        ("- huggingface", "`huggingface` needs to know where: `- huggingface: team/digits`"),
        ("- huggingface: team/digits/onnx", "an address such as `team/digits` is wanted"),
        ("- mlflow", "`mlflow` needs to know where: `- mlflow: https://mlflow.example.org`"),
        ("- mlflow: digits", "an address such as `https://mlflow.example.org` is wanted"),
        ("- folder: a\n    s3: s3://models", "each entry names one place, by one of: folder, s3"),
        ("- githb", "unknown key `githb`"),
        ("- ftp: ftp://example.org", "unknown key `ftp`. Known here: folder, s3"),
    ],
)
def test_a_place_that_cannot_be_is_refused_at_its_line(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(f"model: {{name: digits, path: digits.onnx}}\npublish:\n  {entry}\n")
    with pytest.raises(ContractError) as refused:
        read_contract(path)
    (problem,) = refused.value.problems
    assert message in problem.message
    assert problem.line == 3


@pytest.mark.parametrize(
    "entry",
    [
        "- github",
        "- github: ada/digits",
        "- github: https://github.example.org/ada/digits",
        "- gitlab",
        "- gitlab: a/b/digits",
        "- huggingface: team/digits.v2",
        "- huggingface: https://hub.example.org/team/digits",
        "- mlflow: http://127.0.0.1:5000",
        "- mlflow: https://example.org/tools/mlflow/",
        "- oci: ghcr.io/team/digits",
        "- oci: localhost:5000/digits",
        "- oci: registry:5000/team/digits",
        "- s3: s3://models",
        "- s3: s3://models/a b?endpoint=https://minio.example.org:9000",
    ],
)
def test_a_place_that_can_be_is_read(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(f"model: {{name: digits, path: digits.onnx}}\npublish:\n  {entry}\n")
    (place,) = read_contract(path).parts.publish.to
    kind, _, address = entry.removeprefix("- ").partition(": ")
    assert (place.kind, place.address) == (kind, address or None)
