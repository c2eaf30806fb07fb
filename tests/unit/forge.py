"""A forge on loopback that keeps issues, and the notes of a merge request, as GitHub and GitLab do."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Forge(http.server.BaseHTTPRequestHandler):
    """Issues as GitHub and GitLab keep them, and notes as GitLab does, two a page."""

    issues: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    calls: list[tuple[str, str]]
    tokens: set[str | None]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        path, _, query = self.path.partition("?")
        self.calls.append((self.command, path))
        self.tokens.add(self.headers["PRIVATE-TOKEN"])
        said: Any = {"id": 7}
        more = ""
        if path.endswith("/notes") and self.command == "GET":
            page = int(dict(urllib.parse.parse_qsl(query)).get("page", 1))
            said = self.notes[2 * page - 2 : 2 * page]
            more = str(page + 1) if len(self.notes) > 2 * page else ""
        elif path.endswith("/notes"):
            said = {"id": 40 + len(self.notes), "author": {"id": 7}, "system": False, **body}
            self.notes.append(said)
        elif "/notes/" in path:
            said = next(note for note in self.notes if str(note["id"]) == path.rpartition("/")[2])
            said.update(body)
        elif path.endswith("/issues") and self.command == "GET":
            wanted = dict(urllib.parse.parse_qsl(query)).get("labels")
            said = [one for one in self.issues if wanted is None or wanted in one.get("labels", ())]
        elif "/issues" in path and self.command != "GET":
            said = {"html_url": f"https://forge{path}", "web_url": f"https://forge{path}", **body}
            if self.command == "POST":
                self.issues.append(
                    {**body, "number": 3, "iid": 3, "user": {"type": "Bot"}, "author": {"id": 7}}
                )
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Next-Page", more)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 (the server's own names)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def forge(*issues: dict[str, Any]) -> Iterator[tuple[str, type[Forge]]]:
    seen = type("Seen", (Forge,), {"issues": list(issues), "notes": [], "calls": [], "tokens": set()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), seen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
