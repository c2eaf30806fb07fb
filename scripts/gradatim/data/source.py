"""Where rows come from: one small interface in front of every format, and the refusals they share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr, Protocol

from numpy.typing import NDArray

from gradatim.errors import InvalidInput, MissingColumn, did_you_mean
from gradatim.files import refuse_pipe

Block = dict[str, NDArray[Any]]
"""Some consecutive rows by column. Text, Python values and rows of unequal shape are object arrays [b]."""

BLOCK_BYTES = 1 << 20
"""Bytes read at once: large enough to be near the speed of a plain copy, small enough to keep memory flat."""

BLOCK_ROWS = 4096
"""Rows parsed at once where the size of a row is not known beforehand."""

LONGEST_LINE = 64 << 20
"""Bytes or characters of one line of text; read as JSON it takes some eight times as much."""

_POINTER = b"version https://git-lfs.github.com/spec/"


class DataSource(Protocol):
    """Rows of named columns, read in order, as often as wanted, with bounded memory."""

    place: str
    """What the source is called in messages."""
    columns: tuple[str, ...]
    inputs: tuple[str, ...]
    """The columns that may feed a model as they are."""
    exact: bool
    """Arrays carry their own dtype, which is never converted."""
    textual: bool
    """Every value is text, numbers too, as in a csv file."""
    tabular: bool
    """Several columns may make up one input, side by side."""

    def length(self, column: str) -> int:
        """The number of rows of a column; where columns cannot differ, of the data set."""
        ...

    def is_empty(self) -> bool:
        """Whether there is no row, without counting them all."""
        ...

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        """Blocks of a multiple of ``size`` rows; only the last may hold another number."""
        ...


def rows_per_block(size: int, row_bytes: int | None = None) -> int:
    """How many rows to read at once: a multiple of the batch size, and at least one batch."""
    wanted = BLOCK_ROWS if row_bytes is None else BLOCK_BYTES // max(row_bytes, 1)
    return max(wanted // size, 1) * size


def refuse_broken_file(path: Path) -> None:
    """Refuse what is not data at all.

    Raises:
        InvalidInput: the file is missing, cannot be read, is empty, or is a Git LFS pointer.
    """
    refuse_pipe(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
    except OSError as error:
        raise InvalidInput(f"The data set {path} cannot be read: {error.strerror}.") from error
    if not head:
        raise InvalidInput(f"The data set {path} is an empty file. Write it again, or restore it from git.")
    if head == _POINTER:
        raise InvalidInput(
            f"The data set {path} is a Git LFS pointer, not the data. Fetch it with: git lfs pull (in GitHub Actions: `lfs: true` at actions/checkout)."
        )


def lines_of(file: IO[AnyStr], path: Path) -> Iterator[AnyStr]:
    """The lines of an open file, in bounded memory.

    Raises:
        InvalidInput: a line is longer than a row may be.
    """
    for number in itertools.count(1):
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise InvalidInput(
                f"{path}:{number} is longer than {LONGEST_LINE >> 20} MB. If it is no mistake, keep what is so large in an npz file."
            )
        if not line:
            return
        yield line


def missing_column(place: str, wanted: str, columns: Iterable[str]) -> MissingColumn:
    """The error for a column that is not there: names what there is, and the nearest."""
    names = list(columns)
    shown = ", ".join(f"`{name}`" for name in names[:12]) + (", ..." if len(names) > 12 else "")
    told = f"{place} has no column `{wanted}`; it has {shown or 'none'}.{did_you_mean(wanted, names)}"
    return MissingColumn(told, wanted)
