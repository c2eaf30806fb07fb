"""gradatim rollback: a stage back to its last good release."""

from __future__ import annotations

import click

from gradatim.commands import options


@click.command("rollback", short_help="Put a stage back to its last good release.")
@click.argument("stage")
@click.option("--to", metavar="VERSION", help="The release to return to. Default: the last good one.")
@click.option(
    "--from", "out", metavar="VERSION", help="The release to take out. Default: what the stage holds."
)
@click.option("--reason", metavar="TEXT", required=True, help="Why, for the history.")
@options.contract
@options.dry_run
@options.as_json
def command(
    stage: str,
    to: str | None,
    out: str | None,
    reason: str,
    contract_path: str | None,
    dry_run: bool,
    json_wanted: bool,
) -> int:
    """Give STAGE back to the release that it held before. Nothing is evaluated again; tags are added, none is moved.

    The same rollback run again, with nothing changed since, does nothing and says what was done.

    \b
    Examples:
      gradatim rollback production --reason "p99 doubled in Oslo"
      gradatim rollback production --to v1.0.0 --reason "legal asked" --dry-run
      gradatim rollback production --from v1.1.0 --reason "that one is slow, too"
    """
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import UsageError
    from gradatim.steps import rollback

    if not reason.strip():
        raise UsageError(
            'A rollback needs a reason that a reader will understand: --reason "what went wrong"'
        )
    candidate = open_candidate(contract_path)
    planned = rollback.plan(candidate, stage, to, out=out, reason=reason)
    done = None if dry_run else rollback.run(candidate, planned, reason)
    if done is not None:
        target = planned.target
        options.tell(
            candidate, stage, target.tag, str(target.version), planned.now, str(target.manifest or "")
        )
    notes = planned.notes if done is None else (*planned.notes, *rollback.follow(candidate, planned))
    for note in notes:
        click.echo(f"note: {note}", err=True)
    tags = list(done.tags) if done else []
    already = bool(planned.done) or (done is not None and not done.created)
    record = {
        "stage": stage,
        "from": planned.now,
        "to": str(planned.target),
        "tags": tags,
        "done_before": already,
        "dry_run": dry_run,
    }
    told = f"{stage} is back at {planned.target} (it held {planned.now}): {reason}"
    if already:
        told = f"{stage} was put back from {planned.now} to {planned.target} already: nothing was done"
    elif done is None:
        told = f"would put {stage} back from {planned.now} to {planned.target}"
    if done is not None:
        options.summarise(candidate, "rollback", told)
    options.answer(json_wanted, record, options.row("", told))
    return 0
