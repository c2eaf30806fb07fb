"""Where the middle of a symmetric distribution lies, whatever its tails: bounds by signed ranks."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray


def signed_rank_bounds(values: NDArray[np.float64], alpha: float) -> tuple[float, float, float]:
    """Hodges' and Lehmann's estimate of the middle, and its bounds (middle, low, high) by Wilcoxon's signed ranks [1]_.

    The bounds are exact for independent values that are as likely above the middle as below it by the same amount, however far off
    some lie; infinite where the values are too few for ``alpha``.

    Args:
        values: at least one.
        alpha: one-sided error probability.

    .. [1] Hollander, Wolfe, Chicken (2014), Nonparametric Statistical Methods, 3rd edition, 3.2 and 3.3.
    """
    first, second = np.triu_indices(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    cut = _cut(len(values), alpha)
    if not cut:
        return float(np.median(means)), -math.inf, math.inf
    return float(np.median(means)), float(means[cut - 1]), float(means[-cut])


@functools.cache
def _cut(n: int, alpha: float) -> int:
    """How many means of pairs may lie beyond a bound: the sum of positive ranks is below that with probability at most ``alpha``."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        wider = np.zeros(len(chances) + rank)
        wider[: len(chances)] += chances / 2
        wider[rank:] += chances / 2
        chances = wider
    return int(np.searchsorted(np.cumsum(chances), alpha, side="right"))
