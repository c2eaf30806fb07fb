"""The model that a search begins with, whatever its format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradatim.compression.batches import size_and_digest
from gradatim.compression.result import Result
from gradatim.errors import missing_package
from gradatim.evidence.trial import Trial
from gradatim.timing.contestant import Contestant


def format_of(model: Path) -> str:
    """The format, or words for none that is known."""
    from gradatim.models.formats import UnknownFormat, detect_format

    try:
        return detect_format(model)
    except UnknownFormat:
        return "that only its function or program knows"


def exports(kind: str, opened: Mapping[str, Any]) -> bool:
    """Whether a model of a format, opened so, can be written as ONNX."""
    from gradatim.models import exportable

    return exportable(kind, opened["signature"])


def file_of(model: Path, *, exported: bool) -> str:
    """What its forms in ONNX are called."""
    return f"{'model' if model.is_dir() else model.stem}.onnx" if exported else model.name


def bring_tokenizer(model: Path, folder: Path) -> None:
    """Put what makes tokens of texts for the model beside one of its forms."""
    from gradatim.models.tokenizer import tokenizer_files

    for file in tokenizer_files(model):
        shutil.copyfile(file, folder / file.name)


def as_it_is(original: Trial, model: str, kind: str) -> Result:
    """What comes of a model of a format from which nothing can be made."""
    reason = (
        f"{model} is of a format ({kind}) which no installed method compresses: they work on "
        "ONNX. It is released as it is. Export it to ONNX to have smaller variants searched for."
    )
    return Result(replace(original, reason=reason), (), (), reason)


def plain(model: Path, threads: int) -> dict[str, Any]:
    """How an ONNX model is opened of which nothing else is known."""
    return Contestant(model.name, model, model.parent, format="onnx", threads=threads).opening


def original_of(model: Path, name: str) -> Trial:
    """What all others stand beside."""
    size, digest = size_and_digest(model)
    return Trial(name, {}, True, "the original", {}, size, 1.0, 1.0, path=model, digest=digest)


def need_packages() -> None:
    """Raise EnvironmentLacks where a package is missing that every search needs."""
    from importlib.util import find_spec

    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise missing_package(package, "onnx", "Compressing an ONNX model")


def versions() -> dict[str, str]:
    """The packages that what is made depends on."""
    from importlib.metadata import version

    return {package: version(package) for package in ("onnx", "onnxruntime", "numpy")}
