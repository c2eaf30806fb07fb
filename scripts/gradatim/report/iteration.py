"""The report of an iteration: what went out, how the gates moved, what users and data say, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gradatim.errors import needs
from gradatim.files import template_folder
from gradatim.gates.plan_row import PlanRow
from gradatim.gates.verdict import GateResult
from gradatim.report.markdown import escape
from gradatim.report.palette import COLOURS, FONTS, MARKS
from gradatim.report.pictures.gate_history import draw_gate_history
from gradatim.report.verdicts import gate_format

PICTURES = 24
"""How many gates are drawn."""

_NEARLY = 0.8
"""The share of planned uses from which on a new test set is due: making one takes longer than using one up."""


@dataclass(frozen=True)
class Share:
    """How many users of a version were not served well, of all or of a slice.

    Attributes:
        version, where: ``v1.1.0``, ``site=oslo``; empty for all.
        bad, n: counts.
        low, high: bounds of the share, two-sided 95 %.
    """

    version: str
    where: str
    bad: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class IterationReport:
    """What one turn of the ladder left, told to who plans the next.

    Attributes:
        name: the model.
        since, until: the first and the last day, ``2026-11-13``.
        holds: (stage, version, since when), top of the ladder first.
        events: (day, what, stage, why) of the iteration, oldest first.
        gates: by gate, (version, verdict), oldest version first.
        shares: what users said; empty where nobody was asked.
        proposed: how many failures with a known right answer wait to become golden cases.
        drift: (column, what was found) of what changed, proven and large enough to matter; None where nobody looked.
        uses: how often the test set was used, and for how often it is planned; None where it is not planned.
        undecided: gates that the data are too few for.
        notes: what could not be looked at, and why.
        waiting: (version, stage, since when, the stage above), which holds other bytes.
    """

    name: str
    since: str
    until: str
    holds: tuple[tuple[str, str, str], ...]
    events: tuple[tuple[str, str, str, str], ...]
    gates: Mapping[str, tuple[tuple[str, GateResult], ...]]
    shares: tuple[Share, ...] = ()
    proposed: int = 0
    drift: tuple[tuple[str, str], ...] | None = None
    uses: tuple[int, int] | None = None
    undecided: tuple[PlanRow, ...] = ()
    notes: tuple[str, ...] = ()
    waiting: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def plan(self) -> tuple[str, ...]:
        """What to do next, the most pressing first; empty where nothing speaks for anything."""
        return tuple(self._due())

    def _due(self) -> Iterator[str]:
        if self.uses is not None and self.uses[0] >= _NEARLY * self.uses[1]:
            yield f"Make a new test set: {self.uses[0]} of {self.uses[1]} planned uses are spent."
        for column, told in self.drift or ():
            yield f"Look at {column}, which changed ({told}); collect and label rows of today."
        overall = {share.version: share for share in self.shares if not share.where}
        for share in self.shares:
            whole = overall.get(share.version)
            if share.where and whole is not None and share.low > whole.bad / whole.n:
                yield f"Ask why {share.where} is served worse by {share.version}: {share.bad} of {share.n} were not served well."
        for row in self.undecided:
            wanted = f"{row.needed - (row.n or 0)} more samples" if row.needed else "more samples"
            yield f"Collect {wanted} for {row.gate}: it has {row.n}, and {row.needed or 'more'} would tell."
        if self.proposed:
            yield f"Judge {self.proposed} failures that users reported with their right answer: gradatim feedback import FILE --propose golden.jsonl"
        for version, stage, since, above in self.waiting:
            yield f"Decide on {version}, in {stage} since {since}: promote it to {above}, or leave it."


def pictures_of(report: IterationReport) -> dict[str, str]:
    """Name to SVG: each gate over the versions that it judged."""
    drawn = {
        f"gate-{i}": draw_gate_history(points, f"gate-{i}")
        for i, points in enumerate(report.gates.values(), 1)
    }
    return {name: svg for name, svg in list(drawn.items())[:PICTURES] if svg}


def render_iteration(report: IterationReport) -> str:
    """The report as markdown, for an issue or the page of a run."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: IterationReport) -> Iterator[str]:
    yield f"## {escape(report.name)}: {report.since} to {report.until}"
    yield from ("", "### Next", "")
    yield from (f"- [ ] {escape(step, 400)}" for step in report.plan or ("Nothing is due: go on.",))
    yield from _table("Stages", ("stage", "holds", "since"), report.holds)
    if report.events:
        yield from _table("What happened", ("when", "what", "stage", "why"), report.events)
    else:
        yield from ("", "Nothing was released or moved in this time.")
    yield from _table("Gates over versions", ("gate", "first", "before", "now", "wanted now"), _moved(report))
    shares = [
        (v.version, v.where or "all", f"{v.bad} of {v.n}", f"{100 * v.bad / v.n:.1f} % ({100 * v.low:.1f} .. {100 * v.high:.1f})")
        for v in report.shares
    ]  # fmt: skip
    yield from _table("Not served well, as users say", ("version", "slice", "of", "share"), shares)
    if report.drift is not None:
        yield from _table("Drift", ("column", "found"), report.drift)
        yield from () if report.drift else ("", "Drift: nothing changed by enough to matter.")
    if report.uses is not None:
        yield from ("", f"Uses of the test set: {report.uses[0]} of {report.uses[1]} planned.")
    rows = [(row.gate, str(row.n), str(row.needed or "-"), row.text) for row in report.undecided]
    yield from _table("What the data cannot decide yet", ("gate", "samples", "would tell", "why"), rows)
    yield from (f"\n_{escape(note, 400)}_" for note in report.notes)


def _moved(report: IterationReport) -> Iterator[tuple[str, ...]]:
    """Each gate with its first value, the one before and the newest."""
    for gate, points in report.gates.items():
        known = [(version, found) for version, found in points if found.value is not None]
        if not known:
            continue
        form = gate_format(known[-1][1])
        said = [f"{form(found.value)} ({version})" for version, found in known]
        before = said[-2] if len(said) > 2 else "-"
        yield gate, said[0] if len(said) > 1 else "-", before, said[-1], known[-1][1].wanted


def _table(title: str, head: tuple[str, ...], rows: object) -> Iterator[str]:
    found = list(rows)  # type: ignore[call-overload]
    if found:
        yield from ("", f"### {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|")
        yield from (f"| {' | '.join(escape(cell, 300) for cell in row)} |" for row in found)


def render_iteration_page(report: IterationReport) -> str:
    """The report as one HTML file that needs nothing else, with a picture of each gate.

    Raises:
        EnvironmentLacks: jinja2 is not installed.
    """
    with needs("jinja2", "all", "The HTML report"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template_folder("report"), encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("iteration.html.j2").render(
        report=report,
        moved=list(_moved(report)),
        pictures=[Markup(svg) for svg in pictures_of(report).values()],  # noqa: S704 (our own, escaped where it was drawn)
        style=Markup(COLOURS + MARKS),  # noqa: S704
        fonts=Markup(FONTS),  # noqa: S704
    )
