"""Who runs a contestant in a round: a process of its own; where its runtime is dear to import, a fork of one that has it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from gradatim.timing.contestant import Contestant, Worker

DEAR = 1.0
"""Processor seconds of a start, the model's own opening apart, from which on starts are shared."""


class Crew:
    """The processes of a benchmark, round by round.

    A fork opens the model anew and has a heap of its own, so that rounds differ as rounds do; what it shares with the forks
    beside it is where the libraries lie. That is drawn anew whenever the rounds are looked at. Use as a context manager.

    Args:
        batch: the .npz of one real batch.
        scratch: a folder for logs.
        timeout: seconds to wait for any answer.
    """

    def __init__(self, batch: Path, scratch: Path, timeout: float) -> None:
        self._given = batch, scratch, timeout
        self._dear: set[str] = set()
        self._hosts: dict[str, Worker] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.renew()

    def renew(self) -> None:
        """Let the processes that are forked go; the next round starts others."""
        for host in self._hosts.values():
            host.end()
        self._hosts.clear()

    @contextlib.contextmanager
    def worker(self, contestant: Contestant) -> Iterator[Worker]:
        """A fresh process for one contestant and one round; it ends with the context, however it is doing."""
        name = contestant.name
        host = self._hosts.pop(name, None)
        if host is None:
            host = Worker(contestant, *self._given, stays=name in self._dear)
        else:
            host.begin()
        try:
            yield host
        except BaseException:
            host.end()
            raise
        if not host.stays:
            host.end()
            if host.start >= DEAR and sys.platform.startswith("linux"):
                self._dear.add(name)
        else:
            self._hosts[name] = host
