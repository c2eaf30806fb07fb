"""Which lines of some files run, in this process and in every Python that it starts: as ``sitecustomize`` there.

A byte for each line lies in a file that all processes map, so what was reached is known of those that were killed, too.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_HERE = Path(__file__).parent
_MOST_EVENTS = 20_000
"""Lines of one function that are watched: a loop that runs for seconds would run for a minute."""


class Reached:
    """Lines that run of the files that ``files.json`` names, each with the place of its first byte in ``lines``."""

    def __init__(self, folder: Path) -> None:
        self.places: dict[str, int] = json.loads((folder / "files.json").read_text())
        with (folder / "lines").open("r+b") as file:
            self.left: dict[CodeType, int] = {}
            self.lines = mmap.mmap(file.fileno(), 0)

    def __call__(self, frame: FrameType, _event: str, _given: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        place = self.places.get(code.co_filename)
        if place is None or self.left.get(code) == 0:
            return None
        lines, left = self.lines, self.left
        left.setdefault(code, _MOST_EVENTS)

        def local(inner: FrameType, _event: str, _given: Any) -> Callable[..., Any]:
            lines[place + inner.f_lineno] = 1
            left[code] = max(0, left[code] - 1)
            inner.f_trace_lines = left[code] > 0
            return local

        return local(frame, "", None)

    def start(self) -> None:
        """Watch this thread and those that it starts."""
        threading.settrace(self)
        sys.settrace(self)

    def told(self) -> dict[str, list[int]]:
        """The lines that were reached, by file, and forget them."""
        ends = [*sorted(self.places.values())[1:], len(self.lines)]
        found = {}
        for (name, place), end in zip(sorted(self.places.items(), key=lambda one: one[1]), ends, strict=True):
            part = self.lines[place:end]
            if any(part):
                found[name] = [line for line, seen in enumerate(part) if seen]
        self.lines[:] = bytes(len(self.lines))
        return found


if __name__ == "sitecustomize":
    with contextlib.suppress(OSError):  # a sandbox that shows no such file
        Reached(_HERE).start()
