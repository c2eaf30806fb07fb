"""To add a model format is one file and one row."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import yaml
from newcomer import Package

OPENER = '''
"""Models of one matrix: `LINEAR1`, the number of features, the number of classes, and the weights, little endian."""

import numpy as np

from gradatim.errors import InvalidInput
from gradatim.models.predictor import RuntimeModel
from gradatim.signature import Signature, TensorSpec


def open_linear(source):
    """Load a linear model; InvalidInput when its file ends too soon."""
    data = source.path.read_bytes()
    features, classes = np.frombuffer(data, "<u4", 2, 8)
    if len(data) != 16 + 4 * features * classes:
        raise InvalidInput(f"{source.path} is truncated. Make it again.")
    weights = np.frombuffer(data, "<f4", offset=16).reshape(features, classes)
    signature = Signature(
        (TensorSpec("x", "float32", (None, int(features))),), (TensorSpec("scores", "float32", (None, int(classes))),)
    )
    return RuntimeModel(
        source.name, signature, lambda given: {"scores": given["x"] @ weights}, device="cpu", threads=source.threads
    )
'''
ROW = '    ModelFormat(name="linear", opens="linear:open_linear", suffixes=(".lin",), magic=(0, b"LINEAR1\\n")),'


def test_a_model_format_is_a_file_and_a_row(tmp_path: Path) -> None:
    package = Package.copied_to(tmp_path / "kit")
    package.file("models/linear.py", OPENER)
    package.row("contract/model_formats.py", "_ROWS = (", ROW)
    project = tmp_path / "project"
    project.mkdir()
    draw = np.random.default_rng(0)
    weights, x = draw.normal(size=(4, 3)).astype("<f4"), draw.normal(size=(400, 4)).astype(np.float32)
    whole = b"LINEAR1\n" + np.array([4, 3], "<u4").tobytes() + weights.tobytes()
    (project / "model.lin").write_bytes(whole)
    label = (x @ weights).argmax(axis=1)
    label[::10] = (label[::10] + 1) % 3
    np.savez(project / "test.npz", x=x, label=label)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    assert package.run(project, "init").returncode == 0
    written = yaml.safe_load((project / "gradatim.yml").read_text())
    assert written["model"]["path"] == "model.lin"
    assert written["task"]["type"] == "classification"
    record = package.json(project, "run", "--until", "gate")
    assert record["verdict"] == "PASS", record
    assert '"linear"' in package.run(project, "schema").stdout
    (project / "model.lin").write_bytes(whole[:-1])
    torn = package.run(project, "run", "--until", "inspect")
    assert torn.returncode == 3
    assert "truncated. Make it again." in torn.stderr
