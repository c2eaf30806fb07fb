"""What an undecided gate says would settle it: a number that does, and not a thousand times as many."""

from __future__ import annotations

import numpy as np
import pytest

from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.judge import judge
from gradatim.gates.plan_row import PlanRow
from gradatim.gates.planning import plan, samples_not_worse
from gradatim.gates.quality import realistic
from gradatim.gates.rule import Rule
from gradatim.gates.together import planned_together
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.intervals import clopper_pearson_many
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

TASK = Task("classification", (0, 1), scores="probabilities")


def faultless(rule: Rule, n: int):
    """The verdict on a model that is never wrong, clean and corrupted, as its baseline is not."""
    truth = np.arange(n) % 2
    groups = np.arange(n) // 2 if rule.key == "grouped" else None
    scores = np.stack([0.95 - 0.9 * truth, 0.05 + 0.9 * truth], axis=1)
    base = Evaluation(TASK, Predictions.of({"out": scores}, labels=truth, groups=groups))
    same = Evaluation(TASK, base.predictions, base)
    ones = np.ones((n, 5))
    corrupted = CorruptionScores("gaussian_noise", (1, 2, 3, 4, 5), ones, ones)
    (found,) = judge(
        [rule], Case("original", candidate=same, baseline=base, robustness={"gaussian_noise": corrupted})
    )
    return found


def noise(bound, amount, **more):
    return Rule("robustness[gaussian_noise]", "robustness", bound, amount, where="gaussian_noise", **more)


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        (Rule("balanced_accuracy", "balanced_accuracy", "at_least", 0.99), 299),
        (Rule("roc_auc", "roc_auc", "at_least", 0.99), 598),
        (Rule("grouped", "accuracy", "at_least", 0.99), 598),
        (noise("at_least", 0.99), 299),
        (noise("at_least", 0.95), 59),
        (noise("at_least", 0.99, severity=3), 299),
        (noise("at_least", 0.95, severity=3), 59),
        (noise("not_worse", 0.01), 299),
        (noise("at_least", 0.95, strict=True), 174),
        (noise("not_worse", 0.05, strict=True), 346),
    ],
    ids=lambda value: getattr(value, "key", value),
)
@pytest.mark.parametrize("n", [28, 58])
def test_as_many_samples_as_a_faultless_model_is_told_to_need_settle_it_and_hardly_fewer_do(rule, least, n):
    found = faultless(rule, n)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.needed is not None, found.text
    assert "too close" not in found.text
    asked = found.needed * (2 if rule.key == "grouped" else 1)
    assert least <= asked <= 1.15 * least + 10, found.text
    assert faultless(rule, asked).verdict is Verdict.PASS


def test_no_share_is_told_to_lie_beyond_its_range():
    found = faultless(noise("at_least", 0.99), 28)
    assert found.high == 1.0
    assert "110.1" not in found.text


def test_a_mean_over_classes_says_which_of_them_the_data_do_not_hold():
    """Accuracy 100 % beside a balanced accuracy of 67 %: somebody will look for the error in the model."""
    task = Task("classification", ("cat", "dog", "owl"))
    truth = np.arange(60) % 2
    found = Evaluation(task, Predictions.of({"out": truth}, labels=truth))
    assert found.samples("balanced_accuracy").value == pytest.approx(2 / 3)
    (told,) = judge(
        [Rule("balanced_accuracy", "balanced_accuracy", "at_least", 0.9)], Case("original", candidate=found)
    )
    assert "no sample of owl, which counts as 0" in told.text
    base = Evaluation(task, Predictions.of({"out": truth}, labels=truth), found)
    rule = Rule("f1_macro", "f1_macro", "not_worse", 0.05)
    (told,) = judge([rule], Case("original", candidate=base, baseline=found))
    assert "no sample of owl, which counts as 0" in told.text
    whole = Evaluation(TASK, Predictions.of({"out": truth}, labels=truth))
    (told,) = judge([Rule("f1_macro", "f1_macro", "at_least", 0.9)], Case("original", candidate=whole))
    assert "counts as 0" not in told.text


def test_a_plan_never_refuses_what_one_form_alone_could_pass() -> None:
    """Compression may leave the original alone, which is then judged at the whole error."""
    rule = Rule("accuracy", "accuracy", "at_least", 0.9)
    for n, possible in ((28, False), (29, True), (35, True), (36, True)):  # 29 by itself, 36 among two
        (row,) = plan([rule], {"": n}, forms=2)
        assert row.possible is possible, row.text
        assert row.tight is possible
    assert "at least 29 are needed" in plan([rule], {"": 28}, forms=2)[0].text
    assert "Forms that share the error need at least 36." in plan([rule], {"": 30}, forms=2)[0].text
    right = [Measurement("accuracy", "v", 1.0, n=30, successes=30)]
    assert [judge([rule], Case("v", right, forms=forms))[0].verdict for forms in (1, 2)] == [
        Verdict.PASS, Verdict.INCONCLUSIVE,
    ]  # fmt: skip


def hits(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean(labels == answers))


