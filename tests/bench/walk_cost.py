"""What does a walk cost beside the model's own calls? Ten models of ten kinds, each step's processor time beside theirs.

    python tests/bench/walk_cost.py            # all ten; some minutes
    python tests/bench/walk_cost.py tabular    # one kind, by its name

Contracts are those that `gradatim init` writes. A model's own time is what its processes spend inside the model: opening it, its
runtime's import included, every call of it, and the bare start of Python and numpy in each process that holds it, of which the
benchmark needs one a round. What the meter itself takes is left out. A step may take 1.2 times that and 1 s besides; the exit code says whether all do. `compress` is left
out: nearly all it does is quantising.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "unit"), str(TESTS / "e2e")]

from projects.repository import Project  # noqa: E402
from small_transformer import texts, write_bert  # noqa: E402
from test_init_kinds import ASKED, KINDS  # noqa: E402

STEPS = ("build", "inspect", "test", "evaluate", "benchmark", "gate")
FACTOR, SECONDS = 1.2, 1.0

METER = '''
"""Imported by every Python process below: those that hold a model write down what it takes."""
import importlib, os, sys, time

LOG = {log!r}
HOLDS = ("gradatim.timing.model_worker", "gradatim.timing.worker", "gradatim.checks.abnormal_worker")


def metered(what, function):
    def call(*given, **named):
        if metered.inside:
            return function(*given, **named)
        metered.inside, began = True, time.process_time()
        try:
            return function(*given, **named)
        finally:
            metered.inside = False
            metered.spent += time.process_time() - began
            metered.calls += 1
            if metered.spent > 2e-3:  # not every call: the meter itself would be what is measured
                write(f"{{what}} {{metered.spent:.9f}}\\nmeter {{metered.calls * metered.cost:.9f}}")
                metered.spent, metered.calls = 0.0, 0
    return call


def own_cost(times=3000):
    """Seconds that watching a call takes, outside of what it counts for the call."""
    watched, began = metered("nothing", lambda: None), time.process_time()
    for _ in range(times):
        watched()
    cost = (time.process_time() - began - metered.spent) / times
    metered.spent, metered.calls = 0.0, 0
    return cost


def write(line):
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{{line}}\\n".encode())
    os.close(log)


metered.inside, metered.spent, metered.calls, metered.cost = False, 0.0, 0, 0.0
arguments = sys.orig_argv
if "-m" in arguments and arguments[arguments.index("-m") + 1] in HOLDS:
    metered.cost = own_cost()
    write(f"start 1\\nmeter {{3000 * metered.cost:.9f}}")
    from gradatim.timing import contestant

    known = set()
    opening = contestant.open_described

    def open_and_watch(record):
        predictor = opening(record)
        kind = type(predictor)
        if kind not in known:
            known.add(kind)
            kind.__call__ = metered("call", kind.__call__)
        return predictor

    contestant.open_described = metered("open", open_and_watch)
    contestant.inspect_described = metered("open", contestant.inspect_described)
    importing = importlib.import_module
    runtime = metered("open", importing)
    importlib.import_module = lambda name, *rest, **named: (
        importing(name, *rest, **named) if name.startswith("gradatim") else runtime(name, *rest, **named)
    )
'''


def encoder(project: Project) -> None:
    """A Hugging Face folder that classifies sentences of unequal length."""
    write_bert(project.folder / "model", seconds=1)
    found, truth = texts(("sport", "money"), 400, seed=5)
    lines = [f'"{text}",{topic}' for text, topic in zip(found, truth, strict=True)]
    project.write("data/test.csv", "\n".join(["text,topic", *lines]) + "\n")


MAKERS: dict[str, Callable[[Project], None]] = {
    **{name: make for name, (make, _) in KINDS.items()},
    **{name: make for name, (make, _) in ASKED.items()},
    "Hugging Face": encoder,
}


def bare_start() -> float:
    """Processor seconds of a Python that imports numpy and does nothing."""
    found = []
    for _ in range(7):
        before = os.times()
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        found.append(sum(os.times()[2:4]) - sum(before[2:4]))
    return statistics.median(found)


def cost(
    make: Callable[[Project], None], folder: Path
) -> dict[str, tuple[float, float, float, float, float]]:
    """By step: processor seconds in all, of opening the model, of calling it; processes that held it; seconds by the clock."""
    project, log = Project(folder), folder / "meter.log"
    make(project)
    (folder / "meter").mkdir()
    (folder / "meter/sitecustomize.py").write_text(METER.format(log=str(log)), encoding="utf-8")
    path = os.pathsep.join([str(folder / "meter"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    commanded(project.folder, environment, "init")
    project.commit()
    found = {}
    for step in STEPS:
        log.unlink(missing_ok=True)
        if step == "test":
            commanded(project.folder, environment, "compress")
        began, before = time.monotonic(), os.times()
        commanded(project.folder, environment, step)
        after, wall = os.times(), time.monotonic() - began
        whole = sum(after[2:4]) - sum(before[2:4])
        spent = defaultdict(float)
        for line in log.read_text("ascii").splitlines() if log.exists() else ():
            what, seconds = line.split()
            spent[what] += float(seconds)
        found[step] = (whole - spent["meter"], spent["open"], spent["call"], spent["start"], wall)
    return found


def commanded(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    """A command may refuse the model, and may not fail."""
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode > 1:
        raise SystemExit(f"gradatim {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")


def main(*kinds: str) -> int:
    over, start = [], bare_start()
    heads = ("model", "step", "processor, s", "opening", "calls", "starts", "besides", "wall, s", "")
    print(f"a bare start takes {start:.3f} s\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    with tempfile.TemporaryDirectory() as name:
        for place, kind in enumerate(kinds or MAKERS):
            for step, (whole, opening, calls, held, wall) in cost(
                MAKERS[kind], Path(name, str(place))
            ).items():
                starts = held * start
                allowed = FACTOR * (opening + calls + starts) + SECONDS
                mark = "" if whole <= allowed else f"over by {whole - allowed:.2f}"
                over += [f"{kind}, {step}"] if mark else []
                besides = whole - opening - calls - starts
                parts = (whole, opening, calls, starts, besides, wall)
                told = " | ".join(f"{seconds:.2f}" for seconds in parts)
                print(f"| {kind} | {step} | {told} | {mark} |", flush=True)
    print(f"\nover {FACTOR} times its model's own and {SECONDS:g} s: {'; '.join(over) or 'none'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
