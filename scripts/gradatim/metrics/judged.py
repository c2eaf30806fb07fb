"""Pairs of answers that a judge compared: who won, and whether the judge can be believed.

Each pair is shown in both orders. Of a judge that goes by the place of an answer, the two orders disagree, and nothing is learnt of
the pair. Two readings of such pairs bound what a judge without that fault would say: that they are ties, which is so where only
like answers are told by their place; and that they are like the others, which is so where any pair may be. A bound holds for
both. Where the orders are not proven to agree more often than not, or people are not proven to agree with the judge,
nothing that it said counts, and its pairs may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.metrics.samples import (
    DECISIONS,
    SHARE,
    MetricSamples,
    absent,
    mean_samples,
    proportion_samples,
)
from gradatim.metrics.units import Units

PREFERRED = "judged"
"""The output that holds what the judge said, int8 [n, 4]: a row of ``Judgements`` each."""

WON, TIED, LOST, UNKNOWN = 1, 0, -1, 2
"""What is said of the candidate's answer; ``UNKNOWN`` where there was no verdict."""

KAPPA, BIAS = "judge_kappa", "position_bias"
"""Measured beside the gated metrics: agreement with people, and how far the judge goes by the place of an answer."""

Codes = NDArray[np.int8]


@dataclass(frozen=True)
class Judgements:
    """Verdicts on pairs, int8 [n] each.

    Attributes:
        first: where the candidate's answer stood first.
        second: where it stood second.
        asked: 1 where the judge was asked; 0 where the answers say it themselves: equal texts, or no answer.
        believed: 1 where people bear the judge out, or none were asked.
    """

    first: Codes
    second: Codes
    asked: Codes
    believed: Codes

    @classmethod
    def of(cls, table: NDArray[Any]) -> Judgements:
        """From the output ``judged``, [n, 4]."""
        return cls(*np.asarray(table, np.int8).reshape(-1, 4).T)

    def table(self) -> Codes:
        """The output ``judged``."""
        return np.stack([self.first, self.second, self.asked, self.believed], axis=1)

    def take(self, rows: NDArray[np.int64]) -> Judgements:
        return Judgements.of(self.table()[rows])

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Pairs without a verdict in one of the orders."""
        return np.asarray((self.first == UNKNOWN) | (self.second == UNKNOWN))

    @property
    def agreed(self) -> NDArray[np.bool_]:
        """Pairs with the same verdict in both orders."""
        return np.asarray((self.first == self.second) & ~self.unknown)

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Pairs of which the judge gave a verdict in both orders."""
        return np.asarray((self.asked == 1) & ~self.unknown)

    @property
    def told_apart(self) -> NDArray[np.bool_]:
        """Pairs of which the judge, in one of the orders, preferred an answer."""
        return np.asarray(self.heard & ((self.first != TIED) | (self.second != TIED)))

    def scores(self) -> NDArray[np.float64]:
        """What each pair is worth, [n]: a win 1, a tie or a verdict that turns with the order a half, a loss or none 0."""
        score = np.where(self.agreed, (self.first.astype(np.float64) + 1) / 2, 0.5)
        return np.where(self.unknown, 0.0, score)

    def bias(self) -> MetricSamples:
        """Verdicts for the first answer less those for the second, a share of the pairs: 1 of a judge that always takes the first."""
        lean = (self.first[self.heard].astype(np.float64) - self.second[self.heard]) / 2
        return mean_samples(BIAS, lean, Units.of(None, len(lean)), False, low_limit=-1.0, high_limit=1.0)


