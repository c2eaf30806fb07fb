"""A model runs in a process of its own: one that hangs or dies is named, with the row, and costs no more than its limits."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from function_project import FunctionProject

from gradatim.errors import GradatimError, InvalidInput
from gradatim.models import UnreleasedFile, open_model

HEAD = """\
import os
import signal
import sys
import time

import numpy as np


def scores(inputs):
    return {"scores": np.stack([-inputs["x"][:, 0], inputs["x"][:, 0]], axis=1) / 3}


def at_row(inputs, what):
    if (inputs["x"][:, 1] == np.float32(7)).any():
        what()
    return scores(inputs)


def make():
"""
HURRIED = "factory: entry:make\nlimits: {call: 2 s}"  # for one that hangs; others may take their time on a busy machine
KILLED = {
    "while it is made": ("    os.abort()\n", r"SIGABRT\) while it was opened"),
    "by itself": ("    return lambda i: at_row(i, os.abort)\n", r"SIGABRT\), at row 37 of test\.npz"),
    "by the system": (
        "    return lambda i: at_row(i, lambda: os.kill(os.getpid(), signal.SIGKILL))\n",
        r"SIGKILL, most likely for lack of memory\), at row 37",
    ),
    "without a word": ("    return lambda i: at_row(i, lambda: os._exit(0))\n", r"exit code 0\), at row 37"),
    "with words": (
        "    def last():\n        sys.stderr.write('out of luck\\n')\n        os.abort()\n    return lambda i: at_row(i, last)\n",
        r"SIGABRT\), at row 37 .*out of luck",
    ),
}
HANGS = {
    "while it is made": ("    time.sleep(600)\n", r"`entry:make` was not open after 2 s"),
    "in one call": (
        "    return lambda i: at_row(i, lambda: time.sleep(600))\n",
        r"no answer for 2 s and was ended, at row 37 of test\.npz.*`model\.limits`",
    ),
    "in a loop that lets nobody in": (
        "    def spin():\n        while True:\n            pass\n    return lambda i: at_row(i, spin)\n",
        r"at row 37 of test\.npz",
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> FunctionProject:
    found = FunctionProject(tmp_path)
    with np.load(found.root / "test.npz") as data:
        rows, labels = data["x"], data["label"]
    rows[37, 1] = 7
    np.savez(found.root / "test.npz", x=rows, label=labels)
    return found


@pytest.mark.parametrize("how", KILLED)
def test_a_model_that_ends_its_process_is_named_with_the_row(project: FunctionProject, how: str) -> None:
    code, said = KILLED[how]
    project.write("entry.py", HEAD + code)
    with pytest.raises(InvalidInput, match=rf"`entry:make` ended its process \({said}"):
        project.step("evaluate")


@pytest.mark.parametrize("how", HANGS)
def test_a_model_that_hangs_is_ended_and_named_with_the_row(project: FunctionProject, how: str) -> None:
    code, said = HANGS[how]
    project.contract(HURRIED)
    project.write("entry.py", HEAD + code)
    began = time.monotonic()
    with pytest.raises(InvalidInput, match=said):
        project.step("evaluate")
    assert time.monotonic() - began < 60


def test_a_model_may_not_take_longer_in_all_than_the_contract_says(project: FunctionProject) -> None:
    project.contract("factory: entry:make\nlimits: {call: 30 s, all: 1 s}")
    project.write("entry.py", HEAD + "    return lambda i: time.sleep(0.7) or scores(i)\n")
    with pytest.raises(InvalidInput, match=r"longer than 1 s in all.*`model\.limits`"):
        project.step("evaluate")


def test_a_model_that_hangs_fails_the_checks_of_test(project: FunctionProject) -> None:
    project.contract(HURRIED)
    project.write("entry.py", HEAD + "    return lambda i: time.sleep(600)\n")
    statement = project.step("test")
    assert any("no answer for 2 s" in gate.text for gate in statement.gates)


def test_an_abnormal_input_may_take_no_longer_than_any_other_call(project: FunctionProject) -> None:
    project.contract(HURRIED)
    project.write(
        "entry.py",
        HEAD + "    return lambda i: time.sleep(600) if not np.isfinite(i['x']).all() else scores(i)\n",
    )
    contract = (project.root / "gradatim.yml").read_text()
    project.write("gradatim.yml", contract.replace("abnormal: skip", "abnormal: lenient"))
    began = time.monotonic()
    told = [gate.text for gate in project.step("test").gates]
    assert any("no answer for 2 s" in text for text in told), told
    assert time.monotonic() - began < 45


def test_an_onnx_loop_without_end_is_ended(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    f, b, i = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["v", "one"], ["more"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("n", i, []), ("go", b, []), ("v", f, ["batch", 2]))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("go_on", b, []), ("more", f, ["batch", 2]))],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "x"], ["scores"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", f, ["batch", 2])],
        [helper.make_tensor_value_info("scores", f, ["batch", 2])],
        [helper.make_tensor("true", b, [], [True]), helper.make_tensor("one", f, [], [1.0])],
    )
    project = FunctionProject(tmp_path, "path: model.onnx\nlimits: {call: 1 s}")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, project.root / "model.onnx")
    with pytest.raises(InvalidInput, match=r"`model\.onnx` gave no answer for 1 s and was ended"):
        project.step("evaluate")


def test_predictions_are_the_bytes_that_the_model_gives_in_this_process(project: FunctionProject) -> None:
    project.write("entry.py", HEAD + "    return scores\n")
    project.step("evaluate")
    kept = project.candidate().workspace.predictions("original")
    with np.load(project.root / "test.npz") as data:
        rows = data["x"]
    with open_model(Path("entry:make"), root=project.root) as predictor:
        wanted = predictor({"x": rows})["scores"]
    assert np.asarray(kept.outputs["scores"].values).tobytes() == wanted.tobytes()


ARRAYS = [
    np.zeros((0, 3), np.float32),
    np.array(3, np.int64),
    np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1),
    np.array(["a", "äöü", ""]),
    np.array(["x", "yz"], dtype=object),
    np.array([], dtype="U1"),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.arange(300_000, dtype=np.float64),
]


@pytest.mark.parametrize("place", range(len(ARRAYS)))
def test_every_kind_of_array_goes_there_and_back_as_it_is(tmp_path: Path, place: int) -> None:
    array = ARRAYS[place]
    project = FunctionProject(tmp_path, "factory: entry:echo")
    project.contract("factory: entry:echo", "")
    text = (project.root / "gradatim.yml").read_text(encoding="utf-8")
    (project.root / "gradatim.yml").write_text(
        "".join(line for line in text.splitlines(True) if "inputs:" not in line)
    )
    project.write("entry.py", "def echo():\n    return lambda inputs: {'y': inputs['x'], 'z': inputs['x']}\n")
    candidate = project.candidate()
    with candidate.model.open(candidate.model.path) as predictor:
        found = predictor.inner({"x": array}) if hasattr(predictor, "inner") else predictor({"x": array})
    for name in ("y", "z"):
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tolist() == array.tolist()


def test_what_a_model_says_of_itself_reaches_the_user(project: FunctionProject) -> None:
    project.write("entry.py", HEAD + "    print('{\"error\": 1}')\n    raise ValueError('no weights')\n")
    with pytest.raises(GradatimError, match=r"`entry:make` failed at entry\.py:\d+: ValueError: no weights"):
        project.step("evaluate")


def test_the_file_that_a_function_needs_is_known_by_name_in_the_process_that_asked(
    project: FunctionProject,
) -> None:
    project.write("entry.py", HEAD + "    return open('words.txt').read()\n")
    project.write("words.txt", "late")
    with pytest.raises(UnreleasedFile) as refused:
        project.step("evaluate")
    assert refused.value.file == "words.txt"
