"""What people look for before they read anything: completion in their shell, a hook for pre-commit, an action at the root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[2]
GOOD = "model: {name: small, path: model.onnx}\n"


def call(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("/bin/bash", ".local/share/bash-completion/completions/gradatim"),
        ("/usr/bin/zsh", ".zfunc/_gradatim"),
        ("/usr/bin/fish", ".config/fish/completions/gradatim.fish"),
    ],
)
def test_one_command_installs_completion_for_the_shell_in_use(tmp_path: Path, shell: str, place: str) -> None:
    done = call(tmp_path, "completion", "--install", HOME=str(tmp_path), SHELL=shell)
    assert done.returncode == 0, done.stderr
    assert "_GRADATIM_COMPLETE" in (tmp_path / place).read_text()


def test_a_shell_that_nobody_knows_is_asked_for(tmp_path: Path) -> None:
    done = call(tmp_path, "completion", SHELL="/bin/tcsh")
    assert done.returncode == 2
    assert "gradatim completion bash | zsh | fish" in done.stderr


def test_completion_completes_commands(tmp_path: Path) -> None:
    asked = {"_GRADATIM_COMPLETE": "bash_complete", "COMP_WORDS": "gradatim roll", "COMP_CWORD": "1"}
    program = "from gradatim.cli import cli; cli(prog_name='gradatim')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "rollback" in done.stdout


def test_the_hook_of_pre_commit_checks_a_contract(tmp_path: Path) -> None:
    [hook] = yaml.safe_load((TOP / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    assert program == "gradatim"
    (tmp_path / "gradatim.yml").write_text(GOOD)
    assert call(tmp_path, *arguments, "gradatim.yml").returncode == 0
    (tmp_path / "gradatim.yml").write_text(GOOD + "gatez: {}\n")
    done = call(tmp_path, *arguments, "gradatim.yml")
    assert done.returncode == 2
    assert "gradatim.yml:2:1: unknown key `gatez`" in done.stderr
