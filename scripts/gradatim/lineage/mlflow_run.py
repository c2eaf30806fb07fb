"""A run of MLflow: from a local folder ``mlruns/``, a SQLite file, or a tracking server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError, missing_package, needs
from gradatim.lineage.draft import LineageDraft, at
from gradatim.lineage.record import Lineage

SQLITE = "sqlite:///"
_SETTINGS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # since 3.10 the folder `mlruns/` is read only when asked to
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_NEWEST = ["attributes.start_time DESC", "attributes.run_id ASC"]


def is_server(store: str) -> bool:
    """Whether a store is asked over the network."""
    return store.startswith(("http://", "https://", "databricks"))


def read_mlflow(store: str, place: str, run: str | None, experiment: str | None) -> Lineage:
    """Read one run.

    Args:
        store: absolute path of a folder or of a SQLite file, or the address of a server.
        place: what the store is called in messages.
        run: the run's id; None takes the newest finished run (of a local store only).
        experiment: look for the newest run in this experiment only.

    Raises:
        UsageError: a server is asked and no run is named.
        InvalidInput: there is no such run.
        EnvironmentLacks: MLflow is not installed, or the server does not answer.
    """
    if run is None and is_server(store):
        raise UsageError(
            f"`lineage.mlflow` names the server {place} but no run. Which run is the newest changes while others train: "
            "name one, as `{store: ..., run: RUN_ID}`."
        )
    with _settings():
        with needs("mlflow-skinny", "mlflow", "Lineage from an MLflow run"):
            from mlflow import MlflowClient
            from mlflow.entities import ViewType
            from mlflow.exceptions import MlflowException
        uri = store if is_server(store) else _local(store, place)
        try:
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            if run is None:
                run = _newest(client, place, experiment, ViewType.ACTIVE_ONLY)
            found = client.get_run(run)
            histories = {key: client.get_metric_history(run, key) for key in sorted(found.data.metrics)}
        except MlflowException as error:
            raise _explained(error, store, place, run) from error
        except ImportError as error:
            raise missing_package("sqlalchemy", "mlflow", "Lineage from an MLflow database") from error
    draft = LineageDraft(f"MLflow run {run} in {place}", f"{place}, run {run}")
    draft.parameters(found.data.params)
    for name, history in histories.items():
        for entry in sorted(history, key=lambda entry: (entry.step, entry.timestamp)):
            draft.metric(name, entry.step, entry.value)
    for used in getattr(found.inputs, "dataset_inputs", None) or ():
        context = next((tag.value for tag in used.tags if tag.key == "mlflow.data.context"), None)
        draft.data(used.dataset.name, digest=f"mlflow:{used.dataset.digest}", use=_use(context))
    draft.commit = found.data.tags.get("mlflow.source.git.commit")
    draft.started, draft.finished = _time(found.info.start_time), _time(found.info.end_time)
    if found.info.status != "FINISHED":
        draft.note(f"MLflow says of this run: {found.info.status}")
    return draft.finish()


def _newest(client: Any, place: str, experiment: str | None, view: Any) -> str:
    experiments = [e for e in client.search_experiments(view) if experiment is None or e.name == experiment]
    if experiment is not None and not experiments:
        raise InvalidInput(f"{place} has no experiment `{experiment}`. Correct `lineage.mlflow.experiment`.")
    runs = client.search_runs(
        [e.experiment_id for e in experiments], "attributes.status = 'FINISHED'", view, 1, _NEWEST
    )
    if not runs:
        raise InvalidInput(
            f"{place} holds no finished run of MLflow. Train first, or correct `lineage.mlflow`."
        )
    newest: str = runs[0].info.run_id
    return newest


def _local(store: str, place: str) -> str:
    path = Path(store)
    if path.is_dir():
        return path.as_uri()
    _refuse_other_database(path, place)
    return f"{SQLITE}{path}"


def _refuse_other_database(path: Path, place: str) -> None:
    """MLflow would lay its tables into whatever database it is given."""
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise InvalidInput(f"{place} cannot be read as a store of MLflow runs: {error}.") from error
    if not {"runs", "experiments", "alembic_version"} <= tables:
        raise InvalidInput(f"{place} cannot be read as a store of MLflow runs: its tables are not MLflow's.")


def _use(context: str | None) -> str | None:
    """MLflow's ``context`` of a data set; None lets its name say."""
    words = (context or "").lower()
    if "train" in words:
        return "training"
    if "val" in words and "eval" not in words:
        return "validation"
    return "evaluation" if "eval" in words or "test" in words else None


def _time(milliseconds: int | None) -> str | None:
    return at(milliseconds / 1000) if milliseconds else None


def _explained(error: Any, store: str, place: str, run: str | None) -> Exception:
    said = str(error).strip().splitlines()[0][:300]
    if error.error_code == "RESOURCE_DOES_NOT_EXIST" or "not found" in said:
        return InvalidInput(f"{place} has no run {run}. Correct `lineage.mlflow.run`.")
    if is_server(store):
        silent = "HTTPConnectionPool" in said or "HTTPSConnectionPool" in said
        return EnvironmentLacks(
            f"The MLflow server {place} did not give the run {run}: {'it does not answer.' if silent else said} Credentials are read from "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
        )
    if "Unsupported" in type(error).__name__:
        return missing_package("sqlalchemy", "mlflow", "Lineage from an MLflow database")
    return InvalidInput(f"{place} cannot be read as a store of MLflow runs: {said}")


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """MLflow's switches for the time of one reading; what the user set stands."""
    added = [name for name in _SETTINGS if name not in os.environ]
    os.environ.update({name: _SETTINGS[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
