"""Carrying out a recipe: an ONNX model in, a smaller one out."""

from __future__ import annotations

import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.compression import graph
from gradatim.compression.recipe import Recipe
from gradatim.errors import InvalidInput, needs
from gradatim.timing.contestant import load_inputs

if TYPE_CHECKING:
    from onnx import ModelProto

_BITS, _BLOCK = 8, 32
_ACCURACY = 4  # multiply in int8: three times as fast as in floats, at a cosine of .9996 for MiniLM


def quantise(
    prepared: ModelProto, recipe: Recipe, batches: Sequence[Path], ranges: Path, *, store: bool = True
) -> ModelProto:
    """Apply a recipe to a model that ``graph.prepare`` has read.

    Args:
        prepared: is changed.
        batches: calibration batches as .npz, read one at a time (only ``int8-static`` uses them).
        ranges: file that keeps the activation ranges, so that they are taken once for many recipes.
        store: whether the nodes that the recipe leaves out have their weights stored in int8.

    Raises:
        InvalidInput: the method finds nothing to work on.
        EnvironmentLacks: a package is missing.
    """
    steps: dict[str, Callable[[], ModelProto]] = {
        "int8-dynamic": lambda: _dynamic(prepared, recipe),
        "int8-static": lambda: _static(prepared, recipe, batches, ranges),
        "int8-weights": lambda: _weights_only(prepared, recipe),
        "fp16": lambda: _half(prepared),
    }
    quantised = steps[recipe.method]()
    return _fall_back(quantised, recipe) if recipe.fallback and store else quantised


def _dynamic(model: ModelProto, recipe: Recipe) -> ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph.gemm_to_matmul(model)
    chosen = _chosen(model, recipe)
    graph.store_embeddings(model)
    with tempfile.TemporaryDirectory(prefix="gradatim-dynamic-") as folder:
        out = Path(folder) / "out.onnx"
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=recipe.reduce_range,
            weight_type=QuantType.QInt8,
        )
        return _load(out)


def _static(model: ModelProto, recipe: Recipe, batches: Sequence[Path], ranges: Path) -> ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    chosen = _chosen(model, recipe)
    graph.own_biases(model)
    graph.store_embeddings(model)
    # Only newer runtimes can keep the ranges.
    keeps = "calibration_cache_path" in inspect.signature(quantize_static).parameters
    cache = {"calibration_cache_path": ranges} if keeps else {}
    with tempfile.TemporaryDirectory(prefix="gradatim-static-") as folder:
        out = Path(folder) / "out.onnx"
        quantize_static(
            model,
            out,
            _reader(batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            nodes_to_quantize=chosen,
            per_channel=True,
            reduce_range=recipe.reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,  # the others crash, or swell, on ragged batches
            **cache,
        )
        return _load(out)


def _weights_only(model: ModelProto, recipe: Recipe) -> ModelProto:
    graph.gemm_to_matmul(model)
    products = [node.name for node in model.graph.node if node.op_type == "MatMul"]
    stored = graph.store_embeddings(model) + graph.store_weights(model, products=recipe.unpacked)
    before = _count(model, "MatMulNBits")
    if not recipe.unpacked:
        model = _blockwise(model, products)
    if not stored and _count(model, "MatMulNBits") == before:
        raise InvalidInput("there is no constant weight of a kind that int8-weights can store")
    return model


def _half(model: ModelProto) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=False)


def _fall_back(model: ModelProto, recipe: Recipe) -> ModelProto:
    """Store the weights of the nodes that were left out in int8; they compute in floats."""
    left = set(recipe.fallback)
    graph.gemm_to_matmul(model, only=left)
    graph.store_weights(model, only=left)
    products = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.name in left]
    return _blockwise(model, products)


def _blockwise(model: ModelProto, products: Sequence[str]) -> ModelProto:
    """MatMul with a constant weight -> MatMulNBits: int8 in blocks of 32 with a scale each."""
    if not products:
        return model
    with needs("onnx-ir", "onnx", "The compression method int8-weights"):
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    chosen = set(products)
    others = [node.name for node in model.graph.node if node.name not in chosen]
    quantiser = MatMulNBitsQuantizer(
        model,
        accuracy_level=_ACCURACY,
        bits=_BITS,
        block_size=_BLOCK,
        is_symmetric=True,
        nodes_to_exclude=others,
        op_types_to_quantize=("MatMul",),
    )
    quantiser.process()
    quantised: ModelProto = quantiser.model.model
    return quantised


def _chosen(model: ModelProto, recipe: Recipe) -> list[str]:
    left = set(recipe.fallback)
    chosen = [name for name in graph.quantisable(model, recipe.method) if name not in left]
    if not chosen:
        kinds = "Conv, MatMul or Gemm" if recipe.method == "int8-static" else "MatMul or Gemm"
        raise InvalidInput(
            f"there is no {kinds} with constant weights at the graph's top for {recipe.method} to work on"
        )
    return chosen


def _reader(batches: Sequence[Path]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left: Iterator[Path] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            path = next(self._left, None)
            return None if path is None else load_inputs(path)

    return Reader()


def quiet_logs() -> None:
    """The quantisers advise on every call; a person sees our reasons instead."""
    logging.disable(logging.WARNING)


def _load(path: Path) -> ModelProto:
    import onnx

    return onnx.load(str(path))


def _count(model: ModelProto, kind: str) -> int:
    return sum(node.op_type == kind for node in model.graph.node)
