"""Files that run code, or write a file, when their own libraries load them: each leaves the file ``mark``."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any


class Touch:
    """Unpickling this leaves a file."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (self.mark, "w")


def body(mark: str) -> bytes:
    """The opcodes that leave the mark, fit to stand behind anything that leaves the stack as it was."""
    return f"cbuiltins\nopen\n(V{mark}\nVw\ntR.".encode()


FIRST = {
    "proto-0": b"\x80\x00", "proto-1": b"\x80\x01", "proto-5": b"\x80\x05", "empty-tuple": b")0", "true": b"\x880",
    "false": b"\x890", "empty-set": b"\x8f0", "long-line": b"L1L\n0", "long-line-bare": b"L1\n0", "short-bytes": b"C\x01a0",
    "short-text": b"\x8c\x01a0", "int1": b"K\x010", "int2": b"M\x01\x000", "int4": b"J\x01\x00\x00\x000", "float": b"G" + bytes(8) + b"0",
    "int-line": b"I1\n0", "octal": b"I010\n0", "float-line": b"F1.5\n0", "none": b"N0", "list": b"]0", "dict": b"}0", "mark": b"(1", "mark-pop": b"(0",
    "string-line": b"S'a'\n0", "text-line": b"Va\n0", "text4": b"X\x01\x00\x00\x00a0", "string1": b"U\x01a0", "string4": b"T\x01\x00\x00\x00a0",
    "bytes4": b"B\x01\x00\x00\x00a0", "bytes8": b"\x8e\x01" + bytes(7) + b"a0", "text8": b"\x8d\x01" + bytes(7) + b"a0",
    "bytearray8": b"\x96\x01" + bytes(7) + b"a0", "long1": b"\x8a\x01\x010", "long4": b"\x8b\x01\x00\x00\x00\x010", "twice-put": b"Nq\x00q\x000",
    "memo": b"Nq\x00h\x0000", "dup": b"N200",
}  # fmt: skip
"""Openings that the unpickler takes for nothing, and that a look at the first bytes does not expect."""


