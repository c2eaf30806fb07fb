"""One run of MLPerf LoadGen [1]_: it says when a query comes and whether the run is valid; ours is to answer the queries.

.. [1] Reddi et al. (2020), "MLPerf Inference Benchmark", ISCA; https://github.com/mlcommons/inference/tree/master/loadgen
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradatim.errors import GradatimError, needs
from gradatim.timing.blocks import warm_up

SINGLE, MULTI, SERVER, OFFLINE = "SingleStream", "MultiStream", "Server", "Offline"
"""LoadGen's scenarios, as it calls them."""

LEAST = {SINGLE: 64, MULTI: 662, SERVER: 662, OFFLINE: 1}
"""Queries without which its early stopping can say nothing: 64 for p90 of a single stream, 662 for p99 of the others."""

WHEELS = "LoadGen has packages for Python 3.10 to 3.13 on Linux (x86_64), macOS (arm64) and Windows"

AT_ONCE = 8
"""Samples of a query of ``MultiStream``."""

_BACKLOG = 10
"""A run ends early when so many times more queries wait than can be answered within the bound."""

_FASTER = 4
"""So much faster than expected a model may be: LoadGen draws its queries beforehand, and a run that lacks some is not valid."""

Query = Callable[[], object]
"""Answers one query; what it raises is a query that failed."""


@dataclass(frozen=True)
class LoadPlan:
    """What LoadGen is told.

    Attributes:
        scenario: as LoadGen calls it.
        rate: queries a second: of ``Server`` those that come, of the others about what is expected; 0 where nobody knows yet.
        bound: seconds that 99 % of the queries of ``Server`` stay below.
        seconds: how long it lasts at least.
        queries: how many it has at least.
        longest: seconds after which no query is sent.
        parallel: queries under way at a time.
        seed: of the arrivals of ``Server``.
        patient: whether ``Server`` goes on as long as no more than half of its queries wait.
    """

    scenario: str
    rate: float = 0
    bound: float = 0
    seconds: float = 10
    queries: int = 1
    longest: float = 0
    parallel: int = 1
    seed: int = 0
    patient: bool = False


@dataclass(frozen=True)
class LoadRun:
    """What LoadGen says of a run.

    Attributes:
        scenario, rate: as planned.
        valid: whether all its rules were kept and no query failed.
        within: whether the run itself kept the bound, proven or not.
        why: LoadGen's reason why it is not valid, or how a query failed; empty where it is.
        stopping: what its early stopping says.
        queries, failed: how many were answered, and of those, how many badly.
        came, completed: samples a second; of ``Server`` alone is the first one known.
        mean, p50, p90, p99: of the time from when a query should have come to its answer, seconds.
        estimate: seconds that early stopping vouches for, for p90 of a single stream and p99 of eight at once.
        seconds: from the first query to the last answer.
    """

    scenario: str
    rate: float
    valid: bool
    within: bool
    why: str
    stopping: str
    queries: int
    failed: int
    came: float | None
    completed: float
    mean: float
    p50: float
    p90: float
    p99: float
    estimate: float | None
    seconds: float

    @property
    def keeps_up(self) -> bool:
        """Whether it answers nearly as fast as it is asked, and every time."""
        return not self.failed and (self.came is None or self.completed >= _KEEPING_UP * self.came)


_KEEPING_UP = 0.95


def its_package() -> Any:
    """LoadGen's own module.

    Raises:
        EnvironmentLacks: it is not installed.
    """
    with needs("mlcommons-loadgen", "load", f"Load ({WHEELS})"):
        import mlperf_loadgen
    return mlperf_loadgen


def drive(queries: Sequence[Query], plan: LoadPlan, folder: Path) -> LoadRun:
    """Let LoadGen ask; its logs are left in the folder.

    Args:
        queries: what it draws from.

    Raises:
        EnvironmentLacks: LoadGen is not installed.
    """
    loadgen = its_package()
    folder.mkdir(parents=True, exist_ok=True)
    plan = plan if plan.rate else replace(plan, rate=1 / warm_up(queries[0]))
    log = loadgen.LogSettings()
    log.log_output.outdir = str(folder)
    log.enable_trace = False
    crew = _Crew(queries, plan.parallel, loadgen)
    under_test = loadgen.ConstructSUT(crew.take, lambda: None)
    library = loadgen.ConstructQSL(len(queries), len(queries), lambda _: None, lambda _: None)
    began = time.monotonic()
    try:
        loadgen.StartTestWithLogSettings(under_test, library, _settings(plan, loadgen), log, "")
    finally:
        crew.leave()
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(under_test)
    return _read(folder / "mlperf_log_detail.txt", plan, crew.failures, time.monotonic() - began)


