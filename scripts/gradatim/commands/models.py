"""gradatim ci models: which models of the repository this event touches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.ci.github import GitHub
    from gradatim.ci.touched import Touched

NOTHING = "No model was touched."
"""What is said where there is nothing to do."""


@click.command("models", short_help="Which models this event touches.")
@click.option(
    "--requirements",
    default="",
    metavar="PATH",
    help="Your own requirements file, for models without one in their folder.",
)
@options.as_json
def models(requirements: str, json_wanted: bool) -> int:
    """Find every contract of the repository, and say which of them this event touches, as a matrix of jobs.

    A file touches the model of the nearest contract above it; a file above all contracts touches every model.

    \b
    Example:
      gradatim ci models --json
    """
    from gradatim.ci.contracts import find_contracts, refuse_clashes
    from gradatim.ci.touched import MOST, touched
    from gradatim.errors import UsageError
    from gradatim.subversion import checkout

    github = options.github()
    repository = checkout.open(Path.cwd())
    repository.require_git("gradatim ci models")
    entries = find_contracts(repository)
    if not entries:
        raise UsageError(
            "No gradatim.yml is committed in this repository. Write one with: gradatim init FOLDER"
        )
    refuse_clashes(entries)
    found = touched(repository, entries, github.event_name, github.event(), github.place().tag)
    if len(found) > MOST:
        raise UsageError(
            f"{len(found)} models are touched, and GitHub runs at most {MOST} jobs of one matrix. Split the change."
        )
    jobs = [_job(one, repository.root, requirements) for one in found]
    _tell(github, found, jobs)
    record = {"models": [{**job, "why": one.why} for job, one in zip(jobs, found, strict=True)]}
    told = "\n".join(f"{one.entry.name}: {one.why!r}" for one in found) or NOTHING
    options.answer(json_wanted, record, told)
    return 0


def _job(one: Touched, top: Path, requirements: str) -> dict[str, str]:
    """What the workflow of one model is given; its own requirements lie in its folder."""
    own = one.entry.folder / "requirements.txt"
    return {
        "name": one.entry.name,
        "contract": str(one.entry.path),
        "requirements": str(own) if (top / own).is_file() else requirements,
    }


def _tell(github: GitHub, found: list[Touched], jobs: list[dict[str, str]]) -> None:
    import json

    from gradatim.report.markdown import escape

    github.output({"models": json.dumps(jobs), "any": str(bool(jobs)).lower()})
    rows = [f"| {escape(one.entry.name)} | {escape(one.why)} |" for one in found]
    table = "\n".join(["| model | touched by |", "|---|---|", *rows]) if rows else NOTHING
    github.summarise(f"{table}\n")
