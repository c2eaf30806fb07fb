"""A model of 3 GB through inspect, tag, publish and verify: memory, throughput beside sha256sum, progress, and a kill in the middle.

    python -m pytest tests/bench/test_large_model.py -s

The weights are a hole in the file, and read like any others; the copy that is published may take 3 GB of the disk.
Throughput is by the processor's time, the page cache warm, so that a busy machine slows both alike; what a verb costs on a model of
nothing is taken off. `tag` reads the model, has the kernel copy it and reads the copy back; `publish` reads both. Where this was written, of
sha256sum's throughput and in MB: inspect 1.28 and 83, tag 1.15 and 77, publish 1.14 and 77, verify 4.0 and 77.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from registry_examples import IDENTITY, git, new_repository

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

GB = 1 << 30
SIZE = 3
MOST_MEGABYTES = 150
VERBS = {
    "inspect": ("inspect",),
    "tag": ("tag",),
    "publish": ("publish",),
    "verify v1.0.0": ("verify", "v1.0.0"),
    "verify FOLDER": ("verify", "../releases/v1.0.0"),
}
CONTRACT = """\
model: {name: large, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates: {accuracy: {at_least: 60%}}
stages: {production: {branch: main}}
publish: [{folder: ../releases}]
"""


def project(place: Path, gigabytes: int) -> Path:
    """A candidate whose weights lie in a file of so many GB."""
    from onnx import TensorProto, helper, numpy_helper

    root = new_repository(place / "repo", remote=place / "remote.git")
    spare = []
    for number in range(gigabytes):
        tensor = TensorProto(name=f"spare{number}", data_type=TensorProto.FLOAT, dims=[GB // 4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": "model.onnx.data", "offset": number * GB, "length": GB}.items():
            tensor.external_data.add(key=key, value=str(value))
        spare.append(tensor)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])], "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w"), *spare],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, root / "model.onnx")
    if gigabytes:
        with (root / "model.onnx.data").open("wb") as file:
            file.truncate(gigabytes * GB)
    labels = np.arange(240) % 3
    np.savez(root / "test.npz", x=np.eye(3, dtype=np.float32)[labels], label=labels)
    (root / "gradatim.yml").write_text(CONTRACT)
    (root / ".gitignore").write_text("model.onnx*\n.gradatim/\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A candidate")
    git(root, "push", "-q", "origin", "HEAD")
    return root


def costs(root: Path, *words: str) -> tuple[float, float]:
    """Seconds of the processor and the most megabytes that a command took, its children among them."""
    running = subprocess.Popen(
        [sys.executable, "-m", "gradatim", *words], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdout is not None
    said = running.stdout.read()
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0, said.decode()
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def sha256sum(file: Path) -> float:
    running = subprocess.Popen(["sha256sum", str(file)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def on_a_terminal(root: Path, *words: str) -> str:
    """What somebody sees who sits before it."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "gradatim", *words], cwd=root, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                seen.extend(data)
        except OSError:  # the other end is closed
            pass

    reading = threading.Thread(target=read)
    reading.start()
    running.wait()
    reading.join()
    return seen.decode(errors="replace")


@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not here")
def test_a_model_of_3_gb_is_released_in_little_memory_as_fast_as_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    nothing, large = project(tmp_path / "nothing", 0), project(tmp_path / "large", SIZE)
    theirs = min(sha256sum(large / "model.onnx.data") for _ in range(2))
    told = {}
    for verb, words in VERBS.items():
        if verb == "tag":
            for root in (nothing, large):
                costs(root, "run", "--until", "gate")
            killed_in_the_middle(large)
        base, (seconds, megabytes) = costs(nothing, *words)[0], costs(large, *words)
        told[verb] = theirs / max(seconds - base, 1e-9), megabytes
    shown = on_a_terminal(large, "verify", "../releases/v1.0.0")
    with capsys.disabled():
        print(f"\n{SIZE} GB beside sha256sum ({theirs:.1f} s of the processor):")
        for verb, (throughput, megabytes) in told.items():
            print(f"  {verb:14} {throughput:5.2f} of its throughput, {megabytes:4.0f} MB at most")
    assert all(megabytes < MOST_MEGABYTES for _, megabytes in told.values())
    assert all(throughput >= 0.9 for throughput, _ in told.values())
    assert "hash" in shown.partition("holds")[0], "no bar while it reads"


def killed_in_the_middle(root: Path) -> None:
    """A `tag` that dies while the model is being copied to its place: nothing is tagged, and the next run goes on."""
    running = subprocess.Popen(
        [sys.executable, "-m", "gradatim", "tag"],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    releases = root.parent / "releases"
    while running.poll() is None and not any(releases.rglob("*model.onnx.data*")):
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert git(root, "tag") == ""
