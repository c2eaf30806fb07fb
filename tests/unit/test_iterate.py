"""The report of an iteration: what went out, how gates moved, what users say, what is undecided; and one issue with the plan."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result
from forge import forge
from registry_examples import act_as_ada, commit_file, evidence_for, new_repository, release_files

from gradatim.ci.issues import put_issue
from gradatim.cli import cli
from gradatim.commands.options import readable
from gradatim.errors import EnvironmentLacks
from gradatim.evidence.found import Judged
from gradatim.evidence.statement import Bundle, Statement
from gradatim.gates.grounds import EvaluatedData, Grounds
from gradatim.gates.verdict import GateResult, Verdict
from gradatim.metrics.intervals import clopper_pearson
from gradatim.registry.tagging import announce
from gradatim.report.pictures.gate_history import draw_gate_history
from gradatim.report.text import width_of
from gradatim.subversion import checkout

CONTRACT = """
model: {name: digits, path: model/digits.onnx}
data: {evaluation: test.npz, slices: [site], uses: 10}
task: {type: classification, labels: [0, 1, 2]}
gates: {accuracy: {at_least: 80%}, "accuracy[site=oslo]": {at_least: 75%}}
stages: {production: {branch: main}}
iteration: {cadence: weekly, feedback: "feedback/*.jsonl", drift: drift.json}
"""


def judged(manifest: str, right: dict[str, int]) -> Bundle:
    """The verdicts on a version that got so many of 150 rows right, and of 20 of one site."""
    sites = EvaluatedData("classification", columns={"site": ("oslo", "rome")}, rows=150)
    found = Judged("fp32", {}, "production", "", Grounds((), task=sites))
    gates = []
    for gate, (n, bound) in {"accuracy": (150, 0.8), "accuracy[site=oslo]": (20, 0.75)}.items():
        value = right[gate] / n
        low, high = clopper_pearson(right[gate], n, 0.05)
        verdict = Verdict.PASS if low > bound else Verdict.INCONCLUSIVE
        gates.append(
            GateResult(
                gate, gate, verdict, "fp32", f"at least {100 * bound:g} %", "", value, low, high, bound, n=n
            )
        )
    [evaluated, _] = evidence_for(manifest).statements
    told = Statement(
        "gate", {"fp32": manifest}, Verdict.PASS, "0.1.0", {}, gates=tuple(gates), details=found.to_json()
    )
    return Bundle((evaluated, told))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions that were judged, with a site of 20 rows that is gated by itself."""
    act_as_ada(monkeypatch)
    for key in ("GH_TOKEN", "GITHUB_TOKEN", "CI_API_V4_URL"):
        monkeypatch.delenv(key, raising=False)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    monkeypatch.chdir(root)
    np.savez(root / "test.npz", x=np.eye(6), label=np.arange(6) % 3, site=["rome"] * 6)
    commit_file(root, "gradatim.yml", CONTRACT.encode())
    for version, right in (("v1.1.0", 135), ("v1.2.0", 142)):
        data = version.encode()
        commit_file(root, "model/digits.onnx", data)
        digest = release_files(root, version, data).manifest.digest
        evidence = judged(digest, {"accuracy": right, "accuracy[site=oslo]": 19})
        files = release_files(root, version, data, evidence=evidence)
        announce(checkout.open(root), files.record, files.manifest, files.kept)
    return root


def iterate(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, ["iterate", *arguments], standalone_mode=False)
    assert done.return_value == 0, (done.output, done.exception)
    return done


