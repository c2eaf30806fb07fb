"""What a file is proven to be, before anything loads it: a pickle is a program that runs when it is read.

Nothing here unpickles. A file is let in when it is of a known format to its last byte, and an unpickler that is set on
it all the same would reach for nothing. What is not proven is doubted: scanners that look for what is bad are bypassed.

Sources: the globals that ``torch.load(weights_only=True)`` accepts; the records that ``torch.jit.save`` and
``torch.export.save`` write.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import pickletools
import re
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gradatim.contract.model_formats import FORMATS
from gradatim.errors import InvalidInput
from gradatim.files import parse_json
from gradatim.models.layouts import is_plain_array, read_archive, read_safetensors, walk_protobuf
from gradatim.models.unpickling import bytes_reach_out, reaches_out

A_PICKLE = "a pickle"
UNKNOWN = "of no format that gradatim knows"
BROKEN = "a broken archive"
TOO_MUCH = "more, unpacked, than is looked through"

_DEPTH = 3
_LARGEST = 128 << 20
"""Bytes that are unpacked, or read at once, out of a file of no size."""
_RATIO = 8
"""How many times its own size a file may unpack to beyond that."""

_PICKLE_NAME = re.compile(
    r"\.(pkl|pickle|p|pck|joblib|dill|cloudpickle)(\.(gz|z|bz2|xz|lzma|lz4))?$", re.IGNORECASE
)
_MAGIC = (b"GGUF", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"fLaC", b"%PDF-")
"""Formats that say themselves what they are, and whose readers run nothing."""
_CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})
_OTHERWISE = (b"\x04\x22\x4d\x18", b"ZF0x")
"""LZ4, and joblib's own of old."""

_RECORD = r"version|byteorder|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
_SCRIPT = re.compile(rf"{_RECORD}|\w+\.pkl|\w+/\d+|code/[\w./]+\.py(\.debug_pkl)?|(?P<extra>extra/.+)")
_TENSORS = re.compile(rf"{_RECORD}|data\.pkl|data/\d+")
_PROGRAM = re.compile(
    rf"{_RECORD}|archive_(format|version)|models/[\w.-]+\.json|data/weights/weight_\d+|data/constants/tensor_\d+|"
    r"data/(weights|constants)/[\w.-]+_config\.json|data/(weights|constants|sample_inputs)/[\w.-]+\.pt|(?P<extra>extra/.+)"
)
_OLD_PROGRAM = re.compile(
    r"version|serialized_(exported_program|state_dict|constants)\.json|"
    r"serialized_(state_dict|constants|example_inputs)\.pt|(?P<extra>extra_files/.+)"
)
_GLOBALS = {
    "torch": re.compile(
        r"\w*(Storage|Tensor)|Size|device|bool|b?float\d+\w*|half|double|q?u?int\d+(x\d)?|long|short|complex\d+|"
        r"bits\d+(x\d)?|per_(tensor|channel)_(affine|symmetric)(_float_qparams)?"
    ),
    "torch.storage": re.compile(r"\w*Storage"),
    "torch._utils": re.compile(r"_rebuild_\w+"),
    "torch.serialization": re.compile("_get_layout"),
    "torch.nn.parameter": re.compile("Parameter"),
    "torch.jit._pickle": re.compile(r"build_\w+list|restore_type_tag"),
    "collections": re.compile("OrderedDict"),
    "builtins": re.compile("complex"),
    "__builtin__": re.compile("complex"),
}
_CLASSES = re.compile(r"__torch__\.torch\.classes\.(quantized|sparse|rnn|xnnpack|mkldnn)\.\w+")
"""Classes of torch's own that hold packed weights; others open connections, libraries or files."""


class _Doubt(Exception):
    """Why something is not proven harmless."""


@dataclass
class _Room:
    """Bytes that may still be unpacked."""

    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _Doubt(TOO_MUCH)


def doubt(path: Path, *, raw: bool = False) -> str | None:
    """Why a file is not proven harmless, in a few words; None where it is.

    TorchScript and ``torch.export`` archives keep their tables in pickle opcodes too; those pass as long as they name
    nothing but tensors and the model's own classes. What such an archive computes is looked at before torch loads it.

    Args:
        raw: the file need not be of any known format, since what reads it is told elsewhere how: only what an unpickler
            would run counts.

    Raises:
        OSError: the file cannot be read.
    """
    if _PICKLE_NAME.search(path.name):
        return A_PICKLE
    with path.open("rb") as file:
        return _doubt(file, path.stat().st_size, raw=raw)


def doubt_within(data: bytes, name: str) -> str | None:
    """``doubt`` of a file of this name that lies in another."""
    return A_PICKLE if _PICKLE_NAME.search(name) else _doubt(io.BytesIO(data), len(data), raw=False)


