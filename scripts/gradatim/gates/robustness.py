"""Robustness gates: the same items at every severity of a corruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics.intervals import clopper_pearson, mean_bounds, unseen

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class CorruptionScores:
    """Item qualities under one corruption, from ``metrics.evaluation.item_scores`` at each severity.

    Attributes:
        corruption: its name: ``gaussian_noise``.
        severities: the severities, in rising order.
        candidate: [n, severities], more is better; 0/1 correctness for a classification.
        baseline: the same for the baseline on the same items, None when there is none.
        pairing: digest of the items (``Evaluation.pairing``); empty when the caller vouches for it.

    Raises:
        InvalidInput: NaN, no item, or shapes that do not fit.
    """

    corruption: str
    severities: tuple[int, ...]
    candidate: Scores
    baseline: Scores | None = None
    pairing: str = ""

    def __post_init__(self) -> None:
        for whose, scores in (("candidate", self.candidate), ("baseline", self.baseline)):
            if scores is None:
                continue
            if scores.ndim != 2 or scores.shape[1] != len(self.severities) or not scores.shape[0]:
                raise InvalidInput(
                    f"The {whose}'s scores under {self.corruption} are {list(scores.shape)}; wanted are "
                    "some items by "
                    f"{len(self.severities)} severities."
                )
            if not np.isfinite(scores).all():
                raise InvalidInput(f"The {whose}'s scores under {self.corruption} hold NaN or infinity.")
        if self.baseline is not None and self.baseline.shape != self.candidate.shape:
            raise InvalidInput(
                f"Under {self.corruption} the candidate has {self.candidate.shape[0]} items and the baseline "
                f"{self.baseline.shape[0]}: they cannot be compared."
            )
        if list(self.severities) != sorted(set(self.severities)):
            raise InvalidInput(
                f"The severities of {self.corruption} are not in rising order: {self.severities}."
            )


def severity_bounds(scores: Scores, alpha: float = 0.05) -> list[tuple[float, float] | None]:
    """Bounds of the mean quality at every severity: exact for 0/1 scores, t otherwise."""
    found: list[tuple[float, float] | None] = []
    for column in np.asarray(scores, np.float64).T:
        n = column.shape[0]
        if ((column == 0) | (column == 1)).all():
            found.append(clopper_pearson(int(column.sum()), n, alpha))
        else:
            bounds = mean_bounds(column, alpha)
            value = float(column.mean())
            if bounds is None and 0 <= value <= 1 and n > 1:
                rest = unseen(n, alpha)
                bounds = value - rest * value, value + rest * (1 - value)
            found.append(bounds)
    return found


def tolerance(lows: Sequence[float | None], severities: Sequence[int], threshold: float) -> int | None:
    """The last severity passed, tested in fixed order until the first failure; None when the first one fails.

    The order is fixed before the data are seen, so that every test may use the whole alpha [1]_.

    Args:
        lows: lower bound at each severity.
        severities: in rising order.

    .. [1] Maurer, Hothorn, Lehmacher (1995), fixed-sequence testing.
    """
    passed = None
    for low, severity in zip(lows, severities, strict=True):
        if low is None or not low >= threshold:
            break
        passed = severity
    return passed
