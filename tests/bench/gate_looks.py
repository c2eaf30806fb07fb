"""How often is a gate wrong that is looked at after every row, and how many rows does it take?

    python tests/bench/gate_looks.py            # 2000 runs of each design, two minutes on one core

For the size the mean lies exactly on the bound, and a run errs if any look proves it (PASS) or refutes it (FAIL). For the rows the
effect is as large as a fixed number of rows is planned for, and twice as large; a run that nothing settles counts with all of its
rows. The table that it prints is the one in docs/explanation/gates.md.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.gates.betting import SHARES, Scores
from gradatim.gates.exact import samples_for_power
from gradatim.gates.planning import samples_not_worse

Floats = NDArray[np.float64]
ALPHA = 0.05


@dataclass(frozen=True)
class Looked:
    """Scores of rows with known probabilities, and the bound that their mean is held against."""

    name: str
    values: tuple[float, ...]
    shares: tuple[float, ...]
    ends: tuple[float, float]
    bound: float
    rows: int

    def draw(self, runs: int) -> Floats:
        generator = np.random.default_rng(zlib.crc32(self.name.encode()))
        return generator.choice(np.array(self.values), (runs, self.rows), p=np.array(self.shares))


def stakes(rows: Floats, bound: float, low: float) -> Floats:
    """Log of the stake after every row of every run, [runs, rows], of a bet on more than the bound."""
    payoff = (rows - bound) / (bound - low)
    total = np.full(rows.shape, -np.inf)
    for share in SHARES:
        total = np.logaddexp(total, np.cumsum(np.log1p(share * payoff), axis=1))
    return np.asarray(total - math.log(len(SHARES)))


def settled(rows: Floats, bound: float, ends: tuple[float, float]) -> tuple[Floats, Floats]:
    """The row at which a look first proves, and refutes, that the mean is more than the bound; infinite where none does."""
    found = []
    for each, at, low in ((rows, bound, ends[0]), (-rows, -bound, -ends[1])):
        proven = stakes(each, at, low) >= -math.log(ALPHA)
        found.append(np.where(proven.any(axis=1), proven.argmax(axis=1) + 1.0, np.inf))
    return found[0], found[1]


def designs() -> Iterator[tuple[str, Looked]]:
    for margin, changed in ((0.01, 0.05), (0.02, 0.05), (0.02, 0.1), (0.05, 0.2)):
        fixed = samples_not_worse(margin, changed)
        name = f"accuracy, margin {margin}, differ on {changed}"
        for kind, difference in (("size", -margin), ("planned effect", 0.0), ("twice the effect", margin)):
            lost, gained = (changed - difference) / 2, (changed + difference) / 2
            shares = (lost, 1 - changed, gained)
            yield kind, Looked(name, (-1.0, 0.0, 1.0), shares, (-1.0, 1.0), -margin, fixed)
    for share in (0.8, 0.9, 0.95, 0.99):
        half = (1 + share) / 2
        fixed = samples_for_power(share, half) or 0
        for kind, right in (("size", share), ("planned effect", half), ("twice the effect", 1.0)):
            name = f"accuracy at least {share}"
            yield kind, Looked(name, (0.0, 1.0), (1 - right, right), (0.0, 1.0), share, fixed)
    levels = tuple(np.linspace(0, 1, 21))
    for mean in (0.5, 0.8):
        weights = np.exp(np.array(levels) * {0.5: 0.0, 0.8: 4.8025}[mean])
        shares = tuple(weights / weights.sum())
        bound = float(np.dot(levels, shares))
        yield "size", Looked(f"scores of 21 levels, mean {mean}", levels, shares, (0.0, 1.0), bound, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=2000)
    draws = parser.parse_args().draws
    print(
        "| gate | fixed n | effect | wanted | PASS | FAIL | rows on average |\n|---|---|---|---|---|---|---|"
    )
    wanted = {"size": "each <= 5 %", "planned effect": "", "twice the effect": "rows <= half of n"}
    for kind, design in designs():
        rows = design.draw(draws)
        passed, failed = settled(rows, design.bound, design.ends)
        last = Scores.of(rows[0], *design.ends).stake(design.bound)
        assert math.isclose(stakes(rows[:1], design.bound, design.ends[0])[0, -1], last, abs_tol=1e-6)
        taken = np.minimum(np.minimum(passed, failed), design.rows)
        mean = "" if kind == "size" else f"{taken.mean():.0f} ({taken.mean() / design.rows:.2f} of n)"
        first = passed < failed if kind != "size" else np.isfinite(passed)
        print(
            f"| {design.name} | {design.rows} | {'none' if kind == 'size' else kind} | {wanted[kind]} | "
            f"{100 * first.mean():.1f} % | {100 * np.isfinite(failed).mean():.1f} % | {mean} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
