"""gradatim init: a contract for what is here."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("init", short_help="Write a contract for the model and data found here.")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]")
@click.option(
    "--force", is_flag=True, help="Replace a contract that is there; the old one is kept as gradatim.yml.bak."
)
@click.option("--ci", type=click.Choice(["github"]), help="Also write the workflow file that calls the kit.")
@click.option("--print", "print_only", is_flag=True, help="Print the contract; write nothing.")
def command(folder: Path | None, force: bool, ci: str | None, print_only: bool) -> int:
    """Look at the models and data of a repository and write a commented gradatim.yml for them.

    Task, gates and stages are proposals from what is seen: the model's signature, the data's columns, the branches.
    Read the file, correct what is wrong, then: gradatim gate --plan, and gradatim run --until gate.

    \b
    Examples:
      gradatim init
      gradatim init --print
      gradatim init --ci github
      gradatim init models/digits --force
    """
    from gradatim.projects.init import propose, render, write

    proposal = propose((folder or Path.cwd()).absolute())
    if print_only:
        click.echo(render(proposal), nl=False)
        return 0
    path = write(proposal, force=force)
    click.echo(f"wrote {path}", err=True)
    if ci:
        click.echo(f"wrote {_write_caller(path, force=force)}", err=True)
    for note in proposal.notes:
        click.echo(f"  note: {note}", err=True)
    click.echo("Next: read it, then  gradatim gate --plan  and  gradatim run --until gate", err=True)
    return 0


def _write_caller(contract: Path, *, force: bool) -> Path:
    """Write the one workflow file that a repository on GitHub adds.

    Raises:
        UsageError: it is there already and ``force`` was not said.
        ContractError: the contract needs a person's hand before it can be called.
    """
    from gradatim.contract.reading import read_contract
    from gradatim.errors import UsageError
    from gradatim.files import write_text
    from gradatim.projects.workflows import CALLER, caller_of, render_caller
    from gradatim.registry.git import Repository

    top = Repository.find(contract.parent).root
    path = top / CALLER
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already, and nothing is overwritten. Say --force, or edit it by hand."
        )
    write_text(path, render_caller(caller_of(read_contract(contract), top)))
    return path
