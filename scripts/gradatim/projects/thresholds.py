"""Gates for a first contract: bounds that this much data can prove, and that the model at hand may meet."""

from __future__ import annotations

import math
from typing import Any

from gradatim.projects.facts import DataFacts
from gradatim.projects.reading import Reading

_MARGINS = (0.01, 0.02, 0.03, 0.05, 0.1)
_RECALLS = (0.95, 0.9, 0.85, 0.8, 0.7)
_MISSED = 0.05
"""What a model that could not be counted may miss."""

_MEGABYTE = 1_000_000

_MINUTES = 2
_ITEMS = 2000
"""As the contract has it where it says nothing."""


def gates_for(
    reading: Reading | None, facts: DataFacts | None, size: int | None
) -> dict[str, dict[str, Any]]:
    """Gates by name, in the contract's words; a bound that no sample of this size could prove helps nobody."""
    gates: dict[str, dict[str, Any]] = {}
    if reading is not None and facts is not None:
        gates |= gates_on_answers(reading, facts)
        gates["latency_floor"] = {"not_slower_than": "baseline", "by": "5%"}
    if size:
        gates["size"] = {"at_most": _roomy(size)}
    return gates


def items_in_time(seconds: float, corruptions: int) -> int | None:
    """Items for the corruptions so that they take about two minutes; None where as many as usual do.

    Args:
        seconds: that the model takes for one item.
        corruptions: how many are run, at five severities each, besides the items as they are.
    """
    from gradatim.perturb.catalogue import SEVERITIES

    calls = 1 + len(SEVERITIES) * corruptions
    most = int(60 * _MINUTES / max(seconds * calls, 1e-9))
    return None if most >= _ITEMS or not corruptions else max(20, most // 10 * 10)


def gates_on_answers(reading: Reading, facts: DataFacts) -> dict[str, dict[str, Any]]:
    """Those on how good the answers are; empty where there are too few rows for any margin worth the name."""
    kind = reading.task.type
    margin = _provable_margin(facts.units if kind == "ranking" else facts.rows)
    if kind == "classification" and margin:
        gates: dict[str, dict[str, Any]] = {"accuracy": {"not_worse_than": "baseline", "by": margin}}
        every_class_is_there = facts.classes >= max(reading.classes, len(reading.task.labels))
        if every_class_is_there and (recall := _provable_recall(facts.fewest, reading.right)):
            gates["recall"] = {"at_least": recall, "slices": "every class"}
        return {**gates, "negative_flips": {"at_most": _percent(2 * float(margin.rstrip("%")) / 100)}}
    if kind == "generation" and margin:
        return {reading.task.scorers[0]: {"not_worse_than": "baseline", "by": margin}}
    if kind == "token_classification" and margin:
        tags = [str(tag) for tag in reading.task.labels]
        entities = not tags or any(tag.partition("-")[0] == "B" for tag in tags)  # which `f1` counts
        return {"f1" if entities else "accuracy": {"not_worse_than": "baseline", "by": margin}}
    if kind == "multilabel_classification" and margin:
        return {"f1_micro": {"not_worse_than": "baseline", "by": margin}}
    if kind == "detection" and margin:
        return {"map_50": {"not_worse_than": "baseline", "by": margin}}
    if kind == "segmentation" and margin:
        return {"miou": {"not_worse_than": "baseline", "by": margin}}
    if kind == "forecasting":
        return {"mase" if reading.task.history else "smape": {"not_worse_than": "baseline", "by": "3%"}}
    if kind == "ranking" and margin:
        return {"ndcg_at_10": {"not_worse_than": "baseline", "by": margin}}
    if kind == "regression":
        return {"mae": {"not_worse_than": "baseline", "by": "3%"}}
    if kind == "embedding":
        return {"cosine": {"at_least": "95%"}}
    if kind == "language_modelling":
        return {"perplexity": {"not_worse_than": "baseline", "by": "1%"}}
    return {}


def _provable_margin(rows: int) -> str | None:
    from gradatim.gates.planning import DISCORDANCE, least_not_worse, samples_not_worse

    likely = next((m for m in _MARGINS if rows >= samples_not_worse(m, DISCORDANCE, 0.05)), None)
    margin = likely or next((m for m in reversed(_MARGINS) if rows >= least_not_worse(m)), None)
    return None if margin is None else _percent(margin)


def _provable_recall(fewest: int, right: float | None) -> str | None:
    """The highest bound that still forgives a miss or two in the rarest class, and twice what the model misses on average."""
    from gradatim.gates.exact import forgiven

    misses = 2 + math.ceil(2 * (_MISSED if right is None else 1 - right) * fewest)
    found = next((r for r in _RECALLS if (forgiven(fewest, r) or 0) >= misses), None)
    return None if found is None else _percent(found)


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


def _roomy(size: int) -> str:
    """A round bound with room for a quarter more: 10 kB steps below a megabyte, 1 MB steps above."""
    wanted = size * 1.25
    if wanted < _MEGABYTE:
        return f"{max(1, -(-int(wanted) // 10_000)) * 10} kB"
    return f"{-(-int(wanted) // _MEGABYTE)} MB"
