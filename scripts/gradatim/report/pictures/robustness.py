"""One corruption: how the candidate and the baseline fall as it grows."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.report import numbers
from gradatim.report.model import Curve
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.svg import circle, label, line, picture, polygon, polyline
from gradatim.report.text import fitting, one_line, width_of

WIDTH, HEIGHT = 344, 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 34, 32, 24


def common_extent(curves: Sequence[Curve]) -> tuple[float, float]:
    """One vertical range for all curves, so that they can be compared."""
    values = [v for c in curves for p in c.points for v in (p.candidate, p.baseline, p.low, p.high)]
    low, high = extent([*values, *(c.threshold for c in curves)], 0.05)
    if all(c.unit == "1" and numbers.is_percent(c.metric) for c in curves):
        # an error is drawn as a loss: below zero, and no share of anything
        seen = [value for value in values if value is not None]
        low = low if min(seen, default=0.0) < 0 else max(low, 0.0)
        high = high if max(seen, default=1.0) > 1 else min(high, 1.0)
    return low, high


def draw_curve(curve: Curve, name: str, vertical: tuple[float, float]) -> str:
    """Severity to the right, the metric upwards within ``vertical``."""
    points = sorted(curve.points, key=lambda p: p.severity)
    form = numbers.number_format([p.candidate for p in points], curve.unit, curve.metric)
    known = [p.baseline for p in points if p.baseline is not None]
    last, last_before = form.bare(points[-1].candidate), form.bare(known[-1] if known else None)
    right = WIDTH - max(_RIGHT, 12 + width_of(last), 12 + width_of(last_before))
    x = Scale(points[0].severity, max(points[-1].severity, points[0].severity + 1), _LEFT + 8, right - 8)
    y = Scale(*vertical, HEIGHT - _BOTTOM, _TOP)
    parts = [
        label(0, 14, fitting(curve.corruption.replace("_", " "), WIDTH, 12.5), "strong"),
        axes.left(y, axes.tick_format(y, form, 4), _LEFT, right, about=4),
    ]
    parts += [label(x(p.severity), HEIGHT - 6, f"{p.severity}", "muted small", "middle") for p in points]
    if curve.threshold is not None:
        parts.append(line(_LEFT, y(curve.threshold), right, y(curve.threshold), "threshold"))
    band = [p for p in points if p.low is not None and p.high is not None]
    if len(band) >= 2:
        edge = [(x(p.severity), y(p.high or 0.0)) for p in band]
        back = [(x(p.severity), y(p.low or 0.0)) for p in reversed(band)]
        parts.append(polygon([*edge, *back], "candidate area"))
    before = [(x(p.severity), y(p.baseline)) for p in points if p.baseline is not None]
    now = [(x(p.severity), y(p.candidate)) for p in points]
    if before:
        parts.append(polyline(before, "baseline curve dashed"))
    parts.append(polyline(now, "candidate curve"))
    parts += [
        circle(*place, 3.5, "candidate dot", f"severity {p.severity}: {form(p.candidate)}")
        for place, p in zip(now, points, strict=True)
    ]
    parts += _ends(now[-1], before[-1] if before else None, last, last_before, right)
    told = "; ".join(f"severity {p.severity}: {form(p.candidate)}" for p in points)
    heading = f"{curve.metric} under {one_line(curve.corruption, 60)}"
    return picture(name, WIDTH, HEIGHT, heading, told, *parts)


def _ends(
    now: tuple[float, float], before: tuple[float, float] | None, text: str, text_before: str, right: float
) -> list[str]:
    """The last value of each curve beside its end, kept apart."""
    if before is None:
        return [label(right + 4, now[1] + 4, text, "candidate small strong")]
    gap = max(13.0 - abs(now[1] - before[1]), 0.0) / 2
    up = -gap if now[1] <= before[1] else gap
    return [
        label(right + 2, now[1] + 4 + up, text, "candidate small strong"),
        label(right + 2, before[1] + 4 - up, text_before, "baseline small"),
    ]
