"""One issue of the forge for each model's plan, opened once and then updated in place."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from gradatim.ci.github_api import Call, GitHubApi
from gradatim.errors import ANSWER_SECONDS, EnvironmentLacks

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
        token = environment.get("GRADATIM_TOKEN")
        return _on_gitlab(environment, token, title, body) if token else None
    if not (environment.get("GH_TOKEN") or environment.get("GITHUB_TOKEN")):
        return None
    return _on_github(GitHubApi.from_environment(environment), title, body)


def _on_github(api: GitHubApi, title: str, body: str) -> str:
    marker = body.partition("\n")[0]
    said = {"title": title, "body": body}
    for issue in api.pages(f"{api.below('issues')}?state=open"):
        own = (issue.get("user") or {}).get("type") == "Bot" or issue.get("author_association") in _TRUSTED
        if own and "pull_request" not in issue and str(issue.get("body") or "").startswith(marker):
            there = api.below("issues", issue["number"])
            return str(api.make(Call("PATCH", there, said, "update the plan"))["html_url"])
    return str(api.make(Call("POST", api.below("issues"), said, "open the plan"))["html_url"])


def _on_gitlab(environment: Mapping[str, str], token: str, title: str, body: str) -> str:
    """https://docs.gitlab.com/api/issues"""
    root = f"{environment['CI_API_V4_URL']}/projects/{environment.get('CI_PROJECT_ID', '')}/issues"

    def ask(method: str, url: str, said: Mapping[str, str] | None = None) -> Any:
        if not url.startswith(("https://", "http://")):
            raise EnvironmentLacks(f"GitLab's address must begin with https://, got {url!r}.")
        data = None if said is None else json.dumps(said).encode()
        headers = {"PRIVATE-TOKEN": token, "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 (the scheme was checked)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 (the scheme was checked)
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise EnvironmentLacks(f"GitLab refused {method} {url}: {error}.") from error

    marker = body.partition("\n")[0]
    query = urllib.parse.urlencode({"state": "opened", "in": "title", "search": title, "per_page": 100})
    mine = str(ask("GET", f"{environment['CI_API_V4_URL']}/user").get("id"))
    for issue in ask("GET", f"{root}?{query}"):
        own = str((issue.get("author") or {}).get("id")) == mine
        if own and str(issue.get("description") or "").startswith(marker):
            return str(ask("PUT", f"{root}/{issue['iid']}", {"title": title, "description": body})["web_url"])
    return str(ask("POST", root, {"title": title, "description": body})["web_url"])
