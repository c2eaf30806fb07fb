"""How often is each gate wrong, and does the planned sample size give the planned power?

    python tests/bench/gate_simulation.py            # all designs, an hour and a half of a processor
    python tests/bench/gate_simulation.py --draws 200

Every design draws data sets from a population in which the truth is known, judges each by `judge`, and counts the
verdicts. For the size the population lies exactly on the bound, so that every PASS is wrong: at most 5.5 % may be. For
the power the model is good and the sample size is the one that `plan` names for 80 %: at least 78 % must pass.
The table that it prints is the one in docs/explanation/gates.md.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections import Counter
from collections.abc import Iterator

import gate_covariates
import gate_designs
import gate_drift
import gate_recipes
import gate_runs
import gate_strangers
import gate_weights
import numpy as np
from gate_designs import Design, Draw
from numpy.typing import NDArray

from gradatim.gates.case import Case, CorruptionScores
from gradatim.gates.exact import samples_for_power
from gradatim.gates.latency import PairedTiming
from gradatim.gates.planning import plan, samples_not_worse
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task


class Cells:
    """A population of (label, baseline's answer, candidate's answer) with known probabilities."""

    def __init__(self, probabilities: dict[tuple[int, int, int], float], classes: int) -> None:
        self.cells = np.array(list(probabilities))
        self.p = np.array(list(probabilities.values()), np.float64)
        self.p /= self.p.sum()
        self.task = Task("classification", tuple(range(classes)))

    def evaluations(self, truth: NDArray[np.int64]) -> tuple[Evaluation, Evaluation]:
        rows = self.cells[truth]
        old = Evaluation(self.task, Predictions.of({"label": rows[:, 1]}, rows[:, 0]))
        new = Evaluation(self.task, Predictions.of({"label": rows[:, 2]}, rows[:, 0]), old)
        return new, old

    def values(self, metric: str, where: str | None = None) -> tuple[float, float]:
        """The metric's true values (candidate, baseline): a very large sample with exact shares."""
        counts = np.round(self.p * 400_000).astype(np.int64)
        new, old = self.evaluations(np.repeat(np.arange(len(self.p)), counts))
        return new.samples(metric, where).value, old.samples(metric, where).value  # type: ignore[return-value]

    def draw(self, n: int) -> Draw:
        def one(generator: np.random.Generator) -> Case:
            new, old = self.evaluations(generator.choice(len(self.p), n, p=self.p))
            return Case("candidate", candidate=new, baseline=old)

        return one


def binary_correctness(psi: float, difference: float, right: float = 0.85) -> Cells:
    """Two labels, equally likely; both models right on ``right``, one of them only on ``psi``."""
    gain, loss = (psi + difference) / 2, (psi - difference) / 2
    cells: dict[tuple[int, int, int], float] = {}
    for label in (0, 1):
        other = 1 - label
        cells[label, label, label] = right / 2
        cells[label, other, label] = gain / 2
        cells[label, label, other] = loss / 2
        cells[label, other, other] = (1 - right - psi) / 2
    return Cells(cells, 2)


def many_classes(classes: int, rare: float, loss: float, psi: float = 0.04) -> Cells:
    """Classes of equal weight but the last, which has ``rare``; the candidate loses ``loss`` of it more."""
    weights = [(1 - rare) / (classes - 1)] * (classes - 1) + [rare]
    cells: dict[tuple[int, int, int], float] = {}
    for label, weight in enumerate(weights):
        other = (label + 1) % classes
        extra = loss if label == classes - 1 else 0.0
        cells[label, label, label] = weight * (0.95 - psi - extra)
        cells[label, other, label] = weight * psi / 2
        cells[label, label, other] = weight * (psi / 2 + extra)
        cells[label, other, other] = weight * 0.05
    return Cells(cells, classes)


def on_the_bound(
    name: str, cells: Cells, metric: str, n: int, where: str | None = None, *, keep: bool = False
) -> Design:
    """A comparison whose margin is exactly the true loss."""
    new, old = cells.values(metric, where)
    rule = (
        Rule(metric, metric, "keep", new / old, where)
        if keep
        else Rule(metric, metric, "not_worse", old - new, where)
    )
    return Design(name, "size", n, (rule,), cells.draw(n))


