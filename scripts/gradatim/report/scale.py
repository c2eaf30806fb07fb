"""From values to pixels, and where the ticks of an axis go."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` to pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside stop at the ends."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low * 1e-9))
        share = (at - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the scale."""
        if self.logarithmic:
            return _log_ticks(self.low, self.high, about)
        step = _round_step((self.high - self.low) / max(about, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def extent(
    values: Iterable[float | None], padding: float = 0.06, *, share: bool = False
) -> tuple[float, float]:
    """The range of some values, a little wider; never empty.

    Args:
        share: whether they are shares of something: no axis of theirs goes beyond 0 % or 100 % where they do not.
    """
    present = [value for value in values if value is not None]
    if not present:
        return 0.0, 1.0
    low, high = min(present), max(present)
    room = (high - low) * padding or abs(low) * 0.1 or 0.5
    if share and low >= 0 and high <= 1:
        return max(low - room, 0.0), min(high + room, 1.0)
    return low - room, high + room


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least ``gap`` apart and, as far as there is room, between the ends."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    last = low - gap
    for index in order:
        placed[index] = last = max(wanted[index], last + gap)
    limit = high
    for index in reversed(order):
        placed[index] = limit = min(placed[index], limit)
        limit -= gap
    return placed


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * 0.999)


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**power for power in powers for f in factors if low <= f * 10.0**power <= high]
        if len(found) <= about + 1:
            return found
    stride = math.ceil(len(found) / about)
    return found[::stride]
