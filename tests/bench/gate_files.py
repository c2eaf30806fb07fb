"""How often do gates of many kinds err that stand on their bounds, from files to verdicts?

    python tests/bench/gate_files.py               # 200 runs of each contract through `evaluate` and `gate`
    python tests/bench/gate_files.py --room 0.5    # and how often each passes that is better than its bound

`gate_simulation.py` judges the same kinds through `judge`, and `gate_runs.py` sends a run of twenty gates on right and wrong through
the files. Here every gate is counted by itself: a PASS is an error, and so is a FAIL, of which all gates of a run share the error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Drawn = tuple[NDArray[Any], NDArray[Any], NDArray[Any], dict[str, NDArray[Any]]]
"""Labels [n], what the baseline and the candidate say [n, 3], and columns beside them."""

SCORES = "{type: classification, labels: [0, 1, 2], scores: probabilities}"


def scores(generator: np.random.Generator, n: int) -> Drawn:
    """Probabilities of three classes; the candidate's are the baseline's, a little less sharp and a little moved."""
    truth = generator.choice(3, n, p=[0.5, 0.3, 0.2])
    logits = 2.2 * np.eye(3)[truth] + generator.normal(size=(n, 3))
    moved = 0.92 * logits + 0.25 * generator.normal(size=(n, 3))
    old, new = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (1.7 * logits, 1.7 * moved))
    return truth, old, new, {}


def grouped(generator: np.random.Generator, n: int) -> Drawn:
    """The same for users of one to nine rows, of whom some are hard throughout."""
    user = np.repeat(np.arange(n), generator.integers(1, 10, n))
    truth = generator.choice(3, user.size, p=[0.5, 0.3, 0.2])
    hard = np.exp(0.5 * generator.normal(size=n))[user][:, None]
    logits = 2.6 * np.eye(3)[truth] + hard * generator.normal(size=(user.size, 3))
    moved = logits + 0.4 * generator.normal(size=logits.shape)
    old, new = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (logits, moved))
    return truth, old, new, {"user": user.astype(str)}


def weighed(generator: np.random.Generator, n: int) -> Drawn:
    """The same with rows that weigh 0.5 or 2, whatever is said of them, so that their mean is that of all rows."""
    truth, old, new, _ = scores(generator, n)
    return truth, old, new, {"weight": np.where(generator.random(n) < 1 / 3, 2.0, 0.5)}


def numbers(generator: np.random.Generator, n: int) -> Drawn:
    """Three targets a row; the candidate errs by a twentieth more."""
    truth = generator.normal(size=(n, 3))
    error, more = generator.standard_t(8, (2, n, 3))
    return truth, truth + 0.8 * error, truth + 0.8 * error + 0.26 * more, {}


def tailed(generator: np.random.Generator, n: int) -> Drawn:
    """Three targets a row and errors with a heavy tail, alike for both models on most rows."""
    truth = generator.normal(0, 5, (n, 3))
    error, more = generator.standard_t(3, (2, n, 1))
    return truth, truth + error, truth + np.where(generator.random((n, 1)) < 0.7, 1.1 * error, more), {}


def vectors(generator: np.random.Generator, n: int) -> Drawn:
    """Eight items around the vector of each label, in three dimensions; the candidate's lie a little wider."""
    truth = np.repeat(np.arange(n // 8), 8)
    centre = 1.6 * generator.normal(size=(n // 8, 3))[truth]
    noise, more = generator.normal(size=(2, truth.size, 3)) * generator.uniform(0.2, 0.8, n // 8)[truth, None]
    return truth, centre + noise, centre + noise + 0.4 * more, {}


def lists(generator: np.random.Generator, n: int) -> Drawn:
    """Lists of three items that are easy or hard as a whole."""
    relevance = (generator.random((n, 3)) < 0.3).astype(int)
    relevance[np.arange(n), generator.integers(0, 3, n)] = 1
    pull = np.exp(0.8 * generator.normal(size=(n, 1))) * relevance
    shared = generator.normal(size=(n, 3))
    old, new = (s * pull + shared + 0.5 * generator.normal(size=(n, 3)) for s in (0.9, 0.7))
    return relevance, old, new, {}


def ahead(generator: np.random.Generator, n: int) -> Drawn:
    """Three steps ahead of series from small to large, easy or hard as a whole."""
    level, hard = np.exp(generator.normal(size=(2, n, 1)) * np.array([1.0, 0.5])[:, None, None])
    truth = level * (3 + 0.3 * generator.normal(size=(n, 3)))
    error, more = 0.2 * level * hard * generator.normal(size=(2, n, 3))
    return truth, truth + error, truth + error + 0.4 * more, {}


def harder(generator: np.random.Generator, n: int, spread: float = 0.0, models: int = 1) -> Drawn:
    """Right or wrong, by how hard a row is, which a column beside the rows tells; rows of four sites, and candidates of one recipe
    that differ by ``spread``."""
    truth, hard = generator.integers(0, 3, n), generator.normal(size=n)
    luck = 0.6 * hard + 0.8 * generator.normal(size=n)
    seeds = spread * generator.normal(size=models) * (n < 100_000)
    bars = [1.4, *(1.28 + seeds)]
    old, *new = (
        np.eye(3)[np.where(luck + 0.2 * generator.normal(size=n) < 1.02 * bar, truth, (truth + 1) % 3)]
        for bar in bars
    )
    site = np.array(["a", "b", "c", "d"])[generator.integers(0, 4, n)]
    return truth, old, np.concatenate(new, axis=1), {"hard": hard, "site": site}


def recipe(generator: np.random.Generator, n: int) -> Drawn:
    """Three trainings of one recipe."""
    return harder(generator, n, 0.05, 3)


CONTRACT = """\
model: {name: small, path: model.onnx%(more)s}
data: {evaluation: test.npz, label: label%(data)s}
task: %(task)s
test: {abnormal: skip}
gates:
%(gates)s
stages: {production: {branch: main, gates: {
%(beside)s}}}
"""


@dataclass(frozen=True)
class Kind:
    """One contract: what is drawn of how many rows, its task, and the metrics of its gates.

    Attributes:
        data, asks: keys beside the data's file, and beside each bound.
        draws: of so many the true values are the mean; one of very many rows where metrics do not rest on how many there are.
    """

    drawn: Callable[[np.random.Generator, int], Drawn]
    n: int
    task: str
    metrics: tuple[str, ...]
    data: str = ""
    asks: str = ""
    more: str = ""
    beside: bool = True
    draws: int = 1


KINDS = {
    "scores": Kind(scores, 800, SCORES, ("accuracy", "log_loss", "ece", "roc_auc", "f1_macro", "balanced_accuracy")),
    "users": Kind(grouped, 150, SCORES, ("accuracy", "log_loss", "f1_macro"), ", group: user"),
    "weights": Kind(weighed, 1000, SCORES, ("accuracy", "log_loss"), ", weight: weight"),
    "numbers": Kind(numbers, 500, "regression", ("mae", "rmse", "r2")),
    "tails": Kind(tailed, 500, "regression", ("mae", "rmse")),
    "retrieval": Kind(vectors, 320, "embedding", ("recall_at_1", "ndcg_at_10"), draws=400),
    "lists": Kind(lists, 300, "ranking", ("mrr", "map", "ndcg_at_3")),
    "series": Kind(ahead, 200, "forecasting", ("smape", "mae")),
    "covariate": Kind(harder, 400, SCORES, ("accuracy",), ", covariate: {column: hard, mean: 0}", beside=False),
    "looks": Kind(harder, 800, SCORES, ("accuracy",), asks=", sequential: true"),
    "slices": Kind(harder, 800, SCORES, ("accuracy",), ", slices: [site]", ", slices: every site", beside=False),
    "recipe": Kind(recipe, 800, SCORES, ("accuracy",), more=", candidates: [second.onnx, third.onnx]"),
}  # fmt: skip
_MANY = 300_000


def contract(kind: Kind, room: float) -> str:
    """Every metric on its bound, alone and beside the baseline; or better than it by so much of what a perfect one is better by."""
    generator = np.random.default_rng(0)
    tried = [kind.drawn(generator, _MANY if kind.draws == 1 else kind.n) for _ in range(kind.draws)]
    known = Task(kind.task) if kind.task != SCORES else Task("classification", (0, 1, 2), scores="probabilities")  # fmt: skip
    models = [
        [Evaluation(known, Predictions.of({"y": said}, truth, groups=more.get("user"))) for said in (old, new[:, :3])]
        for truth, old, new, more in tried
    ]  # fmt: skip
    alone, beside = [], []
    for metric in kind.metrics:
        found = [[model.samples(metric) for model in pair] for pair in models]
        base, value = (float(np.mean([pair[place].value for pair in found])) for place in (0, 1))  # type: ignore[arg-type]
        higher = found[0][1].higher_is_better
        eased = room * (1 - value if higher else value)
        bound, amount = ("at_least", value - eased) if higher else ("at_most", value + eased)
        alone.append(f"  {metric}: {{{bound}: {amount:.9f}{kind.asks}}}")
        if kind.beside and abs(value - base) > 1e-4:
            beside.append(
                f"  {metric}: {{not_worse_than: baseline, by: {abs(value - base) + eased:.9f}{kind.asks}}}"
            )
    words = {"data": kind.data, "task": kind.task, "more": kind.more}
    return CONTRACT % {**words, "gates": "\n".join(alone), "beside": ",\n".join(beside)}


def counted(kind: Kind, runs: int, room: float = 0.0) -> Iterator[tuple[str, Counter[Verdict]]]:
    """How often each gate gave each verdict."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    from gate_project import lay_down, write_model

    generator, found = np.random.default_rng(kind.n), dict[str, Counter[Verdict]]()
    models = 4 if kind.more else 2
    with tempfile.TemporaryDirectory() as folder:
        project = lay_down(Path(folder), *np.zeros((3, 1), np.int64), models=models)
        for which in ("second", "third")[: models - 2]:
            write_model(project.root / f"{which}.onnx", which, models=models)
        (project.root / "gradatim.yml").write_text(contract(kind, room))
        for _ in range(runs):
            truth, old, new, more = kind.drawn(generator, kind.n)
            rows = np.concatenate([old, new], axis=1).astype(np.float32)
            np.savez(project.root / "test.npz", x=rows, label=truth, **more)
            for result in project.judge().gates:
                if result.gate not in ("test", "benchmark"):
                    beside = " beside the baseline" if result.wanted.startswith("not worse") else ""
                    found.setdefault(f"{result.gate}{beside}", Counter())[result.verdict] += 1
    yield from found.items()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--room", type=float, default=0.0, help="how much better than its bound each gate is, for its power"
    )
    parser.add_argument("--only", default=[], choices=KINDS, nargs="*")
    asked = parser.parse_args()
    print("| from files | n | gate | PASS | FAIL |\n|---|---|---|---|---|")
    for kind in asked.only or KINDS:
        for gate, verdicts in counted(KINDS[kind], asked.runs, asked.room):
            passed, failed = (100 * verdicts[each] / asked.runs for each in (Verdict.PASS, Verdict.FAIL))
            print(f"| {kind} | {KINDS[kind].n} | {gate} | {passed:.1f} % | {failed:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
