"""gradatim canary: a candidate beside the release that it would replace, on traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate


@click.command("canary", short_help="Prove a candidate on traffic, recorded or live.")
@click.argument("version", metavar="[VERSION]", required=False)
@click.option("--replay", "recording", metavar="FILE", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Recorded requests: JSON lines, an access log with bodies, or a HAR file.")  # fmt: skip
@click.option("--force", is_flag=True, help="Begin anew, whatever was done before.")
@options.stage
@options.contract
@options.as_json
def command(
    version: str | None,
    recording: Path,
    force: bool,
    stage: str | None,
    contract_path: str | None,
    json_wanted: bool,
) -> int:
    """Send recorded requests through VERSION (or the model here) and the release that it would replace, and judge errors,
    agreement and latency by the gates under `canary`.

    A failed request is a failure; a recording without requests never passes. What was killed in the middle goes on where
    it was.

    \b
    Examples:
      gradatim canary --replay requests.jsonl
      gradatim canary v1.1.0 --replay access.log.jsonl --stage production
    """
    from gradatim.commands.opening import open_candidate

    return _replayed(open_candidate(contract_path, stage), version, recording, force, json_wanted)


def _replayed(
    candidate: Candidate, version: str | None, recording: Path, force: bool, json_wanted: bool
) -> int:
    from gradatim.checks.canary import judge_replay, rules_of
    from gradatim.checks.replay import replay, sides_of
    from gradatim.checks.requests import read_requests
    from gradatim.files import digest_of, sha256_file
    from gradatim.gates.verdict import Verdict

    baseline, mine = sides_of(candidate, version)
    requests = read_requests(recording)
    told = {"requests": sha256_file(recording), "baseline": baseline.digest, "candidate": mine.digest}
    candidate.workspace.prepare()
    record = candidate.workspace.folder / "canary" / f"{digest_of(told)[:16]}.jsonl"
    if force:
        record.unlink(missing_ok=True)
    with candidate.progress.task("canary", len(requests)) as advance:
        exchanges = replay(requests, baseline, mine, record, told, advance)
    results = judge_replay(rules_of(candidate.contract, candidate.stage), exchanges, baseline.label)
    verdict = Verdict.worst(result.verdict for result in results)
    first = next((exchange.error for exchange in exchanges if exchange.candidate is None), "")
    if json_wanted:
        options.print_json(
            {"baseline": baseline.label, "candidate": mine.label, "requests": len(exchanges), "verdict": verdict.value,
             "failed": sum(exchange.candidate is None for exchange in exchanges), "first_failure": first or None,
             "gates": [{"gate": r.gate, "verdict": r.verdict.value, "text": r.text, "value": r.value, "low": r.low,
                        "high": r.high, "n": r.n, "line": r.line} for r in results]}
        )  # fmt: skip
    else:
        click.echo(f"{mine.label} beside {baseline.label}, {len(exchanges)} requests of {recording.name}")
        for result in results:
            shown = options.coloured(f"{result.verdict.value:13}", result.verdict.value)
            click.echo(options.row(f"  {shown}", result.text))
        if first:
            click.echo(options.row("  first failure: ", first))
    return 0 if verdict is Verdict.PASS else 1
