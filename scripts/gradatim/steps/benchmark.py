"""benchmark: how fast is the candidate, beside the release that it would replace?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.files import digest_of, write_json
from gradatim.gates.rule import paired_margins
from gradatim.gates.verdict import Verdict
from gradatim.timing.machine import has_gpu, this_machine

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    from numpy.typing import NDArray

    from gradatim.timing.paired import Question
    from gradatim.timing.result import PairedResult


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    baseline = candidate.replaced.release
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in candidate.forms.all},
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": candidate.digests.data("evaluation"),
        "contract": candidate.digests.part("model", "benchmark"),
        "margins": digest_of(_margins(candidate)),
        "code": candidate.digests.code(),
        "machine": digest_of(candidate.waits) if _waits(candidate) else this_machine().kind,
    }


def _waits(candidate: Candidate) -> bool:
    """Whether there is no GPU here and need not be one."""
    return candidate.waits is not None and not has_gpu()


def run(candidate: Candidate) -> Outcome:
    """Time every variant and the baseline against one another, in fresh processes, round by round."""
    from gradatim.timing.decision import LOOKS
    from gradatim.timing.paired import compare
    from gradatim.timing.result import unmeasured

    subjects = {variant.name: variant.manifest.digest for variant in candidate.forms.all}
    if candidate.contract.data_set("evaluation") is None:
        return Outcome("no evaluation data in the contract to time with", subjects)
    if _waits(candidate):
        candidate.workspace.benchmark.unlink(missing_ok=True)
        nothing = tuple(one for name in subjects for one in unmeasured(name, str(candidate.waits)))
        return Outcome("waits for a GPU, which no pull request gets", subjects, measurements=nothing)
    settings = candidate.contract.parts.benchmark
    variants = {variant.name: variant.path for variant in candidate.forms.all}
    baseline = candidate.replaced.path
    paths = {BASELINE: baseline, **variants} if baseline is not None else variants
    contestants = {
        name: candidate.model_of(name).contestant(name, path, settings.threads)
        for name, path in paths.items()
    }
    batch, readers, round_seconds = _inputs(candidate, paths, settings.batch)
    rounds = settings.rounds if baseline is not None else min(LOOKS[0], settings.rounds)
    with candidate.progress.task("benchmark", settings.rounds) as advance:
        more = ", six times that at most" if rounds == LOOKS[-1] else ""
        expected = round(round_seconds * len(contestants) * min(rounds, LOOKS[0]))
        advance(0, f"about {expected} s{more}")

        def tell(done: int, most: int, known: str) -> None:
            advance(1, known)

        released = baseline is not None
        found = compare(
            list(contestants.values()),
            batch,
            questions=_questions(variants, _margins(candidate), released=released),
            rounds=rounds,
            progress=tell,
        )
    path = candidate.workspace.benchmark
    write_json(path, found.to_json())
    summary = _summary(found, BASELINE if released else ORIGINAL) + _tokenizer_in(readers, released)
    return Outcome(summary, subjects, Verdict.PASS, tuple(found.measurements()), outputs=(path,))


def _inputs(
    candidate: Candidate, paths: Mapping[str, Path], rows: int
) -> tuple[dict[str, NDArray[Any]], frozenset[str], float]:
    """The first rows, as candidate and baseline take them: either may know an input that the other does not.

    Returns:
        The inputs; which of the two are given text: their tokenizer is part of the call that is timed; and about how long a
        round takes for each, in seconds.
    """
    from gradatim.timing.blocks import round_seconds

    found: dict[str, NDArray[Any]] = {}
    readers: dict[str, str] = {}
    longest = 0.0
    for name in (BASELINE, ORIGINAL):
        path = candidate.forms.original.path if name == ORIGINAL else paths.get(name)
        if path is not None:
            began = time.monotonic()
            with candidate.model_of(name).open(path) as predictor:
                opening = time.monotonic() - began
                own = candidate.rows_of(name).dataset("evaluation", predictor.signature).head(rows).inputs
                found |= own
                longest = max(longest, opening + round_seconds(partial(predictor, own)))
                if predictor.signature.text is not None:
                    readers[name] = predictor.signature.text.name
    return found, frozenset(name for name, text in readers.items() if text in found), longest


def _tokenizer_in(readers: frozenset[str], beside: bool) -> str:
    """Whose tokenizer the timing includes, in words."""
    if not readers:
        return ""
    if beside and len(readers) == 1:
        return f", tokenizer included for the {'baseline' if BASELINE in readers else 'candidate'} alone"
    return ", tokenizer included"


def _questions(variants: Iterable[str], margins: Mapping[str, float], *, released: bool) -> list[Question]:
    """Every form beside the baseline, whichever of them the gate refuses later; without one, beside the original."""
    from gradatim.timing.paired import Question

    if not released:
        return [Question(name, ORIGINAL) for name in variants if name != ORIGINAL]
    return [Question(name, BASELINE, margin, metric=m) for name in variants for m, margin in margins.items()]


def _margins(candidate: Candidate) -> dict[str, float]:
    """The margin of each metric that a question is about."""
    return paired_margins(candidate.contract.rules_for(candidate.stage))


def _summary(result: PairedResult, against: str) -> str:
    """``paired, 10 rounds, latency_floor -58.3 % (-59.1 .. -57.4)``."""
    if not result.comparisons:
        one = result.contestants[0]
        p50 = one.level("latency_p50")
        return f"{one.rounds} rounds, p50 {p50.value * 1e3 if p50 else 0:.3g} ms, nothing to compare with"
    first = result.comparisons[0]
    whom = "" if against == BASELINE else f" against {against}"
    if first.ratio is None or first.low is None or first.high is None:
        return f"undecided: {first.reason}"
    low, value, high = (f"{(ratio - 1) * 100:+.1f}" for ratio in (first.low, first.ratio, first.high))
    rounds = first.shown.looks[-1].rounds
    why = f"; ended early: {first.reason}" if first.reason else ""
    return f"paired, {rounds} rounds, {first.shown.metric} {value} % ({low} .. {high}){whom}{why}"
