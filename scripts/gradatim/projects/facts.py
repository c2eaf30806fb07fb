"""What a data set holds, as far as a first contract must know: labels, what feeds the model, what to slice by."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import GradatimError, InvalidInput
from gradatim.signature import Signature, TensorSpec

LABELS = (
    "label", "labels", "target", "targets", "y", "class", "category", "y_test", "y_true", "species", "sentiment", "intent",
    "answer", "truth", "ground_truth", "gold", "tags", "ner_tags", "mask", "masks", "segmentation", "segmentation_mask", "seg",
    "future", "horizon", "boxes", "bboxes", "objects",
)  # fmt: skip
"""Names that a label column goes by, the surest first."""

_PAIRS = {
    ("premise", "hypothesis"), ("question", "context"), ("question", "sentence"), ("question", "answer"),
    ("question", "passage"), ("query", "passage"), ("query", "document"), ("query", "text"), ("claim", "evidence"),
    ("source", "target"), ("anchor", "positive"), ("left", "right"),
}  # fmt: skip
"""Names of two columns that are read together; those that end in 1 and 2, or a and b, are as well."""

QUERIES = ("query", "qid")
"""Words in the name of a column whose rows of one value are a list to be ranked."""

_GROUPS = (
    *QUERIES, "user", "patient", "subject", "speaker", "document", "session", "customer", "person", "group", "series",
)  # fmt: skip
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson")
_HEAD = 256
_MOST_VALUES = 20
_LEAST_ROWS = 5
"""A slice worth looking at holds about so many rows or more."""


@dataclass(frozen=True)
class DataFacts:
    """What a look into a data set shows.

    Attributes:
        columns: every column, in file order.
        rows: how many rows it has.
        label: the label column, None when none is recognised.
        labels: that column's values, None likewise.
        inputs: columns by input of the model, where the names do not already say it.
        unfed: inputs of the model that no column feeds.
        slices: text columns of few values, to report by.
        group: the column that says which rows belong together, by its name.
        units: how many values it has; 0 without one.
        example: a few rows of the first input as the model gets it, of the first column where it does not say what it
            takes; None when it cannot be fed.
    """

    columns: tuple[str, ...]
    rows: int
    label: str | None
    labels: NDArray[Any] | None
    inputs: dict[str, str | list[str]]
    unfed: tuple[str, ...]
    slices: tuple[str, ...] = ()
    group: str | None = None
    units: int = 0
    example: NDArray[Any] | None = None

    @property
    def fewest(self) -> int:
        """Samples of the rarest class; 0 without labels."""
        if self.labels is None or self.labels.ndim != 1:
            return 0
        return int(np.unique(self.labels, return_counts=True)[1].min())

    @property
    def classes(self) -> int:
        """How many labels differ; 0 without labels."""
        return 0 if self.labels is None or self.labels.ndim != 1 else len(np.unique(self.labels))


def look_into(path: str, root: Path, signature: Signature | None, label: str | None = None) -> DataFacts:
    """Read a data set's columns, its labels, and a few rows as the model would get them.

    Args:
        signature: what the model takes; None, or without inputs, when that is not known.
        label: the label column, where it is to be tried; else it is recognised.

    Raises:
        InvalidInput: it is broken or empty.
        EnvironmentLacks: a package for its format is missing.
    """
    from gradatim.data import open_data

    is_folder = (root / path).is_dir()
    plain = open_data(path, root=root, label=_label_of_folder(path, root) if is_folder else None)
    specs = () if signature is None else signature.inputs
    text = None if signature is None else signature.text
    label = label or plain.label or _named_label(plain.columns, specs)
    heads = _heads(path, root, plain.lengths, label)
    free = [name for name in heads if name != label]
    slices, group = _roles(path, root, free, specs, heads)
    if text is not None and slices and not [n for n in free if _is_text(heads[n]) and n not in slices]:
        slices = slices[:-1]  # something must be left to read
    if label is None and (last := _last_number(specs, [n for n in free if n not in (*slices, group)], heads)):
        label = last
    if label is None and slices and (told := _label_among(path, root, slices, signature)):
        label, slices = told, tuple(name for name in slices if name != told)
    free = [name for name in free if name not in (*slices, group, label, "path", "sampling_rate")]
    inputs, unfed, left = _feeding(specs, free, heads, is_table=_is_table(path))
    if text is not None and unfed and (read := _texts(text, free, heads)) is not None:
        inputs, unfed, left = read, (), []
    if len(specs) > 1:  # of a table: what feeds the model may tell its rows apart, too
        words = [spec.name for spec in specs if spec.dtype == "str" and spec.name in free]
        slices += tuple(_of_few_values(path, root, [name for name in words if heads[name].ndim == 1]))
    fed = [spec for spec in specs if spec.name not in unfed]
    if label is None and len(left) == 1 and fed and not is_folder:
        label = left[0]  # nothing else is left to be right
    labels = open_data(path, root=root, label=label).labels() if label else None
    example = heads[free[0]] if not specs and free else None
    if specs and not unfed:
        try:
            opened = open_data(
                path,
                root=root,
                label=label,
                signature=signature,
                inputs=inputs or None,
                slices=slices,
                group=group,
            )
            example = next(iter(opened.head(_HEAD).inputs.values()))
        except GradatimError:
            unfed = tuple(spec.name for spec in specs)
    rows = plain.lengths[label] if label else max(plain.lengths.values(), default=0)
    among = open_data(path, root=root, label=None, group=group).group_values() if group else None
    units = 0 if among is None else len(np.unique(among))
    return DataFacts(plain.columns, rows, label, labels, inputs, unfed, slices, group, units, example)


def _label_of_folder(path: str, root: Path) -> str | None:
    """``label`` for a folder of class folders, None for a folder of files."""
    from gradatim.data import open_data

    try:
        open_data(path, root=root, label="label")
    except InvalidInput:
        return None
    return "label"


def _heads(path: str, root: Path, lengths: Mapping[str, int], label: str | None) -> dict[str, NDArray[Any]]:
    """The first rows of every column that has a value for each row; columns of other lengths ride along in an npz."""
    from gradatim.data import open_data

    counts = list(lengths.values())
    usual = max(set(counts), key=lambda rows: (counts.count(rows), rows), default=0)
    usual = lengths.get(label or "", usual)  # one file may hold the data of training and of testing
    is_table = _is_table(path)
    if is_table:
        with contextlib.suppress(GradatimError):  # a value is missing somewhere
            return dict(open_data(path, root=root, label=None).head(_HEAD).inputs)
    found = {}
    for column, rows in lengths.items():
        if rows != usual:
            continue
        with contextlib.suppress(
            GradatimError
        ):  # a value is missing in it: nothing that a model could be fed
            found[column] = _head(path, root, column, is_table=is_table)
    return found


def _head(path: str, root: Path, column: str, *, is_table: bool) -> NDArray[Any]:
    """The first rows of one column, read without the others."""
    from gradatim.data import open_data

    if is_table:
        values = open_data(path, root=root, label=column).labels()
        return np.zeros(0) if values is None else values[:_HEAD]
    for dtype in ("unknown", "str"):
        alone = Signature((TensorSpec(column, dtype, None),), ())
        with contextlib.suppress(InvalidInput):
            return open_data(path, root=root, label=None, signature=alone).head(_HEAD).inputs[column]
    raise InvalidInput(f"`{column}` of {path} holds neither numbers nor text.")


def _is_table(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _TABLES


def _named_label(columns: Sequence[str], specs: Sequence[TensorSpec]) -> str | None:
    lower = {name.lower(): name for name in reversed(columns)}
    inputs = {spec.name for spec in specs}
    return next((lower[name] for name in LABELS if name in lower and lower[name] not in inputs), None)


def _last_number(
    specs: Sequence[TensorSpec], free: Sequence[str], heads: Mapping[str, NDArray[Any]]
) -> str | None:
    """The last number of a table that has one more than the model takes, a key or number of the row aside."""
    shape = specs[0].shape if len(specs) == 1 else None
    wanted = shape[1] if shape is not None and len(shape) == 2 else None
    numbers = [name for name in free if heads[name].ndim == 1 and heads[name].dtype.kind in "iufb"]
    table = all(heads[name].ndim == 1 for name in free)
    for found in (numbers, [name for name in numbers if not _is_key(name)]):
        if table and isinstance(wanted, int) and len(found) == wanted + 1 > 2:
            return found[-1]
    return None


def _is_key(name: str) -> bool:
    """Whether a column is called as what only tells a row from others is."""
    return re.fullmatch(r"(.*_)?(id|index|row|unnamed.*)", name.lower()) is not None


def _roles(
    path: str,
    root: Path,
    free: Sequence[str],
    specs: Sequence[TensorSpec],
    heads: Mapping[str, NDArray[Any]],
) -> tuple[tuple[str, ...], str | None]:
    """Columns to slice by, and the one that says what belongs together."""
    named = {spec.name.lower() for spec in specs}
    idle = [name for name in free if name.lower() not in named and heads[name].ndim == 1]
    groups = [name for name in idle if names_one(name, _GROUPS) and _repeats(heads[name])]
    group = next((name for name in groups if names_one(name, QUERIES)), next(iter(groups), None))
    if group is not None and len(idle) == 1 and len(free) == 1:
        group = None  # the only column feeds the model, whatever its name
    texts = [name for name in idle if _is_text(heads[name]) and name not in (group, "path")]
    if specs and all(spec.dtype == "str" for spec in specs if spec.name not in free):
        keep = 1 if any(spec.name not in free for spec in specs) else 0
        texts = texts if len(texts) > keep else []
    slices = _of_few_values(path, root, texts)
    if len(slices) == len(free):
        slices = slices[1:]  # something must be left to feed the model with
    return tuple(slices), group


def _of_few_values(path: str, root: Path, names: Sequence[str]) -> list[str]:
    """Those of the columns that have few values, each in rows enough to say something of it."""
    from gradatim.data import open_data

    found = []
    for name in names:
        values = open_data(path, root=root, label=None, slices=[name]).slice_values(name)
        if 2 <= (distinct := len(np.unique(values))) <= _MOST_VALUES and distinct * _LEAST_ROWS <= len(
            values
        ):
            found.append(name)
    return found


def _label_among(path: str, root: Path, slices: Sequence[str], signature: Signature | None) -> str | None:
    """The text column that has as many values as an output has scores; of several the last one of the file."""
    from gradatim.data import open_data

    outputs = () if signature is None else signature.outputs
    widths = {
        spec.shape[1] if len(spec.shape) == 2 else 1 for spec in outputs if spec.shape and len(spec.shape) < 3
    }
    widths = {2 if width == 1 else width for width in widths}
    fitting = [
        name
        for name in slices
        if len(np.unique(open_data(path, root=root, label=None, slices=[name]).slice_values(name))) in widths
    ]
    return fitting[-1] if fitting else None


def names_one(name: str, words: Sequence[str]) -> bool:
    """Whether one of these words is a part of a column's name."""
    return any(word in words for word in re.split(r"[^a-z]+", name.lower()))


