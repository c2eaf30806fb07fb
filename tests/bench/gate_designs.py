"""Populations that bend what a gate assumes: heavy tails, groups, noise in a calibration, forms to choose from, many gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gradatim.gates.case import Case
from gradatim.gates.exact import samples_for_power
from gradatim.gates.judge import first_proven, judge
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import SCALE
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Draw = Callable[[np.random.Generator], Case]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """One population and one gate.

    Attributes:
        kind: ``size`` (on the bound: a PASS is wrong, a FAIL too), ``veto`` (a FAIL is wrong), ``early`` (a PASS is wrong, and a
            FAIL is not: a third of the margin is for noise), ``power``, or ``beyond`` (on the
            bound, and known to pass too often).
        breaks: which assumption could break it.
        judged: how a case is judged, by each rule on its own where None.
    """

    name: str
    kind: str
    n: int
    rules: tuple[Rule, ...]
    draw: Draw
    breaks: str = "rows that are not drawn alike"
    judged: Callable[[Case], Sequence[GateResult]] | None = None

    def verdict(self, generator: np.random.Generator) -> Verdict:
        """Of one draw."""
        case = self.draw(generator)
        results = judge(self.rules, case) if self.judged is None else self.judged(case)
        return Verdict.worst(result.verdict for result in results)


BINARY = Task("classification", (0, 1), scores="probabilities")
LABELS = Task("classification", (0, 1))
_ROWS = "rows that are not drawn alike"
RARE = "a rare error beyond what six times as many samples would show"
_GROUPS = "changes that strike whole groups at once, and so few that none is seen"


def designs() -> Iterator[Design]:
    yield from calibrations()
    yield from tails()
    yield from log_losses()
    yield from rare_errors()
    yield from far_off()
    yield from beyond_any_target()
    yield from own_metrics()
    yield from groups()
    yield from retrievals()
    yield from choices()


def calibrations() -> Iterator[Design]:
    for n in (100, 400, 1500):
        for name, gap in (("at all levels", _spread), ("at one level", _single)):
            rule = Rule("ece", "ece", "at_most", 0.06)
            yield Design(
                f"calibration error {name}", "size", n, (rule,), _calibrated(n, gap), "errors within a bin"
            )
        rule = Rule("ece", "ece", "at_most", 0.03)
        yield Design(
            "a calibrated model, at most 0.03 (FAIL)", "veto", n, (rule,), _calibrated(n, lambda p: 0 * p),
            "errors within a bin",
        )  # fmt: skip


def _spread(said: Floats) -> Floats:
    return np.full(said.shape, 0.06)


def _single(said: Floats) -> Floats:
    return np.where((said > 0.8) & (said <= 13 / 15), 0.06 / (1 / 15 / 0.4), 0.0)


def _calibrated(n: int, gap: Callable[[Floats], Floats]) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        said = generator.uniform(0.6, 1, n)
        right = generator.random(n) < said - gap(said)
        p = np.stack([1 - said, said], axis=1)
        return Case("candidate", candidate=Evaluation(BINARY, Predictions.of({"p": p}, right.astype(int))))

    return one


def tails() -> Iterator[Design]:
    for n in (50, 100, 400):
        for name, metric, truth, draw in (
            ("rmse, t3 errors", "rmse", 3**0.5, lambda g, n: g.standard_t(3, n)),
            ("rmse, t5 errors", "rmse", (5 / 3) ** 0.5, lambda g, n: g.standard_t(5, n)),
            ("rmse, normal errors", "rmse", 1.0, lambda g, n: g.normal(size=n)),
            ("mae, lognormal errors", "mae", math.exp(0.5), lambda g, n: g.lognormal(0, 1, n)),
            ("mae, Pareto errors", "mae", 2.5 / 1.5, lambda g, n: g.pareto(2.5, n) + 1),
        ):
            rule = Rule(metric, metric, "at_most", truth)
            yield Design(name, "size", n, (rule,), _errors(n, draw), RARE)
    for n in (100, 400):
        for name, draw in (("t3", lambda g, n: g.standard_t(3, n)), ("t5", lambda g, n: g.standard_t(5, n))):
            rule = Rule("rmse", "rmse", "not_worse", 0.05, relative=True)
            yield Design(
                f"rmse, 5 % relative, {name} errors", "size", n, (rule,), _pairs(n, draw, 1.05), RARE
            )
    yield from _panel()
    rule = Rule("mae", "mae", "not_worse", 0.1, relative=True)
    normal = _pairs(400, lambda g, n: g.normal(size=n), 1.0)
    yield Design("mae, 10 % relative, equal models", "power", 400, (rule,), normal, RARE)


def _panel() -> Iterator[Design]:
    """From errors that end to errors that a few rows carry, alone and beside a baseline that errs alike on seven rows of ten; and
    normal errors of which a share is so many times as large, where a draw may lack these."""
    for name, mae, square, draw in (
        ("exponential errors", 1.0, 2.0, lambda g, n: g.exponential(size=n)),
        ("t2.5 errors", 1.2060, 5.0, lambda g, n: g.standard_t(2.5, n)),
        ("Pareto (2.5) errors", 2.5 / 1.5, 5.0, lambda g, n: g.pareto(2.5, n) + 1),
        ("lognormal (1.5) errors", math.exp(1.125), math.exp(4.5), lambda g, n: g.lognormal(0, 1.5, n)),
        ("lognormal (2) errors", math.exp(2.0), math.exp(8.0), lambda g, n: g.lognormal(0, 2, n)),
        ("errors of users that differ (lognormal)", (2 / math.pi) ** 0.5 * math.exp(0.5), math.exp(2.0), _of_users),
    ):  # fmt: skip
        for n in (60, 200, 600, 2000):
            yield from _both(name, "size", n, mae, square, draw, RARE)
    for share, times in ((0.01, 10), (0.005, 10), (0.01, 100)):
        mae, square = (1 - share + share * times**power for power in (1, 2))
        draw = partial(_contaminated, share, times)
        for n in (60, 200, 600, 2000):
            lacks = (1 - share * math.erfc(3 / times / 2**0.5)) ** n
            breaks = f"a draw that shows no such row, which {100 * lacks:.1f} % are"
            kind = "beyond" if lacks > 0.01 else "size"
            name = f"{100 * share:g} % of the errors {times} times as large"
            yield from _both(name, kind, n, mae * (2 / math.pi) ** 0.5, square, draw, breaks)


def _both(
    name: str, kind: str, n: int, mae: float, square: float, draw: Callable[[np.random.Generator, int], Floats], breaks: str
) -> Iterator[Design]:  # fmt: skip
    for metric, truth in (("mae", mae), ("rmse", square**0.5)):
        alone = Rule(metric, metric, "at_most", truth)
        yield Design(f"{metric}, {name}", kind, n, (alone,), _errors(n, draw), breaks)
        beside = Rule(metric, metric, "not_worse", truth * (1 - 1 / 1.1))
        yield Design(f"{metric} beside the baseline, {name}", kind, n, (beside,), _mostly_alike(n, draw), breaks)  # fmt: skip


def _of_users(generator: np.random.Generator, n: int) -> Floats:
    return np.asarray(generator.normal(size=n) * generator.lognormal(0, 1, n))


def _contaminated(share: float, times: float, generator: np.random.Generator, n: int) -> Floats:
    return np.asarray(generator.normal(size=n) * np.where(generator.random(n) < share, times, 1.0))


def _mostly_alike(n: int, draw: Callable[[np.random.Generator, int], Floats]) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        truth, new = generator.normal(0, 5, n), draw(generator, n)
        old = np.where(generator.random(n) < 0.7, new, draw(generator, n)) / 1.1
        base, mine = (
            Evaluation(Task("regression"), Predictions.of({"y": truth + e}, truth)) for e in (old, new)
        )
        return Case("candidate", candidate=mine, baseline=base)

    return one


def _errors(n: int, draw: Callable[[np.random.Generator, int], Floats]) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        truth = generator.normal(0, 5, n)
        answers = Predictions.of({"y": truth + draw(generator, n)}, truth)
        return Case("candidate", candidate=Evaluation(Task("regression"), answers))

    return one


def _pairs(n: int, draw: Callable[[np.random.Generator, int], Floats], factor: float) -> Draw:
    """Both models err by a common part and by one of their own."""

    def one(generator: np.random.Generator) -> Case:
        truth, common = generator.normal(0, 5, n), draw(generator, n)
        old, new = (common + 0.4 * generator.normal(size=n) for _ in range(2))
        base, mine = (
            Evaluation(Task("regression"), Predictions.of({"y": truth + e}, truth))
            for e in (old, factor * new)
        )
        return Case("candidate", candidate=mine, baseline=base)

    return one


def log_losses() -> Iterator[Design]:
    for n in (200, 600):
        for least in (1e-3, 1e-4):
            levels = np.linspace(0.8, 0.99, 10_001)
            margin = 0.01 * float(np.mean(np.log(levels)) - math.log(least))
            rule = Rule("log_loss", "log_loss", "not_worse", margin)
            name = f"log loss, 1 % of the answers sure and wrong ({least:g})"
            yield Design(name, "size", n, (rule,), _overconfident(n, least), "probabilities below 0.0000001")


def _overconfident(n: int, least: float) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        labels, right = np.arange(n) % 2, generator.uniform(0.8, 0.99, n)
        near = np.clip(right + generator.normal(0, 0.001, n), 0.5, 0.999)
        wrong = np.where(generator.random(n) < 0.01, least, near)
        old, new = (np.where(labels == 1, [1 - p, p], [p, 1 - p]).T for p in (right, wrong))
        base, mine = (Evaluation(BINARY, Predictions.of({"p": p}, labels)) for p in (old, new))
        return Case("candidate", candidate=mine, baseline=base)

    return one


def rare_errors() -> Iterator[Design]:
    """Rows that are off by 1 where all others are alike, to the last bit or to 0.0001."""
    blind = "rows that are further off than the worst that was seen, or than another row's answer"
    for tiny in ("none", "a few", "all"):
        for metric, bound, amount in (
            ("mae", "at_most", 0.01),
            ("rmse", "at_most", 0.1),
            ("mae", "not_worse", 0.01),
        ):
            rule = Rule(metric, metric, bound, amount)  # type: ignore[arg-type]
            beside = bound == "not_worse"
            name = f"{metric} {'beside the baseline' if beside else 'at most'}, 1 % of the rows off by 1, {tiny} by 0.0001"
            yield Design(name, "size", 200, (rule,), _rarely_off(200, tiny, beside), blind)


def _rarely_off(n: int, tiny: str, beside: bool) -> Draw:
    def one(generator: np.random.Generator) -> Case:
        truth, usual = generator.normal(0, 1, n), np.abs(generator.normal(0, 1, n)) * beside
        touched = generator.random(n) < {"none": 0.0, "a few": 0.02, "all": 1.0}[tiny]
        error = 1e-4 * touched * generator.random(n) + (generator.random(n) < 0.01)
        base, mine = (
            Evaluation(Task("regression"), Predictions.of({"y": truth + e}, truth))
            for e in (usual, usual + error)
        )
        return Case("candidate", candidate=mine, baseline=base if beside else None)

    return one


def far_off() -> Iterator[Design]:
    """Small errors, and some rows with another row's answer; series of which a few are hardly foreseen."""
    for n, share in ((100, 0.02), (200, 0.01), (400, 0.005), (600, 0.003)):
        mean = share * 2 / math.pi**0.5 + (1 - share) * 0.1 * (2 / math.pi) ** 0.5
        for metric, truth in (("mae", mean), ("rmse", (2 * share + 0.01 * (1 - share)) ** 0.5)):
            for before in (0.0, 0.1 * (2 / math.pi) ** 0.5 if metric == "mae" else 0.1):
                rule = Rule(metric, metric, "not_worse" if before else "at_most", truth - before)
                name = f"{metric}{' beside the baseline' if before else ''}, {100 * share:g} % of the rows with another's answer"
                draw = _misplaced(n, share, before > 0)
                yield Design(name, "size", n, (rule,), draw, "errors larger than targets are apart")
    for n in (50, 100, 300):
        for name, mean, draw in (
            ("lognormal", math.exp(0.5), lambda g, n: g.lognormal(0, 1, n)),
            ("Pareto", 2.5 / 1.5, lambda g, n: g.pareto(2.5, n) + 1),
        ):
            rule = Rule("mase", "mase", "at_most", mean)
            breaks = "a rare error beyond what twice as many series would show"
            yield Design(f"mase, {name} errors", "size", n, (rule,), _series(n, draw), breaks)


