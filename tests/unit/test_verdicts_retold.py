"""Verdicts made again from their grounds alone are the verdicts that were made: for every task, metric and bound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.evidence.codec import decode, encode
from gradatim.files import canonical_json, parse_json
from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.grounds import EvaluatedData, Grounds
from gradatim.gates.judge import judge
from gradatim.gates.latency import paired_timing
from gradatim.gates.recording import grounds_of
from gradatim.gates.retold import retold
from gradatim.gates.reuse import Charge, Reuse
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.answers import ANSWER
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.generation import SCORE
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task

N = 240


def own(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean(labels == answers))


def classes(generator: np.random.Generator, *, groups: bool = False) -> tuple[Evaluation, Evaluation]:
    task = Task("classification", (0, 1, 2), own={"mine": own})
    labels = np.arange(N) % 3
    codes = np.arange(N) // 4 if groups else None
    sites = {"site": np.where(np.arange(N) % 2, "north", "south")}

    def scored(noise: float) -> np.ndarray:
        scores = np.eye(3)[labels] * 2 + generator.normal(0, noise, (N, 3))
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    old = Evaluation(task, Predictions.of({"p": scored(1.0)}, labels, sites, groups=codes))
    return Evaluation(task, Predictions.of({"p": scored(0.8)}, labels, sites, groups=codes), old), old


def values(generator: np.random.Generator) -> tuple[Evaluation, Evaluation]:
    truth = generator.normal(0, 5, N)
    old = Evaluation(Task("regression"), Predictions.of({"y": truth + generator.normal(0, 1.0, N)}, truth))
    new = Predictions.of({"y": truth + generator.normal(0, 0.9, N)}, truth)
    return Evaluation(Task("regression"), new, old), old


def vectors(generator: np.random.Generator) -> tuple[Evaluation, Evaluation]:
    truth = np.repeat(np.arange(N // 8), 8)
    plain = generator.normal(size=(N // 8, 8))[truth] + 0.5 * generator.normal(size=(N, 8))
    old = Evaluation(Task("embedding"), Predictions.of({"e": plain.astype(np.float32)}, truth))
    moved = (plain + 0.05 * generator.normal(size=(N, 8))).astype(np.float32)
    return Evaluation(Task("embedding"), Predictions.of({"e": moved}, truth), old), old


def texts(generator: np.random.Generator) -> tuple[Evaluation, Evaluation]:
    """Scorers of every shape, one of the user's own, and one of which less is better."""
    scorers = (
        *(Scoring(name, SCORERS[name]) for name in ("exact_match", "rougeL", "wer", "bits_per_byte")),
        Scoring("mine", None, own=own),
        Scoring("careless", None, own=own, higher_is_better=False),
    )
    task = Task("generation", scorers=scorers)

    def scored(right: float) -> Predictions:
        hits = (generator.random(N) < right).astype(float)
        parts = np.stack([4 * (1 - hits) + generator.random(N), np.full(N, 8.0)], axis=1)
        outputs = {
            "exact_match": hits, "rougeL": hits * 0.5 + 0.25, "wer": parts, "bits_per_byte": parts, "mine": hits * 3, "careless": 1 - hits,
        }  # fmt: skip
        kept = {f"{SCORE}{name}": found for name, found in outputs.items()}
        return Predictions.of({ANSWER: np.array(['{"texts": ["a"]}'] * N), **kept}, np.array(['"a"'] * N))

    old = Evaluation(task, scored(0.8))
    return Evaluation(task, scored(0.85), old), old


