"""Rows of text: csv and tsv files, read with the standard library."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from gradatim.data.source import Block, lines_of, refuse_broken_file, rows_per_block
from gradatim.errors import InvalidInput

_LONGEST_CELL = 1 << 28


class DelimitedSource:
    """A csv file with a header line: comma, semicolon or tab, UTF-8. Every value is text until it is parsed.

    Raises:
        InvalidInput: not UTF-8 text, no header, a column twice, a row with too few or too many cells, an
            unclosed quote.
    """

    exact = False
    textual = True
    tabular = True

    def __init__(self, path: Path) -> None:
        refuse_broken_file(path)
        self.place = str(path)
        self._path = path
        self._delimiter = ","
        with self._opened() as rows:
            self.columns = tuple(name.strip() for name in next(rows, []))
            self._empty = next(filter(None, rows), None) is None
        if len(self.columns) == 1:
            self._delimiter = next((mark for mark in "\t;" if mark in self.columns[0]), ",")
            self.columns = tuple(name.strip() for name in self.columns[0].split(self._delimiter))
        if not any(self.columns):
            raise InvalidInput(f"{path} has no header line. Its first line must name the columns.")
        self.inputs = self.columns
        twice = sorted(name for name, times in Counter(self.columns).items() if times > 1)
        if twice:
            raise InvalidInput(
                f"{path} names the column `{twice[0]}` twice. Give each column a name of its own."
            )

    def length(self, column: str) -> int:
        return self._rows

    def is_empty(self) -> bool:
        return self._empty

    @cached_property
    def _rows(self) -> int:
        with self._opened() as rows:
            return sum(1 for row in rows if row) - 1

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        places = {name: place for place, name in enumerate(self.columns)}
        positions = [places[name] for name in columns]
        step = rows_per_block(size)
        with self._opened() as rows:
            next(rows, None)
            complete = (self._checked(number, row) for number, row in enumerate(filter(None, rows), 1))
            while block := list(itertools.islice(complete, step)):
                cells = list(zip(*block, strict=True))
                yield {
                    name: np.array(cells[position], dtype=object)
                    for name, position in zip(columns, positions, strict=True)
                }

    def _checked(self, number: int, row: list[str]) -> list[str]:
        if len(row) != len(self.columns):
            raise InvalidInput(
                f"Row {number} of {self._path} has {len(row)} cells, the header has {len(self.columns)}. "
                "The file may be truncated, or a text with a comma stands without quotes."
            )
        return row

    def _opened(self) -> _Rows:
        return _Rows(self._path, self._delimiter)


class _Rows:
    """The csv reader of an open file, whose complaints are told in our words."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter

    def __enter__(self) -> Iterator[list[str]]:
        csv.field_size_limit(_LONGEST_CELL)
        self._file = self._path.open(encoding="utf-8-sig", newline="")
        return self._rows()

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _rows(self) -> Iterator[list[str]]:
        reader = csv.reader(lines_of(self._file, self._path), delimiter=self._delimiter, strict=True)
        try:
            yield from reader
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{self._path} is not UTF-8 text near line {reader.line_num + 1}. Save it as UTF-8."
            ) from error
        except csv.Error as error:
            raise InvalidInput(f"{self._path}:{reader.line_num} cannot be read as csv: {error}.") from error
