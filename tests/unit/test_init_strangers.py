"""`gradatim init` on projects that nobody tuned it for, each the trait of a real one that it did not understand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from init_project import contract_of, graph_file, questions, table

from gradatim.gates.exact import forgiven
from gradatim.projects.init import propose
from gradatim.projects.pictures import preparations
from gradatim.projects.text import render
from gradatim.signature import Signature, TensorSpec


def test_two_columns_of_text_are_a_pair_for_a_model_that_brings_its_tokenizer(tmp_path):
    """As models of entailment and paraphrase: a premise and a hypothesis, in the order of the file."""
    pytest.importorskip("transformers")
    from small_transformer import texts, write_bert

    write_bert(tmp_path / "model")
    found, truth = texts(("sport", "money"), 40, seed=3)
    other, _ = texts(("sport", "money"), 40, seed=4)
    rows = [
        {"pairID": f"p{place}", "premise": one, "hypothesis": two, "gold_label": label}
        for place, (one, two, label) in enumerate(zip(found, other, truth, strict=True))
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    proposal = propose(tmp_path)
    data = contract_of(proposal).parts.data
    assert data.inputs == {"text": ("premise", "hypothesis")}
    assert data.label == "gold_label"
    assert proposal.corruptions
    assert not proposal.notes


def test_the_texts_are_found_among_other_columns(tmp_path):
    pytest.importorskip("transformers")
    from small_transformer import texts, write_bert

    write_bert(tmp_path / "model")
    found, truth = texts(("sport", "money"), 60, seed=3)
    stars = np.random.default_rng(0).integers(1, 6, 60)
    rows = [
        [place, one, star, label]
        for place, (one, star, label) in enumerate(zip(found, stars, truth, strict=True))
    ]
    table(tmp_path / "test.csv", ["id", "review_body", "stars", "topic"], rows)
    proposal = propose(tmp_path)
    data = contract_of(proposal).parts.data
    assert (data.inputs, data.label) == ({"text": ("review_body",)}, "topic")
    assert not proposal.notes


def test_the_label_of_a_network_that_says_no_width_is_the_column_without_which_it_answers(tmp_path):
    """As weights with code: nothing but trying tells that the last column of a table is no feature."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Sigmoid())
    save_file(net.state_dict(), str(tmp_path / "weights.safetensors"))
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Linear(6, 1), nn.Sigmoid())\n"
    )
    rows = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    with torch.no_grad():
        truth = (net(torch.from_numpy(rows))[:, 0].numpy() > 0.5).astype(int)
    header = [*(f"v{place}" for place in range(6)), "is_fraud"]
    table(
        tmp_path / "test.csv",
        header,
        [[*row, label] for row, label in zip(rows.tolist(), truth, strict=True)],
    )
    proposal = propose(tmp_path)
    parts = contract_of(proposal).parts
    assert (parts.data.label, parts.task.type) == ("is_fraud", "classification")
    assert not proposal.notes
    assert not questions(proposal)


def test_names_of_tags_are_read_from_the_list_beside(tmp_path):
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, 5, (80, 6))
    graph_file(
        tmp_path / "tagger.onnx", [("ids", "int64", ["batch", 6])], [("logits", "float32", ["batch", 6, 5])],
        [("Gather", ["table", "ids"], ["logits"])], {"table": np.eye(5, dtype=np.float32)},
    )  # fmt: skip
    (tmp_path / "tags.txt").write_text("O\nPER\nLOC\nORG\nMISC\n")
    np.savez(tmp_path / "test.npz", ids=tokens, tags=tokens)
    task = contract_of(propose(tmp_path)).parts.task
    assert (task.type, task.labels) == ("token_classification", ("O", "PER", "LOC", "ORG", "MISC"))


def test_data_that_are_no_use_are_told_with_the_reason(tmp_path):
    """As pictures beside a table of their names: nothing was said but that no data were found."""
    graph_file(
        tmp_path / "model.onnx", [("image", "float32", ["batch", 4])], [("points", "float32", ["batch", 4])],
        [("Identity", ["image"], ["points"])], {},
    )  # fmt: skip
    table(
        tmp_path / "labels.csv", ["file", "x1", "y1"], [[f"images/{n}.png", n / 9, n / 7] for n in range(30)]
    )
    np.save(tmp_path / "sensors.npy", np.zeros((30, 4), np.float32))
    notes = " ".join(propose(tmp_path).notes)
    assert "labels.csv" in notes
    assert "The single files in this folder" in notes
    assert ".npz" in notes


