"""Which model and which data of a repository a first contract is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from gradatim.checks.rehearsal import Seen
from gradatim.errors import GradatimError
from gradatim.files import read_json
from gradatim.projects import pictures
from gradatim.projects.facts import DataFacts, look_into
from gradatim.projects.feeding import given_inputs
from gradatim.projects.finding import Findings, FoundData, FoundModel
from gradatim.projects.functions import FoundFunction, makers_among, models_among, preprocessing_among
from gradatim.projects.reading import ASKED_FOR_TEXT, is_asked_for_text
from gradatim.projects.trial import Trouble, Tryout
from gradatim.signature import Signature

_MOST_TRIED = 6
_MOST_FILES = 50
"""Functions of the user's that are tried in a place that one of them may fill."""

_MOST_DATA = 12
"""Data sets that are looked into; a folder may hold thousands of files."""

_PROMPTS = frozenset({"prompt", "messages"})
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How transformers calls what writes text."""

_RUN_BY_TORCH = ("pt2", "torchscript", "huggingface", "safetensors", "litert")


@dataclass(frozen=True)
class Choice:
    """A model, and the data that it is evaluated on.

    Attributes:
        model: its file or folder; None for a function alone, or where there is none.
        factory: the function that makes it, or that it is.
        files: what that function opens, relative to the contract.
        signature: its inputs and outputs; None when they cannot be read.
        size: bytes of its files; None likewise.
        evaluation: path of the data; None when none can be used.
        facts: about the evaluation data.
        given: inputs that the data do not feed, by name: ``carry`` an output, or a constant ``value``.
        guessed: whether nothing but their contents says that the data are for evaluation.
        preprocess: the function between the data and the model.
        module: the source of that function, where it is to be written (``pictures.MODULE``).
        seen: what the model said to some rows; None when it could not be asked.
        further: paths of other data that it could be evaluated on.
        grave: why it could not be asked, where it is no fault of the data's.
        notes: sentences for the user.
    """

    model: FoundModel | None = None
    factory: str | None = None
    files: tuple[str, ...] = ()
    signature: Signature | None = None
    size: int | None = None
    evaluation: str | None = None
    facts: DataFacts | None = None
    given: dict[str, dict[str, Any]] | None = None
    guessed: bool = False
    preprocess: str | None = None
    module: str | None = None
    seen: Seen | None = None
    further: tuple[str, ...] = ()
    grave: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        return self.model is not None or self.factory is not None

    @property
    def unfed(self) -> tuple[str, ...]:
        """Inputs that neither the data nor a constant feeds."""
        lacking = self.facts.unfed if self.facts and not is_asked_for_text(self.signature) else ()
        return tuple(name for name in lacking if name not in (self.given or {}))

    def sections(self) -> dict[str, Any]:
        """What a contract would say of model and data, as keys and values."""
        model = {
            "path": self.model.path if self.model else None,
            "factory": self.factory,
            "files": list(self.files),
            "inputs": self.given,
        }
        found: dict[str, Any] = {"model": {"name": "model", **{k: v for k, v in model.items() if v}}}
        if self.evaluation is not None and self.facts is not None:
            data = {
                "inputs": self.facts.inputs,
                "slices": list(self.facts.slices),
                "group": self.facts.group,
                "preprocess": self.preprocess,
            }
            told = {key: value for key, value in data.items() if value}
            found["data"] = {"evaluation": self.evaluation, "label": self.facts.label, **told}
        return found

    def text(self, task: Mapping[str, Any] | None = None) -> str:
        """A contract of model and data alone; where no task is given it plays no part, as in a look."""
        unasked: Mapping[str, Any] | str = "embedding"
        if is_asked_for_text(self.signature):
            unasked = {"type": ASKED_FOR_TEXT.type, "scorers": list(ASKED_FOR_TEXT.scorers)}
        sections = {**self.sections(), "task": task or unasked}
        return yaml.safe_dump(sections, allow_unicode=True, sort_keys=False)


def choose(root: Path, found: Findings, functions: tuple[FoundFunction, ...], trial: Tryout) -> Choice:
    """The likeliest model that can be opened, with the first data that feed it, asked about some of their rows."""
    model = next((one for one in found.models if one.problem is None), None)
    if model is None:
        return _function(root, found, functions, trial)
    choice = _opened(root, model, functions, trial)
    return _with_data(root, choice, found, functions, trial)


def _opened(root: Path, model: FoundModel, functions: tuple[FoundFunction, ...], trial: Tryout) -> Choice:
    """A model of a known format with its signature and size, and for mere weights the function that makes the network."""
    from gradatim.models import inspect_model, model_files

    choice = Choice(model)
    try:
        choice = replace(choice, size=sum(file.stat().st_size for file in model_files(root / model.path)))
        if model.format not in _RUN_BY_TORCH:
            return replace(choice, signature=inspect_model(root / model.path, root=root).signature)
    except GradatimError as error:
        return replace(choice, notes=(f"The signature of {model.path} could not be read: {error}",))
    except OSError as error:
        return replace(choice, notes=(f"{model.path} could not be read: {error.strerror}.",))
    if model.format == "safetensors":
        return _with_network(choice, model, functions, trial)
    opened = trial.opened(choice.text())
    if isinstance(opened, Trouble):
        return replace(choice, notes=(f"The signature of {model.path} could not be read: {opened.reason}",))
    return replace(choice, signature=opened)


def _with_network(
    choice: Choice, model: FoundModel, functions: tuple[FoundFunction, ...], trial: Tryout
) -> Choice:
    for function in makers_among(functions)[:_MOST_TRIED]:
        made = replace(choice, factory=function.reference)
        opened = trial.opened(made.text())
        if isinstance(opened, Signature):
            return replace(made, signature=opened)
    note = f"{model.path} holds weights only: `model.factory` must name the code of the network."
    return replace(choice, notes=(note,))


def _function(root: Path, found: Findings, functions: tuple[FoundFunction, ...], trial: Tryout) -> Choice:
    """A function of the user's that answers the evaluation data, with the file that it reads if it reads one."""
    grave: dict[str, None] = {}
    for made in list(_functions(found, functions))[:_MOST_TRIED]:
        choice = _with_data(root, made, found, functions, trial)
        if choice.seen is not None:
            size = None if made.model is None else (root / made.model.path).stat().st_size
            return replace(choice, size=size)
        reasons = choice.grave or choice.notes[-1:]
        grave |= dict.fromkeys(f"{made.factory} was left out: {reason}" for reason in reasons)
    return _with_data(root, Choice(notes=tuple(grave)), found, (), trial)


