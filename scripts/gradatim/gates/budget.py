"""One statement about how often the gates of a run may be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradatim.gates.reuse import Reuse
from gradatim.gates.rule import Rule

_CERTAIN = ("size", "parameters", "memory", "energy")


@dataclass(frozen=True)
class ErrorBudget:
    """How often a run may be wrong, over all its gates.

    Attributes:
        release: at most how likely a candidate that truly breaks a gate is released. Every gate must pass, so
            it is the largest single alpha, not their sum (intersection-union).
        any_wrong_pass: at most how likely any gate at all passes wrongly, whichever are broken: the sum.
        false_veto: at most how likely an unchanged candidate is vetoed, over all vetoes together (Holm).
        gates: how many rules rest on samples and so can err.
        text: this, for a reader.
    """

    release: float
    any_wrong_pass: float
    false_veto: float
    gates: int
    text: str


def error_budget(rules: Iterable[Rule], reuse: Reuse | None = None) -> ErrorBudget:
    """Sum up the error probabilities of a run's rules."""
    proving: list[float] = []
    vetoing: list[float] = []
    for rule in rules:
        if rule.metric in _CERTAIN:
            continue
        alpha = rule.alpha if reuse is None else min(rule.alpha, reuse.alpha)
        (vetoing if rule.family == "veto" else proving).append(alpha)
    release, total, veto = max(proving, default=0.0), min(1.0, sum(proving)), max(vetoing, default=0.0)
    parts = []
    if proving:
        parts.append(
            f"A candidate that truly breaks one of the {len(proving)} proving gates is released with a "
            "chance of at most "
            f"{100 * release:.3g} %, because every gate must pass; that any of them passes wrongly has at "
            "most "
            f"{100 * total:.3g} %."
        )
    if vetoing:
        parts.append(
            f"The vetoes together stop a candidate without any regression in at most {100 * veto:.3g} % of "
            "runs."
        )
    if reuse is not None:
        parts.append(
            f"The test set is in use for the {reuse.charge.number}. time of {reuse.evaluations} planned; "
            "over all of "
            f"them the chance of a wrong pass stays below {100 * reuse.delta:.3g} %."
        )
    if not parts:
        parts.append("No gate of this run rests on samples, so none can err by chance.")
    return ErrorBudget(release, total, veto, len(proving) + len(vetoing), " ".join(parts))
