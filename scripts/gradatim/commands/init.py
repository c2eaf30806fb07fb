"""gradatim init: a contract for what is here, and the CI file that calls the kit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options
from gradatim.metrics.catalogue import TASKS
from gradatim.rendering.systems import SYSTEMS

if TYPE_CHECKING:
    from gradatim.projects.proposal import Proposal

_TASKS = [task for task in TASKS if task != "generation"]
"""A language model that is asked for text needs its prompts told, which nobody can guess."""


@click.command("init", short_help="Write a contract for the model and data found here.")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]")
@click.option(
    "--force", is_flag=True, help="Replace a contract that is there; the old one is kept as gradatim.yml.bak."
)
@click.option(
    "--task", type=click.Choice(_TASKS), help="What the model does, where you know better than what is seen."
)
@click.option(
    "--ci",
    type=click.Choice([*SYSTEMS, "none"]),
    help="The CI system to write the calling file for. Default: the one that the repository uses.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the contract; write nothing.")
def command(folder: Path | None, force: bool, task: str | None, ci: str | None, print_only: bool) -> int:
    """Look at the models and data of a repository and write a commented gradatim.yml for them.

    The model is asked about some rows of the data, and one batch goes through all that the contract says, before it is
    written. What cannot be told stands in the file as one question with both answers. Read the file, correct what is
    wrong, then: gradatim gate --plan, and gradatim run --until gate.

    \b
    Examples:
      gradatim init
      gradatim init --print
      gradatim init --force --task regression
      gradatim init models/digits --ci gitlab
    """
    from gradatim.projects.init import CONTRACT, propose, refuse_if_there, write
    from gradatim.projects.pictures import MODULE
    from gradatim.projects.text import render

    root = (folder or Path.cwd()).absolute()
    if not print_only:
        refuse_if_there(root / CONTRACT, force=force)
        _refuse_ci_without_git(root, ci)
    with options.progress().task("init", None):
        proposal = propose(root, task)
    if print_only:
        click.echo(render(proposal), nl=False)
        return 0
    path = write(proposal, force=force)
    click.echo(f"wrote {options.shown(path)}", err=True)
    if proposal.choice.module is not None:
        told = f"{options.shown(path.with_name(MODULE))}, which makes the model's numbers of pictures"
        click.echo(f"wrote {told}", err=True)
    for line in _seen(proposal):
        click.echo(options.row(f"  {line[:7]}", line[7:]), err=True)
    if proposal.versioned:
        _write_ci(path, ci, force=force)
    for note in proposal.notes:
        click.echo(options.row("  note: ", note), err=True)
    if not proposal.versioned:
        told = "This folder is in no git repository, and versions are kept in git:"
        click.echo(options.row("", told), err=True)
        click.echo('  git init && git add --all && git commit -m "A model"', err=True)
    click.echo("Next: read it, then", err=True)
    click.echo("  gradatim gate --plan         what each gate can see", err=True)
    click.echo("  gradatim run --until gate    everything but a release", err=True)
    return 0


def _seen(proposal: Proposal) -> list[str]:
    """What was found, in a few lines."""
    choice = proposal.choice
    named = " made by ".join(
        part for part in (choice.model.path if choice.model else "", choice.factory or "") if part
    )
    lines = [f"model  {named or 'none was found: the contract names a place for one'}"]
    if proposal.evaluation and choice.facts is not None:
        label = f"label `{choice.facts.label}`" if choice.facts.label else "no labels"
        lines.append(f"data   {proposal.evaluation}, {choice.facts.rows} rows, {label}")
    if proposal.reading is not None:
        lines.append(f"task   {proposal.reading.task.type}, since {proposal.reading.why}")
    if proposal.question:
        lines.append(f"?      {proposal.question}")
    return lines


def _refuse_ci_without_git(root: Path, ci: str | None) -> None:
    """Say before any work that a CI file has nowhere to go.

    Raises:
        UsageError: a CI system was named, and there is no repository.
    """
    from gradatim.errors import EnvironmentLacks, UsageError
    from gradatim.subversion import checkout

    if ci in (None, "none"):
        return
    try:
        checkout.open(root if root.is_dir() else root.parent)
    except EnvironmentLacks as error:
        raise UsageError(
            f"The file for {ci} belongs to a git repository, and {root} is in none. Make one with `git init`, then run the same command again; or leave --ci out."
        ) from error


def _write_ci(path: Path, ci: str | None, *, force: bool) -> None:
    """Write the file that calls the kit, for the system that was named or is in use; nothing where there is none."""
    from gradatim.ci.in_use import in_use
    from gradatim.commands.render import project_of, write
    from gradatim.contract.reading import read_contract
    from gradatim.errors import UsageError
    from gradatim.subversion import checkout

    top = checkout.open(path.parent)
    system = ci or in_use(top, {name: system.path for name, system in SYSTEMS.items()})
    if system not in SYSTEMS:
        if ci is None:
            named = ", ".join(name for name in SYSTEMS if name != "github")
            click.echo("  no CI system is in use here; for one:  gradatim init --force --ci github", err=True)
            click.echo(f"  (or {named})", err=True)
        return
    contract = read_contract(path)
    try:
        click.echo(f"wrote {write(contract, system, force=force and system != 'gitlab')}", err=True)
    except UsageError as error:
        if system == "gitlab":
            lines = str(SYSTEMS[system].render(project_of(contract, system))).removeprefix("include:\n")
            where = top.root / SYSTEMS[system].path
            click.echo(f"  {where} has an `include:` already; add to it:\n{lines.rstrip()}", err=True)
        elif ci is not None:
            raise
        else:
            click.echo(f"  note: {error}", err=True)
