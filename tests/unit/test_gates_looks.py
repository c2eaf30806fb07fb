"""Gates that may be looked at after every row: they err as seldom as they say, and stop early where the model is clear."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import numpy as np
import pytest
from gate_project import GateProject, lay_down

from gradatim.contract.rules import Misstated, read_rule
from gradatim.contract.schema import GateSection
from gradatim.errors import UsageError
from gradatim.evidence.found import Evaluated
from gradatim.gates.betting import Scores, bounds, rows_until_proven
from gradatim.gates.case import Case
from gradatim.gates.judge import judge, settled
from gradatim.gates.planning import plan, samples_not_worse
from gradatim.gates.retold import retold
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.shard import Shard
from gradatim.steps import evaluate
from gradatim.steps.gate import plan_gates


def settled_at(
    rows: np.ndarray, bound: float, ends: tuple[float, float], *, above: bool = True
) -> int | None:
    """The first row at which a look proves that the mean is more (or less) than the bound; None where none does."""
    for n in range(1, len(rows) + 1):
        scores = Scores.of(rows[:n], *ends)
        stake = scores.stake(bound) if above else scores.mirrored.stake(-bound)
        if stake >= -math.log(0.05):
            return n
    return None


def test_a_look_after_every_row_proves_wrongly_as_seldom_as_one_look() -> None:
    generator = np.random.default_rng(1)
    right = generator.random((120, 150)) < 0.9
    found = [settled_at(rows * 1.0, 0.9, (0, 1), above=above) for rows in right for above in (True, False)]
    assert sum(place is not None for place in found[::2]) <= 0.07 * len(right)
    assert sum(place is not None for place in found[1::2]) <= 0.07 * len(right)


def test_an_effect_of_twice_the_margin_settles_it_on_half_of_the_rows_on_average() -> None:
    generator = np.random.default_rng(2)
    margin, changed = 0.05, 0.2
    fixed, taken = samples_not_worse(margin, changed), []
    for _ in range(30):
        luck = generator.random(fixed)
        rows = np.where(
            luck < (changed + margin) / 2, 1.0, np.where(luck > 1 - (changed - margin) / 2, -1.0, 0.0)
        )
        taken.append(settled_at(rows, -margin, (-1, 1)) or fixed)
    assert np.mean(taken) <= fixed / 2
    planned = rows_until_proven(Scores.gained_and_lost(changed, margin), -margin, 0.05)
    assert np.mean(taken) == pytest.approx(planned, rel=0.35)


def test_the_bounds_are_those_that_the_bets_prove_and_hold_scores_of_any_kind() -> None:
    scores = Scores.of(np.random.default_rng(0).beta(8, 2, 400), 0, 1)
    low, high = bounds(scores, 0.05)
    assert 0.7 < low < 0.8 < high < 0.9
    assert scores.stake(low - 1e-9) >= -math.log(0.05) > scores.stake(low + 1e-9)
    assert bounds(scores.mirrored, 0.05) == pytest.approx((-high, -low))


def labels_and_answers(n: int, old: float, new: float, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, n)
    return [truth, *(np.where(generator.random(n) < right, truth, (truth + 1) % 3) for right in (old, new))]


def evaluated(project: GateProject) -> Evaluated:
    statement = project.release().workspace.statement("evaluate")
    found = Evaluated.if_any(statement)
    assert found is not None
    return found


@pytest.fixture
def clear(tmp_path: Path) -> GateProject:
    """A candidate that is clearly better, on 2000 rows."""
    pytest.importorskip("onnxruntime")
    return lay_down(tmp_path, *labels_and_answers(2000, 0.9, 0.97))


GATES = "accuracy: {at_least: 90%, sequential: true}\nnegative_flips: {at_most: 10%, sequential: true}"


def test_evaluation_stops_when_every_gate_is_decided_and_the_evidence_says_where(clear: GateProject) -> None:
    clear.contract(GATES)
    outcome = clear.judge()
    assert [result.verdict for result in outcome.gates if result.gate != "inspect"][-2:] == [Verdict.PASS] * 2
    found = evaluated(clear)
    assert found.offered == 2000
    assert 64 <= found.rows <= 500
    assert f"Evaluation stopped at {found.rows} of 2000 samples" in outcome.gates[-1].text
    answers = [clear.release().workspace.predictions(name) for name in ("original", "baseline")]
    assert [len(each) for each in answers] == [found.rows] * 2
    assert np.array_equal(answers[0].items, answers[1].items)
    assert not np.array_equal(answers[0].items, np.sort(answers[0].items))


def test_whoever_holds_the_evidence_alone_comes_to_the_same_verdicts(clear: GateProject) -> None:
    clear.contract(GATES)
    outcome = clear.judge()
    statement = clear.release().workspace.statement("evaluate")
    assert statement is not None
    grounds = outcome.found.grounds  # type: ignore[union-attr]
    again = judge(grounds.rules, retold(grounds, "original", statement.measurements))
    assert [(r.gate, r.verdict, r.text) for r in again] == [
        (r.gate, r.verdict, r.text) for r in outcome.gates[-2:]
    ]
    # others' rules on rows that stopped when they looked good: bounds of a fixed number would be too sure
    (other,) = judge(
        [Rule("a", "accuracy", "at_least", 0.93)], retold(grounds, "original", statement.measurements)
    )
    assert other.verdict is Verdict.INCONCLUSIVE


def test_the_order_of_the_rows_is_the_candidates_own(clear: GateProject) -> None:
    clear.contract(GATES)
    clear.judge()
    first = clear.release().workspace.predictions("original").items[:64]
    clear.judge()
    assert np.array_equal(first, clear.release().workspace.predictions("original").items[:64])
    clear.another_candidate(0.5)
    clear.judge()
    assert not np.array_equal(first, clear.release().workspace.predictions("original").items[:64])


def test_one_gate_that_needs_every_row_gets_every_row(clear: GateProject) -> None:
    clear.contract(f"{GATES}\nf1_macro: {{at_least: 80%}}")
    clear.judge()
    assert (evaluated(clear).rows, evaluated(clear).offered) == (2000, None)
    told = {row.gate: row.text for row in plan_gates(clear.release())}
    assert "Every row is evaluated all the same, for `f1_macro`." in told["accuracy"]


def test_an_undecided_gate_takes_every_row_and_says_that_it_is_undecided(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    project = lay_down(tmp_path, *labels_and_answers(300, 0.9, 0.9, seed=4))
    project.contract("accuracy: {not_worse_than: baseline, by: 1%, sequential: true}")
    found = project.judge().gates[-1]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert (evaluated(project).rows, evaluated(project).offered) == (300, None)


def test_an_upper_bound_is_planned_as_the_lower_bound_of_what_it_leaves() -> None:
    bounds = [("accuracy", "at_least", 0.75), ("negative_flips", "at_most", 0.25)]
    rules = [Rule(metric, metric, bound, amount, sequential=True) for metric, bound, amount in bounds]
    below, above = plan(rules, {"": 400}, task="classification")
    assert (above.needed, above.least) == (below.needed, below.least)
    assert above.possible


def test_the_plan_says_what_looking_saves(clear: GateProject) -> None:
    clear.contract("accuracy: {not_worse_than: baseline, by: 2%, sequential: true}")
    (row,) = plan_gates(clear.release())
    assert "330 for one better by the margin; fixed before, 773 are needed" in row.text
    (grouped,) = plan([Rule("a", "accuracy", "at_least", 0.9, sequential=True)], {"": 50}, rows={"": 500})
    assert not grouped.possible
    assert "rows that stand alone" in grouped.text
    (few,) = plan([Rule("a", "accuracy", "at_least", 0.9, sequential=True)], {"": 20})
    assert not few.possible


def test_rows_of_a_sequential_gate_cannot_be_shared_out(clear: GateProject) -> None:
    clear.contract(GATES)
    with pytest.raises(UsageError, match="cannot be shared out"):
        evaluate.run_shard(clear.release(), Shard(1, 2))


@pytest.mark.parametrize("key", ["f1_macro", "precision[class=1]", "recall", "latency_p50", "size"])
def test_what_is_no_mean_over_rows_is_not_sequential(key: str) -> None:
    bound = (
        {"at_most": "5 ms"}
        if key == "latency_p50"
        else {"at_most": "5 MB"}
        if key == "size"
        else {"at_least": "80%"}
    )
    with pytest.raises(Misstated, match="no mean over rows"):
        read_rule(key, GateSection(**bound, sequential=True), "classification", (), 3)
    assert read_rule(
        "recall[class=1]", GateSection(at_least="80%", sequential=True), "classification", (), 3
    ).sequential


def test_forms_share_the_error_of_a_sequential_gate_too() -> None:
    truth = np.zeros(60, np.int64)
    found = Evaluation(Task("classification", (0, 1)), Predictions.of({"label": truth}, truth))
    rule = Rule("accuracy", "accuracy", "at_least", 0.93, sequential=True)
    alone, among = (judge([rule], Case("v", candidate=found, forms=forms))[0] for forms in (1, 4))
    assert alone.low > among.low


def test_a_slice_that_the_rows_so_far_lack_is_waited_for(tmp_path: Path) -> None:
    """No gate without its slice is decided: a value that is rare would be released unjudged."""
    pytest.importorskip("onnxruntime")
    region = np.where(np.arange(2000) % 1000 == 7, "rare", "usual")
    project = lay_down(tmp_path, *labels_and_answers(2000, 0.9, 0.99), slices={"region": region})
    gates = "accuracy: {at_least: 90%, slices: every region, sequential: true}"
    project.contract(gates, data="slices: [region]")
    found = {result.gate: result.verdict for result in project.judge().gates}
    assert found["accuracy[region=rare]"] is Verdict.INCONCLUSIVE
    assert found["accuracy[region=usual]"] is Verdict.PASS


def test_a_look_that_cannot_tell_yet_settles_nothing() -> None:
    """A class that no row has shown is unknown so far, where nothing lists the classes."""
    truth = np.arange(100) % 2
    seen = Case("v", candidate=Evaluation(Task("classification"), Predictions.of({"label": truth}, truth)))
    rules = [
        Rule(f"recall[class={name}]", "recall", "at_least", 0.9, f"class={name}", sequential=True)
        for name in (1, 2)
    ]
    assert settled(rules[:1], seen)
    assert not settled(rules, seen)


def test_a_bound_that_every_score_holds_is_planned_and_passes() -> None:
    truth = np.zeros(60, np.int64)
    found = Evaluation(Task("classification", (0, 1)), Predictions.of({"label": truth}, truth))
    rule = Rule("accuracy", "accuracy", "at_least", 0.0, sequential=True)
    (row,) = plan([rule], {"": 60})
    assert (row.possible, row.least) == (True, 1)
    (result,) = judge([rule], Case("v", candidate=found))
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("key", "task"),
    [("agreement", "embedding"), ("hit_rate_at_10", "ranking"), ("recall[subclass=1]", "classification")],
)
def test_what_hangs_on_other_rows_is_not_sequential(key: str, task: str) -> None:
    """The nearest of few items is another than that of all; a list may be many rows."""
    with pytest.raises(Misstated, match="no mean over rows"):
        read_rule(key, GateSection(at_least="80%", sequential=True), task, (), 3)


def test_one_bit_a_row_is_told_in_the_order_of_the_data(clear: GateProject) -> None:
    clear.contract(GATES)
    with (clear.root / "gradatim.yml").open("a") as file:
        file.write("publish: {outcomes: true}\n")
    samples = clear.judge().found.grounds.samples  # type: ignore[union-attr]
    (told,) = [one for one in samples if (one.metric, one.where) == ("accuracy", None) and one.beside is None]
    data = np.load(clear.root / "test.npz")
    rows = np.sort(clear.release().workspace.predictions("original").items)
    right = data["x"][rows, 3:].argmax(axis=1) == data["label"][rows]
    assert told.outcomes is not None
    bits = np.unpackbits(np.frombuffer(base64.b64decode(told.outcomes.candidate), np.uint8), count=len(rows))
    assert np.array_equal(bits.astype(bool), right)
