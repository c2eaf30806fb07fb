"""The walk over the graph: each step in a process of its own, the very command that a CI job runs.

A process a step means that a native crash in a model's runtime is one refused step, not the end of the run, and that
a laptop and a CI job cannot differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from gradatim.pipeline.graph import STEPS, Step, groups
from gradatim.progress import Event, read_event

_OURSELVES = "import sys; sys.path[:] = filter(None, sys.path); from gradatim.cli import main; main()"
"""``-m gradatim`` would take modules, and us, from the repository that it is called in, before all others."""
_GRACE_SECONDS = 10.0
_LINES_KEPT = 20


@dataclass(frozen=True)
class StepResult:
    """How one step of a walk ended.

    Attributes:
        step: its name.
        status: ``done``, ``skipped`` (its evidence was already there), ``refused``, ``error`` or ``not run``.
        code: the exit code of its command; None when it was not run.
        verdict: its evidence's verdict, None without evidence.
        summary: one line on what it found, or the error's paragraph.
        seconds: wall time.
        record: everything its ``--json`` said.
    """

    step: str
    status: str
    code: int | None
    verdict: str | None
    summary: str
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "status": self.status,
            "exit": self.code,
            "verdict": self.verdict,
            "summary": self.summary,
            "seconds": round(self.seconds, 3),
        }


class Observer(Protocol):
    """Who watches a walk."""

    def started(self, step: Step) -> None: ...

    def progressed(self, step: Step, event: Event) -> None: ...

    def finished(self, result: StepResult) -> None: ...


def walk(
    steps: Sequence[Step],
    command: Callable[[Step], list[str]],
    observer: Observer,
    *,
    side_by_side: bool = True,
    standing: Callable[[Step], StepResult | None] = lambda step: None,
) -> list[StepResult]:
    """Run steps in the graph's order, side by side where they allow it.

    Every verdict is collected: a refusal stops only what would be unsafe or impossible after it. A step that changes
    something outside runs only when everything before it passed.

    Args:
        steps: what to run, in order.
        command: the command line of one step; it must print one JSON object on standard output.
        observer: told of starts, progress and ends, from several threads.
        side_by_side: False runs one step at a time.
        standing: the result of a step whose evidence is already there, asked before any process is started.
    """
    results: dict[str, StepResult] = {}
    for group in groups(tuple(steps)):
        for batch in [group] if side_by_side else [(step,) for step in group]:
            runnable = []
            for step in batch:
                result = _withheld(step, results) or standing(step)
                if result is None:
                    runnable.append(step)
                else:
                    results[step.name] = result
                    observer.finished(result)
            for result in _run_together(runnable, command, observer):
                results[result.step] = result
    return [results[step.name] for step in steps]


def _withheld(step: Step, results: dict[str, StepResult]) -> StepResult | None:
    """Why a step must not run, given how those before it ended."""
    for name, result in results.items():
        stopped = result.code != 0 and (step.outward or STEPS[name].unsafe_to_pass)
        if stopped:
            reason = result.summary if result.status == "not run" else f"not run: {name} did not pass"
            return StepResult(step.name, "not run", None, None, reason)
    return None


def _run_together(
    steps: Sequence[Step], command: Callable[[Step], list[str]], observer: Observer
) -> list[StepResult]:
    results: list[StepResult] = []
    children: list[tuple[Step, subprocess.Popen[str]]] = []
    with _ending_children(children):
        for step in steps:
            observer.started(step)
            children.append((step, _start(command(step))))
        threads = []
        for step, child in children:
            thread = threading.Thread(
                target=lambda s=step, c=child: results.append(_follow(s, c, observer)), daemon=True
            )
            thread.start()
            threads.append(thread)
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # with a timeout, so that Ctrl-C is heard at once
    return results


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "GRADATIM_PROGRESS": "events"},
        start_new_session=True,  # Ctrl-C reaches the walk alone, which then ends its children in order
    )


@contextlib.contextmanager
def _ending_children(children: list[tuple[Step, subprocess.Popen[str]]]) -> Iterator[None]:
    try:
        yield
    finally:
        running = [child for _, child in children if child.poll() is None]
        try:
            _end(running, signal.SIGINT)
            deadline = time.monotonic() + _GRACE_SECONDS
            for child in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, deadline - time.monotonic()))
        finally:  # at once, when Ctrl-C is pressed again
            _end(running, signal.SIGKILL)  # whatever of their own children is left, too
            for child in running:
                child.wait()


def _end(children: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


def _follow(step: Step, child: subprocess.Popen[str], observer: Observer) -> StepResult:
    """Read one child's events and result until it ends."""
    began = time.monotonic()
    said: list[str] = []
    out: list[str] = []
    reader = threading.Thread(target=lambda: out.append(_read(child.stdout)), daemon=True)
    reader.start()
    for line in child.stderr or ():
        event = read_event(line)
        if event:
            observer.progressed(step, event)
        elif line.strip():
            said = [*said[1 - _LINES_KEPT :], line.rstrip()]
    code = child.wait()
    reader.join()
    result = _result(step, code, out[0], said, time.monotonic() - began)
    observer.finished(result)
    return result


def _read(stream: IO[str] | None) -> str:
    return stream.read() if stream else ""


def _result(step: Step, code: int, out: str, said: list[str], seconds: float) -> StepResult:
    try:
        record = json.loads(out) if out.strip() else {}
    except ValueError:
        record = {}
    if not isinstance(record, dict):
        record = {}
    if code in (-signal.SIGINT, 128 + signal.SIGINT):
        return StepResult(step.name, "error", 128 + signal.SIGINT, None, "interrupted", seconds)
    if code < 0:
        name = signal.Signals(-code).name
        memory = " It may have run out of memory." if name == "SIGKILL" else ""
        return StepResult(
            step.name, "error", 3, None, f"The process of `{step.name}` was ended by {name}.{memory}", seconds
        )
    if "error" in record or "summary" not in record:
        paragraph = (
            record.get("error")
            or "\n".join(said)
            or f"The process of `{step.name}` ended (exit code {code}) without a verdict: the model's runtime or your own "
            "code left it, as `os._exit` does."
        )
        return StepResult(step.name, "error", code or 3, None, paragraph, seconds, record)
    status = "skipped" if record.get("skipped") else ("done" if code == 0 else "refused")
    return StepResult(step.name, status, code, record.get("verdict"), record["summary"], seconds, record)


def ourselves(*arguments: str) -> list[str]:
    """Our own command line in another process, wherever that is started."""
    return [sys.executable, "-c", _OURSELVES, *arguments]


def step_command(
    contract: str, stage: str | None, version: str | None = None, *, force: bool
) -> Callable[[Step], list[str]]:
    """The command line of a step, as a CI job would call it."""

    def command(step: Step) -> list[str]:
        arguments = ourselves(step.name, "--json", "--contract", contract)
        arguments += ["--stage", stage] if stage else []
        arguments += ["--version", version] if version and step.name == "tag" else []
        return arguments + (["--force"] if force and not step.outward else [])

    return command
