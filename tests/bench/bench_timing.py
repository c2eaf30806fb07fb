"""How often does the paired benchmark err here? ``python tests/bench/bench_timing.py [RUNS]``

Runs the benchmark on a model against itself (any "slower" is a false alarm) and against one that is about 20 % slower
(anything else is a miss), each RUNS times, and says how long a decision took.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from small_models import write_mlp

from gradatim.timing.contestant import Contestant
from gradatim.timing.machine import this_machine
from gradatim.timing.paired import compare


def main(runs: int = 5) -> int:
    print(this_machine())
    inputs = {"x": np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)}
    errors = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mlp(folder / "model.onnx", 960)
        write_mlp(folder / "slower.onnx", 1064)
        for what, candidate in (("unchanged", "model.onnx"), ("slower", "slower.onnx")):
            decisions: Counter[str] = Counter()
            seconds, ratios = [], []
            for seed in range(runs):
                started = time.monotonic()
                pair = [
                    Contestant("baseline", folder / "model.onnx", folder),
                    Contestant("candidate", folder / candidate, folder),
                ]
                answer = compare(pair, inputs, seed=seed).comparisons[0]
                seconds.append(time.monotonic() - started)
                ratios.append(answer.ratio)
                decisions[answer.decision.value] += 1
            wrong = decisions["slower"] if what == "unchanged" else runs - decisions["slower"]
            errors += wrong
            print(
                f"{what:10} {dict(decisions)}, ratio {min(ratios):.3f}..{max(ratios):.3f}, "
                f"{statistics.mean(seconds):.1f} s a decision, {wrong} of {runs} wrong"
            )
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
