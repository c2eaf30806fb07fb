"""A first contract for a repository, from the model and the data that lie in it; tried before it is shown."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gradatim.ci import contracts
from gradatim.errors import EnvironmentLacks, GradatimError, UsageError
from gradatim.files import cannot_write, template_folder, write_text
from gradatim.projects import ladder
from gradatim.projects.choosing import Choice, choose
from gradatim.projects.feeding import corruptions_for
from gradatim.projects.finding import Findings, FoundModel, look_around
from gradatim.projects.functions import FoundFunction, look_for_functions, metrics_among
from gradatim.projects.labelling import read_label_lists
from gradatim.projects.reading import Reading, TaskGuess
from gradatim.projects.recognising import recognise
from gradatim.projects.thresholds import gates_for, items_in_time
from gradatim.projects.trial import Trouble, Tryout
from gradatim.subversion import checkout

CONTRACT = "gradatim.yml"

_BUILDERS = ("export.py", "build.py", "convert.py", "train.py")
_MOST_REHEARSALS = 6


@dataclass(frozen=True)
class Proposal:
    """What a contract could say, and why.

    Attributes:
        root: the folder that the contract will lie in.
        name: of the model, in tags and reports.
        choice: the model to release and the data to evaluate it on.
        reading: what the model does; None when nothing points to it.
        question: what could not be told, with both answers; None when all could.
        builder: a script that may make the model; for a model that git ignores, or none at all.
        ignored: whether git ignores the model's path, so that CI will not have it.
        calibration: path of the calibration data, None when none was found.
        keep: what compression must keep; None where nothing is to be compressed.
        corruptions: robustness tests that suit the inputs.
        pytest: a folder of the user's own model tests, None when there is none.
        stages: (name, branch), lowest first.
        others: further models that were found.
        named: whether tags must bear the model's name, because the repository holds other contracts.
        versioned: whether the folder lies in a repository, without which nothing can be released.
        notes: sentences for the user: what was seen and could not be used, and what to do about it.
    """

    root: Path
    name: str
    choice: Choice = field(default_factory=Choice)
    reading: Reading | None = None
    question: str | None = None
    builder: str | None = None
    ignored: bool = False
    calibration: str | None = None
    keep: dict[str, str] | None = None
    corruptions: tuple[str, ...] = ()
    pytest: str | None = None
    stages: tuple[tuple[str, str], ...] = ladder.DEFAULT
    others: tuple[str, ...] = ()
    named: bool = False
    versioned: bool = True
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> FoundModel | None:
        return self.choice.model

    @property
    def evaluation(self) -> str | None:
        """Path of the evaluation data; None where nothing says what is right in them."""
        return self.choice.evaluation if self.reading else None

    @property
    def task(self) -> TaskGuess | None:
        return self.reading.task if self.reading else None

    @property
    def items(self) -> int | None:
        """How many items are corrupted, where as many as usual would take long."""
        seen, facts = self.choice.seen, self.choice.facts
        most = items_in_time(seen.seconds, len(self.corruptions)) if seen else None
        return most if most is not None and facts is not None and most < facts.rows else None

    @property
    def gates(self) -> dict[str, dict[str, Any]]:
        """Gate -> what it wants, in the contract's words."""
        return gates_for(self.reading, self.choice.facts, self.choice.size) if self.choice.exists else {}


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
        proposal = _draft(root, found, choice, readings, functions)
        return _tried(proposal, readings, trial)


def render(proposal: Proposal) -> str:
    """The proposal as a commented ``gradatim.yml``; the comments are the schema's own words."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 (YAML, not HTML)
        loader=jinja2.FileSystemLoader(template_folder("projects")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["flow"] = _flow
    environment.filters["wrapped"] = _wrapped
    text = environment.get_template("gradatim.yml.j2").render(p=proposal, about=_Schema().about)
    return re.sub(r"\n{3,}", "\n\n", text)


def write(proposal: Proposal, *, force: bool = False) -> Path:
    """Write the contract into the proposal's folder.

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
    return wanted or [Reading(TaskGuess(task), "you say so")]


def _draft(
    root: Path, found: Findings, choice: Choice, readings: list[Reading], functions: tuple[FoundFunction, ...]
) -> Proposal:
    reading = readings[0] if readings else None
    notes = [
        *found.notes,
        *(f"{one.path} was left out: {one.problem}" for one in found.models if one.problem),
    ]
    notes += [_about_pickle(path, choice.model) for path in found.pickles]
    notes += choice.notes
    if choice.exists and not choice.evaluation:
        notes.append(
            "No data for evaluation were found, whose names say test, eval, validation or holdout: nothing but the size is "
            "judged without them."
        )
    if choice.evaluation and reading is None:
        notes.append(
            f"Nothing says what is right in {choice.evaluation}: say so with `data.label` and `task`."
        )
    if reading is not None and not reading.ordered:
        notes.append(
            "The labels are names, and nothing told which score is whose: see that `task.labels` stand in the order of the "
            "model's scores."
        )
    calibration = next(iter((*found.of("calibration"), *found.of("training"))), None)
    path = calibration.path if calibration and calibration.path != choice.evaluation else None
    others = [one.path for one in found.models if one is not choice.model and one.problem is None]
    elsewhere = sorted(
        {str(Path(other).parent) for other in others} - {str(Path(choice.model.path).parent)}
        if choice.model
        else ()
    )
    if elsewhere:
        notes.append(
            f"One contract is about one model; this one is about {choice.model.path if choice.model else ''}. For those "
            f"in {', '.join(elsewhere[:5])} write others, a folder each: gradatim init {elsewhere[0]}"
        )
    existing = ladder.branches(root)
    beside = contracts.beside(root / CONTRACT)
    notes += [
        f"{entry.path} is a contract too: tags of several models must bear their names, so add `registry: {{tags: named}}` there."
        for entry in beside
        if entry.read is not None and entry.read.parts.registry.tags == "plain"
    ]
    proposal = Proposal(
        root=root,
        name=_name(root, choice.model),
        choice=choice,
        reading=reading,
        question=_question(readings, choice, functions),
        builder=next((name for name in _BUILDERS if (root / name).is_file()), None),
        ignored=choice.model is not None and _is_ignored(root, choice.model.path),
        calibration=path,
        corruptions=corruptions_for(choice.signature, choice.facts) if reading else (),
        pytest="tests/model" if (root / "tests" / "model").is_dir() else None,
        stages=ladder.climb(existing) if existing else ladder.DEFAULT,
        others=tuple(others),
        named=bool(beside),
        versioned=_is_versioned(root),
        notes=tuple(notes),
    )
    return replace(proposal, keep=_keep(proposal))


