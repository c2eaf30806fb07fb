"""Which models of a repository an event touches. Whatever cannot be told apart touches them all.

A changed file belongs to the nearest contract above it, and touches that model and every one below it: a file above all
contracts touches all. A file that a contract names elsewhere touches that model too. Files that only people read
touch none, unless a contract names them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gradatim.ci.contracts import Entry
from gradatim.code import is_reference, local_closure
from gradatim.contract.reading import ReadContract
from gradatim.errors import GradatimError, UsageError
from gradatim.registry import tags
from gradatim.registry.git import Repository

MOST = 256
"""Jobs that GitHub allows in one matrix."""

_NOTHING = "0" * 40
_FOR_PEOPLE = (
    "readme",
    "changelog",
    "license",
    "licence",
    "notice",
    "contributing",
    "security",
    "codeowners",
)
_PROSE = ("", ".md", ".rst")


@dataclass(frozen=True)
class Touched:
    """A model that has something to do.

    Attributes:
        entry: its contract.
        why: what touches it, for a person.
    """

    entry: Entry
    why: str


@dataclass(frozen=True)
class ChangedFiles:
    """The files that an event changed.

    Attributes:
        files: their paths from the top of the repository; None when nobody can say, which touches everything.
        why: why nobody can.
    """

    files: tuple[PurePosixPath, ...] | None
    why: str = ""


def touched(
    repository: Repository,
    entries: Sequence[Entry],
    event_name: str,
    event: Mapping[str, Any],
    tag: str | None,
) -> list[Touched]:
    """The models that an event of GitHub touches.

    Args:
        repository: the checkout, with its history.
        entries: its contracts.
        event_name: ``push``, ``pull_request``, ...
        event: the event's payload.
        tag: the tag that was pushed, if one was.

    Raises:
        UsageError: a dispatch names no model, or one that does not exist.
    """
    if event_name == "workflow_dispatch":
        return [Touched(_asked(entries, event.get("inputs") or {}), "asked for")]
    if event_name == "schedule":
        return [Touched(entry, "the schedule") for entry in entries]
    if tag is not None:
        return [] if event.get("deleted") else _tagged(entries, tag)
    if event.get("deleted"):
        return []
    change = _change(repository, event_name, event)
    if change.files is None:
        return [Touched(entry, change.why) for entry in entries]
    found = []
    for entry in entries:
        why = _why(entry, entries, change.files, repository.root)
        if why:
            found.append(Touched(entry, why))
    return found


def _asked(entries: Sequence[Entry], inputs: Mapping[str, Any]) -> Entry:
    wanted = str(inputs.get("model") or "")
    if not wanted and len(entries) == 1:
        return entries[0]
    for entry in entries:
        if wanted in (entry.name, str(entry.path)):
            return entry
    names = ", ".join(entry.name for entry in entries)
    said = f"There is no model {wanted!r} here" if wanted else "A dispatch must say which model, as `model`"
    raise UsageError(f"{said}. Known: {names}.")


def _tagged(entries: Sequence[Entry], tag: str) -> list[Touched]:
    said = tags.parse(tag)
    if said is None or said.action != "register":
        return []

    def bears(entry: Entry) -> bool:
        if entry.read is None:
            return False
        named = entry.read.parts.registry.tags == "named"
        return said.model == entry.name if said.model is not None else not named

    mine = [entry for entry in entries if bears(entry)]
    unread = [entry for entry in entries if entry.read is None]  # one of these may be the model that is meant
    return [Touched(entry, f"the tag {tag}") for entry in mine or unread]


def _change(repository: Repository, event_name: str, event: Mapping[str, Any]) -> ChangedFiles:
    """What lies between two commits that the event names."""
    try:
        if event_name == "pull_request":
            pull = event["pull_request"]
            return _since_fork(repository, pull["base"]["sha"], pull["head"]["sha"])
        if event_name == "merge_group":
            group = event["merge_group"]
            return _since_fork(repository, group["base_sha"], group["head_sha"])
        before, after = str(event.get("before") or _NOTHING), str(event.get("after") or "HEAD")
        if event.get("created") or before == _NOTHING:
            return ChangedFiles(None, "a new branch")
        if event.get("forced") or not repository.is_ancestor(
            repository.resolve(before), repository.resolve(after)
        ):
            return ChangedFiles(None, "the branch was rewritten")
        return ChangedFiles(_between(repository, before, after))
    except (GradatimError, KeyError, TypeError):
        return ChangedFiles(None, "the commits to compare are not here")


def _since_fork(repository: Repository, base: str, head: str) -> ChangedFiles:
    start = repository.text("merge-base", repository.resolve(str(base)), repository.resolve(str(head)))
    return ChangedFiles(_between(repository, start, str(head)))


def _between(repository: Repository, before: str, after: str) -> tuple[PurePosixPath, ...]:
    ends = repository.resolve(before), repository.resolve(after)
    listed = repository.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", *ends)
    return tuple(PurePosixPath(os.fsdecode(name)) for name in listed.split(b"\0") if name)


def _why(entry: Entry, entries: Sequence[Entry], files: Sequence[PurePosixPath], top: Path) -> str | None:
    if entry.read is None:
        return "its contract cannot be read"
    try:
        named = _named(entry.read, top)
    except (GradatimError, OSError, ValueError, NotImplementedError):
        return "what it rests on cannot be told"
    for file in files:
        if any(_meet(file, place) for place in named):
            return f"{file} changed"
        if not _for_people(file) and _is_within(entry.folder, _owner(file, entries)):
            return f"{file} changed"
    return None


def _owner(file: PurePosixPath, entries: Sequence[Entry]) -> PurePosixPath:
    """The folder of the nearest contract above a file; the top where there is none."""
    above = [entry.folder for entry in entries if entry.folder in file.parents]
    return max(above, key=lambda folder: len(folder.parts), default=PurePosixPath())


def _is_within(path: PurePosixPath, folder: PurePosixPath) -> bool:
    return path == folder or folder in path.parents


def _meet(file: PurePosixPath, place: PurePosixPath) -> bool:
    """Whether a file is a place or lies below it, above it (a submodule) or beside it (``m.onnx.data``, ``test.npz.dvc``)."""
    beside = file.parent == place.parent and file.name.startswith(f"{place.name}.")
    return beside or _is_within(file, place) or _is_within(place, file)


def _for_people(file: PurePosixPath) -> bool:
    return file.suffix.lower() in _PROSE and file.stem.lower() in _FOR_PEOPLE


def _named(contract: ReadContract, top: Path) -> set[PurePosixPath]:
    """Every path that a contract rests on, from the top of the repository; folders stand for all that they hold.

    Raises:
        GradatimError: code that it names is not there.
    """
    root, found = contract.root.resolve(), set[PurePosixPath]()
    for place in (contract.path, *_places(contract, root)):
        for form in (Path(os.path.normpath(root / place)), (root / place).resolve()):
            if form.is_relative_to(top.resolve()):
                found.add(PurePosixPath(form.relative_to(top.resolve()).as_posix()))
    return found


def _places(contract: ReadContract, root: Path) -> Iterator[Path | str]:
    parts = contract.parts
    code = [own.function for own in parts.task.metrics.values()] if parts.task else []
    yield from (
        path
        for path in (parts.model.path, parts.model.adapter, *parts.model.candidates, parts.test.golden)
        if path
    )
    if parts.data.covariate and parts.data.covariate.unlabelled:
        yield parts.data.covariate.unlabelled
    if parts.model.factory:
        code.append(parts.model.factory)
        yield from (path for pattern in parts.model.files for path in root.glob(pattern))
    code += parts.compress.functions if parts.compress else ()
    for which in ("evaluation", "calibration"):
        data = contract.data_set(which)
        if data is not None:
            code += [data.preprocess] if data.preprocess else []
            if is_reference(data.path):
                code.append(data.path)
            else:
                yield data.path
    for reference in code:
        yield from local_closure(root, reference)
    scripts = [root / written.partition("::")[0] for written in parts.test.pytest]
    load = parts.benchmark.load
    scripts += [root / load.locustfile] if load and load.locustfile else []
    yield from scripts
    if parts.model.build is not None:
        scripts += [root / word for word in shlex.split(parts.model.build.run)]
        for pattern in parts.model.build.inputs or ():
            yield from root.glob(pattern)
    for script in scripts:
        if script.is_file():
            yield from local_closure(root, script) if script.suffix == ".py" else [script]
