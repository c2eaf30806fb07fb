"""All renderings of one report, as files."""

from __future__ import annotations

from pathlib import Path

from gradatim.evidence.release_record import BOM_FILE, CARD_FILE, SCORE_FILE
from gradatim.files import write_json, write_text
from gradatim.gates.verdict import Verdict
from gradatim.report.bom import render_bom
from gradatim.report.card import render_card
from gradatim.report.html import render_html
from gradatim.report.hub_score import render_score
from gradatim.report.junit import render_junit
from gradatim.report.markdown import render_markdown
from gradatim.report.model import Report


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write ``report.html``, ``summary.md``, ``report.json`` and ``junit/gates.xml`` below a folder."""
    html, markdown, data, junit = (
        folder / name for name in ("report.html", "summary.md", "report.json", "junit/gates.xml")
    )
    write_text(html, render_html(report))
    write_text(markdown, render_markdown(report))
    write_json(data, report.to_json())
    write_text(junit, render_junit(report))
    return [html, markdown, data, junit]


def write_documents(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write what a release says of itself: model card, ML-BOM, and a score for the Hub; of a refused candidate nothing."""
    texts = {CARD_FILE: render_card, BOM_FILE: render_bom, SCORE_FILE: render_score}
    written = []
    for name, render in texts.items():
        text = render(report) if report.verdict is Verdict.PASS else ""
        if text:
            write_text(folder / name, text)
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return tuple(written)
