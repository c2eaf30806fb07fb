"""A model's repository with a bare remote beside it, as a user would have it, and the commands run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SETTINGS = {
    "user.name": "A. Tester",
    "user.email": "tester@example.invalid",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
}
_OUTSIDE = ("GITHUB_ACTIONS", "GITLAB_CI", "CI", "GIT_DIR", "GIT_WORK_TREE")


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Attributes:
        code: exit code.
        out: stdout.
        err: stderr: what a person reads.
    """

    code: int
    out: str
    err: str

    @property
    def record(self) -> dict[str, Any]:
        """The JSON object of ``--json``."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def said(self) -> str:
        """All that it said, for an assertion that fails."""
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Project:
    """A repository below ``folder``: ``repo``, on the branch ``main``, and its ``origin``, ``remote.git``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repo"
        self.remote = folder / "remote.git"
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        for key, value in _SETTINGS.items():
            self.git("config", key, value)
        self.git("remote", "add", "origin", str(self.remote))
        self.write(".gitignore", ".gradatim/\n__pycache__/\nreleases/\n")

    def path(self, name: str) -> Path:
        """Where a file of the repository lies; its folder is there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, text: str) -> None:
        self.path(name).write_text(text, encoding="utf-8")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
            env=_environment(),
        )
        return done.stdout.strip()

    def commit(self, message: str = "A model") -> None:
        """Commit everything and push it."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "--set-upstream", "origin", "main")

    def gradatim(self, *arguments: str) -> Run:
        """Run the command line in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "gradatim", *arguments],
            cwd=self.folder, capture_output=True, text=True, check=False, env=_environment(),
        )  # fmt: skip
        return Run(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str) -> Run:
        """``gradatim run --json``; without arguments the whole release."""
        return self.gradatim("run", "--json", *arguments)

    def check(self) -> Run:
        """Everything that ``gradatim run --until gate`` does but the timing, which takes the longest."""
        steps = [
            word for step in ("build", "inspect", "compress", "test", "evaluate") for word in ("--only", step)
        ]
        return self.run(*steps)

    def evidence(self, step: str) -> dict[str, Any]:
        """What a step left behind."""
        found: dict[str, Any] = json.loads(
            (self.folder / ".gradatim/evidence" / f"{step}.json").read_text("utf-8")
        )
        return found

    def measured(self, metric: str, variant: str = "original", where: str | None = None) -> float | None:
        """The value of a metric that ``evaluate`` measured.

        Raises:
            KeyError: it was not measured.
        """
        for found in self.evidence("evaluate")["predicate"]["measurements"]:
            if (found["name"], found["variant"], found.get("where")) == (metric, variant, where):
                value: float | None = found["value"]
                return value
        raise KeyError(f"{metric} of {variant} where {where}")

    def remote_tags(self) -> list[str]:
        """The names of the tags on the remote."""
        lines = self.git("ls-remote", "--tags", "--refs", "origin").splitlines()
        return [line.rpartition("/")[2] for line in lines]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
