"""What load the forms bear, for every report: sentences and rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gradatim.report import numbers
from gradatim.report.model import LoadedModel, LoadRow

if TYPE_CHECKING:
    from gradatim.timing.load import Load, Stress
    from gradatim.timing.loadgen import LoadRun
    from gradatim.timing.locust import LocustRun

HEAD = ("scenario", "says", "came", "answered", "p50", "p90", "p99", "queries")
ALIGNMENT = "llrrrrrr"
_AT_ONCE = 0.1


def loads_from(loads: Iterable[Load]) -> tuple[LoadedModel, ...]:
    """Of every form its figures, and of LoadGen's runs those that its figures rest on; of locust's all."""
    return tuple(LoadedModel(one.name, one.where, _told(one), tuple(_rows(one))) for one in loads)


def cells(row: LoadRow) -> list[str]:
    """A row below ``HEAD``."""
    answered = numbers.number_format([row.completed], "1/s")(row.completed)
    times = [numbers.seconds(value) for value in (row.p50, row.p90, row.p99)]
    failed = f" ({numbers.count(row.failed)} failed)" if row.failed else ""
    return [row.scenario, row.said, row.came, answered, *times, numbers.count(row.queries) + failed]


def _rows(load: Load) -> Iterable[LoadRow]:
    """One run of each scenario; of the search for a rate, those at its two ends."""
    last = {run.scenario: run for run in load.runs if run.came is None}
    ends = {
        run.rate: run for run in load.runs if run.came is not None and run.rate in (load.bore, load.too_much)
    }
    for run in (*last.values(), *(ends[rate] for rate in sorted(ends))):
        yield _row(run)
    yield from map(_users, load.users)


def _row(run: LoadRun) -> LoadRow:
    came = "" if run.came is None else numbers.number_format([run.rate], "1/s")(run.rate)
    said, times = "VALID" if run.valid else "INVALID", (run.p50, run.p90, run.p99)
    return LoadRow(run.scenario, said, came, run.completed, *times, run.queries, run.failed)


def _users(run: LocustRun) -> LoadRow:
    said, times = "broke" if run.why else "held", (run.p50, run.p90, run.p99)
    return LoadRow("locust", said, _many(run.users), run.rate, *times, run.requests, run.failed)


def _many(users: float) -> str:
    return f"{numbers.count(round(users))} user{'s' if users > 1 else ''}"


def _told(load: Load) -> str:
    """``bears 384/s with 99 % within 40 ms; 392/s is too much. Under stress it falls behind at ...``"""
    told = []
    if load.bore and load.too_much:
        rate = numbers.number_format([load.bore, load.too_much], "1/s")
        bound = numbers.seconds(load.bound)
        told.append(
            f"It bears {rate(load.bore)} with 99 % within {bound}; {rate(load.too_much)} is too much."
        )
    if load.reason:
        told.append(f"The highest rate is not known: {load.reason}.")
    if load.stress:
        told.append(_besieged(load) if load.users else _stressed(load.stress))
    if load.late:
        told.append(f"There was no time for {', '.join(load.late)}.")
    if not load.runs:
        return " ".join(told)
    many = f"{load.parallel} queries under way at a time" if load.parallel > 1 else "one query at a time"
    return " ".join([*told, f"Asked {many}."])


def _stressed(stress: Stress) -> str:
    if stress.breaks_at is None:
        return "Under stress no rate was reached at which it falls behind."
    breaks = numbers.number_format([stress.breaks_at], "1/s")(stress.breaks_at)
    if stress.recovered is None:
        return f"Under stress it falls behind at {breaks}, and was not well again before the time was up."
    return f"Under stress it falls behind at {breaks}, and is well again {numbers.duration(stress.recovered)} after the last query."


def _besieged(load: Load) -> str:
    """``With 32 users at a time it breaks: 99 % took up to 73 ms, not 50 ms. It held 24, and is well again 1.2 s after.``"""
    stress = load.stress
    assert stress is not None  # noqa: S101 (there are users where it was asked for)
    if stress.breaks_at is None:
        return (
            f"No number of locust's users was reached that it breaks at: it held {_many(stress.bore or 0)}."
        )
    [*_, run] = (run for run in load.users if run.why and run.users == stress.breaks_at)
    told = [f"With {_many(stress.breaks_at)} of locust's at a time it breaks: {run.why}."]
    if run.strained:
        told.append("Locust itself had no more of a processor there, so that it may be what broke.")
    if stress.bore is None:
        return " ".join(told)
    well = "was not well again before the time was up"
    if stress.recovered is not None and stress.recovered < _AT_ONCE:
        well = "is well again at once"
    elif stress.recovered is not None:
        well = f"is well again {numbers.duration(stress.recovered)} after the last request"
    return " ".join([*told, f"It held {_many(stress.bore)}, and {well}."])
