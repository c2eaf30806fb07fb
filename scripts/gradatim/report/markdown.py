"""The summary of a pull request: the verdict first, no click needed to know why.

GitHub strips inline SVG and data URIs from markdown, so pictures are made of characters here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gradatim.gates.verdict import Verdict
from gradatim.report import blocks, facts, load, numbers, overlap, profile, sentences, sizes, verdicts
from gradatim.report.model import Report, Slice
from gradatim.report.pictures.confusion import confusions
from gradatim.report.pictures.robustness import common_extent
from gradatim.report.pictures.slices import weakest_first
from gradatim.report.scale import extent
from gradatim.report.sentences import GateRow
from gradatim.report.text import one_line, table

STEP_SUMMARY_LIMIT = 1024 * 1024
"""Bytes that GitHub takes as a step summary."""

COMMENT_LIMIT = 65_536
"""Characters that GitHub takes as a comment; bytes are never fewer."""

ICONS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔", Verdict.INVALID: "⛔"}

_REFUSED, _GATES, _VARIANTS, _SLICES, _CURVES, _CHECKS, _NOTES = 10, 100, 30, 60, 30, 20, 10
_RESERVE = 200

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def render_markdown(report: Report, limit: int = STEP_SUMMARY_LIMIT) -> str:
    """GitHub-flavoured markdown.

    Args:
        report: what to say.
        limit: bytes that the result may have; a block that no longer fits is left
            out, and the end says so.
    """
    sections = (
        _opening(report),
        _notices(report),
        _refusals(report),
        _gates(report),
        _variants(report),
        _latency(report),
        _loads(report),
        _folded("Dearest operators", _operators(report)),
        alike_table(report),
        _folded("Slices", slices_table(report)),
        _folded("Answers that flipped", flipped_table(report)),
        _folded("What flipped answers hang on", explanation_table(report)),
        _folded("Robustness", robustness_table(report)),
        _folded(
            "Confusion",
            _list(escape(text) for text in confusions(report.confusion)[:_NOTES]) if report.confusion else "",
        ),
        _folded("Checks", _checks(report)),
        _folded("Steps", _steps(report)),
        _folded("Model and lineage", facts_table([*facts.model_facts(report), *facts.lineage_facts(report)])),
        _folded("Training", facts_table(facts.training_facts(report))),
    )
    written, size, left_out = [], 0, 0
    for section in filter(None, sections):
        length = len(section.encode()) + 2
        if size + length > limit - _RESERVE:
            left_out += 1
            continue
        written.append(section)
        size += length
    if left_out:
        written.append(
            f"_{numbers.plural(left_out, 'section')} left out for length: the HTML report has everything._"
        )
    return "\n\n".join(written) + "\n"


def escape(text: str, limit: int = 300) -> str:
    """Foreign text on one line that markdown, HTML and GitHub's mentions leave alone."""
    line = one_line(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line).replace("@", "@\N{ZERO WIDTH SPACE}")


def code(text: str, limit: int = 80) -> str:
    """A name as code, whatever it holds."""
    line = one_line(text, limit)
    if not line:
        return ""
    if any(letter in line for letter in "`|<>&\\@"):
        return f"<code>{''.join(c if c.isalnum() or c in ' .-=' else f'&#{ord(c)};' for c in line)}</code>"
    return f"`{line}`"


def _opening(report: Report) -> str:
    lines = [f"## {ICONS[report.verdict]} {escape(sentences.headline(report))}"]
    outcome = sentences.summary(report) if report.gates else sentences.consequence(report)
    said = " · ".join(f"{fact.title} **{escape(fact.value)}**" for fact in facts.meta(report))
    if outcome:
        lines.append(escape(outcome, 1000))
    if said:
        lines.append(said)
    figures = sentences.key_figures(report)
    if figures:
        lines.append(
            table(
                [figure.title for figure in figures],
                [
                    [
                        f"**{figure.value}**" + (f"<br>{figure.note}" if figure.note else "")
                        for figure in figures
                    ]
                ],
                "c" * len(figures),
            )
        )
    return "\n\n".join(lines)


