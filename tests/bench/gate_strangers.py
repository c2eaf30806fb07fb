"""Populations that nobody had in mind when the gates were made: errors that are mostly nothing, scores on a grid, three positives,
groups of very unequal size, a noisy copy of the baseline, a class that many a draw lacks, series that carry the mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from gate_designs import BINARY, LABELS, Design, Draw
from numpy.typing import NDArray

from gradatim.gates.case import Case
from gradatim.gates.rule import Rule
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import SCALE
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Floats = NDArray[np.float64]
Drawn = Callable[[np.random.Generator, int], Case]
REGRESSION, THREE = Task("regression"), Task("classification", (0, 1, 2))
SERIES = Task("forecasting", history="past", quantiles=(0.5,))
_MANY = 200_000


def designs() -> Iterator[Design]:
    for name, drawn, sizes, metrics, breaks in POPULATIONS:
        case = drawn(np.random.default_rng(7), _MANY)
        for metric in metrics:
            key, _, where = metric.rstrip("]").partition("[")
            new = case.candidate and case.candidate.samples(key, where or None)
            assert new is not None
            assert new.value is not None
            alone = Rule(metric, key, "at_least" if new.higher_is_better else "at_most", new.value, where or None)  # fmt: skip
            old = case.baseline.samples(key, where or None).value if case.baseline is not None else None
            for n in sizes:
                yield Design(f"{name}: {metric}", "size", n, (alone,), _of(drawn, n), breaks)
                lost = 0.0 if old is None else abs(new.value - old)
                if lost:
                    beside = Rule(metric, key, "not_worse", lost, where or None)
                    yield Design(
                        f"{name}: {metric} beside the baseline", "size", n, (beside,), _of(drawn, n), breaks
                    )
    rule = Rule("mae", "mae", "not_worse", 0.1, relative=True)
    copy = _of(lambda generator, n: _copied(generator, n, 0.02), 400)
    yield Design("a noisy copy as good as its baseline: mae, 10 % relative", "power", 400, (rule,), copy)


def _of(drawn: Drawn, n: int) -> Draw:
    return lambda generator: drawn(generator, n)


def _numbers(truth: Floats, *errors: Floats, groups: NDArray[np.int64] | None = None) -> Case:
    base, mine = (
        Evaluation(REGRESSION, Predictions.of({"y": truth + error}, truth, groups=groups)) for error in errors
    )
    return Case("candidate", candidate=mine, baseline=base)


def _labels(
    task: Task, truth: NDArray[np.int64], *answers: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> Case:
    old = Evaluation(task, Predictions.of({"label": answers[0]}, truth, groups=groups))
    new = Evaluation(task, Predictions.of({"label": answers[1]}, truth, groups=groups), old)
    return Case("candidate", candidate=new, baseline=old)


def _mostly_nothing(generator: np.random.Generator, n: int) -> Case:
    """Nine of ten answers are right to the last bit; the candidate misses some more."""
    size, luck = generator.lognormal(0, 0.5, n), generator.random(n)
    old, new = (np.where(luck < share, size, 0.0) for share in (0.1, 0.13))
    return _numbers(generator.normal(0, 3, n), old, new)


def _on_a_grid(generator: np.random.Generator, n: int) -> Case:
    """Errors of 0, 1, 2 or 3 steps of a half, as marks have them."""
    old = 0.5 * generator.choice(4, n, p=[0.6, 0.25, 0.1, 0.05])
    return _numbers(generator.integers(0, 11, n) / 2, old, old + 0.5 * (generator.random(n) < 0.08))


def _three_positives(generator: np.random.Generator, n: int) -> Case:
    """Three rows in a thousand are of the second class; scores tell most of them."""
    truth = np.asarray(generator.random(n) < 0.003, np.int64)
    truth[0] = 1  # a draw without any has no such metric
    shared, cases = generator.normal(size=n), []
    for pull in (3.2, 2.8):
        z = pull * truth - 3 + 0.7 * shared + 0.7 * generator.normal(size=n)
        p = 1 / (1 + np.exp(-z))
        reference = cases[0] if cases else None
        cases.append(
            Evaluation(BINARY, Predictions.of({"p": np.stack([1 - p, p], axis=1)}, truth), reference)
        )
    return Case("candidate", candidate=cases[1], baseline=cases[0])


def _unequal_groups(generator: np.random.Generator, n: int) -> Case:
    """n groups, most of a row or two, some of hundreds; right and wrong go together in each."""
    sizes = np.minimum(1 + generator.pareto(1.1, n).astype(np.int64), 200)
    codes = np.repeat(np.arange(n), sizes)
    hard = generator.beta(0.85 * 4, 0.15 * 4, n)[codes]
    luck, lose = generator.random(codes.size), generator.beta(0.05 * 4, 0.95 * 4, n)[codes]
    old = luck > hard
    new = old | (generator.random(codes.size) < lose)
    return _labels(LABELS, np.zeros(codes.size, np.int64), old.astype(int), new.astype(int), groups=codes)


def _copied(generator: np.random.Generator, n: int, noise: float) -> Case:
    truth, error = generator.normal(0, 2, n), generator.normal(size=n)
    return _numbers(truth, error, error + noise * generator.normal(size=n))


def _noisy_copy(generator: np.random.Generator, n: int) -> Case:
    """The baseline's numbers with some noise on each."""
    return _copied(generator, n, 0.4)


