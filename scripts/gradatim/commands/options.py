"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gradatim.commands import standard
from gradatim.errors import printable
from gradatim.progress import Bar, Events, Lines, Progress

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.ci.github import GitHub

_UNIT = re.compile(r"(?<=\d) (?=(?:%|points?|[mu]?s|min|[kMG]?B|m?J)(?![a-z]))")
_ROOM = 26
"""Columns beside a head in which a text still reads well."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def contract(function: _Function) -> _Function:
    """``--contract``: where the contract lies."""
    text = "The contract. Default: gradatim.yml here or above, or what pyproject.toml names."
    return click.option("--contract", "contract_path", metavar="PATH", help=text)(function)


def stage(function: _Function) -> _Function:
    """``--stage``: which rung of the ladder."""
    return click.option(
        "--stage", metavar="STAGE", help="The stage. Default: the one whose branch is checked out."
    )(function)


def version(function: _Function) -> _Function:
    """``--version``: the number to give; what is no version is refused before any work."""
    text = "The version to give; only ever above what the models ask for."
    return click.option("--version", "version", metavar="VERSION", callback=_version, help=text)(function)


def _version(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    if given is not None:
        from gradatim.registry.tags import SemVer

        SemVer.parse(given)
    return given


def as_json(function: _Function) -> _Function:
    """``--json``: one object for a machine instead of text for a person."""
    text = "Print one JSON object on standard output; text for people goes to standard error."
    return click.option("--json", "json_wanted", is_flag=True, help=text)(function)


def dry_run(function: _Function) -> _Function:
    """``--dry-run``: say what would change outside, change nothing."""
    return click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing outside.")(
        function
    )


def progress() -> Progress:
    """Where this process shows how far it has come."""
    if os.environ.get("GRADATIM_PROGRESS") == "events":
        return Events()
    watched = sys.stderr.isatty() and not os.environ.get(
        "CI"
    )  # a CI runner may offer a terminal that nobody looks at
    return Bar() if watched else Lines()


def github() -> GitHub:
    """The run of GitHub Actions that this process is part of.

    Raises:
        UsageError: it is part of none.
    """
    from gradatim import ci
    from gradatim.ci.github import GitHub
    from gradatim.errors import UsageError

    platform = ci.detect()
    if not isinstance(platform, GitHub):
        raise UsageError(
            "This command reads an event of GitHub Actions, and this is no run of GitHub Actions."
        )
    return platform


def refuse(candidate: Candidate, refusal: Mapping[str, Any]) -> None:
    """Mark the line of the contract that a candidate does not meet, where the CI system can show that."""
    try:
        top = candidate.top.resolve()
        path = candidate.contract.path.resolve().relative_to(top).as_posix()
    except ValueError:
        path = candidate.contract.path.name
    candidate.platform.refuse(
        refusal["text"],
        file=path,
        line=refusal.get("line"),
        title=f"{refusal['gate']}: {refusal['verdict']}",
    )


def tell(candidate: Candidate, stage: str, tag: str, version: str, previous: str, manifest: str) -> None:
    """Tell later jobs what a stage holds now, as `tag` does, and where its report lies."""
    report = report_of(candidate, manifest, version)
    candidate.platform.output({**standing(stage, tag, version, previous, manifest), "report": report})


def report_of(candidate: Candidate, manifest: str, version: str) -> str:
    """Take the report that a release carries out of git, for whoever looks at this run; its path, empty where it carries none."""
    from gradatim.evidence.release_record import REPORT_FILE
    from gradatim.files import write_bytes
    from gradatim.registry.ledger import open_ledger

    ledger, path = open_ledger(candidate.repository, manifest), f"{version}/{REPORT_FILE}"
    if path not in ledger.blobs:
        return ""
    write_bytes(candidate.workspace.held_report, ledger.read(path))
    return shown(candidate.workspace.held_report)


def standing(stage: str, tag: str, version: str, previous: str, manifest: str) -> dict[str, str]:
    """What whoever deploys must know of a stage, as outputs of a job."""
    return {
        "version": version.removeprefix("v"),
        "tag": tag,
        "stage": stage,
        "previous-version": previous.removeprefix("v"),
        "is-prerelease": str("-" in version).lower(),
        "manifest": manifest.removeprefix("sha256:"),
    }


def summarise(candidate: Candidate, verb: str, told: str) -> None:
    """Say on the page of the run what was done to a release."""
    from gradatim.report.markdown import escape

    candidate.platform.summarise(f"**{verb}**: {escape(told, 600)}\n\n")


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    standard.write_object(value)


def answer(json_wanted: bool, record: Any, text: str) -> None:
    """One JSON object for a machine, or a text for a person, on standard output."""
    if json_wanted:
        print_json(record)
    else:
        click.echo(text)


def day(seconds: int | None) -> str:
    """The day of a moment, in UTC; empty for none."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds is not None else ""


def shown(path: Path) -> str:
    """A path as a person at this folder writes it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def row(head: str, text: str) -> str:
    """A head and the text beside it, which is wrapped to a terminal, or to COLUMNS; in a pipe it stays on one line.

    Where little room is left beside the head, the text stands below it.
    """
    text = "".join(part if _COLOUR.fullmatch(part) else printable(part) for part in _COLOUR.split(text))
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return f"{head}{text}".rstrip()
    columns, taken = max(50, shutil.get_terminal_size().columns), len(click.unstyle(head))
    if taken + len(text) <= columns:
        return f"{head}{text}".rstrip()
    indent = taken if columns - taken >= _ROOM else 6
    lines = wrapped(text, columns - indent)
    lines = [head + lines[0], *lines[1:]] if indent == taken else [head.rstrip(), *lines]
    return f"\n{' ' * indent}".join(lines)


def readable(markdown: str) -> str:
    """Our markdown as a person reads it on a terminal, a table's row in words that may wrap; in a pipe it stays as it is."""
    if not sys.stdout.isatty():
        return markdown
    told: list[str] = []
    heads: list[str] = []
    for line in re.sub(r"^(###.*\n)\n", r"\1", markdown, flags=re.MULTILINE).splitlines():
        cells = [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and heads:
            parts = [f"{name}: {cell}" for name, cell in zip(heads, cells, strict=True) if cell.strip("-")]
            told += [row(f"  {cells[0]}  ", "; ".join(parts[1:]))] if parts else []
            continue
        heads = cells
        if line.startswith("#"):
            told.append(click.style(_plain(line.lstrip("# ")), bold=True))
        elif line.startswith("- [ ] "):
            told.append(row("  - ", _plain(line[6:])))
        elif not cells:
            told.append(row("", _plain(line).strip("_")))
    return "\n".join(told)


def _plain(text: str) -> str:
    """What `escape` of the report was given."""
    return html.unescape(re.sub(r"\\(.)", r"\1", text)).replace("\N{ZERO WIDTH SPACE}", "")


def wrapped(text: str, columns: int) -> list[str]:
    """A text in lines of so many columns, none of them torn between a number and its unit."""
    kept = _UNIT.sub("\N{NO-BREAK SPACE}", text)
    lines = textwrap.wrap(kept, columns, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


_COLOUR = re.compile("(\x1b\\[(?:0|1|3[0-7])m)")
"""What ``click.style`` writes for a colour, in bold, or to end either: it moves nothing."""

VERDICT_COLOURS = {"PASS": "green", "FAIL": "red", "INVALID": "red", "INCONCLUSIVE": "yellow"}


def coloured(text: str, verdict: str | None) -> str:
    """Text in its verdict's colour; click drops colours when the stream is no terminal."""
    return click.style(text, fg=VERDICT_COLOURS.get(verdict or ""))
