"""To add a metric is one file and one row, and so is to add a corruption."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from gate_project import write_model
from newcomer import Package

METRIC = '''
"""Cohen's kappa: agreement beyond chance. Source: Cohen (1960), Educational and Psychological Measurement 20(1)."""

import numpy as np


def kappa(labels, answers):
    names = np.unique(np.concatenate([labels, answers]))
    chance = sum(float((labels == name).mean() * (answers == name).mean()) for name in names)
    return (float((labels == answers).mean()) - chance) / (1 - chance)
'''
CORRUPTION = '''
"""Every feature turned down, as by a sensor that ages."""


def corrupt(rows, level, dice):
    return rows * (1 - level)
'''
CONTRACT = """
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip, robustness: [ageing]}
gates:
  kappa: {at_least: 40%}
  robustness[ageing]: {at_least: 40%}
benchmark: {rounds: 3}
stages: {production: {branch: main}}
"""


def test_a_metric_and_a_corruption_are_a_file_and_a_row_each(tmp_path: Path) -> None:
    package = Package.copied_to(tmp_path / "kit")
    package.file("metrics/kappa.py", METRIC)
    row = '    Metric("kappa", "agreement beyond chance", True, by="gradatim.metrics.kappa:kappa"),'
    package.row("metrics/catalogue.py", "_CLASSIFICATION = _table(", row)
    package.file("perturb/ageing.py", CORRUPTION)
    levels = '    "ageing": (0.05, 0.1, 0.2, 0.3, 0.5),  # share of the signal that is lost'
    package.row("perturb/catalogue.py", "TABULAR: dict[str, Levels] = {", levels)
    project = tmp_path / "project"
    project.mkdir()
    write_model(project / "model.onnx", "new", 0.0)
    columns = evaluation_rows(project)
    np.savez(project / "test.npz", **columns)
    (project / "gradatim.yml").write_text(CONTRACT)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *who, *command], cwd=project, check=True)
    record = package.json(project, "run", "--until", "gate")
    assert record["verdict"] == "PASS", record
    assert record["gates"].count("PASS") >= 2
    assert "kappa" in package.run(project, "schema", "--metrics", "classification").stdout
    assert "ageing" in package.run(project, "schema", "--corruptions").stdout


def evaluation_rows(project: Path) -> dict[str, np.ndarray]:
    """Rows that the model of the gates' tests answers rightly, most of them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(project / "model.onnx"))
    [given] = session.get_inputs()
    width = given.shape[1] if isinstance(given.shape[1], int) else 3
    x = np.random.default_rng(3).normal(size=(300, width)).astype(np.float32)
    scores = session.run(None, {given.name: x})[0]
    label = np.asarray(scores).argmax(axis=1)
    label[::10] = (label[::10] + 1) % 3
    return {given.name: x, "label": label}
