"""Inputs and predictions of a batch of today beside those of the evaluation data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.comparison import named_answers
from gradatim.data import open_data
from gradatim.errors import UsageError
from gradatim.gates.distribution import Drifted
from gradatim.gates.drift import drift
from gradatim.models import encoded

if TYPE_CHECKING:
    from gradatim.checks.replay import Side
    from gradatim.data import Batch
    from gradatim.models import Predictor

_MOST_COLUMNS = 64
"""Up to so many numbers of an input are columns of their own; of more, their mean, spread and ends."""

_MOST_LETTERS = 2_000
"""Of longer texts the beginning tells what they are written in."""


def drift_of(side: Side, batch: Path, *, rows: int = 10_000) -> list[Drifted]:
    """Compare what a model is given and what it says, then and now.

    Args:
        side: the model, and how it is fed.
        batch: rows as in ``data.evaluation``, in any of its formats; labels are not needed.
        rows: at most so many of each.

    Raises:
        UsageError: the contract names no evaluation data.
        InvalidInput: rows that the model cannot take.
    """
    contract = side.rows.contract
    chosen = contract.data_set("evaluation")
    if chosen is None:
        raise UsageError("The contract names no `data.evaluation`: there is nothing to compare with.")
    inputs, preprocess = side.rows.feeding("evaluation")
    with side.model.open(side.path) as predictor:
        then = side.rows.dataset("evaluation", predictor.signature)
        called = {spec.name: then.fed_by(spec.name) for spec in predictor.signature.inputs}
        if not inputs and all(called.values()):
            inputs = called  # a table of today may hold its columns in another order, and more of them
        names = open_data(str(batch.resolve()), root=contract.root, label=None).columns
        today = open_data(
            str(batch.resolve()),
            root=contract.root,
            signature=predictor.signature,
            label=chosen.label if chosen.label in names else None,
            group=chosen.group if chosen.group in names else None,
            slices=[column for column in chosen.slices or () if column in names],
            inputs=inputs,
            preprocess=preprocess,
            weight=weight if (weight := contract.parts.data.weight) in names else None,
        )
        size = contract.parts.data.batch
        reference, now = (_columns(side, predictor, one.batches(size), rows, called) for one in (then, today))
        return drift(reference, now)


def _columns(
    side: Side,
    predictor: Predictor,
    batches: Iterable[Batch],
    rows: int,
    called: Mapping[str, Sequence[str]],
) -> dict[str, NDArray[Any]]:
    given, said = Columns(), Columns()
    seen = 0
    for batch in batches:
        fed = encoded(predictor, batch.inputs)
        outputs = predictor(fed)
        for name, values in batch.inputs.items():
            given.add(name, values, called.get(name, ()))
        names = named_answers(side.task, outputs, fed)
        if names is not None:
            said.parts["answer", True]["answer"].append(
                np.array([" ".join(answer) for answer in names], object)
            )
        for name, values in outputs.items() if names is None else ():
            said.add(f"answer {name}", values)
        seen += len(batch)
        if seen >= rows:
            break
    return {**given.joined(), **said.joined()}


class Columns:
    """Tensors of many batches as columns of numbers, whatever shapes the rows have."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, bool], dict[str, list[NDArray[Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def add(self, name: str, values: NDArray[Any], called: Sequence[str] = ()) -> None:
        """Add a tensor [n, ...] of a batch, whose numbers may be ``called`` something in the data."""
        whole, single = _described(name, values, called)
        for alone, columns in ((False, whole), (True, single)):
            for column, numbers in columns.items():
                self.parts[name, alone][column].append(numbers)

    def joined(self) -> dict[str, NDArray[Any]]:
        """Each number of a tensor where all rows have it; else what is told of the rows as wholes, which all have."""
        found: dict[str, NDArray[Any]] = {}
        for name in dict.fromkeys(name for name, _ in self.parts):
            whole, single = (self.parts.get((name, alone), {}) for alone in (False, True))
            rows = max(sum(map(len, parts)) for parts in (*whole.values(), *single.values()))
            same = single and all(sum(map(len, parts)) == rows for parts in single.values())
            chosen = single if same else whole
            found |= {column: np.concatenate(parts) for column, parts in chosen.items()}
        return found


def _described(
    name: str, values: NDArray[Any], called: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """What is told of each row as a whole: of text its length and letters, of numbers their mean, spread and ends; and, of few
    numbers, each."""
    if values.dtype == object and all(isinstance(value, np.ndarray | list | tuple) for value in values):
        return _of_rows(name, [np.asarray(value).reshape(-1) for value in values]), {}
    if values.dtype.kind not in "biuf":
        texts = [" ".join(map(str, row)) for row in values.reshape(len(values), -1).tolist()]
        return _of_texts(name, texts), {}
    table = values.reshape(len(values), -1)
    width = table.shape[1]
    if width > _MOST_COLUMNS or values.ndim > 2:
        return _of_rows(name, table), {}
    names = called if len(called) == width else [f"{name}[{i}]" for i in range(width)]
    names = [name] if width == 1 and not called else names
    return (_of_rows(name, table) if width > 1 else {}), {each: table[:, i] for i, each in enumerate(names)}


def _of_rows(name: str, rows: NDArray[Any] | list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if isinstance(rows, list):
        each = [_of_rows(name, row[None]) for row in rows]
        return {column: np.concatenate([one[column] for one in each]) for column in each[0]}
    size = np.full(len(rows), rows.shape[1])
    table = rows if rows.size and rows.dtype.kind in "biuf" else np.zeros((len(rows), 1))
    told = {"mean": table.mean(1), "deviation": table.std(1), "lowest": table.min(1), "highest": table.max(1)}
    return {f"{what} of {name}": numbers for what, numbers in {**told, "size": size}.items()}


def _of_texts(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    first = [text[:_MOST_LETTERS] or " " for text in texts]
    letters = [sum(map(str.isalpha, text)) / len(text) for text in first]
    beyond = [sum(letter > "\x7f" for letter in text) / len(text) for text in first]
    return {
        f"length of {name}": np.array([len(text) for text in texts], np.int64),
        f"letters in {name}": np.array(letters),
        f"letters beyond ASCII in {name}": np.array(beyond),
    }
