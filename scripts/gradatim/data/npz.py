"""Arrays by name in an ``.npz``, streamed row by row out of the zip; pickles are refused, never read."""

from __future__ import annotations

import contextlib
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.data.source import Block, refuse_broken_file, rows_per_block
from gradatim.errors import InvalidInput

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)

_READ_BYTES = 1 << 18
"""Bytes asked of the zip at once: it makes an object of them before they reach their array."""


@dataclass(frozen=True)
class _Member:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    header_bytes: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def data_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class NpzSource:
    """The arrays of an ``.npz`` file, compressed or not. Arrays without a row axis (scalars) are left out.

    Raises:
        InvalidInput: the file is no zip, is truncated, holds something else than arrays, or an array of
            Python objects.
    """

    exact = True
    textual = False
    tabular = False

    def __init__(self, path: Path) -> None:
        refuse_broken_file(path)
        self.place = str(path)
        self._path = path
        self._members: dict[str, _Member] = {}
        with self._opened() as archive:
            for info in archive.infolist():
                self._members[info.filename.removesuffix(".npy")] = self._header(archive, info)
        self.columns = self.inputs = tuple(name for name, member in self._members.items() if member.shape)

    def length(self, column: str) -> int:
        return self._members[column].shape[0]

    def is_empty(self) -> bool:
        return not any(self.length(name) for name in self.columns)

    def blocks(self, columns: Sequence[str], size: int) -> Iterator[Block]:
        if not columns:
            return
        members = [self._members[name] for name in columns]
        rows = members[0].shape[0]
        step = rows_per_block(size, sum(member.row_bytes for member in members))
        with self._opened() as archive, contextlib.ExitStack() as stack:
            readers = {
                name: stack.enter_context(_RowReader(archive, f"{name}.npy", member))
                for name, member in zip(columns, members, strict=True)
            }
            for start in range(0, rows, step):
                count = min(step, rows - start)
                yield {name: reader.read(count) for name, reader in readers.items()}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                yield archive
        except _DAMAGED as error:
            raise InvalidInput(
                f"The data set {self._path} is truncated or not an npz file ({error}). Write it again with numpy.savez_compressed, or restore it from git."
            ) from error

    def _header(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
        name = info.filename
        with archive.open(info) as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version, np.lib.format.read_array_header_2_0)
                shape, fortran, dtype = read(file)
            except ValueError as error:
                raise InvalidInput(
                    f"{self._path} holds `{name}`, which is not an array. Keep only arrays in a data set."
                ) from error
            header_bytes = file.tell()
        if dtype.hasobject:
            raise InvalidInput(
                f"`{name.removesuffix('.npy')}` in {self._path} is an array of Python objects, which only a "
                "pickle can hold, and pickles are not opened. Save numbers or strings, with a dtype of their own."
            )
        member = _Member(shape, fortran and len(shape) > 1, dtype, header_bytes)
        if info.file_size != header_bytes + member.data_bytes:
            raise InvalidInput(
                f"`{name.removesuffix('.npy')}` in {self._path} is truncated: {member.data_bytes} bytes are announced, {info.file_size - header_bytes} are there."
            )
        return member


class _RowReader:
    """Consecutive rows of one array of the zip."""

    def __init__(self, archive: zipfile.ZipFile, name: str, member: _Member) -> None:
        self._archive = archive
        self._name = name
        self._member = member
        self._row = 0

    def __enter__(self) -> _RowReader:
        self._file: IO[bytes] = self._archive.open(self._name)
        self._file.read(self._member.header_bytes)
        self._columnwise = self._spool() if self._member.fortran else None
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._columnwise = None

    def read(self, rows: int) -> NDArray[Any]:
        member = self._member
        if self._columnwise is not None:
            block = np.ascontiguousarray(self._columnwise[self._row : self._row + rows])
        else:
            block = np.empty((rows, *member.shape[1:]), member.dtype)
            if block.nbytes:
                self._fill(memoryview(block.reshape(-1).view(np.uint8).data))
        self._row += rows
        if not block.dtype.isnative:
            return block.astype(block.dtype.newbyteorder("="))
        return block

    def _fill(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            data = self._file.read(min(len(buffer) - filled, _READ_BYTES))
            if not data:
                raise EOFError(f"`{self._name}` ends too early")
            buffer[filled : filled + len(data)] = data
            filled += len(data)

    def _spool(self) -> NDArray[Any]:
        """A column-major array has no rows to stream: lay it out in a temporary file to read them from."""
        with tempfile.TemporaryFile() as spool:
            while data := self._file.read(1 << 20):
                spool.write(data)
            spool.flush()
            return np.memmap(spool, self._member.dtype, "r", shape=self._member.shape, order="F")