def _notices(report: Report) -> str:
    notes = [f"> {escape(text)}" for text in report.warnings[:_NOTES]]
    if not notes:
        return ""
    more = len(report.warnings) - _NOTES
    return (
        "> [!WARNING]\n"
        + "\n>\n".join(notes)
        + (f"\n>\n> and {numbers.count(more)} more" if more > 0 else "")
    )


def _refusals(report: Report) -> str:
    refused = sentences.refusals(report)
    if not refused:
        return ""
    parts = ["### Refused"]
    for gate in refused[:_REFUSED]:
        place = sentences.place_of(gate, report)
        lines = [escape(line, 400) for line in sentences.paragraph(gate.text).splitlines()]
        if gate is not refused[0] and (plain := verdicts.plainly(gate)):
            lines.insert(0, escape(plain, 400))
        where = f" · {code(place)}" if place else ""
        parts.append(f"{ICONS[gate.verdict]} **{code(gate.gate)}**{where}  \n" + "  \n".join(lines))
    if len(refused) > _REFUSED:
        parts.append(
            f"and {numbers.plural(len(refused) - _REFUSED, 'more refused gate')}, in the table below."
        )
    return "\n\n".join(parts)


def _gates(report: Report) -> str:
    if not report.gates:
        return escape(report.budget, 1000) if report.budget else ""
    parts = [f"### Gates: {sentences.tally(report)}", gates_table(report)]
    if report.budget:
        parts.append(escape(report.budget, 1000))
    return "\n\n".join(parts)


def gates_table(report: Report) -> str:
    """Every gate with its verdict, value, interval and bound, the most urgent first; rows that say the same are folded."""
    if not report.gates:
        return ""
    rows = sentences.gate_rows(report)
    shown = rows[:_GATES]
    left_out = len(rows) - len(shown)
    return _gate_rows(shown) + _more(left_out, "gates")


def alike_table(report: Report) -> str:
    """The gates that a row of ``gates_table`` stands for, folded; empty without."""
    alike = [GateRow(gate) for row in sentences.gate_rows(report)[:_GATES] for gate in row.alike]
    title = f"{numbers.plural(len(alike), 'gate')} like those shown"
    return _folded(title, _gate_rows(alike)) if alike else ""


def _gate_rows(rows: Iterable[GateRow]) -> str:
    return table(
        ["", "gate", "value", "interval", "wanted", "detectable", "n"], [*map(_gate_row, rows)], "llrllrr"
    )


def _gate_row(row: GateRow) -> list[str]:
    gate = row.gate
    form = verdicts.gate_format(gate)
    warns = " (only warns here)" if sentences.warns(gate) else ""
    return [
        f"{ICONS[gate.verdict]} {gate.verdict.value}{warns}",
        code(gate.gate) + (f"<br>{escape(row.told)}" if row.told else ""),
        form(gate.value),
        form.interval(gate.low, gate.high),
        escape(gate.wanted, 120),
        verdicts.detectable_text(gate),
        numbers.count(gate.n) if gate.n else "",
    ]


def _variants(report: Report) -> str:
    shown = sentences.variants_in_order(report)[:_VARIANTS]
    if not shown:
        return ""
    metrics = list(dict.fromkeys(metric for variant in shown for metric in variant.quality))[:2]
    largest = max((variant.size or 0 for variant in shown), default=0) or 1
    slowest = max((variant.latency.value for variant in shown if variant.latency), default=0.0) or 1.0
    rows = []
    for variant in shown:
        latency = variant.latency
        name = code(variant.name)
        rows.append(
            [
                f"**{name}**" if variant.chosen else name,
                *(numbers.quality(metric, variant.quality.get(metric)) for metric in metrics),
                numbers.size(variant.size),
                blocks.bar((variant.size or 0) / largest),
                (numbers.change(latency.value) if not variant.baseline else "") if latency else "",
                blocks.bar(latency.value / slowest) if latency else "",
                escape(sentences.variant_note(variant), 120),
            ]
        )
    head = [
        "variant",
        *(escape(sentences.words(metric), 40) for metric in metrics),
        "size",
        "",
        "time per call",
        "",
        "",
    ]
    shown_variants = table(head, rows, "l" + "r" * len(metrics) + "rlrll")
    return "\n\n".join(
        [
            "### Variants",
            escape(sentences.variants_lead(report)),
            shown_variants + _more(len(report.variants) - len(shown), "variants"),
        ]
    )


