"""How often does the paired benchmark err here? ``python tests/bench/bench_timing.py [RUNS]``

Runs the benchmark on a small convolutional model against itself (any "slower" is a false alarm), and against itself
on a fifth more items (anything but "slower" is a miss), each RUNS times, and says how long a decision took.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from small_models import digits, write_cnn

from gradatim.timing.contestant import Contestant, save_inputs
from gradatim.timing.machine import this_machine
from gradatim.timing.paired import compare


def main(runs: int = 5) -> int:
    print(this_machine())
    images = digits()[0]
    errors = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_cnn(folder / "model.onnx")
        batch = save_inputs(folder / "batch.npz", {"image": images[:100]})
        larger = save_inputs(folder / "larger.npz", {"image": images[:120]})
        for what, given in (("unchanged", batch), ("+20 %", larger)):
            decisions: Counter[str] = Counter()
            seconds, ratios = [], []
            for seed in range(runs):
                started = time.monotonic()
                pair = [
                    Contestant("baseline", model, folder),
                    Contestant("candidate", model, folder, inputs=given),
                ]
                answer = compare(pair, batch, seed=seed).comparisons[0]
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