def beyond_any_target() -> Iterator[Design]:
    """Rows so few that many a draw shows none, off by three deviations of the targets: the farthest of these lies about there."""
    for n, share in ((100, 0.01), (100, 0.02), (200, 0.01), (400, 0.005), (600, 0.003)):
        usual, square = 0.1 * (2 / math.pi) ** 0.5, 9 * share + 0.01 * (1 - share)
        for metric, truth, before in (
            ("mae", 3 * share + (1 - share) * usual, 0.0),
            ("mae", 3 * share + (1 - share) * usual, usual),
            ("rmse", square**0.5, 0.0),
            ("rmse", square**0.5, 0.1),
        ):
            rule = Rule(metric, metric, "not_worse" if before else "at_most", truth - before)
            name = f"{metric}{' beside the baseline' if before else ''}, {100 * share:g} % of the rows off by three deviations"
            breaks = "errors larger than targets are apart, as the verdict says"
            draw = _beyond(n, share, before > 0)
            if metric == "mae" and not before:
                yield Design(name, "size", n, (rule,), draw, breaks)
                continue
            yield Design(name, "beyond", n, (rule,), draw, breaks)
            breaks = "errors larger than the farthest target is from the mean one"
            yield Design(f"{name}, strict", "size", n, (replace(rule, strict=True),), draw, breaks)
    for name, deviation, errors in (
        ("normal", 1.0, lambda g, n: g.normal(size=n)),
        ("t5", (5 / 3) ** 0.5, lambda g, n: g.standard_t(5, n)),
        ("lognormal (0.5)", math.exp(0.25), lambda g, n: g.lognormal(0, 0.5, n)),
    ):
        rule = Rule("rmse", "rmse", "at_most", 1.25 * deviation, strict=True)
        name = f"rmse at most 1.25 times what it is, {name} errors, strict"
        yield Design(name, "power", 3000, (rule,), _errors(3000, errors), RARE)


