"""Feedback is counted by version and slice; who gave it is not kept, and nothing becomes a test by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from forge import forge
from gate_project import GateProject, lay_down
from registry_examples import act_as_ada

from gradatim.checks.feedback import read_feedback
from gradatim.cli import cli
from gradatim.errors import InvalidInput, UsageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateProject:
    act_as_ada(monkeypatch)
    answers = np.arange(60) % 3
    made = lay_down(tmp_path, answers, answers, answers, {"site": np.array(["oslo", "rome"] * 30)})
    made.contract("accuracy: {at_least: 20%}", data="slices: site")
    monkeypatch.chdir(made.root)
    return made


def imported(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["feedback", "import", *arguments], standalone_mode=False)


def line(good: Any, **others: Any) -> str:
    said = {
        "version": "v1.0.0",
        "good": good,
        "site": "oslo",
        "mail": "ada@example.org",
        "comment": "I am Ada, 555-1234",
    }
    return json.dumps({**said, "x": [0, 1, 0, 0, 1, 0], **others})


def test_counts_by_version_and_slice_and_nothing_that_tells_who(project: GateProject) -> None:
    lines = (
        [line(True)] * 8
        + [line(False, expected=2)] * 2
        + [line("👎", site="rome"), line(False, site="ada@example.org", expected="I am Ada")]
        + [line(True, version="v9.9.9")]
    )
    Path("f.jsonl").write_text("\n".join(lines))
    done = imported("f.jsonl", "--propose", "proposed.jsonl", "--json")
    assert done.return_value == 0, done.exception
    told = json.loads(done.stdout)
    shares = {(one["version"], one["where"]): (one["bad"], one["n"]) for one in told["shares"]}
    assert shares == {
        ("v1.0.0", ""): (4, 12),
        ("v1.0.0", "site=oslo"): (2, 10),
        ("v1.0.0", "site=rome"): (1, 1),
        ("v1.0.0", "site=other"): (1, 1),
    }
    assert (told["unknown"], told["left_out"]) == (1, ["mail", "comment"])
    assert all(0 <= one["low"] <= one["bad"] / one["n"] <= one["high"] <= 1 for one in told["shares"])
    written = Path("proposed.jsonl").read_text()
    assert [json.loads(row) for row in written.splitlines()] == [{"x": [0, 1, 0, 0, 1, 0], "label": 2}] * 2
    everything = done.output + written
    assert "ada@" not in everything
    assert "555" not in everything
    assert imported("f.jsonl").output.count("not served well") == 4


def test_csv_says_the_same_as_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text('version,good,expected,x\n1.0.0,no,2,"[1, 2]"\nv1.0.0,yes,,"[1, 2]"\n')
    found = read_feedback(path, {"v1.0.0"}, ["x"], {}, "label")
    assert [(one.bad, one.n) for one in found.shares] == [(1, 2)]
    assert found.proposed == [{"x": [1, 2], "label": "2"}]


def test_text_is_never_kept_for_it_may_tell_who_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps({"version": "v1.0.0", "good": False, "expected": 1, "text": "my name is Ada"}))
    assert read_feedback(path, {"v1.0.0"}, ["text"], {}, "label").proposed == []


@pytest.mark.parametrize(
    "text",
    ["", "[1]", '{"version": "v1.0.0"', '{"version": "v1.0.0"}', '{"version": "v1.0.0", "good": "perhaps"}'],
)
def test_feedback_that_says_nothing_is_refused_with_its_place(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"f\.jsonl"):
        read_feedback(path, {"v1.0.0"}, [], {}, "label")


def issue(number: int, body: str, *labels: str, **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "iid": number,
        "body": body,
        "description": body,
        "labels": list(labels),
        "user": {"login": "ada"},
        **more,
    }


FORM = """### Version

{}

### Site

rome

### Expected

2

### x

[0, 1, 0, 0, 1, 0]

### What happened?

I am Ada, 555-1234
"""


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_labelled_issues_of_the_forge_are_feedback_and_only_what_is_asked_for_is_kept(
    project: GateProject, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """As an issue form writes them, as ``key: value`` lines, and in a person's own words."""
    issues = [
        issue(1, FORM.format("v1.0.0"), "answers"),
        issue(2, "version: 1.0.0\r\n**good**: yes\r\nsite: oslo\r\n", "answers"),
        issue(3, "It does not work!!! good: perhaps", "answers"),
        issue(4, FORM.format("_No response_"), "answers"),
        issue(5, FORM.format("v1.0.0"), "bug"),
        issue(6, "", "answers"),
    ]
    with forge(*issues) as (address, seen):
        for key, value in {
            "github": {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "acme/digits", "GITHUB_API_URL": address},
            "gitlab": {"GRADATIM_TOKEN": "t", "CI_API_V4_URL": address, "CI_PROJECT_ID": "5"},
        }[which].items():
            monkeypatch.setenv(key, value)
        done = imported("--issues", "answers", "--propose", "proposed.jsonl", "--json")
    assert done.return_value == 0, done.exception
    told = json.loads(done.stdout)
    shares = {(one["version"], one["where"]): (one["bad"], one["n"]) for one in told["shares"]}
    assert shares == {
        ("v1.0.0", ""): (1, 2),
        ("v1.0.0", "site=oslo"): (0, 1),
        ("v1.0.0", "site=rome"): (1, 1),
    }
    assert told["unknown"] == 3
    written = Path("proposed.jsonl").read_text()
    assert [json.loads(row) for row in written.splitlines()] == [{"x": [0, 1, 0, 0, 1, 0], "label": "2"}]
    assert "555" not in done.output + written
    assert {method for method, _ in seen.calls} == {"GET"}


def test_feedback_is_of_a_file_or_of_issues_and_issues_need_a_token(
    project: GateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "GRADATIM_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    Path("f.jsonl").write_text(line(True))
    for arguments in ((), ("f.jsonl", "--issues", "answers")):
        assert isinstance(imported(*arguments).exception, UsageError)
    assert "token" in str(imported("--issues", "answers").exception)


def test_what_is_no_number_is_no_golden_case(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    for number in ("NaN", "Infinity", "[1, -Infinity]"):
        path.write_text(f'{{"version": "v1.0.0", "good": false, "expected": 1, "age": {number}}}')
        assert read_feedback(path, {"v1.0.0"}, ["age"], {}, "label").proposed == []


@pytest.mark.parametrize("text", ["Version,Good\nv1.0.0,yes\n", "version;good\nv1.0.0;yes\n"])
def test_a_table_without_the_columns_is_told_which_there_are(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"no column `good`.*[Vv]ersion"):
        read_feedback(path, {"v1.0.0"}, [], {}, "label")
