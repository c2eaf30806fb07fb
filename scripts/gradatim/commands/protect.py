"""gradatim protect: branch rules, tag rules and environments on GitHub or GitLab, as the contract has them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options
from gradatim.errors import UsageError

if TYPE_CHECKING:
    from gradatim.ci.github_api import Call, GitHubApi
    from gradatim.ci.github_settings import Reviewer
    from gradatim.contract.schema import Contract
    from gradatim.registry.git import Repository


@click.command("protect", short_help="Set branch rules, tag rules and environments on GitHub or GitLab.")
@options.contract
@click.option(
    "--repository", metavar="OWNER/NAME", help="On GitHub or GitLab. Default: where the git remote leads."
)
@click.option(
    "--reviewer",
    "reviewers",
    metavar="LOGIN",
    multiple=True,
    help="Who approves; may be given several times.",
)
@click.option(
    "--team",
    "teams",
    metavar="ORGANISATION/TEAM",
    multiple=True,
    help="A team that approves; on GitLab a group.",
)
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
    """Protect every stage's branch, the release tags and the environments, from the stages of all contracts of the repository.

    Shows what it would change; --apply changes it. That needs a token that administers the repository: GH_TOKEN=$(gh auth token), or GITLAB_TOKEN of a maintainer.

    \b
    Examples:
      gradatim protect --reviewer alice
      gradatim protect --team acme/release --app 123456 --apply
    """
    from gradatim.ci.contracts import every_contract
    from gradatim.commands.opening import contracts_here, open_candidate

    candidate = open_candidate(contracts_here(contract_path)[0])
    candidate.repository.require_git("gradatim protect")
    url, contracts = (
        candidate.repository.remote_url(),
        every_contract(candidate.repository, candidate.contract),
    )
    if on_gitlab(candidate.repository):
        if app:
            raise UsageError("On GitLab whoever may create tags is a role, not an app: leave `--app` out.")
        plan = _on_gitlab(contracts, url, repository, reviewers, teams)
    else:
        plan = _on_github(contracts, repository or repository_of(url), reviewers, teams, app, applied=wanted)
    calls = []
    for call in plan.calls:
        if wanted:
            plan.make(call)
        calls.append(call)
    if json_wanted:
        options.print_json(
            {"applied": wanted, "calls": [asdict(call) for call in calls], "notes": list(plan.notes)}
        )
        return 0
    for call in calls:
        click.echo(f"{'did' if wanted else 'would'}  {call.purpose}\n       {call.method} {call.path}")
        if not wanted and call.body is not None:
            click.echo(f"       {json.dumps(call.body, ensure_ascii=False)}")
    for note in (
        *plan.notes,
        *(
            [f"There is no token, so nothing was compared: this is all that would be set. {plan.blind}"]
            if plan.blind
            else []
        ),
    ):
        click.echo(f"{click.style('note:', fg='yellow')} {note}", err=True)
    if not calls:
        click.echo(f"{plan.place} is set as the contract wants it.")
    elif not wanted:
        click.echo("Nothing was changed. Do it with: --apply")
    return 0


@dataclass(frozen=True)
class _Plan:
    """Calls on a forge.

    Attributes:
        place: the repository.
        make: makes one call.
        notes: what no call can set.
        blind: what to do where there was no token to look with; empty where there was.
    """

    place: str
    calls: Iterable[Call]
    make: Callable[[Call], Any]
    notes: Sequence[str]
    blind: str = ""


def _on_github(
    contracts: Sequence[Contract],
    name: str | None,
    reviewers: tuple[str, ...],
    teams: tuple[str, ...],
    app: int | None,
    *,
    applied: bool,
) -> _Plan:
    from gradatim.ci.github_api import GitHubApi, Unseen
    from gradatim.ci.github_settings import Reviewer, pending, settings_of

    blind = not applied and not any(os.environ.get(token) for token in ("GH_TOKEN", "GITHUB_TOKEN"))
    if blind:
        api: GitHubApi = Unseen(name or os.environ.get("GITHUB_REPOSITORY") or "OWNER/NAME")
        asked = [Reviewer("User", 0)] * len(reviewers) + [Reviewer("Team", 0)] * len(teams)
    else:
        api = GitHubApi.from_environment(os.environ, name)
        asked = _found(api, reviewers, teams)
    settings = settings_of(*contracts, reviewers=asked, app=app)
    shows = "GH_TOKEN=$(gh auth token) shows what is missing, with the numbers of reviewers in place of 0."
    return _Plan(api.repository, pending(settings, api), api.make, settings.notes, shows if blind else "")


def _on_gitlab(
    contracts: Sequence[Contract],
    url: str | None,
    named: str | None,
    reviewers: tuple[str, ...],
    teams: tuple[str, ...],
) -> _Plan:
    from gradatim.ci.gitlab_project import GitLabProject
    from gradatim.ci.gitlab_settings import notes_of, pending_in_project

    project = GitLabProject.found(os.environ, url, named)
    asked = [{"user_id": project.number("users", login)} for login in reviewers]
    asked += [{"group_id": project.number("groups", team)} for team in teams]
    shows = "GITLAB_TOKEN, one of a maintainer with the scope `api`, shows what is missing, with the numbers of reviewers in place of 0."
    return _Plan(
        project.path,
        pending_in_project(contracts, project, asked),
        project.make,
        notes_of(contracts, project),
        "" if project.seen else shows,
    )


def on_gitlab(repository: Repository) -> bool:
    """Whether the repository is GitLab's, by its files and by where it was cloned from."""
    from gradatim.ci.in_use import in_use
    from gradatim.rendering.systems import SYSTEMS

    return in_use(repository, {name: system.path for name, system in SYSTEMS.items()}) == "gitlab"


def repository_of(url: str | None) -> str | None:
    """``owner/name`` out of a remote's address; None where it is no repository on a forge."""
    import re

    found = re.search(r"[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url or "")
    return found[1] if found and ("://" in str(url) or "@" in str(url)) else None


def _found(api: GitHubApi, logins: tuple[str, ...], teams: tuple[str, ...]) -> list[Reviewer]:
    from urllib.parse import quote

    from gradatim.ci.github_settings import Reviewer

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
