"""LiteRT models, made here from LiteRT's own schema."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradatim.errors import InvalidInput
from gradatim.models import batched, detect_format, inspect_model, open_model
from gradatim.signature import Signature, TensorSpec

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
flatbuffers = pytest.importorskip("flatbuffers")

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def save(path: Path, weight: np.ndarray, free_batch: bool) -> Path:
    def tensor(name: str, shape: list[int], buffer: int) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name, shape, buffer, schema.TensorType.FLOAT32
        if free_batch and buffer == 0:
            made.shapeSignature = [-1, *shape[1:]]
        return made

    stored = schema.BufferT()
    stored.data = np.frombuffer(weight.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, 4], 0), tensor("w", [3, 4], 1), tensor("y", [1, 3], 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
    model = schema.ModelT()
    model.version, model.description = 3, "linear"
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [schema.BufferT(), stored]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.mark.parametrize("free_batch", [True, False])
def test_a_litert_model_answers_for_any_number_of_items(tmp_path: Path, free_batch: bool) -> None:
    path = save(tmp_path / "mein modell.tflite", WEIGHT, free_batch)
    assert detect_format(path) == "litert"
    with batched(open_model(path, root=tmp_path)) as predictor:
        assert predictor.signature.inputs == (
            TensorSpec("x", "float32", ("batch" if not free_batch else None, 4)),
        )
        for items in (3, 1, 5):
            x = np.random.default_rng(items).normal(size=(items, 4)).astype(np.float32)
            np.testing.assert_allclose(predictor({"x": x})["y"], x @ WEIGHT.T, rtol=1e-5, atol=1e-5)
        with pytest.raises(InvalidInput, match="`x`"):
            predictor({"x": np.ones((2, 4))})


def test_inspection_counts_and_finds_nan(tmp_path: Path) -> None:
    found = inspect_model(save(tmp_path / "m.tflite", WEIGHT, True), root=tmp_path)
    assert (found.format, found.parameters, found.nonfinite) == ("litert", 12, ())
    assert found.operators == {"FULLY_CONNECTED": 1}
    assert found.signature == Signature(
        (TensorSpec("x", "float32", (None, 4)),), (TensorSpec("y", "float32", (None, 3)),)
    )
    bad = WEIGHT.copy()
    bad[1, 1] = np.nan
    assert inspect_model(save(tmp_path / "m.tflite", bad, True), root=tmp_path).nonfinite == ("w",)


def test_a_truncated_model_is_invalid_not_a_crash(tmp_path: Path) -> None:
    path = save(tmp_path / "m.tflite", WEIGHT, True)
    data = path.read_bytes()
    for length in (5, 20, len(data) // 2):
        path.write_bytes(data[:length])
        for attempt in (open_model, inspect_model):
            with pytest.raises(InvalidInput):
                attempt(path, root=tmp_path)
