"""What answers that flipped hang on: the part that decides is found, in columns, pictures and words, and what that cannot tell is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import lay_down
from registry_examples import IDENTITY, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.checks.attribution import _lost, _taken_out, explain_flips
from gradatim.checks.replay import side_of
from gradatim.ci.laptop import Laptop
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.metrics.task import Task
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.explanation import CANNOT_TELL
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown


def test_the_column_that_decided_is_found_shown_in_the_report_and_forgotten_with_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release reads the first three columns, the candidate the last three."""
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    labels = np.arange(60) % 3
    project = lay_down(tmp_path, labels, labels, np.where(np.arange(60) < 5, (labels + 1) % 3, labels))
    project.contract("accuracy: {at_least: 20%}")
    monkeypatch.chdir(project.root)
    done = CliRunner().invoke(cli, ["explain", "--samples", "3", "--json"], standalone_mode=False)
    assert done.return_value == 0, done.exception
    told = json.loads(done.stdout)
    assert (told["of"], told["rows"], len(told["flips"])) == (5, 60, 3)
    for flip in told["flips"]:
        row, truth = flip["row"], labels[flip["row"]]
        assert (flip["label"], flip["before"], flip["after"]) == (
            str(truth),
            str(truth),
            str((truth + 1) % 3),
        )
        most = {
            who: max(flip["parts"], key=lambda part: part[who])["name"] for who in ("candidate", "baseline")
        }
        assert most == {"candidate": f"x[{3 + (row + 1) % 3}]", "baseline": f"x[{row % 3}]"}
    monkeypatch.setenv("COLUMNS", "60")
    shown = CliRunner().invoke(cli, ["explain", "--samples", "1"], standalone_mode=False).stdout
    assert "5 of 60 rows:" in shown
    assert max(map(len, shown.splitlines())) <= 60
    monkeypatch.delenv("COLUMNS")
    for step in ("inspect", "evaluate"):
        run_step(step, project.release())
    report = collect(project.release())
    assert report.explanation is not None
    assert "What flipped answers hang on" in render_markdown(report)
    page = render_html(report)
    assert "<summary>What flipped answers hang on</summary>" in page
    assert CANNOT_TELL in page
    project.another_candidate(0.3)
    run_step("inspect", project.release())
    assert collect(project.release(), steps=("inspect",)).explanation is None


class Scores:
    """A model that scores two classes by what a function says of its inputs."""

    def __init__(self, second: Any) -> None:
        self.second = second

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        found = np.array([self.second(*row) for row in zip(*inputs.values(), strict=True)], np.float32)
        return {"scores": np.stack([1 - found, found], axis=1)}


def most(second: Any, whole: dict[str, Any], mean: Any) -> str:
    parts = list(_taken_out(whole, {} if mean is None else dict.fromkeys(whole, mean)))
    stacked = {name: np.stack([value, *(taken[name] for _, taken in parts)]) for name, value in whole.items()}
    lost = _lost(Task("classification"), Scores(second), stacked)  # type: ignore[arg-type]
    return parts[int(lost.argmax())][0]


def test_the_patch_of_a_picture_and_the_word_of_a_text_that_decide_are_found() -> None:
    picture = np.zeros((1, 8, 8), np.float32)
    picture[0, 2:4, 4:6] = 1
    assert (
        most(lambda x: x[0, 2:4, 4:6].mean(), {"image": picture}, 0 * picture)
        == "image rows 2-3, columns 4-5"
    )
    text = np.array("the film was not good at all")
    assert most(lambda said: float("not" in str(said).split()), {"text": text}, None) == 'the word "not"'


READER = """
import numpy as np


def make():
    def call(inputs):
        said = [{AT}(row).split() for row in inputs["text"]]
        bad = np.array([{HEEDS} and "not" in words for words in said], np.float32)
        return {"features": np.eye(len(bad), 4, dtype=np.float32), "scores": np.stack([bad, 1 - bad], axis=1)}
    return call
"""
READING = """
model: {name: m, factory: entry:make, inputs: {text: {dtype: str, shape: SHAPE}}}
data: {evaluation: test.csv, label: label, inputs: {text: COLUMNS}}
task: {type: classification, labels: [bad, good], output: scores}
stages: {production: {branch: main}}
"""


@pytest.mark.parametrize("pair", [False, True], ids=["a text", "a pair of texts"])
def test_the_word_that_decided_is_found_in_texts_as_the_data_hold_them(tmp_path: Path, pair: bool) -> None:
    """The model gives features first, which are no scores."""
    sides = []
    for name, heeds in (("before", "True"), ("after", "False")):
        root = new_repository(tmp_path / name)
        read = READER.replace("{AT}", "(lambda both: str(both[1]))" if pair else "str").replace(
            "{HEEDS}", heeds
        )
        (root / "entry.py").write_text(read)
        rows = "a film,it was good,good\nthe play,it was not good,bad\n" * 4
        (root / "test.csv").write_text(f"title,body,label\n{rows}")
        said = READING.replace("SHAPE", "[batch, 2]" if pair else "[batch]")
        (root / "gradatim.yml").write_text(said.replace("COLUMNS", "[title, body]" if pair else "body"))
        sides.append(side_of(Candidate(read_contract(root / "gradatim.yml"), Laptop()), None))
    found = explain_flips(*sides, most=2)
    assert (found.of, [(flip.before, flip.after) for flip in found.flips]) == (4, [("bad", "good")] * 2)
    first = found.flips[0].parts[0]
    assert first.name.startswith('the word "not"')
    assert (first.baseline, first.candidate) == (1.0, 0.0)
