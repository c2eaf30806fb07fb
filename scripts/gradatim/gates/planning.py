"""Before anything runs: how many samples each gate needs, what it can see, and which gate cannot pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gradatim.gates import exact, wording
from gradatim.gates.gate import wanted
from gradatim.gates.paired import FEW_POSITIVES
from gradatim.gates.rule import Rule
from gradatim.metrics import catalogue, intervals

DISCORDANCE = 0.05
"""The share of samples on which candidate and baseline are taken to differ in being right."""

POWER = 0.8

_F1 = ("f1", "f1_macro", "f1_weighted")

_POWER_QUANTILE = 0.8416212335729143


@dataclass(frozen=True)
class PlanRow:
    """What one gate can do with the data there is.

    Attributes:
        gate: with its slice: ``recall[class=8]``.
        rule: the key in the contract.
        wanted: the bound in words.
        n: samples it has; None when that is not known yet.
        needed: samples for 80 % power (for a threshold: of a model with half the tolerated misses; for a
            comparison: of an equal model that differs on 5 % of samples); None when samples play no part.
        least: samples below which it cannot pass at all.
        detectable: with n samples: the true value that passes in 4 of 5 cases, or the smallest margin that an
            equal model can prove; None when n is unknown or too small.
        possible: False when it cannot pass whatever the model does.
        text: this, for a reader who sees the gate's name beside it.
        line: line of the contract.
    """

    gate: str
    rule: str
    wanted: str
    n: int | None
    needed: int | None
    least: int | None
    detectable: float | None
    possible: bool
    text: str
    line: int | None

    @property
    def tight(self) -> bool:
        """Whether a good model may well fail for want of samples."""
        return self.possible and self.n is not None and self.needed is not None and self.n < self.needed

    @property
    def undecidable(self) -> bool:
        """Whether it cannot pass only because the samples are too few: its verdict will be INCONCLUSIVE."""
        return not self.possible and self.n is not None and self.least is not None and self.n < self.least


def folded(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """Rows of one rule that say the same of several slices, as one: ``recall[class=0] .. [class=9]``."""
    groups: dict[tuple[str, str], list[PlanRow]] = {}
    for row in rows:
        groups.setdefault((row.rule, row.text), []).append(row)
    found = []
    for alike in groups.values():
        first, *others = alike
        gate = first.gate
        if len(others) == 1:
            gate += f" and {_slice_of(others[0])}"
        elif others:
            gate += f" .. {_slice_of(others[-1])}"
        found.append(replace(first, gate=gate))
    return found


def plan(
    rules: Iterable[Rule],
    counts: Mapping[str, int],
    *,
    task: str = "classification",
    own: Iterable[str] = (),
    alpha: float | None = None,
    discordance: float = DISCORDANCE,
    noun: str = "samples",
    severities: Iterable[int] | None = None,
) -> list[PlanRow]:
    """Plan every gate.

    Args:
        rules: the contract's gates.
        counts: independent samples by slice: ``""`` for all of the data, ``class=8``, ``region=north``. A
            class or a value that is declared and has no sample is given as 0.
        task: of the contract.
        own: names of the user's own metrics.
        alpha: the alpha that a budgeted test set leaves (``reuse.alpha_after``), None for each rule's own.
        discordance: expected share of samples on which exactly one of both models is right.
        severities: the severities that the test step measures, where known.
    """
    names = tuple(own)
    known = None if severities is None else tuple(severities)
    rows = []
    for rule in rules:
        meaning = catalogue.find(rule.metric, task, names)
        if meaning is None:
            text = f"Nobody knows how to measure `{rule.metric}` for {task}."
            rows.append(_row(rule, rule.where, "", None, None, None, None, False, text))
            continue
        on_samples = meaning.kind in ("quality", "comparison", "robustness", "own")
        effective = min(rule.alpha, alpha) if alpha is not None and on_samples else rule.alpha
        for where in _wheres(rule, counts):
            n = counts.get("" if meaning.kind == "robustness" or where is None else where)
            positives = None
            if (
                rule.metric in ("f1", "precision")
                and (where or "").startswith("class=")
                and rule.bound != "at_least"
            ):
                n, positives = counts.get(""), n
            row = _plan_one(rule, meaning, where, n, effective, discordance, noun)
            if effective < rule.alpha:
                stricter = f" The data must last (`data.uses`), so each verdict may err in {100 * effective:.2g} % only."
                row = replace(row, text=row.text + stricter)
            if rule.metric in _F1 and positives is not None and positives < FEW_POSITIVES:
                text = f"there are {positives} positives; F1 is judged from {FEW_POSITIVES} on."
                row = _row(rule, where, row.wanted, positives, None, FEW_POSITIVES, None, False, text)
            if (
                meaning.kind == "robustness"
                and rule.severity is not None
                and known
                and rule.severity not in known
            ):
                measured = ", ".join(map(str, known))
                text = f"severity {rule.severity} is never measured (measured: {measured})."
                row = _row(rule, where, row.wanted, n, None, None, None, False, text)
            rows.append(row)
    return rows


def samples_not_worse(
    margin: float, discordance: float = DISCORDANCE, alpha: float = 0.05, power: float = POWER
) -> int:
    """Samples so that an equal model passes: (z_a + z_b)^2 psi / m^2 (3092 for 5 % and a margin of 1 %).

    Raises:
        ValueError: a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError("without a margin no number of samples proves equality")
    quantile = intervals.normal(alpha) + intervals.normal(1 - power)
    return math.ceil(quantile**2 * discordance / margin**2)


