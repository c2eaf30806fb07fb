"""Detection: boxes in pictures, counted as COCO counts them and judged by the picture."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from init_project import contract_of, graph_file

from gradatim.candidate.rows import Rows
from gradatim.contract.reading import read_contract
from gradatim.data import open_data
from gradatim.errors import InvalidInput
from gradatim.gates.case import Case
from gradatim.gates.judge import judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.common import evaluate_beside
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import SEEN, reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import BoxOutputs, Task
from gradatim.models.predict import predict
from gradatim.models.predictor import RuntimeModel
from gradatim.projects.init import propose
from gradatim.signature import Signature, TensorSpec

TASK = Task("detection", ("car", "bike", "sign"))
SIZES = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")


def ragged(rows):
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


def streets(draw, n, blur=0.1):
    """Pictures with boxes from small to large, a class that few hold, equal scores, and some pictures without anything."""
    truth, said = [], []
    for _ in range(n):
        k, wrong = draw.poisson(3), draw.poisson(2)
        label, size = draw.choice(3, k, p=[0.6, 0.3, 0.1]), np.exp(draw.normal(3.7, 0.9, (k, 2)))
        corner = 400 * draw.random((k, 2))
        boxes = np.column_stack([corner, corner + size, label])
        moved = boxes[:, :4] + blur * np.tile(size, 2) * draw.normal(size=(k, 4))
        named = np.where(draw.random(k) < 0.9, label, draw.integers(0, 3, k))
        found = np.column_stack([moved, draw.beta(5, 2, k).round(2), named])[draw.random(k) < 0.85]
        place, sides = 400 * draw.random((wrong, 2)), np.exp(draw.normal(3.7, 0.9, (wrong, 2)))
        guesses = draw.beta(2, 5, wrong).round(2), draw.integers(0, 3, wrong)
        truth.append(boxes)
        said.append(np.concatenate([found, np.column_stack([place, place + sides, *guesses])]))
    return ragged(truth), [each[each[:, 4] > 0].astype(np.float32) for each in said]


def evaluation(truth, said, reference=None, groups=None, task=TASK):
    return Evaluation(task, Predictions.of({"boxes": ragged(said)}, truth, groups=groups), reference)


def test_values_are_those_of_pycocotools_by_class_and_size():
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, said = streets(np.random.default_rng(0), 120)
    rows = [
        (image, box, [*box[:2], *(box[2:4] - box[:2])]) for image, each in enumerate(truth) for box in each
    ]
    dataset = {
        "images": [{"id": image} for image in range(len(truth))],
        "categories": [{"id": place} for place in range(3)],
        "annotations": [
            {
                "id": i,
                "image_id": image,
                "category_id": int(box[4]),
                "bbox": at,
                "area": at[2] * at[3],
                "iscrowd": 0,
            }
            for i, (image, box, at) in enumerate(rows, 1)
        ],
    }
    found = [
        {
            "image_id": image,
            "category_id": int(box[5]),
            "score": box[4],
            "bbox": [*box[:2], *(box[2:4] - box[:2])],
        }
        for image, each in enumerate(said)
        for box in each.astype(np.float64)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        oracle = COCOeval(coco, coco.loadRes(found), "bbox")
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    ours = evaluation(truth, said)
    assert [ours.samples(name).value for name in SIZES] == pytest.approx(list(oracle.stats[:6]))
    for place, label in enumerate(TASK.labels):
        wanted = oracle.eval["precision"][:, :, place, 0, 2].mean()
        assert ours.samples("map", f"class={label}").value == pytest.approx(wanted)


def test_a_value_that_can_be_worked_out_by_hand():
    """Of two cars one is found; a box beside it that is surer halves the precision. A bike is never found."""
    truth = ragged([np.array([[0, 0, 50, 50, 0], [60, 0, 110, 50, 0.0]]), np.array([[0, 0, 50, 50, 1.0]])])
    said = [
        np.array([[200, 0, 250, 50, 0.9, 0], [0, 0, 50, 50, 0.8, 0]], np.float32),
        np.zeros((0, 6), np.float32),
    ]
    found = evaluation(truth, said)
    assert found.samples("map_50", "class=car").value == pytest.approx(0.5 * 51 / 101)
    assert found.samples("map_50").value == pytest.approx(0.25 * 51 / 101)
    assert found.samples("map_large").reason == "the data hold no large box"
    assert found.samples("map", "class=sign").reason == "the data hold no box of sign"
    assert found.samples("map").n == 2  # a picture is one sample, not each of its boxes


def test_boxes_are_read_in_every_layout_that_models_have():
    box = np.array([[[10, 20, 30, 60]], [[0, 0, 8, 8]]], np.float32)
    score, label = np.array([[0.5], [0.0]], np.float32), np.array([[2], [1]])
    corner = np.concatenate([box[..., :2], box[..., 2:] - box[..., :2]], axis=2)
    centre = np.concatenate([(box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]], axis=2)
    whole = np.concatenate([box, score[..., None], label[..., None]], axis=2)
    for outputs, said in (
        ({"boxes": box, "scores": score, "labels": label}, BoxOutputs()),
        ({"out": whole}, BoxOutputs()),
        ({"boxes": corner, "scores": score, "labels": label}, BoxOutputs(form="xywh")),
        ({"pred_boxes": centre, "s": score, "c": label}, BoxOutputs("s", "c", "cxcywh")),
        ({"boxes": box, "scores": score[..., None] * np.eye(3, dtype=np.float32)[2]}, BoxOutputs()),
    ):
        (kept,) = reduce_batch(Task("detection", boxes=said), outputs, {"x": np.zeros((2, 3))}).values()
        assert kept[0].tolist() == [[10, 20, 30, 60, 0.5, 2]]
        assert not len(kept[1])  # a score of zero fills up a row
    alone = {"boxes": box[0], "scores": score[0], "labels": label[0]}
    (kept,) = reduce_batch(Task("detection"), alone, {"x": np.zeros((1, 3))}).values()
    assert len(kept[0]) == 1
    with pytest.raises(InvalidInput, match="Which output holds the scores"):
        reduce_batch(Task("detection"), {"boxes": box, "labels": label}, {"x": np.zeros((2, 3))})
    with pytest.raises(InvalidInput, match="needs `data: batch: 1`"):
        reduce_batch(Task("detection"), alone, {"x": np.zeros((4, 3))})


def test_what_is_no_box_is_refused():
    truth, said = streets(np.random.default_rng(1), 5)
    with pytest.raises(
        InvalidInput, match=r"Row \d of `boxes` has a box of class 2; the classes are places from 0 to 1"
    ):
        evaluation(truth, said, task=Task("detection", ("car", "bike")))
    with pytest.raises(InvalidInput, match=r"needs \[boxes, 5\] numbers for each picture"):
        evaluation(ragged([each[:, :4] for each in truth]), said)


def test_pictures_of_one_clip_count_as_one():
    truth, said = streets(np.random.default_rng(2), 40)
    alone = evaluation(truth, said)
    clips = evaluation(ragged([*truth, *truth]), [*said, *said], groups=np.tile(np.arange(40), 2))
    assert clips.samples("map").n == 40
    assert clips.samples("map").bounds(0.025) == pytest.approx(alone.samples("map").bounds(0.025), abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Two-sided 95 % over 20 runs; tests/bench/task_coverage.py has the figures of many more."""
    draw, names = np.random.default_rng(7), ("map_50", "map")
    true = {name: evaluation(*streets(draw, 600)).samples(name).value for name in names}
    held = dict.fromkeys(names, 0)
    for _ in range(20):
        found = evaluation(*streets(draw, 40))
        for name in names:
            low, high = found.samples(name).bounds(0.025)
            held[name] += low <= true[name] <= high
    assert min(held.values()) >= 16, held


