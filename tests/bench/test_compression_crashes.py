"""A search that is killed at ten random moments: what it names loads and passes each time, and it ends as one that was not."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from test_compression_strangers import DRAW, depthwise

from gradatim.compression.search import compress
from gradatim.models import open_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx_ir")

SEARCH = """
import pickle, sys
from pathlib import Path
from gradatim.compression.search import compress
model, out, batches, asked = pickle.loads(Path(sys.argv[1]).read_bytes())
compress(model, out, calibration=lambda: iter(batches), **asked)
"""
ASKED = {"keep": {"fidelity": 0.985}, "methods": ["int8-static", "int8-weights"], "slowest": 99}
KILLS = 10


def test_ten_kills_leave_what_loads_and_the_same_end(tmp_path: Path) -> None:
    model, out = depthwise(tmp_path / "depthwise.onnx"), tmp_path / "out"
    batches = [{"x": DRAW.normal(size=(16, 3, 32, 32)).astype(np.float32)}]
    (tmp_path / "search.py").write_text(SEARCH)
    (tmp_path / "given").write_bytes(pickle.dumps((model, out, batches, ASKED)))
    with open_model(model, root=tmp_path) as original:
        wanted = original(batches[0])["scores"]
    dice = np.random.default_rng(11)
    ended = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "search.py"), str(tmp_path / "given")], start_new_session=True
        )
        time.sleep(float(dice.uniform(0.5, 9)))
        ended += process.poll() is not None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for trial in _accepted(out / "search.json"):
            with open_model(Path(trial["path"]), root=out) as found:
                scores = found(batches[0])["scores"]
            lost = ((scores - wanted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum()
            assert 1 - lost >= 0.985
    print(f"{KILLS - ended} of {KILLS} killed before the end")
    ways = []
    for folder in (out, tmp_path / "whole"):
        result = compress(model, folder, calibration=lambda: iter(batches), **ASKED)
        ways.append([(trial.name, trial.digest, trial.accepted) for trial in result.trials])
    assert ways[0] == ways[1]
    assert not list(out.glob(".search-*"))


def _accepted(summary: Path) -> list[dict[str, str]]:
    if not summary.exists():
        return []
    return [trial for trial in json.loads(summary.read_text())["trials"] if trial["accepted"]]
