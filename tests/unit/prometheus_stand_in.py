"""A small stand-in for Prometheus' HTTP API: counters of two versions, scraped by a clock of its own."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np

ENDS = (0.05, 0.1, 0.25, 0.5, 1.0, float("inf"))


@dataclass
class Version:
    """How one version behaves: its share of errors, and of its requests in each bucket of ``ENDS``."""

    errors: float = 0.01
    buckets: tuple[float, ...] = (0.6, 0.3, 0.08, 0.01, 0.005, 0.005)


@dataclass
class Fleet:
    """What runs, and what Prometheus scraped of it.

    Attributes:
        percent: the candidate's part of the traffic.
        second: requests a second.
        scrape: seconds from one scrape to the next.
        fault: what is wrong: see ``answer``.
    """

    versions: dict[str, Version]
    candidate: str
    percent: float = 0
    second: float = 40
    scrape: float = 15
    fault: str = ""
    now: float = 1_800_000_000.0
    dice: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    series: dict[str, dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]] = field(
        default_factory=dict
    )

    def run(self, seconds: float) -> None:
        """Let time pass, and scrape."""
        for _ in range(max(1, int(seconds / self.scrape))):
            self.now += self.scrape
            for name, version in self.versions.items():
                part = self.percent if name == self.candidate else 100 - self.percent
                n = (
                    0
                    if self.fault == "no traffic"
                    else self.dice.poisson(self.second * self.scrape * part / 100)
                )
                failed = self.dice.binomial(n, version.errors)
                self._scraped("http_requests_total", n - failed, version=name, code="200")
                if failed or version.errors:
                    self._scraped("http_requests_total", failed, version=name, code="500")
                below = 0
                for end, count in zip(ENDS, self.dice.multinomial(n, version.buckets), strict=True):
                    below += int(count)
                    self._scraped(
                        "http_request_duration_seconds_bucket",
                        below,
                        version=name,
                        le=f"{end:g}".replace("inf", "+Inf"),
                    )

    def restart(self, version: str) -> None:
        """Its counters begin at zero."""
        for some in self.series.values():
            for labels, samples in some.items():
                if ("version", version) in labels:
                    samples.append((self.now, 0.0))

    def _scraped(self, name: str, more: int, **labels: str) -> None:
        if self.fault == "stale" and self.now > 1_800_000_600:
            return
        samples = self.series.setdefault(name, {}).setdefault(tuple(sorted(labels.items())), [])
        samples.append((self.now, (samples[-1][1] if samples else 0.0) + more))

    def answer(self, query: str) -> dict[str, Any]:
        if query == "time()":
            return {"resultType": "scalar", "result": [self.now, str(self.now)]}
        match = re.fullmatch(r"(\w+)\{(.*)\}\[(\d+)s\]", query)
        assert match, query
        wanted = re.findall(r'(\w+)(=~|=)"([^"]*)"', match[2])
        found = []
        for labels, samples in self.series.get(match[1], {}).items():
            if self.fault == "missing" and ("version", self.candidate) in labels:
                continue
            held = dict(labels)
            if all(
                (re.fullmatch(value, held.get(name, "")) if how == "=~" else held.get(name, "") == value)
                for name, how, value in wanted
            ):
                values = [
                    [at, "NaN" if self.fault == "nan" else str(value)]
                    for at, value in samples
                    if at > self.now - int(match[3])
                ]
                found.append({"metric": {"__name__": match[1], **held}, "values": values})
        return {"resultType": "matrix", "result": found}


@contextmanager
def serving(fleet: Fleet, *, passes: float = 0) -> Iterator[str]:
    """The address of its API; so many seconds pass whenever it is asked for the time."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            [query] = parse_qs(urlparse(self.path).query)["query"]
            if query == "time()" and passes:
                fleet.run(passes)
            failed = fleet.fault == "failed" and query != "time()"
            told = (
                {"status": "error", "error": "out of memory"}
                if failed
                else {"status": "success", "data": fleet.answer(query)}
            )
            if fleet.fault == "partial":
                told["warnings"] = ["a store did not answer"]
            body = json.dumps(told).encode()
            self.send_response(500 if failed else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
