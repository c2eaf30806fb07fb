"""What a gate can say, and everything a reader needs to understand why it said it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Verdict(enum.Enum):
    """Only PASS releases."""

    PASS = "PASS"  # noqa: S105 (a verdict, not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """INVALID, then FAIL, then INCONCLUSIVE, then PASS; of nothing at all: PASS."""
        order = (cls.PASS, cls.INCONCLUSIVE, cls.FAIL, cls.INVALID)
        return max(verdicts, key=order.index, default=cls.PASS)


@dataclass(frozen=True)
class GateResult:
    """The verdict of one gate on one variant.

    Attributes:
        gate: the gate with its slice spelled out: ``recall[class=8]``.
        rule: the key in the contract it came from: ``recall``.
        verdict: what was decided.
        variant: which variant of the candidate was judged.
        wanted: the rule in words: ``at least 90 %``, ``not worse than the baseline by more than 1 %``.
        text: for a person who knows no statistics: the gate, the numbers, the uncertainty, what would settle
            it.
        value: the number judged; for a comparison the difference to the baseline, positive is better.
        low, high: its interval, where there is one.
        threshold: the bound it was held against, in the unit of ``value``.
        unit: unit of ``value``, ``low``, ``high`` and ``threshold``.
        n: independent samples behind the value.
        baseline: the baseline's own value, for a comparison.
        candidate: the candidate's own value, for a comparison.
        detectable: the minimum detectable effect at this sample size, in ``unit``.
        needed: how many samples would settle it, when that can be said.
        blocking: False where the stage only warns on an inconclusive verdict.
        line: line of the contract that states the rule.
    """

    gate: str
    rule: str
    verdict: Verdict
    variant: str
    wanted: str
    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    unit: str = "1"
    n: int = 0
    baseline: float | None = None
    candidate: float | None = None
    detectable: float | None = None
    needed: int | None = None
    blocking: bool = True
    line: int | None = None

    @property
    def refuses(self) -> bool:
        """Whether this result stops a release."""
        return self.verdict is not Verdict.PASS and self.blocking
