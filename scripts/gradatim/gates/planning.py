"""Before anything runs: how many samples each gate needs, what it can see, and which gate cannot pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from gradatim.gates import betting, exact, wording
from gradatim.gates.exact import POWER, POWER_QUANTILE
from gradatim.gates.gate import wanted
from gradatim.gates.latency import TAILS
from gradatim.gates.paired import fewest_positives
from gradatim.gates.pairwise import pairs_planned
from gradatim.gates.plan_row import PlanRow
from gradatim.gates.rule import Rule, with_guards
from gradatim.metrics import catalogue, intervals

DISCORDANCE = 0.05
"""The share of samples on which candidate and baseline are taken to differ in being right."""

_OF_POSITIVES = ("f1", "f1_macro", "f1_weighted", "roc_auc")
_OF_ALL = ("f1", "precision", "roc_auc")
"""Of a class, and yet of rows of the others, too."""


def plan(
    rules: Iterable[Rule],
    counts: Mapping[str, int],
    *,
    task: str = "classification",
    own: Iterable[catalogue.Metric] = (),
    alpha: float | None = None,
    forms: int = 1,
    noun: str = "samples",
    severities: Iterable[int] | None = None,
    rows: Mapping[str, int] | None = None,
    takes_all: str | None = None,
    power: float = POWER,
) -> list[PlanRow]:
    """Plan every gate.

    Args:
        rules: the contract's gates.
        counts: independent samples by slice: ``""`` for all of the data, ``class=8``, ``region=north``. A
            class or a value that is declared and has no sample is given as 0.
        task: of the contract.
        own: the user's own metrics.
        alpha: the alpha that a budgeted test set leaves (``reuse.alpha_after``), None for each rule's own.
        forms: among how many forms of the candidate one may be chosen: they share the error, as in the verdicts (Holm).
        severities: the severities that the test step measures, where known.
        rows: samples by slice where ``counts`` counts groups of them, None where each sample stands alone.
        takes_all: the gate for which every row is evaluated, whatever the sequential ones say; None where these stop it.
        power: in what share of cases ``needed`` samples let the planned model pass.
    """
    mine = tuple(own)
    known = None if severities is None else tuple(severities)
    planned = []
    for rule in with_guards(rules):
        meaning = catalogue.find(rule.metric, task, mine)
        if meaning is None:
            text = f"Nobody knows how to measure `{rule.metric}` for {task}."
            planned.append(
                PlanRow(_name(rule, rule.where), rule.key, "", None, None, None, None, False, text, rule.line)
            )
            continue
        effective = min(rule.alpha, alpha) if alpha is not None and meaning.on_samples else rule.alpha
        wheres = _wheres(rule, counts)
        for where in wheres:
            key = "" if meaning.kind == "robustness" or where is None else where
            n = counts.get(catalogue.DRAWN if meaning.kind == "drift" else key, counts.get(key))
            positives = None
            if rule.metric in _OF_ALL and _is_class(where) and rule.bound != "at_least":
                key, n, positives = "", counts.get(""), n
            asked = _Asked(rule, meaning, where, n, effective, noun, power)
            if (few := _few_positives(asked, positives)) is not None:
                row = few
            elif (
                rule.slices is not None and wheres == [rule.where] and meaning.kind not in ("limit", "timing")
            ):
                row = asked.never(
                    f"the data have no slice column `{rule.slices}`, so this gate has nothing to judge."
                )
            elif (
                rule.severity is not None
                and meaning.kind == "robustness"
                and known
                and rule.severity not in known
            ):
                measured = ", ".join(map(str, known))
                row = asked.never(f"severity {rule.severity} is never measured (measured: {measured}).")
            else:
                there = None if rows is None else rows.get(key)
                row = _planned(asked, there)
                if forms > 1 and rule.family != "veto":
                    row = _shared(row, _planned(replace(asked, alpha=effective / forms), there))
                if rule.sequential and takes_all is not None:
                    row = replace(
                        row, text=f"{row.text} Every row is evaluated all the same, for `{takes_all}`."
                    )
                if effective < rule.alpha:
                    stricter = f" The data must last (`data.uses`), so each verdict may err in {100 * effective:.2g} % only."
                    row = replace(row, text=row.text + stricter)
            planned.append(row)
    return planned


def with_covariate(row: PlanRow, column: str, told: float | None) -> PlanRow:
    """The row of a gate on a mean over all rows that a covariate adjusts.

    Args:
        told: the share of what rows vary by that it told in the last evaluation; None where there was none.
    """
    saved = (
        "a correlation of 0.5 with what it is about saves 25 % of the rows, one of 0.7 half of them (its square)."
        if told is None
        else f"in the last evaluation it told {wording.percent(told, 0)} of what rows vary by, so {1 - told:.2g} times as many do as much."
    )
    return replace(row, text=f"{row.text} Adjusted by `{column}`: {saved}")


def with_training(row: PlanRow, candidates: int, alpha: float) -> PlanRow:
    """The row of a gate on rows that judges so many candidates of one recipe: what they will differ by is not known before."""
    factor = intervals.student(candidates - 1, alpha) / math.sqrt(candidates)
    told = f"{candidates} candidates are judged together: by how much training varies comes on top, {factor:.2g} standard deviations of theirs to each side."
    return replace(row, text=f"{row.text} {told}")


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
    """Samples below which not even a model without any difference passes: 299 for a margin of 1 %."""
    small = alpha < 0.001
    exact_n = math.log(alpha / 2 if small else alpha) / math.log1p(-margin)
    score_n = 0.0 if small else intervals.normal(alpha) ** 2 * (1 - margin) / margin
    return math.floor(max(exact_n, score_n)) + 1


def _few_positives(asked: _Asked, positives: int | None) -> PlanRow | None:
    """The row of a class of too few rows for such a metric; None where they are enough, or not known."""
    metric, least = asked.rule.metric, fewest_positives(asked.rule.metric, beside=asked.rule.compares)
    if metric not in _OF_POSITIVES or positives is None or positives >= least:
        return None
    name = "F1" if metric == "f1" else metric
    text = f"there are {wording.count(positives, 'positives')}; {name} is judged from {least} on."
    return replace(asked, n=positives).never(text, least=least)


def _wheres(rule: Rule, counts: Mapping[str, int]) -> list[str | None]:
    if rule.slices is None:
        return [rule.where]
    found = [where for where in counts if where]
    if rule.slices == "every":
        chosen = [where for where in found if not where.startswith("class=")] or found
    else:
        chosen = [where for where in found if where.startswith(f"{rule.slices}=")]
    whole = [rule.where] if not chosen or not chosen[0].startswith("class=") else []
    return [*whole, *chosen]


@dataclass(frozen=True)
class _Asked:
    """One rule at one place, with the samples there."""

    rule: Rule
    meaning: catalogue.Metric
    where: str | None
    n: int | None
    alpha: float
    noun: str
    power: float

    @property
    def wanted(self) -> str:
        return wanted(self.rule, self.meaning)

    @property
    def have(self) -> str:
        if self.n is None:
            return "how many samples there are is not known yet"
        return f"there are {wording.count(self.n, self.noun)}"

    def enough(self, least: int) -> bool:
        """Whether there are so many samples, as far as that is known."""
        return self.n is None or self.n >= least

    def row(
        self,
        text: str,
        *,
        possible: bool = True,
        needed: int | None = None,
        least: int | None = None,
        detectable: float | None = None,
    ) -> PlanRow:
        rule = self.rule
        name = _name(rule, self.where)
        return PlanRow(
            name, rule.key, self.wanted, self.n, needed, least, detectable, possible, text, rule.line
        )

    def never(self, text: str, least: int | None = None) -> PlanRow:
        """The row of a gate that no model can pass."""
        return self.row(text, possible=False, least=least)


def _plan_one(asked: _Asked) -> PlanRow:
    rule = asked.rule
    if asked.meaning.kind == "limit":
        return replace(asked, n=None).row(f"{asked.wanted}; needs no samples.")
    if asked.meaning.kind == "drift":
        return _drift(asked)
    if asked.meaning.kind == "timing":
        return _timing(replace(asked, n=None))
    if rule.family == "veto" and asked.where is not None:
        text = f"a veto, which refuses only a proven regression; {asked.have}."
        return asked.row(text, possible=asked.enough(1), least=1)
    if rule.bound in ("not_worse", "keep"):
        return _comparison(asked)
    if rule.metric == "win_rate":
        text, least, needed = pairs_planned(rule.amount, asked.alpha, asked.n, asked.power)
        text = f"{asked.wanted}; {asked.have}{text}"
        return asked.row(text, possible=asked.enough(least), needed=needed, least=least)
    return _threshold(asked) if _counts(rule, asked.meaning) else _estimate(asked)


def _drift(asked: _Asked) -> PlanRow:
    """Rows, of the release's data as well, that let ten cells of a column pass which did not change."""
    from gradatim.gates.drift import FEWEST, planned

    asked = asked if asked.noun == "groups" else replace(asked, noun="rows")
    needed = planned(asked.rule.amount, asked.alpha, asked.power)
    text = f"{asked.wanted}; {asked.have}, and about {needed} of both releases let a column pass that did not change."
    return asked.row(text, possible=asked.enough(FEWEST), needed=needed, least=FEWEST)


