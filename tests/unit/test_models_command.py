"""A model in another language is a program that reads and writes .npz: tested, evaluated, timed and released like any other."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from function_project import FunctionProject

from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.models import Predictor, open_model
from gradatim.signature import Signature, TensorSpec

PROGRAM = Path(__file__).parent / "programs" / "signs.mjs"
ROWS = np.array([[1, 5], [-2, 5], [3, -1]], np.float32)

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def opened(path: Path, *command: str) -> Predictor:
    signature = Signature((TensorSpec("x", "float32", (None, 2)),), ())
    return open_model(path, root=path.parent, command=command, signature=signature)


@pytest.fixture
def signs() -> Iterator[Predictor]:
    with opened(PROGRAM, "node", "{path}") as model:
        yield model


@needs_node
def test_a_program_in_another_language_answers_call_after_call(signs: Predictor) -> None:
    for rows in (ROWS, ROWS[:1], np.tile(ROWS, (5000, 1))):
        answer = signs({"x": rows})["scores"]
        assert answer.shape == (len(rows), 2)
        assert (answer.argmax(axis=1) == (rows[:, 0] > 0)).all()


@needs_node
def test_a_program_that_ends_says_why(signs: Predictor) -> None:
    with pytest.raises(InvalidInput, match=r"ended with exit code 1 instead of an answer"):
        signs({"x": np.full((2, 2), np.nan, np.float32)})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no licence')", "exit code 1 instead of an answer: no licence"),
        ("print('hello, I am a model', flush=True)", "nothing else; notes go to stderr"),
        ("import sys; sys.stdout.buffer.write(b'\\3' + bytes(7) + b'abc')", "3 bytes that are no .npz"),
    ],
)
def test_what_a_program_does_wrong_is_told(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "model.py").write_text(f"import sys\nsys.stdin.buffer.read(8)\n{code}\n")
    with (
        opened(tmp_path / "model.py", sys.executable, "{path}") as model,
        pytest.raises(InvalidInput, match=said),
    ):
        model({"x": ROWS})


def test_a_program_that_is_not_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.jl").write_text("")
    with pytest.raises(EnvironmentLacks, match="juliana"):
        opened(tmp_path / "model.jl", "juliana", "{path}")


@needs_node
def test_a_model_behind_a_program_is_released(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path, "path: signs.mjs\ncommand: [node, '{path}']\noutputs: {scores: {}}")
    project.write("signs.mjs", PROGRAM.read_text(encoding="utf-8"))
    tag = project.release()
    assert "signs.mjs" in project.released(tag)
