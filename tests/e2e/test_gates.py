"""Gates as a user meets them: the demo's candidates, its data, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from projects.repository import Run

from gradatim.contract.reading import read_contract
from gradatim.files import template_folder
from gradatim.gates.case import Case
from gradatim.gates.compare import compare
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.projects.demo import DemoPaths, lay_down

PROJECT = template_folder("projects") / "digits"
CANDIDATES = template_folder("projects") / "digits-candidates"
DIGITS = Task("classification", tuple(range(10)))
_OUTSIDE = ("GITHUB_ACTIONS", "GITLAB_CI", "CI", "GIT_DIR", "GIT_WORK_TREE")


def exported(folder: Path, name: str) -> NDArray[np.float32]:
    """Scores [900, 10] of one of the demo's models on its evaluation data."""
    runtime = pytest.importorskip("onnxruntime")
    source = PROJECT if name == "first" else CANDIDATES / name
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "digits.npz").write_bytes((source / "weights" / "digits.npz").read_bytes())
    (folder / "export.py").write_bytes((PROJECT / "export.py").read_bytes())
    subprocess.run([sys.executable, "export.py"], cwd=folder, check=True, capture_output=True)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        folder / "model/digits.onnx", options, providers=["CPUExecutionProvider"]
    )
    with np.load(PROJECT / "data/test.npz") as stored:
        found: NDArray[np.float32] = session.run(None, {"image": stored["image"]})[0]
    return found


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    with np.load(PROJECT / "data/test.npz") as stored:
        return np.asarray(stored["label"], np.int64)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.float32]]:
    folder = tmp_path_factory.mktemp("models")
    return {name: exported(folder / name, name) for name in ("first", "mislabelled")}


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    return {rule.key: rule for rule in read_contract(PROJECT / "gradatim.yml").rules}


def case_of(labels: NDArray[np.int64], old: NDArray[np.float32], new: NDArray[np.float32]) -> Case:
    baseline = Evaluation(DIGITS, Predictions.of({"scores": old}, labels))
    candidate = Evaluation(DIGITS, Predictions.of({"scores": new}, labels), baseline)
    return Case("original", candidate=candidate, baseline=baseline, noun="images", baseline_name="v1.0.0")


def test_the_demos_candidate_that_is_worse_on_one_digit_is_refused_although_it_is_better_in_total(
    labels: NDArray[np.int64], scores: dict[str, NDArray[np.float32]], rules: dict[str, Rule]
) -> None:
    case = case_of(labels, scores["first"], scores["mislabelled"])
    total, *by_digit = judge([rules["accuracy"], rules["recall"]], case)
    assert total.verdict is Verdict.PASS
    assert total.candidate is not None
    assert total.baseline is not None
    assert total.candidate > total.baseline
    (refused,) = [result for result in by_digit if result.refuses]
    assert (refused.gate, refused.verdict) == ("recall[class=8]", Verdict.FAIL)
    assert "of them taken for 1" in refused.text
    assert "wanted at least 85 %" in refused.text


def test_a_model_against_itself_passes_on_a_thousand_resamples_of_the_demos_data(
    labels: NDArray[np.int64], scores: dict[str, NDArray[np.float32]], rules: dict[str, Rule]
) -> None:
    draw = np.random.default_rng(20)
    rule = rules["accuracy"]
    names = {"accuracy": 0.01, "f1_macro": 0.02, "log_loss": 0.02}
    whole = Evaluation(DIGITS, Predictions.of({"scores": scores["first"]}, labels))
    verdicts: list[Verdict] = []
    for _ in range(1000):
        rows = draw.integers(len(labels), size=len(labels))
        itself = Evaluation(DIGITS, Predictions.of({"scores": scores["first"][rows]}, labels[rows]))
        verdicts += [r.verdict for r in judge([rule], Case("original", candidate=itself, baseline=itself))]
    assert verdicts == [Verdict.PASS] * 1000
    for metric, margin in names.items():  # nothing differs, so nothing depends on which rows were drawn
        found = compare(whole.samples(metric), whole.samples(metric), margin=margin, alpha=0.05)
        assert found.value == 0
        assert found.low is not None
        assert found.low > -margin


@pytest.fixture
def demo(tmp_path: Path) -> DemoPaths:
    return lay_down(tmp_path / "demo")


def gradatim(demo: DemoPaths, *arguments: str) -> Run:
    kept = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments],
        cwd=demo.project, capture_output=True, text=True, check=False, env=kept,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


def change(demo: DemoPaths, old: str, new: str) -> None:
    text = demo.contract.read_text(encoding="utf-8")
    assert old in text
    demo.contract.write_text(text.replace(old, new), encoding="utf-8")


def test_gates_that_no_model_could_pass_are_refused_before_anything_runs(demo: DemoPaths) -> None:
    change(demo, "by: 1%}", "by: 0.2%}")
    change(demo, "at_least: 85%, slices", "at_least: 97%, slices")
    run = gradatim(demo, "run")
    assert run.code == 2, run.said
    assert not (demo.project / ".gradatim/evidence").exists()
    accuracy, recall = run.err.strip().splitlines()
    assert "gradatim.yml:26:" in accuracy
    assert "`accuracy` cannot pass" in accuracy
    assert "there are 900 samples, and even the very same model needs at least 1497 to pass" in accuracy
    assert "`recall[class=0] .. [class=9]` cannot pass" in recall
    assert "there are 90 samples, and even with every one right at least 99 are needed to prove it" in recall
    plan = gradatim(demo, "gate", "--plan")
    assert plan.code == 2, plan.said
    assert [line.split("  ")[1] for line in plan.out.splitlines() if "cannot pass" in line] == [
        "accuracy",
        "recall[class=0] .. [class=9]",
    ]
    whole = gradatim(demo, "gate", "--plan", "--json").record["gates"]
    assert len([row for row in whole if not row["possible"]]) == 11


def test_a_stage_that_only_warns_may_start_with_few_data(demo: DemoPaths) -> None:
    change(demo, "by: 1%}", "by: 0.2%}")
    change(demo, "{branch: develop}", "{branch: develop, on_inconclusive: warn}")
    refused = gradatim(demo, "run", "--stage", "beta", "--only", "gate")
    assert refused.code == 2, refused.said
    allowed = gradatim(demo, "run", "--stage", "alpha", "--only", "gate", "--json")
    assert "cannot pass" not in allowed.err, allowed.said
    assert allowed.record["steps"][0]["step"] == "gate"


def test_the_plan_of_the_demo_says_what_its_data_can_see(demo: DemoPaths) -> None:
    run = gradatim(demo, "gate", "--plan")
    assert run.code == 0, run.said
    lines = {line.split()[0]: line for line in run.out.splitlines()}
    assert "few data" in lines["accuracy"]
    assert "enough for a margin of 2.1 points. About 4000 let an equally good model pass" in lines["accuracy"]
    assert "forgive 6 misses" in lines["recall[class=0]"]
    assert " ok " in lines["size"]
