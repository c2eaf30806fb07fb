"""An own metric is given the outputs that it names, as the model gives them, so that one contract judges several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from function_project import FunctionProject

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.pipeline.step import run_shard
from gradatim.shard import Shard
from gradatim.steps import gate

HEADS = """\
import numpy as np


def make():
    def call(inputs):
        x = inputs["x"]
        scores = np.stack([-x[:, 0], x[:, 0]], axis=1)
        return {"onset": x[:, None, :] * %s + np.zeros((1, 3, 1), np.float32), "scores": scores%s}

    return call
"""
SCORING = """\
import numpy as np


def near(labels, predictions):
    assert labels.shape == predictions["onset"].shape[:1] and predictions["onset"].shape[1:] == (3, 2)
    return float((predictions["onset"][:, 0, 0] > 0).mean())


def agree(labels, predictions):
    assert list(predictions) == ["scores", "onset"]
    return float((predictions["scores"].argmax(axis=1) == (predictions["onset"][:, 1, 0] > 0)).mean())


def plain(labels, predictions):
    return float((labels == predictions).mean())
"""
METRICS = """\
task:
  type: classification
  labels: [0, 1]
  metrics:
    onset: {function: scoring:near, outputs: onset}
    agree: {function: scoring:agree, outputs: [scores, onset]}
    plain: scoring:plain
"""


@pytest.fixture
def project(tmp_path: Path) -> FunctionProject:
    found = FunctionProject(tmp_path)
    found.write("entry.py", HEADS % (1, ""))
    found.write("scoring.py", SCORING)
    gates(found, "agree: {at_least: 90%}")
    return found


def gates(project: FunctionProject, *lines: str) -> None:
    project.contract("factory: entry:make")
    text = (project.root / "gradatim.yml").read_text(encoding="utf-8")
    text = text.replace("task: {type: classification, labels: [0, 1]}\n", METRICS)
    text = text.replace("gates: {accuracy: {at_least: 50%}}", f"gates: {{{', '.join(lines)}}}")
    project.write("gradatim.yml", text)


def measured(project: FunctionProject) -> dict[tuple[str, str], float | None]:
    statement = project.candidate().workspace.evidence("evaluate")
    return {(m.name, m.variant): m.value for m in statement.measurements if m.where is None}


def test_own_metrics_see_the_outputs_that_they_name(project: FunctionProject) -> None:
    project.step("evaluate")
    with np.load(project.root / "test.npz") as data:
        positive = float((data["x"][:, 0] > 0).mean())
    found = measured(project)
    assert found["onset", "original"] == pytest.approx(positive)
    assert (found["agree", "original"], found["plain", "original"], found["accuracy", "original"]) == (
        1,
        1,
        1,
    )


def test_shards_keep_the_outputs_too(project: FunctionProject) -> None:
    project.step("evaluate")
    whole = measured(project)
    project.candidate().workspace.forget("evaluate")
    for number in (1, 2):
        run_shard("evaluate", project.candidate(), Shard(number, 2))
    project.step("evaluate")
    assert measured(project) == whole


def judged(project: FunctionProject, name: str) -> GateResult:
    for step in ("inspect", "test", "evaluate"):
        project.step(step)
    (found,) = (one for one in gate.run(project.candidate()).gates if one.gate == name)
    return found


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, Verdict.PASS), (-9, Verdict.FAIL)])
def test_each_head_is_held_against_the_baselines_own(
    project: FunctionProject, shift: float, verdict: Verdict
) -> None:
    project.announce("v1.0.0")
    gates(project, "onset: {not_worse_than: baseline, by: 50%}")
    project.write("entry.py", (HEADS % (1, "")).replace("np.zeros((1, 3, 1)", f"np.full((1, 3, 1), {shift}"))
    found = judged(project, "onset")
    assert found.verdict is verdict
    assert found.baseline == measured(project)["onset", "baseline"]


def test_a_head_that_the_baseline_has_not_is_judged_by_itself(project: FunctionProject) -> None:
    project.write("entry.py", (HEADS % (1, "")).replace('"onset":', '"other":'))
    project.announce("v1.0.0")
    project.write("entry.py", HEADS % (1, ""))
    gates(project, "onset: {at_least: 20%}")
    assert judged(project, "onset").verdict is Verdict.PASS
    found = measured(project)
    assert (found["agree", "original"], found["agree", "baseline"], found["plain", "baseline"]) == (
        1,
        None,
        1,
    )


def test_an_output_that_the_candidate_has_not_is_named(project: FunctionProject) -> None:
    project.write("entry.py", (HEADS % (1, "")).replace('"onset":', '"onsets":'))
    found = judged(project, "agree")
    assert found.refuses
    assert "has no output `onset`" in found.text


def test_ragged_outputs_reach_the_metric_item_by_item(tmp_path: Path) -> None:
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.outputs import reduce_batch
    from gradatim.metrics.predictions import Predictions
    from gradatim.metrics.task import Task

    def longest(labels: object, predictions: dict[str, np.ndarray]) -> float:  # type: ignore[type-arg]
        return float(max(len(item) for item in predictions["words"]))

    task = Task("regression", own={"longest": longest}, seen={"longest": ("words",)}, output="y")
    words = np.empty(3, object)
    words[:] = [np.zeros(2), np.zeros(5), np.zeros(1)]
    kept = reduce_batch(task, {"y": np.zeros((3, 1)), "words": words})
    evaluation = Evaluation(task, Predictions.of(kept, np.zeros((3, 1))))
    assert evaluation.samples("longest").value == 5
