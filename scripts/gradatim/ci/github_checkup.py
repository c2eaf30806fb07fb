"""Traps of GitHub around a release, found before they spring: in the workflow files, in the tags, in the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradatim.ci.contracts import clashes, find_contracts
from gradatim.ci.github_api import Call
from gradatim.ci.github_settings import REQUIRED_CHECK, guards_of
from gradatim.contract.schema import Contract
from gradatim.contract.source import Loader
from gradatim.registry.checkup import Surprise
from gradatim.registry.git import Repository
from gradatim.registry.history import Registry
from gradatim.registry.tags import SemVer, version_tag

_CALLED = re.compile(r"[\w.-]+/[\w.-]+/\.github/workflows/(release|checks|models)\.yml@(.+)")
_COPIED = re.compile(r"\./\.github/workflows/gradatim-(release|checks|models)\.yml()")
"""A copy beside the caller; it names no ref itself."""
_LOOSE = re.compile(r"uses: (\S+/actions/\w+@(?![0-9a-f]{40}\b)\S+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PUSHES_ALL = re.compile(r"git push\b[^\n]*--tags")


@dataclass(frozen=True)
class Workflow:
    """A workflow file; ``data`` is empty where it is not valid YAML."""

    path: str
    text: str
    data: Mapping[Any, Any]

    @property
    def triggers(self) -> Mapping[str, Any]:
        """By event. YAML 1.1 reads the key ``on`` as true."""
        on = self.data.get("on", self.data.get(True)) or {}
        if isinstance(on, str):
            return {on: None}
        if isinstance(on, list):
            return dict.fromkeys(map(str, on))
        return on if isinstance(on, dict) else {}

    def at(self, *keys: str) -> str:
        """The file and the line of a key, as deep as it is there."""
        node, line = yaml.compose(self.text), 1
        for key in keys:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            found = next((pair for pair in pairs if pair[0].value == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return f"{self.path}:{line}"

    @property
    def broken(self) -> tuple[int, str] | None:
        """The line where it stops to be YAML, and why; None where it is."""
        try:
            yaml.safe_load(self.text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            return (mark.line + 1 if mark else 1), " ".join(str(error.problem or error).split())
        except yaml.YAMLError as error:
            return 1, " ".join(str(error).split())
        return None

    @property
    def calls(self) -> list[tuple[str, Mapping[str, Any], str, str]]:
        """(job, its record, ``release``, ``checks`` or ``models``, the ref) of every job that calls the kit."""
        jobs = self.data.get("jobs") or {}
        found = []
        for name, job in jobs.items() if isinstance(jobs, dict) else ():
            used = str(job.get("uses", "")) if isinstance(job, dict) else ""
            match = _CALLED.fullmatch(used) or _COPIED.fullmatch(used)
            if match and (not match[2] or "gradatim" in used.split("/.github/")[0]):
                found.append((str(name), job, match[1], match[2]))
        return found


def read_workflows(top: Path) -> list[Workflow]:
    """Every workflow file of a repository."""
    found = []
    for path in sorted((top / ".github" / "workflows").glob("*.y*ml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            data = yaml.load(text, Loader)  # noqa: S506 (a safe loader)
        except yaml.YAMLError:
            data = None
        found.append(Workflow(path.relative_to(top).as_posix(), text, data if isinstance(data, dict) else {}))
    return found


def check_workflows(contract: Contract, workflows: list[Workflow]) -> Iterator[Surprise]:
    """What the workflow files get wrong, or what has drifted from the contract."""
    copies = [workflow for workflow in workflows if _COPIED.fullmatch(f"./{workflow.path}")]
    callers = [workflow for workflow in workflows if workflow.calls and workflow not in copies]
    broken = [
        (workflow.path, *found)
        for workflow in workflows
        if "gradatim" in workflow.text and (found := workflow.broken)
    ]
    for path, line, what in broken:
        yield Surprise("no YAML", f"{path}:{line}", f"GitHub cannot read it: {what}.")
    if not callers and not broken:
        yield Surprise(
            "no workflow",
            ".github/workflows",
            "No workflow here calls gradatim. Write one with: gradatim ci caller",
        )
    for workflow in callers:
        yield from _check_triggers(contract, workflow)
        yield from _check_required(contract, workflow)
        for name, job, which, ref in workflow.calls:
            yield from _check_call(workflow, name, job, which, ref)
    own = {workflow.path for workflow in callers}
    for workflow in copies:
        if loose := _LOOSE.search(workflow.text):
            yield Surprise(
                "not pinned", workflow.path,
                f"It calls `{loose[1]}`, which can be moved. Write it again with a kit that knows its commit.", serious=False,
            )  # fmt: skip
    for workflow in workflows:
        if _PUSHES_ALL.search(workflow.text):
            yield Surprise(
                "tags in bulk", workflow.path,
                "`git push --tags` sends every tag at once, and above three GitHub starts no workflow. Push tags by name.",
            )  # fmt: skip
        push = workflow.triggers.get("push")
        if workflow.path not in own and isinstance(push, dict) and push.get("tags"):
            yield Surprise(
                "deaf to its own tags", workflow.path,
                "It waits for pushed tags, but a tag made with the workflow's own token starts nothing. Let the release "
                "workflow call it, or give gradatim a GitHub App (`app-id` and the secret `app-private-key`).", serious=False,
            )  # fmt: skip


def check_contracts(repository: Repository) -> Iterator[Surprise]:
    """Several models in one repository whose tags could be taken for one another."""
    for problem in clashes(find_contracts(repository)):
        yield Surprise(
            "models mixed up",
            problem.path,
            f"{problem.problems[0].message[0].upper()}{problem.problems[0].message[1:]}.",
        )


def check_branches(contract: Contract, repository: Repository, callers: list[Workflow]) -> Iterator[Surprise]:
    """Branches that do not exist, or that do not hold the workflow: a push or a tag runs the file at its own commit."""
    for stage, rung in contract.stages.items():
        if rung.branch is None:
            continue
        commit = _branch_commit(repository, rung.branch)
        if commit is None:
            yield Surprise(
                "no branch",
                rung.branch,
                f"The stage {stage} has no branch `{rung.branch}` yet. Create and push it.",
            )
            continue
        for workflow in callers:
            there = repository.run("ls-tree", "-z", "--name-only", commit, "--", workflow.path)
            if not there:
                yield Surprise(
                    "workflow elsewhere", rung.branch,
                    f"{workflow.path} is not on the branch `{rung.branch}`, and GitHub runs the file at the pushed "
                    f"commit: nothing would run for {stage}. Merge it there.",
                )  # fmt: skip


def check_tags(
    contract: Contract, repository: Repository, registry: Registry, model: str
) -> Iterator[Surprise]:
    """Tags that say less than they seem to."""
    if not registry.complete:
        yield Surprise(
            "shallow clone",
            "this clone",
            "Its history is cut off, so older releases are missing. Run: git fetch --unshallow --tags",
        )
    for warning in registry.warnings:
        yield Surprise("odd tag", "tags", warning, serious=False)
    if not registry.complete:
        return
    commits = [_branch_commit(repository, rung.branch) for rung in contract.stages.values() if rung.branch]
    heads = [commit for commit in commits if commit is not None]
    for release in registry.model(model).releases if heads else ():
        if release.active and not any(repository.is_ancestor(release.commit, head) for head in heads):
            yield Surprise(
                "tag beside the branches", release.tag,
                f"Its commit {release.commit[:7]} is on no branch of a stage: it was tagged elsewhere, or the branch was "
                "rewritten.",
            )  # fmt: skip


def check_settings(calls: list[Call], *contracts: Contract) -> Iterator[Surprise]:
    """What ``gradatim protect`` would change is what is unprotected now."""
    approved = {
        stage.environment or name
        for contract in contracts
        for name, stage in contract.stages.items()
        if stage.approval == "required"
    } | {guard for contract in contracts for guard in guards_of(contract)}
    for call in calls:
        name = call.path.partition("/environments/")[2].partition("/")[0]
        if call.method == "PUT" and name:
            more = " without the reviewers that the contract asks for" if name in approved else ""
            text = f"The environment {name} is missing or set otherwise. GitHub creates a missing one bare{more}."
        else:
            text = f"Not set on GitHub: {call.purpose}."
        yield Surprise("unprotected", call.purpose, f"{text} See: gradatim protect")


def _check_required(contract: Contract, workflow: Workflow) -> Iterator[Surprise]:
    """The check that the branches' rules demand must report on every pull request, under the very name that they demand."""
    triggers, wanted = workflow.triggers, REQUIRED_CHECK.partition(" / ")[0]
    if "merge_group" not in triggers:
        yield Surprise(
            "no merge queue", workflow.at("on"),
            f"In a merge queue `{REQUIRED_CHECK}` would never report, and nothing be merged. Add `merge_group:` under `on:`.",
        )  # fmt: skip
    for event, whose in (("pull_request", "Pull requests"), ("merge_group", "Groups of the merge queue")):
        for key in _leaving_out(contract, triggers.get(event)):
            yield Surprise(
                "check that may never report", workflow.at("on", event, key),
                f"{whose} that `{key}` leaves out never get the check `{REQUIRED_CHECK}`, and can never be merged. "
                f"Take `{key}` out: what a change does not touch is skipped in seconds.",
            )  # fmt: skip
    for name, job, _, _ in workflow.calls:
        if "if" in job:
            yield Surprise(
                "check that may never report", workflow.at("jobs", name, "if"),
                f"Where this condition is false, `{REQUIRED_CHECK}` never reports, and nothing can be merged. Take `if` out.",
            )  # fmt: skip
        if job.get("name", name) != wanted or "strategy" in job:
            key = next((key for key in ("strategy", "name") if key in job), "")
            edit = f"Take `{key}` out, and call the job `{wanted}:`." if key else f"Write `{wanted}:` there."
            yield Surprise(
                "check renamed", workflow.at("jobs", name, *([key] if key else [])),
                f"The rules of the branches demand the check `{REQUIRED_CHECK}`, and this job makes another one. {edit}",
            )  # fmt: skip


