"""The process that holds one contestant: ``python -m gradatim.timing.worker``.

It reads JSON lines on stdin, first the contestant, then commands, and answers each with one JSON line on
stdout. Whatever the model itself prints goes to stderr. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import EnvironmentLacks, GradatimError, InvalidInput, UsageError
from gradatim.models.predictor import Predictor
from gradatim.timing.contestant import load_inputs, open_contestant

if TYPE_CHECKING:
    from gradatim.timing.blocks import Call, Clock

_PR_SET_PDEATHSIG = 1


def main() -> int:
    answers = claim_stdout()
    while True:
        try:
            spec = json.loads(_line())
        except ValueError:
            sys.stderr.write(
                "This process is started by gradatim's benchmark; it is no command for people.\n"
            )
            return UsageError.exit_code
        die_with(spec["parent"])
        if not spec["stays"]:
            return _round(spec, answers)
        _import_runtime(spec)
        child = os.fork()
        if not child:
            die_with(os.getppid())
            os._exit(_round(spec, answers))
        _, status = os.waitpid(child, 0)
        if status:
            return _end_like(os.waitstatus_to_exitcode(status))


def _line() -> bytes:
    """The next line of stdin and nothing behind it, which is for a fork to read; the end of stdin ends the process."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(0)
        line += byte
    return line


def _end_like(code: int) -> int:
    """End as the fork did, so that whoever waits sees how."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    return code


def _round(spec: dict[str, Any], answers: int) -> int:
    """Serve one round; gives the exit code."""
    try:
        _serve(spec, lambda message: _say(answers, message))
    except GradatimError as error:
        name = next(
            (k.__name__ for k in (EnvironmentLacks, UsageError) if isinstance(error, k)), "InvalidInput"
        )
        _say(answers, {"error": name, "text": str(error)})
        return error.exit_code
    except MemoryError:
        _say(
            answers, {"error": "EnvironmentLacks", "text": "It needs more memory than this machine has left."}
        )
        return EnvironmentLacks.exit_code
    except Exception as error:
        # A model is foreign code: whatever it raises is its fault, and is told in a sentence.
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else "no message"
        _say(answers, {"error": "InvalidInput", "text": f"It raised {type(error).__name__}: {first}"})
        return InvalidInput.exit_code
    return 0


def _taken(predictor: Predictor, inputs: dict[str, Any]) -> dict[str, Any]:
    """What this contestant takes of a batch that may hold inputs of the others, too: text where it can read it."""
    text = predictor.signature.text
    if text is not None and text.name in inputs:
        return {text.name: inputs[text.name]}
    known = {spec.name: spec for spec in predictor.signature.inputs}
    needed = {name for name, spec in known.items() if not spec.optional}
    taken = {name: values for name, values in inputs.items() if name in known}
    return taken if needed <= taken.keys() and taken else inputs


def _items(inputs: dict[str, Any]) -> int:
    """The size of the first axis; 1 where the inputs have none in common."""
    sizes = {array.shape[0] for array in inputs.values() if array.ndim}
    return sizes.pop() if len(sizes) == 1 else 1


def _serve(spec: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    from gradatim.models.streaming import ask
    from gradatim.timing.blocks import BlockPlan, run_block, warm_up

    before, start, started = _prepare(spec), time.process_time(), time.perf_counter()
    if spec["traced"]:
        from gradatim.models.onnx_runtime import TRACED

        TRACED.set(spec["traced"])
    predictor = open_contestant(spec)
    inputs = _taken(predictor, load_inputs(Path(spec["inputs"])))
    clock, clock_name = _clock(spec["device"])

    def call() -> object:
        return predictor(inputs)

    opening = time.perf_counter() - started
    about = {"seconds": opening, "clock": clock_name, "pid": os.getpid(), "start": start}
    say({**about, "items": _items(inputs)})
    gc.freeze()
    queries: Sequence[Callable[[], object]] = ()
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "take":
            inputs = _taken(predictor, load_inputs(Path(command["inputs"])))
            say({"items": _items(inputs)})
        elif do == "warm":
            began = time.perf_counter()
            call()
            first = time.perf_counter() - began
            say({"first": first, "seconds": warm_up(call, **command)})
        elif do == "block":
            say({"seconds": run_block(call, BlockPlan(**command), clock)})
        elif do == "ask":
            say(asdict(ask(predictor, **command)))
        elif do == "profile":
            from gradatim.timing.profile import profile, profile_sessions

            trace = Path(command["trace"])
            traced = profile_sessions(call, predictor.close, spec["traced"], trace)
            say({"operators": traced or profile(call, spec["device"], trace), "sessions": bool(traced)})
        elif do == "repeat":
            say({"calls": _repeat(call, **command)})
        elif do == "load":
            from gradatim.timing.loadgen import LoadPlan, drive
            from gradatim.timing.queries import LoadQuery, queries_of

            queries = queries or queries_of(predictor, inputs, LoadQuery(**command["asked"]))
            plan = command["plan"]
            say(asdict(drive(queries, LoadPlan(**plan), Path(command["folder"]))) if plan else {})
        elif do == "stop":
            say({"memory": max(0, _peak_memory() - before)})
            predictor.close()
            return
        else:
            raise UsageError(f"A worker was asked to {do!r}, which it cannot.")


def _prepare(spec: dict[str, Any]) -> int:
    """Import the runtime, enter the project's folder; gives the resident bytes before the model is opened."""
    _import_runtime(spec)
    os.chdir(spec["root"])
    if spec["stays"]:
        _touch_libraries()
    _scatter()
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    return _resident_memory()