def test_gates_pass_a_detector_like_the_baseline_and_refuse_a_worse_one():
    truth, said = streets(np.random.default_rng(3), 150)
    base = evaluation(truth, said)
    rules = [
        Rule("map", "map", "not_worse", 0.03),
        Rule("map_50", "map_50", "at_least", 0.1, slices="class"),
    ]
    same = judge(rules, Case("original", candidate=evaluation(truth, said, base), baseline=base))
    assert {each.verdict for each in same} == {Verdict.PASS}, [each.text for each in same]
    _, blurred = streets(np.random.default_rng(3), 150, blur=0.3)
    worse = Case("original", candidate=evaluation(truth, blurred, base), baseline=base)
    assert judge(rules[:1], worse)[0].verdict is Verdict.FAIL


def test_a_class_that_the_baseline_does_not_know_is_left_out_of_the_comparison():
    truth, said = streets(np.random.default_rng(4), 80)
    known = [each[each[:, 5] > 0] - [0, 0, 0, 0, 0, 1] for each in said]  # bike and sign, from 0
    before = Task("detection", ("bike", "sign"))
    candidate, baseline = evaluate_beside(
        TASK,
        Predictions.of({"boxes": ragged(said)}, truth),
        before,
        Predictions.of({"boxes": ragged(known)}, truth),
    )
    shared = candidate.common.samples("map")
    assert shared.value == pytest.approx(baseline.samples("map").value)
    assert shared.value != pytest.approx(candidate.samples("map").value)
    assert candidate.samples("map", "class=car").value > 0


