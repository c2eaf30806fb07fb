"""Confidence bounds for one quantity: exact for proportions, Student's t for means, bootstrap for the rest.

Every ``alpha`` is one-sided: the two bounds of a pair each err with probability ``alpha``, so that a pair at
alpha 0.05 is a two-sided 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
"""Bootstrap draws. Fixed, like the seed, so that the same data give the same bound."""

UNITS = 2048
"""More independent units than this are put into equal blocks before resampling: cost and memory stay flat."""

_SEED = 20260117


def clopper_pearson(successes: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact bounds of a proportion [1]_; with no sample at all they are 0 and 1.

    .. [1] Clopper, Pearson (1934), Biometrika 26(4).
    """
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, alpha)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - alpha)) if successes < n else 1.0
    return low, high


def clopper_pearson_many(
    successes: NDArray[np.int64], n: NDArray[np.int64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``clopper_pearson`` over arrays of the same shape."""
    from scipy.special import betaincinv

    low = betaincinv(np.maximum(successes, 1), n - successes + 1, alpha)
    high = betaincinv(successes + 1, np.maximum(n - successes, 1), 1 - alpha)
    return np.where(successes > 0, low, 0.0), np.where(successes < n, high, 1.0)


def student(df: float, alpha: float) -> float:
    """Upper ``alpha`` quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - alpha))


def normal(alpha: float) -> float:
    """Upper ``alpha`` quantile of the normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(1 - alpha))


def mean_bounds(values: NDArray[np.float64], alpha: float, effect: float = 0.0) -> tuple[float, float] | None:
    """t bounds of a mean, widened for ``effect`` as in ``half_width``.

    None with fewer than two values or when all are equal: their spread is then unknown.
    """
    n = values.shape[0]
    if n < 2:
        return None
    deviation = float(values.std(ddof=1))
    centre = float(values.mean())
    if not deviation > 1e-12 * max(1.0, abs(centre)):
        return None
    half = half_width(deviation / math.sqrt(n), n, effect, alpha)
    return centre - half, centre + half


def jackknife_bounds(
    value: float, influence: NDArray[np.float64], alpha: float, highest: float, flattery: float = 0.0
) -> tuple[float, float] | None:
    """t bounds on the scale of the log odds of a share that is no count, or of the logarithm of a mean of positive numbers:
    they lean to the side where there is more room.

    The degrees of freedom are those of a variance whose squares vary as these do (Satterthwaite [1]_), so that a class that
    few units hold is not taken for one that all do. None when nothing varies, or at either end.

    Args:
        highest: the end of its range; beyond 1 it is no share.
        flattery: by how much few samples let it look better than many would, known to a half of it.

    .. [1] Satterthwaite (1946), Biometrics Bulletin 2(6).
    """
    share = highest <= 1
    centre = max(value - flattery, value / 10)
    half = _half_of_leaning(influence, alpha, flattery / 2)
    if half is None or not centre > 0 or (share and not centre < 1):
        return None
    if not share:
        return centre * math.exp(-half / centre), centre * math.exp(min(700.0, half / centre))
    half, odds = half / (centre * (1 - centre)), math.log(centre / (1 - centre))
    low, high = (1 / (1 + math.exp(max(-700.0, min(700.0, end)))) for end in (half - odds, -half - odds))
    return low, max(high, value)


def _half_of_leaning(influence: NDArray[np.float64], alpha: float, beside: float = 0.0) -> float | None:
    """Half of a t interval with the degrees of freedom that the influence leaves; None where nothing varies."""
    n = influence.shape[0]
    squares = influence**2
    error = math.sqrt(float(squares.mean()) / (n - 1)) if n > 1 else 0.0
    if not error > 1e-12:
        return None
    return student(freedom(influence), alpha) * math.hypot(error, beside)


def freedom(influence: NDArray[np.float64]) -> float:
    """Degrees of freedom of a variance whose squares vary as these do (Satterthwaite), of two or more, not all zero."""
    n, squares = influence.shape[0], influence**2
    lean = float((squares**2).mean() / squares.mean() ** 2) - 1
    return float(min(n - 1.0, max(1.0, 2 * n / lean if lean > 0 else n)))


def unseen(n: int, alpha: float) -> float:
    """The highest rate of something that n samples never showed (exact; about 3/n at 0.05)."""
    return 1.0 - alpha ** (1.0 / n) if n > 0 else 1.0


def half_width(error: float, n: int, effect: float, alpha: float, slack: float = 0.0) -> float:
    """Half of an interval: Student's t times ``error``, wider where single units carry the spread.

    A rate of changes that the samples happened not to show would shift the value and add to its variance at once.
    Solving for the shift h that is just believable, h = t sqrt(error^2 + h effect / n), is Wilson's interval for a
    proportion and Tango's for a difference; ``effect`` is raised by a fifth, which makes it as wide as the exact
    Poisson interval for 0 to 20 events. A shift up to ``slack`` costs no variance: there seen changes would only
    change sides. With ``effect`` 0 it is the t interval.

    Args:
        error: standard error of the value.
        n: independent units.
        effect: what one unit can take from the value, times n.
        slack: twice the mean of the changes seen in the other direction.
    """
    t = student(n - 1, alpha)
    plain = t * error
    if plain <= slack:
        return plain
    step = 1.2 * effect / n
    return (
        t * t * step + math.sqrt(max(0.0, (t * t * step) ** 2 + 4 * t * t * (error * error - step * slack)))
    ) / 2


def sure_rate(changes: NDArray[np.float64], n: int, effect: float) -> float:
    """A lower bound of the mean over n units of the positive ones among ``changes``, for ``half_width``'s slack."""
    mean = float(np.maximum(changes, 0).sum()) / n
    return max(0.0, mean - 1.5 * math.sqrt(mean * effect / n))


