"""Standard output and error: there even when closed, and standard output kept for the one object of ``--json``."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any, TextIO

_reserved: TextIO | None = None


def open_missing() -> None:
    """Stand in for a stream that was closed before the program began, so that nobody need ask whether it is there."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115 (lives as long as the process)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a path may hold any bytes


def reserve_output() -> None:
    """Keep standard output for :func:`write_object`; what anything else prints there goes to standard error.

    Models, preprocessing and tests are other people's code, and some of it prints, from native libraries and child
    processes too: so the descriptor itself is moved.
    """
    global _reserved
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # closed: there is nothing to keep
        return
    _reserved = os.fdopen(kept, "w", encoding="utf-8", errors="backslashreplace")


def write_object(value: Any) -> None:
    """Write one JSON object to standard output, indented on a terminal.

    Raises:
        BrokenPipeError: whoever read it is gone.
    """
    stream = _reserved or sys.stdout
    indent = 2 if stream.isatty() else None
    stream.write(json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")
    stream.flush()


def discard_output() -> None:
    """Whoever read standard output is gone: what is still buffered for it goes nowhere, without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr, _reserved):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