def _functions(found: Findings, functions: tuple[FoundFunction, ...]) -> Iterator[Choice]:
    for function in models_among(functions):
        if function.reads_a_file:
            for path in found.weights:
                yield Choice(FoundModel(path, "python"), function.reference)
        else:
            yield Choice(factory=function.reference)


def _with_data(
    root: Path, choice: Choice, found: Findings, functions: tuple[FoundFunction, ...], trial: Tryout
) -> Choice:
    """The first data set for evaluation that feeds the model; one whose name says nothing must look the part."""
    notes = list(choice.notes)
    usable = [
        _evaluated_on(_asked_for_text(root, choice, facts), root, data, facts)
        for data, facts in _usable(root, choice, found, notes)
    ]
    fed = [made for made in usable if not made.unfed]
    if not usable or not choice.exists:
        return replace(next(iter((*fed, *usable)), choice), notes=tuple(notes))
    troubles: list[Trouble] = []
    # the last may be fed all the same: a folder of a language model brings what makes tokens of text
    for made in (
        *fed[:_MOST_TRIED], *_labelled(root, fed), *_preprocessed(usable, functions), *usable[: not fed]
    ):  # fmt: skip
        made, seen = _asked(made, trial)
        if isinstance(seen, Seen):
            told = (*notes, *_about(made))
            made = replace(made, seen=seen, further=_further(made, fed), notes=told)
            if made.signature is None or not made.signature.inputs:
                return _declared(made, seen.signature)
            said = [spec for spec in made.signature.outputs if spec.dtype != "unknown"]
            answered = tuple(said) if len(said) == len(made.signature.outputs) > 0 else seen.signature.outputs
            return replace(made, signature=replace(made.signature, outputs=answered))
        troubles.append(seen)
        if seen.grave:
            break
    if not any(trouble.grave for trouble in troubles):
        pictured = _pictured(root, usable[0], trial)
        if pictured is not None:
            return replace(pictured, notes=(*notes, *_about(pictured), *pictured.notes))
    chosen = (*fed, *usable)[0]
    grave = tuple(trouble.reason for trouble in troubles if trouble.grave)
    return replace(chosen, grave=grave, notes=(*notes, *_about(chosen), *_not_fed(chosen, troubles)))