def _doubt(file: IO[bytes], size: int, *, raw: bool) -> str | None:
    try:
        _look(file, size, _Room(_LARGEST + _RATIO * size), 0, raw=raw)
    except _Doubt as found:
        return str(found)
    return None


def holds_pickle(path: Path) -> bool:
    """Might an unpickler (Python's, numpy's, joblib's, ``torch.load``'s) run something in this file or in a member of it?

    Raises:
        OSError: the file cannot be read.
    """
    return doubt(path) is not None


def looks_like_pickle(head: bytes) -> bool:
    """Are these the first bytes of a pickle, plain or as joblib compresses it?"""
    return any(
        (data[:1] == b"\x80" and data[1:2] <= b"\x05" and len(data) > 2) or bytes_reach_out(data)
        for data in (head, _unpack(io.BytesIO(head), len(head))[0])
    )


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


def _look(file: IO[bytes], size: int, room: _Room, depth: int, *, raw: bool) -> None:
    """Pass over a file of so many bytes.

    Raises:
        _Doubt: it is not proven harmless.
    """
    head = file.read(8)
    file.seek(0)
    if depth > _DEPTH:
        raise _Doubt(TOO_MUCH)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _look_into(file, room, depth, raw=raw)
    elif head.startswith(b"\x93NUMPY"):
        if not is_plain_array(file, size):
            raise _Doubt("an array of Python objects, or a broken one")
    elif head.startswith(_OTHERWISE) or _is_tar(file):
        raise _Doubt("packed in a way that is not looked into")
    else:
        unpacked, whole = _unpack_file(file, room)
        if whole:
            _look(io.BytesIO(unpacked), len(unpacked), room, depth + 1, raw=raw)
            return
        file.seek(0)
        if reaches_out(file) or bytes_reach_out(unpacked):
            raise _Doubt(A_PICKLE)
        if not (raw or _is_known(file, size)):
            raise _Doubt(UNKNOWN)


def _is_tar(file: IO[bytes]) -> bool:
    """torch's first format was a tar of pickles."""
    block = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"))
    except (tarfile.HeaderError, ValueError):
        return False


def _is_known(file: IO[bytes], size: int) -> bool:
    """Is it of a format whose readers run nothing: safetensors, protobuf, LiteRT, GGUF, a picture, a sound, a text?"""
    file.seek(0)
    head = file.read(64)
    if head.startswith(_MAGIC) or any(row.begins(head) for row in FORMATS.values()):
        return True
    file.seek(0)
    if read_safetensors(file, size) is not None:
        return True
    file.seek(0)
    return walk_protobuf(file, size)[1] == "whole" or _is_text(file)


