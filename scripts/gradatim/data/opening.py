"""Open a data set of any format, or take its digest."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from gradatim.code import is_reference
from gradatim.data.dataset import Dataset
from gradatim.data.listed import LISTS, ListedSource
from gradatim.data.overlap import OVERLAP, OverlapSource
from gradatim.data.prompts import Asking, PromptSource
from gradatim.data.source import DataSource, refuse_broken_file
from gradatim.errors import InvalidInput, did_you_mean
from gradatim.files import nearest_file, tree_digest
from gradatim.signature import Signature

_SOURCES = {
    "npz": "npz:NpzSource",
    "parquet": "parquet:ParquetSource",
    "csv": "delimited:DelimitedSource",
    "jsonl": "jsonl:JsonLinesSource",
    "folder": "folder:FolderSource",
    "function": "function:FunctionSource",
}
"""Format -> the module beside this one, and the source in it."""

FORMATS = tuple(_SOURCES)

_SUFFIXES = {
    ".npz": "npz", ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip


def open_data(
    source: str,
    *,
    root: Path,
    signature: Signature | None = None,
    label: str | None = "label",
    inputs: Mapping[str, Sequence[str] | str] | None = None,
    slices: Sequence[str] = (),
    group: str | None = None,
    labels: Sequence[str | int] | None = None,
    preprocess: str | None = None,
    format: str | None = None,  # noqa: A002 - the contract's own word
    asked: Asking | None = None,
    training: Sequence[Path] = (),
    weight: str | None = None,
) -> Dataset:
    """Open a data set; nothing but its head is read yet.

    Args:
        source: a file or folder, relative to ``root``, or ``module:function``.
        root: the project's folder.
        signature: what the model takes; without it, or where it names no input, every column is an input under its
            own name.
        label: the label column; None when there is none.
        inputs: column, or columns to stand side by side, by input of the model. With ``preprocess``, the
            columns that it is given (default: all but label, slices and group; name those to pass them too).
        slices: columns to slice by.
        group: the column with the independent unit of a row (user, document).
        labels: the label list; a label outside it is refused.
        preprocess: ``module:function``, from a dict of raw columns of one batch (arrays; text, and rows of
            unequal shape, as lists; where it cannot make those alike, it is given rows of one shape) to a dict
            of the model's inputs (arrays). Further keys are left out, except the label column's, which replaces
            the labels (aligned with tokens, for example).
        format: one of :data:`FORMATS`, where the name does not tell.
        training: text that the model was trained on; rows get a slice by how much of them stands in it (``overlap.OVERLAP``).
        weight: the column with the weight of a row.
        asked: how rows become requests, where a language model is asked; ``inputs`` says what their columns are called.

    Raises:
        UsageError: a malformed ``module:function``.
        InvalidInput: the data set is missing, empty, truncated or a Git LFS pointer, lacks a column, or its
            columns cannot feed the model's inputs.
        EnvironmentLacks: a package for the format is not installed.
    """
    opened = _open(source, root, label, format)
    if training:
        opened, slices = OverlapSource(opened, training), (*slices, OVERLAP)
    if asked is not None and preprocess is None:
        opened, inputs = PromptSource(opened, label, _single(inputs), asked), None
    return Dataset(
        opened, source, root, signature, label, inputs, tuple(slices), group, labels, preprocess, weight
    )


def _single(inputs: Mapping[str, Sequence[str] | str] | None) -> dict[str, str]:
    named = ((key, (one,) if isinstance(one, str) else tuple(one)) for key, one in (inputs or {}).items())
    return {key: columns[0] for key, columns in named if len(columns) == 1}


def data_digest(source: str, *, root: Path, format: str | None = None) -> str:  # noqa: A002 - as open_data
    """Hex SHA-256 of a data set's file, of its folder's tree, or of its function's code and ``paths``.

    No row is read and no function of the user's is called.

    Raises:
        UsageError: a malformed ``module:function``.
        InvalidInput: the data set is missing, empty or a Git LFS pointer.
    """
    path = root / source
    _refuse_what_is_not_there(source, root, format)
    kind = format or _format_of(source, path)
    if kind == "function":
        from gradatim.data.function import digest_function

        return digest_function(source, root)
    if not path.is_dir():
        refuse_broken_file(path)
    return tree_digest(path)


def _open(source: str, root: Path, label: str | None, declared: str | None) -> DataSource:
    path = root / source
    _refuse_what_is_not_there(source, root, declared)
    kind = declared or _format_of(source, path)
    if kind not in _SOURCES:
        raise InvalidInput(f"Unknown data format `{kind}`. Known: {', '.join(FORMATS)}.")
    if kind == "folder" and not path.is_dir():
        raise InvalidInput(f"The data set {path} is not a folder.")
    module, _, name = _SOURCES[kind].partition(":")
    made = getattr(importlib.import_module(f"gradatim.data.{module}"), name)
    listed = (
        next((path / name for name in LISTS if (path / name).is_file()), None) if kind == "folder" else None
    )
    if listed is not None:
        return ListedSource(path, _open(listed.name, path, label, None))
    given = {"function": (source, root, label), "folder": (path, label)}.get(kind, (path,))
    found: DataSource = made(*given)
    return found


def _refuse_what_is_not_there(source: str, root: Path, declared: str | None) -> None:
    if not (root / source).exists() and declared != "function" and not is_reference(source):
        raise InvalidInput(f"The data set {source} does not exist.{nearest_file(root, source)}")


def _format_of(source: str, path: Path) -> str:
    if path.is_dir():
        return "folder"
    if not path.exists() and is_reference(source):
        return "function"
    if kind := _SUFFIXES.get(path.suffix.lower()):
        return kind
    refuse_broken_file(path)
    hint = did_you_mean(path.suffix.lower(), _SUFFIXES)
    raise InvalidInput(
        f"The format of {path} cannot be told from its name; known are {', '.join(_SUFFIXES)}, a folder and `module:function`.{hint} Rename it, or say `format:` ({', '.join(FORMATS)})."
    )
