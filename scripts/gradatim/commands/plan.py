"""gradatim gate --plan: what each gate needs and can detect, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate
    from gradatim.checks.rehearsal import Obstacle
    from gradatim.gates.plan_row import PlanRow

_ON_ANSWERS = ("quality", "comparison", "own", "robustness")
_ON_CALLS = (*_ON_ANSWERS, "timing")


def show_plan(candidate: Candidate, *, json_wanted: bool) -> int:
    """Print one row a gate, and what a run would stop at; exit 2 when a gate cannot pass with the data that there is.

    Raises:
        UsageError: the contract names no evaluation data to plan with.
    """
    from gradatim.checks.rehearsal import rehearse
    from gradatim.gates.plan_row import folded
    from gradatim.steps.gate import plan_gates, plan_together

    rows = plan_gates(candidate)
    together = plan_together(candidate, rows)
    obstacles = rehearse(candidate)
    rows = [_as_measured_here(candidate, _held_up(candidate, row, obstacles)) for row in rows]
    beside = [o for o in obstacles if not any(str(o.error) in row.text for row in rows)]
    code = (
        2 if any(not row.possible for row in rows) else max((o.error.exit_code for o in obstacles), default=0)
    )
    if json_wanted:
        told = [{"part": obstacle.part, "error": str(obstacle.error)} for obstacle in obstacles]
        options.print_json(
            {
                "gates": [asdict(row) for row in rows],
                "together": None if together is None else asdict(together),
                "obstacles": told,
            }
        )
        return code
    shown = folded(rows)
    width = max(
        (len(name) for name in (*(row.gate for row in shown), *(o.part for o in beside), "together")),
        default=0,
    )
    said: set[str] = set()
    for row in shown:
        mark, colour = _mark(row)
        text = _said_once(row.text, obstacles, said)
        click.echo(options.row(f"  {row.gate:<{width}}  {click.style(f'{mark:<11}', fg=colour)}  ", text))
    if together is not None and all(row.possible for row in rows):
        mark, colour = ("ok", "green") if together.enough else ("few data", "yellow")
        click.echo(
            options.row(f"  {'together':<{width}}  {click.style(f'{mark:<11}', fg=colour)}  ", together.text)
        )
    for obstacle in beside:
        head = f"  {obstacle.part:<{width}}  {click.style('would stop ', fg='red')}  "
        click.echo(options.row(head, _said_once(str(obstacle.error), (), said)))
    return code


def _said_once(text: str, obstacles: Sequence[Obstacle], said: set[str]) -> str:
    """A row's text, with paths as a person at this folder writes them; what stopped an earlier row is not said again."""
    for error in {str(obstacle.error) for obstacle in obstacles}:
        if error in text:
            text = text.replace(f": {error}", ", as said above.") if error in said else text
            said.add(error)
    return text.replace(f"{Path.cwd()}/", "")


def _held_up(candidate: Candidate, row: PlanRow, obstacles: Sequence[Obstacle]) -> PlanRow:
    """The row of a gate that nothing will be measured for: one batch already stops on the way to it."""
    from gradatim.metrics import catalogue

    task = candidate.contract.parts.task
    metric = row.gate.partition("[")[0]
    meaning = catalogue.find(metric, task.type if task else "", task.own if task else ())
    kind = "own" if meaning is None else meaning.kind
    for obstacle in obstacles:
        if kind in {"model": _ON_CALLS, "evaluation": _ON_CALLS, "task": _ON_ANSWERS}.get(obstacle.part, ()):
            return replace(
                row, possible=False, text=f"{row.wanted}; one batch already stops: {obstacle.error}"
            )
    return row


def _as_measured_here(candidate: Candidate, row: PlanRow) -> PlanRow:
    """The row of a comparison of timings with what `gradatim selftest benchmark` found on this machine, where it was run."""
    from gradatim.checks.selftest import Selftest

    found = Selftest.read(candidate.workspace.selftest) if row.possible and row.needed else None
    told = None if found is None else found.of(row.gate)
    return row if told is None else replace(row, text=f"{row.text} {told}")


def _mark(row: PlanRow) -> tuple[str, str]:
    """What to think of a gate at a glance, and the colour for it."""
    if not row.possible:
        return "cannot pass", "red"
    return ("few data", "yellow") if row.tight else ("ok", "green")
