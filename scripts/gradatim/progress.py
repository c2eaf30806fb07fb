"""How far long work has come: a bar on a terminal, events for a parent process, nothing elsewhere."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

from gradatim import files

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

RECORD = "\x1e"
"""Starts an event on standard error (RFC 7464), so that a parent can tell it from other text."""

_SECONDS_BETWEEN_EVENTS = 0.1
_SECONDS_BETWEEN_COUNTS = 0.3
_WORTH_SHOWING = 1 << 28
"""Bytes that take long enough for somebody to wonder."""


def about(seconds: float) -> str:
    """``about 14 s``, ``about 3 min``: how long work will take, as a note on it."""
    told = f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"
    return f"about {told}"


def is_long(note: str) -> bool:
    """Whether a note says that work will take ten seconds or more: then whoever started it wants to know beforehand."""
    found = re.match(r"about (\d+) (s|min)\b", note)
    return found is not None and (found[2] == "min" or int(found[1]) >= 10)


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


class Lines(Silent):
    """One line on how long work will take, where that is worth a line: for a log that nobody watches."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        def advance(amount: int = 1, note: str = "") -> None:
            if name not in self._told and is_long(note):
                self._told.add(name)
                sys.stderr.write(f"  {name:<11}{note}\n")
                sys.stderr.flush()

        yield advance


class Bar:
    """A bar on a terminal; a task within a task is a bar below the other."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    @contextlib.contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Advance]:
        with self._shown() as bars:
            bar = bars.add_task(name, total=total)

            def advance(amount: int = 1, note: str = "") -> None:
                bars.update(bar, advance=amount, description=f"{name}  {note}".rstrip())

            try:
                yield advance
            finally:
                bars.remove_task(bar)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Bars]:
        if self._bars is not None:
            yield self._bars
            return
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True, refresh_per_second=4) as bars:
            self._bars = bars
            try:
                yield bars
            finally:
                self._bars = None


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


_shown_on: Progress = Silent()


def show_on(progress: Progress) -> None:
    """Say once, at the door, where large files show how far they are."""
    global _shown_on
    _shown_on = progress


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Show no large files while something else draws on the terminal."""
    before = _shown_on
    show_on(Silent())
    try:
        yield
    finally:
        show_on(before)


@contextlib.contextmanager
def large(name: str, total: int) -> Iterator[None]:
    """Show how many of ``total`` bytes are through while the context lasts, a few times a second; not for small files."""
    if total < _WORTH_SHOWING or isinstance(_shown_on, Silent):
        yield
        return
    waiting, told, lock = 0, time.monotonic(), threading.Lock()
    with _shown_on.task(name, total) as advance:

        def count(amount: int) -> None:
            nonlocal waiting, told
            with lock:
                waiting += amount
                if time.monotonic() - told >= _SECONDS_BETWEEN_COUNTS:
                    advance(waiting)
                    waiting, told = 0, time.monotonic()

        with files.counting(count):
            yield
        advance(waiting)


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
