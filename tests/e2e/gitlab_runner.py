"""gitlab-ci-local: the rendered include run as a consumer's pipeline, each job in a checkout and with artifacts of its own.

It is fetched by npm once a machine, at a pinned version. Stood in for: GitLab itself (protected branches, approvals,
job tokens, resource groups), which the runner knows nothing of.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gradatim.rendering.gitlab import PATH, render_include

VERSION = "4.63.0"
REMOTE = "https://gitlab.invalid/acme/digits.git"
COMPONENT = "gitlab.com/gradatim/gradatim/release@0.1.0"
"""The kit as a catalogue has it; the runner knows no other server where a remote leads nowhere."""
_CATALOGUE = "ssh://git@gitlab.com:22/gradatim/gradatim.git"


def find_runner() -> str:
    """The runner's command; the test is skipped where it cannot be had."""
    for tool in ("npm", "rsync"):
        if shutil.which(tool) is None:
            pytest.skip(f"gitlab-ci-local needs {tool}")
    home = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        / f"gradatim-tests/gitlab-ci-local-{VERSION}"
    )
    runner = home / "node_modules/.bin/gitlab-ci-local"
    if not runner.exists():
        install = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(home),
            f"gitlab-ci-local@{VERSION}",
        ]
        done = subprocess.run(install, check=False, capture_output=True, text=True, timeout=240)
        if done.returncode != 0:
            pytest.skip(f"gitlab-ci-local cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return str(runner)


@dataclass
class Pipeline:
    """How one pipeline went.

    Attributes:
        code: exit code of the runner: 0 where no job failed that may not.
        said: everything the jobs printed.
    """

    code: int
    said: str


@dataclass
class Consumer:
    """A repository that includes the kit's pipeline, and the bare remote that it is pushed to."""

    project: Path
    remote: Path
    home: Path
    runner: str

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.project), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=self._environment()
        ).stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", "HEAD")

    def tags(self) -> list[str]:
        listed = self.git("ls-remote", "--tags", "--refs", "origin").splitlines()
        return sorted(line.partition("refs/tags/")[2] for line in listed)

    def run(self, **variables: str) -> Pipeline:
        done = self._call(*_given(variables))
        return Pipeline(done.returncode, done.stdout + done.stderr)

    def jobs(self, **variables: str) -> list[dict[str, Any]]:
        """The jobs of the pipeline that these variables would start."""
        said = self._call("--list-json", "--json-schema-validation=false", *_given(variables)).stdout
        listed = json.loads(said[said.index("[\n") :])  # warnings come before
        return [job for job in listed if job["when"] != "never"]

    def left(self, job: str, name: str) -> Path:
        """A file of what a job of the last pipeline left, below the checkout."""
        return self.project / ".gitlab-ci-local/artifacts" / f"gradatim-{job}" / name

    def preview(self) -> str:
        """The pipeline with the include and its inputs resolved."""
        said = self._call("--preview").stdout
        return said[said.index("---\n") :]  # warnings come before

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            self.runner,
            "--force-shell-executor",
            "--shell-isolation",
            "--no-artifacts-to-source",
            "--concurrency",
            "2",
            *arguments,
        ]
        return subprocess.run(
            command, cwd=self.project, check=False, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=900, env=self._environment(),
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("GIT_", "CI_", "GITHUB_", "GRADATIM_"))
        }
        here = str(Path(sys.executable).parent)  # the kit of this checkout, as an image would hold it
        settings = {
            "user.name": "Ada",
            "user.email": "ada@acme.invalid",
            f"url.{self.remote}.insteadOf": REMOTE,
            f"url.{self.home / 'kit'}.insteadOf": _CATALOGUE,
        }
        config = {
            f"GIT_CONFIG_{what}_{n}": value
            for n, pair in enumerate(settings.items())
            for what, value in zip(("KEY", "VALUE"), pair, strict=True)
        }
        return {
            **kept,
            "PATH": f"{here}:{kept['PATH']}",
            "HOME": str(self.home),
            "NO_COLOR": "1",
            "GIT_CONFIG_COUNT": str(len(settings)),
            **config,
        }


def include_for_a_shell() -> str:
    """The include without its image: where one is named, the runner takes the job's folder for one in a container."""
    image = "  image: $[[ inputs.image ]]\n"
    text = render_include()
    assert text.count(image) == 1
    return text.replace(image, "")


def lay_component(consumer: Consumer) -> None:
    """A repository of the kit with nothing but the component in it, where the catalogue would find it."""
    kit = consumer.home / "kit"
    path = kit / PATH
    path.parent.mkdir(parents=True)
    path.write_text(include_for_a_shell(), encoding="utf-8")
    name, tag = ("-c", "user.name=Ada", "-c", "user.email=ada@acme.invalid"), COMPONENT.partition("@")[2]
    for words in (("init", "-q"), ("add", "--all"), (*name, "commit", "-qm", "The component"), ("tag", tag)):
        subprocess.run(["git", "-C", str(kit), *words], check=True)


def _given(variables: Mapping[str, str]) -> list[str]:
    """Variables on the runner's command line. It says `false` for GITLAB_CI, by which jobs know where they are."""
    return [f"--variable={key}={value}" for key, value in {"GITLAB_CI": "true", **variables}.items()]


def lay_down(folder: Path) -> Consumer:
    """An empty consumer repository on ``develop``, its remote beside it."""
    consumer = Consumer(folder / "digits", folder / "remote.git", folder / "home", find_runner())
    consumer.project.mkdir()
    consumer.home.mkdir()
    start = ["git", "init", "--quiet", "--initial-branch=develop"]
    subprocess.run([*start, "--bare", str(consumer.remote)], check=True)
    subprocess.run([*start, str(consumer.project)], check=True)
    consumer.git("remote", "add", "origin", REMOTE)
    return consumer
