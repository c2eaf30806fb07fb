"""Every formula of the gates against numbers computed elsewhere, brute force, and simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, t

from gradatim.errors import BrokenEvidence, InvalidInput
from gradatim.gates import exact, latency
from gradatim.gates.case import CorruptionScores
from gradatim.gates.exact import (
    decide,
    detectable,
    forgiven,
    quantile_bounds,
    quantile_rank,
    samples_all_right,
    samples_for_power,
)
from gradatim.gates.latency import PairedTiming, not_slower
from gradatim.gates.paired import (
    exact_difference,
    maurer_pontil,
    not_worse,
    regression_p,
    tango_bounds,
    tango_score,
)
from gradatim.gates.pairwise import pairs_planned
from gradatim.gates.planning import least_not_worse, samples_not_worse
from gradatim.gates.reuse import Reuse, UseLedger, alpha_after
from gradatim.gates.robustness import tolerance
from gradatim.gates.slices import holm
from gradatim.gates.verdict import Verdict
from gradatim.metrics.intervals import clopper_pearson, clopper_pearson_many, mean_bounds, normal

SIX = {"abs": 6e-7}


def score_p(gains: int, losses: int, n: int) -> float:
    """One-sided p-value of "worse by one point or more" by Tango's statistic."""
    return 1 - NormalDist().cdf(tango_score(gains, losses, n, -0.01))


def at_least(successes: int, n: int, threshold: float) -> Verdict:
    return decide(*clopper_pearson(successes, n, 0.05), threshold)


def power(n: int, threshold: float, true: float) -> float:
    """Chance that a model at ``true`` is proven "at least ``threshold``" with n samples."""
    misses = forgiven(n, threshold)
    return 0.0 if misses is None else float(binom.cdf(misses, n, 1 - true))


def test_vector_1_a_small_gain_is_not_worse():
    found = not_worse(30, 25, 1000, 0.01)
    assert tango_score(30, 25, 1000, -0.01) == pytest.approx(1.980475, **SIX)
    assert score_p(30, 25, 1000) == pytest.approx(0.023825, **SIX)
    assert found.low == pytest.approx(-0.007360, **SIX)
    assert found.low > -0.01


def test_vector_2_a_small_loss_on_many_samples_and_its_exact_bounds():
    found = not_worse(30, 40, 5000, 0.01)
    assert tango_score(30, 40, 5000, -0.01) == pytest.approx(4.191733, **SIX)
    assert found.low == pytest.approx(-0.004838, **SIX)
    assert exact_difference(30, 40, 5000)[0] == pytest.approx(-0.006826, **SIX)
    assert exact_difference(30, 40, 5000, alpha_after(8))[0] == pytest.approx(-0.011057, **SIX)
    assert not_worse(30, 40, 5000, 0.01, alpha_after(8)).low == pytest.approx(-0.011057, **SIX)


def test_vector_3_a_loss_of_just_the_margin_proves_nothing():
    found = not_worse(30, 40, 1000, 0.01)
    assert tango_score(30, 40, 1000, -0.01) == pytest.approx(0, **SIX)
    assert score_p(30, 40, 1000) == pytest.approx(0.5, **SIX)
    assert found.low == pytest.approx(-0.024121, **SIX)
    assert not found.low > -0.01


def test_vector_4_tangos_two_sided_interval():
    assert tango_bounds(40, 20, 160, 0.025) == pytest.approx((0.030865, 0.218064), **SIX)


def test_vectors_7_8_9_exact_bounds():
    assert clopper_pearson(950, 1000, 0.05) == pytest.approx((0.937137, 0.960836), **SIX)
    assert clopper_pearson(188, 200, 0.05)[0] == pytest.approx(0.904599, **SIX)
    assert clopper_pearson(299, 299, 0.05)[0] == pytest.approx(0.990031, **SIX)
    assert clopper_pearson(298, 298, 0.05)[0] == pytest.approx(0.989998, **SIX)
    assert at_least(299, 299, 0.99) is Verdict.PASS
    assert at_least(298, 298, 0.99) is Verdict.INCONCLUSIVE
    assert clopper_pearson(4750, 5000, 0.05)[0] == pytest.approx(0.944632, **SIX)
    assert clopper_pearson(4750, 5000, alpha_after(8))[0] == pytest.approx(0.938168, **SIX)


VETOES = [(2, 14, 300), (5, 9, 400), (1, 9, 60), (10, 8, 800)]


def test_vector_10_vetoes_under_holm():
    p = [1 - score_p(g, lost, n) for g, lost, n in VETOES]
    assert p == pytest.approx([0.008370, 0.500000, 0.008479, 0.984416], **SIX)
    assert holm(p) == pytest.approx([0.033480, 1, 0.033480, 1], **SIX)


