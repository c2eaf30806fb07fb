"""A model held by a process of its own: called over a pipe, within limits, and named when it ends that process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from gradatim.errors import GradatimError, InvalidInput
from gradatim.models import UnreleasedFile
from gradatim.models.predictor import ModelEnded
from gradatim.signature import Inspection, Signature
from gradatim.timing.arrays import packed, unpacked
from gradatim.timing.child import Child, ended_with
from gradatim.timing.contestant import KINDS, described

Arrays = Mapping[str, NDArray[Any]]

_LIMITS = "Or allow more by `model.limits`, for example `limits: {call: 30 min, all: 24 h}`."


@dataclass(frozen=True)
class CallLimits:
    """What a model may take: seconds to open it or for one call of it, and seconds for all that is asked of it."""

    call: float
    all: float


class HeldModel:
    """A Predictor whose model lives in a process of its own, which is ended when the model passes its limits.

    Once the process has ended, every further call is refused with the same words.

    Args:
        limits: how long one call, and all of them, may take.
        means: as for ``models.open_model``, the path among them.

    Raises:
        InvalidInput: the model is broken, or ended its process, or was not open in time.
        EnvironmentLacks: a package or a device is missing.
        UsageError: an unknown format or device.
    """

    def __init__(self, limits: CallLimits, **means: Any) -> None:
        self._limits, self._means = limits, means
        self._name = _called(means)
        self._spent = 0.0
        self._ended: ModelEnded | None = None
        self._process, told = self._open()
        self.signature = Signature.from_json(told["signature"])
        self.device: str = means["device"]
        self.threads: int = told["threads"]

    def __call__(self, inputs: Arrays, /) -> dict[str, NDArray[Any]]:
        return self._timed(inputs, lambda seconds: self._process.call(inputs, seconds))

    def _timed(
        self, inputs: Arrays, call: Callable[[float], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """What a call within so many seconds gives; the model has ended for good where it takes longer or breaks off."""
        if self._ended is not None:
            raise self._ended
        began = time.monotonic()
        left = self._limits.all - self._spent
        try:
            return call(min(self._limits.call, left))
        except _Stopped as stopped:
            if stopped.late and left < self._limits.call:
                said = f"`{self._name}` took longer than {self._limits.all:g} s in all and was ended"
                self._ended = ModelEnded(said, f"Give it fewer rows. {_LIMITS}")
            else:
                self._ended = self._blame(inputs, stopped)
            raise self._ended from None
        finally:
            self._spent += time.monotonic() - began

    def tokens(
        self, text: NDArray[Any], wanted: Sequence[str], folder: Path, settings: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        """Texts as tokens, by the model's own process; as ``models.tokenizer.TextTokens``, and ends as a call does."""
        asked = {
            "do": "tokens",
            "wanted": list(wanted),
            "folder": str(folder.absolute()),
            "settings": dict(settings),
        }
        return self._timed({"text": text}, lambda seconds: self._process.call({"text": text}, seconds, asked))

    def close(self) -> None:
        """Free the model; its process holds the next one, unless code of the user's ran in it."""
        if self._ended is None:
            self._process.leave(reusable=self._means["factory"] is None and not self._means["allow_pickle"])

    def __enter__(self) -> HeldModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> tuple[_Process, dict[str, Any]]:
        return _asked(self._limits, "open", self._means)

    def _blame(self, inputs: Arrays, stopped: _Stopped) -> ModelEnded:
        """Who did it: the model, and the item of its call that does it alone, found in a fresh process."""
        items = {len(array) for array in inputs.values() if array.ndim}
        several = items.pop() if len(items) == 1 else 0
        row = 0 if several == 1 else self._alone(inputs, several)
        if stopped.late:
            said = f"`{self._name}` gave no answer for {self._limits.call:g} s and was ended"
            return ModelEnded(said, f"Try that row by itself: it may loop or wait. {_LIMITS}", row, several)
        said = f"`{self._name}` ended its process ({stopped.how})"
        advice = f"{stopped.words.strip()} Try that row by itself, another version of the model's runtime, or take the row out of the data.".strip()
        return ModelEnded(said, advice, row, several)

    def _alone(self, inputs: Arrays, several: int) -> int | None:
        """The first item that ends the process by itself, in about the time of one call; None where none does."""
        share = max(self._limits.call / max(several, 1), min(1.0, self._limits.call))
        deadline = time.monotonic() + self._limits.call
        process = None
        try:
            process, _ = self._open()
            for item in range(several):
                one = {n: a[item : item + 1] if a.ndim else a for n, a in inputs.items()}
                try:
                    process.call(one, share)
                except _Stopped:
                    return item
                if time.monotonic() > deadline + share:
                    return None
        except InvalidInput:
            pass  # it takes no single item, or does not open again
        finally:
            if process is not None:
                process.end()
        return None


def inspect_held(limits: CallLimits, **means: Any) -> Inspection:
    """``models.inspect_model`` in a process of its own, for what is loaded to be looked at; raises as ``HeldModel`` does."""
    process, record = _asked(limits, "inspect", means)
    process.end()
    signature = Signature.from_json(record["signature"]) if record["signature"] else None
    listed = {name: tuple(record[name]) for name in ("pickles", "external_data", "nonfinite")}
    return Inspection(**{**record, **listed, "signature": signature})


