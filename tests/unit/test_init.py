"""`gradatim init`: a first contract that reads without a problem, from whatever lies in the repository."""

from __future__ import annotations

import csv
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, UsageError
from gradatim.files import template_folder
from gradatim.projects.finding import role_of
from gradatim.projects.init import Proposal, propose, render, write
from gradatim.projects.ladder import climb


def model_file(path: Path, inputs, outputs) -> Path:
    """An ONNX model with these inputs and outputs, (name, dtype, shape) each; it computes nothing sensible."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    dtypes = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}

    def values(specs):
        return [helper.make_tensor_value_info(name, dtypes[dtype], shape) for name, dtype, shape in specs]

    nodes = [
        helper.make_node(
            "ConstantOfShape",
            ["size"],
            [name],
            value=helper.make_tensor(f"{name}_zero", dtypes[dtype], [1], [0]),
        )
        for name, dtype, _ in outputs
    ]
    size = helper.make_tensor("size", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "made", values(inputs), values(outputs), [size])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def table(path: Path, header, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def contract_of(proposal: Proposal):
    return read_contract(write(proposal))


@pytest.fixture
def digits(tmp_path):
    data = template_folder("projects") / "digits" / "data"
    (tmp_path / "data").mkdir()
    for name in ("train", "calibration", "test"):
        (tmp_path / "data" / f"{name}.npz").write_bytes((data / f"{name}.npz").read_bytes())
    model_file(
        tmp_path / "model" / "digits.onnx",
        [("image", "float32", ["batch", 1, 8, 8])],
        [("logits", "float32", ["batch", 10])],
    )
    return tmp_path


def test_an_empty_folder_gets_a_contract_that_only_lacks_its_model(tmp_path):
    proposal = propose(tmp_path)
    path = write(proposal)
    with pytest.raises(ContractError) as refused:
        read_contract(path)
    assert len(refused.value.problems) == 1
    assert "a model needs `path`" in str(refused.value)


def test_an_image_classifier_is_recognised_with_its_data_labels_gates_and_corruptions(digits):
    contract = contract_of(propose(digits)).parts
    assert contract.model.path == "model/digits.onnx"
    assert contract.data.evaluation.path == "data/test.npz"
    assert contract.data.calibration.path == "data/calibration.npz"
    assert contract.task.type == "classification"
    assert contract.task.labels == tuple(range(10))
    assert contract.test.robustness == ("gaussian_noise", "shot_noise", "contrast")
    assert {"accuracy", "recall", "negative_flips", "latency_p50", "size"} == set(contract.gates)
    assert contract.compress.keep == {"accuracy": 0.99}


def test_a_proposed_bound_can_be_proven_by_the_data_there_is(digits):
    from gradatim.gates.exact import forgiven

    contract = contract_of(propose(digits))
    recall = next(rule for rule in contract.rules if rule.metric == "recall")
    assert forgiven(90, recall.amount) >= 2


def test_a_table_with_a_numeric_target_is_a_regression(tmp_path):
    model_file(tmp_path / "ridge.onnx", [("X", "float32", [None, 3])], [("variable", "float32", [None, 1])])
    rows = np.random.default_rng(0).normal(size=(60, 4)).round(4).tolist()
    table(tmp_path / "test.csv", ["age", "bmi", "pressure", "progression"], rows)
    contract = contract_of(propose(tmp_path)).parts
    assert contract.task.type == "regression"
    assert contract.data.label == "progression"
    assert contract.test.robustness[0] == "feature_noise"
    assert "mae" in contract.gates


def test_text_labels_become_the_label_list(tmp_path):
    model_file(
        tmp_path / "iris.onnx", [("X", "float32", [None, 2])], [("probabilities", "float32", [None, 3])]
    )
    names = ["setosa", "versicolor", "virginica"]
    table(
        tmp_path / "holdout.csv",
        ["width", "length", "species"],
        [[i, i / 2, names[i % 3]] for i in range(90)],
    )
    contract = contract_of(propose(tmp_path)).parts
    assert (contract.task.type, contract.task.labels) == ("classification", tuple(names))
    assert contract.data.label == "species"


def test_a_wide_output_that_fits_no_label_is_an_embedding(tmp_path):
    model_file(
        tmp_path / "encoder.onnx",
        [("x", "float32", ["n", 4])],
        [("states", "float32", ["n", "s", 384]), ("sentence_embedding", "float32", ["n", 384])],
    )
    x = np.zeros((40, 4), np.float32)
    np.savez(tmp_path / "eval.npz", x=x, label=np.array(["a", "b"] * 20))
    task = contract_of(propose(tmp_path)).parts.task
    assert (task.type, task.output) == ("embedding", "sentence_embedding")


def test_a_carried_state_and_a_sampling_rate_are_wired_up(tmp_path):
    model_file(
        tmp_path / "vad.onnx",
        [("input", "float32", [None, 576]), ("state", "float32", [2, None, 128]), ("sr", "int64", [])],
        [("output", "float32", [None, 1]), ("stateN", "float32", [2, None, 128])],
    )
    np.savez(
        tmp_path / "speech_test.npz",
        input=np.zeros((30, 576), np.float32),
        label=np.arange(30, dtype=np.int64) % 2,
    )
    inputs = contract_of(propose(tmp_path)).parts.model.inputs
    assert inputs["state"].carry == "stateN"
    assert inputs["sr"].value == 16000


def test_an_image_folder_is_found_by_its_class_folders(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        for index in range(3):
            path = tmp_path / "photos" / "test" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.new("RGB", (8, 8), (index, 0, 0)).save(path)
    proposal = propose(tmp_path)
    assert proposal.evaluation == "photos/test"
    assert proposal.task.labels == ("cat", "dog")


def test_a_pickle_is_explained_and_never_opened(tmp_path):
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (trap,))

    (tmp_path / "model.joblib").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "network.pt").write_bytes(pickle.dumps(Trap()))
    proposal = propose(tmp_path)
    text = render(proposal)
    assert proposal.model is None
    assert not trap.exists()
    assert "model.joblib is a pickle, which can run any code" in text
    assert "network.pt is a pickle" in text


def test_a_broken_model_is_named_and_a_whole_one_is_taken(tmp_path):
    whole = model_file(tmp_path / "b.onnx", [("x", "float32", [1])], [("y", "float32", [1])])
    (tmp_path / "a.onnx").write_bytes(whole.read_bytes()[:40])
    (tmp_path / "c.onnx").write_bytes(b"")
    (tmp_path / "d.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    proposal = propose(tmp_path)
    assert proposal.model.path == "b.onnx"
    told = "\n".join(proposal.notes)
    assert all(f"{name}.onnx was left out" in told for name in "acd")
    assert "git lfs pull" in told


def test_a_broken_data_set_is_named_and_no_traceback_comes(tmp_path):
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 2])], [("y", "float32", ["n", 2])])
    (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 and no more")
    proposal = propose(tmp_path)
    assert proposal.evaluation is None
    assert "test.npz was left out" in "\n".join(proposal.notes)
    read_contract(write(proposal))


def test_spaces_and_other_alphabets_in_every_path(tmp_path):
    root = tmp_path / "Modèle für 数字 #1"
    model_file(root / "mein modell: neu.onnx", [("x", "float32", ["n", 2])], [("y", "float32", ["n", 3])])
    np.savez(root / "tést # data.npz", x=np.zeros((30, 2), np.float32), label=np.arange(30) % 3)
    contract = contract_of(propose(root)).parts
    assert contract.model.path == "mein modell: neu.onnx"


def test_what_was_installed_or_built_is_not_looked_at(tmp_path):
    for folder in (".git", ".venv", "node_modules", ".gradatim", "my env/lib"):
        model_file(tmp_path / folder / "other.onnx", [("x", "float32", [1])], [("y", "float32", [1])])
    (tmp_path / "my env" / "pyvenv.cfg").write_text("")
    assert propose(tmp_path).model is None


def test_an_existing_contract_is_only_replaced_when_asked_and_then_kept(tmp_path):
    path = tmp_path / "gradatim.yml"
    path.write_text("mine\n")
    proposal = propose(tmp_path)
    with pytest.raises(UsageError, match="--force"):
        write(proposal)
    assert path.read_text() == "mine\n"
    write(proposal, force=True)
    assert path.read_text() == render(proposal)
    assert (tmp_path / "gradatim.yml.bak").read_text() == "mine\n"


def test_proposing_writes_nothing(digits):
    before = sorted(digits.rglob("*"))
    propose(digits)
    assert sorted(digits.rglob("*")) == before


def test_a_model_that_git_ignores_gets_a_build(digits):
    for command in (["init", "-q", "-b", "trunk"],):
        subprocess.run(["git", "-C", str(digits), *command], check=True)
    (digits / ".gitignore").write_text("/model/\n")
    (digits / "train.py").write_text("")
    contract = contract_of(propose(digits)).parts
    assert contract.model.build.run == "python train.py"
    assert contract.stages["production"].branch == "trunk"


@pytest.mark.parametrize(
    ("branches", "ladder"),
    [
        (["main"], (("production", "main"),)),
        (
            ["feature/x", "staging", "develop", "master"],
            (("alpha", "develop"), ("beta", "staging"), ("production", "master")),
        ),
        (
            ["canary", "production", "dev"],
            (("alpha", "dev"), ("canary", "canary"), ("production", "production")),
        ),
        (["only-this"], (("production", "only-this"),)),
    ],
)
def test_stages_come_from_the_branches_there_are(branches, ladder):
    assert climb(branches) == ladder


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("data/test.npz", "evaluation"),
        ("test_set.csv", "evaluation"),
        ("data/train-00001.parquet", "training"),
        ("calib/images.npz", "calibration"),
        ("train/val.jsonl", "evaluation"),
        ("tests/fixture.csv", None),
        ("latest.csv", None),
    ],
)
def test_names_say_what_data_is_for(path, role):
    assert role_of(path) == role
