"""Is the candidate not worse than the baseline? Tests on the same samples answered by both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.metrics import intervals

Floats = NDArray[np.float64]

_MANY_CHANGES = 80
"""From so many changed answers on the normal tail is thick enough."""

FEW_POSITIVES = 50
"""With fewer positives F1's interval is not to be trusted, nor that of a difference of ROC-AUC: of 20 8 % passed wrongly, of 3 20 %."""

FEW_TO_RANK = 20
"""The same of one model's ROC-AUC, of which with 10 6 % passed wrongly, with 20 2 %."""


def fewest_positives(metric: str, *, beside: bool) -> int:
    """With how many positives such a metric begins to be judged, alone or ``beside`` the baseline."""
    return FEW_TO_RANK if metric == "roc_auc" and not beside else FEW_POSITIVES


@dataclass(frozen=True)
class PairedDifference:
    """Candidate minus baseline with one-sided bounds; positive is better.

    Attributes:
        value: the estimate.
        low, high: bounds at one-sided alpha each.
    """

    value: float
    low: float
    high: float


def tango_score(gains: int, losses: int, n: int, difference: float) -> float:
    """Tango's score statistic of H0: P(gain) - P(loss) = ``difference`` [1]_.

    Args:
        gains: samples only the candidate gets right.
        losses: samples only the baseline gets right.
        n: all samples, both-right and both-wrong included.
        difference: the hypothesis, between -1 and 1.

    Raises:
        InvalidInput: counts that are negative or exceed ``n``.

    .. [1] Tango (1998), Statistics in Medicine 17(8).
    """
    _check(gains, losses, n)
    a = 2.0 * n
    b = -gains - losses + (2.0 * n - gains + losses) * difference
    c = -losses * difference * (1.0 - difference)
    q = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = n * (2.0 * q + difference * (1.0 - difference))
    distance = gains - losses - n * difference
    if not variance > 1e-12:
        return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def not_worse(gains: int, losses: int, n: int, margin: float, alpha: float = 0.05) -> PairedDifference:
    """Is the candidate's accuracy at most ``margin`` below the baseline's? Yes if ``low > -margin``.

    Tango's score test for paired proportions, one-sided; its interval holds every difference that the test
    keeps. Where ``alpha`` is below 0.001 the normal approximation has no business there, and the bounds come from
    ``exact_difference``.

    Raises:
        InvalidInput: counts that are negative or exceed ``n``, a margin outside [0, 1).
    """
    _check(gains, losses, n)
    if not 0 <= margin < 1:
        raise InvalidInput(f"A margin of {margin} makes no sense: it is a share between 0 and 1.")
    bounds = exact_difference if alpha < 0.001 else tango_bounds
    return PairedDifference((gains - losses) / n, *bounds(gains, losses, n, alpha))


def regression_p(gains: int, losses: int, n: int, margin: float) -> float:
    """p-value of "not worse by more than ``margin``": small where a regression is proven.

    Tango's statistic; with few changes its normal tail is too thin for a veto that Holm pushes to a small alpha (up to
    2.4 times at 0.005), so that the exact tail is taken, the largest over the believable shares of changes [1]_.

    Raises:
        InvalidInput: counts that are negative or exceed ``n``.

    .. [1] Berger, Boos (1994), JASA 89(427).
    """
    from scipy.special import ndtr

    seen = tango_score(gains, losses, n, -margin)
    p = float(ndtr(seen))
    if p > 0.2 or gains + losses > _MANY_CHANGES:
        return p
    return min(1.0, max(p, _exact_tail(seen, gains + losses, n, margin)))


def _exact_tail(seen: float, changes: int, n: int, margin: float) -> float:
    from scipy.special import gammaln, xlogy

    unlikely = 1e-5
    least, most = intervals.clopper_pearson(changes, n, unlikely)
    top = min(n, int(n * most + 8 * math.sqrt(n * most) + 10))
    gains, losses = (grid.ravel() for grid in np.meshgrid(np.arange(top + 1), np.arange(top + 1)))
    inside = gains + losses <= n
    gains, losses = gains[inside], losses[inside]
    extreme = _scores(gains, losses, n, -margin) <= seen + 1e-9
    gains, losses = gains[extreme], losses[extreme]
    same = n - gains - losses
    ways = gammaln(n + 1) - gammaln(gains + 1) - gammaln(losses + 1) - gammaln(same + 1)
    largest = 0.0
    for share in np.linspace(max(margin, least), max(margin, most), 25):
        up, down = (share - margin) / 2, (share + margin) / 2
        logs = ways + xlogy(gains, up) + xlogy(losses, down) + xlogy(same, max(0.0, 1 - share))
        largest = max(largest, float(np.exp(logs).sum()))
    return largest + 2 * unlikely


def _scores(gains: NDArray[np.int64], losses: NDArray[np.int64], n: int, difference: float) -> Floats:
    """``tango_score`` over arrays, for a difference that is not zero."""
    b = -gains - losses + (2.0 * n - gains + losses) * difference
    root = np.sqrt(np.maximum(0.0, b * b + 8.0 * n * losses * difference * (1.0 - difference)))
    variance = n * ((root - b) / (2.0 * n) + difference * (1.0 - difference))
    distance = gains - losses - n * difference
    apart: Floats = distance / np.sqrt(np.maximum(variance, 1e-12))  # where nothing varies the distance is 0
    return apart


def tango_bounds(gains: int, losses: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """The differences at which Tango's statistic equals -+ the one-sided normal quantile."""
    critical = intervals.normal(alpha)
    return (
        _root(gains, losses, n, critical),
        _root(gains, losses, n, -critical),
    )


def exact_difference(gains: int, losses: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Bounds from the exact bounds of gains and of losses, ``alpha / 2`` each: valid at any alpha and n."""
    _check(gains, losses, n)
    gain_low, gain_high = intervals.clopper_pearson(gains, n, alpha / 2)
    loss_low, loss_high = intervals.clopper_pearson(losses, n, alpha / 2)
    return gain_low - loss_high, gain_high - loss_low


def maurer_pontil(values: Floats, alpha: float, width: float) -> tuple[float, float]:
    """Bounds of a mean that hold at any sample size for values in a range of ``width`` [1]_.

    .. [1] Maurer, Pontil (2009), Empirical Bernstein bounds, COLT; theorem 4.
    """
    n = values.shape[0]
    logarithm = math.log(2 / alpha)
    half = math.sqrt(2 * float(values.var(ddof=1)) * logarithm / n) + 7 * width * logarithm / (3 * (n - 1))
    centre = float(values.mean())
    return centre - half, centre + half


def _root(gains: int, losses: int, n: int, critical: float) -> float:
    """The difference whose statistic is ``critical``; the statistic falls as the difference grows."""
    low, high = -1.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if tango_score(gains, losses, n, middle) > critical:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _check(gains: int, losses: int, n: int) -> None:
    if not (gains >= 0 and losses >= 0 and n > 0 and gains + losses <= n):
        raise InvalidInput(
            f"{gains} gains and {losses} losses among {n} samples cannot be: check the predictions."
        )
