"""A candidate whose labels are not the baseline's: each under its own labels, compared on what both know."""

from __future__ import annotations

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.common import evaluate_beside
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task


def scores(answers: list[int], width: int) -> np.ndarray:
    return np.eye(width, dtype=np.float32)[answers] * 5


def beside(truth, new, old, labels, old_labels):  # type: ignore[no-untyped-def]
    return evaluate_beside(
        Task("classification", labels=labels),
        Predictions.of({"scores": scores(new, len(labels))}, truth),
        Task("classification", labels=old_labels),
        Predictions.of({"scores": scores(old, len(old_labels))}, truth),
    )


def test_the_candidate_is_judged_on_every_row_and_compared_on_those_that_the_baseline_knows() -> None:
    candidate, baseline = beside([0, 1, 2, 2], [0, 0, 2, 2], [0, 1, 1, 0], (0, 1, 2), (0, 1))
    assert candidate.samples("accuracy").value == 0.75
    assert (len(candidate), len(candidate.common), len(baseline)) == (4, 2, 2)
    assert candidate.common.samples("accuracy").value == 0.5
    assert baseline.samples("accuracy").value == 1.0
    assert candidate.samples("negative_flips").successes == 1


def test_an_answer_that_the_baseline_cannot_give_is_wrong_where_it_is_compared() -> None:
    candidate, _ = beside([0, 0, 1, 2], [2, 0, 1, 2], [0, 0, 1, 0], (0, 1, 2), (0, 1))
    assert candidate.common.samples("accuracy").value == pytest.approx(2 / 3)
    assert candidate.samples("agreement").value == pytest.approx(2 / 3)


def test_means_over_classes_go_over_the_labels_that_both_know() -> None:
    candidate, baseline = beside([0, 0, 1, 2], [0, 0, 1, 2], [0, 0, 1, 0], (0, 1, 2), (0, 1))
    for metric in ("balanced_accuracy", "recall", "f1_macro", "roc_auc"):
        assert candidate.common.samples(metric).value == 1.0, metric
        assert baseline.samples(metric).value == 1.0, metric


@pytest.mark.parametrize("truth", [[1, 2, 0, 0], ["cat", "dog", "bird", "bird"]])
def test_a_label_put_in_front_moves_no_other(truth: list[object]) -> None:
    labels, old = ("bird", "cat", "dog"), ("cat", "dog")
    candidate, baseline = beside(truth, [1, 2, 0, 0], [0, 1, 0, 0], labels, old)
    assert candidate.common.samples("accuracy").value == baseline.samples("accuracy").value == 1.0
    assert candidate.samples("agreement").value == 1.0


def test_labels_in_another_order_are_compared_by_name() -> None:
    candidate, baseline = beside([0, 1, 1], [0, 1, 1], [1, 0, 0], ("a", "b"), ("b", "a"))
    assert candidate.common.samples("accuracy").value == baseline.samples("accuracy").value == 1.0
    assert candidate.common.samples("f1").value == baseline.samples("f1").value == 1.0


def test_without_a_row_that_both_know_nothing_is_compared() -> None:
    with pytest.raises(
        InvalidInput, match="No row of the evaluation data has a label that the baseline knows"
    ):
        beside([2, 2], [2, 2], [0, 1], (0, 1, 2), (0, 1))


def test_a_model_for_another_task_is_no_baseline() -> None:
    rows = Predictions.of({"y": np.ones((3, 1), np.float32)}, [1.0, 1.0, 1.0])
    with pytest.raises(InvalidInput, match="a model of its own name"):
        evaluate_beside(Task("regression"), rows, Task("classification"), rows)


def test_gates_say_on_how_many_rows_and_leave_a_new_label_alone() -> None:
    truth = [0, 1] * 150 + [2] * 100
    new, old = list(truth), [0, 1] * 150 + [0] * 100
    candidate, baseline = beside(truth, new, old, (0, 1, 2), (0, 1))
    case = Case("original", candidate=candidate, baseline=baseline, baseline_name="v1.0.0")
    whole, *classes = judge(
        [
            Rule("accuracy", "accuracy", "not_worse", 0.03),
            Rule("recall", "recall", "not_worse", 0.05, slices="class"),
        ],
        case,
    )
    assert whole.verdict is Verdict.PASS
    assert "on the 300 of 400 samples whose label it knows" in whole.text
    assert [result.verdict for result in classes] == [Verdict.PASS] * 3
    assert "v1.0.0 does not know 2, so there is nothing to compare with" in classes[2].text
