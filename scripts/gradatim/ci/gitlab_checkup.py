"""Traps of GitLab around a release, found before they spring: in ``.gitlab-ci.yml`` and in the project's settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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


def check_include(contract: Contract, top: Path) -> Iterator[Surprise]:
    """What ``.gitlab-ci.yml`` gets wrong, or what has drifted from the contract."""
    path = top / FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    try:
        read = yaml.load(text, _Reader)  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        yield Surprise("no YAML", FILE, f"GitLab cannot read it: {' '.join(str(error).split())}.")
        return
    said: Mapping[str, Any] = read if isinstance(read, dict) else {}
    ours = [one for one in _includes(said) if _INCLUDE.search(_address(one))]
    if not ours:
        yield Surprise(
            "no include",
            FILE,
            "Nothing here includes gradatim. Write the include with: gradatim render gitlab",
        )
        return
    yield from _check_triggers(said, text)
    for one in ours:
        yield from _check_pinned(one, text)
    inputs = [one["inputs"] for one in ours if isinstance(one.get("inputs"), dict)]
    patterns = [str(given["branches"]).strip("/") for given in inputs if "branches" in given]
    for stage, rung in contract.stages.items():
        if rung.branch and patterns and not any(_matches(pattern, rung.branch) for pattern in patterns):
            yield Surprise(
                "branch not listed",
                _at(text, "branches:"),
                f"A push to `{rung.branch}`, the branch of {stage}, starts nothing. Add it to the input `branches`.",
            )


def check_project(calls: Sequence[Call]) -> Iterator[Surprise]:
    """What ``gradatim protect`` would change is what is unprotected now."""
    for call in calls:
        if call.method != "DELETE":
            yield Surprise(
                "unprotected", call.purpose, f"Not set on GitLab: {call.purpose}. See: gradatim protect"
            )


def _includes(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    written = said.get("include") or []
    every = written if isinstance(written, list) else [written]
    return [one if isinstance(one, dict) else {"remote": str(one)} for one in every]


def _address(include: Mapping[str, Any]) -> str:
    named = (include.get(key) for key in ("remote", "component", "project", "local", "file"))
    return " ".join(str(one) for one in named if one)


def _check_pinned(include: Mapping[str, Any], text: str) -> Iterator[Surprise]:
    address = _address(include)
    if include.get("local") or include.get("integrity") or _FIXED.search(address):
        return
    if re.fullmatch(r"[0-9a-f]{40}", str(include.get("ref", ""))):
        return
    yield Surprise(
        "not pinned",
        _at(text, address.split()[0]),
        "What it includes can be moved. Name a commit, or the digest of the file: `integrity: sha256-...`.",
        serious=False,
    )


def _check_triggers(said: Mapping[str, Any], text: str) -> Iterator[Surprise]:
    workflow = said.get("workflow")
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
            yield Surprise(trap, _at(text, "workflow:"), f"{what} under `workflow: rules:`.")


def _matches(pattern: str, branch: str) -> bool:
    try:
        return re.search(pattern, branch) is not None
    except re.error:
        return False


def _at(text: str, words: str) -> str:
    line = next((number for number, one in enumerate(text.splitlines(), 1) if words in one), None)
    return f"{FILE}:{line}" if line else FILE
