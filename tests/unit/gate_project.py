"""A repository with a release and a candidate whose answers the data themselves decide, for tests of the gate step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from registry_examples import clone, commit_file, git, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.ci import Place
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.evidence.assembly import assemble
from gradatim.evidence.statement import Bundle
from gradatim.gates.verdict import GateResult
from gradatim.pipeline.step import run_step
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.tagging import announce
from gradatim.steps import gate

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, %(data)s}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip, %(test)s}
gates:
%(gates)s
stages:
  alpha: {branch: develop, on_inconclusive: warn}
  production: {branch: main}
"""


@dataclass
class Runner(Laptop):
    """A laptop that may say that it runs a pull request, from a fork or of the repository's own."""

    fork: bool = False
    pull: bool = False

    def place(self) -> Place | None:
        if not (self.fork or self.pull):
            return None
        return Place(branch="topic", target="main", fork=self.fork, bare=self.pull)


@dataclass
class GateProject:
    """``root`` is a working tree with a bare ``remote`` beside it; ``v1.0.0`` answers ``old``, the candidate ``new``."""

    root: Path
    remote: Path

    def contract(self, gates: str, *, data: str = "", test: str = "") -> None:
        lines = "\n".join(f"  {line.strip()}" for line in gates.strip().splitlines())
        text = CONTRACT % {"gates": lines, "data": data, "test": test}
        (self.root / "gradatim.yml").write_text(text, encoding="utf-8")

    def release(self, stage: str = "production", *, fork: bool = False) -> Candidate:
        contract = read_contract(self.root / "gradatim.yml")
        return Candidate(contract, Runner(fork), stage)

    def judge(self, stage: str = "production", *steps: str, fork: bool = False) -> Outcome:
        """Evaluate (and what else is named), then judge; timing is left out, for nothing here asks for it."""
        for step in ("inspect", *steps, "evaluate"):
            run_step(step, self.release(stage, fork=fork))
        return gate.run(self.release(stage, fork=fork))

    def another_candidate(self, shift: float, *, turned: bool = False) -> None:
        """A model of other bytes; of the same answers, or ``turned`` of the class after each."""
        write_model(self.root / "model.onnx", "new", shift, turned=turned)

    def announce(self, version: str, *steps: str) -> None:
        """Release the candidate with the evidence of its evaluation (and what else is named) and its golden answers, as tag does."""
        release = self.release()
        statements = [release.workspace.statement(step) for step in ("evaluate", *steps)]
        golden = release.workspace.folder / "golden.npz"
        commit_file(self.root, "notes.md", f"{version}\n".encode())
        commit = release.repository.head()
        manifest = release.forms.original.manifest
        files = assemble(
            manifest,
            self.root,
            Bundle(tuple(statement for statement in statements if statement is not None)),
            tag=version,
            version=version,
            stage="production",
            variant="original",
            commit=commit,
            previous="v1.0.0",
            committed=committed_paths(release.repository, commit, manifest, "model.onnx"),
            others={"golden.npz": golden} if golden.exists() else {},
        )
        announce(release.repository, files.record, files.manifest, files.kept)

    def clone(self, place: Path) -> GateProject:
        """Another machine: the contract, the data and the candidate as they are here, the tags from the remote."""
        clone(self.remote, place)
        for name in ("gradatim.yml", "model.onnx", "test.npz"):
            (place / name).write_bytes((self.root / name).read_bytes())
        return GateProject(place, self.remote)


def lay_down(
    folder: Path,
    labels: NDArray[Any],
    old: NDArray[Any],
    new: NDArray[Any],
    slices: Mapping[str, NDArray[Any]] | None = None,
    models: int = 2,
) -> GateProject:
    """A released model that answers ``old`` and a candidate that answers ``new``, each [n] of the labels 0, 1, 2."""
    root = new_repository(folder / "repo", remote=folder / "remote.git")
    rows = np.concatenate([np.eye(3)[old], np.eye(3)[new]], axis=1).astype(np.float32)
    write_model(root / "model.onnx", "old", models=models)
    np.savez(root / "test.npz", x=rows, label=labels, **(slices or {}))
    commit_file(root, ".gitignore", b".gradatim/\n")
    git(root, "tag", "-a", "v1.0.0", "-m", "The first")
    git(root, "push", "-q", "origin", "v1.0.0")
    write_model(root / "model.onnx", "new", models=models)
    return GateProject(root, folder / "remote.git")


def compressed(folder: Path) -> GateProject:
    """A candidate as good as its release whose first steps are done: 120 rows to evaluate, 40 to disturb."""
    labels = np.arange(120) % 3
    made = lay_down(folder, labels, labels, labels)
    made.contract("accuracy: {at_least: 50%}", test="robustness: [feature_noise], items: 40")
    for step in ("build", "inspect", "compress"):
        assert run_step(step, made.release()).code == 0
    return made


def write_model(path: Path, which: str, shift: float = 0.0, *, turned: bool = False, models: int = 2) -> None:
    """Scores of three classes: the first three features, for ``new`` the next three, of three times as many features as there are models."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3 * models, 3), np.float32)
    weights[3 * ("old", "new", "second", "third").index(which) + np.arange(3), np.arange(3)] = 1 + shift
    weights = np.roll(weights, 1, axis=1) if turned else weights
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3 * models])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def named(outcome: Outcome, gate_name: str) -> GateResult:
    """The result of one gate."""
    (found,) = [result for result in outcome.gates if result.gate == gate_name]
    return found
