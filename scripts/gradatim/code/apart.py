"""The user's functions, called in a process of their own: what comes back is numbers and arrays, and nothing else does."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.code.confinement import Confined
from gradatim.code.surroundings import allowed
from gradatim.code.wire import Unspeakable, hear
from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError

_SIZE = struct.Struct("<Q")
_ROWS = 256
_ERRORS: dict[str, type[GradatimError]] = {
    kind.__name__: kind for kind in (EnvironmentLacks, UsageError, InvalidInput)
}
_hosts: dict[tuple[int, Path], _Host] = {}
_starting = threading.Lock()


class Apart:
    """``module:function`` of a project, to be called as if it were here.

    Attributes:
        paths: the files that it says it reads.

    Raises:
        UsageError: the reference is malformed.
        InvalidInput: there is no such function, or its module fails on import.
        EnvironmentLacks: the module imports a package that is not installed.
    """

    def __init__(self, reference: str, root: Path) -> None:
        self._reference = reference
        self._host = _host_of(root.resolve())
        self.paths: list[str] = self._host.ask(reference, "load")

    def __call__(self, *arguments: Any) -> Any:
        """Call it.

        Returns:
            numbers, text, arrays, or collections of them; ``ToldRows`` for any other iterable.

        Raises:
            InvalidInput: it failed, answered with something else, or ended its process.
        """
        said: dict[str, Any] = self._host.ask(self._reference, "call", arguments=arguments)
        if "value" in said:
            return said["value"]
        if "other" in said:
            raise InvalidInput(
                f"`{self._reference}` returned a {said['other']}: give numbers, arrays by name, or an iterable of rows."
            )
        kind = ToldRows if said["length"] is None else SizedToldRows
        return kind(self._host, self._reference, said["made"], said["length"])


class ToldRows:
    """An iterable in the other process, a block of rows at a time; each pass begins anew."""

    def __init__(self, host: _Host, reference: str, made: int, length: int | None) -> None:
        self._host, self._reference, self._made, self._length = host, reference, made, length

    def __iter__(self) -> Iterator[Any]:
        number = self._host.ask(self._reference, "begin", made=self._made)
        while rows := self._host.ask(self._reference, "rows", **{"pass": number, "rows": _ROWS}):
            yield from rows


class SizedToldRows(ToldRows):
    """The same, of a length that is known."""

    def __len__(self) -> int:
        return self._length or 0


class _Host:
    """One process for the functions of one project."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._process = Confined(
            [sys.executable, "-m", "gradatim.code.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env={**allowed(), "PYTHONSAFEPATH": "1"},  # no file of the user's shadows a module of ours
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, reference: str, do: str, **more: Any) -> Any:
        request = pickle.dumps({"do": do, "reference": reference, "root": str(self._root), **more})
        process = self._process
        assert process.stdin and process.stdout  # noqa: S101, PT018 (they are pipes by construction)
        with self._lock:
            try:
                process.stdin.write(_SIZE.pack(len(request)))
                process.stdin.write(request)
                process.stdin.flush()
                answer = hear(self._read)
            except (EOFError, BrokenPipeError) as error:
                code = process.wait()
                how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
                raise InvalidInput(f"`{reference}` ended the process that it runs in ({how}).") from error
            except Unspeakable as error:
                self.end()
                raise InvalidInput(f"The process of `{reference}` gave {error}.") from error
        if not _is_answer(answer, do):
            self.end()
            raise InvalidInput(f"The process of `{reference}` said what none of ours says.")
        if "error" in answer:
            raise _ERRORS.get(answer["error"], InvalidInput)(str(answer.get("text")))
        return answer["said"]

    def _read(self, size: int) -> bytes:
        assert self._process.stdout  # noqa: S101
        data: bytes = self._process.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def end(self) -> None:
        self._process.end()


def _is_answer(answer: Any, do: str) -> bool:
    """Whether it has the form of what our side says to such a request."""
    match answer:
        case {"error": str(), "text": str()}:
            return True
        case {"said": list(listed)}:
            return do == "rows" or (do == "load" and all(isinstance(one, str) for one in listed))
        case {"said": int()}:
            return do == "begin"
        case {"said": {"value": _} | {"other": str()}}:
            return do == "call"
        case {"said": {"made": int(), "length": int() | None as length}}:
            return do == "call" and (length is None or length >= 0)
    return False


def _host_of(root: Path) -> _Host:
    """The process of a project; a fork of ours starts one of its own."""
    with _starting:
        found = _hosts.get((os.getpid(), root))
        if found is None or not found.alive:
            found = _hosts[os.getpid(), root] = _Host(root)
        return found


@atexit.register
def _end_all() -> None:
    for (owner, _), host in _hosts.items():
        if owner == os.getpid():
            host.end()
