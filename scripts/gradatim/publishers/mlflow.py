"""An MLflow server as the place that releases are published to: versions of a registered model, and an alias a stage.

A release's files are the artefacts of a run, uploaded and read back. It becomes public as a version of the registered
model of its name, created by one request together with the tags that say which release it is. The alias of a stage
(``models:/digits@production``) names the version that the stage holds in git.

Source: MLflow's REST API, tracking and model registry, spoken by its own client.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.publishers.forge import description, plain_name, save_named
from gradatim.publishers.publisher import Changed, Found, Publication, Publisher, Wanted, gone
from gradatim.publishers.transfer import checked_source, not_the_release, pieces, refused

_MODELS = "/#/models/"
_ROOT = "release"
"""The folder of a run's artefacts that holds the release."""
_RELEASE, _VERSION = "gradatim.release", "gradatim.version"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""How its client behaves here where nobody said otherwise: it tells nobody, prints nothing and gives up in a minute."""
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
"""What MLflow takes for no alias."""
_PAGE = 1000
_File = tuple[str, str]
"""A run, and a path among its artefacts."""


class MlflowPublisher(Publisher):
    """Publishes to the model registry of an MLflow server.

    Args:
        address: of the server: ``https://mlflow.example.org``, or of one release on it.
    """

    kind = "mlflow"
    remedy = "Delete that version of the registered model"

    def __init__(self, address: str) -> None:
        self._server = address.partition(_MODELS)[0].rstrip("/")

    @property
    def location(self) -> str:
        return self._server

    def address(self, release: ReleaseFiles) -> str:
        """See ``Publisher.address``. The registry's own number is not known before."""
        model = quote(_model(release.record.name), safe="")
        return f"{self._server}{_MODELS}{model}?version={quote(release.record.version, safe='')}"

    def names(self, release: ReleaseFiles) -> dict[str, FileEntry]:
        return {_name(entry.path): entry for entry in release.entries}

    def save(self, files: Found, into: Path) -> None:
        save_named(files, self.read, into, _name)

    def point(self, publication: Publication, stage: str) -> bool:
        """See ``StagePointers.point``: the alias that is called like the stage, unless MLflow keeps that name."""
        model = _model(publication.name)
        if _RESERVED.fullmatch(stage):
            return False

        def once() -> bool:
            versions = self._versions(publication.name, publication.version)
            if not versions:
                raise gone(publication)
            wanted = str(versions[0].version)

            def stands() -> bool:
                return str(self._client.get_registered_model(model).aliases.get(stage)) == wanted

            if stands():
                return False
            try:
                self._client.set_registered_model_alias(model, stage, wanted)
            except Exception:  # of two who set it at once MLflow refuses one, which may have wanted the same
                if not stands():
                    raise
                return False
            return True

        return self.patiently(once)

    # versions

    def _versions(self, name: str, version: str) -> list[Any]:
        """What is registered as a version, the first one first."""
        said = f"name = '{_model(name)}' and tags.`{_VERSION}` = '{version}'"
        found = self._client.search_model_versions(said, max_results=_PAGE)
        return sorted(found, key=lambda one: int(one.version))

    def public(self, publication: Publication) -> Found | None:
        """See ``Publisher.public``.

        Raises:
            BrokenEvidence: what is registered are not the files of its run.
        """
        versions = self._versions(publication.name, _asked(publication))
        if not versions:
            return None
        run = versions[0].run_id
        if run and versions[0].source.rstrip("/") != self._source(run):
            raise not_the_release(publication.location, f"its files are not those of the run {run}.")
        return self._files(run) if run else {}

    def reveal(self, place: str, release: ReleaseFiles) -> None:
        """Make a run a version of the registered model; the registry gives numbers, so the lowest is the one."""
        record = release.record
        model = _model(record.name)
        with contextlib.suppress(Changed), self.understood():
            self._client.create_registered_model(model)
        mine = self._client.create_model_version(
            model,
            self._source(place),
            run_id=place,
            tags={
                _VERSION: record.version,
                _RELEASE: f"sha256:{record.digest}",
                "gradatim.manifest": f"sha256:{record.manifest}",
                "gradatim.tag": release.tag,
            },
            description=description(release),
            await_creation_for=0,
        )
        if self._versions(record.name, record.version)[0].version != mine.version:
            self._client.delete_model_version(model, mine.version)
            raise Changed

    def tidy(self, release: ReleaseFiles) -> None:
        """End the run that is public, and take away what others drafted or registered of the same release."""
        first, *more = self._versions(release.record.name, release.record.version)
        for version in more:
            if version.tags.get(_RELEASE) == f"sha256:{release.record.digest}":
                with contextlib.suppress(Changed), self.understood():
                    self._client.delete_model_version(version.name, version.version)
        for run in self._runs(release):
            if run.info.run_id != first.run_id:
                self.clear(run.info.run_id, release)
            elif run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id)

    # runs and their artefacts

    def _runs(self, release: ReleaseFiles) -> list[Any]:
        """Runs that hold, or are to hold, exactly this release; the oldest first."""
        experiment = self._client.get_experiment_by_name(_experiment(release))
        if experiment is None:
            return []
        said = f"tags.`{_RELEASE}` = 'sha256:{release.record.digest}'"
        found = self._client.search_runs([experiment.experiment_id], said, max_results=_PAGE)
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def begin(self, release: ReleaseFiles) -> str:
        """See ``Publisher.begin``: of several runs made at once all take the oldest."""
        runs = self._runs(release)
        if not runs:
            experiment = self._client.get_experiment_by_name(_experiment(release))
            number = (
                experiment.experiment_id
                if experiment
                else self._client.create_experiment(_experiment(release))
            )
            tags = {
                _RELEASE: f"sha256:{release.record.digest}",
                _VERSION: release.record.version,
                "mlflow.source.git.commit": release.record.commit,
            }
            self._client.create_run(number, run_name=release.tag, tags=tags)
            runs = self._runs(release)
        if not runs:
            raise Changed
        return str(runs[0].info.run_id)

    def clear(self, place: str, release: ReleaseFiles) -> None:
        """See ``Publisher.clear``. MLflow keeps a deleted run's artefacts until ``mlflow gc``."""
        with contextlib.suppress(Changed), self.understood():  # somebody else took it away first
            self._client.delete_run(place)

    def drafted(self, place: str, release: ReleaseFiles) -> Found:
        return self._files(place)

    def put(self, place: str, release: ReleaseFiles, missing: Wanted, stale: Found) -> Found:
        """See ``Publisher.put``: no artefact can be taken away, so with a file too many the run is begun again."""
        if stale.keys() - missing.keys():
            self._client.delete_run(place)
            raise Changed
        for name, entry in missing.items():
            source = checked_source(release, entry)
            folder, _, last = f"{_ROOT}/{name}".rpartition("/")
            with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
                file = Path(temporary) / last  # the client uploads a file under the name that it has here
                if isinstance(source, bytes):
                    file.write_bytes(source)
                else:
                    file.symlink_to(source.absolute())
                self._client.log_artifact(place, str(file), folder)
        return {name: (place, f"{_ROOT}/{name}") for name in missing}

    def _files(self, run: str) -> dict[str, _File]:
        """A run's artefacts, by the name that a file goes by."""
        found, folders = dict[str, _File](), [_ROOT]
        while folders:
            for entry in self._client.list_artifacts(run, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found[entry.path.removeprefix(f"{_ROOT}/")] = (run, entry.path)
        return found

    def read(self, file: _File) -> Iterator[bytes]:
        """See ``Publisher.read``. It is downloaded whole: the client knows every kind of store, and no streams."""
        with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
            yield from pieces(Path(self._client.download_artifacts(*file, temporary)))

    def _source(self, run: str) -> str:
        return f"{self._client.get_run(run).info.artifact_uri.rstrip('/')}/{_ROOT}"

    # speaking with MLflow

    @cached_property
    def _client(self) -> Any:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        return self.package("mlflow", "mlflow-skinny").MlflowClient(self._server, self._server)

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """See ``Publisher.understood``; notices what somebody else made or took away a moment ago."""
        self._client  # noqa: B018 (without the package nothing below can be imported)
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise Changed from error
            raise refused(self.location, error.get_http_status_code(), str(error), self.access) from None
        except requests.RequestException as error:
            status = 500 if error.response is None else error.response.status_code
            raise refused(self.location, status, str(error), self.access) from None


def _model(name: str) -> str:
    """A registered model's name, which has no slash: as in a tag."""
    return name.replace("/", "=")


def _experiment(release: ReleaseFiles) -> str:
    return f"gradatim/{_model(release.record.name)}"


def _asked(publication: Publication) -> str:
    """The version that an address names."""
    found = parse_qs(urlsplit(publication.location).fragment.partition("?")[2]).get("version", [])
    return found[0] if found else publication.version


def _name(path: str) -> str:
    """The name that a file goes by: folders stay, what the client would spoil (``#``, ``%``) does not."""
    return "/".join(plain_name(part) for part in path.split("/"))
