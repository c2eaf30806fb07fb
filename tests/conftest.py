"""What every test shares."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let child processes hear Ctrl-C, also where the shell that started the tests in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
