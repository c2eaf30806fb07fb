"""`gradatim init`: what a model is for is read off its answers, or asked in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from init_project import contract_of, graph_file, knowing, model_file, questions, table

from gradatim.projects.init import propose
from gradatim.projects.text import render


def test_scores_of_many_classes_are_told_by_their_answers_and_named_by_the_list_beside(tmp_path):
    """As magika: 214 kinds of files, most of them rare in the data."""
    draw = np.random.default_rng(0)
    names = [f"kind{place}" for place in range(214)]
    (tmp_path / "labels.txt").write_text("\n".join(names) + "\n")
    knowing(tmp_path / "model.onnx", "bytes", "int32", 256, "target_label", 214)
    labels = draw.integers(0, 214, 160)
    rows = draw.integers(0, 257, (160, 256)).astype(np.int32)
    rows[:, 0] = labels
    np.savez(tmp_path / "evaluation.npz", bytes=rows, label=labels)
    np.savez(tmp_path / "calibration.npz", bytes=rows[:40] + 1)
    proposal = propose(tmp_path)
    contract = contract_of(proposal).parts
    assert (contract.task.type, contract.task.labels) == ("classification", tuple(names))
    assert contract.compress.keep == pytest.approx({"fidelity": 0.95})  # calibration data without labels
    assert contract.test.robustness[0] == "token_substitution"
    assert "recall" not in contract.gates  # many a kind has no sample
    assert not proposal.notes
    assert not questions(proposal)


def test_a_thousand_scores_called_logits_are_a_classification_whatever_few_rows_there_are(tmp_path):
    """As efficientnet: labels that are the model's own answers, 60 rows of 1000 classes."""
    draw = np.random.default_rng(0)
    knowing(tmp_path / "model.onnx", "image", "float32", 8, "logits", 1000)
    rows = draw.random((60, 8)).astype(np.float32)
    rows[:, 0] = draw.choice(1000, 60, replace=False)
    np.savez(tmp_path / "evaluation.npz", image=rows, label=rows[:, 0].astype(np.int64))
    task = contract_of(propose(tmp_path)).parts.task
    assert (task.type, task.labels) == ("classification", ())


@pytest.mark.parametrize("kind", ["model.pt", "model.pt2"])
def test_pitches_of_a_pytorch_model_are_classes_though_nothing_names_them(tmp_path, kind):
    """As crepe: TorchScript and torch.export say nothing of what the 360 numbers are."""
    torch = pytest.importorskip("torch")

    class Pitch(torch.nn.Module):
        def forward(self, frames):
            return torch.sigmoid(1 - (frames[:, :1] - torch.arange(360)) ** 2)

    draw = np.random.default_rng(0)
    rows = draw.normal(size=(300, 64)).astype(np.float32)
    labels = draw.integers(0, 360, 300)
    rows[:, 0] = labels
    example = torch.from_numpy(rows[:4])
    if kind == "model.pt":
        torch.jit.trace(Pitch(), example).save(str(tmp_path / kind))
    else:
        batch = torch.export.Dim("b", max=4096)
        torch.export.save(
            torch.export.export(Pitch(), (example,), dynamic_shapes=({0: batch},)), tmp_path / kind
        )
    np.savez(tmp_path / "evaluation.npz", frames=rows, label=labels)
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.task.type == "classification"
    assert not questions(proposal)


def test_several_outputs_that_fit_no_label_are_one_question_with_the_users_own_metric_in_it(tmp_path):
    """As basic-pitch: outputs over time, with colons in their names, and a function that knows how to judge them."""
    names = [f"StatefulPartitionedCall:{place}" for place in (2, 1, 0)]
    model_file(
        tmp_path / "model.onnx",
        [("serving_default_input_2:0", "float32", ["n", 64, 1])],
        [(name, "float32", ["n", 17, 8]) for name in names],
    )
    (tmp_path / "project.py").write_text("def metric(outputs, labels):\n    return 1.0\n")
    rows = np.random.default_rng(0).normal(size=(60, 64, 1)).astype(np.float32)
    timbre = np.array(["bell", "organ", "sine"] * 20)
    np.savez(
        tmp_path / "evaluation.npz",
        **{"serving_default_input_2:0": rows, "label": np.arange(60) + 36, "timbre": timbre},
    )
    np.savez(tmp_path / "calibration.npz", **{"serving_default_input_2:0": rows[:20]})
    proposal = propose(tmp_path)
    contract = contract_of(proposal).parts
    assert (contract.task.type, contract.task.output) == ("embedding", names[0])
    assert contract.data.slices == ("timbre",)
    (asked,) = questions(proposal)
    assert "embedding or a metric of your own?" in asked
    answer = yaml.safe_load(asked.partition("task: ")[2])
    assert answer == {"type": "embedding", "output": names[0], "metrics": {"score": "project:metric"}}


