"""Forecasting: the steps ahead of many series, judged by the series, whatever their size."""

from __future__ import annotations

import numpy as np
import pytest
from init_project import contract_of, graph_file
from sklearn.metrics import mean_absolute_error, mean_pinball_loss

from gradatim.contract.reading import read_contract
from gradatim.data import open_data
from gradatim.errors import ContractError, InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.compare import compare
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import default_metrics
from gradatim.metrics.outputs import SCALE, reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models.predict import predict
from gradatim.models.predictor import RuntimeModel
from gradatim.projects.init import propose
from gradatim.signature import Signature, TensorSpec

TASK = Task("forecasting", history="past", season=4)
LEVELS = (0.1, 0.5, 0.9)


def sales(draw, series, windows=3, steps=4):
    """Series from small to large that are easy or hard as a whole, in windows: group, past, future, forecasts of two models."""
    level = np.exp(2 + 1.5 * draw.normal(size=series))[:, None, None]
    hard = np.exp(0.5 * draw.normal(size=series))[:, None, None]
    shock = draw.normal(size=(series, windows, 1))
    past = level * (2 + 0.3 * draw.normal(size=(series, windows, 16)))
    future = level * (2 + 0.3 * draw.normal(size=(series, windows, steps)))
    said = [future + level * hard * 0.2 * (shock + draw.normal(size=future.shape)) for _ in range(2)]
    flat = [each.reshape(series * windows, -1) for each in (past, future, *said)]
    return np.repeat(np.arange(series), windows).astype(str), *flat


def evaluation(group, past, future, said, reference=None, task=TASK):
    kept = reduce_batch(task, {"out": said}, {"past": past}, future)
    return Evaluation(task, Predictions.of(kept, future, groups=group), reference)


def test_values_are_those_of_their_definitions():
    group, past, future, said, _ = sales(np.random.default_rng(0), 30)
    found = evaluation(group, past, future, said)
    naive = np.array([mean_absolute_error(row[4:], row[:-4]) for row in past])
    errors = np.abs(said - future)
    assert found.samples("mase").value == pytest.approx((errors.mean(axis=1) / naive).mean())
    assert found.samples("smape").value == pytest.approx(
        (2 * errors / (np.abs(said) + np.abs(future))).mean()
    )
    assert found.samples("mae").value == pytest.approx(mean_absolute_error(future, said))
    assert found.samples("mase").n == 30  # a series is one sample, not each of its windows or steps
    assert found.samples("pinball").reason == "the contract lists no `task.quantiles`"


@pytest.mark.parametrize("levels_last", [True, False])
def test_quantiles_are_judged_by_their_pinball_loss_and_their_median_as_a_point(levels_last):
    group, past, future, said, other = sales(np.random.default_rng(1), 20)
    quantiles = np.sort(np.stack([said, other, (said + other) / 2], axis=2), axis=2)
    task = Task("forecasting", history="past", season=4, quantiles=LEVELS)
    given = quantiles if levels_last else quantiles.transpose(0, 2, 1)
    found = evaluation(group, past, future, given, task=task)
    wanted = [mean_pinball_loss(future, quantiles[..., i], alpha=a) for i, a in enumerate(LEVELS)]
    assert found.samples("pinball").value == pytest.approx(np.mean(wanted))
    assert found.samples("mae").value == pytest.approx(mean_absolute_error(future, quantiles[..., 1]))
    assert "pinball" in default_metrics(found)
    with pytest.raises(InvalidInput, match=r"3 quantiles are wanted .* It must be \[items, steps, 3\]"):
        evaluation(group, past, future, said, task=task)
    outer = evaluation(
        group, past, future, quantiles[..., ::2], task=Task("forecasting", quantiles=(0.1, 0.9))
    )
    assert outer.samples("mase").reason == "the quantiles do not hold the median, 0.5"


def test_a_series_that_never_changes_has_no_measure_and_is_left_out():
    group, past, future, said, _ = sales(np.random.default_rng(2), 12)
    past[:6] = 5.0
    found = evaluation(group, past, future, said).samples("mase")
    assert found.n == 10
    assert np.isfinite(found.value)
    assert "changes from season to season" in evaluation(group, 0 * past, future, said).samples("mase").reason


def test_what_has_no_history_is_told_where_to_name_it():
    group, past, future, said, _ = sales(np.random.default_rng(3), 8)
    bare = Evaluation(Task("forecasting"), Predictions.of({"out": said}, future, groups=group))
    assert "`task.history` names no input" in bare.samples("mase").reason
    assert bare.samples("smape").value > 0
    with pytest.raises(InvalidInput, match=r"has no input `context`\. It takes: past"):
        evaluation(group, past, future, said, task=Task("forecasting", history="context"))
    with pytest.raises(InvalidInput, match=r"of more steps than the season \(16\)"):
        evaluation(group, past, future, said, task=Task("forecasting", history="past", season=16))


