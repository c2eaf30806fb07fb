"""Whatever is wrong, one clear paragraph, the right exit code, no half-written file; and once mended, a run goes on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from projects.small import (
    DATA,
    MODEL,
    PREPROCESSING,
    Copy,
    Measured,
    surroundings,
    write_columns,
    write_model,
)

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 123456\n"
ESCAPE = "\x1b"


def paragraph(run: Measured, code: int) -> str:
    """What a refusal told, held to what every refusal owes."""
    assert run.code == code, run.said
    assert "Traceback" not in run.said
    assert "bug in gradatim" not in run.said
    assert ESCAPE not in run.said
    told = run.err.strip()
    assert told.count("error:") == 1, told
    assert told.startswith("error: ")
    assert len(told) < 700, told
    assert len(told.splitlines()) <= 3, told
    return told


# the model


def cut(project: Copy) -> None:
    path = project.path(MODEL)
    path.write_bytes(path.read_bytes()[:-40])


def folder_in_its_place(project: Copy) -> None:
    project.path(MODEL).unlink()
    project.path(MODEL).mkdir()


def mended_model(project: Copy) -> None:
    path = project.path(MODEL)
    if path.is_dir():
        path.rmdir()
    project.git("checkout", "--", MODEL)


MODELS: dict[str, tuple[Callable[[Copy], Any], str]] = {
    "none": (lambda project: project.path(MODEL).unlink(), "There is no model at .*model/small.onnx"),
    "empty": (lambda project: project.path(MODEL).write_bytes(b""), "is empty"),
    "truncated": (cut, "truncated or is not an ONNX model"),
    "text": (lambda project: project.write(MODEL, "hello\n" * 20), "truncated or is not an ONNX model"),
    "a Git LFS pointer": (lambda project: project.write(MODEL, POINTER), "Git LFS pointer.*git lfs pull"),
    "an empty folder": (folder_in_its_place, "is an empty folder"),
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_that_is_none_is_named_and_once_mended_the_run_goes_on(what: str, small: Copy) -> None:
    spoil, told = MODELS[what]
    spoil(small)
    for step in ("inspect", "evaluate"):
        assert re.search(told, paragraph(small.call(step), 3))
    run = small.call("run", "--json")
    assert run.code == 3
    assert [step["status"] for step in run.record["steps"]] == ["error", *["not run"] * 8]
    assert re.search(told, run.record["steps"][0]["summary"])
    assert small.half_written() == []
    assert small.remote_tags() == []
    mended_model(small)
    assert small.call("run", "--until", "inspect", "--json").code == 0


def test_weights_that_are_not_numbers_are_refused_before_the_model_runs(small: Copy) -> None:
    write_model(small.path(MODEL), broken=True)
    run = small.call("run", "--json")
    assert run.code == 3, run.said
    assert "NaN" in json.dumps(run.record["refusals"])
    assert "second" in run.record["refusals"][0]["text"]
    statuses = {step["step"]: step["status"] for step in run.record["steps"]}
    assert statuses.pop("build") == "done"
    assert statuses.pop("inspect") == "refused"
    assert set(statuses.values()) == {"not run"}
    mended_model(small)
    assert small.call("inspect").code == 0


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ("inputs: {pixels: {value: 3}}", "no input `pixels`.*it has x: float32"),
        ("outputs: {answer: {dtype: float32}}", "no output `answer`.*it has scores: float32"),
    ],
)
def test_a_contract_that_names_an_input_or_output_that_is_not_there(
    declared: str, told: str, small: Copy
) -> None:
    small.change_contract("path: model/small.onnx", f"path: model/small.onnx, {declared}")
    assert re.search(told, paragraph(small.call("inspect"), 3))
    assert re.search(told, paragraph(small.call("evaluate"), 3))


# the data


def table(**changed: Any) -> Callable[[Copy], None]:
    return lambda project: write_columns(project.path(DATA), **changed)


def cut_data(project: Copy) -> None:
    path = project.path(DATA)
    path.write_bytes(path.read_bytes()[:-300])


def without_preprocessing(**changed: Any) -> Callable[[Copy], None]:
    def change(project: Copy) -> None:
        write_columns(project.path(DATA), **changed)
        project.change_contract("  preprocess: prepare:features\n", "")

    return change


def fed(mapping: str) -> Callable[[Copy], None]:
    def change(project: Copy) -> None:
        project.change_contract("  preprocess: prepare:features\n", f"  inputs: {mapping}\n")

    return change


LABELS = np.arange(200) % 3
DATA_SETS: dict[str, tuple[Callable[[Copy], Any], str]] = {
    "none": (lambda project: project.path(DATA).unlink(), "data/test.npz does not exist"),
    "empty file": (lambda project: project.path(DATA).write_bytes(b""), "is an empty file"),
    "truncated": (cut_data, "is truncated or not an npz file"),
    "pointer": (lambda project: project.write(DATA, POINTER), "Git LFS pointer.*git lfs pull"),
    "no rows": (
        table(x=np.zeros((0, 4), np.float32), label=LABELS[:0], site=np.zeros(0, "U5")),
        "is empty: it has no rows",
    ),
    "one class": (table(label=np.zeros(200, int)), "Every row of .* has the label 0"),
    "a label outside the list": (
        table(label=np.where(np.arange(200) == 7, 9, LABELS)),
        r"Row 8 of .*`label` is 9, which is not in the label list \(0, 1, 2\)",
    ),
    "no label column": (table(label=None), "has no column `label`"),
    "no slice column": (table(site=None), "has no column `site`"),
    "columns of different length": (
        table(label=LABELS[:100], site=None),
        "no column `site`|differ in length",
    ),
    "labels too few": (table(label=LABELS[:100]), "differ in length: .*`label` 100"),
    "NaN": (table(x=np.full((200, 4), np.nan, np.float32)), "Row 1 of .*`x` holds nan"),
    "Python objects": (table(x=np.array([{}] * 200, object)), "array of Python objects"),
    "another dtype": (
        without_preprocessing(x=np.zeros((200, 4))),
        r"`x` does not fit: expected float32\[n, 4\], got float64",
    ),
    "another shape": (
        without_preprocessing(x=np.zeros((200, 5), np.float32)),
        r"`x` does not fit: expected float32\[n, 4\], got float32\[\d+, 5\]",
    ),
    "an input that is not there": (fed("{pixels: x}"), "no input `pixels`.*it has `x`"),
    "a column that is not there": (fed("{x: pixels}"), "no column `pixels`; it has `x`, `label`, `site`"),
}


@pytest.mark.parametrize("what", DATA_SETS)
def test_data_that_prove_nothing_are_refused_and_once_mended_evaluation_goes_on(
    what: str, small: Copy
) -> None:
    spoil, told = DATA_SETS[what]
    spoil(small)
    assert re.search(told, paragraph(small.call("evaluate"), 3))
    assert small.half_written() == []
    assert not (small.folder / ".gradatim/evidence/evaluate.json").exists()
    small.git("checkout", "--", DATA, "gradatim.yml")
    assert small.call("evaluate").code == 0


def test_an_error_that_several_steps_share_is_told_once(small: Copy) -> None:
    DATA_SETS["a label outside the list"][0](small)
    run = small.call("run", "--until", "gate")
    assert run.code == 3, run.said
    assert run.err.count("is not in the label") + run.err.count("which is not in the\n") <= 1
    assert "the same as" in run.err
    assert "Traceback" not in run.said


# the user's code

CODE: dict[str, tuple[str, str]] = {
    "raises": ('def features(columns):\n    return columns["pixels"]\n', r"failed at prepare.py:2: KeyError"),
    "exits": ("import sys\ndef features(columns):\n    sys.exit(0)\n", "it calls sys.exit"),
    "exits on import": ("import sys\nsys.exit(0)\n", "fails on import at prepare.py:2: it calls sys.exit"),
    "is no Python": ("def features(columns):\n    return {\n", "prepare.py:2: SyntaxError"),
    "returns nothing": ("def features(columns):\n    pass\n", "returned a NoneType"),
    "loses a row": ('def features(columns):\n    return {"x": columns["x"][:-1]}\n', "returned 31 for `x`"),
    "is not there": ("def feature(columns):\n    pass\n", "Did you mean `feature`"),
    "asks": ("def features(columns):\n    input()\n", "prepare.py:2: EOFError"),
    "imports what is not installed": ("import not_installed_anywhere\n", "not_installed_anywhere"),
}


@pytest.mark.parametrize("what", CODE)
def test_preprocessing_that_fails_is_named_with_its_line(what: str, small: Copy) -> None:
    body, told = CODE[what]
    small.write("prepare.py", body)
    run = small.call("evaluate", "--json")
    assert re.search(told, paragraph(run, 4 if "imports" in what else 3))
    assert run.record == {"error": run.err.strip().removeprefix("error: "), "exit": run.code}
    assert small.half_written() == []
    small.write("prepare.py", PREPROCESSING)
    assert small.call("evaluate").code == 0


CHATTY = """\
import os
print("imported")
def features(columns):
    print("printed")
    os.system("echo from a child")
    os.write(1, b"written to the descriptor\\n")
    return {"x": columns["x"]}
