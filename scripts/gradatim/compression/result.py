"""What a search for a smaller model tried and found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trial:
    """One recipe, tried.

    Attributes:
        name: the variant's name: ``int8-static``, ``int8-static-mixed-4``.
        recipe: the settings, enough to repeat it.
        accepted: whether it may stand for the original.
        reason: why it was refused, or in what it gains.
        size: bytes of all the model's files; None when none came out.
        size_ratio, latency_ratio: candidate / original (0.5 = half as large, half the time); the latency is a
            quick one, taken in one process: the benchmark judges.
        quality: the caller's metrics on calibration data, with ``fidelity``, ``cosine`` and ``agreement``:
            how like the original it answers.
        path: the model's file, for an accepted trial.
        digest: SHA-256 of that file (of its folder, where weights lie beside it).
        seconds: how long the trial took.
        reused: whether it was done by an earlier run.
    """

    name: str
    recipe: Mapping[str, Any]
    accepted: bool
    reason: str
    size: int | None = None
    size_ratio: float | None = None
    latency_ratio: float | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    path: Path | None = None
    digest: str | None = None
    seconds: float = 0.0
    reused: bool = False

    @property
    def score(self) -> float | None:
        """Geometric mean of size and latency ratio: 1 is the original, lower is better.

        A latency within 3 % of the original's counts as equal, since a quick timing cannot tell it apart.
        """
        if self.size_ratio is None or self.latency_ratio is None:
            return None
        latency = 1.0 if abs(self.latency_ratio - 1) < 0.03 else self.latency_ratio
        return float((self.size_ratio * latency) ** 0.5)

    def to_json(self) -> dict[str, Any]:
        record = {key: value for key, value in asdict(self).items() if value is not None}
        if self.path:
            record["path"] = str(self.path)
        if self.score is not None:
            record["score"] = self.score
        return record


@dataclass(frozen=True)
class Result:
    """The outcome of a search.

    Attributes:
        original: the uncompressed model's size and quality.
        trials: every recipe tried, in order.
        chosen: accepted trials that no other accepted one beats in both size and latency, best score first.
        reason: in a sentence: what was chosen, or why the model is kept as it is.
    """

    original: Trial
    trials: tuple[Trial, ...]
    chosen: tuple[Trial, ...]
    reason: str

    @property
    def best(self) -> Trial:
        """The best variant under the budget; the original when none passes."""
        return self.chosen[0] if self.chosen else self.original

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best.name,
            "chosen": [trial.name for trial in self.chosen],
            "original": self.original.to_json(),
            "reason": self.reason,
            "trials": [trial.to_json() for trial in self.trials],
        }


def pareto(trials: list[Trial]) -> tuple[Trial, ...]:
    """The accepted trials that no other beats in both size and latency, best score first."""
    accepted = [trial for trial in trials if trial.accepted]

    def beaten(one: Trial) -> bool:
        return any(_beats(other, one) for other in accepted if other is not one)

    return tuple(sorted((t for t in accepted if not beaten(t)), key=lambda t: (t.score or 1.0, t.name)))


def _beats(other: Trial, one: Trial) -> bool:
    ours, theirs = _costs(one), _costs(other)
    return all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours


def _costs(trial: Trial) -> tuple[float, float]:
    return trial.size_ratio or 1.0, trial.latency_ratio or 1.0
