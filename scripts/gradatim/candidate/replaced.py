"""The release that a candidate would replace: which one it is, and its files on this machine."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.candidate.forms import Forms
from gradatim.candidate.identity import Identity
from gradatim.candidate.model import Model
from gradatim.candidate.rows import Rows
from gradatim.candidate.workspace import Workspace
from gradatim.contract.endpoint import EndpointSection
from gradatim.contract.reading import ReadContract, contract_of
from gradatim.errors import (
    BrokenEvidence,
    ContractError,
    EnvironmentLacks,
    GradatimError,
    InvalidInput,
    UsageError,
)
from gradatim.evidence.found import Evaluated
from gradatim.evidence.release_record import CONTRACT_FILE, GOLDEN_FILE
from gradatim.evidence.statement import MADE_FROM, Statement
from gradatim.files import digest_of, write_bytes
from gradatim.registry.baseline import baseline
from gradatim.registry.history import LEDGER, Release
from gradatim.registry.ledger import open_ledger

if TYPE_CHECKING:
    from gradatim.metrics.task import Label, Task
    from gradatim.publishers.retrieval import Retrieved

BASELINE = "baseline"
"""The name under which the release to be replaced is measured."""


@dataclass(frozen=True)
class BaselineModel:
    """The release that the candidate would replace.

    Attributes:
        label: ``v1.0.0``, or the commit where it bears no version.
        version: its version, None where it bears none.
        stage: the stage that holds it, None where no stage does.
        commit: the commit that it was released from.
        digest: hex manifest digest; digest of the commit's id where its tag names no manifest.
        manifest: hex manifest digest; None where its tag names none.
    """

    label: str
    version: str | None
    stage: str | None
    commit: str
    digest: str
    manifest: str | None


@dataclass(frozen=True)
class GoldenFile:
    """Golden cases of an earlier release.

    Attributes:
        path: where they lie in the workspace; its stem is the version.
        manifest: hex manifest digest of the release.
        version: its version, as git keeps its files.
    """

    path: Path
    manifest: str
    version: str


@dataclass(frozen=True)
class Replaced:
    """What a candidate's stage would see replaced; on a branch without a stage, the last stage's release.

    Attributes:
        identity: the candidate, its stage and its registry.
        forms: its own forms: a candidate is no baseline for itself.
        workspace: where the baseline's files are put.
        named: the release itself, where it is known.
    """

    identity: Identity
    forms: Forms
    workspace: Workspace
    named: BaselineModel | None = None

    @functools.cached_property
    def release(self) -> BaselineModel | None:
        """The release; None only when the registry proves that nothing was released before.

        Raises:
            EnvironmentLacks: the clone is shallow or the remote did not answer, so nothing is proven.
        """
        return self.named or self._instead_of(self._released_as())

    def of(self, release: Release) -> Replaced:
        """The same for a release that is named."""
        digest = release.manifest or digest_of(release.commit)
        found = BaselineModel(
            str(release), str(release), release.stage, release.commit, digest, release.manifest
        )
        return replace(self, named=found)

    def before(self, release: Release) -> Replaced:
        """What the stage would see a release replace.

        Raises:
            UsageError: nothing else was released.
            EnvironmentLacks: nothing is proven.
        """
        found = self._instead_of(release.manifest)
        if found is None:
            raise UsageError(f"Nothing but {release} was released: there is nothing to stand beside it.")
        return replace(self, named=found)

    @property
    def held(self) -> BaselineModel | None:
        """What would be replaced if the candidate were new; None when nothing was released before.

        Raises:
            EnvironmentLacks: there is no repository, or nothing is proven.
        """
        return self._instead_of(None)

    @functools.cached_property
    def evaluated(self) -> Evaluated | None:
        """What its evaluation found, as git keeps it; None where it keeps nothing of it, or nothing that can be read."""
        base = self.release
        if base is None or base.manifest is None:
            return None
        kept = self.identity.versions_of(base.manifest)
        found = (Evaluated.if_any(one) for statements in kept for one in statements if one.step == "evaluate")
        return next((one for one in found if one is not None), None)

    def compared(self, statement: Statement) -> str:
        """The release that evidence was made against, as people call it: ``v1.0.0``."""
        digest = statement.inputs.get("baseline")
        releases = self.identity.registry.model(self.identity.name).releases
        known = (str(one) for one in reversed(releases) if digest in (one.manifest, digest_of(one.commit)))
        return next(known, "nothing" if digest == digest_of(None) else "another release")

    def moved(self, statement: Statement) -> str | None:
        """What the stage holds now, where evidence was made against something else: ``production now holds v1.1.0``.

        None where the stage did not move, the evidence compares with nothing, or nothing is proven of what was released.
        """
        then = statement.inputs.get("baseline")
        try:
            now = self.release
        except GradatimError:  # whoever asks the registry in earnest says so
            return None
        if then is None or then == (now.digest if now else digest_of(None)):
            return None
        stage = (now.stage if now else None) or self.identity.stage or "the last stage"
        return f"{stage} now holds {now.label if now else 'nothing'}"

    @functools.cached_property
    def contract(self) -> ReadContract:
        """The contract that it was released by, as git keeps it; the candidate's where none was kept.

        Raises:
            BrokenEvidence: it cannot be read.
        """
        base = self.release
        if base is None or base.manifest is None or base.version is None:
            return self.identity.contract
        return self._contract_of(base.manifest, base.version)

    @property
    def model(self) -> Model:
        """How it is opened and called: as its own contract says, on the candidate's device and threads.

        What a factory makes is made of the code and the files that were released, none of today's; so is an adapter put on its base.

        Raises:
            EnvironmentLacks: it had an adapter, and nothing tells its files.
        """
        contract, found = self.contract, self._retrieved
        if found is not None and found.manifest is None and contract.parts.model.adapter is not None:
            raise EnvironmentLacks(
                f"{self.release.label if self.release else 'The release'} was not tagged by gradatim: nothing tells whether it had an "
                "adapter, and which. Say `registry: {tags: named}`, so that versions of the model bear its name."
            )
        whole = found is not None and found.manifest is not None and contract.parts.model.in_places
        restored = found.folder.resolve() if found and whole else None
        return Model(contract, self.identity.machine, restored, self._served)

    @property
    def _served(self) -> EndpointSection | None:
        """The server that answers for it; None where its weights are opened here.

        Raises:
            UsageError: that is the very server that answers for the candidate.
        """
        mine, theirs = (c.parts.model.endpoint for c in (self.identity.contract, self.contract))
        if mine is not None and mine.baseline is not None:
            return mine.model_copy(update={**dict(mine.baseline), "baseline": None})
        if mine is not None and theirs is not None and (mine.url, mine.model) == (theirs.url, theirs.model):
            raise UsageError(
                f"{self.identity.contract.where('model', 'endpoint')}: {mine.url} answers for the candidate and for "
                f"{self.release.label if self.release else 'the release'}, which it would be compared with: that is the candidate twice. "
                "Serve the release beside it and say where: `endpoint: {baseline: {url: ..., model: ...}}`."
            )
        return theirs

    @property
    def rows(self) -> Rows:
        """The candidate's rows, fed as its own contract says."""
        return Rows(self.identity.contract, self.contract)

    def task(self) -> Task:
        """What it was released for: its own labels and outputs, judged by the candidate's own metrics.

        Raises:
            UsageError: a contract names no task.
        """
        return self._task_in(self.contract)

    @property
    def path(self) -> Path | None:
        """The baseline's model on this machine, its bytes checked; None when nothing was released before.

        Raises:
            BrokenEvidence: what is found is not what was released.
            EnvironmentLacks: no place that has it can be reached.
        """
        found = self._retrieved
        if found is None:
            return None
        # a function alone reads no file, or those that it names
        alone = self.contract.parts.model.path is None
        if self.model.restored is not None and (alone or self.model.path.exists()):
            return self.model.path
        # what compression made of a factory's model is read without the factory
        others = self.contract.parts.model.read_by_others and self.model.restored is None
        return model_among(found.folder, found.files, self.forms.model.path, read_by_others=others)

    @property
    def files(self) -> list[Path]:
        """Every file of the baseline's model, on this machine."""
        found = self._retrieved
        return [found.folder / name for name in found.files] if found else []

    def fetch_all(self) -> list[str]:
        """Fetch whatever may become the baseline, before any form of the candidate is there; their labels.

        That is what the stage would see replaced, and what it would if that turned out to be the candidate itself.

        Raises:
            BrokenEvidence: what is found is not what was released.
            EnvironmentLacks: no place that has it can be reached, or nothing is proven.
        """
        first = self._instead_of(None)
        second = self._instead_of(first.manifest) if first and first.manifest else None
        found = [base for base in (first, second) if base is not None]
        for base in found:
            self._fetch(base)
        return [base.label for base in found]

    @functools.cached_property
    def golden(self) -> list[GoldenFile]:
        """The golden cases of every earlier full release, one file a version, fetched from where git keeps them."""
        try:
            releases = self.identity.registry.model(self.identity.name).releases
        except EnvironmentLacks:
            return []
        mine = {variant.manifest.digest for variant in self.forms.all}
        earlier = [
            r
            for r in releases
            if r.active and r.manifest not in (None, *mine) and not r.version.is_prerelease
        ]
        names = [f"{LEDGER}{r.manifest}:{r.version}/{GOLDEN_FILE}" for r in earlier]
        found = []
        for release, data in zip(earlier, self.identity.repository.read_objects(names), strict=True):
            if data is not None:
                path = self.workspace.golden_of(str(release.version))
                write_bytes(path, data)
                found.append(GoldenFile(path, str(release.manifest), str(release)))
        return found

    def task_of_golden(self, golden: GoldenFile) -> Task | None:
        """What the release of golden cases was for; None where neither contract names a task.

        Raises:
            BrokenEvidence: the contract that it was released by cannot be read.
        """
        if self.identity.contract.parts.task is None:
            return None
        return self._task_in(self._contract_of(golden.manifest, golden.version))

    def _task_in(self, theirs: ReadContract) -> Task:
        """The task of a release by its contract; the candidate's where that names none."""
        mine = self.identity.contract
        if theirs.parts.task is None:
            theirs = mine
        renamed = mine.parts.task.renamed if mine.parts.task else {}
        called = {str(old): _label(mine, new) for new, old in renamed.items()}
        return Rows(theirs, theirs).task(Rows(mine, mine).task(), called)

    def _contract_of(self, manifest: str, version: str) -> ReadContract:
        """The contract that a version was released by, as git keeps it; the candidate's where none was kept."""
        mine = self.identity.contract
        ledger = open_ledger(self.identity.repository, manifest)
        kept = f"{version}/{CONTRACT_FILE}"
        if kept not in ledger.blobs:
            return mine
        try:
            return contract_of(ledger.read(kept).decode(), mine.root / f"{CONTRACT_FILE} of {version}")
        except (ContractError, UnicodeDecodeError) as error:
            raise BrokenEvidence(
                f"This gradatim cannot read the contract that {version} was released by: {error}"
            ) from error

    def _instead_of(self, candidate: str | None) -> BaselineModel | None:
        ladder = self.identity.contract.ladder
        found = baseline(
            self.identity.registry,
            self.identity.stage or ladder[-1],
            ladder,
            model=self.identity.name,
            candidate=candidate,
            sync=self.identity.sync,
        )
        if found is None:
            return None
        release = found.release
        manifest = release.manifest if release else None
        version = str(release) if release else None
        return BaselineModel(
            found.label, version, found.stage, found.commit, manifest or digest_of(found.commit), manifest
        )

    def _released_as(self) -> str | None:
        """The digest under which this very candidate is released already: it is no baseline for itself."""
        mine = {variant.manifest.digest for variant in self.forms.known}
        known = self.identity.registry.model(self.identity.name).releases
        releases = [r for r in known if r.active and r.manifest in mine]
        if releases:
            return releases[-1].manifest
        held = self._instead_of(None)
        return held.manifest if held and held.manifest and self._is_made_from_mine(held.manifest) else None

    def _is_made_from_mine(self, manifest: str) -> bool:
        """Whether a release is a form that was made of this very candidate, which may not be made here yet."""
        found = (one for statements in self.identity.versions_of(manifest) for one in statements)
        mine = self.forms.original.manifest.digest
        return any(
            one.step == "compress" and one.inputs.get(MADE_FROM) == mine and manifest in one.subjects.values()
            for one in found
        )

    @functools.cached_property
    def _retrieved(self) -> Retrieved | None:
        return None if self.release is None else self._fetch(self.release)

    def _fetch(self, base: BaselineModel) -> Retrieved:
        from gradatim.publishers.retrieval import retrieve

        path = self.identity.contract.parts.model.path
        return retrieve(
            self.identity.repository,
            base.commit,
            self.workspace.model_folder(BASELINE) / base.digest[:16],
            manifest=base.manifest,
            version=base.version,
            path=self.identity.from_top(path) if path else None,
        )


def model_among(folder: Path, files: Sequence[str], path: Path, *, read_by_others: bool) -> Path:
    """What is to be opened of a release: it may be of another name, or another format, than what is to replace it.

    Args:
        folder: where the release lies.
        files: its files, relative to that.
        path: the model that is to replace it.
        read_by_others: whether a function or a program of the user's reads it, which takes any file.

    Raises:
        BrokenEvidence: none of them is a model.
    """
    from gradatim.models import detect_format

    named = [name for name in files if Path(name).name == path.name]
    alike = [name for name in files if Path(name).suffix == path.suffix]
    whole = [""]  # a folder that says itself what it is, of stages for one, is more than any file in it
    likely = (
        whole if path.is_dir() else [*named, *alike, *whole] if read_by_others else [*whole, *named, *alike]
    )
    for name in (*likely, *files):
        try:
            detect_format(folder / name, factory=read_by_others)
        except InvalidInput:
            continue
        return folder / name
    raise BrokenEvidence(
        f"The release that would be replaced has no model among its files: {', '.join(files)}."
    )


def _label(contract: ReadContract, name: str) -> Label:
    """The label of this name, as the contract spells it."""
    labels = contract.parts.task.labels if contract.parts.task else ()
    return next(label for label in labels if str(label) == name)
