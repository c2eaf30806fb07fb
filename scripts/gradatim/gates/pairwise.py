"""What a judge said of pairs of answers, in words; and how many pairs a gate on its verdicts needs."""

from __future__ import annotations

import math

from gradatim.errors import InvalidInput
from gradatim.gates import exact, wording
from gradatim.gates.case import Case
from gradatim.measurement import Measurement
from gradatim.metrics.judged import BIAS, KAPPA, LOST, TIED, WON, WinSamples

_AGREED = 0.8
"""The share of pairs for which a judge is planned to say the same in both orders."""

_BETTER = 0.1
"""How much more than a bound from a half on a model is planned to win."""


def pairs_in_words(samples: WinSamples, case: Case, alpha: float) -> tuple[str, str | None]:
    """What became of the pairs, and why the judge's verdicts do not count where they do not (``WinSamples.doubt``)."""
    said, doubt = samples.said, samples.doubt(alpha)
    assert said is not None  # noqa: S101 (win_rate() makes it with them)
    n = len(said.first)
    won, tied, lost = (int((said.agreed & (said.first == code)).sum()) for code in (WON, TIED, LOST))
    text = f" Of {wording.count(n, 'pairs')} {won} were won, {tied} even and {lost} lost"
    if turned := int((~said.agreed & ~said.unknown).sum()):
        lean = _measured(case, BIAS)
        place = f", position bias {_signed(lean)}" if lean and lean.value is not None else ""
        text += f"; of {turned} the verdict turned with the order of the answers{place}"
    if unknown := int(said.unknown.sum()):
        text += f"; {unknown} have none, and count against whatever is to be proven"
    text += "."
    if doubt == "order" and said.heard.any():
        apart, same = int(said.told_apart.sum()), int((said.told_apart & said.agreed).sum())
        helps = "more prompts are" if 2 * same > apart else "another judge or a clearer rubric is"
        text += (
            f" The judge is not proven to say the same in both orders more often than not ({same} of the {apart} pairs that it told "
            f"apart), so none of its verdicts counts: {helps} what helps."
            if apart
            else " The judge told no two answers apart, so none of its verdicts counts."
        )
    if doubt == "people":
        found = _measured(case, KAPPA)
        shown = (
            f" (kappa {found.value:.2f}, {found.low:.2f} .. {found.high:.2f}, on {found.n} prompts)"
            if found and found.value is not None and found.low is not None and found.high is not None
            else ""
        )
        text += f" People are not proven to agree with the judge as far as `task.judge.human` asks{shown}, so none of its verdicts counts."
    return text, doubt


def _measured(case: Case, name: str) -> Measurement | None:
    try:
        return case.measurement(name)
    except InvalidInput:
        return None


def _signed(found: Measurement) -> str:
    value = 100 * (found.value or 0.0)
    ends = (
        ""
        if found.low is None or found.high is None
        else f" ({100 * found.low:+.0f} .. {100 * found.high:+.0f})"
    )
    return f"{value:+.0f} %{ends} for the first"


def pairs_planned(bound: float, alpha: float, n: int | None, power: float) -> tuple[str, int, int | None]:
    """How many pairs "at least ``bound``" takes, in words that follow what there is; the least, and those of which an ordinary
    candidate passes in so many cases."""
    least = exact.samples_all_right(max(bound, 0.5), alpha) or 1
    if n is not None and n < least:
        return f", and even with every one won at least {least} are needed to prove it.", least, None
    share = 0.5 if bound < 0.5 else min(bound + _BETTER, (1 + bound) / 2)
    agreed = exact.samples_for_power(bound, share, alpha, power)
    if agreed is None:
        return ", and no number that anybody has would prove it of an equally good model.", least, None
    whom = "an equally good model" if bound < 0.5 else f"a model that truly wins {wording.percent(share)}"
    needed = max(least, math.ceil(agreed / _AGREED))
    text = (
        f". About {wording.about(needed)} let {whom} pass in 4 of 5 cases, if the judge says the same in both orders of "
        f"{100 * _AGREED:.0f} % of the pairs."
    )
    return text, least, needed
