"""gradatim gate --plan: what each gate needs and can detect, before anything runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.gates.planning import PlanRow


def show_plan(candidate: Candidate, *, json_wanted: bool) -> int:
    """Print one row a gate; exit 2 when a gate cannot pass with the data that there is.

    Raises:
        UsageError: the contract names no evaluation data to plan with.
    """
    from gradatim.gates.planning import folded
    from gradatim.steps.gate import plan_gates

    rows = plan_gates(candidate)
    impossible = [row for row in rows if not row.possible]
    if json_wanted:
        options.print_json({"gates": [asdict(row) for row in rows]})
        return 2 if impossible else 0
    shown = folded(rows)
    width = max((len(row.gate) for row in shown), default=0)
    for row in shown:
        mark, colour = _mark(row)
        click.echo(f"  {row.gate:<{width}}  {click.style(f'{mark:<11}', fg=colour)}  {row.text}")
    return 2 if impossible else 0


def _mark(row: PlanRow) -> tuple[str, str]:
    """What to think of a gate at a glance, and the colour for it."""
    if not row.possible:
        return "cannot pass", "red"
    return ("few data", "yellow") if row.tight else ("ok", "green")
