"""A first contract for a repository, from the model and the data that lie in it; tried before it is shown."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from gradatim.ci import contracts
from gradatim.errors import EnvironmentLacks, GradatimError, UsageError
from gradatim.files import cannot_write, write_text
from gradatim.projects import ladder, pictures
from gradatim.projects.choosing import Choice, choose
from gradatim.projects.feeding import corruptions_for
from gradatim.projects.finding import Findings, FoundModel, look_around
from gradatim.projects.functions import FoundFunction, look_for_functions
from gradatim.projects.labelling import read_label_lists
from gradatim.projects.proposal import Proposal
from gradatim.projects.question import question
from gradatim.projects.reading import ASKED_FOR_TEXT, Reading, TaskGuess
from gradatim.projects.recognising import recognise
from gradatim.projects.text import render
from gradatim.projects.thresholds import gates_on_answers
from gradatim.projects.trial import Trouble, Tryout
from gradatim.subversion import checkout

CONTRACT = "gradatim.yml"

_BUILDERS = ("export.py", "build.py", "convert.py", "train.py")
_MOST_REHEARSALS = 6


def propose(root: Path, task: str | None = None) -> Proposal:
    """Look at a repository (an empty folder will do) and propose a contract for it that was tried.

    The model is asked about some rows of the data, in a process of its own with a time limit. Of the user's code, only
    what the contract names is run there. Nothing is written; pickles are named, never opened.

    Args:
        task: its type, where the user knows better.

    Raises:
        UsageError: there is no such folder, or its models have contracts of their own.
        EnvironmentLacks: the folder cannot be read.
    """
    root = root.absolute()
    if not root.is_dir():
        raise UsageError(
            f"{root} is not a folder. Run `gradatim init` in the repository that holds the model."
        )
    try:
        found = look_around(root)
    except OSError as error:
        raise EnvironmentLacks(f"{error.filename or root} cannot be read: {error.strerror}.") from error
    if found.contracts and not found.models:
        raise UsageError(
            f"Every model here has its contract: {', '.join(found.contracts[:5])}. Change into the folder of one of them, "
            "or write a contract for another folder: gradatim init FOLDER"
        )
    functions = look_for_functions(root)
    with Tryout(root / CONTRACT) as trial:
        choice = choose(root, found, functions, trial)
        readings = _readings(root, found, choice, task)
        proposal = _draft(root, found, choice, readings, functions, trial)
        return _tried(proposal, readings, trial)


def write(proposal: Proposal, *, force: bool = False) -> Path:
    """Write the contract into the proposal's folder, and the module that it names where that was proposed, too.

    Args:
        proposal: what ``propose`` found.
        force: replace a contract that is there; it is kept as ``gradatim.yml.bak``.

    Raises:
        UsageError: there is a contract already, and ``force`` was not given.
        EnvironmentLacks: the folder cannot be written.
    """
    path = proposal.root / CONTRACT
    refuse_if_there(path, force=force)
    if path.exists() or path.is_symlink():
        try:
            shutil.copyfile(path, path.with_name(f"{CONTRACT}.bak"))
        except OSError as error:
            raise cannot_write(path.with_name(f"{CONTRACT}.bak"), error) from error
    if proposal.choice.module is not None:
        write_text(path.with_name(pictures.MODULE), proposal.choice.module)
    write_text(path, render(proposal))
    return path


def refuse_if_there(path: Path, *, force: bool) -> None:
    """Leave a contract alone that is there already.

    Raises:
        UsageError: it is there, and ``force`` was not given.
    """
    if (path.exists() or path.is_symlink()) and not force:
        raise UsageError(
            f"{path} is there already and is left as it is. Replace it with: gradatim init --force"
        )


def _readings(root: Path, found: Findings, choice: Choice, task: str | None) -> list[Reading]:
    if choice.facts is None:
        return []
    names = read_label_lists(root, found.label_lists, choice.model.path if choice.model else None)
    readings = recognise(choice.signature, choice.facts, choice.seen, names)
    if task is None:
        return readings
    wanted = [replace(reading, sure=True) for reading in readings if reading.task.type == task]
    said = ASKED_FOR_TEXT if task == ASKED_FOR_TEXT.type else TaskGuess(task)
    return wanted or [Reading(said, "you say so")]


def _draft(
    root: Path,
    found: Findings,
    choice: Choice,
    readings: list[Reading],
    functions: tuple[FoundFunction, ...],
    trial: Tryout,
) -> Proposal:
    calibration = next(iter((*found.of("calibration"), *found.of("training"))), None)
    path = calibration.path if calibration and calibration.path != choice.evaluation else None
    others = [one.path for one in found.models if one is not choice.model and one.problem is None]
    existing = ladder.branches(root)
    beside = contracts.beside(root / CONTRACT)
    plain = [entry.path for entry in beside if entry.read and entry.read.parts.registry.tags == "plain"]
    reading = readings[0] if readings else None
    proposal = Proposal(
        root=root,
        name=_name(root, choice.model),
        choice=choice,
        reading=reading,
        question=question(readings, choice, functions, trial),
        builder=next((name for name in _BUILDERS if (root / name).is_file()), None),
        ignored=choice.model is not None and _is_ignored(root, choice.model.path),
        calibration=path,
        corruptions=corruptions_for(choice.signature, choice.facts) if reading else (),
        pytest="tests/model" if (root / "tests" / "model").is_dir() else None,
        stages=ladder.climb(existing) if existing else ladder.DEFAULT,
        others=tuple(others),
        named=bool(beside),
        versioned=_is_versioned(root),
        notes=tuple(_notes(found, choice, reading, others, plain)),
    )
    return replace(proposal, keep=_keep(proposal))


def _notes(
    found: Findings, choice: Choice, reading: Reading | None, others: list[str], plain: list[PurePosixPath]
) -> Iterator[str]:
    """What a person must know of what was found: what was left out and why, and what nothing told.

    Args:
        others: models that the contract is not about.
        plain: contracts beside it whose tags bear no name.
    """
    yield from found.notes
    yield from (f"{one.path} was left out: {one.problem}" for one in found.models if one.problem)
    yield from (_about_pickle(path, choice.model) for path in found.pickles)
    yield from choice.notes
    if not choice.exists and found.weights:
        yield (
            f"{found.weights[0]} may hold a model that only other code reads. Export it to ONNX; or name a function of yours "
            "that returns it (`model.factory: module:function`), or a program that answers for it (`model.command`)."
        )
    if choice.exists and not choice.evaluation:
        yield (
            "No data for evaluation were found, whose names say test, eval, validation or holdout: nothing but the size is "
            "judged without them."
        )
        if found.loose:
            where = ", ".join("this folder" if name == "." else name for name in found.loose[:3])
            yield (
                f"The single files in {where} are no data set, since nothing says what is right for each: put them into one "
                "subfolder a class, or their arrays and labels into one .npz, a row an item."
            )
    if reading is not None and choice.facts is not None and not gates_on_answers(reading, choice.facts):
        yield (
            f"{choice.facts.rows} rows prove nothing of how good its answers are, so that speed and size alone are judged. See "
            "how many it takes: add a gate on the task's metric, then gradatim gate --plan"
        )
    if choice.evaluation and reading is None:
        yield f"Nothing says what is right in {choice.evaluation}: say so with `data.label` and `task`."
    if reading is not None and not reading.ordered:
        yield (
            "The labels are names, and nothing told which score is whose: see that `task.labels` stand in the order of the "
            "model's scores."
        )
    own = choice.model
    elsewhere = (
        sorted({str(Path(other).parent) for other in others} - {str(Path(own.path).parent)}) if own else []
    )
    if elsewhere and own:
        yield (
            f"One contract is about one model; this one is about {own.path}. For those in {', '.join(elsewhere[:5])} write "
            f"others, a folder each: gradatim init {elsewhere[0]}"
        )
    for path in plain:
        yield f"{path} is a contract too: tags of several models must bear their names, so add `registry: {{tags: named}}` there."


_OWN = {"classification": "accuracy", "multilabel_classification": "f1_micro", "segmentation": "miou"}
"""The metric of a task that compression is to keep."""


def _keep(proposal: Proposal) -> dict[str, str] | None:
    """What compression must keep: the task's own metric where the calibration data have labels, else likeness."""
    from gradatim.data import open_data

    model, facts = proposal.choice.model, proposal.choice.facts
    if proposal.calibration is None or model is None or model.format != "onnx":
        return None
    own = _OWN.get(proposal.task.type) if proposal.task is not None else None
    if own is not None and facts is not None and facts.label:
        try:
            open_data(proposal.calibration, root=proposal.root, label=facts.label)
        except GradatimError:
            return {"fidelity": "95%"}
        return {own: "99%"}
    return {"fidelity": "95%"}


