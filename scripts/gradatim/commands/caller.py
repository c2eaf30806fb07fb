"""The one file that a team adds to its CI, for one model or for all of a repository: ``gradatim ci caller``."""

from __future__ import annotations

import click

from gradatim.commands import options
from gradatim.commands.render import project_of, write


@click.command("caller", short_help="Write the workflow file that a team adds.")
@options.contract
@click.option("--print", "print_only", is_flag=True, help="Print it; write nothing.")
@click.option(
    "--vendored",
    is_flag=True,
    help="With copies of the workflows that it calls, for GitHub Enterprise Server.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there and says something else.")
def caller(contract_path: str | None, print_only: bool, vendored: bool, force: bool) -> int:
    """Write .github/workflows/release.yml for the stages of the contract, pinned to the kit that is installed.

    Where the repository holds several contracts, one file calls the kit for all of them.

    \b
    Examples:
      gradatim ci caller
      gradatim ci caller --print
      gradatim ci caller --vendored
    """
    from gradatim.commands.opening import contracts_here, open_candidate
    from gradatim.errors import UsageError
    from gradatim.rendering.systems import SYSTEMS

    contract = open_candidate(contracts_here(contract_path)[0]).contract
    if vendored:
        from gradatim.files import write_text
        from gradatim.rendering.workflows import render_vendored

        project = project_of(contract, "github")
        for path, text in render_vendored(project).items():
            if print_only:
                click.echo(f"# {path}\n{text}")
                continue
            there = project.top / path
            if there.is_file() and there.read_text(encoding="utf-8") != text and not force:
                raise UsageError(f"{there} is there and says something else. Replace it with --force.")
            write_text(there, text)
            click.echo(f"wrote {there}", err=True)
        return 0
    if print_only:
        click.echo(SYSTEMS["github"].render(project_of(contract, "github")), nl=False)
        return 0
    click.echo(f"wrote {write(contract, 'github', force=force)}", err=True)
    click.echo("Next: commit it, then  gradatim doctor  and  gradatim protect", err=True)
    return 0
