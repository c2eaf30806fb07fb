"""gradatim protect: branch rules, tag rules and environments on GitHub, as the contract has them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.ci.github_api import GitHubApi
    from gradatim.ci.github_settings import Reviewer


@click.command("protect", short_help="Set branch rules, tag rules and environments on GitHub.")
@options.contract
@click.option("--repository", metavar="OWNER/NAME", help="On GitHub. Default: where the git remote leads.")
@click.option(
    "--reviewer",
    "reviewers",
    metavar="LOGIN",
    multiple=True,
    help="Who approves; may be given several times.",
)
@click.option("--team", "teams", metavar="ORGANISATION/TEAM", multiple=True, help="A team that approves.")
@click.option(
    "--app", metavar="NUMBER", type=click.IntRange(1), help="The GitHub App that alone may create tags."
)
@click.option("--apply", "wanted", is_flag=True, help="Make the calls. Without it they are only shown.")
@options.as_json
def command(
    contract_path: str | None,
    repository: str | None,
    reviewers: tuple[str, ...],
    teams: tuple[str, ...],
    app: int | None,
    wanted: bool,
    json_wanted: bool,
) -> int:
    """Protect every stage's branch, the release tags and the environments, from the stages of the contract.

    Shows what it would change; --apply changes it. That needs a token that administers the repository: GH_TOKEN=$(gh auth token)

    \b
    Examples:
      gradatim protect --reviewer alice
      gradatim protect --team acme/release --app 123456 --apply
    """
    from gradatim.ci.github_api import GitHubApi, Unseen
    from gradatim.ci.github_settings import Reviewer, pending, settings_of
    from gradatim.commands.opening import open_candidate

    candidate = open_candidate(contract_path)
    candidate.repository.require_git("gradatim protect")
    name = repository or repository_of(candidate.repository.remote_url())
    blind = not wanted and not any(os.environ.get(token) for token in ("GH_TOKEN", "GITHUB_TOKEN"))
    if blind:
        api: GitHubApi = Unseen(name or os.environ.get("GITHUB_REPOSITORY") or "OWNER/NAME")
        asked = [Reviewer("User", 0)] * len(reviewers) + [Reviewer("Team", 0)] * len(teams)
    else:
        api = GitHubApi.from_environment(os.environ, name)
        asked = _found(api, reviewers, teams)
    settings = settings_of(candidate.contract.parts, reviewers=asked, app=app)
    calls = []
    for call in pending(settings, api):
        if wanted:
            api.make(call)
        calls.append(call)
    if json_wanted:
        options.print_json(
            {"applied": wanted, "calls": [asdict(call) for call in calls], "notes": list(settings.notes)}
        )
        return 0
    for call in calls:
        click.echo(f"{'did' if wanted else 'would'}  {call.purpose}\n       {call.method} {call.path}")
        if not wanted:
            click.echo(f"       {json.dumps(call.body, ensure_ascii=False)}")
    for note in settings.notes:
        click.echo(f"{click.style('note:', fg='yellow')} {note}", err=True)
    if blind:
        text = "There is no token, so nothing was compared: this is all that would be set. GH_TOKEN=$(gh auth token) shows what is missing, with the numbers of reviewers in place of 0."
        click.echo(f"{click.style('note:', fg='yellow')} {text}", err=True)
    if not calls:
        click.echo(f"{api.repository} is set as the contract wants it.")
    elif not wanted:
        click.echo("Nothing was changed. Do it with: --apply")
    return 0


def repository_of(url: str | None) -> str | None:
    """``owner/name`` out of a remote's address; None where it is no repository on a forge."""
    import re

    found = re.search(r"[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url or "")
    return found[1] if found and ("://" in str(url) or "@" in str(url)) else None


def _found(api: GitHubApi, logins: tuple[str, ...], teams: tuple[str, ...]) -> list[Reviewer]:
    from urllib.parse import quote

    from gradatim.ci.github_settings import Reviewer
    from gradatim.errors import UsageError

    found = []
    for login in logins:
        user = api.get(f"/users/{quote(login, safe='')}")
        if user is None:
            raise UsageError(f"There is no user {login!r} on GitHub.")
        found.append(Reviewer("User", int(user["id"])))
    for team in teams:
        organisation, slash, slug = team.partition("/")
        record = (
            api.get(f"/orgs/{quote(organisation, safe='')}/teams/{quote(slug, safe='')}") if slash else None
        )
        if record is None:
            raise UsageError(f"There is no team {team!r} on GitHub. Name it as ORGANISATION/TEAM.")
        found.append(Reviewer("Team", int(record["id"])))
    return found
