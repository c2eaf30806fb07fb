"""What became of one way to make a model smaller or faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradatim.evidence.codec import encode


@dataclass(frozen=True)
class Sensitivity:
    """What one node of a model loses when it alone takes a form.

    Attributes:
        node: its name in the graph.
        operator: what it does: ``MatMul``.
        losses: form -> the share of the outputs' variance that is lost on calibration data.
    """

    node: str
    operator: str
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One recipe, tried.

    Attributes:
        name: the variant's name: ``int8-static``, ``int8-static-mixed-4``.
        recipe: the settings, enough to repeat it.
        accepted: whether it may stand for the original.
        reason: why it was refused, or in what it gains.
        quality: the caller's metrics on calibration data, with ``fidelity``, ``cosine`` and ``agreement``:
            how like the original it answers.
        size: bytes of all the model's files; None when none came out.
        size_ratio, latency_ratio: candidate / original (0.5 = half as large, half the time); the latency is a
            quick one, of a batch or of one row, the one where it is slower, taken in one process: the benchmark judges.
        path: the model's file on this machine, for an accepted trial; no evidence holds it.
        digest: SHA-256 of that file (of its folder, where weights lie beside it).
        seconds: how long the trial took.
        reused: whether it was done by an earlier run.
    """

    name: str
    recipe: Mapping[str, Any]
    accepted: bool
    reason: str
    quality: Mapping[str, float]
    size: int | None = None
    size_ratio: float | None = None
    latency_ratio: float | None = None
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
        """As it stands in the evidence: with the score, and without this machine's path."""
        score = {} if self.score is None else {"score": self.score}
        return {**encode(replace(self, path=None)), **score}
