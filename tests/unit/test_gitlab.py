"""The GitLab include: true to the graph of steps, thin, and valid by GitLab's own schema."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from forge import forge
from report_examples import passed

from gradatim import __version__
from gradatim.ci.gitlab import GitLab
from gradatim.cli import cli
from gradatim.contract.reading import read_contract
from gradatim.errors import BrokenEvidence, UsageError
from gradatim.files import write_json
from gradatim.measurement import Measurement
from gradatim.pipeline.graph import GRAPH, STEPS
from gradatim.rendering import gitlab
from gradatim.rendering.jobs import Consumer
from gradatim.report.openmetrics import render_metrics
from gradatim.shard import Shard

TOP = Path(__file__).resolve().parents[2]


def _resolved() -> str:
    """The include as GitLab reads it with every input at its default."""
    _, _, body = gitlab.render_include().partition("\n---\n")
    values = {given.name: given.default for given in gitlab.INPUTS}
    return re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", lambda found: str(values[found[1]]), body)


@pytest.fixture(scope="module")
def every_job() -> dict[str, dict[str, Any]]:
    """Jobs by name, with what they extend filled in."""
    found = yaml.safe_load(_resolved())

    def whole(job: dict[str, Any]) -> dict[str, Any]:
        below = whole(found[job["extends"]]) if "extends" in job else {}
        nested = {
            key: {**below.get(key, {}), **value} for key, value in job.items() if isinstance(value, dict)
        }
        return {**below, **job, **nested}

    return {
        name.removeprefix("gradatim-"): whole(job) for name, job in found.items() if not name.startswith(".")
    }


@pytest.fixture(scope="module")
def jobs(every_job: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of steps."""
    return {name: job for name, job in every_job.items() if name not in ("comment", "iterate")}


def test_a_schedule_runs_the_report_of_the_iteration_and_no_step(
    every_job: dict[str, dict[str, Any]],
) -> None:
    scheduled = '$CI_PIPELINE_SOURCE == "schedule"'
    rules = {name: job["rules"] for name, job in every_job.items()}
    assert [name for name, said in rules.items() if {"if": scheduled} in said] == ["iterate"]
    assert rules["iterate"] == [{"if": "$GRADATIM_DO", "when": "never"}, {"if": scheduled}]
    assert every_job["iterate"]["script"] == ['gradatim ci report --contract "$GRADATIM_CONTRACT"']
    assert every_job["iterate"]["needs"] == []


def test_a_merge_request_is_told_the_result_in_a_note_by_a_job_that_runs_no_code_and_stops_nothing(
    every_job: dict[str, dict[str, Any]],
) -> None:
    job = every_job["comment"]
    own = "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID"
    event = '$CI_PIPELINE_SOURCE == "merge_request_event"'
    assert job["rules"] == [{"if": f"$GRADATIM_NOTE_TOKEN && {event} && {own}", "when": "always"}], (
        "of a refusal above all; a fork has no token"
    )
    assert job["script"] == ['gradatim ci comment --contract "$GRADATIM_CONTRACT"']
    assert job["needs"] == ["gradatim-gate"]
    assert job["allow_failure"] is True, "GitLab may be away"
    assert "GRADATIM_REQUIREMENTS" not in job["variables"]
    assert "cache" not in job


