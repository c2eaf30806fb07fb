"""What the user's code answers from its own process: numbers, text, arrays and collections of them, and never a pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

_HEAD = struct.Struct("<QQ")
_MOST_TOLD = 1 << 31
_KINDS = "biufcSUMm"


class Unspeakable(ValueError):
    """A value that no other process can be told, or an answer that is none."""


def say(stream: BinaryIO, value: Any) -> None:
    """Write a value: lengths, a line of JSON, the bytes of its arrays.

    Raises:
        Unspeakable: it holds an object of another kind.
    """
    pieces: list[bytes] = []
    told = json.dumps(_told(value, pieces)).encode()
    data = b"".join(pieces)
    stream.write(_HEAD.pack(len(told), len(data)))
    stream.write(told)
    stream.write(data)
    stream.flush()


def hear(read: Callable[[int], bytes]) -> Any:
    """Read a value that ``say`` wrote; ``read`` gives exactly as many bytes as it is asked for.

    Raises:
        Unspeakable: it is no such value.
    """
    told, size = _HEAD.unpack(read(_HEAD.size))
    if told > _MOST_TOLD:
        raise Unspeakable("an answer without end")
    try:
        record, data = json.loads(read(told)), memoryview(read(size))
        return _value(record, data)
    except (ValueError, TypeError, KeyError, RecursionError, IndexError, MemoryError, OverflowError) as error:
        raise Unspeakable(f"an answer that cannot be read: {error!r}") from error


def _told(value: Any, pieces: list[bytes]) -> Any:
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.generic):
        value = value.item() if value.dtype.kind in "biufSU" else np.asarray(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        pieces.append(value)
        return {"bytes": len(value)}
    if isinstance(value, np.ndarray):
        shape = list(value.shape)
        if value.dtype.hasobject:
            return {"objects": [_told(item, pieces) for item in value.reshape(-1)], "shape": shape}
        if value.dtype.kind not in _KINDS:
            raise Unspeakable(f"an array of {value.dtype}")
        pieces.append(np.ascontiguousarray(value).tobytes())
        return {"array": value.dtype.str, "shape": shape}
    if isinstance(value, Mapping):
        return {"map": [[_told(key, pieces), _told(item, pieces)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_told(item, pieces) for item in value]}
    raise Unspeakable(f"a {type(value).__name__}")


def _value(record: Any, data: memoryview) -> Any:
    place = 0

    def take(size: int) -> memoryview:
        nonlocal place
        if size < 0 or place + size > len(data):
            raise Unspeakable("an array that is cut off")
        place += size
        return data[place - size : place]

    def build(told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        if "bytes" in told:
            return bytes(take(told["bytes"]))
        if "array" in told:
            dtype, shape = np.dtype(told["array"]), tuple(told["shape"])
            if dtype.kind not in _KINDS:
                raise Unspeakable(f"an array of {dtype}")
            size = dtype.itemsize * int(np.prod(shape, dtype=object))
            return np.frombuffer(take(size), dtype).reshape(shape).copy()
        if "objects" in told:
            found = np.empty(len(told["objects"]), object)
            for number, item in enumerate(told["objects"]):
                found[number] = build(item)
            return found.reshape(told["shape"])
        if "map" in told:
            return {build(key): build(item) for key, item in told["map"]}
        if "tuple" in told:
            return tuple(build(item) for item in told["tuple"])
        return [build(item) for item in told["list"]]

    return build(record)
