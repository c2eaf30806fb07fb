"""What one gate can do with the data there is, as a row for a reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PlanRow:
    """What one gate can do with the data there is.

    Attributes:
        gate: with its slice: ``recall[class=8]``.
        rule: the key in the contract.
        wanted: the bound in words.
        n: samples it has; None when that is not known yet.
        needed: samples for 80 % power (for a threshold: of a model with half the tolerated misses; for a
            comparison: of an equal model that differs on 5 % of samples); None when samples play no part.
        least: samples below which it cannot pass at all.
        detectable: with n samples: the true value that passes in 4 of 5 cases, or the smallest margin that an
            equal model can prove; None when n is unknown or too small.
        possible: False when it cannot pass whatever the model does.
        text: this, for a reader who sees the gate's name beside it.
        line: line of the contract.
    """

    gate: str
    rule: str
    wanted: str
    n: int | None
    needed: int | None
    least: int | None
    detectable: float | None
    possible: bool
    text: str
    line: int | None

    @property
    def tight(self) -> bool:
        """Whether a good model may well fail for want of samples."""
        return self.possible and self.n is not None and self.needed is not None and self.n < self.needed

    @property
    def undecidable(self) -> bool:
        """Whether it cannot pass only because the samples are too few: its verdict will be INCONCLUSIVE."""
        return not self.possible and self.n is not None and self.least is not None and self.n < self.least


def folded(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """Rows of one rule that say the same of several slices, as one: ``recall[class=0] .. [class=9]``."""
    groups: dict[tuple[str, str], list[PlanRow]] = {}
    for row in rows:
        groups.setdefault((row.rule, row.text), []).append(row)
    found = []
    for alike in groups.values():
        first, *others = alike
        gate = first.gate
        if len(others) == 1:
            gate += f" and {_slice_of(others[0])}"
        elif others:
            gate += f" .. {_slice_of(others[-1])}"
        found.append(replace(first, gate=gate))
    return found


def _slice_of(row: PlanRow) -> str:
    return row.gate[row.gate.index("[") :] if "[" in row.gate else row.gate
