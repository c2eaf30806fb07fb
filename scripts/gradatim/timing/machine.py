"""The machine that a timing was taken on: without it a number of seconds means little."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gradatim.files import digest_of


@dataclass(frozen=True)
class Machine:
    """Facts about the machine; None where the system does not tell.

    Attributes:
        cpu: model name of the processor.
        cores: logical cores this process may use.
        load: load averages over 1, 5 and 15 minutes when the run began.
        governor: frequency governor of the first core (``performance``, ``powersave``, ...).
        flags: the instruction sets that matter to quantised models, of those the processor has.
    """

    cpu: str
    architecture: str
    system: str
    cores: int
    load: tuple[float, float, float] | None
    governor: str | None
    flags: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Digest of what must be equal for timings to be comparable: processor, cores, architecture."""
        return digest_of([self.cpu, self.architecture, self.cores, list(self.flags)])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kind": self.kind}


def this_machine() -> Machine:
    """Look at the machine now."""
    info = _text("/proc/cpuinfo")
    pairs = (line.partition(":") for line in reversed(info.splitlines()) if ":" in line)
    lines = {key.strip(): value.strip() for key, _, value in pairs}
    present = set(lines.get("flags", lines.get("Features", "")).split())
    try:
        load: tuple[float, float, float] | None = os.getloadavg()
    except OSError:
        load = None
    return Machine(
        cpu=lines.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        cores=usable_cores(),
        load=load,
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        flags=tuple(flag for flag in _FLAGS if flag in present),
    )


def usable_cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA's is attached, as its driver shows one: also to WSL, and on a Jetson."""
    return any(found for kind in ("nvidia[0-9]*", "dxg", "nvgpu") for found in Path("/dev").glob(kind))


_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
