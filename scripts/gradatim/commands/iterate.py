"""gradatim iterate: what the last turn of the ladder left, and what to do next."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.commands.registry_view import RegistryView
    from gradatim.contract.reading import ReadContract
    from gradatim.evidence.statement import Bundle
    from gradatim.gates.plan_row import PlanRow
    from gradatim.gates.verdict import GateResult
    from gradatim.registry.state import StageState
    from gradatim.report.iteration import IterationReport, Share

_DAYS = {"daily": 1, "weekly": 7, "fortnightly": 14, "monthly": 30}
_VERSIONS = 12
"""How many versions a picture goes back."""


@click.command("iterate", short_help="Report an iteration, and plan the next.")
@click.option("--since", metavar="DAY", help="Where the iteration began, as 2026-11-13. Default: one `iteration.cadence` ago.")  # fmt: skip
@click.option("--issue", is_flag=True, help="Open or update one issue with the plan; without a token, only say so.")  # fmt: skip
@options.contract
@options.as_json
def command(since: str | None, issue: bool, contract_path: str | None, json_wanted: bool) -> int:
    """Report what was released, how each gate moved over the versions, what users and drift say, how often the test set was
    used, and what the data cannot decide yet; and plan the next iteration from it.

    Everything is read from git and from the files that `iteration` names; no model is run. The page with the pictures is
    .gradatim/iteration.html.

    \b
    Examples:
      gradatim iterate
      gradatim iterate --since 2026-11-01 --issue
    """
    from gradatim.commands.registry_view import open_registry
    from gradatim.errors import UsageError
    from gradatim.report.iteration import render_iteration

    view = open_registry(contract_path, fetch=False)
    if view.contract is None:
        raise UsageError("There is no contract here, and so no iteration. Write one with: gradatim init")
    report = iteration_of(view, view.contract, since)
    page = keep(report, view.contract.root)
    markdown = render_iteration(report)
    address = put_plan(report, markdown) if issue else None
    record = {"name": report.name, "since": report.since, "until": report.until, "plan": report.plan, "issue": address,
              "page": str(page), "markdown": markdown}  # fmt: skip
    options.answer(json_wanted, record, options.readable(markdown))
    click.echo(f"With pictures: {options.shown(page)}", err=True)
    if issue:
        told = address or f"There is no token: the issue `{_title(report)}` would be opened or updated."
        click.echo(told, err=True)
    return 0


def put_plan(report: IterationReport, markdown: str) -> str | None:
    """Put the plan into the model's issue; its address, None without a token."""
    from gradatim.ci.issues import put_issue

    return put_issue(os.environ, report.name, _title(report), markdown)


def _title(report: IterationReport) -> str:
    return f"{report.name}: plan of the next iteration"


def keep(report: IterationReport, root: Path) -> Path:
    """Write ``iteration.html`` and ``iteration.md`` into the workspace; gives the first."""
    from gradatim.candidate.workspace import Workspace
    from gradatim.files import write_text
    from gradatim.report.iteration import render_iteration, render_iteration_page

    workspace = Workspace(root)
    workspace.prepare()
    page = workspace.folder / "iteration.html"
    write_text(page, render_iteration_page(report))
    write_text(page.with_suffix(".md"), render_iteration(report))
    return page


def iteration_of(view: RegistryView, contract: ReadContract, since: str | None) -> IterationReport:
    """Gather the report; no model is run and no code of the project.

    Raises:
        UsageError: the day is none.
        InvalidInput: a file of feedback or drift is broken.
        BrokenEvidence: the evidence of a release is.
    """
    from gradatim.registry.state import history, why
    from gradatim.report.iteration import IterationReport

    now = int(time.time())
    said = contract.parts.iteration
    began = _day(since) if since else now - _DAYS[(said.cadence if said else None) or "fortnightly"] * 86_400
    [state] = view.states(view.model)
    holds = tuple((s.stage, s.label, options.day(s.since)) for s in state.stages)
    events = tuple(
        (
            options.day(event.date),
            f"{event.action} {event.label}",
            event.stage or "",
            why(event, view.approved),
        )
        for event in history(view.registry, model=view.model)
        if event.date >= began
    )
    evidence = _evidence(view)
    judged = {version: _verdicts(bundle) for version, bundle in evidence.items()}
    newest = list(evidence.values())[-1] if evidence else None
    shares, proposed = _users(view, contract, newest)
    uses, notes = _uses(view, contract)
    return IterationReport(
        contract.parts.model.name,
        options.day(began),
        options.day(now),
        holds,
        events,
        _over_versions(judged),
        shares,
        proposed,
        _drift(contract),
        uses,
        _undecided(contract, view.ladder[-1], list(judged.values())[-1]) if judged else (),
        notes,
        tuple(_waiting(state.stages)),
    )


def _waiting(stages: Sequence[StageState]) -> Iterator[tuple[str, str, str, str]]:
    """Releases whose bytes the stage above does not hold."""
    for above, below in pairwise(stages):
        mine, theirs = below.release, above.release
        if mine is not None and (theirs is None or mine.manifest != theirs.manifest):
            yield below.label, below.stage, options.day(below.since), above.stage


