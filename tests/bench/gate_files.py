"""How often do gates on scores, numbers, groups and weights err that stand on their bounds, from files to verdicts?

    python tests/bench/gate_files.py            # 200 runs of each contract through `evaluate` and `gate`

`gate_simulation.py` judges the same kinds through `judge`, and `gate_runs.py` sends a run of twenty gates on right and wrong through
the files. Here every gate is counted by itself: a PASS is an error, and so is a FAIL, of which all gates of a run share the error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
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


CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz, label: label%(data)s}
task: %(task)s
test: {abnormal: skip}
gates:
%(gates)s
stages: {production: {branch: main, gates: {
%(beside)s}}}
"""

KINDS: dict[str, tuple[Callable[[np.random.Generator, int], Drawn], int, str, str, tuple[str, ...]]] = {
    "scores": (scores, 800, SCORES, "", ("accuracy", "log_loss", "ece", "roc_auc", "f1_macro", "balanced_accuracy")),
    "users": (grouped, 150, SCORES, ", group: user", ("accuracy", "log_loss", "f1_macro")),
    "weights": (weighed, 1000, SCORES, ", weight: weight", ("accuracy", "log_loss")),
    "numbers": (numbers, 500, "regression", "", ("mae", "rmse", "r2")),
}  # fmt: skip


def contract(kind: str) -> str:
    """Every metric on its bound, alone and beside the baseline."""
    drawn, _, task, data, metrics = KINDS[kind]
    truth, old, new, more = drawn(np.random.default_rng(0), 300_000)
    known = Task("regression") if task == "regression" else Task("classification", (0, 1, 2), scores="probabilities")  # fmt: skip
    before, now = (
        Evaluation(known, Predictions.of({"y": said}, truth, groups=more.get("user"))) for said in (old, new)
    )
    alone, beside = [], []
    for metric in metrics:
        found, base = now.samples(metric), before.samples(metric)
        assert found.value is not None
        assert base.value is not None
        alone.append(
            f"  {metric}: {{{'at_least' if found.higher_is_better else 'at_most'}: {found.value:.9f}}}"
        )
        if abs(found.value - base.value) > 1e-4:
            lost = abs(found.value - base.value)
            beside.append(f"  {metric}: {{not_worse_than: baseline, by: {lost:.9f}}}")
    return CONTRACT % {"data": data, "task": task, "gates": "\n".join(alone), "beside": ",\n".join(beside)}


def counted(kind: str, runs: int) -> Iterator[tuple[str, Counter[Verdict]]]:
    """How often each gate gave each verdict."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    from gate_project import lay_down

    drawn, n, *_ = KINDS[kind]
    generator, found = np.random.default_rng(len(kind)), dict[str, Counter[Verdict]]()
    with tempfile.TemporaryDirectory() as folder:
        project = lay_down(Path(folder), *np.zeros((3, 1), np.int64))
        (project.root / "gradatim.yml").write_text(contract(kind))
        for _ in range(runs):
            truth, old, new, more = drawn(generator, n)
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
    parser.add_argument("--only", default="", choices=["", *KINDS])
    asked = parser.parse_args()
    print("| from files | n | gate | PASS | FAIL |\n|---|---|---|---|---|")
    for kind in KINDS if not asked.only else [asked.only]:
        for gate, verdicts in counted(kind, asked.runs):
            passed, failed = (100 * verdicts[each] / asked.runs for each in (Verdict.PASS, Verdict.FAIL))
            print(f"| {kind} | {KINDS[kind][1]} | {gate} | {passed:.1f} % | {failed:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
