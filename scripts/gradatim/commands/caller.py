"""The one file that a team adds to its CI, for one model or for all of a repository: ``gradatim ci caller``."""

from __future__ import annotations

import click

from gradatim.commands import options
from gradatim.commands.render import project_of, write


@click.command("caller", short_help="Write the workflow file that a team adds.")
@options.contract
@click.option("--print", "print_only", is_flag=True, help="Print it; write nothing.")
@click.option("--force", is_flag=True, help="Replace a file that is there and says something else.")
def caller(contract_path: str | None, print_only: bool, force: bool) -> int:
    """Write .github/workflows/release.yml for the stages of the contract, pinned to the kit that is installed.

    Where the repository holds several contracts, one file calls the kit for all of them.

    \b
    Examples:
      gradatim ci caller
      gradatim ci caller --print
    """
    from gradatim.commands.opening import contracts_here, open_candidate
    from gradatim.rendering.systems import SYSTEMS

    contract = open_candidate(contracts_here(contract_path)[0]).contract
    if print_only:
        click.echo(SYSTEMS["github"].render(project_of(contract, "github")), nl=False)
        return 0
    click.echo(f"wrote {write(contract, 'github', force=force)}", err=True)
    click.echo("Next: commit it, then  gradatim doctor  and  gradatim protect", err=True)
    return 0
