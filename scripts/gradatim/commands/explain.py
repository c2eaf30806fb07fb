"""gradatim explain: what the answers that flipped hang on."""

from __future__ import annotations

import click

from gradatim.commands import options


@click.command("explain", short_help="What the answers that flipped hang on.")
@click.argument("version", metavar="[VERSION]", required=False)
@click.option("--samples", type=click.IntRange(1, 50), default=6, show_default=True, help="Rows that are explained, the lost ones first.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0), default=300, show_default=True, help="Explain no row more once they are over.")  # fmt: skip
@options.stage
@options.contract
@options.as_json
def command(
    version: str | None,
    samples: int,
    seconds: float,
    stage: str | None,
    contract_path: str | None,
    json_wanted: bool,
) -> int:
    """What the parts of each row whose answer flipped (columns, patches of a picture, words) add to the scores of both models, by
    SHAP. VERSION, or the model here, beside the release that it would replace.

    What is found of the model here is a folded block of the next `gradatim report`, with what such numbers cannot tell.

    \b
    Examples:
      gradatim explain
      gradatim explain v1.1.0 --samples 3
    """
    from gradatim.checks.attribution import keep_explanation
    from gradatim.commands.opening import open_candidate
    from gradatim.evidence.codec import encode

    candidate = open_candidate(contract_path, stage)
    found, before, mine = keep_explanation(candidate, version, samples, seconds)
    if json_wanted:
        options.print_json(encode(found))
        return 0
    told = f"{found.of} of {found.rows} rows: {mine} answers otherwise than {before}."
    click.echo(options.row("", told))
    for flip in found.flips:
        truth = f", truly {flip.label}" if flip.label else ""
        click.echo(options.row(f"  row {flip.row}", f"{truth}: {flip.before} -> {flip.after}"))
        for part in flip.parts:
            added = f"{part.name}: {part.candidate:+.3g} here, {part.baseline:+.3g} before"
            click.echo(options.row("    ", added))
    if found.flips:
        click.echo(options.row("", found.told))
    return 0
