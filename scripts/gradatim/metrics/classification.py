"""Classification: every metric from one pass over the scores, with what each sample contributes to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.measurement import Measurement
from gradatim.metrics import intervals
from gradatim.metrics.columns import PIECE_BYTES, chunks, pieces
from gradatim.metrics.diagnostics import CalibrationBin
from gradatim.metrics.interpret import Classified, classify, listed, truth_of
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.samples import (
    DECISIONS,
    SHARE,
    Floats,
    MetricSamples,
    absent,
    mean_samples,
    proportion_samples,
    ratio_samples,
)
from gradatim.metrics.task import Label, Task
from gradatim.metrics.units import Units

Rows = NDArray[np.int64]

BINS = 15
"""Bins of the calibration error: equal in width, over the confidence in the predicted class."""

_NEARLY = 0.02
"""How far from 0 .. 1 a probability may lie that was computed in half precision or in integers."""

_LEAST = 1e-7
"""The log loss takes no probability for less, as single precision cannot tell it from zero: so it has a largest value, and
how much an answer that was never seen can add to a mean is known."""

OVER_CLASSES = ("balanced_accuracy", "precision", "recall", "f1", "f1_macro", "f1_weighted")


class ClassificationScorer:
    """The metrics of one model's class predictions.

    Raises:
        InvalidInput: outputs or labels that cannot be read (see ``interpret.classify``).
    """

    def __init__(self, task: Task, predictions: Predictions) -> None:
        self.answers: Classified = classify(task, predictions)
        self.labels = self.answers.labels
        self.truth = truth_of(predictions, self.labels)
        self.right: NDArray[np.bool_] = self.answers.predicted == self.truth
        positive = self.labels.index(task.positive) if task.positive in self.labels else len(self.labels) - 1
        self.positive = positive if len(self.labels) == 2 and task.over is None else None
        self.over = [self.labels.index(label) for label in (task.over or self.labels)]

    def item_scores(self) -> NDArray[np.float32]:
        """1 for a right answer, 0 for a wrong one, [n]."""
        return self.right.astype(np.float32)

    def answer_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Labels and predictions as an own metric gets them: arrays of labels, [n] each."""
        names = np.array(self.labels)
        return names[self.truth], names[self.answers.predicted]

    def kind_of_scores(self) -> str | None:
        """What a caller finds in them: ``probabilities``, between 0 and 1 whether they sum to 1 or not, or ``logits``."""
        scores = self.answers.scores
        if scores is None:
            return None
        within = all(bool(((part >= -_NEARLY) & (part <= 1 + _NEARLY)).all()) for _, part in pieces(scores))
        return "probabilities" if within else "logits"

    def confusion(self) -> NDArray[np.int64]:
        """Counts [C, C]: row is the true label, column the predicted one."""
        width = len(self.labels)
        table = np.zeros(width * width, np.int64)
        for rows in chunks(self.truth.shape[0], 16, PIECE_BYTES):
            codes = self.truth[rows].astype(np.int64) * width + self.answers.predicted[rows]
            table += np.bincount(codes, minlength=width * width)
        return table.reshape(width, width)

    def calibration(self) -> list[CalibrationBin]:
        """Confidence against accuracy in the bins that hold samples; empty when the model gives no scores."""
        if self.answers.scores is None:
            return []
        counts, sums, rights = np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS)
        for rows, confidence in self._confidences(None):
            bins = _bin_of(confidence)
            counts += np.bincount(bins, minlength=BINS)
            sums += np.bincount(bins, weights=confidence, minlength=BINS)
            rights += np.bincount(bins, weights=self.right[rows], minlength=BINS)
        return [
            CalibrationBin(
                b / BINS, (b + 1) / BINS, int(counts[b]), sums[b] / counts[b], rights[b] / counts[b]
            )
            for b in range(BINS)
            if counts[b]
        ]

    def samples(self, metric: str, rows: Rows, place: int | None, units: Units) -> MetricSamples:
        """One metric on some rows, of one class (a place in ``labels``) or of all."""
        truth, predicted = self.truth[rows], self.answers.predicted[rows]
        if not rows.shape[0]:
            return absent(metric, metric not in ("log_loss", "ece"), "there is no sample")
        if place is None and metric in ("precision", "recall", "f1", "roc_auc"):
            place = self.positive
        if metric in ("accuracy", "f1_micro"):
            return proportion_samples(metric, self.right[rows], units, True, "there is no sample")
        if metric == "log_loss" and self.answers.scores is None:
            return absent(metric, False, "the model names classes and gives no scores")
        if metric == "log_loss":
            limits = {"low_limit": 0.0, "high_limit": -math.log(_LEAST)}
            return mean_samples(metric, self._losses(rows, truth), units, False, unit="nat", **limits)
        if metric == "ece":
            return self._ece(rows, units)
        if metric == "roc_auc":
            return self._roc_auc(rows, truth, place, units)
        if place is None:
            return self._over_classes(metric, truth, predicted, units)
        return of_class(metric, truth == place, predicted == place, self.labels[place], units)

    def by_class(self, variant: str, alpha: float) -> list[Measurement]:
        """Precision, recall and F1 of every class from counts alone, bounds at one-sided ``alpha``."""
        table = self.confusion()
        hits, actual, claimed = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        found = self._proportions(variant, "precision", hits, claimed, "nothing was taken for {}", alpha)
        found += self._proportions(variant, "recall", hits, actual, "no sample is {}", alpha)
        n = int(table.sum())
        for place, label in enumerate(self.labels):
            where, total = f"class={label}", int(actual[place] + claimed[place])
            if not total:
                reason = f"no sample is {label} and nothing was taken for it"
                found.append(Measurement("f1", variant, None, where=where, reason=reason))
                continue
            value = 2 * int(hits[place]) / total
            squares = hits[place] * (2 - 2 * value) ** 2 + (total - 2 * hits[place]) * value**2
            low = high = None
            if n > 1:
                effect, error = (2 - value) * n / total, float(np.sqrt(squares / (n - 1) / n)) * n / total
                half = (
                    intervals.half_width(error, n, effect, alpha)
                    if error
                    else intervals.unseen(n, alpha) * effect
                )
                low, high = max(0.0, value - half), min(1.0, value + half)
            found.append(Measurement("f1", variant, value, n=n, low=low, high=high, where=where))
        return found

    def _proportions(
        self,
        variant: str,
        metric: str,
        hits: NDArray[np.int64],
        of: NDArray[np.int64],
        reason: str,
        alpha: float,
    ) -> list[Measurement]:
        lows, highs = intervals.clopper_pearson_many(hits, of, alpha)
        rows = zip(self.labels, hits.tolist(), of.tolist(), lows.tolist(), highs.tolist(), strict=True)
        return [
            Measurement(metric, variant, k / n, n=n, low=low, high=high, where=f"class={label}", successes=k)
            if n
            else Measurement(metric, variant, None, where=f"class={label}", reason=reason.format(label))
            for label, k, n, low, high in rows
        ]

    def _over_classes(
        self, metric: str, truth: NDArray[np.int32], predicted: NDArray[np.int32], units: Units
    ) -> MetricSamples:
        if metric not in OVER_CLASSES:
            return absent(metric, True, f"{metric} is not known for classification")
        width = len(self.labels)
        codes, count = units.blocks(truth.shape[0])
        terms = np.zeros((count, 3 * width))
        for rows in chunks(truth.shape[0], 64, PIECE_BYTES):
            actual, claimed, block = truth[rows], predicted[rows], codes[rows]
            hit = actual == claimed
            np.add.at(terms, (block, actual), 1)
            np.add.at(terms, (block, claimed.astype(np.int64) + width), 1)
            np.add.at(terms, (block[hit], actual[hit].astype(np.int64) + 2 * width), 1)
        if len(self.over) < width:
            terms = terms[:, [part * width + place for part in range(3) for place in self.over]]
            width = len(self.over)
        statistic = _statistic(metric, width)
        totals = terms.sum(axis=0)
        counts = totals[width : 2 * width] if metric == "precision" else totals[:width]
        unseen = 0 if metric == "f1_weighted" else int(np.count_nonzero(counts == 0))
        return MetricSamples(
            metric,
            float(statistic(totals[None])[0]),
            True,
            units.count,
            terms=terms,
            statistic=statistic,
            by_row=(truth == predicted).astype(np.float64),
            effect=_worst_move(metric, totals, width, truth.shape[0]),
            reason=self._without_samples(metric, counts),
            hidden=unseen / width,
            **DECISIONS,
        )

    def _without_samples(self, metric: str, counts: Floats) -> str | None:
        """The classes that count as zero in a mean for want of any sample; None where there are none."""
        names = [str(self.labels[place]) for place, n in zip(self.over, counts, strict=False) if not n]
        if not names or metric == "f1_weighted":
            return None
        few = (
            names[0] if len(names) == 1 else f"{len(names)} of {len(self.over)} classes ({listed(names, 5)})"
        )
        kind = "answer" if metric == "precision" else "sample"
        return f"no {kind} of {few}, which {'counts' if len(names) == 1 else 'count'} as 0 in this mean"

    def _roc_auc(
        self, rows: Rows, truth: NDArray[np.int32], place: int | None, units: Units
    ) -> MetricSamples:
        if self.answers.scores is None:
            return absent("roc_auc", True, "the model names classes and gives no scores to rank by")
        places = self.over if place is None else [place]
        n = rows.shape[0]
        value, influence, own, other, few = 0.0, np.zeros(n), 0.0, 0.0, 0.0
        for one in places:
            actual = truth == one
            positives = int(actual.sum())
            if not positives or positives == n:
                lacking = (
                    f"no sample is {self.labels[one]}"
                    if not positives
                    else f"every sample is {self.labels[one]}"
                )
                return absent("roc_auc", True, lacking)
            value += self._one_against_rest(one, rows, actual, influence, 1 / len(places)) / len(places)
            few += 1 / max(1, units.effective(actual if 2 * positives <= n else ~actual)) / len(places) ** 2
            # an answer pushes its own class down and, since scores compete, one other up
            own, other = max(own, n / positives / len(places)), max(other, n / (n - positives) / len(places))
        return MetricSamples(
            "roc_auc",
            value,
            True,
            units.count,
            influence=units.influence(influence),
            by_row=influence,
            effect=own + other if place is None else max(own, other),
            positives=round(1 / few)
            if influence.any()
            else None,  # of a faultless one what was never seen tells
            **SHARE,
        )

    def _one_against_rest(
        self, place: int, rows: Rows, actual: NDArray[np.bool_], influence: Floats, weight: float
    ) -> float:
        scores = self.answers.column(place)
        if rows.shape[0] < scores.shape[0]:
            scores = scores[rows]
        return _area(scores, actual, influence, weight)

    def _ece(self, rows: Rows, units: Units) -> MetricSamples:
        if self.answers.scores is None:
            return absent("ece", False, "the model names classes and gives no scores")
        codes, count = units.blocks(rows.shape[0])
        terms, chance = np.zeros((count, BINS + 1)), np.zeros(BINS)
        for part, confidence in self._confidences(rows):
            bins = _bin_of(confidence)
            np.add.at(terms, (codes[part], bins), confidence - self.right[rows[part]])
            chance += np.bincount(bins, weights=confidence * (1 - confidence), minlength=BINS)
        terms[:, BINS] = np.bincount(codes, minlength=count)

        def statistic(sums: Floats) -> Floats:
            return np.asarray(np.abs(sums[:, :BINS]).sum(axis=1) / np.maximum(sums[:, BINS], 1))

        return MetricSamples(
            "ece",
            float(statistic(terms.sum(axis=0)[None])[0]),
            False,
            units.count,
            terms=terms,
            statistic=statistic,
            effect=1.0,
            upward=intervals.Upward(_gap_errors(terms, chance)),
            **SHARE,
        )

    def _losses(self, rows: Rows, truth: NDArray[np.int32]) -> Floats:
        scores = self.answers.scores
        stored = scores is not None and self.answers.meaning == "probabilities"
        floor = max(float(np.finfo(scores.dtype).eps) if stored and scores is not None else 0.0, _LEAST)
        losses = np.empty(rows.shape[0])
        for part in chunks(rows.shape[0], 8 * len(self.labels), PIECE_BYTES):
            found = self.answers.probabilities(rows[part])
            losses[part] = -np.log(np.maximum(found[np.arange(found.shape[0]), truth[part]], floor))
        return losses

    def _confidences(self, rows: Rows | None) -> Iterator[tuple[slice, Floats]]:
        """Probability of the predicted class, part by part of some rows or of all."""
        n = self.truth.shape[0] if rows is None else rows.shape[0]
        for part in chunks(n, 8 * len(self.labels), PIECE_BYTES):
            chosen = part if rows is None else rows[part]
            found = self.answers.probabilities(chosen)
            yield part, found[np.arange(found.shape[0]), self.answers.predicted[chosen]]


