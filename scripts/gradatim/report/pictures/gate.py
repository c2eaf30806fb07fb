"""One gate as a whisker against its threshold: right of the line passes."""

from __future__ import annotations

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report import numbers
from gradatim.report.scale import Scale
from gradatim.report.sentences import TONES
from gradatim.report.svg import circle, diamond, line, picture, rectangle
from gradatim.report.verdicts import gate_format, higher_is_better, is_difference

WIDTH, HEIGHT = 232, 30
_MIDDLE = HEIGHT / 2
_THRESHOLD = 74.0
_END = WIDTH - 8.0
_START = 6.0


def draw_gate(gate: GateResult, name: str) -> str:
    """The whisker; empty when the gate has no number or no threshold.

    Better is always to the right and every threshold stands at the same place, so that the pictures of all
    gates read as one. The right end is the best value there is (100 %, 0 ms), or as far as the interval goes.
    """
    if gate.value is None or gate.threshold is None:
        return ""
    tone = TONES[gate.verdict]
    at = _position(gate)
    value = at(_better_by(gate, gate.value))
    form = gate_format(gate)
    parts = [
        rectangle(_THRESHOLD, 4, _END - _THRESHOLD, HEIGHT - 8, "band"),
        line(_START, _MIDDLE, _END, _MIDDLE, "grid"),
    ]
    if gate.low is not None or gate.high is not None:
        ends = [at(_better_by(gate, bound)) for bound in (gate.low, gate.high) if bound is not None]
        parts.append(line(min(*ends, value), _MIDDLE, max(*ends, value), _MIDDLE, f"{tone} whisker"))
    parts.append(line(_THRESHOLD, 1, _THRESHOLD, HEIGHT - 1, "threshold"))
    parts.append(_mark(value, gate.verdict, tone))
    written = form.estimate(gate.value, gate.low, gate.high)
    return picture(
        name, WIDTH, HEIGHT, f"{gate.gate}: {gate.verdict.value}", f"{written}, wanted {gate.wanted}", *parts
    )


def _better_by(gate: GateResult, value: float) -> float:
    distance = value - (gate.threshold or 0.0)
    return distance if higher_is_better(gate) else -distance


def _position(gate: GateResult) -> Scale:
    threshold = gate.threshold or 0.0
    reached = [_better_by(gate, v) for v in (gate.value, gate.low, gate.high) if v is not None]
    most = max(*reached, abs(threshold) * 1e-6, 1e-12) * 1.1
    if is_difference(gate) or gate.unit == "s/s":
        most = max(most, abs(threshold - 1 if gate.unit == "s/s" else threshold) * 2)
    elif higher_is_better(gate) and numbers.is_percent(gate.rule):
        most = max(1 - threshold, most / 1.1)
    elif not higher_is_better(gate) and threshold > 0:
        most = max(threshold, most / 1.1)
    least = min(*reached, 0.0) * 1.1
    per_unit = min((_END - _THRESHOLD) / most, (_THRESHOLD - _START) / -least if least else float("inf"))
    return Scale(-(_THRESHOLD - _START) / per_unit, (_END - _THRESHOLD) / per_unit, _START, _END)


def _mark(x: float, verdict: Verdict, tone: str) -> str:
    if verdict is Verdict.PASS:
        return circle(x, _MIDDLE, 5.5, f"{tone} dot")
    return diamond(x, _MIDDLE, f"{tone} dot")
