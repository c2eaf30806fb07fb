"""Variants by size and time per call (by quality, where nothing was timed)."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.report import numbers
from gradatim.report.model import VariantRow
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.svg import circle, content, diamond, element, group, label, line, picture, polyline
from gradatim.report.text import fitting, one_line, width_of

WIDTH, HEIGHT = 560, 372
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 22, 66
_LABELLED = 16
_SHOWN = 200

_PLACES = (
    (13, 4, 0.0),
    (-13, 4, 1.0),
    (0, -14, 0.5),
    (0, 22, 0.5),
    (11, -9, 0.0),
    (11, 19, 0.0),
    (-11, -9, 1.0),
    (-11, 19, 1.0),
)
"""Where a label may stand beside its mark: offsets and which share of it lies left of its anchor."""

_ANCHORS = {0.0: "start", 0.5: "middle", 1.0: "end"}

Box = tuple[float, float, float, float]


def draw_variants(variants: Sequence[VariantRow]) -> str:
    """The scatter; empty when fewer than two variants can be placed."""
    timed = [v for v in variants if v.size and v.latency]
    if len(timed) >= 2:
        return _scatter(timed, timing=True)
    graded = [v for v in variants if v.size and v.quality]
    return _scatter(graded, timing=False) if len(graded) >= 2 else ""


def _scatter(variants: list[VariantRow], *, timing: bool) -> str:
    variants = sorted(variants, key=lambda v: (not v.chosen, not v.baseline, v.accepted is False))[:_SHOWN]
    sizes = [float(v.size or 0) for v in variants]
    wide = max(sizes) > 12 * min(sizes)
    low, high = extent(sizes, 0.1)
    x = Scale(
        *((min(sizes) / 1.4, max(sizes) * 1.4) if wide else (max(low, 0), high)), _LEFT, WIDTH - _RIGHT, wide
    )
    heights = [h for v in variants for h in _interval(v, timing=timing)]
    metric = next(iter(variants[0].quality), "")
    shares = not timing and numbers.is_percent(metric)
    y = Scale(*extent([*heights, 1.0] if timing else heights, 0.1, share=shares), HEIGHT - _BOTTOM, _TOP)
    write_x = numbers.number_format(sizes, "B")
    write_y = numbers.number_format(heights, "s/s") if timing else numbers.number_format(heights, "1", metric)
    parts = [
        axes.left(y, axes.tick_format(y, write_y), _LEFT, WIDTH - _RIGHT),
        axes.bottom(x, axes.tick_format(x, write_x), HEIGHT - _BOTTOM, _TOP, name="size"),
        label(_LEFT, 13, "time per call, beside the baseline" if timing else f"{metric}", "muted small"),
    ]
    if timing:
        parts.append(line(_LEFT, y(1), WIDTH - _RIGHT, y(1), "reference"))
    places = [(x(size), y(_height(v, timing=timing))) for v, size in zip(variants, sizes, strict=True)]
    marks = [_mark(v, place, y, metric, timing=timing) for v, place in zip(variants, places, strict=True)]
    parts += reversed(marks)
    parts += _labels(variants, places, metric, y, timing=timing)
    parts.append(_legend(variants))
    chosen = next((v for v in variants if v.chosen), None)
    told = f"{len(variants)} variants" + (
        f"; chosen: {one_line(chosen.name)}, {_tell(chosen, metric)}" if chosen else ""
    )
    return picture("variants", WIDTH, HEIGHT, "Size and time per call of the variants", told, *parts)


def _height(variant: VariantRow, *, timing: bool) -> float:
    if timing and variant.latency:
        return variant.latency.value
    return next(iter(variant.quality.values()))


def _interval(variant: VariantRow, *, timing: bool) -> list[float]:
    values = [_height(variant, timing=timing)]
    if timing and variant.latency:
        values += [end for end in (variant.latency.low, variant.latency.high) if end is not None]
    return values


def _state(variant: VariantRow) -> str:
    if variant.baseline:
        return "baseline"
    if variant.chosen:
        return "chosen"
    return "not accepted" if variant.accepted is False else "candidate"


def _mark(variant: VariantRow, place: tuple[float, float], y: Scale, metric: str, *, timing: bool) -> str:
    state = _state(variant)
    tone = {"baseline": "baseline", "not accepted": "fail"}.get(state, "candidate")
    parts = []
    if timing and variant.latency and variant.latency.low is not None and variant.latency.high is not None:
        parts.append(
            line(place[0], y(variant.latency.low), place[0], y(variant.latency.high), f"{tone} whisker")
        )
    if state == "chosen":
        parts.append(circle(*place, 11, "candidate area"))
    return group(*parts, _symbol(state, *place), hint=f"{one_line(variant.name)}: {_tell(variant, metric)}")


def _symbol(state: str, x: float, y: float) -> str:
    """Each state has a shape of its own, so that none depends on colour."""
    if state == "baseline":
        return diamond(x, y, "baseline hollow")
    if state == "not accepted":
        falling = polyline([(x - 5, y - 5), (x + 5, y + 5)], "fail cross")
        return falling + polyline([(x - 5, y + 5), (x + 5, y - 5)], "fail cross")
    return circle(x, y, 7, "candidate dot") if state == "chosen" else circle(x, y, 5.5, "candidate hollow")


def _tell(variant: VariantRow, metric: str) -> str:
    told = [numbers.size(variant.size)]
    if variant.latency:
        told.append(f"time {numbers.change(variant.latency.value)}")
    if metric in variant.quality:
        told.append(f"{metric} {numbers.quality(metric, variant.quality[metric])}")
    return ", ".join(told)


def _labels(
    variants: list[VariantRow], places: list[tuple[float, float]], metric: str, y: Scale, *, timing: bool
) -> list[str]:
    """Names beside their marks where they fit; a name that would cover something is left to the table."""
    taken: list[Box] = [(px - 8, py - 8, px + 8, py + 8) for px, py in places]
    if timing:
        taken.append((_LEFT, y(1) - 1, WIDTH, y(1) + 1))
    found = []
    for variant, (px, py) in list(zip(variants, places, strict=True))[:_LABELLED]:
        name = fitting(variant.name, 120)
        value = (
            numbers.quality(metric, variant.quality[metric]) if timing and metric in variant.quality else ""
        )
        for told in (value, "") if value else ("",):
            place = _free_place(px, py, width_of(name, 12) + (width_of(told, 12) + 7 if told else 0), taken)
            if place:
                x, base, anchor = place
                kind = "strong" if variant.chosen else None
                parts = [element("tspan", content(name), class_=kind)]
                if told:
                    parts.append(element("tspan", content(told), class_="muted", dx=7))
                found.append(element("text", *parts, x=x, y=base, text_anchor=anchor))
                break
    return found


def _free_place(px: float, py: float, width: float, taken: list[Box]) -> tuple[float, float, str] | None:
    """Where a label of this width fits beside its mark; the place is then taken."""
    for dx, dy, anchor in _PLACES:
        start, base = px + dx - anchor * width, py + dy
        box = (start, base - 11, start + width, base + 4)
        inside = box[0] > _LEFT and box[2] < WIDTH - _RIGHT and box[1] > _TOP and box[3] < HEIGHT - _BOTTOM
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return px + dx, base, _ANCHORS[anchor]
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(variants: list[VariantRow]) -> str:
    present = {_state(variant) for variant in variants}
    graded = any(variant.accepted for variant in variants)
    parts, at = [], float(_LEFT)
    for state in ("chosen", "candidate", "not accepted", "baseline"):
        if state in present:
            told = "within the budget" if state == "candidate" and graded else state
            parts.append(_symbol(state, at + 6, HEIGHT - 12.0))
            parts.append(label(at + 19, HEIGHT - 8, told, "muted small"))
            at += 42 + width_of(told, 11)
    return group(*parts)
