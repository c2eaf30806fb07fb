"""What evaluating costs beside a bare ONNX Runtime loop, and what memory it takes as the data grow.

The figures in docs/explanation/evaluation.md come from ``nox -s bench -- tests/bench/test_evaluation_cost.py``: about
three minutes on an idle machine. Model and images are those of the demo project.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gradatim.data import open_data
from gradatim.metrics.evaluation import Evaluation
from gradatim.metrics.measure import measurements
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.task import Task
from gradatim.models import batched, open_model
from gradatim.models.predict import predict

PROJECT = Path(__file__).parents[2] / "templates" / "projects" / "digits"
BATCH = 32
ROUNDS = 11
TASK = Task("classification", labels=tuple(range(10)))

CONTRACT = """\
model: {name: digits, path: model/digits.onnx}
data: {evaluation: data/rows.npz}
task: {type: classification, labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
"""

COMMAND = """
import json, re, resource, sys
from pathlib import Path
from gradatim.cli import main
try:
    sys.argv[1:] = ["evaluate", "--force"]
    code = main()
except SystemExit as done:
    code = done.code
# not ru_maxrss: after exec it starts from the size of the process that started this one
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"code": code or 0, "peak": peak, "cpu": used.ru_utime + used.ru_stime}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo project with its model built."""
    folder = tmp_path_factory.mktemp("bench") / "digits"
    shutil.copytree(PROJECT, folder)
    subprocess.run([sys.executable, "export.py"], cwd=folder, check=True, capture_output=True)
    (folder / "gradatim.yml").write_text(CONTRACT)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "digits"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    return folder


def write_rows(project: Path, rows: int) -> Path:
    """The demo's test images again and again, each time with a little other noise; npz, not compressed."""
    with np.load(project / "data" / "test.npz") as stored:
        images, labels = stored["image"], stored["label"]
    draw = np.random.default_rng(rows)
    chosen = draw.integers(len(images), size=rows)
    found = images[chosen]
    for start in range(0, rows, 100_000):
        part = found[start : start + 100_000]
        part += draw.normal(0, 0.1, part.shape).astype(np.float32)
    path = project / "data" / "rows.npz"
    np.savez(path, image=found, label=labels[chosen])
    return path


def clocks() -> NDArray[np.float64]:
    """CPU time of this process and wall time, in seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def median_and_interval(ratios: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median and its 95 % interval from order statistics (binomial, normal approximation)."""
    ordered = np.sort(ratios)
    n = len(ordered)
    reach = 0.98 * np.sqrt(n)
    return (
        float(np.median(ordered)),
        float(ordered[max(0, int(n / 2 - reach))]),
        float(ordered[min(n - 1, int(n / 2 + reach))]),
    )


def test_evaluation_costs_at_most_five_percent_over_a_bare_loop(project: Path) -> None:
    import onnxruntime as ort

    rows = 32_000
    data = write_rows(project, rows)
    path = project / "model" / "digits.onnx"
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    predictor = batched(open_model(path, root=project))
    folder = project / ".gradatim" / "predictions"

    def load() -> NDArray[np.float32]:
        with np.load(data) as stored:
            stored["label"]
            return np.asarray(stored["image"])

    def bare(images: NDArray[np.float32], start: int, stop: int) -> None:
        """Slices of an array in memory; nothing is checked or kept."""
        for first in range(start, stop, BATCH):
            session.run(None, {"image": images[first : first + BATCH]})

    def round_of_both() -> NDArray[np.float64]:
        """CPU and wall seconds [3, 2] of the evaluation, the bare loop, and the loop's np.load.

        The loop runs the same rows within the progress report, ten batches at a time, so that whatever else the
        machine is busy with slows both.
        """
        before = clocks()
        images = load()
        loading = clocks() - before
        done = told = 0
        loop = np.zeros(2)

        def advance(amount: int = 1, note: str = "") -> None:
            nonlocal done, told
            done += amount
            if done - told >= 10 * BATCH or done == rows:
                before = clocks()
                bare(images, told, done)
                loop[:] += clocks() - before
                told = done

        before = clocks()
        dataset = open_data(str(data), root=project, signature=predictor.signature, labels=TASK.labels)
        predict(predictor, dataset, TASK, folder, batch=BATCH, advance=advance)
        whole = clocks() - before
        assert told == rows
        return np.stack([whole - loop, loop, loading])

    round_of_both()
    found = np.array([round_of_both() for _ in range(ROUNDS)])
    a_batch = np.median(found[:, :, 0], axis=0) / (rows / BATCH) * 1e6
    print(
        f"\n  batch {BATCH}, {rows} rows, {ROUNDS} rounds; us CPU a batch: evaluation {a_batch[0]:.0f}, "
        f"loop {a_batch[1]:.0f}, its np.load {a_batch[2]:.0f}"
    )
    evaluation, loop, loading = found[:, 0], found[:, 1], found[:, 2]
    for name, by in (("np.load and loop", loop + loading), ("loop alone", loop)):
        for place, clock in enumerate(("CPU", "wall")):
            value, low, high = median_and_interval(evaluation[:, place] / by[:, place])
            print(f"  over {name:16} {clock:4} {value - 1:+.1%}  (95 %: {low - 1:+.1%} to {high - 1:+.1%})")
    before = clocks()
    measurements(Evaluation(TASK, Predictions.load(folder)), "fp32")
    print(f"  then all metrics with their intervals: {(clocks() - before)[0] * 1e3:.0f} ms CPU")
    assert np.median(evaluation[:, 0] / (loop + loading)[:, 0]) <= 1.05


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's peak memory from /proc")
@pytest.mark.timeout(1800)
def test_memory_stays_flat_from_ten_thousand_to_a_million_rows(project: Path) -> None:
    peaks = {}
    for rows in (10_000, 100_000, 1_000_000):
        size = write_rows(project, rows).stat().st_size
        start = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-c", COMMAND], cwd=project, check=True, capture_output=True, text=True
        )
        found = json.loads(ran.stdout.splitlines()[-1])
        assert found["code"] == 0, ran.stderr
        peaks[rows] = found["peak"]
        print(
            f"\n  {rows:9} rows ({size / 1e6:6.1f} MB): peak {found['peak'] / 1e6:5.0f} MB, "
            f"{found['cpu']:5.1f} s CPU, {time.perf_counter() - start:6.1f} s"
        )
    # what grows: each item's class, answer and place, and its share in the spread of the metric at hand
    assert peaks[1_000_000] - peaks[10_000] < 40 * 990_000
    assert peaks[1_000_000] < 1.35 * peaks[10_000]
