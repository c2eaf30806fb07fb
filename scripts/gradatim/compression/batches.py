"""The calibration batches on disk, and a model's bytes: what a search's trials are keyed by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.files import digest_of, sha256_file
from gradatim.timing.contestant import save_inputs

Batch = Mapping[str, NDArray[Any]]
"""Named arrays, as the model's file itself takes them."""


def write_batches(batches: Iterator[Batch], folder: Path, name: str = "batch") -> tuple[list[Path], str]:
    """Calibrated batches as .npz files, one in memory at a time, and the digest of their content.

    Raises:
        InvalidInput: there is none.
    """
    paths: list[Path] = []
    digest = hashlib.sha256()
    for batch in batches:
        paths.append(save_inputs(folder / f"{name}-{len(paths):05d}.npz", batch))
        for field in sorted(batch):
            array = np.asarray(batch[field])
            plain = array.astype(np.str_) if array.dtype == object else array
            digest.update(f"{field}:{plain.dtype.str}:{plain.shape};".encode())
            digest.update(np.ascontiguousarray(plain).tobytes())
    if not paths:
        raise InvalidInput(
            "The calibration data is empty: compression needs at least one batch to measure with."
            if name == "batch"
            else "There are fewer than five rows of calibration data, and where a form learns (`pruned`) every fifth is kept to judge "
            "on. Give it more, and let it use them (`compress.rows`): learning wants hundreds."
        )
    return paths, digest.hexdigest()


def first_row(batch: Batch) -> dict[str, NDArray[Any]]:
    """The batch's first row alone, where the model takes a single one.

    The number of rows is the length that most inputs have; one that begins with another, as a state does, is cut where it has it.
    """
    lengths = [len(array) for array in batch.values() if array.ndim]
    rows = max(lengths, key=lambda n: sum(n in array.shape for array in batch.values()), default=0)
    return {
        name: array.swapaxes(0, at)[:1].swapaxes(0, at) if (at := _axis(array, rows)) is not None else array
        for name, array in batch.items()
    }


def _axis(array: NDArray[Any], rows: int) -> int | None:
    return array.shape.index(rows) if rows in array.shape else None


def calls_of(batch: Batch) -> list[Batch]:
    """What is timed where nobody says how many rows a call has: the batch, and its first row alone."""
    single = first_row(batch)
    return [batch, single] if any(len(each) > 1 for each in batch.values() if each.ndim) else [batch]


def size_and_digest(model: Path) -> tuple[int, str]:
    """Bytes of all files of a model, and the digest of the file or of the list of files."""
    from gradatim.models import model_files

    files = model_files(model)  # none for module:function
    size = sum(path.stat().st_size for path in files)
    if files == [model]:
        return size, sha256_file(model)
    folder = model if model.is_dir() else model.parent
    return size, digest_of({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})
