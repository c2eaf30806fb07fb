"""A real MLflow server on loopback, with a password, an SQLite store and a folder of artefacts that it serves."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from gradatim.publishers.publisher import Publisher

USER, PASSWORD = "ada", "a-password-of-twelve"  # what the server is told on its start
_AUTH = """\
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def command(folder: Path, port: str) -> tuple[list[str], dict[str, str]]:
    """How the server is started, and its environment."""
    folder.mkdir()
    (folder / "auth.ini").write_text(_AUTH.format(folder=folder, user=USER, password=PASSWORD))
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "any",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    options = ["--app-name", "basic-auth", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--serve-artifacts"]
    artefacts = ["--artifacts-destination", str(folder / "artefacts")]
    return [sys.executable, "-m", "mlflow", "server", *options, *stores, *artefacts], environment


def hash_cheaply(folder: Path) -> None:
    """Let the server check the password of each request in no time; it is no secret here."""
    from werkzeug.security import generate_password_hash

    with sqlite3.connect(folder / "auth.db") as users:
        cheap = generate_password_hash(PASSWORD, "pbkdf2:sha256:1")
        assert users.execute("UPDATE users SET password_hash = ?", (cheap,)).rowcount == 1


class MlflowPlace:
    """A registered model of that server, as its administrator sees it."""

    kind = "mlflow"

    def __init__(self, port: int, folder: Path) -> None:
        self.credentials = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        self.address = f"http://127.0.0.1:{port}"
        self.folder = folder / "artefacts"
        os.environ.update(self.credentials)
        for model in self.client.search_registered_models():
            self.client.delete_registered_model(model.name)
        for run in self.runs():
            self.client.delete_run(run.info.run_id)

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        os.environ.update(self.credentials)
        return MlflowClient(self.address, self.address)

    def publisher(self) -> Publisher:
        from gradatim.publishers.mlflow import MlflowPublisher

        return MlflowPublisher(self.address)

    def runs(self) -> list[Any]:
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        return list(self.client.search_runs(experiments))

    def versions(self) -> list[Any]:
        return list(self.client.search_model_versions("name = 'digits'"))

    def version(self, version: str) -> Any:
        return next((v for v in self.versions() if v.tags.get("gradatim.version") == version), None)

    def alias(self, stage: str) -> str | None:
        """The release that an alias names."""
        aliases = self.client.get_registered_model("digits").aliases
        found = self.client.get_model_version("digits", aliases[stage]) if stage in aliases else None
        return found.tags["gradatim.version"] if found else None

    def snapshot(self) -> Any:
        files = sorted(
            (str(path), path.stat().st_mtime_ns) for path in self.folder.rglob("*") if path.is_file()
        )
        runs = sorted((run.info.run_id, run.info.status, run.info.end_time) for run in self.runs())
        versions = sorted((v.version, v.last_updated_timestamp, str(v.tags)) for v in self.versions())
        aliases = [str(model.aliases) for model in self.client.search_registered_models()]
        return files, runs, versions, aliases

    def public(self, version: str) -> bool:
        return self.version(version) is not None

    def drafts(self) -> int:
        public = {version.run_id for version in self.versions()}
        return sum(run.info.run_id not in public for run in self.runs())

    def file(self, run: str, path: str) -> Path:
        (root,) = self.folder.glob(f"*/{run}/artifacts/release")
        return root / path

    def alter(self, version: str, path: str, data: bytes) -> None:
        self.file(self.version(version).run_id, path).write_bytes(data)

    def lose(self, version: str, path: str) -> None:
        self.file(self.version(version).run_id, path).unlink()

    def remove(self, version: str) -> None:
        self.client.delete_model_version("digits", self.version(version).version)

    def lose_from_draft(self, path: str, data: bytes) -> None:
        (run,) = self.runs()
        self.file(run.info.run_id, path).unlink()
