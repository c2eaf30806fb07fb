"""What a model is made of, told without running it where the format allows that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.code import local_closure
from gradatim.errors import GradatimError, InvalidInput
from gradatim.files import list_files, sha256_file
from gradatim.models.formats import UnknownFormat, detect_format
from gradatim.models.layouts import safetensors_header
from gradatim.models.opening import doubts, find_source, open_source
from gradatim.models.predictor import failed
from gradatim.models.source import Means, ModelSource
from gradatim.models.weights import has_nonfinite, pieces_of
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SAFETENSORS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64",
}  # fmt: skip


def inspect_model(path: Path, *, root: Path, **means: Unpack[Means]) -> Inspection:
    """Look a model over: format, signature, weights, files, and whether it brings a pickle.

    An ONNX model is read from its protobuf, safetensors from their header and bytes: neither is run. PyTorch
    and Hugging Face models are loaded for their signature. A pickle is reported, not raised, so that all is
    seen at once.

    Args: as ``open_model``'s.

    Raises:
        InvalidInput: there is no model, or it is broken; or its external data lies outside of its folder.
        EnvironmentLacks: a package that the format needs is missing.
    """
    source = find_source(path, root=root, **means)
    with _explaining(source.path):
        found = _files_of(source)
        doubted = doubts(source)
        folder = source.path if source.path.is_dir() else source.path.parent
        known = Inspection(
            format=source.format,
            files={_relative(file, folder): sha256_file(file) for file in found},
            size=sum(file.stat().st_size for file in found),
            pickles=tuple(doubted),
            doubts=doubted,
        )
        return known if known.doubts and not source.allow_pickle else _look(known, source)


def model_files(path: Path) -> list[Path]:
    """Every file of the model at a path, sorted: a folder's files, an ONNX file with its external data.

    For ``module:function`` there is none on its own: see ``gradatim.code.local_closure``.

    Raises:
        InvalidInput: there is no model, or its external data lies outside of its folder or is missing.
    """
    if path.is_dir():
        files = [path / name for name in list_files(path)]
        if not files:
            raise InvalidInput(
                f"{path} is an empty folder: there is no model in it. Make the model again, or fetch it."
            )
        return files
    try:
        kind = detect_format(path)
    except UnknownFormat:
        return [path]  # what a factory reads; without one, opening refuses it
    if kind == "onnx":
        from gradatim.models.onnx_graph import external_files

        with _explaining(path):
            return sorted([path, *external_files(path)])
    return [] if kind == "python" else [path]


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Frameworks raise whatever they like on a broken file: tell it in one paragraph."""
    try:
        yield
    except GradatimError:
        raise
    except Exception as error:
        raise failed(str(path), "cannot be inspected", error) from error


def _files_of(source: ModelSource) -> list[Path]:
    """A model's files; for ``module:function`` its artefact, else the user's modules it rests on."""
    if source.format != "python":
        return model_files(source.path)
    if source.path.is_dir():
        return [source.path / name for name in list_files(source.path)]
    if source.path.is_file():
        return [source.path]
    return local_closure(source.root, source.factory or source.path.name)


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _look(known: Inspection, source: ModelSource) -> Inspection:
    if source.format == "onnx":
        return _look_at_onnx(known, source)
    if source.format in ("safetensors", "huggingface"):
        return _look_at_safetensors(known, source)
    if source.format in ("pt2", "torchscript", "pickle"):
        return _look_at_torch(known, source)
    if source.format == "litert":
        return _look_at_litert(known, source)
    return replace(known, signature=_signature(source))


def _signature(source: ModelSource) -> Signature:
    """The signature of the model itself, which is loaded for it."""
    with open_source(source) as predictor:
        return predictor.signature


def _look_at_onnx(known: Inspection, source: ModelSource) -> Inspection:
    from gradatim.models.onnx_graph import OnnxGraph
    from gradatim.models.predictor import refine

    graph = OnnxGraph(source.path)
    parameters, nonfinite = graph.weights()
    folder = source.path.parent
    return replace(
        known,
        external_data=tuple(_relative(file, folder) for file in graph.external_files()),
        opset=graph.opset,
        ir_version=int(graph.proto.ir_version),
        producer=graph.producer,
        signature=refine(source.name, graph.signature(), source.signature),
        parameters=parameters,
        nonfinite=tuple(nonfinite),
        operators=graph.operators(),
    )


def _look_at_safetensors(known: Inspection, source: ModelSource) -> Inspection:
    folder = source.path.is_dir()
    files = (
        [source.path / name for name in known.files if name.endswith(".safetensors")]
        if folder
        else [source.path]
    )
    parameters = 0
    nonfinite = []
    producer = ""
    for file in files:
        tensors, metadata = safetensors_header(file)
        producer = producer or metadata.get("format", "")
        for name, (dtype, shape, first, end) in tensors.items():
            elements = 1
            for axis in shape:
                elements *= axis
            parameters += elements
            kind = _SAFETENSORS.get(dtype)
            if kind and has_nonfinite(kind, pieces_of(file, first, end - first), bound=not shape):
                nonfinite.append(name)
    return replace(
        known,
        parameters=parameters or None,
        nonfinite=tuple(nonfinite),
        producer=producer,
        signature=_signature(source) if folder or source.factory is not None else source.signature,
    )


def _look_at_torch(known: Inspection, source: ModelSource) -> Inspection:
    from gradatim.models import torch_program

    torch = torch_program.import_torch(source)
    with torch_program.quiet():
        if source.format == "pt2":
            program = torch_program.load_program(torch, source)
            tensors = iter({**program.state_dict, **program.constants}.items())
        elif source.format == "torchscript":
            script = torch_program.load_script(torch, source)
            tensors = iter([*script.named_parameters(), *script.named_buffers()])
        else:
            tensors = torch_program.saved_tensors(torch, source.path) if source.factory else iter(())
        parameters, nonfinite = torch_program.finite_problems(
            ((name, tensor) for name, tensor in tensors if isinstance(tensor, torch.Tensor)), torch
        )
    return replace(
        known,
        parameters=parameters or None,
        nonfinite=tuple(nonfinite),
        signature=_signature(source),
        producer=f"torch {torch.__version__}" if source.format == "pt2" else "",
    )


def _look_at_litert(known: Inspection, source: ModelSource) -> Inspection:
    from gradatim.models.litert import tables

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
        signature=_signature(source),
    )
