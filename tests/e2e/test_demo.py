"""`gradatim demo`: a newcomer's first minutes, and three bad candidates that must not get through."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradatim.files import sha256_file

_OUTSIDE = ("GITHUB_ACTIONS", "GITLAB_CI", "CI", "GIT_DIR", "GIT_WORK_TREE")


@dataclass(frozen=True)
class Demo:
    """A demo that has run.

    Attributes:
        code: its exit code.
        said: what a person read.
        project: the repository that it laid down.
    """

    code: int
    said: str
    project: Path

    def tags(self) -> list[str]:
        listed = _call("git", "ls-remote", "--tags", "--refs", "origin", at=self.project).stdout
        return sorted(line.partition("refs/tags/")[2] for line in listed.splitlines())

    def candidate(self, title: str) -> str:
        """What was said of one candidate, spaces and line breaks evened out."""
        _, _, rest = self.said.partition(title)
        return " ".join(rest.partition("refused by")[0].split())


def _call(*command: str, at: Path) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in _OUTSIDE}
    return subprocess.run(
        command,
        cwd=at,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=1500,
        env=kept,
    )


def _gradatim(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return _call(sys.executable, "-m", "gradatim", *arguments, at=at)


def _demo(folder: Path, *options: str) -> Demo:
    done = _gradatim("demo", *options, str(folder / "demo"), at=folder)
    return Demo(done.returncode, done.stdout + done.stderr, folder / "demo/digits")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return _demo(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return _demo(tmp_path_factory.mktemp("bad"), "--bad")


@pytest.mark.timeout(1500)
@pytest.mark.xdist_group("demo")
class TestGood:
    def test_one_command_takes_a_model_to_v1_1_0_on_the_remote(self, good: Demo) -> None:
        assert good.code == 0, good.said
        versions = [tag for tag in good.tags() if "#" not in tag]
        assert versions == ["v1.0.0", "v1.1.0", "v1.1.0-alpha.1", "v1.1.0-beta.1"]

    def test_it_climbs_every_stage_soaks_is_promoted_rolled_back_and_put_forth_again(
        self, good: Demo
    ) -> None:
        done = _gradatim("status", "--json", at=good.project)
        (model,) = json.loads(done.stdout)["models"]
        held = {stage["stage"]: stage["version"] for stage in model["stages"]}
        assert held == {"production": "v1.1.0", "beta": "v1.1.0-beta.1", "alpha": "v1.1.0-alpha.1"}
        moves = _gradatim("history", at=good.project).stdout
        into = re.findall(r"(v[\d.]+) +into production", moves)
        assert into == ["v1.0.0", "v1.1.0", "v1.0.0", "v1.1.0"], moves
        said = " ".join(good.said.split())
        assert "promoted v1.1.0-beta.1 from beta to production as v1.1.0" in said
        assert "production is back at v1.0.0 (it held v1.1.0): a drill" in said
        assert "digits for beta" in said
        manifests = {stage["manifest"] for stage in model["stages"]}
        assert len(manifests) == 1

    def test_the_release_verifies_from_another_clone(self, good: Demo, tmp_path: Path) -> None:
        _call("git", "clone", "--quiet", str(good.project.parent / "remote.git"), "other", at=tmp_path)
        done = _gradatim("verify", "v1.1.0", at=tmp_path / "other")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "complete, proven and untouched" in done.stdout

    def test_the_released_folder_verifies_by_itself(self, good: Demo, tmp_path: Path) -> None:
        done = _gradatim("verify", str(good.project / "releases/v1.1.0"), at=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_a_second_run_with_nothing_changed_skips_every_step(self, good: Demo) -> None:
        before = good.tags()
        done = _gradatim("run", "--json", at=good.project)
        assert done.returncode == 0, done.stdout + done.stderr
        steps = {step["step"]: step["status"] for step in json.loads(done.stdout)["steps"]}
        assert set(steps.values()) == {"skipped"}, steps
        assert len(steps) == 9
        assert good.tags() == before

    def test_the_difference_of_two_releases_names_what_a_person_changed(self, good: Demo) -> None:
        done = _gradatim("diff", "v1.0.0", "v1.1.0", at=good.project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^signature +unchanged$", done.stdout, re.M)
        assert re.search(r"^accuracy\s+9\d\.\d+\s% ->\s+9\d\.\d+\s%$", done.stdout, re.M), done.stdout
        changed = re.findall(r"^input ~ (.*)$", done.stdout, re.M)
        assert changed == ["code, as build saw it"]

    def test_a_corruption_that_is_proven_worse_is_said_although_no_gate_asks(self, good: Demo) -> None:
        said = " ".join(good.said.split())
        assert re.search(
            r"proven worse than the baseline: .*contrast at severity 5 \([\d.]+ % -> [\d.]+ %\)", said
        )
        for name in ("report.html", "summary.md"):
            text = (good.project / ".gradatim" / name).read_text(encoding="utf-8")
            assert "Proven worse than the baseline: " in text, name

    def test_the_report_stands_alone_and_has_its_sections(self, good: Demo) -> None:
        html = (good.project / ".gradatim/report.html").read_text(encoding="utf-8")
        titles = re.findall(r"<h2[^>]*>([^<]+)", html)
        wanted = ["Gates", "Variants", "Latency", "Slices", "Robustness", "Confusion", "Model", "Lineage"]
        assert [title for title in titles if title in wanted] == wanted
        assert html.count("<svg") >= 5
        assert not re.search(r"<(script|link|img|iframe)\b[^>]*(src|href)=.(?!data:)", html)
        assert "v1.1.0" in (good.project / ".gradatim/summary.md").read_text(encoding="utf-8")

    def test_a_release_brings_its_model_card_its_bill_of_materials_and_how_it_was_trained(
        self, good: Demo
    ) -> None:
        released = good.project / "releases" / "v1.1.0"
        bom = json.loads((released / "ml-bom.cdx.json").read_text(encoding="utf-8"))
        assert bom["metadata"]["component"]["hashes"][0]["content"] == sha256_file(released / "digits.onnx")
        card = (released / "model-card.md").read_text(encoding="utf-8")
        assert card.startswith("---\n")
        assert "training data | train data/train.npz" in card
        done = _gradatim("diff", "v1.0.0", "v1.1.0", at=good.project)
        assert "training  seed  137 -> 3" in done.stdout


@pytest.mark.slow  # `nox -s newcomer`, a job of its own in CI; what refuses each candidate is held in tests/unit, too
@pytest.mark.timeout(1500)
@pytest.mark.xdist_group("demo-bad")
class TestBad:
    def test_three_bad_candidates_end_in_exit_1_and_leave_no_tag(self, bad: Demo) -> None:
        assert bad.code == 1, bad.said
        assert bad.said.count("nothing was tagged") == 3
        assert bad.tags() == ["digits#production#1", "v1.0.0"]
        assert "Traceback" not in bad.said
        assert "bug in gradatim" not in bad.said

    def test_each_refusal_keeps_its_report_and_the_end_says_what_was_shown(self, bad: Demo) -> None:
        folder = bad.project.parent
        for name, reason in (("mislabelled", "class=8"), ("slow", "latency"), ("pickle", "no_pickle")):
            assert reason in (folder / f"report-{name}.html").read_text(encoding="utf-8"), name
            assert f"report-{name}.html" in bad.said
        assert "3 of 3 bad candidates were refused" in bad.said

    def test_a_model_that_misses_one_digit_is_refused_by_that_digit(self, bad: Demo) -> None:
        said = bad.candidate("Better in total")
        assert re.search(r"recall\[class=8\]:? .*\d+\.\d %.* at least 85 %", said), said
        assert "gradatim.yml:" in said

    def test_a_slower_model_is_refused_by_its_paired_latency(self, bad: Demo) -> None:
        said = bad.candidate("As good as any")
        assert re.search(r"latency_floor: .* -> .*, [\d.]+ % slower \(\+[\d.]+ \.\. \+[\d.]+\)", said), said

    def test_a_pickle_is_refused_before_anything_loads_it(self, bad: Demo) -> None:
        said = bad.candidate("The better net as a pickle")
        assert "a pickle can run any code" in said
        assert "inspect did not pass" in said
        record = json.loads((bad.project / ".gradatim/evidence/inspect.json").read_text(encoding="utf-8"))
        refused = [gate for gate in record["predicate"]["gates"] if gate["verdict"] == "FAIL"]
        assert [(gate["gate"], gate["value"]) for gate in refused] == [("no_pickle", 1.0)]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_after_the_release_a_canary_lets_v1_1_0_out_and_rolls_v1_2_0_back_by_itself(tmp_path: Path) -> None:
    deployed = _demo(tmp_path, "--deploy")
    assert deployed.code == 0, deployed.said
    said = " ".join(deployed.said.split())
    assert "v1.1.0-beta.1 beside v1.0.0, 480 requests" in said
    assert "digits-v1.1.0-docker" in said
    assert "v1.2.0 is out: production is back at v1.1.0. It serves there again" in said
    assert (deployed.project.parent / "serving/current").resolve().name == "v1.1.0"
    moves = _gradatim("history", at=deployed.project).stdout
    assert re.findall(r"(v[\d.]+) +into production", moves) == ["v1.0.0", "v1.1.0", "v1.2.0", "v1.1.0"]
    assert "agreement" in moves