def least_not_worse(margin: float, alpha: float = 0.05) -> int:
    """Samples below which not even a model without any difference passes: 299 for a margin of 1 %.

    if rule.metric in (*_F1, "precision") and rule.bound != "at_least" and (where or "").startswith("class="):
    """
    small = alpha < 0.001
    exact_n = math.log(alpha / 2 if small else alpha) / math.log1p(-margin)
    score_n = 0.0 if small else intervals.normal(alpha) ** 2 * (1 - margin) / margin
    return math.floor(max(exact_n, score_n)) + 1


def _wheres(rule: Rule, counts: Mapping[str, int]) -> list[str | None]:
    if rule.slices is None:
        return [rule.where]
    found = [where for where in counts if where]
    if rule.slices == "every":
        chosen = [where for where in found if not where.startswith("class=")] or found
    else:
        chosen = [where for where in found if where.startswith(f"{rule.slices}=")]
    return list(chosen) or [rule.where]


def _plan_one(
    rule: Rule,
    meaning: catalogue.Metric,
    where: str | None,
    n: int | None,
    alpha: float,
    discordance: float,
    noun: str,
) -> PlanRow:
    spelled = wanted(rule, meaning)
    gate = f"{rule.metric}[{where}]" if where else rule.metric
    if meaning.kind == "limit":
        return _row(rule, where, spelled, None, None, None, None, True, f"{spelled}; needs no samples.")
    if meaning.kind == "timing":
        return _timing(rule, gate, where, spelled, alpha)
    if rule.slices is not None and where is None:
        text = f"the data have no slice column `{rule.slices}`, so this gate has nothing to judge."
        return _row(rule, where, spelled, n, None, None, None, False, text)
    if rule.family == "veto":
        possible = n is None or n > 0
        text = f"a veto, which refuses only a proven regression; {_have(n, noun)}."
        return _row(rule, where, spelled, n, None, 1, None, possible, text)
    if rule.bound in ("not_worse", "keep"):
        return _comparison(rule, meaning, gate, where, spelled, n, alpha, discordance, noun)
    return _threshold(rule, meaning, gate, where, spelled, n, alpha, noun)


def _threshold(
    rule: Rule,
    meaning: catalogue.Metric,
    gate: str,
    where: str | None,
    spelled: str,
    n: int | None,
    alpha: float,
    noun: str,
) -> PlanRow:
    if not _counts(rule, meaning):
        least = FEW_POSITIVES if rule.metric in _F1 and (where or "").startswith("class=") else 2
        possible = n is None or n >= least
        text = (
            f"{spelled}; how sure that can be depends on the data; {_have(n, noun)}, {least} are the least."
        )
        if meaning.fraction and (rule.amount >= 1 if rule.bound == "at_least" else rule.amount <= 0):
            never = f"{spelled} can never be proven."
            return _row(rule, where, spelled, n, None, None, None, False, never)
        return _row(rule, where, spelled, n, None, least, None, possible, text)
    share = rule.amount if rule.bound == "at_least" else 1 - rule.amount
    least_ = exact.samples_all_right(share, alpha)
    if least_ is None:
        text = f"{spelled} cannot be proven by any number of samples. Leave some room."
        return _row(rule, where, spelled, n, None, None, None, False, text)
    needed = exact.samples_for_power(share, (1 + share) / 2, alpha, POWER)
    text = f"{spelled}; {_have(n, noun)}"
    reached = None
    possible = n is None or n >= least_
    if n is not None and not possible:
        faultless = "without a single flip" if rule.metric == "negative_flips" else "with every one right"
        text += f", and even {faultless} at least {least_} are needed to prove it."
    elif n is not None:
        reached = exact.detectable(n, share, alpha, POWER)
        forgiven = exact.forgiven(n, share, alpha)
        misses = "miss" if forgiven == 1 else "misses"
        if rule.metric == "negative_flips":
            misses = "flip" if forgiven == 1 else "flips"
        text += f", which forgive {forgiven} {misses}"
        if reached is not None:
            limit = reached if rule.bound == "at_least" else 1 - reached
            side = "or better" if rule.bound == "at_least" else "or less"
            text += f": a model passes in 4 of 5 cases if it is truly at {wording.percent(limit)} {side}"
            reached = limit
        text += "."
    else:
        text += f", at least {least_} are needed."
    if needed is not None and (n is None or n < needed):
        halfway = wording.percent((1 + share) / 2 if rule.bound == "at_least" else (1 - share) / 2)
        if reached is None:
            text += (
                f" About {wording.about(needed)} let a model pass in 4 of 5 cases that is truly at {halfway}."
            )
        else:
            text += f" With about {wording.about(needed)} one at {halfway} would."
    return _row(rule, where, spelled, n, needed, least_, reached, possible, text)