def sizes() -> Iterator[Design]:
    for n, margin, psi in (
        (300, 0.02, 0.02),
        (597, 0.01, 0.03),
        (1000, 0.01, 0.06),
        (1000, 0.02, 0.1),
        (200, 0.05, 0.1),
    ):
        cells = binary_correctness(psi, -margin)
        rule = Rule("accuracy", "accuracy", "not_worse", margin)
        yield Design(f"accuracy, margin {margin}, differ on {psi}", "size", n, (rule,), cells.draw(n))
    yield on_the_bound(
        "keep of accuracy, differ on 0.02", binary_correctness(0.02, -0.01), "accuracy", 300, keep=True
    )
    yield on_the_bound(
        "keep of accuracy, differ on 0.05", binary_correctness(0.05, -0.01), "accuracy", 600, keep=True
    )
    few = many_classes(2, 0.15, 0.05)
    yield on_the_bound("F1, about 90 positives", few, "f1", 600, "class=1")
    yield on_the_bound("F1, about 300 positives", many_classes(2, 0.3, 0.03), "f1", 1000, "class=1")
    yield on_the_bound("F1, nearly no change", many_classes(2, 0.15, 0.03, psi=0.0), "f1", 600, "class=1")
    yield on_the_bound("precision of a class", few_precise(), "precision", 600, "class=1")
    yield on_the_bound("macro F1, 3 classes", many_classes(3, 0.1, 0.08), "f1_macro", 600)
    yield on_the_bound("macro F1, 10 classes", many_classes(10, 0.05, 0.2), "f1_macro", 597)
    yield on_the_bound("macro F1, nearly no change", many_classes(10, 0.05, 0.1, psi=0.0), "f1_macro", 597)
    yield on_the_bound("balanced accuracy, 3 classes", many_classes(3, 0.1, 0.08), "balanced_accuracy", 600)
    yield from absolute_sizes()
    yield from other_sizes()


def few_precise() -> Cells:
    """The candidate takes more of the first label for the second."""
    return Cells(
        {
            (0, 0, 0): 0.77,
            (0, 1, 1): 0.02,
            (0, 0, 1): 0.015,
            (0, 1, 0): 0.005,
            (1, 1, 1): 0.17,
            (1, 0, 0): 0.02,
        },
        2,
    )


def absolute_sizes() -> Iterator[Design]:
    for n, share in ((44, 0.9), (150, 0.9), (597, 0.95), (2000, 0.99)):
        cells = Cells({(0, 0, 0): share, (0, 0, 1): 1 - share}, 2)
        rule = Rule("accuracy", "accuracy", "at_least", share)
        yield Design(f"accuracy at least {share}", "size", n, (rule,), cells.draw(n))
    cells = binary_correctness(0.02, 0.0)
    rule = Rule("negative_flips", "negative_flips", "at_most", 0.01)
    yield Design("negative flips at most 0.01", "size", 1000, (rule,), cells.draw(1000))
    for name, cells, metric, n in (
        ("macro F1 at least, 3 classes", many_classes(3, 0.2, 0.0), "f1_macro", 600),
        ("macro F1 at least, 10 classes", many_classes(10, 0.1, 0.0, psi=0.0), "f1_macro", 597),
    ):
        rule = Rule(metric, metric, "at_least", cells.values(metric)[0])
        yield Design(name, "size", n, (rule,), cells.draw(n))
    few = many_classes(2, 0.15, 0.0, psi=0.0)
    rule = Rule("f1", "f1", "at_least", few.values("f1", "class=1")[0], "class=1")
    yield Design("F1 at least, about 90 positives", "size", 600, (rule,), few.draw(600))
    # nine classes far above the bound, one on it: only that one can stop the release
    shares = {(c, c, c): 0.1 for c in range(9)} | {(9, 9, 9): 0.09, (9, 9, 0): 0.01}
    rule = Rule("recall", "recall", "at_least", 0.9, slices="class")
    yield Design("every class's recall at least 0.9", "size", 1000, (rule,), Cells(shares, 10).draw(1000))


