"""What a search for a smaller model tried and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.evidence.trial import Sensitivity, Trial


@dataclass(frozen=True)
class Result:
    """The outcome of a search.

    Attributes:
        original: the uncompressed model's size and quality.
        trials: every recipe tried, in order.
        chosen: accepted trials that no other accepted one beats in both size and latency, best score first.
        reason: in a sentence: what was chosen, or why the model is kept as it is.
        sensitivities: of the nodes, in the order of the graph, where nodes were to take other forms than their method's.
    """

    original: Trial
    trials: tuple[Trial, ...]
    chosen: tuple[Trial, ...]
    reason: str
    sensitivities: tuple[Sensitivity, ...] = ()

    @property
    def best(self) -> Trial:
        """The best variant under the budget; the original when none passes."""
        return self.chosen[0] if self.chosen else self.original

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best.name,
            "chosen": [trial.name for trial in self.chosen],
            "original": _placed(self.original),
            "reason": self.reason,
            "trials": [_placed(trial) for trial in self.trials],
        }


def summary(chosen: Sequence[Trial], trials: Sequence[Trial], *, goes_on: bool) -> str:
    """What was chosen and why, or why nothing was; ``goes_on``: behind the beginning of a sentence."""
    if chosen:
        return f"{chosen[0].name} is the best of {len(trials)} tried: {chosen[0].reason}."
    if not trials:
        return "nothing was tried."
    refused = "; ".join(f"{trial.name}: {trial.reason.rstrip('.')}" for trial in trials)
    return f"{'the' if goes_on else 'The'} model is kept as it is, since nothing passed. {refused}."


def _placed(trial: Trial) -> dict[str, Any]:
    """A trial with the place of its file."""
    return {**trial.to_json(), **({"path": str(trial.path)} if trial.path else {})}


def pareto(trials: list[Trial]) -> tuple[Trial, ...]:
    """The accepted trials that no other beats in both size and latency, best score first.

    One that saves next to nothing beside another, and answers less like the original, is left out.
    """
    accepted = [trial for trial in trials if trial.accepted]
    front = [one for one in accepted if not any(_beats(other, one) for other in accepted)]
    kept = [one for one in front if not any(_as_cheap_and_better(other, one) for other in front)]
    return tuple(sorted(kept, key=lambda trial: (trial.score or 1.0, trial.name)))


def _as_cheap_and_better(other: Trial, one: Trial) -> bool:
    (size, latency), (its_size, its_latency) = _costs(other), _costs(one)
    cheap = size <= 1.01 * its_size and latency <= 1.03 * its_latency
    return cheap and other.quality.get("fidelity", 0.0) > one.quality.get("fidelity", 0.0)


def _beats(other: Trial, one: Trial) -> bool:
    ours, theirs = _costs(one), _costs(other)
    return all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours


def _costs(trial: Trial) -> tuple[float, float]:
    return trial.size_ratio or 1.0, trial.latency_ratio or 1.0
