"""A folder that looks like /sys/class/powercap, as the Linux driver lays it down, with counters that can be set or run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

WRAPS = 262_143_328_850
"""Where the counter of a common server starts again, in microjoules."""


def zone(root: Path, name: str, label: str, microjoules: int = 0) -> Path:
    """One domain: ``intel-rapl:0`` is a package, ``intel-rapl:0:1`` a part of it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "max_energy_range_uj").write_text(f"{WRAPS}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder


def count(folder: Path, microjoules: int) -> None:
    """Set a counter as a reader of the kernel sees it: never half."""
    part = folder / "energy_uj.part"
    part.write_text(f"{microjoules % WRAPS}\n")
    part.replace(folder / "energy_uj")


@contextlib.contextmanager
def running(folder: Path, watts: float) -> Iterator[None]:
    """Let a counter run as a processor of a constant power lets it, across the end of its range."""
    stop, start = threading.Event(), time.perf_counter()

    def run() -> None:
        while not stop.wait(0.001):
            count(folder, WRAPS - 1_000_000 + int((time.perf_counter() - start) * watts * 1e6))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