def _latency(report: Report) -> str:
    latency = report.latency
    if not latency:
        return ""
    parts = ["### Latency", escape(sentences.latency_lead(report))]
    if picture := _latency_picture(report):
        parts.append(f"```text\n{picture}\n```")
    if quantiles := sentences.quantiles(latency):
        rows = [
            [code(c.name), *(numbers.seconds(c.quantiles.get(name)) for name in quantiles)]
            for c in latency.contestants[:20]
        ]
        head = ["contestant", *(escape(name, 20) for name in quantiles)]
        parts.append(table(head, rows, "l" + "r" * len(quantiles)))
    if latency.sizes:
        parts.append(table(sizes.HEAD, [sizes.cells(row) for row in latency.sizes], sizes.ALIGNMENT))
    return "\n\n".join(filter(None, parts))


def _loads(report: Report) -> str:
    parts = ["### Load"] if report.loads else []
    for one in report.loads[:20]:
        parts.append(f"{code(one.name)}, {escape(one.where)}: {escape(one.told, 600)}")
        parts.append(
            table(load.HEAD, [load.cells(row) for row in one.runs], load.ALIGNMENT) if one.runs else ""
        )
    return "\n\n".join(filter(None, parts))


def _operators(report: Report) -> str:
    seen = report.profile
    if seen is None:
        return ""
    rows = [[code(one.name), *profile.cells(one)[1:]] for one in seen.operators]
    return f"{escape(profile.told(seen))}\n\n{table(profile.HEAD, rows, profile.ALIGNMENT)}"


def _latency_picture(report: Report) -> str:
    """Every timed variant as a whisker beside the baseline, and the rounds as blocks."""
    timed = [
        (v.name, v.latency) for v in sentences.variants_in_order(report) if v.latency and not v.baseline
    ][:12]
    if not timed and report.latency and report.latency.ratio:
        timed = [(report.chosen or "candidate", report.latency.ratio)]
    if not timed:
        return ""
    span = extent(
        [1.0, *(end for _, latency in timed for end in (latency.value, latency.low, latency.high))], 0.04
    )
    names = [_plain(name) for name, _ in timed]
    wide = max(map(len, names))
    lines = [
        f"{name:<{wide}}  {blocks.whisker(r.value, r.low, r.high, span, 1.0, 48)}  {numbers.change(r.value):>8}"
        for name, (_, r) in zip(names, timed, strict=True)
    ]
    lines.append(f"{'':<{wide}}  {_caption(span)}")
    if report.latency and report.latency.rounds:
        lines.append(f"\n{'rounds':<{wide}}  {blocks.spark(report.latency.rounds[:48])}")
    return "\n".join(lines)


def _caption(span: tuple[float, float]) -> str:
    at = round((1.0 - span[0]) / (span[1] - span[0]) * 47)
    word = "┆ baseline"
    return " " * at + word if at + len(word) <= 48 else "baseline ┆".rjust(at + 1)


def slices_table(report: Report) -> str:
    """Metrics on parts of the data, the weakest first."""
    parts = [escape(overlap.of_baseline(report))] if report.slices and report.overlap else []
    room = _SLICES
    for found in weakest_first(report.slices):
        shown = found[: max(room, 0)]
        room -= len(shown)
        if not shown:
            break
        form = numbers.number_format(
            [v for s in shown for v in (s.value, s.low, s.high)], shown[0].unit, shown[0].metric
        )
        span = extent([v for s in shown for v in (s.value, s.low, s.high, s.threshold)], 0.0)
        rows = [
            [
                ICONS[item.verdict] if item.verdict else "",
                code(item.part, 60),
                form(item.value),
                form.interval(item.low, item.high),
                _small_whisker(item, span),
                form(item.baseline) if item.baseline is not None else "",
                numbers.count(item.n) if item.n else "",
            ]
            for item in shown
        ]
        metric = escape(sentences.words(shown[0].metric))
        title = f"**{metric} by {escape(shown[0].column, 60)}**, the weakest first"
        rows_shown = table(["", "slice", "value", "interval", "", "baseline", "n"], rows, "llrllrr")
        parts += [title, rows_shown + _more(len(found) - len(shown), "slices")]
    if report.hints:
        parts += ["Worth a look, though never gated:", _list(escape(text) for text in report.hints[:_NOTES])]
    return "\n\n".join(parts)