def _planned(asked: _Asked, rows: int | None) -> PlanRow:
    if asked.rule.sequential:
        return _looked_at(asked) if rows is None or rows == asked.n else asked.never(_GROUPED)
    return _plan_one(asked) if rows is None else _in_groups(asked, rows)


_GROUPED = "the rows come in groups (`data.group`), and `sequential` needs rows that stand alone."


def _looked_at(asked: _Asked) -> PlanRow:
    """The row of a gate that is looked at again and again: what settles it on average, beside a number that is fixed before."""
    rule, fixed = asked.rule, _plan_one(asked)
    if not fixed.possible and fixed.least is None:
        return fixed
    planned = _planned_scores(rule)
    if planned is None:
        return asked.row(f"{asked.wanted}, looked at again and again; {asked.have}.", least=fixed.least)
    (bound, usual), (_, better) = planned
    rows = [betting.rows_until_proven(scores, bound, asked.alpha) for scores in (usual, better)]
    least = betting.rows_faultless(better, bound, asked.alpha)
    text = f"{asked.wanted}, looked at again and again; {asked.have}"
    if not asked.enough(least):
        text += f", and even without a single error at least {least} are needed to prove it."
    else:
        beside = rule.bound in ("not_worse", "keep")
        whom = "an equally good model" if beside else "a model with half the tolerated errors"
        better_one = "better by the margin" if beside else "with a tenth of them"
        text += f". About {wording.about(rows[0])} settle it on average for {whom}, {wording.about(rows[1])} for one {better_one}"
        text += f"; fixed before, {fixed.needed} are needed in 4 of 5 cases." if fixed.needed else "."
    return asked.row(text, possible=asked.enough(least), needed=math.ceil(rows[0]), least=least)


