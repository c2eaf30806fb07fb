"""A stage's release where it serves: whole, the very bytes, and kept in git with who did it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from registry_examples import act_as_ada, commit_file, new_repository, registry_of, release_files

from gradatim.cli import cli
from gradatim.contract.reading import contract_of
from gradatim.errors import BrokenEvidence, ContractError, EnvironmentLacks, UsageError
from gradatim.registry.tagging import announce
from gradatim.releasing.deploying import deployments_of
from gradatim.subversion import checkout

CONTRACT = """
model: {name: digits, path: model.onnx}
stages:
  beta: {branch: staging}
  production: {branch: main, deploy: {%s}}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``v1.0.0`` in production, with a remote beside it."""
    act_as_ada(monkeypatch)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    monkeypatch.chdir(root)
    commit_file(root, ".gitignore", b".gradatim/\nserved\nlog\n")
    told(root, "folder: served")
    released(root, "v1.0.0", b"one")
    return root


def told(root: Path, how: str) -> None:
    (root / "gradatim.yml").write_text(CONTRACT % how)


def released(root: Path, version: str, data: bytes) -> None:
    commit_file(root, "model/digits.onnx", data)
    files = release_files(root, version, data)
    announce(checkout.open(root), files.record, files.manifest, files.kept)


def deploy(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["deploy", "production", *arguments], standalone_mode=False)


def test_a_folder_serves_the_released_bytes_and_git_keeps_who_put_them_there(root: Path) -> None:
    done = deploy("--json")
    assert done.return_value == 0, done.exception
    assert (root / "served" / "current" / "digits.onnx").read_bytes() == b"one"
    release = registry_of(root, "digits").find("v1.0.0")
    [kept] = deployments_of(checkout.open(root), str(release.manifest))
    assert (kept.stage, kept.version, kept.kind, kept.manifest) == (
        "production",
        "v1.0.0",
        "folder",
        release.manifest,
    )
    assert kept.by == "Ada"
    assert json.loads(done.stdout)["place"] == kept.place == str(root / "served" / "current")


def test_a_reader_of_the_link_never_finds_half_a_version(root: Path) -> None:
    deploy()
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add((root / "served" / "current" / "digits.onnx").read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for version, data in (("v1.1.0", b"two"), ("v1.2.0", b"three")):
        released(root, version, data)
        assert deploy().return_value == 0
    stop.set()
    reader.join()
    assert seen <= {b"one", b"two", b"three"}
    assert (root / "served" / "current" / "digits.onnx").read_bytes() == b"three"
    assert sorted(path.name for path in (root / "served" / "versions").iterdir()) == [
        "v1.0.0",
        "v1.1.0",
        "v1.2.0",
    ]


def test_after_a_rollback_the_same_command_deploys_what_the_stage_holds_then(root: Path) -> None:
    released(root, "v1.1.0", b"two")
    deploy()
    done = CliRunner().invoke(cli, ["rollback", "production", "--reason", "slow"], standalone_mode=False)
    assert done.return_value == 0, done.exception
    assert "deployed v1.0.0" in deploy().output
    assert (root / "served" / "current" / "digits.onnx").read_bytes() == b"one"


def test_a_current_that_is_no_link_is_left_alone(root: Path) -> None:
    (root / "served" / "current").mkdir(parents=True)
    (root / "served" / "current" / "mine").write_text("x")
    assert isinstance(deploy().exception, EnvironmentLacks)
    assert (root / "served" / "current" / "mine").read_text() == "x"


def test_bytes_that_were_changed_where_they_serve_are_put_right(root: Path) -> None:
    deploy()
    (root / "served" / "versions" / "v1.0.0" / "digits.onnx").write_bytes(b"evil")
    assert deploy().return_value == 0
    assert (root / "served" / "current" / "digits.onnx").read_bytes() == b"one"


def test_a_command_is_told_version_and_files_and_a_failure_is_not_recorded(root: Path) -> None:
    told(root, "command: 'sh -c \"cat $2/digits.onnx > log; echo $1 >> log\" - {version} {folder}'")
    assert deploy().return_value == 0
    assert (root / "log").read_text() == "onev1.0.0\n"
    manifest = str(registry_of(root, "digits").find("v1.0.0").manifest)
    assert len(deployments_of(checkout.open(root), manifest)) == 1
    told(root, "command: sh -c 'echo no room >&2; exit 3'")
    failed = deploy()
    assert "ended with 3, so nothing is recorded" in str(failed.exception)
    assert "no room" in str(failed.exception)
    assert len(deployments_of(checkout.open(root), manifest)) == 1


def test_nothing_is_deployed_that_is_not_said_or_does_not_verify(root: Path) -> None:
    done = deploy("--dry-run")
    assert (done.return_value, "would deploy v1.0.0" in done.output) == (0, True)
    assert not (root / "served").exists()
    nowhere = CliRunner().invoke(cli, ["deploy", "beta"], standalone_mode=False)
    assert isinstance(nowhere.exception, UsageError)
    with pytest.raises(ContractError, match="one of `folder`, `command` and `kubernetes`"):
        contract_of(CONTRACT % "folder: a, command: b", root / "gradatim.yml")
    from registry_examples import git

    manifest = registry_of(root, "digits").find("v1.0.0").manifest
    git(root, "update-ref", "-d", f"refs/gradatim/releases/{manifest}")
    git(root, "push", "-q", "origin", f":refs/gradatim/releases/{manifest}")
    assert isinstance(deploy().exception, BrokenEvidence)
    assert not (root / "served").exists()


GATES = "canary: {errors: {at_most: 0.5%}, latency_p95: {at_most: 250 ms}}"


def rendered(root: Path, kind: str) -> list[dict[str, Any]]:
    source = "storage: 's3://models/{version}'" if kind == "kserve" else "image: 'ghcr.io/t/d:{version}'"
    told(root, f"kubernetes: {kind}, {source}")
    (root / "gradatim.yml").write_text((root / "gradatim.yml").read_text() + GATES)
    done = deploy("--dry-run")
    assert done.return_value == 0, done.exception
    assert done.output == deploy("--dry-run").output
    assert "&id" not in done.output
    return list(yaml.safe_load_all(done.output))


def test_a_deployment_runs_as_nobody_and_its_selector_outlives_versions(root: Path) -> None:
    deployment, service = rendered(root, "deployment")
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pods = deployment["spec"]["template"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pods["metadata"]["labels"].items()
    assert service["spec"]["selector"] == selector
    assert "v1.0.0" not in selector.values()
    assert pods["metadata"]["labels"]["app.kubernetes.io/version"] == "v1.0.0"
    [container] = pods["spec"]["containers"]
    assert container["image"] == "ghcr.io/t/d:v1.0.0"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert pods["spec"]["securityContext"]["runAsNonRoot"]
    assert {"readinessProbe", "livenessProbe", "resources"} <= set(container)


def test_an_argo_analysis_takes_no_missing_measurement_for_a_success(root: Path) -> None:
    rollout, stable, canary, analysis = rendered(root, "argo-rollouts")
    strategy = rollout["spec"]["strategy"]["canary"]
    assert [step["setWeight"] for step in strategy["steps"] if "setWeight" in step] == [5, 25, 50]
    assert (strategy["stableService"], strategy["canaryService"]) == (
        stable["metadata"]["name"],
        canary["metadata"]["name"],
    )
    assert strategy["analysis"]["templates"] == [{"templateName": analysis["metadata"]["name"]}]
    assert [metric["name"] for metric in analysis["spec"]["metrics"]] == ["errors", "latency-p95"]
    for metric in analysis["spec"]["metrics"]:
        assert metric["failureLimit"] == metric["consecutiveErrorLimit"] == 0
        assert "len(result) > 0 && !isNaN(result[0])" in metric["successCondition"]


def test_a_cluster_is_told_by_kubectl_and_what_it_refuses_is_not_recorded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(root, "deployment")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked; cat > {tmp_path}/given\n')
    kubectl.chmod(0o755)
    assert deploy().return_value == 0
    assert (tmp_path / "asked").read_text() == "apply --filename -\n"
    assert next(yaml.safe_load_all((tmp_path / "given").read_text()))["kind"] == "Deployment"
    manifest = str(registry_of(root, "digits").find("v1.0.0").manifest)
    [kept] = deployments_of(checkout.open(root), manifest)
    assert (kept.kind, kept.place) == ("kubernetes", "ghcr.io/t/d:v1.0.0")
    kubectl.write_text("#!/bin/sh\necho forbidden >&2; exit 1\n")
    assert "forbidden" in str(deploy().exception)
    assert len(deployments_of(checkout.open(root), manifest)) == 1


def test_kserve_is_given_the_files_where_they_are_stored() -> None:
    from gradatim.rendering.kubernetes import Served, render_manifests
    from gradatim.rendering.monitoring import language_model

    served = Served("Big_Model.v2", "production", "v1.0.0", "0" * 64, "s3://models/v1.0.0")
    [service] = yaml.safe_load_all(render_manifests("kserve", served, language_model("m", "version"), ()))
    assert service["metadata"]["name"] == "big-model-v2-production"
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://models/v1.0.0"


def test_kserve_splits_the_traffic_with_the_release_before_by_its_list_or_by_the_older_percent() -> None:
    from gradatim.rendering.kubernetes import Served, render_manifests
    from gradatim.rendering.monitoring import language_model

    def spec(kind: str, percent: int) -> Any:
        beside = ("v1.0.0", "s3://models/v1.0.0") if percent < 100 else None
        served = Served("m", "production", "v1.1.0", "0" * 64, "s3://models/v1.1.0", "onnx", percent, beside)
        return yaml.safe_load(render_manifests(kind, served, language_model("m", "version"), ()))["spec"]

    whole, part = spec("kserve", 100), spec("kserve", 5)
    [canary] = part["canary"]
    assert (canary["trafficPercent"], canary["predictor"]) == (5, whole["predictor"]), (
        "promoted, it is not started anew"
    )
    assert (part["predictor"]["name"], whole["predictor"]["name"]) == ("v1-0-0", "v1-1-0")
    assert part["predictor"]["model"]["storageUri"] == "s3://models/v1.0.0"
    assert "canary" not in whole
    older = spec("kserve-percent", 5)["predictor"]
    assert (older["canaryTrafficPercent"], older["model"]["storageUri"]) == (5, "s3://models/v1.1.0")
    assert "name" not in older
    assert "canaryTrafficPercent" not in spec("kserve-percent", 100)["predictor"]


def test_traffic_that_nothing_here_can_split_is_refused_with_what_can(root: Path) -> None:
    assert "gradatim canary --shift" in str(deploy("--traffic", "5", "--dry-run").exception)
    told(root, "kubernetes: kserve, storage: 's3://models/{version}'")
    assert "held nothing before v1.0.0" in str(deploy("--traffic", "5", "--dry-run").exception)
    assert deployments_of(checkout.open(root), str(registry_of(root, "digits").find("v1.0.0").manifest)) == []


@pytest.mark.parametrize(
    "how", ["kubernetes: kserve, image: a", "kubernetes: deployment", "folder: a, image: b"]
)
def test_a_deployment_that_cannot_be_is_told_at_once(how: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="belongs to"):
        contract_of(CONTRACT % how, tmp_path / "gradatim.yml")
