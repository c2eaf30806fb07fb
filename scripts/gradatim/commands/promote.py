"""gradatim promote: a release one stage up, the same bytes."""

from __future__ import annotations

import click

from gradatim.commands import options


@click.command("promote", short_help="Move a release one stage up, the same bytes.")
@click.argument("stage")
@click.argument("version", required=False)
@options.contract
@options.dry_run
@options.as_json
def command(
    stage: str, version: str | None, contract_path: str | None, dry_run: bool, json_wanted: bool
) -> int:
    """Promote what the stage below holds (or VERSION) to STAGE.

    Nothing is built or measured again: the bytes and their evidence are verified, then they get their version in the
    stage above, and who let it through is kept beside it. Refused while evidence is missing or stale, an approval that
    the contract wants is missing, or the release has not soaked long enough.

    \b
    Examples:
      gradatim promote beta --dry-run
      gradatim promote production
      gradatim promote production v1.1.0-beta.2
    """
    from gradatim.commands.opening import open_candidate
    from gradatim.steps import promote

    candidate = open_candidate(contract_path)
    promotion = promote.plan(candidate, stage, version)
    before = candidate.registry.model(candidate.name).holder(stage)
    done = None if dry_run else promote.run(candidate, promotion)
    if done is not None:
        manifest = str(promotion.release.manifest or "")
        previous = before.label if before else ""
        options.tell(candidate, stage, done.announcement.tags[0], promotion.version, previous, manifest)
    for note in promotion.notes:
        click.echo(f"note: {note}", err=True)
    approval = promotion.approval
    record = {
        "promoted": str(promotion.release),
        "from": promotion.source,
        "stage": stage,
        "version": promotion.version,
        "tags": list(done.announcement.tags) if done else [],
        "approval": approval.to_json() if approval else None,
        "signature": promotion.signing.description if promotion.signing else None,
        "dry_run": dry_run,
    }
    moved = f"{promotion.release} from {promotion.source} to {stage} as {promotion.version}"
    if done is None:
        signature = promotion.signing.description if promotion.signing else "which is there already"
        told = f"would promote {moved}, {signature}"
    elif done.written:
        told = f"promoted {moved}, {(approval.text if approval else None) or 'no approval recorded'}"
    else:
        told = f"{promotion.version} is in {stage} already; nothing was written"
    if done is not None:
        options.summarise(candidate, "promote", told)
    options.answer(json_wanted, record, options.row("", told))
    return 0
