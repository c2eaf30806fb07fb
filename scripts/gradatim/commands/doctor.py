"""gradatim doctor: traps in the CI around the contract, and drift from it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradatim.candidate.candidate import Candidate
    from gradatim.contract.schema import Contract
    from gradatim.registry.checkup import Surprise


@click.command("doctor", short_help="Find traps in the CI around the contract.")
@options.contract
@click.option(
    "--repository", metavar="OWNER/NAME", help="On GitHub or GitLab. Default: where the git remote leads."
)
@click.option("--offline", is_flag=True, help="Look at the files and tags only, at no settings.")
@options.as_json
def command(contract_path: str | None, repository: str | None, offline: bool, json_wanted: bool) -> int:
    """Find what would surprise you on GitHub or GitLab: workflows that never start, tags that prove nothing, stages unguarded.

    At the top of a repository of several models it looks at all. Reads the workflow files, the branches and the tags; with a token (GH_TOKEN, GITLAB_TOKEN) also the settings of the repository.

    \b
    Examples:
      gradatim doctor
      gradatim doctor --offline --json | jq '.findings[].trap'
    """
    from gradatim.commands.opening import contracts_here, open_candidate
    from gradatim.commands.protect import on_gitlab

    candidates = [open_candidate(path) for path in contracts_here(contract_path)]
    candidate = candidates[0]
    findings = list(dict.fromkeys(finding for each in candidates for finding in _offline(each)))
    gitlab = not candidate.repository.central and on_gitlab(candidate.repository)
    names = ("GITLAB_TOKEN",) if gitlab else ("GH_TOKEN", "GITHUB_TOKEN")
    token = next((name for name in names if os.environ.get(name)), None)
    asked = not offline and token is not None and not candidate.repository.central
    if asked:
        findings = list(dict.fromkeys((*findings, *_online(candidate, repository))))
    serious = [finding for finding in findings if finding.serious]
    if json_wanted:
        options.print_json({"findings": [asdict(finding) for finding in findings], "settings": asked})
        return 1 if serious else 0
    for finding in findings:
        label = click.style("trap", fg="red") if finding.serious else click.style("note", fg="yellow")
        click.echo(options.row(f"  {label}  ", f"{finding.where}: {finding.trap}"))
        click.echo(options.row("        ", finding.text))
    looked = "files, branches, tags" + (" and settings" if asked else "")
    count = {"trap": len(serious), "note": len(findings) - len(serious)}
    counted = ", ".join(f"{number} {word}{'s' * (number != 1)}" for word, number in count.items())
    click.echo(f"{counted} in {looked}.")
    if not asked and not offline and not candidate.repository.central:
        where, one = ("GitLab", "GITLAB_TOKEN=...") if gitlab else ("GitHub", "GH_TOKEN=$(gh auth token)")
        unasked = f"{where}'s settings were not looked at: there is no token. Set one: {one}"
        click.echo(options.row("", unasked), err=True)
    return 1 if serious else 0


def _offline(candidate: Candidate) -> Iterator[Surprise]:
    repository, contract = candidate.repository, candidate.contract.parts
    branches = {name: stage.branch for name, stage in contract.stages.items() if stage.branch is not None}
    yield from repository.checkup(branches)
    if repository.central:  # it is not git's, so none of GitHub's files mean anything in it
        from gradatim.registry.checkup import Surprise

        for warning in candidate.registry.warnings if candidate.sync.reached else ():
            yield Surprise("odd tag", "tags", warning, serious=False)
        return
    from gradatim.ci.github_checkup import (
        check_branches,
        check_contracts,
        check_tags,
        check_workflows,
        read_workflows,
    )
    from gradatim.commands.protect import on_gitlab

    workflows = []
    if on_gitlab(repository):
        from gradatim.ci.gitlab_checkup import check_include

        yield from check_include(contract, repository.root)
    else:
        workflows = read_workflows(repository.root)
        yield from check_workflows(contract, workflows)
    from gradatim.ci.runtimes_checkup import check_runtimes

    folders = dict.fromkeys((repository.root, candidate.root))
    own = [folder / "requirements.txt" for folder in folders if (folder / "requirements.txt").is_file()]
    yield from check_runtimes(contract, own)
    yield from check_contracts(repository)
    yield from check_branches(contract, repository, [workflow for workflow in workflows if workflow.calls])
    yield from check_tags(contract, repository, candidate.registry, candidate.name)


def _online(candidate: Candidate, repository: str | None) -> Iterator[Surprise]:
    from gradatim.ci.contracts import every_contract
    from gradatim.ci.github_api import GitHubApi
    from gradatim.ci.github_checkup import check_settings
    from gradatim.ci.github_settings import Reviewer, approving, guards_of, pending, settings_of
    from gradatim.commands.protect import on_gitlab, repository_of
    from gradatim.registry.checkup import Surprise

    url, contracts = (
        candidate.repository.remote_url(),
        every_contract(candidate.repository, candidate.contract),
    )
    if on_gitlab(candidate.repository):
        yield from _in_project(contracts, url, repository)
        return
    found = repository or repository_of(url)
    api = GitHubApi.from_environment(os.environ, found)
    reviewers: tuple[Reviewer, ...] = approving(contracts, api)
    asking = [
        stage.environment or name
        for contract in contracts
        for name, stage in contract.stages.items()
        if stage.approval == "required"
    ]
    asking += [guard for contract in contracts for guard in guards_of(contract)]
    if asking and not reviewers:
        text = f"Nobody must approve a deployment to {asking[0]}, though the contract asks for it. See: gradatim protect"
        yield Surprise("no reviewers", f"environment {asking[0]}", text)
        reviewers = (Reviewer("User", 0),)
    settings = settings_of(*contracts, reviewers=reviewers)
    yield from check_settings(list(pending(settings, api)), *contracts)
    for note in settings.notes:
        yield Surprise("tags open", "tag rules", note, serious=False)


def _in_project(contracts: Sequence[Contract], url: str | None, named: str | None) -> Iterator[Surprise]:
    """The settings of a project on GitLab; who approves is whoever does now."""
    from gradatim.ci.gitlab_checkup import check_project
    from gradatim.ci.gitlab_project import GitLabProject
    from gradatim.ci.gitlab_settings import approving_in_project, notes_of, pending_in_project
    from gradatim.registry.checkup import Surprise

    project = GitLabProject.found(os.environ, url, named)
    yield from check_project(
        list(pending_in_project(contracts, project, approving_in_project(contracts, project)))
    )
    for note in notes_of(contracts, project):
        yield Surprise("no approvals", "environments", note, serious=False)
