"""Sections of a report from flat measurements and gates."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from gradatim.evidence.found import Evaluated
from gradatim.gates.verdict import GateResult
from gradatim.measurement import Measurement
from gradatim.report import numbers
from gradatim.report.model import Curve, Severity, Slice

_NAMED = 8
_SEVERITY = re.compile(r"(?P<corruption>.+):(?P<severity>\d+)\Z")


def slices_from(
    measurements: Iterable[Measurement],
    gates: Sequence[GateResult],
    variant: str,
    baseline: str = "baseline",
    lower_is_better: Container[str] = (),
) -> tuple[Slice, ...]:
    """Every measurement of ``variant`` restricted to ``column=part``, with the baseline's and its gate.

    A gate on the difference from the baseline lends its verdict but no threshold: that is in another unit.
    """
    told = (item for item in measurements if item.where and "=" in item.where and item.value is not None)
    # a size of call is no slice of the data
    found = [item for item in told if not numbers.is_relative(item.name)]
    before = {item.label: item.value for item in found if item.variant == baseline}
    judged = {gate.gate: gate for gate in gates if gate.variant == variant}
    slices = []
    for item in found:
        if item.variant != variant or item.where is None or item.value is None:
            continue
        column, part = item.where.split("=", 1)
        gate = judged.get(item.label)
        absolute = gate is not None and gate.baseline is None
        slices.append(
            Slice(
                item.name,
                column,
                part,
                item.value,
                item.low,
                item.high,
                item.n,
                item.unit,
                before.get(item.label),
                gate.threshold if gate and absolute else None,
                gate.verdict if gate else None,
                item.name not in lower_is_better,
            )
        )
    return tuple(slices)


def curves_from(
    measurements: Iterable[Measurement], variant: str, baseline: str = "baseline"
) -> tuple[Curve, ...]:
    """Every metric measured at ``corruption:severity``; severity 0 is the metric on all of the clean data."""
    found = [item for item in measurements if item.value is not None]
    clean = {(item.variant, item.name): item for item in found if item.where is None}
    curves: dict[tuple[str, str], dict[int, dict[str, Measurement]]] = {}
    for item in found:
        match = _SEVERITY.match(item.where or "")
        if match and item.variant in (variant, baseline):
            severities = curves.setdefault((match["corruption"], item.name), {})
            severities.setdefault(int(match["severity"]), {})[item.variant] = item
    drawn = []
    for (corruption, metric), severities in curves.items():
        at_zero = {who: clean[who, metric] for who in (variant, baseline) if (who, metric) in clean}
        severities.setdefault(0, at_zero)
        points = tuple(
            Severity(
                severity,
                pair[variant].value or 0.0,
                pair[baseline].value if baseline in pair else None,
                pair[variant].low,
                pair[variant].high,
            )
            for severity, pair in sorted(severities.items())
            if variant in pair
        )
        if points:
            unit = next(pair[variant].unit for pair in severities.values() if variant in pair)
            drawn.append(Curve(corruption, points, metric, unit))
    return tuple(drawn)


def hints_from(evaluated: Evaluated | None) -> tuple[str, ...]:
    """What a person should look at and no gate judged: weak slices, and data that are other ones than the release's."""
    if evaluated is None:
        return ()
    weak = (
        f"{weak.where}: {weak.value:.1%} of {weak.n} against {weak.rest:.1%} elsewhere. Found in the data, so "
        "a hint and never a gate.".replace("%", " %")
        for weak in evaluated.weak_slices
    )
    changed = evaluated.drift.changed if evaluated.drift else ()
    told = [f"{one.column} (PSI {one.psi:.2f})" for one in changed[:_NAMED]] + ["..."] * (
        len(changed) > _NAMED
    )
    of = f"{len(changed)} of {len(evaluated.drift.columns)}" if evaluated.drift else ""
    drifted = (
        (f"The evaluation data changed since the release in {of} columns: {', '.join(told)}.",)
        if told
        else ()
    )
    return (*weak, *drifted)