def of_class(
    metric: str, actual: NDArray[np.bool_], claimed: NDArray[np.bool_], label: Label, units: Units
) -> MetricSamples:
    """Recall, precision or F1 of one class, out of which rows are of it and which were taken for it, bool [n] each."""
    hits = (actual & claimed).astype(np.float64)
    if metric == "recall":
        return _share(metric, hits, actual, units, f"no sample is {label}")
    if metric == "precision":
        return _share(metric, hits, claimed, units, f"nothing was taken for {label}")
    if metric == "f1":
        both = actual.astype(np.float64) + claimed
        weighed = units.weighed(both)
        value = 2 * units.weighed(hits).sum() / max(1.0, weighed.sum())
        return ratio_samples(
            metric,
            2 * hits,
            both,
            units,
            True,
            f"no sample is {label} and nothing was taken for it",
            positives=int(actual.sum()) if units.weights is None else units.effective(actual),
            effect=_per_mean(2 - value, weighed),
            **DECISIONS,
        )
    return absent(metric, True, f"{metric} is not defined for a single class")


def _share(metric: str, hits: Floats, of: NDArray[np.bool_], units: Units, reason: str) -> MetricSamples:
    """A proportion of part of the rows: with exact counts where every row is a unit."""
    counts = {"successes": int(hits.sum()), "trials": int(of.sum())} if units.shared is None else {}
    whole = of.astype(np.float64)
    effect = _per_mean(1.0, units.weighed(whole))
    return ratio_samples(metric, hits, whole, units, True, reason, effect=effect, **counts, **DECISIONS)


