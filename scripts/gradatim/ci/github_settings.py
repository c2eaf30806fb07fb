"""What a repository on GitHub must be set to, so that the contract's stages mean something: as calls, made or shown.

Rulesets: https://docs.github.com/en/rest/repos/rules · environments: https://docs.github.com/en/rest/deployments
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradatim.ci.github_api import Call, GitHubApi
from gradatim.contract.schema import Contract, Stage
from gradatim.errors import UsageError

REQUIRED_CHECK = "release / passed"
"""Job of the caller, then the job of the reusable workflow that never is skipped."""

_ACTIONS_APP = 15368  # GitHub Actions itself: nobody else's check of that name counts
_RELEASE_TAGS = ["refs/tags/v*", "refs/tags/*@*", "refs/tags/*#*", "refs/tags/**/*@*", "refs/tags/**/*#*"]
"""Versions and stages; a `*` stops at `/`, so names with one are listed too."""


@dataclass(frozen=True)
class Reviewer:
    """Who may approve a deployment: ``User`` or ``Team``, by GitHub's own number."""

    type: str
    id: int


@dataclass(frozen=True)
class Ruleset:
    """A ruleset by its name, with the body that creates or replaces it."""

    name: str
    body: Mapping[str, Any]
    purpose: str


@dataclass(frozen=True)
class Environment:
    """A deployment environment.

    Attributes:
        name: as the contract has it.
        body: of the call that creates or replaces it.
        refs: (``branch`` or ``tag``, pattern) that may deploy to it.
    """

    name: str
    body: Mapping[str, Any]
    refs: tuple[tuple[str, str], ...]
    purpose: str


