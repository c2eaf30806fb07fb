"""Evaluation data that drifted by exactly the bound since the release: numbers by tenths, values, several columns, unequal numbers of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from gate_designs import Design, Draw, Floats

from gradatim.gates.case import Case
from gradatim.gates.distribution import Drift
from gradatim.gates.drift import Column, counted, drift, planned
from gradatim.gates.rule import Rule

_BREAKS = "values that are rarer than rows show"


def designs() -> Iterator[Design]:
    for amount in (0.1, 0.25):
        rule = Rule("drift", "drift", "at_most", amount)
        for n, before in ((100, 100), (400, 400), (400, 2000), (2000, 400), (1500, 1500)):
            for name, pair in (
                ("two values", _values(np.array([0.7, 0.3]), amount)),
                ("ten values", _values(np.full(10, 0.1), amount)),
                ("values of 0.5 to 50 %", _values(np.array([0.5, 0.3, 0.15, 0.03, 0.015, 0.005]), amount)),
                ("tenths of numbers", _shifted(amount)),
            ):
                label = f"drift of {name}, index {amount}, {before} rows before"
                yield Design(label, "size", n, (rule,), _case(n, before, [pair]), _BREAKS)
        many = [_values(np.full(10, 0.1), amount)] * 5
        label = f"drift of five columns, all at {amount}, 1000 rows before"
        yield Design(label, "size", 1000, (rule,), _case(1000, 1000, many), _BREAKS)
    rows = planned(0.1, 0.05, 0.8)
    rule = Rule("drift", "drift", "at_most", 0.1)
    same = [_values(np.full(10, 0.1), 0.0)]
    yield Design(
        "drift of ten values that did not change", "power", rows, (rule,), _case(rows, rows, same), _BREAKS
    )


def _case(
    n: int, before: int, pairs: list[Callable[[np.random.Generator, int, int], tuple[Column, Column]]]
) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        drawn = {f"c{place}": pair(generator, before, n) for place, pair in enumerate(pairs)}
        kept = {name: counted(old) for name, (old, _) in drawn.items()}
        found = drift(kept, {name: new for name, (_, new) in drawn.items()}, units=(before, n))
        return Case("candidate", drift=Drift(tuple(found), units=n))

    return one


def _index(old: Floats, new: Floats) -> float:
    return float(((new - old) * np.log(new / old)).sum())


def _solved(changed: Callable[[float], tuple[Floats, Floats]], amount: float) -> float:
    """How far a change goes so that the index is ``amount``."""
    low, high = 0.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _index(*changed(middle)) < amount else (low, middle)
    return low


def _values(old: Floats, amount: float) -> Callable[[np.random.Generator, int, int], tuple[Column, Column]]:
    """Values whose shares are tilted one way."""

    def tilted(by: float) -> tuple[Floats, Floats]:
        new = old * np.exp(by * np.linspace(-1, 1, old.shape[0]))
        return old, new / new.sum()

    _, new = tilted(_solved(tilted, amount))
    names = np.array([f"v{place}" for place in range(old.shape[0])])
    return lambda generator, before, n: (
        generator.choice(names, before, p=old),
        generator.choice(names, n, p=new),
    )


def _shifted(amount: float) -> Callable[[np.random.Generator, int, int], tuple[Column, Column]]:
    """Normal numbers whose mean moved; the index is over the tenths of the population."""
    from scipy.special import ndtr, ndtri

    edges = ndtri(np.linspace(0, 1, 11))

    def moved(by: float) -> tuple[Floats, Floats]:
        return np.full(10, 0.1), np.diff(ndtr(edges - by))

    by = _solved(moved, amount)
    return lambda generator, before, n: (generator.normal(size=before), generator.normal(by, 1, n))
