"""What decides every gate, in numbers that carry no row: from them anybody can judge again, by these rules or by others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradatim.gates.distribution import Drift
from gradatim.gates.reuse import Reuse
from gradatim.gates.rule import Rule
from gradatim.metrics.diagnostics import Adjusted


@dataclass(frozen=True)
class Bounds:
    """An interval at one-sided ``alpha``, of what no count tells; ``strict`` as the rule was."""

    alpha: float
    low: float
    high: float
    strict: bool = False


@dataclass(frozen=True)
class RowByRow:
    """Right or wrong, one bit a row in the order of the data, and nothing of the row.

    Attributes:
        candidate, baseline: eight rows a byte, the first in the highest bit, as base64; 1 is right. No baseline where the rows
            are not compared.
    """

    candidate: str
    baseline: str | None = None


@dataclass(frozen=True)
class Beside:
    """A metric of the candidate and of the baseline on the same samples.

    Attributes:
        candidate, baseline: their values on the samples that both know, where they have one.
        n: independent units.
        positives: those that F1, or ROC-AUC, rests on.
        gains, losses: samples that only one of the two got right; None where a sample is not right or wrong.
        right: samples that the candidate got right, with ``gains``.
        difference: candidate against ``ratio`` times the baseline, positive is better, where there are no counts.
        bounds: its interval.
        spread: standard deviation of a unit's difference.
        by, p: of a veto: chance of a difference like that where nothing is worse than ``by``.
        outcomes: of both, row by row, where the contract lets a release tell them.
    """

    candidate: float | None
    baseline: float | None
    n: int = 0
    positives: int | None = None
    gains: int | None = None
    losses: int | None = None
    right: int | None = None
    difference: float | None = None
    ratio: float = 1.0
    bounds: Bounds | None = None
    spread: float | None = None
    by: float | None = None
    p: float | None = None
    outcomes: RowByRow | None = None


@dataclass(frozen=True)
class Sampled:
    """A metric on labelled samples.

    Attributes:
        metric, where: which, and restricted to what.
        value: None where it has none, and ``reason`` says why.
        n: independent units.
        successes, trials: the counts of a proportion.
        positives: those that F1, or ROC-AUC, rests on.
        bounds: its interval, where no counts give it.
        amount, p: of a veto: chance of a value like that where it holds ``amount``.
        beside: the same of both models.
        outcomes: row by row, as in ``beside``, where that has not all of the rows.
        adjusted: by a covariate of the rows, where the gate was.
    """

    metric: str
    where: str | None = None
    value: float | None = None
    reason: str | None = None
    n: int = 0
    successes: int | None = None
    trials: int | None = None
    positives: int | None = None
    bounds: Bounds | None = None
    amount: float | None = None
    p: float | None = None
    beside: Beside | None = None
    outcomes: RowByRow | None = None
    adjusted: Adjusted | None = None


@dataclass(frozen=True)
class Scored:
    """How many items did how well under one corruption.

    Attributes:
        severities: in rising order.
        rows: each distinct row: how many items have it, the candidate's scores at every severity, then the baseline's; None
            for one that the baseline does not know. Empty where items are not right or wrong, for scores would tell of single ones.
    """

    severities: tuple[int, ...]
    rows: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True)
class Timed:
    """What was timed, round by round.

    Attributes:
        rounds: the candidate's value in every round, by metric.
        ratios: ln(candidate / baseline) of every round, by metric.
        levels: the candidate's typical value, of the metrics in ``ratios``.
    """

    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluatedData:
    """What the metrics are of.

    Attributes:
        type: the task's.
        own: the contract's own metrics, and whether more of it is better.
        columns: what can be sliced by, and its values.
        rows: of the data; ``shared``: those whose label the baseline knows, where these are fewer.
        labels: that both know, where these are fewer.
        offered: rows that there were, where evaluation stopped before the last.
        scorers: of generated text, by the metric's name: the way to score (empty for the user's own), and whether more is better.
    """

    type: str
    own: Mapping[str, bool] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    shared: int | None = None
    labels: tuple[str, ...] = ()
    offered: int | None = None
    scorers: Mapping[str, tuple[str, bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class Grounds:
    """All that the verdicts on one form rest on, beside the measurements of the other steps.

    Attributes:
        rules: that were asked for.
        on_inconclusive: ``fail`` or ``warn``.
        forms: among how many forms it was chosen.
        first_release: whether nothing was released before.
        compared: with the baseline of which name; None where there is none.
        original: whether likeness is held against the original, as it was before compression.
        task: None where no data were evaluated.
        drift: of the evaluation data since the release; None where nobody looked.
    """

    rules: tuple[Rule, ...]
    on_inconclusive: str = "fail"
    forms: int = 1
    noun: str = "samples"
    first_release: bool = False
    compared: str | None = None
    original: bool = False
    reuse: Reuse | None = None
    task: EvaluatedData | None = None
    samples: tuple[Sampled, ...] = ()
    scores: Mapping[str, Scored] = field(default_factory=dict)
    timed: Timed = field(default_factory=Timed)
    drift: Drift | None = None