def test_a_contract_lists_its_quantiles_from_the_lowest_to_the_highest(tmp_path):
    text = (
        "model: {name: m, path: m.onnx}\ndata: {evaluation: t.npz}\n"
        "task: {type: forecasting, quantiles: [0.5, 0.1]}\n"
    )
    (tmp_path / "gradatim.yml").write_text(text)
    with pytest.raises(ContractError, match="quantiles rise from the lowest to the highest"):
        read_contract(tmp_path / "gradatim.yml")


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Two-sided 95 % over 60 runs; tests/bench/task_coverage.py has the figures of many more."""
    draw, metrics = np.random.default_rng(7), ("mase", "smape")
    group, past, future, old, new = sales(draw, 6000)
    base = evaluation(group, past, future, old)
    true = {name: base.samples(name).value for name in metrics}
    held = np.zeros((2, len(metrics)))
    for _ in range(60):
        group, past, future, old, new = sales(draw, 80)
        base = evaluation(group, past, future, old)
        candidate = evaluation(group, past, future, new, base)
        for place, name in enumerate(metrics):
            low, high = base.samples(name).bounds(0.025)
            found = compare(candidate.samples(name), base.samples(name), alpha=0.025)
            held[0, place] += low <= true[name] <= high
            held[1, place] += found.low <= 0 <= found.high
    assert (held / 60 >= 0.88).all(), held / 60


def test_gates_on_series_pass_a_model_like_the_baseline_and_refuse_a_worse_one():
    group, past, future, old, _ = sales(np.random.default_rng(4), 200)
    base = evaluation(group, past, future, old)
    rules = [Rule("mase", "mase", "not_worse", 0.03), Rule("smape", "smape", "at_most", 0.5)]
    same = evaluation(group, past, future, old, base)
    verdicts = judge(rules, Case("original", candidate=same, baseline=base))
    assert [each.verdict for each in verdicts] == [Verdict.PASS] * 2, [each.text for each in verdicts]
    worse = evaluation(group, past, future, 2 * old, base)
    assert judge(rules[:1], Case("original", candidate=worse, baseline=base))[0].verdict is Verdict.FAIL


def test_the_measure_of_each_item_is_kept_beside_its_forecast(tmp_path):
    group, past, future, _, _ = sales(np.random.default_rng(5), 10)
    np.savez(tmp_path / "data.npz", past=past, future=future, series=group)
    signature = Signature((TensorSpec("past", "float64", ("n", 16)),), ())
    data = open_data("data.npz", root=tmp_path, signature=signature, label="future", group="series")
    model = RuntimeModel("m", signature, lambda fed: {"out": fed["past"][:, -4:]}, device="cpu", threads=1)
    predictions = predict(model, data, TASK, tmp_path / "out", batch=4)
    assert predictions.outputs[SCALE].values.shape == (30,)
    whole = evaluation(group, past, future, past[:, -4:]).samples("mase")
    assert Evaluation(TASK, predictions).samples("mase").value == pytest.approx(whole.value)


def test_a_forecast_is_recognised_by_its_history(tmp_path):
    draw = np.random.default_rng(6)
    weights = {"w": draw.normal(size=(16, 4)).astype(np.float32)}
    given, said = ("past", "float32", ["b", 16]), ("ahead", "float32", ["b", 4])
    graph_file(tmp_path / "m.onnx", [given], [said], [("MatMul", ["past", "w"], ["ahead"])], weights)
    group, past, future, _, _ = sales(draw, 10)
    arrays = {"past": past.astype(np.float32), "future": future.astype(np.float32), "series": group}
    np.savez(tmp_path / "test.npz", **arrays)
    contract = contract_of(propose(tmp_path)).parts
    assert (contract.task.type, contract.task.history, contract.task.season) == ("forecasting", "past", 1)
    assert (contract.data.label, contract.data.group) == ("future", "series")
    assert "mase" in contract.gates


def test_one_number_an_item_is_no_forecast_of_quantiles():
    task = Task("forecasting", quantiles=LEVELS)
    with pytest.raises(InvalidInput, match=r"It must be \[items, steps, 3\]"):
        Evaluation(task, Predictions.of({"out": np.zeros(5)}, np.zeros((5, 4))))
    ahead = np.arange(15.0).reshape(5, 3)
    one = Evaluation(task, Predictions.of({"out": ahead}, np.zeros((5, 1))))
    assert one.samples("mae").value == pytest.approx(ahead[:, 1].mean())
