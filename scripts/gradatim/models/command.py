"""A model behind a program in any language, which reads and writes .npz over its standard streams."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.models.predictor import Arrays, RuntimeModel
from gradatim.signature import Signature

if TYPE_CHECKING:
    from gradatim.models.source import ModelSource

_LENGTH = 8
_MOST = 1 << 40
_TOLD_CHARACTERS = 300


def open_command(source: ModelSource) -> RuntimeModel:
    """Start the program, which lives as long as the model.

    A call is one message to its stdin, and its answer one from its stdout: eight bytes, little endian, with the length of what
    follows, and an .npz with the arrays by name. At the end of its stdin it ends.

    Raises:
        EnvironmentLacks: there is no such program.
        InvalidInput: it cannot be started.
    """
    program = _Program(source)
    signature = source.signature or Signature((), ())
    model = RuntimeModel(
        source.name, signature, program.ask, device=source.device, threads=source.threads, release=program.end
    )
    if not signature.inputs:
        model.accept_anything()
    return model


class _Program:
    def __init__(self, source: ModelSource) -> None:
        path = source.path.resolve()
        words = [word.replace("{path}", str(path)) for word in source.command]
        found = shutil.which(words[0], path=None)
        self._said = f"`{' '.join(source.command)}`"
        if found is None:
            raise EnvironmentLacks(
                f"`model.command` starts {words[0]}, which is not to be found here. Install it, or correct the command."
            )
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the program)
        try:
            self._process = subprocess.Popen(
                [found, *words[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                cwd=path if path.is_dir() else path.parent,
            )
        except OSError as error:
            raise InvalidInput(f"{self._said} cannot be started: {error.strerror}.") from error

    def ask(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        message = io.BytesIO()
        np.savez(message, allow_pickle=False, **{name: np.asarray(value) for name, value in inputs.items()})
        assert self._process.stdin is not None  # noqa: S101 (it was asked for)
        with contextlib.suppress(OSError):  # it ended: what it said is told where its answer is missing
            self._process.stdin.write(len(message.getvalue()).to_bytes(_LENGTH, "little"))
            self._process.stdin.write(message.getvalue())
            self._process.stdin.flush()
        length = int.from_bytes(self._read(_LENGTH), "little")
        if length > _MOST:
            raise InvalidInput(
                f"{self._said} announces an answer of {length} bytes. It must write to stdout eight bytes with the length "
                "of its answer, little endian, then the answer, and nothing else; notes go to stderr."
            )
        return self._arrays(self._read(length))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()

    def _read(self, length: int) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 (it was asked for)
        data = self._process.stdout.read(length)
        if len(data) < length:
            code = self._process.wait()
            raise InvalidInput(
                f"{self._said} ended with exit code {code} instead of an answer{self._last_line()}"
            )
        return data

    def _arrays(self, data: bytes) -> dict[str, NDArray[Any]]:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (ValueError, OSError, BadZipFile, EOFError, KeyError, AttributeError) as error:
            raise InvalidInput(
                f"{self._said} answered with {len(data)} bytes that are no .npz. It must write the outputs by name, as .npy "
                "files in a zip."
            ) from error

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read()[-4000:].decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:_TOLD_CHARACTERS]}." if lines else "."
