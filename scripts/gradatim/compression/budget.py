"""What of the original's quality must be kept, and how far a variant is from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The shares of the original's metrics to keep.

    Attributes:
        keep: metric -> share (0.99); at least 1 where less is better (1.05: at most 5 % more).
        lower_is_better: the metrics of which less is better.
    """

    keep: Mapping[str, float]
    lower_is_better: Collection[str]

    def lacking(self, original: Mapping[str, float], found: Mapping[str, float]) -> str:
        """Which of the qualities to keep is not kept; empty when all are."""
        for metric, share in self.keep.items():
            before, now = original[metric], found.get(metric)
            if now is None:
                return f"its {metric} could not be measured"
            lower = metric in self.lower_is_better
            bound = before + (share - 1) * abs(before)
            if (now > bound + 1e-12) if lower else (now < bound - 1e-12):
                word = "at most" if lower else "at least"
                wanted = f"{word} {bound:.6g} is wanted, {share:.6g} of the original's {before:.6g}"
                return f"its {metric} is {now:.6g}; {wanted}"
        return ""

    def share(self, original: Mapping[str, float], found: Mapping[str, float]) -> float:
        """About what part of the outputs' squared error may stay.

        What fidelity and cosine lose grows with the squared error, what a share of right answers loses with its root.
        """
        shares = [1.0]
        for metric, share in self.keep.items():
            before, now = original[metric], found[metric]
            if lost := abs(before - now):
                power = 1 if metric in ("fidelity", "cosine") else 2
                shares.append((abs(1 - share) * abs(before) / lost) ** power)
        return min(shares)