def test_an_iteration_tells_what_went_out_what_users_say_and_what_cannot_be_decided(
    project: Path,
) -> None:
    folder = project / "feedback"
    folder.mkdir()
    said = [
        {"version": "v1.2.0", "good": n >= 12, "site": "oslo", "who": "ada@example.org"} for n in range(15)
    ]
    said += [{"version": "v1.2.0", "good": True, "site": "rome"} for _ in range(60)]
    (folder / "week.jsonl").write_text("\n".join(map(json.dumps, said)))
    drifted = {"column": "x[2]", "psi": 0.41, "test": "KS", "p": 1e-9, "verdict": "FAIL"}
    (project / "drift.json").write_text(json.dumps({"columns": [drifted, {**drifted, "verdict": "PASS"}]}))
    told = json.loads(iterate("--json").stdout)
    markdown = told["markdown"]
    assert "| assigned v1.2.0 | production |" in markdown
    assert "| v1.2.0 | site=oslo | 12 of 15 | 80.0 % (51.9 .. 95.7) |" in markdown
    assert "ada" not in markdown
    assert "Uses of the test set: 0 of 10 planned." in markdown
    assert re.search(r"\| accuracy\\\[site=oslo\\\] \| 20 \| \d+ \|", markdown), markdown
    plan = "\n".join(told["plan"])
    assert "x[2], which changed (PSI 0.41" in plan
    assert "Ask why site=oslo is served worse by v1.2.0: 12 of 15" in plan
    assert re.search(r"Collect \d+ more samples for accuracy\[site=oslo\]", plan)
    page = Path(told["page"]).read_text()
    assert page.count("<svg") == 2
    assert "v1.1.0: " in page
    assert not re.search(r"<(script|link|img)\b", page)


@pytest.mark.parametrize("columns", [60, 80])
def test_a_terminal_shows_the_report_within_its_columns_and_a_pipe_gets_the_markdown(
    project: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    markdown = iterate().stdout
    assert markdown.startswith("## digits: ")
    assert readable(markdown) == markdown
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = re.sub(r"\x1b\[[\d;]*m", "", readable(markdown))
    assert max(map(len, shown.splitlines())) <= columns < max(map(len, markdown.splitlines()))
    assert "accuracy[site=oslo]" in shown
    assert not re.search(r"^\|", shown, re.MULTILINE)


def test_a_week_in_which_nothing_happened_says_so_and_a_day_must_be_one(project: Path) -> None:
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * 40))
    assert "Nothing was released or moved in this time." in iterate("--since", tomorrow).stdout
    done = CliRunner().invoke(cli, ["iterate", "--since", "yesterday"], standalone_mode=False)
    assert "is no day" in str(done.exception)
    assert "There is no token" in iterate("--issue").stderr
    (project / "drift.json").write_text("[]")
    done = CliRunner().invoke(cli, ["iterate"], standalone_mode=False)
    assert "is not what `gradatim monitor drift --json` writes" in str(done.exception)


def test_before_the_first_release_an_iteration_says_that_nothing_is_there_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_ada(monkeypatch)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    monkeypatch.chdir(root)
    commit_file(root, "gradatim.yml", CONTRACT.replace(", uses: 10", "").encode())
    said = iterate().stdout
    assert "| production | nothing |" in said
    assert "Nothing was released or moved in this time." in said


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_the_plan_is_one_issue_that_is_opened_once_and_then_updated_and_a_strangers_is_left_alone(
    which: str,
) -> None:
    marker = "<!-- gradatim iteration: small -->\n"
    stranger = {"number": 1, "iid": 1, "body": marker, "description": marker, "author_association": "NONE",
                "user": {"type": "User"}, "author": {"id": 9}}  # fmt: skip
    with forge(stranger) as (address, seen):
        environment = {
            "github": {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "acme/digits", "GITHUB_API_URL": address},
            "gitlab": {"GRADATIM_TOKEN": "t", "CI_API_V4_URL": address, "CI_PROJECT_ID": "5"},
        }[which]
        first = put_issue(environment, "small", "small: plan", "one\n")
        second = put_issue(environment, "small", "small: plan", "two\n")
        put_issue(environment, "other", "other: plan", "one\n")
    assert first is not None
    assert second == f"{first}/3"
    assert [method for method, _ in seen.calls if method != "GET"] == [
        "POST",
        "PATCH" if which == "github" else "PUT",
        "POST",
    ]


def test_without_a_token_no_forge_is_asked_and_one_that_is_away_is_said() -> None:
    assert put_issue({}, "small", "t", "b") is None
    assert put_issue({"CI_API_V4_URL": "http://127.0.0.1:1"}, "small", "t", "b") is None
    away = {"GRADATIM_TOKEN": "t", "CI_API_V4_URL": "http://127.0.0.1:1", "CI_PROJECT_ID": "5"}
    with pytest.raises(EnvironmentLacks, match="GitLab refused GET"):
        put_issue(away, "small", "t", "b")


