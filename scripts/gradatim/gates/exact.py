"""Absolute thresholds: exact bounds of a proportion, order statistics of a quantile, and what n can prove."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gradatim.gates.verdict import Verdict
from gradatim.metrics.intervals import clopper_pearson, unseen

POWER = 0.8
"""The power that is planned for."""

POWER_QUANTILE = 0.8416212335729143
"""Its normal quantile."""


def decide(low: float, high: float, threshold: float) -> Verdict:
    """The verdict on "at least ``threshold``" from two bounds; NaN in any of the three is INVALID."""
    if any(math.isnan(number) for number in (low, high, threshold)):
        return Verdict.INVALID
    if low >= threshold:
        return Verdict.PASS
    return Verdict.FAIL if high < threshold else Verdict.INCONCLUSIVE


def quantile_rank(n: int, q: float, alpha: float = 0.05) -> int:
    """Which smallest of n samples bounds their ``q`` quantile from above; more than n when n is too small.

    The r-th smallest sample lies at or above the quantile with probability at least 1 - alpha.
    """
    return binomial_quantile(1 - alpha, n, q) + 1


def quantile_bounds(samples: NDArray[np.float64], q: float, alpha: float = 0.05) -> tuple[float, float]:
    """Distribution-free bounds of a quantile; infinite on the side where the samples are too few."""
    ordered = np.sort(samples)
    n = ordered.shape[0]
    upper = quantile_rank(n, q, alpha)
    lower = binomial_quantile(alpha, n, q)
    return (
        float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        float(ordered[upper - 1]) if upper <= n else math.inf,
    )


def binomial_quantile(probability: float, n: int, q: float) -> int:
    """The smallest k with P(Binomial(n, q) <= k) >= ``probability``."""
    from scipy.special import bdtr

    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if bdtr(middle, n, q) >= probability:
            high = middle
        else:
            low = middle + 1
    return low


def samples_for_quantile(q: float, alpha: float = 0.05) -> int:
    """The fewest samples whose largest bounds the ``q`` quantile: 59 for 0.95."""
    return math.ceil(math.log(alpha) / math.log(q))


def forgiven(n: int, threshold: float, alpha: float = 0.05) -> int | None:
    """How many misses among n still prove "at least ``threshold``"; None when not even n right would."""
    if n < 1 or not clopper_pearson(n, n, alpha)[0] >= threshold:
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        if clopper_pearson(n - middle, n, alpha)[0] >= threshold:
            low = middle
        else:
            high = middle - 1
    return low


def samples_all_right(threshold: float, alpha: float = 0.05) -> int | None:
    """The fewest samples that, all right, prove "at least ``threshold``": 29 for 90 %; None if none can."""
    if threshold >= 1:
        return None
    if threshold <= 0:
        return 1
    return math.ceil(math.log(alpha) / math.log(threshold) - 1e-9)


def samples_without_fault(n: int, rest: float, room: float, alpha: float = 0.05) -> float:
    """How many samples leave no more than ``room`` to what was never seen, where n that vary in nothing leave ``rest``."""
    reach = rest / unseen(n, alpha)
    return math.ceil(math.log(alpha) / math.log1p(-room / reach) - 1e-9) if 0 < room < reach else n + 1


def samples_for_power(threshold: float, true: float, alpha: float = 0.05, wanted: float = 0.8) -> int | None:
    """The fewest samples that give a model at ``true`` power ``wanted`` for "at least ``threshold``".

    The exact power saws: it falls with n until one more miss is forgiven. From the n returned on, the bottoms of the
    teeth stay above ``wanted`` too. None when no number of samples that anybody has will do.
    """
    if not 0 < threshold < true <= 1:
        return None
    low, high = -1, 1
    while _bottom(high, threshold, true, alpha) < wanted:
        low, high = high, high * 2
        if high > 1 << 22:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _bottom(middle, threshold, true, alpha) < wanted:
            low = middle
        else:
            high = middle
    for misses in range(high + 1, high + 6):
        if _bottom(misses, threshold, true, alpha) < wanted:
            high = misses + 1
    return samples_forgiving(high, threshold, alpha)


def samples_forgiving(misses: int, threshold: float, alpha: float = 0.05) -> int:
    """The fewest samples that prove "at least ``threshold``" with so many misses among them."""
    low, high = misses, misses + 1
    while not clopper_pearson(high - misses, high, alpha)[0] >= threshold:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if clopper_pearson(middle - misses, middle, alpha)[0] >= threshold:
            high = middle
        else:
            low = middle
    return high


def _bottom(misses: int, threshold: float, true: float, alpha: float) -> float:
    """The power just before one more miss is forgiven."""
    from scipy.special import bdtr

    return float(bdtr(misses, samples_forgiving(misses + 1, threshold, alpha) - 1, 1 - true))


def detectable(n: int, threshold: float, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """The smallest true proportion that n samples prove "at least ``threshold``" with power ``wanted``."""
    from scipy.special import betaincinv

    misses = forgiven(n, threshold, alpha)
    if misses is None:
        return None
    if misses == n:  # all may miss
        return 0.0
    return float(betaincinv(n - misses, misses + 1, wanted))


def least_alpha(proven: Callable[[float], bool | None]) -> float | None:
    """The smallest one-sided error at which something is still proven, by bisection on its logarithm; None where no interval tells."""
    low, high = -30.0, math.log(0.5)
    for _ in range(40):
        middle = (low + high) / 2
        found = proven(math.exp(middle))
        if found is None:
            return None
        low, high = (low, middle) if found else (middle, high)
    return math.exp(high) if high < math.log(0.5) - 1e-6 else 1.0
