"""One candidate on its way to a release: the contract, where it stands, and how its parts are opened."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradatim import __version__
from gradatim.candidate.environment import environment
from gradatim.candidate.workspace import Workspace
from gradatim.ci import Place, Platform
from gradatim.contract.reading import ReadContract
from gradatim.errors import BrokenEvidence, EnvironmentLacks, InvalidInput, UsageError
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import Statement
from gradatim.files import digest_of, write_bytes
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.progress import Progress
from gradatim.registry.baseline import baseline
from gradatim.registry.git import Repository
from gradatim.registry.history import LEDGER, Registry, Sync, read, sync
from gradatim.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.ci.approval import Approval
    from gradatim.data import Dataset
    from gradatim.metrics.predictions import Predictions
    from gradatim.metrics.task import Task
    from gradatim.models.predictor import Predictor
    from gradatim.publishers.publisher import Publisher
    from gradatim.publishers.retrieval import Retrieved
    from gradatim.timing.contestant import Contestant

_Found = TypeVar("_Found")

ORIGINAL = "original"
"""The variant as it was built, before any compression."""

_UNLABELLED = ("embedding", "language_modelling")

GOLDEN = "golden.npz"
"""The file of a release that holds its golden cases."""

MADE = "made"
"""The detail of a statement that says when it was made: UTC, to the second. It decides nothing but expiry."""

BASELINE = "baseline"
"""The name under which the release to be replaced is measured."""


@dataclass(frozen=True)
class Variant:
    """The candidate in one form.

    Attributes:
        name: ``original``, ``int8-static``, ...
        path: the model's file or folder, absolute.
        manifest: its files, byte for byte.
    """

    name: str
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class BaselineModel:
    """The release that the candidate would replace.

    Attributes:
        label: ``v1.0.0``, or the commit where it bears no version.
        version: its version, None where it bears none.
        stage: the stage that holds it, None where no stage does.
        commit: the commit that it was released from.
        digest: hex manifest digest; digest of the commit's id where its tag names no manifest.
    """

    label: str
    version: str | None
    stage: str | None
    commit: str
    digest: str
    manifest: str | None


@dataclass(frozen=True)
class Outcome:
    """What a step found, before it becomes evidence.

    Attributes:
        summary: one line for a person.
        subjects: hex manifest digest by variant: whose evidence this is.
        verdict: what was decided.
        measurements: what was measured.
        gates: what the gates said.
        details: JSON that later steps and the report read.
        outputs: files left in the workspace.
        elsewhere: what the record of the environment adds of other machines that did part of the work.
    """

    summary: str
    subjects: Mapping[str, str]
    verdict: Verdict = Verdict.PASS
    measurements: tuple[Measurement, ...] = ()
    gates: tuple[GateResult, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()
    elsewhere: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Candidate:
    """One candidate, seen from the checkout that holds it.

    Attributes:
        contract: what it must prove.
        workspace: where its steps leave their results.
        progress: where long work reports to.
        platform: the CI system, or a laptop.
        wanted_stage: the stage asked for; None takes the one whose branch is checked out.
        unproven: steps whose evidence the step at work needs and that is missing or stale.
        wanted_version: the version asked for; None lets the models say.
    """

    contract: ReadContract
    workspace: Workspace
    progress: Progress
    platform: Platform
    wanted_stage: str | None = None
    wanted_version: str | None = None
    unproven: tuple[str, ...] = ()
    _memory: dict[tuple[str, ...], Any] = field(default_factory=dict, init=False, repr=False)

    def anew(self, *, same_registry: bool) -> Candidate:
        """The same release seen afresh, after other processes may have changed the workspace, the model or the tags."""
        fresh = replace(self)
        if same_registry:
            for name in ("repository", "sync", "registry"):
                if name in self.__dict__:
                    fresh.__dict__[name] = self.__dict__[name]
        return fresh

    def remembered(self, key: tuple[str, ...], find: Callable[[], _Found]) -> _Found:
        """What was found for a key before, else what is found now; files are not read twice for one question."""
        if key not in self._memory:
            self._memory[key] = find()
        found: _Found = self._memory[key]
        return found

    def forget_remembered(self) -> None:
        """Look at the files again from here on."""
        self._memory.clear()

    # where it stands

    @property
    def root(self) -> Path:
        """The folder of the contract."""
        return self.contract.root

    @property
    def top(self) -> Path:
        """The top of the repository around the contract; the contract's folder where there is no repository."""
        try:
            return self.repository.root
        except EnvironmentLacks:
            return self.root

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.parts.model.name

    @functools.cached_property
    def repository(self) -> Repository:
        """The git repository around the contract.

        Raises:
            EnvironmentLacks: there is no git, or no repository.
        """
        return Repository.find(self.root)

    @functools.cached_property
    def place(self) -> Place:
        """Branch, tag and actor, from the CI system where there is one, else from git."""
        return self.platform.place() or Place(branch=self.repository.branch())

    @functools.cached_property
    def stage(self) -> str | None:
        """The stage that the candidate is meant for; None on a branch that holds none.

        Raises:
            UsageError: the stage that was asked for is not on the ladder.
        """
        stages = self.contract.parts.stages
        if self.wanted_stage is not None:
            if self.wanted_stage not in stages:
                raise UsageError(
                    f"There is no stage `{self.wanted_stage}` in the contract. Known: {', '.join(stages)}."
                )
            return self.wanted_stage
        branch = self.place.target or self.place.branch
        return next((name for name, stage in stages.items() if stage.branch and stage.branch == branch), None)

    # its parts

    @functools.cached_property
    def original(self) -> Variant:
        """The candidate as built.

        Raises:
            InvalidInput: there is no model, or it is no model at all.
        """
        from gradatim.code import local_closure
        from gradatim.models import model_files

        path = self.model_path
        if self.contract.parts.model.path is None:
            files, base = (
                local_closure(self.root, str(self.contract.parts.model.factory)),
                self.root.resolve(),
            )
        else:
            files, base = model_files(path), path if path.is_dir() else path.parent
        return Variant(ORIGINAL, path, Manifest.of(self.name, base, files))

    @property
    def model_path(self) -> Path:
        """Where the contract says that the model lies; for a model made by a function alone, ``module:function``."""
        model = self.contract.parts.model
        return self.root / model.path if model.path else Path(str(model.factory))

    def variants(self) -> tuple[Variant, ...]:
        """The forms of the candidate that compress left to be judged, the preferred one first.

        Raises:
            BrokenEvidence: the contract asks for compression and there is no such evidence for this model.
        """
        return self.remembered(("variants",), self._variants)

    def _variants(self) -> tuple[Variant, ...]:
        if self.contract.parts.compress is None:
            return (self.original,)
        evidence = self.evidence("compress")
        if evidence.inputs.get("candidate") != self.original.manifest.digest:
            raise BrokenEvidence("The evidence of `compress` is of another model. Run: gradatim compress")
        found = []
        for record in evidence.details["variants"]:
            if record["name"] == ORIGINAL:
                found.append(self.original)
                continue
            folder = self.workspace.model_folder(record["name"])
            names = [
                name for name in evidence.details["outputs"] if name.startswith(f"models/{record['name']}/")
            ]
            manifest = Manifest.of(self.name, folder, [self.workspace.folder / name for name in names])
            if manifest.digest != evidence.subjects.get(record["name"]):
                raise BrokenEvidence(
                    f"The variant {record['name']} is not what compress left. Run: gradatim compress --force"
                )
            found.append(Variant(record["name"], folder / record["file"], manifest))
        return tuple(found)

    def open(self, path: Path, *, watch: Callable[[Predictor], Predictor] | None = None) -> Predictor:
        """A form of the candidate, ready to be called with what the data feeds, any number of items at a time.

        Args:
            path: the model's file or folder.
            watch: wraps the model itself, under the constants and states that are filled in.
        """
        from gradatim.models import batched, bind, open_model

        model = self.contract.parts.model
        predictor = open_model(
            path,
            root=path if model.path is None and path.is_dir() else self.root,
            format=model.format if path == self.model_path else None,
            factory=model.factory,
            signature=self.declared_signature(),
            device=model.device,
            threads=model.threads,
            allow_pickle=model.allow_pickle,
        )
        predictor = watch(predictor) if watch else predictor
        constants, carries = self.hidden_inputs()
        bound = bind(predictor, constants=constants, carries=carries) if constants or carries else predictor
        return batched(bound)

    def hidden_inputs(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Inputs that the data does not feed: constants by name, and the outputs that are carried back."""
        inputs = self.contract.parts.model.inputs
        constants = {name: tensor.value for name, tensor in inputs.items() if tensor.value is not None}
        return constants, {name: tensor.carry for name, tensor in inputs.items() if tensor.carry is not None}

    def declared_signature(self) -> Signature | None:
        """What the contract says about inputs and outputs; None when it says nothing."""
        model = self.contract.parts.model

        def specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(name, t.dtype or "unknown", t.shape) for name, t in tensors.items())

        if not (model.inputs or model.outputs):
            return None
        return Signature(specs(model.inputs), specs(model.outputs))

    def dataset(self, which: str, signature: Signature | None) -> Dataset:
        """A data set of the contract: ``evaluation`` or ``calibration``.

        Raises:
            UsageError: the contract has no such data.
            InvalidInput: it is empty or broken.
        """
        from gradatim.data import open_data

        chosen = self.contract.data_set(which)
        if chosen is None:
            raise UsageError(f"The contract names no `data.{which}`. Add it under `data:`.")
        task = self.contract.parts.task
        label = chosen.label
        if label and task and task.type in _UNLABELLED and not self.contract.says("data", "label"):
            columns = open_data(chosen.path, root=self.root, label=None, format=chosen.format).columns
            label = label if label in columns else None
        return open_data(
            chosen.path,
            root=self.root,
            signature=signature,
            label=label,
            inputs=chosen.inputs,
            slices=chosen.slices or (),
            group=chosen.group,
            labels=task.labels if task and task.labels else None,
            preprocess=chosen.preprocess,
            format=chosen.format,
        )

    def predictions(self, name: str) -> Predictions:
        """The predictions that evaluate left of a variant or of the baseline."""
        from gradatim.metrics.predictions import Predictions

        return Predictions.load(self.workspace.predictions_folder(name))

    def task(self) -> Task:
        """What the model does, with the contract's own metrics loaded.

        Raises:
            UsageError: the contract names no task.
        """
        from gradatim.code import load_function
        from gradatim.metrics.task import Task

        task = self.contract.parts.task
        if task is None:
            raise UsageError("The contract names no `task`. Add one, for example: task: classification")
        own = {name: load_function(reference, self.root) for name, reference in task.metrics.items()}
        return Task(task.type, task.labels or None, task.output, task.scores, task.positive, own)

    # the release to be replaced

    @functools.cached_property
    def registry(self) -> Registry:
        """What the tags say, after asking the remote what it knows."""
        self.sync  # noqa: B018 (fetches what is missing here)
        return read(self.repository, self.name)

    @functools.cached_property
    def sync(self) -> Sync:
        """What became of asking the remote."""
        return sync(self.repository)

    def baseline(self) -> BaselineModel | None:
        """What the candidate's stage would see replaced; on a branch without a stage, the last stage's release.

        Returns:
            None only when the registry proves that nothing was released before.

        Raises:
            EnvironmentLacks: the clone is shallow or the remote did not answer, so nothing is proven.
        """
        return self._baseline

    @functools.cached_property
    def _baseline(self) -> BaselineModel | None:
        return self._replaced_by(self._released_as())

    def _replaced_by(self, candidate: str | None) -> BaselineModel | None:
        ladder = self.contract.ladder
        found = baseline(
            self.registry,
            self.stage or ladder[-1],
            ladder,
            model=self.name,
            candidate=candidate,
            sync=self.sync,
        )
        if found is None:
            return None
        release = found.release
        manifest = release.manifest if release else None
        version = str(release) if release else None
        return BaselineModel(
            found.label, version, found.stage, found.commit, manifest or digest_of(found.commit), manifest
        )

    def held(self) -> str | None:
        """What would be replaced if the candidate were new, as a label; None when nothing was released before.

        Raises:
            EnvironmentLacks: there is no repository, or nothing is proven.
        """
        ladder = self.contract.ladder
        found = baseline(self.registry, self.stage or ladder[-1], ladder, model=self.name, sync=self.sync)
        return found.label if found else None

    def _released_as(self) -> str | None:
        """The digest under which this very candidate is released already: it is no baseline for itself."""
        mine = {variant.manifest.digest for variant in self.variants()}
        releases = [r for r in self.registry.model(self.name).releases if r.active and r.manifest in mine]
        return releases[-1].manifest if releases else None

    def baseline_path(self) -> Path | None:
        """The baseline's model on this machine, its bytes checked; None when nothing was released before.

        Raises:
            BrokenEvidence: what is found is not what was released.
            EnvironmentLacks: no place that has it can be reached.
        """
        found = self._retrieved
        if found is None:
            return None
        if self.contract.parts.model.path is None:
            return found.folder
        from gradatim.models import detect_format

        # the release may be of another name, or another format, than what is to replace it
        named = [name for name in found.files if Path(name).name == self.model_path.name]
        alike = [name for name in found.files if Path(name).suffix == self.model_path.suffix]
        whole = [""]
        likely = whole if self.model_path.is_dir() else [*named, *alike, *whole]
        for name in (*likely, *found.files):
            with contextlib.suppress(InvalidInput):
                detect_format(found.folder / name)
                return found.folder / name
        raise BrokenEvidence(
            f"The release that would be replaced has no model among its files: {', '.join(found.files)}."
        )

    def baseline_files(self) -> list[Path]:
        """Every file of the baseline's model, on this machine."""
        found = self._retrieved
        return [found.folder / name for name in found.files] if found else []

    def fetch_baselines(self) -> list[str]:
        """Fetch whatever may become the baseline, before any form of the candidate is there; their labels.

        That is what the stage would see replaced, and what it would if that turned out to be the candidate itself.

        Raises:
            BrokenEvidence: what is found is not what was released.
            EnvironmentLacks: no place that has it can be reached, or nothing is proven.
        """
        first = self._replaced_by(None)
        second = self._replaced_by(first.manifest) if first and first.manifest else None
        found = [base for base in (first, second) if base is not None]
        for base in found:
            self._fetch(base)
        return [base.label for base in found]

    @functools.cached_property
    def _retrieved(self) -> Retrieved | None:
        base = self.baseline()
        return None if base is None else self._fetch(base)

    def _fetch(self, base: BaselineModel) -> Retrieved:
        from gradatim.publishers.retrieval import retrieve

        path = self.contract.parts.model.path
        return retrieve(
            self.repository,
            base.commit,
            self.workspace.model_folder(BASELINE) / base.digest[:16],
            manifest=base.manifest,
            version=base.version,
            path=self.from_top(path) if path else None,
        )

    def golden_file(self) -> Path | None:
        """The contract's golden file, where it names one that is there."""
        golden = self.contract.parts.test.golden
        return self.root / golden if golden and (self.root / golden).is_file() else None

    def earlier_golden(self) -> list[Path]:
        """The golden cases of every earlier full release, one file a version, fetched from where git keeps them."""
        return self.remembered(("golden",), self._earlier_golden)

    def _earlier_golden(self) -> list[Path]:
        try:
            releases = self.registry.model(self.name).releases
        except EnvironmentLacks:
            return []
        mine = {variant.manifest.digest for variant in self.variants()}
        earlier = [
            r
            for r in releases
            if r.active and r.manifest not in (None, *mine) and not r.version.is_prerelease
        ]
        kept = self.repository.read_objects([f"{LEDGER}{r.manifest}:{r.version}/{GOLDEN}" for r in earlier])
        found = []
        for release, data in zip(earlier, kept, strict=True):
            if data is not None:
                path = self.workspace.folder / "golden" / f"{release.version}.npz"
                write_bytes(path, data)
                found.append(path)
        return found

    def contestant(self, name: str, path: Path, threads: int | None = None) -> Contestant:
        """A form of the candidate, or the baseline, for a process of its own that opens it as ``open`` does."""
        from gradatim.timing.contestant import Contestant

        model = self.contract.parts.model
        constants, carries = self.hidden_inputs()
        return Contestant(
            name,
            path,
            path if model.path is None and path.is_dir() else self.root,
            format=model.format if path == self.model_path else None,
            factory=model.factory,
            signature=self.declared_signature(),
            device=model.device,
            threads=threads or model.threads,
            allow_pickle=model.allow_pickle,
            constants=constants,
            carries=carries,
        )

    def publishers(self) -> list[Publisher]:
        """The places that the contract publishes to, in its order.

        Raises:
            EnvironmentLacks: the package that one of them needs is not installed.
            UsageError: one is the project of the git remote, and there is no such remote.
        """
        from gradatim.publishers.places import open_publisher

        return [
            open_publisher(place.kind, place.address, root=self.root, repository=self.repository)
            for place in self.contract.parts.publish
        ]

    def approval(self, stage: str) -> Approval:
        """Who lets this run into a stage, as the platform tells."""
        from gradatim.ci.approval import approval_of

        person, _ = self.repository.identity()
        environment = self.contract.parts.stages[stage].environment or stage
        return approval_of(self.platform, self.place, environment, person=person)

    def from_top(self, path: str) -> str:
        """A path of the contract, relative to the top of the repository."""
        return (self.root.resolve() / path).relative_to(self.repository.root.resolve()).as_posix()

    # evidence

    def evidence(self, step: str) -> Statement:
        """The evidence of a step.

        Raises:
            BrokenEvidence: there is none, or it is broken.
        """
        statement = self.workspace.statement(step)
        if statement is None:
            raise BrokenEvidence(
                f"There is no evidence of `{step}` in {self.workspace.folder}. Run: gradatim {step}"
            )
        return statement

    def statement(self, step: str, outcome: Outcome, inputs: Mapping[str, str], seconds: float) -> Statement:
        """Evidence of a step out of what it found."""
        outputs = self.workspace.digests(outcome.outputs)
        details = {
            **outcome.details,
            "summary": outcome.summary,
            "outputs": outputs,
            "seconds": round(seconds, 3),
            MADE: _now(),
        }
        return Statement(
            step,
            dict(outcome.subjects),
            outcome.verdict,
            __version__,
            dict(inputs),
            outcome.measurements,
            outcome.gates,
            {
                **environment(self.platform.name, self._place_if_any(), *self._commit_if_any()),
                **outcome.elsewhere,
            },
            details,
        )

    def _place_if_any(self) -> Place:
        try:
            return self.place
        except EnvironmentLacks:
            return Place()

    def _commit_if_any(self) -> tuple[str | None, Mapping[str, str | int]]:
        """The commit, and where it is in Subversion."""
        try:
            commit = self.repository.head()
            return commit, self.repository.revision(commit)
        except (EnvironmentLacks, UsageError):
            return None, {}

    # what a step's evidence rests on, as digests

    def part_digest(self, *parts: str) -> str:
        """Digest of some parts of the contract."""
        dump = self.contract.parts.model_dump(mode="json", include=set(parts))
        return digest_of(dump)

    def data_digest(self, which: str) -> str:
        """Digest of a data set's bytes and of how it is read."""
        return self.remembered(("data", which), lambda: self._data_digest(which))

    def _data_digest(self, which: str) -> str:
        chosen = self.contract.data_set(which)
        if chosen is None:
            return digest_of(None)
        return digest_of([chosen.model_dump(mode="json"), self.bytes_digest(which)])

    def bytes_digest(self, which: str) -> str:
        """Digest of a data set's bytes alone: of a file, what ``sha256sum`` prints.

        Raises:
            UsageError: the contract has no such data.
            InvalidInput: it is not there.
        """
        from gradatim.data import data_digest

        chosen = self.contract.data_set(which)
        if chosen is None:
            raise UsageError(f"The contract names no `data.{which}`. Add it under `data:`.")
        return self.remembered(
            ("bytes", which), lambda: data_digest(chosen.path, root=self.root, format=chosen.format)
        )

    def code_digest(self, which: Iterable[str] = ("evaluation",)) -> str:
        """Digest of the user's code that measuring runs: model factory, preprocessing, own metrics."""
        return self.remembered(("code", *which), lambda: self._code_digest(which))

    def _code_digest(self, which: Iterable[str]) -> str:
        from gradatim.code import closure_digest, is_reference

        task = self.contract.parts.task
        references = list(task.metrics.values()) if task else []
        references += [self.contract.parts.model.factory] if self.contract.parts.model.factory else []
        for name in which:
            chosen = self.contract.data_set(name)
            if chosen:
                references += [r for r in (chosen.preprocess, chosen.path) if r and is_reference(r)]
        return digest_of({reference: closure_digest(self.root, reference) for reference in references})


def _now() -> str:
    """The time, UTC; ``SOURCE_DATE_EPOCH`` sets the clock."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
