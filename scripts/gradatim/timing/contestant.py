"""A model that takes part in a timing, and the fresh process that runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.signature import Inspection, Signature

if TYPE_CHECKING:
    from gradatim.models import Predictor


_TOLD = (
    "path",
    "root",
    "project",
    "format",
    "adapter",
    "factory",
    "command",
    "endpoint",
    "signature",
    "device",
    "threads",
    "allow_pickle",
    "autocast",
)


@dataclass(frozen=True)
class Contestant:
    """A model to be timed, named as a variant is named: ``baseline``, ``fp32``, ``int8-static``.

    Attributes:
        path, root, project, format, adapter, factory, command, endpoint, signature, device, threads, allow_pickle, autocast: as
            for ``models.open_model``;
            a relative path is relative to ``root``.
        cuda_graphs: whether calls are replayed as graphs of CUDA.
        constants, carries, tokenizer: as for ``models.ready``.
        inputs: its own batch, where the model's inputs differ from those of the other contestants.
    """

    name: str
    path: Path
    root: Path
    project: Path | None = None
    format: str | None = None
    adapter: Path | None = None
    factory: str | None = None
    command: Sequence[str] = ()
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    signature: Signature | None = None
    device: str = "cpu"
    threads: int = 1
    allow_pickle: bool = False
    autocast: str | None = None
    cuda_graphs: bool = False
    constants: Mapping[str, Any] = field(default_factory=dict)
    carries: Mapping[str, str] = field(default_factory=dict)
    tokenizer: Mapping[str, Any] | None = None
    inputs: Path | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether another process than the worker holds the model: a server, or a program of the user's own."""
        return bool(self.endpoint or self.command)

    @property
    def opening(self) -> dict[str, Any]:
        """How it is opened, as ``described`` tells it."""
        return described(**{name: getattr(self, name) for name in _TOLD})

    def spec(self, inputs: Path) -> dict[str, Any]:
        """What the worker must know, as JSON values."""
        return {
            "name": self.name,
            **self.opening,
            "constants": {name: np.asarray(value).tolist() for name, value in self.constants.items()},
            "carries": dict(self.carries),
            "tokenizer": None if self.tokenizer is None else dict(self.tokenizer),
            "inputs": str((self.inputs or inputs).absolute()),
            "cuda_graphs": self.cuda_graphs,
        }


@dataclass(frozen=True)
class Opened:
    """What a worker tells once its model is loaded.

    Attributes:
        seconds: from the request to open the model until it stood ready.
        items: size of the first axis of the batch; 1 when the inputs have no common first axis.
        clock: ``perf_counter`` or ``cuda_events``.
        start: processor seconds before, most of them for the import of the runtime.
    """

    seconds: float
    items: int
    clock: str
    pid: int
    start: float


class Worker:
    """A fresh process that holds one contestant and computes only when asked.

    Use as a context manager; leaving it ends the process, however it is doing.

    Args:
        contestant: whom to load.
        inputs: the .npz of one real batch.
        scratch: a folder for the process's log; also its working folder until it has imported its modules, so
            that no file of the user's can shadow a module.
        timeout: seconds to wait for any one answer.
        stays: whether it imports the runtime and leaves each round to a fork of itself, so that ``begin`` may be called again.
        traced: how the names of files begin in which ONNX Runtime writes what each operator takes; empty for none.
        under: as for ``Child``.
    """

    def __init__(
        self,
        contestant: Contestant,
        inputs: Path,
        scratch: Path,
        timeout: float = 300,
        *,
        stays: bool = False,
        traced: str = "",
        under: Sequence[str] = (),
    ) -> None:
        self.contestant = contestant
        self.stays, self.start = stays, 0.0
        from gradatim.timing.child import (
            Child,
        )  # here: the process itself reads this module, and starts no other

        self.timeout = timeout
        self._child = Child(
            "gradatim.timing.worker", scratch, contestant.threads, under, OMP_WAIT_POLICY="PASSIVE"
        )
        parent = None if under else os.getpid()  # else that program is
        self._spec = {**contestant.spec(inputs), "parent": parent, "stays": stays, "traced": traced}
        self.begin()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end()

    @property
    def pid(self) -> int:
        return self._child.pid

    def begin(self) -> None:
        """Let it open the model, again where it stays."""
        self._tell(self._spec)

    def end(self) -> None:
        """End the process, however it is doing."""
        self._child.end()

    def opened(self) -> Opened:
        """Wait until the model is loaded.

        Raises:
            InvalidInput: the model or the batch is broken, or the process died or never answered.
            EnvironmentLacks: a package or a device is missing.
        """
        answer = self._answer()
        with self._in_our_language():
            opened = Opened(**answer)
        self.start = opened.start
        return opened

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have the worker do one thing and wait for its answer; raises as ``opened`` does."""
        self._tell({"do": do, **arguments})
        return self._answer()

    def stop(self, grace: float = 2) -> dict[str, Any]:
        """Ask for the closing report (peak memory) and let the process go, within so many seconds."""
        report = self.ask("stop")
        if not self.stays:
            self._child.end(grace)
        return report

    def _tell(self, message: Mapping[str, Any]) -> None:
        try:
            self._child.tell(message)
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._child.line(self.timeout)
            while line and not line.startswith(
                b"{"
            ):  # a program that it runs under says something of its own
                line = self._child.line(self.timeout)
        except EOFError:
            raise self._died() from None
        if line is None:
            self._child.end()
            raise InvalidInput(
                f"{self._who} gave no answer for {self.timeout:g} s and was ended. "
                "Time it with a smaller batch, or see whether it waits for something."
            )
        with self._in_our_language():
            message = dict(json.loads(line))
            if "error" in message:
                refusal = KINDS[message["error"]](f"{self._who} could not be timed. {message['text']}")
        if "error" in message:
            raise refusal
        return message

    @contextlib.contextmanager
    def _in_our_language(self) -> Iterator[None]:
        """The user's code may share the process, and say anything in its place."""
        try:
            yield
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._child.end()
            raise InvalidInput(
                f"{self._who} could not be timed: its process said what no timer says: {error!r}."
            ) from None

    def _died(self) -> InvalidInput:
        from gradatim.timing.child import ended_with

        code = self._child.exit_code()
        how = ended_with(-signal.SIGKILL if code is None else code)
        hint = " The system ended it: most likely it ran out of memory." if how == "signal SIGKILL" else ""
        words = self._child.last_words()
        last = f" Its last words: {words}" if words else ""
        return InvalidInput(f"{self._who} could not be timed: its process ended with {how}.{hint}{last}")

    @property
    def _who(self) -> str:
        return f"The model `{self.contestant.name}` ({self.contestant.path})"