def _repeats(values: NDArray[Any]) -> bool:
    texts = values.astype(np.str_)
    return 1 < len(np.unique(texts)) < len(texts)


def _is_text(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "U" or (values.dtype == object and all(isinstance(v, str) for v in values))


def _feeding(
    specs: Sequence[TensorSpec], free: Sequence[str], heads: Mapping[str, NDArray[Any]], *, is_table: bool
) -> tuple[dict[str, str | list[str]], tuple[str, ...], list[str]]:
    """Columns for inputs of another name, the inputs that are left without one, and the columns that feed nothing."""
    if not specs:
        return {}, (), []  # a function that does not say what it takes is given every column
    unnamed = [spec for spec in specs if spec.name not in free]
    left = [name for name in free if name not in {spec.name for spec in specs}]
    if not unnamed:
        return {}, (), left
    if len(specs) == 1 and is_table and _side_by_side(specs[0], heads, left):
        return _features(specs[0], left, heads)
    if len(specs) == 1 and len(free) == 1:
        return {}, (), []  # one input takes the only column
    inputs: dict[str, str | list[str]] = {}
    lower = {name.lower(): name for name in left}
    for spec in unnamed:
        fitting = [name for name in left if _fits(spec, heads[name])]
        chosen = lower.get(spec.name.lower()) or _richest(fitting, heads, alone=len(specs) == 1)
        if chosen is not None and chosen in left:
            inputs[spec.name] = chosen
            left.remove(chosen)
    unfed = tuple(spec.name for spec in unnamed if spec.name not in inputs)
    return inputs, unfed, left


def _texts(
    text: TensorSpec, free: Sequence[str], heads: Mapping[str, NDArray[Any]]
) -> dict[str, str | list[str]] | None:
    """The column that a model with a tokenizer reads, or the pair of columns; None where there is no text."""
    if text.name in free:
        return {}
    words = [name for name in free if heads[name].ndim == 1 and _is_text(heads[name])]
    words = [name for name in words if not re.search(r"(id|index|key)$", name.lower())] or words
    if len(words) == len(free) == 1:
        return {}
    if tuple(name.lower() for name in words) in _PAIRS or (
        len(words) == 2 and re.sub(r"[\W_]*[12ab]$", "", words[0]) == re.sub(r"[\W_]*[12ab]$", "", words[1])
    ):
        return {text.name: words}
    sizes = {name: sum(len(value) for value in heads[name].tolist()) for name in words}
    return {text.name: max(words, key=lambda name: sizes[name])} if words else None


def _richest(names: Sequence[str], heads: Mapping[str, NDArray[Any]], *, alone: bool) -> str | None:
    """The only column that fits; for a model's only input, of several the one with the most numbers a row."""
    if len(names) < 2 or not alone:
        return names[0] if len(names) == 1 else None
    sizes = {name: heads[name][0].size if heads[name].ndim > 1 else 1 for name in names}
    first, second = sorted(names, key=lambda name: -sizes[name])[:2]
    return first if sizes[first] > sizes[second] else None


def _side_by_side(spec: TensorSpec, heads: Mapping[str, NDArray[Any]], left: Sequence[str]) -> bool:
    """Whether an input takes a table's numbers side by side."""
    numbers = [name for name in left if heads[name].ndim == 1 and heads[name].dtype.kind in "iufb"]
    return len(numbers) > 1 and (spec.shape is None or len(spec.shape) == 2) and spec.dtype != "str"


def _features(
    spec: TensorSpec, left: Sequence[str], heads: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, str | list[str]], tuple[str, ...], list[str]]:
    numbers = [name for name in left if heads[name].ndim == 1 and heads[name].dtype.kind in "iufb"]
    others = [name for name in left if name not in numbers]
    width = spec.shape[1] if spec.shape is not None else None
    if isinstance(width, int) and len(numbers) > width:
        counted = [name for name in numbers if not _is_key(name)]
        others, numbers = [n for n in left if n not in counted], counted
    if isinstance(width, int) and len(numbers) != width:
        return {}, (spec.name,), []
    # left out, they are those that are neither label nor slice nor group, in the order of the file
    return ({spec.name: numbers} if others else {}), (), []


def _fits(spec: TensorSpec, values: NDArray[Any]) -> bool:
    """Whether a column may feed an input, as far as dtype and sizes tell."""
    text = _is_text(values)
    if (spec.dtype == "str") != text and spec.dtype != "unknown":
        return False
    kinds = {"float": "f", "int": "iu", "uint": "iu", "bool": "b"}
    wanted = next((kind for name, kind in kinds.items() if spec.dtype.startswith(name)), None)
    if wanted is not None and values.dtype.kind not in wanted:
        return False
    if spec.shape is None or values.dtype == object:
        return True
    if len(spec.shape) not in (values.ndim, values.ndim - 1):  # without a batch axis, or with time behind it
        return False
    pairs: Iterable[tuple[Any, int]] = zip(reversed(spec.shape[1:]), reversed(values.shape[1:]), strict=False)
    return all(not isinstance(size, int) or size == seen for size, seen in pairs)
