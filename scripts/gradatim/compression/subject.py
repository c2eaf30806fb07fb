"""The model that a search begins with, whatever its format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradatim.compression.batches import size_and_digest
from gradatim.compression.recipe import AS_GIVEN, EXPORT, GGUF, STORED, Recipe
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
    """What its forms are called; those of a folder are folders."""
    if model.is_dir():
        return "model.onnx" if exported else "."
    return f"{model.stem}.onnx" if exported else model.name


def bring_tokenizer(model: Path, folder: Path) -> None:
    """Put what makes tokens of texts for the model beside one of its forms."""
    from gradatim.models.tokenizer import tokenizer_files

    for file in tokenizer_files(model):
        shutil.copyfile(file, folder / file.name)


def asks_for_text(opened: Mapping[str, Any] | None) -> bool:
    """Whether a model that is opened so is asked for text."""
    from gradatim.models import asked_for_text

    return opened is not None and asked_for_text(opened.get("signature"))


def tried(
    recipes: list[Recipe], model: Path, kind: str, opened: Mapping[str, Any] | None, *, default: bool, cut: bool
) -> list[Recipe] | str:  # fmt: skip
    """The recipes that are tried on a model of a format, an export among them where ONNX must be made first; or why none can be.

    Args:
        default: nobody named methods.
        cut: the best is cut into stages.

    Raises:
        EnvironmentLacks: a package is missing that every search on it needs.
    """
    if opened is not None and asks_for_text(opened):
        usual = (
            [Recipe(method) for method in GGUF]
            if kind == "gguf"
            else [one for one in recipes if one.method in STORED]
        )
        some = [*usual, *(one for one in recipes if one.code)] if default else recipes
        if why := _cannot_be_stored(model.name, kind, opened, own=any(one.code for one in some)):
            return why
        _need_packages(kind)
        return some
    if kind != "onnx" and (opened is None or not exports(kind, opened)):
        return (
            f"{model.name} is of a format ({kind}) which no installed method compresses: they work on "
            "ONNX. It is released as it is. Export it to ONNX to have smaller variants searched for."
        )
    _need_packages("onnx")
    if kind != "onnx" and (cut or any(recipe.method not in AS_GIVEN for recipe in recipes)):
        return [Recipe(EXPORT), *recipes]
    return recipes


def _cannot_be_stored(model: str, kind: str, opened: Mapping[str, Any], *, own: bool) -> str:
    """Why nothing can be made of a model that is asked for text; empty where something can be."""
    if opened["endpoint"] or opened["command"] or opened["factory"]:
        return f"{model} is run by what the contract names beside it, which loads it as it is. It is released as it is."
    if opened["adapter"]:
        return f"{model} has an adapter (`model.adapter`). Merge it to have smaller forms searched for. It is released as it is."
    if kind not in ("huggingface", "onnx", "gguf") and not own:
        return (
            f"{model} is of a format ({kind}) in which no installed method stores weights anew. It is released as it is. "
            "A Hugging Face folder, a GGUF file, or a decoder in ONNX, has smaller forms searched for; `compress.passes` names a function of yours."
        )
    return ""


def as_it_is(original: Trial, reason: str) -> Result:
    """What comes of a model from which nothing can be made."""
    return Result(replace(original, reason=reason), (), (), reason)


def plain(model: Path, threads: int) -> dict[str, Any]:
    """How an ONNX model is opened of which nothing else is known."""
    return Contestant(model.name, model, model.parent, format="onnx", threads=threads).opening


def original_of(model: Path, name: str) -> Trial:
    """What all others stand beside."""
    size, digest = size_and_digest(model)
    return Trial(name, {}, True, "the original", {}, size, 1.0, 1.0, path=model, digest=digest)


def _need_packages(kind: str) -> None:
    """Raise EnvironmentLacks where a package is missing that works on a format."""
    from importlib.util import find_spec

    if kind == "huggingface" and find_spec("compressed_tensors") is None:
        raise missing_package("compressed-tensors", "transformers", "Opening weights in fewer bits")
    if kind == "gguf" and find_spec("gguf") is None:
        raise missing_package("gguf", "gguf", "Storing a GGUF file in fewer bits")
    for package in ("onnx", "onnxruntime") if kind == "onnx" else ():
        if find_spec(package) is None:
            raise missing_package(package, "onnx", "Compressing an ONNX model")


def versions() -> dict[str, str]:
    """The packages that what is made depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("onnx", "onnxruntime", "onnxruntime-gpu", "numpy", "gguf", "xllamacpp"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
