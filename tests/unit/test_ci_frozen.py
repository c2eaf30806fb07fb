"""What each CI system is read to say, and what each forge is asked for, to the letter: no plan, no trap and no setting changes unseen.

``python tests/unit/test_ci_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import re
import sys
import tarfile
import tempfile
import urllib.error
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from frozen import attempted, changed, line, told, write
from registry_examples import IDENTITY, commit_file, git, new_repository

from gradatim.ci import PLATFORMS, detect, pull_request
from gradatim.ci.approval import Approval
from gradatim.ci.archive import Places, digests_in, digests_of, digests_told, pack, unpack
from gradatim.ci.comments import number_of_request, put_comment, put_note, put_result
from gradatim.ci.contracts import Entry, beside, clashes, every_contract, find_contracts, refuse_clashes
from gradatim.ci.github import GitHub
from gradatim.ci.github_api import Call, GitHubApi, Refused, Unseen, _words
from gradatim.ci.github_checkup import (
    Workflow,
    check_branches,
    check_settings,
    check_tags,
    check_workflows,
    matches,
)
from gradatim.ci.github_settings import Reviewer, _environment_holds, _holds, approving, pending, settings_of
from gradatim.ci.gitlab import GitLab
from gradatim.ci.gitlab_api import GitLabApi
from gradatim.ci.gitlab_checkup import check_include, check_project
from gradatim.ci.gitlab_project import GitLabProject
from gradatim.ci.gitlab_settings import approving_in_project, notes_of, pending_in_project
from gradatim.ci.in_use import in_use
from gradatim.ci.issues import _on_github, _on_gitlab, put_issue
from gradatim.ci.occasion import extras_of, occasion, shards_of
from gradatim.ci.platform import Place
from gradatim.ci.pull_request import PullRequest
from gradatim.ci.touched import _for_people, _meet, _named, touched
from gradatim.contract.reading import read_contract
from gradatim.contract.schema import Contract
from gradatim.files import sha256_file
from gradatim.registry.git import Repository
from gradatim.registry.reading import read
from gradatim.rendering.workflows import CALLER, Caller, render_caller

GOLDEN = Path(__file__).parent / "golden" / "ci"
LADDER: dict[str, Any] = {
    "model": {"name": "digits", "path": "model/digits.onnx"}, "runners": {"gpu": ["self-hosted", "gpu"], "big": {"group": "g", "labels": ["l"]}, "all": {"group": "g"}},
    "stages": {"alpha": {"branch": "develop"}, "beta": {"branch": "staging", "runner": "gpu", "environment": "pre"}, "production": {"branch": "main", "runner": "gpu", "approval": "required"}},
}  # fmt: skip
DATA = {"data": {"evaluation": "test.npz", "uses": 5}, "task": {"type": "classification", "labels": [0, 1]}}


def contract(**more: Any) -> Contract:
    return Contract.model_validate({**LADDER, **more})


def occasions() -> Iterator[str]:
    """Each event in the light of contracts of every kind."""
    kinds = {
        "plain": contract(), "counted": contract(**DATA), "built": contract(**{**DATA, "model": {"name": "digits", "path": "m.onnx", "build": "python b.py"}}),
        "published": contract(publish=[{"folder": "r"}, {"s3": "s3://models/releases"}], signing={"key": "k.pub"}), "apart": contract(benchmark={"runner": "big"}), "tagged": contract(stages={"beta": {"branch": "b", "tag": "rc"}, "production": {"branch": "main"}}),
    }  # fmt: skip
    places = (Place("staging"), Place("x", target="main", bare=True), Place("x", target="main", fork=True), Place("main"), Place("other"), Place(tag="v1.0.0"), Place(tag="v1.0.0-beta.1"), Place(tag="v1.0.0-rc.1"), Place(tag="digits@v1.0.0"), Place(tag="other@v1.0.0"), Place(tag="nightly"), Place(tag="digits#beta#1"))  # fmt: skip
    for name, one in kinds.items():
        for event, place in itertools.product(("push", "pull_request", "schedule"), places):
            if event == "push" or (place.tag is None and name in ("plain", "built", "apart")):
                yield f"{name} {event} {told(place)}: {json.dumps(occasion(one, place, event, {}, 'any', 'folded').plan())}"
    dispatch = [
        {"do": "promote", "stage": "beta"},
        {"do": "rollback", "stage": "beta", "reason": " "},
        {"do": "rollback", "stage": "beta", "reason": "bad"},
        {"do": "promote", "stage": "x"},
        {"do": "x", "stage": "beta"},
        None,
    ]
    for inputs in dispatch:
        yield attempted(
            lambda inputs=inputs: occasion(
                kinds["plain"], Place("main"), "workflow_dispatch", {"inputs": inputs}, "any"
            ).plan()
        )  # type: ignore[misc]
    yield attempted(
        lambda: occasion(kinds["plain"], Place("staging"), "push", {"deleted": True}, "any").plan()
    )
    yield attempted(lambda: occasion(kinds["plain"], Place(), "merge_group", {}, "any").plan())
    yield attempted(lambda: occasion(kinds["plain"], Place(), "pull_request_target", {}, "any"))
    yield attempted(lambda: occasion(kinds["plain"], Place(), "push", {}, "any", "both"))
    yield attempted(
        lambda: occasion(kinds["built"], Place("main"), "push", {}, "any", "folded", committed=True).plan()
    )
    for more in ({}, {"data": {"evaluation": "a.parquet"}}, {"data": {"evaluation": "folder"}}, {"data": {"evaluation": "m:f"}}, {"test": {"pytest": "checks"}}, {"compress": {"keep": {"fidelity": "99%"}}}, {"engine": "ray", **DATA},
                 {"benchmark": {"load": {"p99": "50 ms"}}}, {"model": {"name": "d", "path": "m.onnx", "device": "cuda"}}):  # fmt: skip
        with contextlib.suppress(ValueError):
            yield told(extras_of(contract(**more)))
    for more in (
        {},
        {"shards": 2},
        {"shards": 3, "test": {"robustness": ["feature_noise"]}},
        {"shards": 3, "engine": "ray"},
    ):
        yield attempted(lambda more=more: shards_of(contract(**DATA, **more)))  # type: ignore[misc]
    yield told(shards_of(contract(shards=2)))


def platforms() -> Iterator[str]:
    """What the variables of each system say of a run, and how each is spoken to."""
    pull = {
        "pull_request": {
            "number": 7,
            "head": {"repo": {"full_name": "a/b"}},
            "base": {"repo": {"full_name": "a/b"}},
        }
    }
    fork = {"pull_request": {"head": {"repo": {"full_name": "x/b"}}, "base": {"repo": {"full_name": "a/b"}}}}
    queue = {"merge_group": {"base_ref": "refs/heads/main"}}
    run = {"GITHUB_RUN_ID": "5", "GITHUB_REPOSITORY": "a/b", "GITHUB_ACTOR": "ada"}
    with tempfile.TemporaryDirectory() as name:
        for event, variables in (
            (pull, {"GITHUB_HEAD_REF": "x", "GITHUB_BASE_REF": "main", **run}), (pull, {"GITHUB_ACTOR": "dependabot[bot]"}), (fork, {"GITHUB_HEAD_REF": "x"}), (queue, {"GITHUB_REF_NAME": "q"}),
            ({}, {"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "v1.0.0", "GITHUB_SERVER_URL": "https://s", **run}), ([], {"GITHUB_REF_NAME": "main"}),
        ):  # fmt: skip
            path = Path(name, "event.json")
            path.write_text(json.dumps(event))
            hub = GitHub(
                {
                    "GITHUB_EVENT_PATH": str(path),
                    "GITHUB_EVENT_NAME": "push",
                    "GITHUB_ACTIONS": "true",
                    **variables,
                }
            )
            yield told(
                (
                    hub.place(),
                    hub.dependabot,
                    hub.event_name,
                    attempted(lambda hub=hub: number_of_request(hub._environment)),
                )
            )  # type: ignore[misc]
        out, page = Path(name, "out"), Path(name, "page")
        hub = GitHub({"GITHUB_OUTPUT": str(out), "GITHUB_STEP_SUMMARY": str(page)})
        hub.output({"a": "1", "b": "x\ny"})
        hub.summarise("# Hello\n")
        hub.summarise("é" * (1 << 20))
        yield told(
            (
                re.sub("end-[0-9a-f]{32}", "END", out.read_text()),
                page.read_text()[:10],
                len(page.read_bytes()),
                page.read_text()[-60:],
            )
        )
        GitHub({}).output({"a": "1"})
        yield from spoken(hub)
        for key, variables in (
            ("GITLAB_CI", {"CI_COMMIT_BRANCH": "main", "GITLAB_USER_LOGIN": "ada", "CI_JOB_URL": "u"}), ("GITLAB_CI", {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1", "CI_PROJECT_ID": "2", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "x", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main", "CI_MERGE_REQUEST_IID": "9"}),
            ("GITLAB_CI", {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2", "CI_PROJECT_ID": "2", "CI_COMMIT_TAG": "v1.0.0"}), ("CIRCLECI", {"CIRCLE_BRANCH": "pull/7"}), ("CIRCLECI", {"CIRCLE_BRANCH": "x", "CIRCLE_PR_REPONAME": "r"}), ("CIRCLECI", {"CIRCLE_TAG": "v1.0.0", "CIRCLE_USERNAME": "ada"}),
            ("TRAVIS", {"TRAVIS_BRANCH": "main"}), ("TRAVIS", {"TRAVIS_BRANCH": "v1.0.0", "TRAVIS_TAG": "v1.0.0"}), ("TRAVIS", {"TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "7", "TRAVIS_PULL_REQUEST_BRANCH": "x", "TRAVIS_PULL_REQUEST_SLUG": "x/b", "TRAVIS_REPO_SLUG": "a/b"}),
            ("TRAVIS", {"TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "7", "TRAVIS_PULL_REQUEST_SLUG": "a/b", "TRAVIS_REPO_SLUG": "a/b"}), ("JENKINS_URL", {"GIT_BRANCH": "origin/main"}), ("JENKINS_URL", {"BRANCH_NAME": "PR-1", "CHANGE_BRANCH": "x", "CHANGE_TARGET": "main", "CHANGE_FORK": "bob", "CHANGE_AUTHOR": "bob"}),
            ("JENKINS_URL", {"TAG_NAME": "v1.0.0", "BRANCH_NAME": "v1.0.0", "BUILD_USER_ID": "ada"}), ("GITLAB_CI", {"GITLAB_CI": "false"}),
        ):  # fmt: skip
            found = detect({key: "true", **variables})
            yield told(
                (
                    key,
                    found.name,
                    found.remote,
                    found.place(),
                    attempted(lambda variables=variables: number_of_request(variables)),
                )
            )  # type: ignore[misc]
        for key in (*PLATFORMS, "NONE"):
            home = Path(name, key)
            home.mkdir()
            with contextlib.chdir(home):
                found = detect(
                    {
                        key: "true",
                        "CI_PROJECT_DIR": str(home),
                        "WORKSPACE": str(home),
                        "GRADATIM_APPROVER": "eve,bob,",
                    }
                )
                if key not in ("GITHUB_ACTIONS", "NONE"):
                    yield from spoken(found)
                    found.output({"a-b": "1", "c": "x\n y"})
                    found.output({"c": "2"})
                    found.refuse("it is bad", file="g.yml", line=None, title="Gate")
                    found.refuse("it is bad", file="g.yml", line=None, title="Gate")
                    found.refuse("it is worse", file="", line=3, title="Gate")
                    yield told(
                        [
                            (path.relative_to(home).as_posix(), path.read_text())
                            for path in sorted(home.rglob("*"))
                            if path.is_file()
                        ]
                    )
                    yield line(found.approval("ada", "pre"))
    yield told(
        [Approval("ada", "u", "pre", names).told for names in (None, (), ("bob",), ("bob", "carol", "eve"))]
    )
    yield told([Approval("ada", None, "pre", names).to_json() for names in (None, ("bob",))])


def spoken(platform: Any) -> Iterator[str]:
    """What it writes, with what is drawn by chance left out."""
    hostile = "a\n::error::b ##[c] ::d\n\x1b[31m::e\x1b[0m section_start:1 travis_fold:x \x1b[8mha:z"
    yield platform.harmless(hostile)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        platform.show("Title\n::x", hostile)
        platform.refuse("50 % bad\nmore", file="a,b:c.yml", line=4, title="T: x")
        platform.refuse("no file", file="", line=None, title="T")
    yield re.sub(
        r"section_(start|end):\d+",
        r"section_\1:NOW",
        re.sub(r"(end-|gradatim_)[0-9a-f]+", r"\1X", said.getvalue()),
    )


def changed_files() -> Iterator[str]:
    """Which model an event touches, and which contracts could be taken for one another."""
    text = "model: {{name: {0}, path: m.onnx, build: python train.py}}\nstages: {{production: {{branch: main}}}}\nregistry: {{tags: {1}}}\n"
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        root = new_repository(Path(name, "r"))
        first = git(root, "rev-parse", "HEAD")
        for model, folder, style in (("a", "a", "named"), ("b", "deep/b", "named")):
            commit_file(root, f"{folder}/gradatim.yml", text.format(model, style).encode())
            commit_file(root, f"{folder}/train.py", b"import layers\n")
            commit_file(root, f"{folder}/layers.py", b"")
        repository, start = Repository.find(root), git(root, "rev-parse", "HEAD")
        entries = find_contracts(repository)
        yield told([(str(entry.path), entry.name, str(entry.folder)) for entry in entries])
        for place in (
            "a/x.txt",
            "deep/x.txt",
            "deep/b/README.md",
            "top.txt",
            "a/layers.py",
            "CHANGELOG",
            "deep/b/m.onnx.data",
            "license.txt",
        ):
            after = commit_file(root, place, place.encode())
            event = {"before": start, "after": after}
            yield told(
                (
                    place,
                    [(one.entry.name, one.why) for one in touched(repository, entries, "push", event, None)],
                )
            )
            start = after
        git(root, "checkout", "-q", "-b", "side", first)
        other = commit_file(root, "z", b"z")
        for kind, event, tag in (
            ("push", {"before": start, "after": other}, None), ("push", {"before": first, "after": other, "forced": True}, None), ("push", {"before": "0" * 40, "after": other}, None), ("push", {"created": True}, None),
            ("push", {"deleted": True}, None), ("push", {"deleted": True}, "a@v1.0.0"), ("push", {}, "a@v1.0.0"), ("push", {}, "v1.0.0"), ("push", {}, "nightly"), ("push", {}, "a#b#1"), ("push", {"before": "f" * 40, "after": other}, None),
            ("pull_request", {"pull_request": {"base": {"sha": start}, "head": {"sha": other}}}, None), ("pull_request", {}, None), ("merge_group", {"merge_group": {"base_sha": start, "head_sha": other}}, None), ("schedule", {}, None),
            ("workflow_dispatch", {"inputs": {"model": "a"}}, None), ("workflow_dispatch", {"inputs": {"model": "deep/b/gradatim.yml"}}, None),
        ):  # fmt: skip
            yield told(
                (
                    kind,
                    sorted(event),
                    tag,
                    [(one.entry.name, one.why) for one in touched(repository, entries, kind, event, tag)],
                )
            )
        for inputs, some in (({}, entries), ({"model": "x"}, entries), ({}, entries[:1])):
            yield attempted(
                lambda inputs=inputs, some=some: [
                    one.entry.name
                    for one in touched(repository, some, "workflow_dispatch", {"inputs": inputs}, None)
                ]
            )  # type: ignore[misc]
        git(root, "checkout", "-q", "main")
        commit_file(root, "c/gradatim.yml", b"nonsense: [")
        commit_file(root, "d/gradatim.yml", text.format("a", "plain").encode())
        commit_file(root, "e/gradatim.yml", text.format("e", "named").encode())
        listed = {"path": "gradatim.yml", "sha256": sha256_file(root / "e" / "gradatim.yml")}
        commit_file(root, "e/release.json", json.dumps({"files": [listed]}).encode())
        entries = find_contracts(repository)
        yield told([(entry.name, entry.read is None) for entry in entries])
        yield from (str(problem) for problem in clashes(entries))
        for tag in ("zzz@v1.0.0", "v1.0.0", "a@v1.0.0"):
            yield told([(one.entry.name, one.why) for one in touched(repository, entries, "push", {}, tag)])
        yield told(
            [
                in_use(repository, files)
                for files in (
                    {"github": ".github/x", "gitlab": ".gitlab-ci.yml"},
                    {"zone": "a/x", "gitlab": "none"},
                    {"zone": "a/x", "depth": "deep/y"},
                    {"zone": "a/x", "remote.git": "deep/y"},
                )
            ]
        )
        yield from found_on_branches(repository, root)
    yield told(
        [
            _for_people(PurePosixPath(path))
            for path in ("README.md", "a/readme", "README.txt", "notice.rst", "reader.md", "SECURITY.MD")
        ]
    )
    yield told(
        [
            _meet(PurePosixPath(file), PurePosixPath(place))
            for file, place in (
                ("m.onnx.data", "m.onnx"),
                ("m.onnxx", "m.onnx"),
                ("a/b", "a"),
                ("a", "a/b"),
                ("ab", "a"),
                ("x/m.onnx.data", "m.onnx"),
            )
        ]
    )


def found_on_branches(repository: Repository, root: Path) -> Iterator[str]:
    ladder = contract(
        stages={
            "beta": {"branch": "side"},
            "production": {"branch": "main"},
            "gone": {"branch": "none"},
            "free": {},
        }
    )
    yield from map(
        line, check_branches(ladder, repository, [Workflow("a/train.py", "", {}), Workflow("b.yml", "", {})])
    )
    for made, commit in (("digits@v1.0.0", "main"), ("digits@v1.1.0", "side"), ("digits@v1.2.0", "HEAD~1")):
        git(root, "tag", "-a", "-m", "x", made, commit)
    git(root, "tag", "digits@v1.3.0")
    git(root, "tag", "-a", "-m", "x", "digits@v9.0.0", git(root, "commit-tree", "-m", "x", "HEAD^{tree}"))
    registry = read(repository, "digits")
    for one, known in (
        (ladder, registry),
        (ladder, replace(registry, complete=False)),
        (contract(stages={"free": {}}), registry),
    ):
        yield from (
            re.sub("[0-9a-f]{7} is", "COMMIT is", line(found))
            for found in check_tags(one, repository, known, "digits")
        )


def traps() -> Iterator[str]:
    """Every trap with its place and words."""
    two = contract(
        stages={"beta": {"branch": "staging"}, "production": {"branch": "main", "approval": "required"}}
    )
    good = render_caller(Caller(("staging", "main"), ("beta", "production"), ref="a" * 40, version="v1.0.0"))
    for old, new in (
        ("", ""), ("  pull_request:\n", "  pull_request_target:\n"), ("  pull_request:\n", ""), ('"staging", ', ""), ('tags: ["v*"]', 'tags: ["release-*"]'), ("  merge_group:\n", ""), ("  release:\n", "  release:\n    name: deliver\n"), ("  release:\n", "  deliver:\n"),
        ("  release:\n", "  release:\n    strategy: {matrix: {a: [1, 2]}}\n"), ("  pull_request:\n", "  pull_request: {paths: [m/**], types: [labeled], branches: [main]}\n"), ("  pull_request:\n", "  pull_request: {types: [opened, synchronize, x], branches: ['*']}\n"),
        ("  release:\n", "  release:\n    if: x\n"), ('["beta", "production"]', '["production"]'), ('["beta", "production"]', '["production", "beta"]'), ("a" * 40, "v1"), ("contents: write", "contents: read"), (", pull-requests: write", ""), ("  release:\n", "  release:\n    secrets: inherit\n"),
        ("on:\n", "on: push\nx:\n"), ("on:\n", "on: [push, pull_request, merge_group]\nx:\n"), ("workflows/release.yml", "workflows/checks.yml"), ("workflows/release.yml", "workflows/models.yml"), ("jobs:\n", "jobs: {\n"), ("gradatim/.github", "other/.github"),
    ):  # fmt: skip
        assert old in good
        text = good.replace(old, new, 1) if old else good
        with contextlib.suppress(yaml.YAMLError):
            loaded = yaml.safe_load(text)
            for granted in (None, "read-all", {"contents": "write"}) if not old else (0,):
                if granted != 0:
                    loaded["jobs"]["release"]["permissions"] = granted
                yield f"{old!r} -> {new!r} {granted}"
                yield from map(line, check_workflows(two, [Workflow(CALLER, text, loaded)]))
    yield from map(line, check_workflows(two, []))
    yield from map(line, check_workflows(two, [Workflow(CALLER, good.replace("jobs:\n", "jobs: {\n"), {})]))
    others = [
        Workflow("x.yml", "run: git push origin --tags # gradatim", {"on": {"push": {"tags": ["v*"]}}}),
        Workflow("y.yml", "git push", {"on": "push"}),
        Workflow(
            ".github/workflows/gradatim-release.yml",
            "uses: a/actions/checkout@v4\nuses: b/actions/x@" + "a" * 40,
            {"jobs": {"a": 1}},
        ),
    ]
    yield from map(line, check_workflows(two, [Workflow(CALLER, good, yaml.safe_load(good)), *others]))
    for pattern, *given in (
        (["main"], "main", "mains"),
        (["release/*"], "release/a", "release/a/b"),
        (["release/**"], "release/a/b"),
        (["**/x"], "x", "a/x", "a/b/x", "ax"),
        (["*", "!main"], "main", "dev"),
        (["!main", "*"], "main"),
        (["v?"], "v", "vv"),
        (["v+"], "v", "vvv"),
        (["v[0-9]"], "v1", "va"),
        ([r"a\*"], "a*", "ab"),
        (["v["], "v["),
        (["a.b"], "a.b", "axb"),
    ):
        yield told((pattern, [matches(list(pattern), name) for name in given]))
    calls = [
        Call("PUT", "/repos/a/b/environments/production/x", {}, "environment production"),
        Call("PUT", "/repos/a/b/environments/pre", {}, "environment pre"),
        Call("POST", "/repos/a/b/rulesets", {}, "tags"),
    ]
    yield from map(line, check_settings(calls, two))
    yield from map(line, check_project([Call("DELETE", "x", None, "no"), Call("POST", "x", {}, "yes")]))
    remote = f"https://example.org/gradatim/{'a' * 40}/templates/release/template.yml"
    for text in (
        "", "a: [", "include: {component: $CI_SERVER/gradatim/release@1.2.3}", f"include: '{remote}'", f"include: ['{remote.replace('a' * 40, 'main')}']", "include: [{project: gradatim/x, file: templates/release/template.yml, ref: main}]",
        f"include:\n  - project: x\n    file: templates/release/template.yml\n    ref: {'b' * 40}\n    inputs: {{branches: '^main$', job-prefix: p-, checks-stage: early}}\nstages: [deploy]\n",
        f"include:\n  - remote: {remote}\n    inputs: {{job-prefix: p-}}\n  - remote: {remote}\n    inputs: {{job-prefix: p-, branches: /./}}\nworkflow:\n  rules:\n    - if: $CI_COMMIT_TAG\n    - if: $X == 'merge_request_event'\n      when: never\n",
        f"include: {remote}\nworkflow: {{rules: [{{when: always}}]}}\nstages: [test]\n", "include: [sub.yml, /none.yml, ../out.yml]\n", f"include: {remote}\nworkflow: {{rules: [{{when: never}}]}}\n",
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as name:
            top = Path(name)
            (top / ".gitlab-ci.yml").write_text(text)
            (top / "sub.yml").write_text(
                f"spec: {{}}\n---\nx: !reference [a]\ninclude: {{local: /.gitlab-ci.yml}}\ny:\n  include: {remote}\n"
            )
            yield f"{text[:60]!r}"
            yield from (line(found).replace(name, "TMP") for found in check_include(two, top))


class Answering(GitHubApi):
    """GitHub as a table of what is there; what is written is kept."""

    def __init__(self, there: Mapping[str, Any]) -> None:
        super().__init__("acme/digits", "t")
        self.there, self.made = there, list[Call]()

    def get(self, path: str) -> Any:
        return self.there.get(path.partition("?")[0].removeprefix("/repos/acme/digits"))

    def make(self, call: Call) -> Any:
        self.made.append(call)
        return {"html_url": f"https://h{call.path}"}


class Paged(GitHubApi):
    """GitHub with so many entries, as many a page as it is asked for and no more than a hundred."""

    def __init__(self, total: int) -> None:
        super().__init__("acme/digits", "t")
        self.total, self.asked = total, list[str]()

    def get(self, path: str) -> Any:
        self.asked.append(path)
        size, page = (int(found) for found in re.findall(r"page=(\d+)", path))
        return list(range(self.total))[(page - 1) * min(size, 100) : page * min(size, 100)] or None


class Told(GitLabProject):
    """A project on GitLab as a table of what is there."""

    def __init__(self, there: Mapping[str, Any]) -> None:
        super().__init__("acme/models/digits")
        self.there = there

    def get(self, path: str) -> Any:
        return self.there.get(path.removeprefix("/projects/acme%2Fmodels%2Fdigits"))

    def offers(self, path: str) -> bool:
        return "free" not in self.there


def settings() -> Iterator[str]:
    """What a forge must be set to, and the calls that set what is not."""
    one, shared = (
        contract(),
        contract(
            model={"name": "b", "path": "b.onnx"},
            stages={"beta": {"branch": "staging", "environment": "pre"}, "production": {"branch": "main"}},
        ),
    )
    reviewers = [Reviewer("User", 7), Reviewer("Team", 8)]
    for contracts, app in (((one,), None), ((one, shared), 5), ((shared,), None)):
        made = settings_of(*contracts, reviewers=reviewers, app=app)
        yield from (
            f"{ruleset.name} | {ruleset.purpose} | {json.dumps(ruleset.body)}" for ruleset in made.rulesets
        )
        yield from (
            f"{one.name} | {one.purpose} | {json.dumps(one.body)} | {one.refs}" for one in made.environments
        )
        yield told(made.notes)
    yield attempted(lambda: settings_of(one))
    made = settings_of(one, reviewers=reviewers)
    body = dict(made.environments[2].body)
    rules = [
        {
            "type": "required_reviewers",
            "prevent_self_review": True,
            "reviewers": [
                {"type": each["type"], "reviewer": {"id": each["id"]}} for each in body["reviewers"]
            ],
        }
    ]
    there = {
        "/rulesets": [{"name": ruleset.name, "id": 10 + number} for number, ruleset in enumerate(made.rulesets[:3])], "/rulesets/10": made.rulesets[0].body, "/rulesets/11": {**made.rulesets[1].body, "enforcement": "disabled"}, "/rulesets/12": {**made.rulesets[2].body, "more": 1},
        "/environments/production": {"protection_rules": rules, "deployment_branch_policy": body["deployment_branch_policy"]}, "/environments/production/deployment-branch-policies": {"branch_policies": [{"name": "main"}, {"name": "v*", "type": "tag"}]},
        "/environments/pre": {"protection_rules": rules},
    }  # fmt: skip
    for known in ({}, there):
        yield from (
            f"{call.method} {call.path} | {call.purpose} | {json.dumps(call.body)[:80]}"
            for call in pending(made, Answering(known))
        )
    yield told(
        (
            approving([one], Answering(there)),
            approving([one], Answering({})),
            approving([shared], Answering(there)),
            list(pending(made, Unseen("acme/digits")))[:1],
        )
    )
    found = there["/environments/production"]
    yield told(
        [
            _environment_holds(made.environments[2], {**found, **more})
            for more in (
                {},
                {"protection_rules": []},
                {"deployment_branch_policy": None},
                {"protection_rules": [{**rules[0], "prevent_self_review": False}]},
                {"protection_rules": [{**rules[0], "reviewers": rules[0]["reviewers"][:1]}]},
            )
        ]
    )  # type: ignore[dict-item, index]
    yield told(
        [
            _holds(wanted, seen)
            for wanted, seen in (
                ({"a": 1}, {"a": 1, "b": 2}),
                ({"a": 1}, None),
                ([1, 2], [2, 1]),
                ([1], [1, 2]),
                ([1, 2], [1, 3]),
                ([1], None),
                (True, True),
                (1, 2),
            )
        ]
    )
    approvers = [{"user_id": 41}, {"group_id": 42}]
    branch = {
        "allow_force_push": False,
        "push_access_levels": [{"access_level": 0}],
        "merge_access_levels": [{"access_level": 30}],
        "code_owner_approval_required": False,
    }
    set_up = {
        "": {"only_allow_merge_if_pipeline_succeeds": True, "allow_merge_on_skipped_pipeline": False}, "/protected_branches/develop": branch, "/protected_branches/main": branch, "/protected_tags/v%2A": {"create_access_levels": [{"access_level": 40}]}, "/protected_tags/%2A%23%2A": {"create_access_levels": [{"access_level": 30}]},
        "/protected_environments/release%2Fmain": {"approval_rules": [{"user_id": 41, "required_approvals": 1}, {"group_id": 42, "required_approvals": 1}]}, "/protected_environments/release%2Fproduction": {"approval_rules": [{"user_id": 41, "required_approvals": 0}]},
    }  # fmt: skip
    for known in ({}, set_up, {"free": 1}):
        project = Told(known)
        yield from (
            f"{call.method} {call.path} | {call.purpose} | {json.dumps(call.body)}"
            for call in pending_in_project([one, shared], project, approvers)
        )
        yield told(
            (
                approving_in_project([one], project),
                approving_in_project([shared], project),
                notes_of([one], project),
                notes_of([shared], project),
            )
        )
    yield attempted(lambda: list(pending_in_project([one], Told({}))))
    for environment, url, path in (
        ({}, "https://u:p@host:81/a/b.git", None),
        ({}, "git@host:a/b/c.git", None),
        ({"CI_PROJECT_PATH": "x/y"}, None, None),
        ({}, None, "p/q"),
        ({}, "/folder", None),
        ({}, "https://h/onlyone", None),
    ):
        yield attempted(
            lambda environment=environment, url=url, path=path: GitLabProject.found(
                environment, url, path
            ).below("a b", "c/d")
        )  # type: ignore[misc]
    yield told(
        (
            GitLabProject("a/b").seen,
            GitLabProject("a/b").get("x"),
            GitLabProject("a/b").offers("x"),
            GitLabProject("a/b").number("users", "ada"),
        )
    )


def said_on_forges() -> Iterator[str]:
    """Comments, notes and issues: written once, then changed in place."""
    marker = "<!-- gradatim: digits -->"
    mine, forged = (
        {"id": 3, "user": {"type": "Bot"}, "body": f"{marker}\nold"},
        {"id": 2, "user": {"type": "User"}, "body": f"{marker}\nforged"},
    )
    for comments in (
        [],
        [forged],
        [forged, mine, {"id": 4}],
        [{"id": 5, "user": {"type": "Bot"}, "body": f"x {marker}"}],
    ):
        api = Answering({"/issues/7/comments": comments})
        yield told(
            (
                put_comment(api, 7, "digits", "new"),
                [(call.method, call.path, call.body, call.purpose) for call in api.made],
            )
        )
    plan = "<!-- gradatim iteration: digits -->"
    for issues in (
        [],
        [{"number": 1, "user": {"type": "Bot"}, "body": plan}],
        [{"number": 1, "author_association": "MEMBER", "body": plan}],
        [{"number": 1, "author_association": "NONE", "body": plan}],
        [{"number": 1, "user": {"type": "Bot"}, "body": plan, "pull_request": {}}],
    ):
        api = Answering({"/issues": issues})
        yield told(
            (
                _on_github(api, "Plan", f"{plan}\nnew"),
                [(call.method, call.path, call.purpose) for call in api.made],
            )
        )
    for notes in (
        [],
        [{"id": 3, "body": f"{marker}\nold", "description": plan, "iid": 6}],
        [{"id": 3, "body": "x", "description": None}],
    ):
        asked: list[tuple[Any, ...]] = []

        class Lab(GitLabApi):
            def mine(self, path: str, notes: Any = notes, **query: str) -> Iterator[Mapping[str, Any]]:
                yield from notes

            def ask(self, method: str, path: str, said: Any = None, asked: Any = asked) -> Any:
                asked.append((method, path, said))
                return {"id": 9, "web_url": "https://w"}

        lab = Lab("https://g/api/v4", "12", "t")
        yield told((put_note(lab, 7, "digits", "new"), _on_gitlab(lab, "Plan", f"{plan}\nnew"), asked))
    yield told(
        (
            put_result({"CI_MERGE_REQUEST_IID": "7"}, 7, "digits", "x"),
            put_issue({}, "digits", "t", "x"),
            put_issue({"CI_API_V4_URL": "https://g"}, "digits", "t", "x"),
        )
    )
    yield told(
        (
            GitLabApi.from_environment({"CI_API_V4_URL": "https://g", "T": "s", "CI_PROJECT_ID": "5"}, "T")
            or GitLabApi("", "", "")
        ).below("issues", 7)
    )
    yield attempted(lambda: GitLabApi.from_environment({"CI_API_V4_URL": "ftp://g", "T": "s"}, "T"))
    for repository, root in (
        ("a/b", "https://h/"),
        ("a", "https://h"),
        ("a/b/c", "https://h"),
        ("/b", "https://h"),
        ("a/b", "ftp://h"),
    ):
        yield attempted(
            lambda repository=repository, root=root: GitHubApi(repository, "t", root).below("x y", 7)
        )  # type: ignore[misc]
    for environment in ({}, {"GH_TOKEN": "t"}, {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "a/b"}):
        yield attempted(lambda environment=environment: GitHubApi.from_environment(environment).repository)  # type: ignore[misc]
    for total in (0, 1, 99, 100, 101, 250):
        pages = Paged(total)
        yield told((len(list(pages.pages("/x?y=1"))), pages.asked))
    yield told(len(list(Paged(3).pages("/x"))))
    for status in (401, 403, 404, 500):
        yield str(Refused(Call("GET", "/x"), status, "no"))
    for body in (
        b"no json",
        b"[]",
        b'{"message": "Bad"}',
        b'{"message": "Bad", "errors": [{"message": "a"}, "b", {"c": 1}]}',
        b'{"errors": ["b"]}',
    ):
        yield _words(urllib.error.HTTPError("u", 422, "Reason", {}, io.BytesIO(body)))  # type: ignore[arg-type]


def archives() -> Iterator[str]:
    """What travels from one job to the next, and what is refused."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        root = top / "r"
        places = Places(root / ".gradatim", root, PurePosixPath("model/m.onnx"))
        for path in ("workspace/a", "workspace/a/b.json", "workspace/.lock", "workspace/.arrived.json", "model/model/m.onnx", "model/model/m.onnx.data", "model/model/m_data", "model/model/m.bin_2", "model/model/m.py", "model/model/other", "model/m.onnx", "/workspace/a", "workspace/../x", "workspace/./x",
                     "workspace\\a", "workspace/.git/x", "workspace/a\nb", "other/x", "workspace"):  # fmt: skip
            yield attempted(lambda path=path: places.target(path).relative_to(top))  # type: ignore[misc]
        folder = replace(places, model=PurePosixPath("model"))
        yield told(
            [
                attempted(lambda path=path: folder.target(path).relative_to(top))
                for path in (
                    "model/model/x.bin",
                    "model/model/x.py",
                    "model/model/x.so.1",
                    "model/model/a/x.PYC",
                )
            ]
        )  # type: ignore[misc]
        (root / ".gradatim").mkdir(parents=True)
        (root / ".gradatim" / "a.json").write_text("{}")
        (root / ".gradatim" / "half.part").write_text("x")
        (root / ".gradatim" / "outputs.env").write_text("x")
        (root / "model").mkdir()
        (root / "model" / "m.onnx").write_bytes(b"model")
        digest = pack(places, [root / "model" / "m.onnx"], top / "in" / "build.tar")
        with tarfile.open(top / "in" / "build.tar") as tar:
            yield told([(entry.name, entry.size, entry.mtime, entry.mode) for entry in tar.getmembers()])
        yield attempted(lambda: pack(places, [top / "elsewhere"], top / "x.tar")).replace(name, "TMP")
        other = Places(top / "s" / ".gradatim", top / "s", places.model)
        yield told(
            (
                other.has_arrived(PurePosixPath("model/m.onnx")),
                unpack(other, top / "in", {"build": digest}),
                other.has_arrived(PurePosixPath("model/m.onnx")),
                other.has_arrived(PurePosixPath("model")),
                other.has_arrived(PurePosixPath("else")),
            )
        )
        yield told(
            (
                unpack(other, top / "in", {"build": digest}),
                unpack(other, top / "in", {}),
                sorted(digests_in(top / "in")),
            )
        )
        (top / "s" / "model" / "m.onnx").write_bytes(b"other")
        yield told(other.has_arrived(PurePosixPath("model/m.onnx")))
        yield attempted(lambda: unpack(other, top / "in", {"build": digest})).replace(name, "TMP")
        yield (
            attempted(lambda: unpack(other, top / "none", {"build": digest}))
            .replace(name, "TMP")
            .replace(digest[:12], "DIGEST")
        )
    left = json.dumps({"inner": {"result": "success", "outputs": {"workspace": "d3"}}})
    needs = json.dumps(
        {
            "a": {"result": "success", "outputs": {"workspace": "d1"}},
            "b": {"result": "skipped", "outputs": {"workspace": "d2"}},
            "c": {"result": "success", "outputs": {}},
            "d": {"outputs": {"left": left}},
            "e": {"result": "cancelled", "outputs": {"workspace": "x"}},
        }
    )
    yield told(
        (
            digests_of(needs),
            digests_of(""),
            digests_told({"NEEDS": needs, "BEFORE": json.dumps({"z": {"outputs": {"workspace": "d9"}}})}),
        )
    )
    for text in ("[]", "{", '{"a": 1}'):
        yield attempted(lambda text=text: digests_of(text))  # type: ignore[misc]
    yield attempted(lambda: digests_told({}))


