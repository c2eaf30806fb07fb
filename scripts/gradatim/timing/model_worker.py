"""The process that holds one model for a step: ``python -m gradatim.timing.model_worker``.

It reads lines of JSON on stdin, arrays behind them, and answers each so on stdout: to open a model, to call it, to close
it. Whatever the model itself prints goes to stderr. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.models import UnreleasedFile
from gradatim.models.predictor import Predictor
from gradatim.models.tokenizer import TextTokens
from gradatim.timing.arrays import packed, unpacked
from gradatim.timing.contestant import inspect_described, open_described
from gradatim.timing.worker import claim_stdout, die_with

_KINDS = (EnvironmentLacks, UsageError)


def main() -> int:
    answers, requests = claim_stdout(), _claim_stdin()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        first = json.loads(requests.readline())
    except ValueError:
        sys.stderr.write("This process is started by gradatim's steps; it is no command for people.\n")
        return UsageError.exit_code
    die_with(first["parent"])
    server = _Server(requests, answers)
    while line := requests.readline():
        server.serve(json.loads(line))
    return 0


class _Server:
    """Does what it is asked with the model that is open."""

    def __init__(self, requests: BinaryIO, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._model: Predictor | None = None
        self._reader: TextTokens | None = None

    def serve(self, wanted: dict[str, Any]) -> None:
        try:
            given = unpacked(wanted.get("arrays", ()), self._fill, trusted=True)
            if wanted["do"] == "open":
                self._model = open_described(wanted["model"])
                self._say({"signature": asdict(self._model.signature), "threads": self._model.threads})
            elif wanted["do"] == "inspect":
                self._say(asdict(inspect_described(wanted["model"])))
            elif self._model is None:
                raise UsageError("A model was called before it was opened.")
            elif wanted["do"] == "tokens":
                folder, settings = Path(wanted["folder"]), wanted["settings"]
                if self._reader is None or (self._reader.folder, self._reader.settings) != (folder, settings):
                    self._reader = TextTokens(folder, settings)
                told, pieces = packed(self._reader(given["text"], wanted["wanted"]), trusted=False)
                self._say({"arrays": told}, pieces)
            elif wanted["do"] == "call":
                told, pieces = packed(self._model(given), trusted=False)
                self._say({"arrays": told}, pieces)
            else:
                self._model.close()
                self._say({})
        except GradatimError as error:
            kind = next((k for k in _KINDS if isinstance(error, k)), InvalidInput)
            file = error.file if isinstance(error, UnreleasedFile) else None
            self._say({"error": kind.__name__, "text": str(error), "file": file})
        except MemoryError:
            text = "The model needs more memory than this machine has left."
            self._say({"error": "EnvironmentLacks", "text": text})

    def _fill(self, view: memoryview) -> None:
        while view:
            count = self._requests.readinto(view)  # type: ignore[attr-defined]  # a buffered reader has it
            view = view[count:]

    def _say(self, message: dict[str, Any], pieces: Sequence[memoryview] = ()) -> None:
        for data in (memoryview(json.dumps(message).encode() + b"\n"), *pieces):
            while data:
                data = data[os.write(self._answers, data) :]


def _claim_stdin() -> BinaryIO:
    """Keep stdin for requests; whatever else reads it finds nothing."""
    requests = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return io.BufferedReader(io.FileIO(requests), 1 << 16)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