def _beyond(n: int, share: float, beside: bool) -> Draw:
    return _rarely(n, share, beside, lambda generator, truth: truth + 3.0)


def _misplaced(n: int, share: float, beside: bool) -> Draw:
    return _rarely(n, share, beside, lambda generator, truth: generator.normal(size=n))


def _rarely(
    n: int, share: float, beside: bool, wrong: Callable[[np.random.Generator, Floats], Floats]
) -> Draw:
    """Small errors, but for a share of the rows; the baseline has none of these."""

    def one(generator: np.random.Generator) -> Case:
        truth, small = generator.normal(size=(2, n))
        old = truth + 0.1 * small
        new = np.where(generator.random(n) < share, wrong(generator, truth), old)
        base, mine = (Evaluation(Task("regression"), Predictions.of({"y": y}, truth)) for y in (old, new))
        return Case("candidate", candidate=mine, baseline=base if beside else None)

    return one


def _series(n: int, draw: Callable[[np.random.Generator, int], Floats]) -> Draw:
    """Series whose history changes by 1 from season to season, each forecast off by its own error at every step."""
    task = Task("forecasting", history="past")

    def one(generator: np.random.Generator) -> Case:
        ahead = generator.normal(size=(n, 4))
        answers = {"y": ahead + draw(generator, n)[:, None], SCALE: np.ones(n)}
        return Case("candidate", candidate=Evaluation(task, Predictions.of(answers, ahead)))

    return one


