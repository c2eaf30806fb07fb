"""How often do the intervals of ranking, forecasting, detection and segmentation hold the truth?

    python tests/bench/task_coverage.py              # about twenty minutes on one core
    python tests/bench/task_coverage.py --draws 200

Each design draws data whose samples hold many values that hang together (the items of a list, windows of a series, boxes or
pixels of a picture), so that whoever counted values would be far too sure. The truth is the value of a very large draw. A
two-sided 95 % interval should hold it in 93 to 97 % of draws: of one model's value, and of the difference between two.
The table that it prints is the one in docs/explanation/gates.md.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.gates.compare import compare
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.outputs import reduce_batch
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Floats = NDArray[np.float64]
Pair = tuple[Evaluation, Evaluation]

CLASSES = ("car", "bike", "sign")
BOXES = Task("detection", CLASSES)
MAPS = Task("segmentation", ("road", "tree", "car", "sign"))
AHEAD = Task("forecasting", history="past", season=4, quantiles=(0.1, 0.5, 0.9))


@dataclass(frozen=True)
class Population:
    """Data of one task: how many samples (or groups) a draw has, and a draw as the evaluations of two models."""

    name: str
    n: int
    metrics: Sequence[str]
    draw: Callable[[np.random.Generator, int], Pair]
    many: int


def populations() -> Iterator[Population]:
    yield Population(
        "lists of 3 to 19 items", 100, ("ndcg_at_10", "mrr", "map", "hit_rate_at_3"), lists, 20_000
    )
    yield Population(
        "lists of 3 to 19 items", 400, ("ndcg_at_10", "mrr", "map", "hit_rate_at_3"), lists, 20_000
    )
    yield Population("users of 1 to 9 lists", 100, ("ndcg_at_10", "mrr", "map"), users, 20_000)
    yield Population("series of 3 windows", 80, ("mase", "smape", "pinball"), series, 20_000)
    yield Population("series of 3 windows", 300, ("mase", "smape", "pinball"), series, 20_000)
    yield Population("pictures with boxes", 60, ("map", "map_50", "map_small", "map[car]"), pictures, 4000)
    yield Population("pictures with boxes", 200, ("map", "map_50", "map_small", "map[car]"), pictures, 4000)
    yield Population("clips of 5 pictures with boxes", 60, ("map", "map_50"), clips, 4000)
    yield Population("pictures of pixels", 60, ("miou", "dice", "accuracy", "dice[car]"), pixels, 20_000)
    yield Population("pictures of pixels", 200, ("miou", "dice", "accuracy", "dice[car]"), pixels, 20_000)


def lists(draw: np.random.Generator, n: int) -> Pair:
    """Lists that are easy or hard as a whole, an item a row; the second model is a little better."""
    of = np.repeat(np.arange(n), draw.integers(3, 20, n))
    relevance = draw.choice(4, of.size, p=[0.6, 0.2, 0.1, 0.1])
    strength, shared = np.exp(0.8 * draw.normal(size=n))[of], draw.normal(size=of.size)
    said = [
        np.round(s * strength * relevance + shared + 0.6 * draw.normal(size=of.size), 1) for s in (0.5, 0.6)
    ]
    return _two(Task("ranking"), [{"out": each} for each in said], relevance, of)


def users(draw: np.random.Generator, n: int) -> Pair:
    """Users with 1 to 9 lists of ten items each; a user's lists are alike."""
    of = np.repeat(np.arange(n), draw.integers(1, 10, n))
    relevance = (draw.random((of.size, 10)) < 0.2).astype(int)
    relevance[:, 0] = 1
    strength = np.exp(draw.normal(size=n))[of][:, None]
    shared = draw.normal(size=relevance.shape)
    said = [s * strength * relevance + shared + 0.6 * draw.normal(size=shared.shape) for s in (0.7, 0.8)]
    return _two(Task("ranking"), [{"out": each} for each in said], relevance, of)


def series(draw: np.random.Generator, n: int) -> Pair:
    """Series from small to large, easy or hard as a whole, in three windows of four steps."""
    level = np.exp(2 + 1.5 * draw.normal(size=n))[:, None, None]
    hard = np.exp(0.5 * draw.normal(size=n))[:, None, None]
    shock = draw.normal(size=(n, 3, 1))
    past = level * (2 + 0.3 * draw.normal(size=(n, 3, 16)))
    future = level * (2 + 0.3 * draw.normal(size=(n, 3, 4)))
    said = []
    for _ in range(2):
        centre = future + level * hard * 0.2 * (shock + draw.normal(size=future.shape))
        spread = 0.3 * level * np.array([-1.28, 0, 1.28])
        said.append((centre[..., None] + spread[..., None, :]).reshape(3 * n, 4, 3))
    history, wanted = past.reshape(3 * n, -1), future.reshape(3 * n, -1)
    kept = [reduce_batch(AHEAD, {"out": each}, {"past": history}, wanted) for each in said]
    return _two(AHEAD, kept, wanted, np.repeat(np.arange(n), 3))


def pictures(draw: np.random.Generator, n: int) -> Pair:
    return _two(BOXES, *scenes(draw, np.exp(0.5 * draw.normal(size=n))))


