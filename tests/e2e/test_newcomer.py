"""What a newcomer types: the commands of README and tutorial as they stand there, in a fresh clone and a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
CLONE = "git clone https://github.com/gradatim/gradatim"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass
class Newcomer:
    """Somebody at a shell of their own: a home, a virtual environment with nothing in it, a folder where they are.

    Attributes:
        home: their home, and where they begin.
        here: where they are.
        env: what their shell knows.
    """

    home: Path
    here: Path = field(init=False)
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.here = self.home
        subprocess.run([sys.executable, "-m", "venv", str(self.home / "venv")], check=True)
        hidden = ("PYTHON", "PYTEST_", "GRADATIM_", "VIRTUAL_ENV", "COV_", "NOX_", "CI", "GITHUB_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.env["PATH"] = f"{self.home / 'venv' / 'bin'}{os.pathsep}{self.env['PATH']}"
        settings = self.home / "gitconfig"
        there = f'[url "{ROOT}"]\n\tinsteadOf = {CLONE.removeprefix("git clone ")}\n'  # where the project lives: here
        settings.write_text(f"[user]\n\tname = Ada\n\temail = ada@example.com\n{there}", encoding="utf-8")
        self.env["GIT_CONFIG_GLOBAL"] = str(settings)

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as their shell does, and be where it leads."""
        done = subprocess.run(
            ["bash", "-c", f'{line}\nended=$?\nprintf %s "$PWD" > "$HERE"\nexit $ended'],
            cwd=self.here,
            env={**self.env, "HERE": str(self.home / "here")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.here = Path((self.home / "here").read_text(encoding="utf-8"))
        return done


@pytest.fixture
def newcomer() -> Iterator[Newcomer]:
    """Their home has a short name, as homes have, so that a path in what is said fits into its line."""
    if not (ROOT / ".git").exists():
        pytest.skip("the tests do not lie in a clone")
    with TemporaryDirectory(prefix="ada") as home:
        yield Newcomer(Path(home).resolve())


def commands_below(title: str) -> list[str]:
    """The commands of the first block below a title of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {title}\n", 1)[1]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block, f"there are no commands below {title}"
    return [line for line in block[1].splitlines() if line.strip()]


@pytest.mark.slow  # `nox -s newcomer`, a job of its own in CI
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_work_as_written_in_a_fresh_clone(newcomer: Newcomer) -> None:
    commands = commands_below("Quick start")
    assert commands[:2] == [CLONE, "cd gradatim"]
    own = newcomer.home / "own"
    for command in [
        *commands,
        *_copies("gradatim-demo/digits", own),
        *commands_below("In your own repository"),
    ]:
        done = newcomer.types(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    tags = ("git", "-C", str(newcomer.home / "gradatim" / "gradatim-demo" / "remote.git"), "tag")
    assert "v1.1.0" in subprocess.run(tags, capture_output=True, text=True, check=True).stdout.split()


def _copies(demo: str, own: Path) -> list[str]:
    """Commands that make a repository of one's own with the demo's model and data, and go there."""
    return [
        f"git init --quiet {own}",
        f"cp {demo}/model/digits.onnx {demo}/data/test.npz {own}",
        f"cd {own}",
        "git add . && git commit --quiet -m 'A model'",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("where", [".", "gradatim"], ids=["beside the clone", "in the clone"])
def test_every_command_of_the_tutorial_works_as_written_and_shows_what_is_shown(
    newcomer: Newcomer, where: str
) -> None:
    said = ""
    for language, title, text in BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")):
        if title:
            (newcomer.here / title).write_text(text, encoding="utf-8")
        elif language == "sh":
            said = ""
            for line in text.splitlines():
                done = newcomer.types(line)
                said += done.stdout
                refused = line == "gradatim run" and "1 FAIL" in done.stdout
                assert done.returncode == (1 if refused else 0), f"{line}\n{done.stdout[-4000:]}"
            if line.endswith('[demo]"'):
                newcomer.here /= where
        else:
            _shows(said.replace(f"{newcomer.home / where}", "~"), text)
    assert {"v1.0.0", "v1.1.0"} <= set(newcomer.types("git -C ../machines.git tag").stdout.split())


def _shows(said: str, shown: str) -> None:
    """What stands in the tutorial was said, in this order; ``...`` stands for more, numbers are each machine's."""
    place, whole = 0, _plain(said)
    for part in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE):
        found = whole.find(_plain(part), place)
        assert found >= 0, f"{_plain(part)}\n\nwas not said in\n\n{whole}"
        place = found + len(_plain(part))


def _plain(text: str) -> str:
    """Words alone: no commit, no number, no unit of time, nothing of how lines are broken.

    Nor how long a step will take, which is said of long ones: what is long depends on the machine.
    """
    text = re.sub(r"^ +\w+ +about .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b[0-9a-f]{7}\b", "COMMIT", text)
    return " ".join(re.sub(r"\d+([.,]\d+)*( [mu]?s\b)?", "N", text).split())
