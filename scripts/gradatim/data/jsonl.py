"""One JSON object per line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gradatim.data.columns import object_array
from gradatim.data.source import Block, lines_of, refuse_broken_file, rows_per_block
from gradatim.errors import InvalidInput


class JsonLinesSource:
    """A jsonl file; blank lines are skipped. The columns are the keys of the first object.

    Raises:
        InvalidInput: a line is not strict JSON (NaN is refused) or not an object, or lacks a key.
    """

    exact = False
    textual = False
    tabular = True

    def __init__(self, path: Path) -> None:
        refuse_broken_file(path)
        self.place = str(path)
        self._path = path
        first = next(self._objects(), None)
        self.columns: tuple[str, ...] = () if first is None else tuple(first[1])
        self.inputs = self.columns

    def length(self, column: str) -> int:
        return self._rows

    def is_empty(self) -> bool:
        return not self.columns

    @cached_property
    def _rows(self) -> int:
        with self._path.open("rb") as file:
            return sum(1 for line in lines_of(file, self._path) if line.strip())

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        objects = self._objects()
        while block := list(itertools.islice(objects, rows_per_block(size))):
            yield {
                name: object_array([self._value(line, row, name) for line, row in block]) for name in columns
            }

    def _value(self, line: int, row: dict[str, Any], name: str) -> Any:
        if name not in row:
            raise InvalidInput(f"{self._path}:{line} has no `{name}`. Every line must have the same keys.")
        return row[name]

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
        with self._path.open("rb") as file:
            for line, data in enumerate(lines_of(file, self._path), 1):
                if not data.strip():
                    continue
                try:
                    row = decode(data.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise InvalidInput(
                        f"{self._path}:{line} is not valid JSON: {reason}. The file may be truncated."
                    ) from error
                if not isinstance(row, dict):
                    raise InvalidInput(
                        f"{self._path}:{line} is not a JSON object. Write each row as "
                        f'{{"column": value, ...}}.'
                    )
                yield line, row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