def _asked(choice: Choice, trial: Tryout) -> tuple[Choice, Seen | Trouble]:
    """What a model says to some rows, with every file that its function turns out to open named."""
    while True:
        seen = trial.look(choice.text())
        file = seen.file if isinstance(seen, Trouble) else None
        if file is None or choice.factory is None or file in choice.files or len(choice.files) == _MOST_FILES:
            return choice, seen
        choice = replace(choice, files=(*choice.files, file))


def _not_fed(choice: Choice, troubles: Sequence[Trouble]) -> Iterator[str]:
    """Why the model could not be asked, and what to do about it."""
    facts = choice.facts
    if choice.unfed and facts is not None:
        said = (facts.label, facts.group, *facts.slices)
        columns = ", ".join(f"`{name}`" for name in facts.columns if name not in said)
        yield (
            f"No column of {choice.evaluation} feeds {', '.join(f'`{name}`' for name in choice.unfed)}: name the function "
            f"that makes the model's inputs of {columns or 'its columns'} in `data.preprocess`."
        )
    elif troubles:
        instead = (
            ""
            if troubles[0].grave or choice.factory
            else " Name the function that prepares them in `data.preprocess`."
        )
        yield f"The model could not be asked about {choice.evaluation}: {troubles[0].reason}{instead}"


def _declared(choice: Choice, signature: Signature) -> Choice:
    """A function that does not say what it takes, with that said in the contract."""
    arrays = str(choice.evaluation).endswith(".npz")  # rows of all other files may differ in size
    given = {
        spec.name: {
            "dtype": spec.dtype,
            "shape": [
                size if arrays or not isinstance(size, int) else f"size_{axis}"
                for axis, size in enumerate(spec.shape or ())
            ],
        }
        for spec in signature.inputs
    }
    return replace(choice, signature=signature, given=given)


def _pictured(root: Path, choice: Choice, trial: Tryout) -> Choice | None:
    """The model with a module that makes numbers of pictures, where by one way of it the model is right."""
    from gradatim.models import model_files

    facts = choice.facts
    if (
        choice.model is None
        or choice.evaluation is None
        or facts is None
        or "image" not in facts.columns
        or (root / pictures.MODULE).exists()
    ):
        return None
    files = [file.relative_to(root).as_posix() for file in model_files(root / choice.model.path)]
    bare = replace(facts, inputs={}, unfed=())
    made = replace(choice, facts=bare, given={}, preprocess=pictures.REFERENCE)
    own = pictures.declared(choice.signature, choice.model.path, root)
    ways = pictures.preparations(choice.signature, pictures.usual_size(choice.evaluation, root))
    tried: list[tuple[pictures.Preparation, Seen, Path]] = []
    for place, way in enumerate(chain([own] if own else [], ways)):
        twin = pictures.lay_beside(root, files, way.source, trial.scratch / f"twin-{place}")
        trial.move(twin)
        seen = trial.look(made.text())
        if isinstance(seen, Seen):
            tried.append((way, seen, twin))
            if way is own:
                break  # nobody knows better
    knows = next((way for way, *_ in tried if way is own), None)
    best = (
        (knows, None) if knows else pictures.best([(way, pictures.rightness(seen)) for way, seen, _ in tried])
    )
    if best is None:
        trial.move(root)
        return None
    way, doubt = best
    seen, twin = next((seen, twin) for each, seen, twin in tried if each is way)
    trial.move(twin)
    return replace(made, module=way.source, seen=seen, notes=(doubt,) if doubt else ())


