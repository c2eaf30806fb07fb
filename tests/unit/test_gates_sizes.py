"""How often a gate errs on data that it was not made for: at most as often as it says."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

BINARY = Task("classification", (0, 1), scores="probabilities")


def share(verdict: Verdict, rule: Rule, cases: Iterable[Case]) -> float:
    """How many of the cases get this verdict."""
    found = [judge([rule], case)[0].verdict is verdict for case in cases]
    return sum(found) / len(found)


def confident(n: int, gap: float, draws: int) -> Iterable[Case]:
    """Models that say ``gap`` more than they keep, at all levels of confidence."""
    generator = np.random.default_rng(n)
    for _ in range(draws):
        said = generator.uniform(0.55 + gap, 1, n)
        right = generator.random(n) < said - gap
        p = np.stack([1 - said, said], axis=1)
        yield Case("v", candidate=Evaluation(BINARY, Predictions.of({"p": p}, right.astype(int))))


@pytest.mark.parametrize(("n", "bound"), [(100, 0.03), (100, 0.05), (400, 0.03)])
def test_a_perfectly_calibrated_model_is_not_refused_for_being_measured_on_few_samples(n, bound):
    assert share(Verdict.FAIL, Rule("ece", "ece", "at_most", bound), confident(n, 0.0, 200)) <= 0.04


@pytest.mark.parametrize("n", [200, 1000])
def test_a_calibration_error_on_the_bound_rarely_passes_and_rarely_fails(n):
    rule = Rule("ece", "ece", "at_most", 0.06)
    assert share(Verdict.PASS, rule, confident(n, 0.06, 200)) <= 0.07
    assert share(Verdict.FAIL, rule, confident(n, 0.06, 200)) <= 0.07


def test_a_calibrated_model_on_many_samples_passes_and_a_boastful_one_is_refused():
    rule = Rule("ece", "ece", "at_most", 0.05)
    assert share(Verdict.PASS, rule, confident(2000, 0.0, 40)) >= 0.9
    assert share(Verdict.FAIL, rule, confident(1000, 0.15, 40)) == 1


def test_a_calibration_error_that_chance_explains_is_called_that():
    (found,) = judge([Rule("ece", "ece", "at_most", 0.03)], next(iter(confident(100, 0.0, 1))))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "a perfectly calibrated model would show about" in found.text
    assert "a better model is what helps" not in found.text
