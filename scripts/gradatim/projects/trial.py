"""Trying contracts in a process of their own: a model that hangs or ends its process ends no more than that."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.checks.rehearsal import Seen
from gradatim.checks.rehearsal_worker import read_seen, surroundings
from gradatim.errors import EnvironmentLacks
from gradatim.signature import Signature

SECONDS = 120.0
"""How long one question may take: loading the model, and one batch through it."""


@dataclass(frozen=True)
class Trouble:
    """Why a contract would not run.

    Attributes:
        part: which part of the contract: ``model``, ``evaluation``, ``task``, ``calibration``, ``robustness``, ``corrupted``.
        reason: what a run would say, or how the process ended.
        corruption: the one that cannot be applied, for the part ``robustness``, or leaves no answer, for ``corrupted``.
        grave: whether a person must know: the machine lacks something, or the process hung or ended.
        file: a file that the model opens and the contract does not release with it.
    """

    part: str
    reason: str
    corruption: str | None = None
    grave: bool = False
    file: str | None = None


class Tryout:
    """Tries contracts of one folder, whose texts nobody wrote down yet; nothing is written there.

    One process answers all questions (``checks.rehearsal_worker``), so that a framework is imported once; where it
    ends or is ended, the next question starts another.

    Args:
        path: where the contract would lie.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> Tryout:
        self._scratch = tempfile.TemporaryDirectory(prefix="gradatim-")
        self._log = (Path(self._scratch.name) / "log").open("w+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._log.close()
        self._scratch.cleanup()

    @property
    def scratch(self) -> Path:
        """A folder that is removed in the end."""
        return Path(self._scratch.name)

    def move(self, folder: Path) -> None:
        """Try contracts of another folder from now on."""
        self._path = folder / self._path.name

    def opened(self, text: str) -> Signature | Trouble:
        """What the model of a contract says of its inputs and outputs."""
        found = self._ask("open", text)
        return found if isinstance(found, Trouble) else Signature.from_json(found["signature"])

    def look(self, text: str) -> Seen | Trouble:
        """What the model of a contract says to some rows of its evaluation data; its task plays no part."""
        found = self._ask("look", text)
        return found if isinstance(found, Trouble) else read_seen(self._arrays, found)

    def rehearse(self, text: str) -> list[Trouble]:
        """What a run of a contract would stop at, as far as one batch tells."""
        found = self._ask("rehearse", text)
        if isinstance(found, Trouble):
            return [found]
        lacks = EnvironmentLacks.exit_code
        return [
            Trouble(each["part"], each["error"], each["corruption"], each["exit_code"] == lacks)
            for each in found["obstacles"]
        ]

    @property
    def _arrays(self) -> Path:
        return self.scratch / "arrays.npz"

    def _ask(self, do: str, text: str) -> dict[str, Any] | Trouble:
        process = self._process = self._process or self._start()
        wanted = {"do": do, "text": text, "path": str(self._path), "arrays": str(self._arrays)}
        assert process.stdin is not None  # noqa: S101 (it is a pipe by construction)
        try:
            process.stdin.write(json.dumps(wanted).encode() + b"\n")
            process.stdin.flush()
            line = self._line(process)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._end()
            return Trouble("model", f"The model did not answer one batch within {SECONDS:.0f} s.", grave=True)
        if not line:
            reason = self._last_words(process.wait())
            self._end()
            return Trouble("model", reason, grave=True)
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            lacks = found["exit_code"] == EnvironmentLacks.exit_code
            return Trouble("model", found["error"], grave=lacks, file=found["file"])
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        self._buffer = b""
        return subprocess.Popen(
            [sys.executable, "-m", "gradatim.checks.rehearsal_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._scratch.name,  # no file of the user's can shadow a module
            env=surroundings(),
            start_new_session=True,
        )

    def _line(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """The next answer; empty when the process ended, None when it took too long."""
        assert process.stdout is not None  # noqa: S101
        ends = time.monotonic() + SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, ends - time.monotonic())):
                    return None
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _last_words(self, code: int) -> str:
        try:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            how = f"signal {-code}"
        self._log.seek(0)
        words = self._log.read()[-4000:].decode(errors="replace").strip().splitlines()
        last = f" Its last words: {words[-1][:200].rstrip('.')}." if words else ""
        return f"The model ended the process that tried it ({how}).{last}"
