"""A model that takes part in a timing, and the fresh process that runs it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.signature import Signature


@dataclass(frozen=True)
class Contestant:
    """A model to be timed, named as a variant is named: ``baseline``, ``fp32``, ``int8-static``.

    Attributes:
        path, root, format, factory, signature, device, threads, allow_pickle: as for ``models.open_model``; a
            relative path is relative to ``root``.
        constants, carries: as for ``models.bind``.
        inputs: its own batch, where the model's inputs differ from those of the other contestants.
    """

    name: str
    path: Path
    root: Path
    format: str | None = None
    factory: str | None = None
    signature: Signature | None = None
    device: str = "cpu"
    threads: int = 1
    allow_pickle: bool = False
    constants: Mapping[str, Any] = field(default_factory=dict)
    carries: Mapping[str, str] = field(default_factory=dict)
    inputs: Path | None = None

    def spec(self, inputs: Path) -> dict[str, Any]:
        """What the worker must know, as JSON values."""
        return {
            "name": self.name,
            "path": str(self.path),
            "root": str(self.root.absolute()),
            "format": self.format,
            "factory": self.factory,
            "signature": self.signature.to_json() if self.signature else None,
            "device": self.device,
            "threads": self.threads,
            "allow_pickle": self.allow_pickle,
            "constants": {name: np.asarray(value).tolist() for name, value in self.constants.items()},
            "carries": dict(self.carries),
            "inputs": str((self.inputs or inputs).absolute()),
        }


@dataclass(frozen=True)
class Opened:
    """What a worker tells once its model is loaded.

    Attributes:
        seconds: from the request to open the model until it stood ready.
        items: size of the first axis of the batch; 1 when the inputs have no common first axis.
        clock: ``perf_counter`` or ``cuda_events``.
    """

    seconds: float
    items: int
    clock: str
    pid: int


class Worker:
    """A fresh process that holds one contestant and computes only when asked.

    Use as a context manager; leaving it ends the process, however it is doing.

    Args:
        contestant: whom to load.
        inputs: the .npz of one real batch.
        scratch: a folder for the process's log; also its working folder until it has imported its modules, so
            that no file of the user's can shadow a module.
        timeout: seconds to wait for any one answer.
    """

    def __init__(self, contestant: Contestant, inputs: Path, scratch: Path, timeout: float = 300) -> None:
        self.contestant = contestant
        self.timeout = timeout
        self._log = (scratch / f"{id(self):x}.log").open("w+b")
        threads = str(contestant.threads)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gradatim.timing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=scratch,
            env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, threads), "OMP_WAIT_POLICY": "PASSIVE"},
            start_new_session=True,  # Ctrl-C reaches us; we end the worker
        )
        self._buffer = b""
        self._tell({**contestant.spec(inputs), "parent": os.getpid()})

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def opened(self) -> Opened:
        """Wait until the model is loaded.

        Raises:
            InvalidInput: the model or the batch is broken, or the process died or never answered.
            EnvironmentLacks: a package or a device is missing.
        """
        return Opened(**self._answer())

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have the worker do one thing and wait for its answer; raises as ``opened`` does."""
        self._tell({"do": do, **arguments})
        return self._answer()

    def stop(self) -> dict[str, Any]:
        """Ask for the closing report (peak memory) and let the process go."""
        report = self.ask("stop")
        self.end(grace=2)
        return report

    def end(self, grace: float = 0) -> None:
        """End the process: politely for ``grace`` seconds, then at once."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 (it is a pipe by construction)
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self) -> dict[str, Any]:
        message = json.loads(self._line())
        if "error" in message:
            raise _KINDS[message["error"]](f"{self._who} could not be timed. {message['text']}")
        return dict(message)

    def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        deadline = time.monotonic() + self.timeout
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise InvalidInput(
                        f"{self._who} gave no answer for {self.timeout:g} s and was ended. "
                        "Time it with a smaller batch, or see whether it waits for something."
                    )
                chunk = os.read(descriptor, 1 << 16)
                if not chunk:
                    raise self._died()
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> InvalidInput:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"signal {_signal_name(-code)}"
        hint = " The system ended it: most likely it ran out of memory." if code == -signal.SIGKILL else ""
        self._log.seek(0)
        words = self._log.read()[-4000:].decode(errors="replace").strip().splitlines()
        last = f" Its last words: {words[-1][:300]}" if words else ""
        return InvalidInput(f"{self._who} could not be timed: its process ended with {how}.{hint}{last}")

    @property
    def _who(self) -> str:
        return f"The model `{self.contestant.name}` ({self.contestant.path})"


def save_inputs(path: Path, inputs: Mapping[str, NDArray[Any]]) -> Path:
    """Write one batch as the .npz that a worker reads; texts become numpy's own strings, never pickles.

    Raises:
        InvalidInput: the batch is empty, or an array holds Python objects other than text.
    """
    if not inputs:
        raise InvalidInput("There is no batch to time the model with: the inputs are empty.")
    plain = {}
    for name, array in inputs.items():
        array = np.asarray(array)
        if array.dtype == object:
            if not all(isinstance(value, str) for value in array.flat):
                raise InvalidInput(f"The input {name} of the batch to time holds objects that are not text.")
            array = array.astype(np.str_)
        plain[name] = array
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **plain)
    return path


_KINDS: dict[str, type[GradatimError]] = {
    kind.__name__: kind for kind in (InvalidInput, EnvironmentLacks, UsageError)
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
