"""gradatim history: every release and every move between stages."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.commands.registry_view import RegistryView
    from gradatim.evidence.trend import Trend

_VERSIONS = 60
"""So many versions are drawn where nobody says: what fits into a row."""


@click.command("history", short_help="Every release and every move between stages.")
@options.contract
@click.option("--model", metavar="NAME", help="Only this model of the repository.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N events.")
@click.option("--plot", is_flag=True, help="Draw size, quality and time of a call over the versions, with a gap between what cannot be compared.")  # fmt: skip
@options.as_json
def command(
    contract_path: str | None, model: str | None, last: int | None, plot: bool, json_wanted: bool
) -> int:
    """Tell what happened to the models of a repository, oldest first: releases, promotions, rollbacks and why.

    \b
    Examples:
      gradatim history
      gradatim history --last 10
      gradatim history --plot
      gradatim history --json
    """
    from gradatim.commands.registry_view import open_registry
    from gradatim.registry.state import history, why

    view = open_registry(contract_path, fetch=False)
    if plot:
        return _plot(view, model or view.model, last, json_wanted=json_wanted)
    events = history(view.registry, model=model)
    events = events[-last:] if last else events
    broken = 3 if any(event.broken for event in events) else 0
    if json_wanted:
        options.print_json({"events": [asdict(event) for event in events]})
        return broken
    if not events:
        click.echo("Nothing was released here yet: there is no version tag.")
    verbs = {
        "released": "released for",
        "withdrawn": "withdrawn from",
        "assigned": "into",
        "unassigned": "out of",
    }
    widest = max([18, *(len(" ".join(filter(None, (event.model, event.label)))) for event in events)])
    for event in events:
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(event.date))
        what = f"{verbs[event.action]} {event.stage}" if event.stage else event.action
        said = why(event, view.approved)
        because = f"  ({said})" if said else ""
        who = f"  {event.author}" if event.author else ""
        label = " ".join(filter(None, (event.model, event.label)))
        told = f"{label:<{widest}} {what:<24}{view.repository.short(event.commit)}{who}{because}"
        click.echo(options.row(f"{day}  ", told))
        if event.broken:
            click.echo(f"  {click.style('BROKEN', fg='red')}  {event.broken}")
    return broken


def _plot(view: RegistryView, model: str | None, last: int | None, *, json_wanted: bool) -> int:
    """What each version had, a row a metric; a gap lies between what cannot be compared."""
    from gradatim.evidence.trend import trends
    from gradatim.registry.ledger import versions_kept

    releases = view.registry.model(model).releases[-(last or _VERSIONS) :]
    found = trends(versions_kept(view.repository, releases))
    if json_wanted:
        options.print_json({"trends": [asdict(trend) for trend in found]})
        return 0
    if not found:
        click.echo("There is nothing to draw: no version here has evidence.")
    wide = max((len(trend.metric) for trend in found), default=0)
    for trend in found:
        head = f"{trend.metric:<{wide}}  {' '.join(_drawn(trend))}  "
        click.echo(options.row(head, f"{_point(trend, 0)} .. {_point(trend, -1)}{_apart(trend)}"))
    return 0


def _drawn(trend: Trend) -> list[str]:
    """A block a version, all on one scale."""
    from gradatim.report.blocks import spark

    values = [point.value for point in trend.points]
    return [spark([point.value for point in run], min(values), max(values)) for run in trend.runs()]


def _point(trend: Trend, place: int) -> str:
    from gradatim.report import numbers

    point = trend.points[place]
    return f"{point.version} {numbers.number_format([point.value], trend.unit, trend.metric)(point.value)}"


def _apart(trend: Trend) -> str:
    """Why there is a gap, if there is one."""
    runs = len(trend.runs())
    return (
        "" if runs == 1 else f", on {runs} {'kinds of machine' if trend.unit == 's' else 'data sets'} in turn"
    )
