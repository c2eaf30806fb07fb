"""Running an attempt under a memory cap and a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.errors import EnvironmentLacks
from gradatim.files import read_json, write_json

_GLANCE = 0.05


@dataclass(frozen=True)
class Limits:
    """What one attempt may use: bytes of memory, seconds, threads."""

    memory: int
    seconds: float
    threads: int


def free_memory() -> int:
    """Four fifths of the memory that is free now; 4 GiB where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024 * 4 // 5
    except (OSError, StopIteration, ValueError, IndexError):
        return 4 << 30


def attempt(scratch: Path, limits: Limits, **request: Any) -> dict[str, Any]:
    """Run ``gradatim.compression.attempt`` and give its answer.

    The answer has the key ``reason`` when the attempt failed, in whichever way: an error it told, a crash,
    too much memory, too much time; and ``transient`` where a higher limit may see it succeed.

    Raises:
        EnvironmentLacks: the attempt found that a package is missing.
    """
    asked, answer = scratch / "request.json", scratch / "answer.json"
    answer.unlink(missing_ok=True)
    write_json(asked, {**request, "memory_limit": limits.memory})
    log = scratch / "log"
    threads = str(limits.threads)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gradatim.compression.attempt", str(asked), str(answer)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=scratch,  # no file of the user's can shadow a module
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",  # quantisers walk through sets: the same bytes each time
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
            },
            start_new_session=True,
        )
        try:
            why = _watch(process, limits)
        finally:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if why:
        return {"reason": why, "transient": True}
    if process.returncode != 0 or not answer.exists():
        return {"reason": _last_words(process.returncode, log), "transient": True}
    found: Mapping[str, Any] = read_json(answer)
    if found.get("exit_code") == EnvironmentLacks.exit_code:
        raise EnvironmentLacks(found["reason"])
    return dict(found)


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> str | None:
    """Wait for the end; gives the reason when a limit was passed."""
    deadline = time.monotonic() + limits.seconds
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GLANCE)
            return None
        if time.monotonic() > deadline:
            return f"it took longer than {limits.seconds:g} s"
        if _resident(process.pid) > limits.memory:
            return f"it needed more than {limits.memory / (1 << 20):.0f} MiB of memory"


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _last_words(code: int, log: Path) -> str:
    try:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    except ValueError:
        how = f"signal {-code}"
    words = log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    return f"its process ended with {how}" + (f": {words[-1][:300]}" if words else "")
