"""Does LoadGen's search find what a server bears? Servers whose service times are known, so that the truth can be computed.

    python tests/bench/server_rate.py                   # a quarter of an hour, on a machine with little else to do
    sudo chrt -f 10 python tests/bench/server_rate.py   # on a busy one: it goes before whatever else there is
    python tests/bench/server_rate.py 1 M    # runs of one second, of the second kind alone

One server takes 2 ms for every query (M/D/1), the other 2 ms on average, exponentially distributed (M/M/1). The bound on the 99th
percentile is 40 ms. What a query takes of the first follows Erlang [1]_, of the second it is exponential: what is borne is the rate at
which either has its 99th percentile there. Under stress both must break between the last rate that can be served, 500/s, and a
quarter more, and be well again. Exits with 1 where a figure is more than 5 % off.

.. [1] Erlang (1909); Iversen (2015), "Teletraffic Engineering", formula 10.24.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal, getcontext
from pathlib import Path

from gradatim.timing.load import LoadQuestion, load_of
from gradatim.timing.loadgen import LoadPlan, LoadRun, drive
from gradatim.timing.queries import LoadQuery

SERVICE, BOUND = 2e-3, 40e-3
LONGEST_GAP = 2e-3


class Server:
    """One after another, each as long as is drawn; what a sleep overshoots is not added to the next."""

    def __init__(self, service: Callable[[], float]) -> None:
        self._service, self._free = service, 0.0

    def __call__(self) -> None:
        now = time.perf_counter()
        self._free = (self._free if now - self._free < LONGEST_GAP else now) + self._service()
        time.sleep(max(self._free - time.perf_counter(), 0))


def within(load: float, times: float) -> float:
    """The share of queries of M/D/1 that take at most so many service times, at this load of the server."""
    getcontext().prec = 80
    rho, waits = Decimal(load), Decimal(times - 1)
    terms = (
        (rho * (k - waits)) ** k / math.factorial(k) * (-rho * (k - waits)).exp()
        for k in range(int(waits) + 1)
    )
    return float((1 - rho) * sum(terms))


def constant() -> float:
    """Queries a second that a server of constant service times bears."""
    low, high = 0.01, 0.999
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, BOUND / SERVICE) >= 0.99 else (low, middle)
    return low / SERVICE


def main(seconds: float = 10, kinds: str = "DM") -> int:
    dice, wrong = random.Random(7), []
    known = {
        "D": (lambda: SERVICE, constant()),
        "M": (lambda: dice.expovariate(1 / SERVICE), 1 / SERVICE - math.log(100) / BOUND),
    }
    print(
        "| server | bears, truly | found | too much | off | breaks at | well again after | time |\n|---|---|---|---|---|---|---|---|"
    )
    for kind in kinds:
        service, truth = known[kind]
        server, began = Server(service), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:

            def run(plan: LoadPlan, server: Server = server, folder: str = folder) -> LoadRun:
                return drive([server], plan, Path(folder))

            question = LoadQuestion(("server", "stress"), BOUND, seconds, 1800, 1, LoadQuery(1))
            found = load_of(f"M/{kind}/1", "in this process", run, question)
        off = (found.bore or 0) / truth - 1
        stress = found.stress
        broke = stress.breaks_at if stress else None
        well = stress.recovered if stress else None
        told = [
            f"{truth:.1f}/s",
            f"{found.bore or 0:.1f}/s",
            f"{found.too_much or 0:.1f}/s",
            f"{100 * off:+.1f} %",
        ]
        told += [
            f"{broke or 0:.0f}/s",
            f"{well:.1f} s" if well is not None else "never",
            f"{time.monotonic() - began:.0f} s",
        ]
        print(f"| M/{kind}/1 | {' | '.join(told)} |", flush=True)
        fine = abs(off) <= 0.05 and broke and 0.95 / SERVICE <= broke <= 1.35 / SERVICE and well is not None
        wrong += [] if fine else [kind]
    print(f"\nwrong: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2]), *sys.argv[2:3]))
