"""The rows of a step, shared out among this machine's processors as CI jobs share them: one process a part, then one merge."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from gradatim.candidate.sharding import forget
from gradatim.errors import GradatimError
from gradatim.pipeline.module import SharedStep, step_module
from gradatim.pipeline.walk import ourselves
from gradatim.progress import about, read_event
from gradatim.shard import MOST, Shard, shards

if TYPE_CHECKING:
    from gradatim.candidate.candidate import Candidate

_ANSWERS = 2000
"""Fewer are asked for sooner than it takes to find out how long each takes."""

_SECONDS = 8.0
"""What a part must have to do, at least, to be worth the start of a process and of its models."""

_MARK = "here"


def share_out(candidate: Candidate, step: str) -> bool:
    """Let other processes do the rows of a step, where that is worth it, for the step itself to merge.

    Says before how long it will take; whether it could is returned. What a process cannot do is left to the step, which says what is wrong. Parts that an
    ended run of this kind left are dropped; those of CI jobs are theirs.
    """
    mark = candidate.workspace.shards_folder(step).with_suffix(f".{_MARK}")
    if mark.exists():
        forget(candidate, step)
        mark.unlink()
    if candidate.workspace.shards_folder(step).exists() or not candidate.contract.parts.can_share(step):
        return False
    on_ray = candidate.contract.parts.engine == "ray"
    if on_ray:
        of = candidate.contract.parts.shards
        note = f"{of} parts on Ray"
    else:
        seconds = _expected(candidate, step)
        if seconds is None:
            return False
        of = max(1, min(_processes(candidate), MOST, int(seconds // _SECONDS)))
        note = about(seconds / of) + (f" in {of} processes" if of > 1 else "")
    with candidate.progress.task(step, None) as advance:
        advance(0, note)
        if of == 1 and not on_ray:
            return True
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        whole = False
        try:
            if on_ray:
                path = candidate.contract.path.resolve().relative_to(candidate.top.resolve())
                command = [step, "--contract", str(path), *_stage(candidate)]
                from gradatim.pipeline.ray_cluster import run_on_ray

                whole = run_on_ray(candidate, step, shards(of), command, lambda rows: advance(rows, note))
            else:
                whole = _run(candidate, step, shards(of), lambda rows: advance(rows, note))
        finally:
            if not whole:
                forget(candidate, step)
                mark.unlink(missing_ok=True)
    return True


def merged(candidate: Candidate, step: str) -> None:
    """Say that the parts are merged and gone."""
    candidate.workspace.shards_folder(step).with_suffix(f".{_MARK}").unlink(missing_ok=True)


def _processes(candidate: Candidate) -> int:
    """As many as the processors bear at the model's own threads; one where it runs on a GPU."""
    model = candidate.machine.parts.model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if model.device != "cpu" else cores // model.threads


def _expected(candidate: Candidate, step: str) -> float | None:
    """Seconds that a step's answers take one after the other, by those to one batch; None where they are few or fail."""
    try:
        answers = cast("SharedStep", step_module(step)).answers(candidate)
        if answers < _ANSWERS:
            return None
        with candidate.model.open(candidate.forms.original.path) as predictor:
            rows = candidate.rows.dataset("evaluation", predictor.signature).head(
                candidate.contract.parts.data.batch
            )
            predictor(rows.inputs)
            began = time.monotonic()
            predictor(rows.inputs)
            return (time.monotonic() - began) / len(rows) * answers
    except GradatimError:
        return None


def _run(candidate: Candidate, step: str, parts: Sequence[Shard], advance: Callable[[int], None]) -> bool:
    """Do all parts; whether each came to its end."""
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_child(candidate, step, part)) for part in parts]
        done = [0] * len(parts)
        readers = [
            threading.Thread(target=_follow, args=(child, done, place), daemon=True)
            for place, child in enumerate(children)
        ]
        for reader in readers:
            reader.start()
        told = 0
        while any(reader.is_alive() for reader in readers):
            time.sleep(0.2)
            now = sum(done)
            advance(now - told)
            told = now
        return all(child.wait() == 0 for child in children)


@contextlib.contextmanager
def _child(candidate: Candidate, step: str, part: Shard) -> Iterator[subprocess.Popen[str]]:
    contract = str(candidate.contract.path)
    process = subprocess.Popen(
        ourselves(step, "--shard", str(part), "--json", "--contract", contract, *_stage(candidate)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "GRADATIM_PROGRESS": "events"},
        start_new_session=True,  # Ctrl-C reaches us; we end it
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _stage(candidate: Candidate) -> list[str]:
    return ["--stage", candidate.wanted_stage] if candidate.wanted_stage else []


def _follow(child: subprocess.Popen[str], done: list[int], place: int) -> None:
    for line in child.stderr or ():
        event = read_event(line)
        if event is not None:
            done[place] = event.done