def proposals() -> Iterator[str]:
    """A file on a branch of its own and one open request for it: what is asked, and what is left alone."""
    new = PullRequest("gradatim/next plan", "m/gradatim.yml", "model: é\n", "Raise the bar", "Why")
    held, other = (base64.b64encode(text.encode()).decode() for text in ("model: é\n", "model: x\n"))
    begun = {"": {"default_branch": "main"}, "/git/ref/heads/main": {"object": {"sha": "b1"}}}
    branch = {"/git/ref/heads/gradatim/next%20plan": {"object": {"sha": "b2"}}}
    file, pulls = (
        "/contents/m/gradatim.yml",
        {"/pulls": [{"html_url": "https://h/7"}, {"html_url": "https://h/8"}]},
    )
    for there in (begun, begun | branch, begun | branch | {file: {"content": other, "sha": "f1"}}, begun | branch | {file: {"content": held, "sha": "f1"}}, begun | branch | pulls | {file: {"content": held, "sha": "f1"}}):  # fmt: skip
        api = Answering(there)
        yield told((pull_request._on_github(api, new), [(call.method, call.path, call.body, call.purpose) for call in api.made]))  # fmt: skip

    class Lab(GitLabApi):
        def __init__(self, there: Mapping[str, Any]) -> None:
            super().__init__("https://gl/api", "9", "t")
            self.there, self.made = there, list[Any]()

        def pages(self, path: str, /, **query: str) -> Iterator[Mapping[str, Any]]:
            self.made.append((path, sorted(query.items())))
            yield from self.there.get(path.removeprefix("/projects/9"), ())

        def ask(self, method: str, path: str, said: Any = None) -> Any:
            self.made.append((method, path, said))
            return self.there.get(
                path.partition("?")[0].removeprefix("/projects/9"), {"web_url": "https://gl/new"}
            )

    main = {"": {"default_branch": "main"}}
    branch = {"/repository/branches": [{"name": "gradatim/next plan 2"}, {"name": "gradatim/next plan"}]}
    tree = {"/repository/tree": [{"path": "m/a"}, {"path": "m/gradatim.yml"}]}
    for content in (None, other, held):
        for more in ({}, branch, branch | {"/merge_requests": [{"web_url": "https://gl/7"}]}):
            known = (
                {}
                if content is None
                else {**tree, "/repository/files/m%2Fgradatim.yml": {"content": content}}
            )
            lab = Lab(main | more | known)
            yield told((pull_request._on_gitlab(lab, new), lab.made))
    for environment in ({}, {"CI_API_V4_URL": "https://gl"}, {"GITHUB_REPOSITORY": "a/b"}):
        yield told(
            (pull_request.put_pull_request(environment, new), put_issue(environment, "digits", "t", "x"))
        )
    for environment in ({"GH_TOKEN": "t"}, {"GITHUB_TOKEN": "t"}):
        yield attempted(lambda environment=environment: pull_request.put_pull_request(environment, new))  # type: ignore[misc]  # fmt: skip
        yield attempted(lambda environment=environment: put_issue(environment, "digits", "t", "x"))  # type: ignore[misc]  # fmt: skip


