"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import re
from contextvars import ContextVar
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, InvalidInput, install_command, needs
from gradatim.models.filling import FILLED
from gradatim.models.predictor import Arrays, RuntimeModel, failed, refine
from gradatim.signature import Signature, Size, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_ZIPMAP = "seq(map("

TRACED: ContextVar[str] = ContextVar("TRACED", default="")
"""How the names of files begin in which sessions that are opened then write what each operator takes; empty for none."""


def open_onnx(source: ModelSource) -> RuntimeModel:
    """Load an ONNX file; its external data must lie beside it.

    Threads do not spin while they wait (``session.intra_op.allow_spinning=0``), so that a shared machine
    is not burned.

    Raises:
        InvalidInput: the file is broken, its external data is missing, or a type is no plain tensor.
        EnvironmentLacks: onnxruntime or its CUDA provider is missing.
    """
    with needs("onnxruntime", "onnx", f"Running {source.name}"):
        import onnxruntime as ort

    providers = _providers(ort, source.device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = source.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters comes back as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if TRACED.get():
        options.enable_profiling, options.profile_file_prefix = True, TRACED.get()
    try:
        # without its fallback, which would go on silently on the CPU
        session = ort.InferenceSession(str(source.path), options, providers=providers, enable_fallback=0)
        defaults = (node for node in session.get_overridable_initializers() if node.name in FILLED)
        own = Signature(
            (
                *(_spec(source.name, node) for node in session.get_inputs()),
                *(replace(_spec(source.name, node), optional="default") for node in defaults),
            ),
            tuple(_spec(source.name, node) for node in session.get_outputs()),
        )
    except InvalidInput:
        raise
    except Exception as error:  # the runtime's own exceptions share no class
        if lacking := re.search(r"Failed to construct locale with name:([\w.@-]+)", str(error)):
            raise EnvironmentLacks(
                f"{source.path} compares words as in the locale `{lacking[1]}`, which this machine does not know. On Debian and "
                f"Ubuntu: apt-get install locales && locale-gen {lacking[1]}; or export the model for a locale that every machine "
                "has, `C`."
            ) from error
        raise failed(str(source.path), "cannot be loaded by ONNX Runtime", _plain(error)) from error
    if source.device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise _no_cuda(source.device, built=True)

    maps = [node.name for node in session.get_outputs() if node.type.startswith(_ZIPMAP)]
    names = [spec.name for spec in own.outputs]
    run = session.run

    def call(inputs: Arrays) -> dict[str, NDArray[Any]]:
        feeds = inputs if type(inputs) is dict else dict(inputs)
        try:
            outputs = dict(zip(names, run(names, feeds), strict=True))
        except Exception as error:
            raise failed(source.name, "failed on its inputs", _plain(error)) from error
        for name in maps:
            outputs[name] = _table(name, outputs[name])
        return outputs

    return RuntimeModel(
        source.name,
        refine(source.name, own, source.signature),
        call,
        device=source.device,
        threads=source.threads,
    )


def _providers(ort: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise _no_cuda(device, built=False)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        ort.preload_dlls()  # CUDA's libraries as packages, where `onnx-gpu` brought them; else the session finds the system's
    _, _, index = device.partition(":")
    return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]


def _no_cuda(device: str, *, built: bool) -> EnvironmentLacks:
    """The error where the device is a GPU and ONNX Runtime reaches none, by whether it is built for one."""
    anew = f", and there: python -m pip uninstall onnxruntime onnxruntime-gpu, then {install_command('onnx-gpu')}"
    if all(map(_installed, ("onnxruntime", "onnxruntime-gpu"))):
        lack = "onnxruntime and onnxruntime-gpu, both installed here, overwrite each other"
    elif built:
        lack, anew = "ONNX Runtime reaches no GPU here", ""
    else:
        lack = "this ONNX Runtime is built without CUDA"
    return EnvironmentLacks(
        f"The contract asks for the device {device}, but {lack}. Run it on a machine with an NVIDIA GPU and its driver{anew}; "
        "or set `model.device: cpu`."
    )


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _spec(model: str, node: Any) -> TensorSpec:
    if node.type.startswith(_ZIPMAP):
        value = node.type.partition("tensor(")[2].partition(")")[0]
        return TensorSpec(node.name, _DTYPES.get(value, value), (None, None))
    kind, _, element = node.type.partition("(")
    if kind == "optional" and element.startswith("tensor("):
        element = element.removeprefix("tensor(").rstrip(")")
        axes = tuple(_size(axis) for axis in node.shape) if node.shape else None
        return TensorSpec(node.name, _DTYPES.get(element, element), axes, "default")
    if kind != "tensor":
        raise InvalidInput(
            f"{model} has `{node.name}` of type {node.type}; gradatim passes plain tensors only. Export the model without sequences and optionals."
        )
    element = element.rstrip(")")
    return TensorSpec(node.name, _DTYPES.get(element, element), tuple(_size(axis) for axis in node.shape))


def _size(axis: object) -> Size:
    """Some exporters write a dynamic axis as 0 or -1."""
    if isinstance(axis, int):
        return axis if axis > 0 else None
    return axis if isinstance(axis, str) and axis else None


def _table(name: str, rows: list[dict[Any, float]]) -> NDArray[Any]:
    """Probabilities as scikit-learn's converter gives them, one map a row, as a table [rows, classes]."""
    classes = list(rows[0]) if rows else []
    if any(list(row) != classes for row in rows):
        raise InvalidInput(f"The output `{name}` gives maps of different keys, which make no table.")
    return np.array([list(row.values()) for row in rows], np.float32).reshape(len(rows), len(classes))


def _plain(error: Exception) -> Exception:
    """The runtime's message without its ``[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Load model from PATH failed:`` in front."""
    text = str(error)
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    text = re.sub(r"^Load model from .*? failed: ?", "", text)  # the caller names the file
    return RuntimeError(" ".join(text.split()))
