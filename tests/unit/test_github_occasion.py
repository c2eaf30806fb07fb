"""What an event of GitHub asks for, in the light of the contract."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradatim.ci.github import GitHub
from gradatim.ci.occasion import Occasion, extras_of, occasion, shards_of
from gradatim.ci.platform import Place
from gradatim.contract.schema import HEAVY, Contract
from gradatim.errors import UsageError
from gradatim.pipeline.graph import GRAPH
from gradatim.rendering.workflows import rendered

CONTRACT = Contract.model_validate(
    {
        "model": {"name": "digits", "path": "model/digits.onnx"},
        "runners": {"gpu": ["self-hosted", "gpu"]},
        "stages": {
            "alpha": {"branch": "develop"},
            "beta": {"branch": "staging", "runner": "gpu", "environment": "pre-production"},
            "production": {"branch": "main", "runner": "gpu"},
        },
    }
)


def _ask(tmp_path: Path, name: str, event: dict[str, Any], **environment: str) -> Occasion:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    github = GitHub({"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path), **environment})
    return occasion(CONTRACT, github.place(), github.event_name, github.event(), "ubuntu-latest")


def _branch(name: str) -> dict[str, str]:
    return {"GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": name}


def _tag(name: str) -> dict[str, str]:
    return {"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": name}


@pytest.mark.parametrize("head", ["acme/digits", "stranger/digits"])
def test_a_pull_request_is_checked_for_the_stage_of_its_target_on_the_plain_runner(
    tmp_path: Path, head: str
) -> None:
    pull = {"head": {"repo": {"full_name": head}}, "base": {"repo": {"full_name": "acme/digits"}}}
    found = _ask(
        tmp_path, "pull_request", {"pull_request": pull}, GITHUB_HEAD_REF="x", GITHUB_BASE_REF="main"
    )
    assert (found.kind, found.stage, found.runner) == ("check", "production", ("ubuntu-latest",))


def test_a_group_of_the_merge_queue_is_checked_for_the_stage_that_it_will_be_merged_into(
    tmp_path: Path,
) -> None:
    group = {"base_ref": "refs/heads/main", "head_ref": "refs/heads/gh-readonly-queue/main/pr-7-4f2c"}
    queue = _branch("gh-readonly-queue/main/pr-7-4f2c")
    found = _ask(tmp_path, "merge_group", {"merge_group": group}, **queue)
    assert (found.kind, found.stage, found.runner) == ("check", "production", ("ubuntu-latest",))
    path = tmp_path / "event.json"
    place = GitHub({"GITHUB_EVENT_PATH": str(path), "GITHUB_EVENT_NAME": "merge_group", **queue}).place()
    assert (place.target, place.fork) == ("main", False)


def test_a_push_to_a_stages_branch_releases_on_the_declared_runner(tmp_path: Path) -> None:
    found = _ask(tmp_path, "push", {}, **_branch("staging"))
    assert (found.kind, found.stage, found.environment) == ("release", "beta", "pre-production")
    assert found.runner == ("self-hosted", "gpu")
    assert _ask(tmp_path, "push", {}, **_branch("develop")).runner == ("ubuntu-latest",)


TIMED_APART = {
    "model": {"name": "digits", "path": "model/digits.onnx", "device": "cuda"},
    "benchmark": {"runner": "gpu"},
    "stages": {"production": {"branch": "main"}},
}


def jobs_on(contract: dict[str, Any], event: str, place: Place) -> dict[str, Any]:
    """Where each job of the rendered workflow runs, by the runner that it asks for."""
    found = occasion(Contract.model_validate(contract), place, event, {}, "ubuntu-latest", "folded")
    assert found.jobs == ("split" if event == "push" else "folded")
    said, runners = json.loads(json.dumps(found.plan())), {}
    jobs = {
        name: job
        for path in ("release", "checks")
        for name, job in yaml.safe_load(rendered()[f".github/workflows/{path}.yml"])["jobs"].items()
        if "uses" not in job
    }
    for name, job in jobs.items():
        asked = re.search(r"\)\.([a-z-]*runner) ", job["runs-on"])
        runners[name] = said[asked[1]] if asked and event != "pull_request" else "plain"
    return runners


@pytest.mark.parametrize(
    ("runner", "wanted"),
    [
        (["self-hosted", "gpu"], ["self-hosted", "gpu"]),
        ({"group": "gpus", "labels": ["gpu"]}, {"group": "gpus", "labels": ["gpu"]}),
        ({"group": "gpus"}, {"group": "gpus"}),
    ],
)
def test_the_benchmark_alone_goes_to_the_runner_that_is_named_for_it(runner: Any, wanted: Any) -> None:
    contract = {**TIMED_APART, "runners": {"gpu": runner}}
    on = jobs_on(contract, "push", Place(branch="main"))
    assert [name for name, where in on.items() if where == wanted] == ["benchmark"]
    assert {str(where) for where in on.values()} == {"plain", "['ubuntu-latest']", str(wanted)}
    pull = jobs_on(contract, "pull_request", Place(branch="main", target="main"))
    assert set(pull.values()) == {"plain"}


@pytest.mark.parametrize("event", ["pull_request", "merge_group"])
def test_a_reviewed_pull_request_of_the_repository_is_timed_behind_an_environment_and_a_forks_never(
    event: str,
) -> None:
    runner = {"labels": ["self-hosted", "gpu"], "environment": "gpu"}
    contract = Contract.model_validate({**TIMED_APART, "runners": {"gpu": runner}})
    ours, fork = Place("x", target="main", bare=True), Place("x", target="main", fork=True, bare=True)
    asked: list[str] = []

    def plan(
        place: Place, event: str = event, guarded: bool = True, parts: Contract = contract
    ) -> dict[str, Any]:
        known = lambda environment: bool(asked.append(environment) or guarded)  # noqa: E731
        return occasion(parts, place, event, {}, "plain", "folded", guarded=known).plan()

    found = plan(ours)
    assert (found["guard"], found["benchmark-runner"], found["jobs"]) == (
        "gpu",
        ("self-hosted", "gpu"),
        "split",
    )
    assert found["evaluate-runner"] == found["test-runner"] == found["runner"] == ("plain",)
    assert (found["on-gpu"], found["extras"], found["gpu-extras"]) == (("benchmark",), "onnx", "gpu,onnx-gpu")
    assert asked == ["gpu"]
    for held in (plan(ours, guarded=False), plan(fork)):
        assert (held["guard"], held["benchmark-runner"], held["on-gpu"]) == ("", ("plain",), ())
    assert asked == ["gpu", "gpu"], "a fork is not even asked about"
    pushed = plan(Place("main"), "push")
    assert (pushed["guard"], pushed["benchmark-runner"]) == ("", ("self-hosted", "gpu")), (
        "nobody is asked twice"
    )
    bare = Contract.model_validate({**TIMED_APART, "runners": {"gpu": {"labels": ["self-hosted", "gpu"]}}})
    assert plan(ours, parts=bare)["guard"] == ""
    assert plan(ours, parts=bare)["benchmark-runner"] == ("plain",)


def test_a_runner_of_a_step_comes_before_that_of_the_stage_and_only_steps_that_run_the_model_have_one() -> (
    None
):
    contract = {
        **TIMED_APART,
        "runners": {"gpu": "gpu", "big": "big"},
        "stages": {"production": {"branch": "main", "runner": "big"}},
    }
    on = jobs_on(contract, "push", Place(branch="main"))
    assert on["benchmark"] == ["gpu"]
    assert on["evaluate"] == on["test"] == on["compress"] == ["big"]
    shared = {**contract, "shards": 2, "data": {"evaluation": "test.npz"}, "task": "classification"}
    found = occasion(Contract.model_validate(shared), Place(branch="main"), "push", {}, "ubuntu-latest")
    assert [tuple(one.values()) for one in found.plan()["shards"]] == [
        ("evaluate", "1-of-2", ("big",)),
        ("evaluate", "2-of-2", ("big",)),
    ]
    assert {on[name] for name in ("plan", "build", "inspect", "gate", "tag", "publish")} == {"plain"}
    assert tuple(step.name for step in GRAPH if step.heavy) == HEAVY


def test_a_push_to_another_branch_is_checked_and_a_deleted_branch_is_nothing(tmp_path: Path) -> None:
    assert _ask(tmp_path, "push", {}, **_branch("feature")).kind == "check"
    assert _ask(tmp_path, "push", {"deleted": True}, **_branch("main")).kind == "nothing"


@pytest.mark.parametrize(
    ("tag", "kind", "stage"),
    [
        ("v1.0.0", "publish", "production"),
        ("v1.0.0-beta.2", "publish", "beta"),
        ("v1.0.0-rc.1", "publish", None),
        ("digits@v1.0.0", "publish", "production"),
        ("other@v1.0.0", "nothing", None),
        ("digits#production#3", "nothing", None),
        ("digits@v1.0.0!", "nothing", None),
        ("nightly", "nothing", None),
    ],
)
def test_a_tag_is_published_when_it_is_a_version_of_this_model(
    tmp_path: Path, tag: str, kind: str, stage: str | None
) -> None:
    found = _ask(tmp_path, "push", {}, **_tag(tag))
    assert (found.kind, found.stage) == (kind, stage)


def test_a_schedule_reports_and_checks_nothing(tmp_path: Path) -> None:
    outputs = _ask(tmp_path, "schedule", {}, **_branch("main")).plan()
    assert (outputs["kind"], outputs["checks"]) == ("report", False)


def test_a_dispatch_says_what_and_where(tmp_path: Path) -> None:
    asked = {"do": "rollback", "stage": "beta", "reason": "p99 doubled"}
    found = _ask(tmp_path, "workflow_dispatch", {"inputs": asked}, **_branch("main"))
    assert (found.kind, found.stage, found.environment) == ("rollback", "beta", "pre-production")


@pytest.mark.parametrize(
    "inputs",
    [{}, {"do": "delete", "stage": "beta"}, {"do": "promote", "stage": "moon"}, {"do": "rollback", "stage": "beta", "reason": " "}],
)  # fmt: skip
def test_a_dispatch_that_makes_no_sense_is_refused(tmp_path: Path, inputs: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        _ask(tmp_path, "workflow_dispatch", {"inputs": inputs}, **_branch("main"))


@pytest.mark.parametrize(
    ("event", "head", "build", "wanted", "counted", "jobs"),
    [
        ("push", "", None, "split", True, "split"),
        ("push", "", None, "folded", True, "folded"),
        ("push", "", "python train.py", "folded", True, "split"),
        ("pull_request", "acme/digits", None, "folded", True, "folded"),
        ("pull_request", "stranger/digits", None, "split", False, "split"),
        ("schedule", "", None, "split", False, "split"),
    ],
)
def test_a_use_of_the_data_is_counted_where_the_contract_says_so_and_never_for_a_fork(
    tmp_path: Path, event: str, head: str, build: str | None, wanted: str, counted: bool, jobs: str
) -> None:
    contract = Contract.model_validate(
        {
            "model": {"name": "digits", "path": "m.onnx", "build": build},
            "data": {"evaluation": "test.npz", "uses": 8},
            "task": "classification",
        }
    )
    pull = {
        "pull_request": {
            "head": {"repo": {"full_name": head}},
            "base": {"repo": {"full_name": "acme/digits"}},
        }
    }
    path = tmp_path / "event.json"
    path.write_text(json.dumps(pull if head else {}), encoding="utf-8")
    github = GitHub({"GITHUB_EVENT_PATH": str(path), **_branch("main")})
    said = occasion(contract, github.place(), event, github.event(), "ubuntu-latest", wanted).plan()
    assert (said["count"], said["jobs"]) == (counted, jobs)


def test_a_committed_model_is_counted_and_checked_in_one_job_though_it_could_be_built(tmp_path: Path) -> None:
    model = {"name": "digits", "path": "m.onnx", "build": "python train.py"}
    data = {"evaluation": "test.npz", "uses": 8}
    contract = Contract.model_validate({"model": model, "data": data, "task": "classification"})
    place = GitHub(_branch("main")).place()
    assert occasion(contract, place, "push", {}, "ubuntu-latest", "folded", committed=True).jobs == "folded"


def test_a_contract_that_counts_nothing_asks_for_no_count(tmp_path: Path) -> None:
    said = _ask(tmp_path, "push", {}, **_branch("main")).plan()
    assert (said["count"], said["jobs"]) == (False, "split")


@pytest.mark.parametrize(
    ("publish", "event", "fetched"),
    [
        ({"s3": "s3://models/digits"}, "push", True),
        ({"oci": "ghcr.io/acme/digits"}, "push", True),
        ({"github": None}, "push", False),
        ({"folder": "releases"}, "push", False),
        ({"s3": "s3://models/digits"}, "schedule", False),
    ],
)
def test_a_baseline_is_fetched_apart_only_where_reading_it_may_take_credentials(
    tmp_path: Path, publish: dict[str, str | None], event: str, fetched: bool
) -> None:
    model = {"name": "digits", "path": "m.onnx"}
    contract = Contract.model_validate({"model": model, "publish": [publish]})
    place = GitHub(_branch("main")).place()
    assert occasion(contract, place, event, {}, "ubuntu-latest").plan()["fetch"] == fetched


def test_a_way_to_run_jobs_that_there_is_not_is_refused(tmp_path: Path) -> None:
    place = GitHub(_branch("main")).place()
    with pytest.raises(UsageError, match="`split` or `folded`"):
        occasion(CONTRACT, place, "push", {}, "ubuntu-latest", "fold")


def test_pull_request_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="never pull_request_target"):
        _ask(tmp_path, "pull_request_target", {}, **_branch("main"))


@pytest.mark.parametrize(
    ("parts", "extras"),
    [
        ({"model": {"name": "m", "path": "m.onnx", "device": "cuda:1"}}, ("onnx",)),
        ({"model": {"name": "m", "path": "m.onnx"}}, ("onnx",)),
        ({"model": {"name": "m", "path": "m.pt2"}}, ("torch",)),
        ({"model": {"name": "m", "path": "hub/model"}}, ("transformers",)),
        ({"model": {"name": "m", "path": "m.tflite"}}, ("litert",)),
        ({"model": {"name": "m", "factory": "rules:make"}}, ("checks",)),
        ({"model": {"name": "m", "path": "m.ftz", "factory": "words:load"}}, ("checks",)),
        (
            {"model": {"name": "m", "path": "m.onnx"}, "data": {"evaluation": "e.parquet"}},
            ("onnx", "parquet"),
        ),
        ({"model": {"name": "m", "path": "m.onnx"}, "data": {"evaluation": "images"}}, ("image", "onnx")),
        ({"model": {"name": "m", "path": "m.onnx"}, "test": {"pytest": "tests"}}, ("onnx", "test")),
    ],
)
def test_only_the_extras_that_the_contract_needs_are_installed(
    parts: dict[str, Any], extras: tuple[str, ...]
) -> None:
    assert extras_of(Contract.model_validate(parts)) == extras


def test_checks_and_publishing_get_the_extras_of_the_publishers(tmp_path: Path) -> None:
    contract = Contract.model_validate(
        {
            "model": {"name": "m", "path": "m.onnx"},
            "publish": [{"folder": "out"}, {"s3": "s3://models/m"}, "github"],
        }
    )
    found = occasion(contract, GitHub({"GITHUB_REF_NAME": "main"}).place(), "push", {}, "ubuntu-latest")
    assert found.plan()["publishers"] == "github,s3"
    assert found.plan()["extras"] == "github,onnx,s3"


def test_the_plan_names_every_part_that_shares_a_steps_rows() -> None:
    plain = {"model": {"name": "m", "path": "m.onnx"}, "data": {"evaluation": "d.npz"}, "shards": 3}
    robust = {"robustness": ["gaussian_noise"]}
    parts = ("1-of-3", "2-of-3", "3-of-3")
    assert shards_of(Contract.model_validate({**plain, "test": robust})) == {"evaluate": parts, "test": parts}
    assert shards_of(Contract.model_validate(plain)) == {"evaluate": parts, "test": ()}
    assert shards_of(Contract.model_validate({**plain, "shards": 1})) == {"evaluate": (), "test": ()}
    assert shards_of(Contract.model_validate({**plain, "data": {}})) == {"evaluate": (), "test": ()}
    assert {step.name for step in GRAPH if step.shared} == {"evaluate", "test"}
