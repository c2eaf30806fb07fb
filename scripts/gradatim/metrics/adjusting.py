"""A mean over rows adjusted by a covariate of theirs whose mean over all of the population is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gradatim.metrics import intervals, tails
from gradatim.metrics.diagnostics import Adjusted, Covariate
from gradatim.metrics.population import RecipeSamples
from gradatim.metrics.samples import Floats, MetricSamples

FEW = 50
"""With fewer rows the slope is too little known."""


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
        """The share of what rows vary by that it tells; None of what is no mean over all of the rows."""
        influence = self._by_row(samples)
        return None if influence is None else float(np.corrcoef(influence, self.x)[0, 1] ** 2)

    def adjust(self, samples: MetricSamples, alpha: float) -> Adjusted | None:
        """The mean moved by the slope on the covariate times how far the rows' mean lies from the population's (the regression
        estimator [1]_); None where ``told`` is, or nothing is left to vary.

        Its bias and what it varies by are those that leaving out one row at a time shows, which counts the slope in, and the rows
        that it hangs on. What a mean that comes from unlabelled rows leaves open is added (prediction-powered [2]_).

        .. [1] Cochran (1977), Sampling Techniques, 7.
        .. [2] Angelopoulos et al. (2023), Science 382(6671).
        """
        influence, value, n = self._by_row(samples), samples.value, self.x.shape[0]
        told = self.told(samples)
        if influence is None or value is None or told is None:
            return None
        apart, off = self.x - self.x.mean(), float(self.x.mean()) - self.covariate.mean
        squares = float(apart @ apart)
        slope = float(apart @ influence) / squares
        share = 1 / n + apart * apart / squares
        slopes = slope - apart * (influence - slope * apart) / (squares * np.maximum(1 - share, 1e-9))
        without = -influence / (n - 1) - slopes * (off - apart / (n - 1))
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

    def _by_row(self, samples: MetricSamples) -> Floats | None:
        """What each row adds to a mean over all of the rows; None of another metric, and where all add the same."""
        influence = samples.linearised() if samples.terms is None else None
        if influence is None or influence.shape != self.x.shape or samples.units is not None:
            return None
        of_part = samples.counted and samples.effect != 1.0
        mean = not (of_part or samples.jackknifed) and samples.upward is None
        return influence if mean and influence.std() > 1e-12 else None


def _bounds(
    samples: MetricSamples, value: float, influence: Floats, alpha: float
) -> tuple[float, float] | None:
    """Bounds around a value that varies as the influence does; one more row may be as far off as any can be."""
    if not influence.std() > 1e-9:
        return None
    if not (math.isfinite(samples.low_limit) and math.isfinite(samples.high_limit)):
        return replace(samples, value=value, influence=influence, outcomes=None, by_row=None).bounds(alpha)
    down = max(value - samples.low_limit, -float(influence.min()))
    up = max(samples.high_limit - value, float(influence.max()))
    low, high = tails.bounds(influence, alpha, down), tails.bounds(influence, alpha, up)
    return None if low is None or high is None else (value + low[0], value + high[1])
