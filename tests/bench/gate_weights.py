"""Populations whose rows are not drawn as they occur: the gates judge the weighted mean, which stands on the bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from gate_designs import LABELS, RARE, Design, Draw
from numpy.typing import NDArray

from gradatim.gates.case import Case
from gradatim.gates.exact import samples_for_power
from gradatim.gates.planning import samples_not_worse
from gradatim.gates.rule import Rule
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import WEIGHT
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.metrics.units import planned_size

Floats = NDArray[np.float64]
Weigh = Callable[[np.random.Generator, int], Floats]

_WEIGHTS: dict[str, Weigh] = {
    "weights of 0.5 and 5.5": lambda g, n: np.where(g.random(n) < 0.1, 5.5, 0.5),
    "lognormal weights (0.5)": lambda g, n: g.lognormal(0, 0.5, n),
    "lognormal weights (1)": lambda g, n: g.lognormal(0, 1, n),
    "Pareto weights (2.5)": lambda g, n: g.pareto(2.5, n) + 1,
}
_HEAVIER = "rows much heavier than the heaviest that was seen, where the model errs most"


def designs() -> Iterator[Design]:
    for name, weigh in _WEIGHTS.items():
        for how in ("alike", "more where it is heavy"):
            for n in (200, 1000):
                chance = _chances(weigh, 0.1, how)
                rule = Rule("accuracy", "accuracy", "at_least", 1 - _truth(weigh, chance))
                draw = _wrong(weigh, chance, n)
                yield Design(f"{name}, accuracy at least, wrong {how}", "size", n, (rule,), draw, _HEAVIER)
            chance = _chances(weigh, 0.06, how)
            rule = Rule("accuracy", "accuracy", "not_worse", _truth(weigh, chance) - 0.02)
            draw = _beside(weigh, chance, 0.02, 600)
            yield Design(f"{name}, accuracy, margin, lost {how}", "size", 600, (rule,), draw, _HEAVIER)
        rule = Rule("recall", "recall", "at_least", 1 - _truth(weigh, chance), "class=1")
        draw = _wrong(weigh, chance, 1000)
        yield Design(f"{name}, recall of a class at least", "size", 1000, (rule,), draw, _HEAVIER)
        for metric in ("mae", "rmse"):
            power = 2 if metric == "rmse" else 1  # the mean of lognormal errors to some power
            rule = Rule(metric, metric, "at_most", math.exp(0.125 * power**2) ** (1 / power))
            draw = _errors(weigh, 300)
            yield Design(f"{name}, {metric}, lognormal errors (0.5)", "size", 300, (rule,), draw, RARE)
    weigh = _WEIGHTS["weights of 0.5 and 5.5"]
    chance = _chances(weigh, 0.1, "alike")
    rule = Rule("accuracy", "accuracy", "at_least", 1 - _truth(weigh, chance))
    draw = _wrong(weigh, chance, 200, rows=5)
    yield Design("200 groups of 5 weighted rows, accuracy at least", "size", 200, (rule,), draw, _HEAVIER)
    for name, weigh in _WEIGHTS.items():
        w = _planned(weigh, samples_for_power(0.9, 0.95) or 0)
        rule = Rule("accuracy", "accuracy", "at_least", 0.9)
        draw = _wrong(lambda g, n, w=w: w, lambda w: np.full(w.shape, 0.05), w.shape[0])
        yield Design(f"{name}, accuracy at least 0.9", "power", w.shape[0], (rule,), draw, _HEAVIER)
        w = _planned(weigh, samples_not_worse(0.02))
        rule = Rule("accuracy", "accuracy", "not_worse", 0.02)
        draw = _beside(lambda g, n, w=w: w, lambda w: np.full(w.shape, 0.025), 0.025, w.shape[0])
        equal = f"{name}, accuracy, margin 0.02, equal models"
        yield Design(equal, "power", w.shape[0], (rule,), draw, _HEAVIER)


def _planned(weigh: Weigh, needed: int) -> Floats:
    """Weights of as many rows as `--plan`, which looks at them, takes for so many."""
    n = needed
    while planned_size(w := weigh(np.random.default_rng(0), n)) < needed:
        n = max(n + 1, round(n * min(2.0, needed / planned_size(w))))
    return w


def _chances(weigh: Weigh, base: float, how: str) -> Callable[[Floats], Floats]:
    """The chance that a row of some weight is wrong."""
    mean = float(weigh(np.random.default_rng(0), 1_000_000).mean())
    if how == "alike":
        return lambda w: np.full(w.shape, base)
    return lambda w: np.minimum(0.95, base * w / mean)


def _mean(weigh: Weigh, of: Callable[[np.random.Generator, Floats], Floats]) -> float:
    generator = np.random.default_rng(1)
    w = weigh(generator, 4_000_000)
    return float(np.average(of(generator, w), weights=w))


def _truth(weigh: Weigh, chance: Callable[[Floats], Floats]) -> float:
    return _mean(weigh, lambda _, w: chance(w))


def _evaluation(wrong: NDArray[np.bool_], w: Floats, groups: NDArray[np.str_] | None = None) -> Evaluation:
    truth = np.ones(w.shape[0], np.int64)
    return Evaluation(LABELS, Predictions.of({"y": truth - wrong, WEIGHT: w}, truth, None, groups))


def _wrong(weigh: Weigh, chance: Callable[[Floats], Floats], n: int, rows: int = 1) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        w = weigh(generator, n * rows)
        groups = np.repeat(np.arange(n), rows).astype(str) if rows > 1 else None
        return Case("candidate", candidate=_evaluation(generator.random(n * rows) < chance(w), w, groups))

    return one


def _beside(weigh: Weigh, lost: Callable[[Floats], Floats], gained: float, n: int) -> Draw:
    """A row is got or lost, never both; the rest both models get right."""

    def one(generator: np.random.Generator) -> Case:
        w = weigh(generator, n)
        luck, chance = generator.random(n), np.minimum(lost(w), 1 - gained)
        old = _evaluation(luck > 1 - gained, w)
        return Case("candidate", candidate=_evaluation(luck < chance, w), baseline=old)

    return one


def _errors(weigh: Weigh, n: int) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        w, truth = weigh(generator, n), generator.normal(0, 5, n)
        said = truth + generator.lognormal(0, 0.5, n) * generator.choice([-1, 1], n)
        return Case(
            "candidate",
            candidate=Evaluation(Task("regression"), Predictions.of({"y": said, WEIGHT: w}, truth)),
        )

    return one