def own_metrics() -> Iterator[Design]:
    trial = "a row that is worse than another's answer in its place"
    for n, right in ((200, 0.9), (600, 0.99)):
        rule = Rule("hits", "hits", "at_least", right)
        yield Design(f"own metric at least {right}", "size", n, (rule,), _owned(n, 1 - right, None), trial)
    rule = Rule("hits", "hits", "not_worse", 0.0085)
    yield Design("own metric, margin 0.0085", "size", 600, (rule,), _owned(600, 0.15, 0.01), trial)
    rule = Rule("hits", "hits", "at_least", 0.98)
    yield Design("own metric at least 0.98, faultless", "power", 300, (rule,), _owned(300, 0.0, None), trial)


def _hits(labels: Floats, answers: Floats) -> float:
    return float(np.mean(labels == answers))


def _owned(n: int, wrong: float, lost: float | None) -> Draw:
    task = Task("classification", (0, 1), own={"hits": _hits})

    def one(generator: np.random.Generator) -> Case:
        y = generator.integers(0, 2, n)
        old = np.where(generator.random(n) < wrong, 1 - y, y)
        new = old if lost is None else np.where(generator.random(n) < lost, 1 - y, old)
        base, mine = (Evaluation(task, Predictions.of({"label": each}, y)) for each in (old, new))
        return Case("candidate", candidate=mine, baseline=None if lost is None else base)

    return one


