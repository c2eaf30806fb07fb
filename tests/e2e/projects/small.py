"""The smallest project that has every part, made once and copied for each test: a model of 31 weights, 200 rows."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from projects.graphs import node, write_graph
from projects.repository import Project, Run

MODEL = "model/small.onnx"
DATA = "data/test.npz"
CALIBRATION = "data/calibration.npz"
CONTRACT = """\
model: {name: small, path: model/small.onnx}
data:
  evaluation: data/test.npz
  calibration: data/calibration.npz
  slices: site
  preprocess: prepare:features
task: {type: classification, labels: [0, 1, 2]}
test: {pytest: tests/model, robustness: [feature_noise], items: 5, abnormal: skip}
gates:
  accuracy: {at_least: 80%}
  size: {at_most: 1 MB}
compress: {keep: {accuracy: 90%}, methods: [int8-dynamic]}
benchmark: {rounds: 3}
stages:
  production: {branch: main}
publish:
  - folder: releases
"""
PREPROCESSING = """\
def features(columns):
    return {"x": columns["x"]}
"""
USER_TEST = """\
def test_it_answers(model, dataset):
    assert model(dataset.head(2).inputs)["scores"].shape == (2, 3)
"""
_LEFT_OUT = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "GIT_DIR", "GIT_WORK_TREE", "NO_COLOR", "FORCE_COLOR")


def write_model(path: Path, *, bias: float = 0.0, broken: bool = False) -> None:
    """Three classes from four features: which of the first three is largest.

    Args:
        bias: added to the first class's score: another model with the same answers, as long as it is small.
        broken: leave a NaN among the weights.
    """
    mix = np.zeros((4, 3))
    mix[:3] = np.eye(3)
    mix[3, 0] = np.nan if broken else 0.0
    nodes = [
        node("MatMul", ["x", "first"], ["h"], name="one"),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "second"], ["m"], name="two"),
        node("Add", ["m", "bias"], ["scores"]),
    ]
    weights = {"first": np.eye(4), "second": mix, "bias": np.array([bias, 0.0, 0.0])}
    write_graph(path, [("x", "float32", ["n", 4])], [("scores", "float32", ["n", 3])], nodes, weights)


def columns(rows: int = 200, seed: int = 1) -> dict[str, NDArray[Any]]:
    """Features of three well separated classes, their labels, and a column to slice by."""
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    features = np.eye(4)[labels] * 2.2 + draw.normal(scale=0.6, size=(rows, 4))
    return {
        "x": features.astype(np.float32),
        "label": labels,
        "site": np.array(["north", "south"])[np.arange(rows) % 2],
    }


def write_columns(path: Path, **changed: NDArray[Any] | None) -> None:
    """Save the columns of :func:`columns`, some of them replaced or, with None, left out."""
    table = {**columns(), **changed}
    np.savez(path, **{name: values for name, values in table.items() if values is not None})


@dataclass(frozen=True)
class Measured(Run):
    """A run with what it cost.

    Attributes:
        cpu: seconds of processor time, children included.
    """

    cpu: float = 0.0


class Copy(Project):
    """A copy of a prepared project with its remote, below ``folder``."""

    def __init__(self, prepared: Path, folder: Path) -> None:
        shutil.copytree(prepared, folder, symlinks=True)
        self.folder = folder / "repo"
        self.remote = folder / "remote.git"
        self.git("remote", "set-url", "origin", str(self.remote))

    def call(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        without: tuple[str, ...] = (),
        cwd: Path | None = None,
        limit: int | None = None,
    ) -> Measured:
        """Run the command line, standard output and error being no terminal.

        Args:
            environment: variables to set.
            without: variables to leave out.
            cwd: where; the repository when left out.
            limit: no file may grow beyond so many bytes, as on a disk that is full.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "gradatim", *arguments],
            cwd=cwd or self.folder, env=surroundings(environment, without), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, encoding="utf-8", check=False, timeout=240,
            preexec_fn=_limiting(limit),
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return Measured(done.returncode, done.stdout, done.stderr, cpu)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line, to be signalled."""
        return subprocess.Popen(
            [sys.executable, "-m", "gradatim", *arguments],
            cwd=self.folder, env=surroundings(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip

    def change_contract(self, old: str, new: str) -> None:
        text = (self.folder / "gradatim.yml").read_text(encoding="utf-8")
        assert old in text
        self.write("gradatim.yml", text.replace(old, new))

    def half_written(self) -> list[str]:
        """Files that a write left unfinished."""
        return [str(path) for path in self.folder.parent.rglob("*.part*")]


def surroundings(
    environment: Mapping[str, str] | None = None, without: tuple[str, ...] = ()
) -> dict[str, str]:
    """The variables of a user's shell, no CI system's among them."""
    kept = {name: value for name, value in os.environ.items() if name not in (*_LEFT_OUT, *without)}
    return {**kept, "GIT_CEILING_DIRECTORIES": "/tmp", **(environment or {})}  # noqa: S108 (read by git alone)


def once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A prepared folder that several test processes share: the first makes it, the others wait.

    Args:
        folder: common to all of them.
        name: of the prepared folder.
        make: told where to make it.
    """
    place = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unfinished = folder / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(place)
    return place


def lay_down(folder: Path, contract: str) -> None:
    """Write, commit and push the project."""
    project = Project(folder)
    write_model(project.path(MODEL))
    np.savez(project.path(DATA), **columns())
    np.savez(project.path(CALIBRATION), **columns(60, seed=2))
    project.write("prepare.py", PREPROCESSING)
    project.write("tests/model/test_model.py", USER_TEST)
    project.write("gradatim.yml", contract)
    project.commit()


def prove(made: Path, folder: Path) -> None:
    """Copy a project and let it prove itself, up to the gates."""
    project = Copy(made, folder)
    done = project.call("run", "--until", "gate")
    assert done.code == 0, done.said


def _limiting(limit: int | None) -> Callable[[], None] | None:
    if limit is None:
        return None
    size = limit

    def apply() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return apply
