"""Bounds of the mean of scores between two ends that hold at every look, so that looking may stop when they decide.

Somebody bets that the mean is more than ``m``: each score multiplies the stake by 1 + f (x - m) / (m - low). Where the mean is at
most m the stake is a supermartingale, which ever reaches 1 / alpha with probability at most alpha (Ville) [1]_. The stake is
spread over several shares f, so that none need be guessed: what it has come to depends on which scores there were, not on their
order, and can be told from counts.

.. [1] Waudby-Smith, Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86(1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARES = 0.98 * 2.0 ** -np.arange(7)
"""The shares of the stake that are bet: the best for a mean apart from the bound by so many variances is among them, nearly."""


@dataclass(frozen=True)
class Scores:
    """What was seen, in any order.

    Attributes:
        values: float64 [k], distinct.
        times: float64 [k], how often each was seen; shares of one for what is only planned.
        low, high: between which any score lies.
    """

    values: Floats
    times: Floats
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats, low: float, high: float) -> Scores:
        """From the scores row by row, float64 [n]."""
        distinct, times = np.unique(np.clip(values, low, high), return_counts=True)
        return cls(distinct, times.astype(np.float64), low, high)

    @classmethod
    def right_and_wrong(cls, right: float) -> Scores:
        """What a row is planned to be that is right with so much probability."""
        return cls(np.array([0.0, 1.0]), np.array([1 - right, right]), 0.0, 1.0)

    @classmethod
    def gained_and_lost(cls, changed: float, difference: float) -> Scores:
        """The same of a row beside the baseline's: with what probability only one is right, and the gains less the losses."""
        gained, lost = (changed + difference) / 2, (changed - difference) / 2
        return cls(np.array([-1.0, 0.0, 1.0]), np.array([lost, 1 - changed, gained]), -1.0, 1.0)

    @property
    def mirrored(self) -> Scores:
        """The same with the other end up."""
        return Scores(-self.values, self.times, -self.high, -self.low)

    def gains(self, mean: float) -> Floats:
        """Log of what one score multiplies each share's stake by, on average or summed up, of a bet on more than ``mean``."""
        if not self.low < mean:
            return np.zeros_like(SHARES)
        payoff = (self.values - mean) / (mean - self.low)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log1p(np.outer(SHARES, payoff)) @ self.times)

    def stake(self, mean: float) -> float:
        """Log of what a stake of 1 has come to that was bet on more than ``mean``."""
        gains = self.gains(mean)
        most = float(gains.max())
        return most + math.log(float(np.exp(gains - most).mean()))


def bounds(scores: Scores, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of the mean, each wrong at any look with probability at most ``alpha``."""
    wanted = -math.log(alpha)
    return _least(scores, wanted), -_least(scores.mirrored, wanted)


def _least(scores: Scores, wanted: float) -> float:
    """The largest mean that the stake proves to be exceeded; the stake falls as the mean grows."""
    low, high = scores.low, scores.high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if scores.stake(middle) >= wanted else (low, middle)
    return low


def rows_faultless(scores: Scores, mean: float, alpha: float) -> int:
    """The fewest rows that prove that the mean is more than ``mean``, each with the best score that is planned: no loss, no gain."""
    if mean <= scores.low:
        return 1
    best = 0.0 if scores.low < 0 else scores.high
    low, high = 0, 1
    while Scores(np.array([best]), np.array([float(high)]), scores.low, scores.high).stake(mean) < -math.log(
        alpha
    ):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = Scores(np.array([best]), np.array([float(middle)]), scores.low, scores.high).stake(
            mean
        ) >= -math.log(alpha)
        low, high = (low, middle) if enough else (middle, high)
    return high


def rows_until_proven(scores: Scores, mean: float, alpha: float) -> float:
    """About how many rows prove on average that the mean is more than ``mean``; infinite where none do, one where every score is.

    Args:
        scores: what a row is planned to be, ``times`` summing to one.
    """
    if mean <= scores.low:
        return 1.0
    best = float(scores.gains(mean).max())
    spread = math.log(len(SHARES)) - 0.5  # what the shares that lose have cost; those beside the best help
    return (spread - math.log(alpha)) / best if best > 0 else math.inf
