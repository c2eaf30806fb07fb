"""What answers that flipped hang on: the part that decides is found, in columns, pictures and words, and what that cannot tell is said."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import lay_down
from registry_examples import IDENTITY, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.checks.attribution import _parts, _score_of, explain_flips
from gradatim.checks.replay import side_of
from gradatim.ci.laptop import Laptop
from gradatim.ci.occasion import extras_of
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import EnvironmentLacks
from gradatim.metrics.task import Task
from gradatim.pipeline.step import run_step
from gradatim.report.collect import collect
from gradatim.report.explanation import CANNOT_TELL
from gradatim.report.html import render_html
from gradatim.report.markdown import render_markdown

needs_shap = pytest.mark.skipif(find_spec("shap") is None, reason="needs gradatim[explain]")


def _lay_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int) -> Any:
    """A release that is right in 60 rows, and a candidate that is wrong in the first."""
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    labels = np.arange(60) % 3
    project = lay_down(tmp_path, labels, labels, np.where(np.arange(60) < lost, (labels + 1) % 3, labels))
    project.contract("accuracy: {at_least: 20%}")
    monkeypatch.chdir(project.root)
    return project


def test_a_report_of_rows_that_were_lost_says_how_to_learn_what_they_hang_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lost in (0, 5):
        project = _lay_down(tmp_path / str(lost), monkeypatch, lost)
        for step in ("inspect", "evaluate"):
            run_step(step, project.release())
        report = collect(project.release())
        told = [hint for hint in report.hints if "gradatim explain" in hint]
        assert len(told) == (lost > 0)
        for shown in (render_markdown(report), render_html(report)):
            assert ("the extra" in shown) == (lost > 0)


@needs_shap
def test_a_contract_may_ask_for_it_and_then_evaluate_leaves_it_for_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _lay_down(tmp_path, monkeypatch, lost=5)
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text() + "evaluate: {explain: 2}\n")
    assert "explain" in extras_of(read_contract(contract).parts)
    for step in ("inspect", "evaluate"):
        run_step(step, project.release())
    explained = collect(project.release()).explanation
    assert explained is not None
    assert (len(explained.flips), explained.of) == (2, 5)
    contract.write_text(contract.read_text().replace("explain: 2", "explain: 1"))
    assert not run_step("evaluate", project.release()).skipped


@needs_shap
def test_the_column_that_decided_is_found_shown_in_the_report_and_forgotten_with_the_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release reads the first three columns, the candidate the last three."""
    project = _lay_down(tmp_path, monkeypatch, lost=5)
    labels = np.arange(60) % 3
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
    assert "gradatim explain" not in render_markdown(report)
    assert "What flipped answers hang on" in render_markdown(report)
    page = render_html(report)
    assert "<summary>What flipped answers hang on</summary>" in page
    assert CANNOT_TELL in page
    project.another_candidate(0.3)
    run_step("inspect", project.release())
    assert collect(project.release(), steps=("inspect",)).explanation is None


def test_without_shap_explain_says_what_to_install_and_calls_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lay_down(tmp_path, monkeypatch, lost=5)
    monkeypatch.setattr("gradatim.checks.attribution.find_spec", lambda _: None)
    done = CliRunner().invoke(cli, ["explain"], standalone_mode=False)
    assert isinstance(done.exception, EnvironmentLacks)
    assert "[explain]" in str(done.exception)


class Scores:
    """A model that scores two classes by what a function says of its inputs."""

    def __init__(self, second: Any, shape: tuple[int, ...] = (2,)) -> None:
        self.second, self.shape, self.rows = second, shape, 0

    def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
        found = np.array([self.second(*row) for row in zip(*inputs.values(), strict=True)], np.float32)
        self.rows += len(found)
        both = np.stack([1 - found, found], axis=1)
        return {"scores": both if self.shape == (2,) else found.reshape(-1, *self.shape)}


def added(
    model: Scores, whole: dict[str, Any], others: list[dict[str, Any]], **columns: Any
) -> dict[str, float]:
    """What the parts that add most add to the score of the model's own answer."""
    whole = {name: np.asarray(value) for name, value in whole.items()}
    score = _score_of(whole, Task("classification", labels=("no", "yes")), model, 16)  # type: ignore[arg-type]
    kept = [{name: np.asarray(value) for name, value in other.items()} for other in others]
    return {part.name: part.candidate for part in _parts(whole, kept, columns, [score, score])}


def first(found: dict[str, float]) -> str:
    return max(found, key=lambda name: found[name])


