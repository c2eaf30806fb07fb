"""What a candidate must prove on traffic, and whether a replay proves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradatim.checks.replay import Exchange
from gradatim.gates import wording
from gradatim.gates.case import Case
from gradatim.gates.gate import Gate
from gradatim.gates.judge import judge
from gradatim.gates.latency import QUANTILES, PairedTiming
from gradatim.gates.paired import not_worse
from gradatim.gates.rule import Rule
from gradatim.gates.threshold import judge as held_against
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.measurement import Measurement
from gradatim.metrics.catalogue import ERRORS

if TYPE_CHECKING:
    from gradatim.contract.reading import ReadContract

CANDIDATE = "candidate"
_ROUND, _MOST_ROUNDS = 20, 24
"""Requests of a round at least, and rounds at most: a round's quantile is compared with the other's."""

_ERRORS = Rule("errors", "errors", "not_worse", 0.01)
_AGREEMENT = Rule("agreement", "agreement", "at_least", 0.9)
_LATENCY = Rule("latency_p50", "latency_p50", "not_worse", 0.1)


def rules_of(contract: ReadContract, stage: str | None) -> tuple[Rule, ...]:
    """What is asked on traffic: what ``canary`` says; without it, errors at most a point worse, and the contract's own gates on
    agreement and latency, or 90 % and 10 % where it has none."""
    if contract.canary:
        return contract.canary
    own = [rule for rule in contract.rules_for(stage) if rule.where is None and rule.slices is None]
    on_traffic = [rule for rule in own if rule.metric in ("agreement", *QUANTILES, "latency_mean")]
    if not any(rule.metric == "agreement" for rule in on_traffic):
        task = contract.parts.task
        on_traffic += [_AGREEMENT] if task is not None and task.type.endswith("classification") else []
    if not any(rule.metric.startswith("latency") for rule in on_traffic):
        on_traffic.append(_LATENCY)
    return (_ERRORS, *on_traffic)


def judge_replay(
    rules: Sequence[Rule], exchanges: Sequence[Exchange], baseline_name: str
) -> list[GateResult]:
    """Judge a replay by gates on traffic; a failed request is a failure, of agreement too.

    Args:
        rules: from ``rules_of``.
        exchanges: at least one.
        baseline_name: what the baseline is called in texts.
    """
    answered = [exchange for exchange in exchanges if exchange.baseline is not None]
    failed = sum(exchange.candidate is None for exchange in exchanges)
    same = sum(exchange.same for exchange in answered)
    measured = [_share("errors", failed, len(exchanges)), _share("agreement", same, len(answered))]
    timings, rounds = _timings(exchanges)
    few = f"{len(rounds.get('latency_mean', ()))} rounds of {_ROUND} requests that both answered are too few"
    measured += [
        Measurement(rule.metric, CANDIDATE, None, "s", reason=few)
        for rule in rules
        if rule.metric.startswith("latency") and rule.metric not in timings
    ]
    case = Case(
        CANDIDATE, measured, timings=timings, rounds=rounds, noun="requests", baseline_name=baseline_name
    )
    found = [_errors(rule, case, exchanges) for rule in rules if rule.metric == "errors"]
    return found + judge([rule for rule in rules if rule.metric != "errors"], case)


def _share(name: str, count: int, n: int) -> Measurement:
    if not n:
        return Measurement(name, CANDIDATE, None, reason="the baseline answered no request")
    return Measurement(name, CANDIDATE, count / n, n=n, successes=count)


def _timings(
    exchanges: Sequence[Exchange],
) -> tuple[Mapping[str, PairedTiming], Mapping[str, Sequence[float]]]:
    """Each latency by round of requests that both answered: the ratio of the two, and the candidate's own."""
    both = [
        (e.baseline, e.candidate) for e in exchanges if e.baseline is not None and e.candidate is not None
    ]
    count = min(_MOST_ROUNDS, len(both) // _ROUND)
    if not count:
        return {}, {}
    rounds = np.array_split(np.maximum(np.array(both, np.float64), 1e-9), count)
    timings, levels = {}, {}
    for metric in (*QUANTILES, "latency_mean"):
        q = QUANTILES.get(metric)
        by_round = np.array([part.mean(0) if q is None else np.quantile(part, q, axis=0) for part in rounds])
        old, new = np.exp(np.log(by_round).mean(axis=0)).tolist()
        timings[metric] = PairedTiming(np.log(by_round[:, 1] / by_round[:, 0]).tolist(), old, new)
        levels[metric] = by_round[:, 1].tolist()
    return timings, levels


def _errors(rule: Rule, case: Case, exchanges: Sequence[Exchange]) -> GateResult:
    """The share of requests that failed: by itself, or beside the baseline's on the same requests."""
    gate = Gate(rule, None, ERRORS, CANDIDATE, rule.alpha)
    before = sum(exchange.baseline is None for exchange in exchanges)
    n = len(exchanges)
    if before == n:
        return gate.result(
            Verdict.INVALID, f"{case.baseline_name} answered none of {n} requests: they are not meant for it."
        )
    if rule.bound != "not_worse":
        return held_against(gate, case)
    gains = sum(e.baseline is None and e.candidate is not None for e in exchanges)
    losses = sum(e.baseline is not None and e.candidate is None for e in exchanges)
    found = not_worse(gains, losses, n, rule.amount, rule.alpha)
    after = before - gains + losses
    verdict = Verdict.PASS if found.low > -rule.amount else Verdict.INCONCLUSIVE
    verdict = Verdict.FAIL if found.high < -rule.amount else verdict
    text = (
        f"errors: {wording.percent(before / n)} -> {wording.percent(after / n)} of {n} requests "
        f"({100 * -found.high:+.1f} .. {100 * -found.low:+.1f} points); wanted {gate.wanted}."
    )
    if verdict is Verdict.INCONCLUSIVE:
        text += " So many requests cannot tell: record more."
    return gate.result(
        verdict, text, value=found.value, low=found.low, high=found.high, threshold=-rule.amount, n=n,
        baseline=before / n, candidate=after / n,
    )  # fmt: skip
