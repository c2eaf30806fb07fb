"""A model's predictions on disk: one .npy file an output, written batch by batch, read as memory maps."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import shutil
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import cannot_write, read_json, write_json

Array = NDArray[Any]

_INDEX = "predictions.json"
_HEADER_BYTES = 256
_MOST_SLICE_VALUES = 10_000

PIECE_BYTES = 1 << 18
"""What is worked on at once where memory must stay flat; intermediate results take a few times as much."""


@dataclass(frozen=True)
class Column:
    """One array over the items: an output, the labels, a slice column or the groups.

    Attributes:
        values: [n, ...]; for a ragged column [sum of lengths, ...], item i being
            ``values[offsets[i]:offsets[i+1]]``.
        offsets: int64 [n + 1] for a ragged column, else None.
        names: for a column of strings, the string of each code; ``values`` are then int64 codes.
    """

    values: Array
    offsets: NDArray[np.int64] | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return int(self.values.shape[0] if self.offsets is None else self.offsets.shape[0] - 1)

    def item(self, index: int) -> Array:
        """The value of one item."""
        if self.offsets is None:
            return np.asarray(self.values[index])
        return np.asarray(self.values[int(self.offsets[index]) : int(self.offsets[index + 1])])

    def take(self, rows: NDArray[np.int64]) -> Column:
        """The column of some items, in memory."""
        if self.offsets is None:
            return Column(np.asarray(self.values[rows]), None, self.names)
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        parts = [self.item(int(row)) for row in rows]
        return Column(np.concatenate(parts) if parts else self.values[:0], offsets, self.names)

    def plain(self, rows: slice) -> Array | list[Array]:
        """Some rows as they came: [b, ...], for a ragged column a list of b arrays; strings where there are codes."""
        if self.offsets is not None:
            return [self._spelled(self.item(index)) for index in range(*rows.indices(len(self)))]
        return self._spelled(np.asarray(self.values[rows]))

    def _spelled(self, values: Array) -> Array:
        return values if self.names is None else np.array(self.names, dtype=np.str_)[values]


@dataclass(frozen=True)
class Predictions:
    """What a model said about a data set, with the labels and slices of the items.

    Attributes:
        outputs: by name, in the order the model gave them.
        labels: the truth, None where the data has none.
        slices: by column; values are codes into ``names``.
        groups: which independent unit (user, document) an item belongs to; None when every item is one.
        items: int64 [n], the items' places in the data set.
    """

    outputs: Mapping[str, Column]
    labels: Column | None = None
    slices: Mapping[str, Column] = field(default_factory=dict)
    groups: Column | None = None
    items: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return int(self.items.shape[0])

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """Some of the items, in memory; ``rows`` are places among these, int64 [k]."""
        return Predictions(
            {name: column.take(rows) for name, column in self.outputs.items()},
            self.labels and self.labels.take(rows),
            {name: column.take(rows) for name, column in self.slices.items()},
            self.groups and self.groups.take(rows),
            self.items[rows],
        )

    def digest_of_items(self) -> str:
        """Digest of the items and their labels: predictions with equal digests can be paired."""
        digest = hashlib.sha256()
        columns = [Column(self.items), self.labels, self.groups]
        for column in columns:
            if column is None:
                digest.update(b"none;")
                continue
            digest.update(f"{len(column)};{column.values.shape[1:]};{column.names};".encode())
            kind = np.float64 if column.values.dtype.kind == "f" else np.int64
            for _, part in pieces(column.values):
                digest.update(np.ascontiguousarray(part, kind).tobytes())
            if column.offsets is not None:
                digest.update(np.ascontiguousarray(column.offsets).tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: Path) -> Predictions:
        """Open what ``PredictionsWriter`` wrote, as memory maps.

        Raises:
            InvalidInput: a file is missing, truncated or not what the index says.
        """
        index = read_json(folder / _INDEX)
        try:
            outputs = {entry["name"]: _load(folder, entry) for entry in index["outputs"]}
            slices = {entry["name"]: _load(folder, entry) for entry in index["slices"]}
            labels, groups = (
                _load(folder, index[key]) if index[key] else None for key in ("labels", "groups")
            )
            items = _load(folder, index["items"]).values
        except (KeyError, TypeError) as error:
            raise InvalidInput(
                f"{folder / _INDEX} is not an index of predictions. Run `gradatim evaluate` again."
            ) from error
        n = index.get("items_n")
        columns = {**outputs, **slices, "labels": labels, "groups": groups, "items": Column(items)}
        for name, column in columns.items():
            if column is not None and len(column) != n:
                raise InvalidInput(f"{folder} holds {len(column)} rows of {name} where {n} were written.")
        return cls(outputs, labels, slices, groups, np.asarray(items))

    @classmethod
    def of(
        cls,
        outputs: Mapping[str, Any],
        labels: Any = None,
        slices: Mapping[str, Any] | None = None,
        groups: Any = None,
        items: NDArray[np.int64] | None = None,
    ) -> Predictions:
        """Predictions that are in memory already; strings become codes.

        Raises:
            InvalidInput: columns of different lengths.
        """
        columns = {name: _in_memory(values) for name, values in outputs.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        marks = {name: _in_memory(values, as_names=True) for name, values in (slices or {}).items()}
        truth = None if labels is None else _in_memory(labels)
        units = None if groups is None else _in_memory(groups)
        lengths |= {name: len(column) for name, column in marks.items()}
        lengths |= {
            name: len(column) for name, column in (("labels", truth), ("groups", units)) if column is not None
        }
        if len(set(lengths.values())) != 1:
            raise InvalidInput(f"Predictions differ in length: {_spell(lengths)}.")
        n = next(iter(lengths.values()))
        return cls(
            columns, truth, marks, units, np.arange(n) if items is None else np.asarray(items, np.int64)
        )


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
        try:
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
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
            raise InvalidInput(f"A batch of predictions has columns of different lengths: {_spell(lengths)}.")
        if self._columns and set(batch) != set(self._columns):
            changed = sorted(name for _, name in set(batch) ^ set(self._columns))
            raise InvalidInput(
                f"A batch of predictions lacks or adds {', '.join(changed)}, unlike the batch before."
            )
        try:
            for place, (key, values) in enumerate(batch.items()):
                if key not in self._columns:
                    self._columns[key] = _Stream(self._part / f"{key[0]}-{place}.npy", key[1])
                self._columns[key].append(values)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
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
        write_json(self._part / _INDEX, index)
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
        parts = _parts(values)
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
                    f"`{self._name}` changed its shape between batches: {list(values.shape[1:])} after "
                    f"{list(self._tail)}."
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
                f"`{self._name}` may vary in its first axis only: {list(value.shape[1:])} after "
                f"{list(self._tail)}."
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
        return _encode(values, self._codes, self._name)

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


def _parts(values: Array | Sequence[Any]) -> list[Array] | None:
    """The items of a ragged column, None when the column is even."""
    if isinstance(values, np.ndarray) and (values.dtype != object or values.ndim != 1):
        return None
    if all(isinstance(value, (str, bytes, int, float, bool, np.generic)) for value in values):
        return None
    return [np.asarray(value) for value in values]


def _encode(values: Array, codes: dict[str, int], name: str) -> NDArray[np.int64]:
    flat = values.reshape(-1)
    if values.dtype.kind == "O" and not all(isinstance(value, str) for value in flat):
        raise InvalidInput(f"`{name}` mixes strings with other things. Make them all strings or all numbers.")
    distinct, first, inverse = np.unique(flat.astype(str), return_index=True, return_inverse=True)
    for text in distinct[
        np.argsort(first)
    ]:  # by first appearance: the codes do not depend on how rows are batched
        codes.setdefault(str(text), len(codes))
    mapped = np.array([codes[str(text)] for text in distinct], np.int64)
    return mapped[inverse].reshape(values.shape) if distinct.size else np.zeros(values.shape, np.int64)


def _in_memory(values: Any, *, as_names: bool = False) -> Column:
    codes: dict[str, int] = {}
    parts = _parts(values)
    if parts is not None:
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        if joined.dtype.kind in "USO":
            return Column(_encode(joined, codes, "a column"), offsets, tuple(codes))
        return Column(joined, offsets)
    plain = np.asarray(values)
    if as_names or plain.dtype.kind in "USO":
        encoded = _encode(plain.astype(str) if as_names else plain, codes, "a column")
        return Column(encoded, None, tuple(codes))
    return Column(plain)


def _load(folder: Path, entry: Mapping[str, Any]) -> Column:
    names = entry.get("names")
    values = _open(folder / entry["file"])
    offsets = _open(folder / entry["offsets"]) if "offsets" in entry else None
    return Column(values, offsets, None if names is None else tuple(names))


def _open(path: Path) -> Array:
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, _ = np.lib.format.read_array_header_1_0(file)
        return np.asanyarray(np.load(path, mmap_mode="r" if all(shape) else None, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(
            f"{path} cannot be read as predictions: {error}. Run `gradatim evaluate` again."
        ) from error


def _spell(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())


def check_slices(predictions: Predictions) -> None:
    """Refuse a slice column that names nearly every item: such slices hold nothing to measure.

    Raises:
        InvalidInput: a column with more than 10 000 different values.
    """
    for name, column in predictions.slices.items():
        if column.names is not None and len(column.names) > _MOST_SLICE_VALUES:
            raise InvalidInput(
                f"The slice column `{name}` has {len(column.names)} different values. "
                "Slice by a column with few values, for example by binning it."
            )


def chunks(n: int, row_bytes: int, most: int = 4 << 20) -> Iterator[slice]:
    """Slices of rows that hold about ``most`` bytes each."""
    step = max(1, most // max(1, row_bytes))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def pieces(values: Array) -> Iterator[tuple[slice, Array]]:
    """Consecutive rows of about ``PIECE_BYTES``; of a memory map no more than that stays in memory."""
    for rows in chunks(values.shape[0], values.nbytes // max(1, values.shape[0]), PIECE_BYTES):
        yield rows, values[rows]
        forget(values)


def forget(values: Array) -> None:
    """Give the pages of a memory map back to the system, which reads them again when they are asked for."""
    owner: Any = values
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
