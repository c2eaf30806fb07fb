"""evaluate: how good is the candidate, beside the release that it would replace?"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.candidate.adjusting import keep_covariate, with_covariate
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.flips import AGAIN, flipped, self_flips, shown, wants_self_flips
from gradatim.candidate.forms import ORIGINAL
from gradatim.candidate.imported import UNSEEN, import_answers, imports_digest
from gradatim.candidate.judging import judge_answers, judged_by, meet_judge
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.candidate.sharding import Part, begin, elsewhere, forget, left, merged, parts
from gradatim.candidate.stopping import awaited, decided, looks, stopping_rules
from gradatim.candidate.uses import count_use, tries
from gradatim.checks.leakage import asked_of_data, with_data_told
from gradatim.errors import InvalidInput, UsageError
from gradatim.evidence.found import CountedUse, Evaluated, FormEvaluated, Judging
from gradatim.files import digest_of
from gradatim.gates.verdict import Verdict
from gradatim.measurement import Measurement
from gradatim.metrics import catalogue
from gradatim.shard import Shard

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.data import Dataset
    from gradatim.metrics.diagnostics import Overlap
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.task import Task
    from gradatim.models import Predictor
    from gradatim.progress import Advance
    from gradatim.signature import Signature


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    baseline, stops = candidate.replaced.release, stopping_rules(candidate)
    return {
        **{f"variant:{variant.name}": variant.manifest.digest for variant in candidate.forms.all},
        **{name: other.manifest.digest for name, other in candidate.forms.others.items()},
        "baseline": baseline.digest if baseline else digest_of(None),
        **{which: candidate.digests.data(which) for which in ("evaluation", "calibration")},
        "contract": candidate.digests.part("model", "data", "task"),
        "gates": digest_of([_extra_metrics(candidate), wants_self_flips(candidate), *shown(candidate)]),
        **asked_of_data(candidate),
        "code": candidate.digests.code(),
        **judged_by(candidate),
        **tries(candidate),
        **({"stops": digest_of([asdict(replace(rule, line=None)) for rule in stops])} if stops else {}),
        **({"imported": imports_digest(candidate)} if candidate.contract.parts.evaluate.imported else {}),
    }


def run(candidate: Candidate) -> Outcome:
    """Predict with every variant and the baseline, on the same rows; measure each with its interval.

    Where shards left the predictions in the workspace, those are merged.
    """
    subjects = {variant.name: variant.manifest.digest for variant in candidate.forms.all}
    if candidate.contract.parts.evaluate.imported is not None:
        return _from_elsewhere(candidate, subjects)
    if candidate.contract.parts.data.evaluation is None:
        return Outcome("no evaluation data in the contract", subjects)
    task = candidate.rows.task()
    variants = _contestants(candidate)
    flips = task.type == "classification" and BASELINE in variants
    if explained := candidate.contract.parts.evaluate.explain if flips else 0:
        _explainer().require_shap()
    meet_judge(candidate, asked=len(variants) > 1)
    dataset = candidate.rows.dataset("evaluation", None)
    if task.type == "classification":
        _refuse_one_class(dataset)
    adjuster = keep_covariate(candidate)
    shards = parts(candidate, "evaluate", depends_on(candidate))
    uses = count_use(candidate)
    runs = _runs(candidate, variants)
    signatures: dict[str, Signature] = {}
    beside: list[Measurement] = []
    without, fed = "", None
    stops = stopping_rules(candidate)
    wanted = awaited(stops, dataset)
    with candidate.progress.task("evaluate", len(dataset) * sum(map(len, runs.values()))) as advance:
        for look in looks(candidate, len(dataset)) if stops else (None,):
            for name, path in variants.items():
                with candidate.model_of(name).open(path) as predictor:
                    for run in runs[name]:
                        folder = candidate.workspace.predictions_folder(run)
                        if shards:
                            _merge(shards, run, folder, len(dataset), advance)
                        elif look is not None:
                            _predict_more(
                                candidate, name, predictor, folder, look, advance, name in signatures
                            )
                        else:
                            _predict(candidate, name, predictor, folder, None, advance)
                    if name not in signatures:
                        signatures[name] = _signature(candidate, name, predictor)
                        without = without or _without(candidate, name, predictor)
                        fed = fed or predictor.signature
            if look is not None and decided(candidate, stops, wanted, len(dataset), uses):
                break
    judging, of_judge = judge_answers(candidate, task, variants)
    beside += of_judge
    with candidate.contract.blamed("task"):
        outcome = _measured(candidate, task, variants, signatures, subjects, uses)
    if judging is not None and isinstance(outcome.found, Evaluated):
        outcome = replace(outcome, found=replace(outcome.found, judging=judging))
    if AGAIN in runs.get(BASELINE, ()):
        again = self_flips(candidate)
        if again.value is not None:
            beside.append(
                Measurement("self_flips", BASELINE, again.value, n=again.n, successes=again.successes)
            )
    if BASELINE in variants:
        files = candidate.replaced.files
        beside.append(Measurement("size", BASELINE, float(sum(file.stat().st_size for file in files)), "B"))
    if explained:
        _explainer().keep_explanation(candidate, None, explained)
    forget(candidate, "evaluate")
    outcome = replace(
        outcome,
        summary=outcome.summary + _judged_by(judging) + _counted(candidate, uses) + without,
        measurements=(*outcome.measurements, *beside),
        elsewhere=elsewhere(shards),
    )
    return with_covariate(candidate, adjuster, with_data_told(candidate, fed, outcome))


def _from_elsewhere(candidate: Candidate, subjects: dict[str, str]) -> Outcome:
    """Measured from the answers that another harness collected."""
    task = candidate.rows.task()
    runs = import_answers(candidate, task)
    names = {run.variant: None for run in runs}
    nothing = dict.fromkeys(names, UNSEEN)
    with candidate.contract.blamed("task"):
        outcome = _measured(candidate, task, names, nothing, subjects, None)
    found = outcome.found
    assert isinstance(found, Evaluated)  # noqa: S101 (for the type checker)
    return replace(
        outcome,
        summary=f"{outcome.summary}, as {runs[0].harness} measured it",
        found=replace(found, imported=runs),
    )


def answers(candidate: Candidate) -> int:
    """How many answers to a row it asks models for, in all."""
    rows = len(candidate.rows.dataset("evaluation", None))
    return rows * sum(map(len, _runs(candidate, _contestants(candidate)).values()))


def run_shard(candidate: Candidate, shard: Shard) -> Outcome:
    """Predict one part of the rows with every variant and the baseline, for a later run to merge."""
    if stopping_rules(candidate):
        raise UsageError(
            "Sequential gates stop the evaluation when they are decided, so its rows cannot be shared out. Run `gradatim evaluate` "
            "without shards, or leave out `sequential`."
        )
    variants = _contestants(candidate)
    total = len(candidate.rows.dataset("evaluation", None))
    rows = shard.rows(total, candidate.contract.parts.data.batch)
    folder = begin(candidate, "evaluate", shard)
    runs = _runs(candidate, variants)
    with candidate.progress.task("evaluate", len(rows) * sum(map(len, runs.values()))) as advance:
        for name, path in variants.items() if rows else ():
            with candidate.model_of(name).open(path) as predictor:
                for run in runs[name]:
                    _predict(candidate, name, predictor, folder / run, rows, advance)
    return left(candidate, shard, folder, rows.start, len(rows), total)


def _contestants(candidate: Candidate) -> dict[str, Path]:
    """The variants, the other candidates and, where there is one, the baseline: each one's model by name."""
    variants = {
        variant.name: variant.path for variant in (*candidate.forms.all, *candidate.forms.others.values())
    }
    baseline = candidate.replaced.path
    return variants if baseline is None else {**variants, BASELINE: baseline}