def test_a_metric_that_cannot_judge_the_answers_is_not_named_in_the_question(tmp_path):
    """It was written for something else: all outputs by name, where a metric of the kit's gets labels and answers."""
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 4])], [("a", "float32", ["n", 17, 8])])
    (tmp_path / "project.py").write_text("def metric(outputs, labels):\n    return outputs['a'].mean()\n")
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 4), np.float32), label=np.arange(60) + 36)
    (asked,) = questions(propose(tmp_path))
    answer = yaml.safe_load(asked.partition("task: ")[2])
    assert answer["metrics"] == {"score": "scoring:score"}
    assert "def score(labels, predictions)" in asked


def test_what_the_answers_do_not_decide_is_asked_in_one_line_and_answered_on_the_command_line(tmp_path):
    """Twenty classes, forty numbers, and answers that have nothing to do with the labels: a bad classifier, or vectors."""
    draw = np.random.default_rng(0)
    knowing(tmp_path / "model.onnx", "x", "float32", 4, "out", 40)
    rows = draw.random((200, 4)).astype(np.float32)
    rows[:, 0] = draw.integers(0, 40, 200)
    labels = draw.integers(0, 30, 200)
    np.savez(tmp_path / "test.npz", x=rows, label=labels)
    weights = onnx_weights(tmp_path / "model.onnx", "off and on", np.array([-1.5, 2], np.float32))
    assert weights  # not a distribution any more
    proposal = propose(tmp_path)
    (asked,) = questions(proposal)
    assert "classification or embedding?" in asked
    assert "gradatim init --force --task embedding" in asked
    assert contract_of(proposal).parts.task.type == "classification"
    answered = propose(tmp_path, "embedding")
    assert not questions(answered)
    (tmp_path / "gradatim.yml").unlink()
    assert contract_of(answered).parts.task.type == "embedding"