def rules_of(evaluation: Evaluation) -> Iterator[Rule]:
    """Every bound on every metric that the task has, near what was seen, so that every verdict comes up."""
    task = evaluation.task
    for name in (*catalogue.known(task.type), *task.own, *(scoring.name for scoring in task.scorers)):
        metric = task.metric(name)
        if metric is None or metric.kind not in ("quality", "comparison", "own"):
            continue
        value = evaluation.samples(name).value
        if value is None:
            continue
        for factor in (0.8, 0.97, 1.03):
            for bound in ("at_least", "at_most"):
                yield Rule(name, name, bound, value * factor)  # type: ignore[arg-type]
        if metric.kind != "comparison":
            yield from (Rule(name, name, "not_worse", by, relative=not metric.fraction) for by in (0.01, 0.2))
            yield Rule(name, name, "keep", 0.95 if metric.higher_is_better else 1.05)
            if task.type == "classification" and metric.by_class:
                yield Rule(name, name, "not_worse", 0.02, slices="class", family="veto")
                yield Rule(name, name, "at_least", value * 0.9, slices="class", family="veto")
    if "site" in evaluation.columns():
        yield Rule("accuracy", "accuracy", "at_least", 0.7, slices="every")
        yield Rule("accuracy[site=north]", "accuracy", "not_worse", 0.05, where="site=north")


def again(
    rules: list[Rule], case: Case, on_inconclusive: str = "fail", *, outcomes: bool = False
) -> tuple[list[GateResult], list[GateResult]]:
    """The verdicts, and those that are made from what was written down of them."""
    first = judge(rules, case, on_inconclusive=on_inconclusive)
    told = grounds_of(rules, case, first, on_inconclusive=on_inconclusive, outcomes=outcomes)
    kept = canonical_json(encode(told))
    grounds = decode(Grounds, parse_json(kept, "grounds"), "grounds")
    return first, judge(
        grounds.rules, retold(grounds, case.variant, case.measurements), on_inconclusive=on_inconclusive
    )


