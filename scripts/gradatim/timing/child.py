"""A process of our own making that holds one model: what it may use, what it says, and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradatim.code.confinement import Confined
from gradatim.code.surroundings import allowed

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PATIENCE = 5.0


class Child:
    """A fresh process that runs one of our modules and speaks in lines of JSON.

    Use as a context manager; leaving it ends the process and all that it started, however it is doing.

    Args:
        module: what ``python -m`` runs.
        scratch: a folder for the process's log; also its working folder until it has imported its modules, so that no
            file of the user's can shadow a module.
        threads: that its libraries may use.
        under: a program, and its arguments, that starts it and watches it.
        variables: further environment variables.
    """

    def __init__(
        self, module: str, scratch: Path, threads: int, under: Sequence[str] = (), **variables: str
    ) -> None:
        self._log = (scratch / f"{id(self):x}.log").open("w+b")
        self._process = Confined(
            [*under, sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=scratch,
            env={**environment(threads), **variables},
        )
        self._buffer = b""
        assert self._process.stdout is not None  # noqa: S101 (it is a pipe by construction)
        self._descriptor = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: Mapping[str, Any], pieces: Iterable[memoryview] = ()) -> None:
        """Say one thing to it, with the bytes that belong to it.

        Raises:
            BrokenPipeError: it is gone.
        """
        assert self._process.stdin is not None  # noqa: S101 (it is a pipe by construction)
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        for piece in pieces:
            self._process.stdin.write(piece)
        self._process.stdin.flush()

    def line(self, seconds: float) -> bytes | None:
        """The next line that it says; None when there is none within so many seconds.

        Raises:
            EOFError: it says no more.
        """
        while b"\n" not in self._buffer:
            if not self._speaks(seconds):
                return None
            chunk = os.read(self._descriptor, 1 << 16)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def fill(self, view: memoryview, seconds: float) -> bool | None:
        """Read as many bytes as the view holds; None when they are not there within so many seconds.

        Raises:
            EOFError: it says no more.
        """
        deadline = time.monotonic() + seconds
        while view:
            if self._buffer:
                taken = min(len(view), len(self._buffer))
                view[:taken], self._buffer = self._buffer[:taken], self._buffer[taken:]
            elif not self._speaks(deadline - time.monotonic()):
                return None
            elif not (taken := os.readv(self._descriptor, [view])):
                raise EOFError
            view = view[taken:]
        return True

    def _speaks(self, seconds: float) -> bool:
        """Whether it has said something, or ended, within so many seconds."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))

    def exit_code(self) -> int | None:
        """How it ended; None when it still runs after a while."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_PATIENCE)
        return None

    def last_words(self) -> str:
        """The last line of its log."""
        self._log.seek(0)
        return last_line(self._log.read())

    def end(self, grace: float = 0) -> None:
        """End the process: politely for ``grace`` seconds, then at once."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self._process.end()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()


def environment(threads: int) -> dict[str, str]:
    """What the user's code may know of our environment, with so many threads for the libraries that models run on."""
    return {**allowed(), **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


def ended_with(code: int) -> str:
    """An exit code in words: ``exit code 3``, ``signal SIGSEGV``."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def last_line(log: bytes) -> str:
    """The last line of what a process printed, at most 300 characters."""
    lines = log[-4000:].decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def free_memory() -> int:
    """Four fifths of the memory that is free now; 4 GiB where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024 * 4 // 5
    except (OSError, StopIteration, ValueError, IndexError):
        return 4 << 30
