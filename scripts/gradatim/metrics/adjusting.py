"""A mean over rows adjusted by a covariate of theirs whose mean over all of the population is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gradatim.metrics import intervals, tails
from gradatim.metrics.diagnostics import Adjusted, Covariate
from gradatim.metrics.population import RecipeSamples
from gradatim.metrics.samples import Floats, MetricSamples
from gradatim.metrics.units import Units

FEW = 50
"""With fewer rows the slope is too little known."""

FEW_GROUPS = 20
"""With fewer groups of rows it is, too."""


@dataclass(frozen=True)
class Adjuster:
    """A covariate of the rows that are judged.

    Attributes:
        covariate: what is known of it.
        x: of each row, float64 [n] in their order, finite.
    """

    covariate: Covariate
    x: Floats

    def told(self, samples: MetricSamples) -> float | None:
        """The share of what rows (or groups of them) vary by that it tells; None of what is no mean over all of the rows."""
        found = self._by_unit(samples)
        return None if found is None else float(np.corrcoef(*found[:2])[0, 1] ** 2)

    def adjust(self, samples: MetricSamples, alpha: float) -> Adjusted | None:
        """The mean moved by the slope on the covariate times how far the rows' mean lies from the population's (the regression
        estimator [1]_); None where ``told`` is, or nothing is left to vary.

        Its bias and what it varies by are those that leaving out one row, or group of rows, at a time shows, which counts the slope
        in, and what it hangs on (of groups this is CR3 [2]_). What a mean that comes from unlabelled rows leaves open is added
        (prediction-powered [3]_).

        .. [1] Cochran (1977), Sampling Techniques, 7.
        .. [2] Bell, McCaffrey (2002), Survey Methodology 28(2).
        .. [3] Angelopoulos et al. (2023), Science 382(6671).
        """
        by_unit, value, told = self._by_unit(samples), samples.value, self.told(samples)
        if by_unit is None or value is None or told is None:
            return None
        influence, apart, left = by_unit
        n, off = influence.shape[0], float(self.x.mean()) - self.covariate.mean
        squares = float(apart @ apart)
        slope = float(apart @ influence) / squares
        share = 1 / n + apart * apart / squares
        slopes = slope - apart * (influence - slope * apart) / (squares * np.maximum(1 - share, 1e-9))
        without = -influence / left - slopes * (off - apart / left)
        found = value - slope * off - (n - 1) * (float(without.mean()) + slope * off)
        alone = samples.on_rows if isinstance(samples, RecipeSamples) else samples
        bounds = _bounds(alone, found, (n - 1) * (without.mean() - without), alpha)
        if bounds is None:
            return None
        beside = intervals.normal(alpha) * abs(slope) * self.covariate.error
        down, up = (math.hypot(side, beside) for side in (found - bounds[0], bounds[1] - found))
        low, high = found - down, found + up
        if isinstance(samples, RecipeSamples):
            low, high = samples.widened(found, (low, high), alpha)
        low, high = max(low, samples.low_limit), min(high, samples.high_limit)
        return Adjusted(self.covariate.column, told, found, alpha, low, high)

    def _by_unit(self, samples: MetricSamples) -> tuple[Floats, Floats, Floats] | None:
        """What each row, or group of rows, adds to a mean over all of the rows, and to that of the covariate; and how many units are
        left without it. None of another metric, and where all add the same."""
        units = samples.units or Units.of(None, self.x.shape[0])
        influence = samples.linearised() if samples.terms is None else None
        rows = units.count if units.codes is None else units.codes.shape[0]
        if influence is None or influence.shape != (units.count,) or rows != self.x.shape[0] or units.kinds:
            return None
        of_part = samples.counted and samples.effect != 1.0
        mean = not (of_part or samples.jackknifed or units.weights is not None) and samples.upward is None
        apart = units.influence(self.x - self.x.mean())
        if not mean or min(influence.std(), apart.std()) <= 1e-12:
            return None
        return influence, apart, units.count - units.influence(np.ones(rows))


def _bounds(
    samples: MetricSamples, value: float, influence: Floats, alpha: float
) -> tuple[float, float] | None:
    """Bounds around a value that varies as the influence does; one more row may be as far off as any can be."""
    if not influence.std() > 1e-9:
        return None
    if samples.units is not None:  # few groups may carry the spread
        most = intervals.student(influence.shape[0] - 1, alpha)
        influence = influence * intervals.student(intervals.freedom(influence), alpha) / most
    if not samples.ended:
        return replace(samples, value=value, influence=influence, outcomes=None).bounds(alpha)
    together = samples.worth(1.0) or 1.0
    down = max(together * (value - samples.low_limit), -float(influence.min()))
    up = max(together * (samples.high_limit - value), float(influence.max()))
    low, high = tails.bounds(influence, alpha, down), tails.bounds(influence, alpha, up)
    return None if low is None or high is None else (value + low[0], value + high[1])
