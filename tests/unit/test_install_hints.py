"""Whoever lacks a package is told a command that works from where the kit itself came, not from an index by faith."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "scripts" / "gradatim"
HINT = "from gradatim.errors import missing_package; print(missing_package('onnxruntime', 'onnx', 'Running m.onnx'))"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The kit's errors as an installer leaves them in an environment: the package and what it notes beside it."""
    environment = tmp_path / "an environment"
    venv.create(environment, symlinks=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "gradatim").mkdir()
    for name in ("__init__.py", "errors.py"):
        (site / "gradatim" / name).write_bytes((PACKAGE / name).read_bytes())
    noted = site / "gradatim-0.1.0.dist-info"
    noted.mkdir()
    (noted / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: gradatim\nVersion: 0.1.0\n", encoding="utf-8"
    )
    return environment


def hint(environment: Path, came: dict[str, Any] | None = None) -> str:
    """The command that is named when a package is missing, where the kit came from ``came`` (PEP 610)."""
    (noted,) = environment.glob("lib/python*/site-packages/gradatim-*.dist-info")
    if came is not None:
        (noted / "direct_url.json").write_text(json.dumps(came), encoding="utf-8")
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(environment)}
    python = environment / "bin" / "python"
    done = subprocess.run([python, "-c", HINT], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip().split("Install it with: ")[1]


def test_from_an_index_the_name_is_enough(installed: Path) -> None:
    assert hint(installed).endswith(' "gradatim[onnx]"')


def test_a_wheel_is_named_by_its_path_while_it_is_there(installed: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "my wheels" / "gradatim-0.1.0-py3-none-any.whl"
    came = {"url": wheel.as_uri(), "archive_info": {"hashes": {"sha256": "00"}}}
    wheel.parent.mkdir()
    wheel.touch()
    assert hint(installed, came).endswith(f' "{wheel}[onnx]"')
    wheel.unlink()
    assert hint(installed, came).endswith(
        ' "gradatim[onnx] @ git+https://github.com/gradatim/gradatim@v0.1.0"'
    )


def test_what_came_from_an_address_is_named_by_it(installed: Path) -> None:
    wheel = {"url": "https://example.com/gradatim-0.1.0-py3-none-any.whl", "archive_info": {}}
    assert hint(installed, wheel).endswith(f' "gradatim[onnx] @ {wheel["url"]}"')
    commit = {"url": "https://example.com/kit.git", "vcs_info": {"vcs": "git", "commit_id": "4f2c" * 10}}
    assert hint(installed, commit).endswith(
        f' "gradatim[onnx] @ git+https://example.com/kit.git@{"4f2c" * 10}"'
    )


def test_a_clone_is_named_by_its_folder(installed: Path, tmp_path: Path) -> None:
    clone = tmp_path / "gradatim"
    clone.mkdir()
    assert hint(installed, {"url": clone.as_uri(), "dir_info": {}}).endswith(f' "{clone}[onnx]"')


def test_the_kit_that_runs_from_its_sources_names_them(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", HINT], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(f'install -e "{PACKAGE.parents[1]}[onnx]"')


def test_the_installer_is_that_of_the_environment_in_which_the_kit_runs(installed: Path) -> None:
    assert hint(installed).startswith("uv pip install --python ")  # this environment was made without pip
    (site,) = installed.glob("lib/python*/site-packages")
    (site / "pip").mkdir()
    (site / "pip" / "__init__.py").touch()
    assert hint(installed).startswith("python -m pip install ")
    elsewhere = {"PATH": os.environ["PATH"], "HOME": str(installed)}
    python = installed / "bin" / "python"
    done = subprocess.run([python, "-c", HINT], env=elsewhere, capture_output=True, text=True, check=True)
    assert f"'{python}' -m pip install " in done.stdout  # another `python` stands first on PATH


def test_whoever_judges_a_model_without_scipy_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text(
        "def sign(inputs):\n    return {'label': (inputs['x'][:, 0] > 0).astype('int64')}\n"
    )
    (tmp_path / "test.csv").write_text("x,label\n" + "1,1\n-1,0\n" * 40)
    (tmp_path / "gradatim.yml").write_text(
        "model: {name: sign, factory: rules:sign}\ndata: {evaluation: test.csv}\ntask: classification\n"
        "gates: {accuracy: {at_least: 90%}}\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    program = """
import sys
sys.modules["scipy"] = None
from gradatim.cli import main
sys.argv = ["gradatim", "gate", "--plan"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert "needs the package `scipy`" in done.stderr
    assert '[checks]"' in done.stderr


def test_the_demo_says_all_that_it_lacks_before_it_lays_anything_down(tmp_path: Path) -> None:
    program = "import sys; sys.modules['onnx'] = None; sys.argv = ['gradatim', 'demo']; import gradatim.cli as c; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4
    assert '[demo]"' in done.stderr
    assert list(tmp_path.iterdir()) == []
