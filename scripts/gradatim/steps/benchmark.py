"""benchmark: how fast is the candidate, beside the release that it would replace?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.files import digest_of, write_json
from gradatim.gates.verdict import Verdict
from gradatim.timing.machine import this_machine

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    from numpy.typing import NDArray

    from gradatim.contract.schema import BenchmarkSection
    from gradatim.timing.contestant import Contestant
    from gradatim.timing.result import PairedResult

_MARGIN = 0.03


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    baseline = candidate.replaced.release
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in candidate.forms.all},
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": candidate.digests.data("evaluation"),
        "contract": candidate.digests.part("model", "benchmark"),
        "margins": digest_of(_margin(candidate)),
        "code": candidate.digests.code(),
        "machine": this_machine().kind,
    }


def run(candidate: Candidate) -> Outcome:
    """Time every variant and the baseline against one another, in fresh processes, round by round."""
    from gradatim.timing.result import together

    subjects = {variant.name: variant.manifest.digest for variant in candidate.forms.all}
    if candidate.contract.data_set("evaluation") is None:
        return Outcome("no evaluation data in the contract to time with", subjects)
    settings = candidate.contract.parts.benchmark
    variants = {variant.name: variant.path for variant in candidate.forms.all}
    baseline = candidate.replaced.path
    paths = {BASELINE: baseline, **variants} if baseline is not None else variants
    contestants = {
        name: candidate.model_of(name).contestant(name, path, settings.threads)
        for name, path in paths.items()
    }
    batch, readers = _inputs(candidate, paths, settings.batch)
    with candidate.progress.task("benchmark", settings.rounds) as advance:

        def tell(done: int, most: int, known: str) -> None:
            advance(1, known)

        found = list(_timed(contestants, list(variants), batch, settings, _margin(candidate), tell))
    path = candidate.workspace.benchmark
    write_json(path, together(found).to_json())
    measurements = {m.label + m.variant: m for result in found for m in result.measurements()}
    summary = _summary(found[0], BASELINE if baseline is not None else ORIGINAL) + _tokenizer_in(
        readers, baseline is not None
    )
    return Outcome(summary, subjects, Verdict.PASS, tuple(measurements.values()), outputs=(path,))


def _inputs(
    candidate: Candidate, paths: Mapping[str, Path], rows: int
) -> tuple[dict[str, NDArray[Any]], frozenset[str]]:
    """The first rows, as candidate and baseline take them: either may know an input that the other does not.

    Returns:
        The inputs, and which of the two are given text: their tokenizer is part of the call that is timed.
    """
    found: dict[str, NDArray[Any]] = {}
    readers: dict[str, str] = {}
    for name in (BASELINE, ORIGINAL):
        path = candidate.forms.original.path if name == ORIGINAL else paths.get(name)
        if path is not None:
            with candidate.model_of(name).open(path) as predictor:
                found |= candidate.rows_of(name).dataset("evaluation", predictor.signature).head(rows).inputs
                if predictor.signature.text is not None:
                    readers[name] = predictor.signature.text.name
    return found, frozenset(name for name, text in readers.items() if text in found)


def _tokenizer_in(readers: frozenset[str], beside: bool) -> str:
    """Whose tokenizer the timing includes, in words."""
    if not readers:
        return ""
    if beside and len(readers) == 1:
        return f", tokenizer included for the {'baseline' if BASELINE in readers else 'candidate'} alone"
    return ", tokenizer included"


def _timed(
    contestants: Mapping[str, Contestant],
    variants: list[str],
    batch: Mapping[str, NDArray[Any]],
    settings: BenchmarkSection,
    margin: float,
    tell: Callable[[int, int, str], None],
) -> Iterator[PairedResult]:
    """One paired benchmark a variant, in the order of preference, until one is proven not to be slower.

    Variants that are not asked about take part in the first rounds all the same, so that the report knows them.
    """
    from gradatim.timing.decision import LOOKS
    from gradatim.timing.paired import Question, compare

    if BASELINE not in contestants:
        questions = [Question(name, ORIGINAL, margin) for name in variants if name != ORIGINAL]
        yield compare(
            list(contestants.values()),
            batch,
            questions=questions,
            rounds=min(LOOKS[0], settings.rounds),
            progress=tell,
        )
        return
    for place, name in enumerate(variants):
        playing = list(contestants.values()) if place == 0 else [contestants[BASELINE], contestants[name]]
        result = compare(
            playing,
            batch,
            questions=[Question(name, BASELINE, margin)],
            rounds=settings.rounds,
            progress=tell,
        )
        yield result
        answer = result.comparison(name)
        if answer is not None and answer.decision.verdict is Verdict.PASS:
            return


def _margin(candidate: Candidate) -> float:
    """The strictest margin that a gate sets on latency or throughput."""
    rules = candidate.contract.rules_for(candidate.stage)
    margins = [
        r.amount for r in rules if r.bound == "not_worse" and r.metric.startswith(("latency", "throughput"))
    ]
    return min(margins, default=_MARGIN)


def _summary(result: PairedResult, against: str) -> str:
    """``paired, 10 rounds, -58.3 % (-59.1 .. -57.4)``."""
    if not result.comparisons:
        return f"{result.contestants[0].rounds} rounds, p50 {result.contestants[0].p50.value * 1e3:.3g} ms, nothing to compare with"
    first = result.comparisons[0]
    whom = "" if against == BASELINE else f" against {against}"
    if first.ratio is None or first.low is None or first.high is None:
        return f"undecided: {first.reason}"
    low, value, high = (f"{(ratio - 1) * 100:+.1f}" for ratio in (first.low, first.ratio, first.high))
    return f"paired, {len(first.differences)} rounds, {value} % ({low} .. {high}){whom}"
