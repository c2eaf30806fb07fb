"""One comment on a pull request or a merge request, written once and then updated in place."""

from __future__ import annotations

from collections.abc import Mapping

from gradatim.ci.github import GitHub
from gradatim.ci.github_api import Call, GitHubApi
from gradatim.ci.gitlab_api import GitLabApi
from gradatim.errors import UsageError

NOTES = "GRADATIM_NOTE_TOKEN"
"""On GitLab: a token that may write notes. Whoever may push a branch can read it, so it is not the one that pushes tags."""


def number_of_request(environment: Mapping[str, str]) -> int:
    """The number of the pull request or merge request that this run is about.

    Raises:
        UsageError: it is about none.
    """
    pull = GitHub(environment).event().get("pull_request") if environment.get("GITHUB_ACTIONS") else None
    number = pull.get("number") if isinstance(pull, dict) else environment.get("CI_MERGE_REQUEST_IID")
    if not str(number or "").isdecimal():
        raise UsageError("This run was not started by a pull request, so there is nothing to comment on.")
    return int(str(number))


def put_result(environment: Mapping[str, str], number: int, name: str, markdown: str) -> str | None:
    """Say a result where this run's system keeps it.

    Returns:
        address of the comment; None where there is no token, and nothing was asked.

    Raises:
        EnvironmentLacks: the forge refuses or does not answer.
    """
    if not environment.get("CI_MERGE_REQUEST_IID"):
        return put_comment(GitHubApi.from_environment(environment), number, name, markdown)
    api = GitLabApi.from_environment(environment, NOTES)
    where = f"{environment.get('CI_MERGE_REQUEST_PROJECT_URL', '')}/-/merge_requests/{number}"
    return f"{where}#note_{put_note(api, number, name, markdown)}" if api else None


def put_note(api: GitLabApi, number: int, name: str, markdown: str) -> int:
    """Say something in the merge request, in the note that said it before if there is one; the note's number.

    https://docs.gitlab.com/api/notes

    Raises:
        EnvironmentLacks: GitLab refuses or does not answer.
    """
    marker, notes = _marker(name), api.below("merge_requests", number, "notes")
    said = {"body": f"{marker}\n{markdown}"}
    for note in api.mine(notes, sort="asc", order_by="created_at"):
        if str(note.get("body", "")).startswith(marker):
            return int(api.ask("PUT", f"{notes}/{note['id']}", said)["id"])
    return int(api.ask("POST", notes, said)["id"])


def put_comment(api: GitHubApi, number: int, name: str, markdown: str) -> str:
    """Say something in the pull request, in the comment that said it before if there is one.

    Args:
        api: the repository.
        number: of the pull request.
        name: the model's name: each model has a comment of its own.
        markdown: what to say.

    Returns:
        address of the comment.

    Raises:
        EnvironmentLacks: GitHub refuses or does not answer.
    """
    marker = _marker(name)
    body = {"body": f"{marker}\n{markdown}"}
    for comment in api.pages(api.below("issues", number, "comments")):
        own = (comment.get("user") or {}).get("type") == "Bot"  # anybody could write the marker
        if own and str(comment.get("body", "")).startswith(marker):
            call = Call("PATCH", api.below("issues", "comments", comment["id"]), body, "update the comment")
            return str(api.make(call)["html_url"])
    return str(
        api.make(Call("POST", api.below("issues", number, "comments"), body, "write the comment"))["html_url"]
    )


def _marker(name: str) -> str:
    return f"<!-- gradatim: {name} -->"
