"""Real servers to publish to, each started once, when the first test needs it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from publishing import mlflow
from publishing.github import GitHub, GitHubPlace, serving
from publishing.gitlab import GitLab, GitLabPlace
from publishing.huggingface import Hub, HuggingFacePlace
from publishing.places import OciPlace, Place, S3Place
from publishing.processes import free_port, server

_numbers = itertools.count()
_REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: models, path: {folder}/htpasswd}}}}
"""
_PASSWORDS = "ada:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"  # bcrypt of `secret`


class Servers:
    """Servers by kind, each started once, when the first test needs it."""

    def __init__(self, folder: Path, running: contextlib.ExitStack) -> None:
        self._folder = folder
        self._running = running
        self._ports: dict[str, int] = {}
        self._forge: GitHub | None = None
        self._lab: GitLab | None = None
        self._hub: Hub | None = None

    def place(self, kind: str, remote: Path) -> Place:
        """A fresh place on a server, or a skipped test where the server is not installed."""
        if kind == "github":
            return self._github(remote)
        if kind == "gitlab":
            return self._gitlab(remote)
        if kind == "huggingface":
            return self._huggingface()
        if kind == "mlflow":
            return self._mlflow()
        return self._s3() if kind == "s3" else self._oci()

    def _github(self, remote: Path) -> Place:
        for package in ("requests", "openapi_core"):
            pytest.importorskip(package)
        if self._forge is None:
            port = free_port()
            self._forge = GitHub(port)
            self._running.enter_context(serving(port, self._forge.answer, self._forge.lock))
        return GitHubPlace(self._forge, f"ada/models-{next(_numbers)}", remote)

    def _gitlab(self, remote: Path) -> Place:
        for package in ("requests", "openapi_core"):
            pytest.importorskip(package)
        if self._lab is None:
            port = free_port()
            self._lab = GitLab(port)
            self._running.enter_context(serving(port, self._lab.answer, self._lab.lock))
        return GitLabPlace(self._lab, f"models/group/digits-{next(_numbers)}", remote)

    def _huggingface(self) -> Place:
        for package in ("requests", "huggingface_hub"):
            pytest.importorskip(package)
        if self._hub is None:
            port = free_port()
            self._hub = Hub(port)
            patch = self._running.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(
                "huggingface_hub.constants.HF_HUB_DISABLE_XET", True
            )  # a store of its own, not stood in for
            self._running.enter_context(serving(port, self._hub.answer, self._hub.lock))
        return HuggingFacePlace(self._hub, f"team/digits-{next(_numbers)}")

    def _mlflow(self) -> Place:
        pytest.importorskip("mlflow.server")
        folder = self._folder / "mlflow"
        if "mlflow" not in self._ports:
            port = free_port()
            command, environment = mlflow.command(folder, str(port))
            log = self._folder / "mlflow.log"
            self._running.enter_context(server(command, port, log, environment, patience=300))
            mlflow.hash_cheaply(folder)
            self._ports["mlflow"] = port
        return mlflow.MlflowPlace(self._ports["mlflow"], folder)

    def _s3(self) -> Place:
        for package in ("boto3", "moto", "flask_cors"):
            pytest.importorskip(package)
        port = self._port(
            "s3", lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
        )
        return S3Place(port, f"models-{next(_numbers)}")

    def _oci(self) -> Place:
        pytest.importorskip("requests")
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("docker-registry is not installed: apt-get install docker-registry")
        folder = self._folder / "registry"

        def command(port: str) -> list[str]:
            folder.mkdir()
            (folder / "htpasswd").write_text(_PASSWORDS)
            (folder / "config.yml").write_text(_REGISTRY.format(folder=folder, port=port))
            return [program, "serve", str(folder / "config.yml")]

        return OciPlace(self._port("oci", command), f"team/models-{next(_numbers)}", folder)

    def _port(self, kind: str, command: Callable[[str], list[str]]) -> int:
        if kind not in self._ports:
            port = free_port()
            self._running.enter_context(server(command(str(port)), port, self._folder / f"{kind}.log"))
            self._ports[kind] = port
        return self._ports[kind]
