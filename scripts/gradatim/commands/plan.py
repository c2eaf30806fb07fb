"""gradatim gate --plan: what each gate needs and can detect, before anything runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.release import Release


def show_plan(release: Release, *, json_wanted: bool) -> int:
    """Print one row a gate; exit 2 when a gate cannot pass with the data that there is.

    Raises:
        UsageError: the contract names no evaluation data to plan with.
    """
    from gradatim.steps.gate import plan_gates

    rows = plan_gates(release)
    impossible = [row for row in rows if not row.possible]
    if json_wanted:
        options.print_json({"gates": [asdict(row) for row in rows]})
        return 2 if impossible else 0
    for row in rows:
        mark = click.style("cannot pass", fg="red") if not row.possible else click.style("ok", fg="green")
        click.echo(f"  {row.gate:<32} {mark}  {row.text}")
    return 2 if impossible else 0
