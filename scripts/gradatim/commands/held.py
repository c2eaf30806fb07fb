"""gradatim ci held: what the stages hold that this event released to, promoted or rolled back, model by model."""

from __future__ import annotations

import json
from typing import Any

import click

from gradatim.commands import options

_NOTHING = "This event puts nothing into a stage."
_PUTS = ("release", "publish", "promote", "rollback")


@click.command("held", short_help="What this event's stages hold now.")
@options.contract
@click.option(
    "--models", default="", metavar="JSON", help="What `ci models` said. Default: the one model here."
)
@options.as_json
def held(contract_path: str | None, models: str, json_wanted: bool) -> int:
    """Say for every model what its stage holds, where this event puts something into one: whoever deploys reads it.

    It is read from the tags of the remote, which no other job of the run can write for it.

    \b
    Example:
      gradatim ci held --models "$MODELS"
    """
    from gradatim.errors import UsageError
    from gradatim.report.markdown import escape

    github = options.github()
    try:
        paths = [str(one["contract"]) for one in json.loads(models)] if models else [contract_path]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("`--models` takes what `gradatim ci models` gives.") from error
    found = dict(one for path in paths if (one := _of(path)))
    github.output({"releases": json.dumps(found)})
    rows = [
        f"| {escape(name)} | {escape(one['stage'])} | {escape(one['tag'] or 'nothing')} |"
        for name, one in found.items()
    ]
    table = "\n".join(["| model | stage | holds |", "|---|---|---|", *rows]) if rows else _NOTHING
    github.summarise(f"{table}\n")
    told = "\n".join(f"{name}: {one['stage']} holds {one['tag'] or 'nothing'}" for name, one in found.items())
    options.answer(json_wanted, found, told or _NOTHING)
    return 0


def _of(path: str | None) -> tuple[str, dict[str, Any]] | None:
    """A model and what its stage holds; None where the event puts nothing into one."""
    from gradatim.ci.occasion import occasion
    from gradatim.commands.registry_view import open_registry
    from gradatim.contract.reading import find_contract, read_contract

    github = options.github()
    parts = read_contract(find_contract(path)).parts
    asked = occasion(parts, github.place(), github.event_name, github.event(), "ubuntu-latest")
    if asked.kind not in _PUTS or asked.stage is None:
        return None
    holder = open_registry(path, fetch=True).registry.model(asked.name).holder(asked.stage)
    release = holder.release if holder else None
    said = options.standing(
        asked.stage,
        release.tag if release else "",
        str(release) if release else "",
        (holder.trailers.get("previous") or "") if holder else "",
        (release.manifest or "") if release else "",
    )
    report = f"gradatim-{asked.name}+{'gate' if asked.kind == 'release' else asked.kind}"
    return asked.name, {**said, "environment": asked.environment or "", "report": report}
