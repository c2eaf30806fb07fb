"""Predictions on disk: streamed, complete or absent, read back as they were written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.task import Task


def write(folder: Path, batches, **more) -> Predictions:
    with PredictionsWriter(folder) as writer:
        for batch in batches:
            writer.append(**batch, **more)
    return Predictions.load(folder)


def test_what_is_written_is_read_back_whatever_the_batches(tmp_path):
    p = np.random.default_rng(0).random((10, 3)).astype(np.float16)
    labels, region = np.array(list("abcabcabca")), np.array(["näh", "süd"] * 5)
    loaded = [
        write(tmp_path / f"ünd {step}" / "x", [
            {"outputs": {"a/b:0": p[i : i + step]}, "labels": labels[i : i + step],
             "slices": {"region": region[i : i + step]}, "groups": np.arange(10)[i : i + step] // 2}
            for i in range(0, 10, step)
        ])
        for step in (1, 3, 10)
    ]  # fmt: skip
    for found in loaded:
        assert found.outputs["a/b:0"].values.dtype == np.float16
        np.testing.assert_array_equal(found.outputs["a/b:0"].values, p)
        assert [found.labels.names[code] for code in found.labels.values] == list(labels)
        assert [found.slices["region"].names[code] for code in found.slices["region"].values] == list(region)
        assert found.items.tolist() == list(range(10))
    assert len({found.digest_of_items() for found in loaded}) == 1
    memory = Predictions.of({"a/b:0": p}, labels, {"region": region}, np.arange(10) // 2)
    assert memory.digest_of_items() == loaded[0].digest_of_items()
    other = Predictions.of({"a/b:0": p}, labels[::-1], {"region": region}, np.arange(10) // 2)
    assert other.digest_of_items() != memory.digest_of_items()


def test_ragged_outputs_and_padded_batches_of_different_lengths(tmp_path):
    ragged = [np.arange(3), np.arange(0), np.arange(5)]
    found = write(tmp_path / "a", [{"outputs": {"t": ragged[:2]}}, {"outputs": {"t": ragged[2:]}}])
    assert [found.outputs["t"].item(i).tolist() for i in range(3)] == [item.tolist() for item in ragged]
    even = [np.ones((2, 4, 3), np.float32), np.zeros((1, 6, 3), np.float32)]
    found = write(tmp_path / "b", [{"outputs": {"t": batch}} for batch in even])
    assert [found.outputs["t"].item(i).shape for i in range(3)] == [(4, 3), (4, 3), (6, 3)]
    empty = write(tmp_path / "c", [{"outputs": {"t": [np.zeros(0)]}}])
    assert empty.outputs["t"].item(0).shape == (0,)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"outputs": {"p": np.ones((2, 2))}}, "dtype"),
        ({"outputs": {"p": np.ones((2, 2, 2), np.float32)}}, "shape"),
        ({"outputs": {"q": np.ones((2, 2), np.float32)}}, "lacks or adds p, q"),
        ({"outputs": {"p": np.ones((2, 2), np.float32), "q": np.ones(3)}}, "different lengths"),
        ({"outputs": {"p": np.ones((2, 2)) * 1j}}, "neither numbers nor strings"),
        ({"outputs": {}}, "no output"),
    ],
)
def test_batches_that_do_not_fit_leave_nothing_behind(tmp_path, second, words):
    with pytest.raises(InvalidInput, match=words):
        write(tmp_path / "x", [{"outputs": {"p": np.ones((2, 2), np.float32)}}, second])
    assert list(tmp_path.iterdir()) == []


def test_an_output_without_a_row_for_each_item_is_refused_wherever_it_is_met_with_what_to_do(tmp_path):
    """As [labels, items, 2]: its first axis counts the labels."""
    chances, items = {"chances": np.ones((3, 8, 2))}, np.arange(8)
    for met in (
        lambda: Predictions.of(chances, items=items),
        lambda: write(tmp_path / "x", [{"outputs": chances, "items": items}]),
    ):
        with pytest.raises(InvalidInput, match=r"(?s)chances 3, items 8.*`task: output:`"):
            met()


def test_no_row_is_an_error_and_a_failure_keeps_the_older_predictions(tmp_path):
    with pytest.raises(InvalidInput, match="nothing to evaluate"):
        write(tmp_path / "x", [])
    write(tmp_path / "x", [{"outputs": {"p": np.ones(3)}}])

    def interrupted():
        yield {"outputs": {"p": np.zeros(2)}}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x", interrupted())
    assert len(Predictions.load(tmp_path / "x")) == 3
    write(tmp_path / "x", [{"outputs": {"p": np.ones(4)}}])
    assert len(Predictions.load(tmp_path / "x")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_broken_files_are_refused_not_believed(tmp_path):
    folder = tmp_path / "x"
    write(folder, [{"outputs": {"p": np.ones((100, 3))}, "labels": np.zeros(100, int)}])
    file = next(folder.glob("outputs-*.npy"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="cannot be read as predictions"):
        Predictions.load(folder)
    np.save(file, np.ones((99, 3)))
    with pytest.raises(InvalidInput, match="99 rows"):
        Predictions.load(folder)
    (folder / "predictions.json").write_text(json.dumps({"outputs": 3}))
    with pytest.raises(InvalidInput, match="not an index"):
        Predictions.load(folder)
    with pytest.raises(InvalidInput):
        Predictions.load(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnvironmentLacks, match="cannot be written"):
        write(tmp_path / "file" / "x", [{"outputs": {"p": np.ones(3)}}])


def test_only_what_scoring_needs_is_kept():
    hidden = np.ones((2, 3, 4), np.float32)
    hidden[:, 2] = 9
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    kept = reduce_batch(Task("embedding"), {"last_hidden_state": hidden}, {"attention_mask": mask})
    assert kept["last_hidden_state"].shape == (2, 4)
    assert kept["last_hidden_state"][0].tolist() == [1, 1, 1, 1]
    both = {"last_hidden_state": hidden, "pooler_output": hidden[:, 0]}
    assert list(reduce_batch(Task("embedding"), both)) == ["pooler_output"]
    scores = {"label": np.array([0, 1]), "probabilities": np.eye(2)}
    assert list(reduce_batch(Task("classification"), scores)) == ["probabilities"]
    tags = reduce_batch(
        Task("token_classification"), {"logits": np.eye(3)[[[0, 1, 2], [2, 1, 0]]]}, {"attention_mask": mask}
    )
    assert [row.tolist() for row in tags["logits"]] == [[0, 1], [2, 1, 0]]


def test_many_rows_are_measured_without_a_copy_of_the_scores(tmp_path):
    """Peak memory is read in a process of its own; 12 MB of scores lie on disk."""
    script = """
