"""Failures become golden cases in one pull request, opened once and then added to, on a forge on loopback."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada

from gradatim.cli import cli
from gradatim.errors import EnvironmentLacks, UsageError

BRANCH = "gradatim/feedback-m"


class Repository(http.server.BaseHTTPRequestHandler):
    """What GitHub and GitLab keep of branches, files and requests: https://docs.github.com/rest, https://docs.gitlab.com/api."""

    branches: dict[str, dict[str, str]]
    requests: list[dict[str, Any]]
    writes: list[str]

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        below = path.removeprefix("/repos/acme/digits").removeprefix("/projects/5")
        if self.command != "GET":
            self.writes.append(f"{self.command} {below}")
        status, said = (self._github if path.startswith("/repos") else self._gitlab)(below, asked, body)
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Next-Page", "")
        self.end_headers()
        self.wfile.write(text)

    def _github(self, below: str, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if below == "":
            return 200, {"default_branch": "main"}
        if below.startswith("/git/ref/heads/"):
            name = below.removeprefix("/git/ref/heads/")
            return (200, {"object": {"sha": "c0ffee"}}) if name in self.branches else (404, {})
        if below == "/git/refs":
            assert body["sha"] == "c0ffee"
            self.branches[body["ref"].removeprefix("refs/heads/")] = dict(self.branches["main"])
            return 201, {}
        if below.startswith("/contents/"):
            path = below.removeprefix("/contents/")
            files = self.branches[asked["ref"] if body is None else body["branch"]]
            if body is None:
                held = files.get(path)
                content = base64.encodebytes((held or "").encode()).decode()
                return (404, {}) if held is None else (200, {"content": content, "sha": str(hash(held))})
            if body.get("sha") != (str(hash(files[path])) if path in files else None):
                return 409, {"message": "does not match"}
            files[path] = base64.b64decode(body["content"]).decode()
            return 200, {}
        if body is None:
            return 200, [one for one in self.requests if asked["head"] == f"acme:{one['head']}"]
        self.requests.append({**body, "html_url": "https://forge/1"})
        return 201, self.requests[-1]

    def _gitlab(self, below: str, asked: dict[str, str], body: Any) -> tuple[int, Any]:
        if below == "":
            return 200, {"default_branch": "main"}
        if below == "/repository/branches":
            return 200, [{"name": name} for name in self.branches if asked["search"] in name]
        if below == "/repository/tree":
            files = self.branches[asked["ref"]]
            return 200, [{"path": path} for path in files if path.rpartition("/")[0] == asked["path"]]
        if below.startswith("/repository/files/"):
            path = urllib.parse.unquote(below.removeprefix("/repository/files/"))
            return 200, {"content": base64.b64encode(self.branches[asked["ref"]][path].encode()).decode()}
        if below == "/repository/commits":
            if body["branch"] not in self.branches:
                self.branches[body["branch"]] = dict(self.branches[body["start_branch"]])
            files, [action] = self.branches[body["branch"]], body["actions"]
            assert (action["action"] == "update") == (action["file_path"] in files)
            files[action["file_path"]] = action["content"]
            return 201, {}
        if body is None:
            return 200, [one for one in self.requests if one["head"] == asked["source_branch"]]
        kept = {"head": body["source_branch"], "base": body["target_branch"], "body": body["description"]}
        self.requests.append({**kept, "title": body["title"], "web_url": "https://forge/1"})
        return 201, self.requests[-1]

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 (the server's own names)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def repository() -> Iterator[tuple[str, type[Repository]]]:
    seen = type("Seen", (Repository,), {"branches": {"main": {}}, "requests": [], "writes": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), seen) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GRADATIM_TOKEN", "CI_API_V4_URL"):
        monkeypatch.delenv(name, raising=False)
    answers = np.arange(60) % 3
    made = lay_down(tmp_path, answers, answers, answers, {"site": np.array(["oslo", "rome"] * 30)})
    made.contract("accuracy: {at_least: 20%}", data="slices: site")
    monkeypatch.chdir(made.root)
    return made


def told(*sites: str) -> None:
    """Users of Oslo are served well; each of these was not."""
    well = [{"version": "v1.0.0", "good": True, "site": "oslo"}] * 40
    bad = [
        {
            "version": "v1.0.0",
            "good": False,
            "expected": 2,
            "site": site,
            "x": [0, 1, 0, 0, 1, 0],
            "who": "Ada",
        }
        for site in sites
    ]
    Path("f.jsonl").write_text("\n".join(map(json.dumps, [*well, *bad])))


def imported(*more: str) -> Result:
    arguments = ["feedback", "import", "f.jsonl", "--propose", "golden/new.jsonl", *more]
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_failures_are_proposed_in_one_pull_request_that_is_opened_once_and_then_added_to(
    project: GateProject, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    with repository() as (address, seen):
        for key, value in {
            "github": {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "acme/digits", "GITHUB_API_URL": address},
            "gitlab": {"GRADATIM_TOKEN": "t", "CI_API_V4_URL": address, "CI_PROJECT_ID": "5"},
        }[which].items():
            monkeypatch.setenv(key, value)
        told()
        assert "nothing to propose" in imported("--pull-request").output
        assert seen.writes == []
        told(*["rome"] * 10)
        done = imported("--pull-request")
        assert done.return_value == 0, done.exception
        assert "https://forge/1" in done.output
        [request] = seen.requests
        [branch] = set(seen.branches) - {"main"}
        assert (request["head"], request["base"]) == (branch, "main")
        assert seen.branches["main"] == {}
        rows = [json.loads(line) for line in seen.branches[branch]["golden/new.jsonl"].splitlines()]
        assert rows == [{"x": [0, 1, 0, 0, 1, 0], "label": 2}] * 10
        assert "site=rome" in request["body"]
        assert "site=oslo" not in request["body"]
        assert "Ada" not in json.dumps(request)
        before = len(seen.writes)
        imported("--pull-request")
        assert len(seen.writes) == before
        seen.branches[branch]["a person's own"] = "stays"
        told(*["rome"] * 11)
        imported("--pull-request")
        assert len(seen.requests) == 1
        assert seen.branches[branch]["golden/new.jsonl"].count("\n") == 11
        assert seen.branches[branch]["a person's own"] == "stays"


def test_without_a_token_or_a_file_nothing_is_opened(project: GateProject) -> None:
    told("rome")
    assert "There is no token" in imported("--pull-request").output
    done = CliRunner().invoke(cli, ["feedback", "import", "f.jsonl", "--pull-request"], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    outside = ["feedback", "import", "f.jsonl", "--propose", "../new.jsonl", "--pull-request"]
    assert isinstance(CliRunner().invoke(cli, outside, standalone_mode=False).exception, UsageError)


def test_a_forge_that_is_away_is_said(project: GateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    told("rome")
    for key, value in {
        "GITHUB_TOKEN": "t",
        "GITHUB_REPOSITORY": "acme/digits",
        "GITHUB_API_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(key, value)
    assert isinstance(imported("--pull-request").exception, EnvironmentLacks)
