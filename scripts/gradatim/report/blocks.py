"""Small pictures of plain characters, for places that strip real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def bar(share: float) -> str:
    """A bar that fills ``share`` (0 to 1) of ten characters; some of it for all but nothing."""
    eighths = round(min(max(share, 0.0), 1.0) * 10 * 8)
    if share > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def spark(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """Values as a row of blocks between ``low`` and ``high`` (their own range when not given)."""
    if not values:
        return ""
    floor = min(values) if low is None else low
    room = (max(values) if high is None else high) - floor
    steps = [(value - floor) / room if room > 0 else 0.5 for value in values]
    return "".join(_LEVELS[min(7, max(0, math.floor(step * 8)))] for step in steps)


def whisker(
    value: float,
    low: float | None,
    high: float | None,
    span: tuple[float, float],
    mark: float | None = None,
    width: int = 40,
) -> str:
    """A dot with its interval on a line from ``span[0]`` to ``span[1]``; ``mark`` draws a threshold."""
    cells = [" "] * width
    start, end = span

    def cell(at: float) -> int:
        share = (at - start) / (end - start) if end > start else 0.5
        return min(width - 1, max(0, round(share * (width - 1))))

    if low is not None and high is not None:
        first, last = cell(low), cell(high)
        for index in range(first, last + 1):
            cells[index] = "─"
        cells[first], cells[last] = "├", "┤"
    if mark is not None:
        cells[cell(mark)] = "┆"
    cells[cell(value)] = "●"
    return "".join(cells)
