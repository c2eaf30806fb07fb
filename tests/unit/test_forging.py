"""Ten attacks from the user's own code on what it is judged by: none turns a FAIL into a PASS."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gate_project import lay_down
from registry_examples import IDENTITY, git

import gradatim
from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.checks.user_tests import run_user_tests
from gradatim.code.confinement import confined, isolation
from gradatim.contract.reading import read_contract
from gradatim.errors import GradatimError
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.graph import STEPS
from gradatim.pipeline.step import run_step
from gradatim.pipeline.walk import step_command
from gradatim.steps import gate

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: {path: test.npz, preprocess: "attack:prepare"}}
task: {type: classification, labels: [0, 1, 2], metrics: {cost: "attack:cost"}}
test: {abnormal: skip, pytest: tests}
gates:
  accuracy: {at_least: 99%}
  cost: {at_least: 0}
stages:
  production: {branch: main}
"""
EVERYWHERE = """\
import atexit, ctypes, glob, os, pathlib, shutil, signal, subprocess, sys

W = pathlib.Path({workspace!r})

def rewrite_everything():
    for path in list(W.rglob("*.json")) + list(W.rglob("*.jsonl")):
        try:
            text = path.read_text()
            path.write_text(text.replace('"FAIL"', '"PASS"').replace("INVALID", "PASS"))
        except OSError:
            pass

def attack():
{attack}

_done = []

def once():
    if not _done:
        _done.append(1)
        W.with_name("began").touch()
        try:
            attack()
        except Exception as error:
            print("attack failed:", error, file=sys.stderr)

def prepare(columns):
    once()
    return {{"x": columns["x"]}}

def cost(labels, predictions):
    once()
    return 1.0
"""
ATTACKS = {
    "rewrite the evidence": "rewrite_everything()",
    "rewrite it at exit": "atexit.register(rewrite_everything)",
    "rewrite it a while later": (
        "subprocess.Popen([sys.executable, '-c', 'import time, sys; sys.path.insert(0, \".\"); time.sleep(2); import attack; "
        "attack.rewrite_everything()'], start_new_session=True)"
    ),
    "forge the predictions": (
        "import numpy as np\n"
        "for path in W.rglob('*'):\n"
        "    if path.is_file() and 'predictions' in str(path) and path.suffix in ('.npy', '.npz', '.bin'):\n"
        "        path.write_bytes(b'0' * path.stat().st_size)"
    ),
    "put a link in place of the workspace": (
        "other = W.with_name('.other'); shutil.copytree(W, other); W.rename(W.with_name('.gone')); W.symlink_to(other)"
    ),
    "monkeypatch the gates": (
        "import gradatim.gates.judge as j, gradatim.metrics.evaluation as e, gradatim.gates.verdict as v\n"
        "j.judge = lambda *a, **k: []\n"
        "e.Evaluation.samples = lambda *a, **k: None\n"
        "v.GateResult.refuses = property(lambda self: False)\n"
        "v.Verdict.worst = classmethod(lambda cls, vs: cls.PASS)"
    ),
    "write into the parent's memory": (
        "maps = open(f'/proc/{os.getppid()}/maps').read()\n"
        "memory = open(f'/proc/{os.getppid()}/mem', 'r+b')\n"
        "pathlib.Path(f'/proc/{os.getppid()}/root{W}/reached').write_text('x')"
    ),
    "trace the parent": (
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, os.getppid(), 0, 0) == 0:\n"
        "    pathlib.Path('traced').write_text('x'); os.kill(os.getppid(), signal.SIGKILL)"
    ),
    "change the environment": (
        "os.environ.update(GRADATIM_GUARDED='', PYTHONPATH='/nowhere', GRADATIM_ENV='HOME'); sys.path.insert(0, '/nowhere')\n"
        "pathlib.Path('sitecustomize.py').write_text('import gradatim.gates.judge as j; j.judge = lambda *a, **k: []')"
    ),
    "answer with what is none": (
        "import numpy as np\n"
        "class Cheat(float):\n"
        "    def __float__(self):\n"
        "        rewrite_everything(); return 1.0\n"
        "    def __reduce__(self):\n"
        "        return (rewrite_everything, ())\n"
        "global cost\n"
        "cost = lambda labels, predictions: Cheat(1.0)\n"
        "os.write(1, b'\\x00' * 64); sys.__stdout__.write('{\"said\": {\"value\": 1}}'); sys.__stdout__.flush()"
    ),
}