@pytest.mark.parametrize("scale", ["0 to 1", "-1 to 1"])
def test_what_stands_between_pictures_and_a_model_is_found_by_trying_and_written(tmp_path, scale):
    """As any classifier of photographs: files in class folders, larger than the model's input, and a scale nobody noted."""
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for name, channel in (("apple", 0), ("leaf", 1), ("sky", 2)):
        for place in range(20):
            pixels = draw.integers(0, 60, (12, 10, 3)).astype(np.uint8)
            pixels[..., channel] += 60
            path = tmp_path / "data" / "test" / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(path)
    # a channel scores where its mean is about that of the bright ones in one scale; in any other the last class always wins
    middle = {"0 to 1": 0.353, "-1 to 1": -0.294}[scale]
    graph_file(
        tmp_path / "model.onnx", [("pixels", "float32", ["n", 3, 8, 8])], [("scores", "float32", ["n", 3])],
        [("GlobalAveragePool", ["pixels"], ["pooled"]), ("Flatten", ["pooled"], ["flat"]), ("Sub", ["flat", "middle"], ["off"]),
         ("Abs", ["off"], ["far"]), ("Min", ["far", "reach"], ["cut"]), ("Sub", ["bias", "cut"], ["scores"])],
        {"middle": np.array([middle], np.float32), "reach": np.array([0.1], np.float32),
         "bias": np.array([0, 0.005, 0.01], np.float32)},
    )  # fmt: skip
    proposal = propose(tmp_path)
    assert not (tmp_path / "pictures.py").exists()
    contract = contract_of(proposal)
    assert contract.parts.data.preprocess == "pictures:prepare"
    assert f"scaled {scale}." in (tmp_path / "pictures.py").read_text()
    assert contract.parts.task.labels == ("apple", "leaf", "sky")
    assert contract.parts.test.robustness
    assert not proposal.notes, proposal.notes


@pytest.mark.parametrize("name", ["model.h5", "weights.caffemodel", "net.ckpt", "params.msgpack"])
def test_weights_that_only_other_code_reads_are_named_with_what_can_be_done(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    proposal = propose(tmp_path)
    (note,) = [note for note in proposal.notes if name in note]
    for way in ("ONNX", "model.factory", "model.command"):
        assert way in note


def test_the_name_of_an_input_is_written_as_a_name_and_never_as_code():
    """The name comes out of a model's file, and what is written with it is run."""
    pytest.importorskip("PIL.Image")
    for name in ('x": __import__("sys").exit(), "y', "back\\", "two\nlines", "naïve 🙂"):
        signature = Signature((TensorSpec(name, "float32", ("n", 3, 8, 8)),), ())
        for way in preparations(signature, (9, 9)):
            module = {}
            exec(way.source, module)  # noqa: S102 (as `init` does)
            assert list(module["prepare"]({"image": np.zeros((2, 9, 9, 3), np.uint8)})) == [name]


@pytest.mark.parametrize("sizes", [((12, 10), (12, 10)), ((12, 10), (9, 16))])
def test_pictures_keep_their_size_for_a_model_of_any_size(tmp_path, sizes):
    """As classifiers of lines of text: nothing but the pictures themselves tells how large they are to be."""
    image = pytest.importorskip("PIL.Image")
    draw = np.random.default_rng(0)
    for name, channel in (("apple", 0), ("leaf", 1)):
        for place in range(20):
            pixels = draw.integers(0, 60, (*sizes[place % 2], 3)).astype(np.uint8)
            pixels[..., channel] += 60
            path = tmp_path / "test" / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels).save(path)
    graph_file(
        tmp_path / "model.onnx", [("pixels", "float32", ["n", 3, "h", "w"])], [("scores", "float32", ["n", 2])],
        [("GlobalAveragePool", ["pixels"], ["pooled"]), ("Flatten", ["pooled"], ["flat"]), ("MatMul", ["flat", "w"], ["scores"])],
        {"w": np.array([[1, 0], [0, 1], [0, 0]], np.float32)},
    )  # fmt: skip
    contract = contract_of(propose(tmp_path))
    assert contract.parts.data.preprocess == "pictures:prepare"
    height, width = sizes[0] if sizes[0] == sizes[1] else (224, 224)
    assert f"HEIGHT, WIDTH = {height}, {width}\n" in (tmp_path / "pictures.py").read_text()


