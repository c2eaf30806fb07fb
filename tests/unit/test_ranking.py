"""Ranking and recommendation: lists of items by their scores, judged by the list or the user that it is for."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from init_project import contract_of, graph_file
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from gradatim.errors import InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.compare import compare
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.projects.facts import DataFacts
from gradatim.projects.init import propose
from gradatim.projects.recognising import recognise
from gradatim.signature import Signature, TensorSpec

TASK = Task("ranking")


def lists(draw, n, skill=(0.7, 0.7)):
    """n lists of 3 to 19 items, easy or hard as a whole: list of each item, relevance, scores of two models, with ties."""
    sizes = draw.integers(3, 20, n)
    of = np.repeat(np.arange(n), sizes)
    relevance = draw.choice(4, of.size, p=[0.6, 0.2, 0.1, 0.1])
    strength = np.exp(0.8 * draw.normal(size=n))[of]
    shared = draw.normal(size=of.size)
    said = [np.round(s * strength * relevance + shared + 0.6 * draw.normal(size=of.size), 1) for s in skill]
    return of, relevance, said


def by_item(of, relevance, scores, reference=None):
    predictions = Predictions.of({"out": scores[:, None]}, relevance, groups=of.astype(str))
    return Evaluation(TASK, predictions, reference)


def test_values_are_those_of_scikit_learn_with_equal_scores_among_them():
    of, relevance, (scores, _) = lists(np.random.default_rng(0), 60)
    shuffled = np.random.default_rng(1).permutation(of.size)
    found = by_item(of[shuffled], relevance[shuffled], scores[shuffled])
    each = [(relevance[of == one], scores[of == one]) for one in range(60) if relevance[of == one].any()]
    for k in (1, 3, 10):
        wanted = np.mean([ndcg_score([r], [s], k=k) for r, s in each])
        assert found.samples(f"ndcg_at_{k}").value == pytest.approx(wanted)
    wanted = np.mean([label_ranking_average_precision_score([r > 0], [s]) for r, s in each])
    assert found.samples("map").value == pytest.approx(wanted)
    places = np.array([min((s >= s[i]).sum() for i in np.flatnonzero(r)) for r, s in each])
    assert found.samples("mrr").value == pytest.approx((1 / places).mean())
    assert found.samples("hit_rate_at_2").value == pytest.approx((places <= 2).mean())
    assert found.samples("mrr").n == len(each)  # a list is one sample, and one without anything relevant none


def test_a_list_a_row_means_the_same_as_an_item_a_row_and_so_do_places():
    draw = np.random.default_rng(2)
    relevance, scores = (draw.random((40, 12)) < 0.2).astype(int), draw.normal(size=(40, 12))
    relevance[:, 3] = 1
    row = Evaluation(TASK, Predictions.of({"out": scores}, relevance))
    item = by_item(np.repeat(np.arange(40), 12), relevance.reshape(-1), scores.reshape(-1))
    places = np.empty(40, object)
    places[:] = [np.flatnonzero(each) for each in relevance]
    named = Evaluation(TASK, Predictions.of({"out": scores}, places))
    for metric in ("ndcg_at_10", "mrr", "map", "hit_rate_at_10"):
        values = {each.samples(metric).value for each in (row, item, named)}
        assert max(values) - min(values) < 1e-12, metric
    one = Evaluation(TASK, Predictions.of({"out": scores}, np.full(40, 3)))
    assert one.samples("mrr").value == pytest.approx((1 / (scores >= scores[:, 3:4]).sum(axis=1)).mean())


def test_a_model_that_scores_all_alike_earns_nothing_by_the_order_of_the_rows():
    relevance = np.tile([1, 0, 0, 0], 50)
    found = by_item(np.repeat(np.arange(50), 4), relevance, np.zeros(200))
    assert found.samples("mrr").value == 0.25
    assert found.samples("hit_rate_at_3").value == 0


def test_queries_of_one_user_count_as_one():
    draw = np.random.default_rng(3)
    relevance, scores = (draw.random((60, 8)) < 0.4).astype(int), draw.normal(size=(60, 8))
    relevance[:, 0] = 1
    alone = Evaluation(TASK, Predictions.of({"out": scores}, relevance)).samples("ndcg_at_5")
    users = Predictions.of(
        {"out": np.tile(scores, (5, 1))}, np.tile(relevance, (5, 1)), groups=np.tile(np.arange(60), 5)
    )
    five = Evaluation(TASK, users).samples("ndcg_at_5")
    assert (five.n, five.value) == (60, pytest.approx(alone.value))
    low, high = five.bounds(0.025)
    assert high - low == pytest.approx(np.ptp(alone.bounds(0.025)), rel=0.05)


def test_what_is_no_ranking_is_refused_with_what_to_do():
    with pytest.raises(InvalidInput, match="Name the column of the query or user under `data: group:`"):
        Evaluation(TASK, Predictions.of({"out": np.zeros(6)}, np.ones(6)))
    with pytest.raises(InvalidInput, match="Row 2 of the labels holds a relevance below zero"):
        by_item(np.zeros(4), np.array([1, 0, -1, 0]), np.zeros(4))
    with pytest.raises(InvalidInput, match="scores 5 items in row 0, whose labels are 2"):
        Evaluation(TASK, Predictions.of({"out": np.zeros((3, 5))}, np.array([[1, 9], [0, 2], [0, 1]])))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Two-sided 95 % over 60 runs; tests/bench/task_coverage.py has the figures of many more."""
    draw, metrics = np.random.default_rng(7), ("ndcg_at_10", "hit_rate_at_3")
    of, relevance, (old, new) = lists(draw, 8000, (0.5, 0.6))
    base = by_item(of, relevance, old)
    true = {name: base.samples(name).value for name in metrics}
    beside = {name: by_item(of, relevance, new).samples(name).value - true[name] for name in metrics}
    held = np.zeros((2, len(metrics)))
    for _ in range(60):
        of, relevance, (old, new) = lists(draw, 120, (0.5, 0.6))
        base = by_item(of, relevance, old)
        candidate = by_item(of, relevance, new, base)
        for place, name in enumerate(metrics):
            low, high = base.samples(name).bounds(0.025)
            found = compare(candidate.samples(name), base.samples(name), alpha=0.025)
            held[0, place] += low <= true[name] <= high
            held[1, place] += found.low <= beside[name] <= found.high
    assert (held / 60 >= 0.9).all(), held / 60