def same(first: list[GateResult], second: list[GateResult]) -> None:
    assert [one.gate for one in first] == [one.gate for one in second]
    for one, other in zip(first, second, strict=True):
        assert (one.verdict, one.blocking) == (other.verdict, other.blocking), (one.text, other.text)
        for name in ("value", "low", "high", "threshold", "baseline"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert (mine is None) == (theirs is None), (name, one.text, other.text)
            assert mine is None or math.isclose(mine, theirs, rel_tol=1e-6, abs_tol=1e-9), (
                name,
                one.text,
                other.text,
            )


MADE = {"classes": classes, "groups": lambda g: classes(g, groups=True), "values": values, "vectors": vectors}
ALL = {**MADE, "texts": texts}


def test_a_strict_gate_says_again_what_it_said_and_is_not_made_of_a_lax_one() -> None:
    new, old = values(np.random.default_rng(0))
    case = Case("v", candidate=new, baseline=old, baseline_name="v1.0.0")
    told = new.samples("rmse").value or 0.0
    rules = [
        Rule("rmse", "rmse", bound, amount, strict=strict)  # type: ignore[arg-type]
        for strict, by in ((False, 1.2), (True, 1.3))
        for bound, amount in (("at_most", by * told), ("not_worse", by))
    ]
    for asked in (rules, rules[::-1]):
        first, second = again(asked, case)
        same(first, second)
    lax = judge(rules[:2], case)
    grounds = grounds_of(rules[:2], case, lax, on_inconclusive="fail")
    for found in judge(rules[2:], retold(grounds, "v", case.measurements)):
        assert found.verdict in (Verdict.INCONCLUSIVE, Verdict.INVALID), found.text


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_gate_alone_says_again_what_it_said(kind: str, seed: int) -> None:
    new, old = ALL[kind](np.random.default_rng(seed))
    case = Case("v", candidate=new, baseline=old, baseline_name="v1.0.0")
    seen = set()
    for rule in rules_of(new):
        first, second = again([rule], case)
        same(first, second)
        seen |= {one.verdict for one in first}
    assert seen >= {Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE}


@pytest.mark.parametrize("kind", ALL)
def test_a_release_that_passes_many_gates_passes_them_again(kind: str) -> None:
    new, old = ALL[kind](np.random.default_rng(3))
    case = Case("v", candidate=new, baseline=old, baseline_name="v1.0.0", forms=3,
                reuse=Reuse(Charge("d" * 64, "c" * 64, 1, fresh=False), 2))  # fmt: skip
    passing = [
        rule for rule in rules_of(new) if all(one.verdict is Verdict.PASS for one in judge([rule], case))
    ]
    first, second = again(passing, case, "warn")
    same(first, second)
    assert len(first) > 5


@pytest.mark.parametrize("kind", ALL)
def test_one_bit_a_row_gives_the_same_verdicts_as_the_counts(kind: str) -> None:
    new, old = ALL[kind](np.random.default_rng(2))
    case = Case("v", candidate=new, baseline=old, baseline_name="v1.0.0")
    for rule in rules_of(new):
        same(*again([rule], case, outcomes=True))


def test_a_first_release_and_one_without_data_say_again_what_they_said() -> None:
    new, _ = classes(np.random.default_rng(5))
    alone = Evaluation(new.task, new.predictions)
    rules = [Rule("accuracy", "accuracy", "at_least", 0.7), Rule("f1", "f1", "not_worse", 0.01), Rule("agreement", "agreement", "at_least", 0.5)]  # fmt: skip
    same(*again(rules, Case("v", candidate=alone, first_release=True)))
    same(*again(rules, Case("v", candidate=new, first_release=True)))  # a compressed form beside its original
    sizes = [Measurement("size", "v", 100.0, "B"), Measurement("size", "baseline", 90.0, "B")]
    rules = [Rule("size", "size", "at_most", 200.0), Rule("size", "size", "not_worse", 0.05), Rule("memory", "memory", "at_most", 5.0, required=False)]  # fmt: skip
    same(*again(rules, Case("v", sizes)))


def test_rounds_and_corruptions_say_again_what_they_said() -> None:
    generator = np.random.default_rng(7)
    ratios = [float(x) for x in generator.normal(0.001, 0.01, 16)]
    luck = generator.random((400, 5))
    levels = np.array([0.95, 0.9, 0.85, 0.8, 0.7])
    scores = CorruptionScores("noise", (1, 2, 3, 4, 5), (luck < levels) * 1.0, (luck < levels + 0.01) * 1.0)
    unknown = replace(scores, baseline=np.where(np.arange(400)[:, None] % 9 == 0, np.nan, scores.baseline))
    for found in (scores, replace(scores, baseline=None), unknown):
        case = Case("v", robustness={"noise": found}, timings={"latency_p50": paired_timing(ratios, 1e-3)},
                    rounds={"latency_p99": [1e-3 + 1e-5 * i for i in range(16)]}, baseline_name="v1.0.0")  # fmt: skip
        rules = [
            Rule("latency_p50", "latency_p50", "not_worse", 0.03), Rule("latency_p99", "latency_p99", "at_most", 2e-3),
            Rule("robustness", "robustness", "at_least", 0.8, where="noise", severity=3),
            Rule("robustness", "robustness", "at_least", 0.5), Rule("robustness", "robustness", "not_worse", 0.03, where="noise"),
            Rule("robustness", "robustness", "keep", 0.9, where="noise", strict=True),
        ]  # fmt: skip
        same(*again(rules, case))


def test_a_metric_of_the_contracts_own_is_not_called_where_its_data_are_not() -> None:
    grounds = Grounds((), task=EvaluatedData("classification", own={"mine": True}, rows=N))
    candidate = retold(grounds, "original", []).candidate
    assert candidate is not None
    with pytest.raises(InvalidInput, match="only its evidence is"):
        candidate.task.own["mine"](np.zeros(1), np.zeros(1))


def test_bounds_that_say_nothing_are_told_by_nobody() -> None:
    """Of errors that a few rows carry: a bound of thousands of times the value is none, in the evidence neither."""
    dice = np.random.default_rng(1)
    truth, off = dice.normal(0, 5, 200), dice.lognormal(0, 2, 200)
    base, mine = (
        Evaluation(Task("regression"), Predictions.of({"y": truth + part * off}, truth))
        for part in (0.5, 1.0)
    )
    rules = [Rule("rmse", "rmse", "at_most", 100.0), Rule("rmse", "rmse", "not_worse", 1.0)]
    first, second = again(rules, Case("v", candidate=mine, baseline=base))
    same(first, second)
    assert {(one.verdict, one.low) for one in first} == {(Verdict.INCONCLUSIVE, None)}
