"""Abnormal inputs, each in a process of its own making: a crash or a hang is one failed case, not the end of the step."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gradatim.evidence.found import Check
from gradatim.gates.verdict import Verdict
from gradatim.timing.child import Child, ended_with, free_memory, resident
from gradatim.timing.contestant import Contestant, save_inputs

Arrays = Mapping[str, NDArray[Any]]

SECONDS = 30.0
"""How long one case may take. Big cases are cut beforehand to what should take about a second."""

_GROUP = "abnormal"
_GLANCE = 0.05
_STARTING = 120.0


def abnormal_checks(
    contestant: Contestant,
    example: Arrays,
    *,
    strict: bool = False,
    seconds: float = SECONDS,
    memory: int | None = None,
    known: Collection[str] = (),
) -> list[Check]:
    """Call a model with inputs that are not normal: empty, NaN, enormous, of the wrong shape or dtype.

    A case fails when the process dies, hangs or takes up the machine's memory; when ordinary values in an unusual
    form (one row, zeros, gaps in memory) give an error or NaN; when input that must be refused gives NaN; and when the
    model no longer answers as before afterwards. NaN or infinity out of NaN, infinity or the largest floats passes with
    a remark, for that is what plain arithmetic does; so does input that the format has no means to refuse. With
    ``strict`` both fail.

    Args:
        contestant: the model and how to open it.
        example: some ordinary rows, as the model itself takes them (see ``direct.direct_inputs``).
        strict: take "a finite output or a clear error" by the letter.
        seconds: how long one case may take.
        memory: bytes that the process may use; None is four fifths of what is free.
        known: cases that the model is known to fail; they pass, and say so.

    Raises:
        EnvironmentLacks: the temporary folder cannot be written.
    """
    limit = memory or free_memory()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="gradatim-") as scratch:
        inputs = save_inputs(Path(scratch) / "inputs.npz", example)
        while True:
            with Child("gradatim.checks.abnormal_worker", Path(scratch), contestant.threads) as child:
                with contextlib.suppress(BrokenPipeError):
                    child.tell({**contestant.spec(inputs), "skip": len(checks)})
                ended = _collect(child, checks, strict, seconds, limit)
            if ended:
                return [_accepted(check) if check.name in known else check for check in checks]


class _Stopped(Exception):
    """The worker says no more; why, in words."""


def _line(child: Child, seconds: float, memory: int) -> dict[str, Any]:
    """The next thing that the worker says.

    Raises:
        _Stopped: it died, said nothing for so long, or holds more than so many bytes.
    """
    deadline = time.monotonic() + seconds
    try:
        while (line := child.line(_GLANCE)) is None:
            if time.monotonic() > deadline:
                raise _Stopped(f"The model gave no answer for {seconds:g} s and was ended.")
            if resident(child.pid) > memory:
                raise _Stopped(
                    f"The model took more than {memory / (1 << 30):.1f} GiB of memory and was ended."
                )
    except EOFError:
        raise _Stopped(_last_words(child)) from None
    return dict(json.loads(line))


def _last_words(child: Child) -> str:
    code = child.exit_code()
    if code is None:
        return "The process closed its output and went on running."
    hint = ", most likely for lack of memory" if code == -signal.SIGKILL else ""
    words = child.last_words()[:200].rstrip(".")
    last = f" Its last words: {words}." if words else ""
    return f"The model crashed the process ({ended_with(code).removeprefix('signal ')}{hint}).{last}"


def _collect(child: Child, checks: list[Check], strict: bool, seconds: float, memory: int) -> bool:
    """Turn what a worker says into checks; gives whether there is nothing left to ask."""
    try:
        opened = _line(child, _STARTING, memory)
    except _Stopped as stopped:
        checks.append(
            Check(
                _GROUP, "opening", Verdict.FAIL, f"The model cannot be opened in a fresh process. {stopped}"
            )
        )
        return True
    if "error" in opened:
        checks.append(Check(_GROUP, "opening", Verdict.FAIL, opened["error"]))
        return True
    while True:
        case = _line(child, _STARTING, memory)
        if "end" in case:
            return True
        began = time.perf_counter()
        try:
            found = _line(child, seconds, memory)
        except _Stopped as stopped:
            took = time.perf_counter() - began
            checks.append(
                Check(_GROUP, case["case"], Verdict.FAIL, f"{stopped} Wanted: {case['expectation']}.", took)
            )
            return False
        verdict, detail = _judge(case["expectation"], found, strict)
        checks.append(Check(_GROUP, case["case"], verdict, detail, time.perf_counter() - began))
        if "after" in found:
            return False


def _judge(expectation: str, found: Mapping[str, Any], strict: bool) -> tuple[Verdict, str]:
    lenient = Verdict.FAIL if strict else Verdict.PASS
    if "after" in found:
        return (
            Verdict.FAIL,
            f"After this input the model no longer answers ordinary rows as before: {found['after']}.",
        )
    if "raised" in found:
        return Verdict.FAIL, f"Neither an answer nor a clear error, but {found['raised']}"
    if "refused" in found:
        if expectation == "finite output":
            return Verdict.FAIL, f"An ordinary input in an unusual form was refused: {found['refused']}"
        return Verdict.PASS, f"refused: {found['refused']}"
    if names := found["nonfinite"]:
        told = f"NaN or infinity came out in {', '.join(f'`{name}`' for name in names)}, without an error"
        if expectation == "finite output or a clear error":
            return lenient, told
        return Verdict.FAIL, f"{told}; wanted: {expectation}"
    if expectation == "clear error":
        return lenient, "accepted without an error, with a finite answer"
    return Verdict.PASS, "finite output"


def _accepted(check: Check) -> Check:
    if check.verdict is Verdict.PASS:
        return check
    return replace(check, verdict=Verdict.PASS, detail=f"a known failure, says the contract. {check.detail}")
