"""Do rows of today look like the rows that a model was judged on? Column by column, with all columns counted in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.gates.distribution import ColumnCounts, Drifted
from gradatim.gates.slices import holm
from gradatim.gates.verdict import Verdict
from gradatim.metrics.intervals import normal

PSI_THAT_MATTERS = 0.1
"""Population stability index from which a change is worth a look; over 0.25 it is large, by the custom of credit scoring [1]_.

.. [1] Siddiqi (2006), Credit Risk Scorecards, Wiley.
"""

FEWEST = 30
"""Rows below which nothing is said."""

_FEW_VALUES = 20
_MOST_VALUES = 64
_EXPECTED = 5

Column = NDArray[Any]


def counted(column: Column) -> ColumnCounts:
    """How the values of a column are spread, [n] of numbers or text; numbers that are missing are counted apart."""
    known = _plain(column)
    known = known[np.isfinite(known)] if is_numbers(known) else known
    values, times = np.unique(known, return_counts=True)
    if is_numbers(column) and len(values) > _FEW_VALUES:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, 11)))[1:-1]
        kept = ColumnCounts((), tuple(edges.tolist()))
    else:
        often = np.sort(np.argsort(-times, kind="stable")[:_MOST_VALUES])
        kept = ColumnCounts((), (), tuple(str(values[i]) for i in often if times[i] >= _EXPECTED))
    return ColumnCounts(tuple(count(kept, column).tolist()), kept.edges, kept.values)


def count(kept: ColumnCounts, column: Column) -> NDArray[np.int64]:
    """How many rows of another column fall where, as ``ColumnCounts.counts``."""
    if kept.edges:
        numbers = _numbers(column)
        cells = np.searchsorted(kept.edges, numbers) + (len(kept.edges) + 1) * ~np.isfinite(numbers)
        return np.bincount(np.minimum(cells, len(kept.edges) + 1), minlength=len(kept.edges) + 2)
    place = {value: cell for cell, value in enumerate(kept.values)}
    values, times = np.unique(_plain(column).astype(str), return_counts=True)
    cells = np.array([place.get(value, len(place)) for value in values.tolist()], np.int64)
    return np.bincount(cells, times, minlength=len(place) + 1).astype(np.int64)


def drift(
    reference: Mapping[str, Column | ColumnCounts],
    batch: Mapping[str, Column],
    alpha: float = 0.01,
    units: tuple[int, int] | None = None,
) -> list[Drifted]:
    """Compare columns, the most changed first.

    Numbers by Kolmogorov and Smirnov's test, few values by chi-square with rare ones put together. A proof alone is not enough,
    for of endless rows any difference is proven: the stability index says whether it matters.

    Args:
        reference, batch: [n] and [m] of numbers or text, by column; of the reference the counts will do, by chi-square alone.
        alpha: how often at most any column is called changed where none is.
        units: independent units of both, where rows come in groups.

    Raises:
        InvalidInput: columns differ, or there is none.
    """
    if not reference or set(reference) != set(batch):
        raise InvalidInput(f"There is nothing to compare: {sorted(reference)} beside {sorted(batch)}.")
    found = [_compared(name, reference[name], batch[name], units) for name in reference]
    results = []
    for one, few, p in zip(*zip(*found, strict=True), holm([one.p for one, _ in found]), strict=True):
        changed = p <= alpha and one.psi >= PSI_THAT_MATTERS
        verdict = Verdict.INCONCLUSIVE if few else Verdict.FAIL if changed else Verdict.PASS
        results.append(replace(one, p=p, verdict=verdict))
    return sorted(results, key=lambda one: (-one.psi, one.column))


def bounds(one: Drifted, alpha: float) -> tuple[float, float]:
    """Between what the stability index lies, each end at ``alpha``.

    Noise adds ``free`` times ``rate`` to it, which is taken off [1]_. The variance is the larger of what the samples tell and of
    what small changes have, 4 psi ``rate``, at the bound (as Wilson's interval has it for a proportion).

    .. [1] Yurdakul (2018), Statistical properties of the population stability index, Western Michigan University.
    """
    z, noise = normal(alpha), 2 * one.free * one.rate**2
    centre = one.psi - one.free * one.rate
    plain = z * math.sqrt(one.variance + noise)
    middle = centre + 2 * z * z * one.rate
    solved = math.sqrt(max(0.0, middle**2 - centre**2 + z * z * noise))
    return max(0.0, min(centre - plain, middle - solved)), max(0.0, centre + plain, middle + solved)


def planned(amount: float, alpha: float, power: float) -> int:
    """Rows of each data set that prove in ``power`` of cases that ten cells which did not change drifted by less than ``amount``."""
    low, high = 1.0, 1e9
    while high > 1.01 * low:
        n = math.sqrt(low * high)
        unchanged = Drifted(
            "", "", 0.0, 1.0, (9 + normal(1 - power) * math.sqrt(18)) * 2 / n, Verdict.PASS, 9, 2 / n
        )
        low, high = (low, n) if bounds(unchanged, alpha)[1] <= amount else (n, high)
    return math.ceil(high)


def is_numbers(column: Column) -> bool:
    """Whether a column holds numbers, true and false among them."""
    return column.dtype.kind in "biuf"


def _plain(column: Column) -> Column:
    """Numbers as float64, so that 1 and 1.0 are one value; anything else as text."""
    return column.astype(np.float64 if is_numbers(column) else str)


def _numbers(column: Column) -> NDArray[np.float64]:
    """A column as float64; what of a text is no number is missing."""
    if is_numbers(column):
        return column.astype(np.float64)
    return np.array([_number(text) for text in column.tolist()], np.float64)


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _whole(column: Column) -> NDArray[np.float64]:
    """Numbers, with all that are missing or infinite as one value above the others: gaps that come or go are a change too."""
    return np.where(np.isfinite(numbers := _numbers(column)), numbers, np.inf)


def _compared(
    name: str, old: Column | ColumnCounts, new: Column, units: tuple[int, int] | None
) -> tuple[Drifted, bool]:
    """One column, not yet judged, and whether there are too few units."""
    from scipy.stats import chi2_contingency, ks_2samp

    if not isinstance(old, ColumnCounts) and not (is_numbers(old) and is_numbers(new)):
        old, new = old.astype(str), new.astype(str)
    kept = old if isinstance(old, ColumnCounts) else counted(old)
    counts = np.stack([np.array(kept.counts, np.int64), count(kept, new)])
    counts = counts[:, counts.sum(axis=0) > 0]
    independent = np.array(units or counts.sum(axis=1), np.float64)
    few = bool(independent.min() < FEWEST)
    table = _together(counts) if not kept.edges else counts
    psi, variance = _psi(table, independent)
    spread = (table.shape[1] - 1, float((1 / independent).sum()), variance)
    if kept.edges and not isinstance(old, ColumnCounts):
        found = ks_2samp(_whole(old), _whole(new), method="asymp")
        told = ("KS", float(found.statistic), float(found.pvalue))
    elif table.shape[1] < 2:
        told = ("chi-square", 0.0, 1.0)
    else:
        scaled = table * (independent / table.sum(axis=1))[:, None]
        tested = chi2_contingency(_together(scaled), correction=False)
        told = ("chi-square", float(tested.statistic), float(tested.pvalue))
    return Drifted(name, *told, psi, Verdict.INCONCLUSIVE, *spread), few


def _together(counts: NDArray[Any]) -> NDArray[Any]:
    """Values that are expected in fewer than five rows of either, as one: the test's distribution wants that."""
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    rare = expected < _EXPECTED
    if not rare.any():
        return counts
    return np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)


def _psi(counts: NDArray[np.int64], units: NDArray[np.float64]) -> tuple[float, float]:
    """Sum of (new - old) ln(new / old) over shares, half a row added to each so that none is empty; and its variance."""
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    old, new = shares
    slopes = np.log(shares / shares[::-1]) + 1 - shares[::-1] / shares
    varies = (shares * slopes**2).sum(axis=1) - (shares * slopes).sum(axis=1) ** 2
    return float(((new - old) * np.log(new / old)).sum()), float((varies / units).sum())
