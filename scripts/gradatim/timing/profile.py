"""Where a model's time goes, operator by operator: PyTorch's own profiler, in the process that holds the model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import InvalidInput
from gradatim.evidence.profile import DearOperator

if TYPE_CHECKING:
    from gradatim.timing.contestant import Contestant

DEAREST = 10
"""So many operators are told."""

_CALLS = 20
_PATIENCE = 600.0


def operators_of(
    contestant: Contestant, inputs: Path, scratch: Path
) -> tuple[tuple[DearOperator, ...], Path]:
    """The dearest operators of a model in a fresh process of its own, and the file with the whole trace.

    Args:
        inputs: the .npz of the batch.
        scratch: a folder.

    Raises:
        InvalidInput: PyTorch does not run the model in that process.
    """
    from gradatim.timing.contestant import Worker

    trace = scratch / f"{contestant.name}.trace.json"
    with Worker(contestant, inputs, scratch, _PATIENCE) as worker:
        worker.opened()
        seen = worker.ask("profile", trace=str(trace))["operators"]
    return tuple(DearOperator(**one) for one in seen), trace


def profile(call: Callable[[], object], device: str, trace: Path) -> Sequence[dict[str, Any]]:
    """Watch some calls, after others that are not watched; writes the trace and gives the dearest operators.

    Raises:
        InvalidInput: PyTorch does not run the model in this process.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        raise InvalidInput(
            "PyTorch's profiler sees what PyTorch runs, and this model is run by something else."
        )
    kinds = torch.profiler.ProfilerActivity
    on_gpu = device.startswith("cuda")
    for _ in range(_CALLS):
        call()
    with torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if on_gpu else [])]) as watched:
        for _ in range(_CALLS):
            call()
    watched.export_chrome_trace(str(trace))
    taken = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    rows = sorted(watched.key_averages(), key=lambda row: -float(getattr(row, taken)))
    whole = sum(float(getattr(row, taken)) for row in rows)
    if not whole:
        raise InvalidInput("PyTorch's profiler saw no operator of it: something else computes its answers.")
    found = []
    for row in rows[:DEAREST]:
        spent = float(getattr(row, taken))
        found.append(DearOperator(row.key, row.count / _CALLS, spent / _CALLS * 1e-6, spent / whole))
    return [asdict(one) for one in found]
