"""The model card: ``model-card.md``, with the front matter that the Hugging Face Hub reads [1]_.

It tells of the bytes, not of a version: promotion gives the same bytes, and the same card, another one. The same report
gives the same text.

.. [1] https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from gradatim.contract.model_formats import FORMATS
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.report import facts, numbers, overlap, sentences
from gradatim.report.markdown import (
    alike_table,
    code,
    escape,
    facts_table,
    gates_table,
    robustness_table,
    slices_table,
)
from gradatim.report.model import Card, DataSet, Report
from gradatim.report.text import table

_PIPELINES = {
    ("classification", "image"): "image-classification",
    ("classification", "text"): "text-classification",
    ("classification", "audio"): "audio-classification",
    ("classification", "tabular"): "tabular-classification",
    ("multilabel_classification", "image"): "image-classification",
    ("multilabel_classification", "text"): "text-classification",
    ("multilabel_classification", "audio"): "audio-classification",
    ("regression", "tabular"): "tabular-regression",
    ("ranking", "text"): "text-ranking",
}
_PIPELINES_OF_TASK = {
    "token_classification": "token-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "forecasting": "time-series-forecasting",
    "embedding": "feature-extraction",
    "language_modelling": "text-generation",
    "generation": "text-generation",
    "translation": "translation",
    "speech_recognition": "automatic-speech-recognition",
}
_TEXT_INPUTS = re.compile(r"^(input_ids|tokens?|text)\b")
_IMAGE = re.compile(r"\[[^\],]+, [134], \d+, \d+\]|\[[^\],]+, \d+, \d+, [134]\]")
_NOTES = 12


def render_card(report: Report) -> str:
    """The card in Markdown, its front matter first."""
    import yaml

    front = yaml.safe_dump(front_matter(report), sort_keys=False, allow_unicode=True, width=120)
    sections = "\n\n".join(filter(None, _sections(report)))
    return f"---\n{front}---\n\n{sections}\n"


def front_matter(report: Report) -> dict[str, Any]:
    """What the Hub reads: licence, tags, library, task, ``model-index``; what is not known is left out."""
    card = report.card or Card()
    known = FORMATS.get(report.inspection.format) if report.inspection else None
    library = known.library if known else None
    pipeline = pipeline_tag(report)
    plain = card.license is not None and " " not in card.license
    licence = {
        "license": card.license.lower() if plain and card.license else "other",
        **({} if plain else {"license_name": card.license}),
    }
    tags = ["gradatim", *([report.inspection.format] if report.inspection else []), *card.tags]
    results = _results(report, card, pipeline)
    return {
        **(licence if card.license else {}),
        **({"library_name": library} if library else {}),
        **({"pipeline_tag": pipeline} if pipeline else {}),
        "tags": list(dict.fromkeys(tags)),
        **({"datasets": [_hub_id(card)]} if _hub_id(card) else {}),
        **({"metrics": [one["type"] for one in results[0]["metrics"]]} if results else {}),
        **({"model-index": [{"name": report.name, "results": results}]} if results else {}),
    }


def pipeline_tag(report: Report) -> str | None:
    """The Hub's name of the task; None where the items could be of several kinds."""
    task = report.task or ""
    return _PIPELINES_OF_TASK.get(task) or _PIPELINES.get((task, _modality(report) or ""))


def judged_quality(report: Report) -> list[Measurement]:
    """The quality of the chosen variant on all of the evaluation data, as its task orders it."""
    chosen = sentences.judged(report)
    measured = {m.name: m for m in report.measurements if m.variant == report.chosen and m.where is None}
    return [measured[name] for name in (chosen.quality if chosen else ()) if name in measured]


def evaluation_data(report: Report) -> DataSet | None:
    """The data that the quality was measured on."""
    return next((data for data in report.data if data.role == "evaluation"), None)


def _modality(report: Report) -> str | None:
    """What the items are: as the contract says, else where the inputs leave no doubt."""
    if report.modality:
        return report.modality
    inputs = report.inspection.inputs if report.inspection else ()
    if any(_TEXT_INPUTS.match(tensor) for tensor in inputs):
        return "text"
    return "image" if len(inputs) == 1 and _IMAGE.search(inputs[0]) else None


