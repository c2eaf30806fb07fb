"""How far long work has come: a bar on a terminal, events for a parent process, nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

RECORD = "\x1e"
"""Starts an event on standard error (RFC 7464), so that a parent can tell it from other text."""

_SECONDS_BETWEEN_EVENTS = 0.1


class Advance(Protocol):
    """Called as work gets done: by how much, and a note on where it is."""

    def __call__(self, amount: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Where long work reports to."""

    def task(self, name: str, total: int | None) -> contextlib.AbstractContextManager[Advance]:
        """Show one piece of work of ``total`` parts (None when unknown) while the context lasts."""
        ...


class Silent:
    """Shows nothing: standard error is not a terminal, or nobody asked."""

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        yield lambda amount=1, note="": None


class Bar:
    """A bar on a terminal."""

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(name, total=total)

            def advance(amount: int = 1, note: str = "") -> None:
                bars.update(bar, advance=amount, description=f"{name}  {note}".rstrip())

            yield advance


class Events:
    """JSON lines on a stream, for the process that started this one."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        done, told = 0, 0.0

        def tell(note: str) -> None:
            event = {"task": name, "done": done, "total": total, "note": note}
            self._stream.write(f"{RECORD}{json.dumps(event)}\n")
            self._stream.flush()

        def advance(amount: int = 1, note: str = "") -> None:
            nonlocal done, told
            done += amount
            now = time.monotonic()
            if now - told >= _SECONDS_BETWEEN_EVENTS:
                told = now
                tell(note)

        tell("")
        yield advance


@dataclass(frozen=True)
class Event:
    """What a child process said about its progress."""

    task: str
    done: int
    total: int | None
    note: str


def read_event(line: str) -> Event | None:
    """The event on a line of a child's standard error, or None when the line is ordinary text."""
    if not line.startswith(RECORD):
        return None
    try:
        record: dict[str, Any] = json.loads(line[1:])
        return Event(record["task"], record["done"], record["total"], record["note"])
    except (ValueError, KeyError, TypeError):
        return None
