"""The demo as a consumer of the component in GitLab's catalogue: merge requests, good and bad, a release, a schedule."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from forge import forge
from github_consumer import lay_demo
from gitlab_runner import COMPONENT, Consumer, lay_component, lay_down

from gradatim.files import template_folder

pytestmark = [pytest.mark.xdist_group("gitlab"), pytest.mark.slow, pytest.mark.timeout(1800)]

_PIPELINE = f"""include:
  - component: {COMPONENT}
    inputs: {{kit: "", branches: "/^(develop|staging|main)$/", built: model/digits.onnx}}
"""
_MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_COMMIT_BRANCH": "",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "a-change",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "develop",
}


@pytest.fixture
def consumer(tmp_path: Path) -> Consumer:
    """The demo with its own contract, on GitLab, published to two places."""
    made = lay_down(tmp_path)
    lay_component(made)
    lay_demo(made.project)
    contract = made.project / "gradatim.yml"
    places = f"- folder: {made.home}/published\n  - folder: {made.home}/mirror"
    text = contract.read_text(encoding="utf-8").replace("- folder: releases/", places)
    contract.write_text(f"{text}\niteration: {{cadence: fortnightly}}\n", encoding="utf-8")
    (made.project / ".gitlab-ci.yml").write_text(_PIPELINE, encoding="utf-8")
    _candidate(made, None)
    return made


def test_a_good_merge_request_is_green_a_bad_one_red_in_every_report_and_a_tag_is_published_and_verifies(
    consumer: Consumer,
) -> None:
    released = consumer.run()
    assert released.code == 0, released.said[-4000:]
    tag = "v1.0.0-alpha.1"
    assert consumer.tags() == ["digits#alpha#1", tag]
    mirror = consumer.home / "mirror" / tag
    shutil.rmtree(mirror)
    again = consumer.run(CI_COMMIT_TAG=tag, CI_COMMIT_BRANCH="")
    assert again.code == 0, again.said[-4000:]
    consumer.git("fetch", "-q", "--tags", "origin")
    for place in (mirror, consumer.home / "published" / tag):
        verified = _gradatim(consumer, "verify", str(place))
        assert verified.returncode == 0, verified.stdout + verified.stderr

    with forge() as (address, seen):
        noted = {"CI_API_V4_URL": address, "CI_PROJECT_ID": "5", "GRADATIM_NOTE_TOKEN": "t"}
        _candidate(consumer, "better")
        good = consumer.run(**_MERGE_REQUEST, **noted)
        assert good.code == 0, good.said[-4000:]
        assert "digits: PASS" in seen.notes[0]["body"]
        _every_report_is_there(consumer)
        assert _marks(consumer) == []
        assert not _failed(consumer, "gates")
        numbers = _metrics(consumer)

        _candidate(consumer, "mislabelled")
        bad = consumer.run(**_MERGE_REQUEST, **noted)
        assert bad.code != 0
        assert len(seen.notes) == 1, "updated in place"
        assert r"refused by recall\[class=8\]" in seen.notes[0]["body"]
        _every_report_is_there(consumer)
        assert "recall[class=8]" in " ".join(_failed(consumer, "gates"))
        lines = (consumer.project / "gradatim.yml").read_text(encoding="utf-8").splitlines()
        marks = {mark["check_name"].partition(":")[0]: mark["location"] for mark in _marks(consumer)}
        assert "recall[class=8]" in marks
        for gate, place in marks.items():
            assert place["path"] == "gradatim.yml"
            assert gate.partition("[")[0] in lines[place["lines"]["begin"] - 1]
        assert (
            _metrics(consumer)['gradatim_recall{where="class=8"}']
            < numbers['gradatim_recall{where="class=8"}']
        )
    assert consumer.tags() == ["digits#alpha#1", tag], "a merge request releases nothing"


def test_a_schedule_keeps_one_issue_with_the_plan_and_the_report_with_its_pictures(
    consumer: Consumer,
) -> None:
    consumer.git("tag", "-a", "v1.0.0-alpha.1", "-m", "The first")
    consumer.git("push", "-q", "origin", "v1.0.0-alpha.1")
    with forge() as (address, seen):
        said = {
            "CI_PIPELINE_SOURCE": "schedule",
            "CI_API_V4_URL": address,
            "CI_PROJECT_ID": "5",
            "GRADATIM_TOKEN": "t",
        }
        for _ in range(2):
            run = consumer.run(**said)
            assert run.code == 0, run.said[-4000:]
    assert [method for method, _ in seen.calls if method != "GET"] == ["POST", "PUT"]
    assert "released v1.0.0-alpha.1" in seen.issues[0]["description"]
    page = consumer.left("iterate", ".gradatim/iteration.html").read_text(encoding="utf-8")
    assert "v1.0.0-alpha.1" in page
    assert consumer.tags() == ["v1.0.0-alpha.1"]


def _candidate(consumer: Consumer, name: str | None) -> None:
    """Lay a candidate over the demo, and push it."""
    if name:  # by its own time: the runner copies what another time or size tells it
        there = template_folder("projects") / "digits-candidates" / name
        shutil.copytree(there, consumer.project, dirs_exist_ok=True, copy_function=shutil.copy)
    consumer.commit(name or "The first")


def _gradatim(consumer: Consumer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradatim", *arguments]
    return subprocess.run(command, cwd=consumer.project, check=False, capture_output=True, text=True)


def _every_report_is_there(consumer: Consumer) -> None:
    """The reports that the pipeline's jobs name, which GitLab would read and the runner does not."""
    jobs = yaml.safe_load(consumer.preview())
    named = {
        (name.removeprefix("gradatim-"), path)
        for name, job in jobs.items()
        if isinstance(job, dict)
        for path in (job.get("artifacts") or {}).get("reports", {}).values()
        if name in ("gradatim-test", "gradatim-gate")
    }
    assert len(named) == 4
    for job, path in named:
        assert consumer.left(job, path).is_file(), (job, path)


def _failed(consumer: Consumer, suite: str) -> list[str]:
    """The cases of the gate's JUnit report that failed."""
    tree = ElementTree.parse(consumer.left("gate", f".gradatim/junit/{suite}.xml"))  # noqa: S314 (our own)
    assert tree.findall(".//testcase")
    return [str(case.get("name")) for case in tree.iter("testcase") if case.find("failure") is not None]


def _marks(consumer: Consumer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        consumer.left("gate", ".gradatim/codequality.json").read_text(encoding="utf-8")
    )
    return found


def _metrics(consumer: Consumer) -> dict[str, float]:
    text = consumer.left("gate", ".gradatim/metrics.txt").read_text(encoding="utf-8")
    return {name: float(value) for name, value in re.findall(r"^(\w\S*) (\S+)$", text, re.MULTILINE)}