def other_sizes() -> Iterator[Design]:
    yield Design("veto over 10 classes, each on its bound", "veto", 2000, (_VETO,), many_vetoes().draw(2000))
    rule = Rule("robustness[noise]", "robustness", "not_worse", 0.02, "noise")
    yield Design("robustness, 5 severities, not worse", "size", 600, (rule,), _robustness(600, -0.02))
    rule = Rule("robustness[noise]", "robustness", "not_worse", 0.01, "noise")
    yield Design("robustness, hardly any change", "size", 400, (rule,), _robustness(400, -0.01, 0.011))
    rule = Rule("robustness[noise]", "robustness", "at_least", 0.85, "noise", severity=3)
    yield Design("robustness up to severity 3", "size", 1000, (rule,), _severities)
    rule = Rule("latency_p90", "latency_p90", "at_most", 1.0)
    yield Design("latency p90 of 10 rounds", "size", 10, (rule,), _latency)
    rule = Rule("latency_p50", "latency_p50", "not_worse", 0.03)
    for looks, name in ((1, "paired latency, 10 rounds"), (5, "paired latency, 10 rounds, a look of five")):
        yield Design(f"{name}, slower by the margin", "early", 10, (rule,), _paired(0.03, 10, looks))
        yield Design(f"{name}, slower by a third of it", "veto", 10, (rule,), _paired(0.01, 10, looks))
    for metric in ("mae", "rmse"):
        rule = Rule(metric, metric, "not_worse", 0.05, relative=True)
        yield Design(f"{metric}, 5 % relative", "size", 400, (rule,), _regression(1.05))
    rule = Rule("roc_auc", "roc_auc", "not_worse", _auc(1.8) - _auc(1.6))
    yield Design("ROC-AUC", "size", 400, (rule,), _ranking(1.6, 1.8))


_VETO = Rule("accuracy", "accuracy", "not_worse", 0.02, slices="class", family="veto")


def many_vetoes() -> Cells:
    cells = {}
    for label in range(10):
        other = (label + 1) % 10
        cells[label, label, label] = 0.088
        cells[label, other, label] = 0.002
        cells[label, label, other] = 0.004
        cells[label, other, other] = 0.006
    return Cells(cells, 10)


def _robustness(n: int, difference: float, psi: float = 0.1) -> Draw:
    """Models that differ on a share ``psi`` of the items, on all severities of an item alike."""

    def one(generator: np.random.Generator) -> Case:
        old = (generator.random((n, 5)) < np.linspace(0.9, 0.7, 5)) * 1.0
        new, luck = old.copy(), generator.random(n)
        gained, lost = luck < (psi + difference) / 2, luck > 1 - (psi - difference) / 2
        new[gained], old[gained], new[lost], old[lost] = 1.0, 0.0, 0.0, 1.0
        return Case("candidate", robustness={"noise": CorruptionScores("noise", (1, 2, 3, 4, 5), new, old)})

    return one


def _severities(generator: np.random.Generator) -> Case:
    new = generator.random((1000, 5)) < np.array([0.93, 0.9, 0.85, 0.8, 0.7])
    return Case("candidate", robustness={"noise": CorruptionScores("noise", (1, 2, 3, 4, 5), new * 1.0)})


def _latency(generator: np.random.Generator) -> Case:
    return Case("candidate", rounds={"latency_p90": list(generator.lognormal(0, 0.3, 10))})


def _paired(slowdown: float, rounds: int, looks: int) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        ratios = generator.normal(math.log1p(slowdown), 0.008, rounds)
        return Case("candidate", timings={"latency_p50": PairedTiming(list(ratios), 0.001, 0.001, looks)})

    return one


def _regression(factor: float) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        truth = generator.normal(0, 5, 400)
        error = generator.normal(0, 1, 400)
        noise = generator.normal(0, 0.4, 400)
        old = Evaluation(Task("regression"), Predictions.of({"y": truth + error}, truth))
        wider = factor * (error + noise) / math.sqrt(1 + 0.16)
        return Case(
            "candidate",
            candidate=Evaluation(Task("regression"), Predictions.of({"y": truth + wider}, truth)),
            baseline=old,
        )

    return one