REFUSED = {"answer with what is none"}
"""What ends in an error, not in a verdict."""


@pytest.fixture(autouse=True, scope="module")
def _own_identity() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        patch.delenv("GITHUB_ACTIONS", raising=False)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate that answers a fifth of its rows wrong, and must not pass at 99 %."""
    labels = np.arange(120) % 3
    answers = np.where(np.arange(120) < 24, (labels + 1) % 3, labels)
    folder = tmp_path_factory.mktemp("forging") / "first"
    root = lay_down(folder, labels, labels, answers).root
    git(root, "tag", "-d", "v1.0.0")
    git(root, "push", "-q", "--delete", "origin", "v1.0.0")
    (root / "gradatim.yml").write_text(CONTRACT)
    (root / "tests").mkdir()
    (root / "tests" / "test_it.py").write_text(
        "import sys\nsys.path.insert(0, '.')\nimport attack\n\ndef test_it():\n    attack.once()\n"
    )
    return folder


def opened(root: Path) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), ci.detect(), "production")


def attacked(project: Path, folder: Path, attack: str) -> Path:
    """A copy of the candidate whose code holds an attack."""
    root = shutil.copytree(project, folder / "p") / "repo"
    git(root, "remote", "set-url", "origin", str(folder / "p" / "remote.git"))
    lines = "\n".join(f"    {line}" for line in ATTACKS[attack].splitlines())
    (root / "attack.py").write_text(
        EVERYWHERE.format(workspace=str(root / ".gradatim"), attack=lines), encoding="utf-8"
    )
    return root


def content(folder: Path) -> dict[str, bytes]:
    """What lies in a workspace, a link in its place among that."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    return {**found, "": os.fsencode(folder.readlink())} if folder.is_symlink() else found


def held(root: Path) -> None:
    """The judge saw the answers as they were, and nothing of the attack."""
    outcome = gate.run(opened(root))
    assert outcome.verdict is not Verdict.PASS
    (accuracy,) = [result for result in outcome.gates if result.gate == "accuracy"]
    assert accuracy.value == pytest.approx(0.8)
    assert not (root / ".gradatim").is_symlink()
    assert not (root / ".gradatim" / "reached").exists()
    assert not (root / "traced").exists(), "the judge was traced"


namespaces = pytest.mark.skipif(
    isolation() != "namespace", reason="this kernel lets nobody make namespaces: SECURITY.md says so"
)


@pytest.mark.timeout(120)
@namespaces
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_from_the_users_code_turns_a_fail_into_a_pass(
    project: Path, tmp_path: Path, attack: str
) -> None:
    root = attacked(project, tmp_path, attack)
    try:
        for step in ("inspect", "evaluate"):
            run_step(step, opened(root))
        held(root)
    except GradatimError:
        if attack not in REFUSED:
            raise
        return
    finally:
        assert (root / "began").exists(), "the attack never ran"
    evaluated = opened(root).workspace.evidence("evaluate")
    assert evaluated.environment["isolation"] == "namespace"


@pytest.mark.timeout(120)
@namespaces
@pytest.mark.parametrize(
    "attack", ["rewrite the evidence", "rewrite it at exit", "put a link in place of the workspace"]
)
def test_no_attack_from_a_test_of_the_users_turns_a_fail_into_a_pass(
    project: Path, tmp_path: Path, attack: str
) -> None:
    root = attacked(project, tmp_path, attack)
    (root / "gradatim.yml").write_text(
        CONTRACT.replace(', preprocess: "attack:prepare"', "")
        .replace(', metrics: {cost: "attack:cost"}', "")
        .replace("  cost: {at_least: 0}\n", "")
    )
    for step in ("inspect", "evaluate", "test"):
        run_step(step, opened(root))
    assert (root / "began").exists(), "the attack never ran"
    held(root)


