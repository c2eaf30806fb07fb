"""What a release is told: verdicts and texts on real predictions and on broken ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gradatim.errors import InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.files import canonical_json, parse_json
from gradatim.gates import wording
from gradatim.gates.budget import error_budget
from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.compare import compare
from gradatim.gates.flips import SelfFlips
from gradatim.gates.gate import chance
from gradatim.gates.judge import first_proven, judge
from gradatim.gates.latency import PairedTiming
from gradatim.gates.planning import plan
from gradatim.gates.reuse import Charge, Reuse
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

DIGITS = Task("classification", tuple(range(10)))


def rule(metric: str, bound: str, amount: float, **more) -> Rule:
    where = more.get("where")
    return Rule(f"{metric}[{where}]" if where else metric, metric, bound, amount, line=7, **more)


@pytest.fixture(scope="module")
def digits():
    """Labels, slices and probabilities of a real model on 597 digits."""
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=200, C=0.01, tol=1e-2).fit(x[:1200], y[:1200])
    probabilities = model.predict_proba(x[1200:]).astype(np.float32)
    half = np.where(np.arange(597) % 2, "odd", "even")
    return y[1200:], {"half": half}, probabilities


def predicted(labels, answers, slices=None, reference=None, task=DIGITS):
    return Evaluation(task, Predictions.of({"label": answers}, labels, slices), reference)


def case_of(labels, old, new, **more) -> Case:
    base = predicted(labels, old)
    return Case("fp32", candidate=predicted(labels, new, reference=base), baseline=base, **more)


def one(rules, case) -> GateResult:
    (result,) = judge([rules], case)
    return result


def class_8(missed: int, taken_for_one: int):
    """44 samples of class 8 as on the page that says how it should feel, 553 right ones of the others."""
    labels = np.r_[np.full(44, 8), np.arange(553) % 8]
    answers = labels.copy()
    answers[:missed] = 3
    answers[:taken_for_one] = 1
    return labels, answers


def test_the_reader_is_told_what_went_wrong_and_what_would_settle_it():
    labels, answers = class_8(9, 7)
    found = one(
        rule("recall", "at_least", 0.9, where="class=8"), case_of(labels, labels, answers, noun="images")
    )
    assert found.verdict is Verdict.FAIL
    assert found.text == (
        "recall[class=8] 79.5 % (67.0 .. 88.9), wanted at least 90 %. 9 of 44 images of class 8 were missed, 7 of them "
        "taken for 1. With 44 samples only 44 right would prove 90 %: 150 samples would forgive 8 misses. "
        "One within the bound fails by chance in at most 5 % of such tests: it takes a better candidate, or a gate that asks for less."
    )
    assert (found.value, found.n, found.line) == (pytest.approx(35 / 44), 44, 7)


def test_better_in_total_but_worse_on_one_class_is_refused_by_the_slice_gate():
    labels = np.repeat(np.arange(10), 60)
    old, new = labels.copy(), labels.copy()
    old[np.arange(0, 540, 9)] = (labels[np.arange(0, 540, 9)] + 1) % 10
    new[540:556] = 1
    case = case_of(labels, old, new)
    total, *classes = judge(
        [rule("accuracy", "not_worse", 0.01), rule("recall", "at_least", 0.85, slices="class")], case
    )
    assert total.verdict is Verdict.PASS
    assert total.candidate > total.baseline
    assert [result.gate for result in classes if result.refuses] == ["recall[class=9]"]
    veto = judge([rule("accuracy", "not_worse", 0.01, slices="class", family="veto")], case)
    assert [result.gate for result in veto if result.verdict is Verdict.FAIL] == ["accuracy[class=9]"]
    assert all("all 10 comparisons counted in" in result.text for result in veto)
    (alone,) = judge([rule("accuracy", "not_worse", 0.01, where="class=9", family="veto")], case)
    assert "in at most" in alone.text
    assert "counted in" not in alone.text


def test_the_same_model_against_itself_passes_on_a_thousand_resamples(digits):
    labels, _, probabilities = digits
    answers = probabilities.argmax(axis=1)
    generator = np.random.default_rng(0)
    rules = [rule("accuracy", "not_worse", 0.01)]
    for _ in range(1000):
        chosen = generator.integers(597, size=597)
        assert (
            one(rules[0], case_of(labels[chosen], answers[chosen], answers[chosen])).verdict is Verdict.PASS
        )


@pytest.mark.parametrize(
    ("metric", "margin"),
    [("f1_macro", 0.01), ("balanced_accuracy", 0.01), ("precision", 0.02), ("roc_auc", 0.01), ("log_loss", 0.05),
     ("ece", 0.02), ("f1_weighted", 0.01), ("recall", 0.01)],
)  # fmt: skip
def test_the_same_model_against_itself_passes_by_every_metric(digits, metric, margin):
    labels, _, probabilities = digits
    base = Evaluation(DIGITS, Predictions.of({"p": probabilities}, labels))
    for seed in range(5):
        chosen = np.random.default_rng(seed).integers(597, size=597)
        again = Evaluation(DIGITS, Predictions.of({"p": probabilities[chosen]}, labels[chosen]))
        found = one(rule(metric, "not_worse", margin), Case("fp32", candidate=again, baseline=again))
        assert found.verdict is Verdict.PASS, found.text
    assert base.samples(metric).value is not None


@pytest.mark.parametrize("task", ["regression", "embedding", "language_modelling"])
def test_the_same_model_against_itself_passes_in_other_tasks(task):
    generator = np.random.default_rng(1)
    outputs, labels, metric = {
        "regression": ({"y": generator.normal(size=400)}, generator.normal(size=400), "mae"),
        "embedding": ({"e": generator.normal(size=(400, 8)).astype(np.float32)}, np.arange(400) % 5, "ndcg_at_10"),
        "language_modelling": (
            {"nll": generator.random(400) * 50, "tokens": np.full(400, 20)}, None, "perplexity",
        ),
    }[task]  # fmt: skip
    base = Evaluation(Task(task), Predictions.of(outputs, labels))
    found = one(rule(metric, "not_worse", 0.05, relative=True), Case("fp32", candidate=base, baseline=base))
    assert found.verdict is Verdict.PASS, found.text


def test_a_proven_loss_fails_and_a_possible_one_is_inconclusive_and_says_how_many_samples_it_needs():
    labels = np.arange(900) % 10
    worse, unsure = labels.copy(), labels.copy()
    worse[:60] = (worse[:60] + 1) % 10
    assert one(rule("accuracy", "not_worse", 0.01), case_of(labels, labels, worse)).verdict is Verdict.FAIL
    old = labels.copy()
    unsure[:25], old[25:50] = (unsure[:25] + 1) % 10, (old[25:50] + 1) % 10
    found = one(rule("accuracy", "not_worse", 0.01), case_of(labels, old, unsure))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "It needs about 3500 samples; there are 900." in found.text
    assert found.needed == 3500
    (warned,) = judge(
        [rule("accuracy", "not_worse", 0.01)], case_of(labels, old, unsure), on_inconclusive="warn"
    )
    assert not warned.refuses


def test_lower_is_better_is_understood_everywhere():
    generator = np.random.default_rng(2)
    truth = generator.normal(size=500)
    noise = generator.normal(size=500)
    task = Task("regression")
    base = Evaluation(task, Predictions.of({"y": truth + noise}, truth))
    good = Evaluation(task, Predictions.of({"y": truth + 0.8 * noise}, truth), base)
    bad = Evaluation(task, Predictions.of({"y": truth + 1.3 * noise}, truth), base)
    for metric in ("mae", "rmse"):
        for bound, amount, more in (
            ("not_worse", 0.02, {"relative": True}),
            ("keep", 0.99, {}),
            ("keep", 1.02, {}),
        ):
            gate = rule(metric, bound, amount, **more)
            assert one(gate, Case("v", candidate=good, baseline=base)).verdict is Verdict.PASS
            assert one(gate, Case("v", candidate=bad, baseline=base)).verdict is Verdict.FAIL
        assert (
            one(rule(metric, "at_most", 2.0), Case("v", candidate=bad, baseline=base)).verdict is Verdict.PASS
        )
        assert (
            one(rule(metric, "at_most", 0.5), Case("v", candidate=bad, baseline=base)).verdict is Verdict.FAIL
        )


def test_different_items_or_labels_are_invalid_not_compared():
    labels = np.arange(300) % 10
    other = labels[::-1].copy()
    base = predicted(other, other)
    found = one(
        rule("accuracy", "not_worse", 0.05), Case("v", candidate=predicted(labels, labels), baseline=base)
    )
    assert found.verdict is Verdict.INVALID
    assert "different items" in found.text


def test_no_baseline_refuses_unless_nothing_was_ever_released():
    labels = np.arange(300) % 10
    case = Case("v", candidate=predicted(labels, labels))
    gates = [rule("accuracy", "not_worse", 0.05), rule("negative_flips", "at_most", 0.01),
             rule("accuracy", "not_worse", 0.05, slices="class", family="veto")]  # fmt: skip
    assert {result.verdict for result in judge(gates, case)} == {Verdict.INVALID}
    first = judge(gates, replace(case, first_release=True))
    assert {result.verdict for result in first} == {Verdict.PASS}
    assert all("nothing to compare with" in result.text for result in first)
    absolute = judge([rule("accuracy", "at_least", 0.9)], replace(case, first_release=True))
    assert "nothing to compare" not in absolute[0].text


def test_a_first_release_is_not_let_through_by_a_metric_that_has_no_value():
    """Later releases could never be held against it: entities are asked for, and no tag begins one."""
    tags = np.arange(600).reshape(60, 10) % 3
    scores = np.eye(3, dtype=np.float32)[tags]
    task = Task("token_classification", labels=("0", "1", "2"))
    case = Case("v", candidate=Evaluation(task, Predictions.of({"scores": scores}, tags)), first_release=True)
    found, right = judge([rule("f1", "not_worse", 0.05), rule("accuracy", "not_worse", 0.05)], case)
    assert (found.verdict, right.verdict) == (Verdict.INCONCLUSIVE, Verdict.PASS)
    assert "none of the tags begins an entity" in found.text
    assert "accuracy" in found.text


@pytest.mark.parametrize("required", [True, False])
def test_what_was_not_measured_never_passes(required):
    nothing = Case("v")
    gates = [
        rule(metric, "at_most", 1.0, required=required)
        for metric in ("size", "memory", "latency_p50", "accuracy")
    ]
    gates += [
        rule("latency_p50", "not_worse", 0.03, required=required),
        rule("robustness", "not_worse", 0.1, required=required),
    ]
    expected = Verdict.FAIL if required else Verdict.INCONCLUSIVE
    assert {result.verdict for result in judge(gates, nothing)} == {expected}
    null = Case("v", [Measurement("energy", "v", None, unit="J", reason="no_driver")])
    found = one(rule("energy", "at_most", 1.0, required=required), null)
    assert found.verdict is expected
    assert "no_driver" in found.text


def test_a_measurement_of_another_variant_or_run_never_passes():
    foreign = Case("int8", [Measurement("size", "fp32", 10.0, unit="B")])
    assert one(rule("size", "at_most", 100.0), foreign).verdict is Verdict.FAIL
    labels = np.arange(300) % 10
    filed = [Measurement("accuracy", "v", 0.5, n=300, successes=150)]
    found = one(rule("accuracy", "at_least", 0.9), Case("v", filed, candidate=predicted(labels, labels)))
    assert found.verdict is Verdict.INVALID
    assert "not of the same run" in found.text
    twice = [Measurement("size", "v", 1.0), Measurement("size", "v", 2.0)]
    assert one(rule("size", "at_most", 5.0), Case("v", twice)).verdict is Verdict.INVALID


def test_an_unknown_metric_an_unknown_class_and_an_unknown_slice_are_invalid():
    labels = np.arange(300) % 10
    case = Case("v", candidate=predicted(labels, labels))
    for gate in (rule("acuracy", "at_least", 0.1), rule("recall", "at_least", 0.1, where="class=77"),
                 rule("recall", "at_least", 0.1, slices="region"), rule("latency_p51", "at_most", 0.1)):  # fmt: skip
        assert one(gate, case).verdict is Verdict.INVALID


def test_a_metric_of_the_users_own_that_no_step_measured_names_the_step():
    found = one(rule("pixel_f1", "at_least", 0.5), Case("v"))
    assert found.verdict is Verdict.FAIL
    assert found.text == "pixel_f1 was not measured: run `gradatim evaluate`."
    optional = replace(rule("pixel_f1", "at_least", 0.5), required=False)
    assert one(optional, Case("v")).verdict is Verdict.INCONCLUSIVE


def test_a_class_without_samples_is_never_proven():
    labels = np.arange(300) % 9
    results = judge(
        [rule("recall", "at_least", 0.5, slices="class")], Case("v", candidate=predicted(labels, labels))
    )
    assert len(results) == 10
    assert results[-1].gate == "recall[class=9]"
    assert results[-1].verdict is Verdict.INCONCLUSIVE
    assert "no sample" in results[-1].text
    macro = one(rule("f1_macro", "at_least", 0.95), Case("v", candidate=predicted(labels, labels)))
    assert macro.value == pytest.approx(0.9)
    assert (
        macro.verdict is Verdict.INCONCLUSIVE
    )  # right on every class that there is: the tenth may be so, too
    assert macro.high == 1
    assert macro.text.endswith(
        "counts as 0 in this mean. How it answers there nobody knows: the mean may be 10 points more. Rows of every class settle it. "
        "Neither a PASS nor a FAIL would be 95 % sure."
    )
    one_missed = np.where(labels == 0, 1, labels)
    failed = one(rule("f1_macro", "at_least", 0.95), Case("v", candidate=predicted(labels, one_missed)))
    assert failed.verdict is Verdict.FAIL  # below 95 % even if the tenth class were faultless
    below = one(rule("f1_macro", "at_least", 0.85), Case("v", candidate=predicted(labels, labels)))
    assert below.verdict is Verdict.PASS  # above 85 % even if every answer on it were wrong


@pytest.mark.parametrize("metric", ["f1_macro", "recall", "precision"])
def test_a_label_that_no_item_has_is_never_proven_either_way(metric):
    """Two of three labels are found in nearly every item; of the third nothing is known."""
    generator = np.random.default_rng(0)
    truth = np.column_stack([generator.random((300, 2)) < 0.5, np.zeros(300)]).astype(np.int64)
    said = np.where(generator.random((300, 3)) < 0.02, 1 - truth, truth)
    said[:, 2] = 0
    task = Task("multilabel_classification", ("a", "b", "c"))
    base = Evaluation(task, Predictions.of({"y": said}, truth))
    mine = Evaluation(task, Predictions.of({"y": said}, truth), base)
    case = Case("v", candidate=mine, baseline=base)
    alone, beside = one(rule(metric, "at_least", 0.8), case), one(rule(metric, "not_worse", 0.1), case)
    assert (alone.verdict, beside.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert "of c, which counts as 0 in this mean. How it answers there nobody knows" in alone.text
    assert one(rule(metric, "at_least", 0.6), case).verdict is Verdict.PASS


@pytest.mark.parametrize("n", [2, 3, 4])
def test_rows_too_few_to_tell_a_difference_in_r2_are_inconclusive_and_can_be_written(n):
    """A resample of so few rows can hold one of them only: no variance is left to explain."""
    generator = np.random.default_rng(n)
    wanted = generator.normal(size=n)
    old, new = (
        Evaluation(Task("regression"), Predictions.of({"y": wanted + generator.normal(size=n)}, wanted))
        for _ in range(2)
    )
    found = one(rule("r2", "not_worse", 0.05), Case("fp32", candidate=new, baseline=old))
    assert found.verdict is Verdict.INCONCLUSIVE, found.text
    assert decode(GateResult, parse_json(canonical_json(encode(found)), "gate"), "gate") == found


def test_f1_on_few_positives_is_inconclusive():
    labels = (np.arange(400) < 30).astype(int)
    task = Task("classification", (0, 1))
    base = predicted(labels, labels, task=task)
    found = one(rule("f1", "not_worse", 0.3), Case("v", candidate=base, baseline=base))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "30 positives" in found.text


def test_negative_flips_name_the_floor_that_the_baseline_sets_itself():
    labels = np.arange(1000) % 10
    new = labels.copy()
    new[:25] = (new[:25] + 1) % 10
    gate = rule("negative_flips", "at_most", 0.01)
    case = case_of(labels, labels, new)
    assert one(gate, case).verdict is Verdict.FAIL
    assert "Of 1000 samples 25 that the baseline got right are wrong now" in one(gate, case).text
    shaky = one(gate, replace(case, self_flips=SelfFlips(30, 1000)))
    assert shaky.verdict is Verdict.INCONCLUSIVE
    assert "breaks by itself" in shaky.text


def corruption(generator, new_levels, old_levels, n=600):
    luck = generator.random((n, 5))
    return CorruptionScores("noise", (1, 2, 3, 4, 5), (luck < new_levels) * 1.0, (luck < old_levels) * 1.0)


def test_robustness_against_the_baseline_and_up_to_a_severity():
    generator = np.random.default_rng(3)
    levels = np.array([0.95, 0.93, 0.9, 0.8, 0.6])
    same, fallen = corruption(generator, levels, levels), corruption(generator, levels - 0.2, levels)
    gate = rule("robustness", "not_worse", 0.02, where="noise")
    assert one(gate, Case("v", robustness={"noise": same})).verdict is Verdict.PASS
    assert one(gate, Case("v", robustness={"noise": fallen})).verdict is Verdict.FAIL
    assert one(gate, Case("v", robustness={"blur": same})).verdict is Verdict.FAIL
    assert (
        len(judge([rule("robustness", "not_worse", 0.02)], Case("v", robustness={"a": same, "b": same}))) == 2
    )
    to_3, to_5 = (rule("robustness", "at_least", 0.85, where="noise", severity=s) for s in (3, 5))
    assert one(to_3, Case("v", robustness={"noise": same})).verdict is Verdict.PASS
    found = one(to_5, Case("v", robustness={"noise": same}))
    assert found.verdict is Verdict.FAIL
    assert "proven up to severity 3" in found.text
    strict = one(replace(gate, strict=True), Case("v", robustness={"noise": same}))
    assert strict.low < one(gate, Case("v", robustness={"noise": same})).low


def test_a_share_of_the_baselines_robustness_may_be_lost_and_no_more():
    generator = np.random.default_rng(3)
    levels = np.array([0.95, 0.93, 0.9, 0.8, 0.6])
    same, fallen = corruption(generator, levels, levels), corruption(generator, levels - 0.3, levels)
    for bound, amount in (("not_worse", 0.1), ("keep", 0.9)):
        gate = rule("robustness", bound, amount, where="noise", relative=True)
        verdicts = [one(gate, Case("v", robustness={"noise": scores})).verdict for scores in (same, fallen)]
        assert verdicts == [Verdict.PASS, Verdict.FAIL]


def test_robustness_on_other_items_than_the_evaluation_proves_nothing():
    generator = np.random.default_rng(3)
    levels = np.array([0.95, 0.93, 0.9, 0.8, 0.6])
    labels = generator.integers(0, 2, 600)
    case = case_of(labels, labels, labels)
    gate = rule("robustness", "not_worse", 0.02, where="noise")
    for pairing, verdict in ((case.candidate.pairing, Verdict.PASS), ("other items", Verdict.INVALID)):
        scores = replace(corruption(generator, levels, levels), pairing=pairing)
        assert one(gate, replace(case, robustness={"noise": scores})).verdict is verdict


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (rule("accuracy", "at_least", 0.9), "at least 90 %"),
        (rule("robustness", "at_least", 0.9, severity=3), "at least 90 % up to severity 3"),
        (rule("size", "at_most", 5e6), "at most 5 MB"),
        (rule("accuracy", "keep", 0.99), "99 % of the baseline's value kept"),
        (rule("size", "not_worse", 0.1, relative=True), "at most 10 % more than the baseline"),
        (rule("latency_p50", "not_worse", 0.03), "not slower than the baseline by more than 3 %"),
        (rule("throughput", "not_worse", 0.03), "not slower than the baseline by more than 3 %"),
        (rule("accuracy", "not_worse", 0.03), "not worse than the baseline by more than 3 points"),
        (rule("accuracy", "not_worse", 0.03, relative=True), "not worse than the baseline by more than 3 %"),
    ],
)  # fmt: skip
def test_what_a_gate_asks_is_said_in_words(gate, words):
    found = judge([gate], Case("v"))
    assert {result.wanted for result in found} == {words}


def test_a_size_of_exactly_the_bound_passes_and_one_byte_more_does_not():
    for size, verdict in ((6e6, Verdict.PASS), (6e6 + 1, Verdict.FAIL)):
        sizes = Case(
            "v", [Measurement("size", "v", size, unit="B"), Measurement("size", "baseline", 5e6, unit="B")]
        )
        assert one(rule("size", "at_most", 6e6), sizes).verdict is verdict
        assert one(rule("size", "not_worse", 0.2), sizes).verdict is verdict


def test_f1_is_judged_from_fifty_positives_on():
    for positives in (49, 50):
        labels = np.r_[np.ones(positives, int), np.zeros(300, int)]
        found = one(rule("f1", "at_least", 0.5, where="class=1"), case_of(labels, labels, labels))
        assert (found.verdict is Verdict.PASS, "rests on 49 positives" in found.text) == (
            positives == 50,
            positives == 49,
        )


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.9995, "99.95 %"), (0.99998, "99.998 %"), (1 - 1e-9, "100.0 %"), (1 - 1e-7, "over 99.9999 %"), (1.0, "100.0 %"),
        (0.0004, "0.04 %"), (1e-7, "under 0.0001 %"), (0.0, "0.0 %"), (0.795, "79.5 %"),
    ],
)  # fmt: skip
def test_no_share_is_rounded_to_all_or_to_nothing_that_is_neither(share: float, said: str) -> None:
    assert wording.percent(share) == said


def test_an_interval_ends_at_all_or_nothing_only_where_it_does() -> None:
    metric = catalogue.find("accuracy", "classification", ())
    assert wording.interval(0.99962, 0.99997, metric) == " (99.962 .. 99.997)"
    assert wording.interval(0.95, 0.9996, metric) == " (95.00 .. 99.96)"
    assert wording.interval(0.99997, 1.0, metric) == " (99.997 .. 100.000)"
    assert wording.interval(0.0, 0.00003, metric) == " (0.000 .. 0.003)"
    assert wording.interval(0.0, 1.0, metric) == " (0.0 .. 100.0)"


def test_numbers_are_told_in_few_digits():
    share, size = (
        catalogue.find("accuracy", "classification", ()),
        catalogue.find("size", "classification", ()),
    )
    assert [wording.percent(0.795), wording.bound(0.9, share), wording.bound(5e6, size)] == [
        "79.5 %",
        "90 %",
        "5 MB",
    ]
    assert [wording.points(number, share) for number in (0.01, 0.0123, 0.001)] == [
        "1 point",
        "1.2 points",
        "0.1 points",
    ]
    assert [wording.about(count) for count in (99, 99.1, 101, 110, 1234)] == [99, 100, 110, 110, 1300]
    assert [wording.plain(number) for number in (3.0, 12.3456, 123.456, 1234567.0)] == [
        "3",
        "12.3",
        "123.5",
        "1 234 567",
    ]


def test_metrics_of_different_items_or_parts_are_not_compared():
    labels = np.arange(300) % 2
    found = predicted(labels, labels).samples("accuracy")
    worse = predicted(labels, np.where(np.arange(300) < 60, 1 - labels, labels)).samples("accuracy")
    assert compare(worse, found).spread == pytest.approx(np.std(np.arange(300) < 60))
    for other in (
        replace(found, metric="f1"),
        replace(found, where="class=1"),
        replace(found, pairing="others"),
    ):
        with pytest.raises(InvalidInput, match="on different items"):
            compare(found, other)
    with pytest.raises(InvalidInput, match=r"no value to compare: none\."):
        compare(found, replace(found, value=None, reason="none"))


@pytest.mark.parametrize(
    ("chances", "released", "asked"),
    [
        ({"int8": (0.01, 0.02), "fp32": (0.9, 0.9)}, "int8", [("int8", 2)]),
        ({"int8": (0.01, 0.2), "fp32": (0.01, 0.02)}, "fp32", [("int8", 2), ("fp32", 2), ("int8", 1)]),
        ({"int8": (0.04, 0.04), "fp32": (0.01, 0.01)}, "int8", [("int8", 2), ("fp32", 2), ("int8", 1)]),
        ({"int8": (0.04, 0.04), "fp32": (0.04, 0.04)}, None, [("int8", 2), ("fp32", 2)]),
        ({"int8": (0.01, 0.2)}, None, [("int8", 1)]),
    ],
)
def test_forms_share_the_error_until_one_is_proven_by_every_gate(chances, released, asked):
    def judged(form, share):
        shares.append((form, share))
        verdicts = [
            Verdict.PASS if chance <= 0.05 / share else Verdict.INCONCLUSIVE for chance in chances[form]
        ]
        return [GateResult("accuracy", "accuracy", verdict, form, "", "") for verdict in verdicts]

    shares = []
    found, results = first_proven(list(chances), judged)
    assert (found, shares) == (released, asked)
    assert set(results) == {form for form, _ in asked}


def test_latency_size_and_throughput():
    equal = PairedTiming([0.001 * (i % 4) for i in range(10)], 1e-3, 1.001e-3)
    slower = PairedTiming([0.05 + 0.001 * (i % 4) for i in range(10)], 1e-3, 1.05e-3)
    gate = rule("latency_p50", "not_worse", 0.03)
    assert one(gate, Case("v", timings={"latency_p50": equal})).verdict is Verdict.PASS
    found = one(gate, Case("v", timings={"latency_p50": slower}))
    assert found.verdict is Verdict.FAIL
    assert "1 ms -> 1.05 ms, 5.3 % slower" in found.text
    less = PairedTiming([-0.05 - 0.001 * (i % 4) for i in range(10)], 100, 95)
    assert (
        one(rule("throughput", "not_worse", 0.03), Case("v", timings={"throughput": less})).verdict
        is Verdict.FAIL
    )
    assert (
        one(rule("throughput", "not_worse", 0.03), Case("v", timings={"throughput": slower})).verdict
        is Verdict.PASS
    )
    sizes = Case(
        "v", [Measurement("size", "v", 6e6, unit="B"), Measurement("size", "baseline", 5e6, unit="B")]
    )
    assert one(rule("size", "at_most", 5e6), sizes).verdict is Verdict.FAIL
    assert one(rule("size", "not_worse", 0.25), sizes).verdict is Verdict.PASS
    rounds = {
        "latency_p90": [0.001, 0.0012, 0.0014, 0.0016, 0.002],
        "latency_p99": [0.001, 0.002, 0.001, 0.001],
    }
    p90, few = rule("latency_p90", "at_most", 0.003), rule("latency_p99", "at_most", 0.003)
    assert one(p90, Case("v", rounds=rounds)).verdict is Verdict.PASS
    assert one(few, Case("v", rounds=rounds)).verdict is Verdict.INCONCLUSIVE
    assert "5 are the least" in one(few, Case("v", rounds=rounds)).text
    broken = {"latency_p90": [*rounds["latency_p90"], math.nan]}
    assert one(p90, Case("v", rounds=broken)).verdict is Verdict.INVALID


def test_the_quiet_floor_never_stands_alone():
    floor = rule("latency_floor", "not_worse", 0.03)
    equal = PairedTiming([0.001 * (i % 4) for i in range(10)], 1e-3, 1.001e-3, looks=5)
    noisy = PairedTiming([0.3 * (-1) ** i for i in range(10)], 1e-3, 1e-3, looks=5)
    slower = PairedTiming([0.6 + 0.1 * (i % 3) for i in range(10)], 1e-3, 1.9e-3, looks=5)
    timings = {"latency_floor": equal, "latency_mean": noisy, "latency_p95": equal}
    found = judge([floor], Case("v", timings=timings))
    assert [result.gate for result in found] == ["latency_floor", "latency_mean", "latency_p95"]
    assert {result.verdict for result in found} == {Verdict.PASS}  # what is noisy is not proven slower
    assert {result.rule for result in found} == {"latency_floor"}
    for tail in ("latency_mean", "latency_p95"):
        (refused,) = [r for r in judge([floor], Case("v", timings={**timings, tail: slower})) if r.refuses]
        assert (refused.gate, refused.verdict) == (tail, Verdict.FAIL)
        assert "stands beside latency_floor" in refused.text
    own = rule("latency_mean", "not_worse", 5.0)
    assert [r.rule for r in judge([floor, own], Case("v", timings=timings))] == ["latency_floor"] * 2 + [
        "latency_mean"
    ]
    assert [row.gate for row in plan([floor], {})] == ["latency_floor", "latency_mean", "latency_p95"]
    assert [r.verdict for r in judge([floor], Case("v"))] == [Verdict.FAIL] * 3


def test_an_absolute_bound_takes_the_round_as_the_unit():
    calls_of_one_mood = [0.9e-3, 1.1e-3, 0.8e-3, 1.3e-3, 0.9e-3, 1.2e-3]
    for metric in ("latency_mean", "latency_p50", "latency_floor"):
        found = one(rule(metric, "at_most", 1.1e-3), Case("v", rounds={metric: calls_of_one_mood}))
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.n == 6
        assert (
            one(rule(metric, "at_most", 2e-3), Case("v", rounds={metric: calls_of_one_mood})).verdict
            is Verdict.PASS
        )
        assert (
            one(rule(metric, "at_most", 5e-4), Case("v", rounds={metric: calls_of_one_mood})).verdict
            is Verdict.FAIL
        )


def test_a_budgeted_test_set_asks_for_more_and_a_spent_one_for_new_data():
    labels = np.arange(1000) % 10
    answers = labels.copy()
    answers[:30] = (answers[:30] + 1) % 10
    case = Case("v", candidate=predicted(labels, answers))
    gate = rule("accuracy", "at_least", 0.955)
    assert one(gate, case).verdict is Verdict.PASS
    budgeted = Reuse(Charge("data", "v", 1, True), 8)
    assert one(gate, replace(case, reuse=budgeted)).verdict is Verdict.INCONCLUSIVE
    spent = one(gate, replace(case, reuse=Reuse(Charge("data", "v", 9, True), 8)))
    assert spent.verdict is Verdict.INCONCLUSIVE
    assert "Collect new evaluation data" in spent.text
    uncounted = replace(case, baseline=predicted(labels, labels), reuse=Reuse(None, 8, reason="No remote."))
    veto = rule("accuracy", "not_worse", 0.5, slices="class", family="veto")
    for found in judge([gate, veto], uncounted):
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "could not be counted: No remote." in found.text


@given(st.integers(0, 2**32 - 1), st.sampled_from(["accuracy", "f1_macro", "precision", "balanced_accuracy"]))
@settings(max_examples=25, deadline=None)
def test_a_wider_margin_never_turns_a_pass_into_a_refusal(seed, metric):
    generator = np.random.default_rng(seed)
    labels = generator.integers(4, size=150)
    task = Task("classification", (0, 1, 2, 3))
    old, new = (
        np.where(generator.random(150) < 0.9, labels, generator.integers(4, size=150)) for _ in range(2)
    )
    base = predicted(labels, old, task=task)
    case = Case("v", candidate=predicted(labels, new, reference=base, task=task), baseline=base)
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    ranks = [
        order.index(one(rule(metric, "not_worse", margin), case).verdict) for margin in (0.01, 0.05, 0.1, 0.3)
    ]
    assert ranks == sorted(ranks)


def test_own_metrics_are_judged_by_bootstrap_and_a_broken_one_is_invalid():
    def hits(labels, answers):
        return float(np.mean(labels == answers))

    def broken(labels, answers):
        return math.nan

    labels = np.arange(400) % 10
    answers = labels.copy()
    answers[:30] = (answers[:30] + 1) % 10
    task = Task("classification", tuple(range(10)), own={"hits": hits, "broken": broken})
    base = predicted(labels, answers, task=task)
    better = predicted(labels, labels, task=task, reference=base)
    assert (
        one(rule("hits", "not_worse", 0.01), Case("v", candidate=better, baseline=base)).verdict
        is Verdict.PASS
    )
    assert (
        one(rule("hits", "at_least", 0.8), Case("v", candidate=base, baseline=base)).verdict is Verdict.PASS
    )
    assert one(rule("broken", "at_least", 0.8), Case("v", candidate=base)).verdict is Verdict.INVALID


def test_grouped_items_are_resampled_by_group():
    labels = np.arange(400) % 2
    answers = labels.copy()
    answers[:40] = 1 - answers[:40]
    task = Task("classification", (0, 1))
    single = Evaluation(task, Predictions.of({"label": answers}, labels))
    grouped = Evaluation(task, Predictions.of({"label": answers}, labels, groups=np.arange(400) // 40))
    narrow, wide = (one(rule("accuracy", "at_least", 0.5), Case("v", candidate=e)) for e in (single, grouped))
    assert wide.n == 10
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_every_result_survives_its_json(digits):
    labels, slices, probabilities = digits
    base = Evaluation(DIGITS, Predictions.of({"p": probabilities}, labels, slices))
    results = judge(
        [rule("accuracy", "not_worse", 0.01), rule("recall", "at_least", 0.9, slices="class"),
         rule("f1_macro", "at_least", 0.8, slices="every"), rule("accuracy", "keep", 0.99)],
        Case("v", candidate=base, baseline=base),
    )  # fmt: skip
    assert [result.gate for result in results][-3:] == [
        "f1_macro[half=even]",
        "f1_macro[half=odd]",
        "accuracy",
    ]
    assert [decode(GateResult, encode(result), "gate") for result in results] == results


def test_the_plan_says_what_is_needed_and_which_gate_cannot_pass():
    rules = [rule("accuracy", "not_worse", 0.01), rule("recall", "at_least", 0.9, slices="class"), rule("accuracy", "keep", 1.0),
             rule("negative_flips", "at_most", 0.01), rule("size", "at_most", 1e6), rule("latency_p99", "not_worse", 0.03)]  # fmt: skip
    rows = plan(rules, {"": 200, "class=0": 20, "class=1": 180})
    possible = {row.gate: row.possible for row in rows}
    assert [row.possible for row in rows if row.rule == "accuracy"] == [False, False]
    assert not possible["recall[class=0]"]
    assert possible["recall[class=1]"]
    assert not possible["negative_flips"]
    assert possible["size"]
    assert possible["latency_p99"]
    assert "Tails vary" in next(row.text for row in rows if row.gate == "latency_p99")
    assert "at least 29 are needed" in next(row.text for row in rows if row.gate == "recall[class=0]")
    assert rows[0].needed == 3092
    assert plan(rules[:1], {"": 900})[0].possible
    assert plan(rules[:1], {"": 900}, alpha=0.0002)[0].possible is False


def test_what_the_plan_calls_impossible_does_not_pass_and_the_least_does():
    for margin in (0.01, 0.02, 0.05):
        least = plan([rule("accuracy", "not_worse", margin)], {})[0].least
        for n, expected in ((least - 1, Verdict.INCONCLUSIVE), (least, Verdict.PASS)):
            labels = np.arange(n) % 10
            assert (
                one(rule("accuracy", "not_worse", margin), case_of(labels, labels, labels)).verdict
                is expected
            )


def test_the_error_budget_is_one_statement():
    budget = error_budget([rule("accuracy", "not_worse", 0.01), rule("recall", "at_least", 0.9), rule("size", "at_most", 1),
                           rule("accuracy", "not_worse", 0.01, slices="class", family="veto")])  # fmt: skip
    assert (budget.release, budget.any_wrong_pass, budget.false_veto, budget.gates) == (
        0.05,
        pytest.approx(0.1),
        0.05,
        3,
    )
    assert "5 %" in budget.text
    assert "none can err" in error_budget([]).text
    alone = error_budget([rule("accuracy", "at_least", 0.9)]).text
    assert "At least one" not in alone
    assert "vetoes" not in alone
    assert (
        "The vetoes together stop a candidate without any regression in at most 5 % of runs." in budget.text
    )
    assert "At least one of the 2 passes by luck in at most 10 %" in budget.text
    timed = [rule("accuracy", "not_worse", 0.01), rule("latency_p50", "not_worse", 0.03)]
    counted = error_budget(timed, Reuse(Charge("data", "v", 3, fresh=True), 8), forms=2)
    assert counted.release == 0.05  # a latency rests on no test set, and two forms share the error
    assert "candidate 3 of the 8" in counted.text


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_a_refusal_needs_no_statistics_to_be_read(seed, worse):
    draw = np.random.default_rng(seed)
    labels = np.arange(600) % 10
    old, new = (
        np.where(draw.random(600) < share, (labels + 1) % 10, labels) for share in (0.05, 0.05 + worse)
    )
    rules = [rule("accuracy", "not_worse", 0.01), rule("accuracy", "keep", 0.99), rule("accuracy", "at_least", 0.94),
             rule("f1_macro", "at_least", 0.94), rule("f1_macro", "not_worse", 0.01), rule("recall", "at_least", 0.9, slices="class"),
             rule("accuracy", "not_worse", 0.01, slices="class", family="veto")]  # fmt: skip
    for found in judge(rules, case_of(labels, old, new, noun="images")):
        assert found.text.startswith(found.gate)
        assert "anted" in found.text
        for jargon in ("p =", "alpha", "null", "signific", "hypothes", "confidence"):
            assert jargon not in found.text
        if found.verdict is Verdict.INCONCLUSIVE:
            settles = ("It needs about", "would sooner confirm that than clear it", "too close to the bound")
            assert any(words in found.text for words in settles), found.text


def test_a_plan_counts_groups_and_says_what_they_are_worth():
    gates = [rule("accuracy", "not_worse", 0.02), rule("accuracy", "at_least", 0.9)]
    (alone, _), (found, least) = (
        plan(gates, {"": n}, rows=rows) for n, rows in ((1000, None), (100, {"": 1000}))
    )
    assert "enough for a margin of 1.8 points" in alone.text
    assert (found.n, found.needed) == (100, alone.needed)
    assert found.possible
    assert found.tight
    assert "100 groups" in found.text
    assert "each group counts once, and at least 149 are needed." in found.text
    assert least.n == 100


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize(
    ("bound", "amount", "more"), [("not_worse", 0.05, {"relative": True}), ("keep", 0.95, {})]
)
def test_a_share_of_a_negative_value_is_room_for_the_worse(better, bound, amount, more):
    sign = 1 if better == "higher" else -1
    task = Task(
        "regression",
        own={"gain": lambda truth, said: float(-101 - sign * np.mean((said - truth) ** 2))},
        lower_is_better=() if better == "higher" else ("gain",),
    )
    generator = np.random.default_rng(0)
    truth, noise = generator.normal(size=300), generator.normal(size=300)
    base, same, worse = (
        Evaluation(task, Predictions.of({"y": truth + factor * noise}, truth)) for factor in (1, 1.001, 3.5)
    )
    gate = rule("gain", bound, amount, **more)
    assert one(gate, Case("v", candidate=same, baseline=base)).verdict is Verdict.PASS
    assert one(gate, Case("v", candidate=worse, baseline=base)).verdict is Verdict.FAIL


def test_robustness_kept_of_errors_is_room_for_the_worse():
    errors = -np.random.default_rng(0).uniform(1, 2, (400, 1))
    scores = CorruptionScores("noise", (1,), errors * 1.001, errors)
    gate = rule("robustness", "keep", 0.95, where="noise")
    assert one(gate, Case("v", robustness={"noise": scores})).verdict is Verdict.PASS


def test_an_own_metric_that_has_no_value_on_some_resamples_is_drawn_again_and_one_that_has_none_on_many_is_named():
    def spread(least: int):
        def metric(truth, said):
            if (truth > 0).sum() < least:
                raise ValueError("too few")
            return float((truth == said).mean())

        return metric

    labels = (np.arange(200) < 8).astype(int)
    task = Task("classification", (0, 1), own={"seldom": spread(3), "often": spread(8), "fails": spread(9)})
    found = Evaluation(task, Predictions.of({"label": labels ^ (np.arange(200) % 20 == 9)}, labels))
    by = {name: one(rule(name, "at_least", 0.5), Case("v", candidate=found)) for name in task.own}
    assert by["seldom"].verdict is Verdict.PASS
    assert by["often"].verdict is Verdict.INVALID
    assert "`often` has no value on" in by["often"].text
    assert "first on number" in by["often"].text
    assert "ValueError: too few" in by["often"].text
    assert by["fails"].verdict is Verdict.INVALID


def test_a_sure_chance_is_a_hundred_per_cent_and_one_sample_was_wrong():
    assert [chance(p) for p in (1.0, 0.999, 0.5, 0.0174)] == ["100 %", "100 %", "50 %", "1.7 %"]
    labels = np.where(np.arange(300) == 0, 0, 1)
    found = one(rule("recall", "at_least", 0.9, where="class=0"), case_of(labels, labels, np.full(300, 1)))
    assert "1 of 1 sample of class 0 was missed" in found.text
    missing = one(rule("recall", "at_least", 0.9, where="class=7"), case_of(labels, labels, labels))
    assert missing.needed is None


def test_a_veto_on_flips_is_a_veto():
    labels = np.arange(400) % 4
    new = np.where(np.arange(400) == 8, 3, labels)
    flips = rule("negative_flips", "at_most", 0.02, slices="class", family="veto")
    found = {result.gate: result for result in judge([flips], case_of(labels, labels, new))}
    assert "No regression is proven" in found["negative_flips[class=0]"].text
    assert found["negative_flips[class=0]"].verdict is Verdict.PASS
