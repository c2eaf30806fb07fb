"""What a newcomer types: the README's commands as they stand there, in a fresh clone and a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What ``git clone`` gives, of what is committed here."""
    if not (ROOT / ".git").exists():
        pytest.skip("the tests do not lie in a clone")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "gradatim")], check=True)
    return tmp_path / "gradatim"


def quick_start() -> list[str]:
    """The commands of the README's first block, less the clone of the address where the project lives."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## Quick start", 1)[1]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block, "the quick start has no commands"
    commands = [line for line in block[1].splitlines() if line.strip()]
    assert commands[0].startswith("git clone https://")
    assert commands[1] == "cd gradatim"
    return commands[2:]


@pytest.mark.timeout(900)
def test_the_first_command_of_the_readme_works_as_written_in_a_fresh_clone(
    clone: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    hidden = ("PYTHON", "PYTEST_", "GRADATIM_", "VIRTUAL_ENV", "COV_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env["PATH"] = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{env['PATH']}"
    for command in quick_start():
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
    tags = ("git", "-C", str(clone / "gradatim-demo" / "remote.git"), "tag")
    assert "v1.1.0" in subprocess.run(tags, capture_output=True, text=True, check=True).stdout.split()
