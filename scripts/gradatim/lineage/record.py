"""Lineage as data: one shape, whichever tool recorded it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from gradatim.errors import BrokenEvidence

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

    @property
    def identity(self) -> str | None:
        """The best that is known of its bytes: SHA-256, else the tool's own digest."""
        return self.sha256 or self.digest


@dataclass(frozen=True)
class Metric:
    """What training logged under one name.

    Attributes:
        value: the last value; None when that was NaN or infinite.
        log: (step, value) in ascending order, thinned; finite values only.
        count: values logged, before thinning.
        nonfinite: how many of them were NaN or infinite.
    """

    value: float | None
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
    metrics: Mapping[str, Metric] = field(default_factory=dict)
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

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as JSON values."""
        record = {
            "source": self.source,
            "parameters": dict(self.parameters),
            "data": {name: _set(vars(used)) for name, used in self.data.items()},
            "metrics": {
                name: _set({**vars(metric), "log": [list(point) for point in metric.log]})
                for name, metric in self.metrics.items()
            },
            "seed": self.seed,
            "commit": self.commit,
            "environment": dict(self.environment),
            "started": self.started,
            "finished": self.finished,
            "notes": list(self.notes),
        }
        return {key: value for key, value in record.items() if value is not None and value not in ({}, [])}

    @classmethod
    def from_json(cls, record: Any) -> Lineage:
        """Read back what ``to_json`` wrote.

        Raises:
            BrokenEvidence: a field is unknown, missing or of another type.
        """
        fields = _mapping(record, cls.__dataclass_fields__)
        texts = ("source", "commit", "started", "finished")
        if not all(isinstance(fields.get(name, ""), str) for name in texts) or "source" not in fields:
            raise BrokenEvidence(
                "A lineage in the evidence is broken: source, commit and times must be text."
            )
        if type(fields.get("seed", 0)) is not int:
            raise BrokenEvidence("A lineage in the evidence is broken: its seed is no whole number.")
        notes = fields.get("notes", [])
        environment = _mapping(fields.get("environment", {}))
        if not isinstance(notes, list) or not all(
            isinstance(x, str) for x in (*notes, *environment.values())
        ):
            raise BrokenEvidence("A lineage in the evidence is broken: notes and versions must be text.")
        return cls(
            **{
                **fields,
                "parameters": _mapping(fields.get("parameters", {})),
                "data": {name: _data(item) for name, item in _mapping(fields.get("data", {})).items()},
                "metrics": {
                    name: _metric(item) for name, item in _mapping(fields.get("metrics", {})).items()
                },
                "environment": environment,
                "notes": tuple(notes),
            }
        )


def _data(record: Any) -> DataUsed:
    fields = _mapping(record, DataUsed.__dataclass_fields__)
    if fields.get("use") not in USES or not all(isinstance(value, str) for value in fields.values()):
        raise BrokenEvidence("A lineage in the evidence is broken: a data set needs a use, and text.")
    if not _SHA256.fullmatch(fields.get("sha256", "0" * 64)):
        raise BrokenEvidence("A lineage in the evidence is broken: a data set has no proper SHA-256.")
    return DataUsed(
        cast("Use", fields["use"]), fields.get("sha256"), fields.get("path"), fields.get("digest")
    )


def _metric(record: Any) -> Metric:
    fields = _mapping(record, Metric.__dataclass_fields__)
    log = fields.get("log", [])
    well = isinstance(log, list) and all(
        isinstance(point, list) and len(point) == 2 and type(point[0]) is int and _is_number(point[1])
        for point in log
    )
    counts = fields.get("count", 1), fields.get("nonfinite", 0)
    if (
        not well
        or not all(type(count) is int for count in counts)
        or not _is_number(fields.get("value", 0.0))
    ):
        raise BrokenEvidence("A lineage in the evidence is broken: a metric is not a number with its log.")
    points = tuple((step, float(value)) for step, value in log)
    value = fields.get("value")
    return Metric(None if value is None else float(value), points, *counts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _set(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if value is not None and value not in ((), [])}


def _mapping(record: Any, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise BrokenEvidence(f"A lineage in the evidence is broken: {record!r} is not a JSON object.")
    if known is not None and (unknown := record.keys() - known.keys()):
        raise BrokenEvidence(f"A lineage in the evidence has unknown fields: {', '.join(sorted(unknown))}.")
    return record
