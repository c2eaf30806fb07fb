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
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from gradatim.errors import EnvironmentLacks, missing_package
from gradatim.evidence.assembly import ReleaseFiles
from gradatim.evidence.manifest import FileEntry
from gradatim.evidence.release_record import RECORD_FILE, SIGNATURE_FILE
from gradatim.publishers.forge import description, plain_name
from gradatim.publishers.publisher import Draft, Publication
from gradatim.publishers.transfer import (
    checked_source,
    compare,
    gone,
    is_entry,
    is_held,
    not_the_release,
    own_record,
    save_named,
)
from gradatim.publishers.web import Changed, patiently

_MODELS = "/#/models/"
_ROOT = "release"
"""The folder of a run's artefacts that holds the release."""
_RELEASE, _VERSION = "gradatim.release", "gradatim.version"
_NAMED = "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
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
_CHUNK = 1 << 20
_Done = TypeVar("_Done")


class MlflowPublisher:
    """Publishes to the model registry of an MLflow server.

    Args:
        address: of the server: ``https://mlflow.example.org``, or of one release on it.
    """

    kind = "mlflow"

    def __init__(self, address: str) -> None:
        self._server = address.partition(_MODELS)[0].rstrip("/")

    @property
    def location(self) -> str:
        return self._server

    def publication(self, release: ReleaseFiles) -> Publication:
        """See ``Publisher.publication``. The registry's own number is not known before."""
        record = release.record
        model = quote(_model(record.name), safe="")
        place = f"{self._server}{_MODELS}{model}?version={quote(record.version, safe='')}"
        return Publication(self.kind, place, record.name, record.version, record.manifest)

    def draft(self, release: ReleaseFiles) -> Draft:
        """See ``Publisher.draft``."""

        def try_once() -> Draft:
            if self._is_public(release):
                self._compare(release)
                return Draft(release, "", self.publication(release))
            run = self._own_run(release)
            self._fill(run, release)
            return Draft(release, run)

        return self._patiently(try_once)

    def publish(self, draft: Draft) -> Publication:
        """See ``Publisher.publish``."""
        release = draft.release

        def try_once() -> None:
            if not self._is_public(release):
                self._register(release, draft.place)
            self._compare(release)
            self._tidy(release)

        self._patiently(try_once)
        return self.publication(release)

    def holds(self, release: ReleaseFiles) -> bool:
        """See ``Publisher.holds``."""
        return self._patiently(lambda: is_held(release, self._is_public, self._compare))

    def discard(self, draft: Draft) -> None:
        """See ``Publisher.discard``. MLflow keeps a deleted run's artefacts until ``mlflow gc``."""
        if draft.public is None:
            with contextlib.suppress(Changed), self._understood():  # somebody else took it away first
                self._client.delete_run(draft.place)

    def open(self, publication: Publication, into: Path) -> Path:
        """See ``Publisher.open``."""

        def try_once() -> Path:
            versions = self._versions(publication.name, _asked(publication))
            if not versions:
                raise gone(publication)
            run = versions[0].run_id
            return save_named(self._artifacts(run), lambda path: self._read(run, path), into, _name)

        return self._patiently(try_once)

    def point(self, publication: Publication, stage: str) -> bool:
        """See ``StagePointers.point``: the alias that is called like the stage, unless MLflow keeps that name."""
        model = _model(publication.name)
        if _RESERVED.fullmatch(stage):
            return False

        def try_once() -> bool:
            versions = self._versions(publication.name, publication.version)
            if not versions:
                raise gone(publication)
            if str(self._client.get_registered_model(model).aliases.get(stage)) == str(versions[0].version):
                return False
            self._client.set_registered_model_alias(model, stage, versions[0].version)
            return True

        return self._patiently(try_once)

    # versions

    def _versions(self, name: str, version: str) -> list[Any]:
        """What is registered as a version, the first one first."""
        said = f"name = '{_model(name)}' and tags.`{_VERSION}` = '{version}'"
        found = self._client.search_model_versions(said, max_results=_PAGE)
        return sorted(found, key=lambda one: int(one.version))

    def _is_public(self, release: ReleaseFiles) -> bool:
        """Whether the version is registered with these bytes; with others it is refused."""
        versions = self._versions(release.record.name, release.record.version)
        if not versions:
            return False
        run = versions[0].run_id
        path = self._artifacts(run).get(RECORD_FILE) if run else None
        found = None if path is None else b"".join(self._read(run, path))
        own_record(self._place(versions[0]), release, found, "Delete that version of the registered model")
        return True

    def _register(self, release: ReleaseFiles, run: str) -> None:
        """Make a run a version of the registered model; the registry gives numbers, so the lowest is the one."""
        record = release.record
        model = _model(record.name)
        with contextlib.suppress(Changed), self._understood():
            self._client.create_registered_model(model)
        mine = self._client.create_model_version(
            model,
            self._source(run),
            run_id=run,
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

    def _compare(self, release: ReleaseFiles) -> None:
        """Download everything: what is registered must be the release, no more and no less."""
        versions = self._versions(release.record.name, release.record.version)
        place = self.publication(release).location
        if not versions:
            raise not_the_release(place, "it is not registered.")
        run = versions[0].run_id
        if versions[0].source.rstrip("/") != self._source(run):
            raise not_the_release(place, f"its files are not those of the run {run}.")
        there = self._artifacts(run)
        compare(
            place, _wanted(release), there, lambda name, entry: is_entry(self._read(run, there[name]), entry)
        )

    def _tidy(self, release: ReleaseFiles) -> None:
        """End the run that is public, and take away what others drafted or registered of the same release."""
        first, *more = self._versions(release.record.name, release.record.version)
        for version in more:
            if version.tags.get(_RELEASE) == f"sha256:{release.record.digest}":
                with contextlib.suppress(Changed), self._understood():
                    self._client.delete_model_version(version.name, version.version)
        for run in self._runs(release):
            if run.info.run_id != first.run_id:
                with contextlib.suppress(Changed), self._understood():
                    self._client.delete_run(run.info.run_id)
            elif run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id)

    def _place(self, version: Any) -> str:
        return f"{self._server}{_MODELS}{quote(version.name, safe='')}/versions/{version.version}"

    # runs and their artefacts

    def _runs(self, release: ReleaseFiles) -> list[Any]:
        """Runs that hold, or are to hold, exactly this release; the oldest first."""
        experiment = self._client.get_experiment_by_name(_experiment(release))
        if experiment is None:
            return []
        said = f"tags.`{_RELEASE}` = 'sha256:{release.record.digest}'"
        found = self._client.search_runs([experiment.experiment_id], said, max_results=_PAGE)
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _own_run(self, release: ReleaseFiles) -> str:
        """The draft of this release; of several made at once all take the oldest."""
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

    def _fill(self, run: str, release: ReleaseFiles) -> None:
        """Complete a draft: what an interrupted run left whole is kept; with a file too many it is begun again."""
        wanted, there = _wanted(release), self._artifacts(run)
        if (
            there.keys() - wanted.keys() - {SIGNATURE_FILE}
        ):  # it joins last; another run may just have put it there
            self._client.delete_run(run)
            raise Changed
        for name, entry in wanted.items():
            path = f"{_ROOT}/{name}"
            if name in there and is_entry(self._read(run, path), entry):
                continue
            self._upload(run, name, release, entry)
            if not is_entry(self._read(run, path), entry):
                raise not_the_release(f"{self._source(run)}/{name}", "what was uploaded does not come back.")

    def _upload(self, run: str, name: str, release: ReleaseFiles, entry: FileEntry) -> None:
        """Upload one file, under the name that it has there."""
        source = checked_source(release, entry)
        folder, _, last = f"{_ROOT}/{name}".rpartition("/")
        with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
            file = Path(temporary) / last
            if isinstance(source, bytes):
                file.write_bytes(source)
            else:
                file.symlink_to(source.absolute())
            self._client.log_artifact(run, str(file), folder)

    def _artifacts(self, run: str) -> dict[str, str]:
        """Paths among a run's artefacts, by the name that a file goes by."""
        found, folders = dict[str, str](), [_ROOT]
        while folders:
            for entry in self._client.list_artifacts(run, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                else:
                    found[entry.path.removeprefix(f"{_ROOT}/")] = entry.path
        return found

    def _read(self, run: str, path: str) -> Iterator[bytes]:
        """The bytes of an artefact. It is downloaded whole: the client knows every kind of store, and no streams."""
        with tempfile.TemporaryDirectory(prefix="gradatim-") as temporary:
            file = self._client.download_artifacts(run, path, temporary)
            with Path(file).open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    yield chunk

    def _source(self, run: str) -> str:
        return f"{self._client.get_run(run).info.artifact_uri.rstrip('/')}/{_ROOT}"

    # speaking with MLflow

    @cached_property
    def _client(self) -> Any:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise missing_package("mlflow-skinny", self.kind, f"Publishing to {self.location}") from error
        return MlflowClient(self._server, self._server)

    def _patiently(self, work: Callable[[], _Done]) -> _Done:
        def try_once() -> _Done:
            with self._understood():
                return work()

        return patiently(self.location, try_once)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Say what MLflow refuses in words for a person; notice what somebody else made or took away a moment ago."""
        self._client  # noqa: B018 (without the package nothing below can be imported)
        import requests
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise Changed from error
            raise self._refused(error.get_http_status_code(), str(error)) from None
        except requests.RequestException as error:
            status = 500 if error.response is None else error.response.status_code
            raise self._refused(status, str(error)) from None

    def _refused(self, status: int, why: str) -> EnvironmentLacks:
        said = " ".join(why.split())[:300]
        if status in (401, 403):
            return EnvironmentLacks(
                f"{self.location} does not let this user do that ({status}). Set {_NAMED}; the user must be allowed to "
                "write there."
            )
        if status >= 500:
            return EnvironmentLacks(
                f"{self.location} cannot be reached, or fails ({said}). "
                "Run the same command again when it can: it resumes."
            )
        return EnvironmentLacks(f"{self.location} refuses: {said}")


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


def _wanted(release: ReleaseFiles) -> dict[str, FileEntry]:
    return {_name(entry.path): entry for entry in release.entries}
