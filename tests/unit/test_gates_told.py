"""Gates on what the evidence tells alone: an interval decides at its ends and nowhere else, and what is not there decides nothing."""

from __future__ import annotations

import base64
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.gates import recording
from gradatim.gates.case import Case
from gradatim.gates.compare import _paired_draws
from gradatim.gates.exact import samples_forgiving
from gradatim.gates.grounds import Beside, Bounds, EvaluatedData, RowByRow, Sampled
from gradatim.gates.judge import judge, settled
from gradatim.gates.retold import RetoldEvaluation
from gradatim.gates.rule import Rule
from gradatim.gates.sequential import quantile_between, share_bounds
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.intervals import clopper_pearson
from gradatim.metrics.samples import MetricSamples

PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
LOW, VALUE, HIGH = 0.75, 0.8, 0.85
EVALUATED = EvaluatedData("classification", rows=400, columns={"site": ("a", "b")})


def judged(rule: Rule, one: Sampled, *measurements: Measurement) -> GateResult:
    reference = RetoldEvaluation(EVALUATED, [one], (), whose="baseline")
    mine = RetoldEvaluation(EVALUATED, [one], measurements, whose="candidate", reference=reference)
    (found,) = judge([rule], Case("v", candidate=mine, baseline=reference))
    return found


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    ("bound", "amount", "verdict"),
    [
        ("at_least", 0.70, PASS), ("at_least", LOW - 1e-6, PASS), ("at_least", LOW + 1e-6, OPEN), ("at_least", VALUE, OPEN),
        ("at_least", HIGH - 1e-6, OPEN), ("at_least", HIGH + 1e-6, FAIL), ("at_least", 0.95, FAIL),
        ("at_most", 0.95, PASS), ("at_most", HIGH + 1e-6, PASS), ("at_most", HIGH - 1e-6, OPEN), ("at_most", VALUE, OPEN),
        ("at_most", LOW + 1e-6, OPEN), ("at_most", LOW - 1e-6, FAIL), ("at_most", 0.5, FAIL),
    ],
)  # fmt: skip
def test_an_interval_in_the_evidence_decides_as_it_lies_to_the_bound(
    sequential: bool, bound: str, amount: float, verdict: Verdict
) -> None:
    rule = Rule("f1", "f1_macro", bound, amount, sequential=sequential)  # type: ignore[arg-type]
    found = judged(rule, Sampled("f1_macro", value=VALUE, n=400, bounds=Bounds(0.05, LOW, HIGH)))
    assert found.verdict is verdict
    assert (found.value, found.threshold, found.n) == (VALUE, amount, 400)
    if sequential:
        assert (found.low, found.high) == (LOW, HIGH)


@pytest.mark.parametrize(("alpha", "verdict"), [(0.05, PASS), (0.01, PASS), (0.06, OPEN), (0.5, OPEN)])
def test_an_interval_that_is_less_sure_than_was_asked_for_proves_nothing(
    alpha: float, verdict: Verdict
) -> None:
    rule = Rule("f1", "f1_macro", "at_least", 0.7, sequential=True)
    assert (
        judged(rule, Sampled("f1_macro", value=VALUE, n=400, bounds=Bounds(alpha, LOW, HIGH))).verdict
        is verdict
    )


@pytest.mark.parametrize(
    ("by", "verdict"),
    [(0.0, OPEN), (0.0199, OPEN), (0.0201, PASS), (0.5, PASS)],
)
def test_a_difference_in_the_evidence_decides_as_its_interval_lies_to_the_margin(
    by: float, verdict: Verdict
) -> None:
    beside = Beside(VALUE, VALUE - 0.01, 400, difference=0.01, bounds=Bounds(0.05, -0.02, 0.03), spread=0.2)
    one = Sampled("f1_macro", value=VALUE, n=400, beside=beside)
    for sequential in (False, True):
        found = judged(Rule("f1", "f1_macro", "not_worse", by, sequential=sequential), one)
        assert found.verdict is verdict
    worse = Sampled("f1_macro", value=VALUE, n=400, beside=Beside(VALUE, 0.9, 400, difference=-0.1, bounds=Bounds(0.05, -0.12, -0.08), spread=0.2))  # fmt: skip
    assert judged(Rule("f1", "f1_macro", "not_worse", 0.0799, sequential=True), worse).verdict is FAIL
    assert judged(Rule("f1", "f1_macro", "not_worse", 0.0801, sequential=True), worse).verdict is OPEN


def test_what_no_interval_tells_is_open_at_every_look() -> None:
    rule = Rule("f1", "f1_macro", "at_least", 0.1, sequential=True)
    found = judged(rule, Sampled("f1_macro", value=VALUE, n=400))
    assert found.verdict is OPEN
    assert "no bound of it holds at every look" in found.text
    beside = Beside(VALUE, VALUE, 400, difference=0.0)
    found = judged(
        Rule("f1", "f1_macro", "not_worse", 0.5, sequential=True),
        Sampled("f1_macro", value=VALUE, n=400, beside=beside),
    )
    assert found.verdict is OPEN


