"""doctor: each trap of GitHub is found, and a caller that init writes has none."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradatim.ci.github_api import GitHubApi
from gradatim.ci.github_checkup import (
    Workflow,
    check_branches,
    check_settings,
    check_tags,
    check_workflows,
    matches,
    read_workflows,
)
from gradatim.ci.github_settings import Reviewer, pending, settings_of
from gradatim.contract.schema import Contract
from gradatim.registry.git import Repository
from gradatim.registry.reading import read
from gradatim.rendering.workflows import CALLER, Caller, render_caller, rendered, vendored

CONTRACT = Contract.model_validate(
    {
        "model": {"name": "digits", "path": "m.onnx"},
        "stages": {"beta": {"branch": "staging"}, "production": {"branch": "main", "approval": "required"}},
    }
)
GOOD = render_caller(Caller(("staging", "main"), ("beta", "production"), ref="a" * 40, version="v1.0.0"))


def _traps(text: str, *others: tuple[str, str]) -> set[str]:
    files = [(CALLER, text), *others]
    workflows = [Workflow(path, written, yaml.safe_load(written)) for path, written in files]
    return {finding.trap for finding in check_workflows(CONTRACT, workflows)}


def test_the_caller_that_init_writes_has_no_trap() -> None:
    assert _traps(GOOD) == set()


@pytest.mark.parametrize(
    ("trap", "old", "new"),
    [
        ("pull_request_target", "  pull_request:\n", "  pull_request_target:\n"),
        ("no pull requests", "  pull_request:\n", ""),
        ("branch not listed", '"staging", ', ""),
        ("branch not listed", '"staging", ', '"stag*/**", '),
        ("tag not listed", 'tags: ["v*"]', 'tags: ["release-*"]'),
        ("no merge queue", "  merge_group:\n", ""),
        ("check renamed", "  release:\n", "  deliver:\n"),
        ("check renamed", "  release:\n", "  release:\n    name: deliver\n"),
        ("check renamed", "  release:\n", "  release:\n    strategy: {matrix: {a: [1, 2]}}\n"),
        ("check that may never report", "  pull_request:\n", "  pull_request: {paths: [model/**]}\n"),
        ("check that may never report", "  pull_request:\n", "  pull_request: {paths-ignore: [docs/**]}\n"),
        ("check that may never report", "  pull_request:\n", "  pull_request: {branches: [main]}\n"),
        ("check that may never report", "  pull_request:\n", "  pull_request: {types: [labeled]}\n"),
        ("check that may never report", "  merge_group:\n", "  merge_group: {branches: [main]}\n"),
        ("release cut short", "jobs:\n", "concurrency: {group: a, cancel-in-progress: true}\njobs:\n"),
        (
            "release cut short",
            "  release:\n",
            "  release:\n    concurrency: {group: a, cancel-in-progress: true}\n",
        ),
        ("check that may never report", "  release:\n", "  release:\n    if: github.actor != 'bob'\n"),
        ("stages drifted", '["beta", "production"]', '["production"]'),
        ("not pinned", "a" * 40, "v1"),
        ("permission missing", "contents: write", "contents: read"),
        ("permission missing", ", pull-requests: write", ""),
    ],
)
def test_a_trap_in_the_caller_is_found(trap: str, old: str, new: str) -> None:
    assert old in GOOD
    assert trap in _traps(GOOD.replace(old, new))


@pytest.mark.parametrize("which", ["release", "models", "checks"])
def test_every_right_that_the_called_workflow_asks_for_must_be_granted_else_github_starts_nothing(
    which: str,
) -> None:
    files = {
        Path(path).stem: yaml.safe_load(text) for path, text in rendered().items() if "workflows/" in path
    }
    asked: dict[str, str] = {}
    for job in files[which]["jobs"].values():
        for scope, level in (job.get("permissions") or {}).items():
            asked[scope] = "write" if "write" in (level, asked.get(scope)) else level
    good = re.sub(r"permissions: \{contents.*", "permissions: {}", GOOD).replace(
        "workflows/release.yml", f"workflows/{which}.yml"
    )

    def found(granted: object) -> set[str]:
        text = good.replace("    permissions: {}", f"    permissions: {json.dumps(granted)}")
        assert text != good
        return _traps(text)

    assert "permission missing" not in found(asked)
    assert "permission missing" not in found("write-all")
    assert "permission missing" in found("read-all")
    for scope in asked:
        assert "permission missing" in found({**asked, scope: "none"}), scope


def test_a_caller_that_is_no_yaml_is_named_with_its_line_and_not_told_to_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "ml.yaml").write_text(GOOD.replace("permissions: {}", "permissions: {"), encoding="utf-8")
    (found,) = check_workflows(CONTRACT, read_workflows(tmp_path))
    assert found.trap == "no YAML"
    assert re.fullmatch(r"\.github/workflows/ml\.yaml:\d+", found.where)
    assert "GitHub cannot read it" in found.text


def test_a_trap_names_the_line_of_the_file_and_the_edit(tmp_path: Path) -> None:
    bad = GOOD.replace(
        "  pull_request:\n", "  pull_request:\n    branches: [staging, main]\n    paths: [model/**]\n"
    )
    bad = bad.replace("  release:\n", "  deliver:\n").replace("  merge_group:\n", "")
    found = {one.trap: one for one in check_workflows(CONTRACT, [Workflow(CALLER, bad, yaml.safe_load(bad))])}
    assert set(found) == {"no merge queue", "check renamed", "check that may never report"}
    lines = bad.splitlines()
    for trap, line, edit in (
        ("no merge queue", "on:", "`merge_group:`"),
        ("check renamed", "  deliver:", "`release:`"),
        ("check that may never report", "    paths: [model/**]", "Take `paths` out"),
    ):
        path, _, number = found[trap].where.partition(":")
        assert path == CALLER
        assert lines[int(number) - 1] == line
        assert edit in found[trap].text


@pytest.mark.parametrize(("ref", "found"), [("a" * 40, set()), ("v1", {"not pinned"})])
def test_a_caller_with_copies_of_what_it_calls_is_known_and_held_to_pins(ref: str, found: set[str]) -> None:
    caller = Caller(("staging", "main"), ("beta", "production"), ref=ref, version="v1.0.0")
    files = vendored(caller)
    text = files.pop(CALLER)
    assert _traps(text, *files.items()) == found
    assert "permission missing" in _traps(text.replace("contents: write", "contents: read"), *files.items())
    several = vendored(replace(caller, models=("digits", "words"), named=True))
    assert _traps(several.pop(CALLER), *several.items()) - {"tag not listed"} == found


def test_a_repository_without_a_caller_is_told_how_to_get_one() -> None:
    assert {finding.trap for finding in check_workflows(CONTRACT, [])} == {"no workflow"}


def test_handing_over_every_secret_is_found() -> None:
    assert "all secrets" in _traps(f"{GOOD}    secrets: inherit\n")


def test_pushing_all_tags_at_once_and_waiting_for_ones_own_tags_are_found() -> None:
    bulk = "on: push\njobs: {a: {runs-on: x, steps: [{run: git push origin --tags}]}}\n"
    deaf = "on: {push: {tags: ['v*']}}\njobs: {}\n"
    assert {"tags in bulk"} == _traps(GOOD, (".github/workflows/b.yml", bulk))
    assert {"deaf to its own tags"} == _traps(GOOD, (".github/workflows/d.yml", deaf))


def test_a_workflow_that_is_no_yaml_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "broken.yml").write_text("a: [", encoding="utf-8")
    (folder / "list.yml").write_text("- a", encoding="utf-8")
    for number, text in enumerate(
        ("a: !!bool m", "a: 2026-99-99", "a: 1" + ":1" * 5000 + ".5", "[" * 2000, "a: &a {<<: *a}")
    ):
        (folder / f"bent{number}.yml").write_text(text, encoding="utf-8")
    (folder / "odd.yml").write_text("on: [push]\njobs: [1]", encoding="utf-8")
    assert {finding.trap for finding in check_workflows(CONTRACT, read_workflows(tmp_path))} == {
        "no workflow"
    }


@pytest.mark.parametrize(
    ("patterns", "name", "passes"),
    [
        (["v*"], "v1.0.0-beta.1", True),
        (["*@v*"], "nlp/digits@v1.0.0", False),
        (["**@v*"], "nlp/digits@v1.0.0", True),
        (["releases/**"], "releases/a/b", True),
        (["releases/**", "!releases/old"], "releases/old", False),
        (["main"], "maintenance", False),
        (["v[12].*"], "v2.0", True),
        (["**"], "a/b", True),
        (["["], "[", True),
    ],
)
def test_filters_are_read_as_github_reads_them(patterns: list[str], name: str, passes: bool) -> None:
    assert matches(patterns, name) is passes


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    (tmp_path / ".github/workflows").mkdir(parents=True)
    git("init", "-q", "-b", "main")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")
    git("commit", "-q", "--allow-empty", "-m", "before the workflow")
    git("branch", "staging")
    (tmp_path / CALLER).write_text(GOOD, encoding="utf-8")
    git("add", "-A")
    git("commit", "-q", "-m", "the workflow")
    return Repository.find(tmp_path)


def test_a_branch_that_lacks_the_workflow_or_is_missing_is_found(repository: Repository) -> None:
    callers = read_workflows(repository.root)
    found = list(check_branches(CONTRACT, repository, callers))
    assert [(finding.trap, finding.where) for finding in found] == [("workflow elsewhere", "staging")]
    repository.run("branch", "-D", "staging")
    found = list(check_branches(CONTRACT, repository, callers))
    assert [(finding.trap, finding.where) for finding in found] == [("no branch", "staging")]


def test_a_release_that_is_on_no_branch_is_found_and_a_shallow_clone_says_so(
    repository: Repository, tmp_path: Path
) -> None:
    repository.run("tag", "-a", "v1.0.0", "-m", "on main")
    assert list(check_tags(CONTRACT, repository, read(repository, "digits"), "digits")) == []
    repository.run("checkout", "-q", "--orphan", "elsewhere")
    repository.run("commit", "-q", "--allow-empty", "-m", "elsewhere")
    repository.run("tag", "-a", "v1.1.0", "-m", "elsewhere")
    found = list(check_tags(CONTRACT, repository, read(repository, "digits"), "digits"))
    assert [(finding.trap, finding.where) for finding in found] == [("tag beside the branches", "v1.1.0")]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{tmp_path}", str(clone)], check=True)
    shallow = Repository.find(clone)
    traps = [finding.trap for finding in check_tags(CONTRACT, shallow, read(shallow, "digits"), "digits")]
    assert "shallow clone" in traps


def test_an_unprotected_repository_is_told_setting_by_setting() -> None:
    class Bare(GitHubApi):
        def pages(self, path: str) -> Any:
            return iter(())

        def get(self, path: str) -> Any:
            return None

    settings = settings_of(CONTRACT, reviewers=[Reviewer("User", 1)])
    found = list(check_settings(list(pending(settings, Bare("acme/digits", "hush"))), CONTRACT))
    texts = "\n".join(finding.text for finding in found)
    assert "environment production is missing or set otherwise" in texts
    assert "bare without the reviewers" in texts
    assert "release tags: never moved" in texts
    assert all(finding.serious for finding in found)
