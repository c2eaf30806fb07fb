"""`gradatim init`: a first contract that reads without a problem, from whatever lies in the repository."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from init_project import contract_of, invoke, knowing, linear_model, model_file, table
from small_gguf import write_gguf

from gradatim.contract.reading import read_contract
from gradatim.errors import InvalidInput, UsageError
from gradatim.files import template_folder
from gradatim.projects.finding import role_of
from gradatim.projects.init import propose, write
from gradatim.projects.ladder import climb
from gradatim.projects.text import render
from gradatim.rendering.gitlab import PATH


@pytest.fixture
def digits(tmp_path):
    data = template_folder("projects") / "digits" / "data"
    (tmp_path / "data").mkdir()
    for name in ("train", "calibration", "test"):
        (tmp_path / "data" / f"{name}.npz").write_bytes((data / f"{name}.npz").read_bytes())
    with np.load(tmp_path / "data" / "train.npz") as train:
        linear_model(tmp_path / "model" / "digits.onnx", train["image"], train["label"])
    return tmp_path


def test_an_empty_folder_gets_a_contract_that_only_lacks_its_model(tmp_path):
    contract = contract_of(propose(tmp_path)).parts
    assert contract.model.path == "model/model.onnx"
    assert not contract.gates
    assert contract.data.evaluation is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert invoke(tmp_path, "gate", "--plan").exit_code == 0
    stopped = invoke(tmp_path, "inspect").exception
    assert isinstance(stopped, InvalidInput)
    assert "There is no model at" in str(stopped)
    assert "model.build" in str(stopped)


def test_an_image_classifier_is_recognised_with_its_data_labels_gates_and_corruptions(digits):
    contract = contract_of(propose(digits)).parts
    assert contract.model.path == "model/digits.onnx"
    assert contract.data.evaluation.path == "data/test.npz"
    assert contract.data.calibration.path == "data/calibration.npz"
    assert contract.task.type == "classification"
    assert contract.task.labels == tuple(range(10))
    assert contract.test.robustness == ("gaussian_noise", "shot_noise", "contrast")
    assert {"accuracy", "recall", "negative_flips", "latency_floor", "size"} == set(contract.gates)
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


def test_the_data_that_feed_the_model_are_taken_before_those_that_do_not(tmp_path):
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 4])], [("y", "float32", ["n", 3])])
    np.savez(tmp_path / "eval.npz", words=np.array(["a", "b"] * 20), label=np.arange(40) % 3)
    np.savez(tmp_path / "evaluation.npz", x=np.zeros((40, 4), np.float32), label=np.arange(40) % 3)
    assert propose(tmp_path).evaluation == "evaluation.npz"


def test_inputs_that_every_text_model_has_are_given_what_their_names_say(tmp_path):
    names = ("input_ids", "attention_mask", "token_type_ids")
    model_file(
        tmp_path / "m.onnx", [(name, "int64", ["n", 8]) for name in names], [("logits", "float32", ["n", 2])]
    )
    np.savez(tmp_path / "test.npz", input_ids=np.ones((40, 8), np.int64), label=np.arange(40) % 2)
    proposal = propose(tmp_path)
    inputs = contract_of(proposal).parts.model.inputs
    assert {name: given.value for name, given in inputs.items()} == {"attention_mask": 1, "token_type_ids": 0}
    assert not proposal.notes


FUNCTIONS = """\
import numpy as np

print("importing this module says so")


def load(path):
    with np.load(path) as weights:
        w = weights["w"]
    return lambda inputs: {"scores": inputs["x"] @ w}
