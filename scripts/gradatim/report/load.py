"""What load the forms bear, for every report: sentences and rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gradatim.report import numbers
from gradatim.report.model import LoadedModel, LoadRow

if TYPE_CHECKING:
    from gradatim.timing.load import Load, Stress
    from gradatim.timing.loadgen import LoadRun

HEAD = ("scenario", "LoadGen says", "came", "answered", "p50", "p90", "p99", "queries")
ALIGNMENT = "llrrrrrr"


def loads_from(loads: Iterable[Load]) -> tuple[LoadedModel, ...]:
    """Of every form its figures, and of LoadGen's runs those that its figures rest on."""
    return tuple(LoadedModel(one.name, one.where, _told(one), tuple(_rows(one))) for one in loads)


def cells(row: LoadRow) -> list[str]:
    """A row below ``HEAD``."""
    came = "" if row.rate is None else numbers.number_format([row.rate], "1/s")(row.rate)
    answered = numbers.number_format([row.completed], "1/s")(row.completed)
    times = [numbers.seconds(value) for value in (row.p50, row.p90, row.p99)]
    return [
        row.scenario,
        "VALID" if row.valid else "INVALID",
        came,
        answered,
        *times,
        numbers.count(row.queries),
    ]


def _rows(load: Load) -> Iterable[LoadRow]:
    """One run of each scenario; of the search for a rate, those at its two ends."""
    last = {run.scenario: run for run in load.runs if run.came is None}
    ends = {
        run.rate: run for run in load.runs if run.came is not None and run.rate in (load.bore, load.too_much)
    }
    for run in (*last.values(), *(ends[rate] for rate in sorted(ends))):
        yield _row(run)


def _row(run: LoadRun) -> LoadRow:
    rate = None if run.came is None else run.rate
    return LoadRow(
        run.scenario, run.valid, rate, run.completed, run.p50, run.p90, run.p99, run.queries, run.stopping
    )


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
        told.append(_stressed(load.stress))
    if load.late:
        told.append(f"There was no time for {', '.join(load.late)}.")
    many = f"{load.parallel} queries under way at a time" if load.parallel > 1 else "one query at a time"
    return " ".join([*told, f"Asked {many}."])


def _stressed(stress: Stress) -> str:
    if stress.breaks_at is None:
        return "Under stress no rate was reached at which it falls behind."
    breaks = numbers.number_format([stress.breaks_at], "1/s")(stress.breaks_at)
    if stress.recovered is None:
        return f"Under stress it falls behind at {breaks}, and was not well again before the time was up."
    return f"Under stress it falls behind at {breaks}, and is well again {numbers.duration(stress.recovered)} after the last query."