"""


def test_what_the_users_code_prints_never_mixes_with_the_one_json_object(small: Copy) -> None:
    small.write("prepare.py", CHATTY)
    step = small.call("evaluate", "--json")
    assert step.code == 0, step.said
    assert step.record["verdict"] == "PASS"
    for said in ("imported", "printed", "from a child", "written to the descriptor"):
        assert said in step.err
        assert said not in step.out
    assert small.call("gate", "--plan", "--json").record["gates"]
    walk = small.call("run", "--until", "evaluate", "--json", "--force")
    assert walk.code == 0, walk.said
    assert walk.record["verdict"] == "PASS"


def test_a_process_that_ends_without_a_verdict_is_no_success(small: Copy) -> None:
    small.write("prepare.py", "import os\ndef features(columns):\n    os._exit(0)\n")
    run = small.call("run", "--until", "evaluate", "--json")
    assert run.code == 3, run.said
    assert "ended the process that it runs in" in run.record["steps"][-1]["summary"]
    small.write("prepare.py", PREPROCESSING)
    assert small.call("run", "--until", "evaluate").code == 0
    assert small.half_written() == []


def test_a_folder_of_tests_that_is_not_there_is_a_mistake_in_the_contract(small: Copy) -> None:
    small.change_contract("pytest: tests/model", "pytest: tests/nowhere")
    assert "`test.pytest` names tests/nowhere, which does not exist" in paragraph(small.call("test"), 2)
    small.git("checkout", "--", "gradatim.yml")
    small.path("tests/model/test_model.py").write_text("import os\nos._exit(0)\n", encoding="utf-8")
    run = small.call("test", "--json")
    assert run.code == 1, run.said
    assert "pytest" in run.record["refusals"][0]["text"]


# where it runs


def test_without_git_it_says_how_to_get_it(small: Copy) -> None:
    for arguments in (["run"], ["evaluate"], ["status"], ["tag"], ["verify", "v1.0.0"]):
        told = paragraph(small.call(*arguments, environment={"PATH": "/nonexistent"}), 4)
        assert "git is not installed" in told
        assert "apt install git" in told


def test_outside_of_a_repository_it_says_so(small: Copy) -> None:
    shutil.rmtree(small.folder / ".git")
    for arguments in (["run"], ["evaluate"], ["status"], ["tag"]):
        assert "is not in a git repository" in paragraph(small.call(*arguments), 4)


def test_in_the_folder_of_a_published_release_it_says_what_that_is(small: Copy) -> None:
    """What lies there is a contract, too: its build, its data and its tests are elsewhere."""
    for name in ("release.json", "manifest.json"):
        small.path(name).write_text("{}", encoding="utf-8")
    for arguments in (["run"], ["evaluate"], ["tag"]):
        told = paragraph(small.call(*arguments), 2)
        assert "is a published release, not a project" in told
        assert "gradatim verify" in told


def test_without_a_commit_nothing_is_tagged(proven: Copy) -> None:
    shutil.rmtree(proven.folder / ".git")
    proven.git("init", "--quiet", "--initial-branch=main")
    run = proven.call("run")
    assert run.code == 2, run.said
    assert "Traceback" not in run.said
    assert "gradatim.yml is not committed" in run.err
    assert proven.call("status").code == 0
    assert proven.git("tag") == ""


def test_a_shallow_clone_proves_no_first_release(small: Copy, tmp_path: Path) -> None:
    small.git("commit", "--quiet", "--allow-empty", "--message", "Another")
    small.git("push", "--quiet")
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", small.remote.as_uri(), str(shallow)], check=True)
    run = small.call("evaluate", cwd=shallow)
    assert run.code == 0, run.said  # the remote gave the rest
    again = tmp_path / "cut-off"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", small.remote.as_uri(), str(again)], check=True)
    subprocess.run(["git", "remote", "remove", "origin"], cwd=again, check=True)
    assert "shallow clone" in paragraph(small.call("evaluate", cwd=again), 4)


def test_a_repository_without_remote_is_released_in_itself(proven: Copy) -> None:
    proven.git("remote", "remove", "origin")
    run = proven.call("run", "--json")
    assert run.code == 0, run.said
    assert run.record["tag"] == "v1.0.0"
    assert "v1.0.0" in proven.git("tag").splitlines()


def test_a_remote_that_does_not_answer_proves_no_first_release(small: Copy) -> None:
    small.git("remote", "set-url", "origin", "/nonexistent/remote.git")
    told = paragraph(small.call("evaluate"), 4)
    assert "origin did not answer" in told
    assert "/nonexistent/remote.git" in told
    assert "nothing released before" not in small.call("run", "--until", "build").err
    assert small.call("status").code == 0
    small.git("remote", "set-url", "origin", str(small.remote))
    assert small.call("evaluate").code == 0


def test_on_a_detached_head_everything_is_checked_and_nothing_tagged(proven: Copy) -> None:
    proven.git("checkout", "--quiet", "--detach")
    run = proven.call("run", "--json")
    assert run.code == 0, run.said
    assert any("detached HEAD" in note for note in run.record["notes"])
    assert "detached HEAD" in paragraph(proven.call("tag"), 2)
    assert proven.remote_tags() == []


@pytest.mark.parametrize("name", [".gradatim", ".gradatim/evidence", ".gradatim/predictions"])
def test_a_place_that_cannot_be_written_is_named_and_once_free_the_run_goes_on(
    name: str, small: Copy
) -> None:
    path = small.path(name)
    path.write_text("in the way", encoding="utf-8")
    told = paragraph(small.call("evaluate"), 4)
    assert name in told
    assert "a file stands where a folder belongs" in told
    path.unlink()
    assert small.call("evaluate").code == 0


def test_a_folder_that_takes_no_file_is_named(small: Copy) -> None:
    (small.folder / ".gradatim").mkdir()
    (small.folder / ".gradatim" / "evidence").symlink_to("/proc")
    assert "cannot be written" in paragraph(small.call("evaluate"), 4)


ODD = "-ä 'q\" ü日本 $x;`"


def test_any_path_will_do(small: Copy, tmp_path: Path) -> None:
    model, data, tests = "model/-k ö'\".onnx", "data/té st.npz", "tests/mo dèl"
    for old, new in ((MODEL, model), (DATA, data), ("tests/model", tests)):
        small.git("mv", old, new)
    small.change_contract(MODEL, '"model/-k ö\'\\".onnx"')
    small.change_contract(DATA, data)
    small.change_contract("tests/model", tests)
    small.change_contract("folder: releases", 'folder: "-rel ä\'"')
    small.commit("Odd names")
    odd = Copy(small.folder.parent, tmp_path / ODD)
    run = odd.call("run", "--json")
    assert run.code == 0, run.said
    assert run.record["tag"] == "v1.0.0"
    assert (odd.folder / "-rel ä'/v1.0.0/-k ö'\".onnx").is_file()
    assert odd.call("verify", "v1.0.0").code == 0
    assert odd.call("verify", model).code == 0
    plain_locale = {"LANG": "C", "LC_ALL": "C"}
    again = odd.call("run", "--json", environment=plain_locale)
    assert {step["status"] for step in again.record["steps"]} == {"skipped"}
    assert odd.call("evaluate", "--force", environment=plain_locale).code == 0


# how it is called


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], "There is no command `frobnicate`"),
        (["verfy", "v1"], "Did you mean `verify`"),
        (["run", "--unti", "gate"], "No such option"),
        (["run", "--until", "gates"], "There is no step `gates`"),
        (["run", "--until", "rollback"], "There is no step `rollback` in a run"),
        (["run", "--stage", "moon"], "There is no stage `moon`"),
        (["run", "--until"], "requires an argument"),
        (["evaluate", "--contract", "nowhere.yml"], "There is no contract at nowhere.yml"),
        (["evaluate", "surplus"], "unexpected extra argument"),
        (["diff", "v1.0.0"], "Missing argument"),
        (["history", "--last", "0"], "not in the range"),
        (["tag", "--version", "one"], "one"),
        (["schema", "--metrics", "dancing"], "unknown task `dancing`"),
    ],
)
def test_a_wrong_command_line_is_one_paragraph_and_exit_2(
    arguments: list[str], told: str, small: Copy
) -> None:
    assert told in paragraph(small.call(*arguments), 2)


def test_wrong_usage_is_json_where_json_was_asked_for(small: Copy) -> None:
    run = small.call("status", "--json", "--nonsense")
    assert run.code == 2
    assert run.record["exit"] == 2
    assert "--nonsense" in run.record["error"]


def test_every_mistake_in_a_contract_is_told_at_its_place(small: Copy) -> None:
    small.change_contract("at_least: 80%", "at_leest: 80%")
    small.change_contract("rounds: 3", "rounds: six")
    run = small.call("run")
    assert run.code == 2, run.said
    assert "Traceback" not in run.said
    assert re.search(r"gradatim\.yml:\d+:\d+: .*at_leest.*at_least", run.err)
    assert re.search(r"gradatim\.yml:\d+:\d+: .*rounds", run.err)
    assert not (small.folder / ".gradatim").exists()


def test_nobody_reading_is_no_error(small: Copy) -> None:
    for arguments in ("schema", "status --json", "evaluate --json --contract nowhere.yml"):
        command = f"{sys.executable} -m gradatim {arguments} | true"
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=small.folder, env=surroundings(), capture_output=True, text=True, check=False
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str, small: Copy) -> None:
    for arguments in ("status", "evaluate --json", "run --until build"):
        command = f"{sys.executable} -m gradatim {arguments} {closed}"
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=small.folder, env=surroundings(), capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done
        assert "Traceback" not in done.stdout + done.stderr


def test_no_colour_where_nobody_sees_it_or_wants_it(small: Copy) -> None:
    project = small.folder
    assert ESCAPE not in small.call("run", "--until", "inspect").said
    for variables, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        command = [sys.executable, "-c", _ON_A_TERMINAL, "status", "--nonsense"]
        done = subprocess.run(
            command, cwd=project, env={**surroundings(), **variables}, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert "--nonsense" in done.stdout
        assert (ESCAPE in done.stdout) == coloured


_ON_A_TERMINAL = """
import pty, sys
pty.spawn([sys.executable, "-m", "gradatim", *sys.argv[1:]])
"""
