"""A score on a benchmark of the Hugging Face Hub, as its ``.eval_results`` files tell it [1]_.

.. [1] https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

from typing import Any

from gradatim.report import numbers
from gradatim.report.card import judged_quality
from gradatim.report.model import Report


def render_score(report: Report) -> str:
    """The file; empty where the contract names no benchmark, or its metric could not be measured."""
    import yaml

    scored = report.card.benchmark if report.card else None
    found = next((m for m in judged_quality(report) if scored and m.name == scored.metric), None)
    if scored is None or found is None or found.value is None:
        return ""
    form = numbers.number_format([found.value, found.low, found.high], found.unit, found.name)
    percent = numbers.is_percent(found.name)
    interval = f", 95 % interval {form.interval(found.low, found.high)}" if found.low is not None else ""
    dataset: dict[str, Any] = {"id": scored.dataset, "task_id": scored.task}
    if scored.revision:
        dataset["revision"] = scored.revision
    entry = {
        "dataset": dataset,
        "value": float(f"{found.value * (100 if percent else 1):.6g}"),
        "notes": f"{found.name} of {numbers.plural(found.n, 'sample')}{interval}",
    }
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
