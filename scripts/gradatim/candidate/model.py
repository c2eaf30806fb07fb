"""A model as its contract says that it is opened and called."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gradatim.candidate.workspace import Workspace
from gradatim.contract.endpoint import EndpointSection, ServerSection, is_loopback
from gradatim.contract.reading import ReadContract
from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput
from gradatim.files import list_files, write_json
from gradatim.metrics.answers import REQUEST
from gradatim.metrics.catalogue import ASKED
from gradatim.signature import Inspection, Signature, TensorSpec

if TYPE_CHECKING:
    from gradatim.models.predictor import Predictor
    from gradatim.timing.contestant import Contestant
    from gradatim.timing.held import CallLimits

_NEVER_RELEASED = ("__pycache__", ".git", ".gradatim")


@dataclass(frozen=True)
class Model:
    """What a contract says about its model, for any form of it.

    A model that a factory makes is opened in a folder that holds what is released of it and nothing else: its code,
    its file and the files that it names. So the release is opened later as it is judged now.

    Attributes:
        contract: the candidate's, or that of the release that it would replace.
        machine: whose device and threads count: the candidate's contract, so that both are asked alike.
        restored: where the files of a release lie; None for a candidate, whose lie in its project.
        served: where a release is served; a candidate's contract says that of itself.
        said: the place in the contract that names it, where that is neither its `path` nor its `factory`.
    """

    contract: ReadContract
    machine: ReadContract
    restored: Path | None = None
    served: EndpointSection | None = None
    said: tuple[str | int, ...] = ()

    @property
    def others(self) -> Iterator[Model]:
        """The contract's further candidates of the same recipe, each opened as this one is."""
        for place, path in enumerate(self.contract.parts.model.candidates):
            contract = self.contract.with_model(path=path)
            yield replace(self, contract=contract, said=("model", "candidates", place))

    @property
    def place(self) -> tuple[str | int, ...]:
        """What of the contract names it, to be blamed for it."""
        return self.said or ("model", "path" if self.contract.parts.model.path else "factory")

    @property
    def path(self) -> Path:
        """Where the contract says that the model lies; for a model made by a function alone, ``module:function``."""
        model = self.contract.parts.model
        if self.unpinned:
            return Workspace(self.contract.root).unpinned
        return (self.restored or self.contract.root) / model.path if model.path else Path(str(model.factory))

    @property
    def folder(self) -> Path:
        """The folder that its files are released relative to."""
        if self.contract.parts.model.in_places:
            return self.restored or self.contract.root.resolve()
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def unpinned(self) -> bool:
        """Whether no more is known of it than where it is asked: the server may hold another one tomorrow."""
        model = self.contract.parts.model
        return model.path is None and model.factory is None

    @functools.cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file that is released, the code of its factory among them.

        Raises:
            InvalidInput: there is no model, or it is no model at all, or a name stands for no file.
        """
        from gradatim.code import local_closure
        from gradatim.models import model_files

        said = self.contract.parts.model
        if self.unpinned and said.endpoint is not None:
            write_json(self.path, {"endpoint": said.endpoint.url, "model": said.endpoint.model})
        if said.factory is None:
            return tuple(sorted(self._own_files()))
        found = set(local_closure(self.folder, said.factory))
        if said.path is not None:
            found |= {self.folder / said.path / name for name in list_files(self.path)} or set(
                model_files(self.folder / said.path, read_by_a_factory=True)
            )
        for place, pattern in enumerate(said.files):
            matches = {file for match in self.folder.glob(pattern) for file in _files_of(match)}
            if not matches:
                raise InvalidInput(
                    f"{self.contract.where('model', 'files', place)}: nothing matches `{pattern}`. Name files or folders "
                    "below the folder of the contract."
                )
            found |= matches
        return tuple(sorted(found))

    def _own_files(self) -> list[Path]:
        """Those of the model alone, and of its adapter."""
        from gradatim.models import model_files
        from gradatim.models.adapter import adapter_files

        said = self.contract.parts.model
        if said.path is None or said.adapter is None:
            return model_files(self.path, read_by_a_factory=said.read_by_others)
        with self.contract.blamed("model", "adapter"):
            adapted = adapter_files(self.folder / said.adapter)
        return [*model_files(self.folder / said.path), *adapted]

    def open(self, path: Path, *, watch: Callable[[Predictor], Predictor] | None = None) -> Predictor:
        """A form of the model, ready to be called with what the data feeds, any number of items at a time.

        It lives in a process of its own, which is ended when it passes the limits of the contract.

        Args:
            path: the form's file or folder.
            watch: wraps the model itself, under its tokenizer and all that is filled in.
        """
        from gradatim.models import batched, ready
        from gradatim.timing.held import HeldModel

        settings = self._settings(path)
        key = "factory" if self.contract.parts.model.factory else "path"
        asked = self.contract.blamed(*(self.said or ("model", key)))
        with asked if path == self.path else contextlib.nullcontext(), _by_its_name(settings):
            predictor = HeldModel(self._limits, **settings)
        return batched(ready(watch(predictor) if watch else predictor, settings["path"], **self._around()))

    def inspect(self) -> Inspection:
        """What it is made of; in a process of its own where it must be loaded for that.

        Raises:
            InvalidInput: there is no model, or it is broken, or it passes the limits of the contract.
            EnvironmentLacks: a package that the format needs is missing.
        """
        from gradatim.models import detect_format, inspect_model
        from gradatim.timing.held import inspect_held

        settings = self._settings(self.path)
        if not self.contract.parts.model.read_by_others and detect_format(self.path) == "onnx":
            return inspect_model(**settings)
        with _by_its_name(settings):
            return inspect_held(self._limits, **settings)

    def contestant(self, name: str, path: Path, threads: int | None = None) -> Contestant:
        """A form of the model for a process of its own, which opens it as ``open`` does."""
        from gradatim.timing.contestant import Contestant

        settings = self._settings(path)
        del settings["files"]
        return Contestant(name, **{**settings, "threads": threads or settings["threads"]}, **self._around())

    @property
    def signature(self) -> Signature | None:
        """What the contract says about inputs and outputs; None when it says nothing."""
        model = self.contract.parts.model

        def specs(tensors: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(name, t.dtype or "unknown", t.shape) for name, t in tensors.items())

        task, imported = self.machine.parts.task, self.machine.parts.evaluate.imported
        if task is not None and task.type in ASKED and imported is None:
            return Signature((TensorSpec(REQUEST, "str", ("batch",)),), specs(model.outputs))
        if not (model.inputs or model.outputs):
            return None
        return Signature(specs(model.inputs), specs(model.outputs))

    def _settings(self, path: Path) -> dict[str, Any]:
        """What ``models.open_model`` is told of a form of the model."""
        model = self.contract.parts.model
        place, root, files = path, self.contract.root, tuple[Path, ...]()
        alone = self._stands_alone(path)
        factory = None if alone else model.factory
        if factory is not None:
            root = self.restored or Workspace(root).alone(self.folder, self.files)
            files = tuple(root / file.relative_to(self.folder) for file in self.files)
            if model.path is not None and path == self.path:
                place = root / model.path
        adapter = model.adapter if path == self.path else None
        if model.path is not None and adapter is not None:
            root, place = self.folder, self.folder / model.path
        return {
            "path": place,
            "root": root,
            "project": None if factory is None else self.contract.root.resolve(),
            "files": files,
            "format": model.format if path == self.path else None,
            "adapter": None if adapter is None else root / adapter,
            "factory": factory,
            "command": [] if alone else list(model.command or ()),
            "endpoint": self._asked_at(path),
            "signature": self.signature,
            "device": self.machine.parts.model.device,
            "threads": self.machine.parts.model.threads,
            "allow_pickle": model.allow_pickle,
            "autocast": None if alone else model.autocast,
        }

    def _stands_alone(self, path: Path) -> bool:
        """Whether a form is of another format than the contract's model: neither factory nor program belongs to it."""
        return path != self.path and path.suffix != self.path.suffix

    def described(self, path: Path) -> dict[str, Any]:
        """How a form is opened, for a process of its own."""
        from gradatim.timing.contestant import described

        return described(**self._settings(path))

    def _asked_at(self, path: Path) -> dict[str, Any]:
        """How the server is asked that answers for a form of the model; empty where there is none.

        Raises:
            EnvironmentLacks: its key is not there.
        """
        said = self.served or (self.contract.parts.model.endpoint if path == self.path else None)
        if said is None:
            return {}
        return server_settings(self.machine, said, "model", "endpoint")

    @property
    def _limits(self) -> CallLimits:
        from gradatim.timing.held import CallLimits

        parts = self.machine.parts
        said, served = parts.model.limits, self.served or parts.model.endpoint
        waits = served.timeout * (math.ceil(parts.data.batch / served.parallel) + 1) if served else 0.0
        return CallLimits(max(said.call, waits), said.all)

    def _around(self) -> dict[str, Any]:
        """What the data does not feed, as ``models.ready`` takes it: constants, states, and how texts become tokens."""
        model = self.contract.parts.model
        given = model.inputs.items()
        return {
            "constants": {name: tensor.value for name, tensor in given if tensor.value is not None},
            "carries": {name: tensor.carry for name, tensor in given if tensor.carry is not None},
            "tokenizer": model.tokenizer.model_dump(exclude_none=True) if model.tokenizer else None,
        }