def _results(report: Report, card: Card, pipeline: str | None) -> list[dict[str, Any]]:
    data = evaluation_data(report)
    metrics = [_metric(m) for m in judged_quality(report) if m.value is not None]
    if data is None or not metrics:
        return []
    name = PurePosixPath(data.path).stem or data.path
    return [
        {
            "task": {
                "type": pipeline or (report.task or "").replace("_", "-"),
                "name": sentences.words(report.task or ""),
            },
            "dataset": {
                "type": _hub_id(card) or name,
                "name": _hub_id(card) or f"{report.name} {name}",
                **({"args": {"sha256": data.sha256}} if data.sha256 else {}),
            },
            "metrics": metrics,
        }
    ]


def _hub_id(card: Card) -> str | None:
    return card.dataset or (card.benchmark.dataset if card.benchmark else None)


def _metric(measurement: Measurement) -> dict[str, Any]:
    args: dict[str, Any] = {"samples": measurement.n} if measurement.n else {}
    if measurement.low is not None and measurement.high is not None:
        args |= {"confidence": 0.95, "low": _rounded(measurement.low), "high": _rounded(measurement.high)}
    return {
        "type": measurement.name,
        "value": _rounded(measurement.value or 0.0),
        "name": sentences.words(measurement.name),
        **({"args": args} if args else {}),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _sections(report: Report) -> Iterator[str]:
    card = report.card or Card()
    yield f"# {escape(report.name, 120)}"
    yield escape(card.description, 4000) if card.description else ""
    yield _judged(report)
    yield f"## Intended use\n\n{escape(card.intended_use, 4000)}" if card.intended_use else ""
    yield _titled("What it is", facts_table(facts.model_facts(report)))
    yield _titled("Quality", _quality(report))
    yield _titled("Gates", gates_table(report))
    yield alike_table(report)
    yield _titled("Slices", slices_table(report))
    yield _titled("Robustness", robustness_table(report))
    yield _titled("Limits", _limits(report, card))
    yield _titled("Training", facts_table(facts.training_facts(report)))
    yield _titled("Verify", _verify(report))


def _titled(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _judged(report: Report) -> str:
    passed = report.verdict is Verdict.PASS
    beside = f", beside {escape(report.baseline)}, which it would replace" if report.baseline else ""
    said = (
        f"Proven by [gradatim](https://pypi.org/project/gradatim/){beside}: {sentences.tally(report)}."
        if passed
        else f"**Not released: {report.verdict.value}.** {sentences.tally(report)}{beside}."
    )
    data = evaluation_data(report)
    if data is None:
        return said
    rows = f", {numbers.plural(data.rows, 'sample')}" if data.rows is not None else ""
    digest = f", sha256 {code(data.sha256)}" if data.sha256 else ""
    return f"{said} Judged on {code(data.path)}{rows}{digest}."


def _quality(report: Report) -> str:
    baseline = sentences.replaced(report)
    before = baseline.quality if baseline else {}
    rows = []
    for found in judged_quality(report):
        form = numbers.number_format([found.value, found.low, found.high], found.unit, found.name)
        was = before.get(found.name)
        rows.append(
            [
                escape(sentences.words(found.name), 60),
                form(found.value),
                form.interval(found.low, found.high),
                form(was) if was is not None else "",
                numbers.count(found.n) if found.n else "",
            ]
        )
    shown = table(["metric", "value", "95 % interval", "baseline", "n"], rows, "lrlrr") if rows else ""
    return f"{shown}\n\n{escape(overlap.told(report))}".strip()


def _limits(report: Report, card: Card) -> str:
    doubts = [gate.text for gate in sentences.doubts(report)]
    said = [*card.limitations, *report.warnings, *doubts]
    lines = [f"- {escape(text, 600)}" for text in said[:_NOTES]]
    if len(said) > _NOTES:
        lines.append(f"- and {numbers.count(len(said) - _NOTES)} more in the report")
    if report.budget:
        lines.append(f"- {escape(report.budget, 600)}")
    data = evaluation_data(report)
    if data is not None:
        lines.append("- The numbers hold for data like the evaluation data, and say nothing of other data.")
    return "\n".join(lines)


def _verify(report: Report) -> str:
    manifest = report.lineage.manifest if report.lineage else None
    if manifest is None:
        return ""
    return (
        f"The release is these bytes and no others; its manifest has the sha256 {code(manifest)}.\n\n"
        "```sh\n"
        "gradatim verify VERSION    # in the repository that it was released from: tag, evidence, every byte\n"
        "gradatim verify FOLDER/    # a published folder by its own files, offline\n"
        "```\n\n"
        "`manifest.json` lists each file of the model, `evidence.intoto.jsonl` what every step found, and `ml-bom.cdx.json` what it is made of (CycloneDX)."
    )
