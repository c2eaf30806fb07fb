"""A release to package: ``v1.0.0`` of a net that turns three numbers into three scores."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from gate_project import write_model
from numpy.typing import NDArray
from registry_examples import IDENTITY, git

from gradatim.cli import cli

CONTRACT = """
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [bad, fair, good]}
test: {abnormal: skip}
gates: {accuracy: {at_least: 20%}}
stages: {production: {branch: main}}
"""


def release(root: Path) -> Path:
    """Make it in an empty folder."""
    write_model(root / "model.onnx", "new", 0.0)
    session = onnxruntime.InferenceSession(str(root / "model.onnx"))
    [given] = session.get_inputs()
    width = given.shape[1] if isinstance(given.shape[1], int) else 3
    x = np.random.default_rng(3).normal(size=(120, width)).astype(np.float32)
    label = np.asarray(session.run(None, {given.name: x})[0]).argmax(axis=1)
    np.savez(root / "test.npz", **{given.name: x, "label": label})
    (root / "gradatim.yml").write_text(CONTRACT)
    return tagged(root)


def tagged(root: Path) -> Path:
    """Commit a project and release it."""
    git(root, "init", "-q", "-b", "main")
    (root / ".gitignore").write_text(".gradatim/\n")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        patch.chdir(root)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "first")
        done = CliRunner().invoke(cli, ["run"], standalone_mode=False)
        assert done.return_value == 0, (done.output, done.exception)
    return root


def rows_and_scores(root: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A few rows for the input ``x``, and what the released bytes make of them."""
    x = np.load(root / "test.npz")["x"][:7]
    return x, np.asarray(onnxruntime.InferenceSession(str(root / "model.onnx")).run(None, {"x": x})[0])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (our own, on loopback)
        return json.load(answer)


def wait_for(url: str, seconds: float = 60.0) -> None:
    for _ in range(int(seconds * 10)):
        try:
            urllib.request.urlopen(url, timeout=10).close()  # noqa: S310 (our own, on loopback)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} never answered")
