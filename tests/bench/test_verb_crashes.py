"""Every verb that writes, killed at random moments by the command line and run again: run, tag, publish, promote, rollback.

    python -m pytest tests/bench/test_verb_crashes.py -s
    KILLS=15 python -m pytest tests/bench/test_verb_crashes.py -s -k s3

75 kills for each kind of place: a folder, moto's S3, a docker-registry where it is installed, and a strict stand-in of GitHub.
After a kill the same command is run; up to three times in a row it is killed again, and then it must end well, with exactly the
tags that one call makes and no draft, and once more it must write nothing. Every other kill spares the children of the command, so
that a push goes on while the command is run again. Commands are forked from a process that has imported the kit: what is
killed is work.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import lay_down, write_model
from publishing.servers import Servers
from registry_examples import IDENTITY, commit_file, git

pytest.importorskip("onnxruntime")

KILLS = int(os.environ.get("KILLS", "75"))
CONTRACT = """\
model: {{name: small, path: model.onnx}}
data: {{evaluation: test.npz}}
task: {{type: classification, labels: [0, 1, 2]}}
test: {{abnormal: skip}}
benchmark: {{rounds: 3}}
gates:
  accuracy: {{at_least: 60%}}
stages:
  beta: {{branch: main}}
  production: {{branch: production}}
publish:
  - {place}
"""
TAGS = {"run": 2, "tag": 2, "publish": 0, "promote": 2, "rollback": 2}
"""How many tags each verb makes: a version's and a stage's; a rollback's say what was taken out and what was put back."""
LABELS = np.arange(240) % 3


FORKS = """
import json, os, pkgutil, sys
import gradatim, yaml, pydantic
for name in ("cli", "commands", "steps", "candidate", "releasing", "registry", "report", "publishers", "checks", "gates"):
    package = __import__(f"gradatim.{name}", fromlist=["x"])
    for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
        if "worker" not in module.name and "pytest" not in module.name:
            __import__(f"{package.__name__}.{module.name}")
for line in sys.stdin:
    words, log = json.loads(line)
    child = os.fork()
    if not child:
        os.setsid()
        print(os.getpid(), flush=True)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["gradatim", *words]
        gradatim.cli.main()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs commands that it is told, one at a time: says the child's id, then its exit code."""


class Project:
    """A project, its place, and commands that are killed."""

    def __init__(self, root: Path, place: Any, seed: int) -> None:
        self.root, self.place = root, place
        pipe = subprocess.PIPE
        self.forks = subprocess.Popen([sys.executable, "-c", FORKS], cwd=root, stdin=pipe, stdout=pipe)
        self.dice = random.Random(seed)
        self.whole: dict[str, float] = {}
        self.kills: Counter[str] = Counter()

    def call(self, *words: str, kill_after: float | None = None, alone: bool = False) -> int:
        """The exit code of a command; with a moment it is killed then, with its children or alone."""
        told, heard = self.forks.stdin, self.forks.stdout
        assert told is not None
        assert heard is not None
        told.write(json.dumps([words, str(self.root.parent / "last.log")]).encode() + b"\n")
        told.flush()
        child = int(heard.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                (os.kill if alone else os.killpg)(child, signal.SIGKILL)
        return int(heard.readline())

    def said(self) -> str:
        return (self.root.parent / "last.log").read_text()[-2000:]

    def tags(self) -> list[str]:
        return git(self.root, "ls-remote", "--tags", "--refs", "origin").splitlines()

    def survive(self, verb: str, *words: str) -> None:
        """Kill a verb at a random moment of it, run it again, and once more."""
        before = len(self.tags())
        command = (verb, *words)
        if verb not in self.whole:
            began = time.monotonic()
            assert self.call(*command) == 0, self.said()
            self.whole[verb] = time.monotonic() - began
        else:
            for _ in range(self.dice.randint(1, 3)):
                moment = self.dice.uniform(0, self.whole[verb])
                self.call(*command, kill_after=moment, alone=self.kills[verb] % 2 == 1)
                self.kills[verb] += 1
            assert self.call(*command) == 0, f"{verb} after {moment:.2f} s: {self.said()}"
        after = self.tags()
        assert len(after) == before + TAGS[verb], (verb, after)
        assert verb == "tag" or self.place.drafts() == 0, verb  # whose drafts `publish` makes public
        seen = self.place.snapshot()
        assert self.call(*command) == 0, self.said()
        assert (self.tags(), self.place.snapshot()) == (after, seen), f"{verb}, a third time"

    def change(self, number: int) -> None:
        """Another model, committed."""
        write_model(self.root / "model.onnx", "new", number / 100)
        commit_file(self.root, "model.onnx", (self.root / "model.onnx").read_bytes())


class FolderPlace:
    """A folder of releases."""

    credentials: dict[str, str] = {}  # noqa: RUF012 (as the other places have it)

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, "releases/"

    def drafts(self) -> int:
        return sum(path.name.startswith(".") for path in self.folder.iterdir()) if self.folder.exists() else 0

    def snapshot(self) -> Any:
        return [(str(path), path.stat().st_mtime_ns) for path in sorted(self.folder.rglob("*"))]


@pytest.fixture
def identity() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        for key in ("GITHUB_ACTIONS", "GITLAB_CI", "SOURCE_DATE_EPOCH"):
            patch.delenv(key, raising=False)
        yield patch


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("kind", ["folder", "s3", "oci", "github"])
def test_a_verb_that_is_killed_at_any_moment_and_run_again_leaves_one_right_state(
    kind: str, tmp_path: Path, identity: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as running:
        root = lay_down(tmp_path / "project", LABELS, LABELS, LABELS).root
        remote = tmp_path / "project" / "remote.git"
        place: Any = (
            FolderPlace(root / "releases")
            if kind == "folder"
            else Servers(tmp_path, running).place(kind, remote)
        )
        for key, value in place.credentials.items():
            identity.setenv(key, value)
        (root / ".gitignore").write_text(".gradatim/\nreleases/\n")
        (root / "gradatim.yml").write_text(CONTRACT.format(place=f"{kind}: {place.address}"))
        commit_file(root, "notes.md", b"first\n")
        project = Project(root, place, seed=7)
        running.callback(project.forks.kill)
        number = 0
        while sum(project.kills.values()) < KILLS:
            number += 1
            project.change(number)
            if number % 2:
                project.survive("run")
            else:
                assert project.call("run", "--until", "gate") == 0, project.said()
                project.survive("tag")
                project.survive("publish")
            project.survive("promote", "production")
            if number > 1:
                project.survive("rollback", "production", "--reason", f"round {number}")
            assert project.call("verify", "production") == 0, project.said()
    with capsys.disabled():
        print(
            f"\n{kind}: {sum(project.kills.values())} kills, one right state after each: {dict(project.kills)}"
        )
