"""Named arrays from one process to another: what they are in a line of JSON, then their bytes."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput

Arrays = Mapping[str, NDArray[Any]]


def packed(arrays: Arrays, *, trusted: bool) -> tuple[list[dict[str, Any]], list[memoryview]]:
    """What describes the arrays, as JSON values, and the bytes that follow.

    Args:
        trusted: these come from gradatim itself: objects may be pickled. From a model text alone is taken, as JSON.

    Raises:
        InvalidInput: an array of objects that are not text.
    """
    told, pieces = [], []
    for name, array in arrays.items():
        record: dict[str, Any] = {"name": name, "shape": array.shape, "dtype": array.dtype.str}
        flat = np.ascontiguousarray(array).reshape(-1)
        if array.dtype.hasobject:
            if trusted:
                flat = np.frombuffer(pickle.dumps(array), np.uint8)
                record["pickled"] = flat.nbytes
            elif all(isinstance(item, str) for item in flat):
                record["text"], flat = list(flat), np.empty(0, np.uint8)
            else:
                kinds = sorted({type(item).__name__ for item in flat})
                raise InvalidInput(
                    f"The output `{name}` holds objects that are no numbers and no text: {kinds}."
                )
        told.append(record)
        if flat.nbytes:
            pieces.append(_bytes_of(flat))
    return told, pieces


def _bytes_of(flat: NDArray[Any]) -> memoryview:
    return flat.view(np.uint8).data


def unpacked(
    told: Sequence[Mapping[str, Any]], fill: Callable[[memoryview], None], *, trusted: bool
) -> dict[str, NDArray[Any]]:
    """Arrays as ``packed`` told of them.

    Args:
        fill: reads as many bytes as the view holds.
        trusted: pickles may be loaded.
    """
    found: dict[str, NDArray[Any]] = {}
    for record in told:
        shape = tuple(record["shape"])
        if "text" in record:
            array = np.empty(shape, object)
            array.reshape(-1)[:] = record["text"]
        elif "pickled" in record and trusted:
            data = bytearray(record["pickled"])
            fill(memoryview(data))
            array = pickle.load(io.BytesIO(data))  # noqa: S301 (from the process that started this one)
        else:
            array = np.empty(shape, np.dtype(record["dtype"]))
            if array.nbytes:
                fill(_bytes_of(array.reshape(-1)))
        found[record["name"]] = array
    return found
