"""Whatever is missing, not a number, infinite or somebody else's: no gate on it ever passes, and none crashes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.judge import judge
from gradatim.gates.latency import PairedTiming
from gradatim.gates.reuse import Charge, Reuse
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

ROWS = 400
LABELS = np.arange(ROWS) % 3
TASK = Task("classification", (0, 1, 2))
METRICS = sorted(catalogue.known("classification", ()))
NONE_OF_OURS = (math.nan, math.inf, -math.inf)


def evaluation(reference: Evaluation | None = None) -> Evaluation:
    """A perfect model: every gate on it that can pass does."""
    scores = np.eye(3, dtype=np.float32)[LABELS]
    slices = {"site": np.where(LABELS == 0, "north", "south")}
    return Evaluation(TASK, Predictions.of({"scores": scores}, LABELS, slices), reference)


BASE = evaluation()
PERFECT = evaluation(BASE)

RULES = st.builds(
    Rule,
    key=st.just("gate"),
    metric=st.sampled_from([*METRICS, "recall_at_2", "acuracy"]),
    bound=st.sampled_from(["at_least", "at_most", "not_worse", "keep"]),
    amount=st.sampled_from([0.01, 0.5, 0.9, 1.0, 1e6]),
    where=st.sampled_from(
        [None, "class=1", "class=9", "site=north", "region=x", "gaussian_noise", "nonsense"]
    ),
    slices=st.sampled_from([None, "class", "site", "region", "every"]),
    family=st.sampled_from(["every", "veto"]),
    severity=st.sampled_from([None, 1, 5]),
    alpha=st.sampled_from([0.05, 0.0002]),
    required=st.booleans(),
    strict=st.booleans(),
)


def forged(name: str, variant: str = "v", **more: object) -> Measurement:
    """A measurement that its own class would refuse to make."""
    found = Measurement(name, variant, 0.5, n=ROWS)
    for key, number in more.items():
        object.__setattr__(found, key, number)
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES)
def test_nothing_at_all_never_passes(rule: Rule) -> None:
    for found in judge([rule], Case("v")):
        assert found.verdict is not Verdict.PASS, found.text
        assert found.text


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, st.sampled_from(NONE_OF_OURS), st.sampled_from(["value", "low", "high"]))
def test_a_number_that_is_none_never_passes(rule: Rule, number: float, place: str) -> None:
    label = rule.where or None
    bad = [
        forged(rule.metric, variant, where=label, unit="1", **{place: number})
        for variant in ("v", "baseline")
    ]
    broken = [
        Case("v", bad),
        Case("v", bad, candidate=PERFECT, baseline=BASE),
        Case("v", [bad[1], forged(rule.metric, where=label)], first_release=False),
    ]
    for case in broken[:1]:
        for found in judge([rule], case):
            assert found.verdict is not Verdict.PASS, found.text
    for case in broken[1:]:  # where another source speaks, the verdict is its own; it is never a crash
        assert all(isinstance(found, GateResult) for found in judge([rule], case))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, st.sampled_from(["other", "baseline", "", "V"]))
def test_what_was_measured_on_another_variant_never_passes(rule: Rule, variant: str) -> None:
    foreign = Measurement(rule.metric, variant, 1.0, n=ROWS, low=1.0, high=1.0, where=rule.where)
    for found in judge([rule], Case("v", [foreign])):
        assert found.verdict is not Verdict.PASS, found.text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES)
def test_a_comparison_without_a_baseline_never_passes_unless_nothing_was_released(rule: Rule) -> None:
    compares = rule.bound in ("not_worse", "keep")
    for found in judge([rule], Case("v", candidate=evaluation())):
        if compares:
            assert found.verdict is not Verdict.PASS, found.text


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RULES, st.sampled_from([None, 9]))
def test_a_use_of_the_test_set_that_does_not_count_never_passes(rule: Rule, number: int | None) -> None:
    charge = None if number is None else Charge("d", "c", number, fresh=True)
    case = Case("v", candidate=PERFECT, baseline=BASE, reuse=Reuse(charge, 8, reason="No network."))
    meaning = TASK.metric(rule.metric)
    for found in judge([rule], case):
        if meaning is None or meaning.kind in ("quality", "comparison", "robustness", "own"):
            assert found.verdict is not Verdict.PASS, found.text


@pytest.mark.parametrize("number", NONE_OF_OURS)
@pytest.mark.parametrize("bound", ["at_least", "at_most", "not_worse", "keep"])
def test_corruption_scores_that_became_no_numbers_never_pass(number: float, bound: str) -> None:
    for severity in (None, 3) if bound == "at_least" else (None,):
        scores = np.ones((300, 5), np.float32)
        case = Case(
            "v",
            robustness={
                "gaussian_noise": CorruptionScores("gaussian_noise", (1, 2, 3, 4, 5), scores, scores.copy())
            },
        )
        rule = Rule("robustness", "robustness", bound, 0.5, where="gaussian_noise", severity=severity)  # type: ignore[arg-type]
        assert judge([rule], case)[0].verdict is (Verdict.FAIL if bound == "at_most" else Verdict.PASS)
        scores[7, 1] = number
        with np.errstate(invalid="ignore"):
            found = judge([rule], case)[0]
        assert found.verdict is not Verdict.PASS


def test_a_timing_that_became_no_number_never_passes() -> None:
    for number in NONE_OF_OURS:
        ratios = [0.0, -0.01, 0.01, 0.0, 0.005]
        timing = PairedTiming(ratios, 0.01, 0.01)
        rule = Rule("latency_p50", "latency_p50", "not_worse", 0.5)
        assert judge([rule], Case("v", timings={"latency_p50": timing}))[0].verdict is Verdict.PASS
        ratios[2] = number
        with np.errstate(invalid="ignore"):
            found = judge([rule], Case("v", timings={"latency_p50": timing}))[0]
        assert found.verdict is not Verdict.PASS
        rounds = [0.01] * 6
        p90 = Rule("latency_p90", "latency_p90", "at_most", 0.02)
        assert judge([p90], Case("v", rounds={"latency_p90": rounds}))[0].verdict is Verdict.PASS
        rounds[3] = number
        assert judge([p90], Case("v", rounds={"latency_p90": rounds}))[0].verdict is Verdict.INVALID


def test_counts_that_cannot_be_and_bounds_that_contradict_their_value_never_pass() -> None:
    rule = Rule("accuracy", "accuracy", "at_least", 0.9)
    honest = Measurement("accuracy", "v", 0.99, n=1000, successes=990, low=0.98, high=0.995)
    assert judge([rule], Case("v", [honest]))[0].verdict is Verdict.PASS
    for lie in (
        {"successes": 2000}, {"successes": -1}, {"n": -5}, {"value": 0.2}, {"low": 0.999, "high": 0.5},
        {"successes": None, "value": 0.5},
    ):  # fmt: skip
        found = replace(honest)
        for key, number in lie.items():
            object.__setattr__(found, key, number)
        assert judge([rule], Case("v", [found]))[0].verdict is Verdict.INVALID, lie


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2),
    st.sampled_from(["recall", "f1_macro", "balanced_accuracy", "precision", "f1", "roc_auc"]),
)
def test_a_class_that_the_data_lack_never_flatters(missing: int, metric: str) -> None:
    kept = LABELS[missing != LABELS]
    scores = np.eye(3, dtype=np.float32)[kept]
    lacking = Evaluation(TASK, Predictions.of({"scores": scores}, kept))
    whole = PERFECT.samples(metric).value
    found = lacking.samples(metric).value
    assert whole is not None
    assert found is None or found <= whole * 2 / 3 + 1e-9  # the class counts as zero
    alone = Rule(f"{metric}[class={missing}]", metric, "at_least", 0.01, where=f"class={missing}")
    assert judge([alone], Case("v", candidate=lacking))[0].verdict is not Verdict.PASS
    everyone = Rule("recall", "recall", "at_least", 0.01, slices="class")
    verdicts = {r.gate: r.verdict for r in judge([everyone], Case("v", candidate=lacking))}
    assert verdicts.pop(f"recall[class={missing}]") is not Verdict.PASS
    assert set(verdicts.values()) == {Verdict.PASS}
