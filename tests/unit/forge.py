"""A forge on loopback that keeps issues, and the notes of a merge request, as GitHub and GitLab do."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Forge(http.server.BaseHTTPRequestHandler):
    """Issues as GitHub and GitLab keep them."""

    issues: list[dict[str, Any]]
    calls: list[tuple[str, str]]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        path = self.path.partition("?")[0]
        self.calls.append((self.command, path))
        said: Any = {"id": 7}
        if path.endswith("/issues") and self.command == "GET":
            said = self.issues
        elif "/issues" in path and self.command != "GET":
            said = {"html_url": f"https://forge{path}", "web_url": f"https://forge{path}", **body}
            if self.command == "POST":
                self.issues.append(
                    {**body, "number": 3, "iid": 3, "user": {"type": "Bot"}, "author": {"id": 7}}
                )
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 (the server's own names)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def forge(*issues: dict[str, Any]) -> Iterator[tuple[str, type[Forge]]]:
    seen = type("Seen", (Forge,), {"issues": list(issues), "calls": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), seen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