def test_the_result_is_one_note_of_the_merge_request_updated_in_place_and_a_strangers_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "gradatim.yml").write_text("model: {name: digits, path: m.onnx}\n", encoding="utf-8")
    for name in ("GITHUB_ACTIONS", "GITHUB_TOKEN", "GH_TOKEN", "GRADATIM_TOKEN", "GRADATIM_NOTE_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def comment() -> Result:
        return CliRunner().invoke(cli, ["ci", "comment"], standalone_mode=False)

    with forge() as (address, seen):
        said = {"GITLAB_CI": "true", "CI_API_V4_URL": address, "CI_PROJECT_ID": "5", "CI_PROJECT_DIR": str(tmp_path),
                "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.example/acme/digits"}  # fmt: skip
        for name, value in said.items():
            monkeypatch.setenv(name, value)
        assert isinstance(comment().exception, UsageError), "no merge request"
        monkeypatch.setenv("CI_MERGE_REQUEST_IID", "7")
        assert isinstance(comment().exception, BrokenEvidence), "no report"
        write_json(tmp_path / ".gradatim/report.json", passed().to_json())
        assert "no token" in comment().output
        assert not seen.calls
        monkeypatch.setenv("GRADATIM_NOTE_TOKEN", "t")
        mark = "<!-- gradatim: digits -->\n"
        seen.notes += [{"id": n, "author": {"id": 9}, "system": False, "body": mark} for n in (1, 2)]
        address = "https://gitlab.example/acme/digits/-/merge_requests/7#note_42"
        assert address in comment().output
        assert address in comment().output, "found on the second page"
    assert [method for method, _ in seen.calls if method != "GET"] == ["POST", "PUT"]
    assert seen.tokens == {"t"}
    assert [note["body"] for note in seen.notes[:2]] == [mark] * 2
    assert seen.notes[2]["body"].startswith(mark)
    assert "PASS" in seen.notes[2]["body"]


def test_the_checked_in_include_is_what_the_graph_renders() -> None:
    assert (TOP / gitlab.PATH).read_text(encoding="utf-8") == gitlab.render_include()
    assert gitlab.main(["--check"]) == 0


def test_every_step_is_one_job_with_the_needs_of_the_graph(jobs: dict[str, dict[str, Any]]) -> None:
    assert [name for name in jobs if not _shares(name)] == [step.name for step in GRAPH]
    for name, job in jobs.items():
        needs = [need["job"] if isinstance(need, dict) else need for need in job["needs"]]
        wanted = [need.removeprefix("gradatim-") for need in needs]
        shards = [f"{name}-shards"] if name in STEPS and STEPS[name].shared else []
        assert wanted == [*STEPS[name.removesuffix("-shards")].needs, *shards]


def test_rows_are_shared_among_as_many_jobs_as_the_include_is_told(jobs: dict[str, dict[str, Any]]) -> None:
    assert {name for name in jobs if _shares(name)} == {f"{s.name}-shards" for s in GRAPH if s.shared}
    for name in filter(_shares, jobs):
        (line,) = jobs[name]["script"]
        assert line.endswith(' --shard "$CI_NODE_INDEX/$CI_NODE_TOTAL"')
        assert jobs[name]["parallel"] == 1
        assert jobs[name]["rules"][0] == {"if": '"1" == "1" || $GRADATIM_DO', "when": "never"}
        assert jobs[name]["rules"][1:] == jobs["evaluate"]["rules"][1:]
        step = jobs[name.removesuffix("-shards")]
        assert step["needs"][-1] == {"job": f"gradatim-{name}", "optional": True}


def _shares(name: str) -> bool:
    return name.endswith("-shards")


def test_a_job_is_one_call_of_its_command(jobs: dict[str, dict[str, Any]]) -> None:
    values = {"CONTRACT": "gradatim.yml", "STAGE": "beta", "VERSION": "v1.0.0", "REASON": "it was slow"}
    for name, job in jobs.items():
        *before, line = job["script"]
        name = name.removesuffix("-shards")
        assert before == []  # the kit itself pushes with the token, where one is set
        settings = "".join(f"GRADATIM_{key}={shlex.quote(value)}; " for key, value in values.items())
        shown = subprocess.run(
            [
                "sh",
                "-c",
                f"CI_NODE_INDEX=2 CI_NODE_TOTAL=4; gradatim() {{ printf '%s\\n' \"$@\"; }}; {settings}{line}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        command, *arguments = shown.stdout.splitlines()
        assert command == name
        found = cli.get_command(None, name)  # type: ignore[arg-type]
        assert found is not None
        with found.make_context(name, arguments) as context:
            assert context.params["contract_path"] == "gradatim.yml"
            assert context.params.get("shard") == (Shard(2, 4) if "--shard" in line else None)


def test_an_include_is_held_to_the_digest_of_the_file_that_the_kit_renders(tmp_path: Path) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text("model: {name: m, path: m.onnx}\n", encoding="utf-8")
    (include,) = yaml.safe_load(gitlab.render_caller(Consumer(read_contract(path), tmp_path)))["include"]
    algorithm, _, digest = include["integrity"].partition("-")
    file = Path(__file__).resolve().parents[2] / gitlab.PATH
    assert algorithm == "sha256"
    assert base64.b64decode(digest) == hashlib.sha256(file.read_bytes()).digest()


def test_a_refusal_lets_the_walk_go_on_and_the_gate_refuse(jobs: dict[str, dict[str, Any]]) -> None:
    tolerated = {name for name, job in jobs.items() if job.get("allow_failure") == {"exit_codes": [1]}}
    assert tolerated == {"compress", "test", "evaluate", "benchmark"}
    assert not any("allow_failure" in jobs[name] for name in jobs.keys() - tolerated)
    assert all(job["artifacts"]["when"] == "always" for job in jobs.values())


def test_downloads_are_kept_for_the_jobs_that_hold_no_secret_alone(jobs: dict[str, dict[str, Any]]) -> None:
    outward = {step.name for step in GRAPH if step.outward}
    assert {name for name, job in jobs.items() if "cache" in job} == jobs.keys() - outward
    for name, job in jobs.items():
        kept = job.get("cache", {}).get("paths")
        assert kept == (None if name in outward else [".gradatim-downloads/"]), name
        assert ("GRADATIM_DOWNLOADS" in job["variables"]) == (name not in outward)
        assert '"${GRADATIM_DOWNLOADS:---no-cache-dir}"' in str(job["before_script"])


def test_only_outward_jobs_meet_an_environment_and_none_runs_beside_itself(
    jobs: dict[str, dict[str, Any]],
) -> None:
    outward = {name for name, job in jobs.items() if "environment" in job}
    assert outward == {step.name for step in GRAPH if step.outward}
    assert {jobs[name]["resource_group"] for name in outward} == {f"gradatim-{name}" for name in outward}
    assert not any(job.get("interruptible") for name, job in jobs.items() if name in outward)
    assert not any("GRADATIM_TOKEN" in str(job) for name, job in jobs.items() if name not in outward)


def test_the_benchmark_alone_asks_for_the_runner_that_is_named_for_it(
    tmp_path: Path, jobs: dict[str, dict[str, Any]]
) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(
        "model: {name: m, path: m.onnx, device: cuda}\nbenchmark: {runner: gpu}\n"
        "runners:\n  gpu: {group: gpus, labels: [self-hosted, gpu]}\n"
    )
    caller = gitlab.render_caller(Consumer(read_contract(path), tmp_path))
    told = yaml.safe_load(caller)
    assert told.pop("include")[0]["inputs"]["branches"] == "/^(main)$/"
    variables = {"GRADATIM_EXTRAS": "gpu onnx-gpu test"}
    assert told == {"gradatim-benchmark": {"tags": ["self-hosted", "gpu"], "variables": variables}}
    assert told.keys() <= {f"gradatim-{name}" for name in jobs}
    assert not any("tags" in job for job in jobs.values())


def test_a_merge_request_gets_the_runner_from_a_person_where_the_contract_names_an_environment(
    tmp_path: Path, jobs: dict[str, dict[str, Any]]
) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(
        "model: {name: m, path: m.onnx, device: cuda}\nbenchmark: {runner: gpu}\n"
        "runners:\n  gpu: {labels: [gpu], environment: gpu}\n"
    )
    told = yaml.safe_load(gitlab.render_caller(Consumer(read_contract(path), tmp_path)))["gradatim-benchmark"]
    plain = [dict(rule) for rule in jobs["benchmark"]["rules"]]
    (asked,) = (rule for rule in plain if "merge_request_event" in rule["if"])
    asked["when"] = "manual"
    assert [rule["if"].replace("/^(develop|staging|main)$/", "/^(main)$/") for rule in plain] == [
        r["if"] for r in told["rules"]
    ]
    assert [rule.get("when") for rule in plain] == [rule.get("when") for rule in told["rules"]]


def test_the_kit_is_installed_at_the_version_of_the_include() -> None:
    kit = next(given.default for given in gitlab.INPUTS if given.name == "kit")
    assert kit.endswith(f"@v{__version__}")


def test_the_include_satisfies_gitlabs_own_schema(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema")
    path = tmp_path / "gitlab-ci.yml"
    path.write_text(_resolved(), encoding="utf-8")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(path)]
    done = subprocess.run(check, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_program_printed_is_folded_and_cannot_close_its_section(
    capfd: pytest.CaptureFixture[str],
) -> None:
    GitLab({}).show("build.log", "made\n\x1b[0Ksection_end:1:gradatim_0\r\x1b[0K\nspoofed")
    said = capfd.readouterr().err
    names = re.findall(r"\x1b\[0Ksection_(start|end):\d+:(gradatim_[0-9a-f]{16})", said)
    assert [what for what, _ in names] == ["start", "end"]
    assert len({name for _, name in names}) == 1
    assert said.index("spoofed") < said.index("section_end")


def test_every_input_has_a_type_and_a_description_and_odd_values_are_refused_before_any_job() -> None:
    spec = yaml.safe_load(gitlab.render_include().partition("\n---\n")[0])["spec"]["inputs"]
    for name, given in spec.items():
        assert given["description"], name
        assert given["type"] == ("number" if isinstance(given["default"], int) else "string"), name
        if "regex" in given:
            assert re.search(given["regex"], str(given["default"])), name
        if "options" in given:
            assert given["default"] in given["options"], name
    hostile = {
        "contract": 'a.yml"; rm -rf .; "',
        "workspace": "../elsewhere",
        "branches": "main",
        "requirements": "--index-url=http://evil",
        "timeout": "for ever!",
        "job-prefix": "a: b",
    }
    for name, value in hostile.items():
        assert not re.search(spec[name]["regex"], value), name
    assert spec["artifacts-access"]["options"] == ["developer", "all", "none"]


def test_refused_gates_are_marked_at_the_contracts_lines_in_the_merge_request(
    tmp_path: Path, jobs: dict[str, dict[str, Any]]
) -> None:
    """https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format"""
    job = GitLab({"CI_PROJECT_DIR": str(tmp_path)})
    job.output({"verdict": "PASS"})
    report = tmp_path / ".gradatim" / "codequality.json"
    assert json.loads(report.read_text(encoding="utf-8")) == []
    for _ in range(2):
        job.refuse("89.5 %, wanted at least 90 %", file="m/gradatim.yml", line=19, title="recall: FAIL")
    job.refuse("too slow", file="m/gradatim.yml", line=None, title="latency_p50: INCONCLUSIVE")
    job.output({"verdict": "FAIL"})
    job.refuse("No token.", file="", line=None, title="gradatim")
    first, second = json.loads(report.read_text(encoding="utf-8"))
    assert first["location"] == {"path": "m/gradatim.yml", "lines": {"begin": 19}}
    assert first["description"] == "recall: FAIL: 89.5 %, wanted at least 90 %"
    assert (first["check_name"], first["severity"]) == ("recall: FAIL", "blocker")
    assert second["location"]["lines"] == {"begin": 1}
    assert len({first["fingerprint"], second["fingerprint"]}) == 2
    assert jobs["gate"]["artifacts"]["reports"]["codequality"] == ".gradatim/codequality.json"


def test_a_merge_request_shows_what_changed_in_numbers(jobs: dict[str, dict[str, Any]]) -> None:
    """https://docs.gitlab.com/ci/testing/metrics_reports/"""
    found = [
        Measurement("accuracy", "int8", 0.95),
        Measurement("recall", "int8", 0.9, where='label="8"'),
        Measurement("recall", "baseline", 0.8, where='label="8"'),
        Measurement("latency_p50", "int8", None, reason="no GPU"),
    ]
    text = render_metrics(replace(passed(), chosen="int8", measurements=tuple(found)))
    assert text == 'gradatim_accuracy 0.95\ngradatim_recall{where="label=\\"8\\""} 0.9\n# EOF\n'
    reports = jobs["gate"]["artifacts"]["reports"]
    assert reports["metrics"] == ".gradatim/metrics.txt"
    assert {"junit", "codequality", "metrics"} == set(reports)


def test_a_deployment_leads_to_the_release_that_its_environment_holds(
    jobs: dict[str, dict[str, Any]],
) -> None:
    """https://docs.gitlab.com/ci/environments/#set-a-dynamic-environment-url"""
    for name in ("tag", "promote", "rollback"):
        assert jobs[name]["environment"]["url"] == "https://$CI_SERVER_FQDN/$CI_PROJECT_PATH/-/tags/$TAG"
        assert jobs[name]["artifacts"]["reports"]["dotenv"] == ".gradatim/outputs.env"