def _per_mean(change: float, denominators: Floats) -> float:
    """A change of one numerator as an influence."""
    total = float(denominators.sum())
    return change * denominators.shape[0] / total if total else float(denominators.shape[0])


def _bin_of(confidence: Floats) -> NDArray[np.int64]:
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _gap_errors(terms: Floats, chance: Floats) -> Floats:
    """Standard error of each bin's part of the calibration error: as its units vary, and no less than as right and
    wrong vary in a calibrated model."""
    n = float(terms[:, BINS].sum())
    parts = terms[:, :BINS] - terms[:, BINS:] * (terms[:, :BINS].sum(axis=0) / n)
    seen = (parts**2).sum(axis=0) * (terms.shape[0] / max(1, terms.shape[0] - 1))
    return np.asarray(np.sqrt(np.maximum(seen, chance)) / n)


def _shares(sums: Floats, width: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Recall, precision, F1 [draws, C], zero on an empty denominator, and the true counts [draws, C]."""
    actual, claimed, hits = sums[:, :width], sums[:, width : 2 * width], sums[:, 2 * width :]
    return (
        hits / np.maximum(actual, 1),
        hits / np.maximum(claimed, 1),
        2 * hits / np.maximum(actual + claimed, 1),
        actual,
    )


def _statistic(metric: str, width: int) -> Callable[[Floats], Floats]:
    def statistic(sums: Floats) -> Floats:
        recall, precision, f1, actual = _shares(sums, width)
        if metric in ("balanced_accuracy", "recall"):
            return np.asarray(recall.mean(axis=1))
        if metric == "precision":
            return np.asarray(precision.mean(axis=1))
        if metric == "f1_weighted":
            return np.asarray((f1 * actual).sum(axis=1) / np.maximum(actual.sum(axis=1), 1))
        return np.asarray(f1.mean(axis=1))

    return statistic


def _worst_move(metric: str, totals: Floats, width: int, n: int) -> float:
    """The most that one changed answer can take from a mean over classes, times n."""
    actual, claimed = totals[:width], totals[width : 2 * width]
    f1 = _shares(totals[None], width)[2][0]
    present = actual > 0
    if metric in ("balanced_accuracy", "recall"):
        return float(n / (width * actual[present].min()))
    if metric == "precision":
        return float(2 * n / (width * max(1.0, claimed[claimed > 0].min())))
    weight = actual / actual.sum() if metric == "f1_weighted" else np.full(width, 1 / width)
    both = np.maximum(actual + claimed, 1)
    return float(n * ((weight * (2 - f1) / both)[present].max() + (weight * f1 / both).max()))


def _area(scores: NDArray[Any], actual: NDArray[np.bool_], influence: Floats, weight: float) -> float:
    """Area under the ROC curve; adds ``weight`` times its influence by row [1]_ to ``influence``.

    .. [1] DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44(3): structural components.
    """
    ups, downs = scores[actual], scores[~actual]
    ups.sort()
    downs.sort()
    area = (
        sum(float(_share_below(downs, ups[part]).sum()) for part in chunks(ups.shape[0], 32, PIECE_BYTES))
        / ups.shape[0]
    )
    n = scores.shape[0]
    for part in chunks(n, 32, PIECE_BYTES):
        mine, own = scores[part], actual[part]
        change = np.empty(mine.shape[0])
        change[own] = (_share_below(downs, mine[own]) - area) * (n / ups.shape[0])
        change[~own] = (1.0 - _share_below(ups, mine[~own]) - area) * (n / downs.shape[0])
        influence[part] += weight * change
    return float(area)


def _share_below(ordered: NDArray[Any], values: NDArray[Any]) -> Floats:
    """For each value the share of ``ordered`` below it, ties counting half."""
    left = np.searchsorted(ordered, values, "left")
    right = np.searchsorted(ordered, values, "right")
    return np.asarray((left + right) / (2.0 * ordered.shape[0]))
