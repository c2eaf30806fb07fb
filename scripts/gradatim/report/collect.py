"""Collect what the steps of a run found into the one object that every report renders."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.errors import GradatimError
from gradatim.evidence.found import Check, Compressed, Evaluated, Inspected, Judged, Tested
from gradatim.evidence.statement import Statement
from gradatim.evidence.trend import Trend, trends
from gradatim.evidence.trial import Trial
from gradatim.files import digest_of, sha256_bytes
from gradatim.gates.verdict import Verdict
from gradatim.lineage.record import Lineage as Training
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.metrics.diagnostics import CalibrationBin, Overlap
from gradatim.pipeline.graph import CHECKS, STEPS
from gradatim.report.assemble import curves_from, hints_from, slices_from
from gradatim.report.explanation import EXPLANATION_FILE, not_explained, read_explanation
from gradatim.report.load import loads_from
from gradatim.report.model import (
    Benchmark,
    Calibration,
    Card,
    Confusion,
    DataSet,
    Estimate,
    Latency,
    ModelSummary,
    Provenance,
    Report,
    StepSummary,
    TimedModel,
    VariantRow,
)
from gradatim.report.overlap import aligned, counts
from gradatim.report.profile import profile_from
from gradatim.report.sizes import sizes_from
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from gradatim.timing.result import PairedResult

_QUANTILES = {"TTFT p50": "ttft_p50", "TTFT p95": "ttft_p95", "TPOT mean": "tpot_mean", "ITL p95": "itl_p95"}
_QUANTILES |= {name: f"latency_{name}" for name in ("p50", "p90", "p95", "p99")}
_ECDF_POINTS = 100
_VERSIONS = 24
"""So many releases are drawn, the newest ones."""


def collect(
    candidate: Candidate,
    gate: Outcome | None = None,
    *,
    steps: Collection[str] = STEPS,
    outcome: str | None = None,
    version: str | None = None,
) -> Report:
    """The report of what the workspace holds.

    Args:
        candidate: the candidate.
        gate: what the gate step found, while its evidence is not written yet.
        steps: whose evidence counts; that of other steps may be of an earlier candidate.
        outcome: what was done about it.
        version: the version that it got.
    """
    found = {
        step.name: statement
        for step in CHECKS
        if step.name in steps and (statement := _statement(candidate, step.name)) is not None
    }
    judged = gate or _judged(found.get("gate")) or _unfinished(found)
    results = judged.gates
    choice = judged.found if isinstance(judged.found, Judged) else None
    measurements = [m for statement in found.values() for m in statement.measurements]
    variant = choice.chosen if choice else next((name for s in found.values() for name in s.subjects), None)
    beside, digest, moved = _beside(candidate, found)
    timings = candidate.workspace.timings() if "benchmark" in found else None
    evaluated = Evaluated.if_any(found.get("evaluate"))
    compressed = Compressed.if_any(found.get("compress"))
    inspected = Inspected.if_any(found.get("inspect"))
    checks = tested.checks if (tested := Tested.if_any(found.get("test"))) else ()
    task = candidate.contract.parts.task
    digests = {digest for statement in found.values() for digest in statement.subjects.values()}
    explanation = read_explanation(candidate.workspace.folder / EXPLANATION_FILE, digests)
    asked = explanation is None and task is not None and task.type == "classification"
    told = not_explained(measurements, variant) if asked else []
    return Report(
        name=candidate.name,
        verdict=judged.verdict,
        outcome=outcome,
        version=version,
        stage=candidate.stage,
        baseline=beside,
        commit=_environment(found).get("commit"),
        chosen=variant,
        task=task.type if task else None,
        modality=candidate.contract.parts.test.modality,
        samples=evaluated.rows if evaluated else None,
        contract=candidate.contract.path.name,
        gates=results,
        steps=tuple(
            StepSummary(one.step, "done", one.seconds, one.verdict, one.summary) for one in found.values()
        ),
        variants=_variants(measurements, compressed, evaluated, variant, timings, candidate),
        sensitivities=compressed.sensitivities if compressed else (),
        measurements=tuple(m for m in measurements if m.variant in (variant, BASELINE)),
        slices=slices_from(measurements, results, variant or "", BASELINE, _lower_is_better(candidate)),
        robustness=curves_from(measurements, variant or "", BASELINE),
        latency=_latency(timings, variant) if timings else None,
        loads=loads_from(timings.loads) if timings else (),
        profile=profile_from(candidate.workspace, found.get("benchmark"), variant),
        history=_history(candidate, found, variant, version),
        overlap=_overlap(evaluated, variant),
        confusion=_confusion(evaluated, variant, candidate) if evaluated else None,
        calibration=_calibration(evaluated, variant, measurements) if evaluated else None,
        checks=checks,
        worse=tested.robustness.worse if tested else (),
        inspection=_inspection(inspected.inspection, candidate, variant) if inspected else None,
        lineage=_lineage(candidate, found, variant, inspected, (beside, digest)),
        data=tuple(_data(candidate, evaluated)),
        card=_card(candidate),
        flipped=evaluated.flipped if evaluated else (),
        explanation=explanation,
        hints=(*hints_from(evaluated), *_changed_answers(checks), *told),
        budget=choice.budget if choice else None,
        warnings=(*moved, *_warnings(choice), *_diverged(inspected)),
    )


def _statement(candidate: Candidate, step: str) -> Statement | None:
    return None if step in candidate.unproven else candidate.workspace.statement(step)


def _judged(statement: Statement | None) -> Outcome | None:
    if statement is None:
        return None
    return Outcome("", statement.subjects, statement.verdict, (), statement.gates, Judged.if_any(statement))


def _unfinished(found: Mapping[str, Statement]) -> Outcome:
    """No gate was judged: what the steps decided for themselves, and never a PASS."""
    gates = tuple(gate for statement in found.values() for gate in statement.gates)
    verdicts = [statement.verdict for statement in found.values()]
    return Outcome("", {}, Verdict.worst([Verdict.INCONCLUSIVE, *verdicts]), (), gates)


def _beside(candidate: Candidate, found: Mapping[str, Statement]) -> tuple[str | None, str | None, list[str]]:
    """The release that was compared with, as the evidence has it, its digest, and whether the stage holds another by now."""
    statement = next((s for s in found.values() if "baseline" in s.inputs), None)
    moved = candidate.replaced.moved(statement) if statement else None
    if statement is not None and moved is not None:
        against = candidate.replaced.compared(statement)
        label = None if against == "nothing" else against
        return label, statement.inputs["baseline"], [f"{moved}: judged against {against}."]
    try:
        baseline = candidate.replaced.release
    except GradatimError:  # a candidate that was refused early cannot be told from what was released
        return None, None, []
    return (baseline.label, baseline.digest, []) if baseline else (None, None, [])


def _variants(
    measurements: list[Measurement],
    compressed: Compressed | None,
    evaluated: Evaluated | None,
    chosen: str | None,
    timings: PairedResult | None,
    candidate: Candidate,
) -> tuple[VariantRow, ...]:
    names = list(dict.fromkeys(m.variant for m in measurements))
    both = _overlap(evaluated, chosen)
    trials = {trial.name: trial for trial in (compressed and compressed.trials) or ()}
    ratios = _ratios(timings)
    variants = [
        _variant(name, measurements, trials.get(name), ratios.get(name), chosen, candidate) for name in names
    ]
    if both is not None:
        on = f"on {counts(both)}"
        variants = [replace(variant, reason=on) if variant.baseline else variant for variant in variants]
    original = ratios.get(ORIGINAL)
    for name, trial in trials.items():
        if name not in names:
            quick = trial.latency_ratio
            latency = Estimate(quick * original.value) if quick is not None and original else None
            variants.append(
                VariantRow(name, trial.size, {}, latency, accepted=trial.accepted, reason=_why(trial))
            )
    return tuple(variants)


def _why(trial: Trial) -> str:
    """Why a trial is not the one that was judged."""
    return f"{trial.reason}; another form scores better" if trial.accepted else trial.reason


def _variant(
    name: str,
    measurements: list[Measurement],
    trial: Trial | None,
    latency: Estimate | None,
    chosen: str | None,
    candidate: Candidate,
) -> VariantRow:
    mine = {
        m.name: m.value for m in measurements if m.variant == name and m.where is None and m.value is not None
    }
    task = candidate.contract.parts.task
    wanted = catalogue.quality(task.type) if task else ()
    quality = {
        metric: mine[metric] for metric in (*wanted, *(task.metrics if task else ())) if metric in mine
    }
    size, parameters = mine.get("size"), mine.get("parameters")
    return VariantRow(
        name,
        int(size) if size is not None else None,
        quality,
        latency,
        mine.get("latency_p50"),
        int(parameters) if parameters is not None else None,
        accepted=True if trial else None,
        reason=trial.reason if trial else None,
        chosen=name == chosen,
        baseline=name == BASELINE,
    )


def _ratios(timings: PairedResult | None) -> dict[str, Estimate]:
    """Time per call relative to the baseline's; nothing where there is no baseline.

    Paired with its interval for the forms that were asked about, the ratio of medians for the others.
    """
    baseline = timings.contestant(BASELINE) if timings else None
    if timings is None or baseline is None:
        return {}
    typical = {one.name: one.level("latency_p50") for one in timings.contestants}
    before = typical[BASELINE]
    found = {name: Estimate(p50.value / before.value) for name, p50 in typical.items() if p50 and before}
    for pair in timings.comparisons:
        if pair.baseline == BASELINE and pair.ratio is not None:
            found[pair.candidate] = Estimate(pair.ratio, pair.low, pair.high)
    return found


def _latency(timings: PairedResult, chosen: str | None) -> Latency:
    shown = [one for one in timings.contestants if one.name in (chosen, BASELINE)]
    contestants = tuple(
        TimedModel(
            one.name,
            {q: level.value for q, metric in _QUANTILES.items() if (level := one.level(metric))},
            _ecdf(one.samples),
            one.calls,
        )
        for one in shown
    )
    setting = None
    if shown:
        machine = timings.machine.cpu or timings.machine.kind
        setting = f"{machine}, {shown[0].threads} thread, {shown[0].work}"
    pair, sizes = timings.comparison(chosen or ""), sizes_from(timings, chosen or "", BASELINE)
    if pair is None or pair.baseline != BASELINE or pair.ratio is None:
        return Latency(contestants, setting=setting, sizes=sizes)
    told, ratio = pair.shown, Estimate(pair.ratio, pair.low, pair.high)
    decision = f"{told.metric}: {pair.decision.value}"
    slower = tuple(-d if catalogue.is_rate(told.metric) else d for d in pair.differences[told.metric])
    return Latency(contestants, slower, ratio, told.margin, decision, setting, sizes)


def _history(
    candidate: Candidate, found: Mapping[str, Statement], chosen: str | None, version: str | None
) -> tuple[Trend, ...]:
    """What was released before, and the candidate beside it."""
    mine = (
        next((s.subjects[chosen] for s in found.values() if chosen in s.subjects), None) if chosen else None
    )
    if mine is None:
        return ()
    before = [one for one in candidate.versions(_VERSIONS) if one[0] != version]
    return trends([*before, (version or "candidate", mine, tuple(found.values()))]) if before else ()


def _ecdf(samples: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """At most 100 points of the share of calls that took at most so long."""
    ordered = sorted(samples)
    n = len(ordered)
    places = sorted({round(i * (n - 1) / (_ECDF_POINTS - 1)) for i in range(_ECDF_POINTS)}) if n else []
    return tuple((ordered[place], (place + 1) / n) for place in places)


def _overlap(evaluated: Evaluated | None, variant: str | None) -> Overlap | None:
    form = evaluated.variants.get(variant or "") if evaluated else None
    return form.overlap if form else None


def _confusion(evaluated: Evaluated, chosen: str | None, candidate: Candidate) -> Confusion | None:
    own, before = (evaluated.variants.get(name or "") for name in (chosen, BASELINE))
    if own is None or own.confusion is None:
        return None
    labels = [str(label) for label in evaluated.labels]
    if before is None or before.confusion is None:
        return Confusion(tuple(labels), own.confusion)
    task = candidate.contract.parts.task
    called = {str(old): new for new, old in task.renamed.items()} if task else {}
    theirs = [called.get(str(label), str(label)) for label in before.labels or labels]
    return Confusion(tuple(labels), own.confusion, aligned(before.confusion, theirs, labels))


def _calibration(
    evaluated: Evaluated, chosen: str | None, measurements: list[Measurement]
) -> Calibration | None:
    def bins(name: str | None) -> tuple[CalibrationBin, ...]:
        form = evaluated.variants.get(name or "")
        return tuple(one for one in (form and form.calibration) or () if one.n)

    own = bins(chosen)
    ece = next(
        (m.value for m in measurements if m.name == "ece" and m.variant == chosen and m.where is None), None
    )
    return Calibration(own, bins(BASELINE), ece) if own else None


def _inspection(seen: Inspection, candidate: Candidate, chosen: str | None) -> ModelSummary:
    signature = seen.signature or Signature((), ())
    try:
        files = next((v.manifest.files for v in candidate.forms.all if v.name == chosen), ())
    except GradatimError:
        files = ()
    return ModelSummary(
        seen.format,
        ", ".join(f"{domain} {number}".strip() for domain, number in seen.opset.items()) or None,
        tuple(map(str, signature.inputs)),
        tuple(map(str, signature.outputs)),
        seen.parameters,
        seen.operators,
        files,
    )


def _lineage(
    candidate: Candidate,
    found: Mapping[str, Statement],
    chosen: str | None,
    inspected: Inspected | None,
    beside: tuple[str | None, str | None],
) -> Provenance:
    baseline, digest = beside
    environment = _environment(found)
    packages = _packages(found)
    manifest = next((s.subjects[chosen] for s in found.values() if chosen and chosen in s.subjects), None)
    return Provenance(
        commit=environment.get("commit"),
        branch=environment.get("branch"),
        previous=f"{baseline} ({digest[:12]})" if baseline and digest else None,
        manifest=manifest,
        contract=sha256_bytes(candidate.contract.text.encode()),
        seed=candidate.contract.parts.test.seed,
        data={
            name: statement.inputs[name]
            for name in ("evaluation", "calibration")
            for statement in found.values()
            if statement.inputs.get(name, digest_of(None)) != digest_of(None)
        },
        environment={
            **{key: str(environment[key]) for key in ("machine", "system", "python") if key in environment},
            **{name: str(version) for name, version in packages.items()},
        },
        evidence={step: sha256_bytes(statement.to_bytes()) for step, statement in found.items()},
        training=inspected.lineage if inspected else None,
        training_before=_trained_before(candidate, digest) if inspected and inspected.lineage else None,
    )


def _trained_before(candidate: Candidate, digest: str | None) -> Training | None:
    """What training recorded of the release with this manifest, where its evidence is here."""
    kept = [statements for _, manifest, statements in candidate.versions(_VERSIONS) if manifest == digest]
    inspected = [Inspected.if_any(one) for statements in kept for one in statements if one.step == "inspect"]
    return next((found.lineage for found in inspected if found is not None), None)


def _packages(found: Mapping[str, Statement]) -> dict[str, str]:
    """What measured: of every step but the gate, whose machine need not be able to run the model."""
    measuring = (statement for step, statement in found.items() if step != "gate")
    merged: dict[str, str] = {}
    for statement in measuring:
        merged |= statement.environment.get("packages", {})
    return dict(sorted(merged.items()))


def _card(candidate: Candidate) -> Card:
    said = candidate.contract.parts.card
    scored = Benchmark(**said.benchmark.model_dump()) if said.benchmark else None
    return Card(**{**said.model_dump(), "benchmark": scored})


def _data(candidate: Candidate, evaluated: Evaluated | None) -> Iterator[DataSet]:
    for role in ("evaluation", "calibration"):
        chosen = candidate.contract.data_set(role)
        if chosen is None:
            continue
        rows = evaluated.rows if evaluated and role == "evaluation" else None
        yield DataSet(role, chosen.path, candidate.digests.of_file(role), rows)


def _diverged(inspected: Inspected | None) -> list[str]:
    """What training logged last and is no number."""
    names = inspected.lineage.diverged if inspected and inspected.lineage else ()
    return (
        [f"Training ended with NaN or infinity in: {', '.join(names[:5])}. It may have diverged."]
        if names
        else []
    )


def _environment(found: Mapping[str, Statement]) -> Mapping[str, Any]:
    return next((statement.environment for statement in reversed(list(found.values()))), {})


def _changed_answers(checks: tuple[Check, ...]) -> list[str]:
    """Answers that an earlier release gave otherwise, where the contract lets that pass."""
    return [
        f"Held against {check.name}: {check.detail}. With regression: strict under test: it would be refused."
        for check in checks
        if check.group == "regression" and check.verdict is Verdict.PASS and " changed" in check.detail
    ]


def _warnings(choice: Judged | None) -> list[str]:
    refused = choice.refused_variants if choice else {}
    return [f"The variant {name} was refused: {reasons[0]}" for name, reasons in refused.items() if reasons]


def _lower_is_better(candidate: Candidate) -> set[str]:
    task = candidate.contract.parts.task
    if task is None:
        return set()
    return {
        name for name, metric in catalogue.known(task.type, task.own).items() if not metric.higher_is_better
    }