def several() -> Iterator[str]:
    """The contracts of one repository: those that a release brought are none of its models, those alike are told."""
    text = "model: {{name: {0}, path: m.onnx}}\nstages: {{production: {{branch: main}}}}\n{1}"
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        root = new_repository(Path(name, "r"))
        yield told([entry.name for entry in find_contracts(Repository.find(root))])
        for folder, written in (("a", text.format("a", "")), ("b", text.format("a", "registry: {tags: plain}\n")), ("c", "model: ["), ("d", text.format("d", "")), (".", text.format("top", "registry: {tags: named}\n"))):  # fmt: skip
            commit_file(root, f"{folder}/gradatim.yml", written.encode())
        repository = Repository.find(root)
        entries = find_contracts(repository)
        yield told([(str(entry.path), entry.name, entry.read is not None) for entry in entries])
        yield told([str(problem) for problem in clashes(entries)])
        yield attempted(lambda: refuse_clashes(entries))
        yield attempted(lambda: refuse_clashes(entries[:1]))
        yield told([Entry(PurePosixPath(path), None).name for path in ("gradatim.yml", "x/gradatim.yml")])
        own = read_contract(root / "a" / "gradatim.yml")
        yield attempted(lambda: len(every_contract(repository, own))).replace(name, "TMP")
        (root / "c" / "gradatim.yml").unlink()
        yield told([[one.model.name for one in every_contract(repository, read_contract(root / path))] for path in ("a/gradatim.yml", "gradatim.yml")])  # fmt: skip
        yield told([[str(entry.path) for entry in beside(path)] for path in (root / "a" / "gradatim.yml", root / "new" / "gradatim.yml", root / "gradatim.yml")])  # fmt: skip
        yield told(beside(Path(name, "gradatim.yml")))
        digest = sha256_file(root / "d" / "gradatim.yml")
        for record in ({"files": [{"path": "gradatim.yml", "sha256": digest}]}, {"files": [{"path": "gradatim.yml", "sha256": "0"}]}, {"files": [{"path": "x"}]}, [], {}, {"files": 3}):  # fmt: skip
            (root / "d" / "release.json").write_text(json.dumps(record))
            yield told([str(entry.path) for entry in find_contracts(repository)])
        (root / "d" / "release.json").write_text("[" * 100_000)
        yield told(len(find_contracts(repository)))
        odd = root / os.fsdecode(b"\xff")
        odd.mkdir()
        (odd / "gradatim.yml").write_text(text.format("odd", ""))
        yield attempted(lambda: find_contracts(repository))


