"""Lineage from files that TensorBoard, Weights & Biases and MLflow wrote themselves.

``nox -s lineage`` installs all three; elsewhere each is tested where it is installed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gradatim.errors import InvalidInput, UsageError
from gradatim.files import sha256_bytes
from gradatim.lineage.masking import MASKED
from gradatim.lineage.reading import Origin, fingerprint, read_lineage

TRAIN = sha256_bytes(b"train")


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_tensorboard_event_files_give_scalars_and_hyperparameters(tmp_path):
    pytest.importorskip("tensorboard")
    write_events(tmp_path / "runs")
    found = read_lineage(Origin("tensorboard", "runs"), tmp_path)
    assert found.parameters == {"lr": 0.003, "optimizer": "adam", "seed": 7.0}
    assert (found.seed, found.data["train"].sha256) == (7, TRAIN)
    loss = found.metrics["loss"]
    assert (loss.value, loss.count, len(loss.log)) == (pytest.approx(1 / 500, rel=1e-6), 500, 100)
    assert found.metrics["eval/accuracy"].value == pytest.approx(0.97)
    assert found.started == "2026-01-31T12:00:00+00:00"


def test_a_damaged_or_cut_event_file_is_refused_and_no_event_at_all_is_named(tmp_path):
    pytest.importorskip("tensorboard")
    write_events(tmp_path / "runs")
    origin = Origin("tensorboard", "runs")
    before = fingerprint(origin, tmp_path)
    path = next((tmp_path / "runs").glob("events*"))
    whole = path.read_bytes()
    damage(path)
    assert fingerprint(origin, tmp_path) != before
    with pytest.raises(InvalidInput, match="cut off or damaged"):
        read_lineage(origin, tmp_path)
    path.write_bytes(whole[:-9])
    with pytest.raises(InvalidInput, match="cut off or damaged"):
        read_lineage(origin, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no TensorBoard event file"):
        read_lineage(Origin("tensorboard", "empty"), tmp_path)


def write_events(folder: Path) -> None:
    """As TensorFlow 2 writes scalars (tensors) and PyTorch does (simple values), with an hparams session."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    start = 1769860800.0
    writer = EventFileWriter(str(folder))
    said = {"lr": 0.003, "optimizer": "adam", "seed": 7, "data.train.sha256": TRAIN}
    writer.add_event(Event(wall_time=start, summary=hparams_pb(said)))
    for step in range(500):
        value = Summary.Value(tag="loss", simple_value=1 / (step + 1))
        writer.add_event(Event(wall_time=start + step, step=step, summary=Summary(value=[value])))
    writer.close()
    writer = EventFileWriter(str(folder / "eval"))
    scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    number = TensorProto(dtype=1, float_val=[0.97])
    value = Summary.Value(tag="accuracy", metadata=scalars, tensor=number)
    writer.add_event(Event(wall_time=start, step=499, summary=Summary(value=[value])))
    writer.close()


WANDB = """
import wandb
config = {"lr": 0.003, "seed": 7, "optimizer": {"name": "adam"}, "hub_token": "hush", "data": {"train": {"sha256": "%s"}}}
run = wandb.init(project="digits", config=config)
for step in range(2000):
    run.log({"loss": 1 / (step + 1), "val": {"accuracy": step / 2000}})
run.config.update({"epochs": 3})
run.log({"loss": float("nan")})
run.finish()
"""


@pytest.fixture(scope="module")
def wandb_project(tmp_path_factory):
    pytest.importorskip("wandb")
    folder = tmp_path_factory.mktemp("wandb")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", WANDB % TRAIN], cwd=folder, env=environment, check=True)
    return folder