import resource, sys
import numpy as np
from gradatim.metrics.predictions_writer import PredictionsWriter
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from pathlib import Path
def go(n):
    generator = np.random.default_rng(0)
    with PredictionsWriter(Path(sys.argv[1]) / str(n)) as writer:
        for _ in range(n // 10_000):
            y = generator.integers(10, size=10_000)
            scores = generator.normal(size=(10_000, 10)).astype(np.float32)
            scores[np.arange(10_000), y] += 3
            writer.append({"logits": scores}, labels=y.astype(np.int32))
    names = ("accuracy", "f1_macro", "log_loss", "ece")
    from gradatim.metrics.evaluation import Evaluation
    found = Evaluation(Task("classification"), Predictions.load(Path(sys.argv[1]) / str(n)))
    values = [found.samples(name).value for name in names]
    def anonymous():
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 1024
    return anonymous()
small = go(10_000)
print(small, go(300_000))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    small, large = map(float, done.stdout.split())
    assert large - small < 80


def test_predictions_on_disk_and_in_memory_measure_alike(tmp_path):
    generator = np.random.default_rng(0)
    y, p = generator.integers(3, size=200), generator.random((200, 3)).astype(np.float32)
    disk = write(
        tmp_path / "x",
        [{"outputs": {"p": p[i : i + 64]}, "labels": y[i : i + 64]} for i in range(0, 200, 64)],
    )
    for metric in ("accuracy", "f1_macro", "log_loss", "roc_auc", "ece"):
        a, b = (
            Evaluation(Task("classification"), source).samples(metric)
            for source in (disk, Predictions.of({"p": p}, y))
        )
        assert (a.value, a.bounds(0.05), a.pairing) == (b.value, b.bounds(0.05), b.pairing)