def changed(n: int, lost: int, task: Task = TASK) -> Case:
    """A candidate that loses so many of the baseline's right answers."""
    truth = np.arange(n) % 2
    old, new = np.where(np.arange(n) < n // 10, 1 - truth, truth), truth.copy()
    new[: n // 10 + lost] = 1 - truth[: n // 10 + lost]
    base, mine = (Evaluation(task, Predictions.of({"label": each}, truth)) for each in (old, new))
    return Case("v", candidate=mine, baseline=base)


@pytest.mark.parametrize("sequential", [False, True])
def test_an_undecided_gate_that_more_samples_settle_is_not_called_too_close(sequential: bool) -> None:
    """An interval that is wider than the spread of what was seen, for changes are rare, needs more samples for that."""
    rule = Rule("accuracy", "accuracy", "keep", 0.99, sequential=sequential)
    task = Task("classification", (0, 1))
    few, many = (judge([rule], changed(n, n // 500, task))[0] for n in (500, 15000))
    assert (few.verdict, many.verdict) == (Verdict.INCONCLUSIVE, Verdict.PASS)
    assert few.needed is not None
    assert 500 < few.needed <= 15000
    assert "too close" not in few.text


def test_a_faultless_own_metric_needs_as_many_samples_as_a_faultless_accuracy() -> None:
    truth = np.arange(100) % 2
    task = Task("classification", (0, 1), own={"hits": hits})
    case = Case("v", candidate=Evaluation(task, Predictions.of({"label": truth}, truth)))
    needed = [judge([Rule(name, name, "at_least", 0.99)], case)[0].needed for name in ("hits", "accuracy")]
    assert needed[0] == pytest.approx(needed[1], rel=0.02)


def test_too_few_rows_are_told_how_many_would_begin_to_tell() -> None:
    truth = np.arange(8.0)
    case = Case(
        "v", candidate=Evaluation(Task("regression"), Predictions.of({"y": truth + 0.1 * truth}, truth))
    )
    (found,) = judge([Rule("mae", "mae", "at_most", 1.0)], case)
    assert found.text.endswith("8 samples do not tell how much it varies: 10 are the least.")


def test_what_all_gates_need_to_pass_together_is_more_than_each_needs_and_names_the_one_that_lacks_most() -> (
    None
):
    rules = [Rule(f"{key}", "recall", "at_least", 0.9, f"class={key}") for key in (0, 1)]
    rules += [Rule("accuracy", "accuracy", "not_worse", 0.02), Rule("size", "size", "at_most", 1e6)]
    counts = {"": 1000, "class=0": 900, "class=1": 100}

    def reckon(power: float) -> list[PlanRow]:
        return plan(rules, counts, power=power)

    alone = plan(rules, counts)
    found = planned_together(alone, reckon)
    assert found is not None
    assert (found.gates, found.gate, found.n, found.enough) == (3, "recall[class=1]", 100, False)
    assert found.power == pytest.approx(1 - 0.2 / 3)
    assert found.needed > (alone[1].needed or 0) == 203
    # so many let a model with half the tolerated errors pass each of three times as often as planned
    n, dice = found.needed, np.random.default_rng(0)
    low = clopper_pearson_many(dice.binomial(n, 0.95, (2000, 3)), np.full((2000, 3), n), 0.05)[0]
    missed = float((low < 0.9).any(axis=1).mean())
    assert 0.1 < missed < 0.2 + 3 * (0.16 / 2000) ** 0.5
    assert planned_together(alone[1:2], reckon) is None


def test_gates_that_no_number_of_samples_lets_pass_together_are_passed_over() -> None:
    rules = (Rule("win_rate", "win_rate", "at_least", 0.4995, slices="every"),)
    counts = {"": 40, "continent=europe": 20, "continent=other": 20}

    def reckon(power: float) -> list[PlanRow]:
        return plan(rules, counts, task="generation", power=power)

    alone = reckon(0.8)
    assert all(row.needed for row in alone)
    assert planned_together(alone, reckon) is None


def test_a_thousand_times_the_samples_may_be_wanted_and_not_one_more():
    assert [realistic(needed, n) for needed, n in ((100_000, 7), (100_001, 7), (200_000, 200), (200_001, 200))] == [
        100_000, None, 200_000, None,
    ]  # fmt: skip


def test_a_gate_that_nobody_can_measure_and_one_without_a_margin_are_planned_by_saying_so():
    (row,) = plan([Rule("nonsense", "nonsense", "at_least", 0.9, line=7)], {"": 100}, task="classification")
    assert (row.needed, row.line, row.text) == (
        None,
        7,
        "Nobody knows how to measure `nonsense` for classification.",
    )
    for margin in (0.0, -0.01):
        with pytest.raises(ValueError, match="without a margin"):
            samples_not_worse(margin)


def test_a_calibration_that_noise_hides_is_told_with_a_number_of_samples_that_shows_it() -> None:
    """A model that keeps what it says, of which 300 samples show 5 % of noise, and may show 10 %."""
    dice, rule = np.random.default_rng(2), Rule("ece", "ece", "at_most", 0.1)

    def seen(n: int):
        said = dice.uniform(0.6, 1, n)
        right = (dice.random(n) < said).astype(int)
        answers = Predictions.of({"p": np.stack([1 - said, said], axis=1)}, right)
        (found,) = judge([rule], Case("v", candidate=Evaluation(TASK, answers)))
        return found

    undecided = next(found for found in (seen(300) for _ in range(400)) if 0.085 < (found.value or 0) < 0.11)
    assert undecided.verdict is Verdict.INCONCLUSIVE
    assert undecided.needed is not None
    assert 300 < undecided.needed < 4000
    assert sum(seen(undecided.needed).verdict is Verdict.PASS for _ in range(20)) >= 16


def test_one_group_does_not_tell_how_much_a_share_varies() -> None:
    answers = Predictions.of({"p": np.tile([0.9, 0.1], (40, 1))}, np.zeros(40, int), groups=np.zeros(40, int))
    rule = Rule("accuracy", "accuracy", "at_least", 0.7)
    (found,) = judge([rule], Case("v", candidate=Evaluation(TASK, answers)))
    assert found.text.endswith("1 group does not tell how much it varies.")
