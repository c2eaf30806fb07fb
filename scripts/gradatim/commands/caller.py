"""The one file that a team adds to its CI, for one model or for all of a repository: ``gradatim ci caller``, ``init``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.contract.reading import ReadContract


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
    from gradatim.commands.opening import open_candidate

    candidate = open_candidate(contract_path)
    candidate.repository.require_git("A workflow on GitHub")
    if print_only:
        click.echo(caller_text(candidate.contract, candidate.repository.root), nl=False)
        return 0
    click.echo(f"wrote {write_caller(candidate.contract, force=force)}", err=True)
    click.echo("Next: commit it, then  gradatim doctor  and  gradatim protect", err=True)
    return 0


def caller_text(contract: ReadContract, top: Path) -> str:
    """The workflow file for a contract and whatever others its repository holds."""
    return _text(_together(contract, top), top)


def write_caller(contract: ReadContract, *, force: bool) -> Path:
    """Write the workflow file, over one that somebody edited only when forced.

    Raises:
        UsageError: a file is there that no gradatim wrote, and ``force`` was not said; or there is no git here.
    """
    from gradatim.errors import UsageError
    from gradatim.files import write_text
    from gradatim.rendering.workflows import CALLER
    from gradatim.subversion import checkout

    repository = checkout.open(contract.root)
    repository.require_git("A workflow on GitHub")
    top = repository.root
    path, together = top / CALLER, _together(contract, top)
    text = _text(together, top)
    if path.exists() and not force:
        there = path.read_text(encoding="utf-8", errors="replace")
        others = [other for other in together if other.path != contract.path]
        # what an earlier call wrote, before this contract was there, is replaced; what a person wrote is not
        if there != text and not (others and there == _text(others, top)):
            raise UsageError(
                f"{path} is there and says something else. Compare it with: gradatim ci caller --print. "
                "Replace it with: gradatim ci caller --force"
            )
    write_text(path, text)
    return path


def add_include(contract: ReadContract) -> str | None:
    """Let ``.gitlab-ci.yml`` include the kit for a contract; a file that is there is added to, never rewritten.

    Returns:
        The lines to add by hand, where the file has an ``include:`` of its own that only a person can add to; else None.

    Raises:
        UsageError: there is no git here.
    """
    from gradatim.ci.contracts import beside
    from gradatim.ci.in_use import GITLAB_FILE
    from gradatim.files import write_text
    from gradatim.rendering.gitlab import PATH, render_caller
    from gradatim.subversion import checkout

    repository = checkout.open(contract.root)
    repository.require_git("A pipeline on GitLab")
    path = repository.root / GITLAB_FILE
    there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    model = contract.parts.model.path
    text = render_caller(
        contract,
        repository.root,
        others=bool(beside(contract.path)),
        committed=model is None
        or repository.tracks(contract.root / model)
        or contract.parts.model.build is None,
        stages=_stages(there),
        commit=_own_commit(),
    )
    inputs = text.split("inputs:\n", 1)[1]
    if PATH in there and inputs in there:
        return None
    if re.search(r"^include:", there, re.MULTILINE):
        return text.removeprefix("include:\n")
    write_text(path, f"{there.rstrip()}\n\n{text}" if there.strip() else text)
    return None


def _stages(text: str) -> list[str]:
    """The stages that a ``.gitlab-ci.yml`` names itself."""
    found = re.search(
        r"^stages:[ \t]*(?:\[(?P<flow>[^\]]*)\]|\n(?P<block>(?:[ \t]*-[^\n]*\n?)+))", text, re.MULTILINE
    )
    if found is None:
        return []
    words = (
        found["flow"].split(",")
        if found["flow"] is not None
        else re.findall(r"-[ \t]*([^\n#]+)", found["block"])
    )
    return [word.strip().strip("'\"") for word in words if word.strip()]


def _together(contract: ReadContract, top: Path) -> list[ReadContract]:
    """A contract and every other of its repository that can be read, in the order of their paths."""
    from gradatim.ci.contracts import beside

    others = [entry.read for entry in beside(contract.path) if entry.read is not None]
    return sorted(
        [contract, *others], key=lambda one: one.path.resolve().relative_to(top.resolve()).as_posix()
    )


def _text(contracts: list[ReadContract], top: Path) -> str:
    from gradatim.rendering.workflows import caller_of, render_caller

    return render_caller(caller_of(contracts, top, _own_commit()))


def _own_commit() -> str | None:
    """The commit that the installed kit was built from, where it or pip knows that: tags can be moved, commits cannot."""
    from gradatim.errors import installed_from

    noted = Path(__file__).parents[1] / "commit"  # by build.py of the kit
    if noted.is_file():
        return noted.read_text(encoding="ascii").strip()
    commit = installed_from().get("vcs_info", {}).get("commit_id")
    return str(commit) if commit else None