def test_pictures_without_anything_are_read_from_rows_and_called_together(tmp_path):
    truth, said = streets(np.random.default_rng(5), 30)
    truth[3] = truth[3][:0]
    lines = [{"x": [float(row)], "objects": each.tolist()} for row, each in enumerate(truth)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    signature = Signature((TensorSpec("x", "float32", ("n", 1)),), ())
    called = []

    def answer(fed):
        rows = fed["x"][:, 0].astype(int)
        called.append(len(rows))
        whole = np.zeros((len(rows), 20, 6), np.float32)
        for place, row in enumerate(rows):
            whole[place, : len(said[row])] = said[row]
        return {"boxes": whole}

    data = open_data("data.jsonl", root=tmp_path, signature=signature, label="objects")
    model = RuntimeModel("m", signature, answer, device="cpu", threads=1)
    predictions = predict(model, data, TASK, tmp_path / "out", batch=8)
    assert called == [8, 8, 8, 6]
    assert Evaluation(TASK, predictions).samples("map").value == pytest.approx(
        evaluation(truth, said).samples("map").value
    )


def test_a_detector_is_recognised(tmp_path):
    draw = np.random.default_rng(6)
    size = ["b", 8, 6]
    graph_file(
        tmp_path / "m.onnx",
        [("x", "float32", size)],
        [("dets", "float32", size)],
        [("Identity", ["x"], ["dets"])],
        {},
    )
    boxes = np.concatenate([50 * draw.random((60, 8, 2)), 50 + 50 * draw.random((60, 8, 2))], axis=2)
    label = draw.integers(0, 3, (60, 8, 1))
    x = np.concatenate([boxes, draw.random((60, 8, 1)), label], axis=2).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, objects=np.concatenate([boxes, label], axis=2))
    (tmp_path / "labels.txt").write_text("\n".join(TASK.labels))
    contract = contract_of(propose(tmp_path)).parts
    assert (contract.task.type, contract.task.labels) == ("detection", TASK.labels)
    assert "map_50" in contract.gates


def test_the_boxes_of_the_data_are_the_candidates_to_describe_whatever_the_release_said(tmp_path):
    """Data that were laid out anew would make any baseline a bad one, and any candidate as good."""
    text = (
        "model: {{name: m, path: m.onnx}}\ndata: {{evaluation: t.npz}}\n"
        "task: {{type: detection, labels: [car, bike], boxes: {{form: {0}, label_form: {1}}}}}\n"
    )
    (tmp_path / "mine.yml").write_text(text.format("cxcywh", "xywh"))
    (tmp_path / "theirs.yml").write_text(text.format("xyxy", "xyxy"))
    mine, theirs = (read_contract(tmp_path / f"{name}.yml") for name in ("mine", "theirs"))
    found = Rows(theirs, theirs).task(Rows(mine, mine).task())
    assert (found.boxes.form, found.boxes.label_form) == ("xyxy", "xywh")


def test_what_own_metrics_see_stays_as_it_is_where_the_baseline_knows_other_classes():
    truth, said = streets(np.random.default_rng(8), 20)
    seen = np.arange(40.0).reshape(20, 2)
    known = [each[each[:, 5] > 0] - [0, 0, 0, 0, 0, 1] for each in said]
    candidate, _ = evaluate_beside(
        TASK,
        Predictions.of({"boxes": ragged(said), f"{SEEN}extra": seen}, truth),
        Task("detection", ("bike", "sign")),
        Predictions.of({"boxes": ragged(known)}, truth),
    )
    assert np.array_equal(candidate.common.predictions.outputs[f"{SEEN}extra"].values, seen)
