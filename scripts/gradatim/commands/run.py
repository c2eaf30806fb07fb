"""gradatim run: the whole release, from build to publish."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options
from gradatim.commands.display import Display, before_lines, last_lines, told_lines
from gradatim.errors import ContractError, EnvironmentLacks, GradatimError, Problem
from gradatim.files import writing
from gradatim.pipeline.graph import CHECKS, Step, walk_order
from gradatim.pipeline.walk import StepResult, step_command, walk
from gradatim.progress import unseen

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.candidate.workspace import Workspace


@click.command("run", short_help="Walk the whole release, from build to publish.")
@options.contract
@options.stage
@click.option("--until", metavar="STEP", help="Stop after this step; `--until gate` changes nothing outside.")
@click.option("--only", metavar="STEP", multiple=True, help="Run just this step; may be given several times.")
@click.option("--force", is_flag=True, help="Run every step, also those whose evidence is already there.")
@options.version
@options.dry_run
@options.as_json
def command(
    contract_path: str | None,
    stage: str | None,
    until: str | None,
    only: tuple[str, ...],
    force: bool,
    version: str | None,
    dry_run: bool,
    json_wanted: bool,
) -> int:
    """Walk the release: build, inspect, compress, test, evaluate, benchmark, gate, tag, publish.

    Steps whose inputs have not changed are skipped. Every verdict is collected; after a refusal nothing is tagged.
    On a branch that holds no stage only the checks run.

    \b
    Examples:
      gradatim run
      gradatim run --until gate        check only
      gradatim run --stage beta --dry-run
      gradatim run --only evaluate --force
    """
    return run_release(
        contract_path, stage, until, only, version, force=force, dry_run=dry_run, json_wanted=json_wanted
    )


def run_release(
    contract_path: str | None,
    stage: str | None = None,
    until: str | None = None,
    only: tuple[str, ...] = (),
    version: str | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    json_wanted: bool = False,
) -> int:
    """Walk a release and tell how it went; returns the exit code."""
    from gradatim.commands.opening import open_candidate

    candidate = open_candidate(contract_path, stage)
    steps = walk_order(until, only)
    outward = [step for step in steps if step.outward]
    notes = []
    if outward and (candidate.stage is None or dry_run):
        steps = tuple(step for step in steps if not step.outward)
        reason = (
            "--dry-run" if dry_run else f"no stage belongs to {candidate.place.branch or 'a detached HEAD'}"
        )
        notes.append(f"{' and '.join(step.name for step in outward)} left out: {reason}")
    notes += _foreign(candidate)
    if any(step.name == "gate" for step in steps):
        _refuse_impossible_gates(candidate)
    candidate.wanted_version = version
    before = _obstacles(candidate, steps)
    display = Display([str(error) for error in before])
    if not json_wanted:
        click.echo(_heading(candidate), err=True)
        for line in told_lines("note", notes):
            click.echo(line, err=True)
        for line in before_lines([str(error) for error in before]):
            click.echo(line, err=True)
    began = time.monotonic()
    with _one_walk_at_a_time(candidate.workspace), unseen(), display.live():
        results = walk(
            steps,
            step_command(str(candidate.contract.path), stage, version, force=force),
            display,
            side_by_side=(os.cpu_count() or 1) > 1,
            standing=lambda step: (
                (_stopped(step, before) if before and step.outward else None)
                or (None if force else _standing(candidate, step))
            ),
        )
    said = {"notes": notes, "before": [str(error) for error in before]}
    return _finish(candidate, results, time.monotonic() - began, json_wanted=json_wanted, said=said)


def _obstacles(candidate: Candidate, steps: tuple[Step, ...]) -> list[GradatimError]:
    """What will stop the release; nothing is asked where no step leads outside, or where it is released already."""
    from gradatim.pipeline.standing import Standing

    outward = [step for step in steps if step.outward]
    try:
        known = Standing(candidate)
        if not outward or all(known.evidence(step.name) is not None for step in outward):
            return []
    except GradatimError:
        pass  # what is missing is said below, or by the step that needs it
    from gradatim.releasing.preflight import obstacles

    return obstacles(candidate)


def _stopped(step: Step, before: list[GradatimError]) -> StepResult:
    """An outward step that is not tried, since what stops it is known."""
    return StepResult(step.name, "error", before[0].exit_code, None, str(before[0]))


def _heading(candidate: Candidate) -> str:
    model = candidate.name
    where = f" for {candidate.stage}" if candidate.stage else ""
    try:
        held = candidate.replaced.held
        against = (
            f"{held.stage or 'the newest version is'}{' holds' if held.stage else ''} {held.label}"
            if held
            else "nothing released before"
        )
    except GradatimError:
        against = "baseline unknown"  # the steps that need it say why
    try:
        commit = candidate.repository.short(candidate.repository.head())
    except GradatimError:
        commit = "no commit"
    return options.row(f"{click.style(model, bold=True)}{where}  ", f"candidate {commit}  {against}")


def _foreign(candidate: Candidate) -> list[str]:
    """That the baseline is nothing that gradatim released, where that is so."""
    try:
        held = candidate.replaced.held
    except GradatimError:
        return []
    if held is None or held.version is None or held.manifest is not None:
        return []
    said = (
        f"{held.version} was not tagged by gradatim: the model in its commit is the baseline, and nothing vouches for it. If it "
        "is a version of something else, say `registry: {tags: named}`: then versions of the model bear its name."
    )
    return [said]


def _refuse_impossible_gates(candidate: Candidate) -> None:
    """Gates that no model could pass with this data are refused now, not after an hour of evaluation.

    Raises:
        ContractError: with each of them at its line.
    """
    from gradatim.gates.plan_row import folded
    from gradatim.pipeline.standing import Standing
    from gradatim.steps.gate import hopeless_gates

    try:
        if Standing(candidate).evidence("gate") is not None:
            return
        rows = folded(hopeless_gates(candidate))
    except GradatimError:
        return  # the step that needs what is missing or broken says so, and the others still run
    problems = [Problem(f"`{row.gate}` cannot pass: {row.text}", row.line or 1) for row in rows]
    if problems:
        raise ContractError(candidate.contract.path.name, problems)


def _standing(candidate: Candidate, step: Step) -> StepResult | None:
    """A step's result when its evidence still holds, told without starting a process."""
    from gradatim.pipeline.standing import Standing
    from gradatim.pipeline.step import StepRun

    try:
        statement = Standing(candidate.anew(same_registry=not step.outward)).evidence(step.name)
    except GradatimError:
        return None  # the step itself will say what is wrong
    if statement is None:
        return None
    run = StepRun(statement, skipped=True, seconds=0.0)
    record = run.to_json(candidate.contract.path.name)
    return StepResult(step.name, "skipped", run.code, statement.verdict.value, run.summary, 0.0, record)


