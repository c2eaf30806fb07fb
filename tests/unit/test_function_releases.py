"""A model that is a function of the user's own is released with all that it needs, and opened again from that alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from function_project import RELEASE, FunctionProject
from registry_examples import commit_file

from gradatim.candidate.candidate import Candidate
from gradatim.errors import ContractError, InvalidInput
from gradatim.evidence.found import Tagged
from gradatim.pipeline.step import run_step

SIGN = """\
import numpy as np


def make():
    def call(inputs):
        x = np.asarray(inputs["x"])
        return {"scores": np.stack([-x[:, 0], x[:, 0]], axis=1) * %s}

    return call
"""


def answers(candidate: Candidate, name: str) -> list[float]:
    """What a form of the candidate, or the baseline, says to one point."""
    path = candidate.replaced.path if name == "baseline" else candidate.forms.original.path
    assert path is not None
    with candidate.model_of(name).open(path) as predictor:
        found: list[float] = predictor({"x": np.array([[1, 0]], np.float32)})["scores"][0].tolist()
    return found


def test_a_model_with_only_a_factory_is_held_against_its_own_last_release(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path, "factory: entry:make\nfiles: words.txt")
    project.write("entry.py", SIGN % 1)
    project.write("words.txt", "a")
    assert project.announce("v1.0.0") == ["entry.py", "words.txt"]
    project.write("entry.py", SIGN % 2)
    assert answers(project.candidate(), "baseline") == [-1, 1]
    assert answers(project.candidate(), "original") == [-2, 2]
    assert project.release() == "v1.0.1"
    assert {"entry.py", "words.txt", "evidence.intoto.jsonl"} <= set(project.released("v1.0.1"))


READS = """\
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def make():
    w = np.load(%s)
    return lambda inputs: {"scores": np.stack([-inputs["x"][:, 0], inputs["x"][:, 0]], axis=1) * w}
"""
WITH_FILES = "factory: entry:make\nfiles: [weights.npy, words]"


@pytest.mark.parametrize(
    "place", ["HERE / 'weights.npy'", "'weights.npy'", "Path(__file__).resolve().with_name('weights.npy')"]
)
def test_the_files_that_a_factory_names_are_released_and_restored_for_the_baseline(
    tmp_path: Path, place: str
) -> None:
    project = FunctionProject(tmp_path, WITH_FILES)
    project.write("entry.py", "import local\n" + READS % place)
    project.write("local.py", "")
    project.write("words/a.txt", "a")
    project.weights("weights.npy", 3)
    assert project.announce("v1.0.0") == ["entry.py", "local.py", "weights.npy", "words/a.txt"]
    project.weights("weights.npy", 5)
    assert answers(project.candidate(), "baseline") == [-3, 3]
    assert answers(project.candidate(), "original") == [-5, 5]


READS_ITS_PATH = """\
import numpy as np


def make(path):
    w = np.load(path / "w.npy") if path.is_dir() else np.frombuffer(path.read_bytes()[-4:], np.float32)
    return lambda inputs: {"scores": np.stack([-inputs["x"][:, 0], inputs["x"][:, 0]], axis=1) * w}
"""


@pytest.mark.parametrize("name", ["model.ftz", "model.onnx", "model.pt", "model.bin", "folder"])
def test_any_file_or_folder_is_a_model_with_a_factory_that_reads_it_and_its_code_goes_with_it(
    tmp_path: Path, name: str
) -> None:
    project = FunctionProject(tmp_path, f"path: weights/{name}\nfactory: src_entry:make")
    project.write("src/src_entry.py", READS_ITS_PATH)

    def weigh(value: float) -> None:
        project.weights(f"weights/{name}/w.npy" if name == "folder" else f"weights/{name}.npy", value)
        if name != "folder":
            (project.root / f"weights/{name}.npy").rename(project.root / f"weights/{name}")

    weigh(3)
    kept = f"weights/{name}" + ("/w.npy" if name == "folder" else "")
    assert project.announce("v1.0.0") == ["src/src_entry.py", kept]
    weigh(5)
    project.write("src/src_entry.py", READS_ITS_PATH.replace("* w}", "* (w + 1)}"))
    assert answers(project.candidate(), "baseline") == [-3, 3]
    assert answers(project.candidate(), "original") == [-6, 6]


UNNAMED = {
    "beside its code": READS % "HERE / 'weights.npy'",
    "in the working folder": READS % "'weights.npy'",
    "by its whole path": READS % "Path(ROOT) / 'weights.npy'",
    "swallowed": (READS % "HERE / 'weights.npy'").replace(
        "    w = np.load(HERE / 'weights.npy')\n",
        "    try:\n        w = np.load(HERE / 'weights.npy')\n    except Exception:\n        w = 1\n",
    ),
    "while it is called": READS.replace("w = np.load(%s)", "w = 1").replace(
        "* w}", "* np.load(HERE / 'weights.npy')}"
    ),
    "by a library without Python": """\
