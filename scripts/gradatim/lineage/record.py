"""Lineage as data: one shape, whichever tool recorded it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gradatim.errors import InvalidInput

Use = Literal["training", "validation", "evaluation"]
Parameter = str | int | float | bool | list[Any] | None

USES: tuple[str, ...] = get_args(Use)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DataUsed:
    """A data set that training read.

    Attributes:
        use: ``training`` (learned from), ``validation`` (selected on) or ``evaluation`` (only reported on).
        sha256: hex SHA-256 of the file as training read it.
        path: where it lay, relative to the repository, or its address.
        digest: the digest that the tracking tool made itself, where there is no SHA-256.
    """

    use: Use
    sha256: str | None = None
    path: str | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise InvalidInput("a data set has no proper SHA-256.")

    @property
    def identity(self) -> str | None:
        """The best that is known of its bytes: SHA-256, else the tool's own digest."""
        return self.sha256 or self.digest


@dataclass(frozen=True)
class LoggedMetric:
    """What training logged under one name.

    Attributes:
        value: the last value; None when that was NaN or infinite.
        log: (step, value) in ascending order, thinned; finite values only.
        count: values logged, before thinning.
        nonfinite: how many of them were NaN or infinite.
    """

    value: float | None = None
    log: tuple[tuple[int, float], ...] = ()
    count: int = 1
    nonfinite: int = 0


@dataclass(frozen=True)
class Lineage:
    """Where a model's weights come from, as training recorded it.

    Attributes:
        source: what it was read from: ``lineage.json``, ``MLflow run 3f2a..``.
        parameters: by dotted name; secrets masked.
        data: by name, ``train``, ``validation``.
        metrics: by name.
        seed: of the random numbers.
        commit: id of the commit that the training code stood at.
        environment: package, ``python`` or device -> version or name.
        started, finished: RFC 3339, in UTC where the tool says so.
        notes: what was masked, thinned or left out.
    """

    source: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    data: Mapping[str, DataUsed] = field(default_factory=dict)
    metrics: Mapping[str, LoggedMetric] = field(default_factory=dict)
    seed: int | None = None
    commit: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def diverged(self) -> tuple[str, ...]:
        """Metrics whose last value was NaN or infinite."""
        return tuple(name for name, metric in self.metrics.items() if metric.value is None)
