"""Pickles, found by their bytes and never by loading them.

A pickle is a program that runs when it is read, so nothing here unpickles. What looks like a pickle is one;
what only might be harmless is not called so: scanners of pickles are known to be bypassed, hence the short
list of what is allowed and the refusal of all else.

Sources: Python's ``pickletools``; the globals that ``torch.load(weights_only=True)`` accepts.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import pickletools
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

_HEAD = 1 << 16
_LARGEST_SCANNED = 64 << 20
_DEPTH = 3
_NONSENSE = (ValueError, TypeError, LookupError, AttributeError)

_PICKLE_NAME = re.compile(
    r"\.(pkl|pickle|p|pck|joblib|dill|cloudpickle)(\.(gz|z|bz2|xz|lzma|lz4))?$", re.IGNORECASE
)
_IMPORTS = {
    "GLOBAL",
    "STACK_GLOBAL",
    "INST",
    "REDUCE",
    "BUILD",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "EXT1",
    "EXT2",
    "EXT4",
}
_TENSOR_MODULES = {"torch._utils": re.compile(r"_rebuild_\w+"), "collections": re.compile("OrderedDict")}
_TORCH_NAME = re.compile(
    r"\w*Storage|Size|device|Tensor|bool|float\w*|bfloat16|half|double|u?int\d*|long|short|complex\d+"
)


def holds_pickle(path: Path) -> bool:
    """Would an unpickler (Python's, joblib's, ``torch.load``'s) run on this file or on a member of it?

    TorchScript and ``torch.export`` archives keep their tables in pickle opcodes too; those do not count as
    long as they name nothing but tensors and the model's own classes.

    Raises:
        OSError: the file cannot be read.
    """
    if _PICKLE_NAME.search(path.name):
        return True
    with path.open("rb") as file:
        return _stream_holds_pickle(file, 0)


def looks_like_pickle(head: bytes) -> bool:
    """Are these the first bytes of a pickle, plain or as joblib compresses it?"""
    return _is_pickle(head) or _is_pickle(_decompressed_head(head))


def is_torchscript(names: list[str]) -> bool:
    """Do these members make a TorchScript archive?"""
    inner = {name.partition("/")[2] for name in names}
    return (
        "constants.pkl" in inner and "data.pkl" in inner and any(name.startswith("code/") for name in inner)
    )


def is_exported_program(names: list[str]) -> bool:
    """Do these members make a ``torch.export`` archive, of today's layout or of torch 2.7's and before?"""
    inner = {name.partition("/")[2] for name in names}
    return (
        "serialized_exported_program.json" in names
        or "archive_format" in inner
        or any(re.fullmatch(r"models/[^/]+\.json", name) for name in inner)
    )


def _stream_holds_pickle(file: IO[bytes], depth: int) -> bool:
    head = file.read(_HEAD)
    if looks_like_pickle(head):
        return True
    if not head.startswith(b"PK\x03\x04"):
        return _is_object_array(head)
    if depth >= _DEPTH:
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return _archive_holds_pickle(archive, depth)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, *_NONSENSE):
        # what Python cannot read may still be read by another unzipper
        return True


def _archive_holds_pickle(archive: zipfile.ZipFile, depth: int) -> bool:
    names = archive.namelist()
    if len(set(names)) != len(names):
        return True  # two members of one name: which one is read depends on the reader
    if is_torchscript(names) or is_exported_program(names):
        return not _is_tensor_only_archive(archive, depth)
    for name in names:
        if _PICKLE_NAME.search(name):
            return True
        with archive.open(name) as member:
            if _stream_holds_pickle(member, depth + 1):
                return True
    return False


def _is_tensor_only_archive(archive: zipfile.ZipFile, depth: int) -> bool:
    """Do its pickles, and those of archives within, import nothing but tensors and its own classes?"""
    names = archive.namelist()
    if len(set(names)) != len(names) or depth > _DEPTH:
        return False
    told = _told_to_be_pickled(archive, names)
    for name in names:
        nested = name.endswith((".pt", ".pth", ".bin")) or name in told
        if not nested and not name.endswith("pkl"):
            continue
        if archive.getinfo(name).file_size > _LARGEST_SCANNED:
            return False
        data = archive.read(name)
        if not nested:
            if not _is_tensor_only(data):
                return False
            continue
        if not data.startswith(b"PK\x03\x04"):
            return False  # torch's format before zip: several pickles one behind the other
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            if not _is_tensor_only_archive(inner, depth + 1):
                return False
    return True


def _told_to_be_pickled(archive: zipfile.ZipFile, names: list[str]) -> set[str]:
    """The members that a ``torch.export`` archive's own tables call pickled."""
    found = set()
    for name in names:
        if not name.endswith(("_weights_config.json", "_constants_config.json")):
            continue
        table = json.loads(archive.read(name))["config"]
        folder = name.rpartition("/")[0]
        found |= {f"{folder}/{entry['path_name']}" for entry in table.values() if entry["use_pickle"]}
    return found & set(names)


def _is_object_array(head: bytes) -> bool:
    """A ``.npy`` whose elements are Python objects is stored as a pickle."""
    return (
        head.startswith(b"\x93NUMPY") and re.search(rb"'descr':\s*('\|O|\[.*'\|O)", head[:4096]) is not None
    )


def _decompressed_head(head: bytes) -> bytes:
    try:
        if head[:2] == b"\x1f\x8b":
            return zlib.decompressobj(wbits=31).decompress(head, 4096)
        if head[:1] == b"\x78" and len(head) > 2 and int.from_bytes(head[:2], "big") % 31 == 0:
            return zlib.decompressobj().decompress(head, 4096)
        if head[:3] == b"BZh":
            return bz2.BZ2Decompressor().decompress(head, 4096)
        if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
            return lzma.LZMADecompressor().decompress(head, 4096)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        return b""
    return b""


def _is_pickle(head: bytes) -> bool:
    if len(head) >= 3 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    return _is_old_pickle(head)


def _is_old_pickle(head: bytes) -> bool:
    """Protocols 0 and 1 have no header: a program that imports and ends, or runs past what was read."""
    if not head or head[:1] not in b"(cilp]}ISVFGJKMNTUX":
        return False
    imports = False
    count = 0
    try:
        for opcode, argument, _ in pickletools.genops(head):
            count += 1
            if opcode.name in {"GLOBAL", "INST"} and not _is_import(str(argument)):
                return False
            imports = imports or opcode.name in _IMPORTS
    except (ValueError, IndexError, UnicodeError, OverflowError):
        return imports and count > 3 and len(head) >= _HEAD
    return imports


def _is_import(argument: str) -> bool:
    return re.fullmatch(r"[\w.]+ [\w.]+", argument) is not None


def _is_tensor_only(data: bytes) -> bool:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if not _is_allowed(module, name):
                    return False
            elif opcode.name in {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}:
                return False
    except (ValueError, IndexError, UnicodeError, OverflowError):
        return False
    return True


def _is_allowed(module: str, name: str) -> bool:
    if module.startswith("__torch__"):
        return True
    if module == "torch.jit._pickle":
        return re.fullmatch(r"\w+", name) is not None
    if module in ("torch", "torch.storage"):
        return _TORCH_NAME.fullmatch(name) is not None
    if (module, name) == ("torch.serialization", "_get_layout"):
        return True
    allowed = _TENSOR_MODULES.get(module)
    return allowed is not None and allowed.fullmatch(name) is not None
