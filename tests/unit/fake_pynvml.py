"""The part of ``pynvml`` (nvidia-ml-py) that is used, for a GPU that can be told what to say and what to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

CODES = {
    "NotSupported": 3, "NoPermission": 4, "DriverNotLoaded": 9, "LibraryNotFound": 12, "FunctionNotFound": 13,
    "GpuIsLost": 15,
}  # fmt: skip
"""The errors by the names of their classes, with nvml.h's numbers."""


def fake_pynvml(
    answers: Mapping[str, Any] | None = None, errors: Mapping[str, str] | None = None
) -> ModuleType:
    """A module of that name.

    Args:
        answers: what a function returns, where it is not what a healthy GPU says; a list is said one after the other.
        errors: by function, the error that it raises.
    """
    made: Any = ModuleType("pynvml")

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(value)
            self.value = value

    made.NVMLError = NVMLError
    kinds = {name: type(f"NVMLError_{name}", (NVMLError,), {}) for name in CODES}
    for name, kind in kinds.items():
        setattr(made, f"NVMLError_{name}", kind)
    for name, code in (
        ("NO_PERMISSION", 4), ("DRIVER_NOT_LOADED", 9), ("LIBRARY_NOT_FOUND", 12),
    ):  # fmt: skip
        setattr(made, f"NVML_ERROR_{name}", code)
    made.NVML_CLOCK_GRAPHICS, made.NVML_CLOCK_MEM = 0, 2
    made.nvmlClocksThrottleReasonSwPowerCap = 0x04
    made.nvmlClocksThrottleReasonHwSlowdown = 0x08
    made.nvmlClocksThrottleReasonSwThermalSlowdown = 0x20
    made.nvmlClocksThrottleReasonHwThermalSlowdown = 0x40
    made.nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 0x80
    said: dict[str, Any] = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByIndex": "gpu 0",
        "nvmlDeviceGetHandleByUUID": "gpu 0",
        "nvmlDeviceGetName": "NVIDIA Example",
        "nvmlDeviceGetClockInfo": 1980,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
        "nvmlDeviceGetPersistenceMode": 1,
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7), SimpleNamespace(pid=8)],
        "nvmlDeviceGetTotalEnergyConsumption": 5_000,
        **(answers or {}),
    }
    turns = {name: iter(value) for name, value in said.items() if isinstance(value, tuple)}

    def function(name: str) -> Any:
        def call(*_arguments: Any) -> Any:
            if errors and name in errors:
                raise kinds[errors[name]](CODES[errors[name]])
            return next(turns[name]) if name in turns else said[name]

        return call

    for name in said:
        setattr(made, name, function(name))
    return made
