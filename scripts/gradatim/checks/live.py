"""A canary on live traffic: step by step, judged at every look, forward only on proof."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gradatim.checks.canary import CANDIDATE
from gradatim.checks.prometheus import Counted, Prometheus, Series, Unbelievable
from gradatim.errors import InvalidInput
from gradatim.files import read_json, write_json
from gradatim.gates import wording
from gradatim.gates.gate import Gate
from gradatim.gates.latency import QUANTILES
from gradatim.gates.rule import Rule
from gradatim.gates.sequential import difference_bounds, quantile_between, requests_that_tell, share_bounds
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics.catalogue import TRAFFIC, find

STEPS = (5, 25, 50, 100)
"""Per cent of the traffic that the candidate gets."""

FALSE_ROLLBACKS = 0.01
"""How often at most a candidate is rolled back that keeps every gate, over all steps, gates and looks together."""


@dataclass(frozen=True)
class Progression:
    """Where a canary stands; what a controller that was lost goes on from.

    Attributes:
        baseline, candidate: what stands beside what.
        step: place in ``STEPS``.
        since: when the step began, seconds since 1970 by Prometheus' clock; None before its traffic is there.
        attempt: how often the step began anew because a counter was reset.
        verdict: how it ended; None while it goes on.
        why: the texts of the gates that ended it.
    """

    baseline: str
    candidate: str
    step: int = 0
    since: float | None = None
    attempt: int = 0
    verdict: str | None = None
    why: tuple[str, ...] = ()

    @property
    def percent(self) -> int:
        return STEPS[self.step]


@dataclass(frozen=True)
class Glance:
    """What was seen at one look.

    Attributes:
        percent: the step.
        requests: of the candidate in this step.
        results: one a gate.
        text: why nothing is decided where the samples say nothing; empty otherwise.
    """

    percent: int
    requests: int
    results: tuple[GateResult, ...] = ()
    text: str = ""

    @property
    def verdict(self) -> Verdict:
        """PASS only where every gate is proven on believable samples; FAIL where one is broken."""
        if self.text:
            return Verdict.INCONCLUSIVE
        verdicts = [result.verdict for result in self.results]
        return Verdict.FAIL if Verdict.FAIL in verdicts else Verdict.worst(verdicts)


def live_rules(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Those of the gates on traffic that Prometheus can tell: errors and quantiles of latency.

    Raises:
        InvalidInput: none of them.
    """
    found = tuple(
        rule
        for rule in rules
        if rule.metric in ("errors", *QUANTILES) and rule.bound in ("at_most", "not_worse")
    )
    if not found:
        raise InvalidInput(
            "No gate under `canary` can be told live: gate `errors`, or a latency such as `latency_p95`."
        )
    return found


def progression_of(record: Path, baseline: str, candidate: str) -> Progression:
    """Where the canary of these two stood; at its beginning where nothing was recorded, or it went to its end.

    One that was broken stays so: a controller that was lost before it rolled back does it now.
    """
    fresh = Progression(baseline, candidate)
    try:
        told = read_json(record)
        found = Progression(**{**told, "why": tuple(told["why"])})
        return found if found.verdict != "PASS" and 0 <= found.step < len(STEPS) else fresh
    except (InvalidInput, TypeError, KeyError, AttributeError):
        return fresh


def walk(
    standing: Progression,
    look: Callable[[Progression], Glance],
    *,
    clock: Callable[[], float],
    shift: Callable[[int], None],
    wait: Callable[[], bool],
    record: Path,
    show: Callable[[Glance], None],
) -> Progression:
    """Take a candidate up the steps, until it is at 100 %, or broken, or nobody wants to wait any more.

    Args:
        standing: from ``progression_of``.
        look: judges the step at work.
        clock: seconds since 1970 where the samples come from; may raise ``Unbelievable``.
        shift: gives the candidate so many per cent of the traffic.
        wait: waits for the next look; False where it is time to stop.
        record: where the standing is kept.
        show: told of each look.

    Returns:
        With the verdict FAIL, PASS, or INCONCLUSIVE where it may be taken up again.
    """
    while standing.verdict is None:
        if standing.since is None:
            shift(standing.percent)
        seen = _look(standing, look, clock)
        if isinstance(seen, Progression):
            standing = seen
        else:
            show(seen)
            if seen.verdict is Verdict.FAIL:
                broken = tuple(r.text for r in seen.results if r.verdict is Verdict.FAIL)
                return _kept(record, replace(standing, verdict="FAIL", why=broken))
            if seen.verdict is Verdict.PASS:
                if standing.step == len(STEPS) - 1:
                    return _kept(record, replace(standing, verdict="PASS"))
                standing = replace(standing, step=standing.step + 1, since=None, attempt=0)
                _kept(record, standing)
                continue
        _kept(record, standing)
        if not wait():
            return replace(standing, verdict="INCONCLUSIVE")
    return standing


def _look(
    standing: Progression, look: Callable[[Progression], Glance], clock: Callable[[], float]
) -> Glance | Progression:
    """A look at the step, or the step begun: its traffic is counted from now on."""
    try:
        return look(standing) if standing.since is not None else replace(standing, since=clock())
    except Unbelievable as error:
        if error.reset and standing.since is not None:
            return replace(standing, since=None, attempt=standing.attempt + 1)
        return Glance(standing.percent, 0, text=str(error))


def _kept(record: Path, standing: Progression) -> Progression:
    record.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, asdict(standing))
    return standing


def look_at(server: Prometheus, series: Series, rules: Sequence[Rule], standing: Progression) -> Glance:
    """Judge what both did since the step began. With all the traffic a candidate has nothing beside it: bounds of its own count.

    Raises:
        Unbelievable: samples that say nothing.
    """
    since, now = standing.since or 0.0, server.now()
    latency = any(rule.metric in QUANTILES for rule in rules)
    mine = server.counted(series, standing.candidate, since, now, latency=latency)
    if standing.percent == 100:
        alone = [rule for rule in rules if rule.bound == "at_most"]
        return Glance(
            100, mine.requests, tuple(judge_counts(alone, mine, None, len(rules), standing.attempt))
        )
    base = server.counted(series, standing.baseline, since, now, latency=latency)
    return Glance(
        standing.percent, mine.requests, tuple(judge_counts(rules, mine, base, len(rules), standing.attempt))
    )


def alpha_to_refuse(gates: int, attempt: int) -> float:
    """The error of one refusal: its share of ``FALSE_ROLLBACKS`` among steps, gates and beginnings."""
    return float(FALSE_ROLLBACKS / len(STEPS) / gates / 2 ** (attempt + 1))


def judge_counts(
    rules: Sequence[Rule], mine: Counted, base: Counted | None, gates: int, attempt: int = 0
) -> list[GateResult]:
    """Judge counts of the same minutes: PASS where the bound is proven, FAIL where it is proven broken."""
    refusing = alpha_to_refuse(gates, attempt)
    spent = [replace(rule, alpha=rule.alpha / 2**attempt) for rule in rules]
    return [(_errors if rule.metric == "errors" else _latency)(rule, mine, base, refusing) for rule in spent]


def _errors(rule: Rule, mine: Counted, base: Counted | None, refusing: float) -> GateResult:
    gate = _gate(rule)
    counts, share = (mine.failed, mine.requests), mine.failed / mine.requests
    if rule.bound == "at_most":
        low, high = (float(end) for end in share_bounds(*counts, rule.alpha))
        worst = float(share_bounds(*counts, refusing)[0])
        text = f"errors {_percent(share)} ({_percent(low)} .. {_percent(high)})"
        value = share
    else:
        theirs = (base.failed, base.requests) if base else (0, 0)
        low, high = (float(end) for end in difference_bounds(counts, theirs, rule.alpha))
        worst = float(difference_bounds(counts, theirs, refusing)[0])
        value = share - theirs[0] / max(theirs[1], 1)
        text = f"errors {_percent(share)}, {100 * value:+.2f} points ({100 * low:+.2f} .. {100 * high:+.2f})"
    verdict = (
        Verdict.PASS if high < rule.amount else Verdict.FAIL if worst > rule.amount else Verdict.INCONCLUSIVE
    )
    return gate.result(
        verdict, f"{text} on {mine.requests} requests; wanted {gate.wanted}.", value=value, low=low, high=high,
        threshold=rule.amount, n=mine.requests,
    )  # fmt: skip


def _latency(rule: Rule, mine: Counted, base: Counted | None, refusing: float) -> GateResult:
    """A quantile lies between two ends of buckets; a comparison is proven where no two places in them would break it."""
    gate, q = _gate(rule), QUANTILES[rule.metric]
    low, high = quantile_between(mine.below, q, rule.alpha / 2)
    surely = quantile_between(mine.below, q, refusing / 2)[0]
    text = f"{rule.metric} between {_seconds(low)} and {_seconds(high)}"
    most = allowed = rule.amount  # of what is surely above, and of what is surely below
    if rule.bound == "not_worse":
        floor, ceiling = quantile_between(base.below, q, rule.alpha / 2) if base else (0.0, math.inf)
        allowed = floor * (1 + rule.amount)
        most = (quantile_between(base.below, q, refusing / 2)[1] if base else math.inf) * (1 + rule.amount)
        text += f", the baseline between {_seconds(floor)} and {_seconds(ceiling)}"
    verdict = Verdict.PASS if high <= allowed else Verdict.FAIL if surely >= most else Verdict.INCONCLUSIVE
    text += f" on {mine.requests} requests; wanted {gate.wanted}."
    if verdict is Verdict.INCONCLUSIVE:
        text += " Buckets tell no more than that: a bound at the end of one can be proven, such as `at_most: 100 ms`."
    return gate.result(
        verdict,
        text,
        value=high if math.isfinite(high) else low,
        threshold=allowed,
        unit="s",
        n=mine.requests,
    )


def plan_of(rules: Sequence[Rule]) -> list[str]:
    """How many requests of the candidate's each comparison of errors needs, if the baseline fails on 1 in 100."""
    texts = []
    for rule in rules:
        if rule.metric == "errors" and rule.bound == "not_worse":
            needs = requests_that_tell(0.01, 0.0, rule.amount, rule.alpha)
            refused = []
            for rise in (rule.amount + 0.01, rule.amount + 0.02):
                caught = requests_that_tell(0.01, rise, rule.amount, alpha_to_refuse(len(rules), 0))
                refused.append(
                    f"about {wording.about(caught or 0)} refuse one that fails {100 * rise:.3g} points more"
                )
            texts.append(
                f"errors: if the baseline fails on 1 %, about {wording.about(needs or 0)} requests let an equal candidate pass a "
                f"step, {' and '.join(refused)}."
            )
    return texts


def _gate(rule: Rule) -> Gate:
    meaning = find(rule.metric, TRAFFIC)
    assert meaning is not None  # noqa: S101 (the contract was read)
    return Gate(rule, None, meaning, CANDIDATE, rule.alpha)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _seconds(value: float) -> str:
    return "no end" if math.isinf(value) else wording.plain(1000 * value) + " ms"


def as_json(look: Glance) -> Mapping[str, Any]:
    """A look as one object."""
    gates = [
        {"gate": r.gate, "verdict": r.verdict.value, "value": r.value, "low": r.low, "high": r.high,
         "threshold": r.threshold, "n": r.n, "text": r.text}
        for r in look.results
    ]  # fmt: skip
    return {
        "percent": look.percent,
        "requests": look.requests,
        "verdict": look.verdict.value,
        "waiting": look.text or None,
        "gates": gates,
    }
