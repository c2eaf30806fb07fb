"""How often is a good canary rolled back, and how much traffic does it take to catch a bad one?

    python tests/bench/canary_walks.py          # 200 canaries of each kind through a stand-in of Prometheus, five minutes of CPU

Each canary is walked by `gradatim canary --prometheus`'s own code, a look every five minutes, 2400 requests a minute, up to 60 looks.
Gated are errors (at most a point worse than the release, which fails on 1 %) and the 95th percentile of latency (250 ms, which 2 % of
the release's requests exceed). At a margin a gate just holds, where an error is likeliest. The figures are those of docs/how-to/canary.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from prometheus_stand_in import Fleet, Version
from test_canary_live import ERRORS, NEW, OLD, P95, canary

from gradatim.checks.live import alpha_to_refuse
from gradatim.gates.sequential import requests_that_tell

KINDS = {
    "as good as the release": Version(),
    "2 points more errors": Version(errors=0.03),
    "3 points more errors": Version(errors=0.04),
    "at the margin: 1 point more errors": Version(errors=0.02),
    "8 % slower than the bound": Version(buckets=(0.57, 0.27, 0.08, 0.06, 0.01, 0.01)),
    "at the margin: 5 % slower than the bound": Version(buckets=(0.6, 0.27, 0.08, 0.03, 0.01, 0.01)),
}


def main(count: int) -> None:
    """Walk so many canaries of each kind and print how they ended."""
    for name, version in KINDS.items():
        ends: list[str] = []
        took: list[int] = []
        rise = version.errors - 0.01
        planned = (
            requests_that_tell(0.01, rise, ERRORS.amount or 0, alpha_to_refuse(2, 0)) if rise > 0.01 else None
        )
        for seed in range(count):
            fleet = Fleet({OLD: Version(), NEW: version}, NEW, scrape=150, dice=np.random.default_rng(seed))
            fleet.run(300)
            with tempfile.TemporaryDirectory() as folder:
                ended, looks = canary(fleet, Path(folder) / "r.json", rules=[ERRORS, P95])
            ends.append(str(ended.verdict))
            took += [looks[-1].requests] if ended.verdict == "FAIL" else []
        told = ", ".join(f"{ends.count(word)} {word}" for word in sorted(set(ends)))
        print(f"{name}: {told} of {count}", flush=True)
        if took and planned:
            within = sum(n <= planned for n in took)
            print(
                f"  refused after {np.median(took):.0f} of its requests in the middle; {within} within the {planned} of the plan"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
