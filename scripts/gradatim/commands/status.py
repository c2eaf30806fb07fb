"""gradatim status: what is in which stage, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gradatim.commands import options

if TYPE_CHECKING:
    from gradatim.registry.history import Registry, Release
    from gradatim.registry.state import ModelState, StageState


@click.command("status", short_help="What is in which stage, and what comes next.")
@options.contract
@click.option("--model", metavar="NAME", help="Only this model of the repository.")
@click.option("--fetch", is_flag=True, help="Ask the remote for tags first.")
@options.as_json
def command(contract_path: str | None, model: str | None, fetch: bool, json_wanted: bool) -> int:
    """Show what every stage holds, read from the tags of any git repository, with or without a contract.

    \b
    Examples:
      gradatim status
      gradatim status --fetch
      gradatim status --json | jq '.models[0].stages'
    """
    from gradatim.commands.registry_view import open_registry

    view = open_registry(contract_path, fetch=fetch)
    states = view.states(model)
    broken = 3 if any(stage.broken for state in states for stage in state.stages) else 0
    if json_wanted:
        options.print_json(
            {"models": [_record(state) for state in states], "warnings": list(view.registry.warnings)}
        )
        return broken
    if not states:
        click.echo("Nothing was released here yet: there is no version tag. See: gradatim run")
    for state in states:
        _show(state, view.approved, checkable=view.checkable)
    _warn(view.registry)
    return broken


def _show(state: ModelState, approved: frozenset[str], *, checkable: bool) -> None:
    click.echo(
        click.style(state.name or "(model without a name)", bold=True)
        + ("  deprecated" if state.deprecated else "")
    )
    held = {stage.release for stage in state.stages}
    if not state.stages or (state.newest is not None and state.newest not in held):
        newest = f"{state.newest}  {options.day(state.newest.date)}" if state.newest else "nothing"
        click.echo(f"  newest      {newest}")
    for stage in state.stages:
        facts = ", ".join(_facts(stage, approved, checkable=checkable))
        click.echo(options.row(f"  {stage.stage:<11} {stage.label:<16} ", facts))


def _facts(stage: StageState, approved: frozenset[str], *, checkable: bool) -> list[str]:
    if stage.broken is not None:
        return [f"{click.style('BROKEN', fg='red', bold=True)}: {stage.broken}"]
    if stage.since is None:
        return []
    facts = [f"since {options.day(stage.since)}"]
    if stage.release is not None:
        facts.append(_evidence(stage.release, there=stage.evidence))
        if stage.signed:
            facts.append("signed" if checkable else "signed, by whom the contract does not say")
        else:
            facts.append("unsigned, its tag signed by git" if stage.git_signed else "unsigned")
    if stage.soaked is not None and stage.soaked[1] > 0:
        from gradatim.registry.state import unit_of_days

        days, wanted = stage.soaked
        a_day, unit = unit_of_days(wanted)
        told = f"{wanted * a_day:g} {unit}"
        facts.append(f"soaking, {days * a_day:.0f} of {told}" if days < wanted else f"soaked {told}")
    if stage.approval or stage.stage in approved:
        facts.append(stage.approval or "no approval recorded")
    if stage.reason:
        facts.append(stage.reason)
    return facts


def _evidence(release: Release, *, there: bool) -> str:
    if release.manifest is None:
        return "not tagged by gradatim"
    return "evidence" if there else "no evidence here"


def _record(state: ModelState) -> dict[str, Any]:
    return {
        "name": state.name,
        "latest": _version(state.latest),
        "newest": _version(state.newest),
        "deprecated": state.deprecated,
        "stages": [
            {
                "stage": stage.stage,
                "version": _version(stage.release),
                "label": stage.label,
                "commit": stage.release.commit if stage.release else None,
                "manifest": stage.release.manifest if stage.release else None,
                "since": stage.since,
                "author": stage.author,
                "reason": stage.reason,
                "approval": stage.approval,
                "broken": stage.broken,
                "evidence": stage.evidence,
                "signed": stage.signed,
                "git_signed": stage.git_signed,
            }
            for stage in state.stages
        ],
    }


def _version(release: Release | None) -> str | None:
    return str(release) if release else None


def _warn(registry: Registry) -> None:
    for warning in registry.warnings[:5]:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    if not registry.complete:
        click.echo(
            f"{click.style('warning:', fg='yellow')} this is a shallow clone: older releases may be missing here. "
            "See them all with: gradatim status --fetch",
            err=True,
        )