def _planned_scores(rule: Rule) -> list[tuple[float, betting.Scores]] | None:
    """The bound and what a row is planned to be: of the model that a number fixed before is planned for, and of a better one;
    None for scores of which nothing is known."""
    if rule.metric == "log_loss":
        return None
    if rule.bound in ("at_least", "at_most"):
        share = rule.amount if rule.bound == "at_least" else 1 - rule.amount
        return [(share, betting.Scores.right_and_wrong(share + room * (1 - share))) for room in (0.5, 0.9)]
    margin = rule.amount if rule.bound == "not_worse" else 0.9 * abs(1 - rule.amount)
    return [(-margin, betting.Scores.gained_and_lost(max(DISCORDANCE, gain), gain)) for gain in (0.0, margin)]


def _shared(alone: PlanRow, among: PlanRow) -> PlanRow:
    """The row of a gate on a form among others, from its rows by itself and at its share of the error.

    Compression may leave one form alone, so that only what a form by itself cannot pass can pass at no time.
    """
    if among.possible or not alone.possible:
        return among if among.possible else alone
    needed = f" Forms that share the error need at least {among.least}." if among.least is not None else ""
    return replace(alone, needed=among.needed, text=f"{alone.text}{needed}")


def _in_groups(asked: _Asked, rows: int) -> PlanRow:
    """The row of samples in groups: possible if they may stand alone, planned as if those of a group went together."""
    alone, together = _plan_one(replace(asked, n=rows)), _plan_one(replace(asked, noun="groups"))
    if alone.n is None or asked.n == rows:
        return alone
    worth = "" if together.least is None else f", and at least {together.least} are needed"
    if together.detectable is not None:
        worth = _reached(asked, together.detectable)
    groups = wording.count(asked.n or 0, "groups")
    text = f"{alone.text} They come in {groups}: where those of one go right and wrong together, each group counts once{worth}."
    return replace(together, possible=alone.possible, least=alone.least, text=text)


def _reached(asked: _Asked, detectable: float) -> str:
    if asked.rule.bound in ("not_worse", "keep"):
        return f", enough for a margin of {wording.points(detectable, asked.meaning)}"
    return f", enough for a model that is truly at {wording.percent(detectable)}"


def _estimate(asked: _Asked) -> PlanRow:
    """A bound on what is no plain share of samples."""
    rule = asked.rule
    if asked.meaning.fraction and (rule.amount >= 1 if rule.bound == "at_least" else rule.amount <= 0):
        return asked.never(f"{asked.wanted} can never be proven.")
    least = (
        fewest_positives(rule.metric, beside=rule.compares)
        if rule.metric in _OF_POSITIVES and _is_class(asked.where)
        else 2
    )
    text = f"{asked.wanted}; how sure that can be depends on the data; {asked.have}, {least} are the least."
    return asked.row(text, possible=asked.enough(least), least=least)


