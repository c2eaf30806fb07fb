"""What is kept of the rows of a data set so that later ones can be held against it: counts by column, and no row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gradatim.gates.verdict import Verdict


@dataclass(frozen=True)
class ColumnCounts:
    """How the values of one column are spread.

    Attributes:
        counts: rows between two edges each, or with each of the values; the last entry counts what is neither: missing numbers,
            values that fewer than five rows have.
        edges: of numbers: tenths of the rows lie between two of them.
        values: of few values: those that five rows or more have.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Distribution:
    """A data set as its evidence keeps it.

    Attributes:
        units: independent ones: rows, or groups of them.
        columns: by name: inputs as far as they are numbers, what is told of texts and pictures, slices, and the label.
    """

    units: int
    columns: Mapping[str, ColumnCounts]


@dataclass(frozen=True)
class Drifted:
    """One column of both.

    Attributes:
        column: its name.
        test: ``KS`` for numbers, ``chi-square`` for few values and where counts alone are kept.
        statistic: of the test.
        p: of "no change", all columns counted in (Holm).
        psi: population stability index, over tenths of the reference or over its values.
        verdict: FAIL where a change is proven and large enough to matter; INCONCLUSIVE with too few rows.
        free: cells that the index is over, less one.
        rate: 1/n + 1/m over the independent units of both.
        variance: of the index, as these samples tell it (delta method).
    """

    column: str
    test: str
    statistic: float
    p: float
    psi: float
    verdict: Verdict
    free: int = 0
    rate: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True)
class Drift:
    """The evaluation data beside those of the release that would be replaced.

    Attributes:
        columns: of both, the most changed first.
        reason: why there is none, or not all of them.
        units: the independent units of these data.
    """

    columns: tuple[Drifted, ...] = ()
    reason: str | None = None
    units: int = 0

    @property
    def changed(self) -> tuple[Drifted, ...]:
        """Columns of which a change is proven that is large enough to matter."""
        return tuple(one for one in self.columns if one.verdict is Verdict.FAIL)
