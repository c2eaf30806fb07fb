"""What a report says in words, the same in every rendering."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.gates.verdict import GateResult, Verdict
from gradatim.report import numbers, overlap
from gradatim.report.model import Latency, Report, VariantRow
from gradatim.report.text import one_line
from gradatim.report.verdicts import plainly, room

TONES = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "unsure",
    Verdict.INVALID: "invalid",
}
"""Verdict to its class in the palette."""

_FEW = 3
_URGENCY = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class Figure:
    """One of the few numbers that a reader takes away.

    Attributes:
        note: what it is held against.
        tone: ``pass``, ``fail``, ``unsure``, ``invalid`` or empty.
    """

    title: str
    value: str
    note: str = ""
    tone: str = ""


def subject(report: Report) -> str:
    """``digits 1.1.0``."""
    return one_line(f"{report.name} {report.version}" if report.version else report.name, 120)


def headline(report: Report) -> str:
    """The verdict in one sentence, without its icon."""
    refused = refusals(report)
    if report.verdict is Verdict.PASS:
        passed = [gate for gate in report.gates if gate.verdict is Verdict.PASS]
        held = (
            f" all {numbers.plural(len(passed), 'gate')} passed"
            if len(passed) == len(report.gates) > 1
            else ""
        )
        return f"{subject(report)}: PASS,{held}" if held else f"{subject(report)}: PASS"
    if not refused:
        return f"{subject(report)}: {report.verdict.value}"
    return f"{subject(report)}: {report.verdict.value}, refused by {_names(refused)}"


def paragraph(text: str) -> str:
    """The ready-made text of a gate or a check: at most eight lines, each of bounded length."""
    lines = [one_line(line, 400) for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:8])


def consequence(report: Report) -> str:
    """What was done about it, as a sentence; empty when nothing is known."""
    if not report.outcome:
        return ""
    text = one_line(report.outcome)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def refusals(report: Report) -> tuple[GateResult, ...]:
    """The gates that stop the release, the worst first."""
    return tuple(gate for gate in by_urgency(report) if gate.refuses)


def doubts(report: Report) -> tuple[GateResult, ...]:
    """The gates that did not pass and only warn here."""
    return tuple(gate for gate in by_urgency(report) if warns(gate))


def warns(gate: GateResult) -> bool:
    """Whether a gate did not pass and only warns here."""
    return gate.verdict is not Verdict.PASS and not gate.blocking


def by_urgency(report: Report) -> tuple[GateResult, ...]:
    """All gates, what needs a reader first; otherwise in the order of the contract."""
    return tuple(sorted(report.gates, key=lambda gate: (not gate.refuses, _URGENCY.index(gate.verdict))))


@dataclass(frozen=True)
class GateRow:
    """A gate in the table, and those that pass by the same rule with more room, which it stands for."""

    gate: GateResult
    alike: tuple[GateResult, ...] = ()

    @property
    def told(self) -> str:
        """What it stands for, and where it was held against nothing, why."""
        if self.gate.verdict is Verdict.PASS and self.gate.value is None:
            return one_line(self.gate.text, 120)
        return f"the closest call; {len(self.alike)} more like it pass" if self.alike else ""


def gate_rows(report: Report) -> list[GateRow]:
    """All gates, what needs a reader first; more than three that pass by one rule are one row."""
    groups: dict[object, list[GateResult]] = {}
    for gate in by_urgency(report):
        passes = gate.verdict is Verdict.PASS and "[" in gate.gate
        groups.setdefault((gate.rule, gate.wanted) if passes else id(gate), []).append(gate)
    rows = []
    for group in groups.values():
        if len(group) <= _FEW:
            rows += [GateRow(gate) for gate in group]
        else:
            closest = min(group, key=room)
            rows.append(GateRow(closest, tuple(gate for gate in group if gate is not closest)))
    return rows


def place_of(gate: GateResult, report: Report) -> str:
    """``gradatim.yml:19``, or empty."""
    return f"{one_line(report.contract)}:{gate.line}" if gate.line else ""


def tally(report: Report) -> str:
    """``11 PASS, 1 FAIL``."""
    counts = [
        (verdict.value, sum(gate.verdict is verdict for gate in report.gates))
        for verdict in reversed(_URGENCY)
    ]
    return ", ".join(f"{number} {word}" for word, number in counts if number)


def judged(report: Report) -> VariantRow | None:
    """The variant that is judged."""
    return next((variant for variant in report.variants if variant.chosen), None)


def replaced(report: Report) -> VariantRow | None:
    """The baseline among the variants."""
    return next((variant for variant in report.variants if variant.baseline), None)


def key_figures(report: Report) -> tuple[Figure, ...]:
    """At most five numbers that a reader takes away."""
    figures = (
        _gates_figure(report),
        *_quality_figures(report),
        _latency_figure(report),
        _checks_figure(report),
    )
    return tuple(figure for figure in figures if figure)


def _names(refused: tuple[GateResult, ...]) -> str:
    more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
    return ", ".join(one_line(gate.gate, 60) for gate in refused[:3]) + more


def _gates_figure(report: Report) -> Figure | None:
    if not report.gates:
        return None
    passed = sum(gate.verdict is Verdict.PASS for gate in report.gates)
    open_ones = [gate.verdict for gate in report.gates if gate.verdict is not Verdict.PASS]
    note = "all passed" if not open_ones else tally(report).split(", ", 1)[-1] if passed else tally(report)
    return Figure("Gates passed", f"{passed} of {len(report.gates)}", note, TONES[Verdict.worst(open_ones)])


def _quality_figures(report: Report) -> tuple[Figure | None, ...]:
    chosen, baseline = judged(report), replaced(report)
    if not chosen:
        return ()
    figures: list[Figure | None] = []
    for metric, value in list(chosen.quality.items())[:1]:
        before = baseline.quality.get(metric) if baseline else None
        note = f"baseline {numbers.quality(metric, before)}" if before is not None else ""
        if report.overlap and metric in report.overlap.quality:
            mine, theirs = (numbers.quality(metric, each) for each in report.overlap.quality[metric])
            note = f"{mine} where the baseline has {theirs}, on what both know"
        figures.append(Figure(words(metric), numbers.quality(metric, value), note))
    if chosen.size is not None:
        note = ""
        if baseline and baseline.size:
            note = f"{numbers.change(chosen.size / baseline.size)}, baseline {numbers.size(baseline.size)}"
        figures.append(Figure("Size", numbers.size(chosen.size), note))
    return tuple(figures)


def _latency_figure(report: Report) -> Figure | None:
    chosen, baseline = judged(report), replaced(report)
    ratio = (report.latency.ratio if report.latency else None) or (chosen.latency if chosen else None)
    if ratio is None:
        return Figure("Time per call", numbers.seconds(chosen.p50)) if chosen and chosen.p50 else None
    form = numbers.number_format([ratio.value, ratio.low, ratio.high], "s/s")
    note = form.interval(ratio.low, ratio.high)
    if chosen and baseline and chosen.p50 and baseline.p50:
        note = f"{numbers.seconds(chosen.p50)}, baseline {numbers.seconds(baseline.p50)}"
    return Figure("Time per call", form(ratio.value), note)


def _checks_figure(report: Report) -> Figure | None:
    if not report.checks:
        return None
    passed = sum(check.verdict is Verdict.PASS for check in report.checks)
    worst = Verdict.worst(check.verdict for check in report.checks)
    note = "all passed"
    if passed != len(report.checks):
        note = f"{numbers.count(len(report.checks) - passed)} did not pass"
    return Figure(
        "Checks passed", f"{numbers.count(passed)} of {numbers.count(len(report.checks))}", note, TONES[worst]
    )


def words(metric: str) -> str:
    """``f1_macro`` as ``F1 macro``, ``accuracy`` as ``Accuracy``."""
    known = {
        "f1": "F1",
        "roc": "ROC",
        "auc": "AUC",
        "ece": "ECE",
        "mae": "MAE",
        "rmse": "RMSE",
        "r2": "R²",
        "p50": "p50",
        **{name: name.upper() for name in ("ttft", "tpot", "itl")},
    }
    parts = [known.get(part, part) for part in one_line(metric, 60).split("_")]
    text = " ".join(parts)
    return text[:1].upper() + text[1:] if parts[0] not in known.values() else text


def summary(report: Report) -> str:
    """The verdict in plain words: which gates decided, what was found and how sure that is, what to do next, and what was done."""
    refused = refusals(report)
    if refused:
        names = _names(refused)
        undecided = report.verdict is Verdict.INCONCLUSIVE
        said = f"Refused: the data cannot decide {names}." if undecided else f"Refused by {names}."
        said += f" {_decisive(refused)}"
    elif report.verdict is Verdict.PASS:
        said = (
            f"{_passed(report)} {_decisive(report.gates)}" if report.gates else "Nothing speaks against it."
        )
    else:
        said = {
            Verdict.FAIL: "Refused.",
            Verdict.INCONCLUSIVE: "Refused: the data cannot decide.",
            Verdict.INVALID: "Refused: the input is broken.",
        }[report.verdict]
    return f"{said.strip()} {consequence(report)}".strip()


def _passed(report: Report) -> str:
    """That every gate passed, or which did not and why they stop nothing."""
    open_ones = doubts(report)
    if not open_ones:
        return "Every gate passed."
    told = " ".join(dict.fromkeys(paragraph(gate.text) for gate in open_ones[:2]))
    return f"Nothing stops it, but {numbers.plural(len(open_ones), 'gate')} did not pass: {told}"


def _decisive(gates: tuple[GateResult, ...]) -> str:
    """The first of the gates of which a plain sentence can be said, in it."""
    told = (plainly(gate, named=len(gates) > 1) for gate in gates)
    return next(filter(None, told), "")


def gates_lead(report: Report) -> str:
    """How to read the gates."""
    return (
        f"{tally(report)}. A whisker is the interval that the data allow; a gate passes only when all of it "
        "lies beyond the threshold, and a veto, or what stands beside the latency, fails only when none of it does. "
        "Detectable is the smallest difference that this many samples could prove."
    )


def variants_in_order(report: Report) -> list[VariantRow]:
    """The chosen one, the baseline, what was accepted, what was not; each by size."""
    return sorted(
        report.variants,
        key=lambda v: (not v.chosen, not v.baseline, v.accepted is False, v.size or 0, v.name),
    )


def variant_note(variant: VariantRow) -> str:
    """What became of a variant, in a few words."""
    state = "chosen" if variant.chosen else ""
    if variant.baseline and variant.name != "baseline":
        state = "baseline"
    if variant.accepted is False:
        state = f"{state}, not accepted".strip(", ")
    reason = one_line(variant.reason or _of_recipe(variant) or "", 120)
    return f"{state}: {reason}" if state and reason else state or reason


def _of_recipe(variant: VariantRow) -> str | None:
    """What a row is that is no form of the candidate, but of others of its recipe."""
    from gradatim.metrics.population import CANDIDATES

    if variant.name == CANDIDATES:
        return "the mean of all candidates of the recipe"
    return "trained with another seed, never released" if variant.name.startswith("candidate ") else None


def variants_lead(report: Report) -> str:
    """Which variant was chosen, and out of how many."""
    tried = [variant for variant in report.variants if not variant.baseline and not _of_recipe(variant)]
    chosen = judged(report)
    text = f"{numbers.plural(len(tried), 'form')} of the candidate"
    if any(variant.accepted is not None for variant in tried):
        text += f", {numbers.count(sum(bool(v.accepted) for v in tried))} within the budget"
    text = f"{text}; chosen: {one_line(chosen.name, 60)}." if chosen else f"{text}."
    return f"{text} {overlap.told(report)}".strip()


def latency_lead(report: Report) -> str:
    """What the benchmark found, in one sentence."""
    latency = report.latency
    if not latency:
        return ""
    parts = []
    if latency.ratio:
        ratio = latency.ratio
        form = numbers.number_format([ratio.value, ratio.low, ratio.high], "s/s")
        what = latency.timed[0].upper() + latency.timed[1:]
        parts.append(f"{what} {form.estimate(ratio.value, ratio.low, ratio.high)} beside the baseline")
    if latency.decision:
        parts.append(one_line(latency.decision, 60))
    if latency.rounds:
        parts.append(f"{numbers.plural(len(latency.rounds), 'paired round')}, each in fresh processes")
    if latency.setting:
        parts.append(one_line(latency.setting, 120))
    return "; ".join(parts) + "." if parts else ""


@dataclass(frozen=True)
class CheckGroup:
    """The checks of one kind, counted."""

    group: str
    passed: str
    verdict: Verdict


def check_groups(report: Report) -> list[CheckGroup]:
    """The kinds of checks in the order they were run."""
    groups = list(dict.fromkeys(check.group for check in report.checks))
    found = []
    for group in groups:
        verdicts = [check.verdict for check in report.checks if check.group == group]
        passed = f"{numbers.count(verdicts.count(Verdict.PASS))} of {numbers.count(len(verdicts))}"
        found.append(CheckGroup(one_line(group, 60), passed, Verdict.worst(verdicts)))
    return found[:60]


def quantiles(latency: Latency) -> list[str]:
    """Which quantiles the contestants' calls are told by."""
    return list(dict.fromkeys(name for each in latency.contestants for name in each.quantiles))[:8]


def checks_lead(report: Report) -> str:
    """How many checks there were."""
    return f"{numbers.plural(len(report.checks), 'check')} of how the model behaves."


def steps_lead(report: Report) -> str:
    """How long the run took."""
    total = sum(step.seconds or 0.0 for step in report.steps)
    return f"{numbers.plural(len(report.steps), 'step')}, {numbers.duration(total)} of work."


def curves_lead(report: Report) -> str:
    """How to read the robustness curves."""
    metrics = {curve.metric for curve in report.robustness}
    metric = words(metrics.pop()).lower() if len(metrics) == 1 else "the metric"
    return (
        f"How {metric} falls as a corruption grows: the same samples at every severity, 0 is the clean data. "
        f"{overlap.of_baseline(report)} {losses(report)}"
    ).strip()


def losses(report: Report) -> str:
    """Where the candidate is proven worse than the baseline under a corruption, whether a gate asks for it or not."""
    listed = ", ".join(one_line(place, 80) for place in report.worse)
    return f"Proven worse than the baseline: {listed}." if listed else ""
