"""A Keras model or a SavedModel written as ONNX, or as LiteRT (.tflite): in floats, or in int8 of its weights or of all."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.errors import InvalidInput, needs
from gradatim.models.keras_model import TensorFlowModel
from gradatim.models.litert_export import Numbers, rows_of
from gradatim.models.predictor import Arrays, short

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor

_OPSET = 17


def export_onnx(model: Predictor, batch: Arrays, out: Path) -> None:
    """Write what a model computes, with the names and the free sizes that its signature has.

    Args:
        model: as ``open_keras`` or ``open_saved_model`` gives it.
        batch: its inputs.
        out: the file to write.

    Raises:
        InvalidInput: it computes what ONNX has no operator for.
        EnvironmentLacks: tf2onnx is missing.
    """
    import tensorflow

    with needs("tf2onnx", "tensorflow", "Writing a TensorFlow model as ONNX"):
        import onnx
        import tf2onnx
    known, names = _of(model), list(batch)

    def answer(*tensors: Any) -> dict[str, Any]:
        found: dict[str, Any] = known.function(dict(zip(names, tensors, strict=True)))
        return found

    free = {spec.name: spec.shape for spec in known.signature.inputs}
    specs = [
        tensorflow.TensorSpec(_sizes(free[name], array.shape), _dtype(array), name=f"given_{at}")
        for at, (name, array) in enumerate(batch.items())
    ]
    with _quiet("written as ONNX"):
        exported, _ = tf2onnx.convert.from_function(tensorflow.function(answer), specs, opset=_OPSET)
    _rename(exported.graph, names, {spec.name for spec in known.signature.outputs})
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(exported, str(out))


def export_litert(model: Predictor, batches: Iterable[Arrays], out: Path, numbers: Numbers) -> None:
    """Convert a model for one item at a time; as ``litert_export.export_litert``.

    Raises:
        InvalidInput: it computes what LiteRT has no operator for.
        EnvironmentLacks: tensorflow is missing.
    """
    import tensorflow

    known, rows = _of(model), rows_of(batches)

    def answer(**tensors: Any) -> dict[str, Any]:
        found: dict[str, Any] = known.function(tensors)
        return found

    specs = {
        name: tensorflow.TensorSpec(array.shape, _dtype(array), name=name) for name, array in rows[0].items()
    }
    with _quiet("converted to LiteRT"):
        traced = tensorflow.function(answer).get_concrete_function(**specs)
        converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([traced], known.loaded)
        if numbers != "float":
            converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        if numbers == "int8":
            kinds = tensorflow.lite.OpsSet
            converter.representative_dataset = lambda: iter(rows)
            converter.target_spec.supported_ops = [kinds.TFLITE_BUILTINS_INT8, kinds.TFLITE_BUILTINS]
        written = converter.convert()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(written)


def _of(model: Predictor) -> TensorFlowModel:
    if not isinstance(model, TensorFlowModel):
        raise InvalidInput("what it computes besides its network cannot be converted")
    return model


def _sizes(shape: tuple[Any, ...] | None, seen: tuple[int, ...]) -> list[int | None]:
    told = shape if shape is not None and len(shape) == len(seen) else (None,) * len(seen)
    return [size if isinstance(size, int) else None for size in told]


def _dtype(array: Any) -> Any:
    return "string" if np.asarray(array).dtype.kind in "OU" else np.asarray(array).dtype


def _rename(graph: Any, names: list[str], outputs: set[str]) -> None:
    """Give inputs the names of the model's own, and free sizes names that a person can read."""
    places = {f"given_{at}": name for at, name in enumerate(names)}
    told = {value.name: places.get(value.name.partition(":")[0], "") for value in graph.input}
    if not all(told.values()):
        raise InvalidInput("it looks something up in a table, which cannot be written as ONNX")
    if taken := set(told.values()) & {each for node in graph.node for each in node.output}:
        raise InvalidInput(f"its input {sorted(taken)[0]} is called like something inside")
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = told.get(name, name)
    for value in graph.input:
        value.name = told[value.name]
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param:
                size.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"
    for value in graph.output:
        if value.name not in outputs:
            raise InvalidInput(f"its output {value.name} has another name than the model gives it")
        value.type.tensor_type.ClearField("shape")  # where the runtime can tell it, it does


@contextlib.contextmanager
def _quiet(what: str) -> Iterator[None]:
    """Keep the converters' lines away, and tell in one what they raise."""
    logs = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        raise InvalidInput(f"it cannot be {what}: {short(error)}") from error
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
