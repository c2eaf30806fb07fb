"""Inputs and predictions of a batch of today beside those of the evaluation data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.checks.comparison import named_answers
from gradatim.data import open_data
from gradatim.errors import UsageError
from gradatim.gates.drift import Drifted, drift
from gradatim.models import encoded

if TYPE_CHECKING:
    from gradatim.checks.replay import Side
    from gradatim.data import Batch
    from gradatim.models import Predictor

_MOST_COLUMNS = 64
"""Up to so many numbers of an input are columns of their own; of more, their mean, spread and ends."""


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
        )
        size = contract.parts.data.batch
        then = side.rows.dataset("evaluation", predictor.signature)
        reference = _columns(side, predictor, then.batches(size), rows)
        return drift(reference, _columns(side, predictor, today.batches(size), rows))


def _columns(
    side: Side, predictor: Predictor, batches: Iterable[Batch], rows: int
) -> dict[str, NDArray[Any]]:
    found: dict[str, list[NDArray[Any]]] = defaultdict(list)
    seen = 0
    for batch in batches:
        fed = encoded(predictor, batch.inputs)
        outputs = predictor(fed)
        for name, values in batch.inputs.items():
            for column, numbers in _described(name, values).items():
                found[column].append(numbers)
        names = named_answers(side.task, outputs, fed)
        if names is not None:
            found["answer"].append(np.array([" ".join(answer) for answer in names], object))
        for name, values in outputs.items() if names is None else ():
            for column, numbers in _described(f"answer {name}", values).items():
                found[column].append(numbers)
        seen += len(batch)
        if seen >= rows:
            break
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _described(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A tensor as columns of numbers; of text, its length."""
    if values.dtype.kind not in "biuf":
        return {f"length of {name}": np.array([len(str(value)) for value in values], np.int64)}
    table = values.reshape(len(values), -1) if values.ndim > 1 else values[:, None]
    if table.shape[1] <= _MOST_COLUMNS and values.ndim <= 2:
        return {name if table.shape[1] == 1 else f"{name}[{i}]": table[:, i] for i in range(table.shape[1])}
    told = {"mean": table.mean(1), "deviation": table.std(1), "lowest": table.min(1), "highest": table.max(1)}
    return {f"{what} of {name}": numbers for what, numbers in told.items()}