def _asked(limits: CallLimits, do: str, means: Mapping[str, Any]) -> tuple[_Process, dict[str, Any]]:
    """A process that was given a model to open, and what it said."""
    name = _called(means)
    process = _idle.pop() if _idle and means["factory"] is None else _Process(means["threads"])
    seconds = min(limits.call, limits.all)
    try:
        return process, process.ask({"do": do, "model": described(**means)}, seconds)
    except _Stopped as stopped:
        if stopped.late:
            said = (
                f"`{name}` was not open after {seconds:g} s and was ended: see what it waits for. {_LIMITS}"
            )
        else:
            said = (
                f"`{name}` ended its process ({stopped.how}) while it was opened.{stopped.words} See what in its file or "
                "its code the runtime cannot bear."
            )
        raise InvalidInput(said) from None
    except GradatimError:
        process.end()
        raise


def _called(means: Mapping[str, Any]) -> str:
    """A model's name in messages."""
    return str(means["factory"] or means.get("endpoint", {}).get("url") or Path(means["path"]).name)


class _Stopped(Exception):
    """The process says no more.

    Attributes:
        late: it was ended because it took too long.
        how: how it ended, in words.
        words: its last ones, as a sentence with a space before it; empty where it had none.
    """

    def __init__(self, *, late: bool = False, how: str = "", words: str = "") -> None:
        super().__init__(how)
        self.late, self.how, self.words = late, how, words


class _Process:
    """A fresh process that opens models, one at a time."""

    def __init__(self, threads: int) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="gradatim-")
        self._child = Child("gradatim.timing.model_worker", Path(self._scratch.name), threads)
        self._tell({"parent": os.getpid()})

    def ask(self, message: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Have it do one thing and wait for the answer.

        Raises:
            GradatimError: what it says is wrong.
            _Stopped: it ended, or was ended after so many seconds.
        """
        self._tell(message)
        return self._heard(time.monotonic() + seconds)

    def call(
        self, inputs: Arrays, seconds: float, asked: Mapping[str, Any] = MappingProxyType({"do": "call"})
    ) -> dict[str, NDArray[Any]]:
        """Call the model that is open, or have something else made of arrays; raises as ``ask`` does."""
        deadline = time.monotonic() + seconds
        told, pieces = packed(inputs, trusted=True)
        self._tell({**asked, "arrays": told}, pieces)
        message = self._heard(deadline)

        def fill(view: memoryview) -> None:
            self._within(deadline, lambda left: self._child.fill(view, left))

        with self._in_our_language():
            return unpacked(message["arrays"], fill, trusted=False)

    def leave(self, *, reusable: bool) -> None:
        """Close the model; keep the process for the next one, or end it."""
        try:
            if reusable and not _idle:
                self.ask({"do": "close"}, 5)
                _idle.append(self)
                return
        except (_Stopped, GradatimError):
            pass
        self.end()

    def end(self) -> None:
        self._child.end()
        self._scratch.cleanup()

    def _tell(self, message: Mapping[str, Any], pieces: Any = ()) -> None:
        try:
            self._child.tell(message, pieces)
        except (BrokenPipeError, ValueError):
            raise self._died() from None

    def _heard(self, deadline: float) -> dict[str, Any]:
        line = self._within(deadline, self._child.line)
        with self._in_our_language():
            message: dict[str, Any] = json.loads(line)
            refusal = _refusal(message) if "error" in message else None
        if refusal is not None:
            raise refusal
        return message

    @contextlib.contextmanager
    def _in_our_language(self) -> Iterator[None]:
        """The user's code shares the process, and may say anything in its place."""
        try:
            yield
        except (ValueError, TypeError, KeyError, MemoryError, RecursionError) as error:
            self.end()
            raise InvalidInput(f"The process of a model said what no model says: {error!r}.") from None

    def _within(self, deadline: float, hear: Callable[[float], Any]) -> Any:
        try:
            found = hear(max(0.0, deadline - time.monotonic()))
        except EOFError:
            raise self._died() from None
        if found is None:
            self.end()
            raise _Stopped(late=True)
        return found

    def _died(self) -> _Stopped:
        code = self._child.exit_code()
        how = ended_with(-signal.SIGKILL if code is None else code).removeprefix("signal ")
        how += ", most likely for lack of memory" if how == "SIGKILL" else ""
        words = self._child.last_words().rstrip(".")
        self.end()
        return _Stopped(how=how, words=f" Its last words: {words}." if words else "")


def _refusal(message: Mapping[str, Any]) -> GradatimError:
    """What was raised in the process of the model, as it was there."""
    text, file = str(message["text"]), message.get("file")
    return UnreleasedFile(text, str(file)) if file else KINDS[message["error"]](text)


_idle: list[_Process] = []
"""At most one process that held a model without any code of the user's: the next one needs no start and no imports."""


def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


atexit.register(_end_idle)
