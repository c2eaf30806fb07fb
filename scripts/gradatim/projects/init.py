"""A first contract for a repository, from the model and the data that lie in it."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradatim.ci import contracts
from gradatim.errors import EnvironmentLacks, GradatimError, UsageError
from gradatim.files import cannot_write, template_folder, write_text
from gradatim.projects import ladder
from gradatim.projects.finding import Findings, FoundData, FoundModel, look_around
from gradatim.projects.recognising import (
    DataFacts,
    Task,
    corruptions_for,
    look_into,
    recognise,
    state_inputs,
)
from gradatim.signature import Signature
from gradatim.subversion import checkout

CONTRACT = "gradatim.yml"

_MARGINS = (0.01, 0.02, 0.03, 0.05, 0.1)
_RECALLS = (0.95, 0.9, 0.85, 0.8, 0.7)
_BUILDERS = ("export.py", "build.py", "convert.py", "train.py")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Proposal:
    """What a contract could say, and why.

    Attributes:
        root: the folder that the contract will lie in.
        name: of the model, in tags and reports.
        model: the model to release; None when none was found that can be used.
        signature: its inputs and outputs; None when they cannot be read.
        size: bytes of its files; None likewise.
        builder: a script that may make the model; for a model that git ignores, or none at all.
        ignored: whether git ignores the model's path, so that CI will not have it.
        evaluation, calibration: paths of the data, None when none was found.
        facts: about the evaluation data.
        task: what the model does, None when nothing points to it.
        given: inputs that the data does not feed, by name: ``carry`` an output or a constant ``value``.
        corruptions: robustness tests that suit the inputs.
        pytest: a folder of the user's own model tests, None when there is none.
        gates: gate -> what it wants, in the contract's words.
        stages: (name, branch), lowest first.
        others: further models that were found.
        named: whether tags must bear the model's name, because the repository holds other contracts.
        notes: sentences for the user: what was seen and could not be used, and what to do about it.
    """

    root: Path
    name: str
    model: FoundModel | None = None
    signature: Signature | None = None
    size: int | None = None
    builder: str | None = None
    ignored: bool = False
    evaluation: str | None = None
    calibration: str | None = None
    facts: DataFacts | None = None
    task: Task | None = None
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    corruptions: tuple[str, ...] = ()
    pytest: str | None = None
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: tuple[tuple[str, str], ...] = ladder.DEFAULT
    others: tuple[str, ...] = ()
    named: bool = False
    notes: tuple[str, ...] = ()


def propose(root: Path) -> Proposal:
    """Look at a repository (an empty folder will do) and propose a contract for it.

    Nothing is written and no user's code is run; pickles are named, never opened.

    Raises:
        UsageError: there is no such folder.
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
    notes = list(found.notes)
    model = next((one for one in found.models if one.problem is None), None)
    notes += [f"{one.path} was left out: {one.problem}" for one in found.models if one.problem]
    notes += [_about_pickle(path, model) for path in found.pickles]
    signature, size = _inspect(model, root, notes)
    evaluation, facts = _evaluation(found, root, signature, notes)
    task = recognise(signature, facts, root / model.path if model else None)
    unfed = facts.unfed if facts else ()
    given = state_inputs(signature, unfed) if signature else {}
    for name in unfed:
        if name not in given:
            notes.append(
                f"No column of {evaluation} feeds the model's input `{name}`: see `data.preprocess`."
            )
    calibration = next(iter((*found.of("calibration"), *found.of("training"))), None)
    ignored = model is not None and _is_ignored(root, model.path)
    if evaluation and task is None:
        notes.append(f"Nothing says what is right in {evaluation}: say so with `data.label` and `task`.")
        evaluation = None
    existing = ladder.branches(root)
    beside = contracts.beside(root / CONTRACT)
    notes += [
        f"{entry.path} is a contract too: tags of several models must bear their names, so add `registry: {{tags: named}}` there."
        for entry in beside
        if entry.read is not None and entry.read.parts.registry.tags == "plain"
    ]
    return Proposal(
        root=root,
        name=_name(root, model),
        model=model,
        signature=signature,
        size=size,
        builder=next((name for name in _BUILDERS if (root / name).is_file()), None),
        ignored=ignored,
        evaluation=evaluation,
        calibration=calibration.path if calibration and calibration.path != evaluation else None,
        facts=facts,
        task=task,
        given=given,
        corruptions=corruptions_for(signature, facts),
        pytest="tests/model" if (root / "tests" / "model").is_dir() else None,
        gates=_gates(task, facts, size) if model else {},
        stages=ladder.climb(existing) if existing else ladder.DEFAULT,
        others=tuple(one.path for one in found.models if one is not model and one.problem is None),
        named=bool(beside),
        notes=tuple(notes),
    )


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
    if path.exists() or path.is_symlink():
        if not force:
            raise UsageError(
                f"{path} is there already and is left as it is. Replace it with: gradatim init --force"
            )
        try:
            shutil.copyfile(path, path.with_name(f"{CONTRACT}.bak"))
        except OSError as error:
            raise cannot_write(path.with_name(f"{CONTRACT}.bak"), error) from error
    write_text(path, render(proposal))
    return path


