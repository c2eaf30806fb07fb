"""What is said to GitHub's runner: it obeys the kit, and nothing that a name, a model or a program smuggles in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gate_project import GateProject, lay_down
from hypothesis import given
from hypothesis import strategies as st

from gradatim.ci.github import GitHub
from gradatim.cli import cli

TOP = Path(__file__).resolve().parents[2]
NASTY = "x'\";$(touch pwned)`touch pwned`\r\n::error::spoofed\n  ::stop-commands::all\n##[error]spoofed ${{ github.token }} %0A,:"
LABELS = np.arange(240) % 3


def obeyed(said: str) -> list[tuple[str, str, str]]:
    """The commands that GitHub's runner would obey: (name, properties, data), read by the rules of actions/runner.

    Source: ActionCommand.cs and ActionCommandManager.cs of https://github.com/actions/runner.
    """
    found, waiting = [], ""
    for line in re.split(r"\r\n|\r|\n", said):
        match = re.match(r"\s*::([\w-]+)(?: ([^:]*(?:%3A[^:]*)*))?::(.*)", line) or re.search(
            r"##\[([\w-]+)( [^\]]*)?\](.*)", line
        )
        resumes = re.match(r"\s*::([\w-]+)::", line)
        if waiting:
            waiting = "" if resumes and resumes[1] == waiting else waiting
        elif match and match[1] == "stop-commands":
            waiting = match[3]
        elif match:
            found.append((match[1], match[2] or "", match[3]))
    return found


def test_a_refusal_is_one_error_at_its_line_whatever_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    GitHub({}).refuse(NASTY, file="a,b:c\n.yml", line=7, title=NASTY)
    ((name, properties, data),) = obeyed(capfd.readouterr().err)
    assert name == "error"
    assert properties.startswith("file=a%2Cb%3Ac%0A.yml,line=7,title=x'")
    assert properties.count(",") == 2
    assert data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") == NASTY


@given(st.text())
def test_no_text_is_obeyed_once_it_is_harmless(text: str) -> None:
    said = GitHub({}).harmless(f"\x1b[31m{text}\x1b[0m\n  ::error::{text}")
    assert obeyed(said) == []


def test_what_a_program_printed_is_folded_and_not_obeyed(capfd: pytest.CaptureFixture[str]) -> None:
    GitHub({}).show("build.log", NASTY)
    said = capfd.readouterr().err
    assert obeyed(said) == [("group", "", "build.log"), ("endgroup", "", "")]
    assert NASTY in said


def test_an_output_cannot_end_itself_early(tmp_path: Path) -> None:
    GitHub({"GITHUB_OUTPUT": str(tmp_path / "output")}).output({"tag": "EOF\nend-\nname<<EOF\nspoofed\nEOF"})
    first, *body, last = (tmp_path / "output").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert first == f"tag<<{last}"
    assert len(last) > 32
    assert last not in body


def test_a_summary_too_long_for_github_is_cut_and_says_so(tmp_path: Path) -> None:
    GitHub({"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}).summarise("é" * 2**20)
    data = (tmp_path / "summary").read_bytes()
    assert len(data) < 2**20
    assert "Cut here" in data.decode()[-100:]


@pytest.fixture
def project(tmp_path: Path) -> GateProject:
    pytest.importorskip("onnxruntime")
    old, new = LABELS.copy(), LABELS.copy()
    new[:120] = (new[:120] + 1) % 3
    return lay_down(tmp_path, LABELS, old, new)


def test_every_refused_gate_is_an_error_at_its_own_line(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.contract(
        "accuracy: {at_least: 90%}\nrecall: {at_least: 80%, slices: every class}\nsize: {at_most: 1 MB}\n"
        "negative_flips: {at_most: 1%}"
    )
    for name, value in {"GITHUB_ACTIONS": "true", "GITHUB_REF_NAME": "main"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_OUTPUT", str(project.root / "output"))
    monkeypatch.chdir(project.root)
    for step in ("inspect", "evaluate"):
        done = CliRunner().invoke(cli, [step, "--stage", "production"], standalone_mode=False)
        assert done.exception is None, done.exception
    done = CliRunner().invoke(cli, ["gate", "--stage", "production"], standalone_mode=False)
    assert done.exception is None, done.exception
    said = obeyed(done.output)
    lines = (project.root / "gradatim.yml").read_text(encoding="utf-8").splitlines()
    evidence = json.loads((project.root / ".gradatim/evidence/gate.json").read_text(encoding="utf-8"))
    refused = [gate for gate in evidence["predicate"]["gates"] if gate["verdict"] != "PASS"]
    assert {"accuracy", "recall", "negative_flips", "benchmark"} <= {gate["gate"] for gate in refused}
    errors = [properties for name, properties, _ in said if name == "error"]
    assert len(errors) == len(refused)
    for gate in refused:
        title = f"{gate['gate']}: {gate['verdict']}".replace(":", "%3A")
        assert f"file=gradatim.yml,line={gate.get('line') or 1},title={title}" in errors
        assert gate.get("line") is None or f" {gate['gate']}:" in lines[gate["line"] - 1]
    assert "size" not in " ".join(errors)


def test_what_the_build_printed_is_folded_in_the_log_of_its_job(tmp_path: Path) -> None:
    (tmp_path / "build.py").write_text(
        f"print({NASTY!r})\nopen('m.onnx', 'wb').write(b'no model')\n", encoding="utf-8"
    )
    (tmp_path / "gradatim.yml").write_text(
        "model: {name: m, path: m.onnx, build: python build.py}\n", encoding="utf-8"
    )
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    said = _gradatim(tmp_path, "build").stderr
    assert [name for name, _, _ in obeyed(said)] == ["group", "endgroup", "error"]
    assert "spoofed" in said.partition("::group::")[2].partition("::endgroup::")[0]
    (tmp_path / "build.py").write_text(f"print({NASTY!r})\nraise SystemExit(7)\n", encoding="utf-8")
    failed = _gradatim(tmp_path, "build")
    assert failed.returncode == 3
    assert "exit code 7" in failed.stderr
    assert [name for name, _, _ in obeyed(failed.stderr)] == ["group", "endgroup", "error"]


@pytest.mark.parametrize(
    "names", [{"GITHUB_HEAD_REF": NASTY, "GITHUB_BASE_REF": "main"}, {"GITHUB_REF_NAME": NASTY}]
)
def test_a_hostile_branch_is_planned_like_any_other(tmp_path: Path, names: dict[str, str]) -> None:
    (tmp_path / "gradatim.yml").write_text("model: {name: m, path: m.onnx}\n", encoding="utf-8")
    pull = {
        "title": NASTY,
        "body": NASTY,
        "head": {"ref": NASTY, "repo": {"full_name": "a/m"}},
        "base": {"repo": {"full_name": "a/m"}},
    }
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": pull, "ref": NASTY}), encoding="utf-8")
    done = _gradatim(
        tmp_path, "ci", "plan",
        GITHUB_EVENT_NAME="pull_request" if "GITHUB_HEAD_REF" in names else "push",
        GITHUB_EVENT_PATH=str(tmp_path / "event.json"), GITHUB_OUTPUT=str(tmp_path / "output"), **names,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "output").read_text(encoding="utf-8")
    ((name, said),) = re.findall(r"^([\w-]+)<<(?:end-\w+)\n(.*)\nend-\w+$", text, re.MULTILINE)
    plan = json.loads(said)
    assert (name, plan["kind"], plan["runner"]) == ("plan", "check", ["ubuntu-latest"])
    assert NASTY not in text
    assert "spoofed" not in text, "nor a part of it, however it is escaped"
    assert obeyed(done.stdout + done.stderr) == []
    assert not list(tmp_path.rglob("pwned"))


def test_a_file_of_a_hostile_name_is_refused_in_words_that_nothing_obeys(tmp_path: Path) -> None:
    done = _gradatim(tmp_path, "inspect", "--contract", f"{NASTY}.yml")
    assert done.returncode == 2
    assert [(name, data[:30]) for name, _, data in obeyed(done.stderr)] == [
        ("error", "There is no contract at x'\";$(t"[:30])
    ]
    assert not list(tmp_path.rglob("pwned"))


def _gradatim(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments], cwd=folder, check=False, capture_output=True, text=True,
        env={**plain, "GITHUB_ACTIONS": "true", **variables},
    )  # fmt: skip