def test_a_picture_of_a_gate_holds_each_version_with_its_bound_and_its_verdict() -> None:
    points = [
        (f"v1.{n}.0", GateResult("accuracy", "accuracy", verdict, "original", "at least 80 %", "", value, value - 0.02,
                                 value + 0.02, 0.8, n=100))
        for n, (value, verdict) in enumerate([(0.9, Verdict.PASS), (0.7, Verdict.FAIL), (0.95, Verdict.PASS)])
    ]  # fmt: skip
    drawn = ElementTree.fromstring(draw_gate_history(points, "one"))  # noqa: S314 (our own)
    words = " ".join(drawn.itertext())
    assert "v1.1.0: 70.0" in words
    assert "FAIL" not in words  # a diamond; a dot carries its word
    assert len(drawn.findall(".//line[@class='threshold']")) == 3
    assert len(drawn.findall(".//polygon")) == 1
    assert draw_gate_history([("v1.0.0", GateResult("a", "a", Verdict.INVALID, "o", "", ""))], "none") == ""


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_bound_of_a_version_is_drawn_beside_the_axis_and_not_through_its_numbers(count: int) -> None:
    one = GateResult("size", "size", Verdict.PASS, "original", "at most 1 MB", "", 4e5, None, None, 1e6)
    drawn = ElementTree.fromstring(draw_gate_history([(f"v1.{n}.0", one) for n in range(count)], "one"))  # noqa: S314 (our own)
    bounds = [
        tuple(float(line.get(end, 0)) for end in ("x1", "x2"))
        for line in drawn.findall(".//line[@class='threshold']")
    ]
    numbers = max(float(text.get("x", 0)) for text in drawn.iter("text") if text.get("text-anchor") == "end")
    assert len(bounds) == count
    assert min(left for left, _ in bounds) >= numbers
    dots = [float(dot.get("cx", 0)) for dot in drawn.iter("circle")]
    for (left, right), dot in zip(bounds, dots, strict=True):
        assert dot == pytest.approx((left + right) / 2, abs=1), "a version stands in the middle of its bound"


def test_no_number_of_the_axis_is_cut_off_where_its_sign_stands() -> None:
    one = GateResult(
        "accuracy", "accuracy", Verdict.PASS, "original", "not worse", "", 0.028, 0.016, 0.042, -0.01, baseline=0.96, candidate=0.99
    )  # fmt: skip
    drawn = ElementTree.fromstring(draw_gate_history([("v1.1.0", one)], "one"))  # noqa: S314 (our own)
    numbers = [text for text in drawn.iter("text") if text.get("text-anchor") == "end"]
    assert any("+" in (text.text or "") for text in numbers)
    for text in numbers:  # the signs of DejaVu Sans and Arial are wider than letters
        assert float(text.get("x", 0)) >= 1.1 * width_of(text.text or "", 12)


def test_a_release_that_is_further_up_already_waits_for_no_decision_and_another_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_ada(monkeypatch)
    root = new_repository(tmp_path / "repo", remote=tmp_path / "remote.git")
    monkeypatch.chdir(root)
    stages = "{alpha: {branch: dev}, beta: {branch: next}, production: {branch: main}}"
    commit_file(
        root, "gradatim.yml", f"model: {{name: digits, path: model/digits.onnx}}\nstages: {stages}\n".encode()
    )

    def release(version: str, data: bytes) -> None:
        commit_file(root, "model/digits.onnx", data)
        commit_file(root, "notes.md", version.encode())
        stage = next((name for name in ("alpha", "beta") if name in version), "production")
        files = release_files(root, version, data, stage=stage)
        announce(checkout.open(root), files.record, files.manifest, files.kept)

    for version in ("v1.1.0-alpha.1", "v1.1.0-beta.1", "v1.1.0"):
        release(version, b"one")
    assert "Decide on" not in iterate().stdout
    release("v1.1.0-alpha.2", b"two")
    said = iterate().stdout
    assert said.count("Decide on") == 1
    assert "Decide on v1.1.0-alpha.2, in alpha since" in said
    assert "promote it to beta" in said
