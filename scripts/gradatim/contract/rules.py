"""Gate lines of the contract as rules with plain numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gradatim.contract.schema import GateSection
from gradatim.errors import did_you_mean
from gradatim.gates.rule import Bound, Rule
from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import Metric
from gradatim.quantity import parse_quantity

_KEY = re.compile(r"(?P<metric>[A-Za-z_]\w*)(?:\[(?P<where>[^\[\]]+)\])?\Z")
_OF_BASELINE = re.compile(r"(?P<share>.+?)\s+of\s+(?:the\s+)?baseline\s*\Z")


class Misstated(ValueError):
    """A gate that says nothing, two things, or something that no data could prove.

    Attributes:
        field: the key inside the gate that is to blame, None for the gate's own name or the whole line.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


def read_rule(key: str, gate: GateSection, task: str, own: Iterable[Metric], line: int) -> Rule:
    """The rule that one line under ``gates`` states.

    Args:
        key: the line's key, ``recall[class=7]``.
        gate: its value.
        task: the task's type, empty for a model without one.
        own: the contract's own metrics.
        line: 1-based line in the contract.

    Raises:
        Misstated: with what is wrong and the nearest thing that would be right.
    """
    match = _KEY.match(key)
    if not match:
        raise Misstated(
            f"`{key}` is not a gate; write `metric` or `metric[slice]`, for example `recall[class=7]`"
        )
    name = match["metric"]
    metric = catalogue.find(name, task, own)
    if metric is None:
        raise Misstated(
            unknown("gate", name, catalogue.known(task, own), f" for {task or 'a model without `task`'}")
        )
    bound, amount, field = _bound(gate, metric)
    _provable(bound, amount, metric, field)
    if name == catalogue.SERVER_RATE and bound != "at_least":
        raise Misstated(
            f"{name} is what one search finds, and nothing is paired with it: say `at_least`, for example `at_least: 100`",
            field if field != "by" else None,
        )
    if name in catalogue.JUDGED and bound != "at_least":
        raise Misstated(
            f"{name} is told of candidate and baseline together, and more is better: say `at_least`, for example `at_least: 45%`",
            field if field != "by" else None,
        )
    slices = _slices(gate, match["where"])
    if gate.veto and not slices:
        raise Misstated("`veto` belongs to `slices`: say which, for example `slices: every class`", "veto")
    if gate.severity is not None and not (name == "robustness" and bound == "at_least"):
        raise Misstated("`severity` belongs to `robustness` with `at_least`", "severity")
    if gate.strict and name != "robustness" and not (task == "regression" and name in _STRICT):
        raise Misstated(
            "`strict` belongs to `robustness`, and to `mae`, `rmse` and `r2` of a regression", "strict"
        )
    if name == catalogue.DRIFT and (bound != "at_most" or match["where"] or slices):
        raise Misstated("drift is told of all columns since the release: say `drift: {at_most: 0.1}`")
    _looked_at(gate, metric, task, (match["where"] or slices or "").split(","))
    return Rule(
        key=key,
        metric=name,
        where=match["where"],
        bound=bound,
        amount=amount,
        slices=slices,
        family="veto" if gate.veto else "every",
        severity=gate.severity,
        alpha=round(1 - gate.confidence, 12),
        required=gate.required,
        line=line,
        relative=bound == "not_worse" and not metric.fraction and str(gate.by).rstrip().endswith("%"),
        strict=gate.strict,
        sequential=gate.sequential,
    )


_STRICT = ("mae", "rmse", "r2")

_MEANS = {"classification": ("accuracy", "log_loss"), "multilabel_classification": ("subset_accuracy",)}
"""Means over rows that have a score between two ends, by task, besides what scorers call right or wrong."""


def _looked_at(gate: GateSection, metric: Metric, task: str, where: list[str]) -> None:
    """`sequential` is of means over rows."""
    if not gate.sequential:
        return
    if gate.veto:
        raise Misstated("a veto is judged over all slices together, and so is not `sequential`", "sequential")
    alike = (
        () if task == "embedding" else ("agreement",)
    )  # there, the nearest of few items is another than that of all
    means = (*_MEANS.get(task, ()), *alike, "negative_flips")
    by_class = any(part.partition("=")[0].strip() == "class" for part in where)
    of_class = (task, metric.name) == ("classification", "recall") and by_class
    counted = metric.counted and task != "ranking"  # a list may be many rows
    if not (metric.name in means or counted or of_class):
        raise Misstated(
            f"{metric.name} is no mean over rows that have a score between two ends, so no bound of it holds at every look: "
            f"leave out `sequential`, which belongs to such as {', '.join(means)}",
            "sequential",
        )


