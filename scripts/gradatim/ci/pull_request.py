"""One pull request with what is proposed: a file on a branch of its own, opened once and then added to; a person decides."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.ci.github_api import Call, GitHubApi
from gradatim.ci.gitlab_api import GitLabApi


@dataclass(frozen=True)
class PullRequest:
    """What a person is to look at.

    Attributes:
        branch: where it lies; what others committed there stays.
        path: of the file, below the top of the repository.
        text: all of it.
        title, body: of the pull request, where there is none yet.
    """

    branch: str
    path: str
    text: str
    title: str
    body: str


def put_pull_request(environment: Mapping[str, str], request: PullRequest) -> str | None:
    """Put the file on its branch, and the branch into one open pull request or merge request.

    Returns:
        address of the request; None where the environment holds no token, and nothing was asked.

    Raises:
        EnvironmentLacks: the forge refuses or does not answer.
    """
    if environment.get("CI_API_V4_URL"):
        api = GitLabApi.from_environment(environment, "GRADATIM_TOKEN")
        return _on_gitlab(api, request) if api else None
    if not (environment.get("GH_TOKEN") or environment.get("GITHUB_TOKEN")):
        return None
    return _on_github(GitHubApi.from_environment(environment), request)


def _on_github(api: GitHubApi, new: PullRequest) -> str:
    """https://docs.github.com/rest/repos/contents and /rest/pulls"""
    base = api.get(api.below())["default_branch"]
    if api.get(_ref(api, new.branch)) is None:
        commit = api.get(_ref(api, base))["object"]["sha"]
        begun = {"ref": f"refs/heads/{new.branch}", "sha": commit}
        api.make(Call("POST", api.below("git", "refs"), begun, "begin a branch"))
    there = api.below("contents", *new.path.split("/"))
    found = api.get(f"{there}?{urllib.parse.urlencode({'ref': new.branch})}")
    if found is None or base64.b64decode(found["content"]).decode() != new.text:
        content = base64.b64encode(new.text.encode()).decode()
        said = {"message": new.title, "content": content, "branch": new.branch}
        said |= {"sha": found["sha"]} if found else {}
        api.make(Call("PUT", there, said, "commit the proposal"))
    head = urllib.parse.urlencode(
        {"state": "open", "head": f"{api.repository.partition('/')[0]}:{new.branch}"}
    )
    for request in api.pages(f"{api.below('pulls')}?{head}"):
        return str(request["html_url"])
    said = {"title": new.title, "body": new.body, "head": new.branch, "base": base}
    return str(api.make(Call("POST", api.below("pulls"), said, "open the pull request"))["html_url"])


def _ref(api: GitHubApi, branch: str) -> str:
    return "/".join([api.below("git", "ref", "heads"), urllib.parse.quote(branch)])


def _on_gitlab(api: GitLabApi, new: PullRequest) -> str:
    """https://docs.gitlab.com/api/commits and /api/merge_requests"""
    base = api.ask("GET", api.below())["default_branch"]
    branches = api.pages(api.below("repository", "branches"), search=new.branch)
    begun = any(one["name"] == new.branch for one in branches)
    at = new.branch if begun else base
    folder = new.path.rpartition("/")[0]
    files = api.pages(api.below("repository", "tree"), ref=at, path=folder)
    held = any(one["path"] == new.path for one in files)
    if not held or _held_on_gitlab(api, new.path, at) != new.text:
        action = {"action": "update" if held else "create", "file_path": new.path, "content": new.text}
        said: dict[str, Any] = {"branch": new.branch, "commit_message": new.title, "actions": [action]}
        said |= {} if begun else {"start_branch": base}
        api.ask("POST", api.below("repository", "commits"), said)
    for request in api.pages(api.below("merge_requests"), state="opened", source_branch=new.branch):
        return str(request["web_url"])
    said = {"source_branch": new.branch, "target_branch": base, "title": new.title, "description": new.body}
    return str(api.ask("POST", api.below("merge_requests"), said)["web_url"])


def _held_on_gitlab(api: GitLabApi, path: str, ref: str) -> str:
    there = api.below("repository", "files", urllib.parse.quote(path, safe=""))
    found = api.ask("GET", f"{there}?{urllib.parse.urlencode({'ref': ref})}")
    return base64.b64decode(found["content"]).decode()
