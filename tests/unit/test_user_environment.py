"""What the user's code sees of the environment: what programs need to run, what the contract adds, never a credential."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gate_project import lay_down
from registry_examples import IDENTITY, git

from gradatim import ci
from gradatim.candidate.candidate import Candidate
from gradatim.code.surroundings import allowed, is_credential
from gradatim.contract.reading import read_contract
from gradatim.errors import UsageError
from gradatim.pipeline.step import run_step
from gradatim.projects.trial import Tryout

SECRETS = {
    "GRADATIM_SIGNING_KEY": "-----BEGIN EC PRIVATE KEY-----",
    "GRADATIM_SIGNING_PASSWORD": "hunter2",
    "AWS_ACCESS_KEY_ID": "AKIAABCDEFGHIJKLMNOP",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdz",
    "GITHUB_TOKEN": "ghp_abcdefghijklmnopqrstuvwxyz",
    "GH_TOKEN": "gho_abcdefghijklmnopqrstuvwxyz",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "eyJhbGciOi.eyJhdWQiOi",
    "CI_JOB_TOKEN": "glcbt-64",
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "MLFLOW_TRACKING_PASSWORD": "open sesame",
    "OCI_PASSWORD": "registry",
    "PIP_INDEX_URL": "https://ada:secret@pypi.example.org/simple",
    "HTTPS_PROXY": "http://ada:secret@proxy:3128",
    "SSH_AUTH_SOCK": "/run/agent",
    "WANDB_API_KEY": "0123456789",
    "DATABASE_URL": "postgres://ada:secret@db/x",
}
SPY = """\
import json, os, pathlib, sys

def note(who):
    with open({place!r}, "a") as file:
        file.write(json.dumps([who, dict(os.environ)]) + "\\n")
"""
CONTRACT = """\
model: {name: small, path: made.onnx, build: python build.py}
data: {evaluation: {path: test.npz, preprocess: "code_of:prepare"}}
task: {type: classification, labels: [0, 1, 2], metrics: {cost: "code_of:cost"}}
test: {abnormal: skip, pytest: tests}
gates:
  cost: {at_least: 0}
stages:
  production: {branch: main}
env: [DATA_ROOT]
"""
FACTORY = (
    "path: made.onnx, build: python build.py",
    'factory: "code_of:model", inputs: {x: {dtype: float32, shape: [n, 6]}}',
)
CODE = """\
from spy import note

def model():
    note("factory")
    return lambda inputs: {"scores": inputs["x"][:, 3:]}

def prepare(columns):
    note("preprocess")
    return {"x": columns["x"]}

def cost(labels, predictions):
    note("metric")
    return 1.0
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key, value in {**IDENTITY, **SECRETS, "DATA_ROOT": "/data", "UNKNOWN": "x"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    labels = np.arange(60) % 3
    root = lay_down(tmp_path, labels, labels, labels).root
    git(root, "tag", "-d", "v1.0.0")
    git(root, "push", "-q", "--delete", "origin", "v1.0.0")
    (root / "gradatim.yml").write_text(CONTRACT)
    (root / "code_of.py").write_text(CODE)
    (root / "spy.py").write_text(SPY.format(place=str(tmp_path / "seen")))
    (root / "build.py").write_text(
        "import shutil\nfrom spy import note\nnote('build')\nshutil.copy('model.onnx', 'made.onnx')\n"
    )
    (root / "tests").mkdir()
    (root / "tests" / "test_it.py").write_text(
        "import sys\nsys.path.insert(0, '.')\nfrom spy import note\n\ndef test_it():\n    note('pytest')\n"
    )
    return root


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the kernel tells no process's environment"
)
def test_what_init_tries_was_started_without_a_credential(project: Path) -> None:
    """Nor is one in what the kernel tells of it: without namespaces the user's code may ask."""
    with Tryout(project / "gradatim.yml") as trial:
        trial.opened(CONTRACT.replace(*FACTORY))
        process = trial._process
        assert process is not None
        told = Path(f"/proc/{process.pid}/environ").read_text()
    assert "PATH=" in told
    assert not {name for name in SECRETS if f"{name}=" in told}


@pytest.mark.timeout(120)
def test_the_users_code_sees_no_credential_in_any_step(project: Path) -> None:
    for step in ("build", "inspect", "test", "evaluate"):
        run_step(step, Candidate(read_contract(project / "gradatim.yml"), ci.detect(), "production"))
    (project / "gradatim.yml").write_text(CONTRACT.replace(*FACTORY))
    for step in ("build", "inspect", "evaluate"):
        run_step(step, Candidate(read_contract(project / "gradatim.yml"), ci.detect(), "production"))
    seen = [json.loads(line) for line in (project.parent / "seen").read_text().splitlines()]
    assert {who for who, _ in seen} >= {"build", "pytest", "factory", "preprocess", "metric"}
    for who, environment in seen:
        leaked = {name for name in SECRETS if name in environment}
        assert not leaked, f"{who} saw {sorted(leaked)}"
        assert "UNKNOWN" not in environment, who
        assert environment["DATA_ROOT"] == "/data", who
        assert environment["PATH"], who


def test_a_contract_hands_over_no_credential_even_by_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "AWS_REGION", "MY_SECRET", "db_password", "OPENAI_API_KEY", "DEPLOY_KEY"):
        assert is_credential(name)
        (project / "gradatim.yml").write_text(CONTRACT.replace("[DATA_ROOT]", f"[{name}]"))
        with pytest.raises(UsageError, match=rf"gradatim.yml:\d+: `{name}` is called like a credential"):
            Candidate(read_contract(project / "gradatim.yml"), ci.detect())


def test_what_looks_like_a_secret_is_left_out_under_any_name() -> None:
    named = {
        "GRADATIM_ENV": "A B C D",
        "A": "hf_abcdefgh",
        "B": "-----BEGIN KEY",
        "C": "s3://u:p@host",
        "D": "ok",
    }
    assert allowed({**named, "TOKENIZERS_PARALLELISM": "false"}) == {
        "GRADATIM_ENV": "A B C D",
        "D": "ok",
        "TOKENIZERS_PARALLELISM": "false",
    }