def _comparison(
    rule: Rule,
    meaning: catalogue.Metric,
    gate: str,
    where: str | None,
    spelled: str,
    n: int | None,
    alpha: float,
    discordance: float,
    noun: str,
) -> PlanRow:
    margin = rule.amount if rule.bound == "not_worse" else abs(1 - rule.amount)
    if not margin > 0:
        text = f"{spelled} can never be proven, not even for the same model. Allow a margin."
        return _row(rule, where, spelled, n, None, None, None, False, text)
    if not meaning.fraction or rule.relative:
        possible = n is None or n >= 2
        text = f"{spelled}; what it can see depends on how much the errors vary; {_have(n, noun)}."
        return _row(rule, where, spelled, n, None, 2, None, possible, text)
    least = least_not_worse(min(margin, 0.999999), alpha)
    # a kept share is a margin on the baseline's value, which is taken to be 90 %
    needed = max(
        least, samples_not_worse(margin * (0.9 if rule.bound == "keep" else 1.0), discordance, alpha)
    )
    possible = n is None or n >= least
    text = f"{spelled}; {_have(n, noun)}"
    reached = None
    if not possible:
        text += f", and even the very same model needs at least {least} to pass."
    elif n is not None and n > 0:
        quantile = intervals.normal(alpha) + _POWER_QUANTILE
        reached = max(quantile * math.sqrt(discordance / n), intervals.normal(alpha) ** 2 / n)
        text += f", enough for a margin of {wording.points(reached, meaning)}."
    else:
        text += f", at least {least} are needed."
    if n is None or n < needed:
        text += (
            f" About {wording.about(needed)} let an equally good model pass in 4 of 5 cases, if the two differ on "
            f"{100 * discordance:.3g} % of {noun}."
        )
    return _row(rule, where, spelled, n, needed, least, reached, possible, text)


def _timing(rule: Rule, gate: str, where: str | None, spelled: str, alpha: float) -> PlanRow:
    if rule.bound in ("not_worse", "keep"):
        if rule.metric in ("latency_p90", "latency_p99"):
            text = (
                f"{spelled}; the slowest calls of two processes are not comparable. Gate latency_p50 instead."
            )
            return _row(rule, where, spelled, None, None, None, None, False, text)
        text = f"{spelled}; needs at least 3 paired rounds, 6 to 36 are usual."
        return _row(rule, where, spelled, None, 10, 3, None, True, text)
    q = {"latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}.get(rule.metric)
    least = None if q is None else exact.samples_for_quantile(q, alpha)
    calls = "" if least is None else f"; needs at least {least} timed calls"
    return _row(rule, where, spelled, None, least, least, None, True, f"{spelled}{calls}.")


def _counts(rule: Rule, meaning: catalogue.Metric) -> bool:
    """Whether the metric is a plain share of samples, judged exactly."""
    if rule.metric in ("accuracy", "f1_micro", "negative_flips", "agreement") or rule.metric.startswith(
        "recall_at_"
    ):
        return True
    if meaning.kind == "robustness":
        return rule.severity is not None
    return rule.metric in ("recall", "precision", "balanced_accuracy") and (
        rule.slices == "class" or (rule.where or "").startswith("class=")
    )


def _have(n: int | None, noun: str) -> str:
    return (
        "how many samples there are is not known yet" if n is None else f"there are {wording.count(n, noun)}"
    )


def _slice_of(row: PlanRow) -> str:
    return row.gate[row.gate.index("[") :] if "[" in row.gate else row.gate


def _row(
    rule: Rule,
    where: str | None,
    spelled: str,
    n: int | None,
    needed: int | None,
    least: int | None,
    detectable: float | None,
    possible: bool,
    text: str,
) -> PlanRow:
    gate = f"{rule.metric}[{where}]" if where else rule.metric
    return PlanRow(gate, rule.key, spelled, n, needed, least, detectable, possible, text, rule.line)
