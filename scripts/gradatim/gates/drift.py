"""Do rows of today look like the rows that a model was judged on? Column by column, with all columns counted in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.gates.slices import holm
from gradatim.gates.verdict import Verdict

PSI_THAT_MATTERS = 0.1
"""Population stability index from which a change is worth a look; over 0.25 it is large, by the custom of credit scoring [1]_.

.. [1] Siddiqi (2006), Credit Risk Scorecards, Wiley.
"""

FEWEST = 30
"""Rows below which nothing is said."""

_FEW_VALUES = 20
_EXPECTED = 5

Column = NDArray[Any]


@dataclass(frozen=True)
class Drifted:
    """One column of both.

    Attributes:
        column: its name.
        test: ``KS`` for numbers, ``chi-square`` for few values.
        statistic: of the test.
        p: of "no change", all columns counted in (Holm).
        psi: population stability index, over tenths of the reference or over its values.
        verdict: FAIL where a change is proven and large enough to matter; INCONCLUSIVE with too few rows.
    """

    column: str
    test: str
    statistic: float
    p: float
    psi: float
    verdict: Verdict


def drift(reference: Mapping[str, Column], batch: Mapping[str, Column], alpha: float = 0.01) -> list[Drifted]:
    """Compare columns, the most changed first.

    Numbers by Kolmogorov and Smirnov's test, few values by chi-square with rare ones put together. A proof alone is not enough,
    for of endless rows any difference is proven: the stability index says whether it matters.

    Args:
        reference, batch: [n] and [m] of numbers or text, by column.
        alpha: how often at most any column is called changed where none is.

    Raises:
        InvalidInput: columns differ, or there is none.
    """
    if not reference or set(reference) != set(batch):
        raise InvalidInput(f"There is nothing to compare: {sorted(reference)} beside {sorted(batch)}.")
    found = {name: _compared(reference[name], batch[name]) for name in reference}
    adjusted = holm([p for _, _, p, _ in found.values()])
    few = min(len(next(iter(reference.values()))), len(next(iter(batch.values())))) < FEWEST
    results = []
    for (name, (test, statistic, _, psi)), p in zip(found.items(), adjusted, strict=True):
        changed = p <= alpha and psi >= PSI_THAT_MATTERS
        verdict = Verdict.INCONCLUSIVE if few else Verdict.FAIL if changed else Verdict.PASS
        results.append(Drifted(name, test, statistic, p, psi, verdict))
    return sorted(results, key=lambda one: (-one.psi, one.column))


def _compared(old: Column, new: Column) -> tuple[str, float, float, float]:
    """Test, statistic, p-value and stability index of one column."""
    from scipy.stats import chi2_contingency, ks_2samp

    if old.dtype.kind not in "biuf" or new.dtype.kind not in "biuf":
        old, new = old.astype(str), new.astype(str)
    few_values = len(np.unique(old)) <= _FEW_VALUES
    if old.dtype.kind in "biuf" and not few_values:
        found = ks_2samp(old, new, method="asymp")
        edges = np.unique(np.quantile(old, np.linspace(0, 1, 11)))[1:-1]
        counts = np.stack(
            [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (old, new)]
        )
        return "KS", float(found.statistic), float(found.pvalue), _psi(counts)
    values = np.unique(np.concatenate([old, new]))
    counts = np.stack([np.bincount(np.searchsorted(values, x), minlength=len(values)) for x in (old, new)])
    table = _together(counts)
    if table.shape[1] < 2:
        return "chi-square", 0.0, 1.0, _psi(counts)
    tested = chi2_contingency(table, correction=False)
    return "chi-square", float(tested.statistic), float(tested.pvalue), _psi(table)


def _together(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values that are expected in fewer than five rows of either, as one: the test's distribution wants that."""
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    rare = expected < _EXPECTED
    if not rare.any():
        return counts
    return np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)


def _psi(counts: NDArray[np.int64]) -> float:
    """Sum of (new - old) ln(new / old) over shares, half a row added to each so that none is empty."""
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    old, new = shares
    return float(((new - old) * np.log(new / old)).sum())
