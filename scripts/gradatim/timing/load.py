"""How a model behaves under load, by the scenarios and names of MLPerf LoadGen [1]_.

These figures describe; whether a candidate is slower than a baseline is answered by `gradatim.timing.paired`.

.. [1] Reddi et al. (2020), MLPerf Inference Benchmark; run lengths from LoadGen's early stopping.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import UsageError
from gradatim.timing.contestant import Contestant, Opened, Worker, save_inputs

Scenario = Literal["single-stream", "offline", "server"]

QUERIES = {0.90: 64, 0.99: 662}
"""Least queries for a quantile of the latency to mean something."""


@dataclass(frozen=True)
class LoadResult:
    """One scenario.

    Attributes:
        queries: queries behind the figures.
        p50, p90, p99: latency in seconds; None where there were too few queries for it, or, offline, no such
            thing.
        throughput: items a second.
        rate: server only: the highest arrival rate, queries a second, whose p99 stayed within ``bound``
            seconds; 0 when even one query at a time does not.
    """

    scenario: Scenario
    name: str
    queries: int
    p50: float | None
    p90: float | None
    p99: float | None
    throughput: float
    rate: float | None = None
    bound: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def single_stream(
    contestant: Contestant,
    inputs: Path | Mapping[str, NDArray[Any]],
    *,
    queries: int = QUERIES[0.90],
    seconds: float = 1.0,
    timeout: float = 300,
) -> LoadResult:
    """One query after another, each sent when the last is answered: what one user waits.

    Args:
        inputs: the batch that makes one query, or its .npz.
        queries: least queries; 662 for a p99.
        seconds: least duration.

    Raises:
        InvalidInput, EnvironmentLacks: as `gradatim.timing.paired.compare`.
    """
    with _ready(contestant, inputs, timeout) as (worker, opened, _):
        latencies = worker.ask("calls", least=queries, seconds=seconds)["seconds"]
    return _result("single-stream", contestant, latencies, opened.items * len(latencies) / sum(latencies))


def offline(
    contestant: Contestant,
    inputs: Path | Mapping[str, NDArray[Any]],
    *,
    seconds: float = 1.0,
    timeout: float = 300,
) -> LoadResult:
    """All items at once, as fast as they go: throughput with the batch given, which should be a large one.

    Raises:
        InvalidInput, EnvironmentLacks: as `gradatim.timing.paired.compare`.
    """
    with _ready(contestant, inputs, timeout) as (worker, opened, _):
        times = worker.ask("calls", least=3, seconds=seconds)["seconds"]
    throughput = opened.items * len(times) / sum(times)
    return LoadResult("offline", contestant.name, len(times), None, None, None, throughput)


def server(
    contestant: Contestant,
    inputs: Path | Mapping[str, NDArray[Any]],
    *,
    bound: float,
    queries: int = QUERIES[0.99],
    probes: int = 6,
    seed: int = 0,
    timeout: float = 300,
) -> LoadResult:
    """Queries arrive by chance (Poisson) and wait in line: the highest rate whose p99 stays within ``bound``.

    The rate is searched for by bisection between none and what the model answers back to back; it is within
    1/2**probes of that capacity.

    Args:
        bound: seconds that the p99 may take, waiting included.
        probes: rates to try; each takes about ``queries`` times the seconds of a call, or somewhat more.

    Raises:
        UsageError: ``bound`` is not positive.
        InvalidInput, EnvironmentLacks: as `gradatim.timing.paired.compare`.
    """
    if not bound > 0:
        raise UsageError(f"The server scenario needs a latency bound above 0 s, not {bound:g}.")
    with _ready(contestant, inputs, timeout) as (worker, opened, typical):
        low, high = 0.0, 1 / typical
        best = _result("server", contestant, worker.ask("calls", least=queries, seconds=0)["seconds"], 0.0)
        for probe in range(probes if best.p99 is None or best.p99 <= bound else 0):
            rate = (low + high) / 2
            answer = worker.ask("poisson", rate=rate, queries=queries, seed=seed + probe)
            tried = _result(
                "server", contestant, answer["latencies"], opened.items * queries / answer["seconds"]
            )
            if float(np.quantile(answer["latencies"], 0.99)) <= bound:
                low, best = rate, tried
            else:
                high = rate
    return LoadResult(**{**best.to_json(), "rate": low, "bound": bound})


@contextlib.contextmanager
def _ready(
    contestant: Contestant, inputs: Path | Mapping[str, NDArray[Any]], timeout: float
) -> Iterator[tuple[Worker, Opened, float]]:
    with tempfile.TemporaryDirectory(prefix="gradatim-timing-") as folder:
        scratch = Path(folder)
        batch = inputs if isinstance(inputs, Path) else save_inputs(scratch / "inputs.npz", inputs)
        with Worker(contestant, batch, scratch, timeout) as worker:
            opened = worker.opened()
            typical = worker.ask("warm", seconds=0.1)["seconds"]
            yield worker, opened, typical


def _result(
    scenario: Scenario, contestant: Contestant, latencies: Sequence[float], throughput: float
) -> LoadResult:
    seconds = np.asarray(latencies)

    def quantile(q: float) -> float | None:
        return float(np.quantile(seconds, q)) if len(seconds) >= QUERIES.get(q, 1) else None

    return LoadResult(
        scenario, contestant.name, len(seconds), quantile(0.5), quantile(0.9), quantile(0.99), throughput
    )
