"""To add a CI platform is one file in ``ci/`` and one row."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from newcomer import Package
from small_models import write_mlp

PLATFORM = '''
"""Buildkite: meta-data carries outputs."""

import pathlib

from gradatim.ci.laptop import Laptop
from gradatim.ci.platform import Place


class Buildkite(Laptop):
    name = "buildkite"

    def __init__(self, environment):
        self._environment = environment

    def place(self):
        return Place(branch=self._environment["BUILDKITE_BRANCH"], url=self._environment["BUILDKITE_BUILD_URL"])

    def output(self, values):
        pathlib.Path("meta-data").write_text("".join(f"{key}={value}\\n" for key, value in values.items()))
'''


def test_a_platform_is_one_file_and_one_row(tmp_path: Path) -> None:
    package = Package.copied_to(tmp_path / "kit")
    package.file("ci/buildkite.py", PLATFORM)
    package.row("ci/__init__.py", "PLATFORMS = {", '    "BUILDKITE": "gradatim.ci.buildkite:Buildkite",')
    project = tmp_path / "project"
    project.mkdir()
    write_mlp(project / "model.onnx", width=4, layers=1)
    (project / "gradatim.yml").write_text(
        "model: {name: small, path: model.onnx}\nstages: {beta: {branch: staging}, production: {branch: main}}\n"
    )
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    variables = {
        "BUILDKITE": "true",
        "BUILDKITE_BRANCH": "staging",
        "BUILDKITE_BUILD_URL": "https://buildkite.example/builds/7",
    }
    package.json(project, "inspect", **variables)
    evidence = json.loads((project / ".gradatim" / "evidence" / "inspect.json").read_text())
    environment = evidence["predicate"]["environment"]
    assert (environment["ci"], environment["branch"]) == ("buildkite", "staging")
    assert environment["run"] == "https://buildkite.example/builds/7"
    assert (project / "meta-data").read_text() == "verdict=PASS\n"