class Page(io.BytesIO):
    """What a server said."""

    headers: Mapping[str, str]


def asked_over_http() -> Iterator[str]:
    """What each forge is asked, page by page, what is taken from its answer, and what follows where it gives none."""
    notes = [{"id": number, "author": {"id": 5 - number % 2}} for number in range(4)]
    answers: dict[str, Any] = {
        "/user": {"id": 5}, "/projects/9/notes?state=all&per_page=100&page=1": (notes, "2"), "/projects/9/notes?state=all&per_page=100&page=2": ([*notes[:2], {"id": 7}], ""), "/projects/9/made": {"id": 8}, "/projects/9/broken": b"<html>",
        "/projects/9/deployments?environment=pre&order_by=id&sort=desc": [{"id": 3, "deployable": {"id": 8}}, {"id": 4, "deployable": {"id": 7}}, {"id": 5}],
        "/projects/9/deployments/4": {"approvals": [{"user": {"username": "eve"}, "status": "approved"}, {"user": {"username": "bob"}, "status": "approved"}, {"user": {"username": "mallory"}, "status": "rejected"}]},
    }  # fmt: skip
    asked: list[str] = []

    def urlopen(request: Any, timeout: float) -> Page:
        headers = sorted((key, value) for key, value in request.header_items() if key.lower() != "host")
        asked.append(told((request.get_method(), request.full_url, request.data, headers, timeout)))
        found = answers.get(request.full_url.removeprefix("https://gl/api"))
        if found is None:
            raise urllib.error.URLError("nobody answers")
        body, after = found if isinstance(found, tuple) else (found, "")
        page = Page(body if isinstance(body, bytes) else json.dumps(body).encode())
        page.headers = {"X-Next-Page": after}
        return page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("urllib.request.urlopen", urlopen)
        for variables in ({}, {"T": "t"}, {"T": "t", "CI_API_V4_URL": "ftp://gl"}, {"T": "t", "CI_API_V4_URL": "https://gl/api", "CI_PROJECT_ID": "9"}):  # fmt: skip
            yield attempted(lambda variables=variables: GitLabApi.from_environment(variables, "T"))  # type: ignore[misc]
        api = GitLabApi("https://gl/api", "9", "t")
        yield attempted(lambda: list(api.mine(api.below("notes"), state="all")))
        yield attempted(lambda: api.ask("PUT", api.below("made"), {"body": "new"}))
        for path in ("broken", "none"):
            yield attempted(lambda path=path: api.ask("GET", api.below(path)))  # type: ignore[misc]
        job = {"GITLAB_CI": "true", "CI_API_V4_URL": "https://gl/api", "CI_PROJECT_ID": "9", "CI_JOB_ID": "7", "CI_JOB_TOKEN": "j", "CI_JOB_URL": "u"}  # fmt: skip
        for left_out in ("", "CI_JOB_ID", "CI_JOB_TOKEN", "CI_PROJECT_ID", "CI_API_V4_URL"):
            gitlab = GitLab({key: value for key, value in job.items() if key != left_out})
            yield line(gitlab.approval("ada", "pre"))
        for number in ("8", "6"):
            yield line(GitLab({**job, "CI_JOB_ID": number}).approval("ada", "pre"))
        answers["/projects/9/deployments/4"] = {"id": 4}
        yield line(GitLab(job).approval("ada", "pre"))
        servers: list[tuple[Any, ...]] = []
        client = SimpleNamespace(Gitlab=lambda server, **more: servers.append((server, more)))
        patch.setitem(sys.modules, "gitlab", client)
        for url in ("https://gl.acme:8443/a/b.git", "http://gl/a/b/c", "ssh://git@gl:2222/a/b.git", "git@gl:a/b.git", "git@gl:b.git", "/srv/a/b", None):  # fmt: skip
            for path, more in ((None, {}), ("x/y", {"CI_SERVER_URL": "https://own"})):
                said = {"GITLAB_TOKEN": "t", **more}
                yield attempted(
                    lambda url=url, path=path, said=said: GitLabProject.found(said, url, path).path
                )  # type: ignore[misc]
        yield told(servers)
    yield from asked


