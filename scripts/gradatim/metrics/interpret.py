"""What a model's outputs mean, task by task: the one place where arrays become answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.columns import Array, Column, forget, pieces
from gradatim.metrics.outputs import IGNORED, SEEN, choose_output, finite, first_row
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Label, Task


def answer(task: Task, predictions: Predictions) -> tuple[str, Column]:
    """The output that holds the answer, by the rule of ``choose_output``."""
    outputs = {name: column for name, column in predictions.outputs.items() if not name.startswith(SEEN)}
    shapes = {name: tuple(column.values.shape) for name, column in outputs.items()}
    floating = {name: column.values.dtype.kind == "f" for name, column in outputs.items()}
    name = choose_output(task, shapes, floating)
    return name, predictions.outputs[name]


@dataclass(frozen=True)
class Classified:
    """Class predictions, read once in chunks.

    Attributes:
        labels: every label, in the order of the scores.
        predicted: [n], places in ``labels``, in the narrowest signed integers that hold them all.
        scores: the model's scores [n, C] or [n] as stored, None when it only names a class.
        meaning: how to turn scores into probabilities.
    """

    labels: tuple[Label, ...]
    predicted: NDArray[np.signedinteger[Any]]
    scores: Array | None
    meaning: str

    def probabilities(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """Probabilities float64 [rows, C] of some rows.

        Raises:
            ValueError: the model gives no scores.
        """
        if self.scores is None:
            raise ValueError("the model names classes and gives no scores")
        values = np.array(self.scores[rows], np.float64)
        forget(self.scores)
        if values.ndim == 1:
            positive = values if self.meaning == "probabilities" else _sigmoid(values)
            return np.stack([1 - positive, positive], axis=1)
        if self.meaning == "probabilities":
            return np.asarray(values / values.sum(axis=1, keepdims=True), np.float64)
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)

    def column(self, place: int) -> Array:
        """A score that ranks samples by how much they look like one label, [n], in the stored dtype.

        Probabilities and binary scores rank as they are; rows of logits are made probabilities first.
        """
        if self.scores is None:
            raise ValueError("the model names classes and gives no scores")
        if self.scores.ndim == 1:
            return np.asarray(self.scores if place == 1 else -np.asarray(self.scores))
        if self.meaning == "probabilities" or self.scores.shape[1] < 2:
            column = np.empty(self.scores.shape[0], self.scores.dtype)
            for rows, part in pieces(self.scores):
                column[rows] = part[:, place]
            return column
        ranks = np.empty(self.scores.shape[0], np.float64 if self.scores.dtype == np.float64 else np.float32)
        many = self.scores.shape[1] > _FEW_LABELS
        for rows, part in pieces(self.scores):
            if many:
                ranks[rows] = self._against_rivals(part[:, place], rows, place)
            else:
                ranks[rows] = _log_odds(np.asarray(part, np.float64), np.full(part.shape[0], place))
        return ranks

    def _against_rivals(self, column: Array, rows: slice, place: int) -> NDArray[np.float64]:
        """``_log_odds`` of one label, out of what was found once for each row."""
        peak, log_odds = (values[rows] for values in self._winners)
        below = column - peak
        # the winner alone adds 1 to the others' sum, so that nothing is lost in the difference
        others = 1 + np.exp(-log_odds) - np.exp(below)
        return np.where(
            self.predicted[rows] == place, log_odds, below - np.log(np.maximum(others, np.finfo(float).tiny))
        )

    @cached_property
    def _winners(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The highest score of each row, and its log-odds against the rest, [n] each."""
        assert self.scores is not None  # noqa: S101 (column() looked)
        peak, log_odds = np.empty(self.scores.shape[0]), np.empty(self.scores.shape[0])
        for rows, part in pieces(self.scores):
            peak[rows] = part.max(axis=1)
            log_odds[rows] = _log_odds(np.asarray(part, np.float64), self.predicted[rows])
        return peak, log_odds


_FEW_LABELS = 32
"""Up to so many labels each is weighed against the rest anew, which keeps nothing; beyond, 16 bytes a row."""


def _log_odds(values: NDArray[np.float64], places: NDArray[Any]) -> NDArray[np.float64]:
    """Log-odds [b] of one place a row against the rest: the order of its probability, without rounding to 1."""
    others = values.copy()
    every = np.arange(values.shape[0])
    others[every, places] = -np.inf
    peak = others.max(axis=1)
    return np.asarray(values[every, places] - peak - np.log(np.exp(others - peak[:, None]).sum(axis=1)))


