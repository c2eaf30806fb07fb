"""What the formulae under the gates come to over grids of what they may be given, each end and each edge among them.

``python tests/unit/test_gates_swept_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from test_covariate import drawn
from test_forecasting import evaluation, sales
from test_gates_frozen import DIGITS, answered, counts, judged, rule
from test_judge import case_of as pairs_of
from test_judge import said as judged_by
from test_verdicts_retold import MADE, again

from gradatim.gates import (
    betting,
    compare,
    drift,
    exact,
    latency,
    looks,
    noninferiority,
    paired,
    quality,
    retold,
    robustness,
    sequential,
    threshold,
    wording,
)
from gradatim.gates import (
    rule as rules_module,
)
from gradatim.gates.budget import error_budget
from gradatim.gates.case import BASELINE, Case, CorruptionScores
from gradatim.gates.compare import Comparison, Told
from gradatim.gates.distribution import ColumnCounts, Drift, Drifted
from gradatim.gates.flips import SelfFlips
from gradatim.gates.gate import Gate, chance, expand, settle
from gradatim.gates.grounds import Beside, Bounds, EvaluatedData, Grounds, RowByRow, Sampled, Scored, Timed
from gradatim.gates.judge import judge, settled
from gradatim.gates.latency import PairedTiming
from gradatim.gates.plan_row import folded
from gradatim.gates.planning import least_not_worse, plan, samples_not_worse, with_training
from gradatim.gates.recording import grounds_of
from gradatim.gates.rule import Rule
from gradatim.gates.signed_rank import signed_rank_bounds
from gradatim.gates.slices import holm
from gradatim.gates.together import Together
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.diagnostics import Adjusted
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.intervals import Upward, unseen
from gradatim.metrics.judged import UNKNOWN
from gradatim.metrics.outputs import WEIGHT
from gradatim.metrics.population import CANDIDATES, Population
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import MetricSamples
from gradatim.metrics.task import Task

GOLDEN = Path(__file__).parent / "golden" / "gates_swept"
WAVES = np.sin(np.arange(400))
MAE, ACCURACY = (catalogue.find(name, task) for name, task in (("mae", "regression"), ("accuracy", "classification")))  # fmt: skip
assert MAE is not None
assert ACCURACY is not None


def gate(asked: Rule, meaning: catalogue.Metric = ACCURACY, alpha: float = 0.05, **more: Any) -> Gate:
    return Gate(asked, asked.where, meaning, "v", alpha, **more)


def plans() -> Iterator[str]:
    """How many samples each kind of gate takes, from none to many."""
    kinds = [("accuracy", "at_least", (0.0, 0.5, 0.95, 1.0)), ("negative_flips", "at_most", (0.0, 0.02, 0.5)), ("accuracy", "not_worse", (0.0, 0.003, 0.02, 0.3, 1.5)), ("accuracy", "keep", (0.7, 0.99, 1.0, 1.05)),
             ("log_loss", "at_most", (0.0, 0.5)), ("f1_macro", "at_most", (0.0, 0.5)), ("f1_macro", "at_least", (0.5, 1.0)), ("log_loss", "not_worse", (0.1,)), ("robustness", "at_least", (0.8,)), ("drift", "at_most", (0.05, 0.3)), ("recall_at_1", "at_least", (0.8,))]  # fmt: skip
    for metric, bound, amounts in kinds:
        for amount, alpha in product(amounts, (0.05, 0.0009, 0.0011)):
            asked = rule(metric, bound, amount, alpha=alpha)
            rows = [
                row
                for n in (0, 1, 2, 9, 12, 20, 30, 59, 300, 5000)
                for row in plan([asked], {"": n}, task="embedding" if metric == "recall_at_1" else "classification")
            ]  # fmt: skip
            yield f"{metric} {bound} {amount} {alpha}: {told([(row.possible, row.needed, row.least, row.detectable) for row in rows])}"
            for n in (12, 300):
                [row] = plan([replace(asked, sequential=True)], {"": n})
                yield told((row.possible, row.needed, row.least, row.text))
    pieces = {"": 400, "class=0": 49, "class=1": 50, "class=2": 20, "class=3": 19, "hue=red": 100, "drawn": 25, catalogue.DRAWN: 29}  # fmt: skip
    of_places = [rule(f"{metric}[class={label}]", bound, 0.1) for metric in ("f1", "precision", "roc_auc", "recall", "balanced_accuracy") for label in range(4) for bound in ("at_least", "not_worse", "at_most")]  # fmt: skip
    of_places += [rule("recall", "at_least", 0.9, slices=by, family=family) for by in ("class", "hue", "every", "site") for family in ("every", "veto")]  # fmt: skip
    of_places += [rule("accuracy[hue=red]", "at_least", 0.9, slices="hue"), rule("size", "at_most", 5.0, slices="hue"), rule("latency_p50", "at_most", 5.0, slices="hue"), rule("f1[hue=red]", "at_least", 0.5)]  # fmt: skip
    of_places += [rule("robustness[fog]", "at_least", 0.8, severity=severity) for severity in (1, 2, 7)] + [rule("drift", "at_most", 0.2), rule("accuracy", "not_worse", 0.1, relative=True), rule("latency_floor", "keep", 1.03), rule("win_rate", "at_least", 0.5)]  # fmt: skip
    of_places += [rule("accuracy", "at_least", 0.9, sequential=True), rule("accuracy", "not_worse", 0.02, sequential=True), rule("mine", "at_least", 0.5), rule("drawn_metric", "at_least", 0.5)]  # fmt: skip
    own = catalogue.own_metrics(("mine",))
    for more in (
        {}, {"rows": {name: 4 * n for name, n in pieces.items()}, "noun": "groups"}, {"rows": pieces}, {"forms": 3}, {"forms": 3, "alpha": 0.01}, {"alpha": 0.2, "takes_all": "f1"}, {"severities": (1, 2)}, {"power": 0.95},
    ):  # fmt: skip
        for row in plan(of_places, pieces, own=own, **more):  # type: ignore[arg-type]
            yield f"{row.gate} {told((row.n, row.needed, row.least, row.detectable, row.possible))} {len(row.text)} {row.text[-16:]}"
    yield told([(least_not_worse(margin, alpha), attempted(lambda margin=margin, alpha=alpha: samples_not_worse(margin, 0.1, alpha, 0.9))) for margin in (0.01, 0.2, 0.9) for alpha in (0.05, 0.001, 0.0009)])  # type: ignore[misc]  # fmt: skip
    yield attempted(lambda: samples_not_worse(0.1, 0.2))
    [row] = plan([of_places[0]], pieces)
    yield told([with_training(row, several, 0.01).text for several in (2, 9)])


def bounds_of_counts() -> Iterator[str]:
    """Shares, orders and pairs for few and many samples."""
    for n in (0, 1, 2, 3, 10, 59, 100):
        for alpha in (0.05, 0.0005, 0.4):
            yield told([exact.forgiven(n, share, alpha) for share in (0.0, 0.01, 0.5, 0.9, 1.0)])
            yield told([exact.detectable(n, share, alpha) for share in (0.0, 0.01, 0.5, 0.9, 1.0)])
            if n:
                series = WAVES[:n]
                yield told([exact.quantile_bounds(series, q, alpha) for q in (0.01, 0.5, 0.99)])
                yield told(signed_rank_bounds(np.round(series, 1), alpha))
                yield told([exact.samples_without_fault(n, rest, room, alpha) for rest in (0.001, 0.5) for room in (-0.1, 0.0, 0.0001, 0.01, 0.5, 2.0)])  # fmt: skip
    yield told([exact.samples_for_power(*pair, alpha, wanted) for pair in ((0.0, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.0), (0.5, 1.1), (0.3, 0.31), (0.2, 0.9)) for alpha in (0.05, 0.2) for wanted in (0.1, 0.8, 0.99)])  # fmt: skip
    yield told([exact.samples_all_right(share, alpha) for share, alpha in ((0.5, 0.25), (0.5, 0.125), (0.9, 0.81), (0.1, 0.001), (0.8, 0.64), (0.3, 0.09), (0.7, 0.343))])  # fmt: skip
    for n, share in product((1, 2, 40), (0.5, 0.9, 0.8)):
        yield told(
            [exact.samples_without_fault(n, unseen(n, share**k), 1 - share, share**k) for k in (1, 2, 3, 5)]
        )
    yield told([exact.decide(low, high, 0.5).value for low in (0.4, 0.5, math.nan) for high in (0.4, 0.5, 0.6, math.nan)])  # fmt: skip
    yield told([exact.least_alpha(lambda alpha, answer=answer: answer) for answer in (True, False, None)])
    yield told([exact.least_alpha(lambda alpha, least=least: alpha >= least) for least in (1e-20, 1e-4, 0.4999, 0.5)])  # fmt: skip
    for n, changes in ((1, 1), (2, 2), (10, 4), (79, 79), (80, 80), (100, 81), (1000, 30)):
        for gains in sorted({0, 1, changes // 2, changes - 1, changes} & set(range(changes + 1))):
            pair = (gains, changes - gains, n)
            yield told((pair, paired.tango_bounds(*pair), paired.tango_bounds(*pair, 0.3), paired.exact_difference(*pair, 0.05)))  # fmt: skip
            yield told([paired.regression_p(*pair, margin) for margin in (0.0, 0.001, 0.1, 0.5, 0.99)])
            yield told([line(paired.not_worse(*pair, 0.1, alpha)) for alpha in (0.05, 0.001, 0.0009)])
            yield told([paired.tango_score(*pair, difference) for difference in (-1.0, -0.1, 0.0, 0.1, 1.0)])
    for counted in ((-1, 0, 5, 0.1), (0, -1, 5, 0.1), (0, 0, 0, 0.1), (3, 3, 5, 0.1), (1, 1, 5, -0.1), (1, 1, 5, 1.0)):  # fmt: skip
        yield attempted(lambda counted=counted: paired.not_worse(*counted))  # type: ignore[misc]
    for n in (2, 5, 200):
        yield told([paired.maurer_pontil(WAVES[:n] * by, alpha, width) for by in (0.0, 1.0) for alpha in (0.05, 0.001) for width in (1.0, 2.0)])  # fmt: skip
    yield told([paired.fewest_positives(metric, beside=beside) for metric in ("f1", "roc_auc") for beside in (False, True)])  # fmt: skip
    for several in ([], [0.5], [0.01, 0.04, 0.03], [0.6, 0.6], [0.02, 0.02, 1.0], [-0.1], [1.1], [math.nan]):
        yield attempted(lambda several=several: holm(several))  # type: ignore[misc]
    for hits, n in ((0, 1), (1, 1), (0, 20), (3, 20), (20, 20)):
        yield told([sequential.share_bounds(hits, n, alpha) for alpha in (0.5, 0.05, 1e-6)])
        yield told([sequential.difference_bounds((hits, n), (old, 20), 0.05) for old in (0, 5, 20)])
    for share, rise, margin in product((0.0, 0.01, 0.3, 0.99), (0.0, 0.01, 0.011, 0.2), (0.0, 0.01)):
        yield told([sequential.requests_that_tell(share, min(rise, 1 - share), margin, alpha, part=part) for alpha in (0.05, 0.001) for part in (0.05, 0.5)])  # fmt: skip
    for scores in (betting.Scores.of(WAVES[:30], -1.0, 1.0), betting.Scores.of(WAVES[:30] * 2, -1.0, 1.0), betting.Scores.of(np.abs(WAVES[:5]), 0.0, 1.0), betting.Scores.of(np.ones(4), 0.0, 1.0), betting.Scores.of(np.zeros(3), 0.0, 3.0)):  # fmt: skip
        yield told((scores, [betting.bounds(scores, alpha) for alpha in (0.4, 0.05, 1e-4)]))
        means = (scores.low - 0.1, scores.low, scores.low + 1e-9, 0.0, 0.4, scores.high)
        yield told([(scores.stake(mean), scores.mirrored.stake(-mean)) for mean in means])
        shares = replace(scores, times=scores.times / scores.times.sum())
        yield told([(betting.rows_until_proven(shares, mean, 0.05), betting.rows_faultless(shares, mean, 0.05) if mean < min(scores.high, 0.0 if scores.low < 0 else 9.0) else 0) for mean in means])  # fmt: skip


def series_of_rounds() -> Iterator[str]:
    """Rounds with their disturbances, levels and the verdicts on them."""
    for n, above, below, far in product((6, 12, 36), (0, 1, 3, 4), (0, 1, 4), (0.06, 0.5)):
        if above + below > n // 2:
            continue
        found = 0.005 * WAVES[:n]
        found[:above] += far
        found[n - below : n] -= far
        yield told((n, above, below, latency.difference_bounds(found, 0.001), latency.mean_bounds(found, 0.05), latency.spoiled(found), latency.body_spread(found)))  # fmt: skip
        for many in (1, 5):
            timing = PairedTiming(list(found), 1.0, 1.0, looks=many)
            yield told([timing.bounds(alpha) for alpha in (0.05, 0.0001)])
    for found in ([0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0, 1.0], [0.0] * 5 + [0.1]):
        yield told((latency.mean_bounds(found, 0.05), latency.difference_bounds(found, 0.05), latency.spoiled(found), PairedTiming(found, 1.0, 1.0).bounds()))  # fmt: skip
    for given in (([math.nan], 1.0, 1.0), ([0.0], 0.0, 1.0), ([0.0], 1.0, -1.0), ([0.0], math.inf, 1.0), ([0.0], 1.0, 1.0, 0)):  # fmt: skip
        yield attempted(lambda given=given: PairedTiming(*given).rounds)  # type: ignore[misc]
    for metric in ("latency_p50", "latency_p90", "ttft_p99", "latency_p95[batch=8]", "latency_mean"):
        yield told([latency.level_bounds(metric, [1.0 + 0.1 * wave for wave in WAVES[:n]], alpha) for n in (0, 1, 2, 3, 5, 20) for alpha in (0.05, 0.001)])  # fmt: skip
    yield told([latency.shared_alpha(names) for names in ((), ("latency_p50",), ("latency_p50", "latency_p95"), ("latency_p50[a=1]", "latency_p50", "throughput[b=1]"))])  # fmt: skip
    ends = [math.log1p(by) for by in (-0.01, 0.0, 0.01, 0.03, 0.05)]
    yield told([latency.not_slower(low, high, 0.03).value for low in (*ends, math.nan, -math.inf) for high in (*ends, math.inf)])  # fmt: skip
    yield told(latency.paired_timings({"latency_p50": [0.1, 0.2], "latency_p50[batch=8]": [0.0, 0.1], "gone": [0.1]}, {"latency_p50": 2.0, "latency_p50[batch=8]": 3.0}))  # fmt: skip
    names = [(name, bound, amount) for name in ("latency_p50", "throughput", "latency_p95", "size", "accuracy") for bound, amount in (("not_worse", 0.03), ("not_worse", -0.1), ("keep", 0.97), ("keep", 1.0), ("keep", 1.04), ("at_most", 0.1))]  # fmt: skip
    for some in (names, names[:6], names[6:12], names[::-1], names[3:4], names[-6:]):
        yield told(list(rules_module.paired_margins([rule(*one) for one in some]).items()))
    for name, bound, amount in names:
        meaning = catalogue.find(name, "classification")
        if meaning is not None and bound != "at_most":
            asked = rule(name, bound, amount)
            yield told((rules_module.share(asked, meaning), rules_module.tolerated(asked, meaning), asked.compares, asked.of_class))  # fmt: skip
    timed = [rule("latency_floor", "not_worse", 0.03), rule("latency_mean", "not_worse", 0.1), rule("latency_floor[batch=8]", "keep", 1.02), rule("latency_p95", "at_most", 0.1), rule("latency_floor", "at_most", 1.0)]  # fmt: skip
    yield told([(one.label, one.family, one.amount) for one in rules_module.with_guards(timed)])
    for shift in (-0.05, 0.0, 0.0099, 0.02, 0.031, 0.05):
        rounds = [shift + 0.002 * wave for wave in WAVES[:12]]
        case = Case("v", timings=dict.fromkeys(("latency_floor", "latency_mean", "latency_p95", "throughput", "energy"), PairedTiming(rounds, 1e-3, 1e-3 * math.exp(shift))))  # fmt: skip
        asked_of = [rule(name, bound, amount) for name in ("latency_floor", "throughput", "energy") for bound, amount in (("not_worse", 0.03), ("not_worse", -0.02), ("keep", 1.0))]  # fmt: skip
        for found in judge(asked_of, case):
            yield told((found.gate, found.verdict.value, found.value, found.low, found.high, found.threshold, found.needed, found.detectable, found.text[-60:]))  # fmt: skip
    edge = math.log1p(0.03)
    at_the_margin = PairedTiming([edge - 0.125, edge, edge + 0.125], 1e-3, 1.03e-3)
    yield from judged(
        Case("v", timings={"latency_p50": at_the_margin}), rule("latency_p50", "not_worse", 0.03)
    )
    none = Measurement("latency_p50", "v", None, "s", reason="no such device")
    held = Measurement("latency_p50", "v", 2e-3, "s", low=1e-3, high=2e-3, n=5)
    odd = Measurement("latency_p50", "v", 2e-3, "s", low=3e-3, high=4e-3, n=5)
    for measured in ((none,), (held,), (odd,), (replace(held, low=None),), (replace(held, low=2e-3),), (held, replace(held, value=3e-3)), (), (replace(none, variant=BASELINE),)):  # fmt: skip
        case = Case("v", measured, waits="no such device" if len(measured) == 1 else None)
        for bound, amount in (("at_most", 2e-3), ("at_most", 1.9e-3), ("at_least", 1e-3), ("at_least", 2.5e-3), ("not_worse", 0.1)):  # fmt: skip
            yield from judged(case, rule("latency_p50", bound, amount))


def samples_of(**more: Any) -> MetricSamples:
    return MetricSamples(**{"metric": "mae", "value": 0.5, "higher_is_better": False, "n": 40, **more})


def differences() -> Iterator[str]:
    """Two models' samples side by side: the spread, the tails, the changes, and what nothing shows."""
    for value, spread, n, effect, changes, margin in product((-0.5, -0.05, 0.0, 0.02), (0.0, 0.1, math.inf), (1, 2, 50), (0.0, 1.0), ((0.0, 0.0), (0.01, 0.03)), (0.0, 0.05)):  # fmt: skip
        yield told(line(compare._bounded(value, spread, n, effect, changes, margin, 0.05)))
    for value, n, kind, reach, alike in product((-0.5, 0.0), (1, 2, 9, 40), ("waves", "none", "broken", "far"), (None, 3.0), (0.0, 0.7)):  # fmt: skip
        with np.errstate(invalid="ignore"):
            broken = WAVES[:n] * math.inf
        x = {"waves": WAVES[:n] * 0.3, "none": np.zeros(n), "broken": broken, "far": np.where(np.arange(n) == 3, 9.0, WAVES[:n])}[kind]  # fmt: skip
        yield told([line(compare._by_tails(value, x, alike, reach, margin, 0.05, harm)) for margin in (0.0, 0.6) for harm in ((0.0, 0.0), (0.2, 0.4))])  # fmt: skip
    yield told([compare._changes(np.array(x), effect) for x in ([0.1, -0.2, 0.0], [0.05, -0.05], [0.101], [], [-1.0, -1.0, 1.0]) for effect in (0.0, 1.0)])  # fmt: skip
    for gains, losing, n in ((0, 0, 30), (0, 6, 30), (6, 0, 30), (2, 5, 30), (0, 30, 30), (1, 12, 300)):
        new, old = np.arange(n) % 2 == 5, np.arange(n) % 2 == 5
        new[:gains], old[gains : gains + losing] = True, True
        yield told([line(compare._right_and_wrong(new, old, margin, alpha, veto)) for margin in (0.0, 0.02, 0.2) for alpha in (0.05, 0.0005) for veto in (False, True)])  # fmt: skip
    yield attempted(lambda: compare._right_and_wrong(np.ones(3, bool), np.ones(2, bool), 0.0, 0.05, False))
    noise = [None, *(Upward(np.array(errors)) for errors in ((0.1, 0.2, 0.4), (0.3, 0.1)))]
    for old_upward, new_upward in product(noise, repeat=2):
        found = Comparison(0.1, 0.0, 0.2, None, 40, spread=0.1)
        yield told(line(compare._without_noise(found, samples_of(upward=new_upward), samples_of(upward=old_upward), 1.1)))  # fmt: skip
    open_ = [samples_of(metric="f1_macro", value=value, influence=WAVES[at : at + 40], hidden=more) for value, at, more in ((0.5, 0, 0.02), (0.4, 50, 0.05), (0.4, 50, 0.0))]  # fmt: skip
    for mine, theirs in product(open_, repeat=2):
        yield told([line(compare.compare(mine, theirs, ratio=ratio)) for ratio in (1.0, 0.9)])
    hidden = samples_of(hidden=0.02)
    for spread, draws in product((None, 0.0, 0.2), (np.zeros(0), WAVES[:199], WAVES[:200])):
        found = Comparison(0.1, 0.05, 0.15, None, 40, spread=spread)
        yield told([line(compare._opened(found, draws, hidden, replace(hidden, hidden=0.05), 1.5, alpha)) for alpha in (0.05, 0.0499)])  # fmt: skip
    several = (Bounds(0.05, 0.1, 0.2), Bounds(0.05, 0.0, 0.3, strict=True), Bounds(0.01, -0.1, 0.4), Bounds(0.2, 0.12, 0.18))  # fmt: skip
    beside = [Beside(0.5, 0.4, 30, difference=0.1 * place, ratio=ratio, bounds=bounds, by=0.02 * place, p=0.3, spread=0.2) for place, (ratio, bounds) in enumerate(zip((1.0, 1.0, 0.9, 1.0), (*several[:3], None), strict=True))]  # fmt: skip
    for pairs in (beside, beside[2:3], beside[3:], [replace(beside[0], difference=None)]):
        known = Told("mae", 0.5, False, 30, intervals=several, pairs=tuple(pairs))
        for held in (known, known.strictly()):
            yield told([held.bounds(alpha) for alpha in (0.3, 0.05, 0.02, 0.001)])
            for margin, ratio, alpha in product((0.0, 0.02), (1.0, 0.9), (0.05, 0.01)):
                yield attempted(lambda held=held, margin=margin, ratio=ratio, alpha=alpha: compare.compare(held, held, margin=margin, ratio=ratio, alpha=alpha))  # type: ignore[misc]  # fmt: skip
    for found in (Comparison(0.1, 0.05, 0.15, None, 40), Comparison(0.1, None, None, None, 40), Comparison(-0.1, -0.3, 0.0, None, 40, spread=0.4), Comparison(0.0, -0.1, 0.1, None, 40, spread=0.0), Comparison(0.0, 0.0, 0.0, None, 40, 0, 0, 0.0), Comparison(0.02, 0.0, 0.05, None, 400, 9, 1, 0.15), Comparison(0.0, None, None, None, 4, spread=0.0)):  # fmt: skip
        yield told([noninferiority._plan(found, margin, alpha) for margin in (0.0, 0.05, 0.1, 0.3, 1e-10) for alpha in (0.05, 0.001)])  # fmt: skip
    of = [gate(rule("accuracy", "not_worse", 0.1), meaning) for meaning in (ACCURACY, MAE)]
    yield told([noninferiority.better(one, number) for one in of for number in (-0.5, -0.01, -0.0001, 0.0, 0.00001, 0.0004, 0.01, 0.25)])  # fmt: skip
    for meaning, relative, old in product((ACCURACY, MAE), (False, True), (-0.5, 0.0, 0.5)):
        yield told([noninferiority.terms(gate(rule("accuracy", bound, amount, relative=relative), meaning), old) for bound, amount in (("not_worse", 0.1), ("keep", 0.9), ("keep", 1.1))])  # fmt: skip


