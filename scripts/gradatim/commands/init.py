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
        from gradatim.commands.caller import write_caller
        from gradatim.contract.reading import read_contract

        click.echo(f"wrote {write_caller(read_contract(path), force=force)}", err=True)
    for note in proposal.notes:
        click.echo(f"  note: {note}", err=True)
    click.echo("Next: read it, then  gradatim gate --plan  and  gradatim run --until gate", err=True)
    return 0
