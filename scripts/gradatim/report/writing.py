"""All renderings of one report, as files."""

from __future__ import annotations

from pathlib import Path

from gradatim.evidence.release_record import CARD_FILE
from gradatim.files import write_json, write_text
from gradatim.gates.verdict import Verdict
from gradatim.report.bom import BOM_FILE, render_bom
from gradatim.report.card import render_card
from gradatim.report.html import render_html
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
    """Write what a release says of itself, ``model-card.md`` and ``ml-bom.cdx.json``; of a refused candidate nothing."""
    card, bom = folder / CARD_FILE, folder / BOM_FILE
    if report.verdict is not Verdict.PASS:
        for path in (card, bom):
            path.unlink(missing_ok=True)
        return ()
    write_text(card, render_card(report))
    write_text(bom, render_bom(report))
    return card, bom
