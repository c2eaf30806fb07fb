"""What an undecided gate says would settle it: a number that does, and not a thousand times as many."""

from __future__ import annotations

import numpy as np
import pytest

from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.judge import judge
from gradatim.gates.planning import plan
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.evaluation import Evaluation
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
