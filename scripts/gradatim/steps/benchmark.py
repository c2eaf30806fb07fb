"""benchmark: how fast is the candidate, beside the release that it would replace?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gradatim.contract.schema import Benchmark
from gradatim.files import digest_of, sha256_bytes, write_json
from gradatim.gates.verdict import Verdict
from gradatim.release import BASELINE, ORIGINAL, Outcome, Release, machine_kind
from gradatim.timing.contestant import Contestant
from gradatim.timing.paired import PairedResult, Question, compare

_MARGIN = 0.03


def depends_on(release: Release) -> Mapping[str, str]:
    baseline = release.baseline()
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in release.variants()},
        "baseline": baseline.digest if baseline else digest_of(None),
        "evaluation": release.data_digest("evaluation"),
        "contract": release.part_digest("model", "benchmark"),
        "margins": digest_of(_margin(release)),
        "code": release.code_digest(),
        "machine": sha256_bytes(machine_kind().encode()),
    }


def run(release: Release) -> Outcome:
    """Time every variant and the baseline against one another, in fresh processes, round by round."""
    subjects = {variant.name: variant.manifest.digest for variant in release.variants()}
    if release.contract.data_set("evaluation") is None:
        return Outcome("no evaluation data in the contract to time with", subjects)
    settings = release.contract.parts.benchmark
    paths = {variant.name: variant.path for variant in release.variants()}
    baseline = release.baseline_path()
    if baseline is not None:
        paths = {BASELINE: baseline, **paths}
    contestants = [_contestant(release, name, path, settings) for name, path in paths.items()]
    with release.open(release.original.path) as predictor:
        batch = release.dataset("evaluation", predictor.signature).head(settings.batch).inputs
    margin = _margin(release)
    against = BASELINE if baseline is not None else ORIGINAL
    questions = [Question(name, against, margin) for name in paths if name != against]
    with release.progress.task("benchmark", settings.rounds) as advance:
        result = compare(
            contestants, batch, questions=questions, rounds=settings.rounds, seed=release.contract.parts.test.seed,
            progress=lambda done, most, known: advance(1, known),
        )  # fmt: skip
    path = release.workspace.folder / "benchmark.json"
    write_json(path, result.to_json())
    return Outcome(
        _summary(result, against), subjects, Verdict.PASS, tuple(result.measurements()), (), {}, (path,)
    )


def _contestant(release: Release, name: str, path: Path, settings: Benchmark) -> Contestant:
    model = release.contract.parts.model
    constants, carries = release.hidden_inputs()
    return Contestant(
        name,
        path,
        path if model.path is None and path.is_dir() else release.root,
        format=model.format if path == release.model_path else None,
        factory=model.factory,
        signature=release.declared_signature(),
        device=model.device,
        threads=settings.threads or model.threads,
        allow_pickle=model.allow_pickle,
        constants=constants,
        carries=carries,
    )


def _margin(release: Release) -> float:
    """The strictest margin that a gate sets on latency or throughput."""
    rules = release.contract.rules_for(release.stage)
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
