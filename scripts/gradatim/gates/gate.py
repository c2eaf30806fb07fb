"""A rule spelled out for one slice, and the result it turns into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradatim.errors import InvalidInput
from gradatim.gates import wording
from gradatim.gates.case import Case
from gradatim.gates.rule import Rule
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import Metric
from gradatim.metrics.evaluation import CLASS


@dataclass(frozen=True)
class Gate:
    """One rule at one place.

    Attributes:
        rule: as stated.
        where: the slice, class or corruption.
        meaning: what the rule's metric means.
        variant: whom it judges.
        alpha: one-sided error probability, the test set's re-use and the choice among forms counted in.
        veto: it only looks for a proven regression.
    """

    rule: Rule
    where: str | None
    meaning: Metric
    variant: str
    alpha: float
    veto: bool = False

    @property
    def name(self) -> str:
        """``recall[class=8]``."""
        return f"{self.rule.metric}[{self.where}]" if self.where else self.rule.metric

    @property
    def compares(self) -> bool:
        """Whether there is no verdict without a baseline."""
        return self.rule.compares

    @property
    def on_samples(self) -> bool:
        """Whether the verdict reveals something about the test set."""
        return self.meaning.on_samples

    @property
    def relative(self) -> bool:
        """Whether a ``not_worse`` margin is a share of the baseline's value."""
        return self.rule.relative or self.meaning.kind in ("timing", "limit")

    @property
    def wanted(self) -> str:
        """The rule in words."""
        return wanted(self.rule, self.meaning)

    @property
    def noun(self) -> str:
        return self.rule.metric.replace("_", " ")

    def result(self, verdict: Verdict, text: str, **numbers: Any) -> GateResult:
        """A verdict on this gate, with its numbers."""
        return GateResult(
            self.name,
            self.rule.key,
            verdict,
            self.variant,
            self.wanted,
            text,
            **{"unit": self.meaning.unit, "line": self.rule.line, **numbers},
        )


def wanted(rule: Rule, meaning: Metric) -> str:
    """A rule's bound in words: ``at least 90 %``, ``not worse than the baseline by more than 1 point``."""
    if rule.bound == "at_least":
        severity = f" up to severity {rule.severity}" if rule.severity is not None else ""
        return f"at least {wording.bound(rule.amount, meaning)}{severity}"
    if rule.bound == "at_most":
        return f"at most {wording.bound(rule.amount, meaning)}"
    if rule.bound == "keep":
        return f"{100 * rule.amount:.4g} % of the baseline's value kept"
    if meaning.kind == "limit":
        return f"at most {100 * rule.amount:.4g} % more than the baseline"
    if rule.relative or meaning.kind == "timing":
        worse = "slower" if meaning.slower else "worse"
        return f"not {worse} than the baseline by more than {100 * rule.amount:.4g} %"
    return f"not worse than the baseline by more than {wording.points(rule.amount, meaning)}"


def expand(rule: Rule, case: Case) -> list[Gate | GateResult]:
    """A rule as one gate for each slice it names, and for all of the data; a broken one as its verdict."""
    evaluation = case.candidate
    meaning = _meaning(rule, case)
    if meaning is None and evaluation is None:
        own = Gate(rule, rule.where, Metric(rule.metric, "", True, "own"), case.variant, rule.alpha)
        return [own.result(null_verdict(rule), case.lacks(own.name, "evaluate"))]
    if meaning is None:
        unknown = Metric(rule.metric, "", True)
        gate = Gate(rule, rule.where, unknown, case.variant, rule.alpha)
        return [gate.result(Verdict.INVALID, f"Nobody knows how to measure `{rule.metric}`.")]
    alpha = rule.alpha
    if case.reuse is not None and meaning.on_samples:
        alpha = min(alpha, case.reuse.alpha)
    if rule.family != "veto":
        alpha /= case.forms
    whole = Gate(rule, rule.where, meaning, case.variant, alpha)
    if meaning.kind == "robustness":
        if rule.where is not None:
            return [whole]
        if not case.robustness:
            return [
                whole.result(null_verdict(rule), case.lacks(whole.name, "test", "No corruption was measured"))
            ]
        return [Gate(rule, corruption, meaning, case.variant, alpha) for corruption in case.robustness]
    if rule.slices is None:
        return [whole]
    try:
        wheres = _wheres(rule.slices, case)
    except InvalidInput as error:
        return [whole.result(Verdict.INVALID, str(error))]
    if not wheres:
        where = "predictions" if evaluation is not None else "measurements"
        return [
            whole.result(
                Verdict.INVALID, f"The {where} hold no slice by {rule.slices}, so nothing can be proven."
            )
        ]
    joined = [f"{rule.where},{where}" if rule.where else where for where in wheres]
    by_slice: list[Gate | GateResult] = [Gate(rule, where, meaning, case.variant, alpha) for where in joined]
    # classes make up the whole of a metric by class; slices of a column do not, so the whole is judged as well
    return by_slice if all(where.startswith(f"{CLASS}=") for where in wheres) else [whole, *by_slice]


def _meaning(rule: Rule, case: Case) -> Metric | None:
    if case.candidate is not None:
        return case.candidate.task.metric(rule.metric)
    return next(
        (found for task in catalogue.TASKS if (found := catalogue.find(rule.metric, task)) is not None), None
    )


def _wheres(column: str, case: Case) -> list[str]:
    evaluation = case.candidate
    if evaluation is not None:
        if column != "every":
            return evaluation.wheres(column)
        own = [name for name in evaluation.columns() if name != CLASS] or list(evaluation.columns())
        return [where for name in own for where in evaluation.wheres(name)]
    prefix = "" if column == "every" else f"{column}="
    found = [m.where for m in case.measurements if m.variant == case.variant and m.where is not None]
    return list(dict.fromkeys(where for where in found if where.startswith(prefix) and "=" in where))


def null_verdict(rule: Rule) -> Verdict:
    """The verdict on a number that is not there: it never passes."""
    return Verdict.FAIL if rule.required else Verdict.INCONCLUSIVE


def settle(needed: int | None, n: int, case: Case, *, met: bool) -> str:
    """What would settle an undecided verdict.

    Args:
        needed: samples that would, if what was seen is the truth; None where no reasonable number would.
        n: samples there are.
        met: whether what was seen is on the good side of the bound.
    """
    if met and needed is None:
        return f" It is too close to the bound for any reasonable number of {case.noun} to settle it."
    if met:
        return f" It needs about {wording.count(needed or 0, case.noun)}; there are {n}."
    more = f"more {case.noun}" if needed is None else f"about {wording.count(needed, case.noun)}"
    return f" What was seen misses the bound, so {more} would sooner confirm that than clear it (there are {n}): a better model is what helps."


def chance(p: float) -> str:
    """A p-value as a person reads it: ``1.7 %``."""
    if p < 0.0001:
        return "less than 0.01 %"
    return f"{100 * p:.0f} %" if p >= 0.1 else f"{100 * p:.2g} %"