def _is_text(file: IO[bytes]) -> bool:
    """UTF-8 without a zero byte, such as JSON; or of an older alphabet, and then without any control character."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8 = older = True
    while (piece := file.read(1 << 20)) and (utf8 or older):
        older = older and len(piece) == len(piece.translate(None, _CONTROLS))
        try:
            utf8 = utf8 and b"\0" not in piece and decoder.decode(piece) is not None
        except UnicodeDecodeError:
            utf8 = False
    return older or (utf8 and not decoder.getstate()[0])


def _unpack_file(file: IO[bytes], room: _Room) -> tuple[bytes, bool]:
    if _unpack(file, 0) == (b"", False):
        return b"", False
    file.seek(0)
    found, whole = _unpack(file, _LARGEST)
    room.take(len(found))
    if len(found) > _LARGEST:
        raise _Doubt(TOO_MUCH)
    return found, whole


def _unpack(file: IO[bytes], most: int) -> tuple[bytes, bool]:
    """What joblib would decompress a file to, as far as that goes but not far beyond so many bytes; is it all?"""
    data = file.read(1 << 16)
    unpacker: Any = None
    if data[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(wbits=31)
    elif data[:1] == b"\x78" and int.from_bytes(data[:2], "big") % 31 == 0:
        unpacker = zlib.decompressobj()
    elif data[:3] == b"BZh":
        unpacker = bz2.BZ2Decompressor()
    elif data[:6] == b"\xfd7zXZ\x00" or data[:3] == b"\x5d\x00\x00":
        unpacker = lzma.LZMADecompressor(memlimit=_LARGEST)
    found = io.BytesIO()
    try:
        while unpacker is not None and not unpacker.eof and found.tell() <= most:
            piece = unpacker.decompress(data, 1 << 20)
            found.write(piece)
            data = getattr(unpacker, "unconsumed_tail", b"")
            if getattr(unpacker, "needs_input", not data):
                data = file.read(1 << 16)
                if not data and not piece:
                    break
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        return found.getvalue(), False
    whole = unpacker is not None and unpacker.eof and not unpacker.unused_data and not file.read(1)
    return found.getvalue(), whole


def _look_into(file: IO[bytes], room: _Room, depth: int, *, raw: bool) -> None:
    try:
        archive = read_archive(file)
        names = archive.namelist()
        if is_exported_program(names):
            _look_at_program(archive, room, depth)
        elif is_torchscript(names):
            _look_at_tensors(archive, _SCRIPT, room, depth)
        else:
            for info in archive.infolist():
                _look_at_member(archive, info, room, depth, raw=raw)
    except (
        zipfile.BadZipFile,
        struct.error,
        zlib.error,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
    ) as error:
        # what Python cannot read may still be read by another unzipper
        raise _Doubt(BROKEN) from error


def _look_at_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: _Room, depth: int, *, raw: bool
) -> None:
    if _PICKLE_NAME.search(info.filename):
        raise _Doubt(A_PICKLE)
    with archive.open(info) as member:
        if member.read(6) == b"\x93NUMPY":  # of which the header alone is read
            room.take(info.file_size if info.compress_type else 0)
            member.seek(0)
            _look(member, info.file_size, room, depth + 1, raw=raw)
            return
    _look(io.BytesIO(_read(archive, info.filename, room)), info.file_size, room, depth + 1, raw=raw)


def _read(archive: zipfile.ZipFile, name: str, room: _Room) -> bytes:
    size = archive.getinfo(name).file_size
    room.take(size)
    if size > _LARGEST:
        raise _Doubt(TOO_MUCH)
    return archive.read(name)


def _inner(archive: zipfile.ZipFile, allowed: re.Pattern[str]) -> dict[str, str]:
    """The members by their names within the one folder that torch makes; none but those that it writes."""
    names = archive.namelist()
    root = "" if allowed is _OLD_PROGRAM else f"{names[0].partition('/')[0]}/"
    found = {name.removeprefix(root): name for name in names if name.startswith(root)}
    if len(found) != len(names):
        raise _Doubt(BROKEN)
    for name in found:
        if not allowed.fullmatch(name):
            raise _Doubt(f"not as torch writes it: it holds {name}")
    return found


def _look_at_program(archive: zipfile.ZipFile, room: _Room, depth: int) -> None:
    """A ``torch.export`` archive: tables in JSON, weights as bytes, example inputs as pickled tensors."""
    old = "serialized_exported_program.json" in archive.namelist()
    allowed = _OLD_PROGRAM if old else _PROGRAM
    room.take(sum(info.file_size for info in archive.infolist() if info.compress_type))
    for inner, name in _inner(archive, allowed).items():
        match = allowed.fullmatch(inner)
        if match and match["extra"]:
            _look_at_member(archive, archive.getinfo(name), room, depth, raw=True)
        elif inner.endswith("_config.json") and _tells_of_pickles(_read(archive, name, room)):
            raise _Doubt(A_PICKLE)
        elif inner.endswith(".pt"):
            data = _read(archive, name, room)
            if data and not data.startswith(b"PK\x03\x04"):
                raise _Doubt(A_PICKLE)  # torch's format before zip: several pickles one behind the other
            if data:
                _look_at_tensors(read_archive(io.BytesIO(data)), _TENSORS, room, depth + 1)


def _tells_of_pickles(config: bytes) -> bool:
    """Whether a table of weights or constants sends torch to an unpickler for any of them."""
    try:
        entries = parse_json(config.decode(), "the table")["config"].values()
        return not all(
            entry["use_pickle"] is False and re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"])
            for entry in entries
        )
    except (InvalidInput, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return True


def _look_at_tensors(archive: zipfile.ZipFile, allowed: re.Pattern[str], room: _Room, depth: int) -> None:
    """An archive of tensors as bytes and of pickles that put them together: TorchScript, or what ``torch.save`` writes."""
    room.take(sum(info.file_size for info in archive.infolist() if info.compress_type))
    for inner, name in _inner(archive, allowed).items():
        if inner.startswith("extra/"):
            _look_at_member(archive, archive.getinfo(name), room, depth, raw=True)
        elif inner.endswith("pkl") and not _names_only_tensors(
            _read(archive, name, room), own=allowed is _SCRIPT
        ):
            raise _Doubt(A_PICKLE)


def _names_only_tensors(data: bytes, *, own: bool) -> bool:
    """Does a pickle import nothing but tensors, and (``own``) classes whose code is in the archive?"""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if not _is_allowed(module, name, own=own):
                    return False
            elif opcode.name in {"INST", "OBJ", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}:
                return False
    except (ValueError, IndexError, UnicodeError, OverflowError):
        return False
    return True


def _is_allowed(module: str, name: str, *, own: bool) -> bool:
    if own and re.fullmatch(r"__torch__(\.\w+)*", module):
        full = f"{module}.{name}"
        return ".torch.classes." not in full or _CLASSES.fullmatch(full) is not None
    allowed = _GLOBALS.get(module)
    return allowed is not None and allowed.fullmatch(name) is not None
