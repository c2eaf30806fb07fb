"""A candidate and a release that do not know the same labels: what the report compares, on what, and what it says of it."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.metrics.diagnostics import Overlap
from gradatim.report import numbers
from gradatim.report.model import Report
from gradatim.report.text import one_line

_NAMED = 8


def aligned(
    matrix: Sequence[Sequence[int]], theirs: Sequence[str], mine: Sequence[str]
) -> tuple[tuple[int, ...], ...]:
    """The baseline's confusion matrix in the candidate's labels: zero where the baseline does not know one."""
    place = {label: index for index, label in enumerate(theirs)}
    return tuple(
        tuple(matrix[place[row]][place[column]] if row in place and column in place else 0 for column in mine)
        for row in mine
    )


def told(report: Report) -> str:
    """On how many samples the two are compared, how both do there, and which labels are new or gone; empty without."""
    found = report.overlap
    if found is None:
        return ""
    whom = one_line(report.baseline or "the baseline", 40)
    known = found.labels - len(found.new)
    text = f"{whom} knows {numbers.count(known)} of the {numbers.plural(found.labels, 'label')}: what is compared with it is compared on {counts(found)}"
    for metric, (mine, theirs) in list(found.quality.items())[:1]:
        shown = metric.replace("_", " ")
        text += f", where {shown} is {numbers.quality(metric, mine)} and {whom} has {numbers.quality(metric, theirs)}"
    listed = (("New", found.new), ("Gone", found.gone))
    return text + "." + "".join(f" {word}: {_named(labels)}." for word, labels in listed if labels)


def counts(found: Overlap) -> str:
    """``340 of 459 samples``."""
    return f"{numbers.count(found.rows)} of {numbers.plural(found.of, 'sample')}"


def of_baseline(report: Report) -> str:
    """What the baseline's figures beside the candidate's are of; empty where they are of the same samples."""
    if report.overlap is None:
        return ""
    return f"Figures of the baseline are of the {counts(report.overlap)} whose label it knows."


def _named(labels: Sequence[str]) -> str:
    more = len(labels) - _NAMED
    return ", ".join(one_line(label, 40) for label in labels[:_NAMED]) + (
        f" and {numbers.count(more)} more" if more > 0 else ""
    )
