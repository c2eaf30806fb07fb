"""The demo on a machine where a model that should go out is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gradatim.cli import cli
from gradatim.files import template_folder

CONTRACT = """
model: {name: digits, path: model/digits.onnx, build: {run: python export.py, inputs: [export.py, weights/digits.npz]}}
data: {evaluation: data/test.npz}
task: {type: classification, labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
gates: {size: {at_most: 1 kB}}
stages: {production: {branch: main}}
"""


def test_a_good_model_that_is_refused_is_told_of_in_the_last_words_with_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    projects = tmp_path / "templates" / "projects"
    shutil.copytree(template_folder("projects") / "digits", projects / "digits")
    (projects / "digits" / "gradatim.yml").write_text(CONTRACT)
    monkeypatch.setattr("gradatim.projects.demo.template_folder", lambda _: projects)
    done = CliRunner().invoke(cli, ["demo", str(tmp_path / "demo")], standalone_mode=False)
    assert done.return_value == 1, done.exception
    last = " ".join(done.output.split("nothing was tagged")[-1].split())
    assert "The demo ends here" in last
    assert "exit code 1" in last
    assert "run it again" in last
    assert Path(last.rsplit(" ", 1)[-1]).name == "report.html"
