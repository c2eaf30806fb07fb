"""What rounds of a model beside itself say of a machine: how often a gate on them errs, what it sees, how long that takes.

A trial draws rounds in stretches of three that followed one another, so that a mood of the machine stays one, and asks the gate as
a release does: look after look, then the guards. A slowdown is added to the candidate's logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.gates.latency import SEQUENTIAL_ALPHA, difference_bounds
from gradatim.gates.rule import FLOOR, GUARDS
from gradatim.timing.decision import Decision, decide, default_alarm, looks_until

TRIALS = 500
_STRETCH = 3


@dataclass(frozen=True)
class Chance:
    """What a gate does with a candidate that is slower by ``slowdown``, a fraction.

    Attributes:
        refused, undecided: shares of the trials.
        rounds: that it takes, on average.
    """

    margin: float
    slowdown: float
    refused: float
    undecided: float
    rounds: float


class Trials:
    """Releases as they could have gone on a machine, by a metric.

    Args:
        differences: ln(candidate / baseline) of each round by metric, of one model as both. A tail may have fewer, or none: so many
            rounds count as one of it.
        metric: what the gate is on.
        most: the most rounds that a benchmark may take.
        trials: how many are drawn.
        seed: of the draws.
    """

    def __init__(
        self,
        differences: Mapping[str, Sequence[float]],
        metric: str,
        most: int,
        trials: int = TRIALS,
        seed: int = 0,
    ) -> None:
        self._looks = looks_until(most)
        self._guards = [g for g in GUARDS if metric == FLOOR and len(differences.get(g, ())) > 1]
        series = {name: np.asarray(differences[name], np.float64) for name in (metric, *self._guards)}
        draw, n = np.random.default_rng(seed), max(map(len, differences.values()))
        self._drawn: list[list[dict[str, tuple[float, float]]]] = []
        for _ in range(trials):
            starts = draw.integers(0, n, math.ceil(most / _STRETCH))
            places = ((starts[:, None] + np.arange(_STRETCH)).ravel() % n)[:most]
            self._drawn.append(
                [
                    {name: _bounds(values, n, places[:rounds]) for name, values in series.items()}
                    for rounds in self._looks
                ]
            )
        self._metric = metric

    def chance(self, margin: float, slowdown: float) -> Chance:
        """What the gate with this margin does with a candidate that is so much slower."""
        refused = undecided = rounds = 0
        for drawn in self._drawn:
            decision, taken = self._decided(drawn, margin, math.log1p(slowdown))
            refused += decision is Decision.SLOWER
            undecided += decision is Decision.UNDECIDED
            rounds += taken
        trials = len(self._drawn)
        return Chance(margin, slowdown, refused / trials, undecided / trials, rounds / trials)

    def _decided(
        self, drawn: Sequence[Mapping[str, tuple[float, float]]], margin: float, added: float
    ) -> tuple[Decision, int]:
        ends = [bounds[self._metric] for bounds in drawn]
        found = [decide(low + added, high + added, margin, default_alarm(margin)) for low, high in ends]
        last = len(found) - 1
        place = next((at for at in range(last) if found[at] is not Decision.UNDECIDED), last)
        proven = any(drawn[place][guard][0] + added > math.log1p(margin) for guard in self._guards)
        return Decision.SLOWER if proven else found[place], self._looks[place]


def _bounds(values: np.ndarray, rounds: int, places: np.ndarray) -> tuple[float, float]:
    """Ends of the interval that a look at these rounds gives; endless where they are too few."""
    at = places * len(values) // rounds
    chosen = values[at[:: rounds // len(values)]] if len(values) else values
    if len(chosen) < 3:
        return -math.inf, math.inf
    _, low, high = difference_bounds(list(chosen), SEQUENTIAL_ALPHA)
    return low, high