def test_one_damaged_picture_among_many_does_not_stop_the_proposal(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for place in range(20):
        path = tmp_path / "test" / ("apple", "leaf")[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (9, 12), (place, 0, 0)).save(path)
    path.write_bytes(b"\x89PNG")
    graph_file(
        tmp_path / "model.onnx", [("pixels", "float32", ["n", 3, "h", "w"])], [("scores", "float32", ["n", 3])],
        [("GlobalAveragePool", ["pixels"], ["pooled"]), ("Flatten", ["pooled"], ["scores"])], {},
    )  # fmt: skip
    assert contract_of(propose(tmp_path)).parts.data.evaluation.path == "test"


def test_answers_that_no_task_reads_are_held_against_the_last_release_or_judged_by_the_users_metric(tmp_path):
    """As the raw head of a detector: boxes are no label of an item, and yet the data serve."""
    graph_file(
        tmp_path / "model.onnx", [("images", "float32", ["n", 3, 8, 8])], [("head", "float32", ["n", 7, 21])],
        [("Flatten", ["images"], ["flat"]), ("MatMul", ["flat", "w"], ["wide"]), ("Reshape", ["wide", "shape"], ["head"])],
        {"w": np.random.default_rng(0).random((192, 147), np.float32), "shape": np.array([-1, 7, 21])},
    )  # fmt: skip
    draw = np.random.default_rng(1)
    boxes = np.full((30, 4, 6), -1, np.float32)
    boxes[:, 0] = draw.random((30, 6))
    np.savez(tmp_path / "eval.npz", images=draw.random((30, 3, 8, 8), np.float32), boxes=boxes)
    proposal = propose(tmp_path)
    contract = contract_of(proposal)
    assert (contract.parts.task.type, contract.parts.data.label) == ("embedding", None)
    (asked,) = questions(proposal)
    assert "a metric of your own" in asked
    assert "data: {label: boxes}" in asked


@pytest.mark.parametrize("listed", [True, False])
def test_whole_numbers_are_not_called_a_regression_where_no_model_was_asked(tmp_path, listed):
    """As a .tflite where its runtime is not installed, or a pickle: labels alone tell classes from numbers only with a list."""
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "test.npz", audio=draw.random((12, 50), np.float32), label=draw.integers(0, 600, 12))
    if listed:
        (tmp_path / "labels.txt").write_text("".join(f"bird {place}\n" for place in range(600)))
    proposal = propose(tmp_path)
    assert proposal.task is not None
    assert proposal.task.type == "classification"
    if listed:
        assert not questions(proposal)
    else:
        (asked,) = questions(proposal)
        assert "classification or regression" in asked