def clips(draw: np.random.Generator, n: int) -> Pair:
    """Five pictures that are easy or hard together."""
    of = np.repeat(np.arange(n), 5)
    return _two(BOXES, *scenes(draw, np.exp(0.5 * draw.normal(size=n))[of]), of)


def scenes(draw: np.random.Generator, hard: Floats) -> tuple[list[dict[str, Any]], Any]:
    """Pictures with boxes of three classes, one of them rare, blurred and missed the more the harder a picture is."""
    of = np.repeat(np.arange(hard.size), 1 + draw.poisson(2.5, hard.size))
    label, size = draw.choice(3, of.size, p=[0.6, 0.3, 0.1]), np.exp(draw.normal(3.7, 0.8, (of.size, 2)))
    corner, shift = 400 * draw.random((of.size, 2)), draw.normal(size=(of.size, 4))
    truth, said = np.column_stack([corner, corner + size, label]), []
    for _ in range(2):
        blur = 0.06 * hard[of][:, None] * np.tile(size, 2) * (shift + draw.normal(size=(of.size, 4)))
        named = np.where(draw.random(of.size) < 0.92, label, draw.integers(0, 3, of.size))
        right = np.column_stack([truth[:, :4] + blur, draw.beta(5, 2, of.size), named])
        found = draw.random(of.size) < 0.92 - 0.1 * np.minimum(hard[of], 5)
        wrong_of = np.repeat(np.arange(hard.size), draw.poisson(hard))
        place, sides = (
            400 * draw.random((wrong_of.size, 2)),
            np.exp(draw.normal(3.7, 0.8, (wrong_of.size, 2))),
        )
        guessed = draw.beta(2, 4, wrong_of.size), draw.integers(0, 3, wrong_of.size)
        boxes = np.concatenate([right[found], np.column_stack([place, place + sides, *guessed])])
        said.append({"boxes": _by_picture(boxes, np.append(of[found], wrong_of), hard.size)})
    return said, _by_picture(truth, of, hard.size)


def _by_picture(rows: Floats, of: NDArray[np.int64], n: int) -> NDArray[Any]:
    order = np.argsort(of, kind="stable")
    found = np.empty(n, object)
    found[:] = np.split(rows[order], np.searchsorted(of[order], np.arange(1, n)))
    return found


def pixels(draw: np.random.Generator, n: int) -> Pair:
    """Pictures of 64 pixels that are easy or hard as a whole, with a class that few of them hold."""
    shares = draw.dirichlet([3.0, 1.0, 0.5, 0.15], size=n).cumsum(axis=1)
    truth = ((np.arange(64) + 0.5)[None, :, None] / 64 > shares[:, None, :-1]).sum(axis=2)
    hard, chance, said = 0.6 * draw.normal(size=(n, 1)), draw.random((n, 64)), []
    for _ in range(2):
        right = 1 / (1 + np.exp(hard + 0.3 * draw.normal(size=(n, 1)) - 1.6))
        wrong = 0.7 * chance + 0.3 * draw.random((n, 64)) > right
        answers = np.where(wrong, (truth + draw.integers(1, 4, truth.shape)) % 4, truth)
        said.append({"out": answers.astype(np.uint8)})
    return _two(MAPS, said, truth)


def _two(task: Task, outputs: Sequence[Any], labels: Any, groups: Any = None) -> Pair:
    old = Evaluation(task, Predictions.of(outputs[0], labels, groups=groups))
    return old, Evaluation(task, Predictions.of(outputs[1], labels, groups=groups), old)


def coverage(population: Population, draws: int) -> Floats:
    """How often the intervals hold the truth: of a model's value and of the difference, [2, metrics]."""
    draw = np.random.default_rng(zlib.crc32(f"{population.name} {population.n}".encode()))
    asked = [_asked(name) for name in population.metrics]
    old, new = population.draw(draw, population.many)
    alone = [old.samples(*each).value or 0.0 for each in asked]
    better = [1 if old.samples(*each).higher_is_better else -1 for each in asked]
    beside = [
        sign * ((new.samples(*each).value or 0.0) - value)
        for each, value, sign in zip(asked, alone, better, strict=True)
    ]
    held = np.zeros((2, len(asked)))
    for _ in range(draws):
        old, new = population.draw(draw, population.n)
        for place, each in enumerate(asked):
            bounds = old.samples(*each).bounds(0.025)
            found = compare(new.samples(*each), old.samples(*each), alpha=0.025)
            held[0, place] += bounds is not None and bounds[0] <= alone[place] <= bounds[1]
            low, high = found.low, found.high
            held[1, place] += low is not None and high is not None and low <= beside[place] <= high
    return held / draws


def _asked(name: str) -> tuple[str, str | None]:
    metric, _, of = name.partition("[")
    return metric, f"class={of[:-1]}" if of else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", default="", help="populations whose name holds this")
    asked = parser.parse_args()
    print("| samples | n | metric | one model | the difference |\n|---|---|---|---|---|")
    for population in populations():
        if asked.only in population.name:
            held = coverage(population, asked.draws)
            for metric, one, two in zip(population.metrics, *held, strict=True):
                print(
                    f"| {population.name} | {population.n} | `{metric}` | {100 * one:.1f} % | {100 * two:.1f} % |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
