"""All gates of a run together: what each needs so that a good model passes every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradatim.gates import wording
from gradatim.gates.exact import POWER
from gradatim.gates.plan_row import PlanRow


@dataclass(frozen=True)
class Together:
    """What lets all gates of a run pass in 4 of 5 cases.

    Attributes:
        gates: how many gates need samples or rounds.
        power: in what share of cases each must pass (Bonferroni; less would do where gates go together).
        gate: the one that lacks most.
        needed: samples that it needs for that.
        n: samples that it has; None when that is not known yet.
    """

    gates: int
    power: float
    gate: str
    needed: int
    n: int | None

    @property
    def enough(self) -> bool:
        """Whether every gate has what it needs."""
        return self.n is not None and self.n >= self.needed

    @property
    def text(self) -> str:
        """This, for a reader."""
        there = "" if self.n is None else f" and has {self.n}"
        return (
            f"the {self.gates} gates pass together in 4 of 5 cases if each does in {100 * self.power:.3g} %; `{self.gate}` needs "
            f"about {wording.about(self.needed)} for that{there}."
        )


def planned_together(
    rows: Sequence[PlanRow], reckon: Callable[[float], Sequence[PlanRow]]
) -> Together | None:
    """What a run needs whose gates are planned so, and by ``reckon`` for another power; None of fewer than two that need samples, or
    where no number that anybody has would do."""
    count = sum(row.needed is not None for row in rows)
    if count < 2:
        return None
    power = 1 - (1 - POWER) / count
    needing = [row for row in reckon(power) if row.needed is not None]
    if len(needing) < count:
        return None
    known = [row for row in needing if row.n is not None] or needing
    worst = max(known, key=lambda row: (row.needed or 0) / max(1, row.n or 1))
    return Together(count, power, worst.gate, worst.needed or 0, worst.n)
