"""Labelled samples as a gate reads them: there, of the same run, and not too few of them."""

from __future__ import annotations

import math
from dataclasses import replace

from gradatim.gates import wording
from gradatim.gates.case import Case
from gradatim.gates.compare import Told
from gradatim.gates.gate import Gate, null_verdict, settle
from gradatim.gates.paired import fewest_positives
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics import intervals, tails
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.population import RecipeSamples
from gradatim.metrics.samples import MetricSamples


def samples_of(gate: Gate, evaluation: Evaluation) -> MetricSamples | GateResult:
    """The gate's metric on the samples that it is about; a verdict where it has no value."""
    samples = evaluation.samples(gate.rule.metric, gate.where)
    if samples.value is not None and not math.isfinite(samples.value):
        return gate.result(Verdict.INVALID, f"{gate.name} is {samples.value}, not a number.")
    if samples.value is not None:
        return _strictly(samples) if gate.rule.strict else samples
    if gate.meaning.kind == "comparison" and evaluation.reference is None:
        return gate.result(
            Verdict.INVALID, f"{gate.name} needs the baseline's predictions, and they are not there."
        )
    return gate.result(
        Verdict.INCONCLUSIVE,
        f"{gate.name} could not be measured: {samples.reason}. Wanted {gate.wanted}.",
    )


def _strictly(samples: MetricSamples) -> MetricSamples:
    """Samples that reckon, alone and beside the baseline, with rows as far off as the farthest target."""
    if isinstance(samples, Told):
        return samples.strictly()
    far = samples.farthest
    return samples if far is None else replace(samples, spoiled=far, exchanged=far)


def besides(gate: Gate, samples: MetricSamples) -> str:
    """What a value is of, in words: candidates of one recipe, and classes that a mean goes over and the data do not hold."""
    text = f" The data have {samples.reason}." if samples.value is not None and samples.reason else ""
    if samples.hidden and gate.compares:
        text += f" How either model answers there nobody knows, which leaves {wording.points(samples.hidden, gate.meaning)} to each side."
    elif samples.hidden:
        text += f" How it answers there nobody knows: the mean may be {wording.points(samples.hidden, gate.meaning)} more."
    if isinstance(samples, RecipeSamples):
        told = ", ".join(wording.number(value, gate.meaning) for value in samples.values)
        half = wording.points(samples.of_training(gate.alpha), gate.meaning)
        text += f" That is over {len(samples.values)} candidates of one recipe ({told}), the first of which is to be released: how they differ alone makes {half} to each side."
    if samples.units is not None and samples.units.weights is not None:
        text += f" By their weights these {samples.n} count as {samples.units.effective()} of equal weight."
    return text


def granted(gate: Gate, samples: MetricSamples) -> str:
    """What a PASS takes for granted of errors that no row showed, in words; empty where they have an end."""
    good = gate.compares or (gate.rule.bound == "at_least") == gate.meaning.higher_is_better
    if samples.metric not in ("mae", "rmse", "r2") or not good:
        return ""
    if gate.rule.strict or (samples.metric == "mae" and not gate.compares):
        end = "the farthest target is from the average one"
    else:
        end = (
            "another row's answer would be (`strict: true`: than the farthest target is from the average one)"
        )
    return f" This takes for granted that no answer, however rare, is further off than {end}.{_undone(gate, samples)}"


def _undone(gate: Gate, samples: MetricSamples) -> str:
    """How far off answers must be that would make a PASS wrong, in words, where fewer are so than ``unseen`` samples may hide; for
    where more are, a draw that shows none is as rare as the gate may err."""
    if gate.compares or samples.value is None or samples.metric == "r2":
        return ""
    share, power = intervals.unseen(samples.n, gate.alpha), 2 if samples.metric == "rmse" else 1
    room = gate.rule.amount**power - (1 - share) * samples.value**power
    off = (max(0.0, room) / share) ** (1 / power)
    return f" To make it wrong takes answers that are off by {wording.number(off, gate.meaning)} or more and so rare that these {samples.n} show none."