@needs_shap
@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (8, 8, 3), (8, 8)], ids=["channels first", "channels last", "none"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_the_patch_of_a_picture_that_decides_is_found(shape: tuple[int, ...], dtype: type) -> None:
    picture = np.zeros(shape, dtype)
    where = (0, slice(2, 4), slice(4, 6)) if shape[0] == 1 else (slice(2, 4), slice(4, 6))
    picture[where] = 1
    found = added(Scores(lambda x: x[where].mean()), {"image": picture}, [{"image": 0 * picture}])
    assert first(found) == "image rows 2-3, columns 4-5"
    assert found[first(found)] == pytest.approx(1.0, abs=1e-6)


@needs_shap
def test_the_word_of_a_text_that_decides_is_found_and_a_long_text_is_looked_at_to_its_end() -> None:
    for text in ("the film was not good at all", "it was a film " * 60 + "and it was not good"):
        found = added(
            Scores(lambda said: float("not" in str(said).split())), {"text": text}, [{"text": "a b"}]
        )
        assert "not" in first(found).split('"')[1].split()
        assert found[first(found)] == pytest.approx(1.0, abs=1e-6)


@needs_shap
def test_two_parts_that_work_only_together_share_what_they_add_and_two_that_say_the_same_do_too() -> None:
    """Taken away one at a time, of two that say the same each would look idle."""
    others = [{"x": np.zeros(4, np.float32)}]
    for second in (lambda x: x[0] * x[2], lambda x: max(x[0], x[2])):
        found = added(Scores(second), {"x": np.ones(4, np.float32)}, others)
        assert found == pytest.approx({"x[0]": 0.5, "x[2]": 0.5, "x[1]": 0.0, "x[3]": 0.0}, abs=1e-6)


@needs_shap
def test_whole_numbers_and_names_are_taken_from_other_rows_and_columns_are_called_as_in_the_table() -> None:
    ages = {"x": np.array([70, 3], np.int64), "city": np.array("Rome")}
    others = [{"x": np.array([20, 3], np.int64), "city": np.array(city)} for city in ("Oslo", "Rome")]
    model = Scores(lambda x, city: 0.5 * (x[0] > 60) + 0.5 * (str(city) == "Rome"))
    found = added(model, ages, others, x=("age", "children"))
    assert found == pytest.approx({"age": 0.5, "city": 0.25, "children": 0.0}, abs=1e-6)


@needs_shap
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_score_for_two_classes_counts_for_the_answer_that_was_given(shape: tuple[int, ...]) -> None:
    whole, others = {"x": np.array([0.0, 1.0], np.float32)}, [{"x": np.ones(2, np.float32)}]
    found = added(Scores(lambda x: 0.8 * x[0], shape), whole, others)
    assert found == pytest.approx({"x[0]": 0.8, "x[1]": 0.0}, abs=1e-6)


@needs_shap
def test_a_model_that_only_names_a_class_is_explained_by_whether_the_class_stays() -> None:
    class Names(Scores):
        def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return {"label": super().__call__(inputs)["scores"].argmax(axis=1)}

    found = added(Names(lambda x: float(x[1] > 0)), {"x": np.ones(3)}, [{"x": np.zeros(3)}])
    assert found == pytest.approx({"x[1]": 1.0, "x[0]": 0.0, "x[2]": 0.0}, abs=1e-6)


@needs_shap
def test_calls_are_bounded_and_the_same_row_gets_the_same_values() -> None:
    dice = np.random.default_rng(1)
    whole = {"x": dice.random(40).astype(np.float32)}
    others = [{"x": dice.random(40).astype(np.float32)} for _ in range(30)]
    models = [Scores(lambda x: float(np.sin(9 * x).prod() > 0) * x[3]) for _ in range(2)]
    first, again = (added(model, whole, others) for model in models)
    assert first == again
    assert models[0].rows == models[1].rows <= 1 + 2 * (500 * 8)  # the score stands for both models here


@needs_shap
def test_when_the_time_is_over_one_row_is_explained_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lay_down(tmp_path, monkeypatch, lost=5)
    done = CliRunner().invoke(cli, ["explain", "--seconds", "0", "--json"], standalone_mode=False)
    told = json.loads(done.stdout)
    assert (len(told["flips"]), told["rows"]) == (1, 32)


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


@needs_shap
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
    found = explain_flips(*sides, most=2, seconds=300)
    assert (found.of, [(flip.before, flip.after) for flip in found.flips]) == (4, [("bad", "good")] * 2)
    first = found.flips[0].parts[0]
    assert first.name.startswith('the word "not"')
    assert (first.baseline, first.candidate) == (1.0, 0.0)
