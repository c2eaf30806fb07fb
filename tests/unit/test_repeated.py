"""Every verb that writes is killed at every write to the remote or a place, and run again: nothing is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import in_a_child
from click.testing import CliRunner
from gate_project import lay_down
from registry_examples import IDENTITY, git, release_files

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import GradatimError
from gradatim.pipeline.step import run_step
from gradatim.publishers.folder import FolderPublisher
from gradatim.registry.git import Repository
from gradatim.releasing.publishing import publish as release
from gradatim.steps import gate, publish, tag

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates:
  accuracy: {at_least: 60%}
stages:
  beta: {branch: staging}
  production: {branch: main}
publish:
  - folder: releases/
"""
VERBS: dict[str, list[str]] = {
    "tag": [],
    "publish": [],
    "promote": ["promote", "production"],
    "rollback": ["rollback", "production", "--reason", "it misreads eights"],
}
STEPS = {"tag": tag, "publish": publish}
LABELS = np.arange(240) % 3


@pytest.fixture(autouse=True, scope="module")
def _own_identity() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        for key in ("GITHUB_ACTIONS", "GITLAB_CI", "SOURCE_DATE_EPOCH"):
            patch.delenv(key, raising=False)
        yield


def opened(root: Path) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), ci.detect(), "beta")


def step_of(root: Path, step: Any) -> None:
    """Run one step by itself and keep its evidence: nothing here needs the others'."""
    candidate = opened(root)
    outcome = step.run(candidate)
    name = step.__name__.rpartition(".")[2]
    candidate.workspace.save(outcome.statement(candidate, name, step.depends_on(candidate), 0.0))


def call(root: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command; the door turns a refusal into its code and its text."""
    given = [*arguments, "--contract", str(root / "gradatim.yml")]
    done = CliRunner().invoke(cli, given, standalone_mode=False)
    if isinstance(done.exception, GradatimError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None, done.exception
    return done.return_value, done.output


def do(root: Path, verb: str) -> None:
    if verb in STEPS:
        step_of(root, STEPS[verb])
    else:
        code, said = call(root, *VERBS[verb])
        assert code == 0, said


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Puts a project into the state before a verb, always at the same place, and gives back its root."""
    folder = tmp_path_factory.mktemp("repeated")
    place = folder / "project"
    root = lay_down(place, LABELS, LABELS, LABELS).root
    (root / ".gitignore").write_text(".gradatim/\nreleases/\n")
    (root / "gradatim.yml").write_text(CONTRACT)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A candidate")
    git(root, "push", "-q", "origin", "HEAD")
    for step in ("inspect", "evaluate"):
        run_step(step, opened(root))
    step_of(root, gate)
    earlier = release_files(root, "v1.0.1", b"earlier", name="small")
    release(Repository.find(root), earlier, [FolderPublisher(root / "releases", root=root)])
    for verb in VERBS:
        shutil.copytree(place, folder / verb)
        do(root, verb)
    shutil.copytree(place, folder / "end")

    def restored(verb: str) -> Path:
        shutil.rmtree(place)
        shutil.copytree(folder / verb, place)
        return root

    return restored


class Killer:
    """An audit hook that kills its own process at the n-th moment around a write that others can see."""

    def __init__(self, moment: int) -> None:
        self.moment = moment
        self.seen = 0
        self.wrote = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("subprocess.Popen", "os.rename"):
            return
        text = " ".join(map(os.fsdecode, arguments[1])) if event == "subprocess.Popen" else str(arguments[1])
        writes = " push --atomic" in text if event == "subprocess.Popen" else "/releases/v" in text
        self.seen += writes + self.wrote
        self.wrote = writes
        if self.seen >= self.moment:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(root: Path, verb: str, moment: int) -> bool:
    """Whether the verb got as far as that moment and died there."""

    def work() -> None:
        sys.addaudithook(Killer(moment))
        do(root, verb)

    code = in_a_child(work)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def left(root: Path) -> tuple[list[str], list[str]]:
    """Every reference of the remote, by object, and every published file with the moment it was written."""
    files = sorted((root / "releases").rglob("*")) if (root / "releases").exists() else []
    return git(root, "ls-remote", "origin").splitlines(), [f"{f} {f.stat().st_mtime_ns}" for f in files]


def names(state: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
    return [line.split("\t")[1] for line in state[0]], [line.split(" ")[0] for line in state[1]]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_was_killed_at_any_write_and_is_run_again_does_nothing_twice(
    before: Callable[[str], Path], verb: str
) -> None:
    following = [*VERBS, "end"][list(VERBS).index(verb) + 1]
    wanted = names(left(before(following)))
    moment = 1
    while killed(root := before(verb), verb, moment):
        do(root, verb)
        assert names(left(root)) == wanted, f"moment {moment}"
        whole = left(root)
        do(root, verb)
        assert left(root) == whole, f"moment {moment}, a third time"
        moment += 1
    assert moment > 1, "nothing was written at all"


def test_a_rollback_names_what_it_takes_out_and_asked_again_says_what_was_done(
    before: Callable[[str], Path],
) -> None:
    root = before("end")
    state = left(root)
    code, said = call(root, *VERBS["rollback"])
    assert (code, left(root)) == (0, state)
    assert "was put back from v1.0.2 to v1.0.1 already" in said
    code, said = call(root, "rollback", "production", "--from", "v1.0.2", "--reason", "again")
    assert (code, left(root)) == (0, state), said
    code, said = call(root, "rollback", "production", "--to", "v1.0.1", "--reason", "again")
    assert (code, left(root)) == (0, state), said
    code, said = call(root, "rollback", "production", "--reason", "this one is slow, too")
    assert (code, left(root)) == (2, state)
    assert "--from v1.0.1" in said
    code, said = call(root, "rollback", "production", "--from", "v1.0.0", "--reason", "slow")
    assert (code, left(root)) == (2, state)
    assert "production holds v1.0.1, not v1.0.0" in said
    code, said = call(
        root, "rollback", "production", "--from", "v1.0.1", "--to", "v1.0.2", "--reason", "slow"
    )
    assert code == 0, said
    assert left(root) != state
