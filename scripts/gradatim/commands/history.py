"""gradatim history: every release and every move between stages."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from gradatim.commands import options


@click.command("history", short_help="Every release and every move between stages.")
@options.contract
@click.option("--model", metavar="NAME", help="Only this model of the repository.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N events.")
@options.as_json
def command(contract_path: str | None, model: str | None, last: int | None, json_wanted: bool) -> int:
    """Tell what happened to the models of a repository, oldest first: releases, promotions, rollbacks and why.

    \b
    Examples:
      gradatim history
      gradatim history --last 10
      gradatim history --json
    """
    from gradatim.commands.registry_view import open_registry
    from gradatim.registry.state import history, why

    view = open_registry(contract_path, fetch=False)
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
