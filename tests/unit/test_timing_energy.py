"""Energy of a call: counters as Linux and NVIDIA's library show them, and what is said where there are none."""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_pynvml import CODES, fake_pynvml
from powercap import WRAPS, count, running, zone

from gradatim.timing import energy
from gradatim.timing.contestant import Contestant
from gradatim.timing.energy import Energy, Rapl, per_call
from gradatim.timing.nvml import Nvml
from gradatim.timing.paired import compare
from gradatim.timing.result import PairedResult


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "powercap"
    root.mkdir()
    monkeypatch.setattr(energy, "POWERCAP", root)
    return root


def spend(folder: Path, before: int, after: int, calls: int = 1) -> Energy:
    """What is measured of some calls while one counter goes from one value to another."""
    count(folder, before)

    def work() -> int:
        count(folder, after)
        return calls

    return per_call(Rapl(), work)


def test_the_energy_of_a_call_is_what_the_counter_grew_by_over_the_calls(powercap: Path) -> None:
    package = zone(powercap, "intel-rapl:0", "package-0")
    assert spend(package, 1_000_000, 4_000_000, calls=10) == Energy(0.3)


def test_a_counter_that_starts_again_is_not_a_negative_energy(powercap: Path) -> None:
    package = zone(powercap, "intel-rapl:0", "package-0")
    found = spend(package, WRAPS - 500_000, WRAPS + 500_000).joules
    assert found == pytest.approx(1.0, abs=1e-5)


def test_every_processor_counts_once_with_its_memory_and_parts_of_it_do_not_count_again(
    powercap: Path,
) -> None:
    counted = [
        zone(powercap, "intel-rapl:0", "package-0"),
        zone(powercap, "intel-rapl:0:2", "dram"),
        zone(powercap, "intel-rapl:1", "package-1"),
    ]
    again = [
        zone(powercap, "intel-rapl:0:0", "core"),
        zone(powercap, "intel-rapl:0:1", "uncore"),
        zone(powercap, "intel-rapl:2", "psys"),
        zone(powercap, "intel-rapl-mmio:0", "package-0"),
    ]
    (powercap / "intel-rapl").mkdir()  # the control type itself, which has no counter

    def work() -> int:
        for folder in (*counted, *again):
            count(folder, 1_000_000)
        return 1

    assert per_call(Rapl(), work) == Energy(3.0)


def test_a_machine_without_counters_says_so_and_nothing_is_run_for_it(powercap: Path) -> None:
    found = per_call(Rapl(), lambda: pytest.fail("there is nothing to measure it with"))
    assert found.joules is None
    assert "RAPL" in str(found.reason)


def test_a_counter_that_stands_still_is_no_energy_of_zero(powercap: Path) -> None:
    found = spend(zone(powercap, "intel-rapl:0", "package-0"), 7, 7)
    assert found.joules is None
    assert "did not move" in str(found.reason)


