"""Shards of a step: what each job leaves of its rows, and all of them together in place of a walk over every row."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim import __version__
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.workspace import Workspace
from gradatim.errors import BrokenEvidence, GradatimError, UsageError
from gradatim.evidence.found import ShardRows, Shared
from gradatim.evidence.statement import Statement
from gradatim.files import cannot_write, list_files, write_bytes
from gradatim.shard import Shard, shards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.metrics.predictions import Predictions

STATEMENT = "statement.json"
_ADDED = ("gradatim", "device")
"""What the walk adds to the inputs of a step, and which says nothing about the rows."""


@dataclass(frozen=True)
class Part:
    """What one shard left.

    Attributes:
        shard: which one.
        folder: where its predictions lie, a folder each by name.
        start: the place of its first row among all rows of the step.
        rows: how many it has; none where there were fewer batches than shards.
        statement: what it says of itself.
        broken: why answers are missing, by the folder where they would lie; None of a step that has none to miss.
    """

    shard: Shard
    folder: Path
    start: int
    rows: int
    statement: Statement
    broken: Mapping[str, str] | None = None


def begin(candidate: Candidate, step: str, shard: Shard) -> Path:
    """An empty folder for what a shard leaves; its last statement is gone before anything else.

    Raises:
        EnvironmentLacks: it cannot be written.
    """
    folder = candidate.workspace.shard_folder(step, shard)
    try:
        (folder / STATEMENT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def left(
    candidate: Candidate,
    shard: Shard,
    folder: Path,
    start: int,
    rows: int,
    total: int,
    broken: Mapping[str, str] | None = None,
) -> Outcome:
    """What a shard found, bound to every file that it leaves.

    Args:
        folder: where they lie.
        start: the place of its first row.
        rows: how many it had.
        total: how many there are in all shards.
        broken: why answers are missing, by the folder where they would lie.
    """
    told = f"rows {start + 1} to {start + rows} of {total}" if rows else f"none of the {total} rows"
    subjects = {variant.name: variant.manifest.digest for variant in candidate.forms.all}
    found = Shared(ShardRows(shard.number, shard.of, start, rows, total), broken)
    outputs = tuple(folder / name for name in list_files(folder))
    return Outcome(f"shard {shard}: {told}", subjects, found=found, outputs=outputs)


def save(workspace: Workspace, step: str, shard: Shard, statement: Statement) -> None:
    """Write what a shard says of itself, after everything else that it leaves."""
    write_bytes(workspace.shard_folder(step, shard) / STATEMENT, statement.to_bytes())


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a shard left, by name below the folder of all shards, to be sent from one machine to another."""
    return {f"{folder.name}/{name}": (folder / name).read_bytes() for name in list_files(folder)}


def take_over(folder: Path, sent: Mapping[str, bytes]) -> None:
    """Write what a shard left elsewhere below the folder of all shards; the merge checks it like any other."""
    for name, data in sorted(sent.items(), key=lambda one: one[0].endswith(f"/{STATEMENT}")):
        write_bytes(folder / name, data)


def statement_of(workspace: Workspace, step: str, shard: Shard) -> Statement | None:
    """What a shard says of itself; None when it left nothing.

    Raises:
        BrokenEvidence: it is not a whole statement of this shard.
    """
    path = workspace.shard_folder(step, shard) / STATEMENT
    if not path.is_file():
        return None
    statement = Statement.from_bytes(path.read_bytes(), str(path))
    if statement.step != name_of(step, shard):
        raise _broken(step, shard, f"it is what `{statement.step}` left")
    return statement


def name_of(step: str, shard: Shard) -> str:
    """The step that a shard's statement speaks of: never the whole one."""
    return f"{step} {shard}"


def parts(candidate: Candidate, step: str, inputs: Mapping[str, str]) -> tuple[Part, ...]:
    """What the shards of a step left here, checked, in order; none when no shard ran here.

    Args:
        step: ``evaluate`` or ``test``.
        inputs: digests of everything that the step rests on now.

    Raises:
        BrokenEvidence: a shard is missing, foreign, altered, of another kit or runtime, or rests on something else; or
            their rows leave a gap or overlap.
    """
    folder = candidate.workspace.shards_folder(step)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not names:
        return ()
    given = {_shard(step, name) for name in names}
    of = max(shard.of for shard in given)
    if strange := sorted(str(shard) for shard in given if shard.of != of):
        raise _mixed(step, strange[0], of)
    found: list[Part] = []
    total, place = None, 0
    for shard in shards(of):
        if shard not in given:
            raise _broken(step, shard, "it is missing")
        part, all_rows = _part(candidate, step, shard, inputs)
        total = all_rows if total is None else total
        if all_rows != total:
            raise _broken(step, shard, f"it counts {all_rows} rows in all where others count {total}")
        if part.rows and part.start != place:
            what = "leaves a gap" if part.start > place else "overlaps the one before"
            raise _broken(step, shard, f"it begins at row {part.start + 1} and {what}")
        if other := _differs(found[0] if found else part, part):
            raise _broken(step, shard, f"it ran with another {other} than {found[0].shard}")
        place += part.rows
        found.append(part)
    if place != total:
        raise _broken(step, Shard(of, of), f"rows end at {place} of {total}")
    return tuple(found)


