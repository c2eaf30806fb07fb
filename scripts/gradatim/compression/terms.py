"""On which terms a trial is accepted: what it must keep, and what it must gain."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradatim.compression.budget import Budget
from gradatim.compression.recipe import Recipe
from gradatim.errors import InvalidInput, UsageError
from gradatim.evidence.trial import Trial

DEFAULT_KEEP: Mapping[str, float] = {"fidelity": 0.95}

_LIKENESS = ("fidelity", "cosine", "agreement")
_WORTH = 0.98


@dataclass(frozen=True)
class Terms:
    """The terms of one search.

    Attributes:
        original: what every trial stands beside.
        budget: what must be kept.
        slowest: the highest latency ratio that a smaller variant may cost.
    """

    original: Trial
    budget: Budget
    slowest: float

    @classmethod
    def of(
        cls, original: Trial, keep: Mapping[str, float], lower_is_better: Collection[str], slowest: float
    ) -> Terms:
        """The terms, once the original was measured.

        Raises:
            UsageError: a metric is to be kept that is not measured.
        """
        if unknown := set(keep) - set(original.quality):
            raise UsageError(
                f"compress.keep names {', '.join(sorted(unknown))}, which is not measured here. "
                f"Measured are: {', '.join(sorted(original.quality))}."
            )
        return cls(original, Budget(keep, lower_is_better), slowest)

    def measured(self, recipe: Recipe, found: Mapping[str, Any], pace: float) -> Trial:
        """What an attempt found, not judged yet; ``pace``: the latency of what it was timed beside, as a part of the original's."""
        size, latency = found.get("size"), found.get("latency_ratio")
        return Trial(
            name=recipe.name,
            recipe=recipe.record(),
            accepted=False,
            reason=found.get("reason", ""),
            size=size,
            size_ratio=size / self.original.size if size is not None and self.original.size else None,
            latency_ratio=None if latency is None else latency * pace,
            quality={**found.get("quality", {}), **found.get("fidelity", {})},
            digest=found.get("digest"),
            seconds=found.get("seconds", 0.0),
        )

    def judged(self, trial: Trial, path: Path) -> Trial:
        """The trial accepted, with the path of its model, or refused with the reason; one with a reason is refused already."""
        if trial.reason:
            return trial
        if lacking := self.lacking(trial):
            return replace(trial, reason=lacking)
        size, latency = trial.size_ratio or 1.0, trial.latency_ratio or 1.0
        if latency > self.slowest:
            return replace(
                trial, reason=f"it takes {latency:.2f} times as long; at most {self.slowest:g} is allowed"
            )
        if size > _WORTH and latency > _WORTH:
            return replace(trial, reason=f"it is neither smaller ({size:.2f}) nor faster ({latency:.2f})")
        reason = f"{size:.2f} of the size in {latency:.2f} of the time"
        return replace(trial, accepted=True, reason=reason, path=path)

    def asked_for(self, trial: Trial, path: Path, found: Mapping[str, Any]) -> Trial:
        """The trial of a model cut into stages, which need not be smaller or faster, but must answer alike."""
        if reason := trial.reason or self.lacking(trial):
            return replace(trial, reason=reason)
        sizes, peaks, whole = found["sizes"], found["memory"], found["memory_whole"]
        reason = (
            f"{len(sizes)} stages of {_megabytes(sizes)} MB, which take {_megabytes(peaks)} MB of memory each at their "
            f"peak and {_megabytes([whole])} MB as one"
        )
        return replace(trial, accepted=True, reason=reason, path=path)

    def lacking(self, trial: Trial) -> str:
        """What of the quality to keep is not kept; empty when all is."""
        return self.budget.lacking(self.original.quality, trial.quality)

    @property
    def likeness(self) -> tuple[str, float]:
        """What of the likeness to the original must be kept, and how much; the usual where only the task's metrics are named."""
        kept = {name: share for name, share in self.budget.keep.items() if name in _LIKENESS}
        return next(iter((kept or DEFAULT_KEEP).items()))

    def share(self, trial: Trial) -> float:
        """About what part of a trial's error may stay."""
        return self.budget.share(self.original.quality, trial.quality)

    def only_quality_lacks(self, trial: Trial) -> bool:
        """Whether a trial was refused for its quality and nothing else."""
        return (
            not trial.accepted
            and trial.latency_ratio is not None
            and trial.latency_ratio <= self.slowest
            and trial.reason == self.lacking(trial)
        )

    def only_slow(self, trial: Trial, pace: float = 1.0) -> bool:
        """Whether a trial keeps the quality and is slower than what it was made from, whose latency ratio is ``pace``."""
        return (
            trial.latency_ratio is not None
            and trial.latency_ratio > self.slowest * pace
            and not self.lacking(trial)
        )


def _megabytes(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number / 1e6:.3g}" for number in numbers)


def finite(quality: Mapping[str, float], whose: str) -> dict[str, float]:
    """The metrics as they are.

    Raises:
        InvalidInput: one is no finite number.
    """
    for metric, value in quality.items():
        if not math.isfinite(value):
            raise InvalidInput(f"{whose} hold {metric} = {value}, which is not a finite number.")
    return {metric: float(value) for metric, value in quality.items()}


def promises(trial: Trial, trials: Sequence[Trial]) -> bool:
    """Whether leaving nodes out, which saves neither size nor time, could still give the best variant.

    While there is none, a smaller form does, for it may be slower than the original as far as the caller allows.
    """
    if trial.score is None:
        return False
    accepted = [found.score or 1.0 for found in trials if found.accepted]
    return trial.score < min(accepted, default=1.0) or (not accepted and (trial.size_ratio or 1.0) <= _WORTH)