@pytest.mark.parametrize(
    "attack",
    [
        "rewrite the evidence",
        "rewrite it at exit",
        "forge the predictions",
        "put a link in place of the workspace",
    ],
)
def test_the_same_attacks_succeed_where_nothing_holds_them_back(
    project: Path, tmp_path: Path, attack: str
) -> None:
    """Else the tests above would prove nothing."""
    root = attacked(project, tmp_path, "change the environment")
    for step in ("inspect", "evaluate"):
        run_step(step, opened(root))
    outcome = gate.run(opened(root))
    release = opened(root)
    release.workspace.save(outcome.statement(release, "gate", gate.depends_on(release), 0.0))
    before = content(root / ".gradatim")
    lines = "\n".join(f"    {line}" for line in ATTACKS[attack].splitlines())
    (root / "attack.py").write_text(EVERYWHERE.format(workspace=str(root / ".gradatim"), attack=lines))
    subprocess.run([sys.executable, "-c", "import attack; attack.once()"], cwd=root, check=True, timeout=60)
    assert content(root / ".gradatim") != before


def test_what_kept_the_users_code_apart_is_said_where_nothing_but_a_process_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradatim.code import confinement

    monkeypatch.setattr(confinement, "_works", lambda _: False)
    assert (confinement.isolation(), confinement.confined()) == ("process", {})
    assert os.environ["GIT_AUTHOR_NAME"] == "Ada"


def test_no_file_of_the_repository_stands_for_a_module_of_the_judges(tmp_path: Path) -> None:
    """A step is started where the repository lies, and Python would look there first."""
    (tmp_path / "gradatim").mkdir()
    for name in ("click.py", "yaml.py", "gradatim/__init__.py", "gradatim/__main__.py"):
        (tmp_path / name).write_text(
            "import pathlib\npathlib.Path(__file__).with_suffix('.reached').touch()\n"
        )
    step = step_command("gradatim.yml", None, force=False)(STEPS["gate"])
    by_hand = [sys.executable, "-m", "gradatim", "--version"]
    for command in (step, by_hand):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        reached = sorted(path.name for path in tmp_path.rglob("*.reached"))
        assert not reached, (command, done.stderr)
        shutil.rmtree(tmp_path / "gradatim", ignore_errors=True)  # by hand Python itself takes that for us


WRITES = """\
import os, pathlib, sys
import gradatim

root, kit = pathlib.Path.cwd(), pathlib.Path(gradatim.__file__).parent

def replaced(path):
    other = path.with_name("other")
    other.write_text("forged")
    os.replace(other, path)

ATTEMPTS = {
    "another folder in the place of all": lambda: root.parent.parent.rename(root.parents[2] / "gone"),
    "another .git": lambda: (root / ".git").rename(root / ".old"),
    "a file of the judge's": lambda: (kit / "reached").touch(),
    "a file of its environment": lambda: pathlib.Path(sys.prefix, "reached").touch(),
    "the contract": lambda: (root / "gradatim.yml").open("a"),
    "another contract": lambda: replaced(root / "gradatim.yml"),
    "git's configuration": lambda: (root / ".git/config").open("a"),
    "another configuration of git's": lambda: replaced(root / ".git/config"),
    "a hook": lambda: (root / ".git/hooks/post-index-change").touch(),
    "other hooks": lambda: (root / ".git/hooks").rename(root / ".git/none"),
    "what the runner reads": lambda: pathlib.Path(os.environ["GITHUB_ENV"]).open("a"),
    "what the runner will run": lambda: (pathlib.Path(os.environ["RUNNER_TEMP"]) / "step.sh").touch(),
    "another place of the runner's": lambda: pathlib.Path(os.environ["RUNNER_TEMP"]).rename(root.parent / "away"),
    "the environment of the judge": pathlib.Path(f"/proc/{os.getppid()}/environ").read_bytes,
    "the memory of the judge": lambda: open(f"/proc/{os.getppid()}/mem", "rb"),
}
for name, attempt in ATTEMPTS.items():
    try:
        attempt()
        print(name)
    except OSError:
        pass
"""
AS_USUAL = 'touch notes.md && git add notes.md && git commit -qm notes && touch "$TMPDIR/scratch"'


