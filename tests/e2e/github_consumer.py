"""The demo as a consumer's repository on GitHub, and the events that its people cause."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from github_runner import REF, Consumer, Run, git

from gradatim.files import template_folder
from gradatim.rendering.workflows import CALLER, Caller, render_caller

ACT = shutil.which("act") or shutil.which("act", path=str(Path(sys.executable).parent))
NASTY = "x'\";touch pwned;$(touch pwned)`touch pwned`\n${{ github.token }}::set-output name=kind::release"
BRANCHES = ("develop", "staging", "main")
STAGES = ("alpha", "beta", "production")
LADDER = """
runners:
  gpu: gpu

stages:
  alpha:      {branch: develop, runner: gpu}
  beta:       {branch: staging, runner: gpu}
  production: {branch: main, runner: gpu}

publish:
  - folder: RELEASES
"""
SHORT = """model:
  name: digits
  path: model/digits.onnx
  build: {run: python export.py, inputs: [export.py, weights/digits.npz]}
data: {evaluation: data/test.npz}
benchmark: {rounds: 3}
task: classification
gates:
  accuracy: {at_least: 90%}
  size: {at_most: 1 MB}
"""


def lay_consumer(folder: Path, kit: dict[str, Path], jobs: str = "split") -> Consumer:
    """The demo project with a caller workflow, on the branches of its ladder, its remote a bare repository."""
    project = folder / "digits"
    lay_demo(project)
    contract = (project / "gradatim.yml").read_text(encoding="utf-8").partition("\nstages:")[0]
    write_contract(project, contract)
    write_caller(project, jobs)
    share(project, folder / "remote.git")
    return Consumer(folder, project, kit, str(ACT))


def lay_demo(project: Path) -> None:
    """The demo's files, without what somebody who worked in the template itself left behind."""
    template = template_folder("projects") / "digits"

    def made_here(folder: str, names: list[str]) -> set[str]:
        left = (".gradatim", ".pytest_cache", "model", "releases") if Path(folder) == template else ()
        return {"__pycache__", *left} & set(names)

    shutil.copytree(template, project, ignore=made_here, dirs_exist_ok=True)


def share(project: Path, remote: Path) -> None:
    """Commit a project and push it to a bare repository that stands for GitHub's."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(remote)], check=True)
    git(project, "init", "-q", "-b", "main")
    for key, value in {
        "user.name": "Ada", "user.email": "ada@example.org", f"url.{remote}.insteadOf": "https://github.com/acme/digits.git"
    }.items():  # fmt: skip
        git(project, "config", key, value)
    git(project, "remote", "add", "origin", "https://github.com/acme/digits.git")
    commit(project, "The demo as a consumer")
    for branch in ("staging", "develop"):
        git(project, "branch", branch)
    git(project, "push", "-q", "origin", "main", "staging", "develop")


def pull_request(consumer: Consumer, head: str) -> dict[str, Any]:
    """The event of a pull request to main from a repository's branch of a hostile name."""
    sha = git(consumer.project, "rev-parse", "HEAD")
    pull = {
        "number": 7,
        "title": NASTY,
        "body": NASTY,
        "head": {"ref": NASTY.replace("\n", ""), "sha": sha, "repo": {"full_name": head}},
        "base": {"ref": "main", "sha": git(consumer.project, "rev-parse", "origin/main"),
                 "repo": {"full_name": "acme/digits"}},
    }  # fmt: skip
    return {"number": 7, "ref": "refs/pull/7/merge", "pull_request": pull}


def push(consumer: Consumer, message: str, branch: str = "staging", **more: Any) -> Any:
    """Commit, push, and run what the push starts; ``more`` goes to the run."""
    before = git(consumer.project, "rev-parse", f"origin/{branch}")
    commit(consumer.project, message)
    git(consumer.project, "push", "-q", "origin", branch)
    after = git(consumer.project, "rev-parse", "HEAD")
    return consumer.run("push", {"ref": f"refs/heads/{branch}", "before": before, "after": after}, **more)


def planned(run: Run) -> dict[str, Any]:
    """What the job `plan` said."""
    (said,) = set(re.findall(r"set-output:: plan=(\{.*\})", run.of("plan")))
    found: dict[str, Any] = json.loads(said)
    return found


def commit(project: Path, message: str) -> None:
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", message)


def shorten(project: Path, gates: str = "", text: str = SHORT) -> None:
    """The same model and data with few checks, where the test is about what comes after them."""
    write_contract(project, text + gates)


def write_contract(project: Path, text: str) -> None:
    text += LADDER.replace("RELEASES", str(project.parent / "releases"))
    (project / "gradatim.yml").write_text(text, encoding="utf-8")


def write_caller(project: Path, jobs: str = "split", models: tuple[str, ...] = (), kit: str = "own") -> None:
    """Call the kit; with an empty ``kit`` the runner holds it, so that no job spends its time on an install."""
    text = render_caller(
        Caller(BRANCHES, STAGES, crons=("17 5 * * 1",), named=bool(models), models=models, ref=REF)
    )
    path = project / CALLER
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + f'    with: {{jobs: {jobs}, kit: "{kit}"}}\n', encoding="utf-8")
