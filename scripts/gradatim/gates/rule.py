"""A gate as the contract states it: one metric, one bound, perhaps by slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import Metric

Bound = Literal["at_least", "at_most", "not_worse", "keep"]
Family = Literal["every", "veto"]

FLOOR = "latency_floor"
"""What a call takes when nothing disturbs it. It sees no change in the other calls, so it never stands alone."""

GUARDS = ("latency_mean", "latency_p95")
"""What stands beside a comparison of the floor, unless the contract has a gate of its own on it."""

USUAL_MARGIN = 0.03
"""How much slower a candidate may be where nobody says."""

_COMPARING = ("cosine", "agreement", "negative_flips", "kl", catalogue.DRIFT, *catalogue.JUDGED)


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
            t; for ``mae``, ``rmse`` and ``r2`` of a regression: rows too rare to be seen may be as far off as the farthest target.
        sequential: bounds that hold at every look, so that evaluation may stop when they decide.
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
    sequential: bool = False

    @property
    def label(self) -> str:
        """The metric with what stands in brackets: ``latency_p50[batch=8]``."""
        return sized(self.metric, self.where or "")

    @property
    def compares(self) -> bool:
        """Whether there is no verdict without a baseline."""
        return self.bound in ("not_worse", "keep") or self.metric in _COMPARING

    @property
    def of_class(self) -> bool:
        """Whether it asks for classes one by one."""
        return self.slices == "class" or "class=" in (self.where or "")

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


def sized(metric: str, size: str) -> str:
    """A metric of a size of call, as gates name it: ``latency_p50[batch=8]``."""
    return f"{metric}[{size}]" if size else metric


def parted(metric: str) -> tuple[str, str]:
    """A metric and the size of call that it is of: ``latency_p50[batch=8]`` is (``latency_p50``, ``batch=8``); empty for the first."""
    name, _, size = metric.removesuffix("]").partition("[")
    return name, size


def with_guards(rules: Iterable[Rule]) -> list[Rule]:
    """The rules, and after each comparison of the floor its guards: vetoes, which refuse what is proven slower."""
    stated = list(rules)
    gated = {rule.label for rule in stated if rule.compares}
    found = []
    for rule in stated:
        found.append(rule)
        if rule.metric == FLOOR and rule.compares:
            guards = (replace(rule, metric=name, family="veto") for name in GUARDS)
            found += [guard for guard in guards if guard.label not in gated]
    return found


def share(rule: Rule, meaning: Metric) -> float:
    """The factor on the baseline's value that is still good."""
    if rule.bound == "not_worse":
        return 1 - rule.amount if meaning.higher_is_better else 1 + rule.amount
    return kept(rule.amount, higher_is_better=meaning.higher_is_better)


def tolerated(rule: Rule, meaning: Metric) -> float:
    """How much more time than the baseline's a comparison of timings lets pass: 0.03; less than 0 where it must be faster."""
    factor = share(rule, meaning)
    return (1 / factor if meaning.higher_is_better else factor) - 1


def paired_margins(rules: Iterable[Rule]) -> dict[str, float]:
    """The strictest margin of time that a gate sets on each metric, as a fraction; the usual one of the floor where none does."""
    found: dict[str, float] = {}
    for rule in rules:
        meaning = catalogue.find(rule.metric, "generation")
        if rule.bound in ("not_worse", "keep") and meaning is not None and meaning.slower:
            margin = tolerated(rule, meaning)
            if margin > 0:  # "faster by" is no question of this kind
                found[rule.label] = min(margin, found.get(rule.label, margin))
    return found or {FLOOR: USUAL_MARGIN}


def kept(amount: float, *, higher_is_better: bool) -> float:
    """``keep``'s factor: 0.99 of what is to be high; 1/0.99 (or 1.01 as written) of what is to be low."""
    return amount if higher_is_better or amount >= 1 else 1 / amount
