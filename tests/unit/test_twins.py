"""Rows of the evaluation data that the model was made with: counted, told, and refused where a gate asks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gate_project import write_model
from registry_examples import commit_file, new_repository
from sklearn.datasets import load_breast_cancer, load_digits

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.data import Batch, twins
from gradatim.errors import InvalidInput
from gradatim.gates.verdict import Verdict
from gradatim.pipeline.step import run_step
from gradatim.steps import gate


def batches(rows, size=50):
    values = np.array(rows, object) if isinstance(rows, list) else rows
    for start in range(0, len(values), size):
        part = values[start : start + size]
        yield Batch(np.arange(start, start + len(part)), {"x": part})


def test_pictures_are_found_again_though_noise_was_added_and_no_others_are():
    draw = np.random.default_rng(0)
    trained = draw.normal(size=(400, 3, 8, 8)).astype(np.float32) + np.linspace(0, 5, 64).reshape(8, 8)
    judged = draw.normal(size=(200, 3, 8, 8)).astype(np.float32) + np.linspace(0, 5, 64).reshape(8, 8)
    judged[:4] = trained[10:14]
    judged[4:10] = trained[50:56] + 0.03 * draw.normal(size=(6, 3, 8, 8))
    found = twins(batches(judged), batches(trained))
    assert (found.rows, found.exact, found.near) == (200, 4, 10)
    assert twins(batches(judged), batches(trained), near=False).near is None


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e30])
def test_numbers_of_any_unit_are_found_again_though_some_are_missing(unit):
    draw = np.random.default_rng(0)
    trained, judged = draw.normal(size=(300, 20)), draw.normal(size=(100, 20))
    judged[:5] = trained[40:45] + 0.01 * draw.normal(size=(5, 20))
    for rows in (trained, judged):
        rows[:, 3] = np.nan
        rows[::7, 5] = np.nan
        rows[::9, 6] = np.inf
    judged[:5, 5:7] = trained[40:45, 5:7]
    given = [(unit * rows).astype(np.float32) for rows in (judged, trained)]
    assert twins(*map(batches, given)).near == 5
    assert twins(batches(given[0]), batches(np.ones_like(given[1]))).near is None


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_rows_of_real_data_that_are_merely_alike_are_no_twins(load):
    rows = load().data.astype(np.float32)
    found = twins(batches(rows[:200]), batches(rows[200:]))
    assert (found.exact, found.near) == (0, 0)


def test_texts_are_found_again_though_words_were_changed():
    draw = np.random.default_rng(1)
    words = np.array([f"word{i}" for i in range(400)])
    trained = [" ".join(draw.choice(words, 40)) for _ in range(300)]
    judged = [" ".join(draw.choice(words, 40)) for _ in range(100)]
    judged[0], judged[1] = trained[5], f"{trained[6].upper()}!"
    judged[2] = trained[7].replace(trained[7].split()[9], "another", 1)
    found = twins(batches(judged), batches(trained))
    assert (found.exact, found.near) == (1, 3)
    letters = [f"Please confirm order {i} of customer {7 * i} for delivery today at noon" for i in range(200)]
    assert twins(batches(letters[:80]), batches(letters[80:])).near == 0


def test_of_few_numbers_only_the_very_same_row_is_a_twin():
    rows = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
    found = twins(batches(rows[:30]), batches(np.concatenate([rows[:2], rows[30:]])))
    assert (found.exact, found.near) == (2, None)


def test_rows_of_another_precision_are_the_same_and_rows_of_another_kind_are_refused():
    rows = np.random.default_rng(3).normal(size=(40, 20)).astype(np.float32)
    assert twins(batches(rows[:10]), batches(rows.astype(np.float64))).exact == 10
    with pytest.raises(InvalidInput, match="none could be another"):
        twins(batches(rows), batches(rows.reshape(40, 4, 5)))


def test_evaluate_counts_them_and_a_gate_refuses_them(tmp_path):
    root = new_repository(tmp_path / "repo")
    write_model(root / "model.onnx", "old")
    labels = np.arange(60) % 3
    x = (np.eye(6)[labels] * 3 + np.random.default_rng(0).normal(size=(60, 6)) / 9).astype(np.float32)
    np.savez(root / "test.npz", x=x, label=labels)
    np.savez(root / "train.npz", x=np.concatenate([x[:5], x[5:] + 1]))
    contract = {
        "model": {"name": "small", "path": "model.onnx"},
        "data": {"evaluation": "test.npz", "training": "train.npz"},
        "task": {"type": "classification", "labels": [0, 1, 2]},
        "gates": {"duplicates": {"at_most": 0}, "near_duplicates": {"at_most": 3}},
    }
    commit_file(root, "gradatim.yml", json.dumps(contract).encode())
    candidate = Candidate(read_contract(root / "gradatim.yml"), Laptop())
    run_step("evaluate", candidate)
    statement = candidate.workspace.statement("evaluate")
    told = {m.name: m for m in statement.measurements if m.variant == "original"}
    assert "rows that are in data.training, too: 5 exactly" in statement.summary
    assert (told["duplicates"].value, told["duplicates"].n) == (5, 60)
    assert "few numbers" in told["near_duplicates"].reason
    by_name = {each.gate: each for each in gate.run(candidate).gates}
    assert by_name["duplicates"].verdict is Verdict.FAIL
    assert by_name["duplicates"].text == "duplicates is 5; wanted at most 0."
    assert by_name["near_duplicates"].verdict is Verdict.FAIL  # what cannot be told never passes


@pytest.mark.parametrize("size", [1, 2, 7])
def test_how_many_rows_a_batch_has_makes_no_twins(size):
    """A model may take one row at a time; one row alone tells nothing of how rows vary."""
    rows = load_digits().data.astype(np.float32)
    judged = np.concatenate([rows[:100], rows[500:501] + 0.01])
    found = twins(batches(judged, size), batches(rows[200:], size))
    assert (found.exact, found.near) == (0, 1)
    assert twins(batches(rows[:20]), batches(rows[20:21])).near is None  # one row tells nothing