def bounds_alone() -> Iterator[str]:
    """Numbers alone: what would settle them, what went wrong, and what of it is said."""
    seen = [threshold._Seen(value, value - down, value + up, n, successes, trials, faultless) for value, down, up, n, successes, trials, faultless in (
        (0.9, 0.05, 0.03, 100, 90, 100, False), (0.9, 0.05, 0.03, 100, None, None, False), (1.0, 0.03, 0.0, 100, 100, 100, False), (1.0, 0.03, 0.0, 100, None, None, False), (0.5, 0.2, 0.4, 9, None, None, True), (0.95, 0.001, 0.002, 5, None, None, False), (0.8, 0.1, 0.1, 20, 16, 20, False), (0.0, 0.0, 0.1, 30, None, None, False))]  # fmt: skip
    for one, (bound, amount), meaning, alpha in product(seen, (("at_least", 0.85), ("at_least", 0.9), ("at_most", 0.9), ("at_most", 0.95), ("at_least", 0.9001), ("at_most", 0.99)), (ACCURACY, MAE), (0.05, 0.001)):  # fmt: skip
        asked = gate(rule("accuracy", bound, amount), meaning, alpha)
        yield told((one.verdict(asked).value, threshold._needed(asked, one)))
    for n, amount, misses in product(
        (1, 10, 28, 29, 46, 59, 100, 499), (0.0, 0.5, 0.9, 0.99, 1.0), (0, 1, 2)
    ):
        yield threshold._could_prove(gate(rule("accuracy", "at_least", amount)), n) + f" {threshold._roomier(n, amount, 0.05)}"  # fmt: skip
        if misses and n > misses:
            for metric, where in (("accuracy", ""), ("precision", ""), ("precision", "[class=3]"), ("recall", "[class=3]"), ("recall", "[site=n]")):  # fmt: skip
                found = threshold._misses(gate(rule(f"{metric}{where}", "at_least", amount)), Case("v", noun="images"), misses, n, Verdict.FAIL)  # fmt: skip
                yield found[:70] if amount == 0.9 and n < 30 else str(len(found))
    for chance_of, value, low, high in product((0.01, 0.2), (0.05, 0.3), (0.0, 0.02), (0.35, 0.6)):
        noisy = threshold._Seen(value, low, high, 60, None, None)
        for amount in (0.02, 0.1, 0.3, 0.4):
            upward = _Most(chance_of)
            found = threshold._noisy(gate(rule("ece", "at_most", amount)), Case("v"), noisy, "It.", upward)  # type: ignore[arg-type]  # fmt: skip
            yield told((found.needed, found.text[-90:]))
    told_alone = Told("accuracy", 0.5, True, 40, p_values={0.6: 0.03, 0.5: 0.2})
    shares = [samples_of(metric="accuracy", higher_is_better=True, value=k / 40, successes=k, trials=40) for k in (0, 20, 40)]  # fmt: skip
    for samples in (told_alone, *shares, replace(shares[1], successes=None)):
        for bound, amount in (("at_least", 0.6), ("at_most", 0.6), ("at_least", -0.1), ("at_most", 1.2), ("at_least", 0.5)):  # fmt: skip
            yield told(threshold.veto_p(gate(rule("accuracy", bound, amount)), samples))
    filed = [Measurement("accuracy", "v", 0.9, "1", n=n, successes=successes, low=low, high=0.95) for n in (0, 1, 30) for successes in (None, 0, 1, 27, 31) for low in (None, 0.8)]  # fmt: skip
    yield told([threshold._measured_bounds(one, alpha) for one in filed for alpha in (0.05, 0.025, 0.0249)])
    case = Case("v", noun="images")
    yield told([settle(needed, 50, case, met=met) for needed in (None, 0, 1, 60) for met in (False, True)])
    yield told([chance(p) for p in (0.0, 0.00009, 0.0001, 0.0567, 0.0999, 0.1, 0.55)])
    for samples in (
        samples_of(reason="no row of 2"),
        samples_of(hidden=0.05),
        samples_of(value=None, reason="x"),
    ):
        yield told([quality.besides(gate(rule("accuracy", bound, 0.1)), samples) for bound in ("at_least", "not_worse")])  # fmt: skip
    for metric, bound, strict in product(("mae", "rmse", "accuracy"), ("at_least", "at_most", "not_worse"), (False, True)):  # fmt: skip
        meaning = ACCURACY if metric == "accuracy" else MAE
        yield quality.granted(
            gate(rule(metric, bound, 0.1, strict=strict), meaning), samples_of(metric=metric)
        )
    yield told([quality.realistic(needed, n) for needed in (1.0, 99.2, 100.5, 100_000.0, 100_001.0, math.inf) for n in (1, 100, 101)])  # fmt: skip
    for value, filed_as in product((0.5, 0.0), (0.5, 0.5 + 2e-7, 0.5 + 9e-7, None, 2e-9, 5e-10)):
        found = quality.foreign(gate(rule("mae", "at_most", 0.1), MAE), Case("v", [Measurement("mae", "v", filed_as, "1", reason="none")]), samples_of(value=value))  # fmt: skip
        yield told(None if found is None else found.text)
    for number, meaning in product((0.0, 1e-9, 0.00049, 0.0005, 0.0099, 0.01, 0.5, 1.0, 99.99, 100.0, 999999.0, 1e6, 123456789.0, -2.5, 1 / 3), (ACCURACY, MAE)):  # fmt: skip
        yield told((wording.number(number, meaning), wording.points(number, meaning), wording.bound(number, meaning), wording.plain(number)))  # fmt: skip
    yield told(
        [wording.about(count) for count in (0.0, 0.1, 98.5, 99.0, 99.5, 100.0, 101.0, 999.0, 1000.5, 12345.0)]
    )
    yield told([wording.interval(low, high, meaning) for meaning in (ACCURACY, MAE) for low, high in ((None, 1.0), (1.0, None), (0.1, 0.104), (0.1, 0.105), (0.5, 0.6), (0.25, 0.255))])  # fmt: skip
    yield told([wording.count(n, noun) for n in (0, 1, 2) for noun in ("images", "data", "s")] + [wording.untold(n, "rows") for n in (1, 2)])  # fmt: skip