def _auc(distance: float) -> float:
    return 0.5 * (1 + math.erf(distance / 2))


def _ranking(new: float, old: float) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        labels = (generator.random(400) < 0.3).astype(np.int64)
        common = generator.normal(size=400)
        cases = []
        for distance in (new, old):
            scores = 0.8 * common + 0.6 * generator.normal(size=400) + distance * labels
            task = Task("classification", (0, 1), scores="logits")
            cases.append(Evaluation(task, Predictions.of({"score": scores.astype(np.float32)}, labels)))
        return Case("candidate", candidate=cases[0], baseline=cases[1])

    return one


def powers() -> Iterator[Design]:
    for margin, psi in ((0.01, 0.05), (0.02, 0.05), (0.02, 0.1)):
        n = samples_not_worse(margin, psi)
        rule = Rule("accuracy", "accuracy", "not_worse", margin)
        name = f"accuracy, margin {margin}, equal models that differ on {psi}"
        yield Design(name, "power", n, (rule,), binary_correctness(psi, 0.0).draw(n))
    rule = Rule("accuracy", "accuracy", "keep", 0.98)
    n = _planned(rule)
    yield Design(
        "keep 98 % of accuracy, equal models", "power", n, (rule,), binary_correctness(0.05, 0.0, 0.9).draw(n)
    )
    for share in (0.8, 0.9, 0.95):
        n = samples_for_power(share, (1 + share) / 2) or 0
        cells = Cells({(0, 0, 0): (1 + share) / 2, (0, 0, 1): (1 - share) / 2}, 2)
        yield Design(
            f"accuracy at least {share}",
            "power",
            n,
            (Rule("accuracy", "accuracy", "at_least", share),),
            cells.draw(n),
        )
    rule = Rule("negative_flips", "negative_flips", "at_most", 0.02)
    n = _planned(rule)
    yield Design("negative flips at most 0.02", "power", n, (rule,), binary_correctness(0.02, 0.0).draw(n))
    rule = Rule("f1_macro", "f1_macro", "not_worse", 0.02)
    n = _planned(rule)
    yield Design("macro F1, 3 equal classes", "power", n, (rule,), many_classes(3, 1 / 3, 0.0, 0.05).draw(n))
    rule = Rule("robustness[noise]", "robustness", "not_worse", 0.02, "noise")
    n = _planned(rule)
    yield Design("robustness, equal models", "power", n, (rule,), _robustness(n, 0.0, 0.05))


def _planned(rule: Rule) -> int:
    needed = plan([rule], {})[0].needed
    assert needed is not None
    return needed


def run(design: Design, draws: int) -> dict[Verdict, float]:
    """How often each verdict was given."""
    generator = np.random.default_rng(zlib.crc32(f"{design.kind} {design.name}".encode()))
    found = Counter(design.verdict(generator) for _ in range(draws))
    return {verdict: found[verdict] / draws for verdict in Verdict}


def designs() -> list[Design]:
    return [
        *sizes(),
        *powers(),
        *gate_designs.designs(),
        *gate_recipes.designs(),
        *gate_covariates.designs(),
        *gate_weights.designs(),
        *gate_drift.designs(),
        *gate_runs.designs(),
        *gate_strangers.designs(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print("| gate | n | wanted | PASS | FAIL | what could break it |\n|---|---|---|---|---|---|")
    wanted = {
        "power": "PASS >= 78 %",
        "veto": "FAIL <= 5.5 %",
        "early": "PASS <= 5.5 %",
        "size": "each <= 5.5 %",
        "beyond": "known to err",
    }
    for design in designs():
        if options.only not in f"{design.kind} {design.name}":
            continue
        found = run(design, options.draws)
        passed, failed = (f"{100 * found[verdict]:.1f} %" for verdict in (Verdict.PASS, Verdict.FAIL))
        print(
            f"| {design.name} | {design.n} | {wanted[design.kind]} | {passed} | {failed} | {design.breaks} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