@pytest.mark.parametrize("successes", [-1, 401])
def test_counts_that_cannot_be_are_invalid(successes: int) -> None:
    one = Sampled("accuracy", value=successes / 400, n=400, successes=successes, trials=400)
    found = judged(Rule("a", "accuracy", "at_least", 0.1), one)
    assert found.verdict is Verdict.INVALID
    assert f"{successes} of 400 cannot be" in found.text


@pytest.mark.parametrize(("value", "verdict"), [(0.9, PASS), (0.9 + 1e-12, PASS), (0.9001, Verdict.INVALID)])
def test_counts_must_give_the_value(value: float, verdict: Verdict) -> None:
    one = Sampled("accuracy", value=value, n=400, successes=360, trials=400)
    assert judged(Rule("a", "accuracy", "at_least", 0.8), one).verdict is verdict


@pytest.mark.parametrize(
    "counts",
    [
        {"gains": -1}, {"losses": -1}, {"gains": 361}, {"right": 399, "losses": 20}, {"right": 9, "gains": 10}, {"n": 10**9 + 1},
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_are_invalid(counts: dict[str, int]) -> None:
    told = {"n": 400, "gains": 10, "losses": 20, "right": 360, **counts}
    beside = Beside(0.9, 0.925, **told)  # type: ignore[arg-type]
    one = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400, beside=beside)
    assert judged(Rule("a", "accuracy", "not_worse", 0.5), one).verdict is Verdict.INVALID
    whole = Beside(0.9, 0.925, 400, gains=10, losses=20, right=360)
    one = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400, beside=whole)
    assert judged(Rule("a", "accuracy", "not_worse", 0.5), one).verdict is PASS


def test_rows_that_are_told_must_be_what_was_counted() -> None:
    right = np.arange(400) < 360
    bits = base64.b64encode(np.packbits(right).tobytes()).decode()
    fewer = base64.b64encode(np.packbits(np.arange(400) < 359).tobytes()).decode()
    for told, verdict in (
        (bits, PASS),
        (fewer, Verdict.INVALID),
        (bits[:-4], Verdict.INVALID),
        ("%", Verdict.INVALID),
    ):
        one = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400, outcomes=RowByRow(told))
        assert judged(Rule("a", "accuracy", "at_least", 0.8), one).verdict is verdict


@pytest.mark.parametrize(("flips", "verdict"), [(0, PASS), (1, PASS), (2, Verdict.INVALID)])
def test_rows_that_are_told_of_flips_are_held_against_how_many_there_were(
    flips: int, verdict: Verdict
) -> None:
    """A flip is a row that is not right: none of 400, and one where it was counted."""
    bits = base64.b64encode(np.packbits(np.arange(400) >= min(flips, 1)).tobytes()).decode()
    one = Sampled(
        "negative_flips", value=flips / 400, n=400, successes=flips, trials=400, outcomes=RowByRow(bits)
    )
    assert judged(Rule("n", "negative_flips", "at_most", 0.2), one).verdict is verdict


def test_what_no_gate_asked_for_is_decided_by_what_the_step_measured() -> None:
    other = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400)
    whole = Measurement("f1_macro", "v", VALUE, n=400, low=LOW, high=HIGH)
    sliced = Measurement("accuracy", "v", 0.95, n=200, successes=190, where="site=a")
    assert judged(Rule("f1", "f1_macro", "at_least", 0.7), other, whole).verdict is PASS
    assert judged(Rule("f1", "f1_macro", "at_least", 0.8), other, whole).verdict is OPEN
    assert judged(Rule("a", "accuracy", "at_least", 0.9, "site=a"), other, sliced).verdict is PASS
    lacking = judged(Rule("f1", "f1_macro", "at_least", 0.7), other, sliced)
    assert lacking.verdict is Verdict.INVALID
    assert "The evidence does not hold what would decide f1_macro" in lacking.text


def test_what_the_evidence_is_asked_beyond_what_it_has_is_said() -> None:
    one = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400)
    known = RetoldEvaluation(EVALUATED, [one], (), whose="candidate")
    assert len(known) == 400
    assert known.columns() == ("site",)
    assert known.values_of("site") == ("a", "b")
    with pytest.raises(InvalidInput, match=r"no slice column `shop`\. Known: site"):
        known.values_of("shop")
    for metric in ("latency_p50", "nothing"):
        with pytest.raises(InvalidInput, match="is not measured from the predictions of classification"):
            known.samples(metric)
    theirs = RetoldEvaluation(EVALUATED, [one], (), whose="baseline")
    with pytest.raises(InvalidInput, match="does not compare accuracy with the baseline's"):
        theirs.samples("accuracy")
    shared = EvaluatedData("classification", rows=400, shared=300)
    for whose, rows in (("candidate", 400), ("shared", 300), ("baseline", 400)):
        assert len(RetoldEvaluation(shared, [one], (), whose=whose)) == rows


