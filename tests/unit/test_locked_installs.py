"""What jobs install: from locks with hashes, the kit itself apart, and nothing of the user's own beside a secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from test_gitlab import _resolved

from gradatim.contract.model_formats import FORMATS
from gradatim.contract.reading import read_contract
from gradatim.contract.stores import STORES
from gradatim.rendering.jobs import Consumer
from gradatim.rendering.systems import SYSTEMS
from gradatim.rendering.workflows import rendered

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).resolve().parents[2]
LOCKS = TOP / "actions/setup/locks"
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKED = [
    *sorted(LOCKS.glob("*.txt")),
    *sorted(LOCKS.glob("tools/*.txt")),
    *sorted((TOP / "templates/package/requirements").glob("*.txt")),
]
OWN = '--no-deps --no-build-isolation "$GRADATIM_KIT"'
USERS = 'test -z "$GRADATIM_REQUIREMENTS" || '
CONTRACT = """
model: {name: small, path: m.onnx}
data: {evaluation: test.npz, uses: 5}
task: {type: classification, labels: [0, 1]}
gates: {accuracy: {at_least: 80%}}
stages: {production: {branch: main}}
publish: [{s3: "s3://models/releases"}]
"""


@pytest.mark.parametrize("lock", LOCKED, ids=lambda lock: lock.stem)
def test_every_line_of_a_lock_is_a_version_with_hashes(lock: Path) -> None:
    blocks = re.split(r"\n(?=[^ ])", lock.read_text(encoding="utf-8").strip())
    pinned = [block for block in blocks if not block.startswith(("#", "--extra-index-url https://"))]
    assert pinned
    for block in pinned:
        first, *more = block.replace(" \\", "").splitlines()
        (version,) = Requirement(first).specifier
        assert version.operator == "=="
        assert more
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", line) for line in more), first


def test_locks_agree_so_that_several_install_together() -> None:
    seen: dict[tuple[str, str], str] = {}
    for lock in (one for one in LOCKED if one.parent == LOCKS and not one.stem.endswith("-cpu")):
        for name, version, when in _pins(lock):
            where = seen.setdefault((name, when), version)
            assert where == version, f"{lock.stem}: {name} {version}, elsewhere {where}"


def test_there_is_a_lock_for_every_extra_that_a_contract_can_ask_for_and_it_holds_what_the_extra_names() -> (
    None
):
    extras = PROJECT["optional-dependencies"]
    asked = {one.extra for one in (*FORMATS.values(), *STORES.values()) if one.extra}
    asked |= {
        "checks",
        "parquet",
        "image",
        "gpu",
        "onnx-gpu",
        "test",
        "sign",
        "wandb",
        "mlflow",
        "tensorboard",
        "ray",
        "peft",
        "load",
        "locust",
    }
    for name in sorted(asked):
        pinned = {found for found, _, _ in _pins(LOCKS / f"{name}.txt")}
        for wanted in map(Requirement, extras[name]):
            if wanted.name != "gradatim":
                assert wanted.name.lower().replace("_", "-") in pinned, f"{name}: {wanted}"
            for version in (v for n, v, _ in _pins(LOCKS / f"{name}.txt") if n == wanted.name.lower()):
                assert version in wanted.specifier, f"{name}: {wanted}: lock again"
    base = {found for found, _, _ in _pins(LOCKS / "kit.txt")}
    assert {Requirement(one).name for one in PROJECT["dependencies"]} | {"hatchling"} <= base


def test_consumers_get_the_versions_that_were_tested() -> None:
    for line in (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        tested = Requirement(line.partition(" #")[0])
        found = {
            v for lock in LOCKED for n, v, when in _pins(lock) if n == tested.name and "< '3.11'" not in when
        }
        assert found
        assert all(tested.specifier.contains(version) for version in found), (tested, found)


def test_runners_without_a_gpu_get_torch_without_cuda() -> None:
    for name in ("torch", "transformers", "peft"):
        pins = _pins(LOCKS / f"{name}-cpu.txt")
        assert not [one for one, _, _ in pins if one.startswith(("nvidia", "cuda", "triton"))]
        assert next(v for n, v, when in pins if n == "torch" and "== 'linux'" in when).endswith("+cpu")


def _pins(lock: Path) -> list[tuple[str, str, str]]:
    """(name, version, marker) of every line."""
    lines = re.findall(
        r"^([a-z0-9][\w.-]*)==(\S+)(?: ; ([^\\\n]*))?", lock.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [(name, version, when.strip()) for name, version, when in lines]


def test_who_locks_without_uv_is_told_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOP / "actions/setup/lock.py"), "--check"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == "Locking needs uv, which is not on PATH: python -m pip install uv\n"


def test_the_setup_action_installs_the_kit_alone_without_a_hash(tmp_path: Path) -> None:
    said = _set_up(tmp_path, "onnx,torch,s3")
    locked, own = said
    assert "--require-hashes" in locked
    files = [Path(word.partition("=")[2]).stem for word in locked if word.startswith("--requirement")]
    assert files == ["kit", "onnx", "torch-cpu", "s3"]
    assert own[-3:] == ["--no-deps", "--no-build-isolation", f"gradatim @ {TOP.as_uri()}"]
    (tmp_path / "own.txt").write_text("mine\n", encoding="utf-8")
    *before, users = _set_up(tmp_path, "torch,gpu", requirements="own.txt")
    assert len(before) == 2
    assert any(word.endswith("/torch.txt") for word in before[0]), "a GPU wants CUDA"
    assert users[-2:] == ["--requirement", "own.txt"]


def test_an_extra_without_a_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"no lock for the extra none\. Known: checks, endpoint, explain, gguf, github"
    ):
        _set_up(tmp_path, "onnx,none")


def _set_up(folder: Path, extras: str, requirements: str = "", **more: str) -> list[list[str]]:
    """What the setup action gives to uv, call by call."""
    log, uv = folder / "log", folder / "bin/uv"
    uv.parent.mkdir(exist_ok=True)
    uv.write_text(f'#!/bin/sh\nprintf "%s\\t" "$@" >> "{log}"; echo >> "{log}"\n', encoding="utf-8")
    uv.chmod(0o755)
    log.write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(TOP / "actions/setup/install.py")],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{uv.parent}:/usr/bin:/bin",
            "RUNNER_TEMP": str(folder),
            "GITHUB_PATH": str(folder / "path"),
            "EXTRAS": extras,
            "REQUIREMENTS": requirements,
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [line.strip("\t").split("\t") for line in log.read_text(encoding="utf-8").splitlines()]
    assert all(call[:2] == ["pip", "install"] for call in calls)
    return calls


def test_no_action_and_no_workflow_for_a_consumer_installs_anything_but_through_the_setup_action() -> None:
    for path, text in rendered().items():
        if not path.endswith(".yml") or path == ".github/workflows/ci.yml":  # its jobs are given no token
            continue
        for line in re.findall(r"pip install.*", text):
            assert "--require-hashes" in line, path
    jobs = yaml.safe_load(rendered()[".github/workflows/ci.yml"])["jobs"].values()
    assert all(
        set(job["permissions"].values()) == {"read"} and "token" not in str(job["steps"]) for job in jobs
    )


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "github"])
def test_no_job_that_holds_a_secret_installs_anything_without_a_hash_but_the_kit(
    system: str, tmp_path: Path
) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("mine\n", encoding="utf-8")
    project = Consumer(read_contract(tmp_path / "gradatim.yml"), tmp_path, ("onnx", "s3"), commit="a" * 40)
    text = SYSTEMS[system].render(project) if system != "gitlab" else _resolved()
    assert text is not None
    installs = re.findall(
        r"(?:test -z \\?\"\$GRADATIM_REQUIREMENTS\\?\" \|\| )?python -m pip install [^&;\n]*", text
    )
    assert len(installs) >= 3
    for line in (one.replace('\\"', '"') for one in installs):
        assert "--require-hashes" in line or OWN in line or line.startswith(USERS), line
    for secret in _with_secrets(system, text):
        assert "GRADATIM_REQUIREMENTS" not in secret or "unset" in secret, secret
    assert ("a" * 40) in text or system == "gitlab"


def _with_secrets(system: str, text: str) -> list[str]:
    """The jobs that hold a secret, as their file has them, beside what all jobs share."""
    if system == "jenkins":
        stages = re.split(r"(?=^ +stage\()", text, flags=re.MULTILINE)[1:]
        shared = re.escape('{ test -z "$GRADATIM_REQUIREMENTS"')
        found = [re.sub(rf"{shared}.*", "", one) for one in stages if "credentials(" in one]
    else:
        said = yaml.safe_load(text)
        if system == "circleci":
            outward = [
                name
                for flow in said["workflows"].values()
                for job in flow["jobs"]
                for name in job
                if "context" in job[name]
            ]
            found = [str(said["jobs"][name]) for name in sorted(set(outward))]
        elif system == "travis":
            found = [
                str(job)
                for job in said["jobs"]["include"]
                if "GRADATIM_TOKEN" not in str(job.get("before_install"))
            ]
            assert all("GRADATIM_REQUIREMENTS" in one for one in found), "it is unset where secrets are not"
        else:
            found = [str(job) for job in said.values() if "environment" in job]
            found.append(str(said[".gradatim-job"]["variables"]))
    assert found
    return found


def test_a_runner_that_holds_the_kit_installs_nothing_and_one_that_does_not_says_so(tmp_path: Path) -> None:
    for name in ("release", "checks", "models"):
        said = yaml.safe_load(rendered()[f".github/workflows/{name}.yml"])
        assert said["env"] == {"GRADATIM_KIT": "${{ inputs.kit }}"}
        assert said[True]["workflow_call"]["inputs"]["kit"]["default"] == "own"
    with pytest.raises(AssertionError, match="there is no gradatim on PATH"):
        _set_up(tmp_path, "onnx", GRADATIM_KIT="")
    (tmp_path / "bin/gradatim").symlink_to(sys.executable)
    assert _set_up(tmp_path, "onnx", GRADATIM_KIT="") == []
    assert len(_set_up(tmp_path, "onnx", GRADATIM_KIT="own")) == 2


def test_every_job_that_runs_the_kit_runs_in_the_callers_container_if_there_is_one() -> None:
    for name in ("release", "checks", "models"):
        for job, said in yaml.safe_load(rendered()[f".github/workflows/{name}.yml"])["jobs"].items():
            kit = any("$/actions/" in step.get("uses", "") for step in said.get("steps", ()))
            assert (said.get("container") == "${{ inputs.container }}") == kit, job
