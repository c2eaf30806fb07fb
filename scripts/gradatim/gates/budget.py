"""One statement about how often the gates of a run may be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradatim.gates.reuse import Reuse
from gradatim.gates.rule import Rule
from gradatim.metrics.catalogue import TIMINGS

_CERTAIN = ("size", "parameters", "memory")


@dataclass(frozen=True)
class ErrorBudget:
    """How often a run may be wrong, over all its gates.

    Attributes:
        release: at most how likely a candidate that truly breaks a gate is released. Every gate must pass, so it is the
            largest single alpha, not their sum (intersection-union), and the forms of a candidate share it (Holm).
        false_fail: at most how likely any gate is refused as proven that holds its bound, over all gates together (Holm).
        any_wrong_pass: at most how likely any gate at all passes wrongly, whichever are broken: the sum.
        false_veto: at most how likely an unchanged candidate is vetoed, over all vetoes together (Holm).
        gates: how many rules rest on samples and so can err.
        text: this, for a reader.
    """

    release: float
    false_fail: float
    any_wrong_pass: float
    false_veto: float
    gates: int
    text: str


def error_budget(rules: Iterable[Rule], reuse: Reuse | None = None, *, forms: int = 1) -> ErrorBudget:
    """Sum up the error probabilities of a run's rules.

    Args:
        rules: the contract's and the stage's gates.
        reuse: the test set's ledger entry; None when its use is not budgeted.
        forms: from how many forms of the candidate one was chosen.
    """
    proving: list[float] = []
    vetoing: list[float] = []
    for rule in rules:
        if rule.metric in _CERTAIN:
            continue
        timed = rule.metric.startswith(TIMINGS)
        alpha = rule.alpha if reuse is None or timed else min(rule.alpha, reuse.alpha)
        (vetoing if rule.family == "veto" else proving).append(alpha)
    release = max(proving, default=0.0)
    total = min(1.0, sum(proving))
    veto = max(vetoing, default=0.0)
    parts = []
    if proving:
        tried = "" if forms == 1 else f", its {forms} forms together"
        parts.append(
            f"How often this may be wrong: a candidate that truly breaks {_rules(len(proving))} on samples or timings is released in at most {_percent(release)} of such cases{tried}."
        )
        if len(proving) > 1:
            parts.append(
                f"At least one of the {len(proving)} passes by luck in at most {_percent(total)}, but all must pass."
            )
        parts.append(
            f"A gate that holds its bound FAILs in at most {_percent(release)} of runs, all gates together."
        )
    if vetoing:
        parts.append(
            f"The vetoes together stop a candidate without any regression in at most {_percent(veto)} of runs."
        )
    if reuse is not None:
        parts.append(_used(reuse))
    if not parts:
        parts.append("No gate of this run rests on samples, so none can err by chance.")
    return ErrorBudget(release, release, total, veto, len(proving) + len(vetoing), " ".join(parts))


def _used(reuse: Reuse) -> str:
    if reuse.refusal is not None:
        return reuse.refusal
    assert reuse.charge is not None  # noqa: S101 (else it had been refused)
    return f"This is candidate {reuse.charge.number} of the {reuse.evaluations} that the test set is planned for; over all of them a wrong release stays below {_percent(reuse.delta)}."


def _rules(n: int) -> str:
    return "the one rule" if n == 1 else f"one of the {n} rules"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