def _threshold(asked: _Asked) -> PlanRow:
    rule, n = asked.rule, asked.n
    at_least, flips = rule.bound == "at_least", rule.metric == "negative_flips"
    share = rule.amount if at_least else 1 - rule.amount
    least = exact.samples_all_right(share, asked.alpha)
    if least is None:
        return asked.never(f"{asked.wanted} cannot be proven by any number of samples. Leave some room.")
    needed = exact.samples_for_power(share, (1 + share) / 2, asked.alpha, asked.power)
    text = f"{asked.wanted}; {asked.have}"
    reached = None
    if not asked.enough(least):
        faultless = "without a single flip" if flips else "with every one right"
        text += f", and even {faultless} at least {least} are needed to prove it."
    elif n is not None:
        reached = exact.detectable(n, share, asked.alpha, POWER)
        forgiven = exact.forgiven(n, share, asked.alpha)
        one, many = ("flip", "flips") if flips else ("miss", "misses")
        text += f", which forgive {forgiven} {one if forgiven == 1 else many}"
        if reached is not None:
            reached = reached if at_least else 1 - reached
            side = "or better" if at_least else "or less"
            text += f": a model passes in 4 of 5 cases if it is truly at {wording.percent(reached)} {side}"
        text += "."
    else:
        text += f", at least {least} are needed."
    if needed is not None and (n is None or n < needed):
        halfway = wording.percent((1 + share) / 2 if at_least else (1 - share) / 2)
        text += (
            f" About {wording.about(needed)} let a model pass in 4 of 5 cases that is truly at {halfway}."
            if reached is None
            else f" With about {wording.about(needed)} one at {halfway} would."
        )
    return asked.row(text, possible=asked.enough(least), needed=needed, least=least, detectable=reached)


def _comparison(asked: _Asked) -> PlanRow:
    rule, n, alpha = asked.rule, asked.n, asked.alpha
    margin = rule.amount if rule.bound == "not_worse" else abs(1 - rule.amount)
    if not margin > 0:
        return asked.never(
            f"{asked.wanted} can never be proven, not even for the same model. Allow a margin."
        )
    if not asked.meaning.fraction or rule.relative:
        text = f"{asked.wanted}; what it can see depends on how much the errors vary; {asked.have}."
        return asked.row(text, possible=asked.enough(2), least=2)
    least = least_not_worse(min(margin, 0.999999), alpha)
    # a kept share is a margin on the baseline's value, which is taken to be 90 %
    margin *= 0.9 if rule.bound == "keep" else 1.0
    needed = max(least, samples_not_worse(margin, DISCORDANCE, alpha, asked.power))
    text = f"{asked.wanted}; {asked.have}"
    reached = None
    if not asked.enough(least):
        text += f", and even the very same model needs at least {least} to pass."
    elif n is not None and n > 0:
        quantile = intervals.normal(alpha) + POWER_QUANTILE
        reached = max(quantile * math.sqrt(DISCORDANCE / n), intervals.normal(alpha) ** 2 / n)
        text += f", enough for a margin of {wording.points(reached, asked.meaning)}."
    else:
        text += f", at least {least} are needed."
    if not asked.enough(needed) or n is None:
        text += f" About {wording.about(needed)} let an equally good model pass in 4 of 5 cases, if the two differ on {100 * DISCORDANCE:.3g} % of {asked.noun}."
    return asked.row(text, possible=asked.enough(least), needed=needed, least=least, detectable=reached)


def _timing(asked: _Asked) -> PlanRow:
    rule = asked.rule
    tail = rule.metric in TAILS
    if rule.family == "veto":
        text = (
            f"beside {rule.key}: refuses only what is proven slower by more than {100 * rule.amount:.4g} %."
        )
        return asked.row(text if rule.bound == "not_worse" else f"beside {rule.key}: a veto.")
    if rule.bound in ("not_worse", "keep"):
        text = f"{asked.wanted}; needs at least 3 paired rounds, 6 to 36 are usual."
        if tail:
            text += " Tails vary by half between processes: expect it to stay undecided unless the margin is wide."
        return asked.row(text, needed=10, least=3)
    least = exact.samples_for_quantile(0.5, asked.alpha) if tail else 3
    return asked.row(f"{asked.wanted}; needs at least {least} rounds.", needed=least, least=least)


def _counts(rule: Rule, meaning: catalogue.Metric) -> bool:
    """Whether the metric is a plain share of samples, judged exactly."""
    if (
        meaning.counted
        or rule.metric in ("accuracy", "f1_micro", "negative_flips", "agreement")
        or rule.metric.startswith("recall_at_")
    ):
        return True
    if meaning.kind == "robustness":
        return rule.severity is not None
    return rule.metric in ("recall", "precision", "balanced_accuracy") and (
        rule.slices == "class" or _is_class(rule.where)
    )


def _name(rule: Rule, where: str | None) -> str:
    return f"{rule.metric}[{where}]" if where else rule.metric


def _is_class(where: str | None) -> bool:
    return (where or "").startswith("class=")