@contextlib.contextmanager
def _by_its_name(settings: Mapping[str, Any]) -> Iterator[None]:
    """A refusal names a file as it lies in the project, and not the copy that is opened beside a factory."""
    root, project = settings["root"], settings["project"]
    try:
        yield
    except GradatimError as error:
        for copied in {root, root.resolve()} if project else ():
            error.args = (str(error).replace(f"{copied}{os.sep}", ""),)
        raise


def server_settings(contract: ReadContract, said: ServerSection, *place: str) -> dict[str, Any]:
    """How a server is asked that the contract names at a place.

    Raises:
        EnvironmentLacks: its key is not there.
    """
    key = os.environ.get(said.key, "").strip() if said.key else None  # pasted secrets often end their line
    if key is not None and not (key and key.isascii() and key.isprintable()):
        lacks = "has a character that no key can have" if key else "is not set"
        raise EnvironmentLacks(
            f"{contract.where(*place)}: the environment variable `{said.key}`, which holds the key of {said.url}, {lacks}. Set it to "
            "the key alone."
        )
    told = said.model_dump(include={"url", "model", "parallel", "timeout"})
    return {**told, "key": key, "loopback": is_loopback(urlsplit(said.url).netloc)}


def _files_of(match: Path) -> list[Path]:
    """A file, or every file of a folder that could be released."""
    if match.is_file():
        return [match]
    inside = [match / name for name in list_files(match)]
    return [path for path in inside if not set(path.relative_to(match).parts) & set(_NEVER_RELEASED)]
