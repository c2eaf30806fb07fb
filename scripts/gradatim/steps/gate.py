"""gate: is everything proven that the contract asks for?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradatim.candidate.adjusting import adjuster_of
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.forms import Variant
from gradatim.candidate.outcome import Outcome
from gradatim.candidate.replaced import BASELINE
from gradatim.candidate.stopping import evaluations, rules_on_rows
from gradatim.candidate.uses import reuse_of
from gradatim.errors import BrokenEvidence
from gradatim.evidence.found import Evaluated, Judged
from gradatim.files import digest_of, sha256_bytes
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics import catalogue
from gradatim.metrics.catalogue import DRAWN
from gradatim.pipeline.graph import MEASURING

if TYPE_CHECKING:  # imported where they are used: a step that is skipped costs no more than its digests
    import numpy as np
    from numpy.typing import NDArray

    from gradatim.contract.subject import TaskSection
    from gradatim.gates.case import Case
    from gradatim.gates.latency import PairedTiming
    from gradatim.gates.plan_row import PlanRow
    from gradatim.gates.reuse import Reuse
    from gradatim.gates.together import Together
    from gradatim.measurement import Measurement
    from gradatim.metrics.evaluation import Evaluation

_NOUNS = {"image": "images", "audio": "recordings", "text": "texts", "tabular": "rows"}


def depends_on(candidate: Candidate) -> Mapping[str, str]:
    paths = {step: candidate.workspace.evidence_path(step) for step in MEASURING}
    evidence = {step: sha256_bytes(path.read_bytes()) for step, path in paths.items() if path.exists()}
    told = {"outcomes": digest_of(True)} if candidate.contract.parts.publish.outcomes else {}
    return {
        **evidence,
        **told,
        "contract": candidate.digests.part("card", "gates", "stages", "task"),
        "uses": digest_of(candidate.contract.parts.data.uses),
        "stage": digest_of(candidate.stage),
        "lines": digest_of([rule.line for rule in candidate.contract.rules_for(candidate.stage)]),
        "unproven": digest_of(list(candidate.unproven)),
        "target": digest_of(candidate.place_if_any().target),
    }


def run(candidate: Candidate) -> Outcome:
    """Judge each variant in the order of preference; choose the first that everything is proven for."""
    from gradatim.gates.budget import error_budget
    from gradatim.gates.judge import first_proven
    from gradatim.gates.recording import grounds_of
    from gradatim.report.collect import collect
    from gradatim.report.writing import write_documents, write_report

    variants = candidate.forms.all
    standing = _standing_results(candidate)
    by_name = {variant.name: variant for variant in variants}
    cases: dict[str, Case] = {}

    def judged_among(name: str, forms: int) -> list[GateResult]:
        cases[name] = replace(cases.get(name) or _case(candidate, by_name[name]), forms=forms)
        return [*_behaviour_results(candidate, by_name[name]), *_judge(candidate, cases[name])]

    found, judged = first_proven(tuple(by_name), judged_among)
    chosen = by_name[found] if found is not None else variants[0]
    results = (*standing, *judged[chosen.name])
    verdict = Verdict.worst(result.verdict for result in results if result.blocking)
    refused = {
        name: tuple(f"{result.gate}: {result.text}" for result in found if result.refuses)
        for name, found in judged.items()
        if name != chosen.name and any(result.refuses for result in found)
    }
    budget = error_budget(
        candidate.contract.rules_for(candidate.stage), _reuse(candidate), forms=len(variants)
    )
    outcome = Outcome(
        _summary(results),
        {variant.name: variant.manifest.digest for variant in variants},
        verdict,
        (),
        results,
        Judged(
            chosen.name,
            refused,
            candidate.stage,
            budget.text,
            grounds_of(
                candidate.contract.rules_for(candidate.stage),
                cases[chosen.name],
                results,
                on_inconclusive=_on_inconclusive(candidate),
                outcomes=candidate.contract.parts.publish.outcomes,
            ),
        ),
    )
    report = collect(candidate, outcome)
    write_report(report, candidate.workspace)
    return replace(outcome, outputs=write_documents(report, candidate.workspace))


def plan_gates(candidate: Candidate, power: float | None = None) -> list[PlanRow]:
    """What each gate needs and can detect with the evaluation data there is, before anything runs.

    Args:
        power: in what share of cases the planned model is to pass a gate; 4 of 5 where None.

    Raises:
        InvalidInput: the evaluation data is broken.
    """
    from gradatim.gates.exact import POWER
    from gradatim.gates.planning import plan
    from gradatim.gates.reuse import alpha_after
    from gradatim.perturb.catalogue import SEVERITIES

    task, uses = candidate.contract.parts.task, candidate.contract.parts.data.uses
    rows = plan(
        candidate.contract.rules_for(candidate.stage),
        _counts(candidate),
        task=task.type if task else "",
        own=task.own if task else (),
        alpha=None if uses is None else alpha_after(uses),
        forms=1
        if candidate.contract.parts.compress is None
        else 2,  # the best that it leaves, and the original
        noun=_noun(candidate, planned=True),
        severities=SEVERITIES,
        rows=_counts(candidate, grouped=False) if _grouped(candidate) else None,
        takes_all=next((rule.key for rule in rules_on_rows(candidate) if not rule.sequential), None),
        power=power or POWER,
    )
    return list(map(_row_besides(candidate), rows))


def _row_besides(candidate: Candidate) -> Callable[[PlanRow], PlanRow]:
    """What several candidates and a covariate do to the row of a gate."""
    from gradatim.gates.planning import with_covariate, with_training
    from gradatim.gates.reuse import alpha_after

    parts = candidate.contract.parts
    others, said = len(parts.model.candidates), parts.data.covariate
    on_rows = {rule.key: rule for rule in rules_on_rows(candidate)}
    known = Evaluated.if_any(candidate.workspace.statement("evaluate")) if said else None
    told = known.covariate.told if known and known.covariate else {}

    def besides(row: PlanRow) -> PlanRow:
        rule = on_rows.get(row.rule)
        if rule is None:
            return row
        if others:
            row = with_training(row, others + 1, min(rule.alpha, alpha_after(parts.data.uses or 0)))
        absolute = rule.bound in ("at_least", "at_most") and row.gate == rule.metric
        if said and absolute and (rule.metric in told or not told):
            row = with_covariate(row, said.column, told.get(rule.metric))
        return row

    return besides


def plan_together(candidate: Candidate, rows: Sequence[PlanRow]) -> Together | None:
    """What lets all gates of a plan pass together; None where they are fewer than two, or looked at again and again."""
    from gradatim.gates.together import planned_together

    if any(rule.sequential for rule in candidate.contract.rules_for(candidate.stage)):
        return None
    return planned_together(rows, lambda power: plan_gates(candidate, power))


def hopeless_gates(candidate: Candidate) -> list[PlanRow]:
    """Gates that will refuse every model with the evaluation data there is, so that nothing need be run to know.

    A gate that merely lacks samples is none of them where the stage only warns of the undecided.
    """
    stage = candidate.contract.parts.stages.get(candidate.stage or "")
    warns = stage is not None and stage.on_inconclusive == "warn"
    return [row for row in plan_gates(candidate) if not row.possible and not (warns and row.undecidable)]


def _grouped(candidate: Candidate) -> bool:
    """Whether the samples come in groups; a list of items, each a row, is one sample."""
    if candidate.contract.data_set("evaluation") is None or _ranks(candidate):
        return False
    return candidate.rows.dataset("evaluation", None).group is not None


def _ranks(candidate: Candidate) -> bool:
    task = candidate.contract.parts.task
    return task is not None and task.type == "ranking"


def _counts(candidate: Candidate, *, grouped: bool = True) -> dict[str, int]:
    """Samples by slice, or groups where these come in such: all, by declared class, by value of each slice column."""
    if candidate.contract.data_set("evaluation") is None:
        return {}
    dataset = candidate.rows.dataset("evaluation", None)
    units = dataset.group_values() if grouped else None
    once: list[Any] = list(range(len(dataset))) if units is None else units.tolist()
    weights = dataset.weights()
    counts = {"": _distinct([""] * len(once), once, weights)[""]}
    counts |= {} if weights is None else {DRAWN: len(set(once))}
    task = candidate.contract.parts.task
    labels = dataset.labels()
    if labels is not None and task is not None and task.type == "classification":
        seen = _distinct(labels.tolist(), once, weights)
        declared = [str(label) for label in task.labels] or sorted(seen)
        indices = bool(task.labels) and labels.dtype.kind in "iu" and not set(seen) <= set(declared)
        counts |= {f"class={name}": seen[str(i) if indices else name] for i, name in enumerate(declared)}
    elif labels is not None and task is not None and catalogue.has_classes(task.type):
        counts |= _with_class(labels, task, once)
    for column in dataset.slices:
        values = _distinct(dataset.slice_values(column).tolist(), once, weights)
        counts |= {f"{column}={value}": n for value, n in values.items()}
    return counts


def _with_class(labels: Any, task: TaskSection, units: list[Any]) -> dict[str, int]:
    """Samples that hold each class, where a sample may hold several: labels, pixels, tags."""
    names = [str(label) for label in task.labels]
    marks = task.type == "multilabel_classification" and labels.dtype != object and labels.ndim == 2
    found: set[tuple[str, Any]] = set()
    for row, unit in zip(labels, units, strict=True):
        of = row[..., -1].astype(int) if task.type == "detection" and row.size else row
        values = of.nonzero()[0].tolist() if marks else set(of.reshape(-1).tolist())
        inside = {names[v] if isinstance(v, int) and 0 <= v < len(names) else str(v) for v in values}
        found |= {(name, unit) for name in inside}
    if task.type == "token_classification":  # B-CITY and I-CITY are one kind of entity
        found = {(name.partition("-")[2], unit) for name, unit in found}
        names = list(dict.fromkeys(name.partition("-")[2] for name in names if "-" in name))
    held = Counter(name for name, _ in found)
    return {f"class={name}": held[name] for name in names or sorted(held)}


def _distinct(values: list[Any], units: list[Any], weights: NDArray[np.float64] | None) -> Counter[str]:
    """How many units have each value, in the order of the rows; of weighted ones, as how many of equal weight these count."""
    from gradatim.metrics.units import planned_size

    pairs = list(zip(map(str, values), units, strict=True))
    if weights is None:
        return Counter(value for value, _ in dict.fromkeys(pairs))
    held: dict[str, Counter[Any]] = {}
    for (value, unit), weight in zip(pairs, weights.tolist(), strict=True):
        held.setdefault(value, Counter())[unit] += weight
    return Counter({value: planned_size(list(of.values())) for value, of in held.items()})


def _noun(candidate: Candidate, *, planned: bool = False) -> str:
    if _ranks(candidate):
        return "lists"
    if planned and candidate.contract.parts.data.weight is not None:
        return "samples of equal weight"
    return _NOUNS.get(candidate.contract.parts.test.modality or "", "samples")


def _standing_results(candidate: Candidate) -> list[GateResult]:
    """What earlier steps decided for themselves, and evidence that is not there."""
    results: list[GateResult] = list(_bar(candidate))
    statement = None if "inspect" in candidate.unproven else candidate.workspace.statement("inspect")
    results += statement.gates if statement is not None else ()
    for step in candidate.unproven:
        results.append(
            GateResult(
                step, step, Verdict.INVALID, candidate.forms.original.name, f"evidence of {step}",
                _why_unproven(candidate, step),
            )
        )  # fmt: skip
    return results


def _why_unproven(candidate: Candidate, step: str) -> str:
    """A stage that moved since is named; what else may have changed is not known here. And what makes the evidence anew."""
    try:
        statement = candidate.workspace.statement(step)
    except BrokenEvidence:
        statement = None
    moved = candidate.replaced.moved(statement) if statement else None
    if statement is None or moved is None:
        culprit = candidate.unproven[step]
        remedy = f"gradatim {step}" if culprit == step else f"gradatim run --until {step}"
        if culprit == step or not _there(candidate, step):
            return f"The evidence of `{step}` is missing, or something it rests on has changed since. Run: {remedy}"
        what = "since which something has changed" if _there(candidate, culprit) else "which is missing"
        return f"The evidence of `{step}` rests on that of `{culprit}`, {what}. Run: {remedy}"
    against = candidate.replaced.compared(statement)
    return f"{moved}: the evidence of `{step}` was made against {against}. Run: gradatim {step}"


def _there(candidate: Candidate, step: str) -> bool:
    return candidate.workspace.evidence_path(step).exists()


def _bar(candidate: Candidate) -> Iterator[GateResult]:
    """Whether a pull request asks as much as the branch that it is for, or says why not."""
    from gradatim.candidate.bar import weakened

    found = weakened(candidate)
    if not found:
        return
    silent = [one for one in found if one.because is None]
    target = candidate.place.target
    told = "; ".join(
        f"`{one.key}` was {one.before}, now {one.now or 'gone'}{f' ({one.because})' if one.because else ''}"
        for one in found
    )
    advice = (
        " Whoever reviews this should know why: say it in the contract, "
        f"`{silent[0].key}: {{..., because: WHY}}`; of a gate that goes, `because` alone."
        if silent
        else ""
    )
    yield GateResult(
        "gates", "gates", Verdict.FAIL if silent else Verdict.PASS, candidate.forms.original.name, f"as much as {target} asks",
        f"This pull request asks less than {target}: {told}.{advice}", value=float(len(silent)), threshold=0.0,
        n=len(found), line=next((one.line for one in (*silent, *found) if one.line), None),
    )  # fmt: skip


def _behaviour_results(candidate: Candidate, variant: Variant) -> list[GateResult]:
    """What the test step refused this variant for."""
    statement = None if "test" in candidate.unproven else candidate.workspace.statement("test")
    return [gate for gate in statement.gates if gate.variant == variant.name] if statement else []


def _judge(candidate: Candidate, case: Case) -> list[GateResult]:
    from gradatim.gates.judge import judge

    rules = candidate.contract.rules_for(candidate.stage)
    return judge(rules, case, on_inconclusive=_on_inconclusive(candidate))


def _on_inconclusive(candidate: Candidate) -> str:
    stage = candidate.contract.parts.stages.get(candidate.stage or "")
    return stage.on_inconclusive if stage else "fail"


def _case(candidate: Candidate, variant: Variant) -> Case:
    from gradatim.checks.robustness_scores import load_scores
    from gradatim.gates.case import Case
    from gradatim.gates.flips import self_flips_of

    proven = {
        s: st
        for s in MEASURING
        if s not in candidate.unproven and (st := candidate.workspace.statement(s)) is not None
    }
    measurements = [m for statement in proven.values() for m in statement.measurements]
    base = candidate.replaced.release
    evaluated = Evaluated.if_any(proven.get("evaluate"))
    mine, baseline = _evaluations(candidate, variant.name) if "evaluate" in proven else (None, None)
    timings, rounds = _timings(candidate, variant.name) if "benchmark" in proven else ({}, {})
    scores = (
        load_scores(candidate.workspace, variant.name, BASELINE if base else None) if "test" in proven else []
    )
    return Case(
        variant.name,
        _once(measurements),
        mine,
        baseline,
        first_release=base is None,
        robustness={score.corruption: score for score in scores},
        timings=timings,
        rounds=rounds,
        self_flips=self_flips_of(measurements, BASELINE),
        reuse=_reuse(candidate),
        offered=evaluated.offered if evaluated else None,
        noun=_noun(candidate),
        baseline_name=base.label if base else "the baseline",
        adjuster=adjuster_of(candidate, evaluated),
        waits=candidate.waits,
        drift=evaluated.drift if evaluated else None,
        unproven=frozenset(step for step in candidate.unproven if _there(candidate, step)),
    )


def _reuse(candidate: Candidate) -> Reuse | None:
    """What the uses of the test set mean for the verdicts."""
    statement = None if "evaluate" in candidate.unproven else candidate.workspace.statement("evaluate")
    return reuse_of(candidate, statement)


def _once(measurements: list[Measurement]) -> list[Measurement]:
    """Steps may measure the same thing (a size); equal measurements count once."""
    return list(dict.fromkeys(measurements))


def _evaluations(candidate: Candidate, name: str) -> tuple[Evaluation | None, Evaluation | None]:
    parts = candidate.contract.parts
    if parts.data.evaluation is None and parts.evaluate.imported is None:
        return None, None
    return evaluations(candidate, name)


def _timings(
    candidate: Candidate, name: str
) -> tuple[dict[str, PairedTiming], Mapping[str, tuple[float, ...]]]:
    """What was timed of a form: beside the baseline, by metric, and by itself, round by round."""
    from gradatim.gates.latency import paired_timings
    from gradatim.gates.rule import parted

    found = candidate.workspace.timings()
    mine = found.contestant(name) if found else None
    if found is None or mine is None:
        return {}, {}
    pair = found.comparison(name)
    rounds = {**mine.by_round, **mine.throughputs()}
    rounds = {metric: values for metric, values in rounds.items() if values or not mine.failed}
    if pair is None or pair.baseline != BASELINE:
        return {}, rounds
    asked = {parted(answer.metric)[1] for answer in pair.answers}
    ratios = {
        metric: ratios for metric, ratios in pair.differences.items() if ratios and parted(metric)[1] in asked
    }
    levels = {metric: level.value for metric in ratios if (level := mine.level(metric)) is not None}
    return paired_timings(ratios, levels), rounds


def _summary(results: tuple[GateResult, ...]) -> str:
    verdicts = [result.verdict.value for result in results]
    counts = [f"{verdicts.count(v.value)} {v.value}" for v in Verdict if v.value in verdicts]
    return ", ".join(counts) or "no gates in the contract"