def classify(task: Task, predictions: Predictions) -> Classified:
    """Read class predictions.

    [n, C] scores (logits, or probabilities when every row lies in [0, 1] and sums to 1); [n] or [n, 1] of
    floats is one score for the second of two labels (probabilities split at 0.5, logits at 0); [n] or [n, 1]
    of integers or strings names the labels themselves.

    Raises:
        InvalidInput: NaN or infinite scores (naming the row), more or fewer scores than labels, an unknown
        label.
    """
    name, column = answer(task, predictions)
    values = column.values
    if column.offsets is not None or values.ndim > 2:
        raise InvalidInput(
            f"Classification needs one row of scores an item; `{name}` is {list(values.shape)}. "
            "Name another output under `task: output:`."
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if column.names is not None or values.dtype.kind in "biu":
        if values.ndim == 2:
            raise InvalidInput(
                f"`{name}` has {values.shape[1]} integers an item; classification needs one label or scores."
            )
        labels = task.labels or _labels_of(column.names, values, predictions)
        places = places_of(Column(values, None, column.names), labels, f"the output `{name}`", narrow=True)
        return Classified(labels, places, None, "labels")
    meaning = _meaning(task, values, name)
    if values.ndim == 1:
        labels = task.labels or _labels_of_truth(predictions, 2)
        if len(labels) != 2:
            raise InvalidInput(
                f"`{name}` gives one score an item, which can tell two labels apart; there are {len(labels)}."
            )
        threshold = 0.5 if meaning == "probabilities" else 0.0
        predicted = np.empty(len(predictions), _dtype_of_places(labels))
        for rows, part in pieces(values):
            predicted[rows] = part >= threshold
        return Classified(labels, predicted, values, meaning)
    labels = task.labels or _labels_of_truth(predictions, values.shape[1])
    if len(labels) != values.shape[1]:
        raise InvalidInput(
            f"`{name}` gives {values.shape[1]} scores an item, but {len(labels)} labels are declared. "
            "List every label under `task: labels:`, in the order of the scores."
        )
    predicted = np.empty(len(predictions), _dtype_of_places(labels))
    for rows, part in pieces(values):
        predicted[rows] = part.argmax(axis=1)
    return Classified(labels, predicted, values, meaning)


_UNKNOWN = -1


def _dtype_of_places(labels: tuple[Label, ...]) -> type[np.signedinteger[Any]]:
    return np.int8 if len(labels) <= 127 else np.int16 if len(labels) <= 32_767 else np.int32


def places_of(
    column: Column, labels: tuple[Label, ...], whose: str, *, narrow: bool = False
) -> NDArray[np.signedinteger[Any]]:
    """Labels as places in the pinned list, int32 in the shape of ``column.values``; ``IGNORED`` stays.

    A label counts as itself or, when the list holds strings and the data integers, as a place in the list.

    Args:
        narrow: give the narrowest signed integers that hold every place, a byte for up to 127 labels.

    Raises:
        InvalidInput: a label that is not in the list.
    """
    by_name = {str(label): place for place, label in enumerate(labels)}
    values = column.values
    places = np.empty(values.shape, _dtype_of_places(labels) if narrow else np.int32)
    if column.names is not None:
        table = np.array([by_name.get(name, _UNKNOWN) for name in column.names], places.dtype)
        unknown: set[str] = set()
        for rows, part in pieces(values):
            places[rows] = np.where(part == IGNORED, IGNORED, table[np.maximum(part, 0)])
            if (places[rows] == _UNKNOWN).any():
                unknown |= {column.names[code] for code in np.unique(part[places[rows] == _UNKNOWN]).tolist()}
        if unknown:
            raise InvalidInput(_outside(whose, sorted(unknown), labels))
        return places
    numbers = all(isinstance(label, int) for label in labels)
    by_place = not numbers and not any(name.lstrip("-").isdigit() for name in by_name)
    unknown_numbers: set[int] = set()
    for rows, part in pieces(values):
        distinct, inverse = np.unique(_whole(part, whose, rows.start), return_inverse=True)
        found = np.zeros(distinct.shape, places.dtype)
        for index, number in enumerate(distinct.tolist()):
            if number == IGNORED:
                found[index] = IGNORED
            elif str(number) in by_name:
                found[index] = by_name[str(number)]
            elif by_place and 0 <= number < len(labels):
                found[index] = number
            else:
                unknown_numbers.add(number)
        places[rows] = found[inverse.reshape(part.shape)]
    if unknown_numbers:
        raise InvalidInput(_outside(whose, [str(number) for number in sorted(unknown_numbers)], labels))
    return places


def _whole(values: Array, whose: str, start: int) -> NDArray[np.int64]:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InvalidInput(
                f"Row {start + first_row(~np.isfinite(values))} of {whose} has no label (NaN or infinite)."
            )
        if (values != np.round(values)).any():
            row = first_row(values != np.round(values))
            raise InvalidInput(f"Row {start + row} of {whose} is {values[row]}, not a label.")
    return values.astype(np.int64)


def truth_of(predictions: Predictions, labels: tuple[Label, ...]) -> NDArray[np.signedinteger[Any]]:
    """The true labels as places in ``labels``, [n], in the narrowest signed integers that hold them all.

    Raises:
        InvalidInput: no labels, labels that are not one an item, or labels outside the list.
    """
    column = labelled(predictions)
    if column.offsets is not None or (column.values.ndim > 1 and column.values.shape[1:] != (1,)):
        raise InvalidInput(
            f"Classification needs one label an item; the labels are {list(column.values.shape)}."
        )
    places = places_of(
        Column(column.values.reshape(-1), None, column.names), labels, "the labels", narrow=True
    )
    if (places == IGNORED).any():
        raise InvalidInput(
            f"Row {first_row(places == IGNORED)} of the labels is {IGNORED}, which is not a declared label."
        )
    return places


def labelled(predictions: Predictions) -> Column:
    """The labels.

    Raises:
        InvalidInput: the data have none.
    """
    if predictions.labels is None:
        raise InvalidInput(
            "The evaluation data have no labels. Name the label's column under `data: evaluation: label:`."
        )
    return predictions.labels


def _meaning(task: Task, values: Array, name: str) -> str:
    """Whether scores are probabilities; looks at every row, and at NaN and infinity on the way."""
    finite(values, name)
    tolerance = 0.02 if values.dtype == np.float16 else 0.001
    outside = None
    for rows, part in pieces(values):
        bad = (part < -tolerance) | (part > 1 + tolerance)
        if part.ndim == 2:
            bad = bad.any(axis=1) | ~(np.abs(part.sum(axis=1, dtype=np.float64) - 1) <= tolerance)
        if bad.any():
            outside = rows.start + int(np.argmax(bad))
            break
    if task.scores == "probabilities" and outside is not None:
        raise InvalidInput(
            f"Row {outside} of `{name}` is no probability: the values must lie in [0, 1] and sum to 1. "
            "If these are logits, say `task: scores: logits`."
        )
    return task.scores or ("probabilities" if outside is None else "logits")


def _labels_of(names: tuple[str, ...] | None, values: Array, predictions: Predictions) -> tuple[Label, ...]:
    """Labels that neither the contract nor a row of scores pins: all that occur anywhere."""
    truth = labelled(predictions)
    if names is not None or truth.names is not None:
        return tuple(sorted({*(names or ()), *(truth.names or ())}))
    found = np.union1d(np.unique(values), np.unique(truth.values))
    return tuple(int(label) for label in found)


def _labels_of_truth(predictions: Predictions, count: int) -> tuple[Label, ...]:
    truth = predictions.labels
    if truth is not None and truth.names is not None:
        raise InvalidInput(
            "The labels are texts, and nothing says in which order the model scores them. "
            f"List them under `task` in that order, for example `labels: [{listed(sorted(truth.names), 12)}]`."
        )
    return tuple(range(count))


def _outside(whose: str, unknown: list[str], labels: tuple[Label, ...]) -> str:
    known = listed(labels, 12)
    return f"{whose[0].upper()}{whose[1:]} hold {listed(unknown, 5)}, which is not among the declared labels ({known})."


def listed(names: Sequence[Label], most: int) -> str:
    """``a, b, c, ...``"""
    return ", ".join(str(name) for name in names[:most]) + (", ..." if len(names) > most else "")


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)), np.float64)
