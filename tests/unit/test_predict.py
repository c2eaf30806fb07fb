"""Predicting in blocks gives exactly what the model says batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.data import open_data
from gradatim.errors import InvalidInput
from gradatim.metrics.task import Task
from gradatim.models.predict import predict
from gradatim.signature import Signature, TensorSpec

TASK = Task("classification", labels=(0, 1, 2))


class Said:
    """A model in this process that answers with a function of its batch."""

    device, threads, signature = "cpu", 1, Signature((), ())

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.batches: list[int] = []

    def __call__(self, inputs: Mapping[str, Any], /) -> dict[str, Any]:
        self.batches.append(len(inputs["x"]))
        return {"scores": self.answer(inputs["x"], len(self.batches))}


def write(folder: Path, rows: int) -> np.ndarray[Any, Any]:
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    np.savez(
        folder / "data.npz", x=x, label=np.arange(rows) % 3, site=np.array(["a", "b"])[np.arange(rows) % 2]
    )
    return x


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 90), batch=st.integers(1, 40), most=st.none() | st.integers(1, 100))
def test_every_row_is_kept_once_in_order_with_its_label_and_slice(
    tmp_path_factory: pytest.TempPathFactory, rows: int, batch: int, most: int | None
) -> None:
    folder = tmp_path_factory.mktemp("predict")
    x = write(folder, rows)
    model, done = Said(lambda x, _: x[:, :3]), []
    data = open_data("data.npz", root=folder, slices=["site"])
    found = predict(
        model, data, TASK, folder / "out", batch=batch, most=most, advance=lambda n=1, note="": done.append(n)
    )
    wanted = rows if most is None else min(rows, most)
    assert np.array_equal(found.outputs["scores"].values, x[:wanted, :3])
    assert found.labels is not None
    assert np.array_equal(found.labels.values, np.arange(wanted) % 3)
    assert np.array_equal(found.items, np.arange(wanted))
    site = found.slices["site"]
    assert site.names is not None
    assert [site.names[code] for code in site.values] == [("a", "b")[row % 2] for row in range(wanted)]
    assert sum(model.batches) == sum(done) == wanted
    assert model.batches[:-1] == [batch] * (len(model.batches) - 1)


@pytest.mark.parametrize(
    ("odd", "complaint"),
    [
        (lambda x: x[:-1, :3], "different lengths"),
        (lambda x: x[:, :3].astype(np.float64), "dtype"),
        (lambda x: x[:, 0], "shape|several values"),
        (lambda x: np.array(["a"] * len(x)), "strings"),
    ],
)
def test_a_model_that_changes_its_answers_on_the_way_is_refused_and_leaves_no_predictions(
    odd: Any, complaint: str, tmp_path: Path
) -> None:
    write(tmp_path, 60)
    model = Said(lambda x, call: odd(x) if call == 3 else x[:, :3])
    with pytest.raises(InvalidInput, match=complaint):
        predict(model, open_data("data.npz", root=tmp_path), TASK, tmp_path / "out", batch=8)
    assert not (tmp_path / "out").exists()


def test_a_row_too_few_is_not_made_good_by_one_too_many(tmp_path: Path) -> None:
    x = write(tmp_path, 24)
    pieces = {1: x[:7, :3], 2: x[:9, :3], 3: x[:8, :3]}
    model = Said(lambda _, call: pieces[call])
    with pytest.raises(InvalidInput, match="different lengths"):
        predict(model, open_data("data.npz", root=tmp_path), TASK, tmp_path / "out", batch=8)


def test_a_call_is_given_so_many_rows_as_a_large_vocabulary_can_answer_in_little_memory(
    tmp_path: Path,
) -> None:
    words, tokens = 1 << 20, 8
    model = Said(lambda x, _: np.zeros((len(x), tokens, words), np.float32))
    model.signature = Signature((), (TensorSpec("scores", "float32", ("batch", "tokens", words)),))
    rows = np.zeros((10, tokens), np.int64)
    np.savez(tmp_path / "data.npz", x=rows, label=rows)
    data = open_data("data.npz", root=tmp_path)
    found = predict(model, data, Task("language_modelling", output="scores"), tmp_path / "out", batch=10)
    assert model.batches == [4, 4, 2]
    assert found.outputs["nll"].values == pytest.approx(np.full(10, (tokens - 1) * np.log(words)))
