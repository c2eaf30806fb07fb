"""Negative flips: samples that the baseline got right and the candidate gets wrong."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.errors import InvalidInput
from gradatim.metrics.intervals import clopper_pearson


@dataclass(frozen=True)
class SelfFlips:
    """How often the baseline disagrees with itself between two runs: the floor under any budget for flips.

    Attributes:
        flips: samples right in the first run and wrong in the second.
        n: samples.

    Raises:
        InvalidInput: more flips than samples.
    """

    flips: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.flips <= self.n:
            raise InvalidInput(f"{self.flips} flips among {self.n} samples cannot be.")

    def exceeds(self, budget: float, alpha: float = 0.05) -> bool:
        """Whether the baseline provably flips on itself more often than the budget allows."""
        return self.n > 0 and clopper_pearson(self.flips, self.n, alpha)[0] > budget
