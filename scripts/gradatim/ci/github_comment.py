"""One comment on a pull request, written once and then updated in place."""

from __future__ import annotations

from gradatim.ci.github_api import Call, GitHubApi


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
    marker = f"<!-- gradatim: {name} -->"
    body = {"body": f"{marker}\n{markdown}"}
    for comment in api.pages(api.below("issues", number, "comments")):
        own = (comment.get("user") or {}).get("type") == "Bot"  # anybody could write the marker
        if own and str(comment.get("body", "")).startswith(marker):
            call = Call("PATCH", api.below("issues", "comments", comment["id"]), body, "update the comment")
            return str(api.make(call)["html_url"])
    return str(
        api.make(Call("POST", api.below("issues", number, "comments"), body, "write the comment"))["html_url"]
    )
