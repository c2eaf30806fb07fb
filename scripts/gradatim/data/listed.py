"""A folder of images, arrays or sounds with a table of them, as `datasets` lays out its `AudioFolder` and `ImageFolder`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gradatim.data.columns import object_array
from gradatim.data.folder import decode, kind_of_file
from gradatim.data.source import Block, DataSource, missing_column
from gradatim.errors import InvalidInput

LISTS = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""What the table may be called."""

NAME = "file_name"
"""Its column of files, relative to the folder."""


class ListedSource:
    """The rows of the table, each with what its file holds: ``image``, ``audio`` and ``sampling_rate``, or ``array``, as of ``FolderSource``.

    Args:
        folder: of the files.
        table: the rows, with ``file_name`` and what else is known of a file.

    Raises:
        InvalidInput: the table names no files, or files of several kinds, outside of the folder, or such that cannot be decoded.
    """

    exact = False
    tabular = False

    def __init__(self, folder: Path, table: DataSource) -> None:
        self.place, self.textual = str(folder), table.textual
        self._folder, self._table = folder, table
        if NAME not in table.columns:
            raise missing_column(table.place, NAME, table.columns)
        first = next(table.blocks([NAME], 1), {NAME: object_array([])})[NAME]
        self._kind = kind_of_file(self._file(first[0])) if len(first) else "array"
        self._decoded = (self._kind, "sampling_rate") if self._kind == "audio" else (self._kind,)
        self.inputs: tuple[str, ...] = (self._kind, *(one for one in table.inputs if one != NAME))
        self.columns = (*self._decoded, *(one for one in table.columns if one not in self._decoded))

    def length(self, column: str) -> int:
        return self._table.length(NAME)

    def is_empty(self) -> bool:
        return self._table.is_empty()

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        wanted = set(self._decoded) & set(columns)
        told = [one for one in columns if one not in self._decoded]
        for block in self._table.blocks(list(dict.fromkeys([*told, NAME])), size):
            rows = len(block[NAME])
            for start in range(
                0, rows, size
            ):  # a table gives thousands of rows at once, whose files need not fit
                some = {name: values[start : start + size] for name, values in block.items()}
                if wanted:
                    found = [decode(self._file(name), self._kind) for name in some[NAME]]
                    some[self._kind] = object_array([values for values, _ in found])
                    some["sampling_rate"] = np.array([rate for _, rate in found], np.int64)
                yield {name: some[name] for name in columns}

    def _file(self, name: object) -> Path:
        file = self._folder / str(name)
        if not isinstance(name, str) or not file.resolve().is_relative_to(self._folder.resolve()):
            raise InvalidInput(
                f"{self._table.place} names {name!r}, which is no file below {self.place}. Every `{NAME}` lies in the folder."
            )
        if not file.is_file():
            raise InvalidInput(
                f"{self._table.place} names {name}, and there is no such file in {self.place}."
            )
        return file