@pytest.fixture
def stranger() -> Iterator[Path]:
    """Counters that only root may read, as Linux leaves them, seen by somebody else."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (zone(root, "intel-rapl:0", "package-0") / "energy_uj").chmod(0o400)
        mine = os.geteuid()
        if mine == 0:
            os.seteuid(65534)
        else:
            (root / "intel-rapl:0/energy_uj").chmod(0)
        try:
            yield root
        finally:
            os.seteuid(mine)


def test_a_counter_for_root_alone_is_named_with_what_to_do(
    stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", stranger)
    found = per_call(Rapl(), lambda: pytest.fail("it cannot be read"))
    assert found.joules is None
    assert f"chmod a+r {stranger}/intel-rapl:0/energy_uj" in str(found.reason)


@pytest.mark.parametrize("text", ["", "many\n", "-3\n"])
def test_a_counter_that_is_no_number_is_no_crash(powercap: Path, text: str) -> None:
    folder = zone(powercap, "intel-rapl:0", "package-0")
    (folder / "energy_uj").write_text(text)
    found = per_call(Rapl(), lambda: 1)
    assert found.joules is None
    assert "energy_uj" in str(found.reason)


# a GPU


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**given: Any) -> Nvml:
        monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(**given))
        return Nvml("cuda:0")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return install


def test_a_gpus_counter_is_in_millijoules(gpu: Any) -> None:
    nvml = gpu(answers={"nvmlDeviceGetTotalEnergyConsumption": (5_000, 9_000)})
    assert per_call(nvml, lambda: 8) == Energy(0.5)


def test_what_a_healthy_gpu_says_is_told_in_si_units(gpu: Any) -> None:
    facts = gpu(answers={"nvmlDeviceGetCurrentClocksThrottleReasons": 0x04 | 0x80}).facts(frozenset({7}))
    assert (facts.name, facts.graphics_clock, facts.energy, facts.others) == (
        "NVIDIA Example",
        1.98e9,
        5.0,
        1,
    )
    assert (facts.persistence, facts.mig, facts.power_capped) == (True, False, True)
    assert facts.throttles == ("hardware power brake",)
    assert facts.reasons == {}


@pytest.mark.parametrize(
    ("function", "error", "word"),
    [
        ("nvmlInit", "LibraryNotFound", "libnvidia-ml"),
        ("nvmlInit", "DriverNotLoaded", "driver is not loaded"),
        ("nvmlDeviceGetHandleByIndex", "NoPermission", "may not"),
        ("nvmlDeviceGetTotalEnergyConsumption", "NotSupported", "no counter of its energy"),
        ("nvmlDeviceGetTotalEnergyConsumption", "FunctionNotFound", "no counter of its energy"),
        ("nvmlDeviceGetTotalEnergyConsumption", "GpuIsLost", "no counter of its energy"),
        ("nvmlDeviceGetTotalEnergyConsumption", "NoPermission", "may not"),
    ],
)
def test_what_a_gpu_does_not_tell_is_null_with_the_reason(
    gpu: Any, function: str, error: str, word: str
) -> None:
    found = per_call(gpu(errors={function: error}), lambda: pytest.fail("it cannot be read"))
    assert found.joules is None
    assert word in str(found.reason)


def test_a_gpu_that_lacks_one_function_still_tells_the_rest(gpu: Any) -> None:
    facts = gpu(
        errors={"nvmlDeviceGetMigMode": "NotSupported", "nvmlDeviceGetClockInfo": "FunctionNotFound"}
    ).facts()
    assert facts.energy == 5.0
    assert facts.reasons == {
        "mig": "not_supported", "graphics_clock": "not_supported", "memory_clock": "not_supported"
    }  # fmt: skip


def test_a_slice_of_a_gpu_is_never_charged_with_the_whole(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    split = per_call(gpu(answers={"nvmlDeviceGetMigMode": [1, 1]}), lambda: pytest.fail("it is not its own"))
    assert split.joules is None
    assert "MIG" in str(split.reason)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-4f2c")
    part = per_call(gpu(errors={"nvmlDeviceGetMigMode": "NotSupported"}), lambda: pytest.fail("nor is this"))
    assert "MIG" in str(part.reason)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as Python itself marks what cannot be imported
    nvml = Nvml("cuda")
    assert set(nvml.facts().reasons.values()) == {"no_package"}
    assert "python -m pip install nvidia-ml-py" in str(per_call(nvml, lambda: 1).reason)


def test_the_fake_library_has_nothing_that_the_real_one_has_not() -> None:
    real = pytest.importorskip("pynvml")
    fake = fake_pynvml()
    names = [name for name in vars(fake) if not name.startswith("__")]
    for name in names:
        assert hasattr(real, name), name
        if not inspect.isroutine(getattr(fake, name)) and not isinstance(getattr(fake, name), type):
            assert getattr(real, name) == getattr(fake, name), name
    for name, code in CODES.items():
        assert type(real.NVMLError(code)).__name__ == f"NVMLError_{name}"


# in the benchmark

SLEEPER = """
import time

def model():
    def call(inputs):
        time.sleep({seconds})
        return {{"y": inputs["x"]}}
    return call
"""


def sleeping(folder: Path, **seconds: float) -> PairedResult:
    """Benchmark models that sleep for so long a call, three rounds of them."""
    contestants = []
    for name, time in seconds.items():
        (folder / f"{name}.py").write_text(SLEEPER.format(seconds=time))
        contestants.append(
            Contestant(name, Path(f"{name}:model"), folder, format="python", factory=f"{name}:model")
        )
    return compare(contestants, {"x": np.zeros((1, 2), np.float32)}, rounds=3)


def test_energy_is_measured_round_by_round_and_a_call_twice_as_long_takes_twice_as_much(
    powercap: Path, tmp_path: Path
) -> None:
    with running(zone(powercap, "intel-rapl:0", "package-0"), watts=50):
        result = sleeping(tmp_path, baseline=0.05, candidate=0.1)
    found = {m.variant: m for m in result.measurements() if m.name == "energy"}
    for name, wanted in (("baseline", 2.5), ("candidate", 5.0)):
        assert found[name].unit == "J"
        assert found[name].value == pytest.approx(wanted, rel=0.3)
        assert found[name].n == 3
        assert found[name].low < found[name].value < found[name].high
    (answer,) = result.comparisons
    assert np.exp(np.mean(answer.differences["energy"])) == pytest.approx(2, rel=0.3)
    assert len(answer.differences["energy"]) == 3


def test_where_nothing_counts_energy_it_is_null_with_the_reason_and_costs_no_time(
    powercap: Path, tmp_path: Path
) -> None:
    result = sleeping(tmp_path, baseline=0.001)
    (found,) = [m for m in result.measurements() if m.name == "energy"]
    assert found.value is None
    assert "RAPL" in str(found.reason)
