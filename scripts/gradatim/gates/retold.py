"""A case told anew from the grounds of its verdicts, so that the same gates, or others, judge it without model and data."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.gates.case import BASELINE, Case, CorruptionScores
from gradatim.gates.compare import Told
from gradatim.gates.flips import self_flips_of
from gradatim.gates.grounds import Beside, Bounds, EvaluatedData, Grounds, Sampled, Scored
from gradatim.gates.latency import paired_timings
from gradatim.measurement import Measurement
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import CANDIDATES
from gradatim.metrics.samples import DECISIONS
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task


def retold(grounds: Grounds, variant: str, measurements: Sequence[Measurement]) -> Case:
    """What was judged, as far as the evidence holds it.

    Args:
        grounds: those of the verdicts.
        variant: the form that was released.
        measurements: of every step.

    Raises:
        InvalidInput: numbers that cannot be.
    """
    candidate = baseline = None
    if grounds.task is not None:
        together = any(found.variant == CANDIDATES for found in measurements)
        mine = [found for found in measurements if found.variant == (CANDIDATES if together else variant)]
        reference = RetoldEvaluation(grounds.task, grounds.samples, (), whose="baseline")
        compared = grounds.compared is not None or grounds.original
        shared = None
        if grounds.task.shared is not None:
            shared = RetoldEvaluation(grounds.task, grounds.samples, (), whose="shared", reference=reference)
        candidate = RetoldEvaluation(
            grounds.task, grounds.samples, mine, whose="candidate", common=shared,
            reference=reference if compared else None,
        )  # fmt: skip
        baseline = reference if grounds.compared is not None else None
    return Case(
        variant,
        list(dict.fromkeys(measurements)),
        candidate,
        baseline,
        first_release=grounds.first_release,
        robustness={name: _scores(name, found) for name, found in grounds.scores.items() if found.rows},
        timings=paired_timings(grounds.timed.ratios, grounds.timed.levels),
        rounds=grounds.timed.rounds,
        self_flips=self_flips_of(measurements, BASELINE),
        reuse=grounds.reuse,
        forms=grounds.forms,
        offered=None if grounds.task is None else grounds.task.offered,
        noun=grounds.noun,
        baseline_name=grounds.compared or "the baseline",
        drift=grounds.drift,
    )


def _scores(name: str, found: Scored) -> CorruptionScores:
    width = len(found.severities)
    try:
        table = np.array(found.rows, np.float64)  # None becomes NaN
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"The rows of {name} in the evidence are not {width} or {2 * width} scores each."
        ) from error
    if table.ndim != 2 or table.shape[1] not in (1 + width, 1 + 2 * width):
        raise InvalidInput(f"The rows of {name} in the evidence are not {width} or {2 * width} scores each.")
    times = table[:, 0]
    if not np.isfinite(times).all() or (times < 0).any() or times.sum() > 1e9:
        raise InvalidInput(f"The rows of {name} in the evidence are there so often as no rows can be.")
    rows = np.repeat(table[:, 1:], times.astype(np.int64), axis=0)
    theirs = rows[:, width:] if rows.shape[1] > width else None
    return CorruptionScores(name, found.severities, rows[:, :width], theirs)


class RetoldEvaluation(Evaluation):
    """An evaluation of which the evidence holds counts and intervals.

    Args:
        asked: what the metrics are of.
        samples: what is known of each.
        measurements: of the form, for what the samples do not tell.
        whose: ``candidate``, ``shared`` for the candidate on what the baseline knows, or ``baseline``.
    """

    def __init__(
        self,
        asked: EvaluatedData,
        samples: Sequence[Sampled],
        measurements: Sequence[Measurement],
        *,
        whose: str,
        common: Evaluation | None = None,
        reference: Evaluation | None = None,
    ) -> None:
        lower = tuple(name for name, higher in asked.own.items() if not higher)
        scorers = tuple(
            Scoring(name, SCORERS.get(kind), higher_is_better=higher)
            for name, (kind, higher) in asked.scorers.items()
        )
        own = dict.fromkeys(asked.own, _not_here)
        self.task = Task(asked.type, own=own, lower_is_better=lower, scorers=scorers)
        self.pairing = ""
        self.common = common or self
        self.reference = reference
        self._asked, self._samples, self._measurements, self._whose = asked, samples, measurements, whose

    def __len__(self) -> int:
        shared = self._asked.shared if self._whose == "shared" else None
        return self._asked.rows if shared is None else shared

    @property
    def labels_compared(self) -> tuple[str, ...]:
        return self._asked.labels

    def columns(self) -> tuple[str, ...]:
        return tuple(self._asked.columns)

    def values_of(self, column: str) -> tuple[str, ...]:
        if column not in self._asked.columns:
            known = ", ".join(self._asked.columns) or "none at all"
            raise InvalidInput(f"The evidence has no slice column `{column}`. Known: {known}.")
        return self._asked.columns[column]

    def most_confused(self, label: str) -> None:
        """Which it was taken for is not told."""

    def samples(self, metric: str, where: str | None = None) -> Told:
        known = self.task.metric(metric)
        if known is None or known.kind not in ("quality", "comparison", "own"):
            raise InvalidInput(f"`{metric}` is not measured from the predictions of {self.task.type}.")
        found = [one for one in self._samples if (one.metric, one.where) == (metric, where)]
        if not found:
            return self._measured(metric, where, known.higher_is_better)
        pairs = [one.beside for one in found if one.beside is not None]
        if self._whose == "candidate":
            paired = bool(pairs) and self.common is self
            return _told(found, pairs if paired else [], known.higher_is_better)
        if not pairs:
            raise InvalidInput(f"The evidence does not compare {metric} with the baseline's.")
        of_candidate = self._whose == "shared"
        return _side(found[0], pairs, known.higher_is_better, of_candidate=of_candidate)

    def _measured(self, metric: str, where: str | None, higher_is_better: bool) -> Told:
        """What the step measured, where no gate asked for more."""
        label = f"{metric}[{where}]" if where else metric
        found = next((one for one in self._measurements if one.label == label), None)
        if found is None or self._whose != "candidate":
            raise InvalidInput(f"The evidence does not hold what would decide {label}.")
        one = Sampled(
            metric, where, found.value, found.reason, found.n, found.successes,
            None if found.successes is None else found.n,
            bounds=None if found.low is None or found.high is None else Bounds(_MEASURED, found.low, found.high),
        )  # fmt: skip
        return _told([one], [], higher_is_better)


_MEASURED = 0.025
"""Each side of a measurement's 95 % interval."""


