"""One run of locust [1]_: the user's own file says what a user of the service does; locust says how that many are answered.

.. [1] https://locust.io
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gradatim.code.confinement import Confined
from gradatim.errors import InvalidInput, missing_package
from gradatim.evidence.codec import decode
from gradatim.timing.child import ended_with, environment, last_line

TOLERATED = 0.01
"""Share of the requests that may fail or take longer than the bound."""

_PATIENCE = 60.0
_WHOLE = 0.9
_LEFT_OVER = "Not all users finished"
_OWN_SHAPE = "Shape test starting"


@dataclass(frozen=True)
class LocustPlan:
    """What locust is told.

    Attributes:
        file: the locustfile.
        root: the folder that it runs in.
        host: that its users ask; empty where the file says it.
        bound: seconds that 99 % of the requests stay below.
        seconds: of a run; what is under way at its end has as long again to be answered.
    """

    file: Path
    root: Path
    host: str
    bound: float
    seconds: int


@dataclass(frozen=True)
class LocustRun:
    """What locust counted of a run.

    Attributes:
        users: at a time.
        requests, failed: how many were answered, and of those how many badly; a task that raised is a failed one.
        rate: answers a second.
        p50, p90, p99: seconds, as locust rounds them: to milliseconds, and from 100 ms on to two digits.
        why: what broke, as a clause; empty where it held.
        strained: whether locust itself took a whole processor, so that it may be what broke.
    """

    users: int
    requests: int
    failed: int
    rate: float
    p50: float
    p90: float
    p99: float
    why: str
    strained: bool


@dataclass(frozen=True)
class _Counted:
    """One kind of request in locust's own record."""

    num_requests: int
    num_failures: int
    response_times: Mapping[str, int]
    start_time: float
    last_request_timestamp: float | None


def its_program() -> None:
    """Locust is there.

    Raises:
        EnvironmentLacks: it is not installed.
    """
    if importlib.util.find_spec("locust") is None:
        raise missing_package("locust", "locust", "Stress by the users of a locustfile")


def run_locust(plan: LocustPlan, users: int, folder: Path) -> LocustRun:
    """One run of so many users, in a process of its own; what locust writes is left in the folder.

    Raises:
        InvalidInput: the file is broken, does not end, has a shape of its own, or its users ask nothing.
    """
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(plan.file), "--headless", "--only-summary"),
        *("--users", str(users), "--spawn-rate", str(users), "--run-time", f"{plan.seconds}s"),
        *("--reset-stats", "--stop-timeout", str(plan.seconds), "--exit-code-on-error", "0"),
        *("--json-file", str(folder / "requests"), "--csv", str(folder / "locust")),
        *(("--host", plan.host) if plan.host else ()),
    ]
    before = os.times()
    code, log = _ended(command, plan, folder / "locust.log")
    spent, lasted = (sum(os.times()[2:4]) - sum(before[2:4])), os.times().elapsed - before.elapsed
    asked = f"The users of {plan.file.relative_to(plan.root)}"
    if _OWN_SHAPE in log:
        raise InvalidInput(
            f"{asked} come by a LoadTestShape of its own, and gradatim has to say how many there are. Name a file without one."
        )
    if code is None:
        raise InvalidInput(f"{asked} did not end within {_PATIENCE:g} s after their time was up.")
    last = last_line("\n".join(line for line in log.splitlines() if "/INFO/" not in line).encode())
    if code:
        raise InvalidInput(f"{asked} cannot be had, locust ended with {ended_with(code)}. {last}".rstrip())
    run = _read(plan, users, folder, left_over=_LEFT_OVER in log, strained=spent > _WHOLE * lasted)
    if users == 1 and run.failed >= run.requests:
        told = _complaint(folder) or (run.why if run.requests else last) or run.why
        raise InvalidInput(f"{asked} got no right answer to {run.requests} requests, one user alone: {told}")
    return run


def _ended(command: list[str], plan: LocustPlan, log: Path) -> tuple[int | None, str]:
    """Exit code, None where it had to be ended, and its log; what the users print stands beside that."""
    with log.open("wb") as errors, log.with_suffix(".out").open("wb") as output:
        process = Confined(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            cwd=plan.root,
            env=environment(1),
        )
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(2 * plan.seconds + _PATIENCE)
        finally:
            process.end()
    return code, log.read_text(encoding="utf-8", errors="replace")


def _read(plan: LocustPlan, users: int, folder: Path, *, left_over: bool, strained: bool) -> LocustRun:
    """What locust's own record says: its tables of failures lack the last second, its counts do not."""
    try:
        record = json.loads((folder / "requests.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"locust left no record of its requests: {error}") from error
    counted = decode(tuple[_Counted, ...], record, "locust's record", newer=True)
    requests = sum(one.num_requests for one in counted)
    failed = sum(one.num_failures for one in counted) + sum(_raised(folder).values())
    times: Counter[float] = Counter()
    for one in counted:
        times.update({float(took) / 1e3: many for took, many in one.response_times.items()})
    p50, p90, p99 = (_quantile(times, share) for share in (0.5, 0.9, 0.99))
    ends = [one.last_request_timestamp for one in counted if one.last_request_timestamp]
    lasted = max(ends) - min(one.start_time for one in counted) if ends else 0.0
    late = sum(many for took, many in times.items() if took > plan.bound)
    why = ""
    if left_over or not requests:
        why = f"requests were without an answer {plan.seconds} s after the last was sent"
    elif failed > TOLERATED * requests:
        why = f"{failed} of {requests} requests failed: {_complaint(folder)}".removesuffix(": ")
    elif failed + late > TOLERATED * requests:
        why = f"99 % took up to {p99 * 1e3:.4g} ms, not {plan.bound * 1e3:.4g} ms"
    rate = requests / max(lasted, plan.seconds / 2)
    return LocustRun(users, requests, failed, rate, p50, p90, p99, why, strained)


def _quantile(times: Mapping[float, int], share: float) -> float:
    """The shortest time that so large a share stays within; 0 without any."""
    wanted, so_far = share * sum(times.values()), 0
    for took in sorted(times):
        so_far += times[took]
        if so_far >= wanted:
            return took
    return 0.0


def _complaint(folder: Path) -> str:
    """What was said most often of requests that failed or tasks that raised."""
    with _table(folder / "locust_failures.csv") as rows:
        said = Counter({row["Error"]: int(row["Occurrences"]) for row in rows})
    said += _raised(folder)
    return (
        said.most_common(1)[0][0][:300] if said else ""
    )  # its tables are a second or more behind at the end


def _raised(folder: Path) -> Counter[str]:
    """How often tasks raised what."""
    with _table(folder / "locust_exceptions.csv") as rows:
        return Counter({row["Message"]: int(row["Count"]) for row in rows})


@contextlib.contextmanager
def _table(path: Path) -> Iterator[Iterator[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield csv.DictReader(file)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InvalidInput(f"locust's {path.name} cannot be read: {type(error).__name__}: {error}") from error
