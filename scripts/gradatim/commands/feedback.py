"""gradatim feedback: what users said, joined to the versions that they used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.checks.feedback import Feedback


@click.group("feedback", short_help="Join what users said to versions.")
def command() -> None:
    """Join what users said to the versions that they used.

    \b
    Example:
      gradatim feedback import feedback.jsonl
    """


@command.command("import", short_help="Count feedback by version and slice; propose golden cases.")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--issues", "label", metavar="LABEL", help="Read the forge's issues that bear this label instead of a file.")  # fmt: skip
@click.option("--propose", metavar="FILE", type=click.Path(path_type=Path), help="Write the failures with a known right answer as rows, for a person to judge.")  # fmt: skip
@click.option("--pull-request", is_flag=True, help="Put that file into one pull request, opened once and then added to; without a token, only say so.")  # fmt: skip
@options.contract
@options.as_json
def import_(
    file: Path | None,
    label: str | None,
    propose: Path | None,
    pull_request: bool,
    contract_path: str | None,
    json_wanted: bool,
) -> int:
    """Read FILE (jsonl or csv: `version`, `good`, perhaps `expected`, inputs and slices) and count who was not served well.

    Of an issue the headings of its form are read, or lines as `version: v1.1.0`; without `good` it is a complaint. It needs the token
    of a job on GitHub or GitLab.

    Nothing personal is kept: counts, and with --propose the numbers that the model was given. Text never is, nor any
    other column. Nothing becomes a test by itself.

    \b
    Examples:
      gradatim feedback import feedback.csv
      gradatim feedback import feedback.jsonl --propose golden-proposed.jsonl
      gradatim feedback import --issues wrong-answer --propose golden-proposed.jsonl --pull-request
    """
    import json

    from gradatim.checks.feedback import count_feedback, read_feedback
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import UsageError
    from gradatim.files import write_text
    from gradatim.subversion import checkout

    if (file is None) == (label is None):
        raise UsageError(
            "Feedback is of a FILE or of the issues with a label, `--issues LABEL`: name one of the two."
        )
    if pull_request and propose is None:
        raise UsageError("A pull request holds the file of `--propose FILE`: name one in the repository.")
    candidate = open_candidate(contract_path)
    versions = {str(release) for release in candidate.registry.model(candidate.name).releases}
    data = candidate.contract.data_set("evaluation")
    inputs: tuple[str, ...] = ()
    slices: dict[str, set[str]] = {}
    if data is not None:
        rows = candidate.rows.dataset("evaluation", None)
        slices = {column: set(rows.slice_values(column).tolist()) for column in rows.slices}
        inputs = tuple(c for c in rows.columns if c not in (rows.label, rows.group, *slices))
    task = candidate.contract.parts.task
    labels = [str(label) for label in task.labels] if task else []
    right = (data.label if data else None) or "label"
    if file is not None:
        found = read_feedback(file, versions, inputs, slices, right, labels)
    else:
        found = count_feedback(
            _issues(str(label)), f"The label {label}", versions, inputs, slices, right, labels
        )
    if propose is not None:
        below = _below(checkout.open(candidate.root).root, propose) if pull_request else ""
        cases = "".join(json.dumps(row) + "\n" for row in found.proposed)
        write_text(propose, cases)
        if pull_request:
            click.echo(_requested(candidate.name, below, cases, found), err=True)
    if json_wanted:
        options.print_json(
            {"shares": [vars(share) for share in found.shares], "proposed": len(found.proposed),
             "unknown": found.unknown, "left_out": list(found.left_out)}
        )  # fmt: skip
        return 0
    _say(found, propose)
    return 0


def _say(found: Feedback, propose: Path | None) -> None:
    for share in found.shares:
        head = f"{share.version} {share.where}".strip()
        bounds = f"({100 * share.low:.1f} .. {100 * share.high:.1f})"
        click.echo(
            f"  {head}: {share.bad} of {share.n} not served well, {100 * share.bad / share.n:.1f} % {bounds}"
        )
    if found.unknown:
        click.echo(f"{found.unknown} lines name no released version, and are not counted.")
    if found.left_out:
        click.echo(f"Not kept: {', '.join(found.left_out)}.")
    where = f" in {options.shown(propose)}" if propose else "; --propose FILE writes them"
    click.echo(
        f"{len(found.proposed)} failures with a known right answer{where}. They become tests when a person says so."
    )


def _issues(label: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the forge's issues with this label say, as rows."""
    from gradatim.checks.feedback import rows_of_issues
    from gradatim.ci.issues import labelled_issues
    from gradatim.errors import EnvironmentLacks

    issues = labelled_issues(os.environ, label)
    if issues is None:
        raise EnvironmentLacks(
            "There is no token to read issues with: run it in a job with GITHUB_TOKEN (issues: read), or with GRADATIM_TOKEN on GitLab."
        )
    return rows_of_issues(issues)


def _below(top: Path, path: Path) -> str:
    from gradatim.errors import UsageError

    try:
        return path.resolve().relative_to(top.resolve()).as_posix()
    except ValueError as error:
        raise UsageError(f"{path} lies outside of the repository: a pull request cannot hold it.") from error


def _requested(name: str, path: str, cases: str, found: Feedback) -> str:
    """Put what is proposed into the model's one pull request; what became of it, in words."""
    from gradatim.ci.pull_request import PullRequest, put_pull_request

    if not cases:
        return "There is nothing to propose, and so no pull request."
    whole = {share.version: share for share in found.shares if not share.where}
    worse = [s for s in found.shares if s.where and s.low > whole[s.version].high]
    told = (
        f"{len(found.proposed)} answers that users called wrong, with what they say is right, are in `{path}`. Nothing is a test yet: look "
        "at each case, take out what is none, and merge what shall be held against later versions.\n"
    )
    if worse:
        told += "\nSlices that are served worse than the whole, to be gated (`slices:`):\n\n"
        told += "".join(f"- `{s.where}`: {s.bad} of {s.n} not served well by {s.version}\n" for s in worse)
    title = f"{name}: golden cases that users propose"
    address = put_pull_request(os.environ, PullRequest(f"gradatim/feedback-{name}", path, cases, title, told))
    return address or f"There is no token: the pull request `{title}` would be opened or added to."