def _finish(
    candidate: Candidate,
    results: list[StepResult],
    seconds: float,
    *,
    json_wanted: bool,
    said: dict[str, list[str]],
) -> int:
    codes = [result.code for result in results if result.code]
    code = (
        next((code for code in codes if code != 1), 1) if codes else 0
    )  # what broke first tells more than a refusal
    verdict = {0: "PASS", 1: "FAIL"}.get(code, "INVALID")
    tag = next((r.record.get("tag") for r in results if r.step == "tag" and r.code == 0), None)
    refused = {(f["gate"], f["variant"]): f for r in results for f in r.record.get("refusals", [])}
    for refusal in refused.values():
        options.refuse(candidate, refusal)
    outcome = _outcome(results, tag)
    report = _report(candidate, results, tag)
    if json_wanted:
        gates: list[str] = next((r.record.get("gates", []) for r in results if r.step == "gate"), [])
        options.print_json(
            {
                "model": candidate.name,
                "stage": candidate.stage,
                "verdict": verdict,
                "exit": code,
                "tag": tag,
                "gates": gates,
                "refusals": list(refused.values()),
                "steps": [result.to_json() for result in results],
                "report": str(report) if report else None,
                "seconds": round(seconds, 3),
                **said,
            }
        )
        return code
    for line in last_lines(outcome, verdict, f"report: {options.shown(report)}" if report else ""):
        click.echo(line, err=True)
    return code


def _report(candidate: Candidate, results: list[StepResult], tag: str | None) -> Path | None:
    """The report of this walk: the one that is there when nothing ran, else rendered from what ran."""
    path = candidate.workspace.report
    ended = [result for result in results if result.status in ("done", "refused", "skipped")]
    if path.exists() and all(result.status == "skipped" for result in results):
        return path
    if not ended:
        return None
    from gradatim.report.collect import collect
    from gradatim.report.writing import write_report

    fresh = candidate.anew(same_registry=False)
    walked = [result.step for result in ended]
    others = {step.name for step in CHECKS} - {result.step for result in results}
    try:
        report = collect(fresh, steps=[*walked, *others], outcome=_fate(results, tag), version=tag)
        write_report(report, candidate.workspace)
    except GradatimError as error:
        click.echo(f"  the report could not be written: {error}", err=True)
        return None
    return path


def _fate(results: list[StepResult], tag: str | None) -> str | None:
    """What became of the candidate, for the report."""
    if tag:
        published = any(result.step == "publish" and result.code == 0 for result in results)
        return f"tagged {tag}" + (" and published" if published else "")
    return "nothing was tagged" if any(result.code for result in results) else None


def _outcome(results: list[StepResult], tag: str | None) -> str:
    refused = [
        result.step
        for result in results
        if result.status in ("refused", "error") or (result.code and result.code > 0)
    ]
    undecided = {f["verdict"] for r in results for f in r.record.get("refusals", [])} == {"INCONCLUSIVE"}
    if tag is None and undecided and all(result.code in (0, 1, None) for result in results):
        return (
            "not proven by the data there is: nothing was tagged. More samples decide it, or a bound that these can "
            "prove: gradatim gate --plan says how many."
        )
    if refused:
        return (
            f"refused by {', '.join(refused)}: nothing was tagged."
            if tag is None
            else f"{tag} is tagged, but {refused[-1]} failed."
        )
    if tag:
        return f"released: {tag}." if any(r.step == "publish" for r in results) else f"tagged: {tag}."
    if any(result.step == "gate" for result in results):
        return "passed: every gate is proven."
    return "done."


@contextlib.contextmanager
def _one_walk_at_a_time(workspace: Workspace) -> Iterator[None]:
    """Lock the workspace, so that two walks never mix their evidence."""
    import fcntl

    workspace.prepare()
    with writing(workspace.folder):
        file = workspace.lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentLacks(
                f"Another gradatim is at work in {workspace.folder}. Wait for it to end, then run the same command again."
            ) from error
        yield
