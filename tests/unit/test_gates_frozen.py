"""What each gate says and what each plan says, to the digit and to the word: no number or sentence of a verdict changes unseen.

The formulae are held by tests and studies of their own; here their results stay as they are. ``python
tests/unit/test_gates_frozen.py`` writes the golden files anew, after a change that is meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frozen import attempted, changed, line, told, write
from test_covariate import drawn
from test_judge import case_of as judged_pairs
from test_judge import said
from test_verdicts_retold import MADE, again, rules_of

from gradatim.gates import betting, exact, paired, sequential, together
from gradatim.gates.budget import error_budget
from gradatim.gates.case import BASELINE, Case, CorruptionScores
from gradatim.gates.compare import compare
from gradatim.gates.distribution import Drift
from gradatim.gates.drift import bounds as drift_bounds
from gradatim.gates.drift import counted
from gradatim.gates.drift import drift as drifted
from gradatim.gates.drift import planned as drift_planned
from gradatim.gates.flips import SelfFlips, self_flips_of
from gradatim.gates.judge import first_proven, judge
from gradatim.gates.latency import PairedTiming, narrowing, paired_timing
from gradatim.gates.plan_row import folded
from gradatim.gates.planning import plan, with_covariate, with_training
from gradatim.gates.recording import grounds_of
from gradatim.gates.retold import retold
from gradatim.gates.reuse import Charge, Reuse, UseLedger, alpha_after
from gradatim.gates.robustness import losses
from gradatim.gates.rule import Rule, paired_margins, tolerated
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.common import evaluate_beside
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import Population
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

GOLDEN = Path(__file__).parent / "golden" / "gates"
DIGITS = Task("classification", tuple(range(10)))
ONCE = Reuse(Charge("d" * 64, "c" * 64, 1, fresh=False), 2)


def rule(key: str, bound: str, amount: float, **more: Any) -> Rule:
    metric, _, where = key.partition("[")
    return Rule(key, metric, bound, amount, where=where.rstrip("]") or None, line=7, **more)  # type: ignore[arg-type]


def judged(case: Case, *rules: Rule, on_inconclusive: str = "fail") -> Iterator[str]:
    yield from map(line, judge(rules, case, on_inconclusive=on_inconclusive))


def answered(labels: Any, wrong: int, start: int = 0) -> Any:
    """So many answers that take a label for the next one, from one on."""
    places = np.arange(len(labels))
    return np.where((places >= start) & (places < start + wrong), (labels + 1) % 10, labels)


def counts(n: int, old: int | None, new: int, apart: int = 0, **more: Any) -> Case:
    """A candidate that misses some of n, beside a baseline that misses others, ``apart`` further on."""
    labels = np.arange(n) % 10
    sites = {"site": np.where(np.arange(n) % 3, "north", "south")}
    base = None
    if old is not None:
        base = Evaluation(DIGITS, Predictions.of({"label": answered(labels, old, apart)}, labels, sites))
    mine = Predictions.of({"label": answered(labels, new)}, labels, sites)
    return Case("fp32", candidate=Evaluation(DIGITS, mine, base), baseline=base, noun="images", **more)


def shares() -> Iterator[str]:
    """At least, at most: few samples and many, faultless and not."""
    for n, wrong in (
        (1, 0),
        (1, 1),
        (28, 0),
        (29, 0),
        (46, 1),
        (60, 4),
        (61, 8),
        (300, 12),
        (300, 20),
        (900, 60),
        (5000, 480),
    ):
        case = counts(n, None, wrong)
        for amount in (0.9, 0.95):
            yield from judged(case, rule("accuracy", "at_least", amount))
        yield from judged(case, rule("accuracy", "at_most", 0.95), rule("accuracy", "at_least", 1.0))
    case = counts(400, None, 30)
    yield from judged(
        case, rule("recall", "at_least", 0.8, slices="class"), rule("precision[class=3]", "at_least", 0.95)
    )
    yield from judged(
        case,
        rule("accuracy", "at_least", 0.9, slices="every"),
        rule("accuracy[site=south]", "at_least", 0.97),
    )
    yield from judged(case, rule("recall", "at_least", 0.95, slices="class", family="veto"))
    yield from judged(case, rule("accuracy[class=2]", "at_least", 0.95), on_inconclusive="warn")
    yield from judged(
        replace(case, forms=4, reuse=ONCE),
        rule("accuracy", "at_least", 0.88),
        rule("accuracy", "at_least", 0.9),
    )
    spent = Reuse(Charge("d" * 64, "c" * 64, 3, fresh=True), 2)
    for reuse in (spent, Reuse(None, 2, reason="nobody answers.")):
        yield from judged(
            replace(case, reuse=reuse), rule("accuracy", "at_least", 0.5), rule("size", "at_most", 5.0)
        )
    labels = np.arange(400) % 8  # two of ten classes are not there
    few = Case("v", candidate=Evaluation(DIGITS, Predictions.of({"label": answered(labels, 20)}, labels)))
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "accuracy[class=9]", "recall[class=9]"):
        yield from judged(few, rule(name, "at_least", 0.9))


def comparisons() -> Iterator[str]:
    """Not worse, a share kept, and flips: from no change to many."""
    for n, old, new, apart in (
        (50, 0, 0, 0), (300, 0, 0, 0), (300, 3, 3, 3), (300, 10, 1, 0), (300, 1, 10, 0), (900, 25, 25, 25), (900, 0, 60, 0),
        (900, 60, 20, 30), (3000, 90, 90, 45), (3000, 90, 120, 0), (6000, 400, 420, 100), (12, 2, 3, 4),
    ):  # fmt: skip
        case = counts(n, old, new, apart, baseline_name="v1.0.0")
        for bound, amount in (("not_worse", 0.01), ("not_worse", 0.03), ("keep", 0.98)):
            yield from judged(case, rule("accuracy", bound, amount))
        yield from judged(
            case, rule("accuracy", "not_worse", 0.02, relative=True), rule("negative_flips", "at_most", 0.02)
        )
        yield from judged(
            case, rule("agreement", "at_least", 0.95), rule("accuracy[site=north]", "not_worse", 0.02)
        )
    case = counts(900, 30, 45, 20, self_flips=SelfFlips(30, 900))
    yield from judged(case, rule("negative_flips", "at_most", 0.01), rule("negative_flips", "at_most", 0.2))
    yield from judged(replace(case, self_flips=SelfFlips(1, 900)), rule("negative_flips", "at_most", 0.01))
    yield from judged(case, rule("recall", "not_worse", 0.05, slices="class", family="veto"))
    yield from judged(case, rule("accuracy", "not_worse", 0.001, slices="site", family="veto", alpha=0.2))
    yield from judged(replace(case, baseline=None), rule("accuracy", "not_worse", 0.01))
    first = replace(counts(200, None, 9), first_release=True)
    yield from judged(first, rule("accuracy", "not_worse", 0.01), rule("agreement", "at_least", 0.9))
    beside = replace(counts(200, 9, 12), first_release=True, baseline=None)
    yield from judged(
        beside, rule("agreement", "at_least", 0.9), rule("agreement", "at_least", 0.99, sequential=True)
    )


def looked_at() -> Iterator[str]:
    """Bounds that hold at every look."""
    for n, old, new, apart in (
        (40, 2, 2, 2),
        (300, 0, 0, 0),
        (900, 20, 90, 0),
        (900, 90, 20, 0),
        (3000, 90, 90, 45),
    ):
        case = counts(n, old, new, apart, offered=n + 100)
        for bound, amount in (("at_least", 0.9), ("at_most", 0.95), ("not_worse", 0.02), ("keep", 0.97)):
            yield from judged(case, rule("accuracy", bound, amount, sequential=True))
    new, old = MADE["values"](np.random.default_rng(1))
    yield from judged(Case("v", candidate=new, baseline=old), rule("mae", "at_most", 1.0, sequential=True))
    for n, total in ((0, 0), (0, 10), (10, 10), (3, 10), (300, 1000)):
        yield told(sequential.share_bounds(n, total, 0.05))
    yield told(sequential.difference_bounds((30, 100), (50, 100), 0.05))
    for wrong, bound in ((0.02, 0.9), (0.1, 0.9), (0.02, 0.95), (0.0, -1.0)):
        scores = betting.Scores.right_and_wrong(1 - wrong)
        yield told(
            (betting.rows_until_proven(scores, bound, 0.05), betting.rows_faultless(scores, bound, 0.05))
        )
    change = betting.Scores.gained_and_lost(0.05, 0.01)
    yield told((betting.rows_until_proven(change, -0.02, 0.05), betting.rows_faultless(change, -0.02, 0.01)))
    yield told(betting.bounds(betting.Scores.of(np.arange(50) / 40, 0.0, 1.0), 0.05))


def every_metric(kind: str) -> Iterator[str]:
    """All bounds on all metrics of a task, and what is told again from the evidence alone."""
    new, old = MADE[kind](np.random.default_rng(0))
    case = Case("v", candidate=new, baseline=old, baseline_name="v1.0.0")
    rules = list(rules_of(new))
    for one in rules[
        :: 5 if len(rules) > 100 else 1
    ]:  # no bound and no metric comes up every fifth time alone
        first, second = again([one], case, outcomes=True)
        yield from map(line, first)
        yield from (
            f"  again: {other.text}" for one, other in zip(first, second, strict=True) if other != one
        )


def corruptions() -> Iterator[str]:
    """Robustness in each of its kinds, on right and wrong and on scores."""
    places = np.arange(400)[:, None]
    sound = np.array([0.96, 0.92, 0.85, 0.8, 0.7])
    luck = (places * 89 % 401) / 401
    mine, theirs = (luck < sound) * 1.0, (luck < sound - 0.02 + 0.03 * (places % 7 == 0)) * 1.0
    noise = CorruptionScores("noise", (1, 2, 3, 4, 5), mine, theirs)
    unknown = replace(noise, baseline=np.where(places % 9 == 0, np.nan, theirs))
    graded = CorruptionScores(
        "blur", (1, 3), np.cos(places * [0.01, 0.011]), np.cos(places * [0.012, 0.0111])
    )
    equal = CorruptionScores("dust", (1, 2), np.ones((30, 2)), np.ones((30, 2)))
    alone = CorruptionScores("dust", (2,), np.ones((1, 1)))
    for found in (
        noise,
        unknown,
        graded,
        equal,
        alone,
        replace(noise, baseline=None),
        replace(noise, candidate=theirs, baseline=mine),
    ):
        case = Case("v", robustness={found.corruption: found}, baseline_name="v1.0.0")
        for bound, amount in (("at_least", 0.8), ("at_most", 0.9), ("at_least", 0.86)):
            yield from judged(case, rule("robustness", bound, amount))
        for bound, amount in (("not_worse", 0.005), ("not_worse", 0.05), ("keep", 0.99), ("keep", 0.9)):
            for more in ({"strict": True}, {"relative": True}) if amount == 0.05 else ({},):
                yield from judged(case, rule("robustness", bound, amount, **more))
        for severity, amount in ((1, 0.9), (2, 0.84), (2, 0.9), (3, 0.75), (5, 0.75)):
            yield from judged(
                case, rule(f"robustness[{found.corruption}]", "at_least", amount, severity=severity)
            )
        yield told(losses(found.candidate, found.candidate if found.baseline is None else found.baseline))
    yield from judged(
        Case("v"), rule("robustness", "at_least", 0.8), rule("robustness[fog]", "at_least", 0.8)
    )
    yield from judged(
        Case("v", robustness={"noise": noise}), rule("robustness[fog]", "at_least", 0.8, required=False)
    )


def timings() -> Iterator[str]:
    """Time, size and what stands for them."""
    waves = [math.sin(place) for place in range(36)]
    for rounds, shift, by in ((2, 0.0, 0.01), (3, 0.0, 0.01), (6, 0.0, 0.004), (16, 0.02, 0.01), (16, 0.02, 0.05), (36, 0.05, 0.02), (36, -0.05, 0.02), (10, 0.028, 0.01)):  # fmt: skip
        ratios = [shift + by * wave for wave in waves[:rounds]]
        names = ("latency_floor", "latency_p95", "throughput")
        case = Case("v", timings=dict.fromkeys(names, paired_timing(ratios, 2e-3)), baseline_name="v1.0.0")
        for name, bound, amount in (
            ("latency_floor", "not_worse", 0.03),
            ("latency_p95", "keep", 1.02),
            ("throughput", "not_worse", 0.03),
            ("throughput", "keep", 1.01),
            ("latency_floor", "not_worse", -0.02),
        ):
            yield from judged(case, rule(name, bound, amount))
        once = replace(case, timings={"latency_p95": PairedTiming(ratios, 2e-3, 2.1e-3)})
        yield from judged(
            once, rule("latency_p95", "not_worse", 0.03), rule("latency_p50", "not_worse", 0.03)
        )
        levels = [2e-3 * math.exp(ratio) for ratio in ratios]
        case = Case(
            "v", rounds={"latency_p50": levels, "latency_p99": levels, "throughput": [1 / x for x in levels]}
        )
        for name, bound, amount in (
            ("latency_p50", "at_most", 2e-3),
            ("latency_p99", "at_most", 2.1e-3),
            ("throughput", "at_least", 490.0),
        ):
            yield from judged(case, rule(name, bound, amount), rule(name, bound, amount * 1.03))
    broken = Case("v", rounds={"latency_p50": [1e-3, math.inf, 1e-3], "latency_p99": []})
    yield from judged(
        broken,
        rule("latency_p50", "at_most", 1.0),
        rule("latency_p99", "at_most", 1.0),
        rule("memory", "at_most", 5.0),
    )
    sizes = [Measurement("size", "v", 105e6, "B"), Measurement("size", BASELINE, 100e6, "B"), Measurement("memory", "v", None, "B", reason="no device"),
             Measurement("latency_mean", "v", 2e-3, "s", low=1.9e-3, high=2.1e-3, n=9), Measurement("throughput", "v", 5.0, "1/s")]  # fmt: skip
    case = Case("v", sizes, baseline_name="v1.0.0")
    for bound, amount in (
        ("at_most", 105e6),
        ("at_most", 104e6),
        ("not_worse", 0.05),
        ("not_worse", 0.04),
        ("keep", 1.05),
        ("keep", 0.9),
    ):
        yield from judged(case, rule("size", bound, amount))
    yield from judged(
        case,
        rule("memory", "at_most", 5e6),
        rule("memory", "not_worse", 0.1, required=False),
        rule("parameters", "at_most", 5.0),
    )
    yield from judged(
        replace(case, waits="no device"), rule("memory", "at_most", 5e6), rule("throughput", "at_least", 4.0)
    )
    for amount in (1.8e-3, 2e-3, 2.2e-3):
        yield from judged(case, rule("latency_mean", "at_most", amount))
    for rounds in (3, 6, 24):
        yield told((narrowing(rounds, 36, 0.05), narrowing(rounds, rounds, 0.001)))
    yield told(list(paired_margins([rule("latency_p50", "not_worse", 0.05), rule("throughput", "keep", 0.98), rule("latency_p50", "keep", 1.02)]).items()))  # fmt: skip
    yield told(
        [tolerated(rule(name, "not_worse", 0.02), _meaning(name)) for name in ("latency_p50", "throughput")]
    )


def _meaning(name: str) -> catalogue.Metric:
    found = catalogue.find(name, "classification")
    assert found is not None
    return found


def filed() -> Iterator[str]:
    """Measurements where the predictions are elsewhere."""
    taken = [
        Measurement("accuracy", "v", 0.95, "1", n=400, successes=380, low=0.92, high=0.97),
        Measurement("log_loss", "v", 0.2, "1", n=400, low=0.15, high=0.25), Measurement("ece", "v", 0.02, "1", n=400),
        Measurement("recall", "v", 0.9, "1", n=40, successes=36, where="class=3"), Measurement("roc_auc", "v", None, "1", reason="one class"),
        Measurement("f1_macro", "v", 0.9, "1", n=400, low=0.95, high=0.97),
    ]  # fmt: skip
    case = Case("v", taken, baseline_name="v1.0.0")
    for metric, bound, amounts in (
        ("accuracy", "at_least", (0.9, 0.94, 0.96, 0.99)), ("log_loss", "at_most", (0.1, 0.2, 0.3)), ("ece", "at_most", (0.1,)),
        ("roc_auc", "at_least", (0.9,)), ("f1_macro", "at_least", (0.94,)), ("recall[class=3]", "at_least", (0.8, 0.95)),
        ("precision", "at_least", (0.5,)), ("accuracy", "not_worse", (0.01,)), ("nothing", "at_least", (0.5,)),
    ):  # fmt: skip
        for amount in amounts:
            yield from judged(case, rule(metric, bound, amount), rule(metric, bound, amount, alpha=0.01))
    yield from judged(
        case, rule("recall", "at_least", 0.7, slices="class"), rule("recall", "at_least", 0.7, slices="site")
    )
    yield from judged(case, rule("accuracy", "at_least", 0.9, sequential=True))


def columns() -> Iterator[str]:
    """Drift of the evaluation data."""
    places = np.arange(900)
    old = {
        "size": np.sin(places) * 10,
        "site": np.array(["n", "s", "e"])[places % 3],
        "few": places % 7,
        "rare": places // 300 * (places % 50 == 0),
    }
    kept = {name: counted(column) for name, column in old.items()}
    for name in kept:
        yield line(kept[name])
    gone = np.where(places % 40 == 0, np.nan, old["size"] + 2)
    for count in (25, 300, 900):
        new = {
            "size": gone[:count],
            "site": np.array(["n", "s", "w"])[places[:count] % 3],
            "few": places[:count] % 6,
            "rare": old["rare"][:count],
        }
        for reference, batch in ((kept, new), (old, {**new, "size": old["size"][:count] + 2})):
            found = drifted(reference, batch)
            yield from map(line, found)
            yield told([drift_bounds(one, 0.05) for one in found])
        drift = Drift(tuple(drifted(kept, new, units=(900, count))), units=count)
        for amount in (0.05, 0.5, 30.0):
            case = Case("v", drift=drift, baseline_name="v1.0.0", noun="rows")
            yield from judged(case, rule("drift", "at_most", amount))
            yield from judged(
                replace(case, drift=replace(drift, reason="`hue` is gone")), rule("drift", "at_most", amount)
            )
    yield from judged(Case("v"), rule("drift", "at_most", 0.1))
    yield told([drift_planned(amount, 0.05, 0.8) for amount in (0.02, 0.1, 0.3)])


def recipes_pairs_and_covariates() -> Iterator[str]:
    """Candidates of one recipe, answers compared by a judge, and what a covariate tells."""
    labels = np.arange(600) % 10
    old = Evaluation(DIGITS, Predictions.of({"label": answered(labels, 20, 9)}, labels))
    several = Population(
        [
            Evaluation(DIGITS, Predictions.of({"label": answered(labels, wrong)}, labels), old)
            for wrong in (12, 20, 15)
        ]
    )
    case = Case("v", candidate=several, baseline=old, baseline_name="v1.0.0")
    for bound, amount in (
        ("at_least", 0.95),
        ("at_least", 0.9),
        ("at_least", 0.99),
        ("not_worse", 0.02),
        ("keep", 0.9),
    ):
        yield from judged(
            case, rule("accuracy", bound, amount), rule("accuracy[class=1]", bound, amount, family="veto")
        )
    for share, wins, place in ((0.45, 0.6, 0.0), (0.45, 0.5, 0.6), (0.55, 0.7, 0.2), (0.3, 0.45, 1.0)):
        pairs = judged_pairs(said(np.random.default_rng(4), 150, wins, place, 0.1))
        yield from judged(pairs, rule("win_rate", "at_least", share))
    adjusted, _ = drawn(np.random.default_rng(5), 500)
    for bound, amount in (("at_least", 0.7), ("at_least", 0.9), ("at_most", 0.8)):
        yield from judged(adjusted, rule("accuracy", bound, amount))


def side_by_side() -> Iterator[str]:
    """How two models compare on each metric of each task, whatever a gate then makes of it, and which do not compare."""
    for kind in MADE:
        new, old = MADE[kind](np.random.default_rng(1))
        known = [
            name for name in (*catalogue.known(new.task.type), *new.task.own) if _comparable(new, old, name)
        ]
        for name in known:
            mine, theirs = new.samples(name), old.samples(name)
            for margin, ratio, alpha in ((0.0, 1.0, 0.05), (0.02, 1.0, 0.001), (0.0, 0.9, 0.05), (0.3, 1.2, 0.01)):  # fmt: skip
                for veto in (False, True):
                    yield f"{kind} {name} {attempted(lambda: compare(mine, theirs, margin=margin, ratio=ratio, alpha=alpha, veto=veto))}"  # noqa: B023
            for other in (replace(theirs, metric="other"), replace(theirs, where="site=north"), replace(theirs, pairing="x"), replace(theirs, value=None, reason="it has none")):  # fmt: skip
                yield attempted(lambda: compare(mine, other))  # noqa: B023


def _comparable(new: Evaluation, old: Evaluation, name: str) -> bool:
    metric = new.task.metric(name)
    return (
        metric is not None
        and metric.kind in ("quality", "own")
        and new.samples(name).value is not None
        and old.samples(name).value is not None
    )


def told_again() -> Iterator[str]:
    """What others ask of the evidence later, how much of a corruption is kept, and what cannot be."""
    new, old = MADE["classes"](np.random.default_rng(2))
    measured = [Measurement("f1_macro", "v", new.samples("f1_macro").value, "1", n=240, low=0.5, high=0.9)]
    case = Case("v", measured, candidate=new, baseline=old, baseline_name="v1.0.0")
    asked = [
        rule("log_loss", "keep", 1.1),
        rule("f1_macro", "not_worse", 0.05),
        rule("accuracy", "at_least", 0.5),
    ]
    results = judge(asked, case)
    again = retold(grounds_of(asked, case, results, on_inconclusive="fail"), "v", measured)
    for key in ("log_loss", "f1_macro", "accuracy", "ece", "recall[class=1]", "accuracy[site=north]", "accuracy[hue=1]", "f1[class=1]", "mine", "nothing"):  # fmt: skip
        for bound, amount in (
            ("at_least", 0.4),
            ("at_most", 0.4),
            ("not_worse", 0.05),
            ("not_worse", 0.02),
            ("keep", 1.1),
            ("keep", 0.9),
        ):
            yield from judged(again, rule(key, bound, amount))
    for rows in (4096, 4097):
        table = ((np.arange(rows)[:, None] >> np.arange(13)) & 1) * 1.0
        scores = CorruptionScores("noise", tuple(range(1, 14)), table)
        kept = grounds_of([], Case("v", robustness={"noise": scores}), [], on_inconclusive="fail").scores[
            "noise"
        ]
        yield told((rows, len(kept.rows), kept.rows[1:3]))
    cannot = [Measurement("recall", "v", 0.8, "1", n=40, successes=36), Measurement("ece", "v", 0.1, "1", n=-1), Measurement("f1_macro", "v", 0.5, "1", n=9, low=0.6, high=0.4),
              Measurement("accuracy", "v", None, "1", n=4, successes=5, reason="none"), Measurement("log_loss", "v", 0.1, "1", n=9), Measurement("log_loss", "v", 0.2, "1", n=9), Measurement("precision", "v", 0.0, "1", n=0, successes=0)]  # fmt: skip
    for one in cannot:
        yield from judged(Case("v", cannot), rule(one.name, "at_least", 0.5))
    for scores in (lambda: CorruptionScores("x", (1, 2), np.ones((3, 1))), lambda: CorruptionScores("x", (2, 1), np.ones((3, 2))), lambda: CorruptionScores("x", (1,), np.full((3, 1), np.nan)), lambda: CorruptionScores("x", (1,), np.ones((0, 1))),
                   lambda: CorruptionScores("x", (1,), np.ones((3, 1)), np.ones((2, 1))), lambda: CorruptionScores("x", (1,), np.ones((3, 1)), np.full((3, 1), np.nan))):  # fmt: skip
        yield attempted(scores)
    for forms, good in (
        (("a", "b", "c"), {"a": 2}),
        (("a", "b", "c"), {"b": 3, "a": 1}),
        (("a", "b"), {"b": 2, "a": 1}),
        (("a", "b"), {}),
        (("a",), {"a": 1}),
    ):
        asked_of: list[tuple[str, int]] = []

        def results_of(
            form: str, share: int, good: dict[str, int] = good, asked_of: list[tuple[str, int]] = asked_of
        ) -> list[GateResult]:
            asked_of.append((form, share))
            verdict = Verdict.PASS if share <= good.get(form, 0) else Verdict.FAIL
            return [GateResult("g", "g", verdict, form, "w", "t")]

        yield told((first_proven(forms, results_of)[0], asked_of))
    several = [rule("accuracy", bound, amount, **more) for bound, amount in (("at_least", 0.9), ("at_least", 0.95), ("at_most", 0.9), ("keep", 0.98), ("keep", 1.02), ("keep", 0.99), ("not_worse", 0.02)) for more in ({}, {"strict": True}, {"required": False})]  # fmt: skip
    several += [rule("robustness", "at_least", 0.9, severity=severity) for severity in (None, 2, 3)] + [
        rule("accuracy", "at_least", 0.9, alpha=0.01)
    ]
    yield from ("".join("01"[one.implies(other)] for other in several) for one in several)
    ledger = UseLedger()
    for data, candidate in (("d1", "a"), ("d2", "a"), ("d1", "b"), ("d1", "a")):
        ledger, charge = ledger.charge(data, candidate)
        yield told((charge, ledger.uses("d1"), ledger.find("d1", "c")))
    lines = ledger.text.splitlines(keepends=True)
    for text in (b"".join(lines[1:]), lines[0] * 2, b"[]\n", b"{}\n", b"no json\n"):
        yield attempted(lambda text=text: UseLedger(text))  # type: ignore[misc]
    for evaluations, delta in ((8, 0.05), (0, 0.05), (-1, 0.05), (1, 0.0), (1, 1.0)):
        yield attempted(lambda evaluations=evaluations, delta=delta: alpha_after(evaluations, delta))  # type: ignore[misc]
    for wrong in range(0, 40, 3):
        yield from judged(counts(300, None, wrong), rule("accuracy", "at_least", 0.92, sequential=True))
    few = counts(300, 5, 9, 3)
    yield from judged(
        few,
        rule("f1[class=3]", "at_least", 0.5),
        rule("f1[class=3]", "not_worse", 0.1),
        rule("precision[class=3]", "not_worse", 0.1),
    )


def on_the_bound() -> Iterator[str]:
    """Values that are exactly what was asked for, and what is told of them from the evidence alone."""
    labels = np.arange(400) % 10
    case = replace(
        counts(400, 0, 100),
        measurements=[Measurement("size", "fp32", 100.0, "B"), Measurement("size", BASELINE, 80.0, "B")],
    )
    quarter = [rule("accuracy", "at_least", 0.75), rule("accuracy", "at_most", 0.75), rule("accuracy", "not_worse", 0.25), rule("accuracy", "keep", 0.75), rule("agreement", "at_least", 0.75), rule("negative_flips", "at_most", 0.25), rule("size", "at_most", 100.0), rule("size", "not_worse", 0.25), rule("size", "keep", 1.25)]  # fmt: skip
    for one in quarter:
        for more in ({}, {"sequential": True}):
            asked = replace(one, **more)
            first, second = again([asked], case)
            yield from map(line, (*first, *second))
    places = np.arange(64)[:, None]
    scores = CorruptionScores("noise", (1, 2), (places % 4 > 0) * np.ones((1, 2)), np.ones((64, 2)))
    robust = Case(
        "v",
        robustness={
            "noise": scores,
            "blur": replace(scores, corruption="blur", candidate=scores.candidate * 0.5 + 0.25),
        },
    )
    for bound, amount in (("at_least", 0.75), ("at_most", 0.75), ("not_worse", 0.25), ("keep", 0.75)):
        yield from judged(
            robust,
            rule("robustness", bound, amount),
            rule("robustness[noise]", bound, amount, severity=2 if bound == "at_least" else None),
        )
    flat = Case(
        "v",
        timings={"latency_p50": PairedTiming([math.log(1.03)] * 5, 1e-3, 1.03e-3)},
        rounds={"latency_mean": [2e-3, 2e-3, 2e-3], "latency_p99": [2e-3] * 6},
    )
    yield from judged(
        flat,
        rule("latency_p50", "not_worse", 0.03),
        rule("latency_mean", "at_most", 2e-3),
        rule("latency_p99", "at_most", 2e-3),
    )
    odd = Evaluation(DIGITS, Predictions.of({"label": labels[:300]}, labels[:300]))
    strange = replace(case, baseline=odd)
    yield from judged(
        strange,
        *quarter[:4],
        rule("accuracy", "not_worse", 0.1, slices="class", family="veto"),
        rule("recall", "at_least", 0.5, slices="class", family="veto"),
    )
    wide, known = Task("classification", tuple(range(10))), Task("classification", tuple(range(8)))
    wider, few = evaluate_beside(
        wide,
        Predictions.of({"scores": np.eye(10)[answered(labels, 30)] * 5}, labels),
        known,
        Predictions.of({"scores": np.eye(8)[labels % 8] * 5}, labels),
    )
    for asked in (rule("accuracy", "not_worse", 0.1), rule("recall[class=9]", "not_worse", 0.1), rule("recall[class=1]", "not_worse", 0.3), rule("f1_macro", "keep", 0.9), rule("log_loss", "at_most", 0.9), rule("agreement", "at_least", 0.5), rule("accuracy", "keep", 0.9, sequential=True)):  # fmt: skip
        first, second = again([asked], Case("v", candidate=wider, baseline=few), outcomes=True)
        yield from map(line, (*first, *second))
    for left in (0.0, 0.5):
        values = Evaluation(
            Task("regression"), Predictions.of({"y": np.sin(np.arange(200)) * left + 1.0}, np.ones(200))
        )
        for bound, amount in (("at_most", 0.5), ("not_worse", 0.1), ("keep", 1.1)):
            yield from judged(
                Case("v", candidate=values, baseline=values),
                rule("mae", bound, amount),
                rule("rmse", bound, amount, alpha=0.01),
                rule("mae", bound, amount, family="veto"),
            )


def plans() -> Iterator[str]:
    """What a contract is told before anything runs."""
    rules = [rule(name, bound, amount) for name in ("accuracy", "recall[class=1]", "f1[class=1]", "f1_macro", "precision[class=2]", "log_loss", "negative_flips", "agreement")
             for bound, amount in (("at_least", 0.9), ("at_most", 0.02), ("not_worse", 0.01), ("keep", 0.98), ("not_worse", 0.0), ("at_least", 1.0))]  # fmt: skip
    rules += [rule(name, bound, amount) for name in ("latency_p50", "latency_p99", "latency_floor", "size", "throughput")
              for bound, amount in (("at_most", 0.9), ("not_worse", 0.03))]  # fmt: skip
    rules += [rule("recall", "at_least", 0.9, slices="class"), rule("accuracy", "not_worse", 0.02, slices="every", family="veto"), rule("accuracy", "at_least", 0.8, slices="site"),
              rule("accuracy", "at_least", 0.8, slices="hue"), rule("robustness", "at_least", 0.8, severity=3), rule("robustness[fog]", "at_least", 0.8, severity=9),
              rule("robustness", "not_worse", 0.05), rule("drift", "at_most", 0.1), rule("nothing", "at_least", 0.5), rule("accuracy", "not_worse", 0.05, relative=True)]  # fmt: skip
    rules += [rule(name, bound, amount, sequential=True) for name in ("accuracy", "log_loss") for bound, amount in (("at_least", 0.9), ("at_most", 0.02), ("not_worse", 0.01), ("keep", 0.98))]  # fmt: skip
    some = {"": 3000, "class=0": 28, "class=1": 49, "class=2": 400, "site=north": 2000, "site=south": 0}
    yield from map(line, plan(rules, some, severities=(1, 2, 3), noun="images"))
    for given in ({"": 60, "class=1": 50}, {"": 250}, {}):
        yield from map(line, plan(rules[::3], given, severities=(1, 2, 3)))
    yield from map(line, plan(rules[::2], some, alpha=0.0125, forms=3, takes_all="ece"))
    yield from map(
        line, plan(rules[1::2], {name: count // 4 for name, count in some.items()}, rows=some, power=0.95)
    )
    pairs = [rule("win_rate", "at_least", share) for share in (0.3, 0.5, 0.55, 0.9)]
    for pair_counts in ({"": 150}, {"": 5}, {}):
        yield from map(line, plan(pairs, pair_counts, task="generation", noun="pairs"))
    rows = plan(rules[:8], some)
    yield line(with_covariate(rows[0], "hard", None))
    yield line(with_covariate(rows[0], "hard", 0.36))
    yield line(with_training(rows[0], 3, 0.05))
    yield from map(
        line,
        folded(plan([rule("recall", "at_least", 0.9, slices="class")], {f"class={k}": 40 for k in range(3)})),
    )
    yield from (str((row.tight, row.undecidable)) for row in rows)
    everything = together.planned_together(rows, lambda power: plan(rules[:8], some, power=power))
    yield told(
        [] if everything is None else [everything.gate, everything.needed, everything.power, everything.text]
    )
    budgets = (
        [],
        rules[:1],
        rules[:8],
        [rule("recall", "at_least", 0.9, slices="class", family="veto")],
        [rule("latency_p50", "not_worse", 0.03)],
    )
    for some_rules in budgets:
        for reuse in (None, ONCE):
            yield line(error_budget(some_rules, reuse, forms=2))


def formulae() -> Iterator[str]:
    """Exact bounds and the samples that they take."""
    for n in (1, 5, 59, 300, 2000):
        yield told([exact.forgiven(n, share, alpha) for share in (0.5, 0.9, 0.99) for alpha in (0.05, 0.001)])
        yield told([exact.detectable(n, 0.9), exact.detectable(n, 0.5, 0.01, 0.95), exact.quantile_rank(n, 0.95), exact.binomial_quantile(0.05, n, 0.5)])  # fmt: skip
        yield told([exact.quantile_bounds(np.arange(n) * 1.0, share) for share in (0.5, 0.9)])
        yield told([exact.samples_without_fault(n, 0.02, room, 0.05) for room in (0.0, 0.001, 0.5)])
    yield told(
        [
            exact.samples_for_power(0.9, true, alpha)
            for true in (0.9, 0.91, 0.95, 1.0)
            for alpha in (0.05, 0.01)
        ]
    )
    for threshold in (0.5, 0.8, 0.95, 0.99):
        yield told([exact.samples_for_power(threshold, threshold + (1 - threshold) * part, 0.05, wanted) for part in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9) for wanted in (0.5, 0.8, 0.95)])  # fmt: skip
    flips = [Measurement("self_flips", whose, 0.1, "1", 50, successes=successes) for whose, successes in (("a", None), ("b", 3), ("a", 2), ("a", 9))]  # fmt: skip
    yield told([self_flips_of(flips, whose) for whose in ("a", "b", "c")])
    yield told(
        [SelfFlips(flips, n).exceeds(0.02) for flips, n in ((0, 0), (0, 50), (2, 50), (4, 50), (9, 50))]
    )
    for flips, n in ((-1, 5), (6, 5), (5, 5)):
        yield attempted(lambda flips=flips, n=n: SelfFlips(flips, n))  # type: ignore[misc]
    yield told([exact.samples_all_right(share) for share in (-0.1, 0.0, 0.5, 0.9, 0.999, 1.0)])
    yield told([exact.samples_forgiving(misses, 0.9) for misses in range(6)])
    yield told([exact.samples_for_quantile(share) for share in (0.5, 0.95)])
    yield told([exact.least_alpha(lambda alpha, at=at: alpha > at) for at in (1e-9, 0.01, 0.3, 0.6)])
    for gains, losing, n in (
        (0, 0, 50),
        (0, 9, 300),
        (9, 0, 300),
        (4, 12, 300),
        (40, 50, 3000),
        (60, 60, 900),
        (1, 1, 2),
    ):
        yield told([paired.tango_bounds(gains, losing, n), paired.exact_difference(gains, losing, n, 0.01), paired.not_worse(gains, losing, n, 0.02, 5e-4).low])  # fmt: skip
        yield told([paired.regression_p(gains, losing, n, margin) for margin in (0.0, 0.01, 0.05)])
    yield told(paired.maurer_pontil(np.cos(np.arange(80)), 0.05, 2.0))
    for scores, means in (
        (betting.Scores.right_and_wrong(0.9), (0.0, 0.5, 0.89, 0.9, 0.95, 1.0)),
        (betting.Scores.right_and_wrong(1.0), (0.9, 1.0)),
        (betting.Scores.gained_and_lost(0.05, 0.0), (-1.0, -0.02, 0.0, 0.02)),
    ):
        yield told([betting.rows_until_proven(scores, mean, 0.05) for mean in means])
    for n in (40, 400, 40000):
        below = {0.01: n // 50, 0.02: n // 4, 0.05: n // 2, 0.1: n - n // 20, 0.2: n - n // 200, math.inf: n}
        yield told([sequential.quantile_between(below, q, alpha) for q in (0.5, 0.95, 0.99) for alpha in (0.05, 0.001)])  # fmt: skip
        yield told([sequential.difference_bounds((hits, n), (n // 20, n), 0.05) for hits in (0, n // 20, n // 4, n)])  # fmt: skip
        yield told([sequential.share_bounds(hits, n, 0.05) for hits in (0, 1, n // 2, n - 1, n)])
    yield told([sequential.share_bounds(hits, n, 0.05) for hits, n in ((0, 0), ([0, 0, 1], [0, 3, 1]))])
    yield told([sequential.requests_that_tell(0.02, rise, 0.01, 0.05, part=part) for rise in (0.0, 0.1) for part in (0.01, 0.25, 0.9)])  # fmt: skip
    yield told([sequential.requests_that_tell(share, rise, 0.01, 0.05) for share in (0.0, 0.02, 0.5, 0.7) for rise in (0.0, 0.005, 0.02, 0.2)])  # fmt: skip


SCENARIOS: dict[str, Callable[[], Iterable[str]]] = {
    **{
        made.__name__: made
        for made in (
            shares,
            comparisons,
            looked_at,
            corruptions,
            timings,
            filed,
            side_by_side,
            told_again,
            on_the_bound,
            columns,
            plans,
            formulae,
        )
    },
    "recipes": recipes_pairs_and_covariates,
    **{kind: lambda kind=kind: every_metric(kind) for kind in MADE},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_number_and_no_word_of_a_verdict_changes_unseen(name: str) -> None:
    assert not changed(GOLDEN, name, SCENARIOS)


if __name__ == "__main__":
    write(GOLDEN, SCENARIOS)
