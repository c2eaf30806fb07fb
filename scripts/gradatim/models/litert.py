"""LiteRT (.tflite) models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, needs
from gradatim.models.predictor import Arrays, RuntimeModel, failed, refine
from gradatim.models.weights import has_nonfinite
from gradatim.signature import Inspection, Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource


def open_litert(source: ModelSource) -> RuntimeModel:
    """Load a LiteRT model; its tensors carry the names of its one signature, where it has one.

    Raises:
        InvalidInput: the file is broken.
        EnvironmentLacks: ai-edge-litert is missing, or a GPU is asked for.
    """
    with needs("ai-edge-litert", "litert", f"Running {source.name}"):
        from ai_edge_litert.interpreter import Interpreter
    if source.device != "cpu":
        raise EnvironmentLacks(
            f"LiteRT models run on the CPU here: set `model.device: cpu` for {source.name}."
        )
    try:
        interpreter = Interpreter(model_path=str(source.path), num_threads=source.threads)
        interpreter.allocate_tensors()
        signatures = interpreter.get_signature_list()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise failed(str(source.path), "cannot be loaded by LiteRT", error) from error

    names = _signature_names(interpreter, signatures)
    places_in = {names.get(detail["index"], detail["name"]): detail for detail in inputs}
    places_out = {names.get(detail["index"], detail["name"]): detail for detail in outputs}
    own = Signature(
        tuple(_spec(name, detail) for name, detail in places_in.items()),
        tuple(_spec(name, detail) for name, detail in places_out.items()),
    )
    shapes = {name: tuple(detail["shape"]) for name, detail in places_in.items()}

    def call(given: Arrays) -> dict[str, NDArray[Any]]:
        resized = False
        for name, detail in places_in.items():
            if shapes[name] != given[name].shape:
                interpreter.resize_tensor_input(detail["index"], given[name].shape)
                shapes[name] = given[name].shape
                resized = True
        if resized:
            interpreter.allocate_tensors()
        for name, detail in places_in.items():
            interpreter.set_tensor(detail["index"], given[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(detail["index"]) for name, detail in places_out.items()}

    return RuntimeModel(
        source.name, refine(source.name, own, source.signature), call, device="cpu", threads=source.threads
    )


def _signature_names(interpreter: Any, signatures: dict[str, Any]) -> dict[int, str]:
    """Tensor index -> name in the model's signature; empty where it has none, or several."""
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {detail["index"]: name for name, detail in details.items()}


def _spec(name: str, detail: dict[str, Any]) -> TensorSpec:
    shape = detail.get("shape_signature", detail["shape"])
    dtype = np.dtype(detail["dtype"])
    if dtype.kind in "OSU":
        raise InvalidInput(f"The tensor `{name}` is text, which LiteRT models cannot be given here.")
    return TensorSpec(name, dtype.name, tuple(int(axis) if axis >= 0 else None for axis in shape))


def tables(data: bytes) -> tuple[dict[str, int], list[tuple[str, str, bytes, int]]]:
    """A LiteRT file's operators with their counts, and its constants: (name, dtype, bytes, elements).

    Reads the flatbuffer by its schema; nothing is run.

    Raises:
        EnvironmentLacks: ai-edge-litert is missing.
    """
    with needs("ai-edge-litert", "litert", "Inspecting a LiteRT model"):
        from ai_edge_litert import schema_py_generated as schema
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    builtin = {
        number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
    }
    dtypes = {
        number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)
    }
    operators: dict[str, int] = {}
    constants = []
    for graph in model.subgraphs or []:
        for operator in graph.operators or []:
            code = model.operatorCodes[operator.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = code.customCode.decode() if code.customCode else builtin.get(number, str(number))
            operators[name] = operators.get(name, 0) + 1
        for tensor in graph.tensors or []:
            buffer = model.buffers[tensor.buffer]
            stored = buffer.data
            if stored is None and buffer.offset > 1:
                stored = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            if stored is not None and len(stored):
                shape = tensor.shape if tensor.shape is not None else ()
                elements = int(np.prod(np.asarray(shape, np.int64)))
                constants.append(
                    (tensor.name.decode(), dtypes.get(tensor.type, "?"), bytes(stored), elements)
                )
    return operators, constants


def look_at_litert(known: Inspection, source: ModelSource, signature: Callable[[], Signature]) -> Inspection:
    """What the flatbuffer tells; the model is loaded for its signature."""
    try:
        operators, constants = tables(source.path.read_bytes())
    except GradatimError:
        raise
    except Exception as error:  # the flatbuffer reader indexes past the end of a broken file
        raise InvalidInput(f"{source.path} is truncated or is not a LiteRT model. Make it again.") from error
    return replace(
        known,
        parameters=sum(
            elements for _, dtype, _, elements in constants if dtype not in ("int64", "bool", "string")
        ),
        nonfinite=tuple(name for name, dtype, data, _ in constants if has_nonfinite(dtype, [data])),
        operators=dict(sorted(operators.items())),
        signature=signature(),
    )