def groups() -> Iterator[Design]:
    for count in (6, 10, 20):
        rule = Rule("mae", "mae", "at_most", float((2 / np.pi) ** 0.5 * np.exp(0.18)))
        name = f"mae, {count} users whose errors differ (lognormal)"
        yield Design(name, "size", count, (rule,), _scaled(count), RARE)
    for count, rows, together in ((20, 20, 0.3), (50, 20, 0.1), (50, 20, 0.3), (50, 10, 0.6), (100, 10, 0.3)):
        rule = Rule("accuracy", "accuracy", "at_least", 0.9)
        name = f"accuracy at least 0.9, {count} groups of {rows}, correlated by {together}"
        yield Design(name, "size", count, (rule,), _users(count, rows, 0.9, together), _GROUPS)
    for count, rows in ((20, 10), (50, 10), (100, 10), (100, 20)):
        rule = Rule("accuracy", "accuracy", "not_worse", 0.05)
        name = f"accuracy, margin 0.05, {count} groups of {rows}"
        yield Design(name, "size", count, (rule,), _changed(count, rows, 0.07, 0.02), _GROUPS)
    rule = Rule("accuracy", "accuracy", "at_least", 0.8)
    needed = samples_for_power(0.8, 0.9) or 0
    name = "accuracy at least 0.8, planned groups of 10, correlated by 0.3"
    yield Design(name, "power", needed, (rule,), _users(needed, 10, 0.9, 0.3), _GROUPS)
    rule = Rule("accuracy", "accuracy", "at_least", 0.9)
    yield Design(
        "accuracy at least 0.9 at 0.97, 50 groups of 20",
        "power",
        50,
        (rule,),
        _users(50, 20, 0.97, 0.05),
        _GROUPS,
    )
    rule = Rule("accuracy", "accuracy", "not_worse", 0.02)
    yield Design("accuracy, margin 0.02, the same model, 100 groups of 10", "power", 100, (rule,), _same(100, 10), _GROUPS)  # fmt: skip


def _scaled(count: int) -> Draw:
    codes = np.repeat(np.arange(count), 20)

    def one(generator: np.random.Generator) -> Case:
        truth, scale = generator.normal(0, 3, codes.shape[0]), np.exp(generator.normal(0, 0.6, count))[codes]
        answers = Predictions.of(
            {"y": truth + scale * generator.normal(size=codes.shape[0])}, truth, groups=codes
        )
        return Case("candidate", candidate=Evaluation(Task("regression"), answers))

    return one


def _beta(generator: np.random.Generator, mean: float, together: float, n: int) -> Floats:
    return generator.beta(mean * (1 / together - 1), (1 - mean) * (1 / together - 1), n)


def _grouped(
    right: NDArray[np.bool_], codes: NDArray[np.int64], reference: Evaluation | None = None
) -> Evaluation:
    labels = np.zeros(right.shape[0], np.int64)
    return Evaluation(
        LABELS, Predictions.of({"label": (~right).astype(int)}, labels, groups=codes), reference
    )


def _users(count: int, rows: int, right: float, together: float) -> Draw:
    codes = np.repeat(np.arange(count), rows)

    def one(generator: np.random.Generator) -> Case:
        p = _beta(generator, right, together, count)[codes]
        return Case("candidate", candidate=_grouped(generator.random(codes.shape[0]) < p, codes))

    return one


def _changed(count: int, rows: int, lost: float, gained: float) -> Draw:
    """Right answers that are lost go together in a group (0.2), and so do right and wrong (0.1)."""
    codes = np.repeat(np.arange(count), rows)

    def one(generator: np.random.Generator) -> Case:
        old = generator.random(codes.shape[0]) < _beta(generator, 0.85, 0.1, count)[codes]
        luck = generator.random(codes.shape[0])
        lose = luck < _beta(generator, lost / 0.85, 0.2, count)[codes]
        new = np.where(old, ~lose, luck < gained / 0.15)
        base = _grouped(old, codes)
        return Case("candidate", candidate=_grouped(new, codes, base), baseline=base)

    return one


def _same(count: int, rows: int) -> Draw:
    users = _users(count, rows, 0.85, 0.05)

    def one(generator: np.random.Generator) -> Case:
        found = users(generator).candidate
        return Case("candidate", candidate=found, baseline=found)

    return one


