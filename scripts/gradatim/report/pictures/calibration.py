"""Confidence against accuracy: on the diagonal, 80 % sure means right in 80 of 100 cases."""

from __future__ import annotations

from gradatim.metrics.diagnostics import CalibrationBin
from gradatim.report import numbers
from gradatim.report.model import Calibration
from gradatim.report.numbers import PERCENT
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale
from gradatim.report.svg import circle, label, line, picture, polyline, rectangle

WIDTH, HEIGHT = 480, 372
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 26, 26, 92


def draw_calibration(calibration: Calibration) -> str:
    """The reliability diagram with the number of samples per bin beneath; empty without bins."""
    if not calibration.candidate:
        return ""
    x = Scale(0.0, 1.0, _LEFT, WIDTH - _RIGHT)
    y = Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    parts = [
        axes.left(y, PERCENT, _LEFT, WIDTH - _RIGHT, about=4),
        axes.bottom(x, PERCENT, HEIGHT - _BOTTOM, _TOP, about=4),
        polyline([(x(0), y(0)), (x(1), y(1))], "reference"),
        label((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - _BOTTOM + 33, "confidence", "muted small", "middle"),
        label(_LEFT - 8, HEIGHT - 6, "samples", "muted small", "end"),
        line(_LEFT, HEIGHT - 3, WIDTH - _RIGHT, HEIGHT - 3, "grid"),
    ]
    most = max(b.n for b in calibration.candidate) or 1
    for b in calibration.candidate:
        tall = max(44 * b.n / most, 1.5)
        parts.append(
            rectangle(x(b.confidence) - 8, HEIGHT - 3 - tall, 16, tall, "candidate column", f"{b.n} samples")
        )
    if calibration.baseline:
        parts.append(polyline(_points(calibration.baseline, x, y), "baseline curve dashed"))
    now = _points(calibration.candidate, x, y)
    parts.append(polyline(now, "candidate curve"))
    parts += [
        circle(
            *place,
            4,
            "candidate dot",
            f"{PERCENT(b.confidence)} sure, {PERCENT(b.accuracy)} right, {b.n} samples",
        )
        for place, b in zip(now, _filled(calibration.candidate), strict=True)
    ]
    parts.append(label(_LEFT, 12, "share that was right", "muted small"))
    told = f"Expected calibration error {numbers.quality('ece', calibration.ece)}"
    if calibration.ece is not None:
        parts.append(label(WIDTH - _RIGHT, 12, told, "muted small", "end"))
    if calibration.baseline:
        foot = HEIGHT - _BOTTOM - 14
        parts.append(polyline([(x(0.72), foot), (x(0.72) + 26, foot)], "baseline curve dashed"))
        parts.append(label(x(0.72) + 33, foot + 4, "baseline", "baseline"))
    return picture("calibration", WIDTH, HEIGHT, "Calibration: confidence and accuracy", told, *parts)


def _filled(bins: tuple[CalibrationBin, ...]) -> list[CalibrationBin]:
    return sorted((b for b in bins if b.n), key=lambda b: b.confidence)


def _points(bins: tuple[CalibrationBin, ...], x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x(b.confidence), y(b.accuracy)) for b in _filled(bins)]