def _tried(proposal: Proposal, readings: list[Reading], trial: Tryout) -> Proposal:
    """The proposal after rehearsals of its own contract, mended as far as what it stopped at can be left out."""
    if not proposal.choice.exists:
        return proposal
    left = list(readings[1:])
    for _ in range(_MOST_REHEARSALS):
        troubles = trial.rehearse(render(proposal))
        if not troubles:
            return proposal
        mended = _mended(proposal, troubles[0], left, trial)
        if mended is None:
            told = f"A run stops here as yet: {troubles[0].reason}"
            return proposal if _was_not_asked(proposal) else replace(proposal, notes=(*proposal.notes, told))
        proposal = mended
    return proposal


def _mended(proposal: Proposal, trouble: Trouble, left: list[Reading], trial: Tryout) -> Proposal | None:
    """The proposal without what it stopped at; None where nothing can be left out."""
    if trouble.grave or (
        _was_not_asked(proposal) and trouble.part not in ("robustness", "corrupted", "calibration")
    ):
        return None
    if trouble.part in ("robustness", "corrupted"):
        kept = tuple(name for name in proposal.corruptions if name != trouble.corruption)
        told = f"`{trouble.corruption}` was left out of `test.robustness`, for the model has no answer to it: {trouble.reason}"
        notes = (*proposal.notes, told) if trouble.part == "corrupted" else proposal.notes
        return replace(proposal, corruptions=kept, notes=notes) if kept != proposal.corruptions else None
    if trouble.part == "calibration" and proposal.keep is not None:
        note = f"Compression was left out: {trouble.reason}"
        return replace(proposal, keep=None, notes=(*proposal.notes, note))
    if trouble.part not in ("task", "evaluation") or proposal.reading is None:
        return None
    if left:
        proposal = replace(proposal, reading=left.pop(0), question=None)
        return replace(proposal, keep=_keep(proposal))
    return _unlabelled(proposal, trial) or _without_data(proposal, trouble)


