"""act in host mode: the real workflows and actions of this checkout, called from a consumer's repository.

act runs no ``$/`` references and no artifact actions. So the kit is copied with ``$/X`` spelled out, and two stand-ins
copy artifacts to and from a folder. Everything else runs as it stands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gradatim.rendering.github_templates import PINS
from gradatim.rendering.workflows import KIT

TOP = Path(__file__).resolve().parents[2]
REF = "v1"
CONSUMER = "acme/digits"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
CERTIFICATES = {"SSL_CERT_FILE": _BUNDLE} if Path(_BUNDLE).is_file() else {}
_PARTS = ("actions", ".github", "scripts", "templates")
_FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
_UPLOAD = """name: upload stand-in
description: Copies into a folder.
inputs: {name: {description: n, required: true}, path: {description: p, required: true}, retention-days: {description: r}, overwrite: {description: o}}
runs:
  using: composite
  steps:
    - {shell: bash, run: 'mkdir -p "$ARTIFACTS/$NAME" && cp "$FILE" "$ARTIFACTS/$NAME/"', env: {NAME: "${{ inputs.name }}", FILE: "${{ inputs.path }}"}}
"""
_DOWNLOAD = """name: download stand-in
description: Copies out of a folder.
inputs: {pattern: {description: n, required: true}, path: {description: p, required: true}, merge-multiple: {description: m}}
runs:
  using: composite
  steps:
    - {shell: bash, run: 'mkdir -p "$TO" && for d in "$ARTIFACTS"/$PATTERN; do if [ -d "$d" ]; then cp "$d"/* "$TO/"; fi; done', env: {PATTERN: "${{ inputs.pattern }}", TO: "${{ inputs.path }}"}}
"""
_APP = """name: app token stand-in
description: Mints nothing but a name.
inputs: {app-id: {description: a}, private-key: {description: p}, permission-contents: {description: c}, permission-actions: {description: r}}
outputs: {token: {description: t, value: "${{ steps.mint.outputs.token }}"}}
runs:
  using: composite
  steps:
    - {id: mint, shell: bash, run: 'echo "token=minted-for-$APP" >> "$GITHUB_OUTPUT"', env: {APP: "${{ inputs.app-id }}"}}
"""
_CACHE = """name: cache stand-in
description: Never reached, for act's machine is not one of GitHub's.
inputs: {path: {description: p}, key: {description: k}}
runs: {using: composite, steps: [{shell: bash, run: "true"}]}
"""
_TOLD = 'NEEDS="${NEEDS//Outputs/outputs}" '
"""act spells `outputs` otherwise in what a called workflow tells of its jobs."""


def find_app_action() -> Path:
    """The very action that mints an app's token, at the pinned commit, kept once a machine; skipped where it cannot be had."""
    commit = PINS["create-github-app-token"].split()[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    place = cache / f"gradatim-tests/create-github-app-token-{commit[:7]}"
    if not (place / "action.yml").exists():
        place.mkdir(parents=True, exist_ok=True)
        address = "https://github.com/actions/create-github-app-token"
        for words in (
            ("init", "-q"),
            ("fetch", "-q", "--depth", "1", address, commit),
            ("checkout", "-q", commit),
        ):
            command = ["git", "-C", str(place), *words]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
            )
            if done.returncode != 0:
                pytest.skip(f"the action cannot be fetched here: {done.stderr.strip().splitlines()[-1:]}")
    return place


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()


def off_ci() -> dict[str, str]:
    """This process's environment without what a CI system around the tests says."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "RUNNER_", "CI"))
    }


def lay_kit(folder: Path) -> dict[str, Path]:
    """The kit as act can read it, and the stand-ins, by ``owner/name@ref``."""
    kit = folder / "kit"
    for part in _PARTS:
        shutil.copytree(
            TOP / part, kit / part, ignore=shutil.ignore_patterns("__pycache__", ".gradatim", "releases")
        )
    for name in _FILES:
        shutil.copy(TOP / name, kit / name)
    for path in (*kit.glob("actions/*/action.yml"), *kit.glob(".github/workflows/*.yml")):
        text = path.read_text(encoding="utf-8")
        text = text.replace("run: gradatim ci unpack", f"run: {_TOLD}gradatim ci unpack")
        path.write_text(re.sub(r"uses: \$/(\S+)\n", rf"uses: {KIT}/\1@{REF}\n", text), encoding="utf-8")
    found = {f"{KIT}@{REF}": kit}
    stand_ins = {
        "upload-artifact": _UPLOAD,
        "download-artifact": _DOWNLOAD,
        "cache": _CACHE,
        "create-github-app-token": _APP,
    }
    for name, text in stand_ins.items():
        stand_in = folder / name
        stand_in.mkdir()
        (stand_in / "action.yml").write_text(text, encoding="utf-8")
        found[f"actions/{name}@{PINS[name].split()[0]}"] = stand_in
    return found


@dataclass
class Run:
    """What a run of act did."""

    code: int
    lines: list[dict[str, Any]]
    text: str
    results: dict[str, str] = field(default_factory=dict)

    def of(self, job: str) -> str:
        return "\n".join(str(line.get("msg", "")) for line in self.lines if line.get("jobID") == job)


@dataclass
class Consumer:
    """A repository that uses the kit, its remote, and the runner."""

    folder: Path
    project: Path
    local: Mapping[str, Path]
    act: str

    def run(
        self,
        event_name: str,
        event: dict[str, Any],
        *,
        env: Mapping[str, str] | None = None,
        job: str | None = None,
        secrets: Mapping[str, str] | None = None,
        actor: str | None = None,
    ) -> Run:
        """Run what an event starts, or one job of it."""
        base = {
            "repository": {
                "full_name": CONSUMER,
                "name": "digits",
                "owner": {"login": "acme"},
                "default_branch": "main",
            }
        }
        number = len(list(self.folder.glob("event-*.json")))
        payload = self.folder / f"event-{number}.json"
        payload.write_text(json.dumps({**base, **event}), encoding="utf-8")
        artifacts = self.folder / f"artifacts-{number}"
        artifacts.mkdir()
        home = self.folder / "act"
        command = [
            self.act, event_name, "--eventpath", str(payload), "--json", "--concurrent-jobs", "2",
            "-P", "ubuntu-latest=-self-hosted", "-P", "gpu=-self-hosted", "--no-cache-server",
            "--action-cache-path", str(home), "--env", f"ARTIFACTS={artifacts}", "--env", f"GITHUB_REPOSITORY={CONSUMER}",
            "--secret", "GITHUB_TOKEN=token-of-the-run", "--env", f"RUNNER_TOOL_CACHE={self.folder / 'tools'}",
        ]  # fmt: skip
        for name, folder in self.local.items():
            command += ["--local-repository", f"{name}={folder}"]
        command += ["--job", job] if job else []
        command += ["--actor", actor] if actor else []
        for key, value in (env or {}).items():
            command += ["--env", f"{key}={value}"]
        for name in secrets or ():
            command += ["--secret", name]  # read from act's own environment, where a value may have lines
        done = subprocess.run(
            command, cwd=self.project, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=900, env={**off_ci(), **CERTIFICATES, **(secrets or {})},
        )  # fmt: skip
        (self.folder / f"run-{number}.log").write_text(done.stdout, encoding="utf-8")
        lines = []
        for line in done.stdout.splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        results = {
            line["jobID"]: line["jobResult"] for line in lines if "jobResult" in line and "jobID" in line
        }
        text = "\n".join(str(line.get("msg", "")) for line in lines)
        return Run(done.returncode, lines, text, results=results)