def pickles(mark: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``pickle.load``; ``mark`` gives the path that a name of these is to leave."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"protocol-{protocol}", pickle.dumps(Touch(mark(f"protocol-{protocol}")), protocol)
    for name, opening in FIRST.items():
        yield name, opening + body(mark(name))
    framed = body(mark("frame"))
    yield "frame", b"\x95" + struct.pack("<Q", len(framed)) + framed
    yield "broken-tail", body(mark("broken-tail"))[:-1] + b"\xff\xff nothing more"
    yield "cut-tail", body(mark("cut-tail"))[:-1] + b"X\xff\xff\xff\x00ab"
    yield "far-import", b"V" + b"a" * 100_000 + b"\n0" + body(mark("far-import"))
    path = mark("inst")
    yield "inst", f"(V{path}\nVw\nibuiltins\nopen\n.".encode()
    path = mark("obj")
    yield "obj", f"(cbuiltins\nopen\nV{path}\nVw\no.".encode()
    path = mark("stack-global")
    yield "stack-global", f"\x8c\x08builtins\x8c\x04open\x93(V{path}\nVw\ntR.".encode("latin-1")
    readme = b"V Read me: what this is, in a few words.\n0"
    yield "readme", readme + body(mark("readme"))
    yield "windows-readme", b"(V Read me.\r\n1" + body(mark("windows-readme"))
    yield "gguf", b"GGUF\x03\x00\x00\x00\x010" + body(mark("gguf"))
    yield "tflite", b"G\x00\x00\x00TFL3\x000" + body(mark("tflite"))
    yield "safetensors", _within_safetensors(body(mark("safetensors")))
    yield "onnx", _within_onnx(body(mark("onnx")))


def packed_pickles(mark: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``joblib.load``, which looks through five kinds of compression."""
    noise = random.Random(0).randbytes(100_000).replace(b"\n", b"?").replace(b"\\", b"?")
    for name, pack in {
        "gzip": gzip.compress,
        "zlib": zlib.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }.items():
        yield name, pack(body(mark(name)))
        yield (
            f"{name}-far",
            pack(b"B" + struct.pack("<I", len(noise)) + noise + b"0" + body(mark(f"{name}-far"))),
        )
    yield "lzma", lzma.compress(body(mark("lzma")), lzma.FORMAT_ALONE)
    yield "zlib-cut", zlib.compress(body(mark("zlib-cut"))[:-1] + noise)[:-5000]


def torch_files(mark: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``torch.load``: its zip, its format before that, the one before, and a text that is one."""
    import torch

    for name, zipped in {"zip": True, "legacy": False}.items():
        made = io.BytesIO()
        torch.save(Touch(mark(name)), made, _use_new_zipfile_serialization=zipped)
        yield name, made.getvalue()
    text = f"I{torch.serialization.MAGIC_NUMBER}\n.I{torch.serialization.PROTOCOL_VERSION}\n.(d.".encode()
    yield "legacy-text", text + body(mark("legacy-text"))
    kept = (
        b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI1\nNtQ0"  # whose name torch knows how to look up
    )
    yield "legacy-persistent", text + kept + body(mark("legacy-persistent"))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = body(mark("tar"))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    yield "tar", tar.getvalue()


def arrays(mark: Callable[[str], str]) -> Iterator[tuple[str, bytes]]:
    """Names and bytes for ``numpy.load(allow_pickle=True)``: arrays whose header says, one way or another, object."""
    wordings = {
        "bar-O": "'|O'", "O": "'O'", "O8": "'O8'", "object": "'object'", "bar-O8": "'|O8'", "object_": "'object_'", "double-quotes": '"O"',
        "field": "[('a', '<f4'), ('b', 'O')]", "field-shape": "[('a', '|O', (2,))]", "nested": "[('a', [('b', [('c', 'O')])])]",
        "escaped": "'\\x4f'", "joined": "'' 'O'", "comma": "'f4,O'", "spread": "  (  'O'  )  ", "titled": "[(('t', 'a'), 'O')]",
    }  # fmt: skip
    for name, wording in wordings.items():
        yield name, array(wording, body(mark(name)))
    yield "far", array("'O'", body(mark("far")), blanks=9000)
    yield (
        "shape-first",
        array("'O'", body(mark("shape-first")), order="{'shape': (1,), 'fortran_order': False, 'descr': %s}"),
    )
    yield "version-2", array("'O'", body(mark("version-2")), version=2)
    yield "version-3", array("'O'", body(mark("version-3")), version=3)
    for name, method in {"npz": zipfile.ZIP_STORED, "npz-packed": zipfile.ZIP_DEFLATED}.items():
        yield (
            name,
            archive(
                {"a.npy": array("'<f4'", bytes(4)), "b.npy": array("'O'", body(mark(name)), blanks=9000)},
                method,
            ),
        )
    yield (
        "npz-plain-pickle",
        archive({"a.npy": array("'object'", body(mark("npz-plain-pickle")))}, zipfile.ZIP_DEFLATED),
    )


def array(
    descr: str, data: bytes, *, blanks: int = 0, version: int = 1, order: str = "", shape: str = "(1,)"
) -> bytes:
    order = order or "{'descr': %s, 'fortran_order': False, 'shape': " + shape + "}"
    header = order % (" " * blanks + descr)
    length = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + b"\n" + data


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _within_safetensors(payload: bytes) -> bytes:
    """A whole safetensors file. Its length says ``U`` and 64 to an unpickler, which lands in a string of the header
    and goes on there in strides, ``U~`` and 126, into the bytes of the tensor.
    """
    length = 0x4055
    entry = json.dumps({"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]})
    before, after = '{"__metadata__":{"a":"', f'"}},"t":{entry}}}'
    text = list(before + "?" * (length - len(before) - len(after)) + after)
    place = 2 + 0x40 - 8
    while place + 2 + 126 < length - len(after) - 2:
        text[place : place + 2] = "U~"
        place += 2 + 126
    # two strides that end exactly where the header does
    rest = length - place - 4
    text[place : place + 2] = "U" + chr(rest // 2)
    place += 2 + rest // 2
    text[place : place + 2] = "U" + chr(rest - rest // 2)
    return struct.pack("<Q", length) + "".join(text).encode() + payload


def _within_onnx(payload: bytes) -> bytes:
    """A whole ONNX model. Its first field is a mark and fifty bytes to an unpickler, which lands in the doc string."""
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:])
    text = (b"?" * 48 + b"1" + payload).ljust(200)
    field = b"\x32" + bytes([len(text) & 127 | 128, len(text) >> 7]) + text
    return b"\x28C" + field + helper.make_model(graph).SerializeToString()
