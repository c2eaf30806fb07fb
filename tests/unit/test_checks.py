"""Unit, integration, performance and regression checks on models that keep or break their promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradatim.checks.behaviour import self_flips, unit_checks
from gradatim.checks.check import failed
from gradatim.checks.comparison import Allowance, compare
from gradatim.checks.flow import integration_check, performance_check
from gradatim.checks.golden import (
    GoldenCase,
    golden_check,
    golden_rows,
    read_cases,
    read_contract_case,
    regression_check,
    write_cases,
)
from gradatim.data import open_data
from gradatim.errors import InvalidInput
from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict
from gradatim.metrics.task import Task
from gradatim.models import Predictor, batched
from gradatim.models.predictor import RuntimeModel
from gradatim.signature import Signature, TensorSpec

Array = NDArray[Any]
Function = Callable[[Mapping[str, Array]], dict[str, Array]]

TASK = Task("classification")
STRICT = Allowance()
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def linear(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"scores": inputs["x"] @ WEIGHTS}


def model(function: Function, outputs: tuple[TensorSpec, ...] | None = None) -> Predictor:
    """A model on the kit's own Predictor, with a signature that is checked."""
    declared = (TensorSpec("scores", "float32", ("batch", 3)),) if outputs is None else outputs
    signature = Signature((TensorSpec("x", "float32", ("batch", 4)),), declared)
    return batched(RuntimeModel("a model", signature, function, device="cpu", threads=1))


def rows(n: int = 16) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).normal(size=(n, 4)).astype(np.float32)}


def verdicts(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.verdict.value for check in checks}


def test_a_well_behaved_model_passes_every_unit_check() -> None:
    checks = unit_checks(model(linear), rows(), STRICT, TASK)
    assert verdicts(checks) == dict.fromkeys(
        ("signature", "finite outputs", "determinism", "one by one", "permutation"), "PASS"
    )
    assert "0 of 16 answers changed" in next(c.detail for c in checks if c.name == "determinism")


