"""What Prometheus counted of one version's requests since a moment, believed only as far as its samples go.

Raw samples are read, not rates: so their age, their resets and their gaps are seen.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradatim.errors import InvalidInput, UsageError

_BEFORE = 3600
"""Seconds before the moment in which a counter's value at the moment is looked for: what is away for longer begins at zero."""

_MATCHED = re.compile(r'\s*([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*"')


@dataclass(frozen=True)
class Series:
    """How requests are counted.

    Attributes:
        requests: a counter of requests.
        failed: the matchers that make it count those that failed: ``code=~"5.."``.
        latency: a histogram of seconds, without ``_bucket``.
        label: the label that tells versions apart.
    """

    requests: str = "http_requests_total"
    failed: str = 'code=~"5.."'
    latency: str = "http_request_duration_seconds"
    label: str = "version"


@dataclass(frozen=True)
class Counted:
    """What one version did since a moment.

    Attributes:
        requests, failed: counts.
        below: requests at or below each end of a bucket of the histogram; empty where it was not asked for.
    """

    requests: int
    failed: int
    below: Mapping[float, int]


class Unbelievable(InvalidInput):
    """Samples that say nothing: missing, stale, without traffic, contradicting, or not to be had. Never a pass.

    Args:
        reset: a counter went back to zero: what it had counted is lost, and a count must begin anew.
    """

    def __init__(self, message: str, *, reset: bool = False) -> None:
        super().__init__(message)
        self.reset = reset


MAX_AGE = 120.0
"""Seconds: two scrapes at the usual interval of one minute, or eight at a quarter of one."""

_TIMEOUT = 10.0


class Prometheus:
    """A server's HTTP API.

    Args:
        url: ``http://127.0.0.1:9090``.
        max_age: seconds after which a sample is stale; more than two intervals between scrapes.

    Raises:
        UsageError: the address is none of http.
    """

    def __init__(self, url: str, *, max_age: float = MAX_AGE) -> None:
        if not re.fullmatch(r"https?://\S+", url):
            raise UsageError(f"--prometheus {url} is no address. Say, for example, http://127.0.0.1:9090")
        self._url = url.rstrip("/") + "/api/v1/query"
        self._max_age = max_age

    def now(self) -> float:
        """Its own clock, seconds since 1970.

        Raises:
            Unbelievable: it does not answer.
        """
        try:
            return float(self._asked("time()", None, "scalar")[1])
        except (IndexError, TypeError, ValueError) as error:
            raise Unbelievable("Prometheus does not tell the time.") from error

    def counted(self, series: Series, version: str, since: float, now: float, *, latency: bool) -> Counted:
        """What a version did between two moments.

        Raises:
            Unbelievable: a series is missing, stale, was reset, counted no request, or contradicts another.
        """
        chosen = f"{series.label}={json.dumps(version)}"
        requests = self._ranges(f"{series.requests}{{{chosen}}}", since, now)
        for name in _MATCHED.findall(series.failed):
            if all(name not in labels for labels, _ in requests):
                raise Unbelievable(
                    f"No series {series.requests}{{{chosen}}} has the label `{name}`, which tells failed requests: "
                    "nothing would ever be counted as failed."
                )
        total = self._total(requests, f"{series.requests}{{{chosen}}}", since, now)
        if not total:
            raise Unbelievable(f"{series.requests}{{{chosen}}} counted no request.")
        with_failed = f"{series.requests}{{{chosen},{series.failed}}}"
        failed = sum(
            _increase(samples, with_failed, since)
            for _, samples in self._ranges(with_failed, since, now, may_lack=True)
        )
        if failed > total:
            raise Unbelievable(f"{with_failed} counted {failed} requests of {total}: that cannot be.")
        return Counted(total, failed, self._buckets(series, chosen, since, now) if latency else {})

    def _buckets(self, series: Series, chosen: str, since: float, now: float) -> Mapping[float, int]:
        name = f"{series.latency}_bucket{{{chosen}}}"
        found = self._ranges(name, since, now)
        by_end: dict[float, list[Any]] = defaultdict(list)
        for labels, samples in found:
            try:
                by_end[float(labels["le"])].append((labels, samples))
            except (KeyError, ValueError) as error:
                raise Unbelievable(f"{name} is no histogram: it has no label `le` with numbers.") from error
        below = {end: self._total(some, name, since, now) for end, some in sorted(by_end.items())}
        counts = list(below.values())
        if math.inf not in below or len(below) < 2 or counts != sorted(counts):
            raise Unbelievable(f"{name} has buckets that contradict one another, or none but one.")
        if not counts[-1]:
            raise Unbelievable(f"{name} counted no request.")
        return below

    def _total(
        self, found: list[tuple[Mapping[str, str], list[Any]]], name: str, since: float, now: float
    ) -> int:
        """All that some series counted, where the newest sample of them is fresh."""
        newest = max(samples[-1][0] for _, samples in found)
        if now - newest > self._max_age:
            raise Unbelievable(f"{name} is {_age(now - newest)} old: stale samples never pass.")
        return sum(_increase(samples, name, since) for _, samples in found)

    def _ranges(
        self, selector: str, since: float, now: float, *, may_lack: bool = False
    ) -> list[tuple[Mapping[str, str], list[Any]]]:
        seconds = max(1, math.ceil(now - since)) + _BEFORE
        found = self._asked(f"{selector}[{seconds}s]", now, "matrix")
        try:
            series = [
                (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
                for one in found
                if one["values"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise Unbelievable(f"Prometheus answered {selector} with something that is no series.") from error
        if not series and not may_lack:
            raise Unbelievable(f"There is no series {selector}: a metric that is missing never passes.")
        return series

    def _asked(self, query: str, now: float | None, kind: str) -> Any:
        given = {"query": query} | ({} if now is None else {"time": f"{now:.3f}"})
        address = f"{self._url}?{urllib.parse.urlencode(given)}"
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310 (http, looked at)
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise Unbelievable(f"Prometheus refused `{query}`: {_why(error)}.") from error
        except (OSError, ValueError) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else error
            raise Unbelievable(f"Prometheus at {self._url} did not answer: {why}.") from error
        data = told.get("data") if isinstance(told, dict) and told.get("status") == "success" else None
        if not isinstance(data, dict) or data.get("resultType") != kind:
            raise Unbelievable(f"Prometheus answered `{query}` with no {kind}.")
        if told.get("warnings"):  # a part of the answer is missing
            raise Unbelievable(f"Prometheus warns of `{query}`: {'; '.join(map(str, told['warnings']))}.")
        return data["result"]


def _increase(samples: list[tuple[float, float]], name: str, since: float) -> int:
    """By how much a counter rose since a moment; from zero where it did not exist then.

    Raises:
        Unbelievable: it was reset, or holds what no counter can.
    """
    if not all(math.isfinite(value) and value >= 0 for _, value in samples):
        raise Unbelievable(f"{name} holds numbers that no counter can hold.")
    before = [value for at, value in samples if at <= since]
    values = [before[-1] if before else 0.0, *(value for at, value in samples if at > since)]
    if any(later < earlier for earlier, later in itertools.pairwise(values)):
        raise Unbelievable(
            f"{name} was reset: something was restarted, and what it had counted is lost.", reset=True
        )
    return round(values[-1] - values[0])


def _why(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _age(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
