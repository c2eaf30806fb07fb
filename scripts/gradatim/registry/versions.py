"""The next version, from the models themselves.

A caller that breaks makes a major version, a caller that sees more or something else a minor one,
the same behaviour in another package a patch.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradatim.errors import UsageError
from gradatim.registry.history import ModelHistory
from gradatim.registry.tags import SemVer
from gradatim.signature import Signature, Size, TensorSpec

FIRST = SemVer(1, 0, 0)
"""The first version: it passed its gates and is meant to be used, and SemVer's 0.y.z promises nothing."""


class Level(enum.IntEnum):
    """How much a release asks of its callers."""

    PATCH = 0
    MINOR = 1
    MAJOR = 2


@dataclass(frozen=True)
class Change:
    """What changed between two models, and how much that matters.

    Attributes:
        level: the greatest of the reasons' levels.
        reasons: for a person, those that decided the level first.
    """

    level: Level
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class NextVersion:
    """The version that a candidate gets.

    Attributes:
        version: with the stage's suffix, if it has one.
        previous: the last full release, None before the first.
        reasons: why it is this one.
    """

    version: SemVer
    previous: SemVer | None
    reasons: tuple[str, ...]


def compare(
    old: Signature,
    new: Signature,
    *,
    old_labels: Sequence[str | int] | None = None,
    new_labels: Sequence[str | int] | None = None,
    renamed: Mapping[str, str] | None = None,
    scores: tuple[str | None, str | None] = (None, None),
    filled: Mapping[str, object] | None = None,
    changed: int | None = None,
    of: int | None = None,
) -> Change:
    """What a candidate changes for those who call the release.

    Args:
        old, new: the signatures of the release and of the candidate.
        old_labels, new_labels: their label lists, in the order of the output; None when there are none.
        renamed: what the candidate calls labels of the release, by their names there.
        scores: what the scores of the two are, ``probabilities`` or ``logits``; None where nobody knows.
        filled: inputs that are new and that the candidate's contract fills with a constant, by name.
        changed: on how many items of the evaluation set the two behave differently; None when it was not
            measured, which counts as a change, for nothing proves that there is none.
        of: how many items were compared.

    Raises:
        UsageError: ``changed`` is negative or exceeds ``of``.
    """
    if changed is not None and not 0 <= changed <= (changed if of is None else of):
        raise UsageError(f"Behaviour cannot have changed on {changed} of {of} items.")
    before, after, names = _spelled(old_labels), _spelled(new_labels), renamed or {}
    found = [
        *_renamings(before, after, names),
        *_compare_labels(before and [names.get(label, label) for label in before], after),
        *_compare_tensors("input", old.inputs, new.inputs, None),
        *_fillings(filled or {}),
        *_compare_text(old.text, new.text),
        *_compare_tensors("output", old.outputs, new.outputs, _label_growth(before, after)),
        *_compare_scores(*scores),
    ]
    signature_changed = bool(found)
    items = f" of {of}" if of is not None else ""
    if changed is None:
        found.append((Level.MINOR, "behaviour was not compared, so it counts as changed"))
    elif changed:
        found.append((Level.MINOR, f"behaviour changed on {changed}{items} samples"))
    else:
        found.append((Level.PATCH, f"same behaviour on all{items} samples"))
    if not signature_changed:
        found.append((Level.PATCH, "signature unchanged"))
    found.sort(key=lambda reason: -reason[0])
    return Change(found[0][0], tuple(text for _, text in found))


