"""protect and doctor on GitLab, against a project whose bodies are held to GitLab's own OpenAPI document."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from click.testing import CliRunner, Result

from gradatim.ci.gitlab_checkup import check_include
from gradatim.ci.gitlab_project import GitLabProject
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import EnvironmentLacks, UsageError
from gradatim.rendering.gitlab import render_caller
from gradatim.rendering.jobs import Consumer

BODIES = json.loads((Path(__file__).parent / "gitlab_settings_openapi.json").read_text(encoding="utf-8"))[
    "bodies"
]
CONTRACT = """
model: {name: digits, path: digits.onnx}
stages:
  beta: {branch: release/next}
  production: {branch: main, approval: required}
"""


class Project:
    """What is set in the project acme/models/digits, and every call that was made."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"id": 7, "allow_merge_on_skipped_pipeline": None}
        self.protected: dict[str, dict[str, dict[str, Any]]] = {
            "protected_branches": {}, "protected_tags": {}, "protected_environments": {}
        }  # fmt: skip
        self.premium = True
        self.writes: list[tuple[str, str]] = []
        self.tokens: set[str] = set()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path, _, query = path.removeprefix("/api/v4").partition("?")
        if method != "GET":
            self.writes.append((method, path))
            check(method, path, body)
        if path == "/users":
            return 200, [{"id": 41, "username": "alice"}] if query == "username=alice" else []
        if path == "/groups/acme%2Frelease":
            return 200, {"id": 42}
        kind, _, name = path.removeprefix("/projects/acme%2Fmodels%2Fdigits").strip("/").partition("/")
        if not kind and path.startswith("/projects/acme%2Fmodels%2Fdigits"):
            self.settings |= body or {}
            return 200, self.settings
        there, name = self.protected.get(kind), unquote(name)
        if there is None or (kind == "protected_environments" and not self.premium):
            return 404, {"message": "404 Not Found"}
        match method:
            case "POST":
                assert body["name"] not in there, "409 Conflict"
                there[body["name"]] = _shown(body)
                return 201, there[body["name"]]
            case "DELETE":
                del there[name]
                return 204, None
        if not name:
            return 200, list(there.values())
        return (200, there[name]) if name in there else (404, {"message": "404 Not Found"})


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    """What GitLab answers with: levels as lists of who has them."""
    levels = {f"{key}s": [{"id": 1, "access_level": value, "user_id": None, "group_id": None}] for key, value in body.items()
              if key.endswith("_access_level")}  # fmt: skip
    return {**body, **levels}


def check(method: str, path: str, body: Any) -> None:
    """Hold a body against GitLab's description of the call; a field of another name is no field of GitLab's."""
    jsonschema = pytest.importorskip("jsonschema")
    if method == "DELETE":
        return
    if path.endswith("/protected_environments"):
        from gitlab.v4.objects import ProjectProtectedEnvironmentManager

        known = ProjectProtectedEnvironmentManager._create_attrs
        assert set(known.required) <= set(body) <= {*known.required, *known.optional}
        return
    schema = BODIES[f"{method} /projects/{{id}}{path.removeprefix('/projects/acme%2Fmodels%2Fdigits')}"]
    jsonschema.Draft202012Validator({**schema, "additionalProperties": False}).validate(body)