def test_gates_on_lists_pass_a_model_like_the_baseline_and_refuse_a_worse_one():
    of, relevance, (old, _) = lists(np.random.default_rng(4), 900)
    base = by_item(of, relevance, old)
    rules = [
        Rule("ndcg_at_10", "ndcg_at_10", "not_worse", 0.02),
        Rule("hit_rate_at_3", "hit_rate_at_3", "at_least", 0.5),
    ]
    same = judge(rules, Case("original", candidate=by_item(of, relevance, old, base), baseline=base))
    assert [each.verdict for each in same] == [Verdict.PASS] * 2, [each.text for each in same]
    worse = by_item(of, relevance, -old, base)
    assert judge(rules[:1], Case("original", candidate=worse, baseline=base))[0].verdict is Verdict.FAIL


def test_lists_of_queries_are_recognised(tmp_path):
    draw = np.random.default_rng(5)
    weights = {"w": np.array([[1.0], [0.5], [0.0]], np.float32)}
    nodes = [("MatMul", ["x", "w"], ["score"])]
    given, said = ("x", "float32", ["b", 3]), ("score", "float32", ["b", 1])
    graph_file(tmp_path / "m.onnx", [given], [said], nodes, weights)
    with (tmp_path / "test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query_id", "doc_id", "a", "b", "c", "relevance"])
        rows.writerows(
            [f"q{i // 6}", f"d{i}", *draw.normal(size=3).round(3), int(draw.integers(0, 3))]
            for i in range(240)
        )
    contract = contract_of(propose(tmp_path)).parts
    assert (contract.task.type, contract.data.group) == ("ranking", "query_id")
    assert "ndcg_at_10" in contract.gates


def test_items_of_users_may_be_ranked_or_not_and_are_asked_about():
    model = Signature((), (TensorSpec("score", "float32", ("b", 1)),))
    marks = np.arange(40) % 2
    for columns, kinds in (
        (("user", "movie_id", "x", "liked"), ["classification", "ranking"]),
        (("user", "x", "churn"), ["classification"]),
    ):
        facts = DataFacts(columns, 40, columns[-1], marks, {}, (), group="user")
        readings = [each for each in recognise(model, facts, None) if each.task.type != "embedding"]
        assert [each.task.type for each in readings] == kinds
        assert readings[0].sure is (len(kinds) == 1)
