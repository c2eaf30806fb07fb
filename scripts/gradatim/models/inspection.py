"""What a model is made of, told without running it where the format allows that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradatim.code import local_closure
from gradatim.contract.model_formats import FORMATS
from gradatim.errors import GradatimError, InvalidInput
from gradatim.files import list_files, sha256_file
from gradatim.models.adapter import adapter_files
from gradatim.models.formats import UnknownFormat, detect_format
from gradatim.models.opening import doubts, find_source, function_of, open_source
from gradatim.models.predictor import failed
from gradatim.models.source import Means, ModelSource
from gradatim.models.tokenizer import tokenizer_files
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from typing_extensions import Unpack

Look: TypeAlias = Callable[[Inspection, ModelSource, Callable[[], Signature]], Inspection]
"""What is known so far, the model and what loads it for its signature -> what is known then."""


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
        known = Inspection(
            format=source.format,
            files={_relative(file, source.folder): sha256_file(file) for file in found},
            size=sum(file.stat().st_size for file in found),
            pickles=tuple(doubted),
            doubts=doubted,
        )
        return known if known.doubts and not source.allow_pickle else _look(known, source)


def model_files(path: Path, *, read_by_a_factory: bool = False) -> list[Path]:
    """Every file of the model at a path, sorted: a folder's files, an ONNX file with its external data and its tokenizer.

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
    except InvalidInput as error:
        if not (read_by_a_factory or isinstance(error, UnknownFormat)):
            raise
        return [path]  # what a factory reads; without one, opening refuses it
    if kind == "onnx":
        from gradatim.models.onnx_graph import external_files

        with _explaining(path):
            return sorted({path, *external_files(path), *tokenizer_files(path)})
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
    if source.files:
        return list(source.files)
    if source.format != "python":
        own = model_files(source.path, read_by_a_factory=bool(source.command or source.endpoint))
        return sorted({*own, *adapter_files(source.adapter)}) if source.adapter else own
    if source.path.is_dir():
        return [source.path / name for name in list_files(source.path)]
    if source.path.is_file():
        return [source.path]
    return local_closure(source.root, source.factory or source.path.name)


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _look(known: Inspection, source: ModelSource) -> Inspection:
    looks = FORMATS[source.format].looks
    if looks is None:
        return replace(known, signature=_signature(source))
    look: Look = function_of(looks)
    return look(known, source, lambda: _signature(source))


def _signature(source: ModelSource) -> Signature:
    """The signature of the model itself, which is loaded for it."""
    with open_source(source) as predictor:
        return predictor.signature