def test_too_few_rows_for_a_gate_on_the_task_are_told(tmp_path):
    """Nothing but speed and size would be judged, and nothing said so."""
    graph_file(
        tmp_path / "model.onnx", [("x", "float32", ["n", 1, 4, 4])], [("map", "float32", ["n", 1, 4, 4])],
        [("Sigmoid", ["x"], ["map"])], {},
    )  # fmt: skip
    draw = np.random.default_rng(0)
    masks = draw.integers(0, 2, (12, 1, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "test.npz", x=draw.normal(size=(12, 1, 4, 4)).astype(np.float32), mask=masks)
    proposal = propose(tmp_path)
    assert "miou" not in proposal.gates
    (note,) = proposal.notes
    assert "12 rows" in note
    assert "gradatim gate --plan" in note


def test_a_size_that_is_a_formula_stays_out_of_the_contract(tmp_path):
    formula = "(floor(floor(height/2 - 1/2)/2) + 1)*(floor(floor(width/2 - 1/2)/2) + 1)"
    graph_file(
        tmp_path / "model.onnx", [("x", "float32", ["n", 3])], [("y", "float32", ["n", formula])],
        [("Identity", ["x"], ["y"])], {},
    )  # fmt: skip
    text = render(propose(tmp_path))
    assert "floor" not in text
    assert "gives y: float32[n, ?]" in text


@pytest.mark.parametrize("middle", [0.5, 0.25])
def test_a_directory_that_declares_how_it_takes_pictures_is_fed_so_whatever_else_would_do(tmp_path, middle):
    image, torch, transformers = (
        pytest.importorskip(each) for each in ("PIL.Image", "torch", "transformers")
    )
    torch.manual_seed(0)
    labels = {0: "apple", 1: "leaf"}
    settings = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=8, patch_size=4,
        id2label=labels, label2id={name: place for place, name in labels.items()},
    )  # fmt: skip
    transformers.ViTForImageClassification(settings).save_pretrained(tmp_path / "model")
    size, mean = {"height": 8, "width": 8}, [middle] * 3
    transformers.ViTImageProcessor(size=size, image_mean=mean, image_std=mean).save_pretrained(
        tmp_path / "model"
    )
    for place in range(20):
        path = tmp_path / "test" / labels[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (12, 10), (255, 0, 0)).save(path)
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.data.preprocess == "pictures:prepare"
    assert not [note for note in proposal.notes if "scales" in note]
    module = {"__file__": str(tmp_path / "pictures.py")}
    exec((tmp_path / "pictures.py").read_text(), module)  # noqa: S102 (as `init` does)
    (made,) = module["prepare"]({"image": np.full((1, 12, 10, 3), 255, np.uint8)}).values()
    assert made.shape == (1, 3, 8, 8)
    assert made == pytest.approx((1 - middle) / middle)