@pytest.fixture
def project() -> Iterator[Project]:
    made = Project()

    class Api(http.server.BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            made.tokens.add(self.headers["PRIVATE-TOKEN"])
            status, value = made.answer(self.command, self.path, body)
            data = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 (names of the standard library)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.address = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield made
    server.shutdown()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """gradatim in a repository that was cloned from GitLab, with the include that is rendered for it."""
    (tmp_path / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
    consumer = Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path, commit="a" * 40)
    (tmp_path / ".gitlab-ci.yml").write_text(render_caller(consumer), encoding="utf-8")
    for command in (
        ["init", "-q", "-b", "main"], ["remote", "add", "origin", "git@gitlab.com:acme/models/digits.git"], ["add", "-A"],
        ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "a contract"], ["branch", "release/next"],
    ):  # fmt: skip
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.chdir(tmp_path)
    for name in ("GITLAB_CI", "CI_SERVER_URL", "CI_PROJECT_PATH", "GITLAB_TOKEN", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(cli, [*arguments], standalone_mode=False)


@pytest.fixture
def asked(
    call: Callable[..., Result], project: Project, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The same with a token."""
    pytest.importorskip("gitlab")
    monkeypatch.setenv("GITLAB_TOKEN", "hush")
    monkeypatch.setenv("CI_SERVER_URL", project.address)  # type: ignore[attr-defined]
    return call


def test_a_branch_that_two_models_share_is_guarded_as_the_stricter_one_wants_whichever_is_asked(
    asked: Callable[..., Result], project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "models/text"
    other.mkdir(parents=True)
    text = (
        "model: {name: text, path: t.onnx}\nregistry: {tags: named}\nstages: {production: {branch: main}}\n"
    )
    (other / "gradatim.yml").write_text(text, encoding="utf-8")
    assert asked("protect", "--reviewer", "alice", "--apply").exception is None
    before = json.dumps(project.protected)
    monkeypatch.chdir(other)
    done = asked("protect", "--reviewer", "alice", "--apply")
    assert "is set as the contract wants it" in done.output, done.output
    assert json.dumps(project.protected) == before
    assert project.protected["protected_branches"]["main"]["merge_access_level"] == 40


def test_protect_sets_branches_tags_and_environments_once_and_asks_before(
    asked: Callable[..., Result], project: Project
) -> None:
    shown = asked("protect", "--reviewer", "alice")
    assert shown.exception is None, shown.exception
    assert (
        "would  release/next: changed by merge requests of developers only, never rewritten" in shown.output
    )
    assert "would  environment release/main: somebody must approve" in shown.output
    assert project.writes == []
    assert "hush" not in shown.output
    done = asked("protect", "--reviewer", "alice", "--team", "acme/release", "--apply")
    assert done.exception is None, done.exception
    branches = project.protected["protected_branches"]
    assert {name: (one["push_access_level"], one["merge_access_level"]) for name, one in branches.items()} == {
        "release/next": (0, 30), "main": (0, 40)
    }  # fmt: skip
    assert set(project.protected["protected_tags"]) == {"v*", "*@v*", "*#*"}
    environments = project.protected["protected_environments"]
    assert set(environments) == {"release/main", "release/production"}
    assert environments["release/main"]["approval_rules"] == [
        {"user_id": 41, "required_approvals": 1}, {"group_id": 42, "required_approvals": 1}
    ]  # fmt: skip
    assert project.settings["only_allow_merge_if_pipeline_succeeds"] is True
    assert project.tokens == {"hush"}
    again = asked("protect", "--reviewer", "alice", "--team", "acme/release")
    assert again.output == "acme/models/digits is set as the contract wants it.\n"


def test_a_branch_that_is_protected_otherwise_is_protected_anew(
    asked: Callable[..., Result], project: Project
) -> None:
    project.protected["protected_branches"]["main"] = _shown(
        {"name": "main", "push_access_level": 40, "merge_access_level": 40}
    )
    calls = json.loads(asked("protect", "--reviewer", "alice", "--json").output)["calls"]
    ours = [(one["method"], unquote(one["path"])) for one in calls if one["purpose"].startswith("main:")]
    below = "/projects/acme/models/digits/protected_branches"
    assert ours == [("DELETE", f"{below}/main"), ("POST", below)]


def test_where_environments_cannot_be_protected_it_is_said_who_lets_a_release_through(
    asked: Callable[..., Result], project: Project
) -> None:
    project.premium = False
    done = asked("protect", "--reviewer", "alice", "--apply")
    assert done.exception is None, done.exception
    assert (
        "This GitLab protects no environments, so nobody must approve a deployment to production"
        in done.output
    )
    found = asked("doctor", "--json")
    assert [one["trap"] for one in json.loads(found.output)["findings"]] == ["no approvals"]


def test_protect_shows_its_plan_without_a_token(call: Callable[..., Result]) -> None:
    shown = call("protect", "--reviewer", "alice")
    assert shown.exception is None, shown.exception
    assert "POST /projects/acme%2Fmodels%2Fdigits/protected_tags" in shown.output
    assert "There is no token, so nothing was compared" in shown.output
    assert "GITLAB_TOKEN" in shown.output


def test_nobody_approves_by_an_empty_list_or_an_unknown_name(asked: Callable[..., Result]) -> None:
    for arguments, said in (
        ((), "--reviewer USER"),
        (("--reviewer", "bob"), "no user 'bob' on GitLab"),
        (("--app", "7"), "a role"),
    ):
        failed = asked("protect", *arguments).exception
        assert isinstance(failed, UsageError)
        assert said in str(failed)


def test_doctor_asks_for_what_protect_sets_and_is_content_after_it(asked: Callable[..., Result]) -> None:
    before = json.loads(asked("doctor", "--json").output)
    assert before["settings"] is True
    assert {one["trap"] for one in before["findings"]} == {"unprotected"}
    assert asked("protect", "--reviewer", "alice", "--apply").exception is None
    after = asked("doctor", "--json")
    assert json.loads(after.output) == {"findings": [], "settings": True}


def test_a_refusal_of_gitlab_is_told_in_its_own_words(asked: Callable[..., Result], project: Project) -> None:
    project.answer = lambda *_: (401, {"message": "401 Unauthorized"})  # type: ignore[method-assign]
    failed = asked("protect", "--reviewer", "alice").exception
    assert isinstance(failed, EnvironmentLacks)
    assert "401" in str(failed)
    assert "hush" not in str(failed)


@pytest.mark.parametrize(
    ("trap", "old", "new"),
    [
        ("no include", "include:", "x-include:"),
        ("not pinned", "a" * 40, "main"),
        ("branch not listed", "release/next", "staging"),
        ("no merge requests", "include:", "workflow: {rules: [{if: $CI_COMMIT_BRANCH}, {if: $CI_COMMIT_TAG}]}\ninclude:"),
        ("tag not listed", "include:", 'workflow: {rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}]}\ninclude:'),
        ("no YAML", "include:", "include: ["),
        ("no YAML", "include:", "x: !!bool m\ninclude:"),
        ("no YAML", "include:", f"x: {'[' * 2000}{']' * 2000}\ninclude:"),
    ],
)  # fmt: skip
def test_doctor_finds_each_trap_of_gitlab_at_its_line(
    call: Callable[..., Result], trap: str, old: str, new: str
) -> None:
    path = Path(".gitlab-ci.yml")
    text = path.read_text(encoding="utf-8")
    contract = read_contract(Path("gradatim.yml")).parts
    assert list(check_include(contract, Path())) == []
    written = text.replace(old, new)
    assert written != text
    if trap == "not pinned":
        written = "".join(line for line in written.splitlines(keepends=True) if "integrity" not in line)
    path.write_text(written, encoding="utf-8")
    (found,) = check_include(contract, Path())
    assert found.trap == trap
    assert found.where.startswith(".gitlab-ci.yml")


def test_an_include_that_cannot_be_told_from_others_breaks_nothing(call: Callable[..., Result]) -> None:
    path = Path(".gitlab-ci.yml")
    path.write_text(
        path.read_text(encoding="utf-8") + "\nother:\n  script: !reference [.one, script]\n", encoding="utf-8"
    )
    assert list(check_include(read_contract(Path("gradatim.yml")).parts, Path())) == []
    assert yaml.safe_load("include: x")


def test_doctor_reads_what_the_pipeline_includes_from_the_repository_itself(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    contract = read_contract(Path("gradatim.yml")).parts
    text = Path(".gitlab-ci.yml").read_text(encoding="utf-8")
    (tmp_path / "ci").mkdir()
    Path(".gitlab-ci.yml").write_text(
        "include:\n  - local: /ci/ml.yml\n  - local: ci/none.yml\n", encoding="utf-8"
    )
    Path("ci/ml.yml").write_text(text, encoding="utf-8")
    assert list(check_include(contract, Path())) == []
    Path("ci/ml.yml").write_text(re.sub("release/next|release\\W+next", "other", text), encoding="utf-8")
    (found,) = check_include(contract, Path())
    assert found.trap == "branch not listed"
    assert found.where.startswith("ci/ml.yml:")
    (tmp_path.parent / "secret").write_text("a secret: [", encoding="utf-8")
    odd = 'include: [{local: ../secret}, {local: "a\\0b"}, {local: [x]}, {local: .gitlab-ci.yml, inputs: [1]}, 7]\n'
    Path("ci/ml.yml").write_text(odd, encoding="utf-8")
    assert [one.trap for one in check_include(contract, Path())] == ["no include"], "a circle comes to an end"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ci/*.yml", True),
        ("/ci/**.yml", True),
        ("**.yml", True),
        ("ci/**/*.yml", False),
        ("*.yml", False),
        ("ci/*.yaml", False),
    ],
)
def test_doctor_follows_wildcards_as_gitlab_does(
    written: str, read: bool, call: Callable[..., Result]
) -> None:
    contract = read_contract(Path("gradatim.yml")).parts
    Path("ci").mkdir()
    Path("ci/ml.yml").write_text(Path(".gitlab-ci.yml").read_text(encoding="utf-8"), encoding="utf-8")
    Path(".gitlab-ci.yml").write_text(f'include: "{written}"\n', encoding="utf-8")
    assert [one.trap for one in check_include(contract, Path())] == ([] if read else ["no include"])


def test_doctor_finds_includes_of_several_models_whose_jobs_would_replace_one_another(
    call: Callable[..., Result],
) -> None:
    contract = read_contract(Path("gradatim.yml")).parts
    one = Path(".gitlab-ci.yml").read_text(encoding="utf-8")
    second = one.partition("include:\n")[2]
    Path(".gitlab-ci.yml").write_text(one + second, encoding="utf-8")
    (found,) = check_include(contract, Path())
    assert found.trap == "jobs mixed up"
    assert "`gradatim-`" in found.text
    assert "job-prefix" in found.text
    named = second.replace("    inputs:\n", "    inputs:\n      job-prefix: text-\n")
    Path(".gitlab-ci.yml").write_text(one + named, encoding="utf-8")
    assert list(check_include(contract, Path())) == []


@pytest.mark.parametrize("stages", ["[check, ship]", "\n  - check\n  - ship # it", "[test]"])
def test_doctor_finds_jobs_whose_stage_the_pipeline_does_not_have(
    stages: str, call: Callable[..., Result]
) -> None:
    contract = read_contract(Path("gradatim.yml")).parts
    text = Path(".gitlab-ci.yml").read_text(encoding="utf-8")
    Path(".gitlab-ci.yml").write_text(f"stages: {stages}\n{text}", encoding="utf-8")
    found = list(check_include(contract, Path()))
    assert {one.trap for one in found} == {"no stage"}
    missing = {"deploy"} if stages == "[test]" else {"test", "deploy"}
    assert {name for name in ("test", "deploy") for one in found if f"`{name}`" in one.text} == missing
    named = text.replace(
        "    inputs:\n", "    inputs:\n      checks-stage: check\n      release-stage: ship\n"
    )
    Path(".gitlab-ci.yml").write_text(f"stages: [check, ship]\n{named}", encoding="utf-8")
    assert list(check_include(contract, Path())) == []


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://gitlab.example.com/acme/models/digits.git", "acme/models/digits"),
        ("https://oauth2:secret@gitlab.example.com:8443/acme/digits", "acme/digits"),
        ("git@gitlab.com:acme/digits.git", "acme/digits"),
        ("ssh://git@gitlab.com:2222/acme/a/b/digits.git/", "acme/a/b/digits"),
    ],
)
def test_the_project_is_the_one_that_the_remote_leads_to(url: str, path: str) -> None:
    assert GitLabProject.found({}, url, None).path == path
    with pytest.raises(UsageError, match="--repository"):
        GitLabProject.found({}, "/srv/remote.git", None)
