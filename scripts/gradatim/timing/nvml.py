"""What NVIDIA's management library says about a GPU while it is timed.

Read with ctypes from the driver's own library, so that no package is needed. Every field that cannot be read
is None and ``reasons`` says why; a missing fact is never a zero. Nothing is ever set: no clock, no power
limit, no mode.

Source: NVML API Reference (constants and signatures of nvml.h).
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Reason = Literal["no_library", "no_driver", "not_supported", "no_permission"]

_NOT_SUPPORTED, _NO_PERMISSION, _DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND = 3, 4, 9, 12
_REASONS: dict[int, Reason] = {
    _NOT_SUPPORTED: "not_supported",
    _NO_PERMISSION: "no_permission",
    _DRIVER_NOT_LOADED: "no_driver",
    _LIBRARY_NOT_FOUND: "no_library",
}

_SOFTWARE_POWER_CAP = 0x04
_THROTTLES = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_CLOCK_GRAPHICS, _CLOCK_MEMORY = 0, 2


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


_FIELDS = tuple(name for name in GpuFacts.__dataclass_fields__ if name != "reasons")


class Nvml:
    """A session with the library; ``reason`` is set, and every fact None, where there is none.

    Args:
        device: a device as models name it: ``cuda`` or ``cuda:1``, counted as CUDA counts
            (``CUDA_VISIBLE_DEVICES``).
        library: file name of the library.
    """

    def __init__(self, device: str, library: str = "libnvidia-ml.so.1") -> None:
        self.reason: Reason | None = None
        self._handle = ctypes.c_void_p()
        try:
            self._library = ctypes.CDLL(library)
        except OSError:
            self.reason = "no_library"
            return
        self.reason = self._call("nvmlInit_v2") or self._find(device)

    def facts(self, own: frozenset[int] = frozenset()) -> GpuFacts:
        """Look now; ``own`` are the process ids that are ours."""
        if self.reason:
            return GpuFacts(reasons=dict.fromkeys(_FIELDS, self.reason))
        found: dict[str, Any] = {}
        reasons: dict[str, Reason] = {}

        def keep(name: str, value: Any, reason: Reason | None) -> None:
            if reason:
                reasons[name] = reason
            else:
                found[name] = value

        text = ctypes.create_string_buffer(96)
        reason = self._get("nvmlDeviceGetName", text, ctypes.c_uint(96))
        keep("name", text.value.decode(errors="replace"), reason)
        for name, clock in (("graphics_clock", _CLOCK_GRAPHICS), ("memory_clock", _CLOCK_MEMORY)):
            megahertz = ctypes.c_uint()
            reason = self._get("nvmlDeviceGetClockInfo", ctypes.c_int(clock), ctypes.byref(megahertz))
            keep(name, megahertz.value * 1e6, reason)
        events = ctypes.c_ulonglong()
        reason = self._get("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.byref(events))
        keep("throttles", tuple(text for bit, text in _THROTTLES.items() if events.value & bit), reason)
        keep("power_capped", bool(events.value & _SOFTWARE_POWER_CAP), reason)
        persistence = ctypes.c_int()
        reason = self._get("nvmlDeviceGetPersistenceMode", ctypes.byref(persistence))
        keep("persistence", bool(persistence.value), reason)
        keep("others", *self._other_processes(own))
        mode, pending = ctypes.c_uint(), ctypes.c_uint()
        reason = self._get("nvmlDeviceGetMigMode", ctypes.byref(mode), ctypes.byref(pending))
        keep("mig", bool(mode.value), reason)
        if found.get("mig"):
            # The counter is the whole GPU's: to charge a slice with it would be wrong, not rough.
            keep("energy", None, "not_supported")
        else:
            millijoules = ctypes.c_ulonglong()
            reason = self._get("nvmlDeviceGetTotalEnergyConsumption", ctypes.byref(millijoules))
            keep("energy", millijoules.value / 1e3, reason)
        return GpuFacts(**found, reasons=reasons)

    def close(self) -> None:
        """End the session."""
        if not self.reason:
            self._call("nvmlShutdown")
            self.reason = "no_driver"

    def _find(self, device: str) -> Reason | None:
        ordinal = int(device.partition(":")[2] or 0)
        visible = [
            entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()
        ]
        entry = visible[ordinal] if ordinal < len(visible) else str(ordinal)
        handle = ctypes.byref(self._handle)
        if entry.isdigit():
            return self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(entry)), handle)
        return self._call("nvmlDeviceGetHandleByUUID", ctypes.c_char_p(entry.encode()), handle)

    def _other_processes(self, own: frozenset[int]) -> tuple[int, Reason | None]:
        count = ctypes.c_uint(256)
        processes = (_Process * 256)()
        reason = self._get("nvmlDeviceGetComputeRunningProcesses_v3", ctypes.byref(count), processes)
        return sum(
            process.pid not in own for process in processes[: count.value]
        ) if not reason else 0, reason

    def _get(self, function: str, *arguments: Any) -> Reason | None:
        return self._call(function, self._handle, *arguments)

    def _call(self, function: str, *arguments: Any) -> Reason | None:
        try:
            code = int(getattr(self._library, function)(*arguments))
        except AttributeError:  # an older driver does not know this function
            return "not_supported"
        return None if code == 0 else _REASONS.get(code, "not_supported")


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )
