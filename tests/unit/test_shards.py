"""Rows shared out and merged again: the same bytes as one walk, whatever the rows, the batches and the parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradatim.candidate.sharding import Part, merged
from gradatim.checks.answers import Study, answers_of, asked
from gradatim.checks.robustness import score_models
from gradatim.checks.robustness_scores import ItemScores, score
from gradatim.checks.sampled import sample
from gradatim.data import Dataset, open_data
from gradatim.errors import BrokenEvidence, InvalidInput, UsageError
from gradatim.evidence.statement import Statement
from gradatim.gates.verdict import Verdict
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.task import Task
from gradatim.models import Predictor, batched
from gradatim.models.predict import predict
from gradatim.models.predictor import RuntimeModel
from gradatim.shard import MOST, Shard, shards
from gradatim.signature import Signature, TensorSpec

Array = NDArray[Any]
NAMED = Task("classification", labels=("no", "yes", "maybe"))


class Batched:
    """A model whose answer to a row depends on the batch that it stands in, as rounding in a large product does."""

    device, threads, signature = "cpu", 1, Signature((), ())

    def __init__(self, *, tags: bool = False) -> None:
        self.tags = tags

    def __call__(self, inputs: Mapping[str, Array], /) -> dict[str, Array]:
        x = np.asarray(inputs["x"], np.float32)
        if self.tags:
            return {
                "tags": (np.arange(x.shape[1]) + x.sum()).astype(np.int64) % 3 * np.ones((len(x), 1), int)
            }
        return {"scores": np.stack([x[:, 0], x[:, 1], x[:, 2]], axis=1) + x.sum() / 7}


def even(folder: Path, rows: int) -> Dataset:
    draw = np.random.default_rng(rows)
    np.savez(
        folder / "data.npz",
        x=draw.normal(size=(rows, 4)).astype(np.float32),
        label=draw.choice(["yes", "no", "maybe"], rows),
        site=draw.choice(["north", "south", "east"], rows),
        user=draw.integers(0, 5, rows),
    )
    return open_data("data.npz", root=folder, slices=["site"], group="user")


def uneven(folder: Path, rows: int) -> Dataset:
    draw = np.random.default_rng(rows)
    lines = []
    for _ in range(rows):
        length = int(draw.integers(1, 4))
        values = draw.normal(size=length).round(3).tolist()
        lines.append(json.dumps({"x": values, "label": draw.integers(0, 3, length).tolist()}))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return open_data("data.jsonl", root=folder)


def parts(folder: Path, of: int) -> tuple[Part, ...]:
    statement = Statement("evaluate", {"original": "0" * 64}, Verdict.PASS, "0")
    return tuple(Part(shard, folder / shard.folder, 0, 1, statement) for shard in shards(of))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@given(total=st.integers(1, 300), batch=st.integers(1, 70), of=st.integers(1, MOST))
def test_parts_are_whole_batches_and_together_they_are_all_rows_once(total: int, batch: int, of: int) -> None:
    ranges = [shard.rows(total, batch) for shard in shards(of)]
    assert [row for rows in ranges for row in rows] == list(range(total))
    assert all(rows.start % batch == 0 or rows.start == total for rows in ranges)
    batches = [-(-len(rows) // batch) for rows in ranges]
    assert max(batches) - min(batches) <= 1


def test_a_shard_is_written_in_two_ways_and_nothing_else_is_one() -> None:
    assert Shard.parse("2/4") == Shard.parse("2-of-4") == Shard(2, 4)
    assert (str(Shard(2, 4)), Shard(2, 4).folder) == ("2/4", "2-of-4")
    for wrong in (
        "",
        "2",
        "0/4",
        "5/4",
        "2/4/6",
        "-1/4",
        "two/4",
        f"1/{MOST + 1}",
        "../4",
        "\uff12/4",
        "02/4",
    ):
        with pytest.raises(UsageError):
            Shard.parse(wrong)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 60), batch=st.integers(1, 20), of=st.integers(1, 6), ragged=st.booleans())
def test_merged_predictions_are_the_very_files_of_one_walk(
    tmp_path_factory: pytest.TempPathFactory, rows: int, batch: int, of: int, ragged: bool
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    data = uneven(folder, rows) if ragged else even(folder, rows)
    task = Task("token_classification") if ragged else NAMED
    model = Batched(tags=ragged)
    predict(model, data, task, folder / "whole", batch=batch)
    for shard in shards(of):
        if mine := shard.rows(rows, batch):
            predict(model, data, task, folder / shard.folder / "m", batch=batch, only=mine)
    merged("evaluate", parts(folder, of), "m", folder / "merged", np.arange(rows))
    assert files(folder / "merged") == files(folder / "whole")


@pytest.mark.parametrize("case", ["gap", "overlap", "end", "order"])
def test_rows_that_are_not_due_are_refused_by_the_shard_that_has_them(tmp_path: Path, case: str) -> None:
    data, rows = even(tmp_path, 40), np.arange(40)
    where = {"gap": (0, 10, 30), "overlap": (0, 10, 10), "end": (0, 10, None), "order": (10, 0, 20)}[case]
    for shard, start in zip(shards(3), where, strict=True):
        if start is not None:
            only = range(start, start + 20 if shard.number == 3 and case != "gap" else start + 10)
            predict(Batched(), data, NAMED, tmp_path / shard.folder / "m", batch=5, only=only)
    with pytest.raises(BrokenEvidence, match=f"Shard {'1' if case == 'order' else '3'}/3 of `evaluate`"):
        merged("evaluate", parts(tmp_path, 3), "m", tmp_path / "merged", rows)
    assert not (tmp_path / "merged").exists()


def test_codes_of_strings_follow_the_rows_not_the_batches(tmp_path: Path) -> None:
    labels = np.array(["b", "a", "c", "a", "b", "d"])
    for name, size in (("one", 6), ("two", 2)):
        with PredictionsWriter(tmp_path / name) as writer:
            for start in range(0, 6, size):
                part = labels[start : start + size]
                writer.append({"y": np.zeros(len(part))}, part)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    found = Predictions.load(tmp_path / "one").labels
    assert found is not None
    assert found.names == ("b", "a", "c", "d") == Predictions.of({"y": labels}, labels).labels.names  # type: ignore[union-attr]


def shaky(inputs: Mapping[str, Array], *, limit: float) -> dict[str, Array]:
    """Answers unless a value is too large; NaN where one is nearly so."""
    x = inputs["x"]
    if np.abs(x).max() > limit:
        raise InvalidInput(f"a value of {np.abs(x).max():.6f} is too large")
    scores = x[:, :3] + x.sum() / 1e3
    return {"scores": np.where(np.abs(x).max() > limit * 0.97, np.nan, scores).astype(np.float32)}


def models(limits: tuple[float, ...]) -> dict[str, Predictor]:
    signature = Signature((TensorSpec("x", "float32", ("n", 4)),), ())
    return {
        f"m{place}": batched(
            RuntimeModel(
                "m", signature, lambda i, limit=limit: shaky(i, limit=limit), device="cpu", threads=1
            )  # type: ignore[misc]
        )
        for place, limit in enumerate(limits)
    }


def same(one: Mapping[str, ItemScores], other: Mapping[str, ItemScores]) -> bool:
    return list(one) == list(other) and all(
        (a.digest, a.whole, list(a.corrupted)) == (b.digest, b.whole, list(b.corrupted))
        and np.array_equal(a.clean, b.clean)
        and np.array_equal(a.items, b.items)
        and all(np.array_equal(a.corrupted[c], b.corrupted[c]) for c in a.corrupted)
        for a, b in zip(one.values(), other.values(), strict=True)
    )


@pytest.mark.parametrize(("rows", "most", "batch", "of"), [(90, 2000, 16, 3), (90, 40, 7, 4), (20, 9, 4, 5)])
def test_merged_robustness_is_that_of_one_walk_also_where_a_model_fails(
    tmp_path: Path, rows: int, most: int, batch: int, of: int
) -> None:
    even(tmp_path, rows)
    corruptions = ["feature_noise", "missing_values"]
    calm = float(np.abs(np.load(tmp_path / "data.npz")["x"]).max()) * 1.05
    chosen = models((1e9, calm, calm * 1.5))
    study = Study(
        lambda name, signature: open_data(
            "data.npz", root=tmp_path, signature=signature, inputs={"x": "x"}, slices=["site"], group="user"
        ),
        lambda name: NAMED,
        corruptions,
        most,
        batch,
    )
    whole = score_models(chosen, study)
    assert whole.checks, "one of them fails somewhere"
    broken: dict[str, str] = {}
    for shard in reversed(shards(of)):
        for group in asked(chosen, study, shard):
            for name, corruption, severity, answered in answers_of(group) if len(group.rows.mine()) else ():
                where = f"{name}/{corruption}-{severity}"
                if isinstance(answered, InvalidInput):
                    broken[where] = str(answered)
                    continue
                with PredictionsWriter(tmp_path / shard.folder / where) as writer:
                    writer.extend(answered)
    items = sample(rows, most, 0)

    def answers(corruption: str, severity: int, names: Collection[str]) -> dict[str, Any]:
        return dict(_answers(corruption, severity, names))

    def _answers(corruption: str, severity: int, names: Collection[str]) -> Iterator[tuple[str, Any]]:
        for name in names:
            where = f"{name}/{corruption}-{severity}"
            yield (
                name,
                (
                    InvalidInput(broken[where])
                    if where in broken
                    else merged("test", parts(tmp_path, of), where, tmp_path / "merged" / where, items)
                ),
            )

    found = score(tuple(chosen), items, len(items) == rows, lambda name: NAMED, corruptions, answers)
    assert found.checks == whole.checks
    assert same(found.scores, whole.scores)
