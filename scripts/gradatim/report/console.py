"""The verdict of a run on a terminal."""

from __future__ import annotations

from typing import IO

from gradatim.gates.verdict import Verdict
from gradatim.report import numbers, sentences
from gradatim.report.model import Report, StepSummary
from gradatim.report.text import one_line

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.INVALID: "magenta",
}
_REFUSED = 20
_NAME = 10


def print_report(report: Report, file: IO[str], path: str | None = None) -> None:
    """Steps, gates in one line, every refused gate in words, and where the report lies.

    Args:
        report: what to say.
        file: where to; colours only when it is a terminal.
        path: where the HTML report was written.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(file=file, highlight=False, soft_wrap=True)

    def say(text: str, style: str = "", indent: int = 2) -> None:
        console.print(Text(" " * indent + text, style=style))

    opening = [sentences.subject(report)]
    opening += [f"candidate {numbers.digest(one_line(report.commit, 40))}"] if report.commit else []
    opening += [f"baseline {one_line(report.baseline, 60)}"] if report.baseline else []
    say("  ".join(opening), "bold", 0)
    for step in report.steps:
        console.print(
            Text(f"  {_step(step)}", style=_STYLES[step.verdict] if _bad(step) and step.verdict else "")
        )
    if report.gates:
        say(f"{'gates':<{_NAME}} {sentences.tally(report)}")
    refused = sentences.refusals(report)
    for gate in refused[:_REFUSED]:
        place = sentences.place_of(gate, report)
        lines = sentences.paragraph(gate.text).splitlines() or [one_line(gate.gate)]
        say(
            f"{gate.verdict.value} {lines[0]}" + (f"   {place}" if place else ""),
            _STYLES[gate.verdict],
            _NAME + 3,
        )
        for line in lines[1:]:
            say(line, indent=_NAME + 3)
    if len(refused) > _REFUSED:
        say(f"and {numbers.plural(len(refused) - _REFUSED, 'more refused gate')}", indent=_NAME + 3)
    for warning in report.warnings[:_REFUSED]:
        say(one_line(warning), "yellow")
    ending = [report.verdict.value if report.verdict is Verdict.PASS else "refused"]
    ending += [one_line(report.outcome)] if report.outcome else []
    say(": ".join(ending) + (f"  report: {path}" if path else ""), f"bold {_STYLES[report.verdict]}")


def _bad(step: StepSummary) -> bool:
    return step.verdict not in (None, Verdict.PASS)


def _step(step: StepSummary) -> str:
    told = one_line(step.summary or step.status, 60)
    time = numbers.duration(step.seconds) if step.seconds is not None else ""
    return f"{one_line(step.name, 20):<{_NAME}} {told:<62}{time:>10}".rstrip()
