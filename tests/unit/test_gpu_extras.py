"""What the jobs of a model for a GPU install: the one runtime and the torch of the machine that they run on."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered_jobs import Event

from gradatim.ci.occasion import extras_of, occasion
from gradatim.ci.platform import Place
from gradatim.ci.runtimes_checkup import check_runtimes
from gradatim.contract.model_formats import on_gpu
from gradatim.contract.reading import read_contract
from gradatim.contract.schema import HEAVY, Contract
from gradatim.rendering import gitlab
from gradatim.rendering.jobs import Consumer
from gradatim.rendering.systems import SYSTEMS

TOP = Path(__file__).resolve().parents[2]
LOCKS = TOP / "actions/setup/locks"
MODELS = ["m.onnx", "m.pt2", "hub"]
CONTRACT = """
model: {{name: small, path: {model}, device: cuda}}
data: {{evaluation: test.npz, calibration: calibration.npz}}
task: {{type: classification, labels: [0, 1]}}
compress: {{keep: {{fidelity: 99%}}}}
gates: {{accuracy: {{at_least: 80%}}}}
runners: {{gpu: [self-hosted, gpu]}}
{runner}
"""
STEP = "benchmark: {runner: gpu}\nstages: {production: {branch: main}}"
STAGE = "stages: {production: {branch: main, runner: gpu}}"


@functools.cache
def packages(*locks: str) -> set[str]:
    """What pip is asked for by locks: each package once, torch with its build."""
    text = "".join((LOCKS / f"{name}.txt").read_text(encoding="utf-8") for name in locks)
    cpu = re.findall(r"^torch==\S+\+cpu", text, re.MULTILINE)
    found = set(re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE)) - {"torch"}
    return found | (
        {"torch+cpu"} if cpu else {"torch+cuda"} if re.search("^torch==", text, re.MULTILINE) else set()
    )


def check(model: str, asked: dict[str, list[str]], gpu: set[str]) -> None:
    """Of jobs by name, with their locks, exactly these get the builds for a GPU; no job gets both."""
    for job, locks in asked.items():
        got, build = packages(*locks), "cuda" if job in gpu else "cpu"
        runtimes = got & {"onnxruntime", "onnxruntime-gpu"}
        if model == "m.onnx" or runtimes:
            assert runtimes == {"onnxruntime-gpu" if job in gpu else "onnxruntime"}, job
        if model != "m.onnx":
            assert f"torch+{build}" in got, job
        assert ("nvidia-ml-py" in got) == (job in gpu), job
        assert job in gpu or not [one for one in got if one.startswith(("nvidia", "cuda"))], job


def of_github(parts: Contract, event: str, jobs: str) -> dict[str, list[str]]:
    """The locks of every job of the checks, by the plan and the actions that the rendered workflow calls."""
    place = Place("main") if event == "push" else Place("x", target="main", bare=True)
    plan = json.loads(json.dumps(occasion(parts, place, event, {}, "ubuntu-latest", jobs).plan()))
    calls = {"checks": "actions/checks"} if plan["jobs"] == "folded" else {}
    for step in () if calls else ("build", "inspect", "gate", *HEAVY):
        calls[step] = "actions/step"
    found = {}
    for job, action in calls.items():
        said = yaml.safe_load(
            (TOP / action / "action.yml").read_text(encoding="utf-8")
        )  # as rendered: tested elsewhere
        (extras,) = (
            step["env"]["EXTRAS"] for step in said["runs"]["steps"] if "EXTRAS" in step.get("env", {})
        )
        found[job] = installed(str(evaluated(extras, plan, job)))
    return found


def evaluated(expression: str, plan: dict[str, Any], step: str) -> Any:
    """An expression of an action, as GitHub reads it with a plan in a job that is a step."""
    text = expression.removeprefix("${{ ").removesuffix(" }}")
    text = text.replace("fromJSON(inputs.part || '{}').step || inputs.step", repr(step))
    text = text.replace("fromJSON(inputs.plan || '{}')", "PLAN")
    assert text == f"contains(PLAN.on-gpu, '{step}') && PLAN.gpu-extras || PLAN.extras || inputs.extras"
    return (step in plan["on-gpu"] and plan["gpu-extras"]) or plan["extras"]


def installed(extras: str) -> list[str]:
    """The locks that the setup action takes for these extras: its own words for them."""
    code = (TOP / "actions/setup/install.py").read_text(encoding="utf-8").rsplit("\nmain()\n", 1)[0]
    names: dict[str, Any] = {"__file__": str(TOP / "actions/setup/install.py")}
    exec(code, names)  # noqa: S102 (the kit's own file, which a job runs as a script)
    return [lock.stem for lock in names["locks"](extras)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("event", ["push", "pull_request", "merge_group"])
def test_on_github_the_job_on_the_gpu_alone_gets_what_a_gpu_needs(
    tmp_path: Path, model: str, event: str
) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT.format(model=model, runner=STEP), encoding="utf-8")
    parts = read_contract(tmp_path / "gradatim.yml").parts
    asked = of_github(parts, event, "split")
    assert len(asked) == 7
    check(model, asked, {"benchmark"} if event == "push" else set())


@pytest.mark.parametrize("model", MODELS)
def test_one_job_of_all_checks_gets_it_where_its_stage_has_a_gpu(tmp_path: Path, model: str) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT.format(model=model, runner=STAGE), encoding="utf-8")
    parts = read_contract(tmp_path / "gradatim.yml").parts
    check(model, of_github(parts, "push", "folded"), {"checks"})
    check(model, of_github(parts, "pull_request", "folded"), set())
    check(model, of_github(parts, "push", "split"), set(HEAVY))


@pytest.mark.parametrize("runner", ["gpu", {"group": "gpus"}])
def test_one_job_goes_where_all_of_its_steps_go(runner: Any) -> None:
    steps = {step: {"runner": "gpu"} for step in HEAVY if step != "compress"}
    steps["compress"] = {"runner": "gpu", "keep": {"fidelity": "99%"}}
    contract = {
        "model": {"name": "m", "path": "m.onnx", "device": "cuda"},
        "data": {"evaluation": "d.npz"},
        "runners": {"gpu": runner},
        "stages": {"production": {"branch": "main"}},
        **steps,
    }
    plan = occasion(Contract.model_validate(contract), Place("main"), "push", {}, "plain", "folded").plan()
    assert plan["jobs"] == "folded"
    assert plan["runner"] == (runner if isinstance(runner, dict) else (runner,))
    assert plan["on-gpu"] == ("checks",)
    assert "onnx-gpu" in plan["gpu-extras"].split(",")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("system", ["jenkins", "circleci", "travis"])
def test_on_every_other_system_too(tmp_path: Path, system: str, model: str) -> None:
    for runner, gpu in ((STEP, {"benchmark"}), (STAGE, set(HEAVY))):
        (tmp_path / "gradatim.yml").write_text(CONTRACT.format(model=model, runner=runner), encoding="utf-8")
        contract = read_contract(tmp_path / "gradatim.yml")
        project = Consumer(contract, tmp_path, extras_of(contract.parts))
        text = SYSTEMS[system].render(project) or ""
        for event, wanted in ((Event("push", "main"), gpu), (Event("pull", "x"), set())):
            asked = dict(locks_of(system, text, event))
            assert {"build", "inspect", *HEAVY, "gate"} <= asked.keys()
            check(model, asked, wanted if system != "travis" else set())


def locks_of(system: str, text: str, event: Event) -> Iterator[tuple[str, list[str]]]:
    """(job, its locks): the words that its shell goes through, in the shell itself."""
    ran = {
        "jenkins": lambda name: _between(text, f"stage('{name}')", "'''", "'''"),
        "circleci": lambda name: _loaded(text)["commands"]["install"]["steps"][0]["run"]["command"],
        "travis": lambda name: _loaded(text)["install"][0],
    }[system]
    for name in [
        job for job in ("build", "inspect", *HEAVY, "gate", "tag") if event.kind == "push" or job != "tag"
    ]:
        script = ran(name)
        case = next((line for line in script.splitlines() if "GRADATIM_EXTRAS=" in line), "")
        words = re.search(r"for lock in (.*?); do", script)
        assert words
        environment = {"BRANCH_NAME": event.branch if event.kind == "push" else "PR-7"}
        if system == "circleci":
            environment |= _executor(text, name, event)
        said = subprocess.run(
            ["sh", "-c", f"{case}\nprintf '%s ' {words[1]}"], env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        yield name, said.stdout.split()


@functools.cache
def _loaded(text: str) -> Any:
    return yaml.safe_load(text)


def _between(text: str, *marks: str) -> str:
    for mark in marks[:-1]:
        text = text.partition(mark)[2]
    return text.partition(marks[-1])[0]


def _executor(text: str, name: str, event: Event) -> dict[str, str]:
    said = _loaded(text)
    flow = said["workflows"]["production" if event.kind == "push" else "checks"]["jobs"]
    job = next(job[name] for job in flow if isinstance(job, dict) and name in job)
    environment: dict[str, str] = said["executors"][job.get("runner", "plain")]["environment"]
    return environment


@pytest.mark.parametrize("model", MODELS)
def test_on_gitlab_too(tmp_path: Path, model: str) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT.format(model=model, runner=STEP), encoding="utf-8")
    contract = read_contract(tmp_path / "gradatim.yml")
    said = yaml.safe_load(gitlab.render_caller(Consumer(contract, tmp_path, extras_of(contract.parts))))
    (include,) = said.pop("include")
    plain = ["kit", *include["inputs"].get("extras", "onnx test").split()]
    own = {job: ["kit", *more["variables"]["GRADATIM_EXTRAS"].split()] for job, more in said.items()}
    check(model, {"gradatim-inspect": plain, **own}, {"gradatim-benchmark"})
    check(model, {"gradatim-benchmark": own["gradatim-benchmark"]}, {"gradatim-benchmark"})


def test_the_setup_action_refuses_both_runtimes_at_once() -> None:
    with pytest.raises(SystemExit):
        installed("onnx,onnx-gpu")
    assert installed("gpu,onnx-gpu,torch") == ["kit", "gpu", "onnx-gpu", "torch"]
    assert on_gpu(("checks", "onnx")) == ("checks", "gpu", "onnx-gpu")


def test_a_job_on_a_processor_asks_for_no_gpus_packages_though_the_contract_says_cuda() -> None:
    contract = Contract.model_validate({"model": {"name": "m", "path": "m.onnx", "device": "cuda"}})
    plan = occasion(contract, Place("main"), "push", {}, "ubuntu-latest").plan()
    assert plan["extras"] == "onnx"
    assert (plan["on-gpu"], plan["gpu-extras"]) == ((), "")


def test_doctor_names_two_runtimes_in_one_environment(tmp_path: Path) -> None:
    own = tmp_path / "requirements.txt"
    own.write_text(
        "numpy\nonnxruntime_gpu[cuda] >= 1.2  # as gpu.md said once\nonnxruntime-extensions\n",
        encoding="utf-8",
    )
    plain = Contract.model_validate({"model": {"name": "m", "path": "m.onnx"}})
    (found,) = check_runtimes(plain, [own])
    assert (found.where, found.serious) == ("requirements.txt:2", True)
    assert "onnxruntime-gpu out" in found.text
    own.write_text("onnxruntime==1.31.1\n", encoding="utf-8")
    assert list(check_runtimes(plain, [own])) == []
    parts = {"model": {"name": "m", "path": "m.onnx", "device": "cuda"}, "runners": {"gpu": "gpu"}}
    (found,) = check_runtimes(Contract.model_validate({**parts, "benchmark": {"runner": "gpu"}}), [own])
    assert "install onnxruntime-gpu," in found.text
    own.write_text("onnxruntime-gpu\n", encoding="utf-8")
    other = Contract.model_validate({"model": {"name": "m", "path": "m.pt2"}})
    assert list(check_runtimes(other, [own])) == [], "the kit brings none"
