"""Columns of a parquet file, streamed with pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.columns import object_array
from gradatim.data.source import BLOCK_BYTES, Block, refuse_broken_file, rows_per_block
from gradatim.errors import InvalidInput, needs

_PAGE_ROWS = 1024
"""Rows that pyarrow and others write before they begin another page."""
_MOST_AT_ONCE = 256 << 20


class ParquetSource:
    """A parquet file: numbers, text, booleans and (nested) lists of them.

    Raises:
        InvalidInput: not a parquet file, or truncated.
        EnvironmentLacks: pyarrow is not installed.
    """

    exact = False
    textual = False
    tabular = True

    def __init__(self, path: Path) -> None:
        refuse_broken_file(path)
        with needs("pyarrow", "parquet", f"Reading {path}"):
            import pyarrow.parquet  # noqa: F401
        self.place = str(path)
        self._path = path
        with self._opened() as file:
            self.columns: tuple[str, ...] = tuple(file.schema_arrow.names)
            self.inputs = self.columns
            self._rows: int = file.metadata.num_rows

    def length(self, column: str) -> int:
        return self._rows

    def is_empty(self) -> bool:
        return self._rows == 0

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        if not columns:
            return
        with self._opened() as file:
            self._refuse_bombs(file.metadata, columns)
            step = rows_per_block(size)
            for group in file.iter_batches(step, columns=list(columns), use_threads=False):
                yield {name: _to_numpy(group.column(name)) for name in columns}

    def _refuse_bombs(self, metadata: Any, columns: Sequence[str]) -> None:
        """A page is unpacked as a whole, and holds a thousand rows or all of a row group."""
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            pages = min(1, _PAGE_ROWS / max(group.num_rows, 1))
            for chunk in map(group.column, range(group.num_columns)):
                named = chunk.path_in_schema
                at_once = int(chunk.total_uncompressed_size * pages)
                if at_once > _MOST_AT_ONCE and any(
                    named == name or named.startswith(f"{name}.") for name in columns
                ):
                    raise InvalidInput(
                        f"The column `{named}` of {self._path} unpacks to {at_once >> 20} MB at once. If it is no mistake, write the "
                        "file with fewer rows in a row group (`row_group_size`), or keep what is so large in an npz file."
                    )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        import pyarrow
        import pyarrow.parquet

        try:
            # A buffer and no prefetch: otherwise a whole row group, often a million rows, is read at once.
            with pyarrow.parquet.ParquetFile(
                self._path, buffer_size=BLOCK_BYTES // 4, pre_buffer=False
            ) as file:
                yield file
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise InvalidInput(
                f"The data set {self._path} is truncated or not a parquet file ({reason}). Write it again, "
                "or restore it from git."
            ) from error


def _to_numpy(column: Any) -> NDArray[Any]:
    """[b] numbers, [b, ...] for lists of equal length, else an object array [b] of Python values."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        return _to_numpy(column.dictionary_decode())
    if column.null_count or not (_is_list(kind) or _is_number(kind)):
        return object_array(column.to_pylist())
    if _is_number(kind):
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values
    inner = column.flatten()
    if inner.null_count or not (_is_number(inner.type) or _is_list(inner.type)):
        return object_array(column.to_pylist())
    lengths = np.asarray(column.value_lengths()) if not pyarrow.types.is_fixed_size_list(kind) else None
    if lengths is not None and len(lengths) and (lengths != lengths[0]).any():
        flat = _to_numpy(inner)
        return (
            object_array(np.split(flat, np.cumsum(lengths)[:-1]))
            if flat.dtype != object
            else object_array(column.to_pylist())
        )
    flat = _to_numpy(inner)
    if flat.dtype == object:
        return object_array(column.to_pylist())
    return flat.reshape(len(column), -1, *flat.shape[1:]) if flat.size else flat.reshape(len(column), 0)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))
