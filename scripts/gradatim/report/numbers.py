"""Numbers for people: one way to write each quantity, in every rendering.

A space before the unit (ISO 80000-1), decimal prefixes, a real minus sign, no more digits than can be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gradatim.measurement import multiple
from gradatim.metrics.catalogue import TASKS, TIMINGS, find

NONE = "\N{EN DASH}"
"""Stands where there is no number."""

MINUS = "\N{MINUS SIGN}"
SPACE = "\N{NO-BREAK SPACE}"
THIN = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class NumberFormat:
    """How to write the numbers of one quantity, so that they can be compared digit by digit.

    Attributes:
        factor: what a value is multiplied by before it is written.
        offset: what is taken from it before that.
        decimals: digits after the point.
        suffix: the unit, without its space.
        signed: whether a positive number gets its plus.
    """

    factor: float = 1.0
    offset: float = 0.0
    decimals: int = 0
    suffix: str = ""
    signed: bool = False

    def bare(self, value: float | None) -> str:
        """The number without its unit."""
        if value is None or not math.isfinite(value):
            return NONE
        return _digits((value - self.offset) * self.factor, self.decimals, self.signed)

    def __call__(self, value: float | None) -> str:
        """The number with its unit."""
        text = self.bare(value)
        return text if text == NONE or not self.suffix else f"{text}{SPACE}{self.suffix}"

    def short(self, value: float | None) -> str:
        """The number with its unit, without zeros at its end: ``90 %`` for a bound that is stated so."""
        text = self.bare(value)
        head, point, tail = text.partition(".")
        tail = tail.rstrip("0")
        text = f"{head}{point}{tail}" if tail else head
        return text if text == NONE or not self.suffix else f"{text}{SPACE}{self.suffix}"

    def interval(self, low: float | None, high: float | None) -> str:
        """``67.0 .. 88.9``, without a unit; empty when there is none."""
        if low is None and high is None:
            return ""
        return f"{self.bare(low)} .. {self.bare(high)}"

    def estimate(self, value: float | None, low: float | None, high: float | None) -> str:
        """``79.5 % (67.0 .. 88.9)``."""
        between = self.interval(low, high)
        return f"{self(value)} ({between})" if between else self(value)


PERCENT = NumberFormat(100.0, suffix="%")
"""Whole per cents, for axes."""


@lru_cache(maxsize=1024)
def is_percent(metric: str) -> bool:
    """Whether a metric is told in per cent: ``recall[class=8]`` is, ``log_loss`` and own metrics are not."""
    found = (find(metric.split("[")[0], task) for task in TASKS)
    return any(meaning.fraction for meaning in found if meaning)


def is_relative(metric: str) -> bool:
    """Whether a difference from the baseline is told as a share of it: a latency 3 % higher."""
    return metric.startswith(TIMINGS)


def number_format(
    values: Iterable[float | None], unit: str = "1", metric: str = "", *, difference: bool = False
) -> NumberFormat:
    """The format that suits some values of one quantity.

    Args:
        values: the values to be written side by side; None is skipped.
        unit: as in ``Measurement``: ``1``, ``s``, ``B``, ``s/s``, ``1/s``, ``count``; others are kept.
        metric: what is measured, which tells percent from plain numbers where the unit is ``1``.
        difference: whether they are differences from the baseline, which get a sign.
    """
    present = [value for value in values if value is not None and math.isfinite(value)]
    largest = max((abs(value) for value in present), default=0.0)
    if unit == "s/s":
        changes = [abs(value - 1) * 100 for value in present]
        return NumberFormat(100.0, 1.0, 1 if max(changes, default=0.0) >= 0.1 else 2, "%", signed=True)
    if unit == "1" and difference and is_relative(metric):
        return NumberFormat(100.0, 0.0, 1, "%", signed=True)
    if unit == "1" and is_percent(metric):
        return NumberFormat(
            100.0, 0.0, _percent_decimals(present), "points" if difference else "%", signed=difference
        )
    factor, symbol = multiple(largest, unit, digits=3)
    decimals = 0 if symbol in ("B", "") else _decimals(largest / factor)
    suffix = {"1": "", "1/s": "/s"}.get(symbol, symbol)
    return NumberFormat(1 / factor, 0.0, decimals, suffix, difference)


def size(value: float | None) -> str:
    """Bytes: ``369 kB``."""
    return number_format([value], "B")(value)


def seconds(value: float | None) -> str:
    """A time of a call: ``1.24 ms``."""
    return number_format([value], "s")(value)


def duration(value: float | None) -> str:
    """A time that people wait: ``0.2 s``, ``41 s``, ``2 min 5 s``."""
    if value is None:
        return NONE
    if value < 0.1:
        return f"{value * 1000:.0f}{SPACE}ms"
    if value < 9.95:
        return f"{value:.1f}{SPACE}s"
    whole = round(value)
    if whole < 100:
        return f"{whole}{SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{SPACE}min{SPACE}{whole % 60}{SPACE}s"
    return f"{whole // 3600}{SPACE}h{SPACE}{whole % 3600 // 60}{SPACE}min"


def change(ratio: float | None) -> str:
    """A ratio to the baseline as a change: 0.417 is 58.3 % less."""
    return number_format([ratio], "s/s")(ratio)


def count(value: int | None) -> str:
    """A count with its thousands apart: ``1 214``."""
    return NONE if value is None else _digits(float(value), 0, signed=False)


def quality(metric: str, value: float | None) -> str:
    """The value of a metric with the unit 1: ``98.3 %``, or ``0.0421``."""
    return number_format([value], "1", metric)(value)


def digest(value: str) -> str:
    """The first twelve digits of a long hex digest; anything else as it is."""
    head, _, tail = value.rpartition(":")
    if len(tail) < 32 or any(letter not in "0123456789abcdef" for letter in tail):
        return value
    return f"{head}:{tail[:12]}" if head else tail[:12]


def plural(number: int, one: str) -> str:
    """``1 gate``, ``12 gates``."""
    return f"{count(number)} {one if number == 1 else one + 's'}"


def _percent_decimals(values: list[float]) -> int:
    """One, or more where one would turn 99.97 % into 100.0 %, or 0.02 % into 0.0 %."""
    for decimals in (1, 2, 3):
        shown = [round(abs(value) * 100, 6) for value in values]
        if all((s in (0, 100)) or round(s, decimals) not in (0, 100) for s in shown):
            return decimals
    return 3


def _decimals(largest: float) -> int:
    """Three significant digits, at most four behind the point; whole numbers from 100 on."""
    if largest == 0:
        return 0
    return min(4, max(0, 2 - math.floor(math.log10(float(f"{largest:.3g}")))))


def _digits(value: float, decimals: int, signed: bool) -> str:
    text = f"{abs(value):,.{decimals}f}".replace(",", THIN)
    zero = not text.strip(f"0.{THIN}")
    if value < 0 and not zero:
        return f"{MINUS}{text}"
    return f"+{text}" if signed and not zero else text
