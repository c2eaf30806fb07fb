"""Size, quality and time over the versions: a panel each, and no line between what cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.evidence.trend import Trend
from gradatim.report import numbers
from gradatim.report.numbers import NumberFormat
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.svg import circle, label, line, picture, polyline
from gradatim.report.text import fitting, one_line

WIDTH = 560
_PANEL, _LEFT, _RIGHT, _TOP, _BOTTOM = 132, 62, 16, 26, 28
_LABELS = 6


def draw_history(trends: Sequence[Trend]) -> str:
    """The newest version to the right; empty where no metric has two versions."""
    shown = [trend for trend in trends if len(trend.points) > 1]
    if not shown:
        return ""
    parts, told = [], []
    for place, trend in enumerate(shown):
        drawn, text = _panel(trend, place * _PANEL)
        parts.append(drawn)
        told.append(text)
    return picture("history", WIDTH, _PANEL * len(shown), "Over the versions", "; ".join(told), *parts)


def _panel(trend: Trend, above: float) -> tuple[str, str]:
    points = trend.points
    form = numbers.number_format([point.value for point in points], trend.unit, trend.metric)
    y = Scale(
        *extent(
            [v for p in points for v in (p.value, p.low, p.high)],
            0.08,
            share=numbers.is_percent(trend.metric),
        ),
        above + _PANEL - _BOTTOM,
        above + _TOP,
    )
    x = Scale(0.5, len(points) + 0.5, _LEFT, WIDTH - _RIGHT)
    parts = [
        label(0, above + 14, trend.metric.replace("_", " "), "strong small"),
        axes.left(y, axes.tick_format(y, form, 3), _LEFT, WIDTH - _RIGHT, about=3),
    ]
    stride = max(1, -(-len(points) // _LABELS))
    for n in range(len(points), 0, -stride):
        name = fitting(points[n - 1].version, 84, 11)
        parts.append(label(x(n), above + _PANEL - 10, name, "muted small", "middle"))
    n = 0
    for run in trend.runs():
        places = [(x(n + i), y(point.value)) for i, point in enumerate(run, 1)]
        if n:
            at = (x(n) + x(n + 1)) / 2
            parts.append(line(at, above + _TOP, at, above + _PANEL - _BOTTOM, "reference"))
        parts += [polyline(places, "candidate curve")] if len(run) > 1 else []
        for (across, up), point in zip(places, run, strict=True):
            if point.low is not None and point.high is not None:
                parts.append(line(across, y(point.low), across, y(point.high), "candidate whisker"))
            parts.append(
                circle(across, up, 4, "candidate dot", f"{one_line(point.version)}: {form(point.value)}")
            )
        n += len(run)
    return "".join(parts), f"{trend.metric}: {_told(trend, form)}"


def _told(trend: Trend, form: NumberFormat) -> str:
    return ", ".join(f"{one_line(point.version)} {form(point.value)}" for point in trend.points)