_TELLING = 60
"""Of so many errors that are normal, exponential or alike a heavy tail is told in 1 to 4 %; of 30 in 10 to 34 %."""


def carried(samples: MetricSamples, case: Case) -> str:
    """That a few errors carry the mean, in words, and what would help; empty where they do not."""
    found = samples.carriers()
    if found is None:
        return ""
    if samples.n < _TELLING and found[1] < 0.5:
        if samples.open_ended:
            return ""
        return f" {wording.untold(samples.n, case.noun)} how far the largest errors go: {_TELLING} or more would."
    errors = f"{samples.n} {'errors' if case.noun == 'samples' else case.noun}"
    return (
        f" The largest {found[0]} of {errors} make up {wording.percent(found[1], 0)} of it, so that a few more may change it much, and nobody can "
        f"say by how much. More {case.noun} help little; a metric with an end does, such as the share of errors below a tolerance."
    )


def says_nothing(bounds: tuple[float, float], *values: float | None) -> bool:
    """Whether bounds, either of them, lie more than ten times as far off as any of the values that they are about."""
    return max(map(abs, bounds)) > 10 * max(abs(value or 0.0) for value in values)


def at_least_few(samples: MetricSamples) -> str:
    """How many would begin to tell, in words, of a mean without an upper end; empty where that is not what lacks."""
    unbounded = samples.reach is None if samples.tailed else samples.open_ended
    return f": {tails.FEW} are the least" if unbounded and samples.n < tails.FEW else ""


def counted(case: Case, samples: MetricSamples) -> Case:
    """The case with the noun of what counts as one: groups, where samples come in such."""
    return case if samples.units is None or samples.units.codes is None else replace(case, noun="groups")


def foreign(gate: Gate, case: Case, samples: MetricSamples) -> GateResult | None:
    """A measurement on file that disagrees with the predictions is somebody else's."""
    filed = case.on_rows(gate.name)
    if filed is None or samples.value is None:
        return None
    if filed.value is None or not math.isclose(filed.value, samples.value, rel_tol=1e-6, abs_tol=1e-9):
        said = "nothing" if filed.value is None else f"{filed.value:.6g}"
        return gate.result(
            Verdict.INVALID,
            f"{gate.name} was filed as {said}, but the predictions give {samples.value:.6g}: they are not of the same run. Run `gradatim evaluate --force`.",
        )
    return None


def few_positives(gate: Gate, samples: MetricSamples) -> GateResult | None:
    """F1, or the ROC-AUC, on so few positives that its interval is not to be trusted."""
    least = fewest_positives(gate.rule.metric, beside=gate.compares)
    if samples.positives is None or samples.positives >= least:
        return None
    name = "F1" if gate.rule.metric == "f1" else gate.rule.metric
    return gate.result(
        Verdict.INCONCLUSIVE,
        f"{gate.name} {wording.number(samples.value, gate.meaning)} rests on {wording.count(samples.positives, 'positives')}. "
        f"{name} is judged from {least} on.",
        value=samples.value,
        threshold=gate.rule.amount if not gate.compares else None,
        n=samples.n,
        needed=least,
    )


def unmeasured(gate: Gate, case: Case) -> GateResult:
    """Nobody took the gate's measurement, or none that holds."""
    return gate.result(null_verdict(gate.rule), case.lacks(gate.name, "evaluate"))


def settled_by(needed: int | None, n: int, case: Case, *, met: bool) -> str:
    """``settle`` where candidates of one recipe may be judged together: then more rows alone need not do."""
    if not case.several:
        return settle(needed, n, case, met=met)
    misses = "" if met else " What was seen misses the bound: a better recipe is what helps."
    return f"{misses} More {case.noun} or more candidates settle it, whichever of the two makes the interval wide."


def realistic(needed: float, n: int) -> int | None:
    """A number of samples somebody could collect; None when the value lies too close to the bound for any."""
    return wording.about(needed) if needed <= 1000 * max(n, 100) else None
