"""What every test shares."""

from __future__ import annotations

import os
import signal

os.environ.pop("COLUMNS", None)  # pytest-xdist tells its workers 80 columns; a pipe has none


def pytest_configure() -> None:
    """Let child processes hear Ctrl-C, also where the shell that started the tests in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
