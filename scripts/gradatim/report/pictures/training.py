"""One metric as training logged it, step by step: the candidate's and the baseline's, on the same axes."""

from __future__ import annotations

from collections.abc import Iterator

from gradatim.lineage.record import Lineage, LoggedMetric
from gradatim.report import numbers
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.svg import circle, label, picture, polyline
from gradatim.report.text import fitting, one_line

WIDTH, HEIGHT = 344, 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 32, 40


def logged(
    training: Lineage, before: Lineage | None
) -> Iterator[tuple[str, LoggedMetric, LoggedMetric | None]]:
    """Each metric that training logged more than once, with the baseline's of the same name; losses first."""
    names = [name for name, metric in training.metrics.items() if len(metric.log) > 1]
    for name in sorted(names, key=lambda name: "loss" not in name.lower()):
        theirs = before.metrics.get(name) if before else None
        yield name, training.metrics[name], theirs if theirs and len(theirs.log) > 1 else None


def draw_training(metric: str, mine: LoggedMetric, theirs: LoggedMetric | None, name: str) -> str:
    """Steps to the right, the metric upwards; the baseline dashed. Runs of different length are drawn over their own steps."""
    both = [mine, *([theirs] if theirs else [])]
    x = Scale(*extent([step for one in both for step, _ in one.log], 0), _LEFT, WIDTH - _RIGHT)
    y = Scale(*extent([value for one in both for _, value in one.log]), HEIGHT - _BOTTOM, _TOP)
    parts = [
        label(0, 14, fitting(one_line(metric), WIDTH, 12.5), "strong"),
        axes.left(y, _short, _LEFT, WIDTH - _RIGHT, about=4),
        axes.bottom(x, _short, HEIGHT - _BOTTOM, _TOP, about=4),
    ]
    if theirs:
        parts.append(polyline([(x(step), y(value)) for step, value in theirs.log], "baseline curve dashed"))
    parts.append(polyline([(x(step), y(value)) for step, value in mine.log], "candidate curve"))
    told = []
    for who, one in zip(("candidate", "baseline"), both, strict=False):
        step, value = one.log[-1]
        broken = f", {one.nonfinite} of {one.count} values no number" if one.nonfinite else ""
        told.append(
            f"{who}: {_short(one.log[0][1])} to {_short(value)} in {numbers.plural(one.count, 'value')}{broken}"
        )
        parts.append(circle(x(step), y(value), 3.5, f"{who} dot", told[-1]))
    parts.append(label(_LEFT, HEIGHT - 4, "step, as logged", "muted small"))
    return picture(name, WIDTH, HEIGHT, f"{one_line(metric, 60)} in training", "; ".join(told), *parts)


def _short(value: float) -> str:
    return f"{value:.4g}"