def _runs(candidate: Candidate, variants: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Under which names each one's predictions are kept: the baseline may run a second time."""
    again = {BASELINE: (BASELINE, AGAIN)} if BASELINE in variants and wants_self_flips(candidate) else {}
    return {**{name: (name,) for name in variants}, **again}


def _counted(candidate: Candidate, use: CountedUse | None) -> str:
    if use is None:
        return ""
    if use.number is None:
        return ", a use of the data that could not be counted"
    return f", use {use.number} of {candidate.contract.parts.data.uses} of the data"


def _judged_by(judging: Judging | None) -> str:
    if judging is None:
        return ""
    failed = f", without a verdict {judging.failed} times ({judging.reason})" if judging.failed else ""
    return f"; compared by {judging.judge}{failed}"


def _refuse_one_class(dataset: Dataset) -> None:
    """Data of one class flatters a model that always answers it.

    Raises:
        InvalidInput: every row has the same label.
    """
    classes = dataset.classes()
    if len(classes) == 1:
        raise InvalidInput(
            f"Every row of {dataset.name} has the label {classes[0]}: a model that always answers {classes[0]} would be "
            "perfect. Evaluate on data of two classes or more."
        )


def _predict(
    candidate: Candidate, name: str, predictor: Predictor, folder: Path, only: range | None, advance: Advance
) -> None:
    from gradatim.models.predict import predict

    predict(
        predictor,
        candidate.rows_of(name).dataset("evaluation", predictor.signature),
        candidate.task_of(name),
        folder,
        batch=candidate.contract.parts.data.batch,
        only=only,
        advance=lambda n=1, note="": advance(n, folder.name),
    )


def _predict_more(
    candidate: Candidate,
    name: str,
    predictor: Predictor,
    folder: Path,
    look: NDArray[np.int64],
    advance: Advance,
    again: bool,
) -> None:
    """Predict the rows up to the next look, behind those before where there are such, in the order of the looks."""
    import numpy as np

    from gradatim.metrics.predictions import Predictions
    from gradatim.metrics.predictions_writer import PredictionsWriter
    from gradatim.models.predict import predict

    rows = np.sort(look)
    new = predict(
        predictor,
        candidate.rows_of(name).dataset("evaluation", predictor.signature),
        candidate.task_of(name),
        folder.with_name(f"{folder.name} looked at"),
        batch=candidate.contract.parts.data.batch,
        picked=rows,
        advance=lambda n=1, note="": advance(n, folder.name),
    )
    with PredictionsWriter(folder) as writer:
        if again:
            writer.extend(Predictions.load(folder))
        writer.extend(new.take(np.searchsorted(rows, look)))
    shutil.rmtree(folder.with_name(f"{folder.name} looked at"))


def _merge(shards: Sequence[Part], run: str, folder: Path, rows: int, advance: Advance) -> None:
    import numpy as np

    merged("evaluate", shards, run, folder, np.arange(rows, dtype=np.int64))
    advance(rows, run)


def _signature(candidate: Candidate, name: str, predictor: Predictor) -> Signature:
    """The signature that a model shows on the first row."""
    from gradatim.models import observed_signature

    dataset = candidate.rows_of(name).dataset("evaluation", predictor.signature)
    return observed_signature(predictor, dataset.head(1).inputs)


def _without(candidate: Candidate, name: str, predictor: Predictor) -> str:
    """What a form of the candidate is fed in place of inputs that the data do not have: right where no row is padded."""
    from gradatim.models.filling import FILLED

    if name == BASELINE:
        return ""
    lacking = candidate.rows.dataset("evaluation", predictor.signature).left_out
    specs = [spec for spec in predictor.signature.inputs if spec.name in lacking]
    told = [
        f"{spec.name} ({FILLED[spec.name][0] if spec.optional == 'filled' else 'left to the model'})"
        for spec in specs
    ]
    return f"; not in the data: {', '.join(told)}" if told else ""


def _measured(
    candidate: Candidate,
    task: Task,
    names: Mapping[str, Any],
    signatures: Mapping[str, Signature],
    subjects: dict[str, str],
    uses: CountedUse | None,
) -> Outcome:
    from gradatim.metrics.common import evaluate_beside
    from gradatim.metrics.evaluation import Evaluation
    from gradatim.metrics.measure import measurements, weak_slices
    from gradatim.metrics.population import CANDIDATES, Population

    load = candidate.workspace.predictions
    extra = _extra_metrics(candidate)
    found: list[Measurement] = []
    forms: dict[str, FormEvaluated] = {}
    evaluations: dict[str, Evaluation] = {}
    baseline: Evaluation | None = None
    original: Evaluation | None = None
    for name in names:
        if name == BASELINE and baseline is not None:  # it comes last, after what it is compared with
            own = baseline
        elif BASELINE in names:
            own, baseline = evaluate_beside(task, load(name), candidate.task_of(BASELINE), load(BASELINE))
        elif name not in (ORIGINAL, *candidate.forms.others):
            # nothing was released before: a compressed form is compared with what it was made of
            original = original or Evaluation(task, load(ORIGINAL))
            own = Evaluation(task, load(name), original)
        else:
            own = original or Evaluation(task, load(name))
        evaluations[name] = own
        found += measurements(own, name, metrics=_wanted(extra, own))
        forms[name] = _form(candidate, name, own, signatures[name], released=BASELINE in names)
    if candidate.forms.others:
        together = Population([evaluations[name] for name in (ORIGINAL, *candidate.forms.others)])
        found += measurements(together, CANDIDATES, metrics=_wanted(extra, together))
    first = next(iter(subjects))
    rows, offered = len(evaluations[first]), _offered(candidate)
    stopped = offered is not None and rows < offered
    headline = _headline(candidate, found, first, forms[first].overlap)
    return Outcome(
        f"{rows}{f' of {offered}' if stopped else ''} samples, {headline}{_failed(evaluations)}",
        subjects,
        Verdict.PASS,
        tuple(found),
        (),
        Evaluated(
            rows,
            evaluations[first].labels,
            forms,
            tuple(weak_slices(evaluations[first])),
            uses,
            flipped=flipped(candidate, evaluations[first]),
            offered=offered if stopped else None,
        ),
        tuple(sorted(p for name in names for p in candidate.workspace.predictions_folder(name).iterdir())),
    )


def _wanted(extra: Sequence[str], own: Evaluation) -> list[str]:
    """Further metrics to measure, those left out that compare where there is nothing to compare with."""
    return [m for m in extra if own.reference is not None or m not in catalogue.comparisons(own.task.type)]


def _offered(candidate: Candidate) -> int | None:
    """How many rows there are, where evaluation may stop before the last."""
    return len(candidate.rows.dataset("evaluation", None)) if stopping_rules(candidate) else None


def _form(
    candidate: Candidate, name: str, evaluation: Evaluation, signature: Signature, *, released: bool
) -> FormEvaluated:
    """What the report draws of one form, and what the next version number depends on."""
    from gradatim.metrics.classification import ClassificationScorer
    from gradatim.metrics.common import label_list, overlap

    confusion, scorer = evaluation.confusion(), evaluation.scorer
    classes = scorer if isinstance(scorer, ClassificationScorer) else None
    own = replace(candidate.task_of(name), called={})
    return FormEvaluated(
        signature,
        None if confusion is None else tuple(map(tuple, confusion.tolist())),
        tuple(classes.calibration()) if classes else None,
        int((~evaluation.same_answers()).sum()) if released and evaluation.reference is not None else None,
        None if evaluation.common is evaluation else len(evaluation.common),
        label_list(own, candidate.workspace.predictions(name)),
        classes.kind_of_scores() if classes else None,
        overlap(evaluation, catalogue.quality(evaluation.task.type)),
    )


def _headline(candidate: Candidate, found: list[Measurement], variant: str, both: Overlap | None) -> str:
    """The task's first metric of the preferred variant, and of the baseline beside it: on the rows that both know."""
    from gradatim.metrics.population import CANDIDATES

    if not found:
        return "no labels and no baseline to compare with"
    named = {m.variant: m.value for m in reversed(found) if m.where is None and m.name == found[0].name}
    metric = candidate.rows.task().metric(found[0].name)

    def told(value: float | None) -> str:
        if value is None:
            return "unknown"
        return f"{value:.2%}".replace("%", " %") if metric and metric.fraction else f"{value:.4g}"

    text = f"{found[0].name.replace('_', ' ')} {told(named[variant])}"
    text += f" (all candidates {told(named[CANDIDATES])})" if CANDIDATES in named else ""
    if both is None:
        return text + (f", baseline {told(named[BASELINE])}" if BASELINE in named else "")
    base = candidate.replaced.release
    whom = base.label if base else "the baseline"
    mine, theirs = both.quality.get(found[0].name, (None, None))
    text += f"; on the {both.rows} whose label {whom} knows {told(mine)}, {whom} {told(theirs)}"
    listed = (("new", both.new), ("gone", both.gone))
    return text + "".join(f"; {word}: {_few(labels)}" for word, labels in listed if labels)


def _explainer() -> Any:
    """Loaded where it is asked for alone: it needs numpy."""
    from gradatim.checks import attribution

    return attribution


def _failed(evaluations: Mapping[str, Evaluation]) -> str:
    """How many requests failed, each of them a row that failed, and why the first one did."""
    from gradatim.metrics.generation import GenerationScorer

    said = ""
    for name, evaluation in evaluations.items():
        if isinstance(evaluation.scorer, GenerationScorer) and (reasons := evaluation.scorer.failed()):
            several = "1 request" if len(reasons) == 1 else f"{len(reasons)} requests"
            said += f"; {several} failed{'' if name == ORIGINAL else f' of {name}'} ({reasons[0]})"
    return said


def _few(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")


def _extra_metrics(candidate: Candidate) -> list[str]:
    """Metrics that a gate names and that are not measured anyway (``recall_at_5``)."""
    task = candidate.contract.parts.task
    if task is None:
        return []
    known = catalogue.known(task.type, task.own)
    return sorted({rule.metric for rule in candidate.contract.all_rules() if rule.metric not in known})
