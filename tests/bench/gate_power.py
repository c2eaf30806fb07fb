"""How often does the latency gate err here, how much does it see, and what would the rules of others do with the same machine?

    python tests/bench/gate_power.py            # 72 rounds of a small net against itself, then 1000 trials of each slowdown
    python tests/bench/gate_power.py 216        # more rounds: rarer events
    python tests/bench/gate_power.py 72 2       # beside two other programs, each of which takes a processor

The rounds are real: a convolutional net beside itself, in fresh processes. A trial draws blocks of three rounds that followed one
another, adds the slowdown to the candidate's logarithms, and asks the gate as a release does: looks, then the guards on mean and
tail. The rules of others get the same rounds as they would have come by them, in separate runs: the baseline's from one stretch of
time, the candidate's from another.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from gate_limits import hogs
from small_models import digits, write_cnn

from gradatim.gates.rule import FLOOR
from gradatim.timing.chances import Trials
from gradatim.timing.contestant import Contestant, save_inputs
from gradatim.timing.decision import LOOKS
from gradatim.timing.machine import this_machine
from gradatim.timing.paired import Question, compare

SLOWDOWNS = (0.0, 0.01, 0.03, 0.05, 0.1)
TRIALS = 1000
MARGIN = 0.03
_RUN = 6
_ROWS = 300
"""A call of so many takes about a millisecond."""
Array = NDArray[np.float64]


def measure(rounds: int) -> tuple[dict[str, Array], dict[str, Array], float]:
    """Differences by metric, mean seconds of baseline and candidate by round, and the wall seconds of a round."""
    differences: dict[str, list[float]] = {}
    means: dict[str, list[float]] = {"baseline": [], "candidate": []}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_cnn(folder / "model.onnx")
        batch = save_inputs(folder / "batch.npz", {"image": digits()[0][:_ROWS]})
        pair = [Contestant(who, model, folder) for who in means]
        while len(means["baseline"]) < rounds:
            asked = [Question("candidate", "baseline", 0.0)]  # which chance alone answers
            result = compare(pair, batch, questions=asked, seed=len(means["baseline"]))
            for metric, values in result.comparisons[0].differences.items():
                differences.setdefault(metric, []).extend(values)
            for who, seconds in means.items():
                found = result.contestant(who)
                seconds += found.by_round["latency_mean"] if found else ()
    each = (time.monotonic() - began) / len(means["baseline"])
    return (
        {metric: np.asarray(values) for metric, values in differences.items()},
        {who: np.asarray(values) for who, values in means.items()},
        each,
    )


def others() -> dict[str, Callable[[Array, Array], bool]]:
    """Whether a rule on separate runs raises an alarm, given the mean seconds of some rounds of each run."""
    from scipy import stats

    def history(before: Array, now: Array) -> bool:
        logs = np.log(before)
        half = stats.t.ppf(0.99, len(logs) - 1) * logs.std(ddof=1) * math.sqrt(1 + 1 / len(logs))
        return bool(math.log(now[0]) > logs.mean() + half)

    return {
        "one run above 200 %": lambda before, now: bool(now[0] > 2 * before[0]),
        "one run above 110 %": lambda before, now: bool(now[0] > 1.1 * before[0]),
        "t interval on a history of 30 runs, 99 %": history,
        "Welch on six rounds each, p < .01": lambda before, now: bool(
            stats.ttest_ind(now[:_RUN], before[:_RUN], equal_var=False, alternative="greater").pvalue < 0.01
        ),
        "Mann-Whitney on six rounds each, p < .002": lambda before, now: bool(
            stats.mannwhitneyu(now[:_RUN], before[:_RUN], alternative="greater").pvalue < 0.002
        ),
    }


def stretch(series: Array, rounds: int, draw: np.random.Generator) -> Array:
    """Rounds that followed one another, from anywhere."""
    return series[(draw.integers(0, len(series)) + np.arange(rounds)) % len(series)]


def main(rounds: int = 72, programs: int = 0) -> int:
    began, load = this_machine(), this_machine().load
    with hogs(programs):
        differences, means, each = measure(rounds)
    spread = differences["latency_floor"].std(ddof=1)
    print(
        f"{began.cpu}, {began.cores} cores, load {load and load[0]:.1f}; {len(means['baseline'])} rounds of {each:.2f} s, "
        f"a call of {1e3 * float(np.median(means['baseline'])):.2f} ms"
    )
    print(
        f"the floor's spread between rounds is {100 * spread:.2f} %, lag-1 correlation {lag(differences['latency_floor']):.2f}\n"
    )
    heads = ["rule", *(f"+{100 * slowdown:g} %" for slowdown in SLOWDOWNS)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    found = []
    trials = Trials(differences, FLOOR, LOOKS[-1], TRIALS)
    for slowdown in SLOWDOWNS:
        chance = trials.chance(MARGIN, slowdown)
        shares = (f"{100 * share:.1f} %" for share in (chance.refused, chance.undecided))
        found.append((*shares, f"{each * chance.rounds:.0f} s"))
    for what, row in zip(("refused", "undecided", "mean time"), zip(*found, strict=True), strict=True):
        print(f"| this gate, 3 %: {what} | {' | '.join(row)} |")
    for name, alarms in others().items():
        cells = []
        for slowdown in SLOWDOWNS:
            draw = np.random.default_rng(int(1000 * slowdown))
            raised = sum(
                alarms(
                    stretch(means["baseline"], 30, draw),
                    stretch(means["candidate"], _RUN, draw) * (1 + slowdown),
                )
                for _ in range(TRIALS)
            )
            cells.append(f"{100 * raised / TRIALS:.1f} %")
        print(f"| {name}: refused | {' | '.join(cells)} |")
    tenth = dict(differences)
    tenth["latency_mean"] = differences["latency_mean"] + math.log(1.9)
    tenth["latency_p95"] = differences["latency_p95"] + math.log(10)
    caught = Trials(tenth, FLOOR, LOOKS[-1], TRIALS).chance(MARGIN, 0.0).refused
    print(f"\na tenth of the calls ten times as long: this gate refuses {100 * caught:.1f} %")
    return 0


def lag(series: Array) -> float:
    """Correlation of neighbours."""
    return float(np.corrcoef(series[1:], series[:-1])[0, 1])


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