def _told(found: Sequence[Sampled], pairs: Sequence[Beside], higher_is_better: bool) -> Told:
    """A metric of the candidate on all of the data."""
    one = found[0]
    if one.successes is not None and not (one.trials and 0 <= one.successes <= one.trials):
        raise InvalidInput(
            f"{one.successes} of {one.trials} cannot be: the evidence of {one.metric} is broken."
        )
    if one.successes is not None and one.trials and not _same(one.value, one.successes / one.trials):
        raise InvalidInput(
            f"{one.successes} of {one.trials} are not {one.value}: the evidence of {one.metric} is broken."
        )
    if one.outcomes is not None:
        right = one.successes if higher_is_better else (one.trials or 0) - (one.successes or 0)
        _held(one, right, _rows(one, one.outcomes.candidate, one.trials))
    told = Told(
        one.metric, one.value, higher_is_better, one.n, one.where, reason=one.reason, successes=one.successes,
        trials=one.trials, positives=one.positives,
        intervals=tuple(one.bounds for one in found if one.bounds is not None),
        adjusted=tuple(one.adjusted for one in found if one.adjusted is not None),
        p_values={one.amount: one.p for one in found if one.amount is not None and one.p is not None},
    )  # fmt: skip
    if not pairs:
        return told
    beside = _side(one, pairs, higher_is_better, of_candidate=True)
    if not _same(one.value, beside.value):
        raise InvalidInput(
            f"The evidence of {one.metric} says {one.value} and {beside.value} of the same rows."
        )
    return replace(
        told, pairs=beside.pairs, outcomes=beside.outcomes, effect=beside.effect, **_SHARES[beside.counted]
    )


_SHARES: Mapping[bool, Mapping[str, Any]] = {True: DECISIONS, False: {}}


def _side(one: Sampled, pairs: Sequence[Beside], higher_is_better: bool, *, of_candidate: bool) -> Told:
    """A metric of one of two models on the rows that both know."""
    pair = next((pair for pair in pairs if pair.gains is not None), pairs[0])
    value = pair.candidate if of_candidate else pair.baseline
    told = Told(
        one.metric, value, higher_is_better, pair.n, one.where, reason=one.reason, positives=pair.positives,
        pairs=tuple(pairs),
    )  # fmt: skip
    if pair.gains is None or pair.losses is None or pair.right is None:
        return told
    both, neither = pair.right - pair.gains, pair.n - pair.right - pair.losses
    if min(both, neither, pair.gains, pair.losses) < 0 or pair.n > _MOST:
        raise InvalidInput(
            f"The counts of {one.metric} beside the baseline cannot be: its evidence is broken."
        )
    mine = np.repeat((True, True, False, False), (both, pair.gains, pair.losses, neither))
    theirs = np.repeat((True, False, True, False), (both, pair.gains, pair.losses, neither))
    if pair.outcomes is not None:
        mine, theirs = (
            _rows(one, bits, pair.n) for bits in (pair.outcomes.candidate, pair.outcomes.baseline)
        )
        _held(one, pair.gains, mine & ~theirs)
        _held(one, pair.losses, theirs & ~mine)
        _held(one, pair.right, mine)
    outcomes = (mine if of_candidate else theirs) == higher_is_better
    if not _same(value, float(outcomes.mean())):
        raise InvalidInput(
            f"The counts of {one.metric} beside the baseline are not {value}: its evidence is broken."
        )
    return replace(told, outcomes=outcomes, effect=1.0, **DECISIONS)


def _rows(one: Sampled, bits: str | None, n: int | None) -> NDArray[np.bool_]:
    """Right or wrong, row by row.

    Raises:
        InvalidInput: these are not the bits of so many rows.
    """
    try:
        data = base64.b64decode(bits or "", validate=True)
    except ValueError:
        data = b""
    if not n or len(data) != (n + 7) // 8:
        raise InvalidInput(f"The rows of {one.metric} are not {n} bits: its evidence is broken.")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=n).astype(bool)


def _held(one: Sampled, count: int | None, rows: NDArray[np.bool_]) -> None:
    if count != int(rows.sum()):
        raise InvalidInput(
            f"The evidence of {one.metric} counts {count}, and its rows are {int(rows.sum())}: it is broken."
        )


_MOST = 10**9
"""Rows that are believed to have been counted."""


def _same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _not_here(labels: Any, answers: Any) -> float:
    raise InvalidInput("A metric of the contract's own cannot be called where only its evidence is.")
