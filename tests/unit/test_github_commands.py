"""gradatim ci and doctor on the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gradatim.cli import cli
from gradatim.errors import BrokenEvidence, EnvironmentLacks, UsageError
from gradatim.files import sha256_file
from gradatim.rendering.workflows import CALLER

CONTRACT = "model: {name: digits, path: model/m.onnx}\nstages: {beta: {branch: staging}, production: {branch: main}}\n"
Command = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
    settings = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        [*settings, "commit", "-qm", "a contract"],
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("GITHUB_") or name == "GH_TOKEN"]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def gradatim(project: Path) -> Command:
    return lambda *arguments: CliRunner().invoke(cli, [*arguments], standalone_mode=False)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runner of GitHub with a push to staging; the folder holds what is said to it."""
    event = tmp_path / "event.json"
    event.write_text("{}", encoding="utf-8")
    for name, value in {
        "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "staging", "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return tmp_path


def test_plan_tells_the_workflow_what_to_do(gradatim: Command, runner: Path) -> None:
    found = gradatim("ci", "plan", "--json")
    (said,) = re.findall(
        r"^plan<<(end-\w+)\n(.*)\n\1$", (runner / "output").read_text(encoding="utf-8"), re.MULTILINE
    )
    plan = json.loads(said[1])
    assert plan == json.loads(found.output)
    assert (plan["kind"], plan["runner"]) == ("release", ["ubuntu-latest"])
    assert (plan["contract"], plan["requirements"]) == ("gradatim.yml", "")


def test_dependabots_pull_request_ends_with_a_clear_word_and_asks_for_nothing_that_its_token_cannot_do(
    gradatim: Command, project: Path, runner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"repo": {"full_name": "acme/digits"}}
    pull = {"number": 7, "user": {"login": "dependabot[bot]"}, "head": one, "base": one}
    (runner / "event.json").write_text(json.dumps({"pull_request": pull}), encoding="utf-8")
    contract = project / "gradatim.yml"
    contract.write_text(
        contract.read_text(encoding="utf-8") + "publish: [{s3: s3://models/m}]\n", encoding="utf-8"
    )
    for name, value in (
        ("GITHUB_EVENT_NAME", "pull_request"), ("GITHUB_EVENT_PATH", str(runner / "event.json")),
        ("GITHUB_STEP_SUMMARY", str(runner / "page")), ("GITHUB_ACTOR", "ada"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert json.loads(gradatim("ci", "plan", "--json").output)["fetch"]
    assert not (runner / "page").exists()
    monkeypatch.setenv("GITHUB_ACTOR", "dependabot[bot]")
    plan = json.loads(gradatim("ci", "plan", "--json").output)
    assert (plan["kind"], plan["checks"], plan["fetch"], plan["count"]) == ("check", True, False, False)
    page = (runner / "page").read_text(encoding="utf-8")
    assert page.startswith(
        "This pull request is Dependabot's. GitHub gives its run a token that can only read, and no secrets"
    )
    said = gradatim("ci", "comment")
    assert said.exception is None
    assert "No comment was written." in said.output


def test_plan_is_of_no_use_on_a_laptop_and_says_so(gradatim: Command) -> None:
    assert isinstance(gradatim("ci", "plan").exception, UsageError)


def test_a_built_model_travels_and_a_committed_one_does_not(
    gradatim: Command, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "empty", [], [])
    (project / "model").mkdir()
    onnx.save(onnx.helper.make_model(graph), project / "model/m.onnx")
    archive = tmp_path / "down/build.tar"
    assert gradatim("ci", "pack", "--to", str(archive)).exception is None
    (project / "model/m.onnx").unlink()
    monkeypatch.setenv("NEEDS", json.dumps({"build": {"outputs": {"workspace": sha256_file(archive)}}}))
    assert gradatim("ci", "unpack", "--from", str(archive.parent)).output.startswith("1 files of build")
    assert (project / "model/m.onnx").exists()
    subprocess.run(["git", "add", "model/m.onnx"], check=True)
    (project / ".gradatim/.arrived.json").unlink()
    gradatim("ci", "pack", "--to", str(tmp_path / "again.tar"))
    import tarfile

    with tarfile.open(tmp_path / "again.tar") as tar:
        assert tar.getnames() == []


def test_nothing_is_taken_over_without_digests(
    gradatim: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEEDS", raising=False)
    assert isinstance(gradatim("ci", "unpack", "--from", str(tmp_path)).exception, EnvironmentLacks)


def test_a_caller_is_written_once_and_never_over_somebodys_own(gradatim: Command, project: Path) -> None:
    assert gradatim("ci", "caller").exception is None
    text = (project / CALLER).read_text(encoding="utf-8")
    assert '"staging", "main"' in text
    assert gradatim("ci", "caller").exception is None
    (project / CALLER).write_text("name: mine\n", encoding="utf-8")
    assert isinstance(gradatim("ci", "caller").exception, UsageError)
    assert (project / CALLER).read_text(encoding="utf-8") == "name: mine\n"
    assert gradatim("ci", "caller", "--force").exception is None
    assert (project / CALLER).read_text(encoding="utf-8") == text


def test_a_comment_needs_a_pull_request_and_a_report(gradatim: Command, runner: Path) -> None:
    assert isinstance(gradatim("ci", "comment").exception, UsageError)
    (runner / "event.json").write_text('{"pull_request": {"number": 7}}', encoding="utf-8")
    assert isinstance(gradatim("ci", "comment").exception, BrokenEvidence)


def test_the_report_of_an_iteration_lands_on_the_runs_page(gradatim: Command, runner: Path) -> None:
    tag = [
        "git",
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
        "tag",
        "-a",
        "v1.0.0",
        "-m",
        "| first | <b>",
    ]
    subprocess.run(tag, check=True)
    assert gradatim("ci", "report").exception is None
    summary = (runner / "summary").read_text(encoding="utf-8")
    assert "| stage | holds | since |" in summary
    assert "v1.0.0" in summary


def test_doctor_ends_red_while_there_is_a_trap_and_green_without(gradatim: Command, project: Path) -> None:
    before = gradatim("doctor", "--offline", "--json")
    assert before.return_value == 1
    assert {entry["trap"] for entry in json.loads(before.output)["findings"]} == {"no workflow", "no branch"}
    gradatim("ci", "caller")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(
        ["git", "-c", "user.name=Ada", "-c", "user.email=a@b.c", "commit", "-qm", "workflow"], check=True
    )
    subprocess.run(["git", "branch", "staging"], check=True)
    after = gradatim("doctor")
    assert after.return_value == 0, after.output
    assert "0 traps" in after.output


def test_the_report_of_an_iteration_is_named_for_the_artifact_that_keeps_its_pictures_also_where_the_forge_is_away(
    gradatim: Command, project: Path, runner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gradatim("ci", "report").exception is None
    assert not (runner / "output").exists(), "no report is due"
    with (project / "gradatim.yml").open("a", encoding="utf-8") as file:
        file.write("iteration: {cadence: weekly}\n")
    for name, value in {"TOKEN": "t", "REPOSITORY": "acme/digits", "API_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert isinstance(gradatim("ci", "report").exception, EnvironmentLacks)
    told = re.search(
        r"^report<<(\S+)\n(.*)\n\1$", (runner / "output").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert told is not None
    assert (project / told[2]).read_text(encoding="utf-8").startswith("<!doctype html>")
