"""Slices as dots and whiskers against the threshold, the weakest first."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.gates.verdict import Verdict
from gradatim.report import numbers
from gradatim.report.model import Slice
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.sentences import TONES, words
from gradatim.report.svg import circle, diamond, group, label, line, picture
from gradatim.report.text import fitting, one_line, width_of

WIDTH = 560
_ROW = 24
_TOP, _BOTTOM = 34, 30
_VALUES = 128
SHOWN = 24


def draw_slices(slices: Sequence[Slice], name: str) -> str:
    """One metric over the parts of one column.

    Args:
        slices: of one metric and one column; of more than ``SHOWN`` the weakest are drawn.
        name: unique on the page.
    """
    shown = slices[:SHOWN]
    left = min(max(max(width_of(one_line(s.part), 12) for s in shown) + 14, 40.0), 170.0)
    metric, unit = shown[0].metric, shown[0].unit
    values = [v for s in shown for v in (s.value, s.low, s.high, s.baseline, s.threshold)]
    low, high = extent(values, 0.05, share=unit == "1" and numbers.is_percent(metric))
    x = Scale(low, high, left + 8, WIDTH - _VALUES - 8)
    height = _TOP + _ROW * len(shown) + _BOTTOM
    form = numbers.number_format([v for s in shown for v in (s.value, s.low, s.high)], unit, metric)
    foot = height - _BOTTOM
    parts = [axes.bottom(x, axes.tick_format(x, form), foot, _TOP - 8)]
    column = fitting(shown[0].column, 150)
    named = width_of(column) + 8
    thresholds = {s.threshold for s in shown if s.threshold is not None}
    if len(thresholds) == 1:
        (threshold,) = thresholds
        parts.append(line(x(threshold), _TOP - 8, x(threshold), foot, "threshold"))
        written = f"wanted {form.short(threshold)}"
        half = width_of(written, 11) / 2
        anchor = (
            "end" if x(threshold) + half > WIDTH else "start" if x(threshold) - half < named else "middle"
        )
        parts.append(label(x(threshold), _TOP - 15, written, "small", anchor))
    parts += [
        _row(s, _TOP + _ROW * (i + 0.5), x, left, form, common=len(thresholds) == 1)
        for i, s in enumerate(shown)
    ]
    parts.append(label(0, 15, column, "muted small"))
    parts.append(
        label(WIDTH - 46, 15, "value", "muted small", "end") + label(WIDTH, 15, "n", "muted small", "end")
    )
    weakest = shown[0]
    worst = form.estimate(weakest.value, weakest.low, weakest.high)
    told = f"The weakest is {one_line(weakest.part)} with {worst}."
    heading = f"{words(metric)} by {one_line(weakest.column, 60)}"
    return picture(name, WIDTH, height, heading, told, *parts)


def weakest_first(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices by metric and column, each group with what failed and the worst values first."""
    groups: dict[tuple[str, str], list[Slice]] = {}
    for item in slices:
        groups.setdefault((item.metric, item.column), []).append(item)
    return [sorted(found, key=_weakness) for found in groups.values()]


def _weakness(item: Slice) -> tuple[bool, float]:
    refused = item.verdict in (Verdict.FAIL, Verdict.INVALID)
    return not refused, item.value if item.higher_is_better else -item.value


def _row(item: Slice, y: float, x: Scale, left: float, form: numbers.NumberFormat, *, common: bool) -> str:
    tone = TONES[item.verdict] if item.verdict else "candidate"
    parts = [
        label(left, y + 4, fitting(item.part, left), "strong" if item.verdict is Verdict.FAIL else "", "end")
    ]
    if item.threshold is not None and not common:
        parts.append(line(x(item.threshold), y - 9, x(item.threshold), y + 9, "threshold"))
    if item.baseline is not None:
        parts.append(line(x(item.baseline), y - 7, x(item.baseline), y + 7, "baseline whisker"))
    if item.low is not None and item.high is not None:
        parts.append(line(x(item.low), y, x(item.high), y, f"{tone} whisker"))
    at = x(item.value)
    if item.verdict in (None, Verdict.PASS):
        parts.append(circle(at, y, 5, f"{tone} dot"))
    else:
        parts.append(diamond(at, y, f"{tone} dot"))
    parts.append(
        label(WIDTH - 46, y + 4, form(item.value), "strong" if item.verdict is Verdict.FAIL else "", "end")
    )
    parts.append(label(WIDTH, y + 4, numbers.count(item.n) if item.n else "", "faint small", "end"))
    hint = f"{one_line(item.part)}: {form.estimate(item.value, item.low, item.high)}"
    if item.baseline is not None:
        hint += f", baseline {form(item.baseline)}"
    return group(*parts, hint=hint)
