"""Rows from the user's own ``module:function``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.code import closure_digest, explaining
from gradatim.code.apart import Apart
from gradatim.data.columns import object_array
from gradatim.data.source import Block, rows_per_block
from gradatim.errors import InvalidInput
from gradatim.files import digest_of, tree_digest


class FunctionSource:
    """What a function without arguments returns: arrays by name, a sequence of rows, or an iterable of rows.

    A row is a mapping from column to value, or a pair ``(input, label)``. An iterable that is used up by one
    pass (a generator) is asked for anew each time, so it must give the same rows. NumPy arrays and tensors
    are taken as they are; Python numbers and lists are converted to what the model declares.

    The digest covers the function's code and what it imports from the project; name the files that it reads
    in the function's attribute ``paths`` (relative to the project) and they are covered too.

    Raises:
        InvalidInput: the function fails, or returns something else.
    """

    exact = True
    textual = False
    tabular = True

    def __init__(self, reference: str, root: Path, label: str | None) -> None:
        self.place = f"`{reference}`"
        self._reference = reference
        self._root = root
        self._label = label
        self._function = Apart(reference, root)
        with explaining(reference, root):
            made = self._function()
        self._arrays: dict[str, NDArray[Any]] | None = None
        self._made: Any = None
        if isinstance(made, Mapping):
            self._arrays = {str(name): _column(values) for name, values in made.items()}
            self.columns = self.inputs = tuple(name for name, values in self._arrays.items() if values.ndim)
            return
        if not isinstance(made, Iterable) and not hasattr(made, "__getitem__"):
            raise InvalidInput(
                f"{self.place} returned a {type(made).__name__}; a data set is arrays by name, or an iterable of rows."
            )
        self._made = None if isinstance(made, Iterator) else made
        first = next(self._rows(), None)
        self.columns = self.inputs = () if first is None else tuple(first)

    @cached_property
    def _count(self) -> int:
        if hasattr(self._made, "__len__"):
            return len(self._made)
        return sum(1 for _ in self._rows())

    def length(self, column: str) -> int:
        return self._count if self._arrays is None else len(self._arrays[column])

    def is_empty(self) -> bool:
        return (
            not self.columns
            if self._arrays is None
            else not any(len(self._arrays[name]) for name in self.columns)
        )

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        if self._arrays is not None:
            rows = len(self._arrays[columns[0]]) if columns else 0
            step = rows_per_block(size)
            for start in range(0, rows, step):
                yield {name: self._arrays[name][start : start + step] for name in columns}
            return
        rows_left = self._rows()
        start = 0
        while block := list(itertools.islice(rows_left, size)):
            yield {name: self._values(name, block, start) for name in columns}
            start += len(block)

    def _values(self, name: str, block: list[Mapping[str, Any]], start: int) -> NDArray[Any]:
        for number, row in enumerate(block, start + 1):
            if name not in row:
                raise InvalidInput(f"Row {number} of {self.place} has no `{name}`.")
        return object_array([_plain(row[name]) for row in block])

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        with explaining(self._reference, self._root):
            made = self._function() if self._made is None else self._made
            rows = iter(made) if hasattr(made, "__iter__") else (made[i] for i in range(len(made)))
            for number, row in enumerate(rows, 1):
                if isinstance(row, tuple) and len(row) == 2:
                    yield {"input": row[0], **({self._label: row[1]} if self._label else {})}
                elif isinstance(row, Mapping):
                    yield row
                else:
                    raise InvalidInput(
                        f"Row {number} of {self.place} is a {type(row).__name__}; give a mapping from column to value, or a pair (input, label)."
                    )


def digest_function(reference: str, root: Path) -> str:
    """Digest of a function's code, of what it imports from the project, and of its declared ``paths``."""
    paths = [Path(path) for path in Apart(reference, root).paths]
    return digest_of(
        {
            "code": closure_digest(root, reference),
            "paths": {path.as_posix(): tree_digest(root / path) for path in paths},
        }
    )


def _column(values: Any) -> NDArray[Any]:
    if hasattr(values, "__array__"):
        return np.asarray(values)
    return object_array(list(values)) if isinstance(values, Iterable) else np.asarray(values)


def _plain(value: Any) -> Any:
    return np.asarray(value) if hasattr(value, "__array__") else value