def test_an_offline_run_of_wandb_gives_config_and_history(wandb_project):
    found = read_lineage(Origin("wandb", "wandb"), wandb_project)
    assert found.parameters == {
        "epochs": 3, "hub_token": MASKED, "lr": 0.003, "optimizer.name": "adam", "seed": 7,
    }  # fmt: skip
    assert (found.seed, found.data["train"].sha256) == (7, TRAIN)
    loss = found.metrics["loss"]
    assert (loss.value, loss.count, loss.nonfinite) == (None, 2001, 1)
    assert found.metrics["val.accuracy"].value == pytest.approx(1999 / 2000)
    assert "wandb" in found.environment


def test_a_damaged_cut_or_absent_run_of_wandb_is_refused(wandb_project, tmp_path):
    source = next(wandb_project.glob("wandb/offline-run-*/run-*.wandb"))
    path = tmp_path / source.name
    origin = Origin("wandb", source.name)
    for change in (lambda: damage(path), lambda: path.write_bytes(source.read_bytes()[:-5])):
        path.write_bytes(source.read_bytes())
        change()
        with pytest.raises(InvalidInput, match="cut off or damaged"):
            read_lineage(origin, tmp_path)
    (tmp_path / "wandb").mkdir()
    with pytest.raises(InvalidInput, match="no offline run"):
        read_lineage(Origin("wandb", "wandb"), tmp_path)


@pytest.fixture(scope="module")
def mlflow_project(tmp_path_factory):
    """One finished run in a folder, one in a database, then one that failed; the ids of the finished ones."""
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    ids = {}
    script = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("digits")
with mlflow.start_run() as run:
    mlflow.log_params({"lr": 0.003, "seed": 7, "api_key": "hush", "data.train.sha256": sys.argv[2]})
    for step in range(30):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    print(run.info.run_id)
failed = mlflow.start_run()
mlflow.end_run("FAILED")
"""
    environment = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for store in ("mlruns", "sqlite:///mlflow.db"):
        arguments = [sys.executable, "-c", script, store, TRAIN]
        done = subprocess.run(
            arguments, cwd=folder, env=environment, check=True, capture_output=True, text=True
        )
        ids[store] = done.stdout.split()[-1]
    return folder, ids


@pytest.mark.parametrize("store", ["mlruns", "sqlite:///mlflow.db"])
def test_the_newest_finished_run_of_mlflow_is_read_without_touching_the_store(mlflow_project, store):
    folder, ids = mlflow_project
    before = fingerprint(Origin("mlflow", store), folder)
    found = read_lineage(Origin("mlflow", store), folder)
    assert ids[store] in found.source
    assert found.parameters == {"api_key": MASKED, "lr": "0.003", "seed": "7"}
    assert (found.seed, found.data["train"].sha256) == (7, TRAIN)
    assert (found.metrics["loss"].count, found.metrics["loss"].value) == (30, pytest.approx(1 / 30, rel=1e-6))
    assert fingerprint(Origin("mlflow", store), folder) == before
    assert read_lineage(Origin("mlflow", store, run=ids[store]), folder) == found


def test_a_run_or_an_experiment_that_mlflow_does_not_have_is_named(mlflow_project):
    folder, _ = mlflow_project
    with pytest.raises(InvalidInput, match="has no run 0123"):
        read_lineage(Origin("mlflow", "mlruns", run="0123456789abcdef0123456789abcdef"), folder)
    with pytest.raises(InvalidInput, match="no experiment `other`"):
        read_lineage(Origin("mlflow", "mlruns", experiment="other"), folder)


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path):
    pytest.importorskip("mlflow")
    path = tmp_path / "notes.db"
    path.write_text("no database at all")
    with pytest.raises(InvalidInput, match="cannot be read as a store"):
        read_lineage(Origin("mlflow", "sqlite:///notes.db"), tmp_path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="tables are not MLflow's"):
        read_lineage(Origin("mlflow", "sqlite:///notes.db"), tmp_path)
    assert path.read_bytes() == before


def test_a_tracking_server_needs_a_named_run(tmp_path):
    with pytest.raises(UsageError, match="names the server"):
        read_lineage(Origin("mlflow", "http://localhost:9"), tmp_path)
