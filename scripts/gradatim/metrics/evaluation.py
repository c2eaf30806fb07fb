"""Everything that can be said about one model's predictions, alone or beside a reference."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics import catalogue
from gradatim.metrics.classification import ClassificationScorer
from gradatim.metrics.detection import DetectionScorer
from gradatim.metrics.embedding import EmbeddingScorer
from gradatim.metrics.forecasting import ForecastingScorer
from gradatim.metrics.generation import GenerationScorer
from gradatim.metrics.language import LanguageScorer
from gradatim.metrics.multilabel import MultilabelScorer
from gradatim.metrics.outputs import SEEN, WEIGHT
from gradatim.metrics.predictions import Predictions, check_slices
from gradatim.metrics.ranking import RankingScorer
from gradatim.metrics.regression import RegressionScorer
from gradatim.metrics.samples import MetricSamples, absent, proportion_samples
from gradatim.metrics.segmentation import SegmentationScorer
from gradatim.metrics.task import Label, Task
from gradatim.metrics.tokens import TokenScorer
from gradatim.metrics.units import Units

Rows = NDArray[np.int64]

_OF_ONE_CLASS = {"f1_macro": "f1", "f1_weighted": "f1", "balanced_accuracy": "recall"}
"""What a mean over classes is for a single class."""

_EXCHANGED = 24
"""Rows that are given another's answer, to see what one can take from an own metric."""

_SEED = 20261127

CLASS = "class"
"""The slice column that every classification has: the true label."""


class Scorer(Protocol):
    """What each task's module gives."""

    @property
    def labels(self) -> tuple[Label, ...]: ...
    def item_scores(self) -> NDArray[np.float32]: ...
    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def samples(self, metric: str, rows: Rows, place: int | None, units: Units) -> MetricSamples: ...


_SCORERS: dict[str, Callable[[Task, Predictions], Scorer]] = {
    "classification": ClassificationScorer,
    "multilabel_classification": MultilabelScorer,
    "token_classification": TokenScorer,
    "segmentation": SegmentationScorer,
    "detection": DetectionScorer,
    "regression": RegressionScorer,
    "forecasting": ForecastingScorer,
    "ranking": RankingScorer,
    "embedding": EmbeddingScorer,
    "language_modelling": LanguageScorer,
    **dict.fromkeys(catalogue.ASKED, GenerationScorer),
}


