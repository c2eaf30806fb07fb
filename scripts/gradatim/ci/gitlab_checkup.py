"""Traps of GitLab around a release, found before they spring: in ``.gitlab-ci.yml`` and in the project's settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradatim.ci.github_api import Call
from gradatim.contract.schema import Contract
from gradatim.contract.source import Loader
from gradatim.registry.checkup import Surprise

FILE = ".gitlab-ci.yml"
_INCLUDE = re.compile(
    r"gradatim.*(?:templates/release/template\.yml|/release@)|templates/release/template\.yml"
)
_FIXED = re.compile(r"/[0-9a-f]{40}/|@(?:[0-9a-f]{40}|\d+\.\d+\.\d+)$")


class _Reader(Loader):
    """YAML as GitLab writes it: what ``!reference`` leads to is of no interest here."""


_Reader.add_multi_constructor("!", lambda *_: None)


@dataclass(frozen=True)
class _File:
    """One file of the pipeline's configuration, in the repository itself."""

    path: str
    text: str
    said: Mapping[str, Any]

    @property
    def includes(self) -> list[Mapping[str, Any]]:
        written = self.said.get("include") or []
        every = written if isinstance(written, list) else [written]
        return [one if isinstance(one, dict) else {_kind(str(one)): str(one)} for one in every]

    def at(self, words: str) -> str:
        line = next((number for number, one in enumerate(self.text.splitlines(), 1) if words in one), None)
        return f"{self.path}:{line}" if line else self.path


def check_include(contract: Contract, top: Path) -> Iterator[Surprise]:
    """What ``.gitlab-ci.yml`` and what it includes from the repository get wrong, or what has drifted from the contract."""
    files: dict[str, _File] = {}
    try:
        _read(top, FILE, files)
    except yaml.YAMLError as error:
        yield Surprise("no YAML", FILE, f"GitLab cannot read it: {' '.join(str(error).split())}.")
        return
    ours = [(file, one) for file in files.values() for one in file.includes if _INCLUDE.search(_address(one))]
    if not ours:
        yield Surprise(
            "no include",
            FILE,
            "Nothing here includes gradatim. Write the include with: gradatim render gitlab",
        )
        return
    yield from _check_triggers(files[FILE])
    for file, one in ours:
        yield from _check_pinned(one, file)
    said = [(file, one["inputs"] if isinstance(one.get("inputs"), dict) else {}) for file, one in ours]
    yield from _check_stages(files[FILE], said)
    prefixes = Counter(str(inputs.get("job-prefix", "gradatim-")) for _, inputs in said)
    for prefix in (prefix for prefix, count in prefixes.items() if count > 1):
        yield Surprise(
            "jobs mixed up", ours[-1][0].at(f"job-prefix: {prefix}"),
            f"Several includes make jobs that begin with `{prefix}`: the last one's replace the others'. Give each a `job-prefix` of its own.",
        )  # fmt: skip
    given = [(file, str(inputs["branches"]).strip("/")) for file, inputs in said if "branches" in inputs]
    for stage, rung in contract.stages.items():
        if rung.branch and given and not any(_matches(pattern, rung.branch) for _, pattern in given):
            yield Surprise(
                "branch not listed",
                given[0][0].at("branches:"),
                f"A push to `{rung.branch}`, the branch of {stage}, starts nothing. Add it to the input `branches`.",
            )


def _read(top: Path, path: str, files: dict[str, _File]) -> None:
    """Read a file and all that it includes from the repository, each once.

    Raises:
        yaml.YAMLError: one is no YAML.
    """
    there = top / path
    text = there.read_text(encoding="utf-8", errors="replace") if there.is_file() else ""
    *_, read = [None, *yaml.load_all(text, _Reader)]  # a `spec:` may stand before
    files[path] = file = _File(path, text, read if isinstance(read, dict) else {})
    for one in file.includes:
        local = str(one.get("local") or "").lstrip("/")
        for each in _wild(top, local) if "*" in local else [local] if local else []:
            if each in files or not (top / each).is_file():
                continue
            if (top / each).resolve().is_relative_to(top.resolve()):  # GitLab reads nothing else
                _read(top, each, files)


def _wild(top: Path, pattern: str) -> list[str]:
    """https://docs.gitlab.com/ci/yaml/includes/#use-includelocal-with-wildcard-file-paths: ``*`` stops at a slash, ``**`` does not."""
    wanted = re.compile(re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*"))
    names = (
        path.relative_to(top).as_posix() for path in (top / pattern.split("*")[0]).parent.rglob("*.y*ml")
    )
    return sorted(name for name in names if wanted.fullmatch(name))


def _check_stages(pipeline: _File, said: Sequence[tuple[_File, Mapping[str, Any]]]) -> Iterator[Surprise]:
    """https://docs.gitlab.com/ci/yaml/#stages: a job whose stage is not there lets no pipeline start."""
    named = pipeline.said.get("stages")
    if not isinstance(named, list):
        return
    for file, inputs in said:
        for key, usual in (("checks-stage", "test"), ("release-stage", "deploy")):
            stage = str(inputs.get(key, usual))
            if stage not in map(str, named):
                yield Surprise(
                    "no stage", file.at(f"{key}:" if key in inputs else "inputs:"),
                    f"Jobs of gradatim belong to the stage `{stage}`, which `stages:` does not name, so GitLab starts no pipeline. "
                    f"Give one that it names as the input `{key}`.",
                )  # fmt: skip


def check_project(calls: Sequence[Call]) -> Iterator[Surprise]:
    """What ``gradatim protect`` would change is what is unprotected now."""
    for call in calls:
        if call.method != "DELETE":
            yield Surprise(
                "unprotected", call.purpose, f"Not set on GitLab: {call.purpose}. See: gradatim protect"
            )


def _kind(written: str) -> str:
    return "remote" if written.startswith(("https://", "http://")) else "local"


def _address(include: Mapping[str, Any]) -> str:
    named = (include.get(key) for key in ("remote", "component", "project", "local", "file"))
    return " ".join(str(one) for one in named if one)


def _check_pinned(include: Mapping[str, Any], file: _File) -> Iterator[Surprise]:
    address = _address(include)
    if include.get("local") or include.get("integrity") or _FIXED.search(address):
        return
    if re.fullmatch(r"[0-9a-f]{40}", str(include.get("ref", ""))):
        return
    yield Surprise(
        "not pinned",
        file.at(address.split()[0]),
        "What it includes can be moved. Name a commit, or the digest of the file: `integrity: sha256-...`.",
        serious=False,
    )


def _check_triggers(file: _File) -> Iterator[Surprise]:
    workflow = file.said.get("workflow")
    rules = workflow.get("rules") if isinstance(workflow, dict) else None
    if not rules:
        return
    conditions = " ".join(
        str(rule.get("if", "")) for rule in rules if isinstance(rule, dict) and rule.get("when") != "never"
    )
    always = any(
        isinstance(rule, dict) and "if" not in rule and rule.get("when") != "never" for rule in rules
    )
    for wanted, trap, what in (
        ("merge_request_event", "no merge requests", 'Merge requests start nothing. Add `- if: $CI_PIPELINE_SOURCE == "merge_request_event"`'),
        ("CI_COMMIT_TAG", "tag not listed", "A pushed tag starts nothing. Add `- if: $CI_COMMIT_TAG`"),
    ):  # fmt: skip
        if not always and wanted not in conditions:
            yield Surprise(trap, file.at("workflow:"), f"{what} under `workflow: rules:`.")


def _matches(pattern: str, branch: str) -> bool:
    try:
        return re.search(pattern, branch) is not None
    except re.error:
        return False
