"""A real HTTP server on this machine that speaks OpenAI's API, well or ill, as a test has it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Fault = Callable[["Handler"], None]
"""Answers a request in place of the server."""


@dataclass
class Asked:
    """What the server was asked, and how it shall answer.

    Attributes:
        answer: the text of a request's answer.
        faults: what answers the next requests instead, one each; the last one stays where ``forever``.
    """

    answer: Callable[[dict[str, Any]], str]
    faults: list[Fault] = field(default_factory=list)
    forever: bool = False
    url: str = ""
    model: str = "small"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def fault(self) -> Fault | None:
        if not self.faults:
            return None
        return self.faults[0] if self.forever else self.faults.pop(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: Asked

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        known = {"data": [{"id": self.asked.model}]}
        self.say(200 if self.path == "/v1/models" else 404, known if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("completions"):
            return self.say(404, {})
        self.asked.bodies.append(body)
        self.asked.keys.append(self.headers.get("Authorization"))
        if (fault := self.asked.fault()) is not None:
            return fault(self)
        return self.streamed(body) if body.get("stream") else self.say(200, self.whole(body))

    def streamed(self, body: dict[str, Any]) -> None:
        """The answer again and again, so often as tokens are asked for, each as an event."""
        said = self.asked.answer(body)
        piece = {"delta": {"content": said}} if "messages" in body else {"text": said}
        events = [{"model": self.asked.model, "choices": [{**piece, "finish_reason": None}]}] * body[
            "max_tokens"
        ]
        data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        self.send(200, data + b"data: [DONE]\n\n")

    def whole(self, body: dict[str, Any], model: str | None = None) -> dict[str, Any]:
        text = self.asked.answer(body)
        said = {"message": {"content": text}} if "messages" in body else {"text": text}
        return {"model": model or self.asked.model, "choices": [{**said, "finish_reason": "stop"}]}

    def say(self, status: int, content: Any, **headers: str) -> None:
        self.send(status, json.dumps(content).encode(), **headers)

    def send(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)


def status(code: int, **headers: str) -> Fault:
    return lambda handler: handler.say(code, {"error": {"message": f"that is {code}"}}, **headers)


def half(handler: Handler) -> None:
    data = json.dumps(handler.whole(handler.asked.bodies[-1])).encode()
    handler.send(200, data[:20], len(data))
    handler.close_connection = True


def half_chunked(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'14\r\n{"model": "small", "\r\n')
    handler.close_connection = True


def no_json(handler: Handler) -> None:
    handler.send(200, b"<html>gateway</html>")


def no_choices(handler: Handler) -> None:
    handler.say(200, {"model": "small", "object": "something"})


def deep(handler: Handler) -> None:
    """JSON that no reader goes down into."""
    handler.send(200, b"[" * 200_000)


def text_for_a_choice(handler: Handler) -> None:
    handler.say(200, {"model": "small", "choices": ["text"]})


def hangs_up(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


def another_model(handler: Handler) -> None:
    handler.say(200, handler.whole(handler.asked.bodies[-1], model="large"))


def drips_headers(handler: Handler) -> None:
    """Headers that come one after another and never end."""
    handler.send_response(200)
    handler.flush_headers()
    with contextlib.suppress(OSError):
        for _ in range(20):
            time.sleep(0.25)
            handler.wfile.write(b"X-More: yes\r\n")
    handler.close_connection = True


def drips(handler: Handler) -> None:
    """One byte after another, for ever so long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
    handler.close_connection = True


def silent(handler: Handler) -> None:
    time.sleep(3)
    handler.close_connection = True


@contextlib.contextmanager
def serving(answer: Callable[[dict[str, Any]], str]) -> Iterator[Asked]:
    """A server with a model that answers so."""
    asked = Asked(answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"asked": asked}))
    server.daemon_threads = True
    asked.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