def _noisy_scores(generator: np.random.Generator, n: int) -> Case:
    """The baseline's scores with some noise on each."""
    truth, cases = np.asarray(generator.random(n) < 0.4, np.int64), list[Evaluation]()
    z = 2.5 * truth - 1.2 + generator.normal(size=n)
    for each in (z, z + 0.6 * generator.normal(size=n)):
        p = 1 / (1 + np.exp(-2 * each))
        reference = cases[0] if cases else None
        cases.append(
            Evaluation(BINARY, Predictions.of({"p": np.stack([1 - p, p], axis=1)}, truth), reference)
        )
    return Case("candidate", candidate=cases[1], baseline=cases[0])


def _lacking(generator: np.random.Generator, n: int) -> Case:
    """Three classes, one of 0.3 %, which one in four draws of 500 lacks."""
    truth = generator.choice(3, n, p=[0.9, 0.097, 0.003])
    old = np.where(generator.random(n) < 0.95, truth, (truth + 1) % 3)
    lost = generator.random(n) < np.where(truth == 2, 0.1, 0.01)
    return _labels(THREE, truth, old, np.where(lost, (truth + 2) % 3, old))


def _carried(generator: np.random.Generator, n: int) -> Case:
    """Every series is off by a tenth more than with the baseline."""
    off = generator.lognormal(0, 1, n)[:, None, None]
    base, mine = (
        Evaluation(SERIES, Predictions.of({"y": each, SCALE: np.ones(n)}, np.zeros((n, 1))))
        for each in (off, 1.1 * off)
    )
    return Case("candidate", candidate=mine, baseline=base)


_ROWS = "rows that are not drawn alike"
POPULATIONS: Sequence[tuple[str, Drawn, Sequence[int], Sequence[str], str]] = (
    ("nine of ten errors are nothing", _mostly_nothing, (100, 600), ("mae", "rmse"), "an error larger than targets are apart"),
    ("errors on a grid", _on_a_grid, (100, 600), ("mae", "rmse"), "an error larger than targets are apart"),
    ("three positives", _three_positives, (1000,), ("recall[class=1]", "roc_auc", "balanced_accuracy", "log_loss"), _ROWS),
    ("groups of 1 to 200 rows", _unequal_groups, (40, 150), ("accuracy",), "changes that strike whole groups at once"),
    ("a noisy copy", _noisy_copy, (100, 600), ("mae", "rmse"), "an error larger than targets are apart"),
    ("a noisy copy of scores", _noisy_scores, (100, 600), ("accuracy", "log_loss", "roc_auc"), _ROWS),
    ("a class of 0.3 %", _lacking, (500,), ("balanced_accuracy", "f1_macro", "precision"), _ROWS),
    ("losses of few series", _carried, (50, 100, 300), ("mase", "pinball"), "a rare loss beyond what more series would show"),
)  # fmt: skip
