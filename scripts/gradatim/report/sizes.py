"""What calls of several sizes take, for every report: rows of a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradatim.gates.rule import FLOOR, sized
from gradatim.report import numbers
from gradatim.report.model import Estimate, SizeRow

if TYPE_CHECKING:
    from gradatim.timing.result import PairedResult

HEAD = ("size of call", "baseline p50", "candidate p50", "floor beside the baseline", "rounds")
ALIGNMENT = "lrrrr"


def sizes_from(timings: PairedResult, chosen: str, baseline: str) -> tuple[SizeRow, ...]:
    """Each size of call of the chosen form; none where one alone is timed."""
    mine, theirs, pair = timings.contestant(chosen), timings.contestant(baseline), timings.comparison(chosen)
    if pair is not None and pair.baseline != baseline:
        pair = None
    found = []
    for size in sorted(
        mine.sizes if mine else (), key=lambda size: [int(n) for n in re.findall(r"\d+", size)]
    ):
        before, now = (one.level(sized("latency_p50", size)) if one else None for one in (theirs, mine))
        look = pair.slowdown(sized(FLOOR, size)) if pair else None
        ratio = Estimate(look.ratio, look.low, look.high) if look else None
        rounds = len(mine.by_round[sized(FLOOR, size)]) if mine else 0
        found.append(
            SizeRow(size, before.value if before else None, now.value if now else None, ratio, rounds)
        )
    return tuple(found)


def cells(row: SizeRow) -> list[str]:
    """A row below ``HEAD``."""
    ratio, told = row.ratio, ""
    if ratio is not None:
        ends = [ratio.value, ratio.low, ratio.high]
        told = numbers.number_format(ends, "s/s").estimate(*ends)
    return [
        row.size,
        numbers.seconds(row.baseline),
        numbers.seconds(row.candidate),
        told,
        numbers.count(row.rounds),
    ]