"""


def test_weights_of_any_format_are_made_a_model_by_the_function_that_reads_them(tmp_path):
    (tmp_path / "model").mkdir()
    np.savez(tmp_path / "model" / "weights.npz", w=np.eye(3, dtype=np.float32))
    (tmp_path / "net.py").write_text(FUNCTIONS.replace('print("importing this module says so")\n', ""))
    x = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    np.savez(tmp_path / "test.npz", x=x, label=np.arange(60) % 3)
    contract = contract_of(propose(tmp_path)).parts
    assert (contract.model.path, contract.model.factory) == ("model/weights.npz", "net:load")
    assert contract.task.type == "classification"


def test_a_module_that_works_on_import_is_never_imported(tmp_path):
    (tmp_path / "train.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n\n\ndef predict(inputs):\n    return {}\n"
    )
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 2), np.float32), label=np.arange(60) % 3)
    proposal = propose(tmp_path)
    assert not proposal.choice.exists
    assert not (tmp_path / "imported").exists()


def test_a_preprocessing_is_found_by_trying_it(tmp_path):
    model_file(tmp_path / "m.onnx", [("pixels", "float32", ["n", 3, 4, 4])], [("y", "float32", ["n", 2])])
    (tmp_path / "prepare.py").write_text(
        "import numpy as np\n\n\ndef preprocess(columns):\n"
        "    return {'pixels': (columns['image'] / 255).astype(np.float32).transpose(0, 3, 1, 2)}\n"
    )
    np.savez(tmp_path / "test.npz", image=np.zeros((40, 4, 4, 3), np.uint8), label=np.arange(40) % 2)
    contract = contract_of(propose(tmp_path)).parts
    assert contract.data.preprocess == "prepare:preprocess"


@pytest.mark.parametrize(
    ("work", "told", "seconds"),
    [
        ("os.abort()", "ended its process (SIGABRT)", 60.0),
        ("time.sleep(100)", "did not answer one batch within", 4.0),
    ],
)
def test_a_model_that_hangs_or_ends_its_process_is_told_and_a_contract_is_written(
    tmp_path, work, told, seconds, monkeypatch
):
    monkeypatch.setattr("gradatim.projects.trial.SECONDS", seconds)
    (tmp_path / "rules.py").write_text(f"import os\nimport time\n\n\ndef predict(inputs):\n    {work}\n")
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 2), np.float32), label=np.arange(60) % 3)
    proposal = propose(tmp_path)
    assert any(told in note for note in proposal.notes), proposal.notes
    read_contract(write(proposal))


def test_a_corruption_that_cannot_be_applied_is_not_proposed(tmp_path, monkeypatch):
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 4])], [("y", "float32", ["n", 3])])
    np.savez(
        tmp_path / "test.npz",
        x=np.random.default_rng(0).random((40, 4)).astype(np.float32),
        label=np.arange(40) % 3,
    )
    monkeypatch.setattr("gradatim.projects.init.corruptions_for", lambda *_: ("typos", "feature_noise"))
    assert contract_of(propose(tmp_path)).parts.test.robustness == ("feature_noise",)


def test_calibration_data_that_do_not_feed_the_model_leave_compression_out_and_say_why(tmp_path):
    knowing(tmp_path / "model.onnx", "x", "float32", 4, "scores", 3)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "test.npz", x=np.stack([labels] * 4, axis=1).astype(np.float32), label=labels)
    np.savez(tmp_path / "calibration.npz", x=np.zeros((9, 5), np.float32))
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.compress is None
    assert any(note.startswith("Compression was left out:") for note in proposal.notes)


def repository(folder: Path, remote: str | None = None) -> Path:
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    if remote:
        subprocess.run(["git", "-C", str(folder), "remote", "add", "origin", remote], check=True)
    return folder


def a_model(folder: Path) -> Path:
    return model_file(folder / "m.onnx", [("x", "float32", ["n", 2])], [("y", "float32", ["n", 2])])


def test_the_file_of_the_ci_system_in_use_is_written_too(tmp_path):
    for name, made in (("github", ".github/workflows/release.yml"), ("gitlab", ".gitlab-ci.yml")):
        root = repository(tmp_path / name, f"https://{name}.com/ada/digits.git")
        a_model(root)
        done = invoke(root, "init")
        assert done.exception is None, done.exception
        assert (root / made).is_file()
        assert f"wrote {root / made}" in done.stderr
    plain = repository(tmp_path / "plain")
    a_model(plain)
    done = invoke(plain, "init")
    assert done.exception is None
    assert sorted(path.name for path in plain.iterdir()) == [".git", "gradatim.yml", "m.onnx"]
    assert "--ci github" in done.stderr


def test_a_pipeline_of_gitlab_is_added_to_and_never_rewritten(tmp_path):
    root = repository(tmp_path)
    a_model(root)
    (root / ".gitlab-ci.yml").write_text(
        "# ours\nstages: [lint, verify, ship]\n\nlint:\n  stage: lint\n  script: ruff .\n"
    )
    assert invoke(root, "init").exception is None
    text = (root / ".gitlab-ci.yml").read_text()
    assert text.startswith("# ours\nstages: [lint, verify, ship]\n")
    ((include,), jobs) = (yaml.safe_load(text)["include"], yaml.safe_load(text)["lint"])
    assert jobs["script"] == "ruff ."
    assert include["remote"].endswith(PATH)
    assert include["inputs"]["branches"] == "/^(main)$/"
    assert (include["inputs"]["checks-stage"], include["inputs"]["release-stage"]) == ("verify", "ship")
    again = invoke(root, "init", "--force")
    assert again.exception is None
    assert (root / ".gitlab-ci.yml").read_text() == text
    (root / ".gitlab-ci.yml").write_text("include:\n  - local: theirs.yml\n")
    by_hand = invoke(root, "init", "--force")
    assert "has an `include:` already; add to it:" in by_hand.stderr
    assert (root / ".gitlab-ci.yml").read_text() == "include:\n  - local: theirs.yml\n"


def test_the_kits_own_commit_pins_what_is_included_where_it_is_known(tmp_path, monkeypatch):
    commit = "a" * 40
    known = tmp_path / "site" / "gradatim-0.1.0.dist-info"
    known.mkdir(parents=True)
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: gradatim\nVersion: 0.1.0\n")
    told = {"url": "https://github.com/gradatim/gradatim", "vcs_info": {"vcs": "git", "commit_id": commit}}
    (known / "direct_url.json").write_text(json.dumps(told))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    root = repository(tmp_path / "repo")
    a_model(root)
    assert invoke(root, "init", "--ci", "gitlab").exception is None
    text = (root / ".gitlab-ci.yml").read_text()
    assert f"/{commit}/{PATH}  # v" in text
    assert yaml.safe_load(text)["include"][0]["inputs"]["kit"].endswith(f"@{commit}")
    assert invoke(root, "init", "--force", "--ci", "github").exception is None
    assert f"@{commit} # v" in (root / ".github/workflows/release.yml").read_text()


def test_outside_of_git_it_says_what_to_do(tmp_path):
    a_model(tmp_path)
    refused = invoke(tmp_path, "init", "--ci", "gitlab").exception
    assert isinstance(refused, UsageError)
    assert "git init" in str(refused)
    assert not (tmp_path / "gradatim.yml").exists()
    done = invoke(tmp_path, "init")
    assert done.exception is None
    assert 'git init && git add --all && git commit -m "A model"' in done.stderr


def test_what_init_says_is_read_at_sixty_columns(tmp_path, monkeypatch):
    """Also a question, a note, and what to do where there is no CI system."""
    monkeypatch.setenv("COLUMNS", "60")
    model_file(
        tmp_path / "m.onnx",
        [("x", "float32", ["n", 4])],
        [("scores", "float32", ["n", 3]), ("onsets", "float32", ["n", 88])],
    )
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 4), np.float32), label=["zebra", "ape", "mole"] * 20)
    done = invoke(tmp_path, "init")
    assert done.exit_code == 0, done.output
    assert "note: " in done.output
    assert max(map(len, done.output.splitlines())) <= 60, done.output


def test_at_the_root_of_several_models_the_contracts_that_are_there_are_named(tmp_path):
    repository(tmp_path)
    for name in ("a", "b"):
        a_model(tmp_path / name)
        assert invoke(tmp_path, "init", name).exception is None
    refused = invoke(tmp_path, "init").exception
    assert isinstance(refused, UsageError)
    assert "a/gradatim.yml, b/gradatim.yml" in str(refused)
    a_model(tmp_path / "c")
    a_model(tmp_path / "d")
    proposal = propose(tmp_path)
    assert proposal.model.path == "c/m.onnx"  # those of other contracts are left to them
    assert any("gradatim init d" in note for note in proposal.notes)


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


def test_a_language_model_is_proposed_as_one_that_is_asked_for_text(tmp_path):
    write_gguf(tmp_path / "small.gguf")
    rows = [{"messages": [{"role": "user", "content": f"say {n}"}], "label": str(n)} for n in range(300)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    parts = contract_of(propose(tmp_path)).parts
    assert parts.task is not None
    assert (parts.task.type, list(parts.task.scorers)) == ("generation", ["contains"])
    assert "contains" in parts.gates


@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_a_hugging_face_folder_that_writes_text_is_asked_for_it_where_the_data_are_prompts(tmp_path, column):
    pytest.importorskip("transformers")
    from small_speaker import question, write_speaker

    write_speaker(tmp_path / "model", steps=1)
    said = {"messages": question("peru"), "prompt": "capital of peru ?"}[column]
    (tmp_path / "test.jsonl").write_text(
        "\n".join(json.dumps({column: said, "answer": "lima"}) for _ in range(60))
    )
    parts = contract_of(propose(tmp_path)).parts
    assert parts.task is not None
    assert (parts.task.type, parts.data.label) == ("generation", "answer")
    assert not parts.model.inputs
    assert "contains" in parts.gates
