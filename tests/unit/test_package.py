"""A release in the layout of the server that shall run it: the very bytes, and nothing without proof."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from package_project import asked, free_port, release, rows_and_scores, wait_for
from registry_examples import git

from gradatim.cli import cli
from gradatim.files import sha256_file
from gradatim.releasing.servers import SERVERS


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("released"))


@pytest.fixture(autouse=True)
def _inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def package(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["package", *arguments], standalone_mode=False)


@pytest.mark.parametrize("server", [name for name, row in SERVERS.items() if "onnx" in row.formats])
def test_every_server_gets_the_released_bytes_under_the_names_that_it_wants(
    server: str, project: Path, tmp_path: Path
) -> None:
    done = package("--for", server, "--to", str(tmp_path / "p"), "--json")
    assert done.return_value == 0
    told = json.loads(done.output)
    laid = {
        path.relative_to(tmp_path / "p").as_posix() for path in (tmp_path / "p").rglob("*") if path.is_file()
    }
    assert set(told["files"]) == laid
    [model] = [name for name in laid if name.endswith(".onnx")]
    assert model == f"{SERVERS[server].model.format(name='small')}/model.onnx"
    assert sha256_file(tmp_path / "p" / model) == sha256_file(project / "model.onnx")
    assert {path.format(name="small") for path in SERVERS[server].files} == laid - {model}


def test_an_image_rests_on_digests_and_runs_as_nobody(tmp_path: Path) -> None:
    assert package("--for", "docker", "--to", str(tmp_path / "p")).return_value == 0
    lines = (tmp_path / "p" / "Dockerfile").read_text().splitlines()
    said = {line.split()[0]: line for line in lines if line and not line[0].isspace()}
    assert re.fullmatch(r"FROM \S+@sha256:[0-9a-f]{64}", said["FROM"])
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", said["USER"])
    assert "HEALTHCHECK" in said
    assert "--require-hashes" in said["RUN"]
    locked = (tmp_path / "p" / "requirements.txt").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", locked, flags=re.MULTILINE)[1:]
    assert len(entries) > 5
    assert all("--hash=sha256:" in entry for entry in entries)
    done = package("--for", "docker", "--base", "python:3.13", "--to", str(tmp_path / "q"))
    assert "names no digest" in str(done.exception)
    assert not (tmp_path / "q").exists()


def test_the_app_of_the_image_answers_as_the_model_does(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    assert package("--for", "docker", "--to", str(tmp_path / "p")).return_value == 0
    port = free_port()
    address = f"http://127.0.0.1:{port}/v2"
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, cwd=tmp_path / "p") as server:
        try:
            wait_for(f"{address}/health/ready")
            about = asked(f"{address}/models/small")
            assert about["versions"] == ["v1.0.0"]
            assert about["labels"] == ["bad", "fair", "good"]
            x, wanted = rows_and_scores(project)
            given = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
            [scores] = asked(f"{address}/models/small/infer", {"inputs": [given]})["outputs"]
            assert scores["shape"] == list(wanted.shape)
            assert np.allclose(np.reshape(scores["data"], scores["shape"]), wanted, atol=1e-6)
            for wrong in (
                {},
                [],
                {"inputs": [{**given, "name": "other"}]},
                {"inputs": [{**given, "shape": [1]}]},
            ):
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    asked(f"{address}/models/small/infer", wrong)
        finally:
            server.terminate()


def test_kserve_is_told_where_the_files_are_and_which_release_they_are_of(tmp_path: Path) -> None:
    storage = "s3://models/small/v1.0.0"
    assert (
        package("v1.0.0", "--for", "kserve", "--to", str(tmp_path / "p"), "--storage", storage).return_value
        == 0
    )
    service = yaml.safe_load((tmp_path / "p" / "inferenceservice.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["metadata"]["labels"]["app.kubernetes.io/version"] == "v1.0.0"
    model = service["spec"]["predictor"]["model"]
    assert (model["modelFormat"], model["storageUri"]) == ({"name": "onnx"}, storage)


def test_triton_is_told_types_and_axes(tmp_path: Path) -> None:
    assert package("--for", "triton", "--to", str(tmp_path / "p")).return_value == 0
    text = (tmp_path / "p" / "small" / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in text
    assert text.count("TYPE_FP32") == 2
    assert re.search(r"dims: \[ -1, \d+ \]", text)


def test_a_server_that_does_not_serve_such_a_model_is_refused_with_those_that_do(tmp_path: Path) -> None:
    for server in ("torchserve", "tf-serving"):
        done = package("--for", server, "--to", str(tmp_path / server))
        assert re.search(r"small v1\.0\.0 is onnx\. These do: docker, kserve, triton", str(done.exception))
        assert not (tmp_path / server).exists()


def test_what_lies_there_is_replaced_on_demand_only_and_the_tree_stays_clean(project: Path) -> None:
    assert package("--for", "triton").return_value == 0
    assert "is there already" in str(package("--for", "triton").exception)
    assert package("--for", "triton", "--force").return_value == 0
    assert [path.name for path in (project / "packages").iterdir() if path.is_dir()] == [
        "small-v1.0.0-triton"
    ]
    assert git(project, "status", "--porcelain") == ""


def test_a_release_whose_evidence_was_altered_is_not_packaged(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--mirror", str(project), str(copy / ".git"))
    git(copy, "config", "core.bare", "false")
    git(copy, "checkout", "-q", "-f", "main")
    git(copy, "tag", "-f", "-a", "-m", "v1.0.0", "v1.0.0", "HEAD")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        done = package("--for", "docker", "--to", str(tmp_path / "p"))
    assert "is not packaged" in str(done.exception)
    assert not (tmp_path / "p").exists()