def _unlabelled(proposal: Proposal, trial: Tryout) -> Proposal | None:
    """Vectors whose data have what is no label of theirs, held against the last release's; a metric may read both."""
    choice, reading = proposal.choice, proposal.reading
    if (
        reading is None
        or reading.task.type != "embedding"
        or choice.facts is None
        or choice.facts.label is None
    ):
        return None
    asked = proposal.question or question([replace(reading, sure=False)], choice, (), trial)
    bare = replace(choice, facts=replace(choice.facts, label=None, labels=None))
    return replace(proposal, choice=bare, question=f"{asked} and data: {{label: {choice.facts.label}}}")


def _without_data(proposal: Proposal, trouble: Trouble) -> Proposal:
    note = f"{proposal.evaluation} was left out: {trouble.reason}"
    return replace(proposal, reading=None, question=None, corruptions=(), notes=(*proposal.notes, note))


def _was_not_asked(proposal: Proposal) -> bool:
    """Whether the model could say nothing of its data, which a note tells: it takes the user to mend that."""
    return proposal.evaluation is not None and proposal.choice.seen is None


def _about_pickle(path: str, model: FoundModel | None) -> str:
    instead = "" if model else " Export the model to ONNX, or save its weights as safetensors."
    return f"{path} is a pickle, which can run any code when it is opened: it was left alone.{instead}"


def _name(root: Path, model: FoundModel | None) -> str:
    made = re.sub(r"[^A-Za-z0-9_.-]+", "-", root.name).strip("-._")
    if not made and model:
        made = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(model.path).stem).strip("-._")
    return made[:100] or "model"


def _is_ignored(root: Path, path: str) -> bool:
    try:
        listed = checkout.open(root).text(
            "ls-files", "--others", "--ignored", "--exclude-standard", "--", path
        )
    except GradatimError:
        return False
    return bool(listed)


def _is_versioned(root: Path) -> bool:
    try:
        checkout.open(root)
    except GradatimError:
        return False
    return True
