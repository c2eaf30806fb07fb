"""What a report knows of the model and of where it comes from, as titled lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gradatim.lineage.record import DataUsed, LoggedMetric, Parameter
from gradatim.report import blocks, numbers
from gradatim.report.model import Report
from gradatim.report.text import one_line

_TENSORS, _OPERATORS, _FILES, _ENTRIES, _SPARK = 12, 12, 12, 40, 32


class Fact(NamedTuple):
    """A titled line; ``code`` tells that it is an identifier rather than prose."""

    title: str
    value: str
    code: bool = False


def meta(report: Report) -> list[Fact]:
    """The few facts that stand under the title."""
    found = [
        Fact("stage", report.stage or ""),
        Fact("baseline", report.baseline or ""),
        Fact("variant", report.chosen or ""),
        Fact("task", (report.task or "").replace("_", " ")),
        Fact("evaluated on", numbers.plural(report.samples, "sample") if report.samples is not None else ""),
        Fact("commit", numbers.digest(report.commit or "")),
    ]
    return [Fact(title, one_line(value, 80)) for title, value, _ in found if value]


def model_facts(report: Report) -> list[Fact]:
    """Format, signature, parameters, operators, files."""
    seen = report.inspection
    if not seen:
        return []
    found = [Fact("format", f"{seen.format}, opset {seen.opset}" if seen.opset else seen.format)]
    if seen.parameters is not None:
        found.append(Fact("parameters", numbers.count(seen.parameters)))
    found += _capped("input", seen.inputs, _TENSORS) + _capped("output", seen.outputs, _TENSORS)
    if seen.operators:
        common = sorted(seen.operators.items(), key=lambda item: (-item[1], item[0]))
        told = ", ".join(
            f"{one_line(name, 40)} {numbers.count(number)}" for name, number in common[:_OPERATORS]
        )
        more = len(common) - _OPERATORS
        found.append(Fact("operators", told + (f" and {numbers.count(more)} more" if more > 0 else "")))
    files = [
        f"{one_line(f.path, 120)}  {numbers.size(f.size)}  sha256 {numbers.digest(f.sha256)}"
        for f in seen.files
    ]
    return _tidy(found + _capped("file", files, _FILES))


def lineage_facts(report: Report) -> list[Fact]:
    """Commit, digests, environment, evidence."""
    lineage = report.lineage
    if not lineage:
        return []
    found = [
        Fact("commit", lineage.commit or "", True),
        Fact("branch", lineage.branch or ""),
        Fact("replaces", lineage.previous or ""),
        Fact("manifest", lineage.manifest or "", True),
        Fact("contract", numbers.digest(lineage.contract or ""), True),
        Fact("seed of the tests", str(lineage.seed) if lineage.seed is not None else ""),
        *_listed("data", lineage.data, code=True),
        *_listed("", lineage.environment, code=False),
        *_listed("evidence of", lineage.evidence, code=True),
    ]
    return _tidy([fact for fact in found if fact.value])


def training_facts(report: Report) -> list[Fact]:
    """What training recorded: seed, data, parameters, metrics with their course."""
    found = report.lineage.training if report.lineage else None
    if not found:
        return []
    shown = [
        Fact("recorded in", found.source),
        *(Fact("note" if not place else "", note) for place, note in enumerate(found.notes)),
        Fact("code", found.commit or "", True),
        Fact("seed", "" if found.seed is None else str(found.seed)),
        Fact("time", " to ".join(time for time in (found.started, found.finished) if time)),
        *(Fact(f"{used.use} data", _used(name, used)) for name, used in found.data.items()),
        *(Fact(name, _course(metric)) for name, metric in list(found.metrics.items())[:_ENTRIES]),
        *_more(len(found.metrics), "metrics"),
        *(Fact(name, _value(value)) for name, value in list(found.parameters.items())[:_ENTRIES]),
        *_more(len(found.parameters), "parameters"),
        *_listed("", found.environment, code=False),
    ]
    return _tidy([fact for fact in shown if fact.value])


def _used(name: str, used: DataUsed) -> str:
    digest = f"sha256 {numbers.digest(used.sha256)}" if used.sha256 else used.digest or ""
    return "  ".join(part for part in (name, used.path if used.path != name else "", digest) if part)


def _course(metric: LoggedMetric) -> str:
    last = "NaN at the end" if metric.value is None else f"{metric.value:.4g}"
    if not metric.log:
        return last
    values = numbers.plural(metric.count, "value")
    broken = f", {metric.nonfinite} of them no number" if metric.nonfinite else ""
    return f"{last} after {values}{broken}  {blocks.spark(_few([value for _, value in metric.log]))}"


def _few(values: list[float]) -> list[float]:
    """Evenly chosen values, as many as fit into a line."""
    n = len(values)
    places = range(n) if n <= _SPARK else [round(i * (n - 1) / (_SPARK - 1)) for i in range(_SPARK)]
    return [values[place] for place in places]


def _value(value: Parameter) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        ", ".join(map(_value, value)) if isinstance(value, list) else "none" if value is None else str(value)
    )


def _more(number: int, what: str) -> list[Fact]:
    return [Fact("", f"and {numbers.count(number - _ENTRIES)} more {what}")] if number > _ENTRIES else []


def _listed(prefix: str, entries: Mapping[str, str], *, code: bool) -> list[Fact]:
    found = [Fact(f"{prefix} {name}".strip(), numbers.digest(value), code) for name, value in entries.items()]
    if len(found) > _ENTRIES:
        found[_ENTRIES:] = [Fact("", f"and {numbers.count(len(entries) - _ENTRIES)} more")]
    return found


def _capped(title: str, values: tuple[str, ...] | list[str], limit: int) -> list[Fact]:
    titles = [title] if len(values) == 1 else [f"{title}s"] + [""] * (len(values) - 1)
    found = [Fact(named, value, True) for named, value in zip(titles, values[:limit], strict=False)]
    if len(values) > limit:
        found.append(Fact("", f"and {numbers.count(len(values) - limit)} more"))
    return found


def _tidy(facts: list[Fact]) -> list[Fact]:
    return [Fact(one_line(fact.title, 60), one_line(fact.value, 200), fact.code) for fact in facts]