def retrievals() -> Iterator[Design]:
    for labels, items in ((5, 20), (10, 20), (19, 10), (30, 10), (60, 5)):
        draw = _retrieval(labels, items)
        generator = np.random.default_rng(0)
        seen = [draw(generator).candidate.samples("recall_at_1").value for _ in range(1000)]  # type: ignore[union-attr]
        rule = Rule("recall_at_1", "recall_at_1", "at_least", float(np.mean(seen)))  # type: ignore[arg-type]
        name = f"recall at 1, {labels} labels of {items} items"
        yield Design(name, "size", labels, (rule,), draw, "labels that hang together")

    for labels, items in ((5, 20), (10, 20), (19, 10)):
        draw_pair = _retrieval_beside(labels, items)
        generator = np.random.default_rng(0)
        pairs = [draw_pair(generator) for _ in range(600)]
        ndcg = [[e.samples("ndcg_at_10").value for e in (c.candidate, c.baseline)] for c in pairs]  # type: ignore[union-attr]
        new, old = np.mean(np.array(ndcg, np.float64), axis=0)
        for rule in (
            Rule("n", "ndcg_at_10", "at_least", float(new)),
            Rule("n", "ndcg_at_10", "not_worse", float(old - new)),
        ):
            name = f"nDCG, {labels} labels of {items} items, {rule.bound.replace('_', ' ')}"
            yield Design(name, "size", labels, (rule,), draw_pair, "labels that hang together")


def _retrieval_beside(labels: int, items: int) -> Draw:
    truth = np.repeat(np.arange(labels), items)
    draw = _retrieval(labels, items)

    def one(generator: np.random.Generator) -> Case:
        base = draw(generator).candidate
        assert base is not None
        lost = generator.uniform(0, 0.5, labels)[truth, None] * generator.normal(size=(truth.shape[0], 8))
        vectors = base.predictions.outputs["e"].values + lost.astype(np.float32)
        mine = Evaluation(Task("embedding"), Predictions.of({"e": vectors}, truth), base)
        return Case("candidate", candidate=mine, baseline=base)

    return one


def _retrieval(labels: int, items: int) -> Draw:
    truth = np.repeat(np.arange(labels), items)

    def one(generator: np.random.Generator) -> Case:
        spread = generator.uniform(0.2, 1.6, labels)[truth, None]
        noise = generator.normal(size=(truth.shape[0], 8))
        vectors = generator.normal(size=(labels, 8))[truth] + spread * noise
        answers = Predictions.of({"e": vectors.astype(np.float32)}, truth)
        return Case("candidate", candidate=Evaluation(Task("embedding"), answers))

    return one


def choices() -> Iterator[Design]:
    rule = Rule("accuracy", "accuracy", "at_least", 0.9)
    for forms in (5, 10):
        yield Design(
            f"some of {forms} forms that all stand on the bound", "size", 600, (rule,),
            _sites(forms, 600, 0.9, 0.5), "nothing more than the gate itself", _some_form(rule),
        )  # fmt: skip
    slices = Rule("accuracy", "accuracy", "at_least", 0.9, slices="site")
    yield Design("twenty slices, all on the bound", "size", 4000, (slices,), _sites(20, 200, 0.9), _ROWS)
    each = samples_for_power(0.9, 0.95, wanted=1 - 0.2 / 21) or 0
    yield Design(
        "twenty slices, all at 0.95, planned together", "power", 20 * each, (slices,), _sites(20, each, 0.95), _ROWS
    )  # fmt: skip


def _sites(count: int, n: int, right: float, common: float = 0.0) -> Draw:
    """Slices of n samples each; ``common`` of each slice's luck is one that all share."""
    sites = np.repeat([f"s{place}" for place in range(count)], n)

    def one(generator: np.random.Generator) -> Case:
        shared = np.tile(generator.random(n), count)
        luck = np.where(generator.random(count * n) < common, shared, generator.random(count * n))
        answers = (luck > right).astype(int)
        found = Predictions.of({"label": answers}, np.zeros(count * n, np.int64), {"site": sites})
        return Case("candidate", candidate=Evaluation(LABELS, found))

    return one


def _some_form(rule: Rule) -> Callable[[Case], Sequence[GateResult]]:
    """Each slice stands for one form of a candidate; the results of the one that is chosen."""

    def judged(case: Case) -> Sequence[GateResult]:
        evaluation = case.candidate
        assert evaluation is not None
        forms = evaluation.wheres("site")

        def one(where: str, share: int) -> list[GateResult]:
            at = Rule(rule.key, rule.metric, rule.bound, rule.amount, where)
            return judge([at], Case("candidate", candidate=evaluation, forms=share))

        chosen, found = first_proven(forms, one)
        return found[chosen if chosen is not None else forms[0]]

    return judged
