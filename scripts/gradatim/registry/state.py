"""Where every model stands and what happened to it: data only, nothing is printed here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gradatim.errors import UsageError
from gradatim.registry.history import Assignment, ModelHistory, Registry, Release

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class StageState:
    """What one stage holds.

    Attributes:
        stage: its name.
        label: ``v1.1.0``, ``unregistered commit 9f2c41d``, or ``nothing``.
        release: the version; None when it holds nothing or a commit without one.
        since: when it was given the stage, seconds since 1970; None when it holds nothing.
        author: by whom.
        reason: why, where somebody said so (a rollback).
        approval: who approved it, as the platform told; None where nobody is known to have.
        evidence: whether git keeps evidence of it here.
        signed: whether the release is signed; ``verify`` tells whether that holds.
        git_signed: whether git itself signed the tag.
        inferred: True where no tag assigns the stage and the version's own suffix says it.
        broken: why what the tags say of it cannot be believed; None where nothing speaks against it.
        soaked: days in the stage, and days wanted; None where the contract wants none.
    """

    stage: str
    label: str
    release: Release | None = None
    since: int | None = None
    author: str = ""
    reason: str | None = None
    evidence: bool = False
    signed: bool = False
    git_signed: bool = False
    inferred: bool = False
    soaked: tuple[float, float] | None = None
    approval: str | None = None
    broken: str | None = None


@dataclass(frozen=True)
class ModelState:
    """Where one model stands.

    Attributes:
        name: the model; None where a repository with bare tags names none.
        latest: the highest full release.
        newest: the highest version, pre-releases included.
        stages: top of the ladder first.
        deprecated: whether the model was given up.
    """

    name: str | None
    latest: Release | None
    newest: Release | None
    stages: tuple[StageState, ...]
    deprecated: bool


@dataclass(frozen=True)
class StageEvent:
    """One thing that happened, told by one tag.

    Attributes:
        action: ``released``, ``withdrawn``, ``assigned``, ``unassigned``.
        label: the version, or the commit that bears none.
        date: seconds since 1970, for people to read.
        broken: why the tag cannot be believed; None where nothing speaks against it.
    """

    action: Literal["released", "withdrawn", "assigned", "unassigned"]
    model: str | None
    label: str
    stage: str | None
    tag: str
    commit: str
    date: int
    author: str
    reason: str | None = None
    approval: str | None = None
    broken: str | None = None


def status(
    registry: Registry,
    *,
    model: str | None = None,
    ladder: Sequence[str] = (),
    suffixes: Mapping[str, str | None] | None = None,
    soak: Mapping[str, float] | None = None,
    now: float | None = None,
) -> list[ModelState]:
    """Where every model stands, or one of them.

    Args:
        registry: the tags.
        model: only this one.
        ladder: the contract's stages, lowest first; further stages that tags know come after them.
        suffixes: tag suffix by stage of the contract (None for full releases): where no tag ever assigned a
            stage, the newest version with its suffix stands in it.
        soak: days that a release must stay in a stage, by stage.
        now: seconds since 1970, to say how long a release has soaked.

    Raises:
        UsageError: there is no such model.
    """
    if model is not None and model not in registry.models:
        known = ", ".join(sorted(name for name in registry.models if name)) or "none"
        raise UsageError(f"There is no model `{model}` in this repository. Known: {known}.")
    wanted = [registry.models[model]] if model is not None else list(registry.models.values())
    return [_model_state(registry, found, ladder, suffixes or {}, soak or {}, now) for found in wanted]


def history(registry: Registry, *, model: str | None = None) -> list[StageEvent]:
    """Everything that happened to a model, or to all, oldest first.

    Assignments stand in the order of their counters and releases in that of their versions; dates only
    interleave the two.
    """
    models = [registry.model(model)] if model is not None else list(registry.models.values())
    return [event for found in models for event in _merge(_released(found), _assigned(found))]


def why(event: StageEvent, approved: Collection[str]) -> str:
    """Who approved an event and for which reason, in words.

    Args:
        event: what happened.
        approved: stages that the contract lets nothing into without an approval.
    """
    wanted = event.action == "assigned" and event.stage in approved
    approval = event.approval or ("no approval recorded" if wanted else None)
    return ", ".join(part for part in (approval, event.reason) if part)


def _model_state(
    registry: Registry,
    model: ModelHistory,
    ladder: Sequence[str],
    suffixes: Mapping[str, str | None],
    soak: Mapping[str, float],
    now: float | None,
) -> ModelState:
    others = [stage for stage in model.stages if stage not in ladder]
    states = []
    for stage in (*reversed(ladder), *others):
        state = _stage_state(registry, model, stage, suffixes)
        if stage in soak and state.since is not None and now is not None:
            days = max(0.0, (now - state.since) / SECONDS_PER_DAY)
            state = replace(state, soaked=(days, soak[stage]))
        states.append(state)
    return ModelState(model.name, model.latest, model.newest, tuple(states), model.deprecated)


def _stage_state(
    registry: Registry, model: ModelHistory, stage: str, suffixes: Mapping[str, str | None]
) -> StageState:
    holder = model.holder(stage)
    if holder is not None:
        return StageState(
            stage,
            holder.label,
            holder.release,
            holder.date,
            holder.author,
            holder.trailers.get("reason"),
            _has_evidence(registry, holder.release),
            holder.release is not None and holder.release.signature is not None,
            holder.release is not None and holder.release.git_signed,
            approval=holder.trailers.get("approval"),
            broken=holder.contradiction,
        )
    if stage in suffixes and stage not in model.stages:
        suffix = suffixes[stage]
        fitting = [r for r in model.releases if r.active and r.version.suffix == (suffix or "")]
        if fitting:
            release = fitting[-1]
            return StageState(
                stage,
                str(release),
                release,
                release.date,
                release.author,
                evidence=_has_evidence(registry, release),
                signed=release.signature is not None,
                git_signed=release.git_signed,
                inferred=True,
            )
    return StageState(stage, "nothing")


def _has_evidence(registry: Registry, release: Release | None) -> bool:
    return release is not None and release.manifest in registry.ledgers


def _released(model: ModelHistory) -> list[StageEvent]:
    return [
        StageEvent(
            "released" if release.active else "withdrawn",
            model.name,
            str(release),
            release.stage,
            release.tag,
            release.commit,
            release.date,
            release.author,
        )
        for release in model.releases
    ]


def _assigned(model: ModelHistory) -> list[StageEvent]:
    return [_event(model, assignment) for assignment in model.assignments]


def _event(model: ModelHistory, assignment: Assignment) -> StageEvent:
    return StageEvent(
        "assigned" if assignment.assigned else "unassigned",
        model.name,
        assignment.label,
        assignment.stage,
        assignment.tag,
        assignment.commit,
        assignment.date,
        assignment.author,
        assignment.trailers.get("reason"),
        assignment.trailers.get("approval"),
        assignment.contradiction,
    )


def _merge(releases: list[StageEvent], assignments: list[StageEvent]) -> list[StageEvent]:
    """Interleave two lists without disturbing the order of either."""
    merged: list[StageEvent] = []
    place = {event.label: number for number, event in enumerate(releases)}
    told = 0
    for assignment in assignments:
        needed = place.get(assignment.label, -1)
        while told < len(releases) and (told <= needed or releases[told].date < assignment.date):
            merged.append(releases[told])
            told += 1
        merged.append(assignment)
    return merged + releases[told:]


def unit_of_days(days: float) -> tuple[float, str]:
    """How many of a unit a day has, and its name: days, or what tells a shorter time without a fraction."""
    known = ((1.0, "days"), (24.0, "hours"), (1440.0, "minutes"), (86_400.0, "seconds"))
    return next((unit for unit in known if days * unit[0] >= 1), known[-1])
