"""How often the gates on generated text err, and what they see: pass@k over clustered answers, and multiple choice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.gates.compare import compare
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.scored import SCORE, pass_at
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task

RUNS, ROWS, ANSWERS = 1000, 200, 5
ALPHA, MARGIN = 0.05, 0.06
Floats = NDArray[np.float64]


def problems(dice: np.random.Generator, loss: float) -> tuple[Floats, Floats]:
    """pass@2 of problems whose five answers each are right together or wrong together; the candidate forgets some problems."""
    chance = dice.beta(0.5, 0.5, ROWS)
    table = np.array([pass_at(ANSWERS, right, 2) for right in range(ANSWERS + 1)])
    mean = 0.625  # of 1 - (1 - p)^2 under Beta(1/2, 1/2): 2 E p - E p^2 = 1 - 3/8
    forgotten = dice.random(ROWS) < loss / mean
    old, new = dice.binomial(ANSWERS, chance), dice.binomial(ANSWERS, np.where(forgotten, 0, chance))
    return table[new], table[old]


def choices(dice: np.random.Generator, loss: float) -> tuple[Floats, Floats]:
    """Right choices, of which candidate and baseline share most."""
    old = dice.random(ROWS) < 0.6
    lost, won = dice.random(ROWS) < (0.04 + loss) / 0.6, dice.random(ROWS) < 0.04 / 0.4
    new = np.where(old, ~lost, won)
    return new.astype(float), old.astype(float)


@pytest.mark.parametrize("name", ["pass_at_2", "acc"])
def test_a_gate_on_text_passes_too_much_no_more_often_than_it_says_and_sees_what_is_good(name: str) -> None:
    kind = SCORERS["exact_match" if name == "pass_at_2" else name]
    task = Task("generation", scorers=(Scoring(name, kind),), samples=ANSWERS if name == "pass_at_2" else 1)
    draw = problems if name == "pass_at_2" else choices

    def passed(loss: float) -> float:
        dice, found = np.random.default_rng(7), 0
        for _ in range(RUNS):
            both = [Evaluation(task, Predictions.of({SCORE + name: said}, None)) for said in draw(dice, loss)]
            new, old = (one.samples(name) for one in both)
            low = compare(new, old, margin=MARGIN, alpha=ALPHA).low
            found += low is not None and low > -MARGIN
        return found / RUNS

    size, power = passed(MARGIN), passed(0.0)
    print(f"\n{name}: {RUNS} runs of {ROWS}, margin {MARGIN}: wrongly passed {size:.1%}, rightly {power:.1%}")
    assert size <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
    assert power >= 0.6