def _import_runtime(spec: dict[str, Any]) -> None:
    import importlib

    from gradatim.models import detect_format, runtime_of

    with contextlib.suppress(GradatimError, ImportError):  # what is missing is told when the model is opened
        for module in runtime_of(spec["format"] or detect_format(Path(spec["root"], spec["path"]))):
            importlib.import_module(module)


def _touch_libraries() -> None:
    """Map what the libraries hold: a fork maps it when it first uses it, and then it would count for the model's memory."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        advise = ctypes.CDLL(None).madvise
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, _, _, _, inode, *_ = line.split()
            if inode != "0":
                first, end = (int(number, 16) for number in place.split("-"))
                advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _MADV_POPULATE_READ)


def _scatter() -> None:
    """Leave holes in the heap, drawn anew in each process.

    Whether a model's weights fall into a hole that is there already or into new memory hangs on trifles such as the length of
    its path: of two equal models one always seemed larger, by up to 4 %. Over rounds with heaps of their own that evens out [1]_.

    .. [1] Curtsinger, Berger (2013), "Stabilizer: statistically sound performance evaluation", ASPLOS.
    """
    draw = random.Random()  # noqa: S311 (a layout, not a secret)
    _KEPT.extend([bytes(draw.randrange(1 << 9, 1 << 14)) for _ in range(64)][::2])


def _clock(device: str) -> tuple[Clock, str]:
    """CUDA events where PyTorch runs the model on a GPU, else the monotonic clock.

    A predictor gives numpy arrays, so its call returns only after the copy back to the host: the monotonic
        clock
    is right on a GPU too where no events can be had (ONNX Runtime on its own stream).
    """
    from gradatim.timing.blocks import wall_clock

    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None or not torch.cuda.is_available():
        return wall_clock, "perf_counter"

    def events(call: Call, times: int) -> list[float]:
        seconds = []
        for _ in range(times):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            start.record()
            call()
            end.record()
            torch.cuda.synchronize(device)
            seconds.append(float(start.elapsed_time(end)) * 1e-3)
        return seconds

    return events, "cuda_events"


def _repeat(call: Call, seconds: float) -> int:
    """How many calls were made back to back in so many seconds, at least one; nothing is kept of them."""
    calls, end = 0, time.perf_counter() + seconds
    while not calls or time.perf_counter() < end:
        call()
        calls += 1
    return calls


def claim_stdout() -> int:
    """Keep stdout for answers; what anyone else prints goes to stderr."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _say(descriptor: int, message: dict[str, Any]) -> None:
    data = memoryview(json.dumps(message).encode() + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]


def die_with(parent: int | None) -> None:
    """End when the parent ends, even in the middle of a call; without Linux the end of stdin must do.

    Args:
        parent: who it is; None where nobody knows.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it was gone before we asked
        os._exit(1)


def _resident_memory() -> int:
    return _status("VmRSS") or _highest_use()


def _peak_memory() -> int:
    return _status("VmHWM") or _highest_use()


def _status(key: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _highest_use() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


_MADV_POPULATE_READ = 22
_KEPT: list[bytes] = []

if __name__ == "__main__":
    sys.exit(main())
