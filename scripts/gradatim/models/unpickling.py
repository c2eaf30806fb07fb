"""Would an unpickler that is set on these bytes reach for code? Told by walking its opcodes, none of which is run.

The walk goes on wherever a real unpickler might. It stops only where all of them do: at an unknown opcode, at an
argument that is cut off or not what it has to be, and where the stack or the memo cannot hold what is needed.

Sources: ``pickletools`` (opcodes, arguments, effects on the stack); CPython's ``_pickle.c``.
"""

from __future__ import annotations

import io
import pickletools
import re
import sys
from typing import IO, NamedTuple

_MOST_OPCODES = 1_000_000
_LONGEST_LINE = 1 << 12
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_CALLS = {"REDUCE", "BUILD", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_EXTENSIONS = {"EXT1", "EXT2", "EXT4"}
_TEXTS = {
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
}
_LINES = {
    "INT": re.compile(rb"[\s\da-fA-FxXoObB_+-]*[lL]?\s*"),
    "LONG": re.compile(rb"[\s\da-fA-FxXoObB_+-]*[lL]?\s*"),
    "FLOAT": re.compile(rb"[\s\d.eE_+-]*|\s*[+-]?(?i:inf|infinity|nan)\s*"),
    "GET": re.compile(rb"[\s\d_+-]*"),
    "PUT": re.compile(rb"[\s\d_+-]*"),
    "STRING": re.compile(rb"[\"'].*", re.DOTALL),
}


class _Opcode(NamedTuple):
    name: str
    argument: int
    mark: bool
    needs: int
    gives: int


def _opcodes() -> dict[bytes, _Opcode]:
    """pickletools' own table, with objects on the stack counted; a mark and what stands above it count apart."""
    apart = (pickletools.markobject, pickletools.stackslice)
    found = {}
    for each in pickletools.opcodes:
        needs = sum(kind not in apart for kind in each.stack_before)
        gives = sum(kind not in apart for kind in each.stack_after)
        size = each.arg.n if each.arg else 0
        found[each.code.encode("latin-1")] = _Opcode(
            each.name, size, pickletools.markobject in each.stack_before, needs, gives
        )
    return found


_OPCODES = _opcodes()


def reaches_out(file: IO[bytes]) -> bool:
    """Would some unpickler, from the file's present place on, import a thing and call it, or import what does something?

    A file of more opcodes than anyone would wait for counts as one that does.
    """
    start = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(start)
    depth = marks = kept = texts = 0
    imported = False
    for _ in range(_MOST_OPCODES):
        opcode = _OPCODES.get(file.read(1))
        if opcode is None:
            return False
        name = opcode.name
        takes_mark = name == "POP" and marks > 0
        # every count is the most that a real unpickler can have here
        if (depth < opcode.needs and not takes_mark) or marks < opcode.mark:
            return False
        if name == "PERSID" or (name in _PUTS and not depth) or (name in _GETS and not kept):
            return False  # torch alone has a function for persistent names, and takes no text for one
        argument = _argument(file, opcode.argument, end)
        if argument is None or (name in _LINES and not _LINES[name].fullmatch(argument)):
            return False
        if name == "PROTO" and argument > b"\x05":
            return False
        if name in ("GLOBAL", "INST"):
            wanted = _importable(argument, _line(file) or b"")
            if not wanted or name == "INST" or _does_something(argument):
                return wanted
        if name == "STACK_GLOBAL":
            return texts > 0
        if imported and name in _CALLS:
            return True
        imported = imported or name == "GLOBAL" or name in _EXTENSIONS
        texts += name in _TEXTS
        kept += name in _PUTS
        if name == "MARK":
            marks += 1
        elif name == "STOP":  # torch's old format is several pickles, one behind the other
            depth = marks = 0
        elif not takes_mark:
            depth += opcode.gives - opcode.needs
            marks -= opcode.mark
    return True


def bytes_reach_out(data: bytes) -> bool:
    """``reaches_out`` for bytes in memory."""
    return reaches_out(io.BytesIO(data))


def _argument(file: IO[bytes], length: int, end: int) -> bytes | None:
    """What stands behind an opcode: a line (at least its beginning), one byte, or nothing of what is longer; None if cut off."""
    if length == pickletools.UP_TO_NEWLINE:
        return _line(file)
    if length < 0:
        told = file.read(_WIDTHS[length])
        length = int.from_bytes(told, "little", signed=length == pickletools.TAKEN_FROM_ARGUMENT4)
    if not 0 <= length <= end - file.tell():
        return None
    if length == 1:
        return file.read(1)
    file.seek(length, io.SEEK_CUR)
    return b""


def _line(file: IO[bytes]) -> bytes | None:
    start = piece = file.readline(_LONGEST_LINE)
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(1 << 16)
    return start.removesuffix(b"\n") if piece else None


def _importable(module: bytes, name: bytes) -> bool:
    """Could Python import a name spelled like that?"""
    try:
        parts = f"{module.decode()}.{name.decode()}".split(".")
    except UnicodeDecodeError:
        return False
    return all(part.isidentifier() for part in parts)


def _does_something(module: bytes) -> bool:
    """Might the import alone do something? A bare word that no module of Python's has as its name is more likely a text."""
    return b"." in module or module.decode() in sys.stdlib_module_names