def next_version(
    model: ModelHistory, change: Change | None, *, suffix: str | None = None, wanted: str | None = None
) -> NextVersion:
    """The version of the next release of a model.

    Pre-releases that are already out lead somewhere: after ``v2.0.0-rc.1`` comes ``v2.0.0``, unless the
    change asks for more.

    Args:
        model: what was released so far.
        change: what the candidate changes against the last release; None without anything to compare with.
        suffix: the stage's tag suffix (``beta`` makes ``v1.4.0-beta.1``, ...); None for a full release.
        wanted: ``--version``: the number asked for, which may only be higher than what the models ask for.

    Raises:
        UsageError: ``wanted`` is no version, exists already or is lower than what the models ask for.
    """
    last = model.latest.version if model.latest else None
    core, reasons = _next_core(model, change, last)
    if wanted is not None:
        asked = SemVer.parse(wanted)
        if asked.core < core:
            raise UsageError(
                f"The version {asked} is lower than {core}, which the models ask for: {'; '.join(reasons)}. "
                "`--version` can only raise it."
            )
        if asked.core > core:
            reasons = (f"{asked.core} was asked for, above the {core} that the models ask for", *reasons)
        core = asked.core
        if asked.is_prerelease:
            return NextVersion(_untaken(model, asked), last, reasons)
    if suffix:
        numbers = [
            release.version.number or 0
            for release in model.releases
            if release.version.core == core and release.version.suffix == suffix
        ]
        version = SemVer(core.major, core.minor, core.patch, f"{suffix}.{max(numbers, default=0) + 1}")
        return NextVersion(version, last, reasons)
    return NextVersion(_untaken(model, core), last, reasons)


def _next_core(
    model: ModelHistory, change: Change | None, last: SemVer | None
) -> tuple[SemVer, tuple[str, ...]]:
    reasons: tuple[str, ...]
    if last is None:
        core, reasons = FIRST, ("the first release",)
    else:
        level = change.level if change else Level.MINOR
        core = _bump(last, level)
        reasons = change.reasons if change else ("there is nothing to compare with",)
    led_to = [r.version.core for r in model.releases if r.active and r.version.is_prerelease]
    ahead = max([*led_to, core])
    if ahead > core:
        return ahead, (*reasons, f"pre-releases of {ahead} are out already")
    taken = {release.version for release in model.releases}
    while core in taken:  # a version withdrawn stays withdrawn: its number is not used twice
        reasons = (*reasons, f"{core} was withdrawn")
        core = _bump(core, Level.PATCH)
    return core, reasons


def _untaken(model: ModelHistory, version: SemVer) -> SemVer:
    if any(release.version == version for release in model.releases):
        raise UsageError(f"The version {version} exists already, and a version is never made twice.")
    newest = model.newest
    if newest is not None and version < newest.version and version.core == newest.version.core:
        raise UsageError(f"The version {version} would come before {newest.version}, which is out already.")
    return version


def _bump(version: SemVer, level: Level) -> SemVer:
    if level is Level.MAJOR:
        return SemVer(version.major + 1, 0, 0)
    if level is Level.MINOR:
        return SemVer(version.major, version.minor + 1, 0)
    return SemVer(version.major, version.minor, version.patch + 1)


_Reasons = list[tuple[Level, str]]


_Labels = list[str] | None


def _spelled(labels: Sequence[str | int] | None) -> _Labels:
    return None if labels is None else [str(label) for label in labels]


def _label_growth(old: _Labels, new: _Labels) -> tuple[int, int] | None:
    """From how many labels to how many, where labels were only added at the end."""
    if old is None or new is None or new[: len(old)] != old:
        return None
    return len(old), len(new)


def _renamings(old: _Labels, new: _Labels, renamed: Mapping[str, str]) -> _Reasons:
    pairs = [(was, now) for was, now in renamed.items() if was in (old or ()) and now in (new or ())]
    return [(Level.MAJOR, f"label `{was}` renamed `{now}`") for was, now in pairs]


def _compare_labels(old: _Labels, new: _Labels) -> _Reasons:
    if old is None or new is None or old == new:
        return []
    lost = [label for label in old if label not in new]
    if lost:
        return [(Level.MAJOR, f"label {_listed(lost)} removed or renamed")]
    added = [label for label in new if label not in old]
    if new[: len(old)] != old:
        return [(Level.MAJOR, "labels moved to other places")]
    counted = f"{len(new)} labels in place of {len(old)}"
    return [(Level.MINOR, f"label {_listed(added)} added"), (Level.MINOR, counted)]


