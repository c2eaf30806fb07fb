"""The paired benchmark: the ratio round by round, and how the calls of each contestant are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradatim.report import numbers
from gradatim.report.model import Latency, TimedModel
from gradatim.report.numbers import PERCENT
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent, spread_apart
from gradatim.report.svg import circle, group, label, line, picture, polyline, rectangle
from gradatim.report.text import fitting, one_line, width_of

WIDTH, HEIGHT = 560, 252
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 96, 24, 48
_ROUNDS = 100
_CURVES = 6


def draw_rounds(latency: Latency) -> str:
    """Every round as a dot, their mean with its interval as a band; empty when nothing was paired."""
    rounds = [math.exp(d) for d in latency.rounds[:_ROUNDS]]
    if not rounds:
        return ""
    ratio = latency.ratio
    bounds = [ratio.value, ratio.low, ratio.high] if ratio else []
    limit = None if latency.margin is None else 1 + latency.margin
    near = _near(rounds)
    y = Scale(*extent([*rounds, *bounds, *([1.0, limit] if near else [])], 0.08), HEIGHT - _BOTTOM, _TOP)
    form = numbers.number_format(rounds, "s/s")
    write, right = axes.tick_format(y, form), WIDTH - _RIGHT
    left = max(_LEFT, axes.room(y, write))
    x = Scale(0.5, len(rounds) + 0.5, left, right)
    parts = [axes.left(y, write, left, right)]
    stride = max(1, math.ceil(len(rounds) / 12))
    for n in range(1, len(rounds) + 1, stride):
        parts.append(label(x(n), HEIGHT - _BOTTOM + 17, f"{n}", "muted small", "middle"))
    parts.append(label((left + right) / 2, HEIGHT - 13, "round", "muted small", "middle"))
    lines: list[tuple[float, str, str]] = []
    if near:
        parts.append(line(left, y(1.0), right, y(1.0), "reference"))
        lines.append((y(1.0), "baseline", "muted small"))
    if near and limit is not None:
        parts.append(line(left, y(limit), right, y(limit), "threshold"))
        lines.append((y(limit), f"limit {form.short(limit)}", "small"))
    if ratio:
        if ratio.low is not None and ratio.high is not None:
            top, foot = y(ratio.high), y(ratio.low)
            parts.append(rectangle(left, top, right - left, max(foot - top, 1.5), "candidate area"))
            if not near:
                lines += [(top, form(ratio.high), "muted small"), (foot, form(ratio.low), "muted small")]
        parts.append(line(left, y(ratio.value), right, y(ratio.value), "candidate whisker"))
        lines.append((y(ratio.value), form(ratio.value), "candidate strong"))
    if not near:
        arrow = "↑" if rounds[0] < 1 else "↓"
        parts.append(
            label(WIDTH, 12, f"{arrow} far off: the baseline, 0{numbers.SPACE}%", "muted small", "end")
        )
    parts += [
        circle(x(i), y(r), 4, "candidate dot", f"round {i}: {form(r)}") for i, r in enumerate(rounds, 1)
    ]
    levels = spread_apart([at for at, _, _ in lines], 15, _TOP, HEIGHT - _BOTTOM)
    for level, (_, text, kind) in zip(levels, lines, strict=True):
        parts.append(label(right + 8, level + 4, text, kind))
    parts.append(label(left, 12, f"{latency.timed}, beside the baseline in the same round", "muted small"))
    told = form.estimate(*bounds) if ratio else f"{len(rounds)} rounds"
    return picture("latency-rounds", WIDTH, HEIGHT, "Paired benchmark, round by round", told, *parts)


def draw_distribution(contestants: Sequence[TimedModel]) -> str:
    """The share of calls that were done within a time, per contestant; empty without such points."""
    drawn = [c for c in contestants if len(c.ecdf) >= 2 and all(t > 0 for t, _ in c.ecdf)][:_CURVES]
    if not drawn:
        return ""
    times = [t for c in drawn for t, _ in c.ecdf]
    low, high = min(times), max(times)
    wide = high > 8 * low
    x = Scale(*((low / 1.1, high * 1.1) if wide else extent(times, 0.04)), _LEFT, WIDTH - 24, wide)
    y = Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    form = numbers.number_format(times, "s")
    write = _in_its_own_unit if wide else axes.tick_format(x, form, 6)
    parts = [
        axes.left(y, PERCENT, _LEFT, WIDTH - 24, about=4),
        axes.bottom(x, write, HEIGHT - _BOTTOM, _TOP, about=6, name="time per call"),
        label(_LEFT, 12, "calls done within this time", "muted small"),
    ]
    for contestant in drawn:
        tone = "baseline" if contestant.name == "baseline" else "candidate"
        dashed = " dashed" if tone == "baseline" else ""
        parts.append(polyline(_steps(contestant, x, y), f"{tone} curve{dashed}"))
    parts.append(_names(drawn, x, y))
    told = "; ".join(
        f"{one_line(c.name)} " + ", ".join(f"{q} {numbers.seconds(t)}" for q, t in c.quantiles.items())
        for c in drawn
    )
    return picture("latency-distribution", WIDTH, HEIGHT, "Time per call of each contestant", told, *parts)


def _in_its_own_unit(value: float) -> str:
    return numbers.number_format([value], "s").short(value)


def _near(rounds: Sequence[float]) -> bool:
    """Whether the baseline can be shown on one axis with the rounds without hiding how they differ."""
    low, high = min(rounds), max(rounds)
    return max(low - 1, 1 - high, 0.0) <= 4 * (high - low) or low == high


def _steps(contestant: TimedModel, x: Scale, y: Scale) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for seconds, share in contestant.ecdf:
        if found:
            found.append((x(seconds), found[-1][1]))
        found.append((x(seconds), y(share)))
    return found


def _names(drawn: Sequence[TimedModel], x: Scale, y: Scale) -> str:
    """Each name beside the median of its curve, kept apart from the others."""
    order = sorted(drawn, key=lambda c: _median(c))
    levels = spread_apart([y(0.5 - 0.14 * i) for i in range(len(order))], 16, _TOP, HEIGHT - _BOTTOM - 8)
    parts = []
    for contestant, level in zip(order, levels, strict=True):
        name, at = fitting(contestant.name, 130), x(_at_level(contestant, y, level)) + 9
        if at + width_of(name, 12) > WIDTH - 24:
            at -= 18 + width_of(name, 12)
        tone = "baseline" if contestant.name == "baseline" else "candidate"
        parts.append(label(at, level + 4, name, f"{tone} strong"))
    return group(*parts)


def _median(contestant: TimedModel) -> float:
    return next((t for t, share in contestant.ecdf if share >= 0.5), contestant.ecdf[-1][0])


def _at_level(contestant: TimedModel, y: Scale, level: float) -> float:
    return next((t for t, share in contestant.ecdf if y(share) <= level), contestant.ecdf[-1][0])
