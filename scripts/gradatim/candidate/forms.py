"""The forms of a candidate: as it was built, and as compress left it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from gradatim.candidate.model import Model
from gradatim.candidate.workspace import Workspace
from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.evidence.found import Compressed, FormLeft
from gradatim.evidence.manifest import Manifest
from gradatim.evidence.statement import Statement
from gradatim.files import nearest_file

ORIGINAL = "original"
"""The variant as it was built, before any compression."""


@dataclass(frozen=True)
class Variant:
    """The candidate in one form.

    Attributes:
        name: ``original``, ``int8-static``, ...
        path: the model's file or folder, absolute.
        folder: what the paths in its manifest are relative to.
        manifest: its files, byte for byte.
    """

    name: str
    path: Path
    folder: Path
    manifest: Manifest


def _as_built(name: str, model: Model) -> Variant:
    said = model.contract.parts.model
    with model.contract.blamed(*model.place):
        if said.path and not model.path.exists():
            makes = "" if model.said else ", or say in `model.build` which command makes it"
            raise InvalidInput(
                f"There is no model at {said.path}.{nearest_file(model.contract.root, said.path)} Correct `model.{model.place[1]}`{makes}."
            )
        manifest = Manifest.of(said.name, model.folder, model.files)
    return Variant(name, model.path, model.folder, manifest)


def _bytes(variant: Variant) -> list[str]:
    return sorted(entry.sha256 for entry in variant.manifest.files)


@dataclass(frozen=True)
class Forms:
    """Every form of a candidate, read once.

    Attributes:
        model: where it lies.
        workspace: where compress left the others.
    """

    model: Model
    workspace: Workspace

    @functools.cached_property
    def original(self) -> Variant:
        """The candidate as built.

        Raises:
            InvalidInput: there is no model, or it is no model at all; names the line of the contract.
        """
        return _as_built(ORIGINAL, self.model)

    @functools.cached_property
    def others(self) -> dict[str, Variant]:
        """The contract's further candidates of the same recipe by name: judged with the original, and never released.

        Raises:
            InvalidInput: one is not there, or has the bytes of another; names the line of the contract.
        """
        seen, found = [self.original], dict[str, Variant]()
        for number, model in enumerate(self.model.others, start=2):
            one = _as_built(f"candidate {number}", model)
            with model.contract.blamed(*model.place):
                if any(_bytes(one) == _bytes(other) for other in seen):
                    raise InvalidInput(
                        f"{model.contract.parts.model.path} has the same bytes as another candidate, which tells nothing of what "
                        "training varies. Train it with a seed of its own, or leave it out."
                    )
            seen.append(one)
            found[one.name] = one
        return found

    @functools.cached_property
    def all(self) -> tuple[Variant, ...]:
        """The forms that compress left to be judged, the preferred one first.

        Raises:
            BrokenEvidence: the contract asks for compression and there is no such evidence for this model.
        """
        if self.model.contract.parts.compress is None:
            return (self.original,)
        evidence = self.workspace.evidence("compress")
        if evidence.inputs.get("candidate") != self.original.manifest.digest:
            raise BrokenEvidence("The evidence of `compress` is of another model. Run: gradatim compress")
        return tuple(self._left(form, evidence) for form in Compressed.of(evidence).variants)

    @property
    def known(self) -> tuple[Variant, ...]:
        """``all``; before compress has run, the candidate as built alone."""
        try:
            return self.all
        except BrokenEvidence:
            return (self.original,)

    def _left(self, form: FormLeft, evidence: Statement) -> Variant:
        if form.file is None:
            return self.original
        folder = self.workspace.model_folder(form.name)
        files = [path for path in self.workspace.paths(evidence.outputs) if path.is_relative_to(folder)]
        manifest = Manifest.of(self.original.manifest.name, folder, files)
        if manifest.digest != evidence.subjects.get(form.name):
            raise BrokenEvidence(
                f"The variant {form.name} is not what compress left. Run: gradatim compress --force"
            )
        return Variant(form.name, folder / form.file, folder, manifest)
