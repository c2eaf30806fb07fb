"""protect and comment, against a repository that holds every body to GitHub's own OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from github_repository import Repository, served

from gradatim.ci.comments import put_comment
from gradatim.ci.github_api import Call, GitHubApi
from gradatim.cli import cli
from gradatim.errors import EnvironmentLacks, UsageError

pytest.importorskip("jsonschema")

CONTRACT = """
model: {name: digits, path: digits.onnx}
stages:
  beta: {branch: release/next}
  production: {branch: main, approval: required}
"""


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def protect(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    import subprocess

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    origin = ["git", "-C", str(tmp_path), "remote", "add", "origin", "git@github.com:acme/digits.git"]
    subprocess.run(origin, check=True)
    (tmp_path / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GH_TOKEN", "hush")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["protect", *arguments], standalone_mode=False)

    with served(repository) as address:
        monkeypatch.setenv("GITHUB_API_URL", address)
        yield call


def test_protect_shows_and_changes_nothing_until_it_is_told_to(
    protect: Callable[..., Result], repository: Repository
) -> None:
    shown = protect("--reviewer", "alice")
    assert shown.exception is None, shown.exception
    assert "would  environment production: somebody must approve" in shown.output
    assert "Nothing was changed" in shown.output
    assert repository.writes == []
    assert "hush" not in shown.output


def test_models_that_share_a_repository_are_protected_together_whichever_of_them_is_asked(
    protect: Callable[..., Result], repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their stages may have one name and several branches, or one branch and several wishes."""
    (tmp_path / "gradatim.yml").unlink()
    for model, stages in {
        "text": "{beta: {branch: dev}, production: {branch: master, approval: required}}",
        "vision": "{beta: {branch: next}, production: {branch: master}}",
        "sound": "{production: {branch: master}}",
    }.items():
        folder = tmp_path / "models" / model
        folder.mkdir(parents=True)
        text = f"model: {{name: {model}, path: m.onnx}}\nregistry: {{tags: named}}\nstages: {stages}\n"
        (folder / "gradatim.yml").write_text(text, encoding="utf-8")
    assert protect("--reviewer", "alice", "--apply").exception is None, "at the top of the repository"
    before = json.dumps([repository.rulesets, repository.environments, repository.policies])
    rules = {rules["conditions"]["ref_name"]["include"][0]: rules for rules in repository.rulesets.values()}
    assert {"refs/heads/dev", "refs/heads/next", "refs/heads/master"} <= set(rules)
    said = {rule["type"]: rule.get("parameters") for rule in rules["refs/heads/master"]["rules"]}
    assert said["pull_request"]["required_approving_review_count"] == 1, "one of them wants approval"
    assert not said["required_status_checks"]["strict_required_status_checks_policy"], (
        "for two it is no lowest stage"
    )
    assert repository.environments["production"]["protection_rules"]
    assert {policy["name"] for policy in repository.policies["beta"]} >= {"dev", "next", "master"}
    for model in ("text", "vision", "sound"):
        monkeypatch.chdir(tmp_path / "models" / model)
        done = protect("--reviewer", "alice", "--apply")
        assert "is set as the contract wants it" in done.output, (model, done.output)
    assert json.dumps([repository.rulesets, repository.environments, repository.policies]) == before
    found = CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False)
    assert "unprotected" not in {entry["trap"] for entry in json.loads(found.output)["findings"]}
    monkeypatch.delenv("GH_TOKEN")
    assert "nothing was compared" in protect("--reviewer", "alice").stderr


