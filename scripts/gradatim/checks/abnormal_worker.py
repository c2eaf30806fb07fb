"""The process that calls one model with abnormal inputs: ``python -m gradatim.checks.abnormal_worker``.

It reads one JSON line on stdin, the model, and answers in JSON lines on stdout: that the model is open, then for each
case first its name and then what came of it. Whatever the model itself prints goes to stderr. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import GradatimError
from gradatim.timing.contestant import load_inputs, open_contestant

if TYPE_CHECKING:
    from gradatim.checks.abnormal_inputs import AbnormalCase
    from gradatim.models import Predictor

_BIG_SECONDS = 1.0
"""What a big case may be expected to take; more rows than that are cut off."""


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the model prints must not be taken for an answer
    try:
        spec = json.loads(sys.stdin.readline())
    except ValueError:
        sys.stderr.write("This process is started by `gradatim test`; it is no command for people.\n")
        return 2
    _be_expendable()

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        predictor = open_contestant(spec)
        os.chdir(spec["root"])
        _serve(predictor, load_inputs(Path(spec["inputs"])), spec["skip"], say)
    except GradatimError as error:
        say({"error": str(error)})
        return error.exit_code
    return 0


def _be_expendable() -> None:
    """Leave no core file, be the first to go when memory runs out, and end when the parent does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")

    def end_with_parent() -> None:
        os.read(0, 1)  # nothing more is ever said: this returns when the parent is gone
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _serve(
    predictor: Predictor, normal: dict[str, Any], skip: int, say: Callable[[dict[str, Any]], None]
) -> None:
    from gradatim.checks.abnormal_inputs import abnormal_inputs

    before = predictor(normal)
    seconds = _fastest(predictor, normal)
    say({"ready": seconds})
    for place, case in enumerate(abnormal_inputs(predictor.signature, normal)):
        if place < skip:
            continue
        name, inputs = _cut(case, normal, seconds)
        say({"case": name, "expectation": case.expectation})
        found = _call(predictor, inputs)
        if after := _still_answers(predictor, normal, before):
            say({**found, "after": after})
            return
        say(found)
    say({"end": True})


def _fastest(predictor: Predictor, normal: dict[str, Any], most: int = 10, enough: float = 0.1) -> float:
    """Seconds of the fastest of some calls: what else runs on the machine changes no case, and so no evidence."""
    taken: list[float] = []
    while not taken or (len(taken) < most and sum(taken) < enough):
        began = time.perf_counter()
        predictor(normal)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _call(predictor: Predictor, inputs: dict[str, Any]) -> dict[str, Any]:
    from gradatim.checks.behaviour import nonfinite

    try:
        outputs = predictor(inputs)
    except GradatimError as error:
        return {"refused": str(error)[:400]}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"[:400]}
    return {"nonfinite": nonfinite(outputs)}


def _still_answers(predictor: Predictor, normal: dict[str, Any], before: dict[str, Any]) -> str | None:
    from gradatim.checks.comparison import Allowance, compare

    try:
        return compare(before, predictor(normal), Allowance()).problem
    except GradatimError as error:
        return str(error)


def _cut(case: AbnormalCase, normal: dict[str, Any], seconds: float) -> tuple[str, dict[str, Any]]:
    """A big batch cut to what should take about a second: it must be large for the model, not for the clock."""
    usual, big = (
        max((len(a) for a in arrays.values() if a.ndim), default=0) for arrays in (normal, case.inputs)
    )
    if big <= usual or not case.name.startswith("batch of"):
        return case.name, case.inputs
    most = max(2 * usual, int(_BIG_SECONDS * usual / max(seconds, 1e-6)))
    if most >= big:
        return case.name, case.inputs
    most = 1 << most.bit_length() - 1  # coarse, so that the next run tries it too
    return f"batch of {most}", {
        n: a[:most] if a.ndim and len(a) == big else a for n, a in case.inputs.items()
    }


if __name__ == "__main__":
    sys.exit(main())
