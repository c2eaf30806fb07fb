"""A repository on GitHub as far as its REST API shows it: bodies are checked against GitHub's own OpenAPI description."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPENAPI = json.loads((Path(__file__).parent / "github_openapi.json").read_text(encoding="utf-8"))
_PATHS = {
    key: re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(key.split()[1])))
    for key in OPENAPI["bodies"]
}


class Repository:
    """What is set, and every call that was made."""

    def __init__(self) -> None:
        self.rulesets: dict[int, dict[str, Any]] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.comments: list[dict[str, Any]] = []
        self.reviews: dict[str, list[dict[str, Any]]] = {}
        self.writes: list[tuple[str, str]] = []
        self.tokens: set[str] = set()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        if method != "GET":
            self.writes.append((method, path))
            check(method, path, body)
        below = path.removeprefix("/repos/acme/digits/").split("/")
        match method, below:
            case "GET", ["rulesets"]:
                return 200, [{"id": number, "name": rules["name"]} for number, rules in self.rulesets.items()]
            case "GET", ["rulesets", number]:
                return 200, {**self.rulesets[int(number)], "id": int(number), "node_id": "more than was sent"}
            case "POST", ["rulesets"]:
                self.rulesets[len(self.rulesets) + 1] = body
                return 201, body
            case "PUT", ["rulesets", number]:
                self.rulesets[int(number)] = body
                return 200, body
            case "GET", ["actions", "runs", run, "approvals"]:
                return (200, self.reviews[run]) if run in self.reviews else (404, {"message": "Not Found"})
            case "GET", ["environments", name]:
                return (
                    (200, self.environments[name])
                    if name in self.environments
                    else (404, {"message": "Not Found"})
                )
            case "PUT", ["environments", name]:
                asked = [{"type": r["type"], "reviewer": {"id": r["id"]}} for r in body["reviewers"]]
                rule = {
                    "type": "required_reviewers", "reviewers": asked, "prevent_self_review": body["prevent_self_review"]
                }  # fmt: skip
                policy = body["deployment_branch_policy"]
                self.environments[name] = {
                    "name": name, "protection_rules": [rule] if asked else [], "deployment_branch_policy": policy
                }  # fmt: skip
                return 200, self.environments[name]
            case "GET", ["environments", name, "deployment-branch-policies"]:
                return 200, {"branch_policies": self.policies.get(name, [])}
            case "POST", ["environments", name, "deployment-branch-policies"]:
                self.policies.setdefault(name, []).append(body)
                return 200, body
            case "GET", ["issues", "7", "comments"]:
                page = int(re.search(r"&page=(\d+)", f"&{query}")[1])  # type: ignore[index]
                return 200, self.comments[(page - 1) * 100 : page * 100]
            case "POST", ["issues", "7", "comments"]:
                self.comments.append(
                    {"id": 900, "user": {"type": "Bot"}, "html_url": "https://comment/900", **body}
                )
                return 201, self.comments[-1]
            case "PATCH", ["issues", "comments", number]:
                found = next(comment for comment in self.comments if comment["id"] == int(number))
                found.update(body)
                return 200, found
            case "GET", ["", "users", login]:
                return (
                    (200, {"id": 41, "login": login}) if login == "alice" else (404, {"message": "Not Found"})
                )
            case "GET", ["", "orgs", "acme", "teams", "release"]:
                return 200, {"id": 42}
        return 404, {"message": "Not Found"}


def review(by: str, environment: str, state: str = "approved") -> dict[str, Any]:
    """One entry of a run's review history, as GitHub's own document has it."""
    import jsonschema

    documented = OPENAPI["answers"]["GET /repos/{owner}/{repo}/actions/runs/{run_id}/approvals"]
    found: dict[str, Any] = json.loads(json.dumps(documented["example"][0]))
    found["state"], found["user"]["login"], found["environments"][0]["name"] = state, by, environment
    schema = {**documented["schema"], "$defs": OPENAPI["$defs"]}
    jsonschema.Draft202012Validator(schema).validate([found])
    return found


def check(method: str, path: str, body: Any) -> None:
    """Hold a body against GitHub's description of the call."""
    import jsonschema

    key = next(key for key, pattern in _PATHS.items() if key.startswith(method) and pattern.fullmatch(path))
    jsonschema.Draft202012Validator({**OPENAPI["bodies"][key], "$defs": OPENAPI["$defs"]}).validate(body)


@contextmanager
def served(repository: Repository) -> Iterator[str]:
    """The address under which a repository answers."""

    class Api(http.server.BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            repository.tokens.add(self.headers["Authorization"])
            status, value = repository.answer(self.command, self.path, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = _handle  # noqa: N815 (names of the standard library)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
