"""Each statistic of a call is what it is called, round by round."""

from __future__ import annotations

import math
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from small_models import write_mlp

from gradatim.errors import UsageError
from gradatim.steps.benchmark import _questions
from gradatim.timing.contestant import Contestant
from gradatim.timing.paired import Question, compare
from gradatim.timing.rounds import Log, Turn

SPINNER = """
import random, time

def model():
    draw = random.Random(1)
    def call(inputs):
        end = time.perf_counter() + (0.0006 if draw.random() < {share} else 0.0003)
        while time.perf_counter() < end:
            pass
        return {{"y": inputs["x"]}}
    return call
"""
BATCH = {"x": np.zeros((8, 64), np.float32)}


def spinning(folder: Path, name: str, share: float) -> Contestant:
    (folder / f"{name}.py").write_text(SPINNER.format(share=share))
    return Contestant(name, Path(f"{name}:model"), folder, format="python", factory=f"{name}:model")


def test_a_model_most_of_whose_calls_take_twice_as_long_is_slower_by_all_but_its_floor(
    tmp_path: Path,
) -> None:
    pair = [spinning(tmp_path, "baseline", 0.0), spinning(tmp_path, "candidate", 0.6)]
    asked = [Question("candidate", "baseline", metric=metric) for metric in ("latency_floor", "latency_p50")]
    result = compare(pair, BATCH, questions=asked, rounds=3)
    (found,) = result.comparisons
    middle = {metric: statistics.median(values) for metric, values in found.differences.items() if values}
    assert abs(middle["latency_floor"]) < 0.1
    assert middle["latency_p50"] > math.log(1.5)
    assert middle["latency_mean"] > math.log(1.2)
    assert middle["throughput"] == -middle["latency_mean"]
    assert [answer.metric for answer in found.answers] == ["latency_floor", "latency_p50"]
    assert {(m.name, m.where) for m in result.measurements() if m.name == "latency_ratio"} == {
        ("latency_ratio", "latency_floor"),
        ("latency_ratio", "latency_p50"),
    }


def test_one_net_against_itself_takes_as_much_memory_wherever_it_lies(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = write_mlp(tmp_path / "model.onnx", 256)
    places = [tmp_path / name / "model.onnx" for name in ("b", "c" * 12)]
    for place in places:
        place.parent.mkdir()
        shutil.copy(model, place)
    pair = [Contestant(place.parent.name, place, tmp_path) for place in places]
    first, second = (one.memory for one in compare(pair, BATCH, rounds=6).contestants)
    assert first == pytest.approx(second, rel=0.015)


def test_every_form_is_timed_beside_the_release_whichever_the_gate_refuses(tmp_path: Path) -> None:
    margins = {"latency_floor": 3.0, "throughput": 9.0}
    names = ("int8", "pruned", "original")
    asked = _questions(names, margins, released=True)
    assert {(q.candidate, q.metric) for q in asked} == {(name, m) for name in names for m in margins}
    models = [spinning(tmp_path, name, 0.0) for name in ("baseline", *names)]
    result = compare(models, BATCH, questions=asked, rounds=3)
    assert [pair.candidate for pair in result.comparisons] == list(names)
    assert all(len(pair.differences["latency_floor"]) == 3 for pair in result.comparisons)
    assert [q.baseline for q in _questions(names, margins, released=False)] == ["original", "original"]


def test_a_tail_is_of_so_many_rounds_as_make_calls_enough_for_it() -> None:
    log = Log(Contestant("m", Path("m.onnx"), Path()))
    for number in range(10):
        log.turns.append(Turn(1, "perf_counter", 0.1, [1.0] * 8, [1.0 + number] * 8))
    assert len(log.by_round("latency_p50")) == 10
    assert log.by_round("latency_p90") == pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0], abs=0.5)
    assert len(log.by_round("latency_p95")) == 3
    assert log.by_round("latency_p99") == []


def test_a_question_about_what_is_not_timed_is_refused(tmp_path: Path) -> None:
    pair = [spinning(tmp_path, name, 0.0) for name in ("a", "b")]
    with pytest.raises(UsageError, match="latency_p75"):
        compare(pair, BATCH, questions=[Question("b", "a", metric="latency_p75")])