def onnx_weights(path: Path, name: str, value) -> int:
    """Replace a constant of an ONNX model; how many were replaced."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    found = [tensor for tensor in model.graph.initializer if tensor.name == name]
    for tensor in found:
        tensor.CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(model, path)
    return len(found)


def test_vectors_with_a_few_topics_beside_them_are_no_classes(tmp_path):
    draw = np.random.default_rng(0)
    knowing(tmp_path / "model.onnx", "x", "float32", 4, "out", 384)
    onnx_weights(tmp_path / "model.onnx", "off and on", np.array([-1.5, 2], np.float32))
    rows = draw.random((120, 4)).astype(np.float32)
    rows[:, 0] = draw.integers(0, 384, 120)
    np.savez(tmp_path / "test.npz", x=rows, label=np.arange(120) % 6)
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.task.type == "embedding"
    assert not questions(proposal)


@pytest.mark.parametrize("known_to", ["data", "file"])
def test_the_order_of_text_labels_is_the_one_in_which_the_model_is_right(tmp_path, known_to):
    names = ["zebra", "ape", "mole"]
    knowing(tmp_path / "model.onnx", "x", "float32", 2, "scores", 3)
    labels = np.arange(60) % 3
    np.savez(
        tmp_path / "test.npz",
        x=np.stack([labels, labels], axis=1).astype(np.float32),
        label=np.array(names)[labels],
    )
    if known_to == "file":
        (tmp_path / "labels.json").write_text(
            json.dumps({str(place): name for place, name in enumerate(names)})
        )
    assert contract_of(propose(tmp_path)).parts.task.labels == tuple(names)


def test_an_order_that_neither_the_alphabet_nor_the_data_have_is_learned_from_the_answers(tmp_path):
    names = ["mole", "zebra", "ape"]
    knowing(tmp_path / "model.onnx", "x", "float32", 2, "scores", 3)
    labels = np.array([2, 0, 1, 1, 0, 2] * 10)
    x = np.stack([labels, labels], axis=1).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, label=np.array(names)[labels])
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.task.labels == tuple(names)
    assert not proposal.notes


def test_two_names_beside_a_binary_model_name_its_labels(tmp_path):
    knowing(tmp_path / "model.onnx", "x", "float32", 2, "scores", 2)
    (tmp_path / "labels.txt").write_text("ham\nspam\n")
    labels = np.arange(60) % 2
    np.savez(tmp_path / "test.npz", x=np.stack([labels, labels], axis=1).astype(np.float32), label=labels)
    assert contract_of(propose(tmp_path)).parts.task.labels == ("ham", "spam")


def test_counts_from_one_score_are_a_regression_and_zeros_and_ones_are_two_classes(tmp_path):
    for name, labels, wanted in (
        ("counts", np.arange(60) % 7 + 20, "regression"),
        ("binary", np.arange(60) % 2, "classification"),
        ("as floats", (np.arange(60) % 2).astype(np.float32), "classification"),
    ):
        root = tmp_path / name
        model_file(root / "m.onnx", [("x", "float32", ["n", 4])], [("y", "float32", ["n", 1])])
        np.savez(root / "test.npz", x=np.zeros((60, 4), np.float32), label=labels)
        assert contract_of(propose(root)).parts.task.type == wanted, name


@pytest.mark.parametrize("task", ["segmentation", "regression"])
def test_a_mask_over_a_picture_is_a_segmentation_and_a_depth_map_a_regression(tmp_path, task):
    """As a detector of text: height and width are free, and evaluation data come in several sizes, a file each."""
    model_file(
        tmp_path / "model.onnx",
        [("x", "float32", ["n", 3, 16, 24])],
        [("maps", "float32", ["n", 1, 16, 24])],
    )
    draw = np.random.default_rng(0)
    for name in ("evaluation", "evaluation_wide"):
        x = draw.random((24, 3, 16, 24)).astype(np.float32)
        mask = (x[:, :1] > 0.5).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=x, label=mask if task == "segmentation" else x[:, :1])
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.task.type == task
    assert "# evaluation: evaluation_wide.npz   # found as well" in render(proposal)


def test_a_text_column_of_few_values_is_sliced_by_and_a_patient_is_a_group(tmp_path):
    model_file(tmp_path / "m.onnx", [("X", "float32", [None, 2])], [("variable", "float32", [None, 1])])
    rows = [[i / 7, i / 3, ["north", "south"][i % 2], i // 3, i / 2] for i in range(90)]
    table(tmp_path / "test.csv", ["age", "bmi", "clinic", "patient_id", "progression"], rows)
    contract = contract_of(propose(tmp_path)).parts
    assert contract.data.label == "progression"
    assert (contract.data.slices, contract.data.group) == (("clinic",), "patient_id")


def test_a_word_of_a_table_that_feeds_the_model_is_sliced_by_too(tmp_path):
    graph_file(
        tmp_path / "rent.onnx",
        [("area", "float32", ["n", 1]), ("district", "str", ["n", 1])],
        [("rent", "float32", ["n", 1])],
        [("Identity", ["area"], ["rent"])],
        {},
    )
    rows = [[i / 2, ["north", "south"][i % 2], i * 3.5] for i in range(90)]
    table(tmp_path / "test.csv", ["area", "district", "rent"], rows)
    contract = contract_of(propose(tmp_path)).parts
    assert contract.data.label == "rent"
    assert contract.data.slices == ("district",)


def sequence_model(path, classes, *, tokens="tokens"):
    """An ONNX model of token ids [b, t] that says of each, as scores [b, t, C], the class that the id modulo C is."""
    table = np.eye(classes, dtype=np.float32)[np.arange(40) % classes]
    graph_file(
        path,
        [(tokens, "int64", ["b", "t"])],
        [("scores", "float32", ["b", "t", classes])],
        [("Gather", ["table", tokens], ["scores"])],
        {"table": table},
    )


def test_a_class_for_each_moment_needs_no_names(tmp_path):
    """Numbers stand for places among the scores, as they do where an item has one label."""
    sequence_model(tmp_path / "model.onnx", 4)
    tokens = np.random.default_rng(0).integers(0, 40, (60, 7))
    np.savez(tmp_path / "test.npz", tokens=tokens, label=tokens % 4)
    proposal = propose(tmp_path)
    parts = contract_of(proposal).parts
    assert (parts.task.type, parts.task.labels) == ("token_classification", (0, 1, 2, 3))
    assert next(iter(parts.gates)) == "accuracy"  # no number begins an entity
    assert not proposal.notes


def test_the_order_of_tags_is_the_one_in_which_the_model_is_right(tmp_path):
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    sequence_model(tmp_path / "model.onnx", 4)
    tokens = np.random.default_rng(0).integers(0, 40, (60, 7))
    np.savez(tmp_path / "test.npz", tokens=tokens, label=np.array(names)[tokens % 4])
    contract = contract_of(propose(tmp_path)).parts
    assert contract.task.type == "token_classification"
    assert set(contract.task.labels) == set(names)
    assert next(iter(contract.gates)) == "f1"


def test_names_whose_order_the_answers_do_not_tell_are_to_be_looked_at(tmp_path):
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 4])], [("scores", "float32", ["n", 3])])
    labels = np.array(["zebra", "ape", "mole"] * 20)
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 4), np.float32), label=labels)
    (note,) = propose(tmp_path).notes
    assert "the order of the model's scores" in note
    assert "task.labels" in note


@pytest.mark.parametrize("lists", ["0 zebra\n1 ape\n2 mole\n", "0: zebra\n1: ape\n2: mole\n"])
def test_a_list_that_numbers_its_names_is_read(tmp_path, lists):
    knowing(tmp_path / "model.onnx", "x", "float32", 2, "scores", 3)
    (tmp_path / "labels.txt").write_text(lists)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "test.npz", x=np.stack([labels, labels], axis=1).astype(np.float32), label=labels)
    assert contract_of(propose(tmp_path)).parts.task.labels == ("zebra", "ape", "mole")


def test_one_file_with_the_rows_of_training_and_of_testing_feeds_those_of_the_label(tmp_path):
    """As the classic data sets come: four arrays, two of each length."""
    knowing(tmp_path / "model.onnx", "image", "float32", 8, "scores", 10)
    draw = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 200), ("test", 90)):
        labels = draw.integers(0, 10, rows)
        values = draw.random((rows, 8)).astype(np.float32)
        values[:, 0] = labels
        arrays |= {f"x_{part}": values, f"y_{part}": labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    proposal = propose(tmp_path)
    contract = contract_of(proposal).parts
    assert (contract.task.type, contract.data.label) == ("classification", "y_test")
    assert (
        proposal.choice.seen.outputs["scores"].argmax(axis=1).tolist() == proposal.choice.seen.labels.tolist()
    )


def test_an_autoencoder_beside_labels_of_anomalies_is_one_question(tmp_path):
    """What it gives is its input again; whether a row is odd, a function of the user's own must say."""
    graph_file(
        tmp_path / "ae.onnx",
        [("x", "float32", ["n", 30])],
        [("reconstruction", "float32", ["n", 30])],
        [("Mul", ["x", "h"], ["reconstruction"])],
        {"h": np.array(0.9, np.float32)},
    )
    rows = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=rows, label=(np.arange(200) % 10 == 0).astype(np.int64))
    proposal = propose(tmp_path)
    (asked,) = questions(proposal)
    assert "embedding or a metric of your own?" in asked
    assert contract_of(proposal).parts.task.type == "embedding"


