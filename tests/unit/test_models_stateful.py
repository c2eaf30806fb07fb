"""Constants, carried state, and batches of any size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.models import batch_size, batched, bind, open_model
from gradatim.models.predictor import Predictor, RuntimeModel
from gradatim.signature import Signature, TensorSpec

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def silero() -> Path:
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("silero-vad is not installed")
    return Path(spec.origin).parent / "data" / "silero_vad.onnx"


def test_silero_vad_runs_over_time_with_its_state_carried_and_hidden(silero: Path) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 5, 576)).astype(np.float32)
    session = ort.InferenceSession(str(silero), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 2, 128), np.float32)
    expected = []
    for time in range(5):
        output, state = session.run(None, {"input": audio[:, time], "state": state, "sr": np.array(16000)})
        expected.append(output)

    with bind(
        open_model(silero, root=silero.parent), constants={"sr": 16000}, carries={"state": "stateN"}
    ) as predictor:
        assert [spec.name for spec in predictor.signature.inputs] == ["input"]
        assert [spec.name for spec in predictor.signature.outputs] == ["output"]
        np.testing.assert_array_equal(predictor({"input": audio})["output"], np.stack(expected, axis=1))
        np.testing.assert_array_equal(predictor({"input": audio[:, 0]})["output"], expected[0])
        np.testing.assert_array_equal(
            batched(predictor)({"input": audio})["output"], np.stack(expected, axis=1)
        )
        with pytest.raises(InvalidInput, match="no step"):
            predictor({"input": audio[:, :0]})
        with pytest.raises(InvalidInput, match="no input `sr`"):
            predictor({"input": audio, "sr": np.array(16000)})


def test_binding_a_name_that_is_not_there_is_refused(silero: Path) -> None:
    with open_model(silero, root=silero.parent) as model:
        for constants, carries, told in (
            ({"rate": 16000}, {}, "no input `rate`"),
            ({}, {"state": "state_out"}, "`state_out`, which the model does not have"),
            ({"state": 0}, {"state": "stateN"}, "both"),
            ({"sr": 16000.5}, {}, "does not fit int64"),
            ({"sr": "fast"}, {}, "does not fit int64"),
            ({"sr": [16000, 8000]}, {}, "shape"),
        ):
            with pytest.raises(InvalidInput, match=told):
                bind(model, constants=constants, carries=carries)


def model(signature: Signature, run: Any) -> Predictor:
    return RuntimeModel("m", signature, run, device="cpu", threads=1)


def spec(name: str, *shape: Any, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def test_a_constant_fills_the_shape_that_the_model_declares() -> None:
    seen: dict[str, Any] = {}

    def run(inputs: Any) -> Any:
        seen.update(inputs)
        return {"y": inputs["x"]}

    inputs = (
        spec("x", "batch", 2),
        spec("k", 3, dtype="uint8"),
        spec("t", "batch"),
        spec("on", dtype="bool"),
    )
    signature = Signature(inputs, (spec("y", "batch", 2),))
    with bind(model(signature, run), constants={"k": 7, "t": 0.5, "on": True}, carries={}) as bound:
        bound({"x": np.zeros((4, 2), np.float32)})
        with pytest.raises(InvalidInput, match="does not fit"):  # without carried state there is no time axis
            bound({"x": np.zeros((4, 5, 2), np.float32)})
    assert seen["k"].tolist() == [7, 7, 7]
    assert seen["k"].dtype == np.uint8
    assert seen["t"].tolist() == [0.5] * 4
    assert seen["on"].shape == ()
    with pytest.raises(InvalidInput, match="300"):
        bind(model(signature, run), constants={"k": 300}, carries={})


def test_state_takes_its_sizes_from_the_data_beside_it() -> None:
    shapes = []

    def run(inputs: Any) -> Any:
        shapes.append({name: array.shape for name, array in inputs.items()})
        return {
            "y": inputs["x"],
            "h2": inputs["h"] + 1,
            "cache2": np.zeros((3, 4, len(shapes), 8), np.float32),
        }

    signature = Signature(
        (spec("x", "n", 2), spec("h", 2, "n", 6), spec("cache", "n", 4, "past", 8)),
        (spec("y", "n", 2), spec("h2", 2, "n", 6), spec("cache2", "n", 4, "past", 8)),
    )
    with bind(model(signature, run), constants={}, carries={"h": "h2", "cache": "cache2"}) as bound:
        outputs = bound({"x": np.zeros((3, 2, 2), np.float32)})
    assert outputs["y"].shape == (3, 2, 2)
    assert set(outputs) == {"y"}
    assert shapes[0] == {"x": (3, 2), "h": (2, 3, 6), "cache": (3, 4, 0, 8)}
    assert shapes[1]["cache"] == (3, 4, 1, 8)


@pytest.mark.parametrize("fixed", [1, 4])
@pytest.mark.parametrize("items", [1, 3, 4, 9])
def test_any_number_of_items_goes_through_a_fixed_batch(fixed: int, items: int) -> None:
    calls = []

    def run(inputs: Any) -> Any:
        calls.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2, "sum": inputs["x"].sum(1)}

    signature = Signature((spec("x", fixed, 2),), (spec("y", fixed, 2), spec("sum", fixed)))
    data = np.arange(items * 2, dtype=np.float32).reshape(items, 2)
    assert batch_size(signature) == fixed
    predictor = batched(model(signature, run))
    outputs = predictor({"x": data})
    np.testing.assert_array_equal(outputs["y"], data * 2)
    np.testing.assert_array_equal(outputs["sum"], data.sum(1))
    assert set(calls) == {fixed}
    assert predictor.signature.inputs[0].shape == ("batch", 2)


def test_an_input_without_a_batch_axis_is_called_item_by_item() -> None:
    signature = Signature((spec("x", 5),), (spec("y", 2), spec("total")))

    def run(inputs: Any) -> Any:
        return {"y": inputs["x"][:2], "total": inputs["x"].sum()[()].reshape(())}

    data = np.arange(15, dtype=np.float32).reshape(3, 5)
    outputs = batched(model(signature, run))({"x": data})
    np.testing.assert_array_equal(outputs["y"], data[:, :2])
    np.testing.assert_array_equal(outputs["total"], data.sum(1))


def test_a_scalar_beside_a_batch_is_shared_when_equal_and_else_goes_item_by_item() -> None:
    calls = []

    def run(inputs: Any) -> Any:
        calls.append(inputs["x"].shape)
        return {"y": inputs["x"] * inputs["k"]}

    signature = Signature((spec("x", "n", 2), spec("k")), (spec("y", "n", 2),))
    predictor = batched(model(signature, run))
    x = np.ones((3, 2), np.float32)
    assert batch_size(signature) is None
    assert predictor({"x": x, "k": np.full(3, 2, np.float32)})["y"].tolist() == [[2, 2]] * 3
    assert predictor({"x": x, "k": np.array(2, np.float32)})["y"].tolist() == [[2, 2]] * 3
    assert calls == [(3, 2), (3, 2)]
    assert predictor({"x": x, "k": np.arange(3, dtype=np.float32)})["y"].tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(InvalidInput, match="disagree"):
        predictor({"x": x, "k": np.arange(4, dtype=np.float32)})
    with pytest.raises(InvalidInput, match="`k` is missing"):
        predictor({"x": x})


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    signature = Signature((spec("x", 4, 2),), ())
    pooled = batched(model(signature, lambda inputs: {"y": inputs["x"].sum(0)[:1]}))
    with pytest.raises(InvalidInput, match="does not count the items"):
        pooled({"x": np.ones((5, 2), np.float32)})
    ragged = batched(
        model(Signature((spec("x", 1, 2),), ()), lambda inputs: {"y": np.ones((int(inputs["x"][0, 0]), 3))})
    )
    with pytest.raises(InvalidInput, match="makes no table"):
        ragged({"x": np.array([[2, 0], [3, 0]], np.float32)})
