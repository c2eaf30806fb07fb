"""Rows a second of `gradatim evaluate`: one process, `engine: ray` on a cluster of this machine, and Ray Data with the bare model.

    python tests/bench/ray_throughput.py            # 300 000 rows, 4 parts, 2 processors
    python tests/bench/ray_throughput.py 1000000

Needs the extra `ray`. Each row is one call's share of a net of 4.3 million weights, one thread a call, batches of 128.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PARTS, PROCESSORS, BATCH = 4, 2, 128
WIDTHS = (64, 2048, 2048, 10)
CONTRACT = """
model: {name: wide, path: model.onnx}
data: {evaluation: test.npz, batch: %d}
task: {type: classification, labels: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
gates: {accuracy: {at_least: 1%%}}
stages: {production: {branch: main}}
"""


def main(rows: int) -> None:
    os.environ.update(RAY_worker_niceness="0")  # workers give way to others, one process does not
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        lay_down(project, rows)
        contract = (project / "gradatim.yml").read_text(encoding="utf-8")
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": PROCESSORS, "include_dashboard": False}
        )
        os.environ["RAY_ADDRESS"] = cluster.address
        seconds = {"one process": evaluate(project, pinned=True)}
        (project / "gradatim.yml").write_text(f"{contract}engine: ray\nshards: {PARTS}\n", encoding="utf-8")
        seconds[f"engine: ray, {PARTS} parts"] = evaluate(project)
        ray.init(log_to_driver=False, logging_level="error")
        seconds["Ray Data, the bare model"] = ray_data(project)
        ray.shutdown()
        cluster.shutdown()
    for name, took in seconds.items():
        print(f"{name:<28} {took:6.1f} s  {rows / took:8.0f} rows a second")


def evaluate(project: Path, *, pinned: bool = False) -> float:
    """Seconds of the whole command, its start, the metrics and the evidence with it."""
    command = [sys.executable, "-m", "gradatim", "evaluate", "--force", "--json"]
    one = {min(os.sched_getaffinity(0))} if pinned else os.sched_getaffinity(0)
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=project, check=True, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, one)
    )  # fmt: skip
    took = time.monotonic() - began
    assert json.loads(done.stdout)["verdict"] == "PASS"
    return took


class Bare:
    """The model alone, as Ray Data keeps one in each of its actors."""

    def __init__(self, path: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (scores,) = self.session.run(None, {"x": np.ascontiguousarray(batch["data"], np.float32)})
        return {"answer": scores.argmax(1)}


def ray_data(project: Path) -> float:
    """Seconds of the answers alone: no metric, no check of a row, no evidence."""
    import ray
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    with np.load(project / "test.npz") as stored:
        rows = stored["x"]
    began = time.monotonic()
    answers = ray.data.from_numpy(np.array_split(rows, PARTS)).map_batches(
        Bare,
        batch_size=BATCH,
        fn_constructor_args=(str(project / "model.onnx"),),
        compute=ray.data.ActorPoolStrategy(size=PROCESSORS),
        num_cpus=1,
    )
    assert answers.sum("answer") is not None
    return time.monotonic() - began


def lay_down(project: Path, rows: int) -> None:
    dice = np.random.default_rng(7)
    nodes, constants, value = [], [], "x"
    for place, (wide, next_wide) in enumerate(itertools.pairwise(WIDTHS)):
        weights = (dice.normal(size=(wide, next_wide)) / wide**0.5).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{place}"))
        last = place == len(WIDTHS) - 2
        nodes.append(helper.make_node("MatMul", [value, f"w{place}"], ["scores" if last else f"h{place}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{place}"], [f"r{place}"]))
            value = f"r{place}"
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTHS[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", WIDTHS[-1]])],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        project / "model.onnx",
    )
    np.savez(
        project / "test.npz",
        x=dice.normal(size=(rows, WIDTHS[0])).astype(np.float32),
        label=dice.integers(0, 10, rows),
    )
    (project / "gradatim.yml").write_text(CONTRACT % BATCH, encoding="utf-8")
    (project / ".gitignore").write_text(".gradatim/\n", encoding="utf-8")
    ada = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for arguments in (("init", "-q", "-b", "main"), ("add", "--all"), (*ada, "commit", "-qm", "a wide net")):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    for step in ("build", "inspect", "compress"):
        subprocess.run([sys.executable, "-m", "gradatim", step], cwd=project, check=True, capture_output=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
