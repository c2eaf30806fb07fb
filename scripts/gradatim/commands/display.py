"""What a person sees of a walk: a line a step, live on a terminal, plain elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from gradatim.commands.options import coloured, wrapped
from gradatim.pipeline.graph import Step
from gradatim.pipeline.walk import StepResult
from gradatim.progress import Event, is_long

_NAME = 11
_WIDEST, _NARROWEST = 100, 50


class Display:
    """Prints each step as it ends; on a terminal also shows how far the running ones have come."""

    def __init__(self, before: Sequence[str] = ()) -> None:
        """``before`` was said above the first step, and is not told again."""
        self._lock = threading.Lock()
        self._bars: Any = None
        self._running: dict[str, Any] = {}
        self._told: set[str] = set()
        self._estimated: set[str] = set()
        self._errors: dict[str, str] = dict.fromkeys(before, "said before")

    @contextlib.contextmanager
    def live(self) -> Iterator[Display]:
        """Show bars while the context lasts, if standard error is a terminal."""
        if not sys.stderr.isatty():
            yield self
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        console = Console(stderr=True)
        bar = 24 if console.width >= 70 else 10
        columns = (
            TextColumn("  {task.description:<10}", table_column=Column(no_wrap=True, min_width=12)),
            BarColumn(bar, table_column=Column(min_width=bar)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=3)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            # what is long and changes gives way: it is cut, and the others keep their place
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, ratio=1)),
        )
        with Progress(*columns, console=console, transient=True, expand=True) as bars:
            self._bars = bars
            yield self
            self._bars = None

    def started(self, step: Step) -> None:
        if self._bars is not None:
            with self._lock:
                self._running[step.name] = self._bars.add_task(step.name, total=None, note="")

    def progressed(self, step: Step, event: Event) -> None:
        if is_long(event.note) and step.name not in self._estimated:
            self._estimated.add(step.name)
            with self._lock:
                self.say(f"  {step.name:<{_NAME}}{event.note}")
        if self._bars is not None:
            note = event.note or (event.task if event.task != step.name else "")
            self._bars.update(self._running[step.name], completed=event.done, total=event.total, note=note)

    def finished(self, result: StepResult) -> None:
        with self._lock:
            result = self._without_what_was_told(result)
            if self._bars is not None and result.step in self._running:
                self._bars.remove_task(self._running.pop(result.step))
            self.say("\n".join(step_lines(self._shortened(result))))

    def _shortened(self, result: StepResult) -> StepResult:
        """The same error of a second step, told in three words."""
        if result.status != "error":
            return result
        first = self._errors.setdefault(result.summary, f"the same as {result.step}")
        return result if first.endswith(f" {result.step}") else replace(result, summary=first)

    def _without_what_was_told(self, result: StepResult) -> StepResult:
        """The gate repeats what other steps refused; a person reads it once."""
        refusals = [r for r in result.record.get("refusals", ()) if r["text"] not in self._told]
        self._told.update(refusal["text"] for refusal in refusals)
        return replace(result, record={**result.record, "refusals": refusals})

    def say(self, text: str) -> None:
        """Print above the bars."""
        if self._bars is not None:
            from rich.text import Text

            self._bars.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            click.echo(text, err=True)


def width() -> int:
    """Columns to write in: the terminal's, or what COLUMNS says; at most what reads well."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def before_lines(paragraphs: list[str]) -> list[str]:
    """What will stop the release, said before the first step."""
    if not paragraphs:
        return []
    last = "Nothing can be released until then; everything up to the gate is run all the same."
    return told_lines("before", [*paragraphs, last])


def told_lines(word: str, paragraphs: list[str]) -> list[str]:
    """Something worth a look that is no step, in the columns of the steps; nothing where there is nothing to tell."""
    indent = " " * (2 + _NAME)
    lines = [indent + part for paragraph in paragraphs for part in wrapped(paragraph, width() - len(indent))]
    return (
        ["  " + coloured(word.ljust(_NAME), "INCONCLUSIVE") + lines[0].lstrip(), *lines[1:]] if lines else []
    )


def last_lines(outcome: str, verdict: str, report: str) -> list[str]:
    """How a walk ended, and where its report lies: on one line where both fit."""
    told = [f"  {coloured(line, verdict)}" for line in wrapped(outcome, width() - 2)]
    fits = len(click.unstyle(told[-1])) + 2 + len(report) <= width()
    return [*told[:-1], f"{told[-1]}  {report}".rstrip()] if fits else [*told, f"  {report}"]


def step_lines(result: StepResult) -> list[str]:
    """One line on how a step ended, and below it the refusals in words."""
    told = {"skipped": "skipped", "not run": "not run"}.get(result.status, _seconds(result.seconds))
    first, *more = (result.summary or "").splitlines() or [""]
    if result.status == "not run":
        first = first.removeprefix("not run: ")
    verdict = "FAIL" if result.status == "error" else result.verdict
    name = coloured(f"{result.step:<{_NAME}}", verdict if result.code else None)
    line = f"  {name}{first}"
    plain = 2 + _NAME + len(first)
    if plain + len(told) + 1 <= width():
        line += " " * (width() - plain - len(told)) + told
        lines = [line]
    else:
        head, *rest = wrapped(first, width() - _NAME - 12) or [""]
        lines = [f"  {name}{head}" + " " * max(1, width() - 2 - _NAME - len(head) - len(told)) + told]
        lines += [" " * (2 + _NAME) + part for part in rest]
    lines += [" " * (2 + _NAME) + line for line in more]
    for refusal in result.record.get("refusals", ()):
        lines += refusal_lines(refusal)
    return lines


def refusal_lines(refusal: dict[str, Any]) -> list[str]:
    """A refused gate in words, with the line of the contract that asked for it."""
    place = f"   {refusal['place']}" if refusal.get("place") else ""
    indent = " " * (2 + _NAME)
    told = f"Cannot tell: {refusal['text']}" if refusal["verdict"] == "INCONCLUSIVE" else refusal["text"]
    first, *rest = wrapped(told, width() - len(indent)) or [refusal["gate"]]
    return [
        indent + coloured(first, refusal["verdict"]),
        *(indent + line for line in rest),
        *([indent + place.strip()] if place else []),
    ]


def _seconds(seconds: float) -> str:
    if seconds >= 99.5:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
