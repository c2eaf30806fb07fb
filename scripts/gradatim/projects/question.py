"""The one question that a first contract may hold, where what was seen does not decide."""

from __future__ import annotations

from typing import Any

from gradatim.projects.choosing import Choice
from gradatim.projects.functions import FoundFunction, metrics_among
from gradatim.projects.reading import Reading
from gradatim.projects.text import flow
from gradatim.projects.trial import Tryout

_MOST_METRICS = 3


def question(
    readings: list[Reading], choice: Choice, functions: tuple[FoundFunction, ...], trial: Tryout
) -> str | None:
    """One line with both answers, where what was seen does not decide between them."""
    if not readings or readings[0].sure:
        return None
    taken = readings[0].task.type
    if len(readings) > 1:
        other = readings[1].task.type
        return (
            f"{taken} or {other}? Taken: {taken}, since {readings[0].why}. "
            f"If it is the other: gradatim init --force --task {other}"
        )
    task: dict[str, Any] = {"type": taken}
    if readings[0].task.output:
        task["output"] = readings[0].task.output
    metric = _metric(task, choice, functions, trial)
    instead = {**task, "metrics": {"score": metric or "scoring:score"}}
    written = "" if metric else " with scoring.py: def score(labels, predictions) -> float, and"
    return (
        f"{taken} or a metric of your own? Taken: {taken}, which holds the answers against the last release's, since no "
        f"output fits the labels. If it is the other:{written} task: {flow(instead)}"
    )


def _metric(
    task: dict[str, Any], choice: Choice, functions: tuple[FoundFunction, ...], trial: Tryout
) -> str | None:
    """A function of the user's that can judge the answers: it is tried."""
    for function in metrics_among(functions)[:_MOST_METRICS]:
        text = choice.text({**task, "metrics": {"score": function.reference}})
        if not trial.rehearse(text):
            return function.reference
    return None
