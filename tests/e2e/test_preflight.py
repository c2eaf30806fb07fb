"""What will stop a release is said before any work, and the work is done all the same as far as the gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from projects.small import Copy, lay_down, once, prove

CONTRACT = """\
model: {name: small, path: model/small.onnx}
data:
  evaluation: data/test.npz
  preprocess: prepare:features
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates:
  accuracy: {at_least: 80%}
benchmark: {rounds: 3}
stages:
  production: {branch: main}
publish:
  - folder: releases
"""


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Copy:
    """A small project, committed and pushed, of which nothing is proven and little is asked."""
    return Copy(once(prepared, "preflight", lambda place: lay_down(place, CONTRACT)), tmp_path / "small")


@pytest.fixture
def proven(prepared: Path, tmp_path: Path) -> Copy:
    """The same with everything proven up to the gate: what is spoiled is done again, what is not is taken from there."""
    laid = once(prepared, "preflight", lambda place: lay_down(place, CONTRACT))
    return Copy(once(prepared, "preflight proven", lambda place: prove(laid, place)), tmp_path / "small")


def dirty(project: Copy) -> None:
    project.write("prepare.py", project.path("prepare.py").read_text() + "\n")


def uncommitted(project: Copy) -> None:
    project.git("rm", "-q", "--cached", "gradatim.yml")
    project.git("commit", "-q", "-m", "no contract")
    project.git("push", "-q", "origin", "main")


def gone(project: Copy) -> None:
    project.remote.rename(project.remote.with_name("elsewhere.git"))


def refusing(project: Copy) -> None:
    project.git("remote", "set-url", "--push", "origin", str(project.folder / "no-such.git"))


def unsigned(project: Copy) -> None:
    project.change_contract("{branch: main}", "{branch: main, signed: true}")
    project.commit()


def without_credentials(project: Copy) -> None:
    project.change_contract("folder: releases", "s3: s3://models/small")
    project.commit()


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (dirty, 2, "prepare.py"),
        (uncommitted, 2, "gradatim.yml is not committed"),
        (gone, 4, "origin"),
        (refusing, 4, "origin"),
        (unsigned, 4, "production takes signed releases only"),
        (without_credentials, 4, "s3://models/small needs credentials"),
    ],
)
def test_what_would_stop_a_release_is_said_first(
    proven: Copy, spoil: Callable[[Copy], None], code: int, words: str
) -> None:
    spoil(proven)
    hidden = {
        "AWS_CONFIG_FILE": "/none",
        "AWS_SHARED_CREDENTIALS_FILE": "/none",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = proven.call("run", environment=hidden)
    assert done.code == code, done.said
    lines = done.err.splitlines()
    before = next(place for place, line in enumerate(lines) if line.startswith("  before"))
    first_step = next(place for place, line in enumerate(lines) if line.startswith("  build"))
    assert before < first_step
    assert words in " ".join(" ".join(lines[before:first_step]).split())
    if spoil is not gone:  # without the remote nothing proves what the baseline is
        assert any(line.startswith("  gate") and "PASS" in line for line in lines), done.said
    assert "Traceback" not in done.said
    assert not proven.git("tag").strip()


def test_json_says_it_too_and_a_check_alone_asks_nothing(project: Copy) -> None:
    dirty(project)
    record = json.loads(project.call("run", "--json").out)
    assert len(record["before"]) == 1
    assert "prepare.py" in record["before"][0]
    done = project.call("run", "--until", "gate")
    assert done.code == 0, done.said
    assert "\n  before" not in done.err


def test_a_version_that_exists_is_said_first(project: Copy) -> None:
    assert project.call("run").code == 0
    project.write("model/note.txt", "another commit")
    project.change_contract("at_least: 80%", "at_least: 81%")
    project.commit()
    done = project.call("run", "--version", "v1.0.0", "--force")
    assert done.code == 2, done.said
    assert "before     The version v1.0.0 exists already" in done.err


def test_nothing_is_said_where_nothing_stops(project: Copy) -> None:
    done = project.call("run")
    assert done.code == 0, done.said
    assert "\n  before" not in done.err
