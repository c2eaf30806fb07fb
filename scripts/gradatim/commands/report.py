"""gradatim report: the report of the last run, rendered again."""

from __future__ import annotations

from pathlib import Path

import click

from gradatim.commands import options


@click.command("report", short_help="Render the report of the last run again.")
@options.contract
@options.stage
@options.as_json
@click.option("--markdown", is_flag=True, help="Print the pull request's summary on standard output.")
@click.option("--card", is_flag=True, help="Print the model card.")
@click.option("--bom", is_flag=True, help="Print the ML-BOM (CycloneDX).")
@click.option("--tensorboard", "events", metavar="FOLDER", type=click.Path(path_type=Path), help="Add the run to a folder of TensorBoard event files.")  # fmt: skip
def command(
    contract_path: str | None,
    stage: str | None,
    json_wanted: bool,
    markdown: bool,
    card: bool,
    bom: bool,
    events: Path | None,
) -> int:
    """Render .gradatim/report.html, summary.md, report.json and junit/gates.xml from the evidence that is there.

    \b
    Examples:
      gradatim report
      gradatim report --markdown >> "$GITHUB_STEP_SUMMARY"
      gradatim report --card
      gradatim report --tensorboard runs/
      gradatim report --json | jq '.gates[] | select(.verdict != "PASS")'
    """
    from gradatim.commands.opening import open_candidate
    from gradatim.errors import BrokenEvidence
    from gradatim.report.bom import render_bom
    from gradatim.report.card import render_card
    from gradatim.report.collect import collect
    from gradatim.report.markdown import render_markdown
    from gradatim.report.writing import write_report

    candidate = open_candidate(contract_path, stage)
    if not candidate.workspace.has_evidence:
        raise BrokenEvidence(
            f"There is no evidence in {candidate.workspace.folder} to report on. Run: gradatim run --until gate"
        )
    report = collect(candidate)
    page = write_report(report, candidate.workspace)
    if events is not None:
        from gradatim.report.tensorboard import write_run

        click.echo(f"event files: {options.shown(write_run(report, events))}", err=True)
    if json_wanted:
        options.print_json(report.to_json())
    elif markdown:
        click.echo(render_markdown(report))
    elif card:
        click.echo(render_card(report), nl=False)
    elif bom:
        click.echo(render_bom(report), nl=False)
    else:
        click.echo(f"report: {page}")
    return 0
