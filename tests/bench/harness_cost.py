"""What does the timing itself cost: beside a bare loop a call, and beside the model in memory?

    python tests/bench/harness_cost.py

A linear layer of 8 x 8 is called in blocks by the harness and in a bare loop, in turn; then a process that only opens the model is
held against the worker that times it. Exits with 1 where a call is seen more than half a microsecond longer than the loop has it, or
a worker is more than 60 MB larger.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from small_models import write_linear

from gradatim.timing.blocks import BlockPlan, run_block
from gradatim.timing.contestant import Contestant, Worker, save_inputs

BLOCKS, CALLS = 4000, 50
MOST_SECONDS, MOST_BYTES = 0.5e-6, 60e6

BARE = """
import re, sys
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
rows = np.zeros((1, 8), np.float32)
for _ in range(1000):
    session.run(None, {"x": rows})
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def seconds_a_call(model: Path) -> tuple[float, float]:
    """Seconds of a call as a bare loop has it and as the harness has it: the lower quartiles of short blocks, in turn.

    Other work on the machine only ever adds time, so the lower quartile is what either takes when nothing disturbs it.
    """
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rows = np.zeros((1, 8), np.float32)

    def call() -> object:
        return session.run(None, {"x": rows})

    def bare() -> float:
        began = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        return (time.perf_counter_ns() - began) / CALLS * 1e-9

    loop, seen = [], []
    for _ in range(BLOCKS):
        loop.append(bare())
        seen.append(statistics.fmean(run_block(call, BlockPlan(2, CALLS))))
    return float(np.quantile(loop, 0.25)), float(np.quantile(seen, 0.25))


def bytes_beside(folder: Path, model: Path) -> tuple[int, int]:
    """Peak resident bytes of a process that only calls the model, and of the worker that times it."""
    alone = subprocess.run(
        [sys.executable, "-c", BARE, str(model)], check=True, capture_output=True, text=True
    )
    batch = save_inputs(folder / "batch.npz", {"x": np.zeros((1, 8), np.float32)})
    with Worker(Contestant("one", model, folder), batch, folder) as worker:
        worker.opened()
        worker.ask("warm", seconds=0.1)
        for _ in range(24):
            worker.ask("block", untimed=2, timed=998, blocks=24)
        status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
        peak = re.search(r"VmHWM:\s+(\d+)", status)
        assert peak is not None
        return int(alone.stdout) * 1024, int(peak[1]) * 1024


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_linear(folder / "linear.onnx", np.eye(8))
        loop, seen = seconds_a_call(model)
        alone, timed = bytes_beside(folder, model)
    print(
        f"a call: {1e6 * loop:.2f} us in a bare loop, {1e6 * seen:.2f} us as timed, {1e6 * (seen - loop):+.2f} us"
    )
    print(f"memory: {alone / 1e6:.0f} MB alone, {timed / 1e6:.0f} MB timed, {(timed - alone) / 1e6:+.0f} MB")
    return 0 if seen - loop <= MOST_SECONDS and timed - alone <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
