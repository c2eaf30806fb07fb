"""Who let a release through: the one who started the run, and those who approved it, as the platform tells.

The platform enforces who may; this only asks it, so that the answer can be kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.ci.platform import Place, Platform
from gradatim.errors import EnvironmentLacks


@dataclass(frozen=True)
class Approval:
    """What is known about who let a release through.

    Attributes:
        by: who started the run; on a laptop whoever git knows.
        run: the run's page; None on a laptop.
        environment: the deployment environment that guards the stage.
        approvers: who approved the run for this environment, sorted; None where the platform does not tell.
        unknown: why it does not.
        tells: whether the platform would tell, were it asked with the right to know.
    """

    by: str
    run: str | None
    environment: str
    approvers: tuple[str, ...] | None
    unknown: str = ""
    tells: bool = False

    @property
    def text(self) -> str | None:
        """``approved by bob and carol in production``; None when nobody is known to have approved."""
        if not self.approvers:
            return None
        *others, last = self.approvers
        names = f"{', '.join(others)} and {last}" if others else last
        return f"approved by {names} in {self.environment}"

    @property
    def told(self) -> dict[str, str]:
        """For the message of the tag that gives the stage, which `status` and `history` read."""
        return {"by": self.by, "run": self.run or "", "approval": self.text or ""}

    def to_json(self) -> dict[str, Any]:
        """For evidence, which the tags' messages and the history quote."""
        return {
            "by": self.by,
            "run": self.run,
            "environment": self.environment,
            "approvers": None if self.approvers is None else list(self.approvers),
            "approval": self.text,
        }


def approval_of(platform: Platform, place: Place, environment: str, *, person: str) -> Approval:
    """Ask the platform who let this run into an environment.

    Args:
        platform: where this runs.
        place: the run.
        environment: the deployment environment of the stage.
        person: whom git knows, for a laptop.
    """
    by = place.actor or person
    if platform.name == "github":
        return _github(by, place, environment, os.environ)
    if platform.name == "gitlab":
        return _gitlab(by, place, environment, os.environ)
    return Approval(by, place.url, environment, None, "there is no environment here that could ask for one")


def _github(by: str, place: Place, environment: str, env: Mapping[str, str]) -> Approval:
    """https://docs.github.com/en/rest/actions/workflow-runs#get-the-review-history-for-a-workflow-run"""
    from gradatim.ci.github_api import GitHubApi

    try:
        api = GitHubApi.from_environment(env)
        reviews = api.get(api.below("actions", "runs", env.get("GITHUB_RUN_ID", ""), "approvals"))
    except EnvironmentLacks as error:
        why = f"{error} The job needs `permissions: actions: read`."
        return Approval(by, place.url, environment, None, why, tells=True)
    if not isinstance(reviews, list):
        return Approval(by, place.url, environment, None, "GitHub knows no such run.", tells=True)
    names = {
        str((review.get("user") or {}).get("login"))
        for review in reviews
        if review.get("state") == "approved"
        and environment in (entry.get("name") for entry in review.get("environments") or ())
    }
    return Approval(by, place.url, environment, tuple(sorted(names)), tells=True)


def _gitlab(by: str, place: Place, environment: str, env: Mapping[str, str]) -> Approval:
    """https://docs.gitlab.com/api/deployments: the deployment of this very job, and who approved it."""
    import json
    import urllib.error
    import urllib.parse
    import urllib.request

    project, job, token = env.get("CI_PROJECT_ID"), env.get("CI_JOB_ID"), env.get("CI_JOB_TOKEN")
    root = env.get("CI_API_V4_URL", "")
    unknown = Approval(
        by, place.url, environment, None, "GitLab does not tell this job who approved its deployment"
    )
    if not (project and job and token and root.startswith(("https://", "http://"))):
        return unknown

    def get(path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 (the scheme was checked)
            f"{root}/projects/{project}/deployments{path}", headers={"JOB-TOKEN": token}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (the scheme was checked)
            return json.loads(answer.read())

    query = urllib.parse.urlencode({"environment": environment, "order_by": "id", "sort": "desc"})
    try:
        mine = [d for d in get(f"?{query}") if str((d.get("deployable") or {}).get("id")) == job]
        given = get(f"/{mine[0]['id']}").get("approvals") if mine else None
    except (urllib.error.URLError, OSError, ValueError, AttributeError, KeyError, TypeError):
        return unknown
    if given is None:  # a GitLab without deployment approvals does not name them at all
        return unknown
    names = {
        str((entry.get("user") or {}).get("username")) for entry in given if entry.get("status") == "approved"
    }
    return Approval(by, place.url, environment, tuple(sorted(names)))