import ctypes
from pathlib import Path

import numpy as np


def make():
    c = ctypes.CDLL(None, use_errno=True)
    name = Path(__file__).with_name("weights.npy")
    if c.open(str(name).encode(), 0) < 0:
        raise ValueError(f"{name} cannot be opened for loading!")
    return lambda inputs: {"scores": np.stack([-inputs["x"][:, 0], inputs["x"][:, 0]], axis=1)}
""",
}


@pytest.mark.parametrize("how", UNNAMED)
def test_what_a_factory_opens_in_the_repository_without_naming_it_is_refused_by_name(
    tmp_path: Path, how: str
) -> None:
    project = FunctionProject(tmp_path)
    project.write("entry.py", UNNAMED[how].replace("ROOT", repr(str(project.root))))
    project.weights("weights.npy", 3)
    with pytest.raises(InvalidInput, match=r"`weights\.npy`.*`model\.files`"):
        answers(project.candidate(), "original")
    project.contract(WITH_FILES.replace(", words", ""))
    if how != "by its whole path":
        answers(project.candidate(), "original")


@pytest.mark.parametrize("asked", ["inspect", "open"])
@pytest.mark.parametrize(
    ("name", "factory"), [("weights/m.safetensors", "entry:make"), ("weights/w.npy", "entry:read")]
)
def test_a_broken_file_beside_a_factory_is_named_as_it_lies_in_the_project(
    tmp_path: Path, asked: str, name: str, factory: str
) -> None:
    project = FunctionProject(tmp_path, f"path: {name}\nfactory: {factory}")
    project.write(
        "entry.py",
        "import numpy as np\ndef make(): ...\ndef read(path): raise ValueError(f'{path} is truncated')",
    )
    project.write(name, "\x40" + "\0" * 7)
    model = project.candidate().model
    with pytest.raises(InvalidInput, match=f"{name} is truncated") as refused:
        model.inspect() if asked == "inspect" else model.open(model.path)
    assert ".gradatim" not in str(refused.value)


def test_what_lies_outside_of_the_contracts_folder_is_refused_with_its_place(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path / "top")
    (project.root / ".git").rename(tmp_path / "top" / ".git")
    (tmp_path / "top" / "shared.npy").write_bytes(b"x")
    for name in ("'../shared.npy'", repr(str(tmp_path / "top" / "shared.npy"))):
        project.write("entry.py", READS % name)
        with pytest.raises(InvalidInput, match=r"top/shared\.npy, which lies outside of"):
            answers(project.candidate(), "original")


def test_code_that_no_import_shows_is_refused_by_name_until_it_is_named(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path)
    project.write(
        "entry.py",
        "import importlib\n\n\ndef make():\n    return importlib.import_module('plug' + 'in').make()\n",
    )
    project.write("plugin.py", SIGN % 1)
    with pytest.raises(InvalidInput, match=r"`plugin\.py`.*`model\.files`"):
        answers(project.candidate(), "original")
    project.contract("factory: entry:make\nfiles: plugin.py")
    assert answers(project.candidate(), "original") == [-1, 1]


def test_files_belong_to_a_factory_and_must_be_there(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path, "factory: entry:make\nfiles: ['*.npy']")
    project.write("entry.py", SIGN % 1)
    with pytest.raises(InvalidInput, match=r"gradatim\.yml:\d+: nothing matches `\*\.npy`"):
        project.candidate().forms.original  # noqa: B018
    project.weights("weights.npy", 3)
    assert [entry.path for entry in project.candidate().forms.original.manifest.files] == [
        "entry.py",
        "weights.npy",
    ]
    project.contract("path: model.onnx\nfiles: [a.txt]")
    with pytest.raises(ContractError, match="`files` are what a `factory` opens"):
        project.candidate()


def test_a_version_that_was_asked_for_is_published_by_a_step_that_nobody_tells_of_it(tmp_path: Path) -> None:
    project = FunctionProject(tmp_path)
    project.write("entry.py", SIGN % 1)
    commit_file(project.root, "notes.txt", b"first")
    for step in RELEASE[:-2]:
        project.step(step)
    asked = run_step("tag", replace(project.candidate(), wanted_version="v2.5.0"))
    assert Tagged.of(asked.statement).tag == "v2.5.0"
    project.step("publish")
    assert project.released("v2.5.0")
    for wanted, skipped in ((None, True), ("2.5.0", True), ("v3.0.0", False)):
        assert run_step("tag", replace(project.candidate(), wanted_version=wanted)).skipped == skipped