def what_a_contract_names() -> Iterator[str]:
    """Every file that a change would make a new candidate of."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name).resolve()
        for path, text in {
            "m/train.py": "import layers, json\n", "m/layers.py": "import deeper\n", "m/deeper.py": "", "m/build.sh": "python train.py\n", "m/conf/a.yml": "", "m/conf/b.yml": "", "m/load.py": "import users\n", "m/users.py": "", "m/test_it.py": "import helps\n",
            "m/helps.py": "", "m/own.py": "import layers\ndef score(): ...\ndef prepare(): ...\ndef rows(): ...\ndef net(): ...\n", "m/weights.bin": "", "shared/x.py": "",
        }.items():  # fmt: skip
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(text)
        for written in (
            "model: {name: a, path: m.onnx, build: python train.py}", "model: {name: a, path: m.onnx, build: {run: bash build.sh --with ../shared/x.py, inputs: ['conf/*.yml', 'none/*']}}", "model: {name: a, path: m.onnx, build: bash build.sh}",
            "model: {name: a, path: m.onnx, candidates: [n.onnx]}", "model: {name: a, factory: 'own:net', files: ['*.bin']}",
            "model: {name: a, path: m.onnx}\ntest: {pytest: ['test_it.py::test_one', gone.py], golden: golden.npz}",
            "model: {name: a, path: m.onnx}\ndata: {evaluation: {path: 'own:rows', preprocess: 'own:prepare'}, calibration: calib.npz}\ntask: {type: classification, labels: [0, 1]}",
            "model: {name: a, path: m.onnx}\ndata: {evaluation: ../shared/t.npz}\ntask: {type: classification, labels: [0, 1], metrics: {mine: {function: 'own:score'}}}",
            "model: {name: a, path: m.onnx}\nbenchmark: {load: {locustfile: load.py}}",
        ):  # fmt: skip
            (top / "m" / "gradatim.yml").write_text(f"{written}\nstages: {{production: {{branch: main}}}}\n")
            yield attempted(
                lambda: sorted(map(str, _named(read_contract(top / "m" / "gradatim.yml"), top)))
            ).replace(name, "TOP")


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (
        occasions,
        platforms,
        changed_files,
        traps,
        settings,
        said_on_forges,
        proposals,
        several,
        archives,
        asked_over_http,
        what_a_contract_names,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_plan_no_trap_and_no_setting_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
