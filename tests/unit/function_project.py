"""A repository whose model is a function of the user's own, released step by step in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from registry_examples import commit_file, git, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.evidence.assembly import assemble
from gradatim.evidence.found import Tagged
from gradatim.evidence.release_record import CONTRACT_FILE
from gradatim.evidence.statement import Bundle, Statement
from gradatim.pipeline.step import run_step
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.tagging import announce

RELEASE = ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate", "tag", "publish")

CONTRACT = """\
model:
  name: signs
  inputs: {x: {dtype: float32, shape: [batch, 2]}}
%(model)s
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1]}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates: {accuracy: {at_least: 50%%}}
stages: {production: {branch: main}}
publish: [{folder: ../releases}]
%(more)s
"""


class FunctionProject:
    """``root`` is a working tree on ``main``; its data are 64 points, labelled by the sign of their first number."""

    def __init__(self, folder: Path, model: str = "factory: entry:make", more: str = "") -> None:
        self.root = new_repository(folder / "repo")
        rows = np.random.default_rng(5).normal(size=(64, 2)).astype(np.float32)
        np.savez(self.root / "test.npz", x=rows, label=(rows[:, 0] > 0).astype(np.int64))
        self.write(".gitignore", ".gradatim/\n__pycache__/\n")
        self.contract(model, more)

    def contract(self, model: str, more: str = "") -> None:
        lines = "\n".join(f"  {line.strip()}" for line in model.strip().splitlines())
        self.write("gradatim.yml", CONTRACT % {"model": lines, "more": more})

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def candidate(self) -> Candidate:
        return Candidate(read_contract(self.root / "gradatim.yml"), Laptop())

    def step(self, name: str) -> Statement:
        return run_step(name, self.candidate()).statement

    def release(self) -> str:
        """Commit everything and walk up to the publication; the tag."""
        commit_file(self.root, "notes.txt", str(len(git(self.root, "tag"))).encode())
        found = {step: self.step(step) for step in RELEASE}
        return Tagged.of(found["tag"]).tag

    def announce(self, version: str) -> list[str]:
        """Give the candidate a version by the tag alone, as git keeps it; the names of the released files."""
        commit_file(self.root, "notes.txt", version.encode())
        candidate = self.candidate()
        variant, commit = candidate.forms.original, candidate.repository.head()
        files = assemble(
            variant.manifest,
            variant.folder,
            Bundle(()),
            tag=version,
            version=version,
            stage="production",
            variant=variant.name,
            commit=commit,
            previous=None,
            committed=committed_paths(candidate.repository, commit, variant.manifest, "gradatim.yml"),
            others={CONTRACT_FILE: candidate.contract.path},
        )
        announce(candidate.repository, files.record, files.manifest, files.kept)
        return [entry.path for entry in variant.manifest.files]

    def released(self, tag: str) -> list[str]:
        """The model's files of a published release."""
        folder = self.root.parent / "releases" / tag
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def weights(self, name: str, *values: float) -> None:
        """An array of float32 in a .npy."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(self.root / name, np.array(values, np.float32))
