"""One gate for a reader without statistics: what was asked, what was found, how sure that is, what to do next."""

from __future__ import annotations

import math
from dataclasses import replace

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report import numbers
from gradatim.report.text import one_line


def plainly(gate: GateResult, *, named: bool = False) -> str:
    """Its verdict without a word of statistics; empty where no number was found, and ``gate.text`` says all there is.

    Args:
        named: whether the sentence says which gate it is about.
    """
    if gate.value is None or gate.threshold is None or gate.verdict is Verdict.INVALID:
        return ""
    found = _told(gate, gate.value)
    if gate.n > 1:
        found += f" {'in' if _timed(gate) else 'on'} {numbers.plural(gate.n, _unit(gate))}"
    of = f" of {one_line(gate.gate, 60)}" if named else ""
    return f"Asked{of}: {one_line(gate.wanted, 120)}. Found: {found}{_sureness(gate)}{_next(gate)}"


def is_difference(gate: GateResult) -> bool:
    """Whether the value of a gate is a difference from the baseline."""
    return gate.baseline is not None and gate.candidate is not None and gate.value != gate.candidate


def gate_format(gate: GateResult) -> numbers.NumberFormat:
    """The one format for the value, the interval and the threshold of a gate."""
    values = [gate.value, gate.low, gate.high]
    return numbers.number_format(
        values if any(value is not None for value in values) else [gate.threshold],
        gate.unit,
        gate.rule,
        difference=is_difference(gate),
    )


def detectable_text(gate: GateResult) -> str:
    """The minimum detectable effect of a gate, in the unit of its value."""
    if gate.detectable is None:
        return numbers.NONE
    if gate.unit == "s/s" or (gate.unit == "1" and is_difference(gate) and numbers.is_relative(gate.rule)):
        return f"{gate.detectable * 100:.1f}{numbers.SPACE}%"
    form = numbers.number_format([gate.detectable], gate.unit, gate.rule)
    if gate.unit == "1" and numbers.is_percent(gate.rule):
        return f"{form.bare(gate.detectable)}{numbers.SPACE}points"
    return form(gate.detectable)


def higher_is_better(gate: GateResult) -> bool:
    """Which side of the threshold passes."""
    value, threshold = gate.value or 0.0, gate.threshold or 0.0
    if gate.verdict is Verdict.PASS and value != threshold:
        return value > threshold
    if gate.verdict is Verdict.FAIL and value != threshold:
        return value < threshold
    if gate.unit in ("s", "B", "s/s"):
        return False
    if is_difference(gate) and threshold:
        return threshold < 0
    return not gate.wanted.startswith("at most")


def room(gate: GateResult) -> float:
    """How far it is from its bound, at the nearest end of its interval; infinite without a bound."""
    ends = [end for end in (gate.low, gate.high, gate.value) if end is not None]
    return min((abs(end - gate.threshold) for end in ends if gate.threshold is not None), default=math.inf)


def _sureness(gate: GateResult) -> str:
    """How far the number can be trusted, to the end of the sentence."""
    if gate.low is None or gate.high is None:
        counted = gate.verdict is not Verdict.INCONCLUSIVE
        return (
            ", which is counted, not estimated." if counted else ", too few to know how far chance moved it."
        )
    worst, best = (gate.low, gate.high) if higher_is_better(gate) else (gate.high, gate.low)
    if gate.verdict is Verdict.PASS and _meets(gate, worst):
        return f"; even at the worst that these allow, {_told(gate, worst)}."
    if gate.verdict is Verdict.FAIL and not _meets(gate, best):
        return f"; even at the best that these allow, {_told(gate, best)}."
    between = f"; truly it may be anything from {_told(gate, worst)} to {_told(gate, best)}"
    both = _meets(gate, best) and not _meets(gate, worst)
    return f"{between}, which is on both sides of what is asked." if both else f"{between}."


def _next(gate: GateResult) -> str:
    """What to do about it, as a sentence; nothing where it passes."""
    if gate.verdict is Verdict.PASS or gate.value is None:
        return ""
    unit = f"{_unit(gate)}s"
    if gate.verdict is Verdict.FAIL:
        kind = "smaller" if gate.unit == "B" else "faster" if gate.rule.startswith("latency") else "better"
        cure = f"a {kind} model, or a gate that asks for less"
        return (
            f" It takes {cure}."
            if gate.low is None
            else f" More {unit} would not change that: it takes {cure}."
        )
    if not _meets(gate, gate.value):
        return f" What was found misses what is asked: a better model helps more than more {unit}."
    more = "more" if gate.needed is None else f"about {numbers.count(gate.needed)}"
    return f" Give it {more} {unit}, or a gate that asks for less."


def _told(gate: GateResult, value: float) -> str:
    """A value with its unit; a difference from the baseline as how much better or worse."""
    form = gate_format(gate)
    if not (is_difference(gate) or (numbers.is_relative(gate.rule) and gate.baseline is not None)):
        return form(value)
    size = replace(form, signed=False)(abs(value))
    if not any(digit in "123456789" for digit in size):
        return "the same"
    good = (value > 0) == higher_is_better(gate)
    words = ("faster", "slower") if gate.rule.startswith("latency") else ("better", "worse")
    return f"{size} {words[0] if good else words[1]}"


def _meets(gate: GateResult, value: float) -> bool:
    """Whether a value is on the good side of what is asked."""
    threshold = gate.threshold or 0.0
    return value >= threshold if higher_is_better(gate) else value <= threshold


def _timed(gate: GateResult) -> bool:
    return numbers.is_relative(gate.rule)


def _unit(gate: GateResult) -> str:
    return "round" if _timed(gate) else "sample"
