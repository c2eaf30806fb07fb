"""Candidates of one recipe, trained with other seeds: each has a truth of its own, and the recipe's stands on the bound."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gate_designs import LABELS, RARE, Design, Draw
from scipy.special import ndtri

from gradatim.gates.case import Case
from gradatim.gates.rule import Rule
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import Population
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

_SEEDS = "trainings that are not drawn alike: a seed in many that fails"


def designs() -> Iterator[Design]:
    for k, n, spread in (
        (2, 1000, 0.02),
        (3, 200, 0.005),
        (3, 1000, 0.0),
        (3, 1000, 0.02),
        (5, 1000, 0.005),
        (10, 1000, 0.02),
    ):
        at_least = Rule("accuracy", "accuracy", "at_least", 0.9)
        name = f"{k} candidates that differ by {spread}, accuracy at least 0.9"
        yield Design(name, "size", n, (at_least,), _trained(k, n, 0.9, spread), _SEEDS)
        beside = Rule("accuracy", "accuracy", "not_worse", 0.02)
        name = f"{k} candidates that differ by {spread}, accuracy, margin 0.02"
        yield Design(name, "size", n, (beside,), _trained(k, n, 0.88, spread, 0.9), _SEEDS)
    for k, spread in ((3, 0.05), (5, 0.02)):
        rule = Rule("rmse", "rmse", "at_most", ((1 + spread**2) * (5 / 3 + 0.16)) ** 0.5)
        name = f"{k} candidates whose t5 errors differ by {spread}, rmse"
        yield Design(name, "size", 400, (rule,), _regressed(k, 400, spread), RARE)
    for k in (3, 5):
        rule = Rule("accuracy", "accuracy", "not_worse", 0.02)
        name = f"{k} candidates as good as the baseline that differ by 0.003, margin 0.02"
        yield Design(name, "power", 3092, (rule,), _trained(k, 3092, 0.9, 0.003, 0.9), _SEEDS)


def _trained(k: int, n: int, mean: float, spread: float, base: float | None = None) -> Draw:
    """Models for which the same rows are hard: of the luck of each row nine tenths are shared."""
    labels = np.zeros(n, np.int64)

    def one(generator: np.random.Generator) -> Case:
        hard = generator.normal(size=n)

        def answered(right: float, reference: Evaluation | None = None) -> Evaluation:
            luck = 0.9**0.5 * hard + 0.1**0.5 * generator.normal(size=n)
            found = Predictions.of({"label": (luck > ndtri(min(right, 0.9999))).astype(int)}, labels)
            return Evaluation(LABELS, found, reference)

        baseline = None if base is None else answered(base)
        members = [answered(mean + spread * z, baseline) for z in generator.normal(size=k)]
        return Case("candidate", candidate=Population(members), baseline=baseline)

    return one


def _regressed(k: int, n: int, spread: float) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        truth, common = generator.normal(0, 5, n), generator.standard_t(5, n)

        def answered(scale: float) -> Evaluation:
            said = truth + scale * (common + 0.4 * generator.normal(size=n))
            return Evaluation(Task("regression"), Predictions.of({"y": said}, truth))

        return Case(
            "candidate", candidate=Population([answered(1 + spread * z) for z in generator.normal(size=k)])
        )

    return one
