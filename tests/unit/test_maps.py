"""Answers with a number for each pixel or moment: judged number by number, whatever the size of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import r2_score

from gradatim.checks.answers import Study
from gradatim.checks.robustness import score_models
from gradatim.data import open_data
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import measurements
from gradatim.metrics.task import Task
from gradatim.models.predict import predict
from gradatim.models.predictor import RuntimeModel
from gradatim.signature import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", ("n", 1, "h", "w")),), ())
SIZES = [(6, 9), (3, 9), (6, 4), (6, 9), (5, 5), (4, 12)] * 3


def ink(labels: Any, answers: Any) -> float:
    """A metric of the user's: the share of pixels on the right side, averaged over the pictures."""
    pairs = zip(labels, answers, strict=True)
    return float(np.mean([((np.asarray(a) > 0.5) == (np.asarray(t) > 0.5)).mean() for t, a in pairs]))


def halved(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {"map": inputs["x"] / 2}


def network() -> RuntimeModel:
    return RuntimeModel("a model", SIGNATURE, halved, device="cpu", threads=1)


@pytest.fixture
def pictures(tmp_path: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Pictures of many sizes with a mask each, in ``data.jsonl``; one after the other differs in more than one axis."""
    draw = np.random.default_rng(0)
    rows = [(draw.random((1, h, w)).astype(np.float32), draw.integers(0, 2, (1, h, w))) for h, w in SIZES]
    lines = [json.dumps({"x": x.tolist(), "label": mask.tolist()}) for x, mask in rows]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    return rows


def test_pictures_of_many_sizes_are_judged_pixel_by_pixel(pictures, tmp_path: Path) -> None:
    task = Task("regression", own={"ink": ink})
    data = open_data("data.jsonl", root=tmp_path, signature=SIGNATURE)
    found = Evaluation(task, predict(network(), data, task, tmp_path / "out", batch=4))
    errors = [np.abs(x / 2 - mask).mean() for x, mask in pictures]
    assert found.samples("mae").value == pytest.approx(np.mean(errors))
    squares = [((x / 2 - mask) ** 2).mean() for x, mask in pictures]
    assert found.samples("rmse").value == pytest.approx(np.sqrt(np.mean(squares)))
    flat = np.concatenate([mask.ravel() for _, mask in pictures])
    said = np.concatenate([x.ravel() / 2 for x, _ in pictures])
    assert found.samples("r2").value == pytest.approx(r2_score(flat, said))
    assert found.samples("ink").value == pytest.approx(
        ink([m for _, m in pictures], [x / 2 for x, _ in pictures])
    )
    low, high = found.samples("r2").bounds(0.05)
    assert low < found.samples("r2").value < high


def test_a_map_of_one_size_is_measured_like_one_of_many(pictures, tmp_path: Path) -> None:
    x, mask = pictures[0]
    many = np.stack([x * (1 - i / 40) for i in range(20)]).astype(np.float32)
    np.savez(tmp_path / "even.npz", x=many, label=np.stack([mask] * 20).astype(np.uint8))
    (tmp_path / "even.jsonl").write_text(
        "\n".join(json.dumps({"x": row.tolist(), "label": mask.tolist()}) for row in many)
    )
    task = Task("regression")
    found = [
        measurements(Evaluation(task, predict(network(), open_data(name, root=tmp_path, signature=SIGNATURE), task,
                                              tmp_path / f"out-{name}", batch=8)), "v")
        for name in ("even.npz", "even.jsonl")
    ]  # fmt: skip
    for one, other in zip(*found, strict=True):
        assert one.name == other.name
        assert one.value == pytest.approx(other.value, rel=1e-6)
        assert one.low == pytest.approx(other.low, rel=1e-6)


def test_large_maps_need_no_memory_for_each_pixel_and_draw(tmp_path: Path) -> None:
    """Twelve pictures of 200 by 200: an interval that resampled each pixel as a target of its own would take 2 GB."""
    draw = np.random.default_rng(0)
    x = draw.random((12, 1, 200, 200)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, label=(x > 0.5).astype(np.uint8))
    task = Task("regression")
    data = open_data("data.npz", root=tmp_path, signature=SIGNATURE)
    found = Evaluation(task, predict(network(), data, task, tmp_path / "out", batch=4)).samples("r2")
    assert found.terms is not None
    assert found.terms.nbytes < 10_000
    assert found.value == pytest.approx(r2_score((x > 0.5).ravel(), x.ravel() / 2), rel=1e-5)


def test_pictures_of_many_sizes_are_corrupted_and_scored(pictures, tmp_path: Path) -> None:
    study = Study(
        lambda name, signature: open_data("data.jsonl", root=tmp_path, signature=signature),
        lambda name: Task("regression"),
        ("gaussian_noise",),
        most=100,
        batch=4,
    )
    found = score_models({"original": network()}, study)
    assert found.checks == {"original": []} or not any(found.checks.values())
    assert found.scores["original"].corrupted["gaussian_noise"].shape[0] == len(pictures)


def test_the_same_answers_are_seen_on_maps_of_many_sizes(pictures, tmp_path: Path) -> None:
    task = Task("regression")
    data = open_data("data.jsonl", root=tmp_path, signature=SIGNATURE)
    first = Evaluation(task, predict(network(), data, task, tmp_path / "out", batch=4))
    second = Evaluation(task, first.predictions, first)
    assert second.same_answers().all()
    other = RuntimeModel("b", SIGNATURE, lambda i: {"map": i["x"] / 3}, device="cpu", threads=1)
    third = Evaluation(task, predict(other, data, task, tmp_path / "other", batch=4), first)
    assert not third.same_answers().any()