class Evaluation:
    """A model's predictions under a task. Reads the outputs once; metrics are computed when asked for.

    Args:
        task: how to read and score.
        predictions: what the model said.
        reference: the baseline's evaluation on the same items, for ``cosine``, ``agreement``,
            ``negative_flips``.
        common: the same model on the rows that the baseline knows too, with its reference, where those are not all
            (see ``metrics.common``).

    Raises:
        InvalidInput: outputs or labels that the task cannot read; NaN; a reference on other items.
    """

    def __init__(
        self,
        task: Task,
        predictions: Predictions,
        reference: Evaluation | None = None,
        *,
        common: Evaluation | None = None,
    ) -> None:
        if not len(predictions):
            raise InvalidInput("There is nothing to evaluate: the predictions have no row.")
        check_slices(predictions)
        self.task = task
        self.predictions = predictions
        self.common = common or self
        self.reference: Evaluation | None = common.reference if common else reference
        self.scorer: Scorer = _SCORERS[task.type](task, predictions)
        if common is None and reference is not None and reference.pairing != self.pairing:
            raise InvalidInput(
                "The candidate and the baseline were evaluated on different items or labels, so they cannot be compared. "
                "Run `gradatim evaluate --force` to measure both on the same data."
            )

    def __len__(self) -> int:
        return len(self.predictions)

    @cached_property
    def pairing(self) -> str:
        """Digest of the items and their labels."""
        return self.predictions.digest_of_items()

    @property
    def labels(self) -> tuple[Label, ...]:
        """Classes or entity types, in order; empty for other tasks."""
        return self.scorer.labels

    @property
    def labels_compared(self) -> tuple[Label, ...]:
        """The labels that a comparison with the baseline is about: those that both know."""
        return self.task.over or self.labels

    def columns(self) -> tuple[str, ...]:
        """What can be sliced by: ``class`` where there are classes, then the data's own columns."""
        own = tuple(self.predictions.slices)
        return (CLASS, *own) if self.labels and CLASS not in own else own

    def values_of(self, column: str) -> tuple[str, ...]:
        """The values of a slice column, classes in their declared order.

        Raises:
            InvalidInput: there is no such column.
        """
        if column == CLASS and self.labels:
            return tuple(str(label) for label in self.labels)
        found = self.predictions.slices.get(column)
        if found is None:
            known = ", ".join(self.columns()) or "none at all"
            raise InvalidInput(f"There is no slice column `{column}`. Known: {known}.")
        return tuple(sorted(found.names or ()))

    def wheres(self, column: str) -> list[str]:
        """``column=value`` for every value."""
        return [f"{column}={value}" for value in self.values_of(column)]

    def samples(self, metric: str, where: str | None = None) -> MetricSamples:
        """One metric, whole or restricted to ``class=8``, ``region=north`` or several, joined by commas.

        Restricted to a class, ``accuracy`` and ``recall`` look at its samples, ``precision`` and ``f1`` at it against
        the rest, a mean over classes at its own part (``f1_macro[class=8]`` is the F1 of 8).

        Raises:
            InvalidInput: an unknown metric, column or class.
        """
        known = self.task.metric(metric)
        if known is None or known.kind not in ("quality", "comparison", "own"):
            raise InvalidInput(f"`{metric}` is not measured from the predictions of {self.task.type}.")
        if known.kind == "comparison" and self.common is not self:
            return self.common.samples(metric, where)
        place, rows = self._select(where)
        if place is not None and metric in _OF_ONE_CLASS:
            return replace(self.samples(_OF_ONE_CLASS[metric], where), metric=metric)
        by_label = place is not None and (not known.by_class or self._by_truth(metric))
        if place is not None and by_label:
            rows = rows[self._true_class(rows) == place]
        groups, weights = self.predictions.groups, self.weights
        units = Units.of(
            None if groups is None else groups.values[rows],
            int(rows.shape[0]),
            None if weights is None else weights[rows],
        )
        if known.kind == "comparison":
            found = self._compared(metric, rows, units)
        elif known.kind == "own" or known.by:
            found = self._own(metric, rows)
        elif by_label and known.by_class:
            found = replace(self.scorer.samples("accuracy", rows, None, units), metric=metric)
        else:
            found = self.scorer.samples(metric, rows, None if by_label else place, units)
        if found.value is None and not rows.shape[0] and where:
            found = replace(found, reason=f"the data have no sample with {where}")
        if units.weights is not None and found.value is not None and not self._weighed(metric, found):
            found = absent(metric, found.higher_is_better, "it has no valid interval where rows have weights")
        shared = found.units or units.shared
        by_row = None if shared is None else found.by_row
        pairing = f"{self.pairing}:{where or ''}"
        return replace(found, where=where, pairing=pairing, units=shared, by_row=by_row)

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """Weights of the rows, [n]; None where all count alike."""
        column = self.predictions.outputs.get(WEIGHT)
        return None if column is None else np.asarray(column.values, np.float64)

    def _weighed(self, metric: str, found: MetricSamples) -> bool:
        """Whether a metric's value and spread are those of weighted rows."""
        known = catalogue.weighable(self.task.type, [scoring.metric for scoring in self.task.scorers])
        return metric in known and found.units is not None and found.units.weights is not None

    def _by_truth(self, metric: str) -> bool:
        return self.task.type == "classification" and metric in ("accuracy", "recall")

    def _true_class(self, rows: Rows) -> NDArray[np.int32]:
        if not isinstance(self.scorer, ClassificationScorer):
            raise InvalidInput(f"This metric of {self.task.type} cannot be restricted to a class.")
        return self.scorer.truth[rows]

    def _select(self, where: str | None) -> tuple[int | None, Rows]:
        chosen = np.ones(len(self), np.bool_)
        place: int | None = None
        for column, value in conditions(where):
            if column == CLASS and self.labels:
                names = [str(label) for label in self.labels]
                if value not in names:
                    raise InvalidInput(f"There is no class `{value}`. Known: {', '.join(names[:20])}.")
                place = names.index(value)
                continue
            self.values_of(column)
            marks = self.predictions.slices[column]
            names = list(marks.names or ())
            chosen &= (np.asarray(marks.values) == names.index(value)) if value in names else False
        return place, np.flatnonzero(chosen)

    def _compared(self, metric: str, rows: Rows, units: Units) -> MetricSamples:
        higher = metric == "agreement" or metric == "cosine"
        if self.reference is None:
            return absent(metric, higher, "there is no baseline to compare with")
        mine, theirs = self.scorer, self.reference.scorer
        if isinstance(mine, EmbeddingScorer) and isinstance(theirs, EmbeddingScorer):
            return (mine.cosine if metric == "cosine" else mine.agreement)(theirs, rows, units)
        if metric == "kl" and isinstance(mine, GenerationScorer) and isinstance(theirs, GenerationScorer):
            return mine.divergence(theirs, rows, units)
        if metric in catalogue.JUDGED and isinstance(mine, GenerationScorer):
            return mine.judged(metric, rows, units)
        if metric == "negative_flips":
            flips = (theirs.item_scores()[rows] >= 1) & (mine.item_scores()[rows] < 1)
            return proportion_samples(metric, flips, units, False, "there is no sample")
        return proportion_samples(metric, self.same_answers()[rows], units, True, "there is no sample")

    def same_answers(self) -> NDArray[np.bool_]:
        """Whether candidate and reference gave the same answer, [n]: of the rows that both know.

        Classes by label; tags by the shares that were right; numbers and vectors by their exact values.

        Raises:
            InvalidInput: there is no reference.
        """
        if self.reference is None:
            raise InvalidInput("There is no baseline to compare answers with.")
        if self.common is not self:
            return self.common.same_answers()
        mine, theirs = self.scorer, self.reference.scorer
        if isinstance(mine, ClassificationScorer) and isinstance(theirs, ClassificationScorer):
            names, others = np.array([str(x) for x in mine.labels]), np.array([str(x) for x in theirs.labels])
            return np.asarray(names[mine.answers.predicted] == others[theirs.answers.predicted])
        if isinstance(mine, TokenScorer) and isinstance(theirs, TokenScorer):
            return np.asarray(mine.same_tags(theirs))
        if isinstance(mine, GenerationScorer) and isinstance(theirs, GenerationScorer):
            return np.asarray(mine.said() == theirs.said())
        a, b = mine.answer_arrays()[1], theirs.answer_arrays()[1]
        if a.shape != b.shape:
            return np.zeros(len(self), np.bool_)
        if object in (a.dtype, b.dtype):  # items of many sizes
            return np.array([np.array_equal(x, y) for x, y in zip(a, b, strict=True)], np.bool_)
        return np.asarray((np.asarray(a) == np.asarray(b)).reshape(len(self), -1).all(axis=1))

    def _own(self, metric: str, rows: Rows) -> MetricSamples:
        known = self.task.metric(metric)
        assert known is not None  # noqa: S101 (samples() looked)
        if not rows.shape[0]:
            return absent(metric, known.higher_is_better, "there is no sample")
        function = self.task.own[metric] if known.kind == "own" else _function(known.by)
        if lacking := [o for o in self.task.seen.get(metric, ()) if SEEN + o not in self.predictions.outputs]:
            return absent(metric, known.higher_is_better, f"the model has no output `{lacking[0]}`")
        labels, answers = self.scorer.answer_arrays()
        given = self._seen(metric) or {"": np.asarray(answers)}
        labels, given = np.asarray(labels)[rows], {name: values[rows] for name, values in given.items()}
        groups = self.predictions.groups
        members = _members(None if groups is None else groups.values[rows], rows.shape[0])

        def resample(units: NDArray[np.int64]) -> float:
            chosen = units if members is None else np.concatenate([members[unit] for unit in units])
            taken = {name: values[chosen] for name, values in given.items()}
            return self._called(metric, function, labels[chosen], taken.get("", taken))

        def exchanged(rows: NDArray[np.int64]) -> float:
            taken = {name: values[rows] for name, values in given.items()}
            return self._called(metric, function, labels, taken.get("", taken))

        value = self._called(metric, function, labels, given.get("", given))
        n = rows.shape[0] if members is None else len(members)
        effect = _of_one_row(value, labels.shape[0], exchanged)
        return MetricSamples(
            metric, value, known.higher_is_better, n, resample=resample, effect=effect, counted=effect > 0
        )

    def _seen(self, metric: str) -> dict[str, NDArray[Any]]:
        """The outputs that a metric names, [n, ...]; items of many sizes as an object array [n] of arrays."""
        found: dict[str, NDArray[Any]] = {}
        for name in self.task.seen.get(metric, ()):
            values = self.predictions.outputs[SEEN + name].plain(slice(None))
            if isinstance(values, list):
                found[name] = np.empty(len(values), object)
                found[name][:] = values
            else:
                found[name] = values
        return found

    def _called(self, metric: str, function: Callable[[Any, Any], float], labels: Any, answers: Any) -> float:
        try:
            return self._number(metric, function(labels, answers))
        except InvalidInput:
            raise
        except Exception as error:
            raise InvalidInput(
                f"The own metric `{metric}` failed: {type(error).__name__}: {error}."
            ) from error

    @staticmethod
    def _number(metric: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"The own metric `{metric}` returned {value!r}, which is not a number."
            ) from error
        if not np.isfinite(number):
            raise InvalidInput(f"The own metric `{metric}` returned {number}, which is not a finite number.")
        return number

    def confusion(self) -> NDArray[np.int64] | None:
        """Counts [C, C], true label by predicted; None where there are no classes."""
        return self.scorer.confusion() if isinstance(self.scorer, ClassificationScorer) else None

    def most_confused(self, label: str) -> tuple[str, int] | None:
        """What a class is most often taken for, and how often; None when it never is."""
        table = self.confusion()
        names = [str(name) for name in self.labels]
        if table is None or label not in names:
            return None
        row = table[names.index(label)].copy()
        row[names.index(label)] = 0
        return (names[int(row.argmax())], int(row.max())) if row.any() else None