class _Most:
    """Noise of which only the most is asked."""

    def __init__(self, most: float) -> None:
        self.most = most


def corrupted() -> Iterator[str]:
    """Scores under corruptions, of one item and of many, right or wrong and graded."""
    yield told([robustness.tolerance(lows, (1, 2, 3), 0.5) for lows in ([0.5, 0.6, 0.4], [0.6, None, 0.9], [0.4, 0.9, 0.9], [0.5, 0.5, 0.5], [math.nan, 1.0, 1.0])])  # fmt: skip
    for n, kind in product((1, 2, 3, 30), ("right", "wrong", "some", "graded", "half", "beyond")):
        places = np.arange(n)[:, None] * np.ones((1, 2))
        scores = {"right": np.ones((n, 2)), "wrong": np.zeros((n, 2)), "some": (places % 5 > 0) * 1.0, "graded": np.abs(np.sin(places + 0.1)), "half": np.full((n, 2), 0.5), "beyond": np.full((n, 2), 1.5)}[kind]  # fmt: skip
        yield told([robustness.severity_bounds(scores, alpha) for alpha in (0.05, 0.001)])
        yield told([robustness.losses(scores - lost, scores, alpha) for lost in (0.0, 0.01, 0.9, -0.1) for alpha in (0.05, 0.3)])  # fmt: skip
        worse = np.where(places < n // 3, scores - 0.7, scores)
        yield told((robustness.losses(worse, scores), robustness.losses(np.where(places < 1, np.nan, worse), scores)))  # fmt: skip
        whole = CorruptionScores("fog", (2, 4), scores, np.clip(worse, 0, None))
        case = Case("v", robustness={"fog": whole}, noun="images")
        for bound, amount in (("at_least", 0.5), ("at_least", 1.0), ("at_most", 0.5), ("not_worse", 0.1), ("keep", 0.9), ("keep", 1.0)):  # fmt: skip
            for more in ({}, {"strict": True}, {"relative": True}, {"severity": 2}, {"severity": 4}, {"severity": 3}, {"severity": 5}):  # fmt: skip
                if ("severity" in more) > (bound == "at_least") or ("relative" in more) > (bound == "not_worse"):  # fmt: skip
                    continue
                for found in judge([rule("robustness[fog]", bound, amount, **more)], case):
                    yield told((found.verdict.value, found.value, found.low, found.high, found.threshold, found.needed, found.detectable, found.n, found.baseline))  # fmt: skip
    for spread, rest, room, n in product(
        (0.0, 0.3), (0.05, 0.5), (-0.1, 0.0, 1e-10, 0.01, 0.2), (1, 50, 200)
    ):
        yield told(robustness._needed(gate(rule("robustness", "at_least", 0.5)), n, spread, rest, room))
    other = replace(whole, pairing="other")
    new, _old = MADE["classes"](np.random.default_rng(3))
    for candidate in (None, new):
        yield from judged(Case("v", candidate=candidate, robustness={"fog": other}), rule("robustness[fog]", "at_least", 0.5))  # fmt: skip
    below = CorruptionScores("fog", (1,), -np.abs(WAVES[:40])[:, None], -np.abs(WAVES[40:80])[:, None])
    yield from judged(Case("v", robustness={"fog": below}), *(rule("robustness[fog]", "keep", amount) for amount in (0.5, 0.9, 1.0)))  # fmt: skip
    part = CorruptionScores("fog", (1, 2), np.ones((6, 2)), np.where(np.arange(6)[:, None] < 2, np.nan, 1.0) * np.ones((1, 2)))  # fmt: skip
    yield from judged(Case("v", robustness={"fog": part}), rule("robustness[fog]", "not_worse", 0.1))


def corrupted_beside() -> Iterator[str]:
    """Items that a corruption takes from the one model or from the other, some severities or all."""
    for n, up, down in product((12, 200), (0, 1, 3), (0, 2, 5)):
        new, old = np.ones((n, 2)), np.ones((n, 2))
        old[:up], new[up : up + down], new[n - 2, 1] = 0.0, 0.0, 0.0
        case = Case("v", robustness={"fog": CorruptionScores("fog", (1, 2), new, old)})
        for asked in (rule("robustness[fog]", bound, amount, strict=strict) for strict in (False, True) for bound, amount in (("not_worse", 0.01), ("not_worse", 0.3), ("keep", 0.9), ("at_least", 0.97), ("at_most", 0.9))):  # fmt: skip
            first, second = again([asked], case)
            for found in (*first, *second):
                yield told(
                    (found.verdict.value, found.value, found.low, found.high, found.needed, found.detectable)
                )


def changed_columns() -> Iterator[str]:
    """Columns of few values and many, of numbers, words and gaps."""
    for rows in (4, 5, 20, 21, 22, 64, 65, 400):
        for times in (1, 4, 5, 6):
            for kind in (np.arange, lambda n: np.array([f"w{k}" for k in range(n)])):
                kept = drift.counted(np.repeat(kind(rows), times)[: 70 * 6])
                yield told((rows, times, len(kept.counts), kept.counts[:3], kept.counts[-1], kept.edges[:2], len(kept.edges), len(kept.values)))  # fmt: skip
    many = drift.counted(np.repeat([f"w{k:03}" for k in range(70)], np.r_[np.full(66, 5), 9, 4, 12, 5]))
    yield told((len(many.values), many.values[:2], many.values[-3:], many.counts[-1]))
    gaps = np.where(np.arange(300) % 10 == 0, np.nan, WAVES[:300])
    gaps[5], gaps[6] = np.inf, -np.inf
    kept = drift.counted(gaps)
    yield line(kept)
    texts = np.array(["1", "2.5", "x", "", "nan", "inf"] * 20)
    yield told([drift.count(kept, column).tolist() for column in (gaps, texts, WAVES[:7] * 5, np.array([kept.edges[0], kept.edges[-1]]))])  # fmt: skip
    few = ColumnCounts((10, 20, 3), (), ("a", "b"))
    yield told([drift.count(few, np.array(words)).tolist() for words in (["a", "c"], ["b"] * 3, ["zz"])])
    for old, new in ((np.arange(29) % 4, np.arange(29) % 4), (np.arange(30) % 4, np.arange(29) % 4), (np.arange(30) % 4, np.arange(30) % 3), (np.zeros(40), np.zeros(40)), (np.zeros(40), np.ones(40)), (WAVES[:90], WAVES[:90] + 0.5), (WAVES[:90], texts[:90]), (texts[:90], texts[1:61]), (np.arange(400) % 40, np.arange(400) % 39)):  # fmt: skip
        for units in (None, (29, 90), (30, 30), (400, 50)):
            for reference in (old, drift.counted(old)):
                for alpha in (0.01, 0.5):
                    yield from map(line, drift.drift({"c": reference}, {"c": new}, alpha, units))
    for first, second in (({}, {}), ({"a": old}, {"b": old}), ({"a": old, "b": old}, {"a": old})):
        yield attempted(lambda first=first, second=second: drift.drift(first, second))  # type: ignore[misc]
    known = Drifted("c", "KS", 0.1, 0.5, 0.1, Verdict.PASS, 9, 0.02, 0.003)
    cases = [replace(known, psi=psi, free=free, rate=rate, variance=variance) for psi in (0.0, 0.1, 0.4) for free in (0, 9) for rate in (0.001, 0.1) for variance in (0.0, 0.01)]  # fmt: skip
    yield told([drift.bounds(one, alpha) for one in cases for alpha in (0.05, 0.001)])
    yield told([drift.planned(amount, alpha, power) for amount in (0.01, 0.1, 1.0) for alpha in (0.05, 0.001) for power in (0.5, 0.95)])  # fmt: skip
    yield told([drift.is_numbers(np.array(column)) for column in ([1], [1.5], [True], ["x"])])
    short = replace(known, column="short", verdict=Verdict.INCONCLUSIVE)
    for columns, reason in (((), None), ((), "`c` is gone"), ((known,), None), ((known,), "`d` is gone"), ((known, short), None), ((known, replace(known, column="e", psi=0.3)), None)):  # fmt: skip
        case = Case("v", drift=Drift(columns, reason, 77), noun="rows")
        yield from judged(case, *(rule("drift", "at_most", amount) for amount in (0.01, 0.25, 3.0)))


def broken_grounds() -> Iterator[str]:
    """Evidence that cannot be: what is told again of it, and what it is refused for."""
    data = EvaluatedData("classification", {"mine": True}, {"site": ("n", "s")}, 40, labels=("0", "1"))
    share = Sampled("accuracy", None, 0.5, None, 40, 20, 40)
    bits = {
        "none": "A" * 7,
        "empty": "",
        "right": "//8AAAA=",
        "long": "//8AAAAA",
        "wrong": "//8AAAE=",
        "no base": "!!!!",
    }
    beside = Beside(0.5, 0.4, 40, gains=6, losses=2, right=20)
    sampled = [
        share, replace(share, trials=None), replace(share, trials=0), replace(share, successes=41), replace(share, successes=-1), replace(share, value=0.6), replace(share, value=0.5 + 1e-11), replace(share, value=None),
        *(replace(share, outcomes=RowByRow(kept)) for kept in bits.values()), replace(share, successes=16, value=0.4, outcomes=RowByRow("//8AAAA=")),
        replace(share, beside=beside), *(replace(share, beside=replace(beside, **more)) for more in ({"gains": 21}, {"losses": 21}, {"right": 41}, {"right": 5}, {"gains": -1}, {"n": 10**9 + 1}, {"candidate": 0.6}, {"baseline": 0.5}, {"right": None}, {"gains": None})),
        replace(share, beside=replace(beside, gains=0, losses=0, baseline=0.5)), replace(share, bounds=Bounds(0.05, 0.4, 0.6), successes=None, trials=None), replace(share, amount=0.4, p=0.2, positives=9),
    ]  # fmt: skip
    for one in sampled:
        for whose in ("candidate", "baseline", "shared"):
            evaluation = retold.RetoldEvaluation(data, [one], (), whose=whose)
            yield attempted(lambda evaluation=evaluation: shown(evaluation.samples("accuracy")))  # type: ignore[misc]
    measured = [Measurement("recall", "v", 0.5, "1", n=8, successes=4, where="class=1"), Measurement("f1_macro", "v", 0.5, "1", n=8, low=0.4), Measurement("log_loss", "v", 0.5, "nat", n=8, low=0.4, high=0.6)]  # fmt: skip
    for whose in ("candidate", "baseline"):
        evaluation = retold.RetoldEvaluation(replace(data, shared=30), [], measured, whose=whose)
        for metric, where in (("recall", "class=1"), ("recall", None), ("f1_macro", None), ("log_loss", None), ("size", None), ("nothing", None)):  # fmt: skip
            yield attempted(lambda evaluation=evaluation, metric=metric, where=where: shown(evaluation.samples(metric, where)))  # type: ignore[misc]  # fmt: skip
        yield told((len(evaluation), evaluation.columns(), evaluation.labels_compared))
    yield told([len(retold.RetoldEvaluation(replace(data, shared=shared), [], (), whose=whose)) for shared in (None, 0, 30) for whose in ("candidate", "shared")])  # fmt: skip
    for column in ("site", "hue"):
        yield attempted(lambda column=column: evaluation.values_of(column))  # type: ignore[misc]
        yield attempted(lambda column=column: retold.RetoldEvaluation(replace(data, columns={}), [], (), whose="candidate").values_of(column))  # type: ignore[misc]  # fmt: skip
    for rows in (((2, 1.0, 0.0),), ((2, 1.0, 0.0, 1.0, None),), ((2, 1.0),), ((2, 1.0, 0.0, 1.0),), ((0, 1.0, 0.0),), ((-1, 1.0, 0.0),), ((math.inf, 1.0, 0.0),), ((10**9 + 1, 1.0, 0.0),), ((1, 1.0, 0.0), (2, 1.0)), ((None, 1.0, 0.0),)):  # fmt: skip
        yield attempted(lambda rows=rows: retold._scores("fog", Scored((1, 2), rows)))  # type: ignore[misc]
    rules = (rule("accuracy", "at_least", 0.4), rule("accuracy", "not_worse", 0.1), rule("latency_p50", "at_most", 1.0), rule("agreement", "at_least", 0.5))  # fmt: skip
    grounds = Grounds(rules, samples=(replace(share, beside=beside),), task=data, timed=Timed({"latency_p50": (0.5,) * 6}, {"latency_p50": (0.1, 0.2)}, {"latency_p50": 0.5}))  # fmt: skip
    for changed_ in ({}, {"compared": "v1"}, {"original": True, "first_release": True}, {"task": None}, {"task": replace(data, shared=40), "compared": "v1"}, {"forms": 3, "noun": "rows", "compared": "v1"}):  # fmt: skip
        for found in judge(rules, retold.retold(replace(grounds, **changed_), "v", measured)):  # type: ignore[arg-type]
            yield told((found.gate, found.verdict.value, found.value, found.low, found.high, found.needed, found.text[:60]))  # fmt: skip
    yield told([retold._same(one, other) for one in (None, 0.0, 1.0) for other in (None, 0.0, 1e-12, 2e-12, 1.0, 1 + 1e-9, 1 + 3e-9)])  # fmt: skip


def shown(samples: MetricSamples) -> str:
    """What is told of samples again."""
    kept = {name: getattr(samples, name) for name in ("value", "n", "successes", "trials", "positives", "effect", "counted", "reason")}  # fmt: skip
    rows = None if samples.outcomes is None else (samples.outcomes.shape, int(samples.outcomes.sum()), samples.outcomes[:3].tolist())  # fmt: skip
    return told((kept, rows, samples.bounds(0.05)))


def whole_judgements() -> Iterator[str]:
    """Cases of few and many samples, by every bound at once: verdicts, ends and numbers."""
    for n, old, new, apart in ((1, 0, 0, 0), (2, 1, 0, 1), (10, 0, 10, 0), (30, 0, 0, 0), (60, 3, 3, 3), (400, 20, 60, 0), (2000, 100, 104, 60)):  # fmt: skip
        case = counts(n, old, new, apart, baseline_name="v1", offered=n)
        asked = [rule(name, bound, amount) for name in ("accuracy", "accuracy[site=south]", "precision[class=1]", "f1_macro") for bound, amount in (("at_least", 0.9), ("at_most", 0.95), ("not_worse", 0.02), ("keep", 0.95))]  # fmt: skip
        asked += [rule("accuracy", bound, amount, sequential=True) for bound, amount in (("at_least", 0.9), ("at_most", 0.9), ("not_worse", 0.05))]  # fmt: skip
        asked += [rule("recall", bound, amount, slices="class", family="veto") for bound, amount in (("at_least", 0.9), ("not_worse", 0.02))]  # fmt: skip
        for form in (case, replace(case, offered=n + 5), replace(case, forms=2, baseline=None)):
            for found in judge(asked, form, on_inconclusive="warn"):
                yield told((found.gate, found.rule, found.verdict.value, found.blocking, found.value, found.low, found.high, found.needed, found.detectable, found.n))  # fmt: skip
        yield told([settled(some, case) for some in (asked[:1], asked[1:2], asked[:4], [rule("recall", "at_least", 0.5, slices="hue")], [rule("accuracy", "at_least", 0.1)], [rule("accuracy", "at_least", 0.999)])])  # fmt: skip
        grounds = grounds_of(asked[:4], case, judge(asked[:4], case), on_inconclusive="fail", outcomes=True)
        yield told((len(grounds.samples), [(one.metric, one.where, one.successes, one.trials, one.outcomes, one.beside and (one.beside.gains, one.beside.losses, one.beside.right, one.beside.outcomes is None)) for one in grounds.samples[:6]]))  # fmt: skip


def few_rows_and_forms() -> Iterator[str]:
    """Comparisons of few rows, gates by slice, limits, and samples that no bet is made on."""
    for kind in ("values", "vectors"):
        new_one, old_one = MADE[kind](np.random.default_rng(9))
        for rows in (2, 9, 10, 40):
            few = [
                Evaluation(new_one.task, one.predictions.take(np.arange(rows))) for one in (new_one, old_one)
            ]
            for metric in catalogue.quality(new_one.task.type):
                yield told((kind, rows, metric, attempted(lambda metric=metric, few=few: compare.compare(few[0].samples(metric), few[1].samples(metric)))))  # type: ignore[misc]  # fmt: skip
    values = Evaluation(Task("regression"), Predictions.of({"y": WAVES[:60]}, np.zeros(60)))
    for sliced in ("class", "every", "hue"):
        for candidate in (values, None, counts(30, None, 2).candidate):
            held = Case("v", [Measurement("recall", "v", 0.5, "1", where="class=1"), Measurement("recall", "w", 0.5, "1", where="class=2")], candidate=candidate)  # fmt: skip
            for one in expand(rule("recall", "at_least", 0.5, slices=sliced), held):
                yield told((one.name, one.alpha) if isinstance(one, Gate) else (one.gate, one.verdict.value, one.text))  # fmt: skip
    yield told([looks._rows(one) for one in (samples_of(influence=WAVES[:3], reach=1.0), samples_of(influence=WAVES[:3], reach=1.0, low_limit=0.0, high_limit=1.0), samples_of(influence=WAVES[:3], reach=1.0, low_limit=0.0, high_limit=1.0, jackknifed=True), samples_of(value=None), samples_of(reach=2.0, low_limit=0.0, high_limit=2.0))])  # fmt: skip
    wide = Predictions.of({"label": answered(np.arange(60) % 10, 5)}, np.arange(60) % 10)
    yield from judged(Case("v", candidate=Evaluation(DIGITS, wide), offered=70), rule("f1_macro", "at_least", 0.1), rule("accuracy", "at_least", 0.1))  # fmt: skip
    measured = [Measurement("size", "v", 100.0, "B"), Measurement("size", BASELINE, 90.0, "B"), Measurement("parameters", "v", 7.0, "1"), Measurement("memory", BASELINE, None, "B", reason="gone")]  # fmt: skip
    for metric in ("size", "parameters", "memory"):
        for bound, amount in (("at_most", 100.0), ("at_most", 99.9), ("at_least", 100.0), ("at_least", 100.1), ("not_worse", 0.12), ("not_worse", 0.1), ("keep", 1.2), ("keep", 0.8)):  # fmt: skip
            for required in (True, False):
                yield from judged(Case("v", measured), rule(metric, bound, amount, required=required))


def rare_ways() -> Iterator[str]:
    """Gates that few contracts have: pairs, strict ones, weights, series, looks at what has no counts, and their evidence."""
    for wins, place, fickle in (
        (0.6, 0.0, 0.1),
        (0.9, 0.0, 0.0),
        (0.9, 0.0, 0.01),
        (0.5, 0.9, 0.0),
        (0.5, 0.0, 0.6),
    ):
        said = judged_by(np.random.default_rng(4), 80, wins, place, fickle)
        said.first[:3] = UNKNOWN
        said = replace(said, believed=np.full(80, wins != 0.9, np.int8))
        lean = Measurement("position_bias", "original", 0.2, "1", n=80, low=None if fickle else 0.1, high=0.3)
        people = Measurement("judge_kappa", "original", 0.3, "1", n=40, low=0.1, high=0.5)
        lean = replace(lean, value=0.0, low=-0.1) if fickle == 0.01 else lean
        measured = [] if wins == 0.6 else [lean, people]
        case = replace(pairs_of(said), measurements=measured)
        yield from judged(case, *(rule("win_rate", "at_least", share) for share in (0.3, 0.5, 0.8)))
    for kind in ("values", "vectors"):
        new, old = MADE[kind](np.random.default_rng(6))
        held = Case("v", candidate=new, baseline=old, baseline_name="v1", offered=len(new))
        for name in catalogue.quality(new.task.type):
            value = new.samples(name).value or 0.0
            asked = [rule(name, bound, amount, strict=strict, sequential=looked) for strict, looked in ((True, False), (False, True)) for bound, amount in (("at_least", 0.9 * value), ("at_most", 1.1 * value), ("not_worse", 0.2), ("keep", 0.9), ("keep", 1.1))]  # fmt: skip
            for one in asked:
                first, second = again([one], held)
                for found in (*first, *second):
                    yield told((found.gate, found.verdict.value, found.value, found.low, found.high, found.needed, len(found.text), found.text[-30:]))  # fmt: skip
    labels = np.arange(60) % 3
    weighty = Predictions.of(
        {"y": (labels + (np.arange(60) % 7 == 0)) % 3, WEIGHT: 1.0 + np.abs(WAVES[:60])}, labels
    )
    for found in judge([rule("accuracy", "at_least", 0.5), rule("accuracy", "at_least", 0.95)], Case("v", candidate=Evaluation(Task("classification", (0, 1, 2)), weighty))):  # fmt: skip
        yield line(found)
    for series in (4, 12):
        group, past, future, theirs, mine = sales(np.random.default_rng(3), series)
        old = evaluation(group, past, future, theirs)
        for closer in (0.5, 1.0):
            new = evaluation(group, past, future, future + closer * (mine - future), old)
            held = Case("v", candidate=new, baseline=old, noun="series")
            for name in catalogue.quality("forecasting"):
                for found in judge([rule(name, bound, amount) for bound, amount in (("at_most", 0.9), ("not_worse", 0.1), ("keep", 1.05))], held):  # fmt: skip
                    yield told((found.gate, found.verdict.value, found.value, found.low, found.high, found.needed, found.detectable))  # fmt: skip
    adjusted, _ = drawn(np.random.default_rng(5), 300)
    for bound, amount in (("at_least", 0.7), ("at_least", 0.95), ("at_most", 0.8), ("not_worse", 0.05)):
        first, second = again(
            [rule("accuracy", bound, amount), rule("accuracy", bound, amount, alpha=0.01)], adjusted
        )
        yield from map(line, (*first, *second))
    old = counts(400, None, 20).candidate
    assert old is not None
    trained = Population([Evaluation(DIGITS, Predictions.of({"label": answered(np.arange(400) % 10, wrong)}, np.arange(400) % 10), old) for wrong in (12, 20, 15)])  # fmt: skip
    value = trained.samples("balanced_accuracy").value
    measured = [Measurement("balanced_accuracy", whose, value, "1", n=400, low=low, high=0.99) for whose, low in ((CANDIDATES, 0.9), ("v", 0.91))]  # fmt: skip
    held = Case("v", measured, candidate=trained, baseline=old)
    asked = [rule("accuracy", bound, amount) for bound, amount in (("at_least", 0.9), ("at_least", 0.96), ("at_most", 0.96), ("not_worse", 0.02), ("keep", 0.99))]  # fmt: skip
    first, second = again(asked, held)
    yield from map(line, (*first, *second))
    later = retold.retold(grounds_of(asked, held, first, on_inconclusive="fail"), "v", measured)
    yield from judged(
        later, rule("balanced_accuracy", "at_least", 0.9), rule("balanced_accuracy", "at_least", 0.905)
    )
    one = Adjusted("hard", 0.4, 0.5, 0.05, 0.45, 0.55)
    for amount, metric in product((0.4, 0.5, 0.55, 0.6), ("mae", "accuracy")):
        for bound in ("at_least", "at_most"):
            asked_of = gate(rule(metric, bound, amount), MAE if metric == "mae" else ACCURACY)
            yield line(threshold._judged_adjusted(asked_of, Case("v"), samples_of(metric=metric), one))
    sure = Told("mae", 0.5, False, 40, adjusted=(one, replace(one, alpha=0.01), replace(one, alpha=0.2)))
    yield told([threshold.adjusted(gate(rule("mae", "at_most", 0.5), MAE, alpha), Case("v"), sure) for alpha in (0.5, 0.05, 0.02, 0.001)])  # fmt: skip
    yield told([threshold._faultless(samples_of(resample=resample, effect=effect), (0.4, 0.4 + by), 0.05) for resample in (None, len) for effect in (None, 1.0) for by in (0.2, 2 * unseen(40, 0.05))])  # fmt: skip
    for flips, amount in ((0, 0.01), (1, 0.01), (1, 0.2), (9, 0.01)):
        held = replace(counts(100, 0, flips), self_flips=SelfFlips(flips, 100))
        yield from judged(held, rule("negative_flips", "at_most", amount))
    foreign = replace(
        counts(300, 9, 12), measurements=[Measurement("recall", "fp32", 0.1, "1", where="class=1")]
    )
    yield from judged(foreign, rule("recall", "at_least", 0.5, slices="class", family="veto"))
    for bounds in (None, (0.4, 0.5), (0.5, 0.6), (0.5, 0.5), (0.3, 0.4)):
        yield told([looks._of_bounds(gate(rule("mae", "at_most", 0.5), MAE), Case("v"), samples_of(), bounds, 0.5, sign, "mae").verdict.value for sign in (-1, 1)])  # fmt: skip
    yield told([(row.gate, row.n) for row in folded(plan([rule("recall", "at_least", 0.9, slices="class"), rule("size", "at_most", 5.0)], {f"class={k}": n for k, n in enumerate((40, 40, 60, 60, 60, 7))}))])  # fmt: skip
    yield line(error_budget([rule("size", "at_most", 5.0), rule("accuracy", "at_least", 0.5), rule("latency_p50", "at_most", 1.0)], None, forms=1))  # fmt: skip
    for place, n in ((Together(3, 0.9, "a", 40, 40), 40), (Together(3, 0.9, "a", 40, 39), 39), (Together(3, 0.9, "a", 40, None), 0)):  # fmt: skip
        yield told((place.enough, n, place.text))
    yield attempted(lambda: retold.RetoldEvaluation(EvaluatedData("classification", {"mine": True}, {}, 40), [], (), whose="candidate").task.own["mine"](labels, labels))  # fmt: skip
    yield told((Verdict.worst([]).value, Drift((replace(_CHANGED, verdict=Verdict.FAIL), _CHANGED)).changed))


_CHANGED = Drifted("c", "KS", 0.1, 0.5, 0.1, Verdict.PASS)


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    made.__name__: made
    for made in (
        plans,
        bounds_of_counts,
        series_of_rounds,
        differences,
        bounds_alone,
        corrupted,
        corrupted_beside,
        changed_columns,
        broken_grounds,
        whole_judgements,
        few_rows_and_forms,
        rare_ways,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_formula_gives_another_number_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
