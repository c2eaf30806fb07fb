"""Looks: no false alarm, no blindness, no bound that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import UsageError
from gradatim.gates.signed_rank import signed_rank_bounds
from gradatim.gates.verdict import Verdict
from gradatim.timing.blocks import BlockPlan, plan_blocks
from gradatim.timing.decision import LOOKS, Decision, look, looks_until, resolvable

SPREAD = 0.009  # between rounds, as it was measured on a shared two-core machine


def decide(slowdown: float, seed: int) -> Decision:
    draw = np.random.default_rng(seed)
    differences = list(draw.normal(math.log1p(slowdown), SPREAD, LOOKS[-1]))
    for rounds in LOOKS:
        found = look(differences[:rounds]).decision
        if found is not Decision.UNDECIDED:
            return found
    return Decision.UNDECIDED


def test_an_unchanged_model_is_next_to_never_refused():
    found = [decide(0.0, seed) for seed in range(1000)]
    assert sum(f is Decision.SLOWER for f in found) <= 10


def test_a_slowdown_of_five_percent_is_next_to_always_refused():
    found = [decide(0.05, seed) for seed in range(300)]
    assert sum(f is Decision.SLOWER for f in found) >= 297


@pytest.mark.parametrize("lag", [0.0, 0.2])
def test_rounds_that_go_with_the_one_before_raise_no_more_alarms_than_are_promised(lag):
    draw = np.random.default_rng(12)
    rounds = draw.normal(0, SPREAD, (4000, LOOKS[-1]))
    for one in range(1, LOOKS[-1]):
        rounds[:, one] = lag * rounds[:, one - 1] + math.sqrt(1 - lag**2) * rounds[:, one]
    crossed = dict.fromkeys((1, -1), 0)
    for series in rounds:
        found = [look(series[:n], margin=0.0) for n in LOOKS]
        crossed[1] += any(one.low > 1 for one in found)
        crossed[-1] += any(one.high < 1 for one in found)
    assert max(crossed.values()) <= 0.0135 * len(rounds)  # 1 % and two standard errors


def ends(rounds: np.ndarray) -> Decision:
    """What a benchmark of these rounds comes to, given up where no round would answer."""
    for n in LOOKS:
        found = look(list(rounds[:n])).decision
        if found is not Decision.UNDECIDED or resolvable(list(rounds[:n]), 0.03, LOOKS[-1]):
            return found
    return Decision.UNDECIDED


def busy(trials: int, seed: int) -> np.ndarray:
    """Rounds of equal models on a machine that now and then spoils one altogether, for either of the two."""
    draw = np.random.default_rng(seed)
    spoiled = draw.random((trials, LOOKS[-1])) < 0.05
    return draw.normal(0, 1, spoiled.shape) * np.where(spoiled, 0.9, 0.012)


def test_a_few_rounds_that_a_busy_machine_spoils_leave_neither_equal_nor_slower_models_undecided():
    equal, slower = busy(300, 1), busy(300, 2) + math.log1p(0.05)
    found = [ends(rounds) for rounds in equal]
    assert sum(one is Decision.SLOWER for one in found) == 0
    assert sum(one is Decision.UNDECIDED for one in found) <= 0.05 * len(found)
    assert sum(ends(rounds) is Decision.SLOWER for rounds in slower) >= 0.98 * len(slower)


def test_rounds_in_which_the_candidate_alone_is_slow_pass_hardly_oftener_than_by_their_mean():
    """Its processes are twice as slow now and then: no machine's mood, for the baseline's never are."""
    draw = np.random.default_rng(3)
    rounds = draw.normal(0, SPREAD, (300, LOOKS[-1])) + np.where(draw.random((300, LOOKS[-1])) < 0.2, 0.69, 0)
    assert sum(ends(one).verdict is Verdict.PASS for one in rounds) <= 0.35 * len(
        rounds
    )  # of which 0.26 at the first look


def test_bounds_by_signed_ranks_are_those_of_the_tables_and_miss_as_seldom_as_they_say():
    """Hollander, Wolfe, Chicken (2014), table A.4: of ten values P(T+ >= 45) = .042 and P(T+ >= 44) = .053."""
    ten = np.array([-8.0, -5, -3, -2, 0.5, 1, 4, 7, 9, 11])
    means = np.sort([(a + b) / 2 for place, a in enumerate(ten) for b in ten[place:]])
    assert signed_rank_bounds(ten, 0.05) == (np.median(means), means[10], means[-11])
    assert signed_rank_bounds(ten, 0.0001)[1:] == (-math.inf, math.inf)
    draw = np.random.default_rng(8)
    missed = sum(signed_rank_bounds(draw.standard_cauchy(16), 0.02)[1] > 0 for _ in range(4000))
    assert missed <= 0.0245 * 4000  # two standard errors besides


def test_a_hopelessly_noisy_machine_is_given_up_early_with_what_could_be_told():
    draw = np.random.default_rng(5)
    ended = []
    for _ in range(200):
        rounds = list(draw.normal(0.0, 0.3, LOOKS[-1]))
        early = next((n for n in LOOKS[:-1] if resolvable(rounds[:n], 0.03, LOOKS[-1])), LOOKS[-1])
        ended.append(early)
    assert np.mean(ended) < 20
    told = resolvable(rounds[:16], 0.03, LOOKS[-1])
    assert told is None or 0.1 < told < 0.6


@pytest.mark.parametrize("slowdown", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_an_ordinary_machine_is_not_given_up(slowdown):
    draw = np.random.default_rng(6)
    rounds = draw.normal(math.log1p(slowdown), SPREAD, (300, LOOKS[-1]))
    given_up = [any(resolvable(list(one[:n]), 0.03, LOOKS[-1]) for n in LOOKS[:-1]) for one in rounds]
    assert np.mean(given_up) <= 0.01


def test_a_gain_is_called_faster():
    assert look([-0.20, -0.21, -0.19, -0.20, -0.20, -0.21]).decision is Decision.FASTER


def test_only_not_slower_passes_a_gate():
    verdicts = {decision: decision.verdict for decision in Decision}
    assert [d for d, v in verdicts.items() if v is Verdict.PASS] == [Decision.FASTER, Decision.NOT_SLOWER]
    assert verdicts[Decision.UNDECIDED] is Verdict.INCONCLUSIVE


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=36))
def test_the_estimate_lies_in_its_interval(differences):
    found = look(differences)
    assert found.low <= found.ratio * (1 + 1e-9)
    assert found.ratio <= found.high * (1 + 1e-9)


@pytest.mark.parametrize(
    ("margin", "alarm"), [(0.01, 0.03), (0.03, -0.01), (math.inf, None), (math.nan, None)]
)
def test_bounds_that_cannot_be_are_refused(margin, alarm):
    with pytest.raises(UsageError):
        look([0.0, 0.1], margin, alarm)


def test_the_last_round_is_always_looked_at():
    assert looks_until(36) == (6, 10, 16, 24, 36)
    assert looks_until(12) == (6, 10, 12)
    assert looks_until(3) == (3,)
    with pytest.raises(UsageError):
        looks_until(1)


@given(st.floats(1e-7, 10))
def test_a_block_takes_about_eight_milliseconds_or_one_call(seconds):
    plan = plan_blocks(seconds)
    assert plan.timed >= 1
    assert 8 <= plan.blocks <= 24
    took = (plan.untimed + plan.timed) * seconds
    assert took <= max(10e-3, 2 * seconds) or plan.untimed + plan.timed == 2
    if 1e-5 < seconds < 4e-3:
        assert took >= 6e-3


def test_rounds_that_do_not_differ_foretell_nothing():
    assert [resolvable([0.01] * rounds, 0.03, LOOKS[-1]) for rounds in (2, 10, 36)] == [None] * 3


def test_a_call_of_a_millisecond_gets_the_standard_block():
    assert (plan_blocks(1e-3).untimed, plan_blocks(1e-3).timed) == (2, 6)


def test_a_call_that_is_longer_than_a_block_is_timed_once_and_a_slow_one_in_fewer_blocks():
    assert plan_blocks(0.02) == BlockPlan(1, 1, 24)
    assert plan_blocks(0.05) == BlockPlan(0, 1, 24)
    assert plan_blocks(0.1) == BlockPlan(0, 1, 12)
    assert plan_blocks(9.0) == BlockPlan(0, 1, 8)