def _of_one_row(value: float, rows: int, exchanged: Callable[[NDArray[np.int64]], float]) -> float:
    """What one row can take from an own metric, times the rows: the most that another row's answer in its place changes."""
    generator = np.random.default_rng([_SEED, rows])
    most = 0.0
    for _ in range(_EXCHANGED if rows > 1 else 0):
        order = np.arange(rows)
        one, other = generator.choice(rows, 2, replace=False)
        order[one] = other
        with contextlib.suppress(InvalidInput):  # no value there: the resamples tell how often that is
            most = max(most, abs(exchanged(order) - value) * rows)
    return most


def _function(reference: str) -> Callable[[Any, Any], float]:
    """What a row of the catalogue names as ``module:function``."""
    module, _, name = reference.partition(":")
    found: Callable[[Any, Any], float] = getattr(importlib.import_module(module), name)
    return found


def conditions(where: str | None) -> Iterator[tuple[str, str]]:
    """``column=value`` pairs of a ``where``; a comma inside a value stays in it unless ``name=`` follows.

    Raises:
        InvalidInput: not of that form.
    """
    if where is None:
        return
    for part in re.split(r",(?=[^,=]+=)", where):
        column, sign, value = part.partition("=")
        if not sign or not column.strip():
            raise InvalidInput(
                f"`{where}` does not name a slice. Write `column=value`, for example `class=8`."
            )
        yield column.strip(), value.strip()


def _members(groups: NDArray[Any] | None, rows: int) -> list[NDArray[np.int64]] | None:
    if groups is None:
        return None
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return [np.asarray(part) for part in np.split(order, starts[1:])]
