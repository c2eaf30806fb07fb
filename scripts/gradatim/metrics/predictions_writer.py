"""A model's predictions written batch by batch, in memory that does not grow with them."""

from __future__ import annotations

import contextlib
import os
import shutil
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import cannot_write, write_json, writing
from gradatim.metrics.columns import PIECE_BYTES, Array, Column, chunks, encoded, forget, parts_of
from gradatim.metrics.predictions import INDEX, Predictions, lengths_in_words

_HEADER_BYTES = 256


class PredictionsWriter:
    """Streams predictions into a folder that appears, complete, only when the block ends without an error.

    Memory does not grow with the number of rows (ragged outputs and string columns keep 8 bytes an item).

    Args:
        folder: where ``Predictions.load`` will find them; an older one is replaced.

    Raises:
        InvalidInput: no row, rows that differ in number, dtype or shape between outputs or batches.
        EnvironmentLacks: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._part = folder.with_name(f".{folder.name}.part")
        self._columns: dict[tuple[str, str], _Stream] = {}
        self._n = 0

    def __enter__(self) -> PredictionsWriter:
        with writing(self.folder):
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir(parents=True)
        return self

    def append(
        self,
        outputs: Mapping[str, Array | Sequence[Array]],
        labels: Array | Sequence[Any] | None = None,
        slices: Mapping[str, Array] | None = None,
        groups: Array | None = None,
        items: NDArray[np.int64] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            outputs: by name, [b, ...], or a list of b arrays whose first axis varies. Dtypes are kept.
            labels: [b], [b, d] or a list of b arrays; numbers or strings.
            slices: by column, [b]; every value is kept as text.
            groups: [b], the independent unit each item belongs to.
            items: int64 [b], places in the data set; counted on from the last batch when not given.
        """
        if not outputs:
            raise InvalidInput("A batch of predictions has no output.")
        batch: dict[tuple[str, str], Any] = {("outputs", name): values for name, values in outputs.items()}
        batch |= {("slices", name): np.asarray(values).astype(str) for name, values in (slices or {}).items()}
        if labels is not None:
            batch["labels", "labels"] = labels
        if groups is not None:
            batch["groups", "groups"] = groups
        rows = len(next(iter(outputs.values())))
        batch["items", "items"] = (
            np.arange(self._n, self._n + rows) if items is None else np.asarray(items, np.int64)
        )
        lengths = {name: len(values) for (_, name), values in batch.items()}
        if set(lengths.values()) != {rows}:
            raise InvalidInput(
                f"A batch of predictions has columns of different lengths: {lengths_in_words(lengths)}."
            )
        if self._columns and set(batch) != set(self._columns):
            changed = sorted(name for _, name in set(batch) ^ set(self._columns))
            raise InvalidInput(
                f"A batch of predictions lacks or adds {', '.join(changed)}, unlike the batch before."
            )
        with writing(self.folder):
            for place, (key, values) in enumerate(batch.items()):
                if key not in self._columns:
                    self._columns[key] = _Stream(self._part / f"{key[0]}-{place}.npy", key[1])
                self._columns[key].append(values)
        self._n += rows

    def extend(self, predictions: Predictions) -> None:
        """Add what was written before: the folder is as if its batches had been appended here.

        Raises:
            InvalidInput: the columns differ from those of the batches before.
        """
        kept = predictions.outputs
        for rows in chunks(len(predictions), max(1, sum(map(_row_bytes, kept.values()))), PIECE_BYTES):
            self.append(
                {name: column.plain(rows) for name, column in kept.items()},
                None if predictions.labels is None else predictions.labels.plain(rows),
                {name: np.asarray(column.plain(rows)) for name, column in predictions.slices.items()},
                None if predictions.groups is None else np.asarray(predictions.groups.plain(rows)),
                predictions.items[rows],
            )
            for column in kept.values():
                forget(column.values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish()
        except OSError as failure:
            raise cannot_write(self.folder, failure) from failure
        finally:
            for stream in self._columns.values():
                with contextlib.suppress(OSError):  # a full disk refuses what is still buffered, too
                    stream.close()
            shutil.rmtree(self._part, ignore_errors=True)

    def _finish(self) -> None:
        if not self._n:
            raise InvalidInput("There is nothing to evaluate: the data set gave no row.")
        index: dict[str, Any] = {
            "outputs": [],
            "slices": [],
            "labels": None,
            "groups": None,
            "items_n": self._n,
        }
        for (kind, _), stream in self._columns.items():
            entry = stream.finish()
            if kind in ("outputs", "slices"):
                index[kind].append(entry)
            else:
                index[kind] = entry
        write_json(self._part / INDEX, index)
        old = self.folder.with_name(f".{self.folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(old)
        self._part.rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)


class _Stream:
    """One column being written: raw values behind a header that is filled in at the end."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._file: BinaryIO = path.open("wb")
        self._file.write(b"\0" * _HEADER_BYTES)
        self._dtype: np.dtype[Any] | None = None
        self._tail: tuple[int, ...] | None = None
        self._lengths: array[int] | None = None
        self._n = 0
        self._rows = 0
        self._codes: dict[str, int] | None = None

    def append(self, values: Array | Sequence[Any]) -> None:
        parts = parts_of(values)
        if parts is None:
            self._append_even(self._encode(np.asarray(values)))
            return
        self._make_ragged()
        for part in parts:
            self._write_ragged(self._encode(part))

    def _append_even(self, values: Array) -> None:
        if self._lengths is None and self._n and self._tail is not None and values.shape[1:] != self._tail:
            if values.ndim < 2 or values.shape[2:] != self._tail[1:]:
                raise InvalidInput(
                    f"`{self._name}` changed its shape between batches: {list(values.shape[1:])} after {list(self._tail)}."
                )
            self._make_ragged()
        if self._lengths is not None:
            for value in values:
                self._write_ragged(value)
            return
        self._tail = values.shape[1:]
        self._check_dtype(values)
        self._file.write(np.ascontiguousarray(values).data)
        self._n += values.shape[0]
        self._rows = self._n

    def _make_ragged(self) -> None:
        if self._lengths is not None:
            return
        if self._n and not self._tail:
            raise InvalidInput(f"`{self._name}` gave one value an item, then several.")
        length = self._tail[0] if self._tail else 0
        self._lengths = array("q", [length]) * self._n
        self._rows = self._n * length
        self._tail = self._tail[1:] if self._tail else None

    def _write_ragged(self, value: Array) -> None:
        if value.ndim == 0:
            raise InvalidInput(f"`{self._name}` gave several values an item, then one.")
        if self._tail is not None and value.shape[1:] != self._tail:
            raise InvalidInput(
                f"`{self._name}` may vary in its first axis only: {list(value.shape[1:])} after {list(self._tail)}."
            )
        self._tail = value.shape[1:]
        self._check_dtype(value)
        self._file.write(np.ascontiguousarray(value).data)
        assert self._lengths is not None  # noqa: S101 (for the type checker: _make_ragged ran)
        self._lengths.append(value.shape[0])
        self._n += 1
        self._rows += value.shape[0]

    def _check_dtype(self, values: Array) -> None:
        if values.dtype.kind not in "biuf":
            raise InvalidInput(f"`{self._name}` holds {values.dtype}, which is neither numbers nor strings.")
        if self._dtype is None:
            self._dtype = values.dtype
        elif values.dtype != self._dtype:
            raise InvalidInput(
                f"`{self._name}` changed its dtype between batches: {values.dtype} after {self._dtype}."
            )

    def _encode(self, values: Array) -> Array:
        if values.dtype.kind not in "USO":
            if self._codes is not None:
                raise InvalidInput(f"`{self._name}` gave strings, then {values.dtype}.")
            return values
        if self._dtype is not None and self._codes is None:
            raise InvalidInput(f"`{self._name}` gave {self._dtype}, then strings.")
        if self._codes is None:
            self._codes = {}
        return encoded(values, self._codes, self._name)

    def finish(self) -> dict[str, Any]:
        dtype = self._dtype if self._dtype is not None else np.dtype(np.int64)
        shape = (self._rows, *(self._tail or ()))
        header = _header(dtype, shape)
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        entry: dict[str, Any] = {"name": self._name, "file": self._path.name}
        if self._lengths is not None:
            offsets = np.concatenate([[0], np.cumsum(np.frombuffer(self._lengths, np.int64))]).astype(
                np.int64
            )
            ragged = self._path.with_suffix(".offsets.npy")
            np.save(ragged, offsets)
            entry["offsets"] = ragged.name
        if self._codes is not None:
            entry["names"] = list(self._codes)
        return entry

    def close(self) -> None:
        self._file.close()


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A version 1.0 .npy header of a fixed length, so that it can be written after the data."""
    text = (
        f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    )
    body = text.encode("latin1")
    room = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + body + b" " * (room - 1 - len(body)) + b"\n"


def _row_bytes(column: Column) -> int:
    return column.values.nbytes // max(1, len(column))
