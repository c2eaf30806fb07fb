"""A whole run of twenty gates on one data set: how often does it release what stands on every bound, and what is as planned?

    python tests/bench/gate_simulation.py --only "a run of"     # through `judge`
    python tests/bench/gate_runs.py                             # through `evaluate` and `gate`, on files: 100 runs of each

The gates are of many kinds on the same rows: eight slices and the whole, two classes, comparisons with the baseline, flips, F1.
Every gate has at least the samples with which `gradatim gate --plan` says that all pass together.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gate_designs import Design, Draw
from numpy.typing import NDArray

from gradatim.gates.case import Case
from gradatim.gates.plan_row import PlanRow
from gradatim.gates.planning import plan
from gradatim.gates.rule import Rule
from gradatim.gates.together import planned_together
from gradatim.gates.verdict import Verdict
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task

Ints = NDArray[np.int64]
TASK = Task("classification", (0, 1))
SITES = 8
RIGHT, LOST, GAINED = 0.9, 0.035, 0.015
"""On the bound the candidate is right in so many rows, and loses and gains so many of the baseline's."""


def rules() -> tuple[Rule, ...]:
    """Twenty gates at nine, eleven places: those by site are one rule."""
    f1_before = RIGHT + LOST - GAINED
    return (
        Rule("accuracy", "accuracy", "at_least", RIGHT, slices="site"),
        *(Rule(f"recall[class={label}]", "recall", "at_least", RIGHT, f"class={label}") for label in (0, 1)),
        *(Rule(f"precision[class={label}]", "precision", "at_least", RIGHT, f"class={label}") for label in (0, 1)),
        Rule("accuracy", "accuracy", "not_worse", LOST - GAINED),
        Rule("accuracy", "accuracy", "keep", RIGHT / f1_before),
        *(Rule(f"recall[class={label}]", "recall", "not_worse", LOST - GAINED, f"class={label}") for label in (0, 1)),
        Rule("f1_macro", "f1_macro", "not_worse", LOST - GAINED),
        Rule("negative_flips", "negative_flips", "at_most", LOST),
        Rule("agreement", "agreement", "at_least", 1 - LOST - GAINED),
    )  # fmt: skip


def needed() -> int:
    """Rows with which every gate has what it needs to pass together with the others: a multiple of the sites."""
    counts = {"": 1, "class=0": 1, "class=1": 1, **{f"site=s{site}": 1 for site in range(SITES)}}
    shares = {"": 1, "class=0": 2, "class=1": 2}

    def reckon(power: float) -> list[PlanRow]:
        return plan(rules(), counts, power=power)

    whole = planned_together(reckon(0.8), reckon)
    assert whole is not None
    assert whole.gates == 20
    rows = 0
    for row in reckon(whole.power):
        place = row.gate.partition("[")[2].rstrip("]")
        rows = max(rows, (row.needed or 0) * shares.get(place, SITES))
    return SITES * math.ceil(rows / SITES)


def drawn(generator: np.random.Generator, n: int, *, good: bool) -> tuple[Ints, Ints, Ints]:
    """Labels, the baseline's answers and the candidate's. A good one has half the tolerated errors, an equal baseline, and differs
    from it on half of the tolerated rows."""
    right, lost, gained = (1 - (1 - RIGHT) / 2, *2 * [LOST / 2]) if good else (RIGHT, LOST, GAINED)
    truth, luck = generator.integers(0, 2, n), generator.random(n)
    new = luck < right
    old = np.where(new, luck >= gained, luck < right + lost)
    return truth, np.where(old, truth, 1 - truth), np.where(new, truth, 1 - truth)


def _case(n: int, *, good: bool) -> Draw:
    sites = np.arange(n) % SITES

    def one(generator: np.random.Generator) -> Case:
        truth, old, new = drawn(generator, n, good=good)
        slices = {"site": np.array([f"s{site}" for site in range(SITES)])[sites]}
        base = Evaluation(TASK, Predictions.of({"label": old}, truth, slices))
        mine = Evaluation(TASK, Predictions.of({"label": new}, truth, slices), base)
        return Case("candidate", candidate=mine, baseline=base)

    return one


def designs() -> Iterator[Design]:
    n = needed()
    for kind, name in (("size", "all on their bounds"), ("power", "all better by the planned effect")):
        breaks = "rows that are not drawn alike"
        yield Design(
            f"a run of twenty gates, {name}", kind, n, rules(), _case(n, good=kind == "power"), breaks
        )


CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, slices: [site]}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates:
  accuracy: {at_least: 90%, slices: every site}
  recall[class=0]: {at_least: 90%}
  recall[class=1]: {at_least: 90%}
  precision[class=0]: {at_least: 90%}
  precision[class=1]: {at_least: 90%}
  negative_flips: {at_most: 3.5%}
  agreement: {at_least: 95%}
stages:
  production:
    branch: main
    gates:
      accuracy: {not_worse_than: baseline, by: 2%}
      recall[class=0]: {not_worse_than: baseline, by: 2%}
      recall[class=1]: {not_worse_than: baseline, by: 2%}
      precision[class=0]: {not_worse_than: baseline, by: 2%}
      precision[class=1]: {not_worse_than: baseline, by: 2%}
"""
"""Twenty gates too, but for a kept share, which one key cannot ask beside a margin, and a mean over classes: no row is of class 2, of
which nothing is known then."""


def through_the_steps(runs: int, *, good: bool) -> int:
    """In how many runs `evaluate` and `gate` release, from files to verdicts."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    from gate_project import lay_down

    generator, n, released = np.random.default_rng(int(good)), needed(), 0
    site = np.array([f"s{row % SITES}" for row in range(n)])
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            truth, old, new = drawn(generator, n, good=good)
            if run == 0:
                project = lay_down(Path(folder), truth, old, new, {"site": site})
                (project.root / "gradatim.yml").write_text(CONTRACT)
            rows = np.concatenate([np.eye(3)[old], np.eye(3)[new]], axis=1).astype(np.float32)
            np.savez(project.root / "test.npz", x=rows, label=truth, site=site)
            found = [result for result in project.judge().gates if result.gate not in UNTIMED]
            assert len(found) == 20, [result.gate for result in found]
            released += all(result.verdict is Verdict.PASS for result in found)
    return released


UNTIMED = ("test", "benchmark")
"""Steps whose evidence a release needs too, and which have nothing to do with how often the gates on rows err."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    for good in (False, True):
        released = through_the_steps(options.runs, good=good)
        name = "better by the planned effect" if good else "on their bounds"
        print(f"twenty gates {name}: {100 * released / options.runs:.1f} % of {options.runs} runs release")


if __name__ == "__main__":
    main()
