"""The table of docs/explanation/faults.md names a test for each fault; here are those that have no better place."""

from __future__ import annotations

import ast
import functools
import math
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from children import in_a_child
from gate_project import lay_down
from registry_examples import IDENTITY, clone, commit_file, git, new_repository

from gradatim.candidate.workspace import Workspace
from gradatim.errors import BrokenEvidence, EnvironmentLacks
from gradatim.evidence.statement import Statement
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.intervals import bootstrap_bounds
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import open_model
from gradatim.registry.git import PushRejected, RefUpdate, Repository
from gradatim.steps import tag

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs" / "explanation" / "faults.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`")


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)


def rows() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith(("| fault", "|---"))]


def test_every_promise_of_security_names_tests_that_exist() -> None:
    page = (TOP / "SECURITY.md").read_text(encoding="utf-8")
    section = page.split("## Each promise, and the test that holds it")[1].split("\n## ")[0]
    promises = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(promises) >= 12
    for line in promises:
        _names_tests(line)


def test_every_fault_of_the_page_names_tests_that_exist() -> None:
    assert len(rows()) == 30
    for row in rows():
        _names_tests(row)


def _names_tests(row: str) -> None:
    named = NAMED.findall(row)
    assert named, f"no test: {row}"
    for path, name in named:
        assert name.split("::")[-1].startswith("test_"), name
        assert name in _tests(path), f"pytest finds no {path}::{name}"


@functools.cache
def _tests(path: str) -> set[str]:
    """As pytest names them: a function of the module, or one of a class in it."""
    found = set()
    for node in ast.parse((TOP / path).read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        of = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {of + each.name for each in inside if isinstance(each, ast.FunctionDef)}
    return found


def test_a_plain_push_moves_the_branch_although_the_tag_was_rejected_and_ours_does_not(
    tmp_path: Path,
) -> None:
    place = new_repository(tmp_path / "r", remote=tmp_path / "remote.git")
    other = clone(tmp_path / "remote.git", tmp_path / "other")
    git(place, "tag", "-a", "-m", "x", "v1.0.0")
    git(place, "push", "-q", "origin", "v1.0.0")
    before = git(place, "rev-parse", "HEAD")
    (other / "b").write_bytes(b"b")
    git(other, "add", "b")
    git(other, "commit", "-q", "-m", "b")
    git(other, "tag", "-a", "-m", "theirs", "v1.0.0")
    repository = Repository.find(other)
    updates = [
        RefUpdate("refs/heads/main", repository.head(), before),
        RefUpdate("refs/tags/v1.0.0", git(other, "rev-parse", "v1.0.0")),
    ]
    with pytest.raises(PushRejected):
        repository.push("origin", updates)
    assert git(tmp_path / "remote.git", "rev-parse", "main") == before
    plain = subprocess.run(
        ["git", "-C", str(other), "push", "-q", "origin", "main", "v1.0.0"], capture_output=True
    )
    assert plain.returncode != 0
    assert git(tmp_path / "remote.git", "rev-parse", "main") == repository.head(), "the trap itself"


def test_evidence_that_finds_no_room_is_not_half_there(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.prepare()
    statement = Statement(
        "gate", {"original": "a" * 64}, Verdict.PASS, "0.1.0", details={"long": "x" * 50_000}
    )

    def fill() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(EnvironmentLacks, match="cannot be written"):
            workspace.save(statement)

    assert in_a_child(fill) == 0
    assert workspace.statement("gate") is None
    assert list(workspace.evidence_path("gate").parent.iterdir()) == []


def test_a_bit_that_flips_after_the_gates_loads_silently_and_is_never_tagged(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    project = lay_down(tmp_path, labels, labels, labels)
    project.contract("accuracy: {at_least: 60%}")
    outcome = project.judge()
    release = project.release()
    release.workspace.save(outcome.statement(release, "gate", {}, 0.0))
    commit_file(project.root, "gradatim.yml", (project.root / "gradatim.yml").read_bytes())
    model = project.root / "model.onnx"
    data = bytearray(model.read_bytes())
    weight = data.index(np.float32(1).tobytes())
    data[weight + 3] ^= 0x40
    model.write_bytes(data)
    with open_model(model, root=project.root) as predictor:  # nothing but the digest tells
        assert predictor({"x": np.eye(6, dtype=np.float32)})["scores"].shape == (6, 3)
    with pytest.raises(BrokenEvidence, match="evidence of `gate` is of another model"):
        tag.run(project.release())
    assert git(project.root, "ls-remote", "--tags", "--refs", "origin").count("refs/tags/") == 1


def test_a_bootstrap_without_spread_or_without_a_number_proves_nothing() -> None:
    """A metric that is the same in every resample has no interval: its width of zero would prove anything."""

    def flat(labels: np.ndarray, answers: np.ndarray) -> float:
        return 0.9

    labels = np.roll(np.arange(200) % 10, -1)
    task = Task("classification", tuple(range(10)), own={"flat": flat})
    kept = {"scores": np.eye(10, dtype=np.float32)[labels]}
    candidate = Evaluation(task, Predictions.of(kept, labels))
    (found,) = judge([Rule("flat", "flat", "at_least", 0.5)], Case("v", candidate=candidate))
    assert found.verdict is Verdict.INCONCLUSIVE, found.text
    assert found.low is None
    broken = np.array([0.9, math.nan, 0.8])
    assert bootstrap_bounds(0.9, broken, 200, 1.0, 0.05) is None