def unknown(kind: str, name: str, known: Iterable[str], context: str = "") -> str:
    """``unknown gate `acuracy` for classification. Known: ... Did you mean `accuracy`?``"""
    names = list(known)
    return (
        f"unknown {kind} `{name}`. Known{context}: {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
    )


def _bound(gate: GateSection, metric: Metric) -> tuple[Bound, float, str]:
    said = [
        f
        for f in ("at_least", "at_most", "not_worse_than", "not_slower_than")
        if getattr(gate, f) is not None
    ]
    if len(said) != 1:
        wanted = "one of `at_least`, `at_most`, `not_worse_than: baseline` or `not_slower_than: baseline`"
        raise Misstated(f"a gate states {wanted}; this one states {' and '.join(said) or 'none'}")
    field = said[0]
    if field in ("at_least", "at_most"):
        if gate.by is not None:
            raise Misstated(f"`by` belongs to `not_worse_than`, not to `{field}`", "by")
        return _absolute(getattr(gate, field), field, metric)
    if field == "not_slower_than" and not metric.slower:
        raise Misstated(
            f"`not_slower_than` is for latency and throughput; for {metric.name} say `not_worse_than`", field
        )
    if gate.by is None:
        raise Misstated(f"`{field}: baseline` needs `by`: how much worse is tolerated, for example `by: 1%`")
    amount = _quantity(gate.by, "1" if metric.kind in ("timing", "limit") else _unit(metric), "by")
    if amount < 0:
        raise Misstated(f"`by` is how much worse is tolerated and cannot be negative, got {gate.by!r}", "by")
    return "not_worse", amount, "by"


def _absolute(written: object, field: str, metric: Metric) -> tuple[Bound, float, str]:
    share = _OF_BASELINE.match(written) if isinstance(written, str) else None
    if not share:
        amount = _quantity(written, _unit(metric), field)
        return ("at_least" if field == "at_least" else "at_most"), amount, field
    if (field == "at_least") != metric.higher_is_better:
        better = "more" if metric.higher_is_better else "less"
        raise Misstated(
            f"for {metric.name} {better} is better: `{field}: {written}` would refuse progress", field
        )
    return "keep", _quantity(share["share"], "1", field), field


def _unit(metric: Metric) -> str:
    return "count" if metric.kind == "limit" and metric.unit == "1" else metric.unit


def _quantity(written: object, unit: str, field: str) -> float:
    try:
        return parse_quantity(written, unit)
    except ValueError as error:
        raise Misstated(str(error), field) from error


def _provable(bound: Bound, amount: float, metric: Metric, field: str) -> None:
    """Refuse what no sample can prove, and what every sample proves."""
    if bound == "keep" and amount <= 0:
        raise Misstated("a share of the baseline must be above 0 %", field)
    if bound == "not_worse" and (metric.fraction or metric.unit == "1/s") and amount >= 1:
        raise Misstated("a margin of 100 % or more lets anything pass", field)
    if bound not in ("at_least", "at_most"):
        return
    if metric.fraction and not 0 <= amount <= 1:
        raise Misstated(f"{metric.name} lies between 0 % and 100 %; write `90%` or `0.9`", field)
    if metric.fraction and ((bound == "at_least" and amount >= 1) or (bound == "at_most" and amount <= 0)):
        raise Misstated(
            f"no finite number of samples can prove {'all' if amount >= 1 else 'none'}: "
            f"state a bound that data can reach, such as `{'99.5%' if amount >= 1 else '0.5%'}`",
            field,
        )
    least = -1 if metric.name in catalogue.TWINS else 0  # none at all may be asked of what is counted
    if metric.kind in ("timing", "limit", "drift") and amount <= least:
        raise Misstated(f"{metric.name} cannot be at or below {amount:g}", field)


def _slices(gate: GateSection, where: str | None) -> str | None:
    if gate.slices is None:
        return None
    if where is not None:
        raise Misstated(f"a gate on `[{where}]` alone cannot have `slices` too", "slices")
    words = gate.slices.split()
    if len(words) > 2 or (len(words) == 2 and words[0] != "every"):
        raise Misstated(
            f"`slices` is `every class`, `every COLUMN` or `every`, got {gate.slices!r}", "slices"
        )
    return words[-1]