def test_a_model_that_rolls_dice_fails_determinism_and_its_self_flips_are_counted() -> None:
    dice = np.random.default_rng(2)

    def rolling(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": dice.normal(size=(len(inputs["x"]), 3)).astype(np.float32)}

    (bad,) = [c for c in failed(unit_checks(model(rolling), rows(), STRICT, TASK)) if c.name == "determinism"]
    assert "second time" in bad.detail
    flips = self_flips(model(rolling), rows(64), TASK)
    assert flips is not None
    assert flips[0] > 0
    assert self_flips(model(linear), rows(64), TASK) == (0, 64)


def test_an_answer_that_depends_on_its_neighbours_fails_batch_invariance() -> None:
    def normalised(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": (inputs["x"] - inputs["x"].mean(axis=0)) @ WEIGHTS}

    (bad,) = failed(unit_checks(model(normalised), rows(), STRICT, TASK))
    assert bad.name == "one by one"
    assert "what else is in the batch" in bad.detail


def test_an_answer_that_depends_on_the_order_fails_permutation() -> None:
    def placed(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": inputs["x"] @ WEIGHTS + np.arange(len(inputs["x"]), dtype=np.float32)[:, None]}

    assert "permutation" in verdicts(failed(unit_checks(model(placed), rows(), STRICT, TASK)))


def test_a_compressed_model_may_err_by_a_part_of_the_range_but_not_by_all_of_it() -> None:
    def coarse(step: float) -> Function:
        def quantised(inputs: Mapping[str, Array]) -> dict[str, Array]:
            scale = np.float32(np.abs(inputs["x"]).max() * step)  # a range measured over the batch
            return {"scores": (np.round(inputs["x"] / scale) * scale) @ WEIGHTS}

        return quantised

    assert "one by one" in verdicts(failed(unit_checks(model(coarse(0.02)), rows(), STRICT, TASK)))
    assert not failed(unit_checks(model(coarse(0.02)), rows(), STRICT.sharing(0.1), TASK))
    assert failed(unit_checks(model(coarse(0.9)), rows(), STRICT.sharing(0.1), TASK))


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ((TensorSpec("scores", "float32", ("batch", 4)),), "float32[batch, 4]"),
        ((TensorSpec("scores", "float64", ("batch", 3)),), "declared float64 and is float32"),
        ((TensorSpec("probabilities", "float32", None),), "`probabilities` is declared and was not returned"),
    ],
)
def test_outputs_that_are_not_as_declared_are_named(outputs: tuple[TensorSpec, ...], told: str) -> None:
    (bad,) = failed(unit_checks(model(linear, outputs), rows(), STRICT, TASK))
    assert bad.name == "signature"
    assert told in bad.detail
    assert "export it with what it gives" in bad.detail


def test_nan_on_ordinary_rows_fails() -> None:
    def broken(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": np.full((len(inputs["x"]), 3), np.nan, np.float32)}

    checks = unit_checks(model(broken), rows(), STRICT, TASK)
    assert [c.name for c in failed(checks)] == ["finite outputs"]


def test_a_model_that_refuses_real_rows_fails_once_and_in_words() -> None:
    (only,) = unit_checks(model(linear), {"x": rows()["x"].astype(np.float64)}, STRICT, TASK)
    assert only.verdict is Verdict.FAIL
    assert "float64" in only.detail


def test_a_model_of_a_fixed_batch_is_checked_like_any_other() -> None:
    signature = Signature((TensorSpec("x", "float32", (5, 4)),), (TensorSpec("scores", "float32", (5, 3)),))
    fixed = batched(RuntimeModel("a model", signature, linear, device="cpu", threads=1))
    assert not failed(unit_checks(fixed, rows(12), STRICT, TASK))


@given(st.floats(-1e6, 1e6), st.floats(0, 1))
def test_equal_answers_compare_equal_and_nan_equals_nan(value: float, share: float) -> None:
    array = {"y": np.array([value, np.nan, np.inf, -np.inf])}
    found = compare(array, array, Allowance(0, 0, share))
    assert found.problem is None
    assert found.worst == 0


def test_a_difference_is_told_with_its_place_and_both_numbers() -> None:
    found = compare({"y": np.array([[1.0, 2.0]])}, {"y": np.array([[1.0, 2.5]])}, STRICT)
    assert found.problem == "`y` differs by up to 0.5 (2 expected, 2.5 got at row 0, 1)"
    assert compare({"y": np.array([np.nan])}, {"y": np.array([1.0])}, STRICT).problem
    assert compare({"y": np.array(["a", "b"])}, {"y": np.array(["a", "c"])}, STRICT).problem
    assert compare({"y": np.zeros((2, 3))}, {"y": np.zeros((3, 2))}, STRICT).problem


def test_raw_rows_reach_the_metrics_through_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "prepare_c.py").write_text(
        "def halve(c):\n    return {'x': (c['raw'] / 2).astype('float32')}\n"
    )
    data = rows()["x"].astype(np.float64)
    np.savez(tmp_path / "data.npz", raw=data, label=np.arange(16) % 3)
    predictor = model(linear)
    signature = predictor.signature
    dataset = open_data("data.npz", root=tmp_path, signature=signature, preprocess="prepare_c:halve")
    done = integration_check(dataset, predictor, TASK)
    assert done.verdict is Verdict.PASS, done.detail
    assert done.detail == "8 rows: raw -> prepare_c:halve -> model -> classification of scores"


def test_labels_that_the_model_has_no_score_for_fail_the_integration_check(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=rows()["x"], label=np.arange(16))
    predictor = model(linear)
    done = integration_check(
        open_data("data.npz", root=tmp_path, signature=predictor.signature), predictor, TASK
    )
    assert done.verdict is Verdict.FAIL


def test_a_slow_call_breaks_the_smoke_bound() -> None:
    def slow(inputs: Mapping[str, Array]) -> dict[str, Array]:
        time.sleep(0.02)
        return linear(inputs)

    assert performance_check(model(slow), rows(), 5.0).verdict is Verdict.PASS
    bad = performance_check(model(slow), rows(), 0.005)
    assert bad.verdict is Verdict.FAIL
    assert "at most 5 ms" in bad.detail


def test_golden_outputs_hold_until_they_change(tmp_path: Path) -> None:
    x = rows(3)["x"]
    np.savez(tmp_path / "golden.npz", x=x, expected_scores=x @ WEIGHTS)
    assert golden_check(model(linear), tmp_path / "golden.npz", STRICT).verdict is Verdict.PASS
    np.savez(tmp_path / "golden.npz", x=x, expected_scores=x @ WEIGHTS + 0.1)
    bad = golden_check(model(linear), tmp_path / "golden.npz", STRICT)
    assert bad.verdict is Verdict.FAIL
    assert "differs by up to 0.1" in bad.detail


@pytest.mark.parametrize(
    "content", [None, b"", b"PK\x03\x04 cut off", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_golden_file_that_cannot_be_read_is_invalid_not_a_crash(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "golden.npz"
    if content is not None:
        path.write_bytes(content)
    bad = golden_check(model(linear), path, STRICT)
    assert bad.verdict is Verdict.INVALID
    assert "golden.npz" in bad.detail


def test_a_golden_file_without_expected_outputs_or_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", x=rows()["x"])
    with pytest.raises(InvalidInput, match="expected_OUTPUT"):
        read_contract_case(tmp_path / "golden.npz")
    np.savez(tmp_path / "golden.npz", x=np.array([{}], dtype=object), expected_scores=np.zeros(1))
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_contract_case(tmp_path / "golden.npz")


def test_a_release_carries_its_golden_rows_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    case = golden_rows(model(linear), rows(), 8)
    assert case is not None
    odd = GoldenCase("contract", {"a/b é": np.array(["x", "y"])}, {"scores": np.zeros((2, 3))})
    for name in ("one.npz", "two.npz"):
        write_cases(tmp_path / name, [case, odd])
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_cases(tmp_path / "one.npz")
    assert [b.name for b in back] == ["evaluation", "contract"]
    assert np.array_equal(back[0].inputs["x"], rows()["x"][:8])
    assert list(back[1].inputs) == ["a/b é"]


def test_golden_rows_stay_small(tmp_path: Path) -> None:
    def wide(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": np.zeros((len(inputs["x"]), 1 << 19), np.float32)}

    case = golden_rows(model(wide, ()), rows(), 16)
    assert case is not None
    assert len(case.inputs["x"]) == 2
    assert case.bytes <= 8 << 20


def test_changed_answers_of_an_earlier_release_are_counted_and_fail_only_when_strict() -> None:
    case = golden_rows(model(linear), rows(), 8)
    assert case is not None

    def nudged(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": linear(inputs)["scores"] * 1.5}  # other numbers, the same classes

    def turned(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": -linear(inputs)["scores"]}

    same = regression_check(model(nudged), "v1.0.0", [case], STRICT, TASK, True)
    assert (same.verdict, same.detail) == (Verdict.PASS, "8 golden answers as they were")
    for strict, verdict in ((False, Verdict.PASS), (True, Verdict.FAIL)):
        check = regression_check(model(turned), "v1.0.0", [case], STRICT, TASK, strict)
        assert (check.verdict, check.detail) == (verdict, "8 of 8 golden answers changed")
    numbers = regression_check(model(nudged), "v1.0.0", [case], STRICT, None, False)
    assert numbers.detail == "8 of 8 golden answers changed"


def test_golden_cases_that_the_model_no_longer_takes_count_as_changed_with_the_reason() -> None:
    other = GoldenCase("evaluation", {"image": rows(4)["x"]}, {"scores": np.zeros((4, 3), np.float32)})
    check = regression_check(model(linear), "v1.0.0", [other], STRICT, TASK, False)
    assert check.detail.startswith("4 of 4 golden answers changed; not all could be asked. evaluation:")
