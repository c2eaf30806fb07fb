"""What NVIDIA's management library says about a GPU while it is timed, and the energy that it counts.

Read with ``pynvml``, NVIDIA's own package for it (nvidia-ml-py, the extra ``gpu``). Every field that cannot be read is None
and ``reasons`` says why; a missing fact is never a zero. Nothing is ever set: no clock, no power limit, no mode.

Source: NVML API Reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gradatim.timing.energy import Reading, Unreadable

Reason = Literal["no_package", "no_library", "no_driver", "not_supported", "no_permission"]

_WORDS: dict[Reason, str] = {
    "no_package": "the package that reads a GPU's counters, nvidia-ml-py, is not installed: python -m pip install nvidia-ml-py",
    "no_library": "this machine has no libnvidia-ml.so.1, which comes with NVIDIA's driver",
    "no_driver": "NVIDIA's driver is not loaded",
    "not_supported": "this GPU has no counter of its energy",
    "no_permission": "this user may not ask the GPU for its energy",
}
_SPLIT = "the GPU is split (MIG), and its one counter is of the whole: a part is never charged with that"


@dataclass(frozen=True)
class GpuFacts:
    """One look at one GPU.

    Attributes:
        name: the product's name.
        graphics_clock, memory_clock: Hz at this moment.
        energy: joules since the driver was loaded, of the whole GPU; None on a MIG slice.
        throttles: clock event reasons that spoil a timing: ``hardware slowdown``, ``hardware power brake``,
            ...
        power_capped: whether the software power cap holds the clocks down, which is usual under load.
        others: compute processes on it that are not ours.
        persistence, mig: the modes.
        reasons: for each field that is None, why.
    """

    name: str | None = None
    graphics_clock: float | None = None
    memory_clock: float | None = None
    energy: float | None = None
    throttles: tuple[str, ...] | None = None
    power_capped: bool | None = None
    others: int | None = None
    persistence: bool | None = None
    mig: bool | None = None
    reasons: dict[str, Reason] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


_CLOCK = "nvmlDeviceGetClockInfo"
_EVENTS = "nvmlDeviceGetCurrentClocksThrottleReasons"
_PROCESSES = "nvmlDeviceGetComputeRunningProcesses"
_MIG = "nvmlDeviceGetMigMode"
_ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
_FIELDS = tuple(name for name in GpuFacts.__dataclass_fields__ if name != "reasons")


class Nvml:
    """A session with the library; ``reason`` is set, and every fact None, where there is none.

    It is a ``Counter`` of the GPU's energy, too.

    Args:
        device: a device as models name it: ``cuda`` or ``cuda:1``, counted as CUDA counts
            (``CUDA_VISIBLE_DEVICES``).
    """

    window = 1.0  # the counter moves ten times a second, as seen on an H200

    def __init__(self, device: str) -> None:
        self.reason: Reason | None = None
        self._part = False
        try:
            import pynvml
        except ImportError:
            self.reason = "no_package"
            return
        self._library = pynvml
        _, self.reason = self._call("nvmlInit")
        if self.reason is None:
            self._gpu, self.reason = self._find(device)

    def facts(self, own: frozenset[int] = frozenset()) -> GpuFacts:
        """Look now; ``own`` are the process ids that are ours."""
        if self.reason:
            return GpuFacts(reasons=dict.fromkeys(_FIELDS, self.reason))
        library = self._library
        throttles = {
            library.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
            library.nvmlClocksThrottleReasonSwThermalSlowdown: "software thermal slowdown",
            library.nvmlClocksThrottleReasonHwThermalSlowdown: "hardware thermal slowdown",
            library.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "hardware power brake",
        }
        capped = library.nvmlClocksThrottleReasonSwPowerCap
        found: dict[str, Any] = {}
        reasons: dict[str, Reason] = {}

        def look(name: str, meaning: Callable[[Any], Any], function: str, *arguments: Any) -> None:
            value, reason = self._ask(function, *arguments)
            if reason:
                reasons[name] = reason
            else:
                found[name] = meaning(value)

        look("name", str, "nvmlDeviceGetName")
        look("graphics_clock", lambda megahertz: megahertz * 1e6, _CLOCK, library.NVML_CLOCK_GRAPHICS)
        look("memory_clock", lambda megahertz: megahertz * 1e6, _CLOCK, library.NVML_CLOCK_MEM)
        look(
            "throttles",
            lambda events: tuple(text for bit, text in throttles.items() if events & bit),
            _EVENTS,
        )
        look("power_capped", lambda events: bool(events & capped), _EVENTS)
        look("persistence", bool, "nvmlDeviceGetPersistenceMode")
        look("others", lambda running: sum(process.pid not in own for process in running), _PROCESSES)
        look("mig", lambda modes: bool(modes[0]), _MIG)
        if self._is_part():
            reasons["energy"] = "not_supported"
        else:
            look("energy", lambda millijoules: millijoules / 1e3, _ENERGY)
        return GpuFacts(**found, reasons=reasons)

    def read(self) -> Reading:
        """Millijoules of the whole GPU since its driver was loaded.

        Raises:
            Unreadable: it does not count them, they are not of this model alone, or they may not be read.
        """
        if self.reason:
            raise Unreadable(_WORDS[self.reason])
        if self._is_part():
            raise Unreadable(_SPLIT)
        millijoules, reason = self._ask(_ENERGY)
        if reason:
            raise Unreadable(_WORDS[reason])
        return (millijoules,)

    def joules(self, before: Reading, after: Reading) -> float:
        """The energy between two readings."""
        return (after[0] - before[0]) / 1e3

    def _is_part(self) -> bool:
        """Whether the device is one of several that share a GPU, whose counter is the whole GPU's."""
        modes, _ = self._ask(_MIG)
        return self._part or bool(modes and modes[0])

    def _find(self, device: str) -> tuple[Any, Reason | None]:
        ordinal = int(device.partition(":")[2] or 0)
        listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        visible = [entry.strip() for entry in listed if entry.strip()]
        entry = visible[ordinal] if ordinal < len(visible) else str(ordinal)
        self._part = entry.startswith("MIG-")
        if entry.isdigit():
            return self._call("nvmlDeviceGetHandleByIndex", int(entry))
        return self._call("nvmlDeviceGetHandleByUUID", entry)

    def _ask(self, function: str, *arguments: Any) -> tuple[Any, Reason | None]:
        return self._call(function, self._gpu, *arguments)

    def _call(self, function: str, *arguments: Any) -> tuple[Any, Reason | None]:
        library = self._library
        reasons: dict[int, Reason] = {
            library.NVML_ERROR_NO_PERMISSION: "no_permission",
            library.NVML_ERROR_DRIVER_NOT_LOADED: "no_driver",
            library.NVML_ERROR_LIBRARY_NOT_FOUND: "no_library",
        }
        try:
            return getattr(library, function)(*arguments), None
        except library.NVMLError as error:
            return None, reasons.get(error.value, "not_supported")