@pytest.mark.parametrize(
    ("numbers", "proposed"), [(True, ("feature_noise", "missing_values", "outliers")), (False, ())]
)
def test_words_of_a_table_that_recur_are_categories_and_no_text_to_mistype(tmp_path, numbers, proposed):
    """As the columns of a customer: a model that knows four cities refuses a fifth, and rightly."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    cities, plans = ["Berlin", "Oslo", "Paris", "Rome"], ["basic", "pro", "team"]
    city, plan, age = rng.choice(cities, 200), rng.choice(plans, 200), rng.normal(40, 9, 200).round(1)
    names = ["city", "plan", *(["age"] if numbers else [])]
    width = 7 + numbers
    weights = helper.make_tensor("w", TensorProto.FLOAT, [width, 2], rng.normal(size=width * 2))
    nodes = [
        helper.make_node(
            "OneHotEncoder", ["city"], ["c3"], domain="ai.onnx.ml", cats_strings=cities, zeros=0
        ),
        helper.make_node("OneHotEncoder", ["plan"], ["p3"], domain="ai.onnx.ml", cats_strings=plans, zeros=0),
        helper.make_node("Flatten", ["c3"], ["c"]),
        helper.make_node("Flatten", ["p3"], ["p"]),
        helper.make_node("Concat", ["c", "p", *(["age"] if numbers else [])], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT if name == "age" else TensorProto.STRING, [None, 1]
        )
        for name in names
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 2])]
    graph = helper.make_graph(nodes, "customers", inputs, outputs, [weights])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "churn.onnx")
    columns = {"city": city, "plan": plan, "age": age}
    rows = zip(*(columns[name] for name in names), rng.choice(["churn", "stay"], 200), strict=True)
    table(tmp_path / "test.csv", [*names, "label"], rows)
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.data.slices == ("city", "plan")
    assert proposal.corruptions == proposed


def test_an_output_that_has_no_row_for_each_item_is_none_to_judge_by(tmp_path):
    """As the chances of a forest of many labels, [labels, items, 2], beside its decisions, [items, labels]."""
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(120, 6)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    nodes = [
        ("MatMul", ["x", "w"], ["scores"]),
        ("Greater", ["scores", "zero"], ["over"]),
        ("Cast", ["over"], ["decided"], {"to": 7}),
        ("Unsqueeze", ["scores", "last"], ["one"]),
        ("Neg", ["one"], ["other"]),
        ("Concat", ["other", "one"], ["both"], {"axis": 2}),
        ("Transpose", ["both"], ["chances"], {"perm": [1, 0, 2]}),
    ]
    constants = {"w": weights, "zero": np.zeros(1, np.float32), "last": np.array([2])}
    outputs = [("decided", "int64", ["n", 3]), ("chances", "float32", [3, "n", 2])]
    graph_file(tmp_path / "tags.onnx", [("x", "float32", ["n", 6])], outputs, nodes, constants)
    np.savez(tmp_path / "test.npz", x=x, labels=(x @ weights > 0).astype(np.int64))
    proposal = propose(tmp_path)
    task = contract_of(proposal).parts.task
    assert (task.type, task.output) == ("multilabel_classification", "decided")
    assert not proposal.notes


@pytest.mark.parametrize("label", ["is_fraud", "outcome"])
def test_the_number_that_a_table_has_beside_its_features_and_its_key_is_the_label(tmp_path, label):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(200, 6)).astype(np.float32), rng.normal(size=(6, 1)).astype(np.float32)
    nodes = [
        ("MatMul", ["features", "w"], ["h"]),
        ("Sigmoid", ["h"], ["p"]),
        ("Squeeze", ["p", "last"], ["probability"]),
    ]
    outputs = [("probability", "float32", ["n"])]
    inputs = [("features", "float32", ["n", 6])]
    graph_file(tmp_path / "fraud.onnx", inputs, outputs, nodes, {"w": weights, "last": np.array([1])})
    right = (x @ weights > 0)[:, 0].astype(int)
    rows = [[place, *row, y] for place, (row, y) in enumerate(zip(x.tolist(), right, strict=True))]
    table(tmp_path / "test.csv", ["transaction_id", *(f"v{i}" for i in range(6)), label], rows)
    proposal = propose(tmp_path)
    contract = contract_of(proposal)
    assert contract.parts.data.label == label
    assert contract.parts.task.type == "classification"
    fewest = min(np.bincount(right))
    bound = float(proposal.gates["recall"]["at_least"].rstrip("%")) / 100
    assert (
        forgiven(fewest, bound) >= 0.1 * fewest
    )  # that one class is missed in every tenth row is no surprise


def test_an_output_that_says_the_label_is_read_before_a_number_beside_it(tmp_path):
    """As a detector of outliers: -1 or 1, and how far from the rest."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    right = np.where(np.abs(x).max(axis=1) > 2, -1, 1)
    nodes = [
        ("Abs", ["x"], ["far"]),
        ("ReduceMax", ["far"], ["farthest"], {"axes": [1], "keepdims": 1}),
        ("Sub", ["edge", "farthest"], ["scores"]),
        ("Sign", ["scores"], ["sign"]),
        ("Cast", ["sign"], ["label"], {"to": 7}),
    ]
    outputs = [("label", "int64", ["n", 1]), ("scores", "float32", ["n", 1])]
    constants = {"edge": np.array([2.1], np.float32)}
    graph_file(tmp_path / "outliers.onnx", [("x", "float32", ["n", 4])], outputs, nodes, constants)
    np.savez(tmp_path / "test.npz", x=x, y=right)
    task = contract_of(propose(tmp_path)).parts.task
    assert (task.type, task.output, task.labels) == ("classification", "label", (-1, 1))


def test_noise_on_ids_that_the_model_looks_up_is_left_out_and_told(tmp_path):
    """As a recommender: a user and an item beyond those it knows end its call, which says nothing of how robust it is."""
    rng = np.random.default_rng(0)
    tables = {"users": rng.normal(size=(50, 4)), "items": rng.normal(size=(80, 4))}
    graph_file(
        tmp_path / "ratings.onnx",
        [("user", "int64", ["n"]), ("item", "int64", ["n"])],
        [("rating", "float32", ["n"])],
        [("Gather", ["users", "user"], ["u"]), ("Gather", ["items", "item"], ["i"]),
         ("Mul", ["u", "i"], ["both"]), ("Einsum", ["both"], ["rating"], {"equation": "nd->n"})],
        {name: values.astype(np.float32) for name, values in tables.items()},
    )  # fmt: skip
    user, item = rng.integers(0, 50, 400), rng.integers(0, 80, 400)
    rating = np.round((tables["users"][user] * tables["items"][item]).sum(axis=1)).clip(-2, 2).astype(int) + 3
    table(tmp_path / "test.csv", ["user", "item", "rating"], zip(user, item, rating, strict=True))
    proposal = propose(tmp_path)
    assert contract_of(proposal).parts.task.type == "regression"
    assert "feature_noise" not in proposal.corruptions
    (told,) = [note for note in proposal.notes if "feature_noise" in note]
    assert "left out" in told
