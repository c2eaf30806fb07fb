"""Absolute gates that a covariate of the rows adjusts: hard rows are missed more often, in one step, along a bell or a long tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from gate_designs import LABELS, RARE, Design, Draw, Floats
from numpy.typing import NDArray

from gradatim.gates.case import Case
from gradatim.gates.rule import Rule
from gradatim.metrics.adjusting import Adjuster
from gradatim.metrics.diagnostics import Covariate
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.metrics.units import Units

_DRAWN = "rows that are not drawn from what the mean is of"

_Covariates = Callable[[np.random.Generator, int], Floats]
_KINDS: dict[str, tuple[_Covariates, Callable[[Floats], Floats]]] = {
    "a step": (lambda g, n: (g.random(n) < 0.2) * 1.0, lambda x: 5 - 6 * x),
    "a bell": (lambda g, n: g.normal(size=n), lambda x: 2.5 - 1.5 * x),
    "a long tail": (lambda g, n: g.lognormal(0, 1, n), lambda x: 5 - 2 * np.minimum(x, 6)),
}


def designs() -> Iterator[Design]:
    for name, (draw, odds) in _KINDS.items():
        many = draw(np.random.default_rng(0), 2_000_000)
        mean, truth = float(many.mean()), float((1 / (1 + np.exp(-odds(many)))).mean())
        rule = Rule("accuracy", "accuracy", "at_least", truth)
        for n in (50, 100, 400):
            for pool in (0, 2 * n):
                whence = f"mean of {pool} unlabelled rows" if pool else "mean known"
                label = f"accuracy adjusted by a covariate: {name}, {whence}"
                yield Design(label, "size", n, (rule,), _answered(n, draw, odds, mean, pool), _DRAWN)
    yield from grouped()
    rule = Rule("mae", "mae", "at_most", (2 / np.pi) ** 0.5 * float(np.exp(0.125)))
    yield Design("mae adjusted by a covariate: the size of errors", "size", 200, (rule,), _erring(200), RARE)


def grouped() -> Iterator[Design]:
    """Users whose rows are hard or easy together, and are missed together beyond that; of equal and of very unequal numbers of rows."""
    for sizes, name in ((_alike, "of 10 rows"), (_unequal, "of 1 to 50 rows")):
        for name_of, (draw, odds) in _KINDS.items():
            truth, mean = _of_users(sizes, draw, odds)
            rule = Rule("accuracy", "accuracy", "at_least", truth)
            for count in (20, 50, 100):
                for pool in (0, 2 * count):
                    whence = f"mean of {pool} unlabelled users" if pool else "mean known"
                    label = f"{count} users {name}, accuracy adjusted: {name_of}, {whence}"
                    draws = _users_answered(count, sizes, draw, odds, mean, pool)
                    yield Design(label, "size", count, (rule,), draws, _DRAWN)


def _alike(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.full(count, 10)


def _unequal(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.minimum(50, 1 + generator.pareto(1, count) * 2).astype(np.int64)


_Sizes = Callable[[np.random.Generator, int], NDArray[np.int64]]


def _drawn_users(
    generator: np.random.Generator,
    count: int,
    sizes: _Sizes,
    draw: _Covariates,
    odds: Callable[[Floats], Floats],
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Which user each row is of, its covariate (half of users share one for all of their rows) and its chance to be right."""
    users = np.repeat(np.arange(count), sizes(generator, count))
    own, shared = draw(generator, users.shape[0]), draw(generator, count)[users]
    x = np.where((generator.random(count) < 0.5)[users], shared, own)
    mood = generator.normal(0, 0.7, count)[users]
    return users, x, 1 / (1 + np.exp(-odds(x) - mood))


def _of_users(sizes: _Sizes, draw: _Covariates, odds: Callable[[Floats], Floats]) -> tuple[float, float]:
    """The truth, and the mean of the covariate, over rows."""
    _, x, right = _drawn_users(np.random.default_rng(0), 300_000, sizes, draw, odds)
    return float(right.mean()), float(x.mean())


def _users_answered(
    count: int, sizes: _Sizes, draw: _Covariates, odds: Callable[[Floats], Floats], mean: float, pool: int
) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        users, x, right = _drawn_users(generator, count, sizes, draw, odds)
        known = Covariate("x", mean)
        if pool:
            others, seen, _ = _drawn_users(generator, pool, sizes, draw, odds)
            known = Covariate("x", float(seen.mean()), Units.of(others, seen.shape[0]).error(seen))
        wrong = (generator.random(x.shape[0]) > right).astype(int)
        found = Predictions.of({"label": wrong}, np.zeros(x.shape[0], np.int64), groups=users)
        return Case("candidate", candidate=Evaluation(LABELS, found), adjuster=Adjuster(known, x))

    return one


def _answered(n: int, draw: _Covariates, odds: Callable[[Floats], Floats], mean: float, pool: int) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        x = draw(generator, n)
        wrong = generator.random(n) > 1 / (1 + np.exp(-odds(x)))
        known = Covariate("x", mean)
        if pool:
            others = draw(generator, pool)
            known = Covariate("x", float(others.mean()), float(others.std(ddof=1)) / pool**0.5)
        found = Predictions.of({"label": wrong.astype(int)}, np.zeros(n, np.int64))
        return Case("candidate", candidate=Evaluation(LABELS, found), adjuster=Adjuster(known, x))

    return one


def _erring(n: int) -> Draw:
    """Errors whose size is known of each row but for its luck."""

    def one(generator: np.random.Generator) -> Case:
        size, truth = np.exp(0.5 * generator.normal(size=n)), generator.normal(0, 5, n)
        found = Predictions.of({"y": truth + size * generator.normal(size=n)}, truth)
        known = Covariate("size", float(np.exp(0.125)))
        return Case(
            "candidate", candidate=Evaluation(Task("regression"), found), adjuster=Adjuster(known, size)
        )

    return one