def _day(text: str) -> int:
    import calendar

    from gradatim.errors import UsageError

    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%d"))
    except ValueError as error:
        raise UsageError(f"--since {text} is no day: write it as 2026-11-13.") from error


def _evidence(view: RegistryView) -> Mapping[str, Bundle]:
    """The evidence of each version, oldest first; of versions with the same bytes, of the highest."""
    from gradatim.evidence.statement import Bundle
    from gradatim.registry.ledger import versions_kept

    found: dict[str, tuple[str, Bundle]] = {}
    releases = sorted(view.registry.model(view.model).releases, key=lambda release: release.version)
    for version, manifest, statements in versions_kept(view.repository, releases):
        found.pop(manifest, None)
        found[manifest] = version, Bundle(tuple(statements))
    return dict(list(found.values())[-_VERSIONS:])


def _verdicts(evidence: Bundle) -> tuple[GateResult, ...]:
    return tuple(result for statement in evidence.of("gate") for result in statement.gates)


def _over_versions(
    judged: Mapping[str, tuple[GateResult, ...]],
) -> Mapping[str, tuple[tuple[str, GateResult], ...]]:
    """Each gate of the newest version, over all versions that had it."""
    over: dict[str, dict[str, GateResult]] = defaultdict(dict)
    for version, results in judged.items():
        for result in results:
            over[result.gate][version] = result
    newest = list(judged.values())[-1] if judged else ()
    return {result.gate: tuple(over[result.gate].items()) for result in newest}


def _undecided(contract: ReadContract, stage: str, newest: tuple[GateResult, ...]) -> tuple[PlanRow, ...]:
    """The gates that the samples of the newest evidence are too few for, and how many would do."""
    from gradatim.gates.plan_row import folded
    from gradatim.gates.planning import plan
    from gradatim.metrics.catalogue import TIMINGS

    task = contract.parts.task
    counts: dict[str, int] = {}
    for result in newest:
        where = result.gate.partition("[")[2].rstrip("]")
        timed = result.rule.startswith((*TIMINGS, "robustness"))
        if result.n and not timed and (not where or "=" in where):
            counts[where] = max(counts.get(where, 0), result.n)
    if task is None or "" not in counts:
        return ()
    rows = plan(contract.rules_for(stage), counts, task=task.type, own=task.own)
    return tuple(row for row in folded(rows) if row.tight or row.undecidable)


def _users(
    view: RegistryView, contract: ReadContract, newest: Bundle | None
) -> tuple[tuple[Share, ...], int]:
    """What users said, of all files together; slices and inputs are those that the newest evidence knows."""
    from gradatim.checks.feedback import read_feedback
    from gradatim.evidence.found import Inspected, Judged
    from gradatim.metrics.intervals import clopper_pearson
    from gradatim.report.iteration import Share

    said, data, task = contract.parts.iteration, contract.data_set("evaluation"), contract.parts.task
    if said is None or said.feedback is None:
        return (), 0
    judged = [Judged.of(one) for one in newest.of("gate")] if newest else []
    inspected = [Inspected.of(one) for one in newest.of("inspect")] if newest else []
    slices = {
        column: values
        for found in judged if found.grounds and found.grounds.task
        for column, values in found.grounds.task.columns.items()
    }  # fmt: skip
    inputs = [spec.name for found in inspected if found.signature for spec in found.signature.inputs]
    versions = {str(release) for release in view.registry.model(view.model).releases}
    labels = [str(label) for label in task.labels] if task else []
    label = (data.label if data else None) or "label"
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    proposed = 0
    for path in sorted(contract.root.glob(said.feedback)):
        one = read_feedback(path, versions, inputs, slices, label, labels)
        proposed += len(one.proposed)
        for share in one.shares:
            pair = counts[share.version, share.where]
            pair[0], pair[1] = pair[0] + share.bad, pair[1] + share.n
    return tuple(
        Share(*key, bad, n, *clopper_pearson(bad, n, 0.025)) for key, (bad, n) in sorted(counts.items())
    ), proposed


def _drift(contract: ReadContract) -> tuple[tuple[str, str], ...] | None:
    """What changed, as `gradatim monitor drift --json` said last; None where the contract names no such file or there is none."""
    from gradatim.errors import InvalidInput
    from gradatim.files import read_json

    said = contract.parts.iteration
    path = contract.root / said.drift if said and said.drift else None
    if path is None or not path.exists():
        return None
    try:
        return tuple(
            (str(one["column"]), f"PSI {one['psi']:.2f}, {one['test']}, p {one['p']:.2g}")
            for one in read_json(path)["columns"]
            if one["verdict"] == "FAIL"
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path} is not what `gradatim monitor drift --json` writes: {type(error).__name__}: {error}."
        ) from error


def _uses(view: RegistryView, contract: ReadContract) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """How often the test set was used, of how often it is planned for; and why that cannot be told."""
    from gradatim.candidate.uses import uses_spent
    from gradatim.errors import GradatimError

    try:
        spent = uses_spent(contract, view.repository)
    except GradatimError as error:
        return None, (f"How often the test set was used cannot be told: {error}",)
    return None if spent is None else (spent, contract.parts.data.uses or 0), ()
