"""promote: the same bytes one stage up, on evidence that answers what the stage asks now, with the approval kept."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from gate_project import lay_down, write_model
from github_repository import Repository as GitHubRepository
from github_repository import review, served
from registry_examples import IDENTITY, commit_file, git, registry_of, release_files

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.candidate.outcome import Outcome
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import BrokenEvidence, EnvironmentLacks, GradatimError, UsageError
from gradatim.evidence.assembly import assemble
from gradatim.evidence.found import Promoted
from gradatim.evidence.statement import Bundle
from gradatim.pipeline.step import run_step
from gradatim.publishers.retrieval import committed_paths
from gradatim.registry.ledger import open_ledger
from gradatim.registry.tagging import announce, assign, rollback_target
from gradatim.steps import gate, promote, tag

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task: {type: classification, labels: [0, 1, 2]}
test: {abnormal: skip}
gates:
  accuracy: {at_least: 60%}
  negative_flips: {at_most: 30%}
stages:
  beta: {branch: staging}
  production: {branch: main}
"""
DAY = 86_400
LABELS = np.arange(240) % 3


@pytest.fixture(autouse=True)
def _own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in IDENTITY.items():
        monkeypatch.setenv(key, value)
    for key in ("GITHUB_ACTIONS", "GITLAB_CI", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(key, raising=False)


def opened(root: Path, stage: str | None = None) -> Candidate:
    contract = read_contract(root / "gradatim.yml")
    return Candidate(contract, ci.detect(), stage)


def judged_for_beta(root: Path) -> Outcome:
    """What the gates say of the candidate; nothing here asks for timings."""
    for step in ("inspect", "evaluate"):
        run_step(step, opened(root, "beta"))
    return gate.run(opened(root, "beta"))


def release_to_beta(root: Path, outcome: Outcome, version: str, *, contract: bool = True) -> None:
    """Tag the candidate with all of its evidence, as the tag step does."""
    release = opened(root, "beta")
    release.workspace.save(outcome.statement(release, "gate", gate.depends_on(release), 0.0))
    commit = commit_file(root, "gradatim.yml", (root / "gradatim.yml").read_bytes())
    manifest = release.forms.original.manifest
    found = [release.workspace.statement(step) for step in ("inspect", "evaluate", "gate")]
    files = assemble(
        manifest,
        root,
        Bundle(tuple(statement for statement in found if statement)),
        tag=version,
        version=version,
        stage="beta",
        variant="original",
        commit=commit,
        previous="v1.0.0",
        committed=committed_paths(release.repository, commit, manifest, "model.onnx"),
        others={
            "report.html": b"<p>proven</p>",
            **({"gradatim.yml": root / "gradatim.yml"} if contract else {}),
        },
    )
    announce(release.repository, files.record, files.manifest, files.kept)


@pytest.fixture(scope="module")
def beta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``v1.0.0`` made by hand, and on top of it a candidate that beta holds."""
    folder = tmp_path_factory.mktemp("beta")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IDENTITY.items():
            patch.setenv(key, value)
        answers = np.where(np.arange(240) < 24, (LABELS + 1) % 3, LABELS)
        project = lay_down(folder, LABELS, answers, answers)
        (project.root / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
        release_to_beta(project.root, judged_for_beta(project.root), "v1.1.0-beta.1")
    return folder


@pytest.fixture
def root(beta: Path, tmp_path: Path) -> Path:
    """A copy of that project, with a remote of its own."""
    place = tmp_path / "project"
    shutil.copytree(beta, place)
    git(place / "repo", "remote", "set-url", "origin", str(place / "remote.git"))
    return place / "repo"


def rewrite(root: Path, old: str, new: str) -> None:
    path = root / "gradatim.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def refusal(root: Path, kind: type[GradatimError] = BrokenEvidence) -> str:
    """What promotion to production says against it; nothing may have been written."""
    before = git(root, "ls-remote", "origin")
    with pytest.raises(kind) as refused:
        promote.plan(opened(root), "production")
    assert git(root, "ls-remote", "origin") == before
    return str(refused.value)


def gradatim(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--contract", str(root / "gradatim.yml")])


def test_the_same_bytes_go_one_stage_up_and_nothing_is_judged_again(root: Path) -> None:
    release = opened(root)
    done = promote.run(release, promote.plan(release, "production"))
    assert done.announcement.tags == ("v1.1.0", "small#production#2")
    below, above = (registry_of(root).model("small").release(v) for v in ("v1.1.0-beta.1", "v1.1.0"))
    assert (above.manifest, above.commit) == (below.manifest, below.commit)
    ledger = open_ledger(release.repository, str(above.manifest))
    old, new = (
        Bundle.from_bytes(ledger.read(f"{v}/evidence.intoto.jsonl")) for v in ("v1.1.0-beta.1", "v1.1.0")
    )
    (added,) = new.of("promote")
    assert [s for s in new.statements if s.step != "promote"] == list(old.statements)
    assert added.subjects == {"original": above.manifest}
    promoted = Promoted.of(added)
    assert (promoted.from_, promoted.stage) == ("beta", "production")


def test_promoting_again_finishes_the_work_or_writes_nothing(root: Path) -> None:
    for _ in range(2):
        release = opened(root)
        done = promote.run(release, promote.plan(release, "production"))
    assert not done.written
    rewrite(root, "at_least: 60%", "at_least: 99%")
    assert promote.plan(opened(root), "production").version == "v1.1.0", (
        "what was let through is not judged again"
    )


def test_gates_that_say_the_same_elsewhere_or_less_than_before_keep_evidence_fresh(root: Path) -> None:
    rewrite(
        root, "gates:\n  accuracy: {at_least: 60%}\n", "gates:\n\n  # moved\n  accuracy: {at_least: 55%}\n"
    )
    rewrite(
        root,
        "  production: {branch: main}",
        "  production: {branch: main, gates: {negative_flips: {at_most: 40%}}}",
    )
    assert promote.plan(opened(root), "production").version == "v1.1.0"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("at_least: 60%", "at_least: 65%", "gradatim.yml:6: the gate `accuracy` asks for more than when"),
        ("at_least: 60%", "at_least: 60%, confidence: 99%", "the gate `accuracy` asks for more"),
        ("at_least: 60%", "at_least: 60%, slices: every class", "the gate `accuracy` asks for more"),
        ("gates:\n", "gates:\n  recall: {at_least: 50%}\n", "gradatim.yml:6: the gate `recall` was not there"),
        ("{branch: main}", "{branch: main, gates: {size: {at_most: 1 MB}}}", "`size` was not there when"),
        ("labels: [0, 1, 2]", "labels: [0, 1, 2], scores: logits", "gradatim.yml:3: the task was another"),
        ("{evaluation: test.npz}", "{evaluation: test.npz, slices: label}", "judged on other evaluation data"),
    ],
)  # fmt: skip
def test_what_the_stage_asks_beyond_what_was_judged_makes_evidence_stale(
    root: Path, old: str, new: str, why: str
) -> None:
    rewrite(root, old, new)
    said = refusal(root)
    assert why in said
    assert "gradatim run --stage production" in said


def test_other_evaluation_data_make_evidence_stale_and_absent_ones_are_told(root: Path) -> None:
    data = dict(np.load(root / "test.npz"))
    np.savez(root / "test.npz", **{**data, "label": np.roll(data["label"], 1)})
    assert "it was judged on other evaluation data" in refusal(root)
    (root / "test.npz").unlink()
    planned = promote.plan(opened(root), "production")
    assert planned.notes == (
        "test.npz is not here: whether it holds the data of the evidence was not compared.",
    )


def test_evidence_against_another_release_than_the_stage_holds_now_is_stale(root: Path) -> None:
    repository = opened(root).repository
    hotfix = release_files(root, "v1.0.1", b"hotfix", name="small")
    announce(repository, hotfix.record, hotfix.manifest, hotfix.kept)
    assert "compared with another release than the one that production holds now" in refusal(root)
    rewrite(root, "  negative_flips: {at_most: 30%}\n", "")
    assert promote.plan(opened(root), "production").version == "v1.1.0", (
        "nothing asks for a comparison any more"
    )


def test_a_stage_that_takes_no_warnings_takes_no_evidence_that_needed_one(root: Path) -> None:
    rewrite(root, "{branch: staging}", "{branch: staging, on_inconclusive: warn}")
    rewrite(root, "at_least: 60%", "at_least: 89%")
    write_model(root / "model.onnx", "new", 0.5)
    outcome = judged_for_beta(root)
    assert [g.verdict.value for g in outcome.gates if g.gate == "accuracy"] == ["INCONCLUSIVE"]
    release_to_beta(root, outcome, "v1.1.0-beta.2")
    assert "The gate accuracy was undecided, and production takes only what is proven" in refusal(root)


@pytest.mark.parametrize(
    ("days", "why"),
    [(31, "31.0 days old, and 30 are allowed"), (29, None), (-1, "in the future")],
)
def test_only_clocks_know_age_and_what_comes_from_the_future_has_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, days: int, why: str | None
) -> None:
    write_model(root / "model.onnx", "new", 0.5)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(time.time()) - days * DAY))
    release_to_beta(root, judged_for_beta(root), "v1.1.0-beta.2")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    if days > 0:
        assert promote.plan(opened(root), "production").version == "v1.1.0", "any age will do"
        rewrite(root, "{branch: main}", "{branch: main, fresh: 30 days}")
    if why is None:
        assert promote.plan(opened(root), "production").version == "v1.1.0"
    else:
        assert why in refusal(root)


def test_promote_tells_later_jobs_what_the_stage_holds(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git(root, "tag", "-a", "small#production#90", "-m", "given by hand", "v1.0.0^{}")
    git(root, "push", "-q", "origin", "small#production#90")
    write_model(root / "model.onnx", "new", 0.5)
    release_to_beta(root, judged_for_beta(root), "v1.1.0-beta.2")
    monkeypatch.chdir(root)
    monkeypatch.setenv("CIRCLECI", "true")
    outputs = root / ".gradatim" / "outputs.env"

    def told(*arguments: str) -> dict[str, str]:
        outputs.unlink(missing_ok=True)
        done = CliRunner().invoke(cli, [*arguments], standalone_mode=False)
        assert done.exception is None, done.exception
        return dict(line.split("=", 1) for line in outputs.read_text(encoding="utf-8").splitlines())

    up = told("promote", "production")
    assert (up["VERSION"], up["TAG"], up["STAGE"]) == ("1.1.0", "v1.1.0", "production")
    assert (up["PREVIOUS_VERSION"], up["IS_PRERELEASE"]) == ("1.0.0", "false")
    assert len(up["MANIFEST"]) == 64
    assert (root / up["REPORT"]).read_bytes() == b"<p>proven</p>", "as the release carries it"


def test_the_page_of_a_run_says_what_was_promoted(
    root: Path, on_github: GitHubRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    gradatim(root, "promote", "production", "--dry-run")
    assert not page.exists()
    gradatim(root, "promote", "production")
    assert "**promote**: promoted v1.1.0-beta.1 from beta to production as v1.1.0" in page.read_text("utf-8")


def test_what_was_promoted_keeps_to_a_narrow_terminal(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = gradatim(root, "promote", "production").output
    assert "promoted v1.1.0-beta.1" in said
    assert max(map(len, said.splitlines())) <= 60


def test_only_in_ladder_order_and_only_after_the_soak(root: Path) -> None:
    for stage, version, why in (
        ("moon", None, "There is no stage `moon`"),
        ("beta", None, "`beta` is the lowest stage"),
        ("production", "v1.0.0", "v1.0.0 was never in beta, and production is reached from there only"),
    ):
        with pytest.raises(UsageError, match=re.escape(why)):
            promote.plan(opened(root), stage, version)
    rewrite(root, "{branch: main}", "{branch: main, soak: 3 days}")
    assert "has been in beta for 0.0 days and must stay 3 before production" in refusal(root, UsageError)


def test_evidence_without_the_contract_that_it_answers_is_stale(root: Path) -> None:
    write_model(root / "model.onnx", "new", 0.5)
    release_to_beta(root, judged_for_beta(root), "v1.1.0-beta.2", contract=False)
    assert "It does not carry the contract that it was judged by" in refusal(root)


def test_a_stage_that_was_rolled_back_is_returned_to_by_a_rollback_not_by_a_promotion(root: Path) -> None:
    release = opened(root)
    announce(release.repository, *_earlier(root))
    rewrite(root, "  negative_flips: {at_most: 30%}\n", "")
    promote.run(release := opened(root), promote.plan(release, "production"))
    target = rollback_target(opened(root).registry.model("small"), "production")
    assign(release.repository, target, "production", reason="misreads", withdraw=True)
    assert "gradatim rollback production --to v1.1.0" in refusal(root, UsageError)


def _earlier(root: Path) -> tuple[Any, Any, Any]:
    files = release_files(root, "v1.0.1", b"earlier", name="small")
    return files.record, files.manifest, files.kept


# who let it through


@pytest.fixture
def on_github(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHubRepository]:
    """A run of GitHub Actions, and the repository that its API shows."""
    repository = GitHubRepository()
    with served(repository) as address:
        for key, value in {
            "GITHUB_ACTIONS": "true", "GITHUB_API_URL": address, "GITHUB_REPOSITORY": "acme/digits",
            "GITHUB_RUN_ID": "41", "GITHUB_ACTOR": "alice", "GITHUB_TOKEN": "secret-token", "GITHUB_REF_NAME": "main",
            "GITHUB_REF_TYPE": "branch", "GITHUB_OUTPUT": str(root / ".gradatim" / "out"),
        }.items():  # fmt: skip
            monkeypatch.setenv(key, value)
        yield repository


def test_who_approved_is_kept_with_the_release_and_shown(root: Path, on_github: GitHubRepository) -> None:
    rewrite(root, "{branch: main}", "{branch: main, approval: required, environment: live}")
    on_github.reviews["41"] = [
        review("bob", "live"), review("carol", "live"), review("bob", "live"), review("dan", "staging"),
        review("eve", "live", "rejected"),
    ]  # fmt: skip
    done = gradatim(root, "promote", "production", "--json")
    assert done.exit_code == 0, done.output
    run = "https://github.com/acme/digits/actions/runs/41"
    said = json.loads(done.stdout)["approval"]
    assert said == {
        "by": "alice", "run": run, "environment": "live", "approvers": ["bob", "carol"],
        "approval": "approved by bob and carol in live",
    }  # fmt: skip
    message = git(root, "tag", "-l", "--format=%(contents)", "small#production#2")
    assert f"by: alice\nrun: {run}\napproval: approved by bob and carol in live" in message
    assert "approved by bob and carol in live" in gradatim(root, "history").output
    assert "approved by bob and carol in live" in gradatim(root, "status").output
    assert "no approval" not in gradatim(root, "verify", "v1.1.0").output
    kept = git(
        root, "cat-file", "blob", f"refs/gradatim/releases/{_manifest(root)}:v1.1.0/evidence.intoto.jsonl"
    )
    assert '"approvers":["bob","carol"]' in kept
    assert "secret-token" not in kept + message + done.output


def test_a_merge_that_tags_a_release_keeps_who_approved_it_too(
    root: Path, on_github: GitHubRepository
) -> None:
    on_github.reviews["41"] = [review("bob", "beta")]
    write_model(root / "model.onnx", "new", 0.5)
    commit_file(root, "notes.md", b"another candidate")
    outcome = judged_for_beta(root)
    release = opened(root, "beta")
    release.workspace.save(outcome.statement(release, "gate", gate.depends_on(release), 0.0))
    tag.run(opened(root, "beta"))
    assert "approved by bob in beta" in gradatim(root, "status").output


def _manifest(root: Path) -> str:
    return str(registry_of(root).model("small").release("v1.1.0").manifest)


def test_the_same_ci_run_again_makes_the_same_release(root: Path, on_github: GitHubRepository) -> None:
    on_github.reviews["41"] = [review("bob", "production")]
    twin = root.parent / "twin"
    git(root, "clone", "-q", "--bare", str(root.parent / "remote.git"), str(twin))
    git(twin, "fetch", "-q", str(root.parent / "remote.git"), "refs/gradatim/*:refs/gradatim/*")
    release = opened(root)
    promote.run(release, promote.plan(release, "production"))
    tagged = git(root, "rev-parse", "v1.1.0")
    git(root, "remote", "set-url", "origin", str(twin))
    for ref in ("v1.1.0", "small#production#2"):
        git(root, "tag", "-d", ref)
    git(root, "update-ref", "-d", f"refs/gradatim/releases/{_manifest_of_beta(root)}")
    release = opened(root)
    promote.run(release, promote.plan(release, "production"))
    assert git(root, "rev-parse", "v1.1.0") == tagged


def _manifest_of_beta(root: Path) -> str:
    return str(registry_of(root).model("small").release("v1.1.0-beta.1").manifest)


@pytest.mark.parametrize(
    ("reviews", "kind", "why"),
    [
        ([], UsageError, "nobody approved this run for the environment production"),
        ([review("bob", "staging")], UsageError, "nobody approved this run"),
        (None, EnvironmentLacks, "whether there is one cannot be told: GitHub knows no such run"),
    ],
)
def test_a_stage_that_wants_an_approval_takes_nothing_without(
    root: Path,
    on_github: GitHubRepository,
    reviews: list[dict[str, Any]] | None,
    kind: type[GradatimError],
    why: str,
) -> None:
    if reviews is not None:
        on_github.reviews["41"] = reviews
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    assert why in refusal(root, kind)


def test_a_token_that_may_not_ask_is_told_what_it_lacks(
    root: Path, on_github: GitHubRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GH_TOKEN", raising=False)
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    assert "`permissions: actions: read`" in refusal(root, EnvironmentLacks)


def test_a_laptop_cannot_promote_where_an_approval_is_wanted_and_records_itself_elsewhere(root: Path) -> None:
    done = gradatim(root, "promote", "production")
    assert "no approval recorded" in done.output
    assert "by: Ada" in git(root, "tag", "-l", "--format=%(contents)", "small#production#2")
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    assert "no approval recorded" in gradatim(root, "status").output
    assert "no approval recorded" in gradatim(root, "history").output
    assert "no approval of v1.1.0 for production is recorded" in gradatim(root, "verify", "v1.1.0").output


def test_a_laptop_is_refused_where_an_approval_is_wanted(root: Path) -> None:
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    assert "Promote it in CI, in the environment production" in refusal(root, UsageError)


@pytest.mark.parametrize(
    ("deployment", "text"),
    [
        (
            {"approvals": [{"user": {"username": "bob"}, "status": "approved"}]},
            "approved by bob in production",
        ),
        ({}, None),
        (None, None),
    ],
)
def test_gitlab_is_asked_who_approved_the_deployment_of_this_job(
    root: Path, monkeypatch: pytest.MonkeyPatch, deployment: dict[str, Any] | None, text: str | None
) -> None:
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    with _gitlab(deployment) as address:
        for key, value in {
            "GITLAB_CI": "true", "CI_API_V4_URL": address, "CI_PROJECT_ID": "7", "CI_JOB_ID": "41",
            "CI_JOB_TOKEN": "t", "GITLAB_USER_LOGIN": "alice", "CI_JOB_URL": "https://gitlab/41", "CI_COMMIT_BRANCH": "main",
        }.items():  # fmt: skip
            monkeypatch.setenv(key, value)
        planned = promote.plan(opened(root), "production")
    assert planned.approval is not None
    assert (planned.approval.by, planned.approval.text) == ("alice", text)


@pytest.mark.parametrize("missing", ["CI_PROJECT_ID", "CI_JOB_ID", "CI_JOB_TOKEN", "CI_API_V4_URL"])
def test_gitlab_is_not_asked_where_a_job_lacks_what_that_takes(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    rewrite(root, "{branch: main}", "{branch: main, approval: required}")
    asked: list[str] = []
    with _gitlab({}, asked) as address:
        for key, value in {
            "GITLAB_CI": "true", "CI_API_V4_URL": address, "CI_PROJECT_ID": "7", "CI_JOB_ID": "41", "CI_JOB_TOKEN": "t",
            "GITLAB_USER_LOGIN": "alice", "CI_JOB_URL": "https://gitlab/41", "CI_COMMIT_BRANCH": "main", missing: "",
        }.items():  # fmt: skip
            monkeypatch.setenv(key, value)
        planned = promote.plan(opened(root), "production")
    assert planned.approval is not None
    assert "GitLab does not tell this job who approved" in str(planned.approval)
    assert asked == []


@contextmanager
def _gitlab(deployment: dict[str, Any] | None, asked: list[str] | None = None) -> Iterator[str]:
    """GitLab's deployments API: one deployment, of job 41; without any it does not let the job ask. It notes what it is asked."""

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            listing = self.path.startswith("/projects/7/deployments?environment=production&")
            found = [{"id": 3, "deployable": {"id": 41}}] if listing else {"id": 3, **(deployment or {})}
            allowed = deployment is not None and self.headers["JOB-TOKEN"] == "t"
            data = json.dumps(found if allowed else {"message": "401 Unauthorized"}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
