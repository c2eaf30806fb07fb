"""Numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gradatim.measurement import multiple
from gradatim.metrics.catalogue import Metric


def number(value: float | None, metric: Metric) -> str:
    """A value of a metric: ``79.5 %``, ``12.3 ms``, ``1.4 MB``, ``0.0123``."""
    if value is None:
        return "nothing"
    if metric.fraction:
        return percent(value)
    factor, symbol = multiple(value, metric.unit)
    told = {"1": "", "1/s": "a second"}.get(symbol, symbol.replace("µ", "u"))
    return f"{plain(value / factor)} {told}".rstrip()


def interval(low: float | None, high: float | None, metric: Metric) -> str:
    """``(67.0 .. 88.9)`` behind a value, empty without bounds."""
    if low is None or high is None:
        return ""
    if metric.fraction:
        places = _places((low, high), 1 if high - low >= 0.005 else 2)
        return f" ({100 * low:.{places}f} .. {100 * high:.{places}f})"
    return f" ({number(low, metric)} .. {number(high, metric)})"


def percent(share: float, places: int = 1) -> str:
    """``79.5 %``, with more digits where fewer would say all or nothing of what is neither: ``99.95 %``, ``over 99.9999 %``; a
    bound is given without idle zeros: ``90 %``."""
    places = _places((share,), places)
    if _false(share, places):
        return "over 99.9999 %" if share > 0.5 else "under 0.0001 %"
    return f"{100 * share:.{places}f} %"


def bound(value: float, metric: Metric) -> str:
    """A threshold as it stands in the contract: ``90 %``, ``5 MB``."""
    return f"{_short(100 * value)} %" if metric.fraction else number(value, metric)


def points(share: float, metric: Metric) -> str:
    """A difference: ``1.2 points`` for fractions, else the number in its unit."""
    if not metric.fraction:
        return number(share, metric)
    text = _short(round(100 * share, 2 if abs(share) < 0.01 else 1))
    return f"{text} point" if text == "1" else f"{text} points"


def plain(value: float) -> str:
    """Three or four significant digits, no exponent for everyday numbers."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 1e6:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.4g}"


def about(count: float) -> int:
    """A planned number of samples, rounded up to two digits, so that it claims no more than it knows."""
    whole = math.ceil(count)
    if whole < 100:
        return whole
    scale = int(10 ** (len(str(whole)) - 2))
    return math.ceil(whole / scale) * scale


def count(n: int, noun: str) -> str:
    """``1 sample``, ``44 samples``."""
    return f"{n} {noun[:-1] if n == 1 and noun.endswith('s') else noun}"


def untold(n: int, noun: str) -> str:
    """``44 samples do not tell``."""
    return f"{count(n, noun)} {'does' if n == 1 else 'do'} not tell"


def _short(value: float) -> str:
    return f"{round(value, 6):.10g}"


def _places(shares: Iterable[float], least: int) -> int:
    """Digits behind the point, four at the most, with which none of some shares is shown as all or nothing that is neither."""
    shown = list(shares)
    return next(
        (places for places in range(least, 5) if not any(_false(share, places) for share in shown)), 4
    )


def _false(share: float, places: int) -> bool:
    return (
        math.isfinite(share)
        and abs(share - round(share)) > 1e-8
        and round(100 * share, places) in (0.0, 100.0)
    )
