"""Files proven to be what they seem, to the last byte: zip archives, numpy's arrays, safetensors, protobuf messages.

Readers differ in what they make of a file that is more than one thing at once. So nothing may lie before, between or
behind what a file is made of.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from gradatim.errors import InvalidInput
from gradatim.files import parse_json

Tensors = dict[str, tuple[str, tuple[int, ...], int, int]]
"""safetensors' table: name -> (dtype, shape, first byte, end byte)."""

_MOST_MEMBERS = 100_000
_LARGEST_HEADER = 16 << 20
"""Bytes of a safetensors header: some hundred thousand tensors, and a tenth of what memory they take as objects."""
_LONGEST_ARRAY_HEADER = 1 << 16
_PLAIN_DTYPE = re.compile(r"[<>|=]?[?biufcmMSUV]\d*(\[\d*\w+\])?")


def read_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip that every reader sees alike: members in a row from the first byte on, then the table, then the end.

    Raises:
        zipfile.BadZipFile: it is anything else; or two names are one to a reader that ignores case, as torch's does; or
            a name is no plain relative path.
    """
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if {info.compress_type for info in members} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise zipfile.BadZipFile("Python would unpack more of it at once than its table says")
    names = {info.filename.casefold() for info in members}
    if len(names) != len(members) or len(members) > _MOST_MEMBERS:
        raise zipfile.BadZipFile("a name stands twice")
    if not all(info.filename == info.orig_filename and is_plain_path(info.filename) for info in members):
        raise zipfile.BadZipFile("a name leads elsewhere")
    place = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        file.seek(place)
        method, _, _, _, _, _, name, extra = struct.unpack("<8xHHHLLLHH", file.read(30))
        if (info.header_offset, info.compress_type, info.flag_bits & 1) != (place, method, 0):
            raise zipfile.BadZipFile("its members do not stand in a row")
        place += 30 + name + extra + info.compress_size
        file.seek(place)
        place += _descriptor(file.read(24), info) if info.flag_bits & 8 else 0
    file.seek(place)
    for _ in members:
        head = file.read(46)
        file.seek(sum(struct.unpack("<HHH", head[28:34])), 1)
    end = file.tell()
    size = file.seek(0, 2)
    # the end alone, or behind the two records of zip64
    if place != archive.start_dir or size - end not in (22, 98) or archive.comment:
        raise zipfile.BadZipFile("something lies around it")
    return archive


def _descriptor(data: bytes, info: zipfile.ZipInfo) -> int:
    """The length of the sizes that a writer, who learnt them late, put behind a member."""
    for mark in (b"PK\x07\x08", b""):
        for sizes in ("<LQQ", "<LLL"):
            if info.file_size < 1 << 32 or sizes == "<LQQ":
                wanted = mark + struct.pack(sizes, info.CRC, info.compress_size, info.file_size)
                if data.startswith(wanted):
                    return len(wanted)
    raise zipfile.BadZipFile("its members do not stand in a row")


def is_plain_path(name: str) -> bool:
    """Is this a path that leads down, to every reader, in characters that can be printed?"""
    parts = PurePosixPath(name).parts
    return bool(parts) and name.isprintable() and "\\" not in name and not {"/", ".."} & set(parts)


def is_plain_array(file: IO[bytes], size: int) -> bool:
    """Is this, of so many bytes, a whole ``.npy`` of numbers, dates or text? An array of objects would be a pickle."""
    import numpy as np

    head = file.read(8)
    if len(head) < 8 or not head.startswith(b"\x93NUMPY") or head[7]:
        return False
    width = {1: 2, 2: 4, 3: 4}.get(head[6], 0)
    length = int.from_bytes(file.read(width), "little")
    if not 0 < length <= _LONGEST_ARRAY_HEADER:
        return False
    try:
        header = ast.literal_eval(file.read(length).decode("utf-8" if head[6] == 3 else "latin-1"))
        shape, descr = header["shape"], header["descr"]
        if set(header) != {"shape", "descr", "fortran_order"} or not _is_shape(shape) or not _is_plain(descr):
            return False
        item = np.lib.format.descr_to_dtype(descr)
    except (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError):
        return False
    return not item.hasobject and size == 8 + width + length + item.itemsize * math.prod(shape)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, tuple) and all(type(axis) is int and axis >= 0 for axis in shape)


def _is_plain(descr: object) -> bool:
    """A dtype as ``numpy.save`` spells those that hold no objects: ``<f4``, or a list of fields."""
    if isinstance(descr, str):
        return _PLAIN_DTYPE.fullmatch(descr) is not None
    return isinstance(descr, list) and all(
        isinstance(field, tuple)
        and len(field) in (2, 3)
        and isinstance(field[0], str | tuple)
        and _is_plain(field[1])
        and _is_shape(field[2] if len(field) == 3 else ())
        for field in descr
    )


def safetensors_header(path: Path) -> tuple[Tensors, dict[str, str]]:
    """A safetensors file's tensors, name -> (dtype, shape, first byte, end byte), and its metadata.

    Raises:
        InvalidInput: the header is broken, tensors overlap or leave a gap, one has more or fewer bytes than its shape
            says, or the file is shorter or longer than the header says.
    """
    with path.open("rb") as file:
        found = read_safetensors(file, path.stat().st_size)
    if found is None:
        raise InvalidInput(f"{path} is truncated or is not a safetensors file. Make it again.")
    return found


def read_safetensors(file: IO[bytes], size: int) -> tuple[Tensors, dict[str, str]] | None:
    """``safetensors_header`` of a file of so many bytes; None where that would raise."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, _LARGEST_HEADER):
        return None
    try:
        header = parse_json(file.read(length).decode(), "the header")
        metadata = header.pop("__metadata__", None) or {}
        tensors = {name: _tensor(entry, 8 + length) for name, entry in header.items()}
    except (InvalidInput, ValueError, KeyError, TypeError, AttributeError):
        return None
    place = 8 + length
    for first, end in sorted(tensor[2:] for tensor in tensors.values()):
        if first != place:
            return None
        place = end
    return (tensors, metadata) if place == size else None


def _tensor(entry: Any, start: int) -> tuple[str, tuple[int, ...], int, int]:
    dtype, shape, (first, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    bits = 8 if dtype == "BOOL" else int(re.fullmatch(r"(?:BF|[FIUC])(\d+)(?:_\w+)?", dtype)[1])  # type: ignore[index]
    if not _is_shape((*shape, first, end)) or 8 * (end - first) != bits * math.prod(shape):
        raise ValueError
    return dtype, shape, start + first, start + end


def walk_protobuf(file: IO[bytes], size: int) -> tuple[dict[int, int], str]:
    """The top level of a protobuf message, by its lengths only: field number -> wire type, and how it ends.

    ``whole``: with the file; ``cut``: behind it; ``other``: in something that is no message. Nothing is read into memory.
    """
    seen: dict[int, int] = {}
    while file.tell() < size:
        key = _varint(file)
        if key is None:
            return seen, "cut"
        field, wire = key >> 3, key & 7
        if not 1 <= field <= 1000 or wire not in (0, 1, 2, 5):
            return seen, "other"
        seen[field] = wire
        length = {1: 8, 5: 4}.get(wire) or _varint(file)
        if length is None or (wire != 0 and file.tell() + length > size):
            return seen, "cut"
        if wire != 0:
            file.seek(length, 1)
    return seen, "whole"


def _varint(file: IO[bytes]) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None
