"""A covariate of the rows, whose mean over all of them is known, makes absolute gates surer; and it is refused where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down, named
from test_verdicts_retold import again, same

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, InvalidInput
from gradatim.evidence.found import Evaluated
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.adjusting import Adjuster
from gradatim.metrics.diagnostics import Covariate
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import Population
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.steps.gate import plan_gates

ROWS = 240
LABELS = np.arange(ROWS) % 3
HARD = (np.arange(ROWS) % 8 == 0) * 1.0
"""An eighth of the rows is hard, of which the candidate misses half."""
MISSED = np.where((HARD > 0) & (np.arange(ROWS) % 16 == 0), (LABELS + 1) % 3, LABELS)
TASK = Task("classification", (0, 1))
USERS = np.arange(ROWS) // 4
"""Users of four rows each."""


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    pytest.importorskip("onnxruntime")
    columns = {
        "user": USERS,
        "hard": HARD,
        "flat": np.ones(ROWS),
        "broken": np.where(np.arange(ROWS) == 6, np.nan, HARD),
    }
    made = lay_down(tmp_path, LABELS, LABELS, MISSED, {**columns, "word": np.array(["a", "b"])[LABELS // 2]})
    np.savez(made.root / "pool.npz", hard=np.tile(HARD, 5))
    np.savez(made.root / "users.npz", hard=np.tile(HARD, 5), user=np.arange(5 * ROWS) // 4)
    return made


def asks(
    project: GateProject, covariate: str, gates: str = "accuracy: {at_least: 90%}", group: str = ""
) -> None:
    beside = f", group: {group}" if group else ""
    project.contract(gates, data=f"covariate: {{{covariate}}}{beside}")


def test_a_gate_is_adjusted_by_a_covariate_and_its_evidence_says_by_which(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 90%}")
    before = named(project.judge(), "accuracy")
    asks(
        project, "column: hard, mean: 0.125", "accuracy: {at_least: 90%}\naccuracy[class=0]: {at_least: 50%}"
    )
    outcome = project.judge()
    found = named(outcome, "accuracy")
    assert found.value == pytest.approx(before.value)
    assert found.high - found.low < 0.9 * (before.high - before.low)
    assert (
        "Adjusted by `hard`, which tells 47 % of what samples vary by; as it was seen it is 93.8 %."
        in found.text
    )
    assert "Adjusted" not in named(outcome, "accuracy[class=0]").text
    evaluated = Evaluated.of(project.release().workspace.evidence("evaluate"))
    assert evaluated.covariate is not None
    assert (evaluated.covariate.column, evaluated.covariate.mean, evaluated.covariate.error) == (
        "hard",
        0.125,
        0.0,
    )
    assert evaluated.covariate.told["accuracy"] == pytest.approx(0.467, abs=0.01)


def test_rows_that_are_harder_than_all_rows_are_counted_back(project: GateProject) -> None:
    asks(project, "column: hard, mean: 0.10")
    found = named(project.judge(), "accuracy")
    assert found.value == pytest.approx(0.9375 + 0.5 * 0.025, abs=0.001)


def test_a_mean_of_unlabelled_rows_is_less_sure_than_a_known_one_and_its_file_is_digested(
    project: GateProject,
) -> None:
    asks(project, "column: hard, mean: 0.125")
    known = named(project.judge(), "accuracy")
    asks(project, "column: hard, unlabelled: pool.npz")
    taken = named(project.judge(), "accuracy")
    assert taken.value == pytest.approx(known.value)
    assert taken.high - taken.low > known.high - known.low
    first = project.release().digests.data("evaluation")
    np.savez(project.root / "pool.npz", hard=np.tile(HARD, 6))
    assert project.release().digests.data("evaluation") != first


@pytest.mark.parametrize(
    ("covariate", "told"),
    [
        ("column: flat, mean: 1", "`flat` is the same on all rows"),
        ("column: broken, mean: 0.125", "Row 7.*`broken` holds nan"),
        ("column: word, mean: 0.125", "word"),
        ("column: x, mean: 0.125", "`x`.* holds no single number"),
        ("column: nowhere, mean: 0.1", "nowhere"),
        ("column: hard, mean: 0.9", "chance never shows as much"),
        ("column: hard, unlabelled: nowhere.npz", "nowhere.npz does not exist"),
    ],
)
def test_a_covariate_that_cannot_hold_is_refused_before_the_model_is_asked(
    project: GateProject, covariate: str, told: str
) -> None:
    asks(project, covariate)
    with pytest.raises(InvalidInput, match=rf"(?s)gradatim.yml:2.*{told}"):
        project.judge()
    assert not (project.root / ".gradatim/predictions/original").exists()


def test_rows_in_groups_are_adjusted_by_group(project: GateProject) -> None:
    project.contract("accuracy: {at_least: 90%}", data="group: user")
    alone = named(project.judge(), "accuracy")
    asks(project, "column: hard, mean: 0.125", group="user")
    known = named(project.judge(), "accuracy")
    assert "what groups vary by" in known.text
    assert known.high - known.low < 0.95 * (alone.high - alone.low)
    asks(project, "column: hard, unlabelled: users.npz", group="user")
    taken = named(project.judge(), "accuracy")
    assert taken.high - taken.low > known.high - known.low


@pytest.mark.parametrize(
    ("covariate", "group", "told"),
    [
        ("column: hard, mean: 0.125", "word", "`hard` of 2 groups tells too little: 20 are the least"),
        ("column: hard, unlabelled: pool.npz", "user", "pool.npz.*`user`"),
    ],
)  # fmt: skip
def test_groups_too_few_or_unknown_are_refused_with_a_covariate(
    project: GateProject, covariate: str, group: str, told: str
) -> None:
    asks(project, covariate, group=group)
    with pytest.raises(InvalidInput, match=rf"(?s)gradatim.yml:2.*{told}"):
        project.judge()


@pytest.mark.parametrize("pool", [0, 80])
def test_users_on_the_bound_that_a_covariate_adjusts_rarely_pass_and_rarely_fail(pool: int) -> None:
    generator, verdicts = np.random.default_rng(pool), []
    for _ in range(200):
        users, hard, luck = np.arange(400) // 10, generator.random(40) < 0.3, generator.random(400)
        x, wrong = hard[users] * 1.0, (luck < np.where(hard, 0.4, 0.05)[users]).astype(int)
        others = (generator.random(pool or 1) < 0.3) * 1.0
        known = (
            Covariate("hard", float(others.mean()), float(others.std()) / 80**0.5)
            if pool
            else Covariate("hard", 0.3)
        )
        found = Evaluation(TASK, Predictions.of({"label": wrong}, np.zeros(400, np.int64), groups=users))
        rule = Rule("accuracy", "accuracy", "at_least", 1 - 0.3 * 0.4 - 0.7 * 0.05)
        verdicts.append(
            judge([rule], Case("original", candidate=found, adjuster=Adjuster(known, x)))[0].verdict
        )
    assert verdicts.count(Verdict.PASS) <= 14
    assert verdicts.count(Verdict.FAIL) <= 14


def test_lists_have_no_covariate_of_their_own(project: GateProject) -> None:
    project.contract("ndcg_at_10: {at_least: 50%}", data="covariate: {column: hard, mean: 1}, group: user")
    contract = project.root / "gradatim.yml"
    contract.write_text(contract.read_text().replace("{type: classification, labels: [0, 1, 2]}", "ranking"))
    with pytest.raises(ContractError, match="which in ranking are lists"):
        read_contract(contract)


def test_too_few_rows_for_a_covariate_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    few = slice(0, 40)
    made = lay_down(tmp_path, LABELS[few], LABELS[few], MISSED[few], {"hard": HARD[few]})
    asks(made, "column: hard, mean: 0.125")
    with pytest.raises(InvalidInput, match="`hard` of 40 rows tells too little: 50 are the least"):
        made.judge()


@pytest.mark.parametrize(
    ("data", "gates", "told"),
    [
        ("covariate: {column: hard}", "accuracy: {at_least: 90%}", "one of the two"),
        ("covariate: {column: hard, mean: 1, unlabelled: pool.npz}", "accuracy: {at_least: 90%}", "one of the two"),
        ("covariate: {column: hard, mean: 1}", "accuracy: {at_least: 90%, sequential: true}", "`sequential` has no bounds"),
    ],
)  # fmt: skip
def test_what_a_covariate_cannot_have_beside_it_is_said_at_its_line(
    project: GateProject, data: str, gates: str, told: str
) -> None:
    project.contract(gates, data=data)
    with pytest.raises(ContractError, match=told):
        read_contract(project.root / "gradatim.yml")


def test_the_plan_says_what_a_covariate_saves_before_and_after_it_was_seen(project: GateProject) -> None:
    asks(
        project,
        "column: hard, mean: 0.125",
        "accuracy: {at_least: 90%}\nf1_macro: {not_worse_than: baseline, by: 5%}",
    )
    accuracy, f1 = plan_gates(project.release())
    assert "Adjusted by `hard`: a correlation of 0.5 with what it is about saves 25 %" in accuracy.text
    assert "Adjusted" not in f1.text
    project.judge()
    accuracy, _ = plan_gates(project.release())
    assert (
        "in the last evaluation it told 47 % of what rows vary by, so 0.53 times as many do as much"
        in accuracy.text
    )


def drawn(generator: np.random.Generator, n: int, pool: int = 0, k: int = 1) -> tuple[Case, float]:
    """Rows of which a fifth is hard and misses seven in ten, all others one in a hundred; and the truth."""
    x, labels = (generator.random(n) < 0.2) * 1.0, np.zeros(n, np.int64)
    shared, members = generator.random(n), []
    for _ in range(k):
        luck = np.where(generator.random(n) < 0.9, shared, generator.random(n))
        members.append(
            Evaluation(TASK, Predictions.of({"label": (luck < np.where(x > 0, 0.7, 0.01)) * 1}, labels))
        )
    mean, error = 0.2, 0.0
    if pool:
        others = (generator.random(pool) < 0.2) * 1.0
        mean, error = float(others.mean()), float(others.std()) / pool**0.5
    evaluation = members[0] if k == 1 else Population(members)
    case = Case("original", candidate=evaluation, adjuster=Adjuster(Covariate("hard", mean, error), x))
    return case, 1 - 0.2 * 0.7 - 0.8 * 0.01


@pytest.mark.parametrize(("n", "pool"), [(100, 0), (400, 0), (100, 300)])
def test_an_adjusted_gate_on_its_bound_rarely_passes_and_rarely_fails(n: int, pool: int) -> None:
    generator, verdicts = np.random.default_rng(n + pool), []
    for _ in range(200):
        case, truth = drawn(generator, n, pool)
        verdicts.append(judge([Rule("accuracy", "accuracy", "at_least", truth)], case)[0].verdict)
    assert verdicts.count(Verdict.PASS) <= 14
    assert verdicts.count(Verdict.FAIL) <= 14


def test_an_adjusted_gate_is_proven_where_the_rows_alone_are_not_enough() -> None:
    generator, verdicts = np.random.default_rng(5), []
    rule = Rule("accuracy", "accuracy", "at_least", 0.82)
    for _ in range(60):
        case, _ = drawn(generator, 400)
        verdicts.append([judge([rule], one)[0].verdict for one in (case, replace(case, adjuster=None))])
    adjusted, alone = zip(*verdicts, strict=True)
    assert adjusted.count(Verdict.PASS) >= alone.count(Verdict.PASS) + 6


@pytest.mark.parametrize("k", [1, 3])
def test_adjusted_verdicts_are_made_again_from_their_grounds(k: int) -> None:
    case, _ = drawn(np.random.default_rng(1), 300, k=k)
    for amount in (0.5, 0.84, 0.86, 0.99):
        first, second = again([Rule("accuracy", "accuracy", "at_least", amount)], case)
        same(first, second)
        assert "Adjusted by `hard`" in second[0].text


def test_an_adjusted_recipe_still_counts_what_training_varies() -> None:
    case, _ = drawn(np.random.default_rng(3), 300, k=3)
    (found,) = judge([Rule("accuracy", "accuracy", "at_least", 0.5)], case)
    training = case.candidate.samples("accuracy").of_training(0.05)
    assert found.value - found.low > training > 0
    assert "over 3 candidates of one recipe" in found.text


def test_what_is_no_mean_over_rows_is_judged_as_it_is() -> None:
    case, _ = drawn(np.random.default_rng(1), 300)
    for metric in ("f1_macro", "balanced_accuracy"):
        rule = Rule(metric, metric, "at_least", 0.4)
        first, second = (judge([rule], one)[0] for one in (case, replace(case, adjuster=None)))
        assert (first.low, first.text) == (second.low, second.text)


def test_an_error_without_an_end_is_adjusted_too() -> None:
    generator = np.random.default_rng(0)
    x, truth = generator.normal(size=400), generator.normal(size=400)
    said = truth + np.abs(1.0 + 0.5 * x) + 0.1 * generator.normal(size=400)
    evaluation = Evaluation(Task("regression"), Predictions.of({"y": said}, truth))
    case = Case("original", candidate=evaluation, adjuster=Adjuster(Covariate("x", 0.0), x))
    rule = Rule("mae", "mae", "at_most", 1.2)
    found, alone = (judge([rule], one)[0] for one in (case, replace(case, adjuster=None)))
    assert "Adjusted by `x`" in found.text
    assert found.high - found.low < 0.8 * (alone.high - alone.low)
