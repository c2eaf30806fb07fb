"""A real server of OpenAI's API whose answers come token by token, each at its time: what it takes is known."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Pace:
    """How fast it is, and what it was asked.

    Attributes:
        first, token: seconds to the first token, and of each further one.
        spread: standard deviation of the logarithm of both over prompts; a prompt's own is the same wherever it is asked.
        fault: answers a request in place of the server; None where it does not.
    """

    first: float = 0.004
    token: float = 0.001
    spread: float = 0.0
    url: str = ""
    fault: Callable[[Handler], bool] = lambda handler: False
    bodies: list[dict[str, Any]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a token is sent when it is there
    pace: Pace
    body: dict[str, Any]

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.say(200, {"data": [{"id": "small"}]})

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.pace.bodies.append(self.body)
        if not self.pace.fault(self):
            self.stream(int(self.body["max_tokens"]))

    def say(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, tokens: int, *, whole: bool = True) -> None:
        """So many tokens, each when it is due by the clock, so that no sleep adds to the next one's."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        slow = random.Random(self.body["prompt"].partition("\n")[2]).lognormvariate(0, self.pace.spread)
        due = time.perf_counter() + self.pace.first * slow
        for _ in range(tokens):
            time.sleep(max(0.0, due - time.perf_counter()))
            due += self.pace.token * slow
            self.event({"choices": [{"text": " so", "finish_reason": None}]})
        if whole:
            self.event({"choices": [{"text": "", "finish_reason": "length"}]})
            self.event({"choices": [], "usage": {"completion_tokens": tokens}})
            self.chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def event(self, content: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps({"model": "small", **content}).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


@contextlib.contextmanager
def streaming(pace: Pace) -> Iterator[Pace]:
    """A server on this machine, at this pace."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"pace": pace}))
    server.daemon_threads = True
    pace.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield pace
    finally:
        server.shutdown()
        server.server_close()