@dataclass(frozen=True)
class Settings:
    """Everything that the contract asks of a repository."""

    rulesets: tuple[Ruleset, ...]
    environments: tuple[Environment, ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Rung:
    """One stage of one model's ladder."""

    contract: Contract
    name: str

    @property
    def stage(self) -> Stage:
        return self.contract.stages[self.name]

    @property
    def environment(self) -> str:
        return self.stage.environment or self.name

    @property
    def approved(self) -> bool:
        return self.stage.approval == "required"

    @property
    def lowest(self) -> bool:
        """Whether no stage below it has a branch."""
        first = next((stage.branch for stage in self.contract.stages.values() if stage.branch), None)
        return self.stage.branch == first

    @property
    def upwards(self) -> list[str]:
        """Its branch and those above it."""
        ladder = list(self.contract.stages)
        above = (self.contract.stages[name].branch for name in ladder[ladder.index(self.name) :])
        return [branch for branch in above if branch]


def settings_of(*contracts: Contract, reviewers: Sequence[Reviewer] = (), app: int | None = None) -> Settings:
    """What the stages of all models of a repository ask of it; where they share a branch or an environment, what the strictest asks.

    Args:
        contracts: with their stages.
        reviewers: who approves, for stages with ``approval: required``.
        app: number of the GitHub App whose token creates tags; None leaves creating tags open to writers.

    Raises:
        UsageError: a stage wants approval and nobody is named to give it.
    """
    rungs = [_Rung(contract, name) for contract in contracts for name in contract.stages]
    asking = next((f"stage {rung.name}" for rung in rungs if rung.approved), None)
    guards = dict.fromkeys(guard for contract in contracts for guard in guards_of(contract))
    asking = asking or next((f"environment {guard}" for guard in guards), None)
    if asking and not reviewers:
        raise UsageError(
            f"The {asking} wants approval, and nobody is named to give it. Add: --reviewer LOGIN, or "
            "--team ORGANISATION/TEAM"
        )
    by_branch, by_environment = defaultdict(list), defaultdict(list)
    for rung in rungs:
        by_environment[rung.environment].append(rung)
        if rung.stage.branch:
            by_branch[rung.stage.branch].append(rung)
    named = Counter(users[0].name for users in by_branch.values())
    rulesets = []
    for branch, users in by_branch.items():
        stage = users[0].name
        called = stage if named[stage] == 1 else f"{stage}, {branch}"
        approval, strict = any(user.approved for user in users), all(user.lowest for user in users)
        rulesets.append(_branch_rules(called, branch, approval, strict=strict))
    open_tags = (
        "Whoever can push can create tags: GitHub lets the workflow's own token pass no rule against it. Give the "
        "number of a GitHub App as `app-id`, its key as the secret `app-private-key`, and the number here: --app NUMBER"
    )
    return Settings(
        (*rulesets, _tag_rules(app)),
        (
            *(
                _environment(name, users, reviewers if any(user.approved for user in users) else ())
                for name, users in by_environment.items()
            ),
            *(_guard(name, reviewers) for name in guards),
        ),
        () if app else (open_tags,),
    )


def pending(settings: Settings, api: GitHubApi) -> Iterator[Call]:
    """The calls that bring a repository from where it is to these settings; none when it is there.

    Raises:
        EnvironmentLacks: GitHub refuses or does not answer.
    """
    known = {
        entry["name"]: entry["id"] for entry in api.pages(api.below("rulesets") + "?includes_parents=false")
    }
    for ruleset in settings.rulesets:
        number = known.get(ruleset.name)
        if number is None:
            yield Call("POST", api.below("rulesets"), ruleset.body, ruleset.purpose)
        elif not _holds(ruleset.body, api.get(api.below("rulesets", number))):
            yield Call("PUT", api.below("rulesets", number), ruleset.body, ruleset.purpose)
    for environment in settings.environments:
        path = api.below("environments", environment.name)
        found = api.get(path)
        if found is None or not _environment_holds(environment, found):
            yield Call("PUT", path, environment.body, environment.purpose)
        policies = api.get(f"{path}/deployment-branch-policies?per_page=100") if found else None
        there = {
            (entry.get("type", "branch"), entry["name"])
            for entry in (policies or {}).get("branch_policies", ())
        }
        for kind, name in environment.refs:
            if (kind, name) not in there:
                body = {"name": name, "type": kind}
                yield Call(
                    "POST",
                    f"{path}/deployment-branch-policies",
                    body,
                    f"{environment.name}: from {kind} {name}",
                )


def approving(contracts: Sequence[Contract], api: GitHubApi) -> tuple[Reviewer, ...]:
    """Who must approve on GitHub now, for the first stage that wants approval, else for a runner; nobody where nothing is set."""
    rungs = [_Rung(contract, name) for contract in contracts for name in contract.stages]
    asking = [rung.environment for rung in rungs if rung.approved]
    asking += [guard for contract in contracts for guard in guards_of(contract)]
    return reviewers_in(api.get(api.below("environments", asking[0])) or {}) if asking else ()


def reviewers_in(found: Mapping[str, Any]) -> tuple[Reviewer, ...]:
    """Who must approve a deployment to an environment, as GitHub describes it."""
    rules = [rule for rule in found.get("protection_rules") or () if rule.get("type") == "required_reviewers"]
    asked = [entry for rule in rules for entry in rule.get("reviewers") or ()]
    return tuple(Reviewer(entry["type"], int(entry["reviewer"]["id"])) for entry in asked)


def _branch_rules(stage: str, branch: str, approval: bool, *, strict: bool) -> Ruleset:
    """The rules of a stage's branch.

    Args:
        strict: whether a pull request must hold all that the branch holds. On the lowest stage alone: a merge into a
            stage above leaves a commit there that the stage below has not, and then neither could ever be merged again.
    """
    reviews = {
        "required_approving_review_count": 1 if approval else 0,
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": False,
        "require_last_push_approval": approval,
        "required_review_thread_resolution": False,
    }
    checks = {
        "strict_required_status_checks_policy": strict,
        "do_not_enforce_on_create": True,
        "required_status_checks": [{"context": REQUIRED_CHECK, "integration_id": _ACTIONS_APP}],
    }
    rules = [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {"type": "pull_request", "parameters": reviews},
        {"type": "required_status_checks", "parameters": checks},
    ]
    body = {
        "name": f"gradatim: {stage}",
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [],
        "conditions": {"ref_name": {"include": [f"refs/heads/{branch}"], "exclude": []}},
        "rules": rules,
    }
    return Ruleset(
        f"gradatim: {stage}", body, f"{branch}: changed by checked pull requests only, never rewritten"
    )


def _tag_rules(app: int | None) -> Ruleset:
    rules = [{"type": "update"}, {"type": "deletion"}, *([{"type": "creation"}] if app else [])]
    actors = [{"actor_id": app, "actor_type": "Integration", "bypass_mode": "always"}] if app else []
    name = "gradatim: tags"
    body = {
        "name": name,
        "target": "tag",
        "enforcement": "active",
        "bypass_actors": actors,
        "conditions": {"ref_name": {"include": _RELEASE_TAGS, "exclude": []}},
        "rules": rules,
    }
    made = f", made by the app {app} only" if app else ""
    return Ruleset(name, body, f"release tags: never moved, never deleted{made}")


def _environment(name: str, users: Sequence[_Rung], reviewers: Sequence[Reviewer]) -> Environment:
    body = {
        "wait_timer": 0,
        "prevent_self_review": bool(reviewers),
        "reviewers": [{"type": reviewer.type, "id": reviewer.id} for reviewer in reviewers],
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
    }
    branches = dict.fromkeys(
        ("branch", branch) for user in users for branch in user.upwards
    )  # a promotion is sent from above
    refs = (*branches, ("tag", "v*"), ("tag", "*@v*"))
    return Environment(
        name, body, refs, f"environment {name}" + (": somebody must approve" if reviewers else "")
    )


def guards_of(contract: Contract) -> list[str]:
    """The environments whose reviewers let pull requests onto a runner of the contract's."""
    return list(dict.fromkeys(one.environment for one in contract.runners.values() if one.environment))


def _guard(name: str, reviewers: Sequence[Reviewer]) -> Environment:
    """Such an environment: open to every branch, for a pull request's own is none of a stage."""
    purpose = f"environment {name}: somebody must approve a pull request on its runner"
    body = {**_environment(name, (), reviewers).body, "deployment_branch_policy": None}
    return Environment(name, body, (), purpose)


def _holds(wanted: Any, found: Any) -> bool:
    """Whether everything that is wanted is there; GitHub may say more than that."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _holds(value, found.get(key)) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same_length = isinstance(found, list) and len(wanted) == len(found)
        return same_length and all(any(_holds(item, other) for other in found) for item in wanted)
    return bool(wanted == found)


def _environment_holds(environment: Environment, found: Mapping[str, Any]) -> bool:
    rules = {rule.get("type"): rule for rule in found.get("protection_rules") or ()}
    asked = rules.get("required_reviewers") or {}
    there = {(entry["type"], entry["reviewer"]["id"]) for entry in asked.get("reviewers") or ()}
    wanted = {(entry["type"], entry["id"]) for entry in environment.body["reviewers"]}
    if there and not environment.refs:
        wanted = there  # a runner's reviewers are whoever they are: timing releases nothing
    policy = found.get("deployment_branch_policy")
    return (
        there == wanted
        and bool(asked.get("prevent_self_review", False)) == environment.body["prevent_self_review"]
        and policy == environment.body["deployment_branch_policy"]
    )
