"""One gate over the versions that it judged: the value, how sure it was, and the bound that was wanted then."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale, extent
from gradatim.report.sentences import TONES
from gradatim.report.svg import circle, diamond, label, line, picture, polyline
from gradatim.report.text import fitting, one_line
from gradatim.report.verdicts import gate_format

WIDTH, HEIGHT = 344, 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 32, 24


def draw_gate_history(points: Sequence[tuple[str, GateResult]], name: str) -> str:
    """Versions to the right, oldest first, the value of the gate upwards; empty where none of them has a number."""
    found = [(version, gate) for version, gate in points if gate.value is not None]
    if not found:
        return ""
    form = gate_format(found[-1][1])
    values = [v for _, gate in found for v in (gate.value, gate.low, gate.high, gate.threshold)]
    y = Scale(*extent(values), HEIGHT - _BOTTOM, _TOP)
    write, right = axes.tick_format(y, form, 4), WIDTH - _RIGHT
    left = max(_LEFT, axes.room(y, write, about=4))
    room = (right - left) / len(found)
    x = Scale(0, max(len(found) - 1, 1), left + room / 2, right - room / 2 if len(found) > 1 else right)
    heading = one_line(found[-1][1].gate, 60)
    parts = [
        label(0, 14, fitting(heading, WIDTH, 12.5), "strong"),
        axes.left(y, write, left, right, about=4),
        polyline([(x(i), y(gate.value or 0.0)) for i, (_, gate) in enumerate(found)], "candidate curve"),
    ]
    for place, (version, gate) in enumerate(found):
        parts += _point(x(place), y, gate, room, f"{version}: {form(gate.value)}, {gate.verdict.value}")
        parts.append(label(x(place), HEIGHT - 6, fitting(version, room, 11), "muted small", "middle"))
    told = "; ".join(f"{version}: {form(gate.value)}" for version, gate in found)
    return picture(name, WIDTH, HEIGHT, f"{heading} over versions", told, *parts)


def _point(x: float, y: Scale, gate: GateResult, room: float, hint: str) -> list[str]:
    tone, value = TONES[gate.verdict], y(gate.value or 0.0)
    parts = []
    if gate.threshold is not None:
        parts.append(line(x - room / 2, y(gate.threshold), x + room / 2, y(gate.threshold), "threshold"))
    ends = [y(bound) for bound in (gate.low, gate.high) if bound is not None]
    if ends:
        parts.append(line(x, min(*ends, value), x, max(*ends, value), f"{tone} whisker"))
    if gate.verdict is Verdict.PASS:
        return [*parts, circle(x, value, 4.5, f"{tone} dot", hint)]
    return [*parts, diamond(x, value, f"{tone} dot")]
