"""What stands by itself among the rows of a data set: each row, or the rows of one user together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.metrics import intervals

Floats = NDArray[np.float64]

_RIVALS = 4
"""So wrong verdicts on retrieval among 5 to 19 labels stay near 5 %, where each label alone had 10 % and each query 30 %
(tests/bench/gate_simulation.py)."""


@dataclass(frozen=True)
class Units:
    """Which independent unit every row belongs to.

    Attributes:
        codes: int64 [rows], None when every row is a unit of its own.
        count: number of units.
        kinds: whether the units are a few kinds, each of many rows: they tell how values vary, and what was never seen
            comes row by row.
        weights: of the rows, float64 [rows] of mean 1; None where all count alike.
    """

    codes: NDArray[np.int64] | None
    count: int
    kinds: bool = False
    weights: Floats | None = None

    @classmethod
    def of(cls, groups: NDArray[Any] | None, rows: int, weights: Floats | None = None) -> Units:
        if weights is not None and weights.any():
            weights = weights / weights.mean()
        if groups is None:
            return cls(None, rows, weights=weights)
        distinct, codes = np.unique(groups, return_inverse=True)
        return cls(codes.astype(np.int64), int(distinct.shape[0]), weights=weights)

    @property
    def shared(self) -> Units | None:
        """These units where rows share any, or weigh more than others; else None."""
        return None if self.codes is None and self.weights is None else self

    @property
    def weighted(self) -> Units | None:
        """These units where rows have weights, as what reckons with these says."""
        return None if self.weights is None else self

    def weighed(self, by_row: NDArray[Any]) -> Floats:
        """Each row's number times its weight."""
        return np.asarray(by_row if self.weights is None else by_row * self.weights, np.float64)

    def effective(self, chosen: NDArray[np.bool_] | None = None) -> int:
        """How many units of equal weight tell as much as these, or as some rows of them (Kish [1]_).

        .. [1] Kish (1965), Survey Sampling, 11.2.
        """
        return effective_size(self.weighed(np.ones(self._rows) if chosen is None else chosen), self.codes)

    @property
    def _rows(self) -> int:
        return self.count if self.codes is None else int(self.codes.shape[0])

    @property
    def heaviest(self) -> float:
        """How many rows the largest unit has, in units of an average one."""
        if self.weights is not None:
            return float(self.totals(self.weights[:, None]).max(initial=0.0)) * self.count / self._rows
        if self.codes is None or not self.codes.shape[0]:
            return 1.0
        if self.kinds:
            return intervals.unseen(self.codes.shape[0], 0.05) / intervals.unseen(self.count, 0.05)
        return int(np.bincount(self.codes).max()) * self.count / int(self.codes.shape[0])

    def together(self, by_row: Floats) -> float:
        """How many rows change at once, in units of an average unit: all of it where nothing tells that it is less.

        An upper 95 % bound of the rows' correlation within a unit (one-way analysis of variance [1]_) says how far
        they go together. Its power of 3/4 is taken, for rare changes come in larger bunches than common ones; so the
        error holds for changes that correlate by 0.3 where right and wrong do not (tests/bench/gate_simulation.py).

        .. [1] Searle, Casella, McCulloch (1992), Variance Components, 3.6.
        """
        from scipy.special import fdtri

        if self.codes is None or self.kinds or self.count < 2:
            return self.heaviest
        if self.weights is not None:  # a row of the largest weight may be the one that changes
            return float(self.weights.max()) * replace(self, weights=None).together(by_row)
        rows = by_row.shape[0]
        sizes = np.bincount(self.codes, minlength=self.count)
        means = np.bincount(self.codes, weights=by_row, minlength=self.count) / sizes
        heavy = float((sizes**2).sum()) / rows
        between = float((sizes * (means - by_row.mean()) ** 2).sum()) / (self.count - 1)
        within = float(((by_row - means[self.codes]) ** 2).sum()) / max(1, rows - self.count)
        if not within > 1e-12 * max(1.0, between):
            return float(heavy * self.count / rows)
        usual = (rows - heavy) / (self.count - 1)
        ratio = between / within / float(fdtri(self.count - 1, rows - self.count, 0.05))
        alike = min(max((ratio - 1) / (ratio + usual - 1), 0.0), 1.0)
        return float((1 + (heavy - 1) * alike**0.75) * self.count / rows)

    def apart(self, by_unit: Floats) -> Floats:
        """Influence by what is taken for independent: units, or ``_RIVALS`` kinds at a time, for kinds that are told from
        one another are each where the others go astray."""
        if not self.kinds:
            return by_unit
        parts = 1 if self.count <= _RIVALS else max(2, round(self.count / _RIVALS))
        codes = np.arange(self.count) * parts // self.count
        return np.asarray(np.bincount(codes, by_unit, parts) * (parts / self.count))

    def influence(self, by_row: Floats) -> Floats:
        """Influence by unit from influence by row: the same mean over units as over rows."""
        if self.codes is None:
            return by_row
        rows = max(1, by_row.shape[0])
        return np.asarray(np.bincount(self.codes, weights=by_row, minlength=self.count) * (self.count / rows))

    def error(self, by_row: Floats) -> float:
        """Standard error of the mean over rows, of two units or more."""
        by_unit = self.influence(by_row - by_row.mean())
        return float(by_unit.std(ddof=1)) / math.sqrt(self.count)

    def totals(self, table: Floats) -> Floats:
        """Sums by unit, [units, k], of [rows, k]."""
        if self.codes is None:
            return table
        return np.stack([np.bincount(self.codes, column, self.count) for column in table.T], axis=1)

    def blocks(self, rows: int) -> tuple[NDArray[np.signedinteger[Any]], int]:
        """Codes of at most ``intervals.UNITS`` equal blocks of units, for resampling; and how many."""
        small = self.count <= intervals.UNITS
        blocks = self.count if small else self.count // math.ceil(self.count / intervals.UNITS)
        if self.codes is None:
            codes = np.arange(rows, dtype=np.int32)
            np.remainder(codes, blocks, out=codes)
            return codes, blocks
        return self.codes if small else np.asarray(self.codes % blocks, np.int32), blocks

    def sums(self, columns: list[Floats]) -> Floats:
        """Terms [blocks, k] from columns of [rows]."""
        codes, count = self.blocks(columns[0].shape[0])
        return np.stack([np.bincount(codes, weights=column, minlength=count) for column in columns], axis=1)


def planned_size(weights: Sequence[float] | Floats) -> int:
    """As how many of equal weight units of these weights count for what a gate needs: of what they cost, a
    third is that of Kish's number, by which means vary, and two thirds that of the heaviest, which may not have been seen."""
    sums = np.asarray(weights, np.float64)
    if not sums.any():
        return 0
    sums = sums / sums.mean()
    return int(3 * sums.shape[0] / (float((sums**2).mean()) + 2 * float(sums.max())) * (1 + 1e-12))


def effective_size(weights: Sequence[float] | Floats, codes: NDArray[np.int64] | None = None) -> int:
    """(sum w)^2 / sum w^2 over units, whose weight is that of their rows together; 0 where none has any."""
    sums = np.asarray(weights, np.float64) if codes is None else np.bincount(codes, weights)
    squares = float((sums**2).sum())
    return int(float(sums.sum()) ** 2 / squares * (1 + 1e-12)) if squares > 0 else 0