def test_the_exact_tail_blocks_the_same_vetoes_and_is_never_surer_than_tango():
    p = [regression_p(g, lost, n, 0.01) for g, lost, n in VETOES]
    assert [value <= 0.05 for value in holm(p)] == [True, False, True, False]
    assert all(
        value >= 1 - score_p(g, lost, n) - 1e-12 for value, (g, lost, n) in zip(p, VETOES, strict=True)
    )


def test_vector_11_flip_rates():
    assert clopper_pearson(12, 2000, 0.05)[1] == pytest.approx(0.009703, **SIX)
    assert clopper_pearson(0, 300, 0.05)[1] == pytest.approx(0.009936, **SIX)


def test_vector_12_mean_over_severities():
    pairs = [(-1, 2), (-0.6, 4), (-0.4, 10), (-0.2, 24), (0, 420), (0.2, 22), (0.4, 12), (0.6, 6)]
    x = np.repeat([value for value, _ in pairs], [count for _, count in pairs])
    assert x.mean() == pytest.approx(-0.000800, **SIX)
    assert x.std(ddof=1) == pytest.approx(0.148200, **SIX)
    assert mean_bounds(x, 0.05)[0] == pytest.approx(-0.011722, **SIX)
    assert maurer_pontil(x, 0.05, 2.0)[0] == pytest.approx(-0.053301, **SIX)


def test_vector_13_alpha_after_several_uses():
    assert alpha_after(8) == pytest.approx(0.000195313, abs=1e-9)


def test_vector_14_which_order_statistic_bounds_a_quantile():
    assert [quantile_rank(59, 0.95), quantile_rank(100, 0.95), quantile_rank(299, 0.99)] == [59, 99, 299]
    assert quantile_rank(58, 0.95) > 58


def test_vector_15_tolerance_stops_at_the_first_failure():
    lows = [clopper_pearson(k, 1000, 0.05)[0] for k in (940, 930, 915, 880, 790, 600)]
    assert lows == pytest.approx([0.926151, 0.915261, 0.899068, 0.861761, 0.767692, 0.573823], **SIX)
    assert tolerance(lows, range(6), 0.85) == 3
    assert tolerance([0.9, 0.8, 0.9], (1, 2, 3), 0.85) == 1
    assert tolerance([0.8, 0.9], (1, 2), 0.85) is None


def test_sample_sizes_named_in_the_documentation():
    assert samples_not_worse(0.01) == 3092
    assert least_not_worse(0.01) == 299
    assert not_worse(0, 0, 268, 0.01).low > -0.01 > not_worse(0, 0, 267, 0.01).low
    assert samples_all_right(0.9) == 29
    assert (forgiven(44, 0.9), forgiven(150, 0.9)) == (0, 8)


def brute_force_z(gains: int, losses: int, n: int, difference: float) -> float:
    """The score statistic with the constrained maximum of the likelihood found on a grid, refined twice."""
    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(4):
        grid = np.linspace(low, high, 4001)[1:-1]
        with np.errstate(divide="ignore"):
            likelihood = (n - gains - losses) * np.log(np.maximum(1 - 2 * grid - difference, 1e-300))
            likelihood += gains * np.log(grid + difference) if gains else 0
            likelihood += losses * np.log(grid) if losses else 0
        best = int(np.argmax(likelihood))
        step = grid[1] - grid[0]
        low, high = max(low, grid[best] - 2 * step), min(high, grid[best] + 2 * step)
    q = grid[best]
    return (gains - losses - n * difference) / math.sqrt(n * (2 * q + difference * (1 - difference)))


@pytest.mark.parametrize("difference", [-0.2, -0.05, -0.01, 0.03])
@pytest.mark.parametrize(
    ("gains", "losses", "n"), [(30, 25, 1000), (0, 7, 60), (5, 0, 60), (3, 9, 40), (12, 12, 200)]
)
def test_tango_agrees_with_brute_force_maximum_likelihood(gains, losses, n, difference):
    assert tango_score(gains, losses, n, difference) == pytest.approx(
        brute_force_z(gains, losses, n, difference), rel=2e-4, abs=2e-4
    )


