"""Is the latency gate right where the machine is held back? Half a processor, one core, a hog, little memory.

    python tests/bench/gate_limits.py       # some minutes; control groups need root, and are left out without it

Under each limit a small convolutional net is timed beside itself, where "slower" is a false alarm, and beside itself on a third more
items, where "not slower" is a miss. A benchmark that cannot be done says why, and is no verdict. Exits with 1 where one was wrong.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from small_models import digits, write_cnn

from gradatim.errors import GradatimError
from gradatim.timing.contestant import Contestant, save_inputs
from gradatim.timing.decision import Decision
from gradatim.timing.paired import compare

CORE = min(os.sched_getaffinity(0))
GROUPS = Path("/sys/fs/cgroup")


def decided(more: bool) -> str:
    """What the benchmark says, in this process as it is limited now."""
    images = digits()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_cnn(folder / "model.onnx")
        batch = save_inputs(folder / "batch.npz", {"image": images[:60]})
        larger = save_inputs(folder / "larger.npz", {"image": images[:80]})
        pair = [
            Contestant("baseline", model, folder),
            Contestant("candidate", model, folder, inputs=larger if more else batch),
        ]
        try:
            answer = compare(pair, batch).comparisons[0]
        except GradatimError as error:
            return f"none: {str(error)[:90]}"
        rounds = answer.answers[0].looks[-1].rounds
        return f"{answer.decision.value} in {rounds} rounds ({100 * ((answer.ratio or 1) - 1):+.1f} %)"


@contextlib.contextmanager
def hogs(number: int) -> Iterator[None]:
    """Other work on the same core."""
    loop = "while True: pass"
    running = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(number)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


@contextlib.contextmanager
def group(controller: str, **limits: str) -> Iterator[None]:
    """This process in a control group of its own, in either version; raises OSError where none may be made."""
    unified = (GROUPS / "cgroup.controllers").exists()
    top = GROUPS if unified else GROUPS / controller
    mine = next(
        (
            line.split(":")[2]
            for line in Path("/proc/self/cgroup").read_text("ascii").splitlines()
            if line.split(":")[1] == ("" if unified else controller)
        ),
        "/",
    )
    folder = top / f"gradatim-bench-{os.getpid()}"
    folder.mkdir()
    try:
        for file, value in limits.items():
            path = folder / f"{controller}.{file}"
            if path.exists():
                path.write_text(value)
        (folder / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (top / mine.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))


@contextlib.contextmanager
def limited(how: str) -> Iterator[None]:
    """This process and all that it starts, held back."""
    with contextlib.ExitStack() as stack:
        if how != "nothing":
            os.sched_setaffinity(0, {CORE})
        if how == "one core, a hog on it":
            stack.enter_context(hogs(1))
        if how == "one core, three hogs on it":
            stack.enter_context(hogs(3))
        if how == "half a processor":
            stack.enter_context(
                group("cpu", cfs_period_us="100000", cfs_quota_us="50000", max="50000 100000")
            )
        if how == "400 MB of memory":
            stack.enter_context(group("memory", limit_in_bytes="400M", max="400M"))
        yield


LIMITS = (
    "nothing", "one core", "one core, a hog on it", "one core, three hogs on it", "half a processor", "400 MB of memory"
)  # fmt: skip


def main() -> int:
    wrong = []
    print("| held back by | itself | a third more items |\n|---|---|---|")
    for how in LIMITS:
        cells = []
        for more, never in ((False, Decision.SLOWER), (True, Decision.NOT_SLOWER)):
            hear, say = os.pipe()
            child = os.fork()  # a limit is not taken back
            if not child:
                try:
                    with limited(how):
                        told = decided(more)
                except OSError as error:
                    told = f"not measured: {error.strerror}"
                os.write(say, told.encode())
                os._exit(0)
            os.close(say)
            with open(hear) as file:  # noqa: PTH123 (a descriptor)
                cells.append(file.read() or "none: the system ended it")
            os.waitpid(child, 0)
            for left in GROUPS.rglob(f"gradatim-bench-{child}"):
                left.rmdir()
            bad = {never.value, Decision.FASTER.value} if more else {never.value}
            wrong += [f"{how}: {cells[-1]}"] if cells[-1].partition(" in ")[0] in bad else []
        print(f"| {how} | {' | '.join(cells)} |", flush=True)
    print(f"\nwrong: {'; '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
