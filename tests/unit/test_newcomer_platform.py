"""To add a CI platform is one file in ``ci/``, one in ``rendering/``, and a row for each."""

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


RENDERER = '''
"""Buildkite: a list of steps."""

from gradatim.rendering.plain import waves


def render(consumer, there=""):
    if there and "# rendered" not in there:
        return None
    lines = ["# rendered", "steps:"]
    for wave in waves(consumer.jobs):
        lines += [f"  - {{label: {job.name}, command: '{job.line}'}}" for job in wave]
    return "\\n".join(lines) + "\\n"
'''


def test_a_platform_to_render_for_is_one_file_and_one_row(tmp_path: Path) -> None:
    package = Package.copied_to(tmp_path / "kit")
    package.file("rendering/buildkite.py", RENDERER)
    row = '    "buildkite": System("Buildkite", ".buildkite/pipeline.yml", "gradatim.rendering.buildkite"),'
    package.row("rendering/systems.py", "SYSTEMS = {", row)
    project = tmp_path / "project"
    project.mkdir()
    write_mlp(project / "model.onnx", width=4, layers=1)
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / ".buildkite").mkdir()
    assert package.run(project, "init").returncode == 0
    path = project / ".buildkite/pipeline.yml"
    assert "label: evaluate, command: 'gradatim evaluate " in path.read_text()
    assert package.run(project, "render", "buildkite", "--check").returncode == 0
    path.write_text("steps: []\n")
    assert package.run(project, "render", "buildkite", "--check").returncode == 1
    assert "says something else" in package.run(project, "render", "buildkite").stderr


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