class _Crew:
    """Threads that answer what LoadGen asks, in the order in which it comes."""

    def __init__(self, queries: Sequence[Query], size: int, loadgen: Any) -> None:
        self.failures: list[str] = []
        self._queries, self._loadgen = queries, loadgen
        self._waiting: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def take(self, samples: Sequence[Any]) -> None:
        for sample in samples:
            self._waiting.put((sample.id, sample.index))

    def leave(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        answer, done = self._loadgen.QuerySampleResponse, self._loadgen.QuerySamplesComplete
        while (one := self._waiting.get()) is not None:
            try:
                self._queries[one[1]]()
            except Exception as error:  # a model is foreign code: whatever it raises is a query that failed
                told = str(error) if isinstance(error, GradatimError) else f"{type(error).__name__}: {error}"
                self.failures.append(told[:300])
            done([answer(one[0], 0, 0)])


def _settings(plan: LoadPlan, loadgen: Any) -> Any:
    told = loadgen.TestSettings()
    told.scenario = getattr(loadgen.TestScenario, plan.scenario)
    told.mode = loadgen.TestMode.PerformanceOnly
    told.min_duration_ms, told.min_query_count = (
        round(1e3 * plan.seconds),
        max(plan.queries, LEAST[plan.scenario]),
    )
    told.max_duration_ms = round(1e3 * plan.longest)
    if plan.scenario == SERVER:
        told.schedule_rng_seed = plan.seed
        told.server_target_qps = plan.rate
        told.server_target_latency_ns = round(1e9 * plan.bound)
        told.server_target_latency_percentile = 0.99
        waiting = plan.rate * max(_BACKLOG * plan.bound, plan.seconds / 2 if plan.patient else 0)
        told.server_max_async_queries = plan.parallel + max(64, round(waiting))
    elif plan.scenario == OFFLINE:
        told.offline_expected_qps = plan.rate
    else:
        told.single_stream_expected_latency_ns = round(1e9 / (_FASTER * plan.rate))
        told.multi_stream_expected_latency_ns = round(1e9 * AT_ONCE / (_FASTER * plan.rate))
        told.multi_stream_samples_per_query = AT_ONCE
    return told


def _read(log: Path, plan: LoadPlan, failures: Sequence[str], seconds: float) -> LoadRun:
    """What LoadGen's own log says, which is lines of JSON."""
    lines = (line.partition(" ") for line in log.read_text(encoding="utf-8", errors="replace").splitlines())
    records = [json.loads(told) for mark, _, told in lines if mark == ":::MLLOG"]
    said = {record["key"]: record["value"] for record in records}
    each = "_per_query" if plan.scenario == MULTI else ""
    mean = said["result_mean_query_latency_ns" if each else "result_mean_latency_ns"]
    p50, p90, p99 = (said[f"result_{share}.00_percentile{each}_latency_ns"] for share in (50, 90, 99))
    count = said["result_query_count"] * (
        said["generated_samples_per_query"] if plan.scenario == OFFLINE else 1
    )
    rates = {
        SERVER: "result_completed_samples_per_sec",
        OFFLINE: "result_samples_per_second",
        SINGLE: "result_qps_with_loadgen_overhead",
    }
    rate = rates.get(plan.scenario)
    vouched = {SINGLE: "early_stopping_latency_ss", MULTI: "early_stopping_latency_ms"}.get(plan.scenario)
    stopping = " ".join(said["early_stopping_result"].replace("*", "").split())
    broken = f"{len(failures)} of {count} queries failed: {failures[-1]}" if failures else ""
    valid = said["result_validity"] == "VALID" and not failures
    return LoadRun(
        scenario=plan.scenario,
        rate=plan.rate,
        valid=valid,
        within=said.get("result_perf_constraints_met", True),
        why="" if valid else broken or said.get("result_invalid_reason", "").strip() or stopping,
        stopping=stopping,
        queries=count,
        failed=len(failures),
        came=said.get("result_scheduled_samples_per_sec"),
        completed=said[rate] if rate else AT_ONCE * count / seconds,
        mean=mean * 1e-9,
        p50=p50 * 1e-9,
        p90=p90 * 1e-9,
        p99=p99 * 1e-9,
        estimate=said[vouched] * 1e-9 or None if vouched else None,
        seconds=seconds,
    )
