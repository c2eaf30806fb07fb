"""Axes with round ticks and a light grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradatim.report.numbers import NumberFormat
from gradatim.report.scale import Scale
from gradatim.report.svg import group, label, line
from gradatim.report.text import width_of

_DECIMALS = 6
"""No axis shows more: what differs behind them is noise."""


def bottom(
    scale: Scale, write: Callable[[float], str], y: float, top: float, *, about: int = 5, name: str = ""
) -> str:
    """A horizontal axis at ``y`` with grid lines up to ``top``; its name stands below the ticks."""
    parts = []
    for tick in scale.ticks(about):
        parts.append(line(scale(tick), top, scale(tick), y, "grid"))
        parts.append(label(scale(tick), y + 17, write(tick), "muted small", "middle"))
    parts.append(line(scale.start, y, scale.end, y, "axis"))
    if name:
        parts.append(label((scale.start + scale.end) / 2, y + 35, name, "muted", "middle"))
    return group(*parts)


def left(scale: Scale, write: Callable[[float], str], x: float, right: float, *, about: int = 5) -> str:
    """A vertical axis at ``x`` with grid lines up to ``right``."""
    parts = []
    for tick in scale.ticks(about):
        parts.append(line(x, scale(tick), right, scale(tick), "grid"))
        parts.append(label(x - 8, scale(tick) + 4, write(tick), "muted small", "end"))
    return group(*parts)


def room(scale: Scale, write: Callable[[float], str], *, about: int = 5) -> float:
    """The pixels that the ticks of a vertical axis take at its left; signs are wider than letters."""
    return max((8 + 1.2 * width_of(write(tick)) for tick in scale.ticks(about)), default=0.0)


def tick_format(scale: Scale, write: NumberFormat, about: int = 5) -> Callable[[float], str]:
    """``write`` with as many digits as the ticks need: more where two would read the same, fewer where all end in zeros."""
    ticks = scale.ticks(about)
    shown = [write(tick) for tick in ticks]
    while len(set(shown)) < len(ticks) and write.decimals < _DECIMALS:
        write = replace(write, decimals=write.decimals + 1)
        shown = [write(tick) for tick in ticks]
    zeros = min((_needless(text) for text in shown), default=0)

    def short(value: float) -> str:
        text = write(value)
        return _cut(text, zeros) if zeros else text

    return short


def _fraction(text: str) -> tuple[int, int] | None:
    point = text.find(".")
    if point < 0:
        return None
    end = point + 1
    while end < len(text) and text[end].isdigit():
        end += 1
    return point, end


def _needless(text: str) -> int:
    place = _fraction(text)
    if not place:
        return 99
    digits = text[place[0] + 1 : place[1]]
    return len(digits) - len(digits.rstrip("0"))


def _cut(text: str, zeros: int) -> str:
    place = _fraction(text)
    if not place:
        return text
    point, end = place
    kept = max(end - zeros, point + 1)
    return text[: kept if kept > point + 1 else point] + text[end:]