def _inspect(model: FoundModel | None, root: Path, notes: list[str]) -> tuple[Signature | None, int | None]:
    if model is None:
        return None, None
    from gradatim.models import inspect_model, model_files

    size = None
    try:
        size = sum(file.stat().st_size for file in model_files(root / model.path))
        if model.format == "safetensors":
            notes.append(
                f"{model.path} holds weights only: `model.factory` must name the code of the network."
            )
            return None, size
        return inspect_model(root / model.path, root=root).signature, size
    except GradatimError as error:
        notes.append(f"The signature of {model.path} could not be read: {error}")
    except OSError as error:
        notes.append(f"{model.path} could not be read: {error.strerror}.")
    return None, size


def _evaluation(
    found: Findings, root: Path, signature: Signature | None, notes: list[str]
) -> tuple[str | None, DataFacts | None]:
    """The first data set for evaluation that can be read; one whose name says nothing must look the part."""
    unnamed = [data for data in found.data if data.role is None]
    candidates: Sequence[FoundData] = (*found.of("evaluation"), *unnamed)
    for data in candidates:
        try:
            facts = look_into(data.path, root, signature)
        except GradatimError as error:
            if data.role is not None:
                notes.append(f"{data.path} was left out: {error}")
            continue
        if data.role is None and facts.label is None and (signature is None or facts.unfed):
            continue
        if data.role is None:
            notes.append(f"{data.path} is taken for held-out data: see that the model was not trained on it.")
        return data.path, facts
    return None, None


def _gates(task: Task | None, facts: DataFacts | None, size: int | None) -> dict[str, dict[str, Any]]:
    """Gates that this much data can pass: a bound that no sample of this size could prove helps nobody."""
    gates: dict[str, dict[str, Any]] = {}
    rows = facts.rows if facts else 0
    kind = task.type if task else ""
    if kind == "classification" and (margin := _provable_margin(rows)):
        gates["accuracy"] = {"not_worse_than": "baseline", "by": margin}
        if facts and (recall := _provable_recall(facts.fewest)):
            gates["recall"] = {"at_least": recall, "slices": "every class"}
        gates["negative_flips"] = {"at_most": _percent(2 * float(margin.rstrip("%")) / 100)}
    elif kind == "token_classification" and (margin := _provable_margin(rows)):
        gates["f1"] = {"not_worse_than": "baseline", "by": margin}
    elif kind == "regression":
        gates["mae"] = {"not_worse_than": "baseline", "by": "3%"}
    elif kind == "embedding":
        gates["cosine"] = {"at_least": "95%"}
    elif kind == "language_modelling":
        gates["perplexity"] = {"not_worse_than": "baseline", "by": "1%"}
    gates["latency_p50"] = {"not_slower_than": "baseline", "by": "5%"}
    if size:
        gates["size"] = {"at_most": _roomy(size)}
    return gates


def _provable_margin(rows: int) -> str | None:
    from gradatim.gates.planning import DISCORDANCE, least_not_worse, samples_not_worse

    likely = next((m for m in _MARGINS if rows >= samples_not_worse(m, DISCORDANCE, 0.05)), None)
    margin = likely or next((m for m in reversed(_MARGINS) if rows >= least_not_worse(m)), None)
    return None if margin is None else _percent(margin)


def _provable_recall(fewest: int) -> str | None:
    """The highest bound that still forgives a miss or two in the rarest class."""
    from gradatim.gates.exact import forgiven

    found = next((r for r in _RECALLS if (forgiven(fewest, r) or 0) >= 2), None)
    return None if found is None else _percent(found)


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


def _roomy(size: int) -> str:
    """A round bound with room for a quarter more: 10 kB steps below a megabyte, 1 MB steps above."""
    wanted = size * 1.25
    if wanted < _MEGABYTE:
        return f"{max(1, -(-int(wanted) // 10_000)) * 10} kB"
    return f"{-(-int(wanted) // _MEGABYTE)} MB"


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


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")


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
