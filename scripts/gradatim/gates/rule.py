"""A gate as the contract states it: one metric, one bound, perhaps by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Bound = Literal["at_least", "at_most", "not_worse", "keep"]
Family = Literal["every", "veto"]

_COMPARING = ("cosine", "agreement", "negative_flips")


@dataclass(frozen=True)
class Rule:
    """One line under ``gates:``, its quantities already plain numbers in SI units.

    Attributes:
        key: as written in the contract: ``recall[class=7]``.
        metric: ``recall``, ``latency_p50``, ``size``, ``negative_flips``, ``robustness``, ...
        where: what stands in the brackets: a class, a slice or a corruption; None for all of the data.
        bound: ``at_least`` and ``at_most`` hold the value against ``amount``; ``not_worse`` (and the
            contract's ``not_slower_than``) lets it be worse than the baseline's by at most ``amount``;
            ``keep`` wants at least (or, where lower is better, at most) ``amount`` times the baseline's
            value.
        amount: the bound: a fraction for proportions (0.01 is one point), seconds, bytes, a plain number.
            For latency, throughput and plain limits (size, memory) under ``not_worse`` it is relative (0.03
            lets it be 3 % slower). Under ``keep`` where lower is better, 0.99 and 1/0.99 both let the value
            grow by a hundredth.
        slices: None, or the name of the column to slice by (``class`` slices by label, ``every`` by every
            column).
        family: ``every`` wants each slice proven; ``veto`` refuses only a proven regression (Holm over the
            slices).
        severity: for ``robustness`` with ``at_least``: the severity up to which the bound must hold.
        alpha: one-sided error probability.
        required: whether a measurement that is null for lack of a device fails the gate.
        line: line in the contract.
        relative: under ``not_worse``: ``amount`` is a share of the baseline's value. For a per cent on a
            metric that is no fraction (``mae: {not_worse_than: baseline, by: 2%}``).
        strict: for ``robustness``: bounds that hold at any sample size (Maurer-Pontil) in place of Student's
            t.
    """

    key: str
    metric: str
    bound: Bound
    amount: float
    where: str | None = None
    slices: str | None = None
    family: Family = "every"
    severity: int | None = None
    alpha: float = 0.05
    required: bool = True
    line: int | None = None
    relative: bool = False
    strict: bool = False

    @property
    def compares(self) -> bool:
        """Whether there is no verdict without a baseline."""
        return self.bound in ("not_worse", "keep") or self.metric in _COMPARING

    def implies(self, other: Rule) -> bool:
        """Whether whatever passes this rule would pass the other: the same one, or a laxer one of its kind."""
        same = ("metric", "where", "bound", "slices", "family", "relative")
        if any(getattr(self, name) != getattr(other, name) for name in same) or self.alpha > other.alpha:
            return False
        if (other.strict and not self.strict) or (other.required and not self.required):
            return False
        if self.severity != other.severity and (self.severity or 0) <= (other.severity or 6):
            return False
        if self.bound == "at_least" or (self.bound == "keep" and max(self.amount, other.amount) <= 1):
            return self.amount >= other.amount
        return self.amount <= other.amount if self.bound != "keep" else self.amount == other.amount