def forget(candidate: Candidate, step: str) -> None:
    """Drop what the shards of a step left, once it is merged: it would only go stale."""
    shutil.rmtree(candidate.workspace.shards_folder(step), ignore_errors=True)


def merged(
    step: str, given: Sequence[Part], name: str, folder: Path, items: NDArray[np.int64]
) -> Predictions:
    """The predictions of all shards as one, exactly as if no one had shared the rows out.

    Args:
        step: whose shards.
        given: all of them.
        name: of the folder of predictions in each.
        folder: where the whole is written.
        items: int64 [n], the places in the data set that must be there, in this order.

    Raises:
        BrokenEvidence: other rows than these are there.
        InvalidInput: the shards' predictions differ in kind.
    """
    import numpy as np

    from gradatim.metrics.predictions import Predictions
    from gradatim.metrics.predictions_writer import PredictionsWriter

    place = 0
    with PredictionsWriter(folder) as writer:
        for part in given:
            if not (part.folder / name).is_dir():
                continue  # no batch begins among its rows; a gap shows below
            predictions = Predictions.load(part.folder / name)
            if not np.array_equal(predictions.items, items[place : place + len(predictions)]):
                raise _broken(step, part.shard, f"its predictions `{name}` are not of the rows that are due")
            writer.extend(predictions)
            place += len(predictions)
        if place != len(items):
            raise _broken(
                step, given[-1].shard, f"the predictions `{name}` end at row {place} of {len(items)}"
            )
    return Predictions.load(folder)


def elsewhere(given: Sequence[Part]) -> dict[str, Any]:
    """Where the shards ran, for the evidence: nothing when there were none."""
    if not given:
        return {}
    return {"shards": [{**part.statement.environment, "shard": str(part.shard)} for part in given]}


def _part(candidate: Candidate, step: str, shard: Shard, inputs: Mapping[str, str]) -> tuple[Part, int]:
    folder = candidate.workspace.shard_folder(step, shard)
    inside = folder.relative_to(candidate.workspace.folder).as_posix()
    try:
        statement = statement_of(candidate.workspace, step, shard)
        there = {f"{inside}/{name}" for name in list_files(folder)}
    except BrokenEvidence:
        raise
    except (GradatimError, OSError) as error:
        raise _broken(step, shard, str(error)) from error
    if statement is None:
        raise _broken(step, shard, "it has no statement, so it came to no end")
    if statement.gradatim != __version__:
        raise _broken(step, shard, f"gradatim {statement.gradatim} made it, and this is {__version__}")
    said = {name: digest for name, digest in statement.inputs.items() if name not in _ADDED}
    if changed := sorted(name for name in said.keys() | inputs.keys() if said.get(name) != inputs.get(name)):
        raise _broken(step, shard, f"it rests on another {', '.join(changed)}")
    try:
        outputs = statement.outputs
    except BrokenEvidence as error:
        raise _broken(step, shard, "it does not say which files it left") from error
    if there - {f"{inside}/{STATEMENT}"} != set(outputs) or not candidate.workspace.untouched(outputs):
        raise _broken(step, shard, "its files are not those that it left")
    return _read(step, shard, folder, statement)


def _differs(first: Part, other: Part) -> str:
    """What two shards ran with that was not the same: a runtime of another version may answer otherwise."""
    mine, theirs = first.statement.environment, other.statement.environment
    if mine.get("python") != theirs.get("python"):
        return "python"
    packages, others = mine.get("packages"), theirs.get("packages")
    if not isinstance(packages, dict) or not isinstance(others, dict):
        return "" if packages == others else "environment"
    names = packages.keys() | others.keys()
    return ", ".join(sorted(name for name in names if packages.get(name) != others.get(name)))


def _read(step: str, shard: Shard, folder: Path, statement: Statement) -> tuple[Part, int]:
    try:
        found = Shared.of(statement)
    except BrokenEvidence as error:
        raise _broken(step, shard, "it does not say which rows it has") from error
    said = found.shard
    if min(said.start, said.rows, said.total) < 0 or (said.number, said.of) != (shard.number, shard.of):
        raise _broken(step, shard, "it does not say which rows it has")
    return Part(shard, folder, said.start, said.rows, statement, found.broken), said.total


def _shard(step: str, name: str) -> Shard:
    try:
        shard = Shard.parse(name)
    except UsageError as error:
        raise BrokenEvidence(
            f"Among the shards of `{step}` lies {name!r}, which is none. Remove it."
        ) from error
    if shard.folder != name:
        raise BrokenEvidence(f"Among the shards of `{step}` lies {name!r}, which is none. Remove it.")
    return shard


def _mixed(step: str, shard: str, of: int) -> BrokenEvidence:
    return BrokenEvidence(
        f"The shards of `{step}` are not of one run: {shard} lies among parts of {of}. Remove the folder "
        f".gradatim/shards/{step}, then run all shards again."
    )


def _broken(step: str, shard: Shard, why: str) -> BrokenEvidence:
    return BrokenEvidence(
        f"Shard {shard} of `{step}` cannot be used: {why}. Run: gradatim {step} --shard {shard}  (or remove "
        f".gradatim/shards/{step}, and the step does all rows itself)"
    )
