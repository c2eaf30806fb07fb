"""What kind of model is this? Told by its bytes, with its name as a witness."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO

from gradatim.code import is_reference
from gradatim.contract.model_formats import FORMATS
from gradatim.errors import InvalidInput
from gradatim.files import list_files, read_json, reading, refuse_pipe
from gradatim.models import pickles
from gradatim.models.layouts import is_plain_path, safetensors_header, walk_protobuf

_KNOWN = "ONNX, a torch.export .pt2, TorchScript, safetensors, a Hugging Face folder with safetensors, LiteRT, Keras (.keras), a SavedModel folder, GGUF and `module:function`"
_WITH_A_FACTORY = "Or name in `model.factory` a function of yours that reads it."
_FOR_A_NETWORK = ("safetensors", "pickle")
"""Weights that are loaded into the network that a factory makes."""

_LFS = b"version https://git-lfs"
_ONNX = (0, 2, 2)
"""Wire types, from onnx.proto, of what every ModelProto has: 1 ir_version, 7 graph, 8 opset_import."""


class UnknownFormat(InvalidInput):
    """A whole file of no format that is known: only a function of the user's can make a model of it."""


def detect_format(path: Path, *, factory: bool = False) -> str:
    """One of ``FORMATS``, from the content first and the name second; nothing is loaded.

    Args:
        factory: a function of the user's reads it: whatever holds no weights for a network is ``python`` then.

    Raises:
        UnknownFormat: a file that is no model by itself.
        InvalidInput: there is no model, or an empty or truncated file, or a Git LFS pointer.
    """
    if factory and path.exists():
        return _format_for_a_factory(path)
    if path.is_dir():
        return _folder_format(path)
    if not path.exists():
        if is_reference(path.name):
            return "python"
        raise InvalidInput(
            f"There is no model at {path}. Correct `model.path`, or say in `model.build` which command makes it."
        )
    with reading(path):
        return _file_format(path)


def runtime_of(name: str) -> tuple[str, ...]:
    """The modules whose import is the dear part of opening a model of this format."""
    known = FORMATS[name]
    return (*(package.replace("-", "_") for package in known.packages), *known.modules)


def _format_for_a_factory(path: Path) -> str:
    if path.is_dir():
        if not list_files(path):
            raise InvalidInput(f"The folder {path} is empty: there is no model in it.")
        return "python"
    with reading(path):
        refuse_placeholder(path)
        try:
            found = _file_format(path)
        except InvalidInput:
            if path.suffix == ".safetensors":
                raise
            return "python"
    return found if found in _FOR_A_NETWORK else "python"


def _folder_format(path: Path) -> str:
    names = list_files(path)
    if not names:
        raise InvalidInput(f"The folder {path} is empty: there is no model in it.")
    if made := next((row.name for row in FORMATS.values() if row.made_of(names, folder=True)), None):
        return made
    if "adapter_config.json" in names:
        also = ", with a model beside it" if "config.json" in names else ""
        raise InvalidInput(
            f"The folder {path} is a LoRA adapter{also}, and what it changes is wherever its config says. Name its base in "
            "`model.path`, and the adapter, in a folder of its own, in `model.adapter`."
        )
    weights = [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth"))]
    if "config.json" in names and weights:
        for name in weights:
            refuse_placeholder(path / name)
        for name in names:
            if name.endswith(".index.json"):
                _refuse_weights_elsewhere(path, name)
        return "huggingface"
    candidates = [name for name in names if name.endswith((".onnx", ".pt2", ".safetensors", ".tflite"))]
    hint = f" Name the file itself in `model.path`, for example {path / candidates[0]}." if candidates else ""
    raise InvalidInput(
        f"The folder {path} is not a Hugging Face model: that needs config.json and a .safetensors file.{hint}"
    )


def _refuse_weights_elsewhere(folder: Path, index: str) -> None:
    """Whoever loads a folder follows its index wherever that leads, and what lies elsewhere is in no digest."""
    said = read_json(folder / index)
    placed = said.get("weight_map") if isinstance(said, dict) else None
    for file in set(map(str, placed.values())) if isinstance(placed, dict) else ():
        if not is_plain_path(file):
            raise InvalidInput(
                f"{folder / index} places weights at {file!r}, which is outside of the folder. Save the whole model anew, or take the "
                "index away."
            )


def _file_format(path: Path) -> str:
    size = path.stat().st_size
    refuse_placeholder(path)
    with path.open("rb") as file:
        head = file.read(1 << 16)
        if head.startswith(b"PK\x03\x04"):
            return _zip_format(path)
        if says := next((row.name for row in FORMATS.values() if row.begins(head)), None):
            return says
        if path.suffix == ".safetensors" or _may_be_safetensors(head, size):
            safetensors_header(path)
            return "safetensors"
        if pickles.looks_like_pickle(head):
            return "pickle"
        if head.startswith(b"\x80\x02") or path.suffix in (".pt2", ".pt", ".pth", ".ts", ".torchscript"):
            raise InvalidInput(
                f"{path} is truncated or is not what its name says: no PyTorch archive is in it."
            )
        return _onnx_format(path, file, size)


def refuse_placeholder(path: Path) -> None:
    """Refuse an empty file, what is no file, or the pointer that Git LFS leaves in a file's place.

    Raises:
        InvalidInput: it is one of them.
    """
    refuse_pipe(path)
    with path.open("rb") as file:
        head = file.read(len(_LFS))
    if not head:
        raise InvalidInput(f"{path} is empty. Make the model again, or fetch it again.")
    if head == _LFS:
        raise InvalidInput(
            f"{path} is a Git LFS pointer, not the model itself. Fetch the model with `git lfs pull` (in CI: check out with `lfs: true`)."
        )


def _may_be_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and 2 <= struct.unpack("<Q", head[:8])[0] <= size - 8 and head[8:9] == b"{"


def _zip_format(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InvalidInput(
            f"{path} is truncated: it begins like an archive and has no end. Make it again."
        ) from error
    if made := next((row.name for row in FORMATS.values() if row.made_of(names, folder=False)), None):
        return made
    if pickles.is_exported_program(names):
        return "pt2"
    if pickles.is_torchscript(names):
        return "torchscript"
    if pickles.holds_pickle(path):
        return "pickle"
    raise UnknownFormat(
        f"{path} is an archive but not of a model that gradatim knows: {_KNOWN}. {_WITH_A_FACTORY}"
    )


def _onnx_format(path: Path, file: IO[bytes], size: int) -> str:
    file.seek(0)
    seen, end = walk_protobuf(file, size)
    if end == "whole" and (seen.get(1), seen.get(7), seen.get(8)) == _ONNX:
        return "onnx"
    if path.suffix == ".onnx" or (end != "other" and _begins_like_onnx(seen)):
        raise InvalidInput(f"{path} is truncated or is not an ONNX model. Make it again, or fetch it again.")
    raise UnknownFormat(f"{path} is of no format that gradatim knows: {_KNOWN}. {_WITH_A_FACTORY}")


def _begins_like_onnx(seen: dict[int, int]) -> bool:
    return seen.get(1) == 0 and all(wire == (0 if field in (1, 5) else 2) for field, wire in seen.items())
