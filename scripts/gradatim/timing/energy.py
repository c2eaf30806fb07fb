"""The energy of a call, by a counter of the hardware's own: what it grew by while calls were made, told by their number.

A counter is of a whole processor or GPU, its rest and what else runs on it included. So calls of all models are counted in
one job, in turn, and compared there. What cannot be read is null with the reason, never a zero.

Source: Linux, Documentation/power/powercap/powercap.rst; Intel SDM vol. 3B, 15.10 (RAPL: a package does not hold its memory).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of a processor."""

Reading = tuple[int, ...]
"""What counters stand at, each in its own unit."""


class Unreadable(Exception):
    """A counter that is not there or not ours to read; the message says which and why."""


class Counter(Protocol):
    """What counts energy.

    Attributes:
        window: seconds that calls should be counted for, so that the counter's own steps do not matter.
    """

    window: float

    def read(self) -> Reading:
        """What it stands at now.

        Raises:
            Unreadable: nothing counts, or it may not be read.
        """
        ...

    def joules(self, before: Reading, after: Reading) -> float:
        """The energy between two readings."""
        ...


@dataclass(frozen=True)
class Energy:
    """Joules of one call; None where they could not be measured, ``reason`` says why."""

    joules: float | None
    reason: str | None = None


def per_call(counter: Counter, work: Callable[[], int]) -> Energy:
    """Count the energy of some calls.

    Args:
        counter: of the processor or GPU that does the work.
        work: makes calls for ``counter.window`` seconds and returns how many; not called where nothing can be read.
    """
    try:
        before = counter.read()
        calls = work()
        joules = counter.joules(before, counter.read())
    except Unreadable as error:
        return Energy(None, str(error))
    if not joules > 0:
        return Energy(None, "the counter of its energy did not move while it was called")
    return Energy(joules / calls)


class Rapl:
    """The counters of this machine's processors and, where those are apart, of their memory."""

    window = 0.2  # they are updated every millisecond

    def __init__(self) -> None:
        self._zones = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if _counts(zone)]

    def read(self) -> Reading:
        """Microjoules of each package and memory.

        Raises:
            Unreadable: there is none, as on most virtual machines, or only root may read it.
        """
        if not self._zones:
            raise Unreadable(
                f"this machine shows no energy counter of its processor (RAPL, {POWERCAP}/intel-rapl:*); virtual machines and "
                "containers often do not"
            )
        return tuple(_microjoules(zone / "energy_uj") for zone in self._zones)

    def joules(self, before: Reading, after: Reading) -> float:
        """The energy between two readings; a counter that reached its end has started again once."""
        total = 0
        for zone, start, end in zip(self._zones, before, after, strict=True):
            total += end - start if end >= start else end - start + _microjoules(zone / "max_energy_range_uj")
        return total / 1e6


def _counts(zone: Path) -> bool:
    """Whether a domain is a whole package or its memory; cores and graphics are parts of a package, a platform holds all."""
    try:
        name = (zone / "name").read_text().strip()
    except OSError:
        return False
    return name.startswith("package") or name == "dram"


def _microjoules(path: Path) -> int:
    try:
        text = path.read_text().strip()
    except PermissionError:
        raise Unreadable(
            f"{path}, the energy counter of the processor, may be read by root alone. Let others: sudo chmod a+r {path}"
        ) from None
    except (OSError, ValueError):
        text = ""
    if not text.isdecimal():
        raise Unreadable(f"{path}, the energy counter of the processor, holds no number")
    return int(text)