def open_contestant(spec: Mapping[str, Any]) -> Predictor:
    """Load what ``Contestant.spec`` told of; raises as ``models.open_model`` and ``models.ready`` do."""
    from gradatim.models import ready

    around = {key: spec[key] for key in ("constants", "carries", "tokenizer")}
    predictor = open_described(spec)
    if spec["cuda_graphs"]:
        from gradatim.models.cuda_graphs import replay_calls

        replay_calls(predictor)
    return ready(predictor, Path(spec["path"]), **around)


def described(
    *,
    path: Path,
    root: Path,
    project: Path | None,
    signature: Signature | None,
    adapter: Path | None = None,
    files: Sequence[Path] = (),
    autocast: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """What ``models.open_model`` is told of a model, as JSON values."""
    return {
        "path": str(path),
        "root": str(root.absolute()),
        "project": str(project) if project else None,
        "signature": asdict(signature) if signature else None,
        "adapter": str(adapter) if adapter else None,
        "files": [str(file) for file in files],
        "autocast": autocast,
        **others,
    }


def open_described(record: Mapping[str, Any]) -> Predictor:
    """Open what ``described`` told of; raises as ``models.open_model`` does."""
    from gradatim.models import open_model

    return open_model(Path(record["path"]), **_means(record))


def inspect_described(record: Mapping[str, Any]) -> Inspection:
    """Look over what ``described`` told of; raises as ``models.inspect_model`` does."""
    from gradatim.models import inspect_model

    return inspect_model(Path(record["path"]), **_means(record))


def _means(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "root": Path(record["root"]),
        "project": Path(record["project"]) if record["project"] else None,
        "files": tuple(map(Path, record["files"])),
        "adapter": Path(record["adapter"]) if record["adapter"] else None,
        "signature": Signature.from_json(record["signature"]) if record["signature"] else None,
        **{
            name: record[name]
            for name in (
                "format",
                "factory",
                "command",
                "endpoint",
                "device",
                "threads",
                "allow_pickle",
                "autocast",
            )
        },
    }


def save_inputs(path: Path, inputs: Mapping[str, NDArray[Any]]) -> Path:
    """Write one batch as the .npz that a worker reads; texts become numpy's own strings, never pickles.

    Raises:
        InvalidInput: the batch is empty, or an array holds Python objects other than text.
    """
    if not inputs:
        raise InvalidInput("There is no batch to time the model with: the inputs are empty.")
    plain = {}
    for name, array in inputs.items():
        array = np.asarray(array)
        if array.dtype == object:
            if not all(isinstance(value, str) for value in array.flat):
                raise InvalidInput(f"The input {name} of the batch to time holds objects that are not text.")
            array = array.astype(np.str_)
        plain[name] = array
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **plain)
    return path


def load_inputs(path: Path) -> dict[str, NDArray[Any]]:
    """Read what ``save_inputs`` wrote.

    Raises:
        InvalidInput: the file is missing or broken.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(f"The batch {path} is not a readable .npz: {error}") from error


KINDS: dict[str, type[GradatimError]] = {
    kind.__name__: kind for kind in (InvalidInput, EnvironmentLacks, UsageError)
}
