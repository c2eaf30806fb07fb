"""How often the gates on generated text err, and what they see: pass@k over clustered answers, multiple choice, a judge of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.gates.compare import compare
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.judged import Judgements, win_rate
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.scored import SCORE, pass_at
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task
from gradatim.metrics.units import Units

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


def judged(
    dice: np.random.Generator, wins: float, place: float, ties: float, documents: int
) -> tuple[Judgements, Units]:
    """Pairs of which the candidate wins so many, by a judge who in each order goes by the place alone so often; the pairs of a
    document are won or lost together in half of the documents."""
    of = np.arange(PAIRS) % documents
    whole = (dice.random(documents) < 0.5)[of]
    chance = np.where(whole, dice.random(documents)[of], dice.random(PAIRS))
    better = np.where(dice.random(PAIRS) < ties, 0, np.where(chance < wins, 1, -1))
    orders = [np.where(dice.random(PAIRS) < place, first, better).astype(np.int8) for first in (1, -1)]
    ones = np.ones(PAIRS, np.int8)
    return Judgements(*orders, ones, ones), Units.of(of if documents < PAIRS else None, PAIRS)


PAIRS, BAR = 300, 0.45


@pytest.mark.parametrize("documents", [PAIRS, 60])
@pytest.mark.parametrize("place", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_a_gate_on_a_judge_passes_too_much_no_more_often_than_it_says(
    place: float, ties: float, documents: int
) -> None:
    def passed(wins: float) -> float:
        dice, found = np.random.default_rng(11), 0
        for _ in range(JUDGED):
            bounds = win_rate(*judged(dice, wins, place, ties, documents)).bounds(ALPHA)
            found += bounds is not None and bounds[0] >= BAR
        return found / JUDGED

    bound = 0.5 - (0.5 - BAR) / (
        1 - ties
    )  # a tie is half a win, so that this share of wins among the others is on the bar
    size, equal, better = passed(bound), passed(0.5), passed(0.6)
    print(
        f"\nplace {place:.0%}, ties {ties:.0%}, {documents} documents: wrongly passed {size:.1%}, equal {equal:.1%}, better {better:.1%}"
    )
    assert size <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / JUDGED) ** 0.5


JUDGED = 400