@given(st.integers(1, 400), st.data())
@settings(max_examples=60, deadline=None)
def test_tangos_bounds_hold_exactly_the_differences_that_its_test_keeps(n, data):
    gains = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - gains))
    low, high = tango_bounds(gains, losses, n)
    assert -1 <= low <= (gains - losses) / n + 1e-9
    assert (gains - losses) / n - 1e-9 <= high <= 1
    mirrored = tango_bounds(losses, gains, n)
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]), abs=1e-9)
    if low > -1 + 1e-6:
        assert tango_score(gains, losses, n, low) == pytest.approx(normal(0.05), abs=1e-4)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.0001, 0.4))
@settings(max_examples=60, deadline=None)
def test_many_exact_bounds_are_the_single_ones_and_hold_the_share(successes, misses, alpha):
    n = successes + misses
    low, high = clopper_pearson(successes, n, alpha)
    lows, highs = clopper_pearson_many(np.array([successes]), np.array([n]), alpha)
    assert (lows[0], highs[0]) == (low, high)
    if n:
        assert low <= successes / n <= high


@given(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 0.5, 1.0]), st.floats(0, 1), st.integers(0, 2))
def test_a_number_that_is_none_never_passes(odd, other, place):
    numbers = [other, other, other]
    numbers[place] = odd
    if any(math.isnan(number) for number in numbers):
        assert decide(*numbers) is Verdict.INVALID
    assert decide(math.nan, math.nan, math.nan) is Verdict.INVALID


@given(st.integers(1, 300), st.data())
@settings(max_examples=50, deadline=None)
def test_one_more_right_answer_never_makes_a_verdict_worse(n, data):
    successes = data.draw(st.integers(0, n - 1))
    threshold = data.draw(st.floats(0.01, 0.99))
    order = [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
    assert order.index(at_least(successes, n, threshold)) <= order.index(
        at_least(successes + 1, n, threshold)
    )


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.99])
def test_the_planned_number_of_samples_has_the_planned_power(threshold):
    true = (1 + threshold) / 2
    n = samples_for_power(threshold, true)
    assert power(n, threshold, true) >= 0.8
    assert power(n - 1, threshold, true) < 0.8
    assert power(n, threshold, threshold) <= 0.05
    assert detectable(n, threshold) <= true + 1e-9


@pytest.mark.parametrize(("n", "margin", "psi"), [(300, 0.02, 0.02), (597, 0.01, 0.02), (200, 0.05, 0.1)])
def test_no_more_than_a_twentieth_of_models_at_the_margin_pass(n, margin, psi):
    """The exact size of the paired gate: the sum over every outcome that passes."""
    from scipy.stats import multinomial

    from gradatim.gates.compare import compare
    from gradatim.metrics.samples import MetricSamples

    def outcomes(right):
        return MetricSamples("accuracy", float(right.mean()), True, n, outcomes=right)

    size = 0.0
    population = multinomial(n, [(psi - margin) / 2, (psi + margin) / 2, 1 - psi])
    for gains in range(int(n * psi) + 12):
        for losses in range(int(n * psi) + 25):
            chance = population.pmf([gains, losses, n - gains - losses])
            if chance < 1e-9 or tango_score(gains, losses, n, -margin) <= normal(0.05):
                continue
            new, old = np.ones(n, bool), np.ones(n, bool)
            new[:losses], old[losses : losses + gains] = False, False
            size += chance * (compare(outcomes(new), outcomes(old), margin=margin).low > -margin)
    assert size <= 0.055


def test_quantile_bounds_are_samples_or_infinite():
    samples = np.arange(1.0, 101.0)
    assert quantile_bounds(samples, 0.95)[1] == 99
    assert quantile_bounds(samples[:20], 0.95)[1] == math.inf


def test_a_latency_that_is_clearly_slower_fails_and_a_noisy_one_is_undecided():
    quiet = PairedTiming([0.05 + 0.001 * (i % 3) for i in range(10)], 1e-3, 1.05e-3)
    _, low, high = quiet.bounds()
    assert not_slower(low, high, 0.03) is Verdict.FAIL
    equal = PairedTiming([0.001 * (i % 3) for i in range(10)], 1e-3, 1e-3)
    assert not_slower(*equal.bounds()[1:], 0.03) is Verdict.PASS
    noisy = PairedTiming([(-1) ** i * 0.1 for i in range(10)], 1e-3, 1e-3)
    assert not_slower(*noisy.bounds()[1:], 0.03) is Verdict.INCONCLUSIVE
    assert PairedTiming([0.01, 0.02], 1e-3, 1e-3).bounds() is None
    assert not_slower(math.nan, math.nan, 0.03) is Verdict.INVALID
    with pytest.raises(InvalidInput, match="no finite ratio"):
        PairedTiming([math.nan], 1e-3, 1e-3)


