"""The commands of every rendered job, run in order, each in a clean clone: they release, refuse and roll back on all systems,
and what they prove of a commit is what a laptop proves of it.

What a CI system itself does is stood in for: which jobs start (`rendered_jobs` reads that), what it hands from job to job,
and the variables by which it tells a job where it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from forked import served
from rendered_jobs import Event, Found
from small_models import write_linear
from test_platforms import started
from timings_apart import timings_apart

from gradatim.contract.reading import read_contract
from gradatim.files import sha256_file
from gradatim.rendering.jobs import Consumer
from gradatim.rendering.systems import SYSTEMS

CONTRACT = """
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
gates: {accuracy: {at_least: 80%}}
benchmark: {rounds: 3}
stages: {production: {branch: main}}
publish: [{folder: ../published}]
"""
WHEN = "2026-01-01T00:00:00Z"
"""The same candidate is the same commit everywhere."""


@pytest.fixture(scope="module")
def path() -> Iterator[str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as binaries:
        yield f"{binaries}:{os.environ['PATH']}"


@dataclass
class Team:
    """A repository on one CI system."""

    system: str
    home: Path
    path: str
    place: str = "project"

    @property
    def project(self) -> Path:
        return self.home / self.place

    def git(self, *arguments: str) -> str:
        name = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        return subprocess.run(
            ["git", "-C", str(self.project), *name, *arguments],
            env={**os.environ, "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def candidate(self, seed: int, *, good: bool = True) -> None:
        """Commit and push a model."""
        rng = np.random.default_rng(7)
        weights = rng.normal(size=(8, 3))
        rows = rng.normal(size=(200, 8)).astype(np.float32)
        if not (self.project / "gradatim.yml").exists():
            np.savez(self.project / "test.npz", x=rows, label=(rows @ weights).argmax(1))
            (self.project / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
            (self.project / ".gitignore").write_text(".gradatim/\n", encoding="utf-8")
        off = np.random.default_rng(seed).normal(scale=0.01, size=weights.shape)
        write_linear(self.project / "model.onnx", (weights if good else -weights) + off)
        self.git("add", "--all")
        self.git("commit", "-qm", f"candidate {seed}")
        self.git("push", "-q", "origin", "HEAD:main")

    def tags(self) -> list[str]:
        said = self.git("ls-remote", "--tags", "--refs", "origin")
        return sorted(line.partition("refs/tags/")[2] for line in said.splitlines())

    def proven(self, version: str) -> dict[str, str]:
        """What git keeps on the remote as proven of a release, by step, the timings apart."""
        there = Team(self.system, self.home, self.path, "remote.git")
        tag = there.git("for-each-ref", "--format=%(contents)", f"refs/tags/{version}")
        digest = tag.partition("manifest: sha256:")[2][:64]
        kept = there.git("show", f"refs/gradatim/releases/{digest}:{version}/evidence.intoto.jsonl")
        return timings_apart(kept.encode())

    def status(self) -> str:
        done = subprocess.run(
            ["gradatim", "status"],
            cwd=self.project,
            env={**os.environ, "PATH": self.path},
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    def run(self, event: Event, **variables: str) -> dict[str, int]:
        """What an event starts, job after job; the exit code of each that ran."""
        consumer = Consumer(read_contract(self.project / "gradatim.yml"), self.project)
        codes: dict[str, int] = {}
        hand = self.home / f"handed-{len(list(self.home.iterdir()))}"
        hand.mkdir()
        jobs = started(self.system, consumer, event)
        names = {job.name for job in jobs}
        for job in jobs:
            if any(codes.get(need, 1) for need in job.needs if need in names):
                continue
            code = self._job(job, hand, event, variables)
            codes[job.name] = 0 if job.tolerated and code == 1 and job.name != "gate" else code
        return codes

    def _job(self, job: Found, hand: Path, event: Event, variables: Mapping[str, str]) -> int:
        clone = self.home / "jobs" / job.name
        shutil.rmtree(clone, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", str(self.home / "remote.git"), str(clone)], check=True)
        workspace = clone / ".gradatim"
        shared = [name for name in job.takes if (hand / name).exists()]
        needs = {}
        for name in shared:
            if self.system == "gitlab":
                shutil.copytree(hand / name, workspace, dirs_exist_ok=True)
            elif self.system == "github":
                shutil.copytree(hand / name, self.home / "runner/gradatim-needs", dirs_exist_ok=True)
                needs[name] = {"outputs": {"workspace": sha256_file(hand / name / f"gradatim-{name}.tar")}}
            else:
                shutil.copytree(hand / name, workspace / "jobs", dirs_exist_ok=True)
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "CI", "GRADATIM"))},
            **_where(self.system, event, self.home),
            "PATH": self.path,
            "GRADATIM_CONTRACT": "gradatim.yml",
            "GRADATIM_STAGE": event.stage,
            "GRADATIM_DO": event.do,
            **variables,
            **job.variables,
            "NEEDS": json.dumps(needs),
            "STAGE": event.stage or "production",
            "RUNNER_TEMP": str(self.home / "runner"),
            "GITHUB_OUTPUT": str(self.home / "output"),
            "GITHUB_STEP_SUMMARY": str(self.home / "page"),
        }
        script = "\n".join(["set -e", *job.script])
        if self.system == "github":  # a composite action goes on to its last step, which packs what was found
            *before, work, pack = job.script if len(job.script) > 1 else (*job.script, "true")
            script = "\n".join(["set -e", *before, f"code=0; {work} || code=$?", pack, "exit $code"])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.said = done.stdout + done.stderr
        left = {"gitlab": workspace, "github": self.home / "runner"}.get(self.system, workspace / "jobs")
        if left.is_dir():
            wanted = f"*{job.name}.tar" if self.system != "gitlab" else "*"
            kept = list(left.glob(wanted))
            (hand / job.name).mkdir()
            for one in kept:
                (shutil.copytree if one.is_dir() else shutil.copy)(one, hand / job.name / one.name)
        assert done.returncode in (0, 1), f"{job.name}: {self.said}"
        return done.returncode


def _where(system: str, event: Event, home: Path) -> dict[str, str]:
    """The variables by which the system tells a job of a push to main, or of a run by hand there, where it is."""
    return {
        "github": {
            "GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main", "GITHUB_ACTOR": "ada",
            "VERSION": "", "REASON": "it was slow",
        },
        "gitlab": {"GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main"},
        "jenkins": {"JENKINS_URL": "https://ci/", "BRANCH_NAME": "main"},
        "circleci": {"CIRCLECI": "true", "CIRCLE_BRANCH": "main"},
        "travis": {"TRAVIS": "true", "TRAVIS_BRANCH": "main", "TRAVIS_PULL_REQUEST": "false"},
    }[system]  # fmt: skip


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, path: str) -> Path:
    """A project whose first release was made on a laptop."""
    home = tmp_path_factory.mktemp("released")
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(home / "remote.git")], check=True)
    subprocess.run(["git", "clone", "-q", "remote.git", "project"], cwd=home, check=True, capture_output=True)
    made = Team("laptop", home, path)
    made.candidate(1)
    made.git("config", "user.name", "ada")
    made.git("config", "user.email", "ada@example.org")
    done = subprocess.run(
        ["gradatim", "run"],
        cwd=made.project,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (home / "jobs").mkdir()
    (home / "published").rename(home / "jobs" / "published")
    return home


@pytest.fixture
def team(request: pytest.FixtureRequest, tmp_path: Path, path: str, released: Path) -> Team:
    home = tmp_path / "team"
    shutil.copytree(released, home)
    made = Team(request.param, home, path)
    made.git("remote", "set-url", "origin", str(home / "remote.git"))
    (home / "runner").mkdir()
    return made


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, path: str, released: Path) -> dict[str, str]:
    """What a laptop proves of the candidate that comes next, which it gives the version v1.1.0."""
    home = tmp_path_factory.mktemp("laptop") / "home"
    shutil.copytree(released, home)
    made = Team("laptop", home, path)
    made.git("remote", "set-url", "origin", str(home / "remote.git"))
    (home / "jobs" / "published").rename(home / "published")
    made.candidate(2)
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(["gradatim", "run"], cwd=made.project, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return made.proven("v1.1.0")


# one system here and every other by `nox -s slow`: they share the graph, and tests/unit/test_platforms.py holds all to one table
OFTEN = ("gitlab",)


@pytest.mark.parametrize(
    "team",
    [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS],
    indirect=True,
)
def test_the_jobs_of_a_system_release_a_model_refuse_a_worse_one_and_roll_back(
    team: Team, laptop: dict[str, str]
) -> None:
    team.candidate(2)
    codes = team.run(Event("push", "main"))
    assert set(codes.values()) == {0}, team.said
    assert list(codes)[-2:] == ["tag", "publish"]
    released = team.tags()
    assert released == ["small#production#1", "small#production#2", "v1.0.0", "v1.1.0"]
    assert (team.home / "jobs/published/v1.1.0").is_dir()
    assert team.proven("v1.1.0") == laptop

    team.candidate(3, good=False)
    refused = team.run(Event("push", "main"))
    assert refused["gate"] == 1
    assert "tag" not in refused
    assert team.tags() == released

    back = team.run(Event("hand", "main", do="rollback", stage="production"), GRADATIM_REASON="it was slow")
    assert back == {"rollback": 0}, team.said
    assert {tag for tag in team.tags() if "#" in tag} > {tag for tag in released if "#" in tag}
    assert "production  v1.0.0" in team.status()
    told = team.home / ("output" if team.system == "github" else "jobs/rollback/.gradatim/outputs.env")
    said = told.read_text(encoding="utf-8")
    if team.system != "github":
        held = {
            "VERSION=1.0.0",
            "TAG=v1.0.0",
            "STAGE=production",
            "PREVIOUS_VERSION=1.1.0",
            "IS_PRERELEASE=false",
            "REPORT=.gradatim/held-report.html",
        }
        assert held <= set(said.splitlines())
    else:
        page = (team.home / "page").read_text(encoding="utf-8")
        done = ("**tag**: v1.1.0", "**publish**: v1.1.0", "**rollback**: production is back at v1.0.0")
        assert [page.index(word) for word in done] == sorted(page.index(word) for word in done)
    assert "production" in said
