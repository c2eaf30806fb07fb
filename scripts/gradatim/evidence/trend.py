"""How size, quality and time went over the versions of a model, and which points may be joined by a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradatim.evidence.statement import Statement
from gradatim.measurement import Measurement

_TIME = "latency_p50"
_REPEATED = ("self_flips", "negative_flips")


@dataclass(frozen=True)
class TrendPoint:
    """What a version had.

    Attributes:
        low, high: of its interval, None where there is none.
        like: what must be equal for two points to be comparable: the kind of machine of a time, the data of a quality; empty
            where nothing must.
    """

    version: str
    value: float
    low: float | None = None
    high: float | None = None
    like: str = ""


@dataclass(frozen=True)
class Trend:
    """One metric over the versions that have it, oldest first."""

    metric: str
    unit: str
    points: tuple[TrendPoint, ...]

    def runs(self) -> list[list[TrendPoint]]:
        """Points that followed one another and may be joined: never those of different machines or data."""
        found: list[list[TrendPoint]] = []
        for point in self.points:
            if found and found[-1][-1].like == point.like:
                found[-1].append(point)
            else:
                found.append([point])
        return found


Version = tuple[str, str, Sequence[Statement]]
"""A label, the hex digest of the manifest that was released, and all that its evidence states."""


def trends(versions: Iterable[Version]) -> tuple[Trend, ...]:
    """Size, the first metric of the task, and the median time of a call over versions, oldest first; what none has is left out.

    The metric is the newest version's.
    """
    known = list(versions)
    quality = next((found[0].name for version in reversed(known) if (found := _quality(version))), None)
    wanted = (("size", None), (quality, "evaluation"), (_TIME, "machine"))
    made = (_trend(known, metric, like) for metric, like in wanted if metric is not None)
    return tuple(trend for trend in made if trend is not None)


def _trend(versions: Sequence[Version], metric: str, like: str | None) -> Trend | None:
    points, unit = [], ""
    for version in versions:
        for statement, one in _measured(version):
            if one.name == metric and one.value is not None:
                same = statement.inputs.get(like, "") if like else ""
                points.append(TrendPoint(version[0], one.value, one.low, one.high, same))
                unit = one.unit
                break
    return Trend(metric, unit, tuple(points)) if points else None


def _quality(version: Version) -> list[Measurement]:
    return [
        one
        for statement, one in _measured(version)
        if statement.step == "evaluate" and one.name not in _REPEATED
    ]


def _measured(version: Version) -> Iterator[tuple[Statement, Measurement]]:
    """What was measured of the form that was released, of all of the data."""
    _, manifest, statements = version
    for statement in statements:
        variant = statement.variant(manifest)
        for one in statement.measurements if variant is not None else ():
            if one.variant == variant and one.where is None and one.value is not None:
                yield statement, one