def test_protect_shows_its_plan_without_a_token_and_changes_nothing(
    protect: Callable[..., Result], repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_token = json.loads(protect("--reviewer", "alice", "--json").output)["calls"]
    monkeypatch.delenv("GH_TOKEN")
    shown = protect("--reviewer", "alice", "--json")
    assert shown.exception is None, shown.exception
    planned = json.loads(shown.output)["calls"]
    assert [call["purpose"] for call in planned] == [call["purpose"] for call in with_token]
    assert "nothing was compared" in protect("--reviewer", "alice").stderr
    assert not repository.rulesets
    assert isinstance(protect("--reviewer", "alice", "--apply").exception, EnvironmentLacks)


def test_protect_sets_everything_once_and_then_finds_it_set(
    protect: Callable[..., Result], repository: Repository
) -> None:
    assert (
        protect("--reviewer", "alice", "--team", "acme/release", "--app", "99", "--apply").exception is None
    )
    made = {rules["name"]: rules for rules in repository.rulesets.values()}
    assert set(made) == {"gradatim: beta", "gradatim: production", "gradatim: tags"}
    assert made["gradatim: beta"]["conditions"]["ref_name"]["include"] == ["refs/heads/release/next"]
    kinds = {rule["type"] for rule in made["gradatim: tags"]["rules"]}
    assert kinds == {"creation", "update", "deletion"}
    assert made["gradatim: tags"]["bypass_actors"][0]["actor_id"] == 99
    reviewers = repository.environments["production"]["protection_rules"][0]["reviewers"]
    assert {entry["reviewer"]["id"] for entry in reviewers} == {41, 42}
    assert repository.environments["beta"]["protection_rules"] == []
    assert {"name": "main", "type": "branch"} in repository.policies["beta"], "a promotion is sent from above"
    before = len(repository.writes)
    again = protect("--reviewer", "alice", "--team", "acme/release", "--app", "99", "--apply", "--json")
    assert json.loads(again.output)["calls"] == []
    assert len(repository.writes) == before
    assert repository.tokens == {"Bearer hush"}


def test_protect_puts_back_what_somebody_loosened(
    protect: Callable[..., Result], repository: Repository
) -> None:
    protect("--reviewer", "alice", "--apply")
    repository.rulesets[1] = {**repository.rulesets[1], "enforcement": "disabled"}
    repository.environments["production"]["protection_rules"] = []
    calls = json.loads(protect("--reviewer", "alice", "--json").output)["calls"]
    assert [(call["method"], call["path"].rpartition("digits/")[2]) for call in calls] == [
        ("PUT", "rulesets/1"),
        ("PUT", "environments/production"),
    ]


def test_without_an_app_the_rule_against_creating_tags_is_left_out_and_said(
    protect, repository: Repository
) -> None:
    found = json.loads(protect("--reviewer", "alice", "--apply", "--json").output)
    assert "--app NUMBER" in found["notes"][0]
    (tags,) = [rules for rules in repository.rulesets.values() if rules["target"] == "tag"]
    assert "creation" not in {rule["type"] for rule in tags["rules"]}


def test_a_stage_that_wants_approval_needs_somebody_to_give_it(
    protect: Callable[..., Result], repository: Repository
) -> None:
    assert isinstance(protect("--apply").exception, UsageError)
    assert isinstance(protect("--reviewer", "nobody", "--apply").exception, UsageError)
    assert repository.writes == []


def test_what_github_refuses_is_told_in_its_own_words(repository: Repository) -> None:
    with served(repository) as address:
        api = GitHubApi("acme/digits", "hush", address)
        with pytest.raises(EnvironmentLacks, match="Not Found") as refused:
            api.make(Call("GET", "/repos/acme/digits/nowhere"))
        assert "hush" not in str(refused.value)
    with pytest.raises(EnvironmentLacks, match="does not answer"):
        GitHubApi("acme/digits", "hush", "http://127.0.0.1:9").get("/x")


def test_a_comment_is_written_once_then_updated_and_nobody_elses_is_touched(repository: Repository) -> None:
    marker = "<!-- gradatim: digits -->\n"
    repository.comments = [
        {"id": n, "user": {"type": "User"}, "body": f"{marker}mine", "html_url": "x"} for n in range(150)
    ]
    with served(repository) as address:
        api = GitHubApi("acme/digits", "hush", address)
        assert put_comment(api, 7, "digits", "one") == "https://comment/900"
        assert put_comment(api, 7, "digits", "two") == "https://comment/900"
    assert [comment["body"] for comment in repository.comments[150:]] == [f"{marker}two"]
    assert all(comment["body"] == f"{marker}mine" for comment in repository.comments[:150])


@pytest.mark.parametrize("name", ["", "acme", "acme/", "/digits", "a/b/c"])
def test_a_repository_has_an_owner_and_a_name(name: str) -> None:
    with pytest.raises(UsageError):
        GitHubApi(name, "secret")


GUARDED = """
model: {name: digits, path: digits.onnx, device: cuda}
runners: {gpu: {labels: [gpu], environment: gpu}}
benchmark: {runner: gpu}
"""


def test_an_environment_that_asks_nobody_lets_no_pull_request_onto_its_runner_until_it_is_protected(
    protect: Callable[..., Result], repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gradatim.yml").write_text(GUARDED, encoding="utf-8")
    one = {"repo": {"full_name": "acme/digits"}}
    event = {"pull_request": {"number": 7, "head": one, "base": one}}
    (tmp_path / "event.json").write_text(json.dumps(event), encoding="utf-8")

    def planned() -> tuple[str, list[str], str]:
        for name, value in {
            "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REPOSITORY": "acme/digits",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_HEAD_REF": "x", "GITHUB_BASE_REF": "main",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(cli, ["ci", "plan", "--json"], standalone_mode=False)
        assert done.exception is None, done.exception
        monkeypatch.delenv("GITHUB_ACTIONS")
        plan, summary = json.loads(done.stdout), tmp_path / "summary"
        told = summary.read_text(encoding="utf-8") if summary.exists() else ""
        summary.unlink(missing_ok=True)
        return plan["guard"], plan["benchmark-runner"], told

    assert planned()[:2] == ("", ["ubuntu-latest"])
    assert "There is no environment gpu. So no pull request is timed" in planned()[2]
    repository.environments["gpu"] = {
        "name": "gpu",
        "protection_rules": [{"type": "wait_timer", "wait_timer": 5}],
    }
    assert planned()[0] == ""
    assert "has no required reviewers" in planned()[2]
    doctor = CliRunner().invoke(cli, ["doctor"], standalone_mode=False)
    assert "environment gpu: no reviewers" in doctor.output
    assert isinstance(protect("--apply").exception, UsageError), "nobody is named"
    assert protect("--reviewer", "alice", "--apply").exception is None
    assert repository.environments["gpu"]["deployment_branch_policy"] is None, (
        "a pull request is on no stage's branch"
    )
    assert planned() == ("gpu", ["gpu"], "")
    assert "is set as the contract wants it" in protect("--reviewer", "alice").output
    (rule,) = repository.environments["gpu"]["protection_rules"]
    rule["reviewers"] = [{"type": "Team", "reviewer": {"id": 12}}]
    assert "is set as the contract wants it" in protect("--reviewer", "alice").output, (
        "others may approve this"
    )
    monkeypatch.delenv("GH_TOKEN")
    guard, runner, told = planned()
    assert (guard, runner) == ("", ["ubuntu-latest"]), "what cannot be told is no yes"
    assert "`actions: read`" in told


def test_a_runners_environment_is_no_stages(protect: Callable[..., Result], tmp_path: Path) -> None:
    text = GUARDED.replace("environment: gpu", "environment: production")
    (tmp_path / "gradatim.yml").write_text(text, encoding="utf-8")
    refused = protect("--reviewer", "alice").exception
    assert "gradatim.yml:3:" in str(refused)
    assert "the environment of a stage" in str(refused)
