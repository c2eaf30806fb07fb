"""A data set: rows with inputs, labels, slices and groups, handed out in batches with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.code import explaining
from gradatim.code.apart import Apart
from gradatim.data.batch import Batch
from gradatim.data.columns import (
    Array,
    Kind,
    Where,
    converted,
    is_ragged,
    kind_of,
    object_array,
    refuse_nonfinite,
    typed,
    wider,
)
from gradatim.data.feeds import Feed, plan_feeds
from gradatim.data.labels import classes_of, read_labels, read_weights
from gradatim.data.source import Block, DataSource, missing_column
from gradatim.errors import InvalidInput
from gradatim.signature import Signature


class Dataset:
    """Rows in their order in the file; every pass reads them anew. Made by ``opening.open_data``.

    Rows are the independent unit unless there are groups. Rows of unequal shape (images of different sizes,
    ragged sequences) are batched as long as consecutive rows agree, so batches may be shorter than asked for.
    Rows are counted from 1 in messages, a csv file's header not included.
    """

    def __init__(
        self,
        source: DataSource,
        name: str,
        root: Path,
        signature: Signature | None,
        label: str | None,
        inputs: Mapping[str, Sequence[str] | str] | None,
        slices: tuple[str, ...],
        group: str | None,
        labels: Sequence[str | int] | None,
        preprocess: str | None,
        weight: str | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self.slices = slices
        self.group = group
        self.weight = weight
        self.label_list = None if labels is None else tuple(labels)
        self.preprocess = preprocess
        self._source = source
        self._root = root
        self._signature = signature if signature is not None and signature.inputs else None
        self._function = Apart(preprocess, root) if preprocess else None
        self._evens_out: bool | None = None
        if source.is_empty():
            raise InvalidInput(
                f"The data set {source.place} is empty: it has no rows. Nothing can be measured on it."
            )
        for column in (label, *slices, group, weight):
            if column is not None and column not in source.columns:
                error = missing_column(source.place, column, source.columns)
                if column == label:
                    error.args = (f"{error} Say `label: null` if there are no labels.",)
                raise error
        self._feeds: tuple[Feed, ...] = ()
        self._raw = self._raw_columns(inputs)
        if self._function is None and self._signature is not None:
            self._feeds = plan_feeds(self._signature, self._raw, inputs, source.tabular, source.place)
            self._raw = tuple(dict.fromkeys(name for feed in self._feeds for name in feed.columns))
        if signature is not None or label is not None:
            self._check_lengths()

    def __len__(self) -> int:
        return self._source.length(self.label or self._raw[0])

    @property
    def left_out(self) -> tuple[str, ...]:
        """Optional inputs of the model that these rows do not have, in its own order; none where text feeds it."""
        if self._function is not None or self._signature is None:
            return ()
        fed = {feed.spec.name for feed in self._feeds}
        without = (s.name for s in self._signature.inputs if s.optional and s.name not in fed)
        return () if self.reads_text else tuple(without)

    @property
    def reads_text(self) -> bool:
        """Whether a column of text feeds the model, which brings its tokenizer."""
        text = self._signature.text if self._signature else None
        return text is not None and any(feed.spec == text for feed in self._feeds)

    def fed_by(self, name: str) -> tuple[str, ...]:
        """The columns that stand side by side in an input of the model; none where an array feeds it whole."""
        return next((feed.columns for feed in self._feeds if feed.spec.name == name and feed.together), ())

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {', '.join(self.columns)}>"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the source, in file order."""
        return self._source.columns

    @property
    def lengths(self) -> dict[str, int]:
        """Rows by column; in a file of arrays they may differ."""
        return {name: self._source.length(name) for name in self._source.columns}

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of at most ``size`` rows with the model's inputs, ready for it.

        Raises:
            InvalidInput: a broken row (missing or unknown label, NaN or infinity, a value that the model's
                dtype cannot hold, length zero), a truncated file, a preprocessing that fails; names the row.
        """
        return (self.prepare(batch) for batch in self.raw_batches(size))

    def blocks(self, size: int, only: range | None = None) -> Iterator[Batch]:
        """The same rows, as many at once as were read: cut into ``size`` rows from its start, each gives ``batches``.

        For a caller that cuts only what it needs, since a ``Batch`` for every few rows has its cost. Where rows
        are preprocessed or differ in shape, these are the batches themselves.

        Args:
            size: rows of a batch.
            only: just the batches of these rows, which start and end where batches do; nothing after them is read.

        Raises:
            InvalidInput: as ``batches``.
        """
        for block in self._read(size):
            if self._function is None and not block.ragged():
                yield from (block,) if only is None else block.within(only)
            else:
                batches = self._cut(block, size)
                yield from map(self.prepare, (b for b in batches if only is None or b.start in only))
            if only is not None and block.start + len(block) >= only.stop < len(self):
                return

    def picked(self, items: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Batches of at most ``size`` of the rows at some places, int64 [k], rising.

        Raises:
            InvalidInput: as ``batches``.
        """
        for block in self._read(size):
            here = np.flatnonzero(np.isin(block.items, items, assume_unique=True))
            if here.shape[0]:
                yield from map(self.prepare, self._cut(block.rows(here), size))
            if block.items[-1] >= items.max(initial=0) and block.start + len(block) < len(self):
                return

    def raw_batches(self, size: int) -> Iterator[Batch]:
        """Batches before preprocessing: raw columns by name; ``batches`` where there is none."""
        for block in self._read(size):
            yield from self._cut(block, size)

    def _cut(self, block: Batch, size: int) -> Iterator[Batch]:
        for start in range(0, len(block), size):
            batch = block if len(block) <= size else block.rows(slice(start, start + size))
            if self._function is None or not self._takes_together(batch):
                yield from batch.runs_of_equal_shape()
            else:
                yield batch

    def _takes_together(self, batch: Batch) -> bool:
        """Whether the preprocessing makes rows of unequal shape alike (pads, resizes); tried once, on the first.

        One that does not (``np.stack``, dynamic sizes) is given rows of one shape at a time.
        """
        if not any(is_ragged(values) for values in batch.inputs.values()):
            return True
        if self._evens_out is None:
            try:
                self.prepare(batch)
                self._evens_out = True
            except InvalidInput:
                self._evens_out = False
        return self._evens_out

    def prepare(self, batch: Batch) -> Batch:
        """A raw batch, perhaps corrupted, with the model's inputs; itself where there is no preprocessing.

        Raises:
            InvalidInput: the preprocessing fails, or returns something else than the model's inputs.
        """
        if self._function is None or self.preprocess is None:
            return batch
        columns = {
            name: values.tolist() if values.dtype == object else values
            for name, values in batch.inputs.items()
        }
        with explaining(self.preprocess, self._root):
            made = self._function(columns)
        if not isinstance(made, Mapping):
            raise InvalidInput(
                f"`{self.preprocess}` returned a {type(made).__name__}; it must return the model's inputs by name."
            )
        arrays = {str(name): self._array(str(name), values) for name, values in made.items()}
        labels = batch.labels
        if self.label in arrays and (self._signature is None or self._signature.input(self.label) is None):
            labels = arrays.pop(self.label)
        inputs = self._declared(arrays)
        for name, values in inputs.items():
            self._check_rows(name, values, batch)
            if values.dtype.kind != "O":
                refuse_nonfinite(
                    values, Where(f"{self._source.place} after `{self.preprocess}`", name, batch.start)
                )
        return Batch(batch.items, inputs, labels, batch.slices, batch.groups, batch.weights)

    def head(self, rows: int) -> Batch:
        """The first rows, fewer where the next differs in shape."""
        return next(self.batches(rows))

    def labels(self) -> Array | None:
        """The labels of all rows, read without the inputs: [n] or [n, ...]; None when there are none."""
        parts = [block.labels for block in self._read(1, with_inputs=False) if block.labels is not None]
        return _concatenated(parts) if parts else None

    def classes(self) -> list[Any]:
        """The distinct labels in the data, sorted. One alone is a fact to report: nothing can be told apart.

        Raises:
            InvalidInput: the data set has no labels.
        """
        blocks = (block.labels for block in self._read(1, with_inputs=False))
        flat = [row for part in blocks if part is not None for row in (part if is_ragged(part) else [part])]
        return classes_of(flat)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column with one number a row, of all rows, float64 [n].

        Raises:
            InvalidInput: there is no such column, or a row has no finite number there; names the row.
        """
        if column not in self.columns:
            raise missing_column(self._source.place, column, self.columns)
        found: list[NDArray[np.float64]] = []
        start = 0
        for block in self._source.blocks([column], 1):
            where = Where(self._source.place, column, start)
            values = converted(block[column], "float64", where)
            if values.dtype == object or values.reshape(len(values), -1).shape[1:] != (1,):
                where.refuse(0, "holds no single number. A column with one number a row is wanted.")
            refuse_nonfinite(values, where)
            found.append(values.reshape(-1).astype(np.float64))
            start += len(values)
        return np.concatenate(found)

    def slice_values(self, column: str) -> Array:
        """A slice column of all rows, as str [n]."""
        return np.concatenate([block.slices[column] for block in self._read(1, with_inputs=False)])

    def group_values(self) -> Array | None:
        """The group of all rows, as str [n]; None when rows are independent."""
        parts = [block.groups for block in self._read(1, with_inputs=False) if block.groups is not None]
        return np.concatenate(parts) if parts else None

    def weights(self) -> Array | None:
        """The weight of all rows, float64 [n]; None when they count alike. Raises InvalidInput where they are none."""
        parts = [block.weights for block in self._read(1, with_inputs=False) if block.weights is not None]
        return np.concatenate(parts) if parts else None

    def _raw_columns(self, inputs: Mapping[str, Sequence[str] | str] | None) -> tuple[str, ...]:
        source = self._source
        roles = {self.label, self.group, self.weight, *self.slices}
        specs = self._signature.inputs if self._signature and self._function is None else ()
        feeding = {spec.name for spec in specs} - {self.label}  # a slice or group may feed the model, too
        free = [name for name in source.columns if name not in roles or name in feeding]
        if self._function is not None and inputs:
            named = [
                name for value in inputs.values() for name in ([value] if isinstance(value, str) else value)
            ]
            for name in named:
                if name not in source.columns:
                    raise missing_column(source.place, name, source.columns)
            free = list(dict.fromkeys(named))
        elif inputs:
            free = list(source.columns)
        else:
            allowed = set(source.inputs if self._function is None else source.columns)
            free = [name for name in free if name in allowed]
            if self.label is not None and not source.tabular:
                # Arrays of another length (class names, a mean image) ride along in an npz: they are no rows.
                rows = source.length(self.label)
                wanted = {spec.name for spec in self._signature.inputs} if self._signature else set()
                alike = [name for name in free if source.length(name) == rows or name in wanted]
                free = alike or free  # none is: then the lengths are what is wrong
        if not free:
            raise InvalidInput(
                f"{source.place} has no column beside label, slices and group: there is no input."
            )
        return tuple(free)

    def _check_lengths(self) -> None:
        if not self._source.exact:
            return
        used = [
            name
            for name in (self.label, *self.slices, self.group, self.weight, *self._raw)
            if name is not None
        ]
        lengths = {name: self._source.length(name) for name in used}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"`{name}` {rows}" for name, rows in lengths.items())
            raise InvalidInput(
                f"The columns of {self._source.place} differ in length: {listed}. Every row needs a value in each."
            )
        if not next(iter(lengths.values())):
            raise InvalidInput(f"The data set {self._source.place} is empty: `{used[0]}` has no rows.")

    @cached_property
    def _kinds(self) -> dict[str, Kind | None]:
        """What the columns hold whose type no declaration fixes; reads on only as long as it is in doubt."""
        undeclared = [] if self._feeds else list(self._raw)
        if self.label is not None:
            undeclared.append(self.label)
        kinds: dict[str, Kind | None] = dict.fromkeys(undeclared)
        if self.label is not None and self.label_list is not None and self._source.textual:
            strings = any(isinstance(label, str) for label in self.label_list)
            kinds[self.label] = "text" if strings else "int"
            undeclared = [name for name in undeclared if name != self.label]
        waiting = set(undeclared)
        for block in self._source.blocks(sorted(waiting), 1) if waiting else ():
            for name in sorted(waiting):
                kinds[name] = wider(kinds[name], kind_of(block[name], self._source.textual))
            waiting = {name for name in waiting if kinds[name] in (None, "int", "float")}
            if not waiting:
                break
        return kinds

    def _read(self, size: int, with_inputs: bool = True) -> Iterator[Batch]:
        """Checked blocks of a multiple of ``size`` rows; raw columns where there is preprocessing."""
        if size < 1:
            raise ValueError(f"a batch holds at least one row, not {size}")
        self._check_lengths()
        kinds = self._kinds
        inputs = self._raw if with_inputs else ()
        roles = [name for name in (self.label, *self.slices, self.group, self.weight) if name is not None]
        columns = list(dict.fromkeys([*inputs, *roles]))
        start, weight = 0, 0.0
        for block in self._source.blocks(columns, size) if columns else ():
            rows = len(block[columns[0]])
            yield Batch(
                np.arange(start, start + rows, dtype=np.int64),
                self._inputs(block, start, kinds) if with_inputs else {},
                self._labels(block, start, kinds),
                {name: _names(block[name]) for name in self.slices},
                None if self.group is None else _names(block[self.group]),
                weights := None
                if self.weight is None
                else read_weights(block[self.weight], Where(self._source.place, self.weight, start)),
            )
            start, weight = start + rows, weight + (1.0 if weights is None else float(weights.sum()))
        if not weight > 0 and start:
            raise InvalidInput(
                f"{self._source.place}: `{self.weight}` is zero in every row, so that none counts."
            )
        if with_inputs and start != len(self):
            raise InvalidInput(
                f"{self._source.place} gave {start} rows in this pass and {len(self)} in another. Data must not change while it is read."
            )

    def _inputs(self, block: Block, start: int, kinds: Mapping[str, Kind | None]) -> dict[str, Array]:
        place, exact = self._source.place, self._source.exact
        if self._feeds:
            inputs = {feed.spec.name: feed.array(block, place, start, exact) for feed in self._feeds}
        else:
            inputs = {name: typed(block[name], kinds[name], Where(place, name, start)) for name in self._raw}
        if self._function is None:
            for name, values in inputs.items():
                where = Where(place, name, start)
                refuse_nonfinite(values, where)
                if values.dtype == object and not is_ragged(values):
                    _refuse_empty_text(values, where)
        return inputs

    def _labels(self, block: Block, start: int, kinds: Mapping[str, Kind | None]) -> Array | None:
        if self.label is None:
            return None
        return read_labels(
            block[self.label],
            kinds[self.label],
            self.label_list,
            Where(self._source.place, self.label, start),
        )

    def _declared(self, arrays: dict[str, Array]) -> dict[str, Array]:
        if self._signature is None:
            return arrays
        text = self._signature.text
        if text is not None and text.name in arrays:
            return {text.name: arrays[text.name]}
        for spec in self._signature.inputs:
            if spec.name not in arrays and not spec.optional:
                raise InvalidInput(
                    f"`{self.preprocess}` returned {', '.join(arrays) or 'nothing'}, but the model also takes `{spec.name}`."
                )
        return {spec.name: arrays[spec.name] for spec in self._signature.inputs if spec.name in arrays}

    def _array(self, name: str, values: Any) -> Array:
        try:
            return np.asarray(values)
        except ValueError as error:
            raise InvalidInput(
                f"`{self.preprocess}` returned rows of unequal shape for `{name}`. Let it pad or resize them, or return one array."
            ) from error

    def _check_rows(self, name: str, values: Array, batch: Batch) -> None:
        spec = None if self._signature is None else self._signature.input(name)
        fixed = spec.shape[0] if spec is not None and spec.shape else None
        if values.ndim and values.shape[0] not in (len(batch), fixed):
            raise InvalidInput(
                f"`{self.preprocess}` was given {len(batch)} rows and returned {values.shape[0]} for `{name}`. It must return one row for each."
            )


def _names(values: Array) -> Array:
    """A slice or group column as str [b]; a missing value is the empty name."""
    if values.dtype == object:
        return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)
    return values.astype(np.str_)


def _refuse_empty_text(values: Array, where: Where) -> None:
    empty = (values == "").reshape(len(values), -1).any(axis=1)
    if empty.any():
        where.refuse(int(empty.argmax()), "is empty. Remove the row, or give it content.")


def _concatenated(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Parts of one column; rows of unequal shape make an object array."""
    if len({part.shape[1:] for part in parts}) == 1 and not any(is_ragged(part) for part in parts):
        return np.concatenate(parts)
    return object_array(row for part in parts for row in part)
