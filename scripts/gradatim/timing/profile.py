"""Where a model's time goes, operator by operator: its runtime's own profiler, in the process that holds the model."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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

_WATCHERS = {
    "nsys": ("profile", "--trace=cuda,nvtx,osrt", "--force-overwrite=true", "--output={out}"),
    "ncu": ("--force-overwrite", "--export={out}"),
}
"""NVIDIA's profilers that start what they watch, with what they are told; the first that is installed is taken."""


def operators_of(
    contestant: Contestant, inputs: Path, scratch: Path
) -> tuple[tuple[DearOperator, ...], Path, str]:
    """The dearest operators of a model in a fresh process of its own, the file with the whole trace, and whose profiler it was.

    Args:
        inputs: the .npz of the batch.
        scratch: a folder.

    Raises:
        InvalidInput: neither PyTorch nor ONNX Runtime runs the model in that process.
    """
    from gradatim.timing.contestant import Worker

    trace = scratch / f"{contestant.name}.trace.json"
    sessions = str(scratch / f"{contestant.name}.session")
    with Worker(contestant, inputs, scratch, _PATIENCE, traced=sessions) as worker:
        worker.opened()
        seen = worker.ask("profile", trace=str(trace))
    found = tuple(DearOperator(**one) for one in seen["operators"])
    return found, trace, "ONNX Runtime" if seen["sessions"] else "PyTorch"


def watched_by(contestant: Contestant, inputs: Path, scratch: Path) -> Path | None:
    """What Nsight Systems, or without it Nsight Compute, saw of a process of the model's; None where neither is installed.

    Args: as ``operators_of``'s.

    Raises:
        InvalidInput: the profiler left nothing, or did not let the model run.
    """
    from gradatim.timing.contestant import Worker

    name = next((name for name in _WATCHERS if shutil.which(name)), None)
    if name is None:
        return None
    out = scratch / f"{contestant.name}.{name}"
    told = [str(shutil.which(name)), *(argument.format(out=out) for argument in _WATCHERS[name])]
    with Worker(contestant, inputs, scratch, _PATIENCE, under=told) as worker:
        worker.opened()
        worker.ask("warm", seconds=0.1)
        worker.ask("repeat", seconds=0.1)
        worker.stop(grace=_PATIENCE)
    left = next(iter(sorted(scratch.glob(f"{out.name}*"))), None)
    if left is None:
        raise InvalidInput(
            f"{name} left no report of the model `{contestant.name}`. See whether it runs by itself, or take it off the PATH."
        )
    return left


def profile_sessions(
    call: Callable[[], object], close: Callable[[], None], traced: str, trace: Path
) -> Sequence[dict[str, Any]]:
    """What ONNX Runtime writes of sessions that were opened ``TRACED``; writes the trace and gives the dearest operators.

    As many calls as are watched come before them. The sessions are closed, for then they write what they saw.

    Returns:
        Nothing where there is no such session.
    """
    if not traced or not _files(traced):
        return []
    for _ in range(2 * _CALLS):
        call()
    close()
    gc.collect()
    spent: dict[str, list[float]] = defaultdict(list)
    everything: list[Any] = []
    for file in _files(traced):
        try:
            events = json.loads(file.read_bytes())
        except ValueError as error:
            raise InvalidInput(f"ONNX Runtime did not finish its trace of the model: {error}.") from error
        everything += events
        runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
        for event in events:
            if event["cat"] == "Node" and runs and event["ts"] >= runs[len(runs) // 2]:
                spent[event["args"].get("op_name", event["name"])].append(event["dur"] * 1e-6)
    trace.write_text(json.dumps(everything), encoding="utf-8")
    return _dearest({name: (len(seconds), sum(seconds)) for name, seconds in spent.items()}, "ONNX Runtime")


def _files(traced: str) -> list[Path]:
    return sorted(Path(traced).parent.glob(f"{Path(traced).name}*.json"))


def profile(call: Callable[[], object], device: str, trace: Path) -> Sequence[dict[str, Any]]:
    """Have PyTorch watch some calls, after others that are not watched; writes the trace and gives the dearest operators.

    Raises:
        InvalidInput: PyTorch does not run the model in this process.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        raise InvalidInput(
            "The profilers of PyTorch and ONNX Runtime see what these run, and this model is run by something else."
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
    rows = watched.key_averages()
    return _dearest({row.key: (row.count, 1e-6 * float(getattr(row, taken))) for row in rows}, "PyTorch")


def _dearest(spent: Mapping[str, tuple[int, float]], by: str) -> Sequence[dict[str, Any]]:
    """The dearest operators, of how often each was called and its seconds in all watched calls."""
    whole = sum(seconds for _, seconds in spent.values())
    if not whole:
        raise InvalidInput(f"{by}'s profiler saw no operator of it: something else computes its answers.")
    rows = sorted(spent.items(), key=lambda row: -row[1][1])[:DEAREST]
    return [
        asdict(DearOperator(name, count / _CALLS, seconds / _CALLS, seconds / whole))
        for name, (count, seconds) in rows
    ]
