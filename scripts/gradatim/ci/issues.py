"""Issues of the forge: one for each model's plan, opened once and then updated in place; and those that a label names."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from gradatim.ci.github_api import Call, GitHubApi
from gradatim.ci.gitlab_api import GitLabApi

_TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")
"""Whose issues are taken for ours besides a bot's: anybody could write the marker."""


def put_issue(environment: Mapping[str, str], name: str, title: str, markdown: str) -> str | None:
    """Say the plan in the open issue that said it before, else in a new one.

    Args:
        environment: of the job; it names the forge and holds the token.
        name: the model's: each has an issue of its own.

    Returns:
        address of the issue; None where the environment holds no token, and nothing was asked.

    Raises:
        EnvironmentLacks: the forge refuses or does not answer.
    """
    body = f"<!-- gradatim iteration: {name} -->\n{markdown}"
    if environment.get("CI_API_V4_URL"):
        api = GitLabApi.from_environment(environment, "GRADATIM_TOKEN")
        return _on_gitlab(api, title, body) if api else None
    if not (environment.get("GH_TOKEN") or environment.get("GITHUB_TOKEN")):
        return None
    return _on_github(GitHubApi.from_environment(environment), title, body)


def labelled_issues(environment: Mapping[str, str], label: str) -> dict[str, str] | None:
    """What people wrote in the issues that bear a label, open or closed, by ``#number``.

    Returns:
        None where the environment holds no token, and nothing was asked.

    Raises:
        EnvironmentLacks: the forge refuses or does not answer.
    """
    if environment.get("CI_API_V4_URL"):
        gitlab = GitLabApi.from_environment(environment, "GRADATIM_TOKEN")
        if gitlab is None:
            return None
        told = gitlab.pages(gitlab.below("issues"), labels=label)
        return {f"#{one['iid']}": str(one.get("description") or "") for one in told}
    if not (environment.get("GH_TOKEN") or environment.get("GITHUB_TOKEN")):
        return None
    github = GitHubApi.from_environment(environment)
    asked = f"{github.below('issues')}?{urllib.parse.urlencode({'state': 'all', 'labels': label})}"
    found = (one for one in github.pages(asked) if "pull_request" not in one)
    return {f"#{one['number']}": str(one.get("body") or "") for one in found}


def _on_github(api: GitHubApi, title: str, body: str) -> str:
    marker = body.partition("\n")[0]
    said = {"title": title, "body": body}
    for issue in api.pages(f"{api.below('issues')}?state=open"):
        own = (issue.get("user") or {}).get("type") == "Bot" or issue.get("author_association") in _TRUSTED
        if own and "pull_request" not in issue and str(issue.get("body") or "").startswith(marker):
            there = api.below("issues", issue["number"])
            return str(api.make(Call("PATCH", there, said, "update the plan"))["html_url"])
    return str(api.make(Call("POST", api.below("issues"), said, "open the plan"))["html_url"])


def _on_gitlab(api: GitLabApi, title: str, body: str) -> str:
    """https://docs.gitlab.com/api/issues"""
    marker, said = body.partition("\n")[0], {"title": title, "description": body}
    for issue in api.mine(api.below("issues"), state="opened", search=title, **{"in": "title"}):
        if str(issue.get("description") or "").startswith(marker):
            return str(api.ask("PUT", api.below("issues", issue["iid"]), said)["web_url"])
    return str(api.ask("POST", api.below("issues"), said)["web_url"])
