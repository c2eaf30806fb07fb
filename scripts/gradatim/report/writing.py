"""All renderings of one report, as files."""

from __future__ import annotations

from pathlib import Path

from gradatim.candidate.workspace import Workspace
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
from gradatim.report.openmetrics import render_metrics


def write_report(report: Report, workspace: Workspace) -> Path:
    """Write ``report.html``, ``summary.md``, ``report.json``, ``junit/gates.xml`` and ``metrics.txt``; gives the first."""
    write_text(workspace.report, render_html(report))
    write_text(workspace.report_summary, render_markdown(report))
    write_json(workspace.report_data, report.to_json())
    write_text(workspace.gate_results, render_junit(report))
    write_text(workspace.metrics, render_metrics(report))
    return workspace.report


def write_documents(report: Report, workspace: Workspace) -> tuple[Path, ...]:
    """Write what a release says of itself: model card, ML-BOM, and a score for the Hub; of a refused candidate nothing."""
    texts = {CARD_FILE: render_card, BOM_FILE: render_bom, SCORE_FILE: render_score}
    written = []
    for name, render in texts.items():
        text = render(report) if report.verdict is Verdict.PASS else ""
        path = workspace.document(name)
        if text:
            write_text(path, text)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return tuple(written)
