"""What a variant is judged on: measurements, paired samples, corrupted samples, timings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import InvalidInput
from gradatim.gates.distribution import Drift
from gradatim.gates.flips import SelfFlips
from gradatim.gates.latency import PairedTiming
from gradatim.gates.reuse import Reuse
from gradatim.measurement import Measurement
from gradatim.metrics.adjusting import Adjuster
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import CANDIDATES, Population

BASELINE = "baseline"
"""The variant's name under which the baseline's measurements are filed."""

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class CorruptionScores:
    """Item qualities under one corruption, from ``metrics.evaluation.item_scores`` at each severity.

    Attributes:
        corruption: its name: ``gaussian_noise``.
        severities: the severities, in rising order.
        candidate: [n, severities], more is better; 0/1 correctness for a classification.
        baseline: the same for the baseline on the same items, None when there is none.
        pairing: digest of the items (``Evaluation.pairing``); empty when the caller vouches for it.

    Raises:
        InvalidInput: NaN, no item, or shapes that do not fit.
    """

    corruption: str
    severities: tuple[int, ...]
    candidate: Scores
    baseline: Scores | None = None
    pairing: str = ""

    def __post_init__(self) -> None:
        for whose, scores in (("candidate", self.candidate), ("baseline", self.baseline)):
            if scores is None:
                continue
            if scores.ndim != 2 or scores.shape[1] != len(self.severities) or not scores.shape[0]:
                raise InvalidInput(
                    f"The {whose}'s scores under {self.corruption} are {list(scores.shape)}; wanted are some items by {len(self.severities)} severities."
                )
            unknown = np.isnan(scores).all(axis=1) & (whose == "baseline")  # it may not know an item's label
            if unknown.all() or not np.isfinite(scores[~unknown]).all():
                raise InvalidInput(f"The {whose}'s scores under {self.corruption} hold NaN or infinity.")
        if self.baseline is not None and self.baseline.shape != self.candidate.shape:
            raise InvalidInput(
                f"Under {self.corruption} the candidate has {self.candidate.shape[0]} items and the baseline {self.baseline.shape[0]}: they cannot be compared."
            )
        if list(self.severities) != sorted(set(self.severities)):
            raise InvalidInput(
                f"The severities of {self.corruption} are not in rising order: {self.severities}."
            )


@dataclass(frozen=True)
class Case:
    """One variant and what it is compared with.

    Attributes:
        variant: its name in ``measurements``.
        measurements: of this variant and of the baseline; those of other variants are ignored.
        candidate: its predictions under the task; give it ``reference=`` the baseline's evaluation, or that of the
            original where nothing was released before and this is a compressed form of it.
        baseline: the baseline's, on the same items.
        first_release: the registry proved that nothing was released before, so that there is nothing to
            compare with.
        robustness: scores under each corruption, by its name.
        timings: paired timings by metric: ``latency_p50``.
        rounds: what a timed metric of the candidate was in each round, for absolute bounds: the round is the unit, for its
            calls go up and down together.
        self_flips: how often the baseline disagrees with itself.
        reuse: the test set's ledger entry; None when its use is not budgeted.
        forms: among how many forms of the candidate, none of them proven yet, the one to release may be chosen.
        offered: rows that there are, where the evaluation may have stopped before the last.
        noun: what an item is: ``samples``, ``images``, ``documents``.
        baseline_name: what the baseline is called in texts: ``v1.0.0``.
        drift: of the evaluation data since the release; None where nobody looked.
        adjuster: the covariate by which what is absolute and of all rows is adjusted; None where there is none.
        waits: why what a GPU alone can measure may wait; None where it must be there.
        unproven: steps whose evidence is missing or does not hold.
    """

    variant: str
    measurements: Sequence[Measurement] = ()
    candidate: Evaluation | None = None
    baseline: Evaluation | None = None
    first_release: bool = False
    robustness: Mapping[str, CorruptionScores] = field(default_factory=dict)
    timings: Mapping[str, PairedTiming] = field(default_factory=dict)
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    self_flips: SelfFlips | None = None
    reuse: Reuse | None = None
    forms: int = 1
    offered: int | None = None
    noun: str = "samples"
    baseline_name: str = "the baseline"
    adjuster: Adjuster | None = None
    waits: str | None = None
    drift: Drift | None = None
    unproven: frozenset[str] = frozenset()

    @property
    def stopped(self) -> bool:
        """Whether the rows are as many as decided the gates, so that only bounds that hold at every look say anything."""
        return self.offered is not None and self.candidate is not None and len(self.candidate) < self.offered

    @property
    def several(self) -> bool:
        """Whether candidates of one recipe are judged together, on rows."""
        return isinstance(self.candidate, Population) or any(
            m.variant == CANDIDATES for m in self.measurements
        )

    def lacks(self, name: str, step: str, what: str = "") -> str:
        """That what a gate is called by was not measured, in words of its own if any; or that what a step measured does not hold."""
        if step in self.unproven:
            return f"{name}: there is no evidence of `{step}` that holds."
        return f"{what or f'{name} was not measured'}: run `gradatim {step}`."

    def on_rows(self, label: str) -> Measurement | None:
        """The ``measurement`` of what gates on rows judge."""
        return self.measurement(label, CANDIDATES if self.several else self.variant)

    def measurement(self, label: str, variant: str | None = None) -> Measurement | None:
        """The measurement of this name, ``recall[class=8]``, None when nobody took it.

        Raises:
            InvalidInput: two measurements of one name say different things, or one cannot be a measurement.
        """
        name = variant or self.variant
        found = [m for m in self.measurements if m.variant == name and m.label == label]
        if any(other != found[0] for other in found[1:]):
            raise InvalidInput(
                f"There are {len(found)} different measurements of {label} of {name}. Run its step again."
            )
        if found:
            _refuse_forged(found[0])
        return found[0] if found else None


def _refuse_forged(found: Measurement) -> None:
    """A number that no step measures: it was written by hand, or a file was mixed up."""
    numbers = [number for number in (found.value, found.low, found.high) if number is not None]
    ordered = found.low is None or found.high is None or found.low <= found.high
    counted = found.successes is None or 0 <= found.successes <= found.n
    if found.successes is not None and found.n > 0 and found.value is not None:
        counted &= math.isclose(found.value, found.successes / found.n, rel_tol=1e-6, abs_tol=1e-9)
    if not (all(map(math.isfinite, numbers)) and ordered and counted and found.n >= 0):
        told = {key: value for key, value in vars(found).items() if value is not None}
        raise InvalidInput(
            f"The measurement {found.label} of {found.variant} cannot be: {told}. Run its step again."
        )
