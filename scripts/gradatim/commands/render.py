"""gradatim render: the file of a CI system, from the contract and the graph of steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options
from gradatim.rendering.systems import SYSTEMS

if TYPE_CHECKING:
    from gradatim.contract.reading import ReadContract
    from gradatim.rendering.jobs import Consumer


@click.command("render", short_help="Write the file of a CI system for the contract.")
@click.argument("platform", type=click.Choice(list(SYSTEMS)))
@options.contract
@click.option(
    "--check", is_flag=True, help="Write nothing; end with 1 where the file is not what would be rendered."
)
@click.option("--print", "print_only", is_flag=True, help="Print it; write nothing.")
@click.option("--force", is_flag=True, help="Replace a file that somebody else wrote.")
def command(platform: str, contract_path: str | None, check: bool, print_only: bool, force: bool) -> int:
    """Write what a CI system needs to walk the release: the same jobs, commands, stages and secrets on every one.

    A file that was rendered is rendered again; one that a person wrote is left alone.

    \b
    Examples:
      gradatim render jenkins
      gradatim render circleci --check
      gradatim render travis --print
    """
    from gradatim.contract.reading import find_contract, read_contract

    contract = read_contract(find_contract(contract_path))
    project = project_of(contract, platform)
    system = SYSTEMS[platform]
    if print_only:
        click.echo(system.render(project), nl=False)
        return 0
    if check:
        there = _text(project.top / system.path)
        if there and system.render(project, there) == there:
            click.echo(f"{system.path} is what the contract asks for.", err=True)
            return 0
        click.echo(
            f"{system.path} is not what the contract asks for. Run: gradatim render {platform}", err=True
        )
        return 1
    click.echo(f"wrote {write(contract, platform, force=force)}", err=True)
    return 0


def project_of(contract: ReadContract, platform: str) -> Consumer:
    """What a file for a contract is rendered from.

    Raises:
        EnvironmentLacks: the contract lies in no git repository.
        UsageError: it lies in Subversion.
    """
    from gradatim.ci.contracts import beside
    from gradatim.ci.occasion import extras_of
    from gradatim.contract.stores import STORES
    from gradatim.rendering.jobs import Consumer
    from gradatim.subversion import checkout

    repository = checkout.open(contract.root)
    repository.require_git(f"A pipeline of {SYSTEMS[platform].title}")
    parts = contract.parts
    stores = {STORES[place.kind].extra for place in parts.publish.to}
    extras = {*extras_of(parts), *stores, "sign" if parts.signing else None} - {None}
    model = parts.model
    committed = model.path is None or model.build is None or repository.tracks(contract.root / model.path)
    others = tuple(entry.read for entry in beside(contract.path) if entry.read is not None)
    return Consumer(
        contract, repository.root, tuple(sorted(map(str, extras))), committed, others, _own_commit()
    )


def write(contract: ReadContract, platform: str, *, force: bool = False) -> Path:
    """Write the file of a CI system, over one that somebody else wrote only when forced.

    Raises:
        UsageError: a file is there that no gradatim wrote, and ``force`` was not said; or there is no git here.
    """
    from gradatim.errors import UsageError
    from gradatim.files import write_text

    project, system = project_of(contract, platform), SYSTEMS[platform]
    path = project.top / system.path
    text = system.render(project, _text(path)) or (system.render(project) if force else None)
    if text is None:
        raise UsageError(
            f"{path} is there and says something else. Compare it with: gradatim render {platform} --print. "
            f"Replace it with: gradatim render {platform} --force"
        )
    write_text(path, text)
    if project.commit is None:
        click.echo(
            options.row(
                "note: ",
                f"{system.path} names the kit by its tag, which can be moved: this kit knows no commit of its own. "
                "One that was installed from a fresh clone or from a commit does, and pins it.",
            ),
            err=True,
        )
    return path


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _own_commit() -> str | None:
    """The commit that the installed kit was built from, where it or pip knows that: tags can be moved, commits cannot."""
    from gradatim.errors import installed_from

    noted = Path(__file__).parents[1] / "commit"  # by the hook hatch_build.py
    if noted.is_file():
        return noted.read_text(encoding="ascii").strip()
    commit = installed_from().get("vcs_info", {}).get("commit_id")
    return str(commit) if commit else None