@lru_cache(maxsize=2)
def bootstrap_weights(units: int) -> NDArray[np.float64]:
    """How often each unit is drawn, float64 [``DRAWS``, units]; the same for every metric, so that they pair."""
    generator = np.random.default_rng([_SEED, units])
    weights = np.empty((DRAWS, units))
    for row in weights:
        row[:] = np.bincount(generator.integers(units, size=units), minlength=units)
    weights.flags.writeable = False
    return weights


def bootstrap_indices(n: int, draws: int) -> Iterator[NDArray[np.int64]]:
    """Rows drawn with replacement, int64 [n], resample after resample; seeded by ``n`` alone."""
    generator = np.random.default_rng([_SEED, n])
    for _ in range(draws):
        yield generator.integers(n, size=n)


def bootstrap_bounds(
    value: float, draws: NDArray[np.float64], n: int, effect: float, alpha: float
) -> tuple[float, float] | None:
    """The wider, side by side, of the percentile bounds and ``value`` -+ ``half_width`` of the draws' spread.

    Percentiles alone are too narrow where few units carry the spread; the draws' tail is too thin for a small
    ``alpha``, where only the second is used. None when the draws do not vary or are not finite.
    """
    if n < 2 or not np.isfinite(draws).all():
        return None
    deviation = float(draws.std(ddof=1))
    if not deviation > 1e-12 * max(1.0, abs(value)):
        return None
    half = half_width(deviation, n, effect, alpha)
    low, high = value - half, value + half
    if alpha * draws.shape[0] >= 10:
        percentiles = np.quantile(draws, [alpha, 1 - alpha])
        low, high = min(low, float(percentiles[0])), max(high, float(percentiles[1]))
    return low, high


@dataclass(frozen=True)
class Upward:
    """By how much a sum of absolute deviations lies above the truth, for their noise alone.

    Noise adds to |d| what a folded normal distribution has above |d|: most where there is no deviation at all, least
    where the whole deviation is spread as the noise is.

    Attributes:
        errors: float64 [k], standard error of each deviation.
    """

    errors: NDArray[np.float64]

    @property
    def most(self) -> float:
        """What no deviation at all would show."""
        return float(self.errors.sum()) * math.sqrt(2 / math.pi)

    def least(self, truth: float) -> float:
        """The least that is added to a sum of so much."""
        from scipy.special import ndtr

        whole = float(self.errors.sum())
        if not whole > 0:
            return 0.0
        z = truth / whole
        shown = z * (2 * float(ndtr(z)) - 1) + 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return whole * (shown - z)

    def bounds(self, value: float, error: float, n: int, effect: float, alpha: float) -> tuple[float, float]:
        """Bounds of the true sum out of the one that was seen."""
        half = half_width(error, n, effect, alpha)
        low, high = 0.0, value + half
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if middle + self.least(middle) < value + half else (low, middle)
        return value - half - self.most, high
