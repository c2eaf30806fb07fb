"""Rows that were not drawn as they occur: means are weighted, intervals know what weights cost, and the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada

from gradatim.contract.reading import contract_of
from gradatim.data import open_data
from gradatim.errors import ContractError, InvalidInput
from gradatim.gates.compare import compare
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import WEIGHT
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.steps.gate import plan_gates

CLASSES = Task("classification", labels=(0, 1, 2))


def evaluated(
    task: Task, said: Any, labels: Any, weights: Any = None, groups: Any = None, **more: Any
) -> Evaluation:
    outputs = {"y": said} if weights is None else {"y": said, WEIGHT: np.asarray(weights, np.float64)}
    return Evaluation(task, Predictions.of(outputs, labels, None, groups), **more)


def test_means_are_those_of_the_weighted_rows() -> None:
    dice = np.random.default_rng(0)
    labels, weights = dice.integers(0, 3, 400), dice.exponential(size=400)
    said = np.where(dice.random(400) < 0.8, labels, dice.integers(0, 3, 400))
    scores = np.eye(3)[said] * 0.7 + 0.1
    found, right = evaluated(CLASSES, scores, labels, weights), said == labels
    assert found.samples("accuracy").value == pytest.approx(np.average(right, weights=weights))
    taken, of = labels == 1, said == 1
    both = float((weights * (taken & of)).sum())
    assert found.samples("recall", "class=1").value == pytest.approx(both / weights[taken].sum())
    assert found.samples("precision", "class=1").value == pytest.approx(both / weights[of].sum())
    f1 = 2 * both / (weights[taken].sum() + weights[of].sum())
    assert found.samples("f1", "class=1").value == pytest.approx(f1)
    loss = -np.log(scores[np.arange(400), labels])
    assert found.samples("log_loss").value == pytest.approx(np.average(loss, weights=weights))
    numbers = evaluated(Task("regression"), labels + 0.5 * said, labels.astype(float), weights)
    assert numbers.samples("mae").value == pytest.approx(np.average(0.5 * said, weights=weights))
    assert numbers.samples("rmse").value == pytest.approx(
        np.sqrt(np.average((0.5 * said) ** 2, weights=weights))
    )
    units = found.samples("accuracy").units
    assert units is not None
    assert units.effective() == int(weights.sum() ** 2 / (weights**2).sum())


def test_what_knows_nothing_of_weights_has_no_value() -> None:
    labels = np.arange(90) % 3
    found = evaluated(CLASSES, np.eye(3)[labels], labels, np.arange(90.0))
    for metric in ("ece", "roc_auc", "balanced_accuracy", "f1_macro", "recall"):
        assert "no valid interval where rows have weights" in str(found.samples(metric).reason), metric
    assert found.samples("accuracy").bounds(0.05) is not None
    none = evaluated(CLASSES, np.eye(3)[labels], labels, np.where(labels == 0, 0.0, 1.0))
    assert none.samples("accuracy", "class=0").value is None


def test_weights_that_are_all_one_change_no_value_and_narrow_nothing() -> None:
    dice = np.random.default_rng(1)
    labels = dice.integers(0, 3, 500)
    said = np.where(dice.random(500) < 0.9, labels, (labels + 1) % 3)
    users = dice.integers(0, 60, 500).astype(str)
    for groups in (None, users):
        plain, weighed = (
            evaluated(CLASSES, np.eye(3)[said], labels, w, groups) for w in (None, np.ones(500))
        )
        one, other = plain.samples("accuracy"), weighed.samples("accuracy")
        assert one.value == pytest.approx(other.value)
        (low, high), (least, most) = one.bounds(0.05) or (0, 0), other.bounds(0.05) or (0, 0)
        assert least <= low + 0.003
        assert most >= high - 0.003
        assert most - least < 1.4 * (high - low)


def test_one_heavy_row_may_be_the_one_that_fails_next() -> None:
    """Nothing wrong was seen: what was never seen may weigh as much as the heaviest row."""
    labels, heavy = np.zeros(300, int), np.ones(300)
    heavy[:3] = 50
    ends = [
        evaluated(CLASSES, np.eye(3)[labels], labels, w).samples("accuracy").bounds(0.05)
        for w in (np.ones(300), heavy)
    ]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0][0] == pytest.approx(0.05 ** (1 / 300), abs=1e-6)
    assert ends[1][0] < 1 - 20 * (1 - ends[0][0])


@pytest.mark.parametrize(("error", "grouped"), [("alike", False), ("heavy", False), ("alike", True)])
def test_wrong_verdicts_stay_at_five_per_cent(error: str, grouped: bool) -> None:
    """A tenth of the rows weighs eleven times as much; the paired gate's candidate stands exactly on the margin."""
    wrong, missed, draws, n = 0, 0, 300, 400
    for draw in range(draws):
        dice = np.random.default_rng([5, draw])
        common = dice.random(n) >= 0.1
        if grouped:
            common = np.repeat(dice.random(n // 4) >= 0.1, 4)
        weights = np.where(common, 0.5, 5.5)
        chance = np.full(n, 0.08) if error == "alike" else np.where(common, 0.02, 0.02 + 0.06 / 0.55)
        worse, better = dice.random(n) < chance, dice.random(n) < 0.03
        labels = np.zeros(n, int)
        old, new = (np.where(flip, 1, 0) for flip in (better & ~worse, worse & ~better))
        users = np.repeat(np.arange(n // 4), 4).astype(str) if grouped else None
        base = evaluated(CLASSES, np.eye(3)[old], labels, weights, users)
        mine = evaluated(CLASSES, np.eye(3)[new], labels, weights, users)
        found = compare(mine.samples("accuracy"), base.samples("accuracy"), margin=0.05)
        wrong += found.low is not None and found.low > -0.05
        missed += found.high is not None and found.high < -0.05
    assert wrong / draws <= 0.08  # 5 %, standard error 1.3 points
    assert missed / draws <= 0.08


@pytest.mark.parametrize(("weights", "told"), [
    ([1, 2, -1, 0], r"Row 3 of .*`w` is -1"), ([1, np.nan, 1, 1], r"Row 2 of .*`w` is nan"),
    ([1, 1, 1, np.inf], r"Row 4 of .*`w` is inf"), ([0, 0, 0, 0], r"`w` is zero in every row"),
])  # fmt: skip
def test_weights_that_are_none_are_refused_with_their_row(
    tmp_path: Path, weights: list[float], told: str
) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((4, 2)), w=np.array(weights, float), label=np.arange(4) % 2)
    data = open_data("d.npz", root=tmp_path, weight="w")
    with pytest.raises(InvalidInput, match=told):
        list(data.batches(2))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    dice = np.random.default_rng(2)
    labels = dice.integers(0, 3, 1500)
    old, new = (np.where(dice.random(1500) < 0.95, labels, (labels + 1) % 3) for _ in range(2))
    made = lay_down(tmp_path, labels, old, new)
    held = dict(np.load(made.root / "test.npz"))
    np.savez(made.root / "test.npz", **held, w=np.where(dice.random(1500) < 0.1, 5.5, 0.5))
    monkeypatch.chdir(made.root)
    return made


def test_a_run_weighs_its_rows_and_says_as_how_many_they_count(project: GateProject) -> None:
    project.contract(
        "accuracy: {at_least: 80%}\nnegative_flips: {at_most: 12%}\ndrift: {at_most: 0.2}", data="weight: w"
    )
    plan = {row.gate: row for row in plan_gates(project.release())}
    assert "samples of equal weight" in plan["accuracy"].text
    assert "there are 1500 rows" in plan["drift"].text
    by_name = {gate.gate: gate for gate in project.judge().gates}
    held = np.load(project.root / "test.npz")
    right = held["x"][:, 3:].argmax(axis=1) == held["label"]
    assert by_name["accuracy"].value == pytest.approx(np.average(right, weights=held["w"]))
    assert by_name["accuracy"].verdict is Verdict.PASS, by_name["accuracy"].text
    kish = int(held["w"].sum() ** 2 / (held["w"] ** 2).sum())
    assert f"By their weights these 1500 count as {kish} of equal weight" in by_name["accuracy"].text
    assert f"count as {kish}" in by_name["negative_flips"].text


@pytest.mark.parametrize(
    "line",
    ["roc_auc: {at_least: 80%}", "recall: {at_least: 80%}", "ece: {at_most: 5%}", "robustness: {at_least: 80%}",
     "accuracy: {at_least: 80%, sequential: true}"],
)  # fmt: skip
def test_gates_that_have_no_valid_interval_on_weighted_rows_are_refused_at_their_line(
    project: GateProject, line: str
) -> None:
    project.contract(line, data="weight: w", test="robustness: [gaussian_noise]")
    with pytest.raises(ContractError, match=r"gradatim.yml:6.*has no valid interval with `data.weight`"):
        contract_of((project.root / "gradatim.yml").read_text(), project.root / "gradatim.yml")
    project.contract("accuracy: {at_least: 80%}", data="weight: w, covariate: {column: w, mean: 1}")
    with pytest.raises(ContractError, match="`covariate` adjusts rows that count alike"):
        contract_of((project.root / "gradatim.yml").read_text(), project.root / "gradatim.yml")
    project.contract("recall: {at_least: 80%, slices: every class}", data="weight: w")
    contract_of((project.root / "gradatim.yml").read_text(), project.root / "gradatim.yml")