def resampling(n: int, by: float) -> MetricSamples:
    return MetricSamples("own", by, True, n, resample=lambda rows: by * float(rows.mean()))


def test_two_models_are_drawn_again_together_or_not_at_all() -> None:
    plain = MetricSamples("own", 1.0, True, 50)
    found = _paired_draws(resampling(50, 3.0), resampling(50, 1.0), 0.5)
    alone = _paired_draws(resampling(50, 2.5), resampling(50, 0.0), 1.0)
    assert found is not None
    assert alone is not None
    assert found == pytest.approx(alone), "the same rows on both sides"
    assert math.isclose(found.mean() / 2.5, 24.5, rel_tol=0.1)
    for new, old in (
        (plain, resampling(50, 1.0)), (resampling(50, 1.0), plain), (resampling(50, 1.0), resampling(49, 1.0)),
        (resampling(1, 1.0), resampling(1, 1.0)), (plain, plain),
    ):  # fmt: skip
        assert _paired_draws(new, old, 1.0) is None
    assert _paired_draws(resampling(2, 1.0), resampling(2, 1.0), 1.0) is not None


@pytest.mark.parametrize("gates", [1, 2, 5])
def test_rows_are_enough_for_a_refusal_where_it_stands_among_all_gates_too(gates: int) -> None:
    """Between the bound at alpha and that at alpha (1 - alpha) / m a refusal may still be taken back."""
    alone, together = (clopper_pearson(360, 400, alpha)[1] for alpha in (0.05, 0.05 * 0.95 / gates))
    for share, settled_there in ((alone + 1e-9, False), (together - 1e-9, False), (together + 1e-9, True)):
        one = Sampled("accuracy", value=0.9, n=400, successes=360, trials=400)
        mine = RetoldEvaluation(EVALUATED, [one], (), whose="candidate")
        rules = [Rule(f"a{place}", "accuracy", "at_least", share) for place in range(gates)]
        case = Case("v", candidate=mine)
        assert judged(rules[0], one).verdict is FAIL
        assert settled(rules, case) is settled_there
    assert settled([Rule("a", "accuracy", "at_least", 0.5)], case)
    assert not settled([Rule("a", "accuracy", "at_least", 0.9)], case)


def test_a_bucket_whose_share_is_surely_a_quantile_holds_it() -> None:
    below = {0.1: 700, 0.2: 930, 0.5: 990, math.inf: 1000}
    low, high = share_bounds(np.array([700, 930, 990, 1000.0]), 1000.0, 0.05)
    for place, end in enumerate((0.1, 0.2, 0.5)):
        assert quantile_between(below, float(low[place]), 0.05)[1] == end
        assert quantile_between(below, float(np.nextafter(low[place], 1)), 0.05)[1] > end
        assert quantile_between(below, float(high[place]), 0.05)[0] < end
        assert quantile_between(below, float(np.nextafter(high[place], 1)), 0.05)[0] == end
    assert quantile_between({math.inf: 10}, 0.5, 0.05) == (0.0, math.inf)


@pytest.mark.parametrize(("mine", "theirs", "told"), [(None, 0.9, False), (0.9, None, False), (None, None, False), (0.9, 0.8, True)])  # fmt: skip
def test_a_pair_is_told_where_both_models_have_a_value(
    monkeypatch: pytest.MonkeyPatch, mine: float | None, theirs: float | None, told: bool
) -> None:
    rows = np.arange(10) < 9
    pair = tuple(MetricSamples("accuracy", one, True, 10, outcomes=rows) for one in (mine, theirs))
    monkeypatch.setattr(recording, "_pair", lambda *_: pair)
    gate: Any = SimpleNamespace(rule=Rule("a", "accuracy", "not_worse", 0.1), where=None)
    found = recording._beside(gate, Case("v"), None)  # type: ignore[arg-type]
    assert (found is not None) is told
    if found is not None:
        assert (found.candidate, found.baseline, found.gains, found.losses, found.right) == (
            0.9,
            0.8,
            0,
            0,
            9,
        )


@pytest.mark.parametrize("threshold", [0.001, 0.04, 0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("misses", range(5))
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_the_fewest_samples_that_forgive_misses_are_the_first_of_all_that_prove_it(
    threshold: float, misses: int, alpha: float
) -> None:
    proves = (n for n in range(misses + 1, 400) if clopper_pearson(n - misses, n, alpha)[0] >= threshold)
    assert samples_forgiving(misses, threshold, alpha) == next(proves)
