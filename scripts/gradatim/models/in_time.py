"""Answers over HTTP that have so many seconds in all: a server that drips header after header is as late as a silent one."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _Until(io.RawIOBase):
    """What a socket receives until a moment: its timeout at the beginning counts for all of it, and not for each piece."""

    def __init__(self, sock: socket.socket, received: Any) -> None:
        self._sock, self._received = sock, received
        left = sock.gettimeout()
        self._deadline = None if left is None else time.monotonic() + left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._deadline is not None:
            self._sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        found: int | None = self._received.readinto(buffer)
        return found

    def close(self) -> None:
        self._received.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *others: Any, **named: Any) -> None:
        super().__init__(sock, *others, **named)
        self.fp = io.BufferedReader(_Until(sock, self.fp.detach()))


class _Plain(HTTPConnection):
    response_class = _Response


class _Secure(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class InTime(HTTPAdapter):
    """Sends requests whose read timeout is that of the whole answer."""

    def init_poolmanager(self, *others: Any, **named: Any) -> None:
        super().init_poolmanager(*others, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