def _leaving_out(contract: Contract, said: Any) -> list[str]:
    """The keys of an event that leave out what may be merged into a stage's branch."""
    filters: Mapping[str, Any] = said if isinstance(said, dict) else {}
    branches = [str(pattern) for pattern in filters.get("branches") or ()]
    targets = [stage.branch for stage in contract.stages.values() if stage.branch]
    missed = branches and not all(matches(branches, branch) for branch in targets)
    types = {*map(str, filters.get("types") or ())}
    deaf = "types" in filters and not ({"opened", "synchronize"} <= types or "checks_requested" in types)
    found = [key for key in filters if key in ("paths", "paths-ignore", "branches-ignore")]
    return [*found, *(["branches"] if missed else []), *(["types"] if deaf else [])]


def _check_triggers(contract: Contract, workflow: Workflow) -> Iterator[Surprise]:
    triggers = workflow.triggers
    if "pull_request_target" in triggers:
        yield Surprise(
            "pull_request_target", workflow.at("on", "pull_request_target"),
            "It runs with this repository's rights on a pull request that anybody may open. Use `pull_request`.",
        )  # fmt: skip
    if "pull_request" not in triggers:
        yield Surprise(
            "no pull requests",
            workflow.at("on"),
            "Pull requests are not checked. Add `pull_request:` under `on:`.",
        )
    push = triggers.get("push") if isinstance(triggers.get("push"), dict) else None
    if all(which == "checks" for _, _, which, _ in workflow.calls):
        return
    branches = [str(pattern) for pattern in (push or {}).get("branches") or ()]
    for stage, rung in contract.stages.items():
        if rung.branch and ("push" not in triggers or (branches and not matches(branches, rung.branch))):
            yield Surprise(
                "branch not listed", workflow.at("on", "push", "branches"),
                f"A push to `{rung.branch}`, the branch of {stage}, starts nothing. Add it to `on: push: branches:`.",
            )  # fmt: skip
    tags = [str(pattern) for pattern in (push or {}).get("tags") or ()]
    tag = version_tag(
        contract.model.name, SemVer(1, 2, 3, "beta.1"), several=contract.registry.tags == "named"
    )
    if not tags or not matches(tags, tag):
        yield Surprise(
            "tag not listed", workflow.at("on", "push", "tags"),
            f"A pushed tag such as {tag} starts nothing: `on: push: tags:` has no pattern for it (a `*` stops at `/`).",
        )  # fmt: skip
    inputs = (
        ((triggers.get("workflow_dispatch") or {}).get("inputs") or {})
        if "workflow_dispatch" in triggers
        else {}
    )
    offered = (inputs.get("stage") or {}).get("options") if isinstance(inputs, dict) else None
    several = any(which == "models" for _, _, which, _ in workflow.calls)
    wanted = (
        set(map(str, offered or ())) >= set(contract.stages)
        if several
        else [str(name) for name in offered or ()] == list(contract.stages)
    )
    if offered is not None and not wanted:
        yield Surprise(
            "stages drifted", workflow.at("on", "workflow_dispatch", "inputs", "stage"),
            f"The dispatch offers {', '.join(map(str, offered))}; the contract has {', '.join(contract.stages)}.",
        )  # fmt: skip


