"""Bounds that hold at every look: for what is counted while it happens, and stopped when the counts say so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.gates.exact import POWER_QUANTILE

Floats = NDArray[np.float64]


def share_bounds(successes: ArrayLike, n: ArrayLike, alpha: float) -> tuple[Floats, Floats]:
    """Bounds of a share that hold at all looks together with probability at least 1 - ``alpha``.

    A mixture over Beta(1/2, 1/2) of the likelihood against each share is a martingale where that share is the true one; by
    Ville's inequality it ever reaches 1 / ``alpha`` with probability at most ``alpha`` [1]_ [2]_. The bounds hold the shares
    against which it has not.

    Args:
        successes: counts, of any shape.
        n: trials; 0 gives [0, 1].
        alpha: error probability of both sides and all looks.

    Returns:
        Lower and upper bounds, of the shape of the counts.

    .. [1] Robbins (1970), Annals of Mathematical Statistics 41(5).
    .. [2] Howard, Ramdas, McAuliffe, Sekhon (2021), Annals of Statistics 49(2), section 3.2.
    """
    from scipy.special import betaln

    hits, trials = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(n, np.float64))
    mixed = betaln(hits + 0.5, trials - hits + 0.5) - betaln(0.5, 0.5) + np.log(alpha)
    seen = hits / np.maximum(trials, 1)
    nothing = trials == 0
    low = _edge(np.zeros_like(seen), seen, hits, trials, mixed)
    high = _edge(np.ones_like(seen), seen, hits, trials, mixed)
    return np.where(nothing | (hits == 0), 0.0, low), np.where(nothing | (hits == trials), 1.0, high)


def _edge(outside: Floats, inside: Floats, hits: Floats, trials: Floats, mixed: Floats) -> Floats:
    """Where the martingale reaches its level, between a share that is refused and one that is not; the outer of the two."""
    from scipy.special import xlog1py, xlogy

    for _ in range(50):
        middle = (outside + inside) / 2
        refused = mixed >= xlogy(hits, middle) + xlog1py(trials - hits, -middle)
        outside, inside = np.where(refused, middle, outside), np.where(refused, inside, middle)
    return outside


def difference_bounds(
    candidate: tuple[ArrayLike, ArrayLike], baseline: tuple[ArrayLike, ArrayLike], alpha: float
) -> tuple[Floats, Floats]:
    """Bounds of the candidate's share less the baseline's, each (successes, n), at all looks together.

    Args:
        alpha: error probability; half of it is spent on each share.
    """
    low, high = share_bounds(*candidate, alpha / 2)
    base_low, base_high = share_bounds(*baseline, alpha / 2)
    return low - base_high, high - base_low


def quantile_between(below: Mapping[float, int], q: float, alpha: float) -> tuple[float, float]:
    """Between which two ends of a histogram's buckets a quantile lies, at all looks together [1]_.

    What lies in a bucket is not known closer, so that a quantile is an interval even of endless requests. Each end's share
    of requests below it is bounded; the bounds rise with the end, so that one of them counts, not all.

    Args:
        below: requests at or below each end of a bucket; the largest end is infinity and has all of them.
        q: 0.95.

    Returns:
        Seconds; 0 and infinity where no end is proven.

    .. [1] Howard, Ramdas (2022), Bernoulli 28(3).
    """
    ends = np.array(sorted(below), np.float64)
    counts = np.array([below[end] for end in sorted(below)], np.float64)
    low, high = share_bounds(counts, counts[-1], alpha)
    surely_above, surely_below = ends[high < q], ends[low >= q]
    return (
        float(surely_above[-1]) if surely_above.size else 0.0,
        float(surely_below[0]) if surely_below.size else float("inf"),
    )


def requests_that_tell(
    share: float, rise: float, margin: float, alpha: float, *, part: float = 0.5
) -> int | None:
    """How many requests of the candidate's tell in 4 of 5 cases that its share of errors is too high, or that it is not.

    Args:
        share: the baseline's share.
        rise: how much higher the candidate's is: above ``margin`` the number is what refuses it, below what lets it pass.
        margin: the tolerated rise.
        alpha: of the verdict.
        part: the candidate's part of the traffic, between 0 and 1.

    Returns:
        None where 100 million would not do.
    """
    n = np.unique(np.round(10 ** np.linspace(1, 8, 351)))
    others = np.ceil(n * (1 - part) / part)
    luck = (share + rise) * (1 - share - rise) / n + share * (1 - share) / others
    unlucky = POWER_QUANTILE * np.sqrt(luck) * (-1 if rise > margin else 1)
    hits = np.clip(n * (share + rise + unlucky), 0, n)
    low, high = difference_bounds((hits, n), (others * share, others), alpha)
    tells = np.flatnonzero(low > margin if rise > margin else high < margin)
    return int(n[tells[0]]) if tells.size else None