@namespaces
def test_what_the_judge_rests_on_can_neither_be_written_nor_moved(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another contract, a hook of git's or a changed module would speak for the judge in the steps that follow."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("_temp", "_runner_file_commands"):
        (tmp_path / name).mkdir()
    (commands := tmp_path / "_runner_file_commands" / "set_env").touch()
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path / "_temp"))
    monkeypatch.setenv("GITHUB_ENV", str(commands))
    root = attacked(project, tmp_path / "home", "change the environment")
    (root / ".git" / "hooks").mkdir(exist_ok=True)
    run = functools.partial(
        subprocess.run, cwd=root, capture_output=True, text=True, timeout=60, check=True, env={**os.environ}
    )
    opened(root)
    try:
        assert run([sys.executable, "-c", WRITES], **confined()).stdout.split("\n") == [""]
        run(["sh", "-c", AS_USUAL], **confined())
    finally:
        for place in (Path(gradatim.__file__).parent, Path(sys.prefix)):
            (place / "reached").unlink(missing_ok=True)
    built = run([sys.executable, "-c", WRITES], **confined(building=True)).stdout
    for name in (
        "the place of all",
        "of the judge",
        "contract",
        "the runner",
    ):  # it may install something, and no more
        assert name not in built
    (Path(sys.prefix) / "reached").unlink(missing_ok=True)


DAEMON = """\
import os, pathlib, time

def test_it():
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.unshare(os.CLONE_NEWUSER) if hasattr(os, "unshare") else None
        pathlib.Path("daemon").write_text(str(os.getpid()))
        time.sleep(30)
        os._exit(0)
    while not pathlib.Path("daemon").exists():
        time.sleep(0.01)
"""


@namespaces
def test_what_the_users_code_starts_ends_with_it_in_whatever_session(project: Path, tmp_path: Path) -> None:
    """A daemon of one step could change the files that the next one reads, or stop what is timed beside it."""
    root = attacked(project, tmp_path, "change the environment")
    (root / "tests" / "test_it.py").write_text(DAEMON)
    opened(root).workspace.prepare()
    contract = root / "gradatim.yml"
    checks = run_user_tests(
        ["tests"], contract=contract, top=root, model=root / "model.onnx", baseline=None, timeout=60
    )
    assert [check.verdict for check in checks] == [Verdict.PASS], checks
    daemon = int((root / "daemon").read_text())
    with contextlib.suppress(OSError):  # nobody may have taken note of its end yet
        assert "\nState:\tZ" in Path(f"/proc/{daemon}/status").read_text()


RECIPE = """\
import os, pathlib, shutil

def smaller(model, out):
    shutil.copy(model, out)
    root = pathlib.Path(__file__).parent
    (root / "began").write_text(str(sorted(os.environ)))
    try:
        (root / ".gradatim" / "reached").touch()
    except OSError:
        pass
"""


@namespaces
def test_a_method_of_the_users_that_compresses_writes_its_form_and_nothing_else(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_abcdefghijklmnop")
    root = attacked(project, tmp_path, "change the environment")
    contract = CONTRACT.replace(', metrics: {cost: "attack:cost"}', "").replace("  cost: {at_least: 0}\n", "")
    asked = 'compress: {methods: [], passes: ["recipe:smaller"]}\nstages:'
    contract = contract.replace("data: {", "data: {calibration: other.npz, ").replace("stages:", asked)
    shutil.copy(root / "test.npz", root / "other.npz")
    (root / "gradatim.yml").write_text(contract)
    (root / "recipe.py").write_text(RECIPE)
    for step in ("inspect", "compress"):
        run_step(step, opened(root))
    seen = (root / "began").read_text()
    assert "'PATH'" in seen
    assert "TOKEN'" not in seen
    assert not (root / ".gradatim" / "reached").exists()
