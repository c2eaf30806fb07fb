"""gradatim selftest: how far can this machine be trusted?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.checks.selftest import Gated, Selftest


@click.command("selftest", short_help="How far can this machine's timings be trusted?")
@click.argument("what", type=click.Choice(["benchmark"]))
@click.option(
    "--seconds", type=click.FloatRange(1), default=120, show_default=True, help="How long to measure for."
)
@click.option(
    "--budget",
    type=click.FloatRange(1),
    default=600,
    show_default=True,
    help="Seconds that a slow model may take at most.",
)
@options.stage
@options.contract
@options.as_json
def command(
    what: str, seconds: float, budget: float, stage: str | None, contract_path: str | None, json_wanted: bool
) -> int:
    """Time the model beside itself, and tell how often a latency gate would err on this machine and what it would see.

    Rounds are measured as `benchmark` takes them. Drawn from them: how often an equal model would be refused or left undecided,
    and one that is 1, 3, 5 or 10 % slower refused; then which margin holds here. It is kept in .gradatim/, and
    `gradatim gate --plan` tells it. Without a contract a small net is timed.

    \b
    Examples:
      gradatim selftest benchmark
      gradatim selftest benchmark --seconds 600
      gradatim selftest benchmark --json
    """
    from gradatim.checks.selftest import LEAST_ROUNDS, keep, selftest
    from gradatim.commands.opening import open_candidate
    from gradatim.commands.registry_view import contract_nearby

    known = contract_nearby(contract_path)
    candidate = None if known is None else open_candidate(str(known.path), stage)
    budget = max(budget, seconds)
    limits = f"{seconds:.0f} s, and {LEAST_ROUNDS} rounds if they take no longer than {budget:.0f} s"
    click.echo(options.row("  measuring  ", limits), err=True)
    found = selftest(candidate, seconds, options.progress(), budget)
    if candidate is not None:
        candidate.workspace.prepare()
        keep(found, candidate.workspace.selftest)
    if json_wanted:
        options.print_json({**asdict(found), "advice": found.advice()})
        return 0
    show(found)
    return 0


def show(found: Selftest) -> None:
    """Tell a person what was measured, what each gate does here, and what to do with it."""
    load = "" if found.load is None else f", load {found.load:.1f}"
    click.echo(options.row("  machine    ", f"{found.machine}{load}"))
    told = f"{found.model} beside itself, {found.rounds} rounds of {found.seconds:.2g} s in {found.jobs} job{'s' * (found.jobs > 1)}"
    click.echo(
        options.row("  measured   ", f"{told}; in {found.alarms} of them a false alarm at the first look")
    )
    for gated in found.gates:
        for line in _table(found, gated):
            click.echo(line)
    for text in found.advice():
        click.echo(options.row("  advice     ", text))


def _table(found: Selftest, gated: Gated) -> list[str]:
    """What the gate does with an equal model and with slower ones: a column each, as wide as the terminal leaves room for."""
    from gradatim.commands.display import width

    margin = f"{100 * gated.chances[0].margin:.3g} %"
    rows = {
        f"{gated.metric}, {margin}": [
            "equal" if not c.slowdown else f"+{100 * c.slowdown:.3g} %" for c in gated.chances
        ],
        "refused": [f"{100 * c.refused:.1f} %" for c in gated.chances],
        "undecided": [f"{100 * c.undecided:.1f} %" for c in gated.chances],
        "mean time": [f"{c.rounds * found.seconds:.0f} s" for c in gated.chances],
    }
    count = len(gated.chances)
    head = max(*map(len, rows), min(22, width() - 2 - 8 * count))
    room = max(8, min(10, (width() - 2 - head) // count))
    return [
        f"  {name:<{head}}" + "".join(f"{cell:>{room}}" for cell in cells) for name, cells in rows.items()
    ]
