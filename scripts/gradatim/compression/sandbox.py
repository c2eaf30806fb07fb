"""Running an attempt under a memory cap and a time limit."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.code.confinement import Confined
from gradatim.errors import EnvironmentLacks
from gradatim.files import read_json, write_json, writing
from gradatim.timing.child import ended_with, environment, last_line, resident

_GLANCE = 0.05


@dataclass(frozen=True)
class Limits:
    """What one attempt may use: bytes of memory, seconds, threads; and when the whole search must end, by ``time.monotonic``."""

    memory: int
    seconds: float
    threads: int
    end: float | None = None

    def over(self) -> bool:
        """Whether the whole search must end."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds that an attempt has which begins now."""
        return min(self.seconds, (self.end or math.inf) - time.monotonic())


@contextlib.contextmanager
def scratch_in(out: Path) -> Iterator[Path]:
    """A folder for what is tried, beside what will be kept."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(".search-*"):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(prefix=".search-", dir=out)
    with folder as name:
        yield Path(name)


def attempt(scratch: Path, limits: Limits, **request: Any) -> dict[str, Any]:
    """Run ``gradatim.compression.attempt`` and give its answer.

    The answer has the key ``reason`` when the attempt failed, in whichever way: an error it told, a crash,
    too much memory, too much time; and ``transient`` where a higher limit may see it succeed.

    Raises:
        EnvironmentLacks: the attempt found that a package is missing.
    """
    asked, answer = scratch / "request.json", scratch / "answer.json"
    answer.unlink(missing_ok=True)
    write_json(asked, {**request, "memory_limit": limits.memory, "parent": os.getpid()})
    log = scratch / "log"
    # what it leaves for the moment goes with it, however it ends
    with log.open("wb") as sink, tempfile.TemporaryDirectory(prefix="gradatim-") as passing:
        process = Confined(
            [sys.executable, "-m", "gradatim.compression.attempt", str(asked), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=scratch,  # no file of the user's can shadow a module
            # quantisers walk through sets: the same bytes each time
            env={**environment(limits.threads), "PYTHONHASHSEED": "0", "TMPDIR": passing},
            scratch=scratch,
        )
        try:
            why = _watch(process, limits)
        finally:
            process.end()
    if why:
        return {"reason": why, "transient": True}
    if process.returncode != 0 or not answer.exists():
        words = last_line(log.read_bytes())
        reason = f"its process ended with {ended_with(process.returncode)}"
        return {"reason": f"{reason}: {words}" if words else reason, "transient": True}
    found: Mapping[str, Any] = read_json(answer)
    if found.get("exit_code") == EnvironmentLacks.exit_code:
        raise EnvironmentLacks(found["reason"])
    return dict(found)


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> str | None:
    """Wait for the end; gives the reason when a limit was passed."""
    deadline = time.monotonic() + limits.left
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GLANCE)
            return None
        if time.monotonic() > deadline:
            return f"it took longer than {limits.seconds:g} s"
        if resident(process.pid) > limits.memory:
            return f"it needed more than {limits.memory / (1 << 20):.0f} MiB of memory"
