"""gradatim ci: what the workflows call around the steps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options
from gradatim.commands.caller import caller
from gradatim.commands.held import held
from gradatim.commands.models import models

if TYPE_CHECKING:
    from gradatim.ci.archive import Places
    from gradatim.commands.registry_view import RegistryView

_READS = (
    "GitHub gives its run a token that can only read, and no secrets: it is checked like any other and its result stands on this page; "
    "no comment is written, no use of the data is counted, and a baseline in a private store is not read."
)
"""What whoever looks at a pull request from outside must know."""

_GUARD = "Name reviewers: `gradatim protect --reviewer LOGIN --apply`."


@click.group("ci", short_help="What CI workflows call around the steps.")
def command() -> None:
    """What CI workflows call around the steps: decide, hand over, tell. A person seldom needs these.

    \b
    Examples:
      gradatim ci plan
      NEEDS='{"build": {"outputs": {"workspace": "4f2c..."}}}' gradatim ci unpack --from downloads
      gradatim ci pack --to build.tar
    """


@command.command("plan", short_help="What this event asks for.")
@options.contract
@click.option(
    "--runner", default="ubuntu-latest", metavar="LABEL", help="The runner where the contract has none."
)
@click.option(
    "--jobs", default="split", metavar="HOW", help="`split`: a job a step; `folded`: one of all checks."
)
@click.option(
    "--requirements", default="", metavar="FILE", help="Your own requirements file, for the jobs of the plan."
)
@options.as_json
def plan(contract_path: str | None, runner: str, jobs: str, requirements: str, json_wanted: bool) -> int:
    """Read event and contract, and say what is to be done, for which stage, on which runner.

    \b
    Example:
      gradatim ci plan --runner ubuntu-24.04
    """
    from gradatim.ci.occasion import occasion
    from gradatim.contract.lookup import DEFAULT_PATH
    from gradatim.contract.reading import find_contract, read_contract

    github = options.github()
    read = read_contract(find_contract(contract_path))
    event, path = github.event(), read.parts.model.path
    committed = path is not None and _is_committed(read.root / path)

    def guarded(environment: str) -> bool:
        lacking = github.unguarded(environment)
        if lacking:
            github.summarise(f"{lacking} So no pull request is timed on its runner. {_GUARD}\n\n")
        return lacking is None

    place = github.place()
    found = occasion(
        read.parts, place, github.event_name, event, runner, jobs, committed=committed, guarded=guarded
    )
    said = {"contract": contract_path or DEFAULT_PATH, "requirements": requirements, **found.plan()}
    github.output({"plan": json.dumps(said)})
    if place.fork:
        whose = "This pull request is Dependabot's" if github.dependabot else "This pull request is a fork's"
        github.summarise(f"{whose}. {_READS}\n\n")
    where = f" for {found.stage}" if found.stage else ""
    on = (
        [found.runner.get("group"), *found.runner.get("labels", ())]
        if isinstance(found.runner, dict)
        else found.runner
    )
    told = f"{found.name}: {found.kind}{where}, on {', '.join(map(str, on))}"
    options.answer(json_wanted, said, told)
    return 0


@command.command("pack", short_help="Pack what this job added to the workspace.")
@options.contract
@click.option(
    "--to",
    "archive",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The archive to write.",
)
@options.as_json
def pack(contract_path: str | None, archive: Path, json_wanted: bool) -> int:
    """Write what this job added into one archive, and its digest into the job's outputs.

    \b
    Example:
      gradatim ci pack --to build.tar
    """
    from gradatim import ci
    from gradatim.ci import archive as archives
    from gradatim.contract.lookup import find_contract

    contract = find_contract(contract_path)
    places = _places(contract)
    digest = archives.pack(places, _built(places, contract), archive)
    ci.detect().output({"workspace": digest})
    options.answer(json_wanted, {"archive": str(archive), "workspace": digest}, f"{archive}  sha256:{digest}")
    return 0


@command.command("unpack", short_help="Take over what earlier jobs left.")
@options.contract
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the archives lie.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Every archive there: the CI system itself hands on what its jobs left.",
)
@options.as_json
def unpack(contract_path: str | None, folder: Path, every: bool, json_wanted: bool) -> int:
    """Check the archives of earlier jobs against the digests in NEEDS and BEFORE, and put their files in place.

    \b
    Example:
      gradatim ci unpack --from downloads
    """
    from gradatim.ci import archive as archives
    from gradatim.contract.lookup import find_contract

    digests = archives.digests_in(folder) if every else archives.digests_told(os.environ)
    files = archives.unpack(_places(find_contract(contract_path)), folder, digests)
    told = f"{files} files of {', '.join(sorted(digests)) or 'no job'}"
    options.answer(json_wanted, {"jobs": sorted(digests), "files": files}, told)
    return 0


@command.command("count", short_help="Count a use of the evaluation data.")
@options.contract
@options.as_json
def count(contract_path: str | None, json_wanted: bool) -> int:
    """Count the candidate on the evaluation data, on the remote, before another job evaluates it.

    For `data.uses`. It runs no code of the repository; the evaluation then finds the count where it is kept, in git.

    \b
    Example:
      gradatim ci count
    """
    from dataclasses import asdict

    from gradatim.candidate.uses import count_use
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import EnvironmentLacks, UsageError

    candidate = open_candidate(contract_path)
    found = count_use(candidate)
    planned = candidate.contract.parts.data.uses
    if found is None:
        raise UsageError(
            "The contract does not say for how many candidates its data must last: see `data.uses`."
        )
    if found.number is None:
        raise EnvironmentLacks(f"This use of the evaluation data could not be counted: {found.reason}")
    candidate.platform.output({"number": str(found.number)})
    told = f"use {found.number} of {planned} of the evaluation data"
    options.answer(json_wanted, {**asdict(found), "planned": planned}, told)
    return 0


@command.command("baseline", short_help="Fetch the release that would be replaced.")
@options.contract
@options.stage
@options.as_json
def baseline(contract_path: str | None, stage: str | None, json_wanted: bool) -> int:
    """Fetch the release that would be replaced, for jobs without the credentials that this takes.

    It runs no code of the repository, and what it fetches is checked against the release's manifest.

    \b
    Example:
      gradatim ci baseline
    """
    from gradatim.commands.opening import open_candidate

    candidate = open_candidate(contract_path, stage)
    found = candidate.replaced.fetch_all()
    options.answer(json_wanted, {"fetched": found}, ", ".join(found) or "nothing was released before")
    return 0


@command.command("comment", short_help="Say the result in the pull request.")
@options.contract
@options.as_json
def comment(contract_path: str | None, json_wanted: bool) -> int:
    """Say the result in one comment of the pull request, or one note of the merge request, updated in place.

    \b
    Example:
      gradatim ci comment
    """
    from gradatim.ci.comments import NOTES, number_of_request, put_result
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import BrokenEvidence
    from gradatim.files import read_json
    from gradatim.report.markdown import COMMENT_LIMIT, render_markdown
    from gradatim.report.model import Report

    candidate = open_candidate(contract_path)
    if candidate.place.fork:
        options.answer(json_wanted, {"comment": None}, f"No comment was written. {_READS}")
        return 0
    number = number_of_request(os.environ)
    record = candidate.workspace.report_data
    if not record.exists():
        raise BrokenEvidence("There is no report to tell of: the step `gate` came to no end. See its job.")
    run = f"\n[Everything about this run]({candidate.place.url})\n" if candidate.place.url else ""
    markdown = render_markdown(Report.from_json(read_json(record)), COMMENT_LIMIT - 1000) + run
    address = put_result(os.environ, number, candidate.name, markdown)
    told = address or f"There is no token, so no note was written: see {NOTES}."
    options.answer(json_wanted, {"comment": address}, told)
    return 0


@command.command("report", short_help="Show what every stage holds on the run's page.")
@options.contract
def report(contract_path: str | None) -> int:
    """Show what every stage holds, and what happened to it lately, on the page of the run.

    Where the contract has an `iteration`, its report is shown, and one issue is opened or updated with the plan.

    \b
    Example:
      gradatim ci report
    """
    from gradatim.commands.iterate import iteration_of, keep, put_plan
    from gradatim.commands.opening import open_candidate
    from gradatim.commands.registry_view import open_registry
    from gradatim.report.iteration import render_iteration

    view = open_registry(contract_path, fetch=True)
    asked = view.contract is not None and view.contract.parts.iteration is not None
    found = iteration_of(view, view.contract, None) if asked and view.contract else None
    markdown = render_iteration(found) if found else _standing(view)
    platform = open_candidate(contract_path).platform
    platform.summarise(markdown)
    click.echo(markdown, nl=False)
    if found is not None and view.contract is not None:  # shown and kept first: the forge may be away
        platform.output({"report": options.shown(keep(found, view.contract.root))})
        address = put_plan(found, markdown)
        click.echo(f"The plan: {address or 'there is no token, so no issue was opened'}", err=True)
    return 0


def _standing(view: RegistryView) -> str:
    from gradatim.registry.state import history, why
    from gradatim.report.markdown import escape

    lines = []
    for state in view.states(view.model):
        lines += [f"## {escape(state.name or 'model')}", "", "| stage | holds | since |", "|---|---|---|"]
        lines += [f"| {escape(s.stage)} | {escape(s.label)} | {options.day(s.since)} |" for s in state.stages]
    lines += ["", "| when | what | stage | why |", "|---|---|---|---|"]
    for event in history(view.registry, model=view.model)[-20:]:
        what, because = f"{event.action} {event.label}", why(event, view.approved)
        lines.append(
            f"| {options.day(event.date)} | {escape(what)} | {escape(event.stage or '')} | {escape(because)} |"
        )
    return "\n".join(lines) + "\n"


def _places(contract: Path) -> Places:
    """What travels between jobs lies here; told without checking the whole contract, as every job of a run asks it."""
    from gradatim.candidate.workspace import Workspace
    from gradatim.ci.archive import Places
    from gradatim.contract.written import written_model_path

    workspace = Workspace(contract.parent)
    workspace.prepare()
    return Places(workspace.folder, contract.parent, written_model_path(contract))


def _is_committed(path: Path) -> bool:
    from gradatim.errors import EnvironmentLacks
    from gradatim.subversion import checkout

    try:
        return checkout.open(path.parent if path.parent.is_dir() else Path.cwd()).tracks(path)
    except EnvironmentLacks:
        return False


def _built(places: Places, contract: Path) -> list[Path]:
    """Files of the model that a build in this job made: git does not hold them, and no earlier job sent them."""
    if places.model is None or places.has_arrived(places.model) or not (places.root / places.model).exists():
        return []
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import GradatimError

    candidate = open_candidate(str(contract))
    try:
        if candidate.repository.tracks(candidate.model.path):
            return []
        return [candidate.model.folder / entry.path for entry in candidate.forms.original.manifest.files]
    except GradatimError:
        return []  # a model that cannot be read is refused by the steps, in their own words


command.add_command(models)
command.add_command(caller)
command.add_command(held)
