"""A model's predictions on disk: one .npy file an output, read as memory maps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import read_json
from gradatim.metrics.columns import Array, Column, in_memory, pieces

INDEX = "predictions.json"
_MOST_SLICE_VALUES = 10_000


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

    def with_output(self, name: str, column: Column) -> Predictions:
        """The same with one output more."""
        return replace(self, outputs={**self.outputs, name: column})

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
        index = read_json(folder / INDEX)
        try:
            outputs = {entry["name"]: _load(folder, entry) for entry in index["outputs"]}
            slices = {entry["name"]: _load(folder, entry) for entry in index["slices"]}
            labels, groups = (
                _load(folder, index[key]) if index[key] else None for key in ("labels", "groups")
            )
            items = _load(folder, index["items"]).values
        except (KeyError, TypeError) as error:
            raise InvalidInput(
                f"{folder / INDEX} is not an index of predictions. Run `gradatim evaluate` again."
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
        columns = {name: in_memory(values) for name, values in outputs.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        marks = {name: in_memory(values, as_names=True) for name, values in (slices or {}).items()}
        truth = None if labels is None else in_memory(labels)
        units = None if groups is None else in_memory(groups)
        lengths |= {name: len(column) for name, column in marks.items()}
        lengths |= {
            name: len(column) for name, column in (("labels", truth), ("groups", units)) if column is not None
        }
        lengths |= {} if items is None else {"items": len(items)}
        if len(set(lengths.values())) != 1:
            raise InvalidInput(f"Predictions differ in length: {lengths_in_words(lengths)}.")
        n = next(iter(lengths.values()))
        return cls(
            columns, truth, marks, units, np.arange(n) if items is None else np.asarray(items, np.int64)
        )


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


def lengths_in_words(lengths: Mapping[str, int]) -> str:
    """Each length, and what an output must be, where one has another length than the items."""
    named = ", ".join(f"{name} {length}" for name, length in lengths.items())
    known = {lengths[name] for name in ("items", "labels", "groups") if name in lengths}
    if len(known) != 1:
        return named
    return f"{named}. The first axis of an output must count the items: name another one under `task: output:`, or export the model so"


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