def _question(readings: list[Reading], choice: Choice, functions: tuple[FoundFunction, ...]) -> str | None:
    """One line with both answers, where what was seen does not decide between them."""
    if not readings or readings[0].sure:
        return None
    taken = readings[0].task.type
    if len(readings) > 1:
        other = readings[1].task.type
        return (
            f"{taken} or {other}? Taken: {taken}, since {readings[0].why}. "
            f"If it is the other: gradatim init --force --task {other}"
        )
    metric = next((function.reference for function in metrics_among(functions)), "scoring:score")
    output = readings[0].task.output
    named = f", output: {_flow(output)}" if output else ""
    return (
        f"{taken} or a metric of your own? Taken: {taken}, which holds the answers against the last release's, since no "
        f"output fits the labels. If it is the other: task: {{type: {taken}{named}, metrics: {{score: {_flow(metric)}}}}}"
    )


def _keep(proposal: Proposal) -> dict[str, str] | None:
    """What compression must keep: the task's own metric where the calibration data have labels, else likeness."""
    from gradatim.data import open_data

    model, facts = proposal.choice.model, proposal.choice.facts
    if proposal.calibration is None or model is None or model.format != "onnx":
        return None
    if (
        proposal.task is not None
        and proposal.task.type == "classification"
        and facts is not None
        and facts.label
    ):
        try:
            open_data(proposal.calibration, root=proposal.root, label=facts.label)
        except GradatimError:
            return {"fidelity": "95%"}
        return {"accuracy": "99%"}
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
        mended = _mended(proposal, troubles[0], left)
        if mended is None:
            told = f"A run stops here as yet: {troubles[0].reason}"
            return proposal if _was_not_asked(proposal) else replace(proposal, notes=(*proposal.notes, told))
        proposal = mended
    return proposal


def _mended(proposal: Proposal, trouble: Trouble, left: list[Reading]) -> Proposal | None:
    """The proposal without what it stopped at; None where nothing can be left out."""
    if trouble.grave or (_was_not_asked(proposal) and trouble.part not in ("robustness", "calibration")):
        return None
    if trouble.part == "robustness":
        kept = tuple(name for name in proposal.corruptions if name != trouble.corruption)
        return replace(proposal, corruptions=kept) if kept != proposal.corruptions else None
    if trouble.part == "calibration" and proposal.keep is not None:
        note = f"Compression was left out: {trouble.reason}"
        return replace(proposal, keep=None, notes=(*proposal.notes, note))
    if trouble.part in ("task", "evaluation") and proposal.reading is not None:
        if left:
            proposal = replace(proposal, reading=left.pop(0), question=None)
            return replace(proposal, keep=_keep(proposal))
        note = f"{proposal.evaluation} was left out: {trouble.reason}"
        return replace(proposal, reading=None, question=None, corruptions=(), notes=(*proposal.notes, note))
    return None


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


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")


def _wrapped(values: list[Any], indent: int) -> str:
    """A list on as many lines of YAML as it takes."""
    import yaml

    text = yaml.safe_dump(values, default_flow_style=True, allow_unicode=True, width=110, sort_keys=False)
    return text.rstrip("\n").replace("\n", "\n" + " " * indent)


class _Schema:
    """The contract's descriptions as comments."""

    def __init__(self) -> None:
        from gradatim.contract.reading import json_schema

        self._schema = json_schema()

    def about(self, place: str, indent: int = 0) -> str:
        """``# description`` of a key such as ``model.path``, wrapped; a section's own key may be followed."""
        section: dict[str, Any] = self._schema
        *path, last = place.split(".")
        for key in path:
            section = self._section(section["properties"][key])
        text = section["properties"][last]["description"]
        prefix = " " * indent + "# "
        return "\n".join(textwrap.wrap(text, 100, initial_indent=prefix, subsequent_indent=prefix))

    def _section(self, node: dict[str, Any]) -> dict[str, Any]:
        reference = re.search(r'"#/\$defs/(\w+)"', json.dumps(node))
        if reference is None:
            raise KeyError("a place in the contract that is no section")
        found: dict[str, Any] = self._schema["$defs"][reference[1]]
        return found