def flipped_table(report: Report) -> str:
    """Prompts that one of the two answers rightly, with both answers."""
    rows = []
    for one in report.flipped:
        said = [escape(text, 300) for text in (one.prompt, one.reference, one.before, one.after)]
        rows.append([*said, "wrong" if one.lost else "right"])
    columns = ["prompt", "right", escape(report.baseline or "baseline"), "candidate", "now"]
    return table(columns, rows, "lllll") if rows else ""


def explanation_table(report: Report) -> str:
    """Rows that flipped, with the parts that add most to either model's score."""
    if (found := report.explanation) is None or not found.flips:
        return ""
    shown = [(str(flip.row), flip.label, flip.before, flip.after, flip.told) for flip in found.flips]
    rows = [[escape(text, 300) for text in said] for said in shown]
    columns = [
        "row",
        "right",
        escape(report.baseline or "baseline"),
        "candidate",
        "adds to its score (before)",
    ]
    return f"{table(columns, rows, 'lllll')}\n\n{escape(found.told, 800)}"


def _small_whisker(item: Slice, span: tuple[float, float]) -> str:
    drawn = blocks.whisker(item.value, item.low, item.high, span, item.threshold, 24)
    return f"`{drawn}`".replace(" ", numbers.SPACE)  # markdown would trim plain spaces at the ends


def robustness_table(report: Report) -> str:
    """Metrics under each corruption, from clean to worst."""
    curves = [curve for curve in report.robustness if curve.points][:_CURVES]
    if not curves:
        return ""
    low, high = common_extent(curves)
    rows = []
    for curve in curves:
        points = sorted(curve.points, key=lambda p: p.severity)
        values = [p.candidate for p in points]
        before = [p.baseline for p in points if p.baseline is not None]
        form = numbers.number_format(values, curve.unit, curve.metric)
        rows.append(
            [
                code(curve.corruption),
                escape(curve.metric, 40),
                f"`{blocks.spark(values, low, high)}`",
                f"{form(values[0])} → {form(values[-1])}",
                f"`{blocks.spark(before, low, high)}`" if before else "",
                f"{form(before[0])} → {form(before[-1])}" if before else "",
            ]
        )
    head = ["corruption", "metric", "", "candidate, clean → worst", "", "baseline, clean → worst"]
    shown = table(head, rows, "lllrlr") + _more(len(report.robustness) - len(curves), "corruptions")
    lead = f"{overlap.of_baseline(report)} {sentences.losses(report)}".strip()
    return f"{escape(lead, 800)}\n\n{shown}".strip()


def _checks(report: Report) -> str:
    if not report.checks:
        return ""
    rows = [
        [f"{ICONS[g.verdict]} {g.verdict.value}", escape(g.group), g.passed]
        for g in sentences.check_groups(report)
    ]
    parts = [table(["", "kind", "passed"], rows, "llr")]
    failed = [check for check in report.checks if check.verdict is not Verdict.PASS]
    if failed:
        shown = (f"{ICONS[c.verdict]} {code(c.name, 120)} {escape(c.detail)}" for c in failed[:_CHECKS])
        parts.append(_list(shown) + _more(len(failed) - _CHECKS, "checks"))
    return "\n\n".join(parts)


def _steps(report: Report) -> str:
    rows = [
        [
            f"{ICONS[step.verdict]} {step.verdict.value}" if step.verdict else escape(step.status, 40),
            code(step.name),
            escape(step.summary, 200),
            numbers.duration(step.seconds) if step.seconds is not None else "",
        ]
        for step in report.steps[:50]
    ]
    return table(["", "step", "what it found", "time"], rows, "lllr") if rows else ""


def facts_table(found: Sequence[facts.Fact]) -> str:
    """Titled lines."""
    rows = [
        [escape(fact.title), code(fact.value, 200) if fact.code else escape(fact.value)] for fact in found
    ]
    return table(["", ""], rows, "ll") if rows else ""


def _plain(name: str) -> str:
    return one_line(name, 24).replace("`", "'")


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _more(number: int, what: str) -> str:
    return f"\n\nand {numbers.count(number)} more {what}" if number > 0 else ""