def _fillings(filled: Mapping[str, object]) -> _Reasons:
    """An input that has a value already asks nothing of callers."""
    return [
        (Level.MINOR, f"input `{name}` added, which the contract fills with {value}")
        for name, value in filled.items()
    ]


def _compare_text(old: TensorSpec | None, new: TensorSpec | None) -> _Reasons:
    """Whether the model brings a tokenizer, so that callers may give it text."""
    if (old is None) == (new is None):
        return []
    if new is not None:
        return [(Level.MINOR, "text is taken: the model brings its tokenizer")]
    return [(Level.MAJOR, "text is no longer taken: the model brings no tokenizer")]


def _compare_scores(old: str | None, new: str | None) -> _Reasons:
    """A caller that holds a score against a threshold breaks."""
    if old is None or new is None or old == new:
        return []
    return [(Level.MAJOR, f"scores changed from {old} to {new}")]


def _compare_tensors(
    kind: str, old: Sequence[TensorSpec], new: Sequence[TensorSpec], grown: tuple[int, int] | None
) -> _Reasons:
    reasons: _Reasons = []
    before = {spec.name: spec for spec in old}
    after = {spec.name: spec for spec in new}
    for name in before.keys() - after.keys():
        reasons.append((Level.MAJOR, f"{kind} `{name}` removed or renamed"))
    for name in after.keys() - before.keys():
        level = Level.MAJOR if kind == "input" and not _may_be_left_out(after[name]) else Level.MINOR
        reasons.append((level, f"{kind} `{name}` added{_which_callers_may_omit(after[name])}"))
    for name in before.keys() & after.keys():
        reasons.extend(_compare_tensor(kind, before[name], after[name], grown))
    kept = [spec.name for spec in old if spec.name in after]
    places = [spec.name for spec in new]
    if not any(level is Level.MAJOR for level, _ in reasons) and places[: len(kept)] != kept:
        reasons.append((Level.MAJOR, f"{kind}s in another order: {_listed(places)}"))
    return sorted(reasons)


def _may_be_left_out(spec: TensorSpec) -> bool:
    """Whether callers of the model itself may: what gradatim fills in, they must give."""
    return spec.optional == "default"


def _which_callers_may_omit(spec: TensorSpec) -> str:
    return ", which callers may leave out" if _may_be_left_out(spec) else ""


def _compare_tensor(kind: str, old: TensorSpec, new: TensorSpec, grown: tuple[int, int] | None) -> _Reasons:
    name = f"{kind} `{old.name}`"
    if old.dtype != new.dtype:
        return [(Level.MAJOR, f"{name} changed from {old.dtype} to {new.dtype}")]
    if _may_be_left_out(old) != _may_be_left_out(new):
        free = _may_be_left_out(new)
        said = f"{name} may {'now' if free else 'no longer'} be left out"
        return [(Level.MINOR if free else Level.MAJOR, said)]
    if old.shape is None or new.shape is None:
        return []
    if len(old.shape) != len(new.shape):
        return [(Level.MAJOR, f"{name} changed from {len(old.shape)} to {len(new.shape)} axes")]
    reasons = []
    for axis, (before, after) in enumerate(zip(old.shape, new.shape, strict=True)):
        level = _compare_axis(kind, before, after, grown)
        if level is not None:
            sizes = f"from {_size(before)} to {_size(after)}"
            reasons.append((level, f"{name}: size of axis {axis} changed {sizes}"))
    return reasons


def _compare_axis(kind: str, old: Size, new: Size, grown: tuple[int, int] | None) -> Level | None:
    if isinstance(old, int) and isinstance(new, int):
        if old == new:
            return None
        return Level.MINOR if grown == (old, new) else Level.MAJOR
    if not isinstance(old, int) and not isinstance(new, int):
        return None  # dynamic before and after, whatever its name
    accepts_more = isinstance(old, int) == (kind == "input")
    return Level.MINOR if accepts_more else Level.MAJOR


def _size(axis: Size) -> str:
    return str(axis) if isinstance(axis, int) else "dynamic"


def _listed(names: Sequence[str | int]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