def _check_call(
    workflow: Workflow, name: str, job: Mapping[str, Any], which: str, ref: str
) -> Iterator[Surprise]:
    if ref and not _COMMIT.fullmatch(ref.split()[0]):
        yield Surprise(
            "not pinned", workflow.at("jobs", name, "uses"),
            f"The job `{name}` calls gradatim at `{ref}`, which can be moved. Pin the commit: @COMMIT # {ref}", serious=False,
        )  # fmt: skip
    if job.get("secrets") == "inherit":
        yield Surprise(
            "all secrets",
            workflow.at("jobs", name, "secrets"),
            f"The job `{name}` hands over every secret. Name those that it needs, such as `app-private-key`.",
        )
    for keys, said in (((), workflow.data), (("jobs", name), job)):
        shared = said.get("concurrency")
        if which != "checks" and isinstance(shared, dict) and shared.get("cancel-in-progress") is True:
            yield Surprise(
                "release cut short", workflow.at(*keys, "concurrency", "cancel-in-progress"),
                "A second push would end a release that is on its way, between its tag and what it publishes. Take "
                "`cancel-in-progress` out: gradatim's own jobs wait for one another.",
            )  # fmt: skip
    granted = job.get("permissions", workflow.data.get("permissions"))
    wanted = {"contents": "read" if which == "checks" else "write", "pull-requests": "write"}
    wanted |= {} if which == "checks" else {"actions": "read", "id-token": "write", "issues": "write"}
    if granted == "read-all":
        granted = dict.fromkeys(wanted, "read")
    if isinstance(granted, dict):
        for scope, level in wanted.items():
            if granted.get(scope) not in (level, "write"):
                yield Surprise(
                    "permission missing", workflow.at("jobs", name, "permissions"),
                    f"The job `{name}` must grant `{scope}: {level}`, else GitHub refuses to start the workflow.",
                )  # fmt: skip
    elif granted is None:
        yield Surprise(
            "default permissions", workflow.at("jobs", name),
            f"The job `{name}` gets whatever the repository grants by default. Write `permissions:` with {wanted}.",
        )  # fmt: skip


def matches(patterns: list[str], name: str) -> bool:
    """Whether a branch or tag passes a filter: globs where ``*`` stops at ``/`` and ``!`` takes back what matched."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            found = found and not _glob(pattern[1:]).fullmatch(name)
        else:
            found = found or bool(_glob(pattern).fullmatch(name))
    return found


def _glob(pattern: str) -> re.Pattern[str]:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet"""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    found = re.findall(r"\*\*/?|\*|\?|\+|\[[^\]]*\]|\\.|.", pattern)
    text = "".join(parts.get(part) or (part if part[0] in "[\\" else re.escape(part)) for part in found)
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(pattern))


def _branch_commit(repository: Repository, branch: str) -> str | None:
    refs = repository.local_refs("refs/remotes", "refs/heads")
    names = (f"refs/remotes/{repository.remote}/{branch}", f"refs/heads/{branch}")
    return next((refs[name] for name in names if name in refs), None)
