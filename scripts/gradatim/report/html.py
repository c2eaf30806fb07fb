"""The report as one HTML file that needs nothing else: no script, no network, no second file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradatim.errors import needs, printable
from gradatim.files import template_folder
from gradatim.gates.verdict import Verdict
from gradatim.report import facts, load, numbers, overlap, profile, sentences, sizes, verdicts
from gradatim.report.gallery import CURVES, SLICE_PICTURES, draw_all
from gradatim.report.model import Report
from gradatim.report.palette import COLOURS, FONTS, MARKS
from gradatim.report.pictures.confusion import confusion_lead, confusions
from gradatim.report.pictures.gate import draw_gate
from gradatim.report.pictures.slices import SHOWN, weakest_first
from gradatim.report.sentences import GateRow
from gradatim.report.text import one_line
from gradatim.report.words import explained

CAPS = {
    "refused": 8,
    "gates": 100,
    "variants": 40,
    "slices": 300,
    "slice_pictures": SLICE_PICTURES,
    "checks": 25,
    "measurements": 400,
    "warnings": 20,
    "hints": 20,
    "contestants": 20,
}
"""How many of each are shown; what is left out is counted."""


def render_html(report: Report) -> str:
    """The page.

    Raises:
        EnvironmentLacks: jinja2 is not installed.
    """
    with needs("jinja2", "all", "The HTML report"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template_folder("report"), encoding="utf-8"),
        autoescape=True,
        finalize=lambda value: (
            value if hasattr(value, "__html__") or not isinstance(value, str) else printable(value)
        ),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "one_line": one_line,
        "paragraph": sentences.paragraph,
        "words": sentences.words,
        "duration": numbers.duration,
    }
    pictures: dict[str, str] = {name: Markup(drawn) for name, drawn in draw_all(report).items()}  # noqa: S704
    rows = sentences.gate_rows(report)[: CAPS["gates"]]
    alike = [GateRow(gate) for row in rows for gate in row.alike]
    values = {
        "report": report,
        "tones": sentences.TONES,
        "caps": CAPS,
        "pictures": _Absent(pictures),
        "gates": _gates(rows, "gate"),
        "alike": _gates(alike, "alike"),
        "colours": Markup(COLOURS),  # noqa: S704 (our own constants)
        "fonts": Markup(FONTS),  # noqa: S704
        "marks": Markup(MARKS),  # noqa: S704
        "plainly": verdicts.plainly,
        "place": lambda gate: sentences.place_of(gate, report),
        "number_of": numbers.count,
        "sentences": sentences,
        "explained": explained(report),
        "facts": facts,
        "load": load,
        "profile": profile,
        "sizes": sizes,
        "slices_lead": overlap.of_baseline(report),
        **_tables(report, pictures),
    }
    return environment.get_template("report.html.j2").render(values)


class _Absent(dict[str, str]):
    """Pictures by name; empty for one that was not drawn."""

    def __missing__(self, name: str) -> str:
        return ""


def _tables(report: Report, pictures: dict[str, str]) -> dict[str, Any]:
    metrics = list(dict.fromkeys(metric for variant in report.variants for metric in variant.quality))[:3]
    groups = weakest_first(report.slices)
    contestants = report.latency.contestants[: CAPS["contestants"]] if report.latency else ()
    quantiles = sentences.quantiles(report.latency) if report.latency else []
    failed = [check for check in report.checks if check.verdict is not Verdict.PASS]
    return {
        "metrics": metrics,
        "any_latency": any(variant.latency or variant.p50 for variant in report.variants),
        "variants": _variants(report, metrics),
        "quantiles": quantiles,
        "contestants": [
            {
                "name": contestant.name,
                "quantiles": [numbers.seconds(contestant.quantiles.get(name)) for name in quantiles],
                "calls": numbers.count(contestant.calls) if contestant.calls else "",
            }
            for contestant in contestants
        ],
        "slices": [
            {
                "picture": f"slices-{index}",
                "caption": f"{sentences.words(found[0].metric)} by {one_line(found[0].column, 60)}",
                "left_out": len(found) - SHOWN,
            }
            for index, found in enumerate(groups, 1)
        ],
        "slice_rows": _slices(report),
        "slices_before": any(item.baseline is not None for item in report.slices),
        "slices_gated": any(item.threshold is not None for item in report.slices),
        "training": [name for name in pictures if name.startswith("training-")],
        "curves": [name for name in pictures if name.startswith("robustness-")][:CURVES],
        "curves_before": any(p.baseline is not None for curve in report.robustness for p in curve.points),
        "curves_gated": any(curve.threshold is not None for curve in report.robustness),
        "confusion_lead": confusion_lead(report.confusion) if report.confusion else "",
        "confusions": confusions(report.confusion)[:8] if report.confusion else [],
        "checks": sentences.check_groups(report),
        "failed_checks": failed[: CAPS["checks"]],
        "failed_count": len(failed),
        "steps": report.steps,
        "measurements": _measurements(report),
    }


def _gates(rows: Iterable[GateRow], name: str) -> list[dict[str, Any]]:
    from markupsafe import Markup

    shown = []
    for index, row in enumerate(rows, 1):
        gate, form = row.gate, verdicts.gate_format(row.gate)
        shown.append(
            {
                "gate": gate,
                "told": row.told,
                "warns": sentences.warns(gate),
                "picture": Markup(draw_gate(gate, f"{name}-{index}")),  # noqa: S704 (svg.py escapes)
                "value": form(gate.value),
                "interval": form.interval(gate.low, gate.high),
                "detectable": verdicts.detectable_text(gate),
                "n": numbers.count(gate.n) if gate.n else "",
            }
        )
    return shown


def _variants(report: Report, metrics: list[str]) -> list[dict[str, Any]]:
    rows = []
    for variant in sentences.variants_in_order(report)[: CAPS["variants"]]:
        latency = variant.latency
        rows.append(
            {
                "variant": variant,
                "note": sentences.variant_note(variant),
                "quality": [numbers.quality(metric, variant.quality.get(metric)) for metric in metrics],
                "size": numbers.size(variant.size),
                "latency": numbers.change(latency.value) if latency and not variant.baseline else "",
                "p50": numbers.seconds(variant.p50) if variant.p50 is not None else "",
            }
        )
    return rows


def _slices(report: Report) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for found in weakest_first(report.slices):
        form = numbers.number_format(
            [v for s in found for v in (s.value, s.low, s.high)], found[0].unit, found[0].metric
        )
        rows += [
            {
                "metric": one_line(item.metric, 60),
                "slice": one_line(f"{item.column}={item.part}", 80),
                "value": form(item.value),
                "interval": form.interval(item.low, item.high),
                "baseline": form(item.baseline),
                "n": numbers.count(item.n) if item.n else "",
                "verdict": item.verdict,
            }
            for item in found[: CAPS["slices"] - len(rows)]
        ]
    return rows


def _measurements(report: Report) -> list[dict[str, Any]]:
    rows = []
    for item in report.measurements[: CAPS["measurements"]]:
        form = numbers.number_format([item.value, item.low, item.high], item.unit, item.name)
        rows.append(
            {
                "label": one_line(item.label, 80),
                "variant": one_line(item.variant, 60),
                "value": form(item.value) if item.value is not None else one_line(item.reason or "", 80),
                "interval": form.interval(item.low, item.high),
                "n": numbers.count(item.n) if item.n else "",
            }
        )
    return rows
