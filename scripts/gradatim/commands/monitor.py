"""gradatim monitor: what watches a release after it went out."""

from __future__ import annotations

from pathlib import Path

import click

from gradatim.commands import options


@click.group("monitor", short_help="Watch a release: rules, dashboard, drift.")
def command() -> None:
    """Watch a release: Prometheus' rules and a dashboard from the contract's gates, and drift of a batch of rows.

    \b
    Examples:
      gradatim monitor render
      gradatim monitor drift today.npz --stage production
    """


@command.command("render", short_help="Write Prometheus' rules and a Grafana dashboard from the gates.")
@click.option("--to", "folder", metavar="FOLDER", type=click.Path(path_type=Path), help="Where to. Default: monitoring/ beside the contract.")  # fmt: skip
@click.option("--requests", metavar="NAME", help="The counter of requests. Default: http_requests_total.")
@click.option("--failed", metavar="MATCHERS", help="What makes it count failed requests. Default: code=~\"5..\".")  # fmt: skip
@click.option("--latency", metavar="NAME", help="The histogram of seconds. Default: http_request_duration_seconds.")  # fmt: skip
@click.option("--label", metavar="LABEL", help="The label that holds the version. Default: version.")
@click.option("--runbook", metavar="URL", help="Where alerts send people. Default: gradatim's own page.")
@click.option("--check", is_flag=True, help="Write nothing; end with 1 where a file is not what would be rendered.")  # fmt: skip
@options.stage
@options.contract
def render(
    folder: Path | None,
    runbook: str | None,
    check: bool,
    stage: str | None,
    contract_path: str | None,
    **named: str | None,
) -> int:
    """Write NAME.rules.yml and NAME.dashboard.json: the same gates, the same bytes each time.

    A language model is watched under OpenTelemetry's names, `gen_ai.*`, unless others are given.

    \b
    Examples:
      gradatim monitor render
      gradatim monitor render --check
    """
    from dataclasses import replace

    from gradatim.checks.canary import rules_of
    from gradatim.checks.prometheus import Series
    from gradatim.commands.opening import open_candidate
    from gradatim.files import write_text
    from gradatim.rendering.monitoring import RUNBOOK, Watched, language_model, render_dashboard, render_rules

    candidate = open_candidate(contract_path, stage)
    task, plain = candidate.contract.parts.task, Series()
    watched = Watched(candidate.name, plain.requests, plain.failed, plain.latency, plain.label, {})
    if task is not None and task.type == "language_modelling":
        watched = language_model(candidate.name, plain.label)
    watched = replace(
        watched,
        requests=named["requests"] or watched.requests,
        failed=named["failed"] or watched.failed,
        latency=named["latency"] or watched.latency,
        label=named["label"] or watched.label,
    )
    rules = rules_of(candidate.contract, candidate.stage)
    target = folder or candidate.root / "monitoring"
    wanted = {
        target / f"{candidate.name}.rules.yml": render_rules(watched, rules, runbook or RUNBOOK),
        target / f"{candidate.name}.dashboard.json": render_dashboard(watched, rules),
    }
    if check:
        stale = [
            path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text
        ]
        for path in stale:
            click.echo(
                f"{options.shown(path)} is not what the contract asks for. Run: gradatim monitor render",
                err=True,
            )
        return 1 if stale else 0
    target.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        write_text(path, text)
        click.echo(f"wrote {options.shown(path)}", err=True)
    return 0


@command.command("drift", short_help="Compare a batch of rows with the evaluation data.")
@click.argument("batch", type=click.Path(path_type=Path, exists=True))
@click.option("--version", "version", metavar="VERSION", help="Whose answers are compared. Default: what the stage holds; else the model here.")  # fmt: skip
@options.stage
@options.contract
@options.as_json
def drift(
    batch: Path, version: str | None, stage: str | None, contract_path: str | None, json_wanted: bool
) -> int:
    """Compare inputs and answers of BATCH (rows as in `data.evaluation`, without labels) with those of the evaluation data.

    Ends with 1 where a column changed: proven with all columns counted in, and by enough to matter.

    \b
    Examples:
      gradatim monitor drift today.npz
      gradatim monitor drift yesterday.jsonl --stage production --json
    """
    from gradatim.checks.drift import drift_of
    from gradatim.checks.replay import side_of
    from gradatim.commands.opening import open_candidate
    from gradatim.gates.verdict import Verdict

    candidate = open_candidate(contract_path, stage)
    holder = candidate.registry.model(candidate.name).holder(candidate.stage or candidate.contract.ladder[-1])
    released = version or (str(holder.release) if holder and holder.release else None)
    side = side_of(candidate, released)
    found = drift_of(side, batch)
    verdict = Verdict.worst(one.verdict for one in found)
    if json_wanted:
        columns = [{**vars(one), "verdict": one.verdict.value} for one in found]
        options.print_json({"model": side.label, "verdict": verdict.value, "columns": columns})
        return 0 if verdict is Verdict.PASS else 1
    changed = [one for one in found if one.verdict is Verdict.FAIL]
    for one in changed or found[:3]:
        shown = options.coloured(f"{one.verdict.value:13}", one.verdict.value)
        click.echo(f"  {shown}{one.column}: PSI {one.psi:.2f}, {one.test} {one.statistic:.3g}, p {one.p:.2g}")
    told = {
        Verdict.PASS: f"{len(found)} columns, none changed by enough to matter",
        Verdict.FAIL: f"{len(changed)} of {len(found)} columns changed",
    }.get(verdict, "too few rows to tell: 30 are the least")
    click.echo(f"{side.label}: {told}.")
    return 0 if verdict is Verdict.PASS else 1