@dataclass(frozen=True)
class WinSamples(MetricSamples):
    """A win rate, whose bounds hold for every reading of the pairs that tell nothing.

    Attributes:
        said: the verdicts.
        codes: which unit each pair belongs to, None where each is one.
    """

    said: Judgements | None = None
    codes: NDArray[np.int64] | None = None

    def _bounds(self, alpha: float) -> tuple[float, float] | None:
        found = [
            one.bounds(alpha) for one in (self._if_nothing_counts if self.doubt(alpha) else self._readings)
        ]
        sure = [one for one in found if one is not None]
        if len(sure) < len(found):
            return None
        return min(low for low, _ in sure), max(high for _, high in sure)

    def doubt(self, alpha: float) -> str | None:
        """Why nothing that the judge said counts; None where it does, at one-sided ``alpha``, or was not asked."""
        if not self._verdicts.asked.any():
            return None
        if not self._verdicts.believed.all():
            return "people"
        bounds = self.consistency.bounds(alpha)
        return None if bounds is not None and bounds[0] > 0.5 else "order"

    @cached_property
    def consistency(self) -> MetricSamples:
        """``judge_consistency``."""
        return consistency(self._verdicts, Units.of(self.codes, len(self._verdicts.first)))

    @property
    def _verdicts(self) -> Judgements:
        assert self.said is not None  # noqa: S101 (win_rate() makes it with them)
        return self.said

    @property
    def _readings(self) -> tuple[MetricSamples, ...]:
        """Pairs whose verdict turns with the order as ties, or as the others; those without one as lost, or as won."""
        said, lost = self._verdicts, self._verdicts.scores()
        everything, counts = np.ones_like(said.unknown), said.agreed | said.unknown
        worths = (lost, np.where(said.unknown, 1.0, lost)) if said.unknown.any() else (lost,)
        rows = (everything,) if counts.all() else (everything, counts)
        return tuple(self._mean(scores, some) for scores in worths for some in rows)

    @property
    def _if_nothing_counts(self) -> tuple[MetricSamples, ...]:
        said = self._verdicts
        everything = np.ones_like(said.agreed)
        return tuple(
            self._mean(np.where(said.asked == 1, worth, said.scores()), everything) for worth in (0.0, 1.0)
        )

    def _mean(self, scores: NDArray[np.float64], rows: NDArray[np.bool_]) -> MetricSamples:
        units = Units.of(None if self.codes is None else self.codes[rows], int(rows.sum()))
        found = mean_samples(self.metric, scores[rows], units, True, **SHARE)
        shared = units.shared
        return replace(found, units=shared, by_row=None if shared is None else found.by_row)


def win_rate(said: Judgements, units: Units) -> MetricSamples:
    """``win_rate`` of some pairs."""
    if not len(said.first):
        return absent("win_rate", True, "there is no sample")
    value = float(said.scores().mean())
    return WinSamples(
        "win_rate", value, True, units.count, said=said, codes=units.codes, low_limit=0.0, high_limit=1.0
    )


def consistency(said: Judgements, units: Units) -> MetricSamples:
    """``judge_consistency`` of some pairs."""
    rows = said.told_apart
    own = Units.of(None if units.codes is None else units.codes[rows], int(rows.sum()))
    found = proportion_samples(
        "judge_consistency", said.agreed[rows], own, True, "the judge told no pair apart"
    )
    return replace(found, units=own.shared)


def final(first: Sequence[str | None], second: Sequence[str | None]) -> list[str | None]:
    """What both orders say, ``first``, ``second`` or ``tie``; a tie where they disagree, None where one has no verdict.

    Args:
        first: whom the judge preferred in the order of the data.
        second: the same with the answers exchanged, in the words of that order.
    """
    turned = {"first": "second", "second": "first"}
    pairs = [(one, turned.get(str(other), other)) for one, other in zip(first, second, strict=True)]
    return [None if None in pair else pair[0] if pair[0] == pair[1] else "tie" for pair in pairs]


def kappa(people: Sequence[str], judge: Sequence[str | None], prompts: Sequence[str]) -> MetricSamples:
    """Cohen's kappa [1]_ of people and judge over ``first``, ``second`` and ``tie``, each pair taken in both orders, for which
    answer stands first means nothing. A pair without a verdict is one on which they disagree; pairs of one prompt are one unit.

    .. [1] Cohen (1960), Educational and Psychological Measurement 20(1).
    """
    if not people:
        return absent(KAPPA, True, "people judged no pair")
    alike = np.array([one == other for one, other in zip(people, judge, strict=True)], np.float64)
    theirs = np.array([one == "tie" for one in people], np.float64)
    ties, none = (np.array([one == word for one in judge], np.float64) for word in ("tie", None))
    _, codes = np.unique(np.asarray(prompts), return_inverse=True)
    columns = np.stack([np.ones_like(alike), alike, theirs, ties, none], axis=1)
    units = Units(codes.astype(np.int64), int(codes.max()) + 1)
    terms = units.totals(columns)
    value = float(_kappa_of(terms.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(value):
        return absent(KAPPA, True, "people and judge say nothing but `tie`")
    return MetricSamples(
        KAPPA, value, True, units.count, terms=terms, statistic=_kappa_of, effect=2.0,
        **{**DECISIONS, "low_limit": -1.0},
    )  # fmt: skip


def _kappa_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of summed counts, [draws, 5] -> [draws]: pairs, alike, ties of people, ties of the judge, none of the judge."""
    n = np.maximum(sums[:, 0], 1e-12)
    alike, theirs, ties, none = (sums[:, place] / n for place in (1, 2, 3, 4))
    chance = theirs * ties + (1 - theirs) * (1 - ties - none) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((alike - chance) / (1 - chance))
