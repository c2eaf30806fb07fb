"""Negative flips: samples that the baseline got right and the candidate gets wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradatim.errors import InvalidInput
from gradatim.measurement import Measurement
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


def self_flips_of(measurements: Iterable[Measurement], whose: str) -> SelfFlips | None:
    """How often the baseline flips on itself, where it was run twice.

    Args:
        whose: the variant's name under which the baseline's measurements are filed.
    """
    for found in measurements:
        if (found.name, found.variant) == ("self_flips", whose) and found.successes is not None:
            return SelfFlips(found.successes, found.n)
    return None