def test_the_states_of_a_language_model_are_carried_under_the_names_that_exports_give_them(tmp_path):
    inputs = [("x", "float32", ["n", 4]), ("past_key_values.0.key", "float32", ["n", 5])]
    outputs = [("y", "float32", ["n", 1]), ("present.0.key", "float32", ["n", 5])]
    model_file(tmp_path / "m.onnx", inputs, outputs)
    np.savez(tmp_path / "test.npz", x=np.zeros((60, 3, 4), np.float32), label=np.zeros((60, 3), np.float32))
    contract = contract_of(propose(tmp_path)).parts
    assert contract.model.inputs["past_key_values.0.key"].carry == "present.0.key"


def test_text_for_a_model_of_tokens_names_what_must_stand_between_them(tmp_path):
    """The text is neither a label nor a slice, and nothing else of the data is left out for want of it."""
    sequence_model(tmp_path / "model.onnx", 4, tokens="input_ids")
    rows = [{"text": f"{kind} of {place}", "topic": kind} for kind in ("rain", "bank") for place in range(20)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    proposal = propose(tmp_path)
    (note,) = proposal.notes
    assert "`input_ids`" in note
    assert "`text`" in note
    assert "data.preprocess" in note
    contract = contract_of(proposal).parts
    assert contract.data.label != "text"
    assert contract.data.evaluation.path == "test.jsonl"


def test_pictures_for_a_model_of_numbers_name_what_must_stand_between_them(tmp_path):
    image = pytest.importorskip("PIL.Image")
    model_file(tmp_path / "m.onnx", [("x", "float32", ["n", 3, 8, 8])], [("scores", "float32", ["n", 2])])
    for place in range(40):
        path = tmp_path / "test" / ("cat" if place % 2 else "dog") / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (8, 8), (place, 0, 0)).save(path)
    proposal = propose(tmp_path)
    (note, order) = proposal.notes
    assert "data.preprocess" in note
    assert "the order of the model's scores" in order
    assert contract_of(proposal).parts.task.labels == ("cat", "dog")


def test_a_slow_model_gets_as_many_corrupted_items_as_fit_two_minutes(tmp_path):
    (tmp_path / "answering.py").write_text(
        "import time\n\nimport numpy as np\n\n\n"
        "def predict(inputs):\n    time.sleep(0.02 * len(inputs['x']))\n    return {'y': inputs['x'][:, :1]}\n"
    )
    rows = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=rows, label=rows[:, 0])
    proposal = propose(tmp_path)
    contract = contract_of(proposal).parts
    assert contract.test.robustness
    assert 100 <= contract.test.items < 400
