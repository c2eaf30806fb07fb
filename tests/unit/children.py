"""Work in processes of its own, some killed without warning."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable


def in_a_child(work: Callable[[], object], *, kill_after: float | None = None) -> int | None:
    """Run in a forked process, killed without warning after some seconds; returns its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    if kill_after is not None:
        time.sleep(kill_after)
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.exitcode