def test_several_looks_at_the_rounds_cost_a_wider_interval():
    ratios = [0.001 * (i % 5) for i in range(10)]
    once, often = PairedTiming(ratios, 1, 1).bounds(), PairedTiming(ratios, 1, 1, looks=5).bounds()
    assert often[1] < once[1] < once[2] < often[2]


@pytest.mark.parametrize(("gains", "losses", "n"), [(-1, 0, 10), (6, 6, 10), (0, 0, 0)])
def test_impossible_counts_are_refused(gains, losses, n):
    with pytest.raises(InvalidInput, match="cannot be"):
        not_worse(gains, losses, n, 0.01)


def test_holm_refuses_nan():
    with pytest.raises(InvalidInput, match="not a p-value"):
        holm([0.1, math.nan])


def test_the_ledger_counts_each_candidate_once():
    ledger = UseLedger()
    assert ledger.uses("data") == 0
    ledger, first = ledger.charge("data", "a")
    ledger, second = ledger.charge("data", "b")
    assert (first.number, second.number) == (1, 2)
    same, again = UseLedger(ledger.text).charge("data", "a")
    assert (again.number, again.fresh, same.text) == (1, False, ledger.text)
    assert ledger.charge("other data", "a")[1].number == 1
    assert ledger.uses("data") == 2


def test_a_ledger_line_that_was_taken_out_is_noticed():
    ledger = UseLedger()
    for candidate in "abc":
        ledger, _ = ledger.charge("data", candidate)
    first, _, last = ledger.text.splitlines(keepends=True)
    with pytest.raises(BrokenEvidence, match="removed or changed"):
        UseLedger(first + last)
    for broken in (b"[]\n", b"{\n", b'{"data": "d"}\n', b"\xff\n"):
        with pytest.raises(BrokenEvidence):
            UseLedger(ledger.text + broken)


def test_a_used_up_test_set_says_so():
    ledger, uses = UseLedger(), []
    for candidate in "abc":
        ledger, charge = ledger.charge("data", candidate)
        uses.append(Reuse(charge, evaluations=2))
    assert [use.spent for use in uses] == [False, False, True]
    assert uses[0].alpha == 0.0125
    assert uses[0].refusal is None
    assert "planned for 2 candidates" in str(uses[2].refusal)
    assert "could not be counted: no network." in str(Reuse(None, 2, reason="no network.").refusal)


def test_an_interval_over_rounds_narrows_as_students_does_over_rounds_without_memory():
    widths = []
    for rounds in (6, 24):
        _, low, high = latency.mean_bounds([1.0, -1.0] * (rounds // 2), 0.05)
        spread = math.sqrt(rounds / (rounds - 1))  # of this series; what neighbours share is below nothing
        widths.append((high - low) / spread)
    assert latency.narrowing(6, 24, 0.05) == pytest.approx(widths[1] / widths[0])
    assert latency.narrowing(6, 24, 0.05) == pytest.approx(t.ppf(0.95, 23) / t.ppf(0.95, 5) / 2)


def test_a_test_set_that_lasts_for_no_evaluation_has_its_whole_budget_and_for_fewer_none():
    assert alpha_after(0) == 0.05
    for evaluations, budget in ((-1, 0.05), (8, 0.0), (8, 1.0)):
        with pytest.raises(InvalidInput, match="make no sense"):
            alpha_after(evaluations, budget)


def test_the_fewest_samples_are_those_of_five_per_cent_where_nothing_else_is_asked():
    assert (exact.samples_for_quantile(0.95), exact.samples_all_right(0.9)) == (59, 29)
    assert exact.samples_all_right(1.0) is None


def test_scores_under_a_corruption_are_of_some_items_in_rising_severity():
    CorruptionScores("noise", (1, 2), np.zeros((3, 2)), np.zeros((3, 2)))
    for severities, candidate, baseline in (
        ((1, 2), np.zeros((0, 2)), None), ((1, 2), np.zeros((3, 1)), None), ((1, 2), np.zeros(2), None),
        ((2, 1), np.zeros((3, 2)), None), ((1, 2), np.zeros((3, 2)), np.zeros((2, 2))), ((1, 2), np.full((3, 2), np.nan), None),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="noise"):
            CorruptionScores("noise", severities, candidate, baseline)


def test_an_ordinary_candidate_of_a_gate_on_pairs_is_a_little_better_than_the_bound():
    assert "truly wins 70.0 %" in pairs_planned(0.6, 0.05, None, 0.8)[0]
    assert "truly wins 97.5 %" in pairs_planned(0.95, 0.05, None, 0.8)[0]
    assert "an equally good model" in pairs_planned(0.45, 0.05, None, 0.8)[0]
