"""What a project on GitLab must be set to, so that the contract's stages mean something: as calls, made or shown.

https://docs.gitlab.com/api/protected_branches · /api/protected_tags · /api/protected_environments · /api/projects
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gradatim.ci.github_api import Call
from gradatim.ci.gitlab_project import GitLabProject
from gradatim.contract.schema import Contract
from gradatim.errors import UsageError

NOBODY, DEVELOPERS, MAINTAINERS = 0, 30, 40
"""Levels of access, by GitLab's own numbers."""

TAGS = ("v*", "*@v*", "*#*")
"""Versions and stages."""

_MERGING = {"only_allow_merge_if_pipeline_succeeds": True, "allow_merge_on_skipped_pipeline": False}


def pending_in_project(
    contracts: Sequence[Contract], project: GitLabProject, approvers: Sequence[Mapping[str, int]] = ()
) -> Iterator[Call]:
    """The calls that bring a project from where it is to what the stages of all its models ask; none when it is there.

    Args:
        approvers: ``{"user_id": 7}`` or ``{"group_id": 7}`` each, for stages with ``approval: required``.

    Raises:
        UsageError: a stage wants approval and nobody is named to give it.
        EnvironmentLacks: GitLab refuses or does not answer.
    """
    approved = _approved(contracts)
    if approved and not approvers:
        raise UsageError(
            f"The stage {approved[0][0]} wants approval, and nobody is named to give it. Add: --reviewer USER, or --team GROUP"
        )
    found = project.get(project.below()) or {}
    if any(found.get(key) != value for key, value in _MERGING.items()):
        yield Call(
            "PUT",
            project.below(),
            _MERGING,
            "merge requests: merged after a pipeline that passed, and no other",
        )
    guarded = {branch for _, branch in approved}
    for branch in dict.fromkeys(stage.branch for contract in contracts for stage in contract.stages.values()):
        if branch:
            yield from _branch(project, branch, MAINTAINERS if branch in guarded else DEVELOPERS)
    for pattern in TAGS:
        yield from _tag(project, pattern)
    if approved and project.offers(project.below("protected_environments")):
        for environment in _environments(approved):
            yield from _environment(project, environment, approvers)


def approving_in_project(contracts: Sequence[Contract], project: GitLabProject) -> list[dict[str, int]]:
    """Who must approve on GitLab now, for the first stage that wants approval; user 0 where nothing is set."""
    approved = _approved(contracts)
    if not approved or not project.offers(project.below("protected_environments")):
        return [{"user_id": 0}] if approved else []
    found = project.get(project.below("protected_environments", _environments(approved)[0])) or {}
    given = [
        {key: int(rule[key])}
        for rule in found.get("approval_rules") or ()
        for key in ("user_id", "group_id")
        if rule.get(key)
    ]
    return given or [{"user_id": 0}]


def notes_of(contracts: Sequence[Contract], project: GitLabProject) -> list[str]:
    """What no call can set on this server, and what guards it instead."""
    approved = _approved(contracts)
    if not approved or project.offers(project.below("protected_environments")):
        return []
    unguarded = (
        f"This GitLab protects no environments, so nobody must approve a deployment to {approved[0][0]}: whoever may merge into its "
        "branch, maintainers alone, lets a release through. GitLab Premium protects environments."
    )
    return [unguarded]


def _branch(project: GitLabProject, branch: str, merging: int) -> Iterator[Call]:
    """Changed by merge requests only, never rewritten. Levels of a branch cannot be changed, so it is protected anew."""
    path = project.below("protected_branches", branch)
    body = {
        "name": branch,
        "push_access_level": NOBODY,
        "merge_access_level": merging,
        "allow_force_push": False,
    }
    there = project.get(path)
    levels = {
        kind: sorted(one.get("access_level") for one in (there or {}).get(kind) or ())
        for kind in ("push_access_levels", "merge_access_levels")
    }
    wanted = {"push_access_levels": [NOBODY], "merge_access_levels": [merging]}
    if there and levels == wanted and not there.get("allow_force_push"):
        return
    who = "maintainers" if merging == MAINTAINERS else "developers"
    if there:
        yield Call("DELETE", path, None, f"{branch}: protected otherwise than the contract asks")
    yield Call(
        "POST",
        project.below("protected_branches"),
        body,
        f"{branch}: changed by merge requests of {who} only, never rewritten",
    )


def _tag(project: GitLabProject, pattern: str) -> Iterator[Call]:
    path = project.below("protected_tags", pattern)
    there = project.get(path)
    levels = [one.get("access_level") for one in (there or {}).get("create_access_levels") or ()]
    if there and levels == [MAINTAINERS]:
        return
    if there:
        yield Call("DELETE", path, None, f"tags {pattern}: protected otherwise than the contract asks")
    body = {"name": pattern, "create_access_level": MAINTAINERS}
    yield Call(
        "POST",
        project.below("protected_tags"),
        body,
        f"tags {pattern}: made by maintainers, never moved or deleted",
    )


def _approved(contracts: Sequence[Contract]) -> list[tuple[str, str | None]]:
    """The stages that want approval, each with its branch."""
    rungs = (rung for contract in contracts for rung in contract.stages.items())
    return [(name, stage.branch) for name, stage in rungs if stage.approval == "required"]


def _environments(approved: Sequence[tuple[str, str | None]]) -> list[str]:
    """Where the include deploys to for these stages: a push by its branch, a promotion by its stage."""
    return list(dict.fromkeys(f"release/{one}" for name, branch in approved for one in (branch, name) if one))


def _environment(project: GitLabProject, name: str, approvers: Sequence[Mapping[str, int]]) -> Iterator[Call]:
    path = project.below("protected_environments", name)
    there = project.get(path)
    asked = {(key, one[key]) for one in approvers for key in one}
    given = {
        (key, rule[key])
        for rule in (there or {}).get("approval_rules") or ()
        for key in ("user_id", "group_id")
        if rule.get(key) and rule.get("required_approvals", 0) >= 1
    }
    if there and asked <= given:
        return
    body: dict[str, Any] = {
        "name": name,
        "deploy_access_levels": [{"access_level": MAINTAINERS}],
        "approval_rules": [{**one, "required_approvals": 1} for one in approvers],
    }
    if there:
        yield Call("DELETE", path, None, f"environment {name}: protected otherwise than the contract asks")
    yield Call(
        "POST", project.below("protected_environments"), body, f"environment {name}: somebody must approve"
    )