def _asked_for_text(root: Path, choice: Choice, facts: DataFacts) -> Choice:
    """A Hugging Face folder that writes text as one that is asked for it, where the data are prompts; any other as it is."""
    from gradatim.models.speech import ASKED

    if choice.model is None or choice.model.format != "huggingface" or not _PROMPTS & {*facts.columns}:
        return choice
    folder = root / choice.model.path
    named = read_json(folder / "config.json").get("architectures") or ()
    writes = any(str(name).endswith(_WRITERS) for name in named)
    return (
        replace(choice, signature=ASKED)
        if writes and (folder / "tokenizer_config.json").is_file()
        else choice
    )


def _evaluated_on(choice: Choice, root: Path, data: FoundData, facts: DataFacts) -> Choice:
    if is_asked_for_text(choice.signature):
        facts = look_into(data.path, root, choice.signature)
    given = given_inputs(choice.signature, facts) if choice.signature else {}
    return replace(choice, evaluation=data.path, facts=facts, given=given, guessed=data.role is None)


def _further(choice: Choice, fed: Sequence[Choice]) -> tuple[str, ...]:
    others = (other.evaluation for other in fed if not other.guessed)
    return tuple(path for path in others if path is not None and path != choice.evaluation)


def _about(choice: Choice) -> tuple[str, ...]:
    if not choice.guessed:
        return ()
    return (f"{choice.evaluation} is taken for held-out data: see that the model was not trained on it.",)


def _usable(
    root: Path, choice: Choice, found: Findings, notes: list[str]
) -> Iterator[tuple[FoundData, DataFacts]]:
    unnamed = [data for data in found.data if data.role is None]
    for data in (*found.of("evaluation"), *unnamed)[:_MOST_DATA]:
        try:
            facts = look_into(data.path, root, choice.signature)
        except GradatimError as error:
            notes.append(f"{data.path} was left out: {error}")
            continue
        if data.role is None and facts.label is None and (not choice.exists or facts.unfed):
            lacking = ", ".join(f"`{name}`" for name in facts.unfed)
            feeds = f", and none feeds {lacking}" if lacking else ""
            notes.append(
                f"{data.path} was left out: no column of it is known to be the label{feeds}. A row an item, with every input "
                "and its label, is what is judged; for one file of all that: .npz, .csv, .parquet or .jsonl."
            )
            continue
        yield data, facts


def _labelled(root: Path, fed: Sequence[Choice]) -> Iterator[Choice]:
    """Tables without a known label for a model that says no width: but for their last, or first, number they may fit."""
    for made in fed:
        facts, inputs = made.facts, made.signature.inputs if made.signature else ()
        if facts is None or facts.label is not None or len(inputs) != 1 or inputs[0].shape is not None:
            continue
        for column in (facts.columns[-1], facts.columns[0]):
            with contextlib.suppress(GradatimError):
                yield replace(made, facts=look_into(str(made.evaluation), root, made.signature, column))


def _preprocessed(usable: Sequence[Choice], functions: tuple[FoundFunction, ...]) -> Iterator[Choice]:
    """The first data with each function of the user's that may make the model's inputs of them."""
    for function in preprocessing_among(functions)[:_MOST_TRIED]:
        made = usable[0]
        if made.facts is not None:
            facts = replace(made.facts, inputs={}, unfed=())
            yield replace(made, facts=facts, given={}, preprocess=function.reference)
